"""A table of cells that are points: places and names, and nothing that pixels would have to be counted for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import TableError
from .._keys import INSTANCE_KEY, REGION_KEY, SAMPLE_KEY, SAMPLES, SPATIAL, cell_name
from .._outcome import carry_outcome
from .arrays import drawn_kind
from .assemble import as_table
from .drawn_cells import drawn_cells
from .elements import SampleElements, image_to_system
from .sample_columns import add_sample_columns

if TYPE_CHECKING:
    from spatialdata import SpatialData


def are_points(sdata: SpatialData, pairs: Sequence[SampleElements]) -> bool:
    """Whether the cells of all samples are in points elements."""
    return bool(pairs) and all(drawn_kind(sdata, str(pair.labels)) == "points" for pair in pairs)


def table_of_points(sdata: SpatialData, pairs: Sequence[SampleElements]) -> AnnData:
    """One row per point, without markers: ``region``, ``cell_id``, ``sample`` and columns of the samples in `obs`.

    Raises
    ------
    TableError
        If ids are numbers in some samples and text in others.
    """
    frames, places = [], []
    for pair in pairs:
        drawn = drawn_cells(sdata, pair)
        y, x = drawn.centers.T
        places.append(np.stack(image_to_system(sdata, pair)(y, x)[::-1], axis=1))
        names = [cell_name(pair.sample, one) for one in drawn.ids]
        frames.append(pd.DataFrame({REGION_KEY: pair.labels, INSTANCE_KEY: drawn.ids, SAMPLE_KEY: pair.sample}, names))
    if len({frame[INSTANCE_KEY].dtype == object for frame in frames}) > 1:
        raise TableError(
            "Ids of points are text in some samples and numbers in others, which one column of a table cannot hold. "
            "Embed each with samples=[...]."
        )
    obs = pd.concat(frames)
    samples = obs[SAMPLE_KEY].to_numpy()
    for column in (REGION_KEY, SAMPLE_KEY):
        obs[column] = pd.Categorical(obs[column], categories=pd.unique(obs[column]))
    add_sample_columns(sdata, samples, obs)
    adata = AnnData(np.empty((len(obs), 0), np.float32), obs=obs)
    adata.obsm[SPATIAL] = np.concatenate(places)
    carry_outcome(sdata.tables.get(SAMPLES), adata)
    return as_table(adata)
