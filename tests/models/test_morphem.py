"""MorphEm against its authors' network with the same stand-in weights, and its preprocessing from its definition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import hub, morphem
from spatialfm.models.morphem import MorphEmEncoder, resized, self_standardized
from spatialfm.models.vit import VisionTransformer

VALUES = json.loads((Path(__file__).parent / "baseline_values.json").read_text())["morphem"]
ONES = torch.ones(2)


def tensors_of(standin, channels: int = 1) -> dict[str, torch.Tensor]:
    layout = MorphEmEncoder(morphem.MORPHEM, morphem._CONFIG).backbone.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in layout.items()}
    shapes["patch_embed.proj.weight"] = (384, channels, 16, 16)
    return {name: torch.from_numpy(standin.fill(name, shape)) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def published(standin):
    return tensors_of(standin)


@pytest.fixture(scope="module")
def encoder(published, tmp_path_factory):
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("morphem") / "model.safetensors"
    save_file(published, path)
    return sfm.models.load("morphem", weights=path)


def test_values_of_the_authors_network(encoder, standin):
    pixels = torch.from_numpy(standin.synthetic_input("morphem", 2, 2, 80, 64)).abs() * 60
    vector = encoder(pixels).marker[1, 1].double().numpy()
    expected = np.asarray(VALUES["marker"])
    assert np.linalg.norm(vector[:8] - expected) / np.linalg.norm(expected) < 1e-5
    assert np.linalg.norm(vector) == pytest.approx(VALUES["norm"], rel=1e-5)


def test_names_and_size_are_those_of_the_authors_network(published, encoder):
    assert sorted(published) == VALUES["names"]
    assert VALUES["parameters"] == encoder.card.parameters


def test_three_input_channels_repeat_the_channel(standin, published, encoder, tmp_path):
    """A convolution over three equal channels is one over a single channel with the summed kernel."""
    wide = tensors_of(standin, channels=3)
    one = published | {"patch_embed.proj.weight": wide["patch_embed.proj.weight"].sum(1, keepdim=True)}
    torch.save(wide, tmp_path / "three.pt")
    torch.save({"teacher": {f"backbone.{name}": tensor for name, tensor in one.items()}}, tmp_path / "one.pt")
    three = sfm.models.load("morphem", weights=tmp_path / "three.pt")
    pixels = torch.rand(1, 2, 48, 48) * 255
    expected = sfm.models.load("morphem", weights=tmp_path / "one.pt")(pixels).marker
    torch.testing.assert_close(three(pixels).marker, expected, rtol=1e-4, atol=1e-4)
    assert three.card.parameters == encoder.card.parameters + 2 * 384 * 256
    assert sum(parameter.numel() for parameter in three.parameters()) == three.card.parameters


def test_each_channel_is_standardised_before_it_is_resized():
    pixels = torch.rand(3, 1, 40, 32) * 255
    norm = torch.nn.InstanceNorm2d(1, affine=False, eps=1e-7)
    torch.testing.assert_close(self_standardized(pixels), norm(pixels))
    assert resized(pixels).shape == (3, 1, 224, 224)
    # a third of the size: the triangle (1, 2, 3, 2, 1) / 9 leaves a ninth of an alternation; samples would leave all
    board = ((torch.arange(672)[:, None] + torch.arange(672)) % 2).float()[None, None]
    amplitude = (resized(board)[..., 4:-4, 4:-4] - 0.5).abs()
    torch.testing.assert_close(amplitude, torch.full_like(amplitude, 0.5 / 81), atol=1e-4, rtol=0)


def test_windows_of_other_brightness_are_the_same(encoder):
    pixels = torch.rand(1, 2, 64, 64) * 200
    torch.testing.assert_close(encoder(pixels * 0.5 + 20).marker, encoder(pixels).marker, rtol=1e-3, atol=1e-3)


def test_channels_do_not_see_each_other(encoder):
    pixels = torch.rand(1, 3, 32, 32) * 255
    out = encoder(pixels).marker
    torch.testing.assert_close(encoder(pixels[:, [2, 0]]).marker, out[:, [2, 0]], rtol=1e-4, atol=1e-4)


def test_saturated_pixels_are_replaced_by_noise_of_the_place(encoder):
    pixels = torch.full((2, 2, 40, 40), 0.5)
    pixels[:, :, 5:30, 5:30] = 1.0
    out = encoder.normalize(pixels, ONES, ONES)
    inside = out[:, :, 5:30, 5:30]
    assert (out[:, :, :5] == 127.5).all()
    assert inside.min() >= 200
    assert inside.max() <= 255
    assert abs(float(inside[0, 0].mean()) - 227.5) < 3 * 55 / 12**0.5 / 25  # uniform: three standard errors
    assert torch.equal(inside[0, 0], inside[1, 1])
    assert torch.equal(encoder.normalize(pixels[1:], ONES, ONES), out[1:])
    without = sfm.models.load("morphem", weights="random", saturation_noise=False)
    torch.testing.assert_close(without.normalize(pixels, ONES, ONES), pixels * 255)
    other = sfm.models.load("morphem", weights="random", noise_seed=1)
    assert not torch.equal(other.normalize(pixels, ONES, ONES)[:, :, 5:30, 5:30], inside)


def test_pixels_beyond_the_range_are_not_taken_for_saturated(encoder):
    counts = torch.tensor([0.0, 1.0, 7.0]).expand(1, 2, 3, 3)
    with pytest.raises(ModelError, match=r"pixels up to 7\. Pass recipe=\{'intensity_max'"):
        encoder.normalize(counts, ONES, ONES)
    without = sfm.models.load("morphem", weights="random", saturation_noise=False)
    torch.testing.assert_close(without.normalize(counts, ONES, ONES), counts * 255)


def test_refusals(encoder, published, tmp_path):
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(2, 32, 32\)"):
        encoder(torch.zeros(2, 32, 32))
    torch.save(published | {"patch_embed.proj.weight": torch.zeros(384, 5, 16, 16)}, tmp_path / "five.pt")
    with pytest.raises(WeightsError, match="takes 5 channels, and MorphEm takes 1, or 3"):
        sfm.models.load("morphem", weights=tmp_path / "five.pt")
    torch.save({name: t for name, t in published.items() if name != "norm.bias"}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(norm.bias"):
        sfm.models.load("morphem", weights=tmp_path / "short.pt")


@pytest.fixture(scope="module")
def small():
    """Two blocks of a narrow network, so that images of 224 pixels take no time."""
    config = replace(morphem._CONFIG, dim=24, heads=2, depth=2)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in VisionTransformer(config).parameters())
    card = replace(morphem.MORPHEM, parameters=parameters, embedding_dim=24)
    encoder = MorphEmEncoder(card, config)
    encoder.weights = hub.fill_random(encoder.backbone, card)
    return encoder.eval().requires_grad_(False)


def test_contract(small):
    assert sfm.models.check_encoder(small)["passed"].all()


def test_cells_of_an_image(small):
    """From image to table: one row of as many numbers per marker as the network is wide; the record names the noise."""
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, difficulty="easy")
    sfm.tl.embed_cells(sdata, small)
    adata = sdata["table"]
    record = sfm.get.record(adata, "X_morphem")
    assert adata.obsm["X_morphem"].shape == (adata.n_obs, 24 * adata.n_vars)
    assert record["license"] == "MIT"
    assert "saturation_noise" in str(record["model_options"])
