"""Shares at equal numbers of cells, and the frame, against scipy's hypergeometric distribution and set truths."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.composition import in_frame, matched_placements, reference_types
from spatialfm.stats.group_tests import placements, two_groups

SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])


def cohort(rng, cells=(200, 5000), n=15, factor=1.0, spread=0.5):
    """Log-normal abundances, the first type `factor` times in the second group; one number of cells per group."""
    codes = np.repeat([0, 1], n)
    abundance = SHARES * np.exp(spread * rng.normal(size=(2 * n, len(SHARES))))
    abundance[codes == 1, 0] *= factor
    shares = abundance / abundance.sum(axis=1, keepdims=True)
    return np.array([rng.multinomial(cells[c], s) for c, s in zip(codes, shares, strict=True)]), codes


def test_the_larger_sample_is_thinned_as_by_the_hypergeometric_distribution():
    rng = np.random.default_rng(0)
    totals = rng.integers(1, 4000, 120)
    counts = np.stack([rng.binomial(totals, share) for share in (0.002, 0.1, 0.5, 0.97)], axis=1)
    found = matched_placements(counts, totals)
    i, j = np.triu_indices(120, 1)
    deep, shallow = np.where(totals[i] > totals[j], i, j), np.where(totals[i] > totals[j], j, i)
    for column, mine in zip(counts.T, found, strict=True):
        law = stats.hypergeom(totals[deep], column[deep], totals[shallow])
        expected = law.cdf(column[shallow] - 1) + law.pmf(column[shallow]) / 2
        np.testing.assert_allclose(mine[deep, shallow], expected, atol=2e-3)
        few = law.var() <= 25
        np.testing.assert_allclose(mine[deep, shallow][few], expected[few], atol=1e-9)
        np.testing.assert_allclose(mine + mine.T, 1)


def test_equal_numbers_are_not_thinned():
    counts = np.random.default_rng(0).integers(0, 50, (20, 3))
    np.testing.assert_array_equal(matched_placements(counts, np.full(20, 50)), placements(counts))


def test_a_number_of_cells_is_no_difference():
    share, plain, rng = [], [], np.random.default_rng(0)
    for _ in range(60):
        counts, codes = cohort(rng, n=16)
        values = counts / counts.sum(axis=1, keepdims=True)
        share.append(two_groups(matched_placements(counts, counts.sum(axis=1)), values, codes, 99, rng)["p_ranks"])
        plain.append(stats.mannwhitneyu(values[codes == 0], values[codes == 1]).pvalue)
    share, plain = np.array(share) < 0.05, np.array(plain) < 0.05
    assert share.mean() < 0.085
    assert share[:, -1].mean() < 0.13  # 60 tests of the type that is rare
    assert plain[:, -1].mean() > share[:, -1].mean()


def test_the_frame_is_without_the_type_that_grows_and_holds_the_others():
    rng, called, chosen = np.random.default_rng(0), [], []
    for _ in range(40):
        counts, codes = cohort(rng, factor=4.0, n=16)
        design = np.column_stack([np.ones(32), codes])
        reference = reference_types(counts, design, np.array([False, True]))
        chosen.append(reference)
        totals = in_frame(counts, reference)
        called.append(two_groups(matched_placements(counts, totals), counts / totals, codes, 99, rng)["p_value"] < 0.05)
    assert np.mean(chosen, axis=0)[0] < 0.03
    assert np.sum(chosen, axis=1).min() >= 2
    assert np.mean(called, axis=0)[0] > 0.9
    assert np.mean(called, axis=0)[1:].mean() < 0.08


def test_rare_types_are_no_reference():
    counts = np.array([[50, 60, 55, 1, 0]] * 3 + [[52, 58, 56, 0, 2]] * 3)
    design = np.column_stack([np.ones(6), np.repeat([0, 1], 3)])
    found = reference_types(counts, design, np.array([False, True]))
    assert not found[3:].any()
    assert found.sum() == 2


def test_the_frame_of_several_groups_does_not_hang_on_which_is_the_first():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        counts = np.array([rng.multinomial(2000, rng.dirichlet(8 * np.full(10, 0.1))) for _ in range(24)])
        codes = np.repeat([0, 1, 2], [8, 9, 7])
        found = []
        for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1]):
            design = np.column_stack([np.ones(24), *(codes == i for i in order[1:])]).astype(float)
            found.append(reference_types(counts, design, np.array([False, True, True])))
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0])


def test_many_patients_and_types_take_seconds():
    rng, start = np.random.default_rng(0), process_time()
    totals = rng.integers(200, 20_000, 300)
    counts = np.array([rng.multinomial(n, np.full(20, 0.05)) for n in totals])
    matched_placements(counts, totals)
    assert process_time() - start < 8  # 900,000 pairs; all sums to the end took a minute


def test_shares_alone_have_a_frame_too():
    rng = np.random.default_rng(0)
    counts, codes = cohort(rng, factor=5.0, cells=(4000, 4000), spread=0.2)
    design, asked = np.column_stack([np.ones(30), codes]), np.array([False, True])
    of_shares = reference_types(counts / counts.sum(axis=1, keepdims=True), design, asked)
    assert not of_shares[0]
    assert of_shares.sum() >= 2


def test_a_patient_without_cells_of_the_frame_is_a_tie():
    found = matched_placements(np.array([[0], [3]]), np.array([0, 10]))[0]
    assert found[0, 1] == pytest.approx(0.5)
