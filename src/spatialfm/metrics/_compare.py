"""Whether one representation scores higher than another over the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._public import public
from ..stats.draws import mean_above_zero


@public
def compare_representations(
    runs: pd.DataFrame,
    scores: str | Sequence[str],
    *,
    by: str = "use_rep",
    run_key: str | Sequence[str] = "draw",
    ratio: float | None = None,
    n_cases: int | None = None,
) -> pd.DataFrame:
    """Compare scores of representations that were evaluated on the same draws, folds or seeds.

    ``p_value`` asks whether the first would score higher in other patients: a one-sided t-test of the differences draw
    by draw, whose variance allows for draws sharing patients (Nadeau and Bengio, Machine Learning 2003, with twice
    their allowance, as theirs rejects too often). Its level is held or undercut for any number of draws.

    ``p_published`` is VirTues' comparison (Methods, *Tissue-level classification*: one-sided Mann-Whitney test over
    five runs). It shows that a difference is not an accident of the draws, not that other patients would show it: with
    enough draws every difference is significant. Where two representations are equally good, one of the two directions
    is below 0.05 in up to 0.83 of cohorts with 100 draws, where 0.10 would be right.

    Parameters
    ----------
    runs
        One row per representation and run, such as ``uns["classify_samples"]["draws"]``.
    scores
        Columns to compare; higher is better.
    by
        Column with the representation.
    run_key
        Column, or columns, that tell runs apart.
    ratio
        Cases in the test over those in the training part (0.25 for a fifth that is held out; one over the number of
        folds less one for folds); None: there is no ``p_value``, since the patients are unknown.
    n_cases
        Patients, from which degrees of freedom come where they are fewer than runs.

    Returns
    -------
    One row per ordered pair and score: ``first``, ``second``, ``score``, ``n_runs`` (those that both have),
    ``mean_first``, ``mean_second``, ``difference``, ``p_value`` and ``p_published`` (that the first is higher).

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
    >>> table = sfm.metrics.compare_representations(runs, "f1", ratio=0.25)
    >>> table[["first", "second", "p_value", "p_published"]].round(3).values.tolist()
    [['a', 'b', 0.028, 0.004], ['b', 'a', 0.972, 1.0]]
    """
    scores = [scores] if isinstance(scores, str) else list(scores)
    keys = [run_key] if isinstance(run_key, str) else list(run_key)
    if absent := [name for name in (by, *keys, *scores) if name not in runs]:
        raise TableError(f"No column {listed(absent)} in runs; found {listed(runs.columns, 12)}.")
    if ratio is not None and not ratio >= 0:
        raise TableError(f"ratio={ratio} is not a ratio of test to training cases. Pass for example 0.25.")
    if runs.duplicated([by, *keys]).any():
        twice = runs.loc[runs.duplicated([by, *keys]), by].iloc[0]
        raise TableError(
            f"{twice!r} has a run twice (run_key={run_key!r}). Pass in run_key= all columns that tell runs apart."
        )
    wide = {score: runs.pivot(index=keys, columns=by, values=score) for score in scores}
    rows = [
        {"first": one, "second": two, "score": score} | _compare(wide[score][[one, two]].dropna(), ratio, n_cases)
        for one, two in permutations(pd.unique(runs[by]), 2)
        for score in scores
    ]
    columns = ["first", "second", "score", "n_runs", "mean_first", "mean_second", "difference"]
    return pd.DataFrame(rows, columns=[*columns, "p_value", "p_published"])


def _compare(pair: pd.DataFrame, ratio: float | None, n_cases: int | None) -> dict[str, float]:
    from scipy import stats

    one, two = pair.to_numpy(float).T
    row = {"n_runs": len(pair), "p_value": np.nan, "p_published": np.nan}
    row |= dict.fromkeys(("mean_first", "mean_second", "difference"), np.nan)
    if not len(pair):
        return row
    row |= {"mean_first": one.mean(), "mean_second": two.mean(), "difference": (one - two).mean()}
    same = np.ptp(np.concatenate([one, two])) == 0
    row["p_published"] = 1.0 if same else float(stats.mannwhitneyu(one, two, alternative="greater").pvalue)
    if ratio is not None and len(pair) > 1:
        row["p_value"] = mean_above_zero(one - two, ratio, min(len(pair), n_cases or len(pair)) - 1)
    return row
