"""Encoders of any shape, written and read again."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from safetensors import safe_open

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, SpatialfmWarning
from spatialfm.models import MarkerEntry, check_encoder, load, new_encoder, save_trained

SHAPES = {
    "virtues": {"dim": 32, "depth": 4, "heads": 2, "decoder_depth": 1, "marker_dim": 6},
    "kronos": {"dim": 24, "depth": 6, "heads": 2},
    "dinov2-s": {"dim": 24, "depth": 2, "heads": 2, "grid": 4},
    "openphenom": {"dim": 24, "depth": 2, "heads": 2},
}


def outputs(encoder, marker_dim: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, 64, 64, generator=generator)
    ids = torch.tensor([0, 7, 9])
    kind = encoder.card.marker_vocabulary
    markers = torch.randn(3, marker_dim, generator=generator) if kind == "protein embedding" else ids
    with torch.inference_mode():
        return encoder.eval()(pixels, markers).token


@pytest.mark.parametrize("model", list(SHAPES))
def test_an_encoder_comes_back_as_it_was(tmp_path, model):
    encoder = new_encoder(model, **SHAPES[model])
    file = save_trained(encoder, tmp_path / "run", {"license": "CC-BY-4.0", "data": ["cohort 1"], "mpp": 1.0})
    assert file == tmp_path / "run" / "model.safetensors"
    loaded = load(model, weights=tmp_path / "run")
    torch.testing.assert_close(outputs(loaded), outputs(encoder), rtol=0, atol=0)
    assert loaded.config == encoder.config
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    card = loaded.card
    assert (card.name, card.license, card.commercial, card.gated) == (model, "CC-BY-4.0", True, False)
    assert card.mpp_range is None
    assert (card.mpp, card.hub, card.embedding_dim) == (1.0, None, encoder.config.dim)
    assert card.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    text = json.loads((tmp_path / "run" / "card.json").read_text())
    assert text["data"] == ["cohort 1"]
    assert text["encoder"]["shape"]["dim"] == encoder.config.dim
    assert loaded.weights.source == "model.safetensors"
    torch.testing.assert_close(outputs(load(model, weights=file)), outputs(encoder), rtol=0, atol=0)


@pytest.mark.parametrize("model", list(SHAPES))
def test_what_was_loaded_passes_the_contract(tmp_path, model):
    encoder = new_encoder(model, **SHAPES[model])
    # LayerScale at 1e-5 leaves the outputs almost the same for every window: what training changes first
    for name, parameter in encoder.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(1.0)
    save_trained(encoder, tmp_path)
    table = check_encoder(load(model, weights=tmp_path))
    assert table["passed"].all(), table[~table["passed"]]


def test_names_are_those_of_the_published_layout(tmp_path):
    published = {
        "kronos": sfm.models.load("kronos", weights="random").backbone.state_dict(),
        "virtues": sfm.models.load("virtues", weights="random").backbone.state_dict(),
    }
    for model, shape in (("kronos", {"dim": 12, "heads": 2}), ("virtues", {"dim": 16, "heads": 2})):
        with safe_open(save_trained(new_encoder(model, **shape), tmp_path / model), "pt") as file:
            assert set(file.keys()) == set(published[model])


def test_a_vocabulary_goes_along(tmp_path):
    encoder = new_encoder("kronos", **SHAPES["kronos"])
    encoder.vocabulary = (MarkerEntry("DAPI", 0, 0.1, 0.2), MarkerEntry("CD3, clone 7", 12, 1 / 3, 2e-9))
    save_trained(encoder, tmp_path)
    assert load("kronos", weights=tmp_path).vocabulary == encoder.vocabulary


def test_blocks_are_those_that_were_trained(tmp_path):
    encoder = new_encoder("kronos", **SHAPES["kronos"])
    save_trained(encoder, tmp_path)
    assert load("kronos", weights=tmp_path).executed == tuple(range(6))
    assert load("kronos", weights=tmp_path, blocks="all").executed == tuple(range(6))
    with pytest.warns(SpatialfmWarning, match="trained with blocks='all' and is used with blocks='released'"):
        assert load("kronos", weights=tmp_path, blocks="released").executed == (0, 2, 4)
    assert sfm.models.load("kronos", weights="random").options["blocks"] == "released"


def test_an_option_of_training_that_is_left_out_is_that_of_the_training(tmp_path):
    save_trained(new_encoder("virtues", nuclear="histone", **SHAPES["virtues"]), tmp_path / "with")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        assert load("virtues", weights=tmp_path / "with").nuclear == "histone"
        assert load("virtues", weights=tmp_path / "with", nuclear="histone").nuclear == "histone"
    save_trained(new_encoder("virtues", **SHAPES["virtues"]), tmp_path / "without")
    assert load("virtues", weights=tmp_path / "without").nuclear is None
    with pytest.warns(SpatialfmWarning, match="trained with nuclear=None and is used with nuclear='histone'"):
        load("virtues", weights=tmp_path / "without", nuclear="histone")


def test_terms_of_published_weights_stay(tmp_path, kronos_file):
    encoder = load("kronos", weights=kronos_file, blocks="all")
    save_trained(encoder, tmp_path, {"license": "MIT", "commercial": True, "title": "Ours"})
    card = load("kronos", weights=tmp_path).card
    assert (card.license, card.commercial, card.gated, card.title) == ("CC-BY-NC-ND-4.0", False, True, "Ours")


def test_what_cannot_be_saved(tmp_path):
    encoder = new_encoder("kronos", **SHAPES["kronos"])
    with pytest.raises(ArgumentError, match="'encoder' of a card is written by"):
        save_trained(encoder, tmp_path, {"encoder": 1})
    with pytest.raises(ArgumentError, match="texts, numbers, lists and dicts"):
        save_trained(encoder, tmp_path, {"when": object()})
    with pytest.raises(ModelError, match="the smaller size comes first"):
        save_trained(encoder, tmp_path, {"mpp": 1.0, "mpp_range": [2.0, 0.5]})
    encoder.backbone.norm.bias.data[3] = float("nan")
    with pytest.raises(ModelError, match=r"'norm.bias' are not finite"):
        save_trained(encoder, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelError, match="No model 'krons'"):
        new_encoder("krons")


def test_saving_again_replaces_and_leaves_other_files(tmp_path):
    (tmp_path / "losses.csv").write_text("step,loss\n")
    for seed in (0, 1):
        encoder = new_encoder("kronos", random_state=seed, **SHAPES["kronos"])
        save_trained(encoder, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"losses.csv", "model.safetensors", "card.json"}
    torch.testing.assert_close(outputs(load("kronos", weights=tmp_path)), outputs(encoder), rtol=0, atol=0)
