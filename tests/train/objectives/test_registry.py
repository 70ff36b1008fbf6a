from __future__ import annotations

from typing import Literal

import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ArgumentTypeError, ModelError
from spatialfm.train.objectives import Group, Objective, Schedule, Term, new_objective, register_objective, registry


class Shift(Objective):
    """The mean of a batch, moved by one trained number."""

    def __init__(self, encoder, *, lr: float = 0.1, kind: Literal["up", "down"] = "up"):
        super().__init__()
        self.encoder, self.lr, self.kind = encoder, lr, kind
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def views(self):
        return lambda window, rng: window.pixels

    def forward(self, views):
        return {"shift": Term(sum((view - self.shift).square().sum() for view in views), len(views))}

    def groups(self):
        return [Group({"shift": self.shift})]

    def schedule(self, step, n_steps):
        return Schedule(self.lr, 0.0, self.lr)


@pytest.fixture(autouse=True)
def shift(monkeypatch):
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    register_objective("shift")(Shift)


@pytest.fixture
def encoder():
    return sfm.models.load("kronos", weights="random")


def test_an_objective_is_made_by_name_and_the_encoder_is_to_be_trained(encoder):
    objective = new_objective("shift", encoder, lr=0.5, kind="down")
    assert (objective.name, objective.lr, objective.kind) == ("shift", 0.5, "down")
    assert objective.encoder is encoder
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert new_objective(objective) is objective


def test_defaults_of_an_objective(encoder):
    objective = new_objective("shift", encoder)
    assert objective.result() is encoder
    assert objective.scores({"a": 1.0}) == {"a": 1.0}
    assert [len(part) for part in objective.clip_parts()] == [1]
    assert objective.batch_size is None
    views = [torch.ones(3)]
    assert objective.validate(views)["shift"].total == objective(views)["shift"].total == 3


def test_what_cannot_be_is_refused(encoder):
    with pytest.raises(ArgumentError, match=r"No objective 'shifts'\. Did you mean 'shift'\?"):
        new_objective("shifts", encoder)
    with pytest.raises(ArgumentError, match=r"'shift' has no option 'speed'\. There are: lr, kind"):
        new_objective("shift", encoder, speed=1)
    with pytest.raises(ArgumentError, match="kind must be"):
        new_objective("shift", encoder, kind="sideways")
    with pytest.raises(ModelError, match="trains an encoder, got a NoneType"):
        new_objective("shift")
    with pytest.raises(ArgumentTypeError, match="encoder must be an Encoder"):
        new_objective("shift", "kronos")
    with pytest.raises(ArgumentError, match="go to its own class"):
        new_objective(Shift(encoder), lr=1.0)


def test_a_name_is_taken_once():
    register_objective("shift")(Shift)  # the same again
    with pytest.raises(ArgumentError, match="'shift' is registered already"):
        register_objective("shift")(lambda encoder: None)


def test_a_builder_gives_an_objective(encoder):
    register_objective("nothing")(lambda encoder: None)
    with pytest.raises(ArgumentError, match="gave a NoneType"):
        new_objective("nothing", encoder)
