"""Corrections over several analyses."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

import spatialfm as sfm

from .case import Case


def _any_false(seed: int, method: str) -> float:
    """0 where anything is called among five nested resolutions of 10 to 50 clusters without effect, otherwise 1.

    p-values of a resolution are those of normal differences; the coarser ones are sums of the finer ones.
    """
    rng = np.random.default_rng(seed)
    finest = rng.normal(size=50)
    tables = {}
    for n in (10, 25, 50):
        z = finest.reshape(n, -1).sum(axis=1) / np.sqrt(50 / n)
        tables[str(n)] = pd.DataFrame({"p_value": 2 * stats.norm.sf(np.abs(z))})
    joined = sfm.tl.correct_together(tables, method=method, copy=True)
    return 0.0 if joined["significant_together"].any() else 1.0


CASES = [
    Case("tl.correct_together", f"any of 85 tests of three nested resolutions called ({method})", "p_value",
         lambda s, method=method: _any_false(s, method), 2000, cheap=True, conservative=True)
    for method in ("fdr_bh", "fdr_by", "holm")
]  # fmt: skip
