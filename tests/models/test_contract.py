"""What holds for every registered model."""

from __future__ import annotations

import functools
import json
from dataclasses import FrozenInstanceError, fields

import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models import Encoder, EncoderOutput
from spatialfm.models.card import OUTPUTS
from spatialfm.models.encoder import takes_outputs

NAMES = list(sfm.models.list_models().index)
HEAVY = [name for name in NAMES if (sfm.models.card(name).parameters or 0) > 5e7]
ENTRIES = sfm.models.registry._entries()
FIRST = {(ENTRIES[name].build, sfm.models.card(name).embedding_dim): name for name in reversed(NAMES)}
SAME = [name for name in NAMES if name not in FIRST.values()]  # a network that ran already, with other weights
# not run here: what brings its own code has a stand-in in its own test, and giants are their smaller siblings' code
APART = [name for name in NAMES if sfm.models.card(name).remote_code or (sfm.models.card(name).parameters or 0) > 1e9]
RUN = [
    pytest.param(name, marks=pytest.mark.slow) if name in HEAVY + SAME else name for name in NAMES if name not in APART
]

MARKERS = ["DAPI", "CD3", "CD20"]


@functools.lru_cache(maxsize=4)
def encoder_of(name: str) -> Encoder:
    return sfm.models.load(name, weights="random" if sfm.models.card(name).needs_weights else None)


def side_of(encoder: Encoder) -> int:
    return min(encoder.card.window or 40, 64)


def markers_of(encoder: Encoder) -> torch.Tensor | None:
    if encoder.card.marker_vocabulary == "protein embedding":
        return torch.randn(3, encoder.marker_dim, generator=torch.Generator().manual_seed(5))
    return torch.tensor([5, 0, 300]) if encoder.card.marker_vocabulary == "ids" else None


def batch(encoder: Encoder, size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows with a cell each, of another size and place, and zero around it."""
    generator = torch.Generator().manual_seed(3)
    side = side_of(encoder)
    axis = torch.arange(side)
    radius = 4 + 2 * torch.arange(size)
    centre = side // 2 - 3 + torch.arange(size)
    inside = (axis[:, None] - centre[:, None, None]) ** 2 + 1.5 * (axis - side // 2) ** 2
    mask = inside < radius[:, None, None] ** 2
    pixels = torch.rand(size, len(MARKERS), side, side, generator=generator) * mask[:, None]
    return pixels, mask


def encode(encoder: Encoder, pixels, mask, markers=None) -> EncoderOutput:
    with torch.inference_mode():
        return encoder(pixels, markers_of(encoder) if markers is None else markers, mask=mask)


def outputs_of(out: EncoderOutput) -> dict[str, torch.Tensor]:
    return {name: getattr(out, name) for name in OUTPUTS if getattr(out, name) is not None}


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name):
    card = sfm.models.card(name)
    assert card.name == name
    for field in fields(card):
        value = getattr(card, field.name)
        assert value is not None or "None" in str(field.type), field.name
        assert value != "", field.name
    if not card.remote_code:
        assert card.parameters is not None
        assert (card.parameters > 0) == card.needs_weights
    assert bool(card.weights_file) == card.needs_weights
    if card.mpp_range:
        assert card.mpp_range[0] <= card.mpp <= card.mpp_range[1]
    with pytest.raises(FrozenInstanceError):
        card.license = "other"


@pytest.mark.parametrize("name", RUN)
def test_encoder_is_as_its_card_says(name):
    encoder = encoder_of(name)
    assert encoder.card is sfm.models.card(name)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == encoder.card.parameters
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert encoder.weights.source
    json.dumps(encoder.options)
    assert (encoder.n_marker_ids > 0) == (encoder.card.marker_vocabulary == "ids")


@pytest.mark.parametrize("name", RUN)
def test_outputs_are_those_promised(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    before = pixels.clone()
    out = outputs_of(encode(encoder, pixels, mask))
    assert torch.equal(pixels, before)
    assert tuple(out) == tuple(output for output in OUTPUTS if output in encoder.card.outputs)
    columns = encoder.feature_names(MARKERS)
    width = encoder.card.embedding_dim or len(columns)
    leading = {"patch": (5,), "marker": (5, 3), "token": (5, 3), "summary": (5,), "attention": (5, 3)}
    for output, value in out.items():
        assert value.shape[: len(leading[output])] == leading[output]
        assert value.ndim == {"patch": 2, "marker": 3, "token": 5, "summary": 4, "attention": 3}[output]
        assert value.shape[-1] == width or output == "attention"  # a column a head
        assert value.dtype == torch.float32
        assert value.std() > 0
    if columns is not None:
        assert len(set(columns)) == len(columns) == out["patch"].shape[1]


@pytest.mark.parametrize("name", RUN)
def test_a_window_does_not_depend_on_its_batch(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    together = outputs_of(encode(encoder, pixels, mask))
    order = [3, 0, 4]
    for output, value in together.items():
        some = outputs_of(encode(encoder, pixels[order], mask[order]))[output]
        torch.testing.assert_close(some, value[order], rtol=1e-5, atol=1e-5)
        alone = torch.cat([outputs_of(encode(encoder, pixels[[i]], mask[[i]]))[output] for i in range(5)])
        torch.testing.assert_close(alone, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RUN)
def test_an_output_asked_for_alone_is_the_same(name):
    encoder = encoder_of(name)
    if not takes_outputs(encoder):  # as a user's own may; those of the package all do
        assert not type(encoder).__module__.startswith("spatialfm.")
        return
    pixels, mask = batch(encoder, 2)
    together = outputs_of(encode(encoder, pixels, mask))
    for output, value in together.items():
        with torch.inference_mode():
            alone = encoder(pixels, markers_of(encoder), mask=mask, outputs=(output,))
        torch.testing.assert_close(getattr(alone, output), value, rtol=1e-6, atol=1e-6 * value.abs().max().item())
    with pytest.raises(ModelError, match=f"'{name}' has no output 'cells'; it has .*{output}"):
        encoder(pixels, markers_of(encoder), mask=mask, outputs=("cells",))


@pytest.mark.parametrize("name", RUN)
def test_the_order_of_markers_only_orders_the_output(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    order = [2, 0, 1]
    markers = markers_of(encoder)
    first = encode(encoder, pixels, mask)
    second = encode(encoder, pixels[:, order], mask, None if markers is None else markers[order])
    for output in ("marker", "token", "attention"):
        if getattr(first, output) is not None:
            torch.testing.assert_close(getattr(second, output), getattr(first, output)[:, order], rtol=1e-5, atol=1e-5)
    if first.patch is not None:
        names = encoder.feature_names(MARKERS)
        columns = slice(None)
        if names is not None:
            columns = [names.index(name) for name in encoder.feature_names([MARKERS[i] for i in order])]
        torch.testing.assert_close(second.patch, first.patch[:, columns], rtol=1e-5, atol=1e-5)
    if first.summary is not None:
        torch.testing.assert_close(second.summary, first.summary, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RUN)
def test_no_input_gives_nan(name):
    encoder = encoder_of(name)
    side = side_of(encoder)
    cell = batch(encoder, 1)[1][0]
    dot = torch.zeros(side, side, dtype=torch.bool)
    dot[0, -1] = True
    line = torch.zeros(side, side, dtype=torch.bool)
    line[:, 3] = True
    masks = [torch.zeros_like(dot), dot, line, cell, torch.ones_like(dot)]
    levels = [0.0, 1.0, 1e-30, 65535.0, -1e4]
    mask = torch.stack([m for m in masks for _ in levels])
    level = torch.tensor(levels).repeat(len(masks))[:, None, None, None]
    out = outputs_of(encode(encoder, level.expand(-1, 3, side, side), mask))
    for output, value in out.items():
        assert value.isfinite().all(), output


@pytest.mark.parametrize("name", RUN)
def test_memory_layout_and_type_of_pixels_do_not_matter(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    expected = outputs_of(encode(encoder, pixels, mask))
    turned = pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for output, value in outputs_of(encode(encoder, turned, mask)).items():
        torch.testing.assert_close(value, expected[output], rtol=1e-5, atol=1e-5)
    for output, value in outputs_of(encode(encoder, pixels.double(), mask.to(torch.uint8))).items():
        torch.testing.assert_close(value, expected[output], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RUN)
def test_state_dict_round_trip(name, tmp_path):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder, 2)
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    if encoder.card.needs_weights:
        again = sfm.models.load(name, weights=tmp_path / "weights.pt")
        assert len(again.weights.sha256) == 64
    else:
        again = sfm.models.load(name)
        again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = outputs_of(encode(encoder, pixels, mask))
    for output, value in outputs_of(encode(again, pixels, mask)).items():
        torch.testing.assert_close(value, expected[output], rtol=0, atol=0)


@pytest.mark.parametrize("name", RUN)
def test_bfloat16_autocast_points_the_same_way(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    expected = outputs_of(encode(encoder, pixels, mask))
    with torch.autocast("cpu", torch.bfloat16):
        out = outputs_of(encode(encoder, pixels, mask))
    for output, value in out.items():
        assert torch.cosine_similarity(value.float(), expected[output], dim=-1).min() > 0.999, output


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("name", RUN)
def test_a_gpu_gives_what_the_cpu_gives(name):
    encoder = encoder_of(name)
    pixels, mask = batch(encoder)
    expected = outputs_of(encode(encoder, pixels, mask))
    markers = markers_of(encoder)
    try:
        there = encoder.to("cuda")
        given = None if markers is None else markers.cuda()
        with torch.inference_mode():
            out = outputs_of(there(pixels.cuda(), given, mask=mask.cuda()))
    finally:
        encoder.to("cpu")
    for output, value in out.items():
        torch.testing.assert_close(value.cpu(), expected[output], rtol=1e-3, atol=1e-3)
