"""Scores of classifications against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

import spatialfm as sfm
from spatialfm._errors import TableError


def random_case(seed, n_classes=4, n=200):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    probability = rng.dirichlet(np.ones(n_classes), n)
    probability[np.arange(n), truth] += 0.3
    return np.array(list("abcdefg"))[truth], truth, probability / probability.sum(1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_are_those_of_scikit_learn(n_classes):
    names, codes, probability = random_case(0, n_classes)
    classes = list("abcdefg")[:n_classes]
    table = sfm.metrics.classification(names, probability, classes)
    predicted = np.array(classes)[probability.argmax(1)]
    macro = table.loc["macro"]
    assert macro["f1"] == pytest.approx(f1_score(names, predicted, average="macro"))
    assert macro["recall"] == pytest.approx(balanced_accuracy_score(names, predicted))
    expected = [average_precision_score(names == name, probability[:, i]) for i, name in enumerate(classes)]
    np.testing.assert_allclose(table["average_precision"][:-1], expected)
    if n_classes > 2:
        assert macro["auroc"] == pytest.approx(roc_auc_score(codes, probability, multi_class="ovo"))
    else:
        assert macro["auroc"] == pytest.approx(roc_auc_score(codes, probability[:, 1]))
    assert list(table["n"][:-1]) == [int((names == name).sum()) for name in classes]


def test_classes_that_the_truth_lacks_do_not_count():
    names, _, probability = random_case(1)
    kept = names != "d"
    table = sfm.metrics.classification(names[kept], probability[kept], list("abcd"))
    assert list(table.index) == ["a", "b", "c", "macro"]
    assert table.loc["macro", "recall"] == pytest.approx(table["recall"][:-1].mean())
    one = sfm.metrics.classification(["a"] * 3, probability[:3], list("abcd"))
    assert np.isnan(one.loc["macro", "auroc"])


def test_what_does_not_fit_is_refused():
    for arguments, message in [
        ((["a"], np.zeros((2, 2)), ["a", "b"]), r"probability is \(2, 2\), not 1 row x 2 classes"),
        ((["z"], np.zeros((1, 2)), ["a", "b"]), r"holds 'z', which is not among"),
        (([], np.zeros((0, 2)), ["a", "b"]), "no rows"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.metrics.classification(*arguments)
