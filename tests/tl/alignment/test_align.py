"""Two modalities of simulated cells in one space: planted partners, the split by patients, records and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.cohort.fitted import fitted_on_all

# short runs end while the loss still falls
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*lowest at the last of:spatialfm._errors.SpatialfmWarning",
    "ignore:.*fewer than batch_size:spatialfm._errors.SpatialfmWarning",
)
QUICK = {"n_components": 16, "max_epochs": 12, "learning_rate": 5e-3, "dropout": 0.0}


def simulated(n_patients: int = 6, n: int = 80) -> AnnData:
    """Simulated cells, with a second modality: a view of the same embedding through a bend, in units of its own."""
    cells = sfm.datasets.simulate_cells(
        n_patients=n_patients, cells_per_patient=n, patients_per_slide=3, random_state=0
    )
    rng = np.random.default_rng(0)
    cells.obsm["X_rna"] = 300 + 20 * np.tanh(cells.obsm["X_latent"] @ rng.normal(size=(32, 24)) / 2)
    cells.obsm["X_rna"] += rng.normal(size=cells.obsm["X_rna"].shape)
    return cells


@pytest.fixture(scope="module")
def aligned() -> AnnData:
    cells = simulated()
    with pytest.warns(SpatialfmWarning, match="in every batch"):
        sfm.tl.align(cells, "X_latent", "X_rna", batch_key="slide", **QUICK)
    return cells


def test_planted_partners_of_patients_never_seen_are_found(aligned):
    scores = aligned.uns["aligned"]["scores"].set_index(["query", "among", "measure"])
    for query in ("X_aligned_a", "X_aligned_b"):
        for among in ("all", "patient"):
            row = scores.loc[(query, among, "R@1")]
            assert row["chance"] == 1 / 64
            assert row["value"] > 0.5
            assert scores.loc[(query, among, "median rank"), "value"] <= 2


def test_modalities_that_share_nothing_score_chance():
    cells = simulated(9, 60)
    cells.obsm["X_noise"] = np.random.default_rng(1).normal(size=(cells.n_obs, 10))
    sfm.tl.align(cells, "X_latent", "X_noise", test_size=0.5, n_candidates=32, **QUICK | {"max_epochs": 3})
    scores = cells.uns["aligned"]["scores"]
    recall = scores[(scores["measure"] == "R@10") & (scores["among"] == "all")]
    assert (recall["chance"] == 10 / 32).all()
    assert ((recall["low"] <= recall["chance"]) & (recall["chance"] <= recall["high"])).all()


def test_patients_are_on_one_side(aligned):
    split = aligned.obs["aligned_split"]
    assert (aligned.obs.groupby("patient", observed=True)["aligned_split"].nunique() == 1).all()
    assert split.value_counts().to_dict() == {"train": 320, "validation": 80, "test": 80}
    assert set(aligned.uns["aligned"]["scores"]["n"]) == {80}


def test_what_is_written(aligned):
    for side, rep in (("a", "X_latent"), ("b", "X_rna")):
        space = aligned.obsm[f"X_aligned_{side}"]
        assert space.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(space, axis=1), 1, rtol=1e-5)
        record = sfm.get.record(aligned, f"X_aligned_{side}")
        assert (record["rep"], record["split_key"], record["embedding_dim"]) == (rep, "aligned_split", 16)
        assert len(record["weights_sha256"]) == 64
    assert fitted_on_all(aligned, "X_aligned_a") == "alignment of obsm['X_aligned_a']"
    effect = aligned.uns["aligned"]["batch_effect"]
    assert set(effect["use_rep"]) == {"X_latent", "X_rna", "X_aligned_a", "X_aligned_b"}
    assert set(effect["rows"]) == {"all patients"}  # one test patient is on one slide
    params = aligned.uns["aligned"]["params"]
    assert (params["rep_a"], params["rep_b"], params["loss"]) == ("X_latent", "X_rna", "clip")
    pd.testing.assert_frame_equal(
        sfm.metrics.cross_modal(aligned, "X_aligned_a", "X_aligned_b"),
        aligned.uns["aligned"]["scores"].query("among == 'all'").drop(columns="among"),
        check_dtype=False,
    )


def test_a_cell_is_found_by_its_other_modality(aligned):
    index = sfm.tl.build_index(aligned, "X_aligned_a")
    test = aligned[aligned.obs["aligned_split"] == "test"].copy()
    hits = sfm.tl.search(index, test, k=1, use_rep="X_aligned_b", exclude=None)
    similar = test.obsm["X_aligned_b"] @ aligned.obsm["X_aligned_a"].T
    assert hits["hit"].tolist() == aligned.obs_names[similar.argmax(axis=1)].tolist()
    assert np.mean(hits["hit"] == hits["query"]) > 0.3  # of 480
    others = sfm.tl.search(index, test, k=1, use_rep="X_aligned_b")
    assert (others["hit_patient"] != others["query_patient"]).all()


def test_a_query_of_another_space_is_refused(aligned):
    index = sfm.tl.build_index(aligned, "X_aligned_a")
    other = aligned.copy()
    other.obsm["X_copy"] = other.obsm["X_aligned_b"]
    with pytest.raises(TableError, match="'X_copy' is not in the space of the index"):
        sfm.tl.search(index, other, use_rep="X_copy")
    sfm.tl.align(other, "X_latent", "X_rna", random_state=1, **QUICK | {"max_epochs": 1, "patience": 1})
    with pytest.raises(TableError, match="of another training of sfm.tl.align"):
        sfm.tl.search(index, other, use_rep="X_aligned_b")


def test_an_index_that_is_not_aligned_is_refused(aligned):
    cells = aligned.copy()
    cells.obsm["X_pca"] = cells.obsm["X_latent"][:, :16]  # as wide as the common space, without a record
    with pytest.raises(TableError, match=r"'X_aligned_b' is not in the space of the index \('X_pca'\)"):
        sfm.tl.search(sfm.tl.build_index(cells, "X_pca"), cells, use_rep="X_aligned_b")


def test_an_index_by_cosine_is_not_centered_for_the_other_modality(aligned):
    similar = aligned.obsm["X_aligned_b"] @ aligned.obsm["X_aligned_a"].T
    index = sfm.tl.build_index(aligned, "X_aligned_a", metric="cosine", center=False)
    hits = sfm.tl.search(index, aligned, k=1, use_rep="X_aligned_b", exclude=None)
    assert hits["hit"].tolist() == aligned.obs_names[similar.argmax(axis=1)].tolist()
    index = sfm.tl.build_index(aligned, "X_aligned_a", metric="cosine")
    with pytest.warns(SpatialfmWarning, match="centered by the mean of .X_aligned_a."):
        sfm.tl.search(index, aligned, k=1, use_rep="X_aligned_b", exclude=None)


def test_what_is_aligned_is_not_overwritten(aligned):
    with pytest.raises(TableError, match="key_added='aligned' would overwrite 'X_aligned_a', which is aligned"):
        sfm.tl.align(aligned, "X_aligned_a", "X_rna")


def test_batches_are_checked_before_training():
    cells = simulated(4, 20)
    cells.obs["scanner"] = ["one"] * 79 + ["two"]
    for key, message in [("scanner", "2 batches, the smallest of 1 row"), ("stainer", "No column 'stainer'")]:
        with pytest.raises(TableError, match=message):
            sfm.tl.align(cells, "X_latent", "X_rna", batch_key=key)
    found = sfm.tl.align(cells, "X_latent", "X_rna", batch_key="patient", copy=True, **QUICK | {"max_epochs": 1})
    assert len(found["batch_effect"]) == 4 * 6


def test_what_the_other_table_was_fitted_on_is_recorded():
    cells = simulated(4, 20)
    rna = cells.copy()
    rna.uns["spatialfm"] = {"X_rna": {"n_components": 24}}
    found = sfm.tl.align(cells, "X_latent", "X_rna", other=rna, copy=True, **QUICK | {"max_epochs": 1})
    assert found["params"]["fitted_on_all"] == "principal components of obsm['X_rna']"


def test_runs_repeat_and_the_order_of_rows_decides_nothing():
    cells = simulated(4, 30)
    short = QUICK | {"max_epochs": 2, "copy": True}
    order = np.random.default_rng(0).permutation(cells.n_obs)
    one, again, turned = (
        sfm.tl.align(table, "X_latent", "X_rna", **short) for table in (cells, cells, cells[order].copy())
    )
    assert np.array_equal(one["a"], again["a"])
    np.testing.assert_allclose(turned["a"], one["a"][order], atol=1e-5)
    assert not {"X_aligned_a", "aligned_split"} & {*cells.obsm, *cells.obs}
    assert "aligned" not in cells.uns


def test_a_split_of_ones_own():
    cells = simulated(4, 80)
    parts = {"P001": "test", "P002": "train", "P003": "train", "P004": "validation"}
    cells.obs["part"] = cells.obs["patient"].astype(str).map(parts)
    found = sfm.tl.align(cells, "X_latent", "X_rna", split_key="part", copy=True, **QUICK | {"max_epochs": 1})
    assert (found["split"].astype(str) == cells.obs["part"].astype(str)).all()
    cells.obs.iloc[0, cells.obs.columns.get_loc("part")] = "train"
    with pytest.raises(TableError, match="puts patient 'P001' on two sides"):
        sfm.tl.align(cells, "X_latent", "X_rna", split_key="part")
    cells.obs["part"] = "train"
    with pytest.raises(TableError, match="'test' is missing"):
        sfm.tl.align(cells, "X_latent", "X_rna", split_key="part")


def test_the_other_table_is_matched_by_name():
    cells = simulated(4, 80)
    rna = AnnData(obs=pd.DataFrame(index=cells.obs_names), obsm={"X_rna": cells.obsm["X_rna"]})[::-1].copy()
    short = QUICK | {"max_epochs": 1, "copy": True}
    here = sfm.tl.align(cells, "X_latent", "X_rna", **short)
    there = sfm.tl.align(cells, "X_latent", "X_rna", other=rna, **short)
    np.testing.assert_allclose(there["b"], here["b"], atol=1e-6)
    with pytest.raises(TableError, match=r"not of the same rows: 20 rows of 320 are in adata alone .*, 0 of 300"):
        sfm.tl.align(cells, "X_latent", "X_rna", other=rna[:300].copy())


def test_fewer_rows_than_a_batch_are_one():
    with pytest.warns(SpatialfmWarning, match="training patients have 40 rows, fewer than batch_size=64"):
        sfm.tl.align(simulated(4, 20), "X_latent", "X_rna", copy=True, **QUICK)


def test_refusals():
    cells = simulated(4, 20)
    cells.obsm["X_nan"] = np.where(np.arange(80)[:, None] == 3, np.nan, cells.obsm["X_rna"])
    for arguments, message in [
        (("X_latent", "X_nan"), "1 of 80 rows of 'X_nan' hold NaN"),
        (("X_latent", "X_no"), r"No 'X_no' in obsm \(rep_b=\)"),
        (("X_latent", "X_latent"), "every row is its own partner"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.align(cells, *arguments)
    few = cells[cells.obs["patient"].isin(["P001", "P002"])].copy()
    with pytest.raises(TableError, match="2 patients .*: three are the least"):
        sfm.tl.align(few, "X_latent", "X_rna")
    samples = cells[::20].copy()
    with pytest.raises(TableError, match="a partner needs a rival"), pytest.warns(SpatialfmWarning):
        sfm.tl.align(samples, "X_latent", "X_rna")
    assert set(cells.uns) == {"truth"}
