"""What holds for every registered model."""

from __future__ import annotations

import functools
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch

import spatialfm as sfm
from spatialfm.models import Encoder
from spatialfm.models.checks import CHECKS, Trial
from spatialfm.models.encoder import takes_outputs

NAMES = list(sfm.models.list_models().index)
HEAVY = [name for name in NAMES if (sfm.models.card(name).parameters or 0) > 5e7]
# windows of 224 pixels, and blocks of full width for each marker; small ones pass the same checks in their own tests
HEAVY += ["morphem", "virtues"]
ENTRIES = sfm.models.registry._entries()
FIRST = {(ENTRIES[name].build, sfm.models.card(name).embedding_dim): name for name in reversed(NAMES)}
SAME = [name for name in NAMES if name not in FIRST.values()]  # a network that ran already, with other weights
# not run here: what brings its own code has a stand-in in its own test, and giants are their smaller siblings' code
APART = [name for name in NAMES if sfm.models.card(name).remote_code or (sfm.models.card(name).parameters or 0) > 1e9]
RUN = [
    pytest.param(name, marks=pytest.mark.slow) if name in HEAVY + SAME else name for name in NAMES if name not in APART
]


@functools.lru_cache(maxsize=4)
def encoder_of(name: str) -> Encoder:
    return sfm.models.load(name, weights="random" if sfm.models.card(name).needs_weights else None)


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


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", RUN)
def test_encoder_passes(name, check):
    encoder = encoder_of(name)
    assert encoder.card is sfm.models.card(name)
    assert takes_outputs(encoder)  # as a user's own may not
    check(Trial.of(encoder))


@pytest.mark.parametrize("name", RUN)
def test_state_dict_round_trip(name, tmp_path):
    encoder = encoder_of(name)
    trial = Trial.of(encoder)
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    if encoder.card.needs_weights:
        again = sfm.models.load(name, weights=tmp_path / "weights.pt")
        assert len(again.weights.sha256) == 64
    else:
        again = sfm.models.load(name)
        again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = trial.run()
    for output, value in replace(trial, encoder=again).run().items():
        torch.testing.assert_close(value, expected[output], rtol=0, atol=0)


@pytest.mark.parametrize("name", RUN)
def test_bfloat16_autocast_points_the_same_way(name):
    trial = Trial.of(encoder_of(name))
    expected = trial.run()
    with torch.autocast("cpu", torch.bfloat16):
        out = trial.run()
    for output, value in out.items():
        assert torch.cosine_similarity(value.float(), expected[output], dim=-1).min() > 0.999, output


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("name", RUN)
def test_a_gpu_gives_what_the_cpu_gives(name):
    trial = Trial.of(encoder_of(name))
    expected = trial.run()
    try:
        there = Trial(
            trial.encoder.to("cuda"),
            trial.pixels.cuda(),
            trial.mask.cuda(),
            trial.markers.cuda() if isinstance(trial.markers, torch.Tensor) else trial.markers,
        )
        out = there.run()
    finally:
        trial.encoder.to("cpu")
    for output, value in out.items():
        torch.testing.assert_close(value.cpu(), expected[output], rtol=1e-3, atol=1e-3)
