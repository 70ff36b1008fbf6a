"""How well probabilities of classes agree with the truth, by class and over all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._errors import TableError, counted, listed
from .._public import public
from ..stats.auroc import auroc
from ._row_order import check_row_order, same_in_another_order


@public
def classification(truth: Sequence, probability: np.ndarray, classes: Sequence) -> pd.DataFrame:
    """F1, recall, average precision and one-vs-one AUROC of each class and over classes.

    Only classes that `truth` holds count. The prediction is the class of highest probability. The one-vs-one AUROC of a
    class is its mean over all other classes (Hand and Till 2001), which only looks at the two probabilities at hand;
    ``macro`` is then the mean over pairs.

    Parameters
    ----------
    truth
        ``(n,)``, class of each row.
    probability
        ``(n, n_classes)``.
    classes
        Names of the columns.

    Returns
    -------
    One row per class and ``"macro"`` (mean over classes); columns ``f1``, ``recall`` (of ``macro``: balanced accuracy),
    ``average_precision``, ``auroc`` (NaN with one class), ``n``.

    Raises
    ------
    TableError
        If shapes do not fit, `truth` holds a class that is not among `classes`, or rows or columns are named in another
        order.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> probability = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    >>> sfm.metrics.classification(["T", "T", "B", "B"], probability, ["T", "B"]).loc["macro"].round(2).to_dict()
    {'f1': 0.73, 'recall': 0.75, 'average_precision': 0.83, 'auroc': 0.75, 'n': 4.0}
    """
    from sklearn.metrics import average_precision_score, f1_score, recall_score

    check_row_order(TableError, truth=truth, probability=probability)
    if isinstance(probability, pd.DataFrame) and same_in_another_order(probability.columns, pd.Index(list(classes))):
        raise TableError(
            f"The columns of probability= are {listed(probability.columns)}, and classes= {listed(classes)}: columns "
            "are taken by their place. Pass probability=probability[classes]."
        )
    truth, classes, probability = np.asarray(truth), list(classes), np.asarray(probability, dtype=np.float64)
    if probability.shape != (len(truth), len(classes)):
        raise TableError(
            f"probability is {probability.shape}, not {counted(len(truth), 'row')} x {len(classes)} classes."
        )
    if unknown := sorted(set(truth.tolist()) - set(classes), key=str):
        alike = {str(name) for name in unknown} & {str(name) for name in classes}
        hint = " Numbers and text are not the same: pass both as text." if alike else ""
        raise TableError(f"The truth holds {unknown[0]!r}, which is not among the classes {classes}.{hint}")
    if not len(truth):
        raise TableError("There are no rows to score.")
    predicted = np.asarray(classes, dtype=object)[probability.argmax(axis=1)]
    present = [name for name in classes if (truth == name).any()]
    of_class = {"labels": present, "average": None, "zero_division": 0}
    truth = truth.astype(object)
    columns = [classes.index(name) for name in present]
    table = pd.DataFrame(
        {
            "f1": f1_score(truth, predicted, **of_class),
            "recall": recall_score(truth, predicted, **of_class),
            "average_precision": [
                average_precision_score(truth == name, probability[:, column])
                for name, column in zip(present, columns, strict=True)
            ],
            "auroc": _one_vs_one(np.array([present.index(name) for name in truth]), probability[:, columns]),
            "n": [(truth == name).sum() for name in present],
        },
        index=pd.Index(present, name="class"),
    )
    table.loc["macro"] = [*table.drop(columns="n").mean(), table["n"].sum()]
    return table


def _one_vs_one(codes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Mean AUROC of each class against each other one, both ways."""
    n = scores.shape[1]
    pairs = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i + 1, n):
            both = (codes == i) | (codes == j)
            one, two = (auroc(codes[both] == k, scores[both, k]) for k in (i, j))
            pairs[i, j] = pairs[j, i] = (one + two) / 2
    return np.full(1, np.nan) if n == 1 else np.nanmean(pairs, axis=1)
