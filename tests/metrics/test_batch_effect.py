"""Batches that are apart, or not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

import spatialfm as sfm
from spatialfm._errors import TableError


def test_mixed_batches_are_near_zero_and_shifted_ones_near_one():
    rng = np.random.default_rng(0)
    batch = np.repeat(["a", "b", "c"], 100)
    mixed = rng.normal(size=(300, 6))
    apart = mixed + 50 * (batch == "b")[:, None]
    cells = AnnData(obs=pd.DataFrame({"batch": batch}, index=map(str, range(300))), obsm={"m": mixed, "s": apart})
    table = sfm.metrics.batch_effect(cells, "batch", use_rep=["m", "s"]).set_index(["use_rep", "first", "second"])
    assert (table.loc["m"].abs() < 0.1).all().all()
    assert table.loc[("s", "a", "b"), "ari"] == 1
    assert table.loc[("s", "a", "b"), "silhouette"] > 0.9
    assert abs(table.loc[("s", "a", "c"), "ari"]) < 0.1
    pair = np.isin(batch, ["a", "b"])
    plane = PCA(2, random_state=0).fit_transform(apart[pair])
    assert table.loc[("s", "a", "b"), "silhouette"] == pytest.approx(silhouette_score(plane, batch[pair]))


def test_the_planted_batch_effect_orders_the_representations():
    found = []
    for strength in (0.0, 1.0, 3.0):
        cells = sfm.datasets.simulate_cells(
            n_patients=4, cells_per_patient=150, patients_per_slide=2, batch_effect=strength, random_state=0
        )
        cells.X = np.log1p(np.asarray(cells.X))
        found.append(sfm.metrics.batch_effect(cells, "slide", use_rep="X")["silhouette"].item())
    assert found[0] < found[1] < found[2]


def test_too_few_batches_are_refused():
    cells = AnnData(obs=pd.DataFrame({"one": ["a"] * 10}, index=map(str, range(10))), obsm={"m": np.ones((10, 2))})
    with pytest.raises(TableError, match=r"holds 1 batch\(es\)"):
        sfm.metrics.batch_effect(cells, "one", use_rep="m")
    with pytest.raises(TableError, match="No column 'two'"):
        sfm.metrics.batch_effect(cells, "two", use_rep="m")
    cells.obs["two"] = list("ab") * 5
    with pytest.raises(TableError, match="No 'x' in obsm"):
        sfm.metrics.batch_effect(cells, "two", use_rep="x")
