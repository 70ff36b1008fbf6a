"""What is predicted of a patient: which keys ask for it, what is refused, and scores from scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, roc_auc_score

from spatialfm._errors import SurvivalError, TableError
from spatialfm.cohort.cases import Cases, Classes
from spatialfm.learn.bag_tasks import ClassTask, NumberTask, SurvivalTask, outputs_of, read_task, task_columns


def cases(**columns) -> Cases:
    table = pd.DataFrame(columns)
    table.index = [f"p{i}" for i in range(len(table))]
    n = len(table)
    return Cases(np.arange(n), np.arange(n), np.arange(n), list(table.index), table, "patient", "patient", 0)


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    codes = np.arange(24) % 3
    predicted = rng.dirichlet([1, 1, 1], 24) + 0.2 * np.eye(3)[codes]
    return ClassTask(Classes(codes, ["a", "b", "c"], 0)), predicted, np.repeat([0, 1], 12)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("arm", None, None, None), ("classification", {"arm": "label_key"})),
        ((None, "age", None, None), ("regression", {"age": "target_key"})),
        ((None, None, "time", "event"), ("survival", {"time": "time_key", "event": "event_key"})),
    ],
)
def test_the_task_follows_from_the_keys(keys, expected):
    assert task_columns(None, *keys) == expected
    assert task_columns(expected[0], *keys) == expected


@pytest.mark.parametrize(
    ("task", "keys"), [(None, ("arm", "age", None, None)), (None, (None, None, "time", None)), (None, (None,) * 4)]
)
def test_keys_that_ask_for_none_or_two_are_refused(task, keys):
    with pytest.raises(TableError, match="does not follow from"):
        task_columns(task, *keys)


def test_a_task_that_its_keys_do_not_ask_for_is_refused():
    with pytest.raises(TableError, match="task='survival' does not follow from label_key="):
        task_columns("survival", "arm", None, None, None)
    with pytest.raises(TableError, match="task='cox' is not one of"):
        task_columns("cox", "arm", None, None, None)


def test_numbers_are_read_and_what_is_none_is_named():
    assert read_task("regression", cases(age=["1", "2.5", "3", "4"]), ["age"], None, 2).values.tolist() == [
        1,
        2.5,
        3,
        4,
    ]
    with pytest.raises(TableError, match=r"obs\['age'\] \(target_key=\) is not a finite number for patient 'p2'"):
        read_task("regression", cases(age=["1", "2", "old", "4"]), ["age"], None, 2)
    with pytest.raises(TableError, match="is 7 throughout"):
        read_task("regression", cases(age=[7.0] * 4), ["age"], None, 2)


def test_too_few_patients_or_events_are_refused():
    with pytest.raises(TableError, match="3 patients are too few for n_folds=2"):
        read_task("regression", cases(age=[1, 2, 3]), ["age"], None, 2)
    table = cases(time=[1.0, 2, 3, 4, 5, 6], event=[1, 1, 1, 0, 0, 0])
    with pytest.raises(SurvivalError, match="3 patients have an event"):
        read_task("survival", table, ["time", "event"], None, 2)
    task = read_task("survival", table, ["time", "event"], None, 3)
    assert task.event.tolist() == [True] * 3 + [False] * 3
    assert task.strata.tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("n", "expected"), [(9, 1), (29, 2), (80, 5)])
def test_strata_of_numbers_are_large_enough_for_a_validation_part(n, expected):
    task = read_task("regression", cases(age=np.arange(n) * 1.0), ["age"], None, 3)
    assert task.n_strata == expected
    assert len(np.unique(task.strata)) == expected


def test_classes_against_the_rest_by_scikit_learn(three):
    task, predicted, fold = three
    runs = [(0, predicted), (1, predicted)]
    table = task.details(runs, predicted, fold)
    codes = task.classes.codes
    for k, name in enumerate("abc"):
        in_folds = [(codes[fold == f] == k, predicted[fold == f]) for f in (0, 1)]
        assert table.loc[name, "n"] == 8
        aurocs = [roc_auc_score(truth, values[:, k]) for truth, values in in_folds]
        assert table.loc[name, "auroc"] == pytest.approx(np.mean(aurocs))
        precisions = [average_precision_score(truth, values[:, k]) for truth, values in in_folds]
        assert table.loc[name, "average_precision"] == pytest.approx(np.mean(precisions))
        f1 = [f1_score(truth, values.argmax(axis=1) == k) for truth, values in in_folds]
        assert table.loc[name, "f1"] == pytest.approx(np.mean(f1))


def test_runs_of_a_fold_are_one_score_not_two(three):
    """Seeds of one fold are averaged first: the interval is over folds."""
    task, predicted, fold = three
    once = task.details([(0, predicted), (1, predicted)], predicted, fold)
    twice = task.details([(0, predicted)] * 2 + [(1, predicted)] * 2, predicted, fold)
    pd.testing.assert_frame_equal(once, twice)


def test_an_embedding_that_says_nothing_has_p_of_one(three):
    task, predicted, fold = three
    flat = np.full_like(predicted, 1 / 3)
    table = task.details([(0, flat), (1, flat)], flat, fold)
    assert (table["p_t_test"] == 1).all()
    assert task.tests(flat, fold) == {}  # of three classes there is no one score to test


def test_scores_are_of_the_cases_that_are_asked_for():
    values, predicted = np.array([1.0, 2.0, 3.0, 10.0]), np.array([[1.5], [2.5], [2.0], [0.0]])
    task = NumberTask(values, 1)
    some = np.array([0, 1, 2])
    scores = task.scores(predicted[some], some)
    assert scores["mae"] == pytest.approx(mean_absolute_error(values[some], predicted[some, 0]))
    assert scores["pearson"] == pytest.approx(np.corrcoef(values[some], predicted[some, 0])[0, 1])


def test_a_shuffle_moves_time_and_event_together(three):
    task = SurvivalTask(np.array([1.0, 2, 3]), np.array([True, False, True])).shuffled(np.array([2, 0, 1]))
    assert task.time.tolist() == [3, 1, 2]
    assert task.event.tolist() == [True, True, False]
    classes = three[0].shuffled(np.arange(24)[::-1])
    assert classes.classes.codes.tolist() == (np.arange(24) % 3)[::-1].tolist()


def test_names_of_outputs(three):
    assert outputs_of(three[0]) == ["a", "b", "c"]
    assert three[0].columns == ["p_a", "p_b", "p_c"]
    assert outputs_of(NumberTask(np.arange(3.0), 1)) == ["predicted"]
    assert outputs_of(SurvivalTask(np.arange(3.0), np.ones(3, bool))) == ["risk"]
