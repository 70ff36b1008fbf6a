"""A cohort of competing events whose hazards are set."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

WORDS = {0: "alive", 1: "relapse", 2: "death"}


def cohort(n: int = 80, seed: int = 0, few: int | None = None) -> AnnData:
    """Two events with hazards 1 and 0.5, the first doubled in group b; x is noise."""
    rng = np.random.default_rng(seed)
    arm = np.arange(n) < (n // 2 if few is None else few)
    one, two, limit = rng.exponential(1 / (1 + arm)), rng.exponential(2, n), rng.uniform(0, 3, n)
    time = np.minimum(np.minimum(one, two), limit)
    cause = np.where(limit <= np.minimum(one, two), 0, np.where(one < two, 1, 2))
    obs = pd.DataFrame({"time": time.round(2) + 0.01, "event": cause, "x": rng.normal(size=n)})
    obs["arm"] = np.where(arm, "b", "a")
    obs["what"] = obs["event"].map(WORDS)
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))
