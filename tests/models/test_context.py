"""Files and folders of models of cells in context: what is read, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spatialfm._errors import ArgumentError, ModelError, WeightsError
from spatialfm.models.context import Columns, context_card, load_context, new_context, save_context
from spatialfm.models.stofm import PREFIX, Heads, Stofm, StofmConfig

CONFIG = StofmConfig(in_dim=8, dim=8, hidden=12, heads=2, depth=2, gaussians=6)
SHAPE = {"in_dim": 8, "dim": 8, "hidden": 12, "heads": 2, "depth": 2, "gaussians": 6}


@pytest.fixture
def tensors(standin):
    return {
        name: torch.from_numpy(standin.fill(name, tuple(one.shape))) for name, one in Stofm(CONFIG).state_dict().items()
    }


@pytest.fixture
def heads(standin):
    return {
        name: torch.from_numpy(standin.fill(name, tuple(one.shape))) for name, one in Heads(CONFIG).state_dict().items()
    }


@pytest.fixture
def saved(tensors, heads):
    def save(content, path):
        torch.save(content, path)
        return path

    return save


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_published_file_and_a_checkpoint_of_pretraining(tensors, heads, tmp_path, saved):
    bare = load_context("stofm", saved(tensors, tmp_path / "se2transformer.pth"))
    assert bare.network.config == CONFIG
    assert same(bare.network.state_dict(), tensors)
    assert bare.heads == {}
    assert bare.columns is None
    assert bare.weights.source == "se2transformer.pth"
    assert len(bare.weights.sha256) == 64
    assert load_context("stofm", tmp_path).weights == bare.weights
    whole = {f"{PREFIX}{name}": one for name, one in tensors.items()} | heads
    pretrained = load_context("stofm", saved(whole, tmp_path / "pretrained.pth"))
    assert same(pretrained.network.state_dict(), tensors)
    assert same(pretrained.heads, heads)
    assert not any(one.requires_grad for one in pretrained.network.parameters())


def test_a_file_that_does_not_fit_is_refused(tensors, heads, tmp_path, saved):
    path, name = tmp_path / "x.pth", "encoder.layers.1.fc2.bias"
    for changed, problem in (
        ({key: one for key, one in tensors.items() if key != name}, f"1 missing \\({name}\\)"),
        (tensors | {"extra": torch.zeros(1)}, r"1 unexpected \(extra\)"),
        (tensors | {name: torch.zeros(3)}, r"1 of another shape"),
        (tensors | heads | {"lm_head.0.weight": torch.zeros(8, 9)}, "1 of another shape"),
        (tensors | {"pair_head.0.bias": torch.zeros(2)}, "missing"),
    ):
        with pytest.raises(WeightsError, match=problem):
            load_context("stofm", saved(changed, path))


def test_without_weights_it_says_what_to_do(tmp_path):
    for weights in (None, "random"):
        with pytest.raises(WeightsError, match=r"sfm.train.pretrain_context\(adata, .*se2transformer.pth"):
            load_context("stofm", weights)
    with pytest.raises(WeightsError, match="No weights file"):
        load_context("stofm", tmp_path / "none.pth")
    with pytest.raises(ModelError, match="No model of cells in context 'stofn'. Did you mean 'stofm'"):
        load_context("stofn", None)
    with pytest.raises(ArgumentError, match="shape= has 'width'"):
        new_context("stofm", {"width": 3}, 0, 3.0)


def test_what_was_saved_is_loaded(tmp_path, heads):
    encoder = new_context("stofm", SHAPE, 0, 3.0)
    encoder.heads, encoder.use_rep, encoder.slicing = heads, "X_e", {"n_cells": 200}
    rng = np.random.default_rng(0)
    encoder.columns = Columns(rng.normal(size=8), rng.uniform(1, 2, 8))
    save_context(encoder, tmp_path, {"license": "CC0-1.0", "trained_on": "2 slices"})
    again = load_context("stofm", tmp_path)
    assert same(again.network.state_dict(), encoder.network.state_dict())
    assert same(again.heads, heads)
    assert (again.use_rep, again.slicing, again.card.license) == ("X_e", {"n_cells": 200}, "CC0-1.0")
    assert again.card.trained_on == "2 slices"
    values = rng.normal(size=(5, 8))
    expected = (values - encoder.columns.mean) / encoder.columns.std / np.sqrt(8)
    np.testing.assert_allclose(again.prepare(values, "X_e"), expected, rtol=1e-5)
    with pytest.raises(ModelError, match=r"'X_f' \(use_rep=\) has 7 columns, .* take 8. They were trained on 'X_e'"):
        again.prepare(values[:, :7], "X_f")
    assert load_context("stofm", tmp_path / "model.safetensors").use_rep == "X_e"


def test_the_licence_of_published_weights_stays(tensors, tmp_path, saved):
    encoder = load_context("stofm", saved(tensors, tmp_path / "se2transformer.pth"))
    save_context(encoder, tmp_path / "mine", {"license": "CC0-1.0"})
    assert load_context("stofm", tmp_path / "mine").card.license == "MIT"


def test_a_folder_that_was_changed_is_refused(tmp_path, heads):
    encoder = new_context("stofm", SHAPE, 0, 3.0)
    save_context(encoder, tmp_path, {})
    other = new_context("stofm", SHAPE, 1, 3.0)
    card = (tmp_path / "card.json").read_text()
    save_context(other, tmp_path, {})
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(WeightsError, match="is not the file that card.json beside it was written with"):
        load_context("stofm", tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({"encoder": {}}))
    with pytest.raises(WeightsError, match="not the card of a model 'stofm' of cells in context"):
        load_context("stofm", tmp_path)
    (tmp_path / "card.json").write_text(card)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="has card.json, but not model.safetensors"):
        load_context("stofm", tmp_path)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    encoder = new_context("stofm", SHAPE, 0, 3.0)
    with torch.no_grad():
        encoder.network.embedding_layer.bias.fill_(np.nan)
    with pytest.raises(ModelError, match=r"'model.embedding_layer.bias' are not finite"):
        save_context(encoder, tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_the_record_says_what_it_is():
    encoder = new_context("stofm", SHAPE, 0, 3.0)
    record = replace(encoder, use_rep="X_e").record("X_e")
    assert record["shape_in_dim"] == 8
    assert record["weights"] == "initial (untrained)"
    assert context_card("stofm").license == "MIT"
