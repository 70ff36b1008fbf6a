"""All methods through one door: the same protocol, the same promises."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm.cohort.intensities import Intensities
from spatialfm.learn.heads import bcos as bcos_units
from spatialfm.learn.heads import trees as trees_of_a_forest
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.fitted import held_out_probability
from spatialfm.learn.heads.methods import METHODS, PROBES, check_method, fit_method
from spatialfm.learn.heads.options import Options
from spatialfm.learn.probe import calibrated, column_scaler, fit_probe
from spatialfm.learn.temperature import calibration_error, calibration_of, tempered


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    """Time: what is promised of a hundred trees is promised of thirty."""
    monkeypatch.setattr(trees_of_a_forest, "N_TREES", 30)


@pytest.fixture
def few_steps(monkeypatch):
    """Time: two fits that are alike after forty steps are alike after two hundred."""
    monkeypatch.setattr(bcos_units, "N_STEPS", 40)


def blobs(n_each=80, n_columns=5, apart=2.5, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(3), n_each))
    values = rng.normal(size=(len(codes), n_columns)) * 10.0 ** np.arange(n_columns)
    values[:, :3] += apart * np.eye(3)[codes] * 10.0 ** np.arange(3)
    return values, np.array(["b", "c", "a"])[codes]


def seen(values, rows=None, **options):
    return VisibleCells(values, column_scaler(values), labelled=rows, **options)


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


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_categories_and_the_unit_of_columns_say_nothing(name):
    values, names = blobs()
    rows = np.concatenate([np.flatnonzero(names == one)[:8] for one in "abc"])
    labels = pd.Categorical(names[rows], ["c", "a", "b"], ordered=True)
    one = fit_method(name, seen(values, rows), rows, labels, Options(C=1.0))
    two = fit_method(name, seen(values * 1000 + 7, rows), rows, labels, Options(C=1.0))
    assert one.classes == ["a", "b", "c"]
    text = fit_method(name, seen(values, rows), rows, names[rows], Options(C=1.0))
    np.testing.assert_array_equal(one.predict_seen(), text.predict_seen())
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


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_columns_says_nothing(name):
    """Types that overlap, in columns some of which are counts, so that neighbours are as near as others."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, 300)
    values = np.hstack([rng.normal(size=(300, 20)), rng.poisson(1.0, (300, 5))])
    values[np.arange(300), codes] += 1.5
    names, rows, turned = np.array(["a", "b", "c"])[codes], np.arange(45), rng.permutation(25)
    one, other = (
        fit_method(name, seen(table, rows), rows, names[rows], Options(C=1.0)).predict_seen()
        for table in (values, np.ascontiguousarray(values[:, turned]))
    )
    np.testing.assert_allclose(one, other, atol=1e-4)  # of linear ones, what solvers leave
    if name in ("forest", "knn", "trees"):
        np.testing.assert_array_equal(one, other)


def test_what_is_no_method_is_refused():
    with pytest.raises(TableError, match="method='svm' is not one of 'linear', 'forest', 'knn', 'lda'"):
        check_method("svm", 1.0)
    with pytest.raises(TableError, match="C=-1"):
        check_method("lda", -1)


def pooled_by_hand(model, *parts):
    parts = [part ** (1 / own) for part, own in zip(parts, model.temperatures, strict=True)]
    parts = [part / part.sum(axis=1, keepdims=True) for part in parts]
    product = np.prod([np.maximum(part, 1e-3) for part in parts], axis=0) ** (1 / len(parts))
    return product / product.sum(axis=1, keepdims=True)


def halved(probability):
    root = np.sqrt(probability)
    return root / root.sum(axis=1, keepdims=True)


def test_the_ensemble_is_the_discriminant_halved_and_trees():
    values, names = blobs()
    rows = np.concatenate([np.flatnonzero(names == one)[:8] for one in "abc"])
    plain, cells = Options(calibrate=False), seen(values, rows)
    lda, trees = (fit_method(name, cells, rows, names[rows], plain).predict_seen() for name in ("lda", "trees"))
    model = fit_method("ensemble", cells, rows, names[rows], plain)
    np.testing.assert_allclose(model.predict_seen(), pooled_by_hand(model, halved(lda), trees), atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(values), model.predict_seen(), atol=1e-9)
    assert model.notes == {}


def test_a_discriminant_that_is_too_sure_does_not_overrule_the_trees():
    gains = []
    for seed in range(3):  # four types, each of which has one of forty columns, whose noise has long tails
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, 4, 800)
        values = rng.standard_t(3, size=(800, 40))
        values[np.arange(800), codes] += 4
        rows = np.concatenate([np.flatnonzero(codes == code)[:8] for code in range(4)])
        names, cells, plain = np.array(list("abcd"))[codes], seen(values, rows), Options(calibrate=False)
        model = fit_method("ensemble", cells, rows, names[rows], plain)
        sure, trees = model.parts[0].predict_seen(), model.parts[1].predict_seen()
        even = np.sqrt(np.maximum(sure, 1e-3) * np.maximum(trees, 1e-3))
        right = [(one.argmax(axis=1) == codes).mean() for one in (model.predict_seen(), even)]
        gains.append(right[0] - right[1])
        assert model.temperatures[0] > 1.2 * model.temperatures[1]
    assert np.mean(gains) > 0.01


def test_a_wide_output_of_a_network_has_the_probe_and_trees():
    values, names = blobs(n_columns=5)
    values = np.hstack([values, np.random.default_rng(2).normal(size=(len(values), 60))])
    rows = np.concatenate([np.flatnonzero(names == one)[:8] for one in "abc"])
    plain, cells = Options(calibrate=False, C=0.2), seen(values, rows)
    linear, trees = (fit_method(name, cells, rows, names[rows], plain).predict_seen() for name in ("linear", "trees"))
    model = fit_method("ensemble", cells, rows, names[rows], plain)
    np.testing.assert_allclose(model.predict_seen(), pooled_by_hand(model, linear, trees), atol=1e-12)
    assert model.notes == {"C": 0.2}


def test_one_label_a_class_is_for_the_probe_alone():
    """No covariance is told by it, and no cut: twelve types, each of which has two of thirty columns."""
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        codes = rng.permutation(np.repeat(np.arange(12), 60))
        values = rng.normal(size=(720, 30))
        values[np.arange(720), codes] += 5
        values[np.arange(720), codes + 12] += 5
        names, cells = np.array(list("abcdefghijkl"))[codes], seen(values)
        rows = np.array([np.flatnonzero(codes == code)[0] for code in range(12)])
        model = fit_method("ensemble", cells, rows, names[rows], Options())
        linear = fit_method("linear", cells, rows, names[rows], Options())
        np.testing.assert_allclose(model.predict_seen(), np.maximum(linear.predict_seen(), 1e-3), atol=0.02)
        assert model.notes == {"C": pytest.approx(1 / 3)}
        parts = [fit_method(name, cells, rows, names[rows], Options()).predict_seen() for name in ("lda", "trees")]
        pair = np.sqrt(halved(parts[0]) * parts[1])
        gains.append((model.predict_seen().argmax(axis=1) == codes).mean() - (pair.argmax(axis=1) == codes).mean())
    assert np.mean(gains) > 0.01
    # what is fitted again to some labels of a type that had several has the same parts
    more = np.concatenate([np.flatnonzero(codes == code)[:3] for code in range(12)])
    several = fit_method("ensemble", cells, more, names[more], Options())
    assert len(fit_method("ensemble", cells, rows, names[rows], Options().again(several)).parts) == 2
    some = rows[:5]
    assert len(fit_method("ensemble", cells, some, names[some], Options().again(model)).parts) == 1


def test_many_labels_choose_between_the_discriminant_and_the_probe():
    """Types with one covariance, of which normal distributions are the truth; and one type that is wider by far."""
    for seed, wider in ((0, False), (1, False), (0, True), (1, True), (2, True)):
        rng = np.random.default_rng(seed)
        codes = rng.permutation(np.repeat(np.arange(3), 700))
        values = rng.normal(size=(2100, 6 if wider else 40)) * np.where(wider & (codes == 2), 6, 1)[:, None]
        values[:, 0] += 3 * (codes == 1)
        values[:, 1] += (10 if wider else 3) * (codes == 2)
        names, cells, plain = np.array(["a", "b", "c"])[codes], seen(values), Options(C=1.0, calibrate=False)
        rows, others = np.arange(600), np.arange(600, 2100)
        model = fit_method("ensemble", cells, rows, names[rows], plain)
        assert ("C" in model.notes) is wider
        parts = [fit_method(name, cells, rows, names[rows], plain).predict_seen(others) for name in ("lda", "linear")]
        np.testing.assert_allclose(model.parts[0].predict_seen(others), parts[1] if wider else halved(parts[0]))
        right = [(part.argmax(axis=1) == codes[others]).mean() for part in parts]
        assert not wider or right[1] - right[0] > 0.005  # of cells that no choice has seen
        again = fit_method("ensemble", cells, rows[:300], names[:300], plain.again(model))
        assert type(again.parts[0]) is type(model.parts[0])  # not chosen anew
        few = fit_method("ensemble", cells, rows[:300], names[:300], plain)
        assert few.notes == {}


def means_among_noise(seed):
    rng = np.random.default_rng(seed)
    values, names = blobs(n_columns=3, apart=3, seed=seed)
    means = np.exp(values / 10.0 ** np.arange(3))
    both = np.hstack([rng.normal(size=(len(means), 77)), means])
    of = Intensities(("a", "b", "c"), np.array([77, 78, 79]), np.zeros(3), np.ones(3))
    rows = np.concatenate([np.flatnonzero(names == one)[:8] for one in "abc"])
    wide = VisibleCells(both, column_scaler(both, None, of), labelled=rows)
    narrow = VisibleCells(means, column_scaler(means, None, replace(of, places=np.arange(3))), labelled=rows)
    return wide, narrow, rows, names


def test_means_among_other_columns_are_seen_by_themselves_too():
    plain, gains = Options(calibrate=False), []
    for seed in range(3):
        wide, narrow, rows, names = means_among_noise(seed)
        lda = fit_method("lda", narrow, rows, names[rows], plain).predict_seen()
        trees = [fit_method("trees", one, rows, names[rows], plain).predict_seen() for one in (wide, narrow)]
        model = fit_method("ensemble", wide, rows, names[rows], plain)
        found = model.predict_seen()
        np.testing.assert_allclose(found, pooled_by_hand(model, halved(lda), *trees), atol=1e-9)
        np.testing.assert_allclose(model.predict_proba(wide.values), found, atol=1e-9)
        others = np.setdiff1d(np.arange(len(names)), rows)
        right = [(np.array(["a", "b", "c"])[one.argmax(axis=1)] == names)[others].mean() for one in (found, trees[0])]
        gains.append(right[0] - right[1])
    # among 77 columns of noise, the part that sees the three means alone is what finds types
    assert np.mean(gains) > 0.015
    assert min(gains) > 0


def test_confidence_is_right_in_tissue_that_labels_do_not_resemble():
    """As many labels of each type, of which one is nineteen in twenty cells and easy, and two are mixed up."""
    rng = np.random.default_rng(4)
    codes = rng.permutation(np.repeat([0, 1, 2], [3800, 100, 100]))
    values = rng.normal(size=(4000, 3)) + np.array([[4.0, 0, 0], [0, 0.5, 0], [0, -0.5, 0]])[codes]
    names = np.array(["a", "b", "c"])[codes]
    rows = np.concatenate([np.flatnonzero(codes == code)[:40] for code in range(3)])
    others = np.setdiff1d(np.arange(4000), rows)
    model = fit_method("ensemble", seen(values, rows), rows, names[rows], Options())
    found, truth = model.predict_seen(others), codes[others]
    even = fit_method("ensemble", seen(values, rows), rows, names[rows], Options(calibrate=False))
    before = calibration_of(*_held_out(seen(values, rows), rows, codes[rows])).temperature
    labels_alone = calibration_error(tempered(even.predict_seen(others), before), truth)
    assert calibration_error(found, truth) < 0.05
    assert calibration_error(found, truth) < labels_alone


@pytest.mark.parametrize(
    ("method", "place"), [("ensemble", "heads.mixture"), ("lda", "heads.fitted"), ("linear", "probe")]
)
def test_a_calibration_knows_the_patient_of_each_held_out_cell(method, place, monkeypatch):
    """Each type has five patients of its own, so that a patient tells the type of its cells."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(3), 40)
    values = rng.normal(size=(120, 3)) + 3 * np.eye(3)[codes]
    patients = np.array([f"p{5 * code + number % 5}" for number, code in enumerate(codes)])
    module, told = importlib.import_module(f"spatialfm.learn.{place}"), []

    def recorded(probability, codes, *args, **kwargs):
        bound = inspect.signature(calibration_of).bind(probability, codes, *args, **kwargs)
        told.append((codes, bound.arguments["groups"]))
        return calibration_of(probability, codes, *args, **kwargs)

    monkeypatch.setattr(module, "calibration_of", recorded)
    fit_method(method, seen(values, groups=patients), np.arange(120), np.array(["a", "b", "c"])[codes], Options(C=1.0))
    ((truth, groups),) = told
    assert len(truth) == 120
    assert np.array_equal(truth, [int(one[1:]) // 5 for one in groups])


def _held_out(cells, rows, codes):
    def fit(some, of_some):
        return fit_method("ensemble", cells, some, np.array(["a", "b", "c"])[of_some], Options(calibrate=False))

    probability, places = held_out_probability(fit, rows, codes, None, 0)
    return probability, codes[places]
