"""B-cos blocks: units against the layer that is held against the official code, and shares that add up exactly."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.learn.bcos import BcosLinear
from spatialfm.models.bcos_blocks import Aimed, BcosUnits, DynamicNorm, convert, entering, explained

SMALL = {
    "virtues": {"dim": 32, "depth": 4, "heads": 2, "decoder_depth": 1},
    "kronos": {"dim": 32, "depth": 4, "heads": 2, "registers": 2, "grid": 4},
    "dinov2-s": {"dim": 32, "depth": 3, "heads": 2, "grid": 4},
}


def encoder_of(model: str):
    """A small encoder whose parameters are all away from where they begin: a bias that stays would be seen."""
    encoder = sfm.models.new_encoder(model, **SMALL[model]).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one in encoder.parameters():
            one.add_(0.2 * torch.randn(one.shape, generator=generator))
    return encoder.requires_grad_(False)


def inputs_of(encoder, n: int = 2):
    generator = torch.Generator().manual_seed(1)
    side = 56 if encoder.card.patch_size == 14 else 32
    pixels = torch.randn(n, 3, side, side, generator=generator)
    kind = encoder.card.marker_vocabulary
    if kind == "ids":
        return pixels, torch.tensor([3, 17, 42])
    if kind == "protein embedding":
        return pixels, torch.randn(3, 640, generator=generator)
    return pixels, None


def test_a_unit_is_that_of_the_layer_held_against_the_official_code():
    linear, x = nn.Linear(6, 4), torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    layer = BcosLinear(6, 4)
    layer.linear.weight = linear.weight
    expected = layer(x) * linear.weight.norm(dim=1) * np.sqrt(6)  # rows keep their length
    torch.testing.assert_close(BcosUnits(linear)(x), expected, rtol=1e-6, atol=1e-6)


def test_a_norm_is_a_layer_norm_without_its_bias():
    norm = nn.LayerNorm(8, eps=1e-5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(DynamicNorm(norm)(x), norm(x) - norm.bias)


@pytest.mark.parametrize(("model", "blocks"), [("virtues", 1), ("virtues", 2), ("virtues", 9), ("kronos", 1),
                                               ("kronos", 3), ("dinov2-s", 2)])  # fmt: skip
@pytest.mark.parametrize("output", ["patch", "token"])
def test_shares_of_the_tokens_add_up_to_the_output(model, blocks, output):
    encoder = encoder_of(model)
    name = output if output in encoder.card.outputs else encoder.card.default_output
    convert(encoder, blocks)
    first = encoder.transformer_blocks()[-blocks:][0]
    pixels, markers = inputs_of(encoder)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(2))
    with explained(encoder), entering(first) as kept:
        out = getattr(encoder(pixels, markers, outputs=(name,)), name)
        (out * direction).sum().backward()
    whole = float((out.detach() * direction).sum())
    shares = float((kept[0].grad * kept[0].detach()).sum())
    assert abs(whole) > 1e-2
    assert shares == pytest.approx(whole, rel=1e-5, abs=1e-5)
    plain = getattr(encoder(pixels, markers, outputs=(name,)), name)
    torch.testing.assert_close(out.detach(), plain, rtol=1e-6, atol=1e-6)  # the explanation is of the same answer


def test_without_holding_anything_fixed_they_do_not_add_up():
    encoder = encoder_of("virtues")
    convert(encoder, 2)
    pixels, markers = inputs_of(encoder)
    with entering(encoder.transformer_blocks()[-2]) as kept:
        out = encoder(pixels, markers, outputs=("summary",)).summary[..., 0].sum()
        out.backward()
    assert abs(float((kept[0].grad * kept[0]).sum()) - float(out)) > 0.05 * abs(float(out))


def test_one_token_alone_is_what_it_is_among_all():
    encoder = encoder_of("kronos")
    convert(encoder, 2)
    pixels, markers = inputs_of(encoder)
    alone = encoder(pixels, markers, outputs=("patch",)).patch
    torch.testing.assert_close(alone, encoder(pixels, markers).patch, rtol=1e-5, atol=1e-6)
    encoder = encoder_of("virtues")
    convert(encoder, 2)
    pixels, markers = inputs_of(encoder)
    alone = encoder(pixels, markers, outputs=("summary",)).summary
    torch.testing.assert_close(alone, encoder(pixels, markers).summary, rtol=1e-5, atol=1e-6)


def test_the_last_blocks_that_run_and_the_final_norm_are_converted():
    encoder = encoder_of("virtues")
    before = copy.deepcopy(encoder)
    converted = convert(encoder, 1)
    blocks = encoder.transformer_blocks()
    assert converted[0] is blocks[-1]
    assert isinstance(converted[1], DynamicNorm)
    assert isinstance(blocks[-1].multi_head_attention.W_q, Aimed)
    assert not any(isinstance(one, BcosUnits | DynamicNorm) for block in blocks[:-1] for one in block.modules())
    names = {name for name, _ in encoder.named_parameters()}
    lost = {name for name, _ in before.named_parameters()} - names
    assert {name.split(".")[-1] for name in lost} <= {"bias", "weight"}
    assert not [name for name in names if "encoder.encoder.3" in name and name.endswith("bias") and "W_q" not in name
                and "W_k" not in name]  # fmt: skip


@pytest.mark.parametrize("model", ["resnet50", "classical", "mean-intensity"])
def test_a_model_without_such_blocks_is_refused(model):
    options = {"weights": "random"} if model == "resnet50" else {}
    with pytest.raises(ModelError, match="no blocks that can be made B-cos blocks"):
        convert(sfm.models.load(model, **options), 2)
