"""Clinical columns of samples, for the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._keys import PATIENT_KEY, SAMPLES
from .._storable import storable_column

if TYPE_CHECKING:
    from spatialdata import SpatialData


def add_sample_columns(sdata: SpatialData, samples: np.ndarray, obs: pd.DataFrame) -> None:
    """Columns of ``sdata["samples"]`` that `obs` lacks, by the sample of each row; orders of categories are kept."""
    if SAMPLES not in sdata.tables:
        return
    clinical = sdata.tables[SAMPLES].obs
    for name in clinical.columns.difference(obs.columns, sort=False):
        values = storable_column(clinical[name]).reindex(samples).set_axis(obs.index)
        if not pd.api.types.is_numeric_dtype(values) or name == PATIENT_KEY:
            values = values.astype("category")
        obs[name] = storable_column(values)
