"""Heaps of a marker, what they say of types, and how that combines with labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from spatialfm.learn.heads import signature
from spatialfm.learn.heads.signature import (
    WEIGHTS,
    best_weight,
    find_heaps,
    fit_signatures,
    spread_over,
    union,
    with_prior,
)


def two_heaps(n=4000, share=0.2, seed=0):
    rng = np.random.default_rng(seed)
    upper = rng.random(n) < share
    return np.where(upper, rng.lognormal(5.5, 0.4, n), rng.gamma(1.0, 8.0, n)), upper


def test_heaps_are_found_in_any_unit():
    values, upper = two_heaps()
    for unit in (1.0, 1e-4, 300.0):
        heaps = find_heaps(values * unit)
        assert heaps.share == pytest.approx(upper.mean(), abs=0.02)
        found = heaps.has(values * unit)
        assert ((found > 0.5) == upper).mean() > 0.98
        np.testing.assert_allclose(found, find_heaps(values).has(values), atol=1e-6)


def test_what_heaps_are_found_in_does_not_depend_on_the_order_of_cells(monkeypatch):
    monkeypatch.setattr(signature, "FITTED_TO", 50)
    values = np.random.default_rng(0).gamma(1.0, size=400)
    one, other = find_heaps(values, 3), find_heaps(values[::-1], 3)
    np.testing.assert_array_equal(one.means, other.means)
    assert one.share == other.share


def test_odds_between_the_heaps_are_those_of_two_normal_distributions():
    values, _ = two_heaps()
    heaps = find_heaps(values)
    x = np.array([60.0, 100.0])
    scaled = np.arcsinh(x / heaps.cofactor)
    densities = [norm(mean, spread).pdf(scaled) for mean, spread in zip(heaps.means, heaps.spreads, strict=True)]
    above = heaps.share * densities[1]
    np.testing.assert_allclose(heaps.has(x), above / (above + (1 - heaps.share) * densities[0]), rtol=1e-9)
    assert (np.diff(heaps.has(np.linspace(0, 2000, 200))) >= -1e-12).all()  # brighter never speaks against it
    at, beyond = (heaps.cofactor * np.sinh(heaps.means + shift) for shift in ([0, 0], [-1, 1]))
    np.testing.assert_allclose(heaps.has(beyond), heaps.has(at), rtol=1e-9)


@pytest.mark.parametrize("values", [np.zeros(50), np.full(50, np.nan), np.full(50, 3.0)])
def test_a_marker_without_two_heaps_says_nothing(values):
    prior = fit_signatures(np.column_stack([values, two_heaps(50)[0]]), ["a", "b"], np.array([[1, 0], [-1, 0]]))
    np.testing.assert_allclose(prior.predict_proba(np.column_stack([values, values])), 0.5)


def test_types_are_found_by_their_markers_without_a_label():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 3000)
    signs = np.array([[1, 0, -1], [1, 1, 0], [0, -1, 1]])
    has = np.where(signs[codes] == 0, rng.random((3000, 3)) < 0.1, signs[codes] > 0)
    values = np.where(has, rng.lognormal(5, 0.4, has.shape), rng.gamma(1, 5, has.shape))
    prior = fit_signatures(values, ["T", "CD8 T", "B"], signs)
    found = prior.predict_proba(values)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == codes).mean() > 0.9
    # a type that says nothing of a marker is as probable with it as without
    has_one = np.array([h.has(values[:1, i])[0] for i, h in enumerate(prior.heaps)]).clip(1e-3, 1 - 1e-3)
    share = np.array([h.share for h in prior.heaps])
    logs = np.where(signs > 0, np.log(has_one / share), 0) + np.where(signs < 0, np.log((1 - has_one) / (1 - share)), 0)
    expected = np.exp(logs.sum(axis=1))
    np.testing.assert_allclose(found[0], expected / expected.sum())


def test_the_weight_of_the_prior_is_what_held_out_labels_say():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 200)
    knows, guesses = np.full((200, 2), 0.2), rng.dirichlet([2, 2], 200)
    knows[np.arange(200), codes] = 0.8
    assert best_weight(guesses, knows, codes) == WEIGHTS[-1]
    assert best_weight(knows, rng.dirichlet([0.3, 0.3], 200), codes) <= 0.25
    assert best_weight(knows[:5], guesses[:5], codes[:5]) == 0.5
    product = guesses * knows**0.5
    np.testing.assert_allclose(with_prior(guesses, knows, 0.5), product / product.sum(axis=1, keepdims=True), atol=2e-2)


def test_classes_of_labels_and_types_of_markers_together():
    everyone = union(["B", "T"], ["T", "Tumor"])
    assert everyone == ["B", "T", "Tumor"]
    found = spread_over(np.array([[0.5, 0.5]]), ["B", "T"], everyone)
    np.testing.assert_allclose(found, 1 / 3)
