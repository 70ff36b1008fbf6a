"""Columns that an outcome, or the tested thing itself, has made: refused, or named in the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._dense import column_of_x
from .._errors import SpatialfmError, SurvivalError, TableError, counted, warn
from .._keys import layer_names
from .._origin import FEW, MOST_ROWS, Origin, numbers_of, patient_names, remember
from .._origin_match import KnownColumn
from .known_origins import origins

if TYPE_CHECKING:
    from anndata import AnnData

OnSelected = Literal["raise", "mark"]
ByOutcome = Literal["no", "perhaps", "yes"]

SHARED = 0.01  # of the rows, from which two tables hold the same patients
MOST_EXEMPT = 200  # features that are kept with a risk which they may be in order with

WHOLE = {
    "stratify": "sfm.tl.stratify(..., n_permutations=1000) permutes outcomes and makes the groups again each time",
    "cut_point": "the p_value of sfm.tl.cut_point is corrected for the choice of the cut",
    "discover_signatures": "the nested score of sfm.tl.discover_signatures(..., nested=True, n_permutations=1000) is",
    "coxnet": "sfm.tl.coxnet(..., n_permutations=1000) repeats all of it with outcomes shuffled",
    "survival_forest": "sfm.tl.survival_forest(..., n_permutations=1000) repeats all of it with outcomes shuffled",
    "classify_samples": "sfm.tl.classify_samples(..., n_permutations=1000) repeats all of it with labels shuffled",
    "few_shot_samples": "sfm.tl.few_shot_samples(..., n_permutations=1000) repeats all of it with labels shuffled",
    "mil": "sfm.tl.mil(..., n_permutations=100) repeats all of it with outcomes shuffled",
}


WRITES = {  # names that columns have by default, and who writes them
    "risk_group": "stratify",
    "signature_score": "score_signatures",
    "coxnet": "coxnet",
    "survival_forest": "survival_forest",
}


@dataclass(frozen=True)
class Selected:
    """Entry of a record on the columns that a result rests on."""

    text: str = ""  # empty, or who made which of them
    by_outcome: ByOutcome = "no"  # whether the outcome of these same patients did; "perhaps": too few rows to decide

    @property
    def optimistic(self) -> bool:
        """Whether a test that takes the columns as given finds what was put in."""
        return self.by_outcome == "yes"

    def params(self) -> dict[str, str]:
        """What a record holds of it; figures read the second, people the first."""
        return {"selected": self.text, "by_outcome": self.by_outcome}


def columns_of(table: AnnData, keys: Iterable[str | None], layer: str | None = None) -> dict[str, pd.Series]:
    """Columns of ``obs`` or names in ``var``, by their places; what is not there is left to others to refuse."""
    columns_at = {}
    for key in dict.fromkeys(key for key in keys if key is not None):
        if key in table.obs:
            columns_at[f"obs:{key}"] = table.obs[key]
        elif key in table.var_names and table.var_names.is_unique:
            where = f"layers/{layer}" if layer in table.layers else "X"
            if where == "X" and table.X is None:
                continue
            values = column_of_x(table, key, layer if layer in table.layers else None)
            if np.asarray(values).dtype.kind in "biuf":
                columns_at[f"{where}:{key}"] = pd.Series(np.asarray(values, float), index=table.obs_names)
    return columns_at


def matrix_of(table: AnnData, use_rep: str | None = "X", layer: str | None = None) -> dict[str, pd.Series]:
    """Columns of ``X``, a layer, or of ``obsm``, by their places; of cells only tables, which are few columns."""
    few = table.n_obs <= MOST_ROWS
    if use_rep == "X":
        return columns_of(table, table.var_names, layer) if few and table.n_vars <= MOST_EXEMPT else {}
    frame = None if use_rep is None else table.obsm.get(use_rep)
    if few and isinstance(frame, np.ndarray) and frame.ndim == 2 and frame.shape[1] <= MOST_EXEMPT:
        frame = pd.DataFrame(frame, index=table.obs_names).add_prefix("column ")
    if not isinstance(frame, pd.DataFrame):
        return {}
    return {f"obsm/{use_rep}:{name}": frame[name] for name in frame}


def columns_of_cells(table: AnnData, use_rep: str | None) -> dict[str, pd.Series]:
    """By what a representation of cells is known: columns of few values, as signatures are, and whose neighbours count.

    The clusters that a key of ``obsm`` counts among the neighbours of each cell are in its record.
    """
    columns = {place: column for place, column in matrix_of(table, use_rep).items() if column.nunique() <= FEW}
    record = table.uns.get(use_rep)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return columns | columns_of(table, [params.get("cluster_key")])


def hand_on(table: AnnData, new_origins: Iterable[Origin], columns: Iterable[str] = ()) -> None:
    """Say of a table of patients that ``X``, its layers and columns of ``obs`` are made of what an outcome has made."""
    new_origins = list(new_origins)
    if not new_origins:
        return
    values = columns_of(table, columns) | matrix_of(table)
    for layer in layer_names(table):
        values |= matrix_of(table, layer=layer)
    for origin in new_origins:
        for place, column in values.items():
            remember(table, origin, column, patients=patient_names(table), place=place)


def remember_cases(
    table: AnnData | None,
    origin: Origin,
    cases: pd.DataFrame,
    columns: Iterable[str],
    outcome: Iterable[str] = (),
    features: Iterable[np.ndarray] = (),
) -> None:
    """Keep a record's values of each patient, which users put into ``obs`` by hand.

    Not part of it are `outcome`, and the `features` (matrices of patients) of models of few: a prediction from one
    column is in its order.
    """
    exempt = [numbers_of(cases[name])[0] for name in outcome]
    seen = [matrix for matrix in features if matrix.shape[1] <= MOST_EXEMPT]
    exempt += list(np.concatenate(seen, axis=1).T.astype(float)) if seen else []
    for name in columns:
        place = f"{origin.column}/patients:{name}"
        remember(table, origin, cases[name], exempt=np.column_stack(exempt) if exempt else None, place=place)


def check_selected(
    table: AnnData,
    function: str,
    columns: Mapping[str, pd.Series],
    on_selected: str | None,
    *,
    ordered: bool | Literal["levels"] = False,
    error: type[SpatialfmError] = SurvivalError,
) -> Selected:
    """Refuse columns that an outcome of these patients made, or return the note for the record.

    Parameters
    ----------
    function
        Name of the caller.
    on_selected
        ``"raise"``, ``"mark"``, or None for a description without a test, which is always only marked.
    ordered
        Whether the direction matters as well: groups that were named after the outcome count; with ``"levels"`` where
        they are three or more, of which the first was chosen to be the lowest.

    Raises
    ------
    SpatialfmError
        With ``"raise"``, naming the column, who made it, and what tests the whole procedure.
    """
    if on_selected not in ("raise", "mark", None):
        raise error(f'on_selected={on_selected!r} is not known. Pass "raise" or "mark".')
    known_origins: list[tuple[str, KnownColumn]] = []
    perhaps: list[tuple[str, KnownColumn]] = []
    external: list[tuple[str, KnownColumn]] = []
    known_places = origins(table, columns)
    for place, origins_here in known_places.items():
        for one in origins_here:
            named = one.origin.how == "order" and (ordered is True or (ordered and columns[place].nunique() > 2))
            if one.origin.uses_outcome or named:
                (known_origins if one.sure else perhaps).append((place, one))
            elif one.origin.how == "elsewhere" and one.sure:
                external.append((place, one))
    if not known_origins:
        unknown = of_unknown_origin(table, [place for place in columns if place not in known_places])
        _say_doubts(said(perhaps), unknown)
        text = "; ".join(filter(None, [said([*perhaps, *external]), *unknown]))
        return Selected(text, "perhaps" if perhaps else "no")
    text = said(known_origins)
    if on_selected == "raise":
        place, one = known_origins[0]
        rows = "" if one.n == table.n_obs else f" ({counted(one.n, 'row')} of {table.n_obs:,})"
        raise error(
            f"{at(place)} was {one.origin}{rows}: sfm.tl.{function} would take it for given, and find what was put "
            f"in.{_instead(one.origin)} On other patients it can be tested as it is; "
            'on_selected="mark" goes on all the same, and the result records it.'
        )
    if on_selected is None:
        warn(f"{text}. What is shown is optimistic.")
    return Selected(text, "yes")


def remember_signatures(table: AnnData | None, origin: Origin, cases: pd.DataFrame, outcome: list[str]) -> None:
    """The same of signatures: shares and ranks of what was chosen, and the prediction that is held out."""
    remember_cases(table, origin, cases, [name for name in cases if name.startswith(("fraction_", "rank_"))])
    if "nested" in cases:
        remember_cases(table, replace(origin, how="held out"), cases, ["nested"], outcome)


def with_doubt(selected: Selected, doubts: list[str]) -> list[str]:
    """What a result warns of, and that an outcome made what it rests on."""
    return [*(["optimistic: " + short(selected.text)] if selected.optimistic else []), *doubts]


def said(known_origins: Iterable[tuple[str, KnownColumn]]) -> str:
    """One sentence for a record or a figure."""
    return "; ".join(
        dict.fromkeys(f"{at(place)}: {'' if one.sure else 'perhaps '}{one.origin}" for place, one in known_origins)
    )


def of_unknown_origin(table: AnnData, places: Iterable[str]) -> list[str]:
    """Notes on columns whose names are those that this package writes, without a record of it."""
    notes = []
    for place in places:
        name = place.removeprefix("obs:")
        cut = name.removesuffix("_group")
        maker = WRITES.get(name) or ("cut_point" if cut != name and cut in {*table.obs, *table.var_names} else None)
        if maker is not None and place != name and name not in table.uns and "cut_points" not in table.uns:
            notes.append(f"{at(place)}: of unknown origin, with a name that sfm.tl.{maker} writes")
    return notes


def _say_doubts(perhaps: str, unknown: list[str]) -> None:
    if perhaps:
        warn(
            f"{perhaps}. Too few rows, or too near to other columns, to decide: if it was, no test that takes it "
            "for given holds; if it was not, nothing is wrong."
        )
    if unknown:
        warn(
            f"{'; '.join(unknown)}. No record came with it, as none does with a CSV: if an outcome of these patients "
            "made it, no test that takes it for given holds. Tables that are kept as .h5ad or .zarr bring the record; "
            "a column that no outcome made can have another name."
        )


def check_cases(
    table: AnnData,
    function: str,
    use_rep: str | Iterable[str] | None,
    n_cases: int,
    on_selected: str,
    columns: Iterable[str] = (),
) -> Selected:
    """The same for what patients are classified by: rows that are patients, or columns of cells."""
    reps = [use_rep] if isinstance(use_rep, str) else list(use_rep or ())
    rests_on = columns_of(table, columns)
    for rep in reps:
        rests_on |= matrix_of(table, rep) if n_cases == table.n_obs else columns_of_cells(table, rep)
    return check_selected(table, function, rests_on, on_selected, error=TableError)


def told_apart(columns: Iterable[str], classes: list[str]) -> list[str]:
    """Columns of probabilities; of two classes those of the second, which suffice."""
    return [name for name in columns if len(classes) != 2 or name.endswith(classes[1])]


def circular(
    table: AnnData, columns: Mapping[str, pd.Series], hows: tuple[str, ...] = ("composition", "neighborhood")
) -> str:
    """What of the columns was made from the very thing that is compared; empty where nothing was."""
    known_origins = origins(table, columns)
    return said((place, one) for place, some in known_origins.items() for one in some if one.origin.how in hows)


def inherited(table: AnnData, columns: Mapping[str, pd.Series]) -> list[Origin]:
    """Origins that use an outcome, of columns from which something else is made."""
    known_origins = origins(table, columns)
    return list(dict.fromkeys(one.origin for some in known_origins.values() for one in some if one.origin.outcome))


def of_source(new_origins: Iterable[Origin], same: np.ndarray) -> list[Origin]:
    """What an outcome made in a source, as it is known in a target: of other patients, unless rows are the `same`.

    Examples
    --------
    >>> [one.how for one in of_source([Origin("discover_signatures", "selected")], np.zeros(200, bool))]
    ['elsewhere']
    """
    others = same.mean() <= SHARED
    return [replace(origin, how="elsewhere") if others else origin for origin in new_origins]


def short(text: str) -> str:
    """The same for a figure: who made it."""
    return "" if not text else text.split("; ")[0] + (" and others" if "; " in text else "")


def at(place: str) -> str:
    """A place of a table, as a message names it: ``obs['risk']``."""
    where, name = place.split(":", 1)
    if where == "obs":
        return f"obs[{name!r}]"
    return (
        f"{name!r} in var"
        if where == "X" or where.startswith("layers/")
        else f"{name!r} in obsm[{where.removeprefix('obsm/')!r}]"
    )


def _instead(origin: Origin) -> str:
    whole = WHOLE.get(origin.function)
    return "" if whole is None else f" Its test is one of the whole procedure: {whole}."
