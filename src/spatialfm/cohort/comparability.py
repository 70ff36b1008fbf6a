"""Whether two tables may be compared: columns that mean the same, embeddings made alike, rows of the same patients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, warn
from .._keys import UNS
from .._logging import logger
from .._preparation import STANDARDIZED, column_scale
from .._record import first_difference
from .checks import listed

if TYPE_CHECKING:
    from anndata import AnnData


def same_rows(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the others are rows of the first: cells of the same patients under any name."""
    ours, theirs = (
        pd.util.hash_pandas_object(pd.DataFrame(np.asarray(part, np.float64)), index=False).to_numpy()
        for part in (values, others)
    )
    names, counts = np.unique(ours, return_counts=True)
    return np.isin(theirs, names[counts == 1])  # rows that repeat do not identify a cell


OTHER_SCALE = 10.0  # times; no tissue differs so much from another in half of its columns
FEW_ROWS = 30  # rows of a table below which it may be one of like cells
SLICING = ("n_cells", "frame", "unit", "n_neighbors", "resolution", "alpha")  # how cells in context were cut
# what must be the same for the columns of two embeddings of images to mean the same
OF_IMAGES = (
    *("model", "weights_sha256", "adapter_sha256", "model_options", "normalization", "preparation"),
    *("output", "mode", "window", "background"),
)
SAME = (*OF_IMAGES, *SLICING)


def shared_columns(source: AnnData, target: AnnData, use_rep: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns of both representations that mean the same.

    Raises
    ------
    TableError
        If they cannot be compared by their records.
    """
    if use_rep == "X":
        return _joined(list(source.var_names), list(target.var_names), 1, "marker of X")
    records = [table.uns.get(UNS, {}).get(use_rep) for table in (source, target)]
    widths = [table.obsm[use_rep].shape[1] for table in (source, target) if use_rep in table.obsm]
    if len(widths) < 2:
        raise TableError(f"No {use_rep!r} in obsm of both tables. Embed both with the same call.")
    names = [names_in_table(table, use_rep) for table in (source, target)]
    if None in records:
        if records != [None, None]:
            side = "source" if records[0] is None else "target"
            raise TableError(
                f"{use_rep!r} of the {side} has no record of how it was made. Embed both with sfm.tl.embed_cells."
            )
        return _by_names(names, widths, use_rep)
    named = [_names(record, "feature_names") for record in records]
    # columns themselves are joined by their names below
    one, two = (
        {name: now for name, now in how_made(table, use_rep).items() if name in SAME} for table in (source, target)
    )
    if (differs := first_difference(one, two)) is not None:
        name, there, here = differs
        raise TableError(
            f"{use_rep!r} was made differently in the two tables: {name} is {there!r} in the source, {here!r} in the "
            f"target. {_same_way(records, name)}"
        )
    _compare_pixels(records, use_rep)
    if names != [None, None]:
        return _by_names(names, widths, use_rep)
    if all(named):
        return _joined(named[0], named[1], 1, f"column of {use_rep!r}")
    markers = [_names(record, "markers") for record in records]
    reduced = [record.get("n_components") for record in records]
    if records[0].get("output") == "marker" and not any(reduced):
        width = int(records[0]["embedding_dim"])
        return _joined(markers[0], markers[1], width, f"marker of {use_rep!r}")
    if any(reduced) and widths[0] == widths[1] and _same_basis(source, target, use_rep):
        return np.arange(widths[0]), np.arange(widths[1])
    if any(reduced):
        raise TableError(
            f"{use_rep!r} was reduced on each cohort separately. Embed the other with "
            "sfm.tl.embed_cells(..., reduce={'basis': sfm.get.basis(...)})."
        )
    if sorted(markers[0]) != sorted(markers[1]):
        missing = sorted(set(markers[0]) ^ set(markers[1]))
        raise TableError(
            f"{use_rep!r} is one vector per cell of different panels (they differ in {listed(missing)}). Embed both "
            "with sfm.tl.embed_cells(..., markers=<those of both>)."
        )
    _check_widths(widths, use_rep)
    return np.arange(widths[0]), np.arange(widths[1])


def names_in_table(table: AnnData, use_rep: str) -> list[str] | None:
    """Names of the columns of a representation that is a table in ``obsm``; None of an array, which has none."""
    stored = table.obsm.get(use_rep)
    return [str(name) for name in stored.columns] if isinstance(stored, pd.DataFrame) else None


def _by_names(names: list[list[str] | None], widths: list[int], use_rep: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns of one name; of two arrays, or where all names are the same, those of one place.

    Raises
    ------
    TableError
        If one of the two has no names, or names repeat.
    """
    one, two = names
    if one == two:
        _check_widths(widths, use_rep)
        return np.arange(widths[0]), np.arange(widths[1])
    if one is None or two is None:
        raise TableError(
            f"Columns of {use_rep!r} have names in the {'target' if one is None else 'source'} alone, so that it is "
            "not known whether they are in the same order. Make tables of both: adata.obsm[<key>] = "
            "pandas.DataFrame(values, index=adata.obs_names, columns=<names>)."
        )
    for side, of_side in (("source", one), ("target", two)):
        if len(set(of_side)) < len(of_side):
            raise TableError(f"Columns of {use_rep!r} of the {side} have names that repeat. Make them unique.")
    return _joined(one, two, 1, f"column of {use_rep!r}")


def _check_widths(widths: list[int], use_rep: str) -> None:
    if widths[0] != widths[1]:
        raise TableError(f"{use_rep!r} has {widths[0]} columns in the source and {widths[1]} in the target.")


def of_own_pixels(record: Mapping[str, Any]) -> bool:
    """Whether columns are named measures of the cell's own pixels, in which a larger window changes nothing."""
    return has_names(record) and record.get("mode") == "crop"


def has_names(record: Mapping[str, Any]) -> bool:
    """Whether the columns of an embedding have names."""
    return record.get("feature_names") not in (None, "", "[]")


def _names(record: Mapping[str, Any], name: str) -> list[str]:
    """A list of a record: JSON text, or as `spatialfm.get.record` gives it."""
    kept = record.get(name) or "[]"
    return json.loads(kept) if isinstance(kept, str) else [str(one) for one in kept]


def how_made(table: AnnData, use_rep: str) -> dict[str, str]:
    """What a representation has in common with all whose columns mean the same, as text; empty where not known."""
    if use_rep == "X":
        return {"columns": json.dumps([str(name) for name in table.var_names])}
    record = table.uns.get(UNS, {}).get(use_rep)
    names = names_in_table(table, use_rep)
    if record is None:
        return {} if names is None else {"columns": json.dumps(names)}
    making = {name: str(record.get(name) or "") for name in SAME if name != "window" or not of_own_pixels(record)}
    columns = _names(record, "feature_names") or _names(record, "markers")
    # one vector of a cell is the same in whatever order its markers come
    in_order = making["output"] == "marker" or has_names(record)
    making["columns"] = json.dumps(names or (columns if in_order else sorted(columns)))
    if record.get("n_components") and (basis := table.uns[UNS].get(f"{use_rep}_basis")) is not None:
        making["basis"] = hashlib.sha256(np.asarray(basis["components"]).astype("<f4").tobytes()).hexdigest()[:16]
    return making


def different_making(earlier: dict[str, str], now: dict[str, str], use_rep: str, one: str, other: str) -> str:
    """What differs in how a representation was made in two tables, in words; empty where nothing does.

    `one` and `other` are what the tables are called, that of `earlier` first.
    """
    if bool(earlier) != bool(now):
        return (
            f"How {use_rep!r} was made is recorded in {one if earlier else other} alone. Embed both cohorts in the "
            "same way."
        )
    if (differs := first_difference(earlier, now)) is None:
        return ""
    name, then, here = differs
    if name == "columns":
        return (
            f"{use_rep!r} was made differently in the cohort of {one}: columns are not the same, or not in the "
            "same order. Bring both to the same columns."
        )
    return (
        f"{use_rep!r} was made differently in the cohort of {one}: {name} is {then!r} there and {here!r} here. "
        "Embed both in the same way."
    )


def another_scale(values: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[float, float] | None:
    """How many times as much columns differ between rows as `sd`, and how many of these they are away from `mean`.

    Medians over the columns that vary; None where half of these are on the same scale: neither ten times as wide or as
    narrow, nor ten deviations away. A few rows may be alike in any unit, and one row does not vary: of fewer than 30
    it counts only that they are far away, or differ too much.
    """
    spread = values.std(axis=0, dtype=np.float64)
    few = len(values) < FEW_ROWS
    counts = spread > 0 if (spread > 0).any() or not few else np.ones(len(spread), bool)
    if not counts.any():
        return None
    wide = float(np.median(spread[counts] / sd[counts]))
    middle = values.mean(axis=0, dtype=np.float64)
    away = float(np.median(np.abs(middle - mean)[counts] / sd[counts]))
    same = (few or 1 / OTHER_SCALE <= wide) and wide <= OTHER_SCALE and away <= OTHER_SCALE
    return None if same else (wide, away)


def tell_another_scale(values: np.ndarray, mean: np.ndarray, sd: np.ndarray, what: str) -> None:
    """Warn of columns whose values are on another scale than those of `mean` and `sd`, as counts beside logarithms are.

    Warns
    -----
    SpatialfmWarning
        If `another_scale` finds so.
    """
    scale = another_scale(values, mean, sd)
    if scale is None:
        return
    warn(
        f"{what} differs {scale[0]:.3g} times as much between rows, and lies {scale[1]:.3g} standard deviations away "
        "(medians of its columns), as if it were in another unit than what it is compared with. Bring both to one "
        "unit, such as arcsinh of the same counts."
    )


def tell_another_unit(values: np.ndarray, known: np.ndarray, what: str) -> None:
    """The same of columns whose own values in the other table are known.

    Warns
    -----
    SpatialfmWarning
        As `tell_another_scale`.
    """
    if len(known) and len(values):
        tell_another_scale(values, *column_scale(known.astype(np.float64), STANDARDIZED), what)


def _same_way(records: list[dict[str, Any]], name: str) -> str:
    """How two tables are embedded in the same way, where `name` of their records differs."""
    if name == "model_options":
        sizes = [json.loads(record.get("recipe") or "{}").get("pixel_size") for record in records]
        if None not in sizes and sizes[0] != sizes[1]:
            return (
                "Embed both at the coarser pixel size: sfm.tl.embed_cells(..., recipe={'pixel_size': "
                f"{max(sizes):g}}})."
            )
    if name in SLICING:
        return "Embed both in the same way: sfm.tl.embed_context(..., slicing=...)."
    return (
        "Embed both in the same way: sfm.tl.embed_cells(..., recipe=sfm.get.recipe(...)) carries recipe and statistics "
        "over."
    )


def _compare_pixels(records: list[dict[str, Any]], use_rep: str) -> None:
    """Warn where one cohort was seen at another resolution."""
    used = [list(json.loads(record.get("mpp_used") or "{}").values()) for record in records]
    if all(record.get("size_free") for record in records) or not all(used) or None in used[0] + used[1]:
        return
    sizes = [float(np.median(of_samples)) for of_samples in used]
    if max(sizes) > 1.1 * min(sizes):
        warn(
            f"{use_rep!r} was made at {sizes[0]:g} µm per pixel in the source and {sizes[1]:g} in the target: sizes "
            "and textures are not the same there. Rasterize the images of one to the pixels of the other."
        )


def _same_basis(source: AnnData, target: AnnData, use_rep: str) -> bool:
    bases = [table.uns[UNS].get(f"{use_rep}_basis") for table in (source, target)]
    return None not in bases and all(np.array_equal(bases[0][name], bases[1][name]) for name in ("mean", "components"))


def _joined(one: list[str], two: list[str], width: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    both = [name for name in one if name in two]
    if not both:
        raise TableError(f"Source ({listed(one)}) and target ({listed(two)}) share no {what}.")
    if len(both) < max(len(one), len(two)):
        logger.info("%d %s are in both, %d only in one", len(both), what, len(set(one) ^ set(two)))

    def columns_of(names: list[str]) -> np.ndarray:
        places = np.array([names.index(name) for name in both])
        return (places[:, None] * width + np.arange(width)).ravel()

    return columns_of(one), columns_of(two)
