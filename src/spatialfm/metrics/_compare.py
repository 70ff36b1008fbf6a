"""Whether one representation scores higher than another over the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._public import public


@public
def compare_representations(
    runs: pd.DataFrame,
    scores: str | Sequence[str],
    *,
    by: str = "use_rep",
    run: str | Sequence[str] = "draw",
    ratio: float | None = None,
) -> pd.DataFrame:
    """Compare scores of representations that were evaluated on the same draws, folds or seeds.

    The one-sided Mann-Whitney test over runs is how VirTues compares (Methods, *Tissue-level classification*: five
    runs). It says that a difference is no accident of the draws. As runs share patients it does not say that
    the difference would be found again in other patients, and with enough draws any difference is significant.
    ``p_corrected`` allows for that: a one-sided t-test of the differences draw by draw whose variance is widened by
    the share of cases that training sets have in common (Nadeau and Bengio, Machine Learning 2003).

    Parameters
    ----------
    runs
        One row a representation and run, such as ``uns["classify_samples"]["draws"]``.
    scores
        Columns to compare; higher is better.
    by
        Column with the representation.
    run
        Column, or columns, that tell runs apart.
    ratio
        Cases in the test over those in the training part; None leaves ``p_corrected`` out.

    Returns
    -------
    One row an ordered pair and score: ``first``, ``second``, ``score``, ``n_runs`` (those that both have),
    ``mean_first``, ``mean_second``, ``difference``, ``p_value`` (that the first is higher) and ``p_corrected``.

    Raises
    ------
    TableError
        If a column is missing, or a representation has a run twice.

    Examples
    --------
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> runs = pd.DataFrame({"use_rep": ["a"] * 5 + ["b"] * 5, "draw": [0, 1, 2, 3, 4] * 2})
    >>> runs["f1"] = [0.9, 0.8, 0.7, 0.85, 0.95, 0.5, 0.4, 0.6, 0.3, 0.45]
    >>> table = sfm.metrics.compare_representations(runs, "f1")
    >>> table[["first", "second", "p_value"]].round(3).values.tolist()
    [['a', 'b', 0.004], ['b', 'a', 1.0]]
    """
    scores, keys = ([scores] if isinstance(scores, str) else list(scores)), [run] if isinstance(run, str) else list(run)
    if absent := [name for name in (by, *keys, *scores) if name not in runs]:
        raise TableError(f"No column {listed(absent)} in runs; found {listed(runs.columns, 12)}.")
    if runs.duplicated([by, *keys]).any():
        twice = runs.loc[runs.duplicated([by, *keys]), by].iloc[0]
        raise TableError(f"{twice!r} has a run twice (run={run!r}). Pass in run= all columns that tell runs apart.")
    wide = {score: runs.pivot(index=keys, columns=by, values=score) for score in scores}
    rows = [
        {"first": one, "second": two, "score": score} | _compare(wide[score][[one, two]].dropna(), ratio)
        for one, two in permutations(pd.unique(runs[by]), 2)
        for score in scores
    ]
    columns = ["first", "second", "score", "n_runs", "mean_first", "mean_second", "difference", "p_value"]
    return pd.DataFrame(rows, columns=columns + (["p_corrected"] if ratio is not None else []))


def _compare(pair: pd.DataFrame, ratio: float | None) -> dict[str, float]:
    from scipy import stats

    one, two = pair.to_numpy(float).T
    found = {"n_runs": len(pair), "p_value": np.nan, "p_corrected": np.nan}
    found |= dict.fromkeys(("mean_first", "mean_second", "difference"), np.nan)
    if not len(pair):
        return found
    found |= {"mean_first": one.mean(), "mean_second": two.mean(), "difference": (one - two).mean()}
    same = np.ptp(np.concatenate([one, two])) == 0
    found["p_value"] = 1.0 if same else float(stats.mannwhitneyu(one, two, alternative="greater").pvalue)
    if ratio is not None and len(pair) > 1:
        found["p_corrected"] = _corrected(one - two, ratio)
    return found


def _corrected(differences: np.ndarray, ratio: float) -> float:
    """One-sided p-value that the mean is above 0, for draws that share cases."""
    from scipy import stats

    error = np.sqrt((1 / len(differences) + ratio) * differences.var(ddof=1))
    mean = differences.mean()
    if error < 1e-12:
        return 0.5 if abs(mean) < 1e-12 else float(mean < 0)
    return float(stats.t.sf(mean / error, len(differences) - 1))
