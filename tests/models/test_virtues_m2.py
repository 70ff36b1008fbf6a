"""VirTues-M2 against its authors' network, and its formulas step by step with torch's own layers; cells of an image.

``virtues_m2_values.json``: names of parameters, and outputs at one position of the second window, of the authors'
network (bunnelab/virtues-m2 at b428919, on the blocks of facebookresearch/dinov2 at b8931f7) with torch's attention in
place of xformers', in float32, filled by `fill` with the same stand-in weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import spatialfm as sfm
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models import hub, virtues_m2
from spatialfm.models.virtues_m2 import HE_MEAN, HE_STD, M2Config, M2Network, VirTuesM2Encoder

VALUES = json.loads((Path(__file__).parent / "virtues_m2_values.json").read_text())
SMALL = M2Config(dim=48, depth=2, heads=4, patch_size=14, grid=4, marker_dim=32, marker_heads=3, marker_hidden=40)


@pytest.fixture(scope="module")
def tensors(standin):
    with torch.device("meta"):
        layout = M2Network(SMALL).state_dict()
    return {name: torch.from_numpy(standin.fill(name, tuple(t.shape))) for name, t in layout.items()}


@pytest.fixture(scope="module")
def load(tensors, tmp_path_factory):
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("m2") / "model.safetensors"
    save_file(tensors, path)

    def loaded(**options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(virtues_m2, "M2Config", lambda: SMALL)
            return sfm.models.load("virtues-m2", weights=path, **options)

    return loaded


def windows(standin, n_markers: int = 3, side: int = 56):
    multiplex = torch.from_numpy(standin.synthetic_input("m2 multiplex", 2, n_markers, side, side)).abs()
    he = torch.from_numpy(standin.synthetic_input("m2 he", 2, 3, side, side)).abs()
    proteins = torch.from_numpy(standin.synthetic_input("m2 proteins", n_markers, 32))
    return multiplex, proteins, he


def attention(x, q, k, v, o, heads):
    """Multi-head attention of torch's own module, filled with weights and biases."""
    module = torch.nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
    module.in_proj_weight.data, module.in_proj_bias.data = (torch.cat(parts) for parts in zip(q, k, v, strict=True))
    module.out_proj.weight.data, module.out_proj.bias.data = o
    return module.eval()(x, x, x, need_weights=False)[0].detach()


def by_hand(w, multiplex, proteins, he):
    """The published forward, window by window and position by position; no code of the package."""

    def pair(name):
        return w[f"{name}.weight"], w[f"{name}.bias"]

    def norm(x, name, eps):
        return F.layer_norm(x, x.shape[-1:], *pair(name), eps)

    n = multiplex.shape[-1] // 14
    embedded = F.linear(proteins.half().float(), *pair("mx_embed_layer.protein_encoder"))
    out = []
    for image, tissue in zip(multiplex, he, strict=True):
        mx, stained = [], []
        for row in range(n):
            for column in range(n):
                box = np.s_[:, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
                x = F.linear(image[box].flatten(1), *pair("mx_embed_layer.multiplex_patch_encoder")) + embedded
                x = torch.cat([w["mx_embed_layer.patch_summary_token"][None], x])[None]
                for i in range(2):
                    here = f"mx_embed_layer.encoder.0.encoder_layer.layers.{i}."
                    parts = [pair(f"{here}multi_head_attention.W_{letter}") for letter in "qkvo"]
                    x = x + attention(norm(x, f"{here}layernorm1", 1e-5), *parts, heads=3)
                    hidden = F.gelu(F.linear(norm(x, f"{here}layernorm2", 1e-5), *pair(f"{here}feedforward.0")))
                    x = x + F.linear(hidden, *pair(f"{here}feedforward.3"))
                mx.append(norm(x[0, 0], "mx_embed_layer.layer_norm", 1e-5))
                colours = (tissue[box] - torch.tensor(HE_MEAN)[:, None, None]) / torch.tensor(HE_STD)[:, None, None]
                weight, bias = pair("he_embed_layer.proj")
                stained.append(norm((weight * colours).sum((1, 2, 3)) + bias, "he_embed_layer.norm", 1e-6))
        table = w["pos_embed_aligned"][0]
        first = w["cls_token"][0] + table[:1]
        x = torch.cat([first, w["register_tokens"][0], torch.stack(mx) + table[1:], torch.stack(stained) + table[1:]])
        x = x[None]
        for i in range(2):
            here = f"blocks.{i}."
            q, k, v = zip(*(t.chunk(3) for t in pair(f"{here}attn.qkv")), strict=True)
            mixed = attention(norm(x, f"{here}norm1", 1e-6), q, k, v, pair(f"{here}attn.proj"), heads=4)
            x = x + w[f"{here}ls1.gamma"] * mixed
            gate, value = F.linear(norm(x, f"{here}norm2", 1e-6), *pair(f"{here}mlp.w12")).chunk(2, dim=-1)
            x = x + w[f"{here}ls2.gamma"] * F.linear(F.silu(gate) * value, *pair(f"{here}mlp.w3"))
        out.append(norm(x[0], "norm", 1e-6))
    return torch.stack(out)


@pytest.mark.parametrize("shape", [(56, 56), (28, 70)])
@pytest.mark.parametrize("given", ["both", "multiplex", "he"])
def test_values_of_the_authors_network(load, standin, shape, given):
    multiplex = torch.from_numpy(standin.synthetic_input("m2 multiplex", 2, 3, *shape)).abs()
    he = torch.from_numpy(standin.synthetic_input("m2 he", 2, 3, *shape)).abs()
    proteins = torch.from_numpy(standin.synthetic_input("m2 proteins", 3, 32))
    first = (None, None) if given == "he" else (multiplex, proteins)
    out = load().pair(*first, None if given == "multiplex" else he)
    found = {"patch": out["patch"][1], **{name: out[name].flatten(1, 2)[1, 3] for name in ("multiplex", "he")}}
    for name, expected in VALUES[f"{shape[0]} x {shape[1]}, {given}"].items():
        vector = found[name][:6].double().numpy()
        assert np.linalg.norm(vector - expected) / np.linalg.norm(expected) < 1e-5, name


def test_names_are_those_of_the_authors_network(tensors):
    assert sorted(tensors) == VALUES["names"]


def test_both_modalities_by_hand(load, tensors, standin):
    multiplex, proteins, he = windows(standin)
    expected = by_hand(tensors, multiplex, proteins, he)
    out = load().pair(multiplex, proteins, he)
    torch.testing.assert_close(out["patch"], expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["multiplex"].flatten(1, 2), expected[:, 5:21], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["he"].flatten(1, 2), expected[:, 21:], rtol=1e-4, atol=1e-5)


def test_a_modality_that_is_not_there_is_the_learned_token(load, tensors, standin):
    encoder, (multiplex, proteins, he) = load(), windows(standin)
    first = encoder.backbone.tokens(multiplex, proteins, None)
    torch.testing.assert_close(first[0, 21:], tensors["he_mask_token"] + tensors["pos_embed_aligned"][0, 1:])
    first = encoder.backbone.tokens(None, None, he)
    torch.testing.assert_close(first[1, 5:21], tensors["mx_mask_token"] + tensors["pos_embed_aligned"][0, 1:])
    out = encoder(multiplex, proteins)
    torch.testing.assert_close(out.summary, encoder.pair(multiplex, proteins)["multiplex"])
    assert (encoder.pair(multiplex, proteins, he)["multiplex"] - out.summary).abs().max() > 1e-3
    assert encoder.pair(None, he=he)["he"].shape == (2, 4, 4, 48)


def test_input_tokens_are_those_before_the_blocks(load, standin):
    multiplex, proteins, _ = windows(standin)
    encoder = load(tokens="input")
    expected = encoder.backbone.tokens(multiplex, proteins, None)[:, 5:21]
    torch.testing.assert_close(encoder(multiplex, proteins).summary.flatten(1, 2), expected)
    torch.testing.assert_close(encoder(multiplex, proteins).patch, load()(multiplex, proteins).patch)


def test_positions_of_another_grid_are_resized_as_the_release_does(load, tensors):
    table = tensors["pos_embed_aligned"]
    grid = table[:, 1:].reshape(1, 4, 4, 48).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, scale_factor=(6.1 / 4, 3.1 / 4), mode="bicubic")
    found = load().backbone.positions(6, 3)
    torch.testing.assert_close(found[:, 1:], resized.permute(0, 2, 3, 1).reshape(1, 18, 48))
    torch.testing.assert_close(found[:, :1], table[:, :1])


def test_windows_are_cropped_around_their_centre(load, standin):
    multiplex, proteins, he = windows(standin, side=62)
    encoder = load()
    found = encoder.pair(multiplex[..., :59], proteins, he[..., :59])
    inner = np.s_[..., 3:59, 1:57]
    expected = encoder.pair(multiplex[inner], proteins, he[inner])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_published_weights_are_those_of_its_branch(monkeypatch):
    monkeypatch.setattr(sfm.settings, "offline", True)
    with pytest.raises(WeightsError, match=r"bunnelab--virtues-m2@v2.model\.safetensors"):
        sfm.models.load("virtues-m2")


def test_names_and_size():
    with torch.device("meta"):
        network = M2Network(M2Config())
    assert sum(parameter.numel() for parameter in network.parameters()) == virtues_m2.VIRTUES_M2.parameters
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert shapes["pos_embed_unaligned"] == (1, 256, 1024)
    assert shapes["blocks.23.mlp.w12.weight"] == (2 * 2736, 1024)
    assert shapes["mx_embed_layer.encoder.0.encoder_layer.layers.1.feedforward.3.weight"] == (1024, 2048)
    assert shapes["he_embed_layer.proj.weight"] == (1024, 3, 14, 14)


def test_contract():
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in M2Network(SMALL).parameters())
    card = replace(virtues_m2.VIRTUES_M2, parameters=parameters, embedding_dim=48)
    encoder = VirTuesM2Encoder(card, SMALL)
    encoder.weights = hub.fill_random(encoder.backbone, card)
    assert sfm.models.check_encoder(encoder.eval().requires_grad_(False))["passed"].all()


def test_cells_of_an_image(load):
    encoder = load()
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=160, difficulty="easy")
    vectors = dict.fromkeys(["DAPI", "CD3", "CD20"], np.linspace(-1, 1, 32))
    panel = {"markers": list(vectors), "embeddings": vectors}
    sfm.tl.embed_cells(sdata, encoder, panel=panel, recipe={"window": 56})
    table = sdata["table"]
    assert table.obsm["X_virtues_m2"].shape == (table.n_obs, 48)
    assert sfm.get.record(table, "X_virtues_m2")["license"] == "CC-BY-NC-4.0"


def test_refusals(load, tensors, standin, tmp_path):
    encoder, (multiplex, proteins, he) = load(), windows(standin)
    with pytest.raises(ModelError, match="takes multiplex and H&E windows of one size, or either"):
        encoder.pair(multiplex, proteins, he[..., :42])
    with pytest.raises(ModelError, match="windows of one size, or either"):
        encoder.pair(None)
    with pytest.raises(ModelError, match="an embedding of 32 numbers for each of 3 markers, got None"):
        encoder(multiplex)
    with pytest.raises(ModelError, match="takes windows of 14 pixels or more"):
        encoder(multiplex[..., :10], proteins)
    torch.save({name: t for name, t in tensors.items() if name != "norm.bias"}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match="virtues-m2"):
        sfm.models.load("virtues-m2", weights=tmp_path / "short.pt")
