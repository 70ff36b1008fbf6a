"""Score tests and many fits of Cox's model, against lifelines and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.statistics import multivariate_logrank_test
from statsmodels.duration.hazard_regression import PHReg

from spatialfm.stats.cox_scores import ridge_fits, score_p, score_parts


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    time, event = np.ceil(rng.exponential(6, 90)), rng.random(90) < 0.7
    return time, event, rng.integers(0, 4, (90, 3)).astype(float)


def test_the_score_is_that_of_statsmodels(cohort):
    time, event, x = cohort
    strata = np.arange(90) % 3
    for codes in (None, strata):
        score, variance = score_parts(x, time, event, codes)
        for j in range(3):
            model = PHReg(time, x[:, j], status=event.astype(int), strata=codes, ties="breslow")
            assert score[j] == pytest.approx(model.score(np.zeros(1))[0], abs=1e-8)
            assert variance[j] == pytest.approx(-model.hessian(np.zeros(1))[0, 0], abs=1e-8)


def test_events_at_one_time_as_one_draw_are_the_logrank_test(cohort):
    time, event, x = cohort
    group = (x[:, 0] > 1).astype(float)
    expected = multivariate_logrank_test(time, group, event).p_value
    assert score_p(*score_parts(group[:, None], time, event, one_draw=True))[0] == pytest.approx(expected, rel=1e-9)


def test_large_values_keep_their_variance(cohort):
    time, event, x = cohort
    near, far = score_parts(x, time, event), score_parts(x + 1e7, time, event)
    np.testing.assert_allclose(near, far, rtol=1e-6)
    assert score_p(np.zeros(1), np.zeros(1)) == 1


def test_a_fit_of_a_subset_has_no_slope_left(cohort):
    """At the maximum the penalised score of statsmodels is 0."""
    time, event, x = cohort
    masks = np.random.default_rng(1).random((4, 90)) < 0.7
    for mask, beta in zip(masks, ridge_fits(x, time, event, masks, 2.0), strict=True):
        model = PHReg(time[mask], x[mask], status=event[mask].astype(int), ties="breslow")
        np.testing.assert_allclose(model.score(beta), 2.0 * beta, atol=1e-7)
