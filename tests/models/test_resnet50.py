"""ResNet-50 against torchvision's with the same stand-in weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, WeightsError
from spatialfm.models.resnet50 import RESNET50, ResNet50Encoder

VALUES = json.loads((Path(__file__).parent / "baseline_values.json").read_text())["resnet50"]


@pytest.fixture(scope="module")
def published(standin):
    """Names as torchvision publishes them, classifier and counters included."""
    layout = ResNet50Encoder(RESNET50).backbone.state_dict()
    tensors = {name: torch.from_numpy(standin.fill(name, tuple(t.shape))) for name, t in layout.items()}
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(5)
        for name in layout
        if name.endswith("running_mean")
    }
    return tensors | counters | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def encoder(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet") / "resnet50-0676ba61.pth"
    torch.save(published, path)
    return sfm.models.load("resnet50", weights=path)


def test_values_of_torchvision(encoder, standin):
    pixels = torch.from_numpy(standin.synthetic_input("resnet50", 2, 1, 64, 48))
    marker = encoder(pixels).marker
    assert marker.shape == (2, 1, 2048)
    np.testing.assert_allclose(marker[1, 0, :8], VALUES["marker"], rtol=1e-4, atol=1e-5)
    assert float(marker[1, 0].norm()) == pytest.approx(VALUES["norm"], rel=1e-5)


def test_names_are_those_of_torchvision(published):
    assert sorted(name for name in published if not name.startswith("fc.")) == VALUES["names"]
    backbone = ResNet50Encoder(RESNET50).backbone
    # 25,557,032 with the classifier, as torchvision states it
    assert sum(p.numel() for p in backbone.parameters()) == RESNET50.parameters == 25_557_032 - 1000 * 2049


def test_each_marker_by_itself(encoder):
    pixels = torch.randn(2, 3, 32, 32)
    out = encoder(pixels).marker
    torch.testing.assert_close(out[:, [1]], encoder(pixels[:, [1]]).marker, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(pixels[:, [2, 0, 1]]).marker, out[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
    assert encoder(torch.zeros(1, 1, 5, 7)).marker.isfinite().all()
    assert encoder(torch.zeros(0, 2, 32, 32)).marker.shape == (0, 2, 2048)
    many = torch.randn(1, 70, 8, 8)
    torch.testing.assert_close(encoder(many).marker[:, 69:], encoder(many[:, 69:]).marker, rtol=1e-4, atol=1e-5)


def test_components_are_recorded(encoder):
    assert encoder.card.recipe.n_components == 9  # VirTues, Methods
    assert encoder.card.recipe.replace(n_components=20).n_components == 20
    for wrong in (0, 2.5):
        with pytest.raises(ArgumentError, match=rf"n_components={wrong}\): n_components must be a whole number"):
            encoder.card.recipe.replace(n_components=wrong)


def test_random_weights(standin):
    first, second = (sfm.models.load("resnet50", weights="random") for _ in range(2))
    pixels = torch.from_numpy(standin.synthetic_input("x", 2, 1, 32, 32))
    out = first(pixels).marker
    assert out.isfinite().all()
    assert not torch.equal(out[0], out[1])
    assert torch.equal(out, second(pixels).marker)


def test_refusals(encoder, published, tmp_path):
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(3, 32, 32\)"):
        encoder(torch.zeros(3, 32, 32))
    torch.save({name: t for name, t in published.items() if "layer4" not in name}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"'resnet50'.* missing \(layer4.0.conv1.weight"):
        sfm.models.load("resnet50", weights=tmp_path / "w.pth")
