"""What multiple instance learning predicts of a patient: a class, a number, or the hazard of an event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._errors import SurvivalError, TableError
from .._missing_codes import tell_missing_code
from ..cohort.cases import Cases, Classes, read_classes
from ..cohort.outcome import EventValue, event_times, events
from ..stats.auroc import auroc
from ..stats.folds import quantile_strata
from .case_scores import (
    CLASS_SCORES,
    NUMBER_SCORES,
    SURVIVAL_SCORES,
    class_scores,
    correlation_within,
    cox_test_within,
    interval,
    number_scores,
    rank_test_within,
    survival_scores,
    times_shared,
)

if TYPE_CHECKING:
    from .bag_training import Target

TaskName = Literal["classification", "regression", "survival"]


@dataclass(frozen=True)
class ClassTask:
    """Classes of the cases."""

    classes: Classes
    name = "classification"
    score_names = CLASS_SCORES

    @property
    def strata(self) -> np.ndarray:
        """What folds are balanced by, ``(n,)``."""
        return self.classes.codes

    @property
    def columns(self) -> list[str]:
        """Columns of a prediction."""
        return [f"p_{name}" for name in self.classes.names]

    def truth(self) -> dict[str, Any]:
        """Columns of the truth, next to which predictions are written."""
        return {"label": np.array(self.classes.names)[self.classes.codes]}

    def shuffled(self, order: np.ndarray) -> ClassTask:
        """The task with its outcomes in another order."""
        return replace(self, classes=replace(self.classes, codes=self.classes.codes[order]))

    def target(self, cases: np.ndarray) -> Target:
        """Target of the bags of these cases."""
        from .bag_training import ClassTarget

        return ClassTarget(self.classes.codes[cases], len(self.classes.names))

    def scores(self, predicted: np.ndarray, cases: np.ndarray) -> dict[str, float]:
        """Scores of predictions for some cases, by name."""
        return class_scores(self.classes.codes[cases], predicted, self.classes.positive)

    def tests(self, predicted: np.ndarray, fold: np.ndarray) -> dict[str, float]:
        """Two-sided p-values by score."""
        if len(self.classes.names) > 2:
            return {}
        k = self.classes.positive
        return {"auroc": rank_test_within(predicted[:, k], self.classes.codes == k, fold, times_shared(fold))}

    def details(self, runs: list[tuple[int, np.ndarray]], predicted: np.ndarray, fold: np.ndarray) -> pd.DataFrame:
        """One row per class against the rest: scores with 95 % intervals over folds, and two-sided tests.

        Parameters
        ----------
        runs
            Fold and predictions ``(cases, classes)`` of each run; those of other folds are not looked at.
        predicted
            Mean over seeds ``(cases, classes)``.
        """
        from scipy import stats
        from sklearn.metrics import average_precision_score, f1_score

        codes, rows = self.classes.codes, {}
        for k, name in enumerate(self.classes.names):
            scores: dict[str, list] = {"auroc": [], "average_precision": [], "f1": []}
            for number, values in runs:
                in_fold = fold == number
                truth = codes[in_fold] == k
                scores["auroc"].append(auroc(truth, values[in_fold, k]))
                scores["average_precision"].append(
                    average_precision_score(truth, values[in_fold, k]) if truth.any() else np.nan
                )
                scores["f1"].append(f1_score(truth, values[in_fold].argmax(axis=1) == k, zero_division=0))
            folds = pd.DataFrame(scores).groupby([number for number, _ in runs]).mean()
            row: dict[str, float] = {"n": int((codes == k).sum())}
            for score in folds:
                values = folds[score].dropna().to_numpy()
                low, high = interval(values, 1 / max(len(values), 1) + 1 / max(len(values) - 1, 1), score)
                row |= {score: values.mean() if len(values) else np.nan, f"{score}_low": low, f"{score}_high": high}
            row["p_two_sided"] = rank_test_within(predicted[:, k], codes == k, fold, times_shared(fold))
            one, rest = predicted[codes == k, k], predicted[codes != k, k]
            row["p_t_test"] = float(stats.ttest_ind(one, rest).pvalue) if np.ptp(predicted[:, k]) > 0 else 1.0
            rows[name] = row
        return pd.DataFrame(rows).T.rename_axis("class").astype({"n": int})


@dataclass(frozen=True)
class NumberTask:
    """A number of each case."""

    values: np.ndarray
    n_strata: int
    name = "regression"
    score_names = NUMBER_SCORES
    columns = ("predicted",)

    @property
    def strata(self) -> np.ndarray:
        """What folds are balanced by, ``(n,)``."""
        return quantile_strata(self.values, self.n_strata)

    def truth(self) -> dict[str, Any]:
        """Columns of the truth, next to which predictions are written."""
        return {"target": self.values}

    def shuffled(self, order: np.ndarray) -> NumberTask:
        """The task with its outcomes in another order."""
        return replace(self, values=self.values[order])

    def target(self, cases: np.ndarray) -> Target:
        """Target of the bags of these cases."""
        from .bag_training import NumberTarget

        return NumberTarget(self.values[cases])

    def scores(self, predicted: np.ndarray, cases: np.ndarray) -> dict[str, float]:
        """Scores of predictions for some cases, by name."""
        return number_scores(self.values[cases], predicted[:, 0])

    def tests(self, predicted: np.ndarray, fold: np.ndarray) -> dict[str, float]:
        """Two-sided p-values by score."""
        return {"pearson": correlation_within(self.values, predicted[:, 0], fold, times_shared(fold))}


@dataclass(frozen=True)
class SurvivalTask:
    """Time and event of each case."""

    time: np.ndarray
    event: np.ndarray
    name = "survival"
    score_names = SURVIVAL_SCORES
    columns = ("risk",)

    @property
    def strata(self) -> np.ndarray:
        """What folds are balanced by, ``(n,)``."""
        return self.event.astype(int)

    def truth(self) -> dict[str, Any]:
        """Columns of the truth, next to which predictions are written."""
        return {"time": self.time, "event": self.event}

    def shuffled(self, order: np.ndarray) -> SurvivalTask:
        """The task with its outcomes in another order."""
        return replace(self, time=self.time[order], event=self.event[order])

    def target(self, cases: np.ndarray) -> Target:
        """Target of the bags of these cases."""
        from .bag_training import SurvivalTarget

        return SurvivalTarget(self.time[cases], self.event[cases])

    def scores(self, predicted: np.ndarray, cases: np.ndarray) -> dict[str, float]:
        """Scores of predictions for some cases, by name."""
        return survival_scores(self.time[cases], self.event[cases], predicted[:, 0])

    def tests(self, predicted: np.ndarray, fold: np.ndarray) -> dict[str, float]:
        """Two-sided p-values by score."""
        return {"concordance": cox_test_within(self.time, self.event, predicted[:, 0], fold, times_shared(fold))}


Task = ClassTask | NumberTask | SurvivalTask


def outputs_of(task: Task) -> list[str]:
    """Names of what a network gives: classes, or the one number."""
    return list(task.classes.names) if isinstance(task, ClassTask) else list(task.columns)


def task_columns(
    task: TaskName | None, label_key: str | None, target_key: str | None, time_key: str | None, event_key: str | None
) -> tuple[TaskName, dict[str, str]]:
    """The task that the keys ask for, and the columns to read, by key and argument."""
    given = {"label_key": label_key, "target_key": target_key, "time_key": time_key, "event_key": event_key}
    needed = {"classification": ["label_key"], "regression": ["target_key"], "survival": ["time_key", "event_key"]}
    keys = [argument for argument, key in given.items() if key is not None]
    fitting = [name for name, arguments in needed.items() if arguments == keys]
    if task is not None and task not in needed:
        raise TableError(f"task={task!r} is not one of 'classification', 'regression', 'survival'.")
    if not fitting or (task is not None and fitting != [task]):
        what = f"task={task!r}" if task is not None else "The task"
        raise TableError(
            f"{what} does not follow from {', '.join(f'{key}=' for key in keys) or 'no key'}. Pass label_key= to "
            "classify, target_key= for regression, or time_key= and event_key= for survival, and nothing else of these."
        )
    return fitting[0], {given[argument]: argument for argument in needed[fitting[0]]}


def read_task(
    name: TaskName, cases: Cases, keys: list[str], positive: str | None, n_folds: int, event_value: EventValue = None
) -> Task:
    """What is to be predicted, after all refusals."""
    need = 4 if n_folds == 2 else n_folds  # one of each class to test, one to validate, one to learn from
    if name == "classification":
        classes = read_classes(cases, keys[0], positive, need=need, why=f"n_folds={n_folds} with validation")
        return ClassTask(classes)
    n = len(cases.names)
    if n < max(need, 4):
        raise TableError(f"{n} {cases.unit}s are too few for n_folds={n_folds} with validation. Pass fewer folds.")
    if name == "regression":
        values = pd.to_numeric(cases.table[keys[0]].astype(object), errors="coerce").to_numpy(float)
        if not np.isfinite(values).all():
            wrong = cases.table.index[~np.isfinite(values)][0]
            raise TableError(
                f"obs[{keys[0]!r}] (target_key=) is not a finite number for {cases.unit} {wrong!r}. Convert it, or "
                "pass it as label_key=."
            )
        tell_missing_code(values, f"obs[{keys[0]!r}] (target_key=)")
        if np.ptp(values) == 0:
            raise TableError(f"obs[{keys[0]!r}] (target_key=) is {values[0]:g} throughout: there is nothing to learn.")
        return NumberTask(values, max(min(n // 10, 5), 1))  # strata large enough for a validation part
    time = event_times(cases.table[keys[0]].infer_objects(), keys[0])
    event = events(cases.table[keys[1]], keys[1], event_value)
    if event.sum() < need:
        raise SurvivalError(
            f"{int(event.sum())} {cases.unit}s have an event in obs[{keys[1]!r}], which n_folds={n_folds} with "
            f"validation cannot share out ({need} are the least). Pass fewer folds."
        )
    return SurvivalTask(time, event)
