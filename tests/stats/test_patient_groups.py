"""Two groups of patients against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spatialfm.stats.patient_groups import benjamini_hochberg, rank_biserial, two_groups


def test_effect_and_medians():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0, 1, 18), rng.normal(1, 3, 25)
    found = two_groups(one, two, 499)
    wins = (two[:, None] > one).mean()
    assert found["effect"] == pytest.approx(2 * wins - 1, abs=1e-12)
    assert found["effect_low"] < found["effect"] < found["effect_high"]
    assert (found["n_1"], found["n_2"]) == (18, 25)
    assert found["difference"] == pytest.approx(np.median(two) - np.median(one))
    assert rank_biserial(one, two, 499) == (found["effect"], found["p_value"])
    assert 0 < found["p_value"] <= 1


def test_fewer_than_three_are_not_tested():
    found = two_groups(np.array([1.0, 2.0]), np.arange(5.0))
    assert found["median_2"] == 2.0
    assert np.isnan([found["effect"], found["p_value"]]).all()
    assert np.isnan(two_groups(np.array([]), np.arange(5.0))["median_1"])


def test_corrected_values_leave_out_what_was_not_tested():
    p = pd.Series([0.01, np.nan, 0.04, 0.03])
    expected = stats.false_discovery_control([0.01, 0.04, 0.03])
    np.testing.assert_allclose(benjamini_hochberg(p)[[0, 2, 3]], expected)
    assert np.isnan(benjamini_hochberg(p)[1])


def test_groups_of_one_value_do_not_differ():
    assert rank_biserial(np.ones(4), np.ones(5)) == (0.0, 1.0)
