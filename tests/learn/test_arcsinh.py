"""Cofactors against quantiles by hand, and that no unit of a marker changes a scale or a probability."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from spatialfm.cohort.intensities import Intensities
from spatialfm.learn.arcsinh import IntensityScaler, cofactors_of_table, end_of_noise, find_cofactor, is_even, skewness
from spatialfm.learn.probe import column_scaler, fit_probe


def means(n_columns, mean=0.0, sd=1.0, compressed=False):
    places = np.arange(n_columns)
    names = tuple(map(str, places))
    return Intensities(names, places, np.full(n_columns, mean), np.full(n_columns, sd), compressed)


def counts(seed=0, n=300):
    """Two types of cells in three markers, heavy-tailed, with zeros."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, n)
    values = rng.lognormal(0, 1.2, (n, 3))
    values[:, 0] *= np.where(codes == 0, 6, 1)
    values[:, 1] *= np.where(codes == 1, 6, 1)
    values[rng.random((n, 3)) < 0.2] = 0
    return values, codes


def test_the_cofactor_is_a_quantile_of_what_is_above_zero():
    values = np.r_[np.zeros(50), np.arange(1, 101), np.nan]
    assert find_cofactor(values) == pytest.approx(np.quantile(np.arange(1, 101), 0.05))
    assert find_cofactor(np.zeros(9)) == 1.0


def test_rounding_errors_do_not_set_the_cofactor():
    values = np.r_[np.full(50, 1e-9), np.linspace(1, 2, 50)]
    assert find_cofactor(values) == pytest.approx(1e-3 * np.quantile(values, 0.99))


def test_a_centred_column_is_left_and_one_with_some_background_subtracted_is_not():
    rng = np.random.default_rng(0)
    assert np.isnan(find_cofactor(rng.normal(size=500)))
    subtracted = np.r_[rng.normal(0, 0.2, 800), rng.lognormal(2, 0.5, 200)]
    assert find_cofactor(subtracted) > 0
    both = np.column_stack([rng.normal(size=500), rng.lognormal(size=500)])
    scaler = IntensityScaler(means(2)).fit(both)
    left = scaler.transform(both)[:, 0]
    np.testing.assert_allclose(left, (both[:, 0] - both[:, 0].mean()) / both[:, 0].std(), atol=1e-12)


@pytest.mark.parametrize("spread", [0.02, 400.0])
def test_noise_that_was_cut_in_its_middle_ends_at_two_standard_deviations(spread):
    """Noise is normal, so that 95 % of its upper half lie below 1.96 standard deviations."""
    noise = np.random.default_rng(0).normal(0, spread, 100_000)
    assert end_of_noise(np.maximum(noise, 0)) == pytest.approx(1.96 * spread, rel=0.02)
    assert end_of_noise(np.r_[np.maximum(noise, 0), np.nan]) == end_of_noise(np.maximum(noise, 0))
    assert end_of_noise(noise + 10 * spread) == 0  # nothing was cut
    assert end_of_noise(np.zeros(9)) == 0


def test_noise_that_was_cut_is_not_drawn_out_and_the_scale_follows_what_it_is():
    rng = np.random.default_rng(0)
    noise, signal = rng.normal(0, 1, (40_000, 4)), rng.lognormal(3, 0.5, (40_000, 4))
    values = np.maximum(noise + signal * (rng.random((40_000, 4)) < 0.1), 0)
    scaler = IntensityScaler(means(4)).fit(values)
    assert (scaler.cofactors_ > 1.0).all()  # the 0.05 quantile of what is above 0 is 0.07
    assert find_cofactor(values[:, 0]) < 0.1


def test_zeros_of_most_cells_are_no_noise_nor_is_anything_in_a_table_of_counts():
    rng = np.random.default_rng(0)
    shares = np.array([0.9, 0.8, 0.4, 0.3, 0.0])
    values = rng.lognormal(1, 1, (5000, 5)) * (rng.random((5000, 5)) >= shares)
    plain = np.array([find_cofactor(column) for column in values.T])
    np.testing.assert_allclose(cofactors_of_table(values.T), plain)  # two of five: counts of ions
    one = cofactors_of_table(values[:, 1:].T)  # one of four is not more than a quarter
    assert np.isclose(one, plain[1:]).tolist() == [True, False, False, True]
    assert (one >= plain[1:]).all()
    empty = cofactors_of_table([*values[:, 1:].T, np.zeros(5000)])  # a marker that no cell has is asked nothing
    np.testing.assert_allclose(empty, [*one, 1.0])


@pytest.mark.parametrize("unit", [0.004, 300.0, 65535.0])
def test_units_of_a_marker_change_nothing(unit):
    values, codes = counts()
    other = values * np.array([unit, 1.0, unit**-1])
    first, second = (column_scaler(each, None, means(3)) for each in (values, other))
    np.testing.assert_allclose(first.transform(values), second.transform(other), atol=1e-9)
    labels = codes.astype(str)
    rows = np.r_[np.flatnonzero(codes == 0)[:5], np.flatnonzero(codes == 1)[:5]]
    found = [
        fit_probe(each[rows], labels[rows], head="linear", C="grid", scaler=scaler)[0].predict_proba(each)
        for each, scaler in ((values, first), (other, second))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_it_is_arcsinh_and_then_a_standard_scale():
    values, _ = counts()
    scaler = column_scaler(values[:200], values[200:], means(3))
    cut = [(column <= 0).sum() / (column > 0).sum() for column in values.T]  # of what is above 0, so much is noise
    cofactors = np.array([np.quantile(c[c > 0], 0.95 * share) for c, share in zip(values.T, cut, strict=True)])
    np.testing.assert_allclose(scaler.cofactors_, cofactors)
    expected = np.arcsinh(values / cofactors)
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    np.testing.assert_allclose(scaler.transform(values), expected, atol=1e-10)
    np.testing.assert_allclose(values, counts()[0])  # what came in is as it was


def test_what_an_embedding_did_is_undone_first():
    values, _ = counts()
    embedded = (np.arcsinh(values / 4) - 2.0) / 3.0
    direct, undone = IntensityScaler(means(3)), IntensityScaler(means(3, 2.0, 3.0, compressed=True))
    np.testing.assert_allclose(undone.fit_transform(embedded), direct.fit_transform(values), atol=1e-8)


def test_other_columns_are_standardised_alone():
    values, _ = counts()
    some = Intensities(("b",), np.array([1]), np.zeros(1), np.ones(1))
    scaled = IntensityScaler(some).fit_transform(values)
    for column in (0, 2):
        expected = (values[:, column] - values[:, column].mean()) / values[:, column].std()
        np.testing.assert_allclose(scaled[:, column], expected, atol=1e-10)
    assert not np.allclose(scaled[:, 1], (values[:, 1] - values[:, 1].mean()) / values[:, 1].std(), atol=0.1)


def test_types_stay_and_it_can_be_cloned():
    values, _ = counts()
    scaler = IntensityScaler(means(3)).fit(values.astype(np.float32))
    assert scaler.transform(values.astype(np.float32)).dtype == np.float32
    assert not hasattr(clone(scaler), "cofactors_")


def test_a_table_of_which_much_is_centred_holds_something_else():
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(size=(400, 2)), rng.lognormal(size=(400, 3))])
    assert np.isnan(IntensityScaler(means(5)).fit(values).cofactors_).all()
    some = IntensityScaler(means(4)).fit(values[:, 1:])
    assert np.isnan(some.cofactors_).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    "how",
    [np.log1p, lambda x: np.arcsinh(x / 2), lambda x: x.argsort(axis=0).argsort(axis=0) / len(x)],
    ids=["logarithms", "arcsinh", "ranks"],
)
def test_columns_that_were_transformed_by_hand_are_left_as_they_are(how):
    values = np.random.default_rng(0).lognormal(2, 0.8, (600, 4))
    unknown = replace(means(4), as_measured=False)
    raw = IntensityScaler(unknown).fit(values)
    assert np.isfinite(raw.cofactors_).all()
    by_hand = how(values)
    left = IntensityScaler(unknown).fit(by_hand)
    assert np.isposinf(left.cofactors_).all()
    np.testing.assert_allclose(left.transform(by_hand), StandardScaler().fit_transform(by_hand), atol=1e-10)
    assert np.isfinite(IntensityScaler(means(4)).fit(by_hand).cofactors_).all()  # of an image, and known to be


@pytest.mark.parametrize(("n_even", "n_columns", "told"), [(2, 5, False), (3, 5, True), (4, 16, False), (5, 16, True)])
def test_few_markers_that_are_symmetric_do_not_speak_for_all(n_even, n_columns, told):
    """Stains of DNA, and of what most cells have, are symmetric in an image too."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(50, 14, (600, n_even)), rng.lognormal(2, 0.8, (600, n_columns - n_even))])
    scaler = IntensityScaler(replace(means(n_columns), as_measured=False)).fit(values)
    assert np.isposinf(scaler.cofactors_).all() if told else np.isfinite(scaler.cofactors_).all()


def test_skewness_is_that_of_scipy():
    values, _ = counts()
    np.testing.assert_allclose([skewness(column) for column in values.T], skew(values), rtol=1e-10)
    assert skewness(np.ones(5)) == 0
    assert not is_even(np.repeat([0.0, 1.0], [80, 20]), 0.5)  # of two values, as skewed either way
    assert not is_even(np.zeros(9), 1.0)
