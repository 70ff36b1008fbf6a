"""Whoever sorts the table of patients gets the same numbers, those that are drawn at random too."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin

PERMUTED = {"n_permutations": 999, "copy": True}
TOOLS = {
    "logrank": lambda a: sfm.tl.logrank(a, "arm", **PERMUTED)["p_value"],
    "logrank in strata": lambda a: sfm.tl.logrank(a, "arm", strata="site", **PERMUTED)["p_value"],
    "logrank, late entry": lambda a: sfm.tl.logrank(a, "arm", entry_key="entry", **PERMUTED)["p_value"],
    "rmst": lambda a: sfm.tl.rmst(a, "arm", **PERMUTED)["differences"]["p_value"].tolist(),
    "cumulative_incidence": lambda a: sfm.tl.cumulative_incidence(a, "arm", **PERMUTED)["tests"]["p_value"].tolist(),
    "cut_point": lambda a: sfm.tl.cut_point(a, "x", **PERMUTED)["p_value"],
    "concordance": lambda a: sfm.tl.concordance(a, "x", copy=True)["ci_low"],
    "added_value": lambda a: sfm.tl.added_value(a, "x", "site", n_bootstrap=100, copy=True)["table"].to_numpy()[2, 3],
    "stratify": lambda a: sfm.tl.stratify(
        a, 4, merge_into=2, cross_fit=3, time_key="time", event_key="event", copy=True
    ).sort_index().tolist(),
    "risk_ratio": lambda a: sfm.tl.risk_ratio(
        a[a.obs["arm"] != "c"].copy(), "arm", ["0", "1"], group="a", threshold=0.3, covariates="x", copy=True
    )["p_value"].tolist(),
}  # fmt: skip
OF_CELLS = {
    "compare_enrichment": lambda a: sfm.tl.compare_enrichment(
        a, "type", "arm", n_neighbors=5, block_key="site", copy=True
    )["p_value"].tolist(),
    "batch_effect": lambda a: sfm.metrics.batch_effect(a, "site", use_rep="X_latent", max_rows=100)["ari"].tolist(),
    "cluster_agreement": lambda a: sfm.tl.cluster_agreement(
        a, "type", use_rep="X_latent", methods=["kmeans"], n_clusters=7, n_seeds=3
    )["ari"].tolist(),
}  # fmt: skip


@pytest.fixture
def samples() -> AnnData:
    """40 patients in three arms, ties in time."""
    rng = np.random.default_rng(0)
    time = np.ceil(rng.exponential(20, 40))
    obs = pd.DataFrame({"time": time, "event": rng.integers(0, 2, 40), "arm": rng.choice(["a", "b", "c"], 40)})
    obs["site"], obs["x"], obs["entry"] = rng.integers(0, 2, 40), rng.normal(size=40), time * rng.uniform(0, 0.5, 40)
    return AnnData(rng.dirichlet([1, 1, 1, 1], 40), obs=obs.set_axis([f"P{i:02}" for i in range(40)]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", list(TOOLS))
def test_sorted_and_shuffled_tables_give_the_same(samples, tool):
    shuffled = samples[np.random.default_rng(1).permutation(40)].copy()
    first = TOOLS[tool](samples)
    _origin.forget()
    second = TOOLS[tool](shuffled)
    _origin.forget()
    assert first == second if tool == "stratify" else first == pytest.approx(second, rel=1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tool", list(OF_CELLS))
def test_sorted_and_shuffled_cells_give_the_same(tool):
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=40, random_state=0)
    number = cells.obs["patient"].astype("category").cat.codes
    cells.obs["arm"], cells.obs["site"] = (number // 2 % 2).map({0: "a", 1: "b"}), (number % 2).map({0: "x", 1: "y"})
    shuffled = cells[np.random.default_rng(1).permutation(cells.n_obs)].copy()
    assert OF_CELLS[tool](cells) == pytest.approx(OF_CELLS[tool](shuffled), rel=1e-6, nan_ok=True)


def test_rows_of_one_name_are_stratified(samples):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples.obs_names = ["P"] * 40
    groups = sfm.tl.stratify(samples, 2, time_key="time", event_key="event", copy=True)
    assert len(groups) == 40
    assert set(groups) == {"low", "high"}
