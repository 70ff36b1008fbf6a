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
