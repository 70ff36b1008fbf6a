"""Temperatures and calibration errors against what was planted and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from spatialfm.learn.probe import calibrated, fit_head
from spatialfm.learn.temperature import (
    Calibration,
    calibration_error,
    calibration_of,
    debiased_calibration_error,
    find_lapse,
    find_temperature,
    held_out_parts,
    lapsed,
    tempered,
)


def drawn(n, factor, seed=0):
    """Classes drawn from known probabilities, and those probabilities made too sure by `factor`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    truth = softmax(logits, axis=1)
    codes = (truth.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return softmax(factor * logits, axis=1), codes, truth


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_that_which_was_planted(factor):
    claimed, codes, truth = drawn(20000, factor)
    found = find_temperature(claimed, codes)
    assert found == pytest.approx(factor, rel=0.05)
    np.testing.assert_allclose(tempered(claimed, factor), truth, atol=1e-6)
    assert calibration_error(tempered(claimed, found), codes) < 0.02
    assert (calibration_error(claimed, codes) > 0.05) == (factor != 1.0)


def test_a_prior_holds_the_temperature_of_few_cells_near_one_and_many_outweigh_it():
    claimed, codes, _ = drawn(20000, 5.0)
    few, many = (find_temperature(claimed[:n], codes[:n], spread=0.5) for n in (10, 20000))
    free = find_temperature(claimed[:10], codes[:10])
    assert 1 < few < free
    assert many == pytest.approx(find_temperature(claimed, codes), rel=0.01)
    # where the slopes of both parts cancel: that of the cross-entropy, in the logarithm, by its closed form
    logits, log = np.log(claimed[:10]) / few, np.log(few)
    expected = (softmax(logits, axis=1) * logits).sum(axis=1)
    slope = (logits[np.arange(10), codes[:10]] - expected).mean()
    assert slope + log / 0.25 / 10 == pytest.approx(0, abs=1e-3)


def test_the_error_is_the_sum_by_hand():
    probability, codes, _ = drawn(300, 2.0)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == codes
    expected = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & ((confidence < (low + 1) / 15) | (low == 14))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(probability, codes) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "near"), [(150, 0.03), (2000, 0.008)])
@pytest.mark.parametrize("truth", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("shape", ["over", "under", "crossing"])
def test_without_chance_the_error_is_near_that_which_was_planted(n, near, truth, shape):
    """Cells whose probability of being right lies off their confidence, by `truth` in the mean over the bins."""
    rng = np.random.default_rng(0)
    bins = np.arange(5, 14)  # of 15: cells of these can be right more and less often by a tenth or two
    apart = {"over": -np.ones(9), "under": np.ones(9), "crossing": np.linspace(2, -2, 9)}[shape]
    apart = truth * apart / np.abs(apart).mean()
    plain, debiased = [], []
    for _ in range(200):
        at = rng.permutation(np.arange(n) % 9)
        confidence = (bins[at] + rng.random(n)) / 15
        right = rng.random(n) < confidence + apart[at]
        probability, codes = np.c_[confidence, np.tile((1 - confidence[:, None]) / 3, 3)], np.where(right, 0, 1)
        plain.append(calibration_error(probability, codes))
        debiased.append(debiased_calibration_error(probability, codes))
    assert np.mean(debiased) == pytest.approx(truth, abs=near)
    assert np.mean(plain) > np.mean(debiased)
    if truth == 0:  # what chance adds is all of it: the mean of folded normal errors of nine shares
        of_bins = (bins + 0.5) / 15
        chance = np.sqrt(2 / np.pi * of_bins * (1 - of_bins) / (n / 9)).mean()
        assert np.mean(plain) == pytest.approx(chance, rel=0.05)
        assert abs(np.mean(debiased)) < 0.1 * chance


def test_a_weight_counts_as_so_many_cells():
    claimed, codes, _ = drawn(400, 2.0)
    weights = np.random.default_rng(1).integers(0, 4, 400)
    many = np.repeat(np.arange(400), weights)
    found = find_temperature(claimed, codes, weights)
    assert found == pytest.approx(find_temperature(claimed[many], codes[many]), rel=1e-4)
    assert found != pytest.approx(find_temperature(claimed, codes), rel=1e-3)
    error = calibration_error(claimed[many], codes[many])
    assert calibration_error(claimed, codes, weights) == pytest.approx(error)


def test_confidence_holds_in_the_shares_of_tissue_where_labels_are_even():
    """Of a common type nine in ten are called right with a confidence of 0.7, of a rare one half: labels are even."""
    sure = np.array([[0.7, 0.3]] * 90 + [[0.3, 0.7]] * 10 + [[0.3, 0.7]] * 50 + [[0.7, 0.3]] * 50)
    codes = np.repeat([0, 1], 100)
    sure, codes = np.tile(sure, (100, 1)), np.tile(codes, 100)  # so many that what is usual does not count
    even, tissue = calibration_of(sure, codes), calibration_of(sure, codes, np.array([0.95, 0.05]))
    # the temperature that makes the confidence the share of right calls: 0.7 among labels, 0.88 in tissue
    assert tempered(sure, even.temperature)[0, 0] == pytest.approx(0.7, abs=1e-3)
    assert tempered(sure, tissue.temperature)[0, 0] == pytest.approx(0.95 * 0.9 + 0.05 * 0.5, abs=1e-3)
    assert tissue.error == pytest.approx(0, abs=2e-3)
    nothing = calibration_of(sure, codes, np.zeros(2))  # nothing is called by the types that were held out
    assert nothing.temperature == even.temperature


@pytest.mark.parametrize("shares", [None, np.array([0.1, 0.1, 0.1, 0.7])])
def test_patients_weigh_alike_however_many_of_their_cells_were_labelled(shares):
    """Of one patient most cells were labelled, who is unlike the others; a new one is as likely to be like any."""
    n_of = [6000, 1000, 1000, 1000, 1000, 1000]
    parts = [drawn(n, 4.0 if n == 6000 else 1.0, seed) for seed, n in enumerate(n_of)]
    claimed, codes = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    groups = np.repeat(["f", "a", "b", "c", "d", "e"], n_of)
    kept = (codes != 3) | np.isin(groups, ["f", "a"])  # a type that two patients have
    claimed, codes, groups = claimed[kept], codes[kept], groups[kept]
    each = -np.log(np.maximum(claimed, 1e-300))

    def loss(log):  # mean over types, by their shares, of the mean over patients of the mean over cells
        logits = -each / np.exp(log)
        of_truth = logits[np.arange(len(codes)), codes] - np.log(np.exp(logits).sum(axis=1))
        of_types = [
            np.mean([-of_truth[(codes == code) & (groups == one)].mean() for one in np.unique(groups[codes == code])])
            for code in range(4)
        ]
        return np.average(of_types, weights=np.bincount(codes) if shares is None else shares)

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
    found = calibration_of(claimed, codes, shares, groups=groups)
    assert np.log(found.temperature) == pytest.approx(best, abs=0.01)
    assert found.temperature < calibration_of(claimed, codes, shares).temperature - 0.3
    few = np.where(groups == "f", "f", "a")  # two patients say nothing of others
    assert calibration_of(claimed, codes, shares, groups=few) == calibration_of(claimed, codes, shares)


def test_the_share_of_lapses_is_that_which_was_planted():
    """A tenth of the cells have a label at random: a temperature alone is too high for the others."""
    claimed, codes, truth = drawn(20000, 3.0)
    rng = np.random.default_rng(1)
    lapses = rng.random(20000) < 0.1
    codes = np.where(lapses, rng.integers(0, 4, 20000), codes)
    found, alone = calibration_of(claimed, codes, lapses=True), calibration_of(claimed, codes)
    assert found.lapse == pytest.approx(0.1, abs=0.01)
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    np.testing.assert_allclose(found.applied(claimed), 0.9 * truth + 0.025, atol=0.02)
    assert alone.lapse == 0
    assert found.error < 0.01 < alone.error
    assert (found.applied(claimed).argmax(axis=1) == claimed.argmax(axis=1)).all()
    none, without = drawn(20000, 3.0)[:2]
    assert find_lapse(none, without) < 0.003


@pytest.mark.parametrize("n", [20, 60, 400])
def test_few_cells_are_held_by_twenty_without_a_lapse(n):
    claimed, codes, _ = drawn(400, 3.0, seed=2)
    codes[:n:10] = (claimed[:n:10].argmax(axis=1) + 1) % 4  # one in ten is wrong for sure
    claimed, codes = claimed[:n], codes[:n]

    def loss(share, temperature):
        of_truth = lapsed(tempered(claimed, temperature), share)[np.arange(n), codes]
        return -np.log(of_truth).sum() - 20 * np.log(1 - share)

    grid = np.linspace(0, 0.3, 61)
    best = min(grid, key=lambda share: min(loss(share, one) for one in np.geomspace(0.05, 20, 200)))
    assert find_lapse(claimed, codes) == pytest.approx(best, abs=0.01)
    # weights that are all alike say nothing; of uneven ones cells count as fewer, and the prior for more
    assert find_lapse(claimed, codes, np.full(n, 7.0)) == pytest.approx(find_lapse(claimed, codes), abs=1e-3)
    many = np.repeat(np.arange(n), 5)
    assert find_lapse(claimed[many], codes[many], np.ones(5 * n)) > find_lapse(claimed, codes)


@pytest.mark.parametrize("usual", [1.0, 0.65])
def test_ten_cells_that_are_all_right_make_nothing_certain(usual):
    """Without a prior the temperature of least cross-entropy is 0, and every new cell would be called for sure."""
    held_out, codes = np.tile([0.8, 0.2], (10, 1)), np.zeros(10, int)
    found = calibration_of(held_out, codes, lapses=True, usual=usual)
    grid = np.linspace(-3, 3, 60001)
    each = np.log1p(0.25 ** np.exp(-grid))  # -log of what is said of the truth, whose odds are 4
    assert found.lapse == 0
    assert np.log(found.temperature) == pytest.approx(
        grid[(10 * each + (grid - np.log(usual)) ** 2 / 2).argmin()], abs=2e-3
    )
    assert 0.8 < found.applied(held_out[:1])[0, 0] < 0.99
    weights = calibration_of(held_out, codes, np.array([0.3, 0.7]), usual=usual)  # even weights are none
    assert weights.temperature == pytest.approx(found.temperature, rel=1e-3)


def test_few_held_out_cells_cost_new_ones_less_with_what_is_usual():
    """Twelve held-out cells of a classifier that is half as sure again as it may be, and what all others lose by it."""
    claimed, codes, _ = drawn(20000, 1.5)
    loss = {"usual": [], "alone": []}
    for start in range(0, 2400, 12):
        part = slice(start, start + 12)
        found = {
            "usual": calibration_of(claimed[part], codes[part]).temperature,
            "alone": find_temperature(claimed[part], codes[part]),
        }
        for name, temperature in found.items():
            of_truth = tempered(claimed[-2000:], temperature)[np.arange(2000), codes[-2000:]]
            loss[name].append(-np.log(np.maximum(of_truth, 1e-300)).mean())
    assert np.mean(loss["usual"]) < 0.97 * np.mean(loss["alone"])
    assert np.max(loss["usual"]) < 0.5 * np.max(loss["alone"])


def test_of_uneven_weights_the_prior_counts_more():
    claimed, codes, _ = drawn(40, 5.0)
    weights = np.r_[np.full(4, 9.0), np.ones(36)]
    found = find_temperature(claimed, codes, weights, spread=0.5)
    grid, n = np.linspace(0, 3, 6001), 72.0**2 / (4 * 81 + 36)

    def loss(log):
        each = -np.log(tempered(claimed, np.exp(log))[np.arange(40), codes])
        return np.average(each, weights=weights) + (log / 0.5) ** 2 / (2 * n)

    assert np.log(found) == pytest.approx(min(grid, key=loss), abs=2e-3)


def test_certainties_of_zero_and_one_stay():
    sure = np.array([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(tempered(sure, 2.0), sure, atol=1e-12)
    assert np.isfinite(find_temperature(np.array([[1.0, 0.0]] * 20), np.repeat([0, 1], 10)))


def test_every_cell_but_the_only_one_of_its_class_is_held_out_once():
    codes = np.repeat([0, 1, 2, 3], [30, 3, 2, 1])
    parts = list(held_out_parts(codes, None, 0))
    judged = np.concatenate([test for _, test in parts])
    assert sorted(judged) == list(range(35))
    for train, test in parts:
        assert not set(train) & set(test)
        assert set(codes[train]) == {0, 1, 2, 3}


def test_patients_stay_on_one_side_and_many_cells_are_held_out_once():
    rng = np.random.default_rng(0)
    codes, groups = rng.integers(0, 2, 600), rng.integers(0, 10, 600)
    ((train, test),) = held_out_parts(codes, groups, 0)
    assert not set(groups[train]) & set(groups[test])
    assert 60 <= len(test) <= 200
    assert len(list(held_out_parts(codes[:100], groups[:100], 0))) == 5
    assert len(list(held_out_parts(codes, None, 0))) == 1


def test_a_probe_that_is_too_sure_is_made_less_so():
    """A penalty that is far too weak for 100 columns of noise; the share that is right in new cells is what counts."""
    rng = np.random.default_rng(0)

    def cells(n):
        codes = rng.integers(0, 3, n)
        values = rng.normal(size=(n, 100))
        values[np.arange(n), codes] += 1.5
        return values, codes

    values, codes = cells(150)
    new, truth = cells(4000)
    probe = fit_head(values, codes.astype(str), "linear", 100.0)
    better = calibrated(probe, values, codes.astype(str))
    assert better.calibration.temperature > 1.5
    assert better.calibration.n_held_out == 150
    before, after = (calibration_error(each.predict_proba(new), truth) for each in (probe, better))
    assert after < 0.08 < 0.2 < before
    np.testing.assert_array_equal(better.predict_proba(new).argmax(axis=1), probe.predict_proba(new).argmax(axis=1))


def test_too_few_cells_are_left_as_they_are():
    values, labels = np.arange(8.0)[:, None], np.repeat(["a", "b"], 4)
    probe = fit_head(values, labels, "linear")
    assert calibrated(probe, values, labels) is probe
    assert probe.calibration == Calibration() or np.isnan(probe.calibration.error)


def test_probabilities_that_rounding_put_above_1_count_as_1_and_none_have_no_error():
    above = np.tile(np.array([1 + 1e-7, 0], np.float32), (20, 1))
    assert debiased_calibration_error(above, np.zeros(20, int)) == pytest.approx(0, abs=1e-6)
    assert np.isnan(debiased_calibration_error(np.empty((0, 2)), np.empty(0, int)))
