"""States of cells."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

ROUND_TRIP = [lambda cells: [sfm.tl.cell_states(cells, 8, use_rep="X_model"), cells][1]]


def blobs(seed=0, n=300, k=6):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    centers = 10 * np.random.default_rng(99).standard_normal((k, 4))
    adata = AnnData(obs=pd.DataFrame({"truth": truth.astype(str)}, index=[str(i) for i in range(n)]))
    adata.obsm["X_e"] = (centers[truth] + rng.standard_normal((n, 4))).astype(np.float32)
    return adata


def test_planted_states_and_a_second_cohort():
    from sklearn.metrics import adjusted_rand_score

    first, second = blobs(0), blobs(1)
    sfm.tl.cell_states(first, 6, use_rep="X_e", standardize=True)
    assert adjusted_rand_score(first.obs["truth"], first.obs["state"]) == 1.0
    sizes = first.obs["state"].value_counts(sort=False)
    assert (np.diff(sizes) <= 0).all()
    sfm.tl.cell_states(second, use_rep="X_e", source=first)
    both = pd.concat([first.obs, second.obs])
    assert adjusted_rand_score(both["truth"], both["state"].astype(str)) == 1.0


def test_refusals():
    cells = blobs()
    cells.obsm["X_e"][:] = 1.0
    with pytest.raises(TableError, match="1 different cells cannot be separated into 6 states"):
        sfm.tl.cell_states(cells, 6, use_rep="X_e")
    with pytest.raises(TableError, match="The source has no states in uns"):
        sfm.tl.cell_states(cells, use_rep="X_e", source=blobs(1))
    other = blobs(1)
    other.obsm["X_e"] = other.obsm["X_e"][:, :3]
    sfm.tl.cell_states(other, 3, use_rep="X_e")
    with pytest.raises(TableError, match="'X_e' has 3 columns in the source and 4 in the target"):
        sfm.tl.cell_states(blobs(), use_rep="X_e", source=other)


def test_states_are_those_of_scikit_learn():
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    cells = blobs(k=5)
    cells.obsm["X_e"][:, 2] *= 40  # standardising matters
    sfm.tl.cell_states(cells, 5, use_rep="X_e", standardize=True)
    values = cells.obsm["X_e"]
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    theirs = KMeans(5, n_init=3, random_state=0).fit(scaled)
    assert adjusted_rand_score(theirs.labels_, cells.obs["state"]) == 1.0
    record = cells.uns["state"]
    np.testing.assert_allclose(record["centers"][0], scaled[(cells.obs["state"] == "1").to_numpy()].mean(0), atol=1e-4)


def test_columns_of_a_second_cohort_are_found_by_their_names():
    """Three blobs, each high in its own marker; the second cohort has its markers in another order."""
    rng = np.random.default_rng(0)
    which = np.repeat([0, 1, 2], 40)
    values = 0.1 * rng.normal(size=(120, 3)) + 5 * np.eye(3)[which]
    first = AnnData(values, var=pd.DataFrame(index=["CD3", "CD8", "CD20"]))
    first.obs_names = [f"c{i}" for i in range(120)]
    sfm.tl.cell_states(first, 3, use_rep="X")
    second = first[:, ["CD20", "CD3", "CD8"]].copy()
    sfm.tl.cell_states(second, use_rep="X", source=first)
    assert (first.obs["state"].astype(str) == second.obs["state"].astype(str)).all()
    second.var_names = ["CD20", "CD3", "CD4"]
    with pytest.raises(TableError, match="have 3 columns, of which 'X' has 2"):
        sfm.tl.cell_states(second, use_rep="X", source=first)
    second.obsm["X_e"] = np.asarray(second.X)
    with pytest.raises(TableError, match="were made of 'X'"):
        sfm.tl.cell_states(second, use_rep="X_e", source=first)
