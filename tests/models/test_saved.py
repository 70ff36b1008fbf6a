"""Folders that cannot be trusted: each refused by its name, and what is wrong with it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from spatialfm._errors import WeightsError
from spatialfm.models import load, new_encoder, save_trained


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    save_trained(new_encoder("kronos", dim=12, depth=2, heads=2), folder)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def change(folder, **entries):
    card = json.loads((folder / "card.json").read_text())
    card["encoder"] |= entries
    (folder / "card.json").write_text(json.dumps(card))


def refused(folder, message: str, model: str = "kronos"):
    with pytest.raises(WeightsError, match=message) as caught:
        load(model, weights=folder)
    assert str(folder) in str(caught.value)


def test_another_model(folder):
    refused(folder, r"holds an encoder 'kronos', not 'virtues'", "virtues")
    refused(folder, r"holds an encoder 'kronos', not 'kronos-large'", "kronos-large")


def test_a_card_that_is_incomplete(folder):
    shape = json.loads((folder / "card.json").read_text())["encoder"]["shape"]
    change(folder, shape={name: value for name, value in shape.items() if name != "heads"})
    refused(folder, "the shape of the encoder lacks 'heads'")
    change(folder, shape=shape | {"tails": 2})
    refused(folder, "has 'tails', which the model does not have")
    change(folder, shape=shape | {"dim": 13})
    refused(folder, "dim 13 must be even")
    change(folder, shape=None)
    refused(folder, "does not state the shape")
    change(folder, shape=shape, card={"embedding_dim": 3})
    refused(folder, "states 'embedding_dim'")


def test_a_card_of_another_format_or_none(folder):
    change(folder, format="spatialfm encoder 9")
    refused(folder, "has the format 'spatialfm encoder 9'")
    (folder / "card.json").write_text("{")
    refused(folder, "cannot be read")


def test_weights_that_are_not_those_of_the_card(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.bias"] = torch.ones(12)
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"is not the file that card\.json beside it was written with")
    del tensors["cls_token"]
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"1 missing \(cls_token\)")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    refused(folder, "truncated")
    (folder / "model.safetensors").unlink()
    refused(folder, r"but not the weights 'model\.safetensors'")


def test_weights_elsewhere(folder):
    change(folder, file="../model.safetensors")
    refused(folder, "which is not in its folder")


def test_a_foreign_card_is_not_ours(folder):
    (folder / "card.json").write_text(json.dumps({"architecture": "vit"}))
    refused(folder, "of another shape")  # taken for the published one


def recipe_of(folder, model: str = "kronos", **changes):
    shape = {"dim": 12, "depth": 2, "heads": 2} if model == "kronos" else {"dim": 16, "heads": 2}
    encoder = new_encoder(model, **shape)
    save_trained(encoder, folder, recipe=encoder.card.recipe.replace(**changes))
    return load(model, weights=folder)


def test_pixels_are_made_as_they_were_in_training(tmp_path):
    """The statistics of marker_metadata.csv are of pixels over 4,095; over 65,535 they would be those of no image."""
    loaded = recipe_of(tmp_path / "one", intensity_max=4095.0, pixel_size=0.4)
    assert (loaded.card.recipe.intensity_max, loaded.card.recipe.pixel_size) == (4095.0, 0.4)
    assert loaded.card.recipe.window == 64  # which is not of pixels
    loaded = recipe_of(tmp_path / "two", intensity_max={"a": 255.0})
    assert loaded.card.recipe.intensity_max is None
    assert loaded.trained_recipe["intensity_max"] == {"a": 255.0}
    published = load("virtues", weights="random").card.recipe.preparation
    loaded = recipe_of(tmp_path / "three", "virtues", preparation=published.variants()[-1])
    assert loaded.card.recipe.preparation == published.variants()[-1] != published
    assert recipe_of(tmp_path / "four", "virtues", preparation=None).card.recipe.preparation is None
    assert recipe_of(tmp_path / "five", "virtues").card.recipe.preparation == published


def test_tiles_are_as_large_as_they_were_in_training(tmp_path):
    tiles = {"window": 32, "stride": 10, "padding": 30}
    loaded = recipe_of(tmp_path / "tiles", "virtues", **tiles).card.recipe
    assert (loaded.mode, {name: getattr(loaded, name) for name in tiles}) == ("tile", tiles)
    assert loaded.replace(mode="crop").window == 32
    alone = recipe_of(tmp_path / "crops", "virtues", mode="crop", window=16, background="zero").card.recipe
    assert (alone.mode, alone.window, alone.stride) == ("tile", 128, 42)  # crops are asked for, not learned


def test_a_recipe_that_is_none(folder):
    change(folder, recipe={"on_nan": "zero"})
    refused(folder, "states a recipe of the encoder that this version does not know")
    change(folder, recipe={"scaling": "log"})
    refused(folder, "scaling")
    card = json.loads((folder / "card.json").read_text())
    del card["encoder"]["recipe"]  # as earlier versions wrote
    (folder / "card.json").write_text(json.dumps(card))
    assert load("kronos", weights=folder).trained_recipe is None
