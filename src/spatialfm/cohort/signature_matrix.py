"""Markers that types have and lack, in the forms that users write them, as one matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import PanelError, TableError, listed
from .representation import check_measured, imputed_only, marker_values

if TYPE_CHECKING:
    from anndata import AnnData

WORDS = {"pos": 1.0, "allpos": 1.0, "neg": -1.0, "allneg": -1.0, "anyneg": -1.0}  # of scimap's workflow tables
ROOT = "all"  # scimap's group of all cells


def signature_matrix(signatures: Mapping[str, Any] | pd.DataFrame, markers: Iterable[object]) -> pd.DataFrame:
    """Types by markers: 1 has it, -1 lacks it, 0 says nothing.

    Parameters
    ----------
    signatures
        A table of types by markers with 1, -1 and 0 (or missing). Or a mapping of types to markers, where a minus
        behind a name (``"CD20-"``) says that the type lacks it; or to a mapping with ``positive`` and ``negative``.
        With an entry ``cell_types`` it is that of Astir. Or scimap's workflow: two columns, group and type, then
        markers with ``pos``, ``allpos``, ``neg``, ``allneg``; types of a group have its markers too.
    markers
        Markers that there are. None is guessed: one that is not there is refused, with names that are alike.

    Examples
    --------
    >>> signature_matrix({"B": ["CD20", "CD3-"], "T": "CD3"}, ["CD3", "CD20", "DAPI"])
       CD20  CD3
    B   1.0 -1.0
    T   0.0  1.0
    """
    known = list(map(str, markers))
    matrix = _of_table(signatures) if isinstance(signatures, pd.DataFrame) else _of_mapping(signatures, known)
    lacking = [name for name in matrix.columns if name not in set(known)]
    if lacking:
        alike = get_close_matches(lacking[0], known, 3, 0.5)
        hint = f" Did you mean {listed(alike)}?" if alike else f" Found {listed(known, 30)}."
        raise PanelError(f"No marker {listed(lacking)} in the table (signatures=).{hint} Rename it, or leave it out.")
    if bad := [str(name) for name, row in matrix.iterrows() if not (row > 0).any()]:
        raise TableError(f"The signature {bad[0]!r} has no marker that its cells have. Add one, or leave it out.")
    if matrix.index.has_duplicates:
        raise TableError(f"signatures= has {matrix.index[matrix.index.duplicated()][0]!r} twice. Write it once.")
    if len(matrix) < 2:
        raise TableError("signatures= has fewer than two types. Pass two or more, to be told apart.")
    same = matrix[matrix.duplicated(keep=False)]
    if len(same):
        raise TableError(f"{listed(same.index)} have the same markers (signatures=). Add one that tells them apart.")
    return matrix


def intensities_of(
    table: AnnData, signatures: Mapping[str, Any] | pd.DataFrame, layer: str | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """The matrix of types by markers, and intensities ``(n, markers)`` of these markers in the cells of a table."""
    matrix = signature_matrix(signatures, [*table.var_names, *imputed_only(table)])
    check_measured(table, list(matrix.columns), "signatures")
    matrix.index = matrix.index.astype(str)
    return matrix, marker_values(table, list(matrix.columns), layer)


def _of_mapping(signatures: Mapping[str, Any], known: list[str]) -> pd.DataFrame:
    if not isinstance(signatures, Mapping) or not signatures:
        raise TableError("signatures= is neither a table nor names with markers. Pass for example {'B': ['CD20']}.")
    if set(signatures) <= {"cell_types", "cell_states", "hierarchy"} and "cell_types" in signatures:
        signatures = signatures["cell_types"]
    signs: dict[str, dict[str, float]] = {}
    for name, of_type in signatures.items():
        signs[str(name)] = _signs(of_type, known)
    columns = list(dict.fromkeys(marker for one in signs.values() for marker in one))
    return pd.DataFrame.from_dict(signs, orient="index").reindex(index=list(signs), columns=columns).fillna(0.0)


def _signs(of_type: Any, known: list[str]) -> dict[str, float]:
    if isinstance(of_type, Mapping):
        if unknown := set(of_type) - {"positive", "negative"}:
            raise TableError(f"signatures= has {sorted(map(str, unknown))[0]!r} beside 'positive' and 'negative'.")
        parts = [(of_type.get("positive", ()), 1.0), (of_type.get("negative", ()), -1.0)]
        return {str(one): sign for some, sign in parts for one in ([some] if isinstance(some, str) else some)}
    out = {}
    for marker in map(str, [of_type] if isinstance(of_type, str) else of_type):
        sign = marker[-1:] if marker not in known and marker[-1:] in ("-", "+") else ""
        out[marker[:-1] if sign else marker] = -1.0 if sign == "-" else 1.0
    return out


def _of_table(table: pd.DataFrame) -> pd.DataFrame:
    if table.shape[1] > 2 and any(
        isinstance(one, str) and one in (*WORDS, "anypos") for one in table.iloc[:, 2:].stack()
    ):
        return _of_workflow(table)
    values = table.apply(pd.to_numeric, errors="coerce").fillna(0.0)
    wrong = table.notna().to_numpy() & ~np.isin(table.apply(pd.to_numeric, errors="coerce"), [-1, 0, 1])
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise TableError(
            f"signatures= has {table.iloc[row, column]!r} for {str(table.index[row])!r} and "
            f"{str(table.columns[column])!r}. Write 1 (has it), -1 (lacks it) or 0."
        )
    values.index, values.columns = values.index.astype(str), values.columns.astype(str)
    return values.loc[:, (values != 0).any()].astype(float)


def _of_workflow(table: pd.DataFrame) -> pd.DataFrame:
    """A table of scimap; types that are groups of others are not types of their own."""
    groups, names = (table.iloc[:, column].astype(str).str.strip() for column in (0, 1))
    of_name: dict[str, dict[str, float]] = {}
    for place, name in enumerate(names):
        words = table.iloc[place, 2:].dropna()
        if (words == "anypos").sum() > 1:
            raise TableError(f"signatures= has 'anypos' of several markers for {name!r}: name the one that it has.")
        signs = {str(marker): WORDS.get(str(word).replace("anypos", "pos"), np.nan) for marker, word in words.items()}
        if bad := [marker for marker, sign in signs.items() if np.isnan(sign)]:
            raise TableError(f"signatures= has {words[bad[0]]!r} for {name!r} and {bad[0]!r}, which is not a sign.")
        of_name[name] = signs
    parents = dict(zip(names, groups, strict=True))
    for name in names:
        above, seen = parents[name], {name}
        while above in parents and above not in seen:
            seen.add(above)
            of_name[name] = of_name[above] | of_name[name]
            above = parents[above]
        if above not in parents and above.lower() != ROOT:
            raise TableError(
                f"signatures= has the group {above!r}, which is not a type above. Write 'all' for all cells."
            )
    kept = {name: signs for name, signs in of_name.items() if name not in set(groups)}
    return pd.DataFrame.from_dict(kept, orient="index").reindex(index=list(kept)).fillna(0.0)
