"""Scores of predictions for cases, their intervals over draws or folds, and tests. Arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..metrics import classification
from ..stats.auroc import auroc as auroc_of
from ..stats.concordance import concordant_pairs
from ..stats.cox_scores import score_p, score_parts
from ..stats.draws import variance_of_mean

CLASS_SCORES = ["auroc", "average_precision", "f1", "f1_macro", "balanced_accuracy"]
NUMBER_SCORES = ["pearson", "spearman", "r2", "mae"]
SURVIVAL_SCORES = ["concordance"]
_WITHIN_0_1 = {*CLASS_SCORES, *SURVIVAL_SCORES}


def class_scores(truth: np.ndarray, probability: np.ndarray, positive: int) -> dict[str, float]:
    """Scores of predicted classes.

    Parameters
    ----------
    truth
        ``(n,)`` codes.
    probability
        ``(n, classes)``; the class of the highest is the prediction.
    positive
        With two classes, the one that ``f1`` and ``average_precision`` are of; with more they are means over classes,
        and ``auroc`` is the mean over pairs of classes.
    """
    k = probability.shape[1]
    if k == 2:
        scores = _binary_scores(truth == positive, probability[:, positive], probability.argmax(axis=1) == positive)
        scores["auroc"] = auroc(truth, probability, positive)
    else:
        macro = classification(truth.astype(str), probability, [str(code) for code in range(k)]).loc["macro"]
        scores = {"auroc": macro["auroc"], "f1_macro": macro["f1"], "balanced_accuracy": macro["recall"]}
        scores |= {"average_precision": macro["average_precision"], "f1": macro["f1"]}
    return {name: float(scores[name]) for name in CLASS_SCORES}


def _binary_scores(truth: np.ndarray, score: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """From counts, as there are hundreds of draws; over the classes that occur, as `metrics.classification` does."""
    from sklearn.metrics import average_precision_score

    f1, recall = [], []
    for side in (True, False):
        true_side, predicted_side = truth == side, predicted == side
        right = (true_side & predicted_side).sum()
        f1.append(2 * right / max(true_side.sum() + predicted_side.sum(), 1))
        recall.append(right / max(true_side.sum(), 1))
    occur = [truth.any(), not truth.all()]
    return {
        "f1": f1[0],
        "f1_macro": np.mean(f1, where=occur),
        "balanced_accuracy": np.mean(recall, where=occur),
        "average_precision": average_precision_score(truth, score) if occur[0] else np.nan,
    }


def auroc(truth: np.ndarray, probability: np.ndarray, positive: int) -> float:
    """The same AUROC as `class_scores` gives, alone: permutations need it thousands of times."""
    if probability.shape[1] > 2:
        names = [str(code) for code in range(probability.shape[1])]
        return float(classification(truth.astype(str), probability, names).loc["macro", "auroc"])
    return auroc_of(truth == positive, probability[:, positive])


def number_scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Scores of predicted numbers; correlations of constants are not defined (NaN)."""
    from scipy import stats

    varies = len(truth) > 2 and np.ptp(truth) > 0 and np.ptp(predicted) > 0
    around = float(((truth - truth.mean()) ** 2).sum())
    return {
        "pearson": float(stats.pearsonr(truth, predicted)[0]) if varies else np.nan,
        "spearman": float(stats.spearmanr(truth, predicted)[0]) if varies else np.nan,
        "r2": 1 - float(((truth - predicted) ** 2).sum()) / around if around > 0 else np.nan,
        "mae": float(np.abs(truth - predicted).mean()),
    }


def survival_scores(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> dict[str, float]:
    """Harrell's concordance; NaN where no two cases can be compared."""
    right, n_pairs = concordant_pairs(time, event, risk)
    return {"concordance": right / n_pairs if n_pairs else np.nan}


def summarize(
    runs: pd.DataFrame, by: Sequence[str], scores: Sequence[str], ratio: float, *, published: bool = True
) -> pd.DataFrame:
    """Mean, standard deviation and 95 % intervals of scores over the runs of each group.

    Parameters
    ----------
    runs
        One row per run.
    by
        Columns that make the groups.
    scores
        Columns to summarise.
    ratio
        Test over training cases: the interval allows for runs that share cases.
    published
        Whether runs are draws, and the interval that treats them as independent is given too. Otherwise they are folds,
        which share cases in training alone (Nadeau and Bengio, Machine Learning 2003).
    """
    rows = []
    for group, part in runs.groupby(list(by), sort=False) if by else [((), runs)]:
        for score in scores:
            values = part[score].dropna().to_numpy(float)
            row = dict(zip(by, group, strict=True)) | {"score": score, "n_runs": len(values)}
            row |= {"mean": np.mean(values) if len(values) else np.nan, "sd": _sd(values)}
            share = 1.0 / max(len(values), 1)
            widened = variance_of_mean(len(values), ratio) if published else share + ratio
            row["low"], row["high"] = interval(values, widened, score)
            if published:
                row["low_published"], row["high_published"] = interval(values, share, score)
            rows.append(row)
    return pd.DataFrame(rows)


def interval(values: np.ndarray, scale: float, score: str) -> tuple[float, float]:
    """Student's 95 % interval of a mean whose variance is `scale` times that of the values; NaN below two values."""
    from scipy import stats

    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * _sd(values) * np.sqrt(scale)
    low, high = values.mean() - half, values.mean() + half
    return (max(low, 0.0), min(high, 1.0)) if score in _WITHIN_0_1 else (low, high)


def times_shared(fold: np.ndarray) -> float:
    """How many times the variance within folds that of held-out scores is, as folds share training cases.

    Nadeau and Bengio's allowance of test over training cases, 1 / (K - 1), next to the 1 / K of independent folds.
    """
    k = len(np.unique(fold))
    return 1 + k / (k - 1)


def rank_test_within(score: np.ndarray, positive: np.ndarray, fold: np.ndarray, times: float = 1.0) -> float:
    """Two-sided p-value that scores of one class are higher or lower, compared within folds only.

    Van Elteren's combination of Wilcoxon's rank sums: each fold weighs by one over its size plus one, as scores of
    different models need not be on one scale.
    """
    from scipy import stats

    total, variance = 0.0, 0.0
    for number in np.unique(fold):
        in_fold = fold == number
        n, m = int(in_fold.sum()), int(positive[in_fold].sum())
        if not 0 < m < n:
            continue
        ranks = stats.rankdata(score[in_fold])
        total += (ranks[positive[in_fold]].sum() - m * (n + 1) / 2) / (n + 1)
        variance += m * (n - m) / n * ranks.var(ddof=1) / (n + 1) ** 2
    return float(stats.norm.sf(abs(total) / np.sqrt(times * variance)) * 2) if variance > 0 else np.nan


def cox_test_within(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, fold: np.ndarray, times: float = 1.0
) -> float:
    """Two-sided p-value of the score test of Cox regression on a predicted risk, folds as strata."""
    (score,), (variance,) = score_parts(risk[:, None], time, event, fold)
    return float(score_p(score, times * variance)) if variance > 1e-12 else np.nan


def correlation_within(truth: np.ndarray, predicted: np.ndarray, fold: np.ndarray, times: float = 1.0) -> float:
    """Two-sided p-value of the correlation of what is left after the mean of each fold."""
    from scipy import stats

    left = [values - pd.Series(values).groupby(fold).transform("mean").to_numpy() for values in (truth, predicted)]
    freedom = len(truth) - len(np.unique(fold)) - 1
    if freedom < 1 or np.ptp(left[0]) == 0 or np.ptp(left[1]) == 0:
        return np.nan
    r = float(np.clip(np.corrcoef(*left)[0, 1], -1, 1))
    t = abs(r) * np.sqrt(freedom / max(1 - r**2, 1e-15) / times)
    return float(stats.t.sf(t, freedom) * 2)


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
