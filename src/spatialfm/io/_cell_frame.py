"""Cells as another program measured them: one table of a SpatialData, or of its own where there are no images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import TableError
from .._keys import INSTANCE_KEY, REGION_KEY, SAMPLE_KEY, SPATIAL, TABLE, UNS, cell_name, cells_name
from ..pp.joins import add_columns, counted, listed, storable_frame


@dataclass(frozen=True)
class CellFrame:
    """Cells of one sample.

    Attributes
    ----------
    sample
        Name of the sample.
    ids
        ``(n,)`` whole numbers from 1 on, each once: label ids where there is a mask.
    xy
        ``(n, 2)`` positions x, y in µm, in the coordinate system of the sample.
    intensities
        ``(n, markers)`` numbers; a marker that was not measured is absent.
    obs
        ``(n, columns)`` of everything else.
    """

    sample: str
    ids: np.ndarray
    xy: np.ndarray
    intensities: pd.DataFrame
    obs: pd.DataFrame


def table_of_cells(frames: Sequence[CellFrame], *, source: str, annotates: Mapping[str, str] | None = None) -> AnnData:
    """One row per cell, as `spatialfm.pp.cell_table` writes it, of what another program measured.

    Parameters
    ----------
    frames
        One for each sample.
    source
        Program or file, for messages and the record.
    annotates
        Name of the labels or shapes element of each sample (default: ``cells_<sample>``).

    Returns
    -------
    AnnData
        ``X`` with the union of markers in the order first seen, NaN where a sample lacks one; ``obs`` with ``region``,
        ``cell_id``, ``sample`` and the other columns; ``obsm["spatial"]`` in µm.

    Raises
    ------
    TableError
        If there is no cell, ids are not positive or occur twice, or positions are missing.
    """
    if problems := [problem for frame in frames for problem in problems_of(frame)]:
        raise TableError(f"The cells of {source} cannot be used:\n" + "\n".join(f"  - {text}" for text in problems))
    frames = [frame for frame in frames if frame.ids.size]
    if not frames:
        raise TableError(f"{source} has no cell; there is no table to make.")
    markers = list(dict.fromkeys(str(name) for frame in frames for name in frame.intensities))
    blocks = [frame.intensities.rename(columns=str).reindex(columns=markers) for frame in frames]
    values = np.concatenate([block.to_numpy(dtype=np.float32, na_value=np.nan) for block in blocks])
    names = pd.Index([cell_name(frame.sample, label) for frame in frames for label in frame.ids])
    region = {frame.sample: (annotates or {}).get(frame.sample, cells_name(frame.sample)) for frame in frames}
    samples = np.repeat([frame.sample for frame in frames], [frame.ids.size for frame in frames])
    obs = pd.DataFrame(
        {
            REGION_KEY: pd.Categorical([region[sample] for sample in samples], categories=list(region.values())),
            INSTANCE_KEY: np.concatenate([frame.ids for frame in frames]).astype(np.int64),
            SAMPLE_KEY: pd.Categorical(samples, categories=list(region)),
        },
        index=names,
    )
    other = pd.concat([frame.obs for frame in frames], ignore_index=True).set_axis(names, axis=0)
    other = storable_frame(other, source, TableError)
    adata = AnnData(values, obs=add_columns(obs, other, source, "Rename it in the file.", TableError))
    adata.var_names = markers
    adata.obsm[SPATIAL] = np.concatenate([np.asarray(frame.xy, dtype=np.float64) for frame in frames])
    there = {frame.sample: set(frame.intensities.columns.map(str)) for frame in frames}
    lacking = {
        sample: absent for sample, own in there.items() if (absent := [name for name in markers if name not in own])
    }
    adata.uns[UNS] = {
        TABLE: {
            "statistic": f"as in {source}",
            "source": source,
            "markers_missing": json.dumps(lacking, ensure_ascii=False),
        }
    }
    return adata


def missing_ids(frame: CellFrame, in_labels: np.ndarray) -> str:
    """What of the ids of a table and of a label image has no counterpart, as a sentence; empty where all have one."""
    absent = np.setdiff1d(frame.ids, in_labels)
    if not absent.size:
        return ""
    return (
        f"sample {frame.sample!r}: {counted(absent.size, 'cell')} of {frame.ids.size:,} not in the labels: "
        f"{listed(absent)}"
    )


def problems_of(frame: CellFrame) -> list[str]:
    """What is wrong with the cells of one sample."""
    where = f"sample {frame.sample!r}"
    if (n := frame.ids.size) != len(frame.xy) or n != len(frame.intensities) or n != len(frame.obs):
        return [f"{where}: ids, positions, intensities and columns differ in their number of cells"]
    problems = []
    if (wrong := frame.ids[frame.ids < 1]).size:
        problems.append(f"{where}: ids have to be 1 or more, found {listed(np.unique(wrong))}")
    ids, n_rows = np.unique(frame.ids, return_counts=True)
    if (twice := ids[n_rows > 1]).size:
        problems.append(f"{where}: {counted(twice.size, 'id occurs', 'ids occur')} more than once: {listed(twice)}")
    if n_lost := int((~np.isfinite(np.asarray(frame.xy, dtype=np.float64)).all(axis=1)).sum()):
        problems.append(f"{where}: {counted(n_lost, 'cell has', 'cells have')} no position")
    return problems
