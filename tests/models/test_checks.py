"""Checks of encoders: each catches the encoder that was built to fail it, and no other."""

from __future__ import annotations

import itertools

import pytest
import torch

import spatialfm as sfm
from spatialfm import Recipe
from spatialfm._errors import ModelError, SpatialfmError
from spatialfm.models import Encoder, EncoderOutput, ModelCard, Weights

CALLS = itertools.count()


def make_card(**changes) -> ModelCard:
    fields = {
        "name": "own", "family": "own", "title": "own", "license": "MIT", "commercial": True, "gated": False,
        "reference": "-", "trained_on": "-", "needs_weights": False, "outputs": ("patch", "marker"), "embedding_dim": 2,
    }  # fmt: skip
    of_recipe = {name: changes.pop(name) for name in list(changes) if name in Recipe.names()}
    return ModelCard(**{**fields, **changes}, recipe=Recipe(**of_recipe))


class Good(Encoder):
    """Mean and largest value of a marker; their means over markers."""

    def __init__(self, **changes):
        super().__init__()
        self.card, self.weights, self.options = make_card(**changes), Weights("none"), {}
        self.eval()

    def of_markers(self, pixels):
        return torch.stack([pixels.float().mean((-2, -1)), pixels.float().amax((-2, -1))], dim=-1)

    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        self.wanted(outputs)
        values = self.of_markers(pixels)
        return EncoderOutput(patch=values.mean(1), marker=values)


class Training(Good):
    def __init__(self):
        super().__init__()
        self.train()


class Gradients(Good):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)


class Unsaid(Good):
    def __init__(self):
        super().__init__()
        self.options = {"table": torch.zeros(2)}


class Unpromised(Good):
    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        self.wanted(outputs)
        return EncoderOutput(patch=self.of_markers(pixels).mean(1))


class Wide(Good):
    def of_markers(self, pixels):
        return super().of_markers(pixels).repeat(1, 1, 2)


class Half(Good):
    def of_markers(self, pixels):
        return super().of_markers(pixels).half()


class Careless(Good):
    def of_markers(self, pixels):
        values = super().of_markers(pixels)
        pixels *= 2
        return values


class Forgetful(Good):
    def of_markers(self, pixels):
        return super().of_markers(pixels) + next(CALLS)


class Sociable(Good):
    def of_markers(self, pixels):
        values = super().of_markers(pixels)
        return values - values.mean(0, keepdim=True)


class Lenient(Good):
    def wanted(self, outputs):
        return set()


class Ordered(Good):
    def forward(self, pixels, markers=None, *, mask=None, outputs=None):
        self.wanted(outputs)
        values = self.of_markers(pixels)
        return EncoderOutput(patch=values[:, 0], marker=values)


class Dividing(Good):
    def of_markers(self, pixels):
        return super().of_markers(pixels) / pixels.float().std((-2, -1))[..., None]


class Several(Good):
    def of_markers(self, pixels):
        values = super().of_markers(pixels)
        return values + (values.std(1, keepdim=True) > 1e9) * 1 + 0 * values.std(1, keepdim=True)


class Viewing(Good):
    def of_markers(self, pixels):
        return super().of_markers(pixels.view(-1).view(pixels.shape))


class Homebound(Good):
    def __init__(self):
        super().__init__()
        self.lines = (line for line in ())


@pytest.mark.parametrize(
    ("kind", "failing", "said"),
    [
        (Training, "ready", "training mode"),
        (Gradients, "ready", "want gradients"),
        (Unsaid, "ready", "options cannot be written"),
        (Unpromised, "outputs_promised", r"gives \('patch',\), its card promises \('patch', 'marker'\)"),
        (Wide, "outputs_promised", "has 4 columns"),
        (Half, "outputs_promised", "torch.float16"),
        (Careless, "outputs_promised", "changes the pixels"),
        (Forgetful, "repeatable", "second call"),
        (Sociable, "batches", "windows in another batch: differs"),
        (Lenient, "outputs_alone", "is not refused"),
        (Ordered, "order_of_markers", "patch of markers in another order"),
        (Dividing, "odd_windows", "not finite where all pixels are 0"),
        (Several, "one_marker", "single marker"),
        (Viewing, "layout_and_type", "RuntimeError"),
        (Homebound, "travels", "cannot be sent to a worker"),
    ],
)
def test_a_fault_is_found_and_named(kind, failing, said):
    table = sfm.models.check_encoder(kind(), raise_error=False)
    assert not table.loc[failing, "passed"]
    with pytest.raises(ModelError, match=f"'own' fails .*{failing}: .*{said}"):
        sfm.models.check_encoder(kind())


def test_an_encoder_that_keeps_its_word_passes():
    table = sfm.models.check_encoder(Good())
    assert table["passed"].all()
    assert (table["failure"] == "").all()
    assert len(table) == 10


def test_the_encoder_is_left_as_it_was():
    encoder = sfm.models.load("kronos", weights="random")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    sfm.models.check_encoder(encoder)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalization": "marker_statistics"}, "normalization must be .*Did you mean 'marker statistics'"),
        ({"background": "Zero"}, "background must be 'zero' or 'keep'"),
        ({"mode": "tiles"}, "mode must be 'crop' or 'tile'"),
        ({"marker_vocabulary": "protein"}, "marker_vocabulary must be 'ids'"),
        ({"domains": ("imc",)}, "domains must be a list of 'fluorescence'"),
        ({"domains": "ion"}, "domains must be a list"),
        ({"outputs": "patch"}, "outputs must be a list"),
        ({"outputs": ("patch", "patch")}, "names one twice"),
        ({"commercial": "yes"}, "commercial must be True or False"),
        ({"pads": 1}, "pads must be True or False"),
        ({"window": 64.0}, "window must be a whole number of at least 1 or None"),
        ({"window": 0}, "window must be a whole number of at least 1 or None"),
        ({"window": True}, "window must be a whole number"),
        ({"mpp": -0.5}, "mpp must be a number above 0"),
        ({"mpp": float("nan")}, "mpp must be a number above 0"),
        ({"mpp": "0.5"}, "mpp must be a number above 0"),
        ({"mpp": 1.0, "mpp_range": (0.2, 0.6)}, r"mpp is 1.0; it must be in mpp_range \(0.2, 0.6\)"),
        ({"mpp": 0.5, "mpp_range": (0.6, 0.2)}, "the smaller size comes first"),
        ({"embedding_dim": 0}, "embedding_dim must be a whole number of at least 1"),
        ({"name": " "}, "name is empty"),
        ({"license": None}, "license must be a string"),
    ],
)
def test_a_card_refuses_what_it_cannot_hold(changes, said):
    with pytest.raises(SpatialfmError, match=said):
        make_card(**changes)
