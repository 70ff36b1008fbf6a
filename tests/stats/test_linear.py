"""Robust and mixed linear models, against statsmodels, scipy, published values and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.linear import fractional_logit, robust_fit, shuffled_within, variance_ratio, whitened_fit


def two(n_1, n_2):
    return np.column_stack([np.ones(n_1 + n_2), np.repeat([0.0, 1.0], [n_1, n_2])])


def test_errors_are_those_of_hc2():
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    values = rng.normal(size=(30, 2)) * (1 + design[:, 1:2] ** 2)
    found = robust_fit(values, design, 1)
    for i in range(2):
        theirs = sm.OLS(values[:, i], design).fit(cov_type="HC2")
        assert found.value[i] == pytest.approx(theirs.params[1])
        assert found.error[i] == pytest.approx(theirs.bse[1])


def test_of_two_groups_it_is_welch_and_of_equal_ones_student():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 1))
    found = robust_fit(values, two(6, 6), 1)
    assert found.freedom[0] == pytest.approx(10)
    assert found.p_value()[0] == pytest.approx(stats.ttest_ind(values[:6, 0], values[6:, 0]).pvalue)
    low, high = found.interval()
    theirs = stats.ttest_ind(values[6:, 0], values[:6, 0]).confidence_interval()
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high))
    # one group against a line: only its own patients count
    assert robust_fit(values, np.ones((12, 1)), 0).p_value()[0] == pytest.approx(stats.ttest_1samp(values, 0).pvalue[0])


def test_pairs_as_clusters_are_the_paired_t_test():
    rng = np.random.default_rng(0)
    before, patients = rng.normal(size=8), np.tile(np.arange(8), 2)
    after = before + 0.3 + 0.2 * rng.normal(size=8)
    design = np.column_stack([np.eye(8)[patients], np.repeat([0.0, 1.0], 8)])
    found = robust_fit(np.concatenate([before, after])[:, None], design, 8, patients)
    assert found.freedom[0] == pytest.approx(7)
    assert found.p_value()[0] == pytest.approx(stats.ttest_rel(after, before).pvalue)


def test_equal_numbers_of_samples_are_the_test_of_patient_means():
    rng = np.random.default_rng(0)
    patients, codes = np.repeat(np.arange(10), 3), np.repeat([0.0, 1.0], 15)
    values = rng.normal(size=10)[patients] + 0.5 * rng.normal(size=30)
    found, share = whitened_fit(values[:, None], np.column_stack([np.ones(30), codes]), 1, patients)
    means = values.reshape(10, 3).mean(axis=1)
    theirs = stats.ttest_ind(means[5:], means[:5])
    assert found.value[0] == pytest.approx(means[5:].mean() - means[:5].mean())
    assert found.freedom[0] == pytest.approx(8)
    assert found.p_value()[0] == pytest.approx(theirs.pvalue)
    assert 0.4 < share[0] < 1


def test_unequal_numbers_of_samples_have_the_estimate_of_statsmodels():
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(12), rng.integers(1, 7, 12))
    codes = (patients >= 6).astype(float)
    values = rng.normal(size=12)[patients] + rng.normal(size=len(patients)) + codes
    design = np.column_stack([np.ones(len(codes)), codes])
    theirs = MixedLM(values, design, groups=patients).fit(reml=True)
    found, _ = whitened_fit(values[:, None], design, 1, patients)
    assert found.value[0] == pytest.approx(theirs.fe_params[1], rel=1e-3)
    ratio = float(theirs.cov_re[0, 0] / theirs.scale)
    assert variance_ratio(values, design, patients) == pytest.approx(ratio, rel=0.02)


def test_samples_of_a_patient_are_not_patients():
    rng, p, naive = np.random.default_rng(0), [], []
    for _ in range(50):
        patients = np.repeat(np.arange(14), rng.integers(1, 9, 14))
        codes = (patients % 2).astype(float)
        values = rng.normal(size=14)[patients] + 0.6 * rng.normal(size=len(patients))
        design = np.column_stack([np.ones(len(codes)), codes])
        p.append(whitened_fit(values[:, None], design, 1, patients)[0].p_value()[0])
        naive.append(stats.ttest_ind(values[codes == 0], values[codes == 1]).pvalue)
    assert np.mean(np.array(p) < 0.05) < 0.13
    assert np.mean(np.array(naive) < 0.05) > 0.2


def test_shuffles_stay_within_blocks():
    rng = np.random.default_rng(0)
    blocks = np.repeat([0, 1, 2], 12)
    codes = (rng.random(36) < np.array([0.25, 0.5, 0.75])[blocks]).astype(float)
    design = np.column_stack([np.eye(3)[blocks], codes])
    asked = np.array([False, False, False, True])
    site = np.array([0.0, 2.0, 4.0])[blocks][:, None]
    null = site + rng.normal(size=(36, 200))
    p = shuffled_within(null, design, asked, blocks, 199, rng)
    assert 0.015 < (p < 0.05).mean() < 0.09
    assert (stats.ttest_ind(null[codes == 0], null[codes == 1]).pvalue < 0.05).mean() > 0.5  # sites look like groups
    planted = site + 1.5 * codes[:, None] + rng.normal(size=(36, 40))
    assert (shuffled_within(planted, design, asked, blocks, 199, rng) < 0.05).mean() > 0.9


def test_pairs_go_through_all_swaps():
    patients = np.tile(np.arange(6), 2)
    design = np.column_stack([np.eye(6)[patients], np.repeat([0.0, 1.0], 6)])
    values = np.concatenate([np.zeros(6), np.arange(1.0, 7)])[:, None]
    p = shuffled_within(values, design, np.arange(7) == 6, patients, 99, np.random.default_rng(0))
    assert p[0] == pytest.approx(2 / 2**6)


def test_a_covariate_is_taken_out():
    rng = np.random.default_rng(0)
    age = rng.normal(size=60)
    codes = (age + rng.normal(size=60) > 0).astype(float)
    values = age[:, None] + rng.normal(size=(60, 200))
    design = np.column_stack([np.ones(60), age, codes])
    adjusted = robust_fit(values, design, 2).p_value()
    assert 0.02 < (adjusted < 0.05).mean() < 0.09
    assert (stats.ttest_ind(values[codes == 0], values[codes == 1]).pvalue < 0.05).mean() > 0.5


def test_the_logit_of_shares_is_statsmodels():
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    design = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    shares = rng.beta(2, 5, size=(40, 2))
    found = fractional_logit(shares, design, 1)
    for i in range(2):
        theirs = sm.GLM(shares[:, i], design, family=sm.families.Binomial()).fit(cov_type="HC0")
        assert found.value[i] == pytest.approx(theirs.params[1], abs=1e-7)
        assert theirs.bse[1] < found.error[i] < 1.3 * theirs.bse[1]  # bias-reduced


def test_a_group_without_any_is_infinitely_less():
    shares = np.array([[0.0, 0.1], [0.0, 0.2], [0.0, 0.1], [0.1, 0.0], [0.2, 0.0], [0.1, 0.0]])
    found = fractional_logit(shares, two(3, 3), 1)
    assert found.value.tolist() == [np.inf, -np.inf]
    assert np.isnan(found.error).all()
