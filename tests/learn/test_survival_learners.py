"""Elastic-net Cox regression against lifelines, the penalty that leaves nothing, and forests by what they see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sksurv.metrics import concordance_index_censored

from spatialfm.learn.survival_learners import CoxnetModel, ForestModel
from spatialfm.learn.survival_nested import SurvivalCases, event_folds


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (80, 3))
    time = rng.exponential(np.exp(-0.3 * x[:, 0])) + 0.01 * rng.random(80)
    return SurvivalCases(x, time, rng.random(80) < 0.7, ["a", "b", "c"], np.arange(80), 0)


def test_without_penalty_coefficients_are_those_of_cox_regression(cohort):
    fitted = CoxnetModel(None, np.array([0.5]), 20).fit(cohort, {"alpha": 1e-7, "l1_ratio": 0.5})
    z = (cohort.x - cohort.x.mean(axis=0)) / cohort.x.std(axis=0)
    table = pd.DataFrame(z, columns=list("abc")).assign(t=cohort.time, e=cohort.event.astype(int))
    expected = CoxPHFitter().fit(table, "t", "e", fit_options={"precision": 1e-10})
    np.testing.assert_allclose(fitted.explain(None), expected.params_, atol=1e-4)
    times = np.sort(cohort.time[cohort.event])[[10, 40]]  # lifelines interpolates between events
    survival = expected.predict_survival_function(table, times=times).to_numpy().T
    np.testing.assert_allclose(fitted.survival(cohort.x, times), survival, atol=1e-4)
    assert fitted.risk(cohort.x.mean(axis=0)[None])[0] == pytest.approx(0, abs=1e-12)  # the average patient
    assert fitted.survival(cohort.x[:2], np.array([0.0])).tolist() == [[1], [1]]


def test_all_components_are_a_rotation_of_the_features(cohort):
    """Without penalty the principal components say what the features say, and are told in terms of these."""
    chosen = {"alpha": 1e-7, "l1_ratio": 0.5}
    plain = CoxnetModel(None, np.array([0.5]), 20).fit(cohort, chosen)
    rotated = CoxnetModel(3, np.array([0.5]), 20).fit(cohort, chosen)
    np.testing.assert_allclose(rotated.explain(None), plain.explain(None), atol=1e-4)
    np.testing.assert_allclose(rotated.risk(cohort.x), plain.risk(cohort.x), atol=1e-3)


def test_the_strongest_penalty_leaves_no_feature_and_a_weaker_one_does(cohort):
    model = CoxnetModel(None, np.array([1.0]), 10)
    z = (cohort.x - cohort.x.mean(axis=0)) / cohort.x.std(axis=0)
    alphas = model._alphas(z, cohort, 1.0)
    assert alphas[-1] / alphas[0] == pytest.approx(0.01)
    assert not model.fit(cohort, {"alpha": alphas[0], "l1_ratio": 1.0}).coef.any()
    assert model.fit(cohort, {"alpha": 0.98 * alphas[0], "l1_ratio": 1.0}).coef.any()


def test_the_penalty_is_chosen_by_what_patients_left_out_say(cohort):
    """One feature of three decides: some penalty does better than none and than all."""
    model = CoxnetModel(None, np.array([0.5, 1.0]), 8)
    chosen = model.choose(cohort, event_folds(cohort.event, 3, np.random.default_rng(0)))
    z = (cohort.x - cohort.x.mean(axis=0)) / cohort.x.std(axis=0)
    alphas = model._alphas(z, cohort, chosen["l1_ratio"])
    assert alphas[-1] <= chosen["alpha"] < alphas[0]
    assert chosen["inner_score"] > 3 * -np.log(80) * cohort.event.sum()  # a gain in log likelihood, finite


@pytest.fixture(scope="module")
def forest(cohort):
    return ForestModel(None, [8], 12, 3, 0).fit(cohort, {"min_samples_leaf": 8})


def test_the_average_training_patient_has_a_risk_of_one(forest, cohort):
    assert forest.risk(cohort.x).mean() == pytest.approx(1)
    curves = forest.survival(cohort.x, np.array([-1.0, 0.1, 1.0]))
    assert (curves[:, 0] == 1).all()
    assert (np.diff(curves, axis=1) <= 0).all()


def test_what_shuffling_costs_is_counted_in_pairs(forest, cohort):
    """A feature that no tree looks at costs nothing; pairs are those of scikit-survival."""
    lost = forest.explain(cohort)
    _, right, wrong, tied, _ = concordance_index_censored(cohort.event, cohort.time, forest.risk(cohort.x))
    assert lost.shape == (4, 3)
    assert (lost[-1] == right + wrong + tied).all()
    assert lost[0].mean() > max(lost[1].mean(), lost[2].mean())
    flat = SurvivalCases(cohort.x * [1, 1, 0], cohort.time, cohort.event, ["a", "b", "c"], np.arange(80), 0)
    blind = ForestModel(None, [8], 5, 2, 0).fit(flat, {"min_samples_leaf": 8})
    assert (blind.explain(flat)[2] == 0).all()


def test_one_size_of_leaves_is_not_searched(cohort):
    assert ForestModel(None, [8], 1, 0, 0).choose(cohort, np.arange(80) % 2)["min_samples_leaf"] == 8
    leaves = [40, 3]  # of 40 patients a leaf of 40 splits nothing: its concordance is one half
    chosen = ForestModel(None, leaves, 5, 0, 0).choose(cohort, np.arange(80) % 2)
    assert chosen["min_samples_leaf"] == 3
    assert chosen["inner_score"] > 0.5
