"""Principal components: against a singular value decomposition of the whole matrix."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm._errors import ModelError
from spatialfm.embed.result import reduce
from spatialfm.embed.result.reduce import check_components, fit_basis, fit_basis_streamed, project

N, COLUMNS, RANK = 2500, 60, 6


class Ranges:
    """Rows in memory, handed out as views, that remember what was asked for."""

    def __init__(self, values):
        self.values, self.shape, self.asked = values, values.shape, []

    def read(self, start, stop):
        self.asked.append((start, stop))
        return self.values[start:stop]


@pytest.fixture
def planted():
    """Rows of six strong directions with noise, far from zero; and the directions, in columns."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(COLUMNS, RANK)))[0]
    rows = rng.normal(size=(N, RANK)) * [12, 10, 8, 6, 5, 4] @ directions.T + 0.5 * rng.normal(size=(N, COLUMNS)) + 30
    return rows.astype(np.float32), directions


def decompose(rows, n):
    """Mean, components (largest entry positive) and shares of variance in float64."""
    mean = rows.mean(axis=0, dtype=np.float64)
    _, values, components = np.linalg.svd(rows - mean, full_matrices=False)
    components = components[:n]
    largest = components[np.arange(n), np.abs(components).argmax(axis=1)]
    return mean, components * np.sign(largest)[:, None], (values**2 / (values**2).sum())[:n]


def angle(one, two):
    """Largest angle between the spans of two sets of orthonormal rows."""
    return np.arccos(np.clip(np.linalg.svd(one @ two.T)[1].min(), -1, 1))


def test_exact_components_are_those_of_the_decomposition(planted):
    rows, _ = planted
    mean, components, explained = decompose(rows, 4)
    basis = fit_basis(rows, 4)
    assert {name: part.dtype for name, part in basis.items()} == dict.fromkeys(basis, np.float32)
    np.testing.assert_allclose(basis["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(basis["components"], components, atol=1e-3)
    np.testing.assert_allclose(basis["explained"], explained, rtol=1e-3)
    np.testing.assert_allclose(project(rows, basis), (rows - mean) @ components.T, atol=0.05)


@pytest.mark.parametrize("update", [200, 600, 5000])
def test_streamed_components_span_what_was_planted(planted, monkeypatch, update):
    rows, directions = planted
    before = rows.copy()
    monkeypatch.setattr(reduce, "UPDATE_ROWS", update)
    mean, components, explained = decompose(rows, RANK)
    basis = fit_basis_streamed(Ranges(rows), RANK)
    np.testing.assert_array_equal(rows, before)  # scikit-learn centres what it is given in place
    np.testing.assert_allclose(basis["mean"], mean, rtol=1e-5)
    assert angle(basis["components"], components) < 0.02
    assert angle(basis["components"], directions.T) < 0.05
    np.testing.assert_allclose(np.abs((basis["components"] * components).sum(axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(basis["explained"], explained, rtol=0.01)
    largest = np.abs(basis["components"]).argmax(axis=1)
    assert (basis["components"][np.arange(RANK), largest] > 0).all()


@pytest.mark.parametrize(("update", "n_components", "step"), [(300, 2, 300), (300, 60, 300), (10, 6, 30)])
def test_updates_cover_every_row_once_and_none_is_short(planted, monkeypatch, update, n_components, step):
    rows = Ranges(planted[0])
    monkeypatch.setattr(reduce, "UPDATE_ROWS", update)
    fit_basis_streamed(rows, n_components)
    starts, stops = np.array(rows.asked).T
    np.testing.assert_array_equal(starts[1:], stops[:-1])
    assert (starts[0], stops[-1]) == (0, N)
    assert (stops - starts)[:-1].tolist() == [step] * (len(starts) - 1)
    assert step <= stops[-1] - starts[-1] < 2 * step


def test_the_sign_does_not_depend_on_the_decomposition():
    components = np.array([[0.6, -0.8, 0.0], [0.0, 0.0, 1.0]])
    for turn in (1, -1):
        found = SimpleNamespace(mean_=np.zeros(3), components_=turn * components, explained_variance_ratio_=np.ones(2))
        np.testing.assert_array_equal(
            reduce._basis(found)["components"], np.float32([[-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        )


def test_a_basis_is_used_on_other_rows(planted):
    rows, _ = planted
    basis = fit_basis_streamed(Ranges(rows[:2000]), 3)
    expected = (rows[2000:] - basis["mean"].astype(np.float64)) @ basis["components"].T.astype(np.float64)
    np.testing.assert_allclose(project(rows[2000:], basis), expected, atol=1e-3)


@pytest.mark.parametrize("n", [0, -1, 61])
def test_components_that_cannot_be_are_refused(planted, n):
    message = rf"n_components={n} of an embedding of 2,500 rows x 60 columns.*from 1 to 60"
    with pytest.raises(ModelError, match=message):
        check_components(n, (N, COLUMNS))
    with pytest.raises(ModelError, match=message):
        fit_basis(planted[0], n)


def test_a_basis_of_another_embedding_is_refused(planted):
    basis = {"mean": np.zeros(7), "components": np.zeros((2, 7))}
    with pytest.raises(ModelError, match=r"made for 7 columns, and this embedding has 60.*markers= and outputs="):
        project(planted[0], basis)
