"""Quantiles of values that come in parts, against numpy's of all together."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.embed.pixels.quantiles import streamed_quantiles


def in_parts(values: np.ndarray):
    return lambda: np.array_split(values, 5, axis=1)


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("positive", [False, True])
def test_numpys_quantiles(q, positive):
    rng = np.random.default_rng(0)
    values = rng.lognormal(0, 3, (4, 1003)).astype(np.float32)
    values[:, rng.random(1003) < 0.3] = 0
    values[1] = rng.integers(0, 5, 1003)  # ties
    values[2, 1:] = 0  # one value alone
    values[3] *= np.float32(1e-30)
    found, counts = streamed_quantiles(in_parts(values), 4, q, positive=positive)
    for row, value, count in zip(values.astype(np.float64), found, counts, strict=True):
        counting = row[row > 0] if positive else row
        assert count == len(counting)
        assert value == pytest.approx(np.quantile(counting, q), rel=1e-12, abs=0)


def test_nothing_counts():
    found, counts = streamed_quantiles(in_parts(np.zeros((2, 9), np.float32)), 2, 0.5, positive=True)
    assert np.isnan(found).all()
    assert counts.tolist() == [0, 0]


def test_a_negative_zero_is_the_smallest():
    values = np.array([[-0.0, 1.0, 2.0]], np.float32)
    assert streamed_quantiles(lambda: [values], 1, 1.0)[0].tolist() == [2.0]
