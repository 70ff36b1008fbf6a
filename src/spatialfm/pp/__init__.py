"""From images and labels to panels and cell tables."""

from __future__ import annotations

import lazy_loader as _lazy

from .._renamed import with_renamed as _with_renamed

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "panel": ["match_markers", "marker_table"],
        "segmentation": ["segment_cells"],
        "segment_quality": ["segmentation_quality"],
        "labels": ["check_labels"],
        "fixed_labels": ["fix_labels"],
        "cells": ["cell_table"],
        "tissue_elements": ["tissue"],
        "statistics": ["marker_statistics"],
        "channels": ["channel_quality"],
        "batches": ["standardize"],
        "clinical": ["add_clinical"],
        "cell_labels": ["add_cell_labels"],
        "samples": ["add_samples"],
        "outcome": ["set_outcome"],
    },
)
__getattr__ = _with_renamed("pp", __getattr__)
