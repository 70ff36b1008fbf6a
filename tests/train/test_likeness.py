"""The loss of distillation, against numbers by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spatialfm.train.cell_objective import Rates
from spatialfm.train.likeness import Likeness, compressed

OWN = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


class Given(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(2))


def objective_of(teacher: np.ndarray, relational: float = 2.0) -> Likeness:
    def encoding(encoder, samples):
        return OWN[[one.window for one in samples]] @ encoder.matrix

    objective = Likeness(Given(), encoding, teacher.astype(np.float32), 2, Rates(1e-3, 1e-2), relational)
    with torch.no_grad():
        objective.map.weight.copy_(torch.eye(2))
        objective.map.bias.zero_()
    return objective


def windows(n: int = 4) -> list:
    return [SimpleNamespace(window=number) for number in range(n)]


def test_the_same_directions_cost_nothing():
    terms = objective_of(3 * OWN.numpy())(windows())
    assert float(terms["cosine"].total) == pytest.approx(0, abs=1e-6)
    assert float(terms["relational"].total) == pytest.approx(0, abs=1e-6)
    assert (terms["cosine"].count, terms["relational"].count, terms["relational"].weight) == (4, 6, 2.0)


def test_a_rotation_of_the_teacher_costs_the_map_alone():
    """Distances among cells are the same; the map could turn them."""
    turned = OWN.numpy() @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    objective = objective_of(turned)
    terms = objective(windows())
    assert float(terms["cosine"].total) == pytest.approx(4.0)
    assert float(terms["relational"].total) == pytest.approx(0, abs=1e-6)
    assert objective.scores({"cosine": 1.0, "relational": 0.25})["loss"] == 1.5


def test_pairs_are_compared_by_their_cosines():
    """Of four directions, the teacher has two opposite pairs in place of right angles."""
    teacher = np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    # pairs of OWN: 12 0, 13 -1, 14 0, 23 0, 24 -1, 34 0; of the teacher: 1, -1, -1, -1, -1, 1
    assert float(objective_of(teacher)(windows())["relational"].total) == pytest.approx(4.0)
    assert "relational" not in objective_of(teacher, relational=0.0)(windows())
    assert "relational" not in objective_of(teacher)(windows(1))


def test_components_are_those_of_the_cells_that_are_trained_on():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50)) * rng.uniform(0.1, 9, 50) + 4
    values[:, 7] = 1.0  # no column
    training = np.arange(40)
    found = compressed(values, training)
    assert found.shape == (60, 3)
    np.testing.assert_allclose(found[:40].mean(0), 0, atol=1e-5)
    kept = np.delete(values, 7, axis=1)
    scaled = (kept - kept[:40].mean(0)) / kept[:40].std(0)
    np.testing.assert_allclose(found @ found.T, scaled @ scaled.T, rtol=1e-4, atol=1e-3)  # nothing is lost here


def test_groups_tell_the_map_apart():
    named = {name: group.lr_scale for group in objective_of(OWN.numpy()).groups() for name in group.parameters}
    assert named == {"encoder.matrix": 1.0, "map.weight": 10.0, "map.bias": 10.0}
