"""Attention to markers: z-scores, types, and the way through the engine."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import stats
from stand_in import StandIn, card_of

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, TableError
from spatialfm.models.encoder import Weights
from spatialfm.models.virtues import VirTuesEncoder
from spatialfm.models.virtues_blocks import VirTuesConfig

MARKERS = ["DAPI", "CD3", "CD20"]


def attended(values, family="kronos", **notes) -> AnnData:
    """A table as `embed_cells` leaves it."""
    index = [f"c{i}" for i in range(len(values))]
    fields = {
        "model": family,
        "family": family,
        "attention_head": 0 if family == "kronos" else "all",
        "output": "attention",
        "n_components": "",
        "markers": json.dumps(MARKERS),
    }
    return AnnData(obs=pd.DataFrame(index=index), obsm={"X_a": values}, uns={"spatialfm": {"X_a": fields | notes}})


@pytest.fixture
def cells() -> AnnData:
    """Three markers of two heads; types a (60), b (30) and c (10)."""
    values = np.random.default_rng(0).gamma(2, size=(100, 6)).astype(np.float32)
    cells = attended(values)
    cells.obs["type"] = pd.Categorical(["a"] * 60 + ["b"] * 30 + ["c"] * 10, categories=["c", "b", "a", "unused"])
    return cells


def test_scores_are_scipys(cells):
    sfm.tl.marker_attention(cells, "X_a", "type", max_cells=None)
    first = cells.obsm["X_a"].reshape(100, 3, 2)[:, :, 0]  # the first head, as KRONOS's Methods have it
    expected = stats.zscore(first, axis=0)
    found = cells.obsm["marker_attention_z"]
    assert list(found.columns) == MARKERS
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    record = cells.uns["marker_attention"]
    grouped = pd.DataFrame(expected, columns=MARKERS).groupby(cells.obs["type"].to_numpy())
    for name, theirs in (("mean", grouped.mean()), ("median", grouped.median()), ("sd", grouped.std(ddof=0))):
        assert list(record[name].index) == ["c", "b", "a"]
        np.testing.assert_allclose(record[name].loc[["a", "b", "c"]], theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(record["score"].loc["b"], first[60:90].mean(axis=0), rtol=1e-5)
    assert record["n"]["n"].tolist() == [10, 30, 60]


def test_heads(cells):
    every = sfm.tl.marker_attention(cells, "X_a", "type", head="all", max_cells=None, copy=True)
    summed = stats.zscore(cells.obsm["X_a"].reshape(100, 3, 2).sum(axis=2), axis=0)
    np.testing.assert_allclose(every.loc["c"], summed[90:].mean(axis=0), rtol=1e-4, atol=1e-5)
    cells.uns["spatialfm"]["X_a"]["attention_head"] = "all"
    pd.testing.assert_frame_equal(sfm.tl.marker_attention(cells, "X_a", "type", max_cells=None, copy=True), every)
    second = sfm.tl.marker_attention(cells, "X_a", "type", head=1, copy=True)
    assert not np.allclose(second, every)
    for head in (2, -1):
        with pytest.raises(ModelError, match=r"is not a head of the model: pass 0 to 1, 'all' or 'auto'"):
            sfm.tl.marker_attention(cells, "X_a", "type", head=head)
    for head in ("first", 0.5):
        with pytest.raises(ArgumentError, match="head must be a whole number, 'auto' or 'all'"):
            sfm.tl.marker_attention(cells, "X_a", "type", head=head)
    assert set(cells.uns) == {"spatialfm"}


def test_a_common_type_does_not_set_the_scale():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, (5000, 3)), rng.normal(4, 1, (200, 3))])
    cells = attended(values)
    cells.obs["type"] = ["common"] * 5000 + ["rare"] * 200
    mean = sfm.tl.marker_attention(cells, "X_a", "type", max_cells=200, copy=True)
    np.testing.assert_allclose(mean.loc["common"], -mean.loc["rare"], atol=0.1)
    pooled = sfm.tl.marker_attention(cells, "X_a", "type", max_cells=None, copy=True)
    assert (pooled.loc["rare"] > 2 * mean.loc["rare"]).all()
    again = sfm.tl.marker_attention(cells, "X_a", "type", max_cells=200, copy=True)
    pd.testing.assert_frame_equal(again, mean)


def test_rows_without_a_type_get_scores_and_count_for_none(cells):
    cells.obs["type"] = cells.obs["type"].where(cells.obs["type"] != "c")
    sfm.tl.marker_attention(cells, "X_a", "type", max_cells=None)
    z = cells.obsm["marker_attention_z"]
    assert z.notna().all().all()
    np.testing.assert_allclose(z[:90].mean(), 0, atol=1e-5)
    assert list(cells.uns["marker_attention"]["mean"].index) == ["b", "a"]


def test_worst_inputs(cells):
    constant = attended(np.full((10, 3), 1 / 3, np.float32))
    constant.obs["type"] = "a"
    mean = sfm.tl.marker_attention(constant, "X_a", "type", copy=True)
    assert mean.shape == (1, 3)
    assert (mean == 0).all().all()
    cells.obs["none"] = np.nan
    cells.obsm["bad"] = cells.obsm["X_a"].copy()
    cells.obsm["bad"][3] = np.nan
    notes = cells.uns["spatialfm"]
    notes["bad"] = notes["X_a"]
    for key, cluster_key, error, message in [
        ("X_a", "none", TableError, r"No row has a value in obs\['none'\]"),
        ("X_a", "kind", TableError, r"No column 'kind' in obs \(cluster_key=\)"),
        ("x", "type", TableError, r"No 'x' in obsm \(use_rep=\); found 'X_a', 'bad'"),
        ("bad", "type", TableError, "1 of 100 rows of 'bad' hold NaN"),
    ]:
        with pytest.raises(error, match=message):
            sfm.tl.marker_attention(cells, key, cluster_key)
    notes["X_a"] = notes["X_a"] | {"output": "marker"}
    with pytest.raises(ModelError, match=r"obsm\['X_a'\] holds output 'marker' of 'kronos', not its attention"):
        sfm.tl.marker_attention(cells, "X_a", "type")
    assert set(cells.uns) == {"spatialfm"}


class Looks(StandIn):
    """Attends to a marker as much as there is of it; half of that with its second head."""

    card = card_of(
        "looks", embedding_dim=1, recipe=sfm.Recipe(window=16), outputs=("patch", "attention"), needs_weights=False
    )

    def look(self, pixels):
        total = pixels.sum((2, 3))
        return {"patch": total.mean(1, keepdim=True), "attention": torch.stack([total, total / 2], dim=2)}


def test_planted_types_are_looked_at_by_their_markers(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=160, random_state=0, difficulty="easy")
    sfm.tl.embed_cells(sdata, Looks(), outputs="attention", key_added="X_a")
    cells = sdata["table"]
    notes = sfm.get.record(cells, "X_a")
    assert (notes["output"], notes["embedding_dim"]) == ("attention", 2)
    assert cells.obsm["X_a"].shape == (cells.n_obs, 2 * len(notes["markers"]))
    strongest = np.asarray(cells.X)[:, [list(cells.var_names).index("CD20")]].ravel()
    cells.obs["b"] = np.where(strongest > np.quantile(strongest, 0.95), "B", "other")
    sfm.tl.marker_attention(cells, "X_a", "b")
    assert cells.uns["marker_attention"]["mean"].loc["B"].idxmax() == "CD20"
    sdata.write(tmp_path / "s.zarr")
    import spatialdata

    again = spatialdata.read_zarr(tmp_path / "s.zarr")["table"]
    np.testing.assert_allclose(again.obsm["marker_attention_z"], cells.obsm["marker_attention_z"])
    ax = sfm.pl.marker_attention(again, show=False)
    assert len(ax.get_yticklabels()) == 2


def test_kronos_attention_goes_through_the_engine(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0, n_channels=3)}, MARKERS)
    encoder = sfm.models.load("kronos", weights="random")
    sfm.tl.embed_cells(sdata, encoder, outputs=("attention", "patch"), key_added="X_k")
    cells = sdata["table"]
    values = cells.obsm["X_k_attention"].reshape(cells.n_obs, 3, 6)
    assert (values > 0).all()
    assert (values.sum(axis=1) < 1).all()  # the rest goes to CLS and registers
    alone = sfm.tl.embed_cells(sdata, encoder, outputs="attention", copy=True, run={"batch_size": 1})
    np.testing.assert_allclose(alone.obsm["X_kronos"], cells.obsm["X_k_attention"], rtol=1e-4, atol=1e-6)
    with pytest.raises(
        ModelError, match=r"mode.: 'tile'. shares tokens out.*outputs='attention'.*recipe=..mode.: 'crop'"
    ):
        sfm.tl.embed_cells(sdata, encoder, outputs="attention", recipe={"mode": "tile"})
    with pytest.raises(ModelError, match="has no output 'attention' for cells"):
        sfm.tl.embed_cells(sdata, "classical", outputs="attention")


def test_virtues_importance_of_regions(make_sdata):
    rng = np.random.default_rng(0)
    image = rng.integers(100, 200, (3, 32, 48)).astype(np.uint8)
    sdata = make_sdata({"a": (image, None)}, MARKERS, mpp=1.0)
    config = VirTuesConfig(
        dim=32, hidden=48, heads=2, patch_size=8, marker_dim=6, encoder="hvhv", decoder="ff", max_side=20
    )
    encoder = VirTuesEncoder(sfm.models.card("virtues"), config)
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.empty(p.shape).normal_(0, 0.3, generator=generator) for n, p in encoder.named_parameters()}
    encoder.load_state_dict(tensors, strict=False, assign=True)
    encoder.weights = Weights("random (untrained)")
    encoder.eval().requires_grad_(False)
    vectors = {name: rng.normal(size=6).astype(np.float32) for name in MARKERS}
    sfm.tl.embed_tiles(
        sdata, encoder, size=16, min_tissue=0, outputs="attention", key_added="X_a", panel={"embeddings": vectors}
    )
    tiles = sdata["tiles"]
    assert tiles.obsm["X_a"].shape == (6, 3 * 2)
    tiles.obs["half"] = ["left", "left", "right"] * 2
    sfm.tl.marker_attention(tiles, "X_a", "half")
    importance = tiles.obsm["X_a"].reshape(6, 3, 2).sum(axis=2)
    # in each of two heads, one of three attending markers counts 1, one 0, the third something between
    assert ((importance >= 2 - 1e-5) & (importance <= 4 + 1e-5)).all()
    np.testing.assert_allclose(
        tiles.uns["marker_attention"]["score"].loc["right"], importance[[2, 5]].mean(axis=0), rtol=1e-5
    )
