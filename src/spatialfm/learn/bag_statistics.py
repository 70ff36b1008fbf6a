"""Statistics of held-out predictions as STAMP prints them: scores of each fold, their mean and its t interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..stats.auroc import auroc
from ..stats.logrank import chi_squared, logrank_parts
from .case_scores import number_scores, survival_scores

NAMED_ONCE = ("fold", "class", "n", "events", "n_high", "threshold", "p_value")  # not averaged over folds


def class_statistics(codes: np.ndarray, names: list[str], probability: np.ndarray, fold: np.ndarray) -> pd.DataFrame:
    """One row per class and fold: cases, AUROC, average precision and F1 against the rest, and p of a t-test.

    Parameters
    ----------
    codes, names
        Class of each case ``(n,)``, and their names.
    probability
        Held-out, ``(n, classes)``.
    fold
        In which each case was held out ``(n,)``.
    """
    from scipy.stats import ttest_ind
    from sklearn.metrics import average_precision_score, f1_score

    rows = []
    for k, name in enumerate(names):
        for number in np.unique(fold):
            part = fold == number
            truth, score = codes[part] == k, probability[part, k]
            both, varies = truth.any() and not truth.all(), np.ptp(score) > 0
            testable = both and varies and min(truth.sum(), (~truth).sum()) > 1
            rows.append(
                {
                    "class": name,
                    "fold": int(number),
                    "n": int(truth.sum()),
                    "auroc": auroc(truth, score) if both else np.nan,
                    "average_precision": average_precision_score(truth, score) if truth.any() else np.nan,
                    "f1": f1_score(truth, probability[part].argmax(axis=1) == k, zero_division=0),
                    "p_value": float(ttest_ind(score[truth], score[~truth]).pvalue) if testable else np.nan,
                }
            )
    return pd.DataFrame(rows)


def number_statistics(truth: np.ndarray, predicted: np.ndarray, fold: np.ndarray) -> pd.DataFrame:
    """One row per fold: cases, r2, Pearson's correlation, mean absolute and root mean squared error."""
    rows = []
    for number in np.unique(fold):
        part = fold == number
        scores = number_scores(truth[part], predicted[part])
        row = {"fold": int(number), "n": int(part.sum()), "r2": scores["r2"], "pearson": scores["pearson"]}
        rmse = float(np.sqrt(((truth[part] - predicted[part]) ** 2).mean()))
        rows.append(row | {"mae": scores["mae"], "rmse": rmse})
    return pd.DataFrame(rows)


def survival_statistics(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, fold: np.ndarray, threshold: np.ndarray
) -> pd.DataFrame:
    """One row per fold: cases, events, concordance, and the log-rank test of two groups of risk.

    Parameters
    ----------
    threshold
        Of each fold, from its training cases; groups are those above it and the others. A higher risk is expected to
        go with earlier events: the direction is not chosen by the data.
    """
    rows = []
    for place, number in enumerate(np.unique(fold)):
        part = fold == number
        high = risk[part] > threshold[place]
        two = 0 < high.sum() < high.size and event[part].any()
        test = chi_squared(logrank_parts(time[part], event[part], high.astype(int))) if two else (0.0, np.nan, 0)
        rows.append(
            {
                "fold": int(number),
                "n": int(part.sum()),
                "events": int(event[part].sum()),
                "concordance": survival_scores(time[part], event[part], risk[part])["concordance"],
                "threshold": float(threshold[place]),
                "n_high": int(high.sum()),
                "p_value": test[1],
            }
        )
    return pd.DataFrame(rows)


def over_folds(folds: pd.DataFrame) -> pd.DataFrame:
    """Mean over folds of each score with Student's 95 % interval of independent folds, as STAMP gives it.

    Folds share training cases, which this interval leaves out: it is too narrow.
    """
    from scipy.stats import t

    groups = folds.groupby("class", sort=False) if "class" in folds else [("all", folds)]
    scores, rows = [name for name in folds if name not in NAMED_ONCE], {}
    for name, part in groups:
        row: dict[str, float] = {"n": int(part["n"].sum())}
        for score in scores:
            values = part[score].dropna().to_numpy(float)
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            half = t.ppf(0.975, len(values) - 1) * error if len(values) > 1 else np.nan
            mean = values.mean() if len(values) else np.nan
            row |= {score: mean, f"{score}_low": mean - half, f"{score}_high": mean + half}
        rows[str(name)] = row
    return pd.DataFrame(rows).T.rename_axis("class").astype({"n": int})
