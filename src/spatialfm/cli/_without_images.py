"""Cohorts that are a table of cells, without images: what takes the place of images in the stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import TableError, counted
from .._keys import INSTANCE_KEY, PATIENT_KEY, SAMPLE_KEY, SAMPLES, SPATIAL, TABLE

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

READER = "cells"
MARKERS = "X_markers"  # of obsm: what cells are clustered by where no model has seen them
PHENOTYPE, GIVEN = "phenotype", "phenotype_given"
NEED_IMAGES = ("segment", "embed")
NO_IMAGES = "the cohort is a table of cells, without images"


def cohort_of(table: AnnData) -> SpatialData:
    """A table of cells as a cohort, with one row per sample of the columns that have one value in each."""
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..cohort.one_value import differs

    codes, names = pd.factorize(table.obs[SAMPLE_KEY].astype(str))
    first = np.unique(codes, return_index=True)[1]
    one = [name for name in table.obs if name not in (SAMPLE_KEY, INSTANCE_KEY, PHENOTYPE)]
    one = [name for name in one if not differs(table.obs[name], codes).any()]
    rows = table.obs[one].iloc[first].set_axis(pd.Index(names, dtype=object), axis=0)
    if PATIENT_KEY in rows:
        rows.insert(0, PATIENT_KEY, rows.pop(PATIENT_KEY))
    return SpatialData(tables={TABLE: table, SAMPLES: AnnData(obs=rows)})


def is_table_only(sdata: SpatialData) -> bool:
    """Whether there are cells, but no image."""
    return not sdata.images and TABLE in sdata.tables


def said_for_images(stage: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """A problem for each setting of a stage that was set, and means nothing without images."""
    said = [name for name, value in settings.items() if name not in defaults or value != defaults[name]]
    return [f"{stage}.{name}: {NO_IMAGES}, and this stage looks at images. Leave it out." for name in said]


def complete(table: AnnData) -> np.ndarray:
    """Which markers every cell has, ``(n_vars,)``."""
    return ~np.isnan(np.asarray(table.X)).any(axis=0)


def scaled_markers(table: AnnData) -> np.ndarray:
    """Intensities of the markers that every cell has, ``(n, markers)``: arcsinh by marker, then standardised.

    Columns that were transformed by hand, as `IntensityScaler` finds, are standardised alone.

    Raises
    ------
    TableError
        If there is none.
    """
    from ..cohort.intensities import Intensities
    from ..learn.arcsinh import IntensityScaler

    values = np.asarray(table.X, dtype=np.float64)[:, complete(table)]
    names = tuple(map(str, table.var_names[complete(table)]))
    if not names:
        raise TableError(
            "The table of cells has neither types nor a marker that every cell has. Name the columns: read.phenotype, "
            "or read.markers."
        )
    n = len(names)
    scaler = IntensityScaler(Intensities(names, np.arange(n), np.zeros(n), np.ones(n), as_measured=False))
    return scaler.fit(values).transform(values).astype(np.float32)


def described_cells(sdata: SpatialData) -> dict[str, Any]:
    """Samples with their cells, and types, as JSON holds them."""
    table = sdata[TABLE]
    sizes = table.obs[SAMPLE_KEY].astype(str).value_counts(sort=False)
    types = table.obs[PHENOTYPE].astype(str).value_counts() if PHENOTYPE in table.obs else {}
    return {
        "samples": [{"sample": str(name), "cells": int(n)} for name, n in sizes.items()],
        "types": {str(name): int(n) for name, n in types.items()},
        "extent": [round(float(side), 1) for side in np.ptp(np.asarray(table.obsm[SPATIAL]), axis=0)],
        "stages_left_out": list(NEED_IMAGES),
    }


def in_words(sdata: SpatialData) -> str:
    """Cells, and of what."""
    table = sdata[TABLE]
    types = f", {counted(table.obs[PHENOTYPE].nunique(), 'type')}" if PHENOTYPE in table.obs else ", no types"
    return f"{counted(table.n_obs, 'cell')}{types}; no images"
