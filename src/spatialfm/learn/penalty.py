"""The penalty of a linear probe: a grid on a validation part of at most 4,000 rows, or a prior."""

from __future__ import annotations

import numpy as np

GRID = (0.01, 0.1, 1.0, 10.0, 100.0)  # times the prior; finer steps would move macro F1 by less than its draws do
MIN_OF_CLASS, MIN_A_CLASS = 5, 15  # labelled cells of the rarest class, and on average, below which nothing is searched
MAX_ROWS = 4000  # that the grid is fitted to: more of them move its loss by less than its steps do
TOLERANCE = 1e-3  # of the fits of the path, whose losses are compared to a few per cent; the classifier's own is 1e-4


def prior_C(n_columns: int) -> float:
    """Penalty where labels are too few to search: ``min(1, 10 / columns)``.

    A sum of many standardised columns is large whatever they say, and the penalty is in proportion to that.

    Examples
    --------
    >>> prior_C(5), prior_C(100)
    (1.0, 0.1)
    """
    return min(1.0, 10.0 / n_columns)


def enough_to_search(codes: np.ndarray) -> bool:
    """Whether a fifth of the rows can tell one penalty from another."""
    sizes = np.unique(codes, return_counts=True)[1]  # numbers that no row has do not count
    return bool(sizes.min() >= MIN_OF_CLASS and sizes.mean() >= MIN_A_CLASS)


def in_own_space(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts in the directions that `train` spans, where it has fewer rows than columns.

    Coefficients with an L2 penalty lie in that space, so that all fits of the grid share one factorisation and give
    what they give on all columns. `train` and `test` are centred on the mean of `train`: the intercept takes it up.
    """
    if train.shape[0] >= train.shape[1]:
        return train, test
    mean = train.mean(axis=0)
    u, s, vt = np.linalg.svd(train - mean, full_matrices=False)
    spanned = s > s.max(initial=0) * 1e-7
    return u[:, spanned] * s[spanned], (test - mean) @ vt[spanned].T


def grid_C(
    values: np.ndarray, codes: np.ndarray, train: np.ndarray, test: np.ndarray, *, random_state: int = 0
) -> tuple[float, dict[float, float]]:
    """Penalty of lowest loss on held-out rows, and the loss of each that was tried.

    The loss is the cross-entropy, each class weighing alike. Fits go from the strongest penalty to the weakest, each
    from where the last ended, and stop when two in a row were worse than the best.

    Parameters
    ----------
    values, codes
        ``(n, columns)``, standardised, and ``(n,)`` classes from 0 on.
    train, test
        Rows to fit and to judge. Of more than 4,000, as many are drawn; C is then for all.
    """
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(random_state)
    train, test, n_all = _at_most(train, codes, rng), _at_most(test, codes, rng), len(train)
    x, held_out = in_own_space(values[train], values[test])
    model = LogisticRegression(
        class_weight="balanced", max_iter=1000, tol=TOLERANCE, warm_start=True, random_state=random_state
    )
    losses: dict[float, float] = {}
    for C in prior_C(values.shape[1]) * np.array(GRID):
        model.set_params(C=C * n_all / len(train))
        model.fit(x, codes[train])
        losses[float(C)] = balanced_loss(codes[test], model.predict_proba(held_out), model.classes_)
        best = min(losses, key=losses.__getitem__)
        if len([tried for tried in losses if tried > best]) == 2:
            break
    return best, losses


def balanced_loss(codes: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> float:
    """Mean over classes of the mean cross-entropy of their rows."""
    of_truth = probability[np.arange(len(codes)), np.searchsorted(classes, codes)]
    losses = -np.log(np.maximum(of_truth, np.finfo(float).tiny))
    return float(np.mean([losses[codes == code].mean() for code in np.unique(codes)]))


def _at_most(rows: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most `MAX_ROWS`, drawn at random, and ten or all of each class."""
    if len(rows) <= MAX_ROWS:
        return rows
    rows = rng.permutation(rows)
    place = np.zeros(len(rows), int)
    for code in np.unique(codes[rows]):
        mine = np.flatnonzero(codes[rows] == code)
        place[mine] = np.arange(len(mine))
    return np.sort(rows[(np.arange(len(rows)) < MAX_ROWS) | (place < 10)])
