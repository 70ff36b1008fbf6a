"""All methods through one door: the same protocol, the same promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm.learn.heads.cells import Cells
from spatialfm.learn.heads.methods import METHODS, PROBES, check_method, fit_method
from spatialfm.learn.heads.options import Options
from spatialfm.learn.probe import calibrated, column_scaler, fit_probe
from spatialfm.learn.temperature import calibration_error


def blobs(n_each=80, n_columns=5, apart=2.5, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(3), n_each))
    values = rng.normal(size=(len(codes), n_columns)) * 10.0 ** np.arange(n_columns)
    values[:, :3] += apart * np.eye(3)[codes] * 10.0 ** np.arange(3)
    return values, np.array(["b", "c", "a"])[codes]


def seen(values, rows=None, **options):
    return Cells(values, column_scaler(values), labelled=rows, **options)


@pytest.mark.parametrize("name", METHODS)
def test_ten_labels_a_class_find_the_rest(name):
    values, names = blobs()
    rows = np.concatenate([np.flatnonzero(names == one)[:10] for one in "abc"])
    model = fit_method(name, seen(values, rows), rows, names[rows], Options())
    assert model.classes == ["a", "b", "c"]
    found = model.predict_seen()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    others = np.setdiff1d(np.arange(len(names)), rows)
    assert (np.array(model.classes)[found.argmax(axis=1)] == names)[others].mean() > 0.8
    np.testing.assert_allclose(model.predict_seen(others), found[others])
    new, truth = blobs(seed=1)
    assert (np.array(model.classes)[model.predict_proba(new).argmax(axis=1)] == truth).mean() > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_classes_have_the_order_of_the_categories_and_the_unit_of_columns_says_nothing(name):
    values, names = blobs()
    rows = np.concatenate([np.flatnonzero(names == one)[:8] for one in "abc"])
    labels = pd.Categorical(names[rows], ["c", "a", "b"], ordered=True)
    one = fit_method(name, seen(values, rows), rows, labels, Options(C=1.0))
    two = fit_method(name, seen(values * 1000 + 7, rows), rows, labels, Options(C=1.0))
    assert one.classes == ["c", "a", "b"]
    np.testing.assert_allclose(one.predict_seen(), two.predict_seen(), atol=2e-3)


@pytest.mark.parametrize("name", METHODS)
def test_one_label_a_class_is_enough(name):
    values, names = blobs(apart=6)
    rows = np.array([np.flatnonzero(names == one)[0] for one in "abc"])
    model = fit_method(name, seen(values, rows), rows, names[rows], Options())
    assert model.calibration.n_held_out == 0
    assert (np.array(model.classes)[model.predict_seen().argmax(axis=1)] == names).mean() > 0.8


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("forest", "knn")])
def test_probabilities_are_calibrated(name):
    values, names = blobs(n_each=400, n_columns=30, apart=1.5)
    rows = np.concatenate([np.flatnonzero(names == one)[:60] for one in "abc"])
    model = fit_method(name, seen(values, rows), rows, names[rows], Options())
    others = np.setdiff1d(np.arange(len(names)), rows)
    codes = np.searchsorted(model.classes, names[others])
    assert model.calibration.n_held_out >= 150
    assert calibration_error(model.predict_seen(others), codes) < 0.08
    raw = fit_method(name, seen(values, rows), rows, names[rows], Options(calibrate=False))
    assert raw.calibration.temperature == 1
    assert (raw.predict_seen().argmax(axis=1) == model.predict_seen().argmax(axis=1)).all()


@pytest.mark.parametrize("name", PROBES)
def test_probes_are_those_of_the_probe(name):
    values, names = blobs()
    rows = np.arange(0, len(names), 4)
    model = fit_method(name, seen(values), rows, names[rows], Options(C=0.3))
    probe, used = fit_probe(values[rows], names[rows], head=name, C=0.3, scaler=column_scaler(values))
    probe = calibrated(probe, values[rows], names[rows]) if name == "linear" else probe
    np.testing.assert_allclose(model.predict_seen(), probe.predict_proba(values))
    assert model.notes == {"C": used}


def test_what_is_no_method_is_refused():
    with pytest.raises(TableError, match="method='svm' is not one of 'linear', 'forest', 'knn', 'lda'"):
        check_method("svm", 1.0)
    with pytest.raises(TableError, match="C=-1"):
        check_method("lda", -1)
