"""DINOv2, UNI and DinoBloom against what transformers and timm compute with the same stand-in weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import dinov2
from spatialfm.models.dinov2 import RGB_MEAN, RGB_STD, Dinov2Encoder, center_crop
from spatialfm.models.vit import VisionTransformer, ViTConfig
from spatialfm.models.vit_checkpoints import fit, translate

VALUES = json.loads((Path(__file__).parent / "baseline_values.json").read_text())
NAMES = [f"{family}-{size}" for family in ("dinov2", "dinobloom") for size in "sblg"] + ["uni"]
TINY = ViTConfig(dim=48, depth=3, heads=3, patch_size=14, grid=4)
# as the registered model has it, at another size
TINY_UNI = replace(dinov2._CONFIGS["uni"], dim=48, depth=3, heads=3, grid=3)


def relative_error(out: torch.Tensor, expected) -> float:
    expected = np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(out.double().numpy() - expected) / np.linalg.norm(expected))


@pytest.fixture
def tensors_of(standin):
    def make(config: ViTConfig) -> dict[str, torch.Tensor]:
        with torch.device("meta"):
            layout = VisionTransformer(config).state_dict()
        return {name: torch.from_numpy(standin.fill(name, tuple(t.shape))) for name, t in layout.items()}

    return make


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Load a model of tiny size under its registered name, from a file that holds `content`."""

    def make(name: str, content, config: ViTConfig = TINY, **options) -> Dinov2Encoder:
        monkeypatch.setitem(dinov2._CONFIGS, name, config)
        if isinstance(content, dict):
            torch.save(content, tmp_path / "w.pth")
            content = tmp_path / "w.pth"
        return sfm.models.load(name, weights=content, **options)

    return make


def pixels_of(standin, key: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(standin.synthetic_input(key, *shape))


# --- numbers of other implementations --------------------------------------------------------------------------------


@pytest.mark.parametrize("ffn", ["mlp", "swiglu"])
def test_dinov2_is_that_of_transformers(load, tensors_of, standin, ffn):
    config = replace(TINY, ffn=ffn)
    encoder = load("dinov2-g" if ffn == "swiglu" else "dinov2-s", tensors_of(config), config, rgb=True)
    out = encoder(pixels_of(standin, "dinov2", 2, 3, 56, 56))
    assert relative_error(out.patch[1, :8], VALUES["dinov2"][ffn]["cls"]) < 1e-5
    assert relative_error(out.summary[1, 2, 3, :8], VALUES["dinov2"][ffn]["token"]) < 1e-5


def test_uni_is_that_of_timm_on_a_grid_that_it_was_not_made_for(load, tensors_of, standin):
    tensors = tensors_of(TINY_UNI)
    assert sorted(tensors) == VALUES["uni"]["names"]
    out = load("uni", tensors, TINY_UNI, rgb=True)(pixels_of(standin, "uni", 2, 3, 64, 80))
    assert out.summary.shape == (2, 4, 5, 48)
    assert relative_error(out.patch[1, :8], VALUES["uni"]["cls"]) < 1e-5
    assert relative_error(out.summary[1, 2, 4, :8], VALUES["uni"]["token"]) < 1e-5


@pytest.mark.parametrize("swiglu", [False, True])
def test_a_file_saved_by_transformers(load, tmp_path, standin, swiglu):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.Dinov2Model(
        transformers.Dinov2Config(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=3,
            image_size=56,
            patch_size=14,
            use_swiglu_ffn=swiglu,
            layerscale_value=0.7,
            initializer_range=0.2,
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    config = replace(TINY, ffn="swiglu" if swiglu else "mlp", grid=37)
    encoder = load("dinov2-b", tmp_path, config, rgb=True)
    pixels = pixels_of(standin, "x", 2, 3, 56, 56)
    with torch.no_grad():
        expected = theirs(pixels).last_hidden_state
    out = encoder(pixels)
    torch.testing.assert_close(out.patch, expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.summary.flatten(1, 2), expected[:, 1:], rtol=1e-4, atol=1e-5)


# --- markers ---------------------------------------------------------------------------------------------------------


def test_each_marker_is_a_grey_image_of_its_own(load, tensors_of):
    markers = load("dinov2-s", tensors_of(TINY))
    rgb = load("dinov2-s", tensors_of(TINY), rgb=True)
    pixels = torch.randn(2, 4, 56, 42)
    out = markers(pixels)
    assert (out.patch, out.summary) == (None, None)
    assert out.marker.shape == (2, 4, 48)
    assert out.token.shape == (2, 4, 4, 3, 48)
    for m in range(4):
        grey = rgb(pixels[:, [m, m, m]])
        torch.testing.assert_close(out.marker[:, m], grey.patch, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out.token[:, m], grey.summary, rtol=1e-5, atol=1e-5)


def test_windows_are_cropped_to_their_centre(load, tensors_of):
    encoder = load("dinov2-s", tensors_of(TINY))
    pixels = torch.randn(1, 2, 64, 59)
    torch.testing.assert_close(encoder(pixels).marker, encoder(pixels[..., 4:60, 1:57]).marker)
    assert center_crop(torch.zeros(1, 1, 28, 42), 14).shape == (1, 1, 28, 42)
    assert center_crop(torch.zeros(1, 1, 256, 29), 16).shape == (1, 1, 256, 16)


@pytest.mark.parametrize("outputs", [("marker",), ("token",)])
def test_only_what_is_needed(load, tensors_of, outputs):
    encoder = load("dinov2-s", tensors_of(TINY))
    pixels = torch.randn(2, 2, 28, 28)
    full, part = encoder(pixels), encoder(pixels, outputs=outputs)
    for name in ("marker", "token"):
        if name in outputs:
            torch.testing.assert_close(getattr(part, name), getattr(full, name), rtol=1e-5, atol=1e-5)
        else:
            assert getattr(part, name) is None


def test_an_empty_batch(load, tensors_of):
    assert load("dinov2-s", tensors_of(TINY))(torch.zeros(0, 2, 28, 28)).marker.shape == (0, 2, 48)


def test_rgb_pixels_are_normalised_as_in_training(load, tensors_of):
    encoder = load("dinov2-s", tensors_of(TINY), rgb=True)
    assert (encoder.card.outputs, encoder.card.default_output) == (("patch", "summary"), "patch")
    assert encoder.card.recipe.normalization == "none"
    assert encoder.options == {"rgb": True}
    out = encoder.normalize(torch.full((1, 3, 14, 14), 0.5), torch.zeros(3), torch.ones(3))
    expected = [(0.5 - mean) / std for mean, std in zip(RGB_MEAN, RGB_STD, strict=True)]
    torch.testing.assert_close(out[0, :, 1, 1], torch.tensor(expected))


def test_markers_are_normalised_by_their_own_statistics(load, tensors_of, tmp_path):
    encoder = load("dinov2-s", tensors_of(TINY))
    out = encoder.normalize(torch.ones(1, 2, 2, 2), torch.tensor([0.5, 0.0]), torch.tensor([0.25, 2.0]))
    assert out[0, :, 0, 0].tolist() == [2.0, 0.5]
    assert encoder.vocabulary == ()
    (tmp_path / "table.csv").write_text("marker_name,marker_id,marker_mean,marker_std\nCD3,7,0.1,0.2\n")
    encoder = load("dinov2-s", tensors_of(TINY), marker_metadata=tmp_path / "table.csv")
    assert [(entry.name, entry.mean, entry.std) for entry in encoder.vocabulary] == [("CD3", 0.1, 0.2)]
    assert encoder.n_marker_ids == 0
    with pytest.raises(ModelError, match=r"No marker table .*absent.csv. Pass marker_metadata="):
        load("dinov2-s", tensors_of(TINY), marker_metadata=tmp_path / "absent.csv")


# --- checkpoints -----------------------------------------------------------------------------------------------------


def expected_of(load, tensors, config=TINY, pixels=None):
    return load("dinov2-s", tensors, config)(pixels).marker


def test_a_teacher_in_chunks_with_its_heads_and_another_grid(load, tensors_of):
    config = replace(TINY, grid=16)
    tensors, pixels = tensors_of(config), torch.randn(1, 2, 42, 42)
    chunked = {
        f"backbone.blocks.{int(name.split('.')[1]) // 2}.{name[7:]}"
        if name.startswith("blocks.")
        else f"backbone.{name}": t
        for name, t in tensors.items()
    }
    assert "backbone.blocks.1.2.norm1.weight" in chunked
    heads = {"dino_head.last_layer.weight": torch.zeros(2), "ibot_head.mlp.0.weight": torch.zeros(2)}
    encoder = load("dinobloom-s", {"teacher": chunked | heads}, replace(TINY, grid=37))
    assert encoder.backbone.config.grid == 16
    assert encoder.card.parameters == sum(p.numel() for p in encoder.parameters())
    torch.testing.assert_close(encoder(pixels).marker, expected_of(load, tensors, config, pixels))


def test_files_of_timm(load, tensors_of, tmp_path):
    config = replace(TINY, ffn="swiglu")
    tensors, pixels = tensors_of(config), torch.randn(1, 2, 42, 42)
    theirs = {name.replace("w12", "fc1").replace("w3", "fc2"): t for name, t in tensors.items() if name != "mask_token"}
    theirs |= {"head.weight": torch.zeros(5, 48), "head.bias": torch.zeros(5)}
    theirs["cls_token"] = theirs["cls_token"] + theirs["pos_embed"][:, :1]
    theirs["pos_embed"] = theirs["pos_embed"][:, 1:].contiguous()
    save_file(theirs, tmp_path / "model.safetensors")
    encoder = load("dinov2-g", tmp_path, config)
    torch.testing.assert_close(encoder(pixels).marker, expected_of(load, tensors, config, pixels))


def test_registers_and_patch_size_are_read_off_the_file(load, tensors_of):
    config = replace(TINY, registers=4, patch_size=16, grid=3)
    encoder = load("dinov2-s", tensors_of(config))
    assert encoder.card.patch_size == 16
    found = encoder.backbone.config
    assert (found.registers, found.grid) == (4, 3)
    assert (found.resize_offset, found.resize_antialias) == (0.0, True)
    assert encoder(torch.zeros(1, 1, 48, 48)).token.shape == (1, 1, 3, 3, 48)
    names = {("reg_token" if name == "register_tokens" else name): t for name, t in tensors_of(config).items()}
    assert fit(TINY, translate(names)) == found


def test_another_size_is_refused(load, tensors_of):
    with pytest.raises(WeightsError, match=r"does not fit model 'dinov2-s'.*unexpected \(blocks.3.norm1.weight"):
        load("dinov2-s", tensors_of(replace(TINY, depth=4)))
    with pytest.raises(WeightsError, match=r"of another shape \(cls_token is \(1, 1, 24\) instead of \(1, 1, 48\)"):
        load("dinov2-s", tensors_of(replace(TINY, dim=24)))
    with pytest.raises(WeightsError, match="missing"):
        load("dinov2-s", {"foreign": torch.zeros(3)})


def test_names_that_nobody_uses_are_refused(load, tensors_of):
    with pytest.raises(WeightsError, match=r"1 unexpected \(blocks.0.adapter.weight\)"):
        load("dinov2-s", tensors_of(TINY) | {"blocks.0.adapter.weight": torch.zeros(2)})


# --- cards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_size_and_names_of_the_published_models(name):
    card, config = sfm.models.card(name), dinov2._CONFIGS[name]
    layout = Dinov2Encoder(card, config).backbone.state_dict()
    assert sum(t.numel() for t in layout.values()) == card.parameters
    assert layout["pos_embed"].shape == (1, {"u": 197, "dinov2": 1370, "dinobloom": 257}[_family(name)], config.dim)
    assert layout["patch_embed.proj.weight"].shape == (config.dim, 3, card.patch_size, card.patch_size)
    assert ("mask_token" in layout) == (name != "uni")
    assert ("blocks.0.mlp.w12.weight" in layout) == name.endswith("-g")
    assert (config.eps, config.registers) == (1e-6, 0)
    expected = (0.0, True) if name == "uni" else (0.1, False)
    assert (config.resize_offset, config.resize_antialias) == expected


def _family(name: str) -> str:
    return "u" if name == "uni" else name.split("-")[0]


def test_published_sizes():
    """ViT-S, B, L and g of DINOv2, in millions, as its model card states them; UNI is a ViT-L."""
    millions = {name: round(sfm.models.card(name).parameters / 1e6) for name in NAMES}
    assert [millions[f"dinov2-{size}"] for size in "sblg"] == [22, 87, 304, 1136]
    assert millions["uni"] == 303
    giant = Dinov2Encoder(sfm.models.card("dinov2-g"), dinov2._CONFIGS["dinov2-g"]).backbone
    assert giant.blocks[39].mlp.w12.weight.shape == (8192, 1536)


def test_terms():
    table = sfm.models.list_models().loc[NAMES]
    assert table.loc["uni", ["license", "commercial", "gated"]].tolist() == ["CC-BY-NC-ND-4.0", False, True]
    others = table.drop("uni")
    assert set(others["license"]) == {"Apache-2.0"}
    assert others["commercial"].all()
    assert not others["gated"].any()
    assert set(table["marker_vocabulary"]) == {"rgb"}


# --- refusals --------------------------------------------------------------------------------------------------------


def test_pixels_are_checked(load, tensors_of):
    encoder = load("dinov2-s", tensors_of(TINY))
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(3, 28, 28\)"):
        encoder(torch.zeros(3, 28, 28))
    with pytest.raises(ModelError, match=r"windows of 14 x 14 pixels or more, got 13 x 40. Pass a larger window"):
        encoder(torch.zeros(1, 1, 13, 40))
    with pytest.raises(ModelError, match=r"no output 'patch'; it has \('marker', 'token'\)"):
        encoder(torch.zeros(1, 1, 28, 28), outputs=("patch",))
    rgb = load("dinov2-s", tensors_of(TINY), rgb=True)
    with pytest.raises(ModelError, match=r"RGB pixels \(B, 3, H, W\), got \(1, 4, 28, 28\). Load it without rgb=True"):
        rgb(torch.zeros(1, 4, 28, 28))
