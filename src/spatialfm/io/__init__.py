"""Files in and out: images and masks, cohorts of them, and SpatialData stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from ._names import sample_name
    from ._write import write
    from .cell_labels import write_cell_labels
    from .cellprofiler import read_cellprofiler
    from .cells import read_cells
    from .cohort import read_cohort
    from .features_h5 import read_features_h5, write_features_h5
    from .geojson import read_geojson
    from .inform import read_inform
    from .mcd import read_mcd
    from .mcmicro import read_mcmicro
    from .ome_zarr import read_ome_zarr
    from .qupath import read_qupath
    from .spora import read_spora
    from .steinbock import read_steinbock
    from .tiff import read_tiff

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_names": ["sample_name"],
        "_write": ["write"],
        "cell_labels": ["write_cell_labels"],
        "cellprofiler": ["read_cellprofiler"],
        "cells": ["read_cells"],
        "cohort": ["read_cohort"],
        "inform": ["read_inform"],
        "mcmicro": ["read_mcmicro"],
        "features_h5": ["read_features_h5", "write_features_h5"],
        "geojson": ["read_geojson"],
        "mcd": ["read_mcd"],
        "ome_zarr": ["read_ome_zarr"],
        "qupath": ["read_qupath"],
        "spora": ["read_spora"],
        "steinbock": ["read_steinbock"],
        "tiff": ["read_tiff"],
    },
)
