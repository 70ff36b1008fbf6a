"""Observed over expected counts, over patients."""

import numpy as np
import pytest
from scipy import stats

from spatialfm.stats.excess import hypergeometric, pooled_excess


def test_moments_are_scipys():
    whole, inside = np.array([[40, 10, 50], [3, 0, 2]]), np.array([[4, 1, 5], [1, 0, 1]])
    mean, variance = hypergeometric(inside, whole)
    for row in range(2):
        for column in range(3):
            law = stats.hypergeom(whole[row].sum(), whole[row, column], inside[row].sum())
            assert mean[row, column] == pytest.approx(law.mean())
            assert variance[row, column] == pytest.approx(law.var(), abs=1e-12)
    mean, variance = hypergeometric(np.array([[1, 0], [0, 0]]), np.array([[1, 0], [0, 0]]))
    assert mean.tolist() == [[1, 0], [0, 0]]
    assert not variance.any()


@pytest.mark.parametrize(("n", "sizes", "share"), [(20, [500, 5000], 0.02), (6, [100, 2000], 0.1), (12, [80], 0.05)])
def test_random_parts_are_not_enriched(n, sizes, share):
    """Types of 45 % to 0.5 %, in random parts of cells of patients of unequal size."""
    rng, p = np.random.default_rng(0), []
    for _ in range(400):
        whole = np.array([rng.multinomial(rng.choice(sizes), [0.45, 0.3, 0.2, 0.04, 0.005, 0.005]) for _ in range(n)])
        parts = [rng.multivariate_hypergeometric(row, rng.binomial(row.sum(), share)) for row in whole]
        inside = np.array(parts)
        p.append(pooled_excess(inside, *hypergeometric(inside, whole), inside.sum(axis=1)).p_value)
    assert (np.array(p) < 0.05).mean(axis=0).max() < 0.075


def test_a_large_patient_weighs_as_much_as_any_other():
    observed = np.array([[10.0]] * 9 + [[9000.0]])
    expected = np.array([[20.0]] * 9 + [[6000.0]])
    sizes = np.array([40] * 9 + [12000])
    found = pooled_excess(observed, expected, expected, sizes)
    assert found.log2[0] == pytest.approx(np.log2((9 * 0.25 + 0.75) / (9 * 0.5 + 0.5)), abs=0.02)


def test_patients_who_agree_to_the_digit_have_the_p_value_of_the_counts():
    observed, expected = np.full((6, 1), 8.0), np.full((6, 1), 4.0)
    found = pooled_excess(observed, expected, np.full((6, 1), 3.0), np.full(6, 20))
    assert found.p_value[0] == pytest.approx(2 * stats.norm.sf(24 / np.sqrt(18)))


def test_four_patients_have_no_p_value_and_none_no_excess():
    some = np.ones((4, 2))
    found = pooled_excess(some, some, some, np.ones(4))
    assert np.isnan(found.p_value).all()
    np.testing.assert_allclose(found.log2, 0)
    assert pooled_excess(some, some, some, np.zeros(4)).log2.tolist() == [0, 0]
