"""Batches that are apart, or not."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.optimize import brentq
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

import spatialfm as sfm
from spatialfm._errors import SpatialfmError, SpatialfmWarning, TableError
from spatialfm.metrics._batch_effect import mixed_parts


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


def test_without_a_batch_effect_slides_are_as_far_apart_as_other_groups_of_as_many_patients():
    """Patients that are drawn alike: which slide they lie on is one division of many, so that the two agree on average.

    Halves of the patients of one slide, fewer and so farther apart, would show 0.15 more.
    """
    who = np.repeat(np.arange(8), 40)
    differences = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        obs = pd.DataFrame(
            {"patient": who.astype(str), "slide": np.where(who < 4, "a", "b")}, index=map(str, range(320))
        )
        cells = AnnData(obs=obs, obsm={"X_m": rng.normal(size=(320, 4)) + rng.normal(0, 2, (8, 4))[who]})
        with pytest.warns(SpatialfmWarning, match="Not all of 8 patients"):
            row = sfm.metrics.batch_effect(cells, "slide", use_rep="X_m").iloc[0]
        differences.append(row["silhouette"] - row["silhouette_patients"])
    error = np.std(differences, ddof=1) / 4
    assert abs(np.mean(differences)) < 3 * error
    assert error < 0.03  # so that 0.15 would be seen


@pytest.mark.parametrize(("n_one", "n_two", "n_both"), [(4, 4, 0), (2, 6, 0), (1, 3, 2), (0, 2, 3), (5, 0, 1)])
def test_mixed_parts_have_as_many_patients_and_an_equal_share_of_both_batches(n_one, n_two, n_both):
    only = [f"a{i}" for i in range(n_one)], [f"b{i}" for i in range(n_two)], [f"c{i}" for i in range(n_both)]
    patients = np.array([*only[0], *only[1], *only[2], *only[2]])
    part = np.repeat([0, 1, 0, 1], [n_one, n_two, n_both, n_both])
    rng = np.random.default_rng(0)
    draws = np.array([mixed_parts(part, patients, rng) for _ in range(2000)])
    assert (draws.sum(axis=1) == part.sum()).all()
    # of n patients of one batch alone, the same share is in either part; so it is for those of both
    expected = n_two / max(n_one + n_two, 1)
    alone = draws[:, : n_one + n_two].mean(axis=0)
    assert alone == pytest.approx(np.full(n_one + n_two, expected), abs=0.04)
    assert draws[:, n_one + n_two :].mean(axis=0) == pytest.approx(np.full(2 * n_both, 0.5), abs=0.04)


def test_patients_that_differ_are_told_from_a_batch():
    """No batch effect, eight patients far apart, four on each slide: other groups of four show what slides show."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(8), 40)
    obs = pd.DataFrame({"patient": [f"P{i}" for i in who], "slide": np.where(who < 4, "a", "b")})
    obs.index = obs.index.astype(str)
    values = rng.normal(size=(320, 4)) + rng.normal(0, 3, (8, 4))[who]
    cells = AnnData(obs=obs, obsm={"none": values, "batch": values + 20 * (who < 4)[:, None]})
    with pytest.warns(SpatialfmWarning, match=r"Not all of 8 patients are in every batch \(0 are\)"):
        table = sfm.metrics.batch_effect(cells, "slide", use_rep=["none", "batch"]).set_index("use_rep")
    assert (table["n_shared"] == 0).all()
    assert table.loc["none", "silhouette_patients"] > table.loc["none", "silhouette"] - 0.15
    assert table.loc["batch", "silhouette"] > table.loc["batch", "silhouette_patients"] + 0.3
    crossed = cells.copy()
    crossed.obs["slide"] = ["a", "b"] * 160
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        table = sfm.metrics.batch_effect(crossed, "slide", use_rep="none")
    assert table["n_shared"].item() == 8
    assert table["silhouette_patients"].isna().all()
    del cells.obs["patient"]
    with pytest.warns(SpatialfmWarning, match="obs has no 'patient'"):
        assert "n_shared" not in sfm.metrics.batch_effect(cells, "slide", use_rep="none")


def test_what_is_no_table_of_numbers_is_named():
    obs = pd.DataFrame({"batch": list("ab") * 10}, index=map(str, range(20)))
    cells = AnnData(obs=obs, obsm={"text": np.full((20, 2), "x"), "cube": np.ones((20, 2, 2))})
    for rep, message in [("X", "no X"), ("text", "holds <U1"), ("cube", r"holds float64 \(20, 2, 2\), not one row")]:
        with pytest.raises(TableError, match=message):
            sfm.metrics.batch_effect(cells, "batch", use_rep=rep)


def test_too_few_batches_are_refused():
    cells = AnnData(obs=pd.DataFrame({"one": ["a"] * 10}, index=map(str, range(10))), obsm={"m": np.ones((10, 2))})
    with pytest.raises(TableError, match=r"holds 1 batch,"):
        sfm.metrics.batch_effect(cells, "one", use_rep="m")
    with pytest.raises(TableError, match="No column 'two'"):
        sfm.metrics.batch_effect(cells, "two", use_rep="m")
    cells.obs["two"] = list("ab") * 5
    with pytest.raises(TableError, match="No 'x' in obsm"):
        sfm.metrics.batch_effect(cells, "two", use_rep="x")


def plain_lisi(values, batch, perplexity):
    """Inverse Simpson index of neighbours whose weights fall off with distance until their perplexity is the wanted."""
    distance = np.sqrt(((values[:, None] - values[None]) ** 2).sum(-1))
    found = []
    for row in distance:
        near = np.argsort(row)[1 : 3 * perplexity]

        def weights(rate, far=row[near]):
            weight = np.exp(-rate * (far - far.min()))
            return weight / weight.sum()

        rate = brentq(lambda rate: entropy(weights(rate)) - np.log(perplexity), 1e-6, 1e3)
        share = weights(rate)[batch[near] == batch[0]].sum()
        found.append(1 / (share**2 + (1 - share) ** 2))
    return np.array(found)


def test_ilisi_tells_mixed_from_apart():
    pytest.importorskip("harmonypy")
    rng = np.random.default_rng(0)
    batch = np.repeat(["a", "b"], 150)
    mixed = rng.normal(size=(300, 4))
    some = mixed + 1.5 * (batch == "b")[:, None] * np.eye(4)[0]
    apart = mixed + 50 * (batch == "b")[:, None]
    cells = AnnData(
        obs=pd.DataFrame({"batch": batch}, index=map(str, range(300))), obsm={"m": mixed, "s": some, "a": apart}
    )
    table = sfm.metrics.batch_effect(cells, "batch", use_rep=["m", "s", "a"], lisi=True).set_index("use_rep")["ilisi"]
    assert table["a"] == pytest.approx(0, abs=1e-6)
    assert table["m"] > 0.85
    assert 0.1 < table["s"] < table["m"] - 0.1
    for name, values in (("m", mixed), ("s", some)):
        assert table[name] == pytest.approx(np.median(plain_lisi(values, batch, 30)) - 1, abs=0.005)
    tiny = cells[[0, 1, 2, 150, 151, 152]].copy()
    assert 0 <= sfm.metrics.batch_effect(tiny, "batch", use_rep="a", lisi=True)["ilisi"].item() <= 1
    assert "ilisi" not in sfm.metrics.batch_effect(tiny, "batch", use_rep="a")


def test_the_planted_batch_effect_orders_ilisi_too():
    pytest.importorskip("harmonypy")
    found = []
    for strength in (0.0, 1.0, 3.0):
        cells = sfm.datasets.simulate_cells(
            n_patients=4, cells_per_patient=150, patients_per_slide=2, batch_effect=strength, random_state=0
        )
        found.append(sfm.metrics.batch_effect(cells, "slide", use_rep="X_latent", lisi=True)["ilisi"].item())
    assert found[0] > found[1] > found[2]


def test_ilisi_without_its_package_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "harmonypy", None)
    cells = AnnData(obs=pd.DataFrame({"b": list("ab") * 5}, index=map(str, range(10))), obsm={"m": np.eye(10)})
    with pytest.raises(SpatialfmError, match=r"needs the package harmonypy: pip install 'spatialfm\[batch\]'"):
        sfm.metrics.batch_effect(cells, "b", use_rep="m", lisi=True)


def test_scores_of_a_pair_are_those_of_scikit_learn():
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    cells = sfm.datasets.simulate_cells(4, cells_per_patient=60, patients_per_slide=2, random_state=0)
    cells = cells[sorted(cells.obs_names)]  # k-means starts from rows by their place, here that of their names
    row = sfm.metrics.batch_effect(cells, "slide", use_rep="X_latent").iloc[0]
    order = np.argsort(cells.obs["slide"].astype(str).to_numpy(), kind="stable")
    values = cells.obsm["X_latent"][order].astype(float)
    batch = cells.obs["slide"].astype(str).to_numpy()[order]
    runs = [KMeans(2, n_init=10, random_state=seed).fit(values) for seed in range(5)]
    found = [adjusted_rand_score(batch, run.labels_) for run in runs]
    assert row["ari"] == pytest.approx(found[int(np.argmin([run.inertia_ for run in runs]))])
    assert row["ari_spread"] == pytest.approx(max(found) - min(found))
    assert row["silhouette"] == pytest.approx(silhouette_score(PCA(2, random_state=0).fit_transform(values), batch))


@pytest.mark.parametrize("other", [" p0", 0])
def test_patients_of_two_spellings_are_refused(other):
    cells = sfm.datasets.simulate_cells(4, cells_per_patient=30, patients_per_slide=2, random_state=0)
    first = cells.obs["patient"].iloc[0]
    names = cells.obs["patient"].astype(object).replace(first, "P0" if other else "0")
    names.iloc[:10] = other
    cells.obs["patient"] = names
    for measure in (
        lambda: sfm.metrics.batch_effect(cells, "slide", use_rep="X_latent"),
        lambda: sfm.metrics.cross_modal(cells, "X_latent", "X", n_candidates=8),
    ):
        with pytest.raises(TableError, match=r"obs\['patient'\] \(patient_key=\) spells 1 patient in several ways"):
            measure()


def test_an_index_that_depends_on_the_seed_says_by_how_much():
    """Five types and a batch that lie as far apart: ten starts end in divisions that agree with the batch otherwise."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(0)
    batch, types = np.repeat([0, 1], 500), rng.integers(0, 5, 1000)
    centres, shift = rng.normal(size=(5, 32)), rng.normal(size=32)
    centres *= 1.5 / np.linalg.norm(centres[0])
    values = centres[types] + batch[:, None] * shift * 1.5 / np.linalg.norm(shift) + rng.normal(size=(1000, 32))
    obs = pd.DataFrame({"batch": batch.astype(str)}, index=[f"{i:04d}" for i in range(1000)])
    cells = AnnData(obs=obs, obsm={"m": values})
    row = sfm.metrics.batch_effect(cells, "batch", use_rep="m", patient_key=None).iloc[0]
    others = [KMeans(2, n_init=10, random_state=seed).fit_predict(values) for seed in range(200, 208)]
    scores = [adjusted_rand_score(batch, one) for one in others]
    assert max(scores) - min(scores) > 0.01  # what one run of ten starts would leave to the seed
    assert 0.5 < row["ari_spread"] / (max(scores) - min(scores)) < 2
