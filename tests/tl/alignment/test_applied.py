"""Heads of one cohort on another: the same numbers, partners of unseen patients, patients that were seen, refusals."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*lowest at the last of:spatialfm._errors.SpatialfmWarning",
    "ignore:.*fewer than batch_size:spatialfm._errors.SpatialfmWarning",
)
QUICK = {"n_components": 16, "max_epochs": 12, "learning_rate": 5e-3, "dropout": 0.0}


def cohort(seed: int, n_patients: int, prefix: str = "") -> AnnData:
    """Simulated cells whose second modality is the same view of the embedding in all cohorts."""
    cells = sfm.datasets.simulate_cells(n_patients=n_patients, cells_per_patient=60, random_state=seed)
    cells.obs["patient"] = prefix + cells.obs["patient"].astype(str)
    rna = 300 + 20 * np.tanh(cells.obsm["X_latent"] @ np.random.default_rng(0).normal(size=(32, 24)) / 2)
    cells.obsm["X_rna"] = rna + np.random.default_rng(seed).normal(size=rna.shape)
    return cells


@pytest.fixture(scope="module")
def first() -> AnnData:
    cells = cohort(0, 6)
    sfm.tl.align(cells, "X_latent", "X_rna", **QUICK)
    return cells


@pytest.fixture(scope="module")
def second(first) -> AnnData:
    cells = cohort(1, 4, "other ")
    sfm.tl.align(cells, "X_latent", "X_rna", source=first)
    return cells


def test_the_same_rows_get_the_same_projections(first):
    again = first.copy()
    for side in "ab":
        del again.obsm[f"X_aligned_{side}"]
    with pytest.warns(SpatialfmWarning, match="5 patients of 6 took part when source= was aligned"):
        sfm.tl.align(again, "X_latent", "X_rna", source=first)
    for side in "ab":
        np.testing.assert_allclose(again.obsm[f"X_aligned_{side}"], first.obsm[f"X_aligned_{side}"], atol=1e-6)
    assert again.obs["aligned_split"].astype(str).tolist() == first.obs["aligned_split"].astype(str).tolist()
    np.testing.assert_allclose(
        again.uns["aligned"]["scores"]["value"], first.uns["aligned"]["scores"]["value"], atol=1e-6
    )


def test_partners_of_a_cohort_that_was_never_seen_are_found(second):
    scores = second.uns["aligned"]["scores"].set_index(["query", "among", "measure"])
    assert set(scores["n"]) == {240}
    for query in ("X_aligned_a", "X_aligned_b"):
        row = scores.loc[(query, "all", "R@1")]
        assert row["chance"] == 1 / 64
        assert row["value"] > 0.5
    assert set(second.obs["aligned_split"]) == {"test"}
    params = second.uns["aligned"]["params"]
    assert (params["applied_from"], params["n_patients_seen"], params["rep_a"]) == ("source", 0, "X_latent")
    assert "training" not in second.uns["aligned"]


def test_shuffled_partners_score_chance(first):
    cells = cohort(1, 4, "other ")
    cells.obsm["X_rna"] = cells.obsm["X_rna"][np.random.default_rng(0).permutation(cells.n_obs)]
    sfm.tl.align(cells, "X_latent", "X_rna", source=first)
    scores = cells.uns["aligned"]["scores"].query("among == 'all' and measure == 'R@10'")
    assert (np.abs(scores["value"] - 10 / 64) < 0.05).all()


def test_a_cell_of_the_second_cohort_is_sought_in_the_first(first, second):
    index = sfm.tl.build_index(first, "X_aligned_a")
    hits = sfm.tl.search(index, second[:20].copy(), k=1, use_rep="X_aligned_b", exclude=None)
    expected = (second.obsm["X_aligned_b"][:20] @ first.obsm["X_aligned_a"].T).argmax(axis=1)
    assert hits["hit"].tolist() == first.obs_names[expected].tolist()


def test_one_side_is_enough(first, caplog):
    cells = cohort(1, 4, "other ")
    sfm.tl.align(cells, "X_latent", "X_rna", source=first)
    both = cells.obsm["X_aligned_a"].copy()
    del cells.obsm["X_rna"]
    with caplog.at_level(logging.INFO, "spatialfm"):
        sfm.tl.align(cells, "X_latent", "X_rna", source=first)
    assert "No 'X_rna' in obsm: one side is projected" in caplog.text
    np.testing.assert_array_equal(cells.obsm["X_aligned_a"], both)
    assert "X_aligned_b" not in cells.obsm  # that of the earlier call is gone
    assert "scores" not in cells.uns["aligned"]
    del cells.obsm["X_latent"]
    with pytest.raises(TableError, match="Neither 'X_latent' \\(rep_a=\\) nor 'X_rna' \\(rep_b=\\) is in obsm"):
        sfm.tl.align(cells, "X_latent", "X_rna", source=first)


def test_patients_that_were_trained_on_are_not_scored_under_another_name(first):
    trained = first[first.obs["aligned_split"] == "train"]
    name = trained.obs["patient"].iloc[0]
    known = first[first.obs["patient"] == name].copy()
    known.obs["patient"] = "a new name"
    known = AnnData(known.X, known.obs, known.var, obsm={k: known.obsm[k] for k in ("X_latent", "X_rna", "spatial")})
    known.obs_names = "again " + known.obs_names
    mixed = anndata.concat([cohort(1, 4, "other "), known])
    with pytest.warns(SpatialfmWarning, match="1 patient of 5 took part"):
        sfm.tl.align(mixed, "X_latent", "X_rna", source=first)
    seen = mixed.obs["aligned_split"] == "train"
    assert set(mixed.obs.loc[seen, "patient"]) == {"a new name"}
    assert set(mixed.uns["aligned"]["scores"]["n"]) == {240}


def test_markers_come_in_any_order_and_none_may_be_missing():
    cells = cohort(0, 6)
    sfm.tl.align(cells, "X_latent", "X", **QUICK | {"max_epochs": 2})
    others = cohort(1, 3, "other ")
    sfm.tl.align(others, "X_latent", "X", source=cells)
    turned = others[:, ::-1].copy()
    sfm.tl.align(turned, "X_latent", "X", source=cells)
    np.testing.assert_array_equal(turned.obsm["X_aligned_b"], others.obsm["X_aligned_b"])
    with pytest.raises(TableError, match=f"X \\(rep_b=\\) has no {others.var_names[0]!r}"):
        sfm.tl.align(others[:, 1:].copy(), "X_latent", "X", source=cells)


def test_heads_survive_a_file(first, second, tmp_path):
    first.write_h5ad(tmp_path / "first.h5ad")
    first.write_zarr(tmp_path / "first.zarr")
    for source in (anndata.read_h5ad(tmp_path / "first.h5ad"), anndata.read_zarr(tmp_path / "first.zarr")):
        cells = cohort(1, 4, "other ")
        sfm.tl.align(cells, "X_latent", "X_rna", source=source)
        np.testing.assert_array_equal(cells.obsm["X_aligned_b"], second.obsm["X_aligned_b"])
        records = [sfm.get.record(table, "X_aligned_a")["weights_sha256"] for table in (cells, first)]
        assert records[0] == records[1]


def test_columns_in_another_unit_are_said(first):
    cells = cohort(1, 4, "other ")
    cells.obsm["X_rna"] = 255 * cells.obsm["X_rna"]
    with pytest.warns(SpatialfmWarning, match=r"'X_rna' \(rep_b=\) differs 2\d\d times as much .* another unit"):
        sfm.tl.align(cells, "X_latent", "X_rna", source=first)


def test_what_is_refused(first, second):
    cells = cohort(1, 4, "other ")

    def refused(match: str, error=TableError, a="X_latent", b="X_rna", table=None, **how):
        before = sorted(cells.obsm), sorted(cells.uns)
        with pytest.raises(error, match=match):
            sfm.tl.align(cells if table is None else table, a, b, **{"source": first} | how)
        assert (sorted(cells.obsm), sorted(cells.uns)) == before

    refused("no alignment in uns\\['aligned'\\]", source=cells)
    refused("holds no heads", source=second)
    refused("rep_a='X_rna', and the heads of source= were trained on 'X_latent'", a="X_rna", b="X_latent")
    refused("loss='siglip' is about training.*made with 'clip'", ArgumentError, loss="siglip")
    refused("split_key='sample' is about training", ArgumentError, split_key="sample")
    narrow = cells.copy()
    narrow.obsm["X_rna"] = narrow.obsm["X_rna"][:, :-1]
    refused("'X_rna' \\(rep_b=\\) has 23 columns, and the heads of source= read 24", table=narrow)
    recorded = cells.copy()
    recorded.uns["spatialfm"] = {"X_rna": {"model": "kronos", "markers": "[]", "output": "patch"}}
    refused("recorded in adata alone", table=recorded)
    damaged = first.copy()
    damaged.uns["aligned"] = damaged.uns["aligned"] | {
        "heads": {k: v for k, v in first.uns["aligned"]["heads"].items() if k != "a.0.weight"}
    }
    refused("do not fit their recipe", source=damaged)


def test_a_source_without_its_split_is_told(first):
    bare = first.copy()
    del bare.obs["aligned_split"]
    with pytest.warns(SpatialfmWarning, match="cannot be recognised"):
        sfm.tl.align(cohort(1, 4, "other "), "X_latent", "X_rna", source=bare)
