"""From images and labels to panels and cell tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .batches import standardize
    from .cell_labels import add_cell_labels
    from .cells import cell_table
    from .channels import channel_quality
    from .clinical import add_clinical
    from .fix_labels import mend_labels
    from .labels import check_labels
    from .outcome import set_outcome
    from .panel import marker_table, match_markers
    from .samples import add_samples
    from .segment_quality import segmentation_quality
    from .segmentation import segment_cells
    from .statistics import marker_statistics
    from .tissue_elements import tissue

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "batches": ["standardize"],
        "cell_labels": ["add_cell_labels"],
        "cells": ["cell_table"],
        "channels": ["channel_quality"],
        "clinical": ["add_clinical"],
        "labels": ["check_labels"],
        "fix_labels": ["mend_labels"],
        "outcome": ["set_outcome"],
        "panel": ["marker_table", "match_markers"],
        "samples": ["add_samples"],
        "segmentation": ["segment_cells"],
        "segment_quality": ["segmentation_quality"],
        "statistics": ["marker_statistics"],
        "tissue_elements": ["tissue"],
    },
)
