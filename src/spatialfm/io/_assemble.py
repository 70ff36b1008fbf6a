"""From the samples that a reader opened to one SpatialData: the end that all readers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._errors import ClinicalError, PanelError, warn
from .._keys import ATTRS, SAMPLES
from ..pp.joins import case_clash, counted, listed, same_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData

    from ._elements import ReadSample


def assemble(
    read: Sequence[ReadSample], obs: pd.DataFrame, cells: AnnData | None = None, *, can_rename: bool = True
) -> SpatialData:
    """All samples as one object, and one warning for each kind of thing that the user should hear.

    Parameters
    ----------
    read
        Samples, each opened.
    obs
        One row per sample, indexed by its name, in the order of `read`: patient and clinical columns as
        `pp.joins.storable_frame` gives them.
    cells
        Table of cells that another program measured, as `_cell_frame.table_of_cells` makes it. It gets the columns of
        `obs` and becomes ``sdata["table"]``.
    can_rename
        Whether the reader takes `channel_names`, which may then be advised.

    Returns
    -------
    SpatialData
        Images and labels of all samples, the table ``"samples"``, and in ``attrs["spatialfm"]`` the record of each
        sample and the panel. Without `cells` there is no table of cells: see `spatialfm.pp.cell_table`.
    """
    import anndata
    from spatialdata import SpatialData

    sdata = SpatialData(
        images={name: element for sample in read for name, element in sample.images.items()},
        labels={name: element for sample in read for name, element in sample.labels.items()},
        shapes={name: element for sample in read for name, element in sample.shapes.items()},
        points={name: element for sample in read for name, element in sample.points.items()},
        tables={SAMPLES: anndata.AnnData(np.zeros((len(read), 0), dtype=np.float32), obs=obs)},
        attrs={ATTRS: {"samples": {sample.sample: sample.record for sample in read}, "panel": panel_record(read)}},
    )
    if cells is not None:
        _add_table(sdata, cells)
    warn_of(read, can_rename=can_rename)
    return sdata


def _add_table(sdata: SpatialData, cells: AnnData) -> None:
    from .._keys import SAMPLE_KEY, TABLE
    from ..pp.assemble import as_table
    from ..pp.sample_columns import add_sample_columns

    samples = cells.obs[SAMPLE_KEY].astype(str).to_numpy()
    _refuse_clashes(sdata.tables[SAMPLES].obs, samples, cells.obs)
    add_sample_columns(sdata, samples, cells.obs)
    sdata[TABLE] = as_table(cells)


def _refuse_clashes(clinical: pd.DataFrame, samples: np.ndarray, obs: pd.DataFrame) -> None:
    """Refuse columns of cells that would hide those of their samples: of one name, and with other values."""
    if case := case_clash(obs, clinical):
        raise ClinicalError(
            f"Column {case[0]!r} of the measured cells and column {case[1]!r} of the samples differ in case only. "
            "Rename one in its file."
        )
    for name in clinical.columns.intersection(obs.columns, sort=False):
        theirs = clinical[name].reindex(samples)
        if not same_values(obs[name], theirs) and not same_values(_texts(obs[name]), _texts(theirs)):
            raise ClinicalError(
                f"Column {name!r} is in the table of measured cells and in that of the samples, with other values. "
                "Rename it in one of the files, or drop it there."
            )


def _texts(column: pd.Series) -> pd.Series:
    """Values as text: a column that is numbers in one file is text in another where it has a name among them."""
    return column.astype(object).map(
        lambda value: str(int(value)) if isinstance(value, float) and value.is_integer() else str(value),
        na_action="ignore",
    )


def panel_record(read: Sequence[ReadSample]) -> dict[str, object]:
    """Union of all channels in the order first seen, and the channels of each sample."""
    return {
        "union": list(dict.fromkeys(name for sample in read for name in sample.channel_names)),
        "samples": {sample.sample: list(sample.channel_names) for sample in read},
    }


def warn_of(read: Sequence[ReadSample], *, can_rename: bool = True) -> None:
    """One warning for each kind of problem, for any number of samples."""
    from ._elements import describe

    by_kind: dict[str, list[tuple[str, str]]] = {}
    for sample in read:
        for kind, file, text in sample.notes:
            by_kind.setdefault(kind, []).append((file, text))
    for kind, notes in by_kind.items():
        warn(describe(kind, notes))
    if message := panel_difference({sample.sample: sample.channel_names for sample in read}):
        advice = " If it is only the spelling, pass channel_names={<old>: <new>}." if can_rename else ""
        warn(message + advice)


def panel_difference(panels: Mapping[str, Sequence[str]]) -> str:
    """What differs between panels, as a sentence; empty where all samples have the same channels in any order."""
    union = list(dict.fromkeys(name for names in panels.values() for name in names))
    known = {sample: set(names) for sample, names in panels.items()}
    lacking = {name: [sample for sample, names in known.items() if name not in names] for name in union}
    lacking = {name: samples for name, samples in lacking.items() if samples}
    if not lacking:
        return ""
    shown = [f"{name!r} is not in {listed(samples, 3)}" for name, samples in list(lacking.items())[:8]]
    more = f"; and {len(lacking) - 8} more" if len(lacking) > 8 else ""
    return (
        f"Samples have different panels: {counted(len(lacking), 'channel')} of {len(union)} not in all of them: "
        f"{'; '.join(shown)}{more}. All samples are kept; what a sample lacks is missing in its cells."
    )


def measure_cells(
    sdata: SpatialData, on_pieces: Literal["raise", "split", "keep"], cells: pd.DataFrame | None = None
) -> None:
    """Cells of all samples that have labels or shapes, measured; a field without cells keeps its sample, with no rows.

    `cells` are columns of the cells, by ``sample`` and ``cell_id``.
    """
    from .._errors import ElementError, TableError
    from .._keys import CELLS_PREFIX, SAMPLE_KEY
    from ..pp import cell_table

    named = [name for name in (*sdata.labels, *sdata.shapes) if name.startswith(CELLS_PREFIX)]
    masked = [name.removeprefix(CELLS_PREFIX) for name in named]
    cells = None if cells is None else cells[cells[SAMPLE_KEY].isin(masked)]
    cells = None if cells is None or cells.empty else cells
    try:
        cell_table(sdata, samples=masked, cells=cells, on_pieces=on_pieces, on_missing="drop")
    except (ElementError, TableError) as error:
        raise type(error)(f"{error} To read images and labels without a table, pass cell_table=False.") from error


def check_renaming(names: Mapping[str | int, str], read: Sequence[ReadSample]) -> None:
    """Refuse new names for channels that no sample has, or for positions that hold different channels."""
    for key, new in names.items():
        if isinstance(key, str):
            if not any(key in sample.found_names for sample in read):
                union = dict.fromkeys(name for sample in read for name in sample.found_names)
                raise PanelError(f"channel_names renames {key!r}, which no sample has; they have {listed(union)}.")
            continue
        at: dict[str, list[str]] = {}
        for sample in read:
            at.setdefault(sample.found_names[int(key)], []).append(sample.sample)
        if len(at) > 1:
            shown = "; ".join(f"{name!r} in {listed(samples, 3)}" for name, samples in at.items())
            raise PanelError(
                f"channel_names calls channel {key} {new!r}, but it is not the same channel in all samples: {shown}. "
                "Rename by name instead of position, or read the samples apart."
            )
