"""Means of predicted images over the cells of a table, apart from what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import counted, listed, warn
from ..._imputed import is_imputed
from ..._keys import UNS
from ..._storable import named_table, write_obsm
from ...pp.drawn_cells import cells_data
from ...pp.elements import labels_to_image
from ..planned import table_of
from ..result.record import as_text, make_record, write_record
from ..windows.cells import find_cells
from .cells import means_of_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...pp.elements import SampleElements
    from ..pixels.reader import SampleReader
    from ..windows.cells import Cells

Box = tuple[int, int, int, int]
OF_A_CALL = ("seconds", "mpp_used")  # what a record says of one call or sample: others may be of the same kind


def table_means(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    readers: Sequence[SampleReader],
    table: AnnData,
    cells: Cells,
    read: Callable[[int, Box, list[int]], np.ndarray],
    markers: Sequence[str],
) -> pd.DataFrame:
    """Mean of each predicted marker over the pixels of each cell; NaN in rows of samples that are not there.

    Parameters
    ----------
    pairs, readers
        Image and cells of each sample, and what knows its grid of pixels.
    cells
        Cells of the samples that have any, see `cells_of`.
    read
        Gives predicted pixels ``(k, h, w)`` of a sample by its number, a box and channels.
    """
    numbers = [number for number, pair in enumerate(pairs) if pair.labels is not None]
    grids = [
        replace(
            readers[number],
            labels_name=str(pairs[number].labels),
            labels=cells_data(sdata, pairs[number]),
            image_to_labels=labels_to_image(sdata, pairs[number]).inverse(),
        )
        for number in numbers
    ]
    ratios = np.array([grid.ratio for grid in grids])
    means = means_of_cells(grids, ratios, cells, lambda one, box, ones: read(numbers[one], box, ones), len(markers))
    values = np.full((table.n_obs, len(markers)), np.nan, np.float32)
    values[cells.rows] = means
    return pd.DataFrame(values, table.obs_names, pd.Index(markers, dtype=object))


def cells_of(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    table_name: str,
    on_pieces: Literal["raise", "keep"],
    intensity_max: float | Mapping[str, float] | None,
    every: Sequence[SampleElements] = (),
) -> tuple[AnnData, Cells] | None:
    """The cell table, made where there is none, joined to the labels; None where no sample has cells.

    `every`: samples that a table is made of, where these are more.
    """
    labelled = [pair for pair in pairs if pair.labels is not None]
    if not labelled:
        return None
    made_of = [pair for pair in every or pairs if pair.labels is not None]
    table = table_of(sdata, table_name, made_of, "raise", on_pieces, intensity_max)
    return table, find_cells(sdata, labelled, table, table_name, "raise", None, on_pieces)


def names_in_table(
    table: AnnData, channels: Sequence[Sequence[str]], panel: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """How the table names each marker, so that what was measured and what was imputed are known to be one.

    Parameters
    ----------
    channels, panel
        Channels of each sample, and the markers that they were recognised as: the table has the names of channels.
    given
        What the user calls a marker, by marker.

    Returns
    -------
    The name of the table for each marker, which is the marker's own where the table has none.
    """
    there, names = set(map(str, table.var_names)), {}
    for marker in (*panel, *given):
        of_samples = [row[panel.index(marker)] for row in channels] if marker in panel else []
        called = [given.get(marker), marker, *of_samples]
        names[marker] = next((name for name in called if name in there), marker)
    return names


def write_means(
    adata: AnnData, key: str, frame: pd.DataFrame, record: Mapping[str, Any], rows: np.ndarray | None = None
) -> None:
    """Means into ``obsm[key]``, which is never ``X``, and their record; intervals of earlier ones go.

    With `rows`, those of the samples that were asked for, other rows keep what an earlier call wrote with the same
    record. Of another record they are set to NaN, with a warning: one column has numbers of one kind.
    """
    notes = make_record(**record)
    if rows is not None:
        frame, notes = _with_others(adata, key, frame, notes, rows)
    for end in ("lower", "upper"):
        adata.obsm.pop(f"{key}_{end}", None)
    write_obsm(adata, key, frame)
    write_record(adata, key, notes)


def _with_others(
    adata: AnnData, key: str, frame: pd.DataFrame, notes: dict[str, str | int | float], rows: np.ndarray
) -> tuple[pd.DataFrame, dict[str, str | int | float]]:
    """The frame with the earlier values of all other rows, if these were made in the same way."""
    others = np.setdiff1d(np.arange(adata.n_obs), rows)
    frame = frame.copy()
    frame.iloc[others] = np.nan
    if not is_imputed(adata, key) or not isinstance(adata.obsm.get(key), pd.DataFrame):
        return frame, notes
    earlier, before = named_table(adata, key), dict(adata.uns[UNS][key])
    n = int(earlier.iloc[others].notna().any(axis=1).sum())
    if not n:
        return frame, notes
    changed = [name for name in {**before, **notes} if str(before.get(name, "")) != str(notes.get(name, ""))]
    changed = [name for name in changed if name not in OF_A_CALL]
    if changed or list(earlier.columns) != list(frame.columns):
        warn(
            f"{counted(n, 'cell')} of samples that were not asked for (samples=) had values in obsm[{key!r}], made "
            f"otherwise (another {listed(changed or ['imputed'], 4, quoted=False)} in the record), and have none now. "
            "Impute all samples in one call, or pass another key_added=."
        )
        return frame, notes
    frame.iloc[others] = earlier.iloc[others]
    sizes = [json.loads(str(one["mpp_used"])) for one in (before, notes) if one.get("mpp_used")]
    return frame, notes | ({"mpp_used": as_text({**sizes[0], **sizes[-1]})} if sizes else {})


def without_labels(pairs: Sequence[SampleElements]) -> list[SampleElements]:
    """The pairs for a run that reads no cells, so that it is independent of them."""
    return [replace(pair, labels=None) for pair in pairs]
