"""Cohorts to learn and test with: simulated tissue whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from ._simulate_cells import simulate_cells
    from ._simulate_cohort import simulate_cohort

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={"_simulate_cohort": ["simulate_cohort"], "_simulate_cells": ["simulate_cells"]},
)
