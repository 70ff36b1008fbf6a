"""Tables that the tests of the tools share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

# Freireich et al., Blood 1963: weeks in remission under 6-mercaptopurine and placebo
MERCAPTOPURINE = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


@pytest.fixture
def leukemia() -> AnnData:
    """42 patients, one row each."""
    obs = pd.DataFrame(
        {
            "time": [float(t) for t in MERCAPTOPURINE + PLACEBO],
            "event": [1] * 9 + [0] * 12 + [1] * 21,
            "arm": pd.Categorical(["6-MP"] * 21 + ["placebo"] * 21, categories=["placebo", "6-MP"]),
        },
        index=[f"P{i:02d}" for i in range(42)],
    )
    obs["patient"] = obs.index
    return AnnData(obs=obs)


@pytest.fixture
def rossi() -> AnnData:
    """432 rows with ties, 7 covariates (lifelines' copy of Rossi et al. 1980)."""
    from lifelines.datasets import load_rossi

    obs = load_rossi().rename(columns={"week": "time", "arrest": "event"})
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs)


@pytest.fixture
def cells() -> AnnData:
    """300 cells of 4 samples of 3 patients, with coordinates that overlap between samples."""
    rng = np.random.default_rng(0)
    sample = rng.choice(["s1", "s2", "s3", "s4"], 300)
    patient = pd.Series(sample).map({"s1": "A", "s2": "A", "s3": "B", "s4": "C"}).to_numpy()
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(sample),
            "patient": pd.Categorical(patient),
            "type": pd.Categorical(rng.choice(["T", "B", "tumor"], 300), categories=["tumor", "T", "B", "NK"]),
            "stage": pd.Series(patient).map({"A": 1.0, "B": 2.0, "C": np.nan}).to_numpy(),
            "sex": pd.Series(patient).map({"A": "f", "B": "m", "C": "f"}).to_numpy(),
            "area": rng.uniform(20, 80, 300),
        },
        index=[f"c{i}" for i in range(300)],
    )
    return AnnData(X=rng.random((300, 2), dtype=np.float32), obs=obs, obsm={"spatial": rng.uniform(0, 100, (300, 2))})
