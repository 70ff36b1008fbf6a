"""A patient with most of the cells does not decide what all are divided into."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.stats.depth import even_weights

N_KINDS = 8


def unequal(huge=6000, others=32, seed=0):
    """Nineteen patients with eight kinds of cells each, far apart; one with nine of ten cells has one broad kind."""
    rng = np.random.default_rng(seed)
    centers = 12 * np.eye(N_KINDS, 10)
    parts = [centers[rng.integers(0, N_KINDS, others)] + rng.normal(size=(others, 10)) for _ in range(19)]
    values = np.concatenate([rng.normal(0, 3.0, (huge, 10)) - 12 * np.eye(10)[9], *parts]).astype(np.float32)
    names = np.repeat([f"P{i:02d}" for i in range(20)], [huge] + 19 * [others])
    obs = pd.DataFrame({"patient": names, "sample": names}, index=np.arange(len(names)).astype(str))
    return AnnData(obs=obs, obsm={"X_e": values, "spatial": rng.uniform(0, 1000, (len(names), 2))})


def of_the_huge_one(cells, key):
    """States or niches of which most cells are the huge patient's."""
    share = (cells.obs["patient"] == "P00").groupby(cells.obs[key], observed=True).mean()
    return int((share > 0.5).sum())


CALLS = {
    "cell_states": (lambda c, **o: sfm.tl.cell_states(c, 10, use_rep="X_e", **o), "state"),
    "niches": (lambda c, **o: sfm.tl.niches(c, 10, use_rep="X_e", **o), "niche"),
    "tissue_clusters": (lambda c, **o: sfm.tl.tissue_clusters(c, 10, use_rep="X_e", **o), "tissue_cluster"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_huge_patient_has_few_of_the_states(name):
    call, key = CALLS[name]
    cells = unequal()
    call(cells)
    assert of_the_huge_one(cells, key) <= 2
    assert cells.uns[key]["params"]["weights"] == "20 patients alike"
    call(cells, patient_key=None, key_added="pooled")  # as published
    assert of_the_huge_one(cells, "pooled") >= 4
    assert cells.uns["pooled"]["params"]["weights"] == "rows alike"


def test_weights_are_those_of_scikit_learn_and_samples_stand_in_for_patients():
    cells = unequal(huge=900, others=60)
    cells = cells[cells.obs_names.sort_values()].copy()  # the order in which k-means is started
    n = cells.obs["patient"].map(cells.obs["patient"].value_counts()).to_numpy(float)
    theirs = KMeans(10, n_init=10, random_state=0).fit_predict(cells.obsm["X_e"], sample_weight=1 / n * len(n) / 20)
    del cells.obs["patient"]
    sfm.tl.niches(cells, 10, use_rep="X_e")
    assert adjusted_rand_score(theirs, cells.obs["niche"]) == 1
    assert cells.uns["niche"]["params"]["weights"] == "20 samples alike"
    with pytest.raises(TableError, match="No column 'who' in obs"):
        sfm.tl.niches(cells, 10, use_rep="X_e", patient_key="who")


def test_a_patient_with_next_to_no_cells_weighs_less():
    weights = even_weights(np.repeat([0, 1, 2, 3], [2, 500, 1000, 1500]))
    total = np.bincount(np.repeat([0, 1, 2, 3], [2, 500, 1000, 1500]), weights=weights)
    np.testing.assert_allclose(total[1:], total[1])
    assert total[0] == pytest.approx(total[1] * 2 / 75)  # a tenth of the median of 750
    assert weights.mean() == pytest.approx(1)


def test_leiden_says_whose_the_clusters_are():
    cells = unequal(huge=600, others=20)
    with pytest.warns(SpatialfmWarning, match=r"61 % of the cells are of patient 'P00': .*head\(20\)"):
        sfm.tl.leiden_sweep(cells, use_rep="X_e", resolutions=[0.5], n_subsamples=0)
    part = cells[cells.obs.sample(frac=1, random_state=0).groupby("patient", observed=True).head(20).index].copy()
    assert part.obs["patient"].value_counts().eq(20).all()
    sfm.tl.leiden_sweep(part, use_rep="X_e", resolutions=[0.5], n_subsamples=0)
