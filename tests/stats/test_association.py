"""Variance between groups."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from spatialfm.stats.association import explained


def test_the_share_is_that_of_a_regression_on_indicators():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 40)
    values = rng.normal(size=40) + 0.8 * codes
    share, _ = explained(values[:, None], codes, 9, 0)
    indicators = np.eye(3)[codes]
    r2 = LinearRegression().fit(indicators, values).score(indicators, values)
    assert share == pytest.approx(1 - (1 - r2) * 39 / 37, rel=1e-12)


def test_groups_that_say_nothing_are_rarely_below_the_level():
    rng = np.random.default_rng(1)
    ps = [explained(rng.normal(size=(20, 4)), np.repeat([0, 1], 10), 99, i)[1] for i in range(200)]
    assert 0.01 < np.mean(np.array(ps) <= 0.05) < 0.10


@pytest.mark.parametrize(
    ("values", "codes"), [(np.ones((6, 2)), [0, 0, 0, 1, 1, 1]), (np.eye(4), [0, 1, 2, 3]), (np.eye(4), [0, 0, 0, 0])]
)
def test_where_nothing_can_be_said_it_is_nan(values, codes):
    share, p = explained(values, np.array(codes), 19, 0)
    assert np.isnan(share)
    assert np.isnan(p)
