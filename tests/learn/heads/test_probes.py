"""Probes as methods among others, against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.options import Options
from spatialfm.learn.heads.probes import fit_probe_of


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 5, (60, 3))
    return VisibleCells(values, StandardScaler().fit(values))


@pytest.fixture
def labels(cells):
    noise = np.random.default_rng(1).normal(size=30)
    return np.where(cells.values[:30, 0] + 4 * noise > 3, "T", "B")


def test_the_linear_probe_is_a_logistic_regression_on_the_common_scale(cells, labels):
    """Columns are scaled by all cells that may be seen, not by the labelled ones alone."""
    rows = np.arange(30)
    fitted = fit_probe_of("linear", cells, rows, labels, Options(C=0.5, calibrate=False))
    scaled = cells.scaler.transform(cells.values)
    model = LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000).fit(scaled[:30], labels)
    np.testing.assert_allclose(fitted.predict_seen(), model.predict_proba(scaled), atol=1e-4)
    np.testing.assert_allclose(fitted.predict_seen(np.array([40, 2])), fitted.predict_seen()[[40, 2]])
    np.testing.assert_allclose(fitted.predict_proba(cells.values[50:]), fitted.predict_seen()[50:])
    assert fitted.classes == ["B", "T"]
    assert fitted.notes == {"C": 0.5}


def test_a_temperature_is_found_for_the_linear_probe_alone(cells, labels):
    rows = np.arange(30)
    plain = fit_probe_of("linear", cells, rows, labels, Options(C=100.0, calibrate=False))
    calibrated = fit_probe_of("linear", cells, rows, labels, Options(C=100.0))
    assert plain.calibration.temperature == 1
    assert calibrated.calibration.temperature != 1
    # the same order of classes, as a temperature moves no cell across one half
    assert ((plain.predict_seen() > 0.5) == (calibrated.predict_seen() > 0.5)).all()
    assert fit_probe_of("knn", cells, rows, labels, Options()).calibration.temperature == 1
    assert fit_probe_of("linear", cells, rows, labels, Options(C=1.0, published=True)).calibration.temperature == 1
