"""What a column was made of: an outcome, or the very thing that a test would compare.

A record goes with each column that a function of this package makes from an outcome, from compositions or from
neighborhoods. It is stored in ``uns["spatialfm"]["origins"]`` of the table, and in memory for the session: a column
that was returned instead of written, copied under another name, joined by ``anndata.concat`` (which drops ``uns``), or
written to a file and read, is known by its values (:mod:`spatialfm._origin_match`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ._dense import column_of_x
from ._errors import listed
from ._keys import PATIENT_KEY, UNS

if TYPE_CHECKING:
    from anndata import AnnData

How = Literal["selected", "held out", "order", "elsewhere", "composition", "neighborhood"]
ORIGINS = "origins"  # uns["spatialfm"][ORIGINS]
MOST_ROWS = 20_000  # of columns whose values are kept in the table once more
MOST_BYTES, MOST_KEPT = 2**28, 200  # of the session's memory
FEW = 20  # different values up to which a column is taken as groups


@dataclass(frozen=True)
class Origin:
    """Who made a column, and of what."""

    function: str  # "stratify"
    how: How
    outcome: tuple[str, ...] = ()  # columns
    of: str = ""  # what it was made of, in words
    column: str = ""  # where it was written first

    def __str__(self) -> str:
        by = f"sfm.tl.{self.function}"
        source = f" from {self.of}" if self.of else ""
        outcome = f"the outcome ({listed(self.outcome, quoted=False)})"
        return {
            "selected": f"made by {by}{source} with {outcome} of the same patients",
            "held "
            "out": f"predicted by {by} in cross-validation{source}: {outcome} of the same patients made the models",
            "order": f"named in order of risk by {by} after {outcome} of the same patients",
            "elsewhere": f"made by {by} with {outcome} of other patients",
            "composition": f"made by {by} from {self.of or 'the composition'}",
            "neighborhood": f"made by {by} from {self.of or 'the neighborhoods'}",
        }[self.how]

    @property
    def uses_outcome(self) -> bool:
        """Whether an outcome of the same patients influenced the values (not names alone)."""
        return self.how in ("selected", "held out")


@dataclass(frozen=True)
class Reference:
    """Values of one column, by which it is known wherever it goes."""

    origin: Origin
    rows: np.ndarray  # (n,) uint64, hashes of row names
    aliases: np.ndarray | None  # (n,) the same of patients' names
    values: np.ndarray  # (n,) float64; codes of groups, NaN where missing
    groups: bool
    texts: tuple[str, ...] = ()  # of codes, their meanings
    exempt: np.ndarray | None = field(default=None, repr=False)  # (n, .) what it was predicted from, and the outcome
    place: str = ""  # "obs:risk_group", where the table has it; empty in memory
    finer: np.ndarray | None = field(default=None, repr=False)  # (n,) what groups were merged or cut from
    calculated: bool = False  # from several, and maybe from columns that no tool made

    @cached_property
    def looked_up(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Names and aliases in order, with the rows that have them."""
        names = [self.rows] if self.aliases is None else [self.rows, self.aliases]
        orders = [np.argsort(hashes, kind="stable") for hashes in names]
        return [(hashes[order], order) for hashes, order in zip(names, orders, strict=True)]

    @cached_property
    def rounded(self) -> np.ndarray:
        """Known values with six digits."""
        return rounded(self.values)

    @cached_property
    def labels(self) -> np.ndarray:
        """Hashes ``(n,)`` of the meanings of the values."""
        return label_hashes(self.values, self.texts)

    @property
    def key(self) -> tuple[str, str, str]:
        """What a later one replaces."""
        return self.place, self.origin.how, self.origin.function

    @property
    def nbytes(self) -> int:
        """Size."""
        return 4 * self.values.nbytes + sum(part.nbytes for part in (self.exempt, self.finer) if part is not None)


_memory: list[Reference] = []


def forget() -> None:
    """Empty the session's memory."""
    _memory.clear()


def remember(
    table: AnnData | None,
    origin: Origin,
    values: pd.Series,
    *,
    patients: Iterable[object] | None = None,
    exempt: np.ndarray | None = None,
    place: str | None = None,
    finer: np.ndarray | None = None,
) -> None:
    """Keep what a column was made of, in memory and, with `table`, next to the column.

    Parameters
    ----------
    table
        Table that the column was written into.
    values
        The column, indexed by names of rows.
    patients
        Patient of each row, if rows have other names.
    exempt
        ``(n, .)`` columns that the values may follow closely without being made by the outcome: the features of a
        model of few, and the outcome itself.
    place
        ``"obs:<column>"`` or ``"X:<column>"``; default: the name of `values` in ``obs``.
    finer
        ``(n,)`` numbers that groups were cut from, or codes of the groups that an outcome merged: these are as they
        were, and finer than what was made of them.
    """
    place = place or f"obs:{values.name}"
    numbers, groups, texts = numbers_of(values)
    aliases = None if patients is None else name_hashes(patients)
    origin = replace(origin, column=origin.column or place.split(":", 1)[1])
    finer = None if finer is None else np.asarray(finer, float)
    reference = Reference(origin, name_hashes(values.index), aliases, numbers, groups, texts, exempt, "", finer)
    _keep(reference)
    if table is not None:
        write_origin(table, replace(reference, place=place))


def _keep(reference: Reference) -> None:
    for other in _memory:
        if (
            other.origin == reference.origin
            and _same(other.rows, reference.rows)
            and _same(other.values, reference.values)
        ):
            return
    _memory.append(reference)
    while len(_memory) > MOST_KEPT or (len(_memory) > 1 and sum(one.nbytes for one in _memory) > MOST_BYTES):
        _memory.pop(0)


def remembered() -> list[Reference]:
    """All that the session knows, without a table."""
    return list(_memory)


def keep(reference: Iterable[Reference]) -> None:
    """Take references into the session's memory, as of a column that was calculated from others."""
    for one in reference:
        _keep(one)


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return one.shape == two.shape and bool(np.array_equal(one, two, equal_nan=one.dtype.kind == "f"))


def write_origin(table: AnnData, reference: Reference) -> None:
    """Put a reference into ``uns``; earlier ones of the same place and function go."""
    notes = dict(table.uns.get(UNS, {}))
    kept = [one for one in read_origins(table) if one.key != reference.key]
    notes[ORIGINS] = {str(i): _stored(one) for i, one in enumerate([*kept, reference])}
    table.uns[UNS] = notes


def read_origins(table: AnnData) -> list[Reference]:
    """References that a table brings along; of large columns those that are as they were."""
    stored = table.uns.get(UNS, {}).get(ORIGINS, {})
    references = [_read(table, stored[i]) for i in sorted(stored, key=lambda i: int(i))] if stored else []
    return [one for one in references if one is not None]


def carry_origins(source: AnnData, target: AnnData) -> None:
    """Bring the references of patients' columns from a table of cells to one of patients."""
    for one in read_origins(source):
        if len(one.rows) <= MOST_ROWS and len(one.rows) < source.n_obs:
            write_origin(target, one)


def known(table: AnnData) -> list[Reference]:
    """All references that a column may be compared with: the table's own first."""
    own = read_origins(table)
    for one in own:  # of a table that was read from a file: anndata.concat will drop uns
        _keep(replace(one, place=""))
    return own + [
        one
        for one in _memory
        if not any(one.origin == other.origin and _same(one.values, other.values) for other in own)
    ]


def numbers_of(values: pd.Series) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Values as floats, codes of text and categories; whether they are groups; meanings of codes."""
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        codes = values.cat.codes.to_numpy().astype(float)
        return np.where(codes < 0, np.nan, codes), True, tuple(map(str, values.cat.categories))
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        different = len(np.unique(numbers[~np.isnan(numbers)]))
        return numbers, different <= min(FEW, len(numbers) / 3), ()
    codes, levels = pd.factorize(values)
    return np.where(codes < 0, np.nan, codes.astype(float)), True, tuple(map(str, levels))


def rounded(values: np.ndarray) -> np.ndarray:
    """Values with six digits; those that are missing are left out."""
    return np.array([float(f"{value:.6g}") for value in values[~np.isnan(values)]])


def name_hashes(names: Iterable[object]) -> np.ndarray:
    """Hashes ``(n,)`` of names as text."""
    texts = np.array([str(name) for name in names], dtype=object)
    return pd.util.hash_array(texts, categorize=False) if len(texts) else np.empty(0, np.uint64)


def label_hashes(codes: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Hashes ``(n,)`` of the meanings of codes; of numbers without names, of the numbers."""
    levels, place = np.unique(codes, return_inverse=True)
    words = [texts[int(level)] if texts and not np.isnan(level) else f"{level:g}" for level in levels]
    return name_hashes(words)[place]


def patient_names(table: AnnData) -> pd.Series | None:
    """The usual column of patients, where it is there and names no two rows alike."""
    names = table.obs.get(PATIENT_KEY)
    return None if names is None or names.duplicated().any() else names


def _stored(reference: Reference) -> dict[str, object]:
    record = asdict(reference.origin) | {
        "place": reference.place,
        "groups": reference.groups,
        "texts": list(reference.texts),
    }
    stored: dict[str, object] = {"origin": json.dumps(record)}
    if len(reference.values) > MOST_ROWS:
        return stored | {"digest": _digest(reference.rows, reference.values)}
    stored |= {"rows": reference.rows.view(np.int64), "values": reference.values}
    if reference.aliases is not None:
        stored["aliases"] = reference.aliases.view(np.int64)
    stored |= {
        name: np.asarray(part, float) for name in ("exempt", "finer") if (part := getattr(reference, name)) is not None
    }
    return stored


def _read(table: AnnData, stored: Mapping[str, object]) -> Reference | None:
    record = json.loads(str(stored["origin"]))
    place, groups = record.pop("place"), bool(record.pop("groups"))
    texts = tuple(record.pop("texts"))
    origin = Origin(**record | {"outcome": tuple(record["outcome"])})
    if "values" in stored:
        rows = np.ascontiguousarray(stored["rows"]).astype(np.int64).view(np.uint64)
        known = stored.get("aliases")
        aliases = None if known is None else np.ascontiguousarray(known).astype(np.int64).view(np.uint64)
        exempt, finer = (
            None if (part := stored.get(name)) is None else np.asarray(part, float) for name in ("exempt", "finer")
        )
        values = np.asarray(stored["values"], float)
        return Reference(origin, rows, aliases, values, groups, texts, exempt, place, finer)
    column = column_at(table, place)
    if column is None:
        return None
    rows, numbers = name_hashes(table.obs_names), numbers_of(column)[0]
    # of fewer rows it is taken at its word: a part of the table has the same column
    same = len(numbers) < MOST_ROWS or _digest(rows, numbers) == stored["digest"]
    return Reference(origin, rows, None, numbers, groups, texts, None, place) if same else None


def column_at(table: AnnData, place: str) -> pd.Series | None:
    """The column of a place, ``obs:name``, ``X:name`` or ``obsm/key:name``; None where it is not there."""
    where, name = place.split(":", 1)
    if where == "obs":
        return table.obs.get(name)
    if where == "X":
        in_var = name in table.var_names
        return pd.Series(np.asarray(column_of_x(table, name), float), index=table.obs_names) if in_var else None
    frame = table.obsm.get(where.removeprefix("obsm/"))
    return frame[name] if isinstance(frame, pd.DataFrame) and name in frame else None


def _digest(rows: np.ndarray, values: np.ndarray) -> str:
    mixed = pd.util.hash_array(rows ^ pd.util.hash_array(np.where(np.isnan(values), -1.5, values)))
    with np.errstate(over="ignore"):
        return f"{len(rows)}:{int(mixed.sum(dtype=np.uint64)):016x}"
