"""Losses of self-distillation: against DINOv2's own code where its outputs are there, and from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spatialfm.train.objectives.losses import (
    centred_targets,
    cross_entropies,
    dino_loss,
    ibot_loss,
    koleo_loss,
    moved_centre,
    sinkhorn_targets,
    token_weights,
)


@pytest.fixture
def dino1(reference):
    stored = np.load(reference / "goldens" / "secondary.npz")
    return {name.split("/")[1]: torch.from_numpy(stored[name]) for name in stored.files if name.startswith("dino1/")}


def near(out, expected) -> bool:
    return float((out - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.goldens
def test_targets_are_those_of_dinov2(dino1):
    teacher, zero = dino1["teacher"], torch.zeros(32)
    assert near(centred_targets(teacher, zero, 0.05), dino1["targets_first"])
    centre = moved_centre(zero, teacher.sum(0), len(teacher), 0.9)
    assert near(centre[None], dino1["center"])
    assert near(centred_targets(teacher, centre, 0.05), dino1["targets_centered"])
    assert near(sinkhorn_targets(teacher, 0.05), dino1["sinkhorn"])


@pytest.mark.goldens
def test_losses_are_those_of_dinov2(dino1):
    targets = dino1["targets_centered"].unflatten(0, (2, 6))
    assert float(dino_loss(dino1["student"], targets)) / 6 == pytest.approx(float(dino1["loss"]), rel=1e-5)
    weights = token_weights(dino1["ibot_masks"])
    loss = ibot_loss(dino1["ibot_student"], dino1["ibot_targets"], weights) / len(dino1["ibot_masks"])
    assert float(loss) == pytest.approx(float(dino1["ibot_loss"]), rel=1e-5)
    assert float(koleo_loss(dino1["koleo_input"])) / 6 == pytest.approx(float(dino1["koleo"]), rel=1e-5)


# --- from their definitions ------------------------------------------------------------------------------------------


def test_targets_around_a_centre():
    teacher, centre = torch.tensor([[0.2, 0.1]]), torch.tensor([0.1, 0.1])
    first = 1 / (1 + math.exp(-0.1 / 0.05))
    torch.testing.assert_close(centred_targets(teacher, centre, 0.05), torch.tensor([[first, 1 - first]]))


def test_sinkhorn_shares_images_out_evenly_over_prototypes():
    teacher = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 4))).float()
    teacher[:, 0] += 5  # a prototype that all prefer
    targets = sinkhorn_targets(teacher, 0.5, n_iterations=200)
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    torch.testing.assert_close(targets.sum(0), torch.full((4,), 3.0), rtol=1e-4, atol=1e-4)
    assert sinkhorn_targets(teacher, 0.5).argmax(1).unique().numel() > 1
    far = sinkhorn_targets(teacher * 100, 0.04)
    assert far.isfinite().all()
    assert sinkhorn_targets(teacher[:0], 0.5).shape == (0, 4)


def test_dino_sums_over_all_pairs_of_views():
    rng = np.random.default_rng(1)
    student, targets = torch.from_numpy(rng.normal(size=(3, 5, 7))), torch.from_numpy(rng.dirichlet(np.ones(7), (2, 5)))
    expected = 0.0
    for s in student.numpy():
        for t in targets.numpy():
            for row, target in zip(s / 0.1, t, strict=True):
                expected -= (target * (row - np.log(np.exp(row).sum()))).sum()
    assert float(dino_loss(student, targets)) == pytest.approx(expected, rel=1e-6)
    uniform = torch.full((1, 1, 8), 1 / 8)
    assert float(dino_loss(torch.zeros(1, 1, 8), uniform)) == pytest.approx(math.log(8))


def test_ibot_weighs_images_equally():
    hidden = torch.tensor([[True, True, True, False], [False] * 4, [False, False, True, False]])
    student = torch.zeros(4, 16)
    targets = torch.eye(16)[:4]
    total = ibot_loss(student, targets, token_weights(hidden))
    assert float(total) == pytest.approx(2 * math.log(16))  # one for each image that has hidden tokens
    torch.testing.assert_close(cross_entropies(student, targets), torch.full((4,), math.log(16)))


def test_koleo_of_known_distances():
    angles = torch.tensor([0.0, 0.3, 1.5])
    points = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5.0], [0.1]])  # lengths do not count
    near, far = 2 * math.sin(0.15), 2 * math.sin(0.6)
    assert float(koleo_loss(points)) == pytest.approx(-2 * math.log(near) - math.log(far), rel=1e-5)
    assert float(koleo_loss(points[:1])) == 0
    same = torch.ones(2, 3, requires_grad=True)
    loss = koleo_loss(same)
    loss.backward()
    assert loss.isfinite()
    assert same.grad.isfinite().all()
