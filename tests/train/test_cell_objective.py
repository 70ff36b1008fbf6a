"""The loss of fine-tuning: cross-entropy and squared error by hand, each class alike on held-out cells."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spatialfm.train.cell_objective import CellObjective, CellTargets, Rates, as_read
from spatialfm.train.trainer import loss_of


class Given(nn.Module):
    """Stands for an encoder: two numbers by the number of a window, moved by what is learned."""

    def __init__(self):
        super().__init__()
        self.shift, self.matrix = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.eye(2))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)


VALUES = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]])


def encoding(encoder, samples):
    return VALUES[[one.window for one in samples]] @ encoder.matrix + encoder.shift


def objective_of(targets: CellTargets) -> CellObjective:
    return CellObjective(
        Given(), encoding, targets, VALUES.mean(0), VALUES.std(0, correction=0), Rates(1e-3, 1e-2, 0.1)
    )


def windows(*numbers: int) -> list:
    return [SimpleNamespace(window=number) for number in numbers]


LABELS = CellTargets(np.array([0, 1, 1, 2]), classes=("a", "b", "c"))


def test_columns_are_standardised_and_the_layer_begins_at_zero():
    objective = objective_of(LABELS)
    out = objective(windows(0, 1, 2))
    assert float(out["label"].total) == pytest.approx(3 * np.log(3), rel=1e-6)
    assert out["label"].count == 3
    with torch.no_grad():
        objective.head.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    # (1 - 2) / 1 / sqrt(2) and (0 - 2) / 2 / sqrt(2)
    expected = np.array([-1, -1, 0]) / np.sqrt(2)
    np.testing.assert_allclose(objective.predicted(windows(0))[0].detach(), expected, rtol=1e-6)
    loss = np.log(np.exp(expected).sum()) - expected[0]
    assert float(objective(windows(0))["label"].total) == pytest.approx(loss, rel=1e-6)


def test_each_class_weighs_alike_on_held_out_cells():
    objective = objective_of(LABELS)
    with torch.no_grad():
        objective.head.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))  # calls everything b
    terms = objective.validate(windows(0, 1, 2, 3))
    means = {name: float(term.total) / term.count for name, term in terms.items()}
    scores = objective.scores(means)
    rest = np.log(np.exp(5) + 2)
    assert scores["loss"] == pytest.approx((rest + (rest - 5) + rest) / 3, rel=1e-5)
    assert scores["balanced_accuracy"] == pytest.approx(1 / 3)


def test_numbers_that_are_not_known_count_nothing():
    targets = CellTargets(np.array([[1.0, np.nan], [2.0, 0.5], [np.nan, np.nan], [0.0, 1.0]]), columns=("age", "score"))
    objective = objective_of(targets)
    term = objective(windows(0, 1, 2))["target"]
    assert (float(term.total), int(term.count)) == (1 + 4 + 0.25, 3)
    found = objective.validate(windows(0, 1, 2, 3))
    assert (float(found["loss of age"].total), found["loss of age"].count) == (5.0, 3)
    assert objective.scores({"loss of age": 2.0, "loss of score": 4.0}) == {"loss": 3.0}
    loss_of({"target": term})[0].backward()
    assert torch.isfinite(objective.head.bias.grad).all()


def test_groups_are_what_is_trained_and_the_layer_is_faster():
    groups = objective_of(LABELS).groups()
    named = {name: (group.decay, group.lr_scale) for group in groups for name in group.parameters}
    assert named == {
        "encoder.matrix": (True, 1.0),
        "encoder.shift": (False, 1.0),
        "head.weight": (True, 10.0),
        "head.bias": (False, 10.0),
    }


def test_the_rate_rises_over_a_tenth_and_falls_to_zero():
    objective = objective_of(LABELS)
    rates = [objective.schedule(step, 100).lr for step in range(100)]
    np.testing.assert_allclose(rates[:10], 1e-3 * np.arange(1, 11) / 10)
    assert rates[10] == 1e-3
    assert rates[55] == pytest.approx(0.5e-3)
    assert all(np.diff(rates[10:]) < 0)
    assert objective.schedule(0, 1).lr == 1e-3
    assert as_read(3, np.random.default_rng(0)) == 3


def test_bcos_units_read_labels_and_their_shares_add_up():
    arguments = (VALUES.mean(0), VALUES.std(0, correction=0), Rates(1e-3, 1e-2, 0.1))
    torch.manual_seed(3)
    objective = CellObjective(Given(), encoding, LABELS, *arguments, head="bcos")
    torch.manual_seed(4)
    again = CellObjective(Given(), encoding, LABELS, *arguments, head="bcos")
    torch.testing.assert_close(objective.predicted(windows(0, 1)), again.predicted(windows(0, 1)))
    columns = (VALUES - objective.center) * objective.scale
    shares = objective.head.contributions(columns).sum(dim=2) + objective.head.intercept
    torch.testing.assert_close(shares, objective.predicted(windows(0, 1, 2, 3)))
    loss_of(objective(windows(0, 1, 2, 3)))[0].backward()
    assert objective.encoder.matrix.grad.any()  # what is below learns through them
    assert objective.head.units.linear.weight.grad.any()
    groups = objective.groups()
    named = {name for group in groups for name in group.parameters}
    assert named == {name for name, one in objective.named_parameters() if one.requires_grad}
    head = next(group for group in groups if "head.intercept" in group.parameters)
    assert "head.units.linear.weight" in head.parameters
    assert not head.decay
    assert head.lr_scale == pytest.approx(10)
    torch.testing.assert_close(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(4)))
