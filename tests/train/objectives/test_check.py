"""The package's objectives pass; each way of breaking one is seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from spatialfm._errors import ArgumentError
from spatialfm.models import new_encoder
from spatialfm.train.batch import WindowSample
from spatialfm.train.objectives import Group, Objective, Schedule, Term, check_objective, new_objective

SHAPES = {
    "virtues": {"dim": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "marker_dim": 5, "patch_size": 4},
    "kronos": {"dim": 12, "depth": 4, "heads": 2, "grid": 4, "patch_size": 4, "registers": 2},
}
HEAD = {"prototypes": 24, "hidden": 16, "bottleneck": 8, "n_local": 2}
TABLE = pd.DataFrame({"sample": list("abcd"), "kind": list("xyxy"), "score": [1.0, 2.0, 3.0, np.nan]})


def windows(model: str) -> list[WindowSample]:
    rng = np.random.default_rng(0)
    found = []
    for number, sample in enumerate("abcd"):
        n = 3 if number % 2 else 2
        markers = rng.permutation(500)[:n] if model == "kronos" else rng.normal(size=(n, 5)).astype("float32")
        pixels = torch.from_numpy(rng.normal(size=(n, 16, 16))).float()
        found.append(WindowSample(pixels, torch.from_numpy(markers), tuple("mno"[:n]), number, ("s", sample, 0, 0)))
    return found


@pytest.mark.parametrize(
    ("name", "model", "options"),
    [
        ("masked", "virtues", {}),
        ("masked", "virtues", {"mode": "niche", "error": "hidden"}),
        ("distill", "kronos", HEAD | {"masked_share": 1.0}),
        ("distill", "kronos", HEAD | {"targets": "sinkhorn"}),
        ("supervised", "kronos", {"targets": TABLE, "labels": ["kind"], "numbers": ["score"], "intensities": True}),
        ("supervised", "virtues", {"targets": TABLE, "labels": ["kind"]}),
    ],
)
def test_objectives_of_the_package_pass(name, model, options):
    objective = new_objective(name, new_encoder(model, **SHAPES[model]), **options)
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    table = check_objective(objective, windows(model))
    assert table["passed"].all()
    assert len(table) == 8
    assert all(torch.equal(value, before[key]) for key, value in objective.state_dict().items())


def as_it_is(window, rng):
    return window


class Plain(Objective):
    """Embeddings of length one."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.extra = encoder, nn.Parameter(torch.ones(()))
        self.calls = 0

    def views(self):
        return as_it_is

    def forward(self, views):
        patches = torch.cat([self.encoder(view.pixels[None], view.markers).patch for view in views])
        return {"length": Term((patches.norm(dim=-1) - self.extra).square().sum(), len(views))}

    def groups(self):
        return [Group({name: one for name, one in self.named_parameters() if one.requires_grad})]

    def schedule(self, step, n_steps):
        return Schedule(1e-3, 0.0, 1e-3)


class Mean(Plain):
    def forward(self, views):
        term = super().forward(views)["length"]
        return {"length": Term(term.total / term.count, 1)}


class Random(Plain):
    def forward(self, views):
        return {"length": Term(super().forward(views)["length"].total * torch.rand(()), len(views))}


class Forgetful(Plain):
    def forward(self, views):
        return {"length": Term(super().forward(views)["length"].total * (1 + self.calls), len(views))}

    def after_step(self, schedule):
        self.calls += 1


class Left(Plain):
    def groups(self):
        return [Group({name: one for name, one in self.named_parameters() if name != "extra"})]


class Negative(Plain):
    def schedule(self, step, n_steps):
        return Schedule(1e-3 - step / 1000, 0.0, 1e-3)


class Lambda(Plain):
    def views(self):
        return lambda window, rng: window


class Changing(Plain):
    def validate(self, views):
        self.extra.data += 1
        return super().validate(views)


def virtues():
    encoder = new_encoder("virtues", **SHAPES["virtues"])
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("decoder" not in name and "masked" not in name)
    return encoder


@pytest.mark.parametrize(
    ("kind", "check", "problem"),
    [
        (Mean, "additive", "give sums and counts"),
        (Random, "terms", "what is random belongs into the views"),
        (Forgetful, "resumed", "keep state in parameters and buffers"),
        (Left, "groups", "'extra' is in no group"),
        (Negative, "schedule", "lr is -"),
        (Lambda, "views", "pickle"),
        (Changing, "validation", "it changes 'extra'"),
    ],
)
def test_each_fault_is_named(kind, check, problem):
    with pytest.raises(ArgumentError, match=r"fails \d of \d checks"):
        check_objective(kind(virtues()), windows("virtues"))
    table = check_objective(kind(virtues()), windows("virtues"), raise_error=False)
    assert not table.loc[check, "passed"]
    assert problem in table.loc[check, "failure"]


def test_one_without_fault_passes():
    assert check_objective(Plain(virtues()), windows("virtues"))["passed"].all()


def test_parameters_without_gradient_are_named():
    objective = Plain(new_encoder("virtues", **SHAPES["virtues"]))
    table = check_objective(objective, windows("virtues"), raise_error=False)
    assert "has no gradient" in table.loc["gradients", "failure"]
    with pytest.raises(ArgumentError, match="two windows or more, got 1"):
        check_objective(objective, windows("virtues")[:1])
