"""Mixtures of two populations: found where they lie apart, and not where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from spatialfm.learn.positivity import (
    FEW,
    GATE,
    NO_NEGATIVES,
    NO_POSITIVES,
    SHARED,
    SPLIT,
    UNCLEAR,
    Components,
    MarkerSample,
    call_gate,
    call_mixture,
    call_otsu,
    fit_components,
    lie_apart,
    otsu_threshold,
    reference_of,
    thinned,
)

TRUTH = Components((1.0, 4.0), (0.4, 0.7), 0.25)
RULES = {"min_cells": 50, "min_share": 0.01}


def drawn(n: int, share: float, seed: int = 0, truth: Components = TRUTH):
    """Values of `n` cells, and which are positive."""
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < round(share * n)
    means, sds = np.array(truth.means), np.array(truth.sds)
    return rng.normal(means[positive.astype(int)], sds[positive.astype(int)]), positive


def test_components_are_those_that_were_drawn():
    values, _ = drawn(20_000, 0.25)
    found = fit_components(values)
    assert found is not None
    np.testing.assert_allclose(found.means, TRUTH.means, atol=0.05)
    np.testing.assert_allclose(found.sds, TRUTH.sds, atol=0.05)
    assert found.share == pytest.approx(0.25, abs=0.01)


def test_probabilities_are_bayes_rule_between_the_means():
    x = np.linspace(1, 4, 7)
    positive, negative = 0.25 * norm.pdf(x, 4, 0.7), 0.75 * norm.pdf(x, 1, 0.4)
    np.testing.assert_allclose(TRUTH.probability(x), positive / (positive + negative), rtol=1e-9)
    assert TRUTH.probability(np.array(TRUTH.threshold)) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("sds", [(0.4, 0.9), (0.9, 0.4), (0.5, 0.5)])
def test_probabilities_never_fall_as_the_value_rises(sds):
    """Bayes' rule with unequal widths would call the dimmest cells positive, or the brightest negative."""
    found = Components((1.0, 4.0), sds, 0.3)
    probability = found.probability(np.linspace(-20, 40, 601))
    assert (np.diff(probability) >= 0).all()
    assert probability[0] < 0.5 < probability[-1]


def test_separation_is_ashmans_d():
    assert TRUTH.separation == pytest.approx(np.sqrt(2) * 3 / np.sqrt(0.4**2 + 0.7**2))


def test_cells_are_called_as_they_were_drawn():
    values, positive = drawn(4_000, 0.1)
    call = call_mixture(MarkerSample(values), None, **RULES)
    assert call.status == SPLIT
    errors = (call.probability > 0.5) != positive
    # the least error that any threshold can have on these two distributions
    grid = np.linspace(1, 4, 500)
    least = (0.1 * norm.cdf(grid, 4, 0.7) + 0.9 * norm.sf(grid, 1, 0.4)).min()
    assert errors.mean() < least + 0.004


def test_one_population_is_not_split():
    for seed in range(20):
        values, _ = drawn(1_000, 0.0, seed)
        call = call_mixture(MarkerSample(values), None, **RULES)
        assert call.status == UNCLEAR
        assert np.isnan(call.probability).all()
        assert np.isnan(call.threshold)


def test_samples_without_positives_or_negatives_are_known_from_the_others():
    both = [drawn(1_000, 0.3, seed)[0] for seed in range(6)]
    without, _ = drawn(1_000, 0.0, 10)
    only, _ = drawn(1_000, 1.0, 11)
    reference = reference_of([MarkerSample(values) for values in (*both, without, only)], 0.01)
    assert reference is not None
    call = call_mixture(MarkerSample(without), reference, **RULES)
    assert call.status == NO_POSITIVES
    assert (call.probability > 0.5).mean() < 0.01
    call = call_mixture(MarkerSample(only), reference, **RULES)
    assert call.status == NO_NEGATIVES
    assert (call.probability > 0.5).mean() > 0.99


def test_few_positive_cells_among_many_are_found_by_the_threshold_of_all():
    reference = reference_of([MarkerSample(drawn(1_000, 0.3, seed)[0]) for seed in range(6)], 0.01)
    values, positive = drawn(1_000, 0.005, 3)
    call = call_mixture(MarkerSample(values), reference, **RULES)
    assert call.status == NO_POSITIVES
    assert (call.probability[positive] > 0.5).sum() >= 4  # one of five lies where most cells are negative


def test_noise_with_two_humps_below_the_positive_cells_is_not_split():
    """Half of the cells at zero and half dim: a mixture of its own would call the dim ones positive."""
    reference = reference_of([MarkerSample(drawn(1_000, 0.3, seed)[0]) for seed in range(6)], 0.01)
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.05, 500), rng.normal(0.8, 0.1, 500)])
    assert call_mixture(MarkerSample(values), None, **RULES).status == SPLIT
    call = call_mixture(MarkerSample(values), reference, **RULES)
    assert call.status == NO_POSITIVES
    assert not (call.probability > 0.5).any()


def test_a_continuum_is_called_by_the_threshold_of_all():
    reference = reference_of([MarkerSample(drawn(1_000, 0.3, seed)[0]) for seed in range(6)], 0.01)
    values = np.linspace(0, 5, 1_000)
    call = call_mixture(MarkerSample(values), reference, **RULES)
    assert call.status == SHARED
    assert call.threshold == reference.threshold


def test_a_marker_that_most_samples_lack_is_known_from_those_that_have_it():
    drawn_ones = [drawn(1_000, 0.0, seed)[0] for seed in range(17)] + [drawn(1_000, 0.02, seed)[0] for seed in range(3)]
    samples = [MarkerSample(values) for values in drawn_ones]
    reference = reference_of(samples, 0.01)
    assert reference is not None
    assert 1.5 < reference.threshold < 3
    assert reference_of(samples[:17], 0.01) is None
    assert reference_of(samples[-1:], 0.01) is None


def test_few_cells_are_called_by_the_others():
    reference = reference_of([MarkerSample(drawn(1_000, 0.3, seed)[0]) for seed in range(6)], 0.01)
    values, positive = drawn(20, 0.5)
    call = call_mixture(MarkerSample(values), reference, **RULES)
    assert call.status == FEW
    assert ((call.probability > 0.5) == positive).all()
    assert np.isnan(call_mixture(MarkerSample(values), None, **RULES).probability).all()


def test_otsu_splits_where_the_two_classes_have_the_least_squares():
    """By trying each split; scikit-image tries those of a histogram, and is off by a bin at most."""
    from skimage.filters import threshold_otsu

    for seed in range(5):
        values, _ = drawn(2_000, 0.3, seed)
        call = call_otsu(MarkerSample(values), None, **RULES)
        x = np.sort(values)
        squares = [x[:k].var() * k + x[k:].var() * (len(x) - k) for k in range(1, len(x))]
        best = int(np.argmin(squares)) + 1
        assert np.sort(values[call.probability == 1]).tolist() == x[best:].tolist()
        gap = x[best] - x[best - 1]
        assert call.threshold == pytest.approx(threshold_otsu(values), abs=np.ptp(values) / 256 + gap)


def test_otsu_in_closed_form():
    """n at 0, n at 1, one at 10. Apart from the one, n / 2 squares are left; apart from those at 0, 81 n / (n + 1)."""
    for n, threshold in ((100, 5.5), (200, 0.5)):
        assert otsu_threshold(np.append(np.repeat([0.0, 1.0], n), 10.0)) == threshold
    shifted = 1e6 + np.repeat([0.0, 1e-4], 50)  # neighbouring bins of a histogram would be the same number
    assert otsu_threshold(shifted) == pytest.approx(1e6 + 5e-5, abs=1e-9)
    high = np.nextafter(1.0, 2.0)
    assert 1.0 <= otsu_threshold(np.array([1.0, high, high])) < high


def test_otsu_gives_zeros_and_ones():
    values, _ = drawn(2_000, 0.3)
    call = call_otsu(MarkerSample(values), None, **RULES)
    assert set(np.unique(call.probability)) == {0.0, 1.0}
    assert call_otsu(MarkerSample(drawn(1_000, 0.0)[0]), None, **RULES).status == UNCLEAR


def test_gates_are_taken_as_they_are():
    call = call_gate(np.array([1.0, 2.0, 3.0]), 2.0)
    assert call.status == GATE
    assert call.probability.tolist() == [0, 0, 1]
    assert np.isnan(call_gate(np.array([1.0]), np.nan).probability).all()


def test_constant_values_have_no_components():
    assert fit_components(np.full(100, 3.0)) is None
    assert call_mixture(MarkerSample(np.full(100, 3.0)), None, **RULES).status == UNCLEAR


def test_populations_need_cells():
    values, _ = drawn(2_000, 0.25)
    assert lie_apart(TRUTH, values, 0.2)
    assert not lie_apart(TRUTH, values, 0.26)
    assert not lie_apart(Components((1.0, 1.9), (0.7, 0.7), 0.25), values, 0.01)
    assert not lie_apart(TRUTH, np.linspace(0, 5, 2_000), 0.2)  # no valley


def test_many_values_are_thinned_evenly():
    values = np.random.default_rng(0).permutation(np.arange(100_001.0))
    few = thinned(values, 11)
    assert few.tolist() == np.linspace(0, 100_000, 11).tolist()
    assert len(thinned(values[:5], 11)) == 5


def test_a_sample_is_fitted_once(monkeypatch):
    """By the reference of all samples, where these do not lie apart together, and by its own call."""
    fitted = []
    monkeypatch.setattr(
        "spatialfm.learn.positivity.fit_components",
        lambda values, *rest: fitted.append(len(values)) or fit_components(values, *rest),
    )
    samples = [MarkerSample(drawn(1_000 + seed, 0.0 if seed < 17 else 0.02, seed)[0]) for seed in range(20)]
    reference = reference_of(samples, 0.01)
    for sample in samples:
        call_mixture(sample, reference, **RULES)
    assert sorted(fitted)[:20] == list(range(1_000, 1_020))
    assert len(fitted) == 21  # and all together
