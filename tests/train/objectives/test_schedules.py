"""Against schedules as their libraries compute them, written out here once with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spatialfm.train.objectives.schedules import warm_cosine, warm_cosine_from_zero


def test_dinov2s_schedule_from_its_definition():
    total, warm, first, peak, last = 100, 10, 0.0, 0.004, 1e-6
    steps = np.arange(total - warm)
    falling = last + 0.5 * (peak - last) * (1 + np.cos(np.pi * steps / len(steps)))
    expected = [*np.linspace(first, peak, warm), *falling, last, last]
    got = [warm_cosine(step, total, warm, first, peak, last) for step in range(total + 2)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-18)
    assert warm_cosine(0, 5, 1, 0.0, 2.0, 1.0) == 2.0
    assert warm_cosine(0, 5, 0, 0.0, 2.0, 1.0) == 2.0


def test_the_cosine_of_transformers():
    lambda_ = pytest.importorskip("torch.optim.lr_scheduler").LambdaLR
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    scheduler = lambda_(optimizer, lambda step: warm_cosine_from_zero(step, 20, 2, 1.0))
    seen = []
    for _ in range(20):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert seen[:3] == [0.0, 0.25, 0.5]
    assert seen[11] == pytest.approx(0.25)  # half of the way down
    assert all(a > b for a, b in zip(seen[2:], seen[3:], strict=False))
    assert warm_cosine_from_zero(20, 20, 2, 1.0) == pytest.approx(0, abs=1e-15)
