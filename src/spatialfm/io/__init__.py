"""Files in and out: images and masks, cohorts of them, and SpatialData stores."""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "tiff": ["read_tiff"],
        "ome_zarr": ["read_ome_zarr"],
        "mcmicro": ["read_mcmicro"],
        "spora": ["read_spora"],
        "cohort": ["read_cohort"],
        "steinbock": ["read_steinbock"],
        "inform": ["read_inform"],
        "cellprofiler": ["read_cellprofiler"],
        "qupath": ["read_qupath"],
        "geojson": ["read_geojson"],
        "mcd": ["read_mcd"],
        "cells": ["read_cells"],
        "_write": ["write"],
        "cell_labels": ["write_cell_labels"],
        "features_h5": ["read_features_h5", "write_features_h5"],
        "_names": ["sample_name"],
    },
)
