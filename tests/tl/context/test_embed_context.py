"""`embed_context`: one row for each cell, the same wherever a slice lay, and what is refused or said."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ModelError, SpatialfmWarning, TableError, WeightsError
from spatialfm.learn.context_slices import Slicing, cut, distances
from spatialfm.models.context import Columns, new_context, save_context
from spatialfm.models.stofm import Stofm, StofmConfig, initialise

TURN = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
SHAPE = {"in_dim": 6, "dim": 8, "hidden": 8, "heads": 2, "depth": 2, "gaussians": 8}


@pytest.fixture(scope="module")
def cells():
    """Two slices, of 260 and of 70 cells."""
    rng = np.random.default_rng(0)
    xy = np.column_stack([600 * rng.beta(1.2, 2.2, 330), rng.uniform(0, 300, 330)])
    obs = pd.DataFrame({"sample": ["a"] * 260 + ["b"] * 70}, index=[f"c{i}" for i in range(330)])
    values = rng.normal(size=(330, 6)).astype(np.float32) + 2 * (xy[:, :1] > 200)
    return AnnData(obs=obs, obsm={"X_e": values, "spatial": xy})


@pytest.fixture(scope="module")
def model():
    """Untrained, with larger weights, so that cells look at each other."""
    encoder = new_context("stofm", SHAPE, 0, 10.0)
    with torch.no_grad():
        for one in encoder.network.parameters():
            one.mul_(3 if one.ndim > 1 else 1)
    encoder.network.eval().requires_grad_(False)
    return encoder


def embed(adata, model, **options):
    return sfm.tl.embed_context(adata, use_rep="X_e", model=model, copy=True, **options)


def test_rows_are_those_of_the_network(cells, model):
    slicing = {"n_cells": 60, "n_neighbors": 20}
    adata = cells.copy()
    with pytest.warns(SpatialfmWarning, match="cut in another way .*n_cells is 60, and was 1000, n_neighbors is 20"):
        sfm.tl.embed_context(adata, use_rep="X_e", model=model, slicing=slicing)
    rows = adata.obsm["X_context"]
    assert rows.shape == (330, 8)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    n_pieces = 0
    for name in ("a", "b"):
        mine = np.flatnonzero(cells.obs["sample"] == name)
        tissue = cut(cells.obsm["spatial"][mine], cells.obsm["X_e"][mine], Slicing(**slicing), 0)
        for number, part in enumerate(tissue.parts):
            piece = tissue.piece(number)
            known = distances(piece.xy, piece.types, 20)
            with torch.no_grad():
                out, _ = model.network(*(torch.from_numpy(one)[None] for one in (piece.tokens, piece.types, known)))
            np.testing.assert_allclose(rows[mine[part]], out[0, piece.types == 0], atol=1e-6)
        n_pieces += len(tissue.parts)
    record = adata.uns["spatialfm"]["X_context"]
    assert (record["n_pieces"], record["n_slices"], record["n_kept_at_edge"]) == (n_pieces, 2, 0)
    assert set(json.loads(record["virtual_cells"])) == {"a", "b"}
    assert (record["use_rep"], record["n_cells"], record["frame"], record["unit"]) == ("X_e", 60, "box", "")


def test_a_slice_does_not_know_of_others(cells, model):
    alone = embed(cells[cells.obs["sample"] == "b"].copy(), model)
    np.testing.assert_allclose(embed(cells, model)[260:], alone, atol=1e-6)


def test_context_is_seen(cells, model):
    """A cell whose neighbours are others has another vector, though it is the same cell."""
    other = cells.copy()
    other.obsm["X_e"][5] += 4
    nearest = np.linalg.norm(cells.obsm["spatial"][:260] - cells.obsm["spatial"][5], axis=1).argsort()[1:4]
    assert np.abs(embed(other, model)[nearest] - embed(cells, model)[nearest]).max() > 1e-4


@pytest.mark.filterwarnings("ignore:Slices are cut in another way")
def test_the_order_of_cells_and_where_a_slice_lay_do_not_matter(cells, model):
    order = np.random.default_rng(1).permutation(330)
    rows = embed(cells, model)
    np.testing.assert_allclose(embed(cells[order].copy(), model), rows[order], atol=1e-5)
    moved = cells.copy()
    moved.obsm["spatial"] = cells.obsm["spatial"] + [3000, -50]
    np.testing.assert_allclose(embed(moved, model), rows, atol=1e-5)
    turned = cells.copy()
    turned.obsm["spatial"] = cells.obsm["spatial"] @ TURN.T + [3000, -50]
    for slicing in ({"frame": "axes"}, {"frame": "axes", "n_cells": 60, "unit": 10.0}):
        np.testing.assert_allclose(
            embed(turned, model, slicing=slicing), embed(cells, model, slicing=slicing), atol=1e-4
        )
    # as published, the size of a unit and the clusters depend on how the slice lay
    assert np.abs(embed(turned, model) - rows).max() > 1e-3


@pytest.mark.filterwarnings("ignore:Slices are cut in another way")
def test_cells_on_the_far_edge_are_kept_and_counted(model):
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 5 / 7, (420, 2))
    xy[:4] = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (5 / 7)
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(420)]),
                    obsm={"X_e": rng.normal(size=(420, 6)), "spatial": xy})  # fmt: skip
    kept = []
    for unit in (1.0, None):
        sfm.tl.embed_context(adata, use_rep="X_e", model=model, slicing={"n_cells": 50, "unit": unit})
        assert (np.abs(adata.obsm["X_context"]).max(axis=1) > 0).all()
        kept.append(adata.uns["spatialfm"]["X_context"]["n_kept_at_edge"])
    assert kept[0] == 2


def test_published_weights_load_by_path(cells, tmp_path):
    network = Stofm(StofmConfig(**SHAPE))
    initialise(network)
    torch.save({f"model.{name}": one for name, one in network.state_dict().items()}, tmp_path / "se2transformer.pth")
    adata = cells.copy()
    sfm.tl.embed_context(adata, use_rep="X_e", weights=tmp_path / "se2transformer.pth", key_added="X_published")
    record = adata.uns["spatialfm"]["X_published"]
    assert (record["weights"], record["license"], record["standardised"]) == ("se2transformer.pth", "MIT", 0)
    assert len(record["weights_sha256"]) == 64
    adata.obsm["X_f"] = adata.obsm["X_e"][:, :3]
    with pytest.raises(ModelError, match=r"'X_f' \(use_rep=\) has 3 columns, and .* 'se2transformer.pth' take 6"):
        sfm.tl.embed_context(adata, use_rep="X_f", weights=tmp_path)


def test_another_embedding_than_it_was_trained_on_is_said(cells, model, tmp_path):
    trained = new_context("stofm", SHAPE, 0, 10.0)
    trained.use_rep, trained.slicing = "X_other", {"n_cells": 80, "frame": "axes"}
    save_context(trained, tmp_path, {})
    adata = cells.copy()
    with pytest.warns(SpatialfmWarning, match="trained on 'X_other' and is used on 'X_e'"):
        sfm.tl.embed_context(adata, use_rep="X_e", weights=tmp_path)
    record = adata.uns["spatialfm"]["X_context"]
    assert (record["n_cells"], record["frame"]) == (80, "axes")  # as it was trained


def test_columns_are_those_that_it_was_trained_on(cells, tmp_path):
    trained = new_context("stofm", SHAPE, 0, 10.0)
    trained.use_rep, trained.made = "X", {"columns": '["m0", "m1", "m2", "m3", "m4", "m5"]'}
    save_context(trained, tmp_path, {})
    names = pd.DataFrame(index=[f"m{i}" for i in range(6)])
    adata = AnnData(cells.obsm["X_e"], obs=cells.obs, var=names, obsm={"spatial": cells.obsm["spatial"]})
    call = {"use_rep": "X", "weights": tmp_path, "copy": True}
    assert sfm.tl.embed_context(adata, **call).shape == (330, 8)
    with pytest.raises(ModelError, match="The columns of 'X' are not those that the weights were trained on"):
        sfm.tl.embed_context(adata[:, ::-1].copy(), **call)
    trained.use_rep, trained.made = "X_e", {"model": "virtues", "weights_sha256": "a"}
    other = cells.copy()
    other.uns["spatialfm"] = {"X_e": {"model": "virtues", "weights_sha256": "b"}}
    with pytest.raises(ModelError, match="weights_sha256 is 'b', and was 'a'"):
        sfm.tl.embed_context(other, use_rep="X_e", model=trained, copy=True)


@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: x / 255, lambda x: x + 50])
def test_columns_in_another_unit_are_said(cells, change):
    trained = new_context("stofm", SHAPE, 0, 10.0)
    values = cells.obsm["X_e"]
    trained.columns = Columns(values.mean(0), values.std(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embed(cells, trained)
        embed(AnnData(obs=cells.obs, obsm={"X_e": 2 * values + 1, "spatial": cells.obsm["spatial"]}), trained)
    other = AnnData(obs=cells.obs, obsm={"X_e": change(values), "spatial": cells.obsm["spatial"]})
    with pytest.warns(SpatialfmWarning, match=r"'X_e' \(use_rep=\) differs .* as if it were in another unit"):
        embed(other, trained)


@pytest.mark.parametrize(("times", "said"), [(1.0, False), (1.4, False), (2.65, True), (0.377, True)])
def test_places_in_another_unit_are_said(cells, tmp_path, times, said):
    """A unit of µm that is applied to pixels: distances would mean something else in every number."""
    shape = {name: size for name, size in SHAPE.items() if name != "in_dim"}
    model = sfm.train.pretrain_context(
        cells, use_rep="X_e", out=tmp_path / "run", shape=shape, slicing={"unit": 10.0}, steps=1, batch_size=1
    )
    xy = cells.obsm["spatial"]
    apart = [np.linalg.norm(xy[rows, None] - xy[rows], axis=2) for rows in (slice(260), slice(260, 330))]
    nearest = np.concatenate([np.where(one == 0, np.inf, one).min(1) for one in apart])
    assert model.spacing == pytest.approx(np.median(nearest) / 10)
    other = cells.copy()
    other.obsm["spatial"] = xy * times
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embed(other, model)
    assert any(f"are {times:.3g} times as far apart" in str(one.message) for one in caught) == said


def test_what_is_read_is_not_overwritten(cells, model):
    for key in ("X_e", "spatial"):
        with pytest.raises(TableError, match=f"key_added='{key}' is what is read"):
            sfm.tl.embed_context(cells.copy(), use_rep="X_e", model=model, key_added=key)


def test_what_is_refused(cells, model):
    adata = cells.copy()
    with pytest.raises(WeightsError, match=r"sfm.train.pretrain_context\(adata"):
        sfm.tl.embed_context(adata, use_rep="X_e")
    with pytest.raises(TableError, match="weights= belongs to a model by name"):
        sfm.tl.embed_context(adata, use_rep="X_e", model=model, weights="folder")
    with pytest.raises(TableError, match="1 of 1 slice has fewer than 50 cells"):
        embed(adata[:40].copy(), model)
    with pytest.raises(TableError, match="No coordinates 'place'"):
        embed(adata, model, spatial_key="place")
    adata.obsm["X_e"][7, 2] = np.nan
    with pytest.raises(TableError, match="1 of 330 rows of 'X_e' hold NaN"):
        embed(adata, model)
    assert "X_context" not in adata.obsm
    assert "spatialfm" not in adata.uns
