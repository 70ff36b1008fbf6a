"""B-cos units on scaled columns: what each column contributes to a type adds up to its logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._threads import one_thread
from ...cohort.column_names import summed_by_name
from ..column_order import order_of_columns
from .cells import VisibleCells, class_means
from .fitted import RuleFitted, softmax

if TYPE_CHECKING:
    from ..bcos import BcosLinear

N_STEPS, MOST_AT_ONCE = 200, 4096  # steps of training; rows of one
LEARNING_RATE = 0.03
MAX_OUT = 2  # weights of a type: two kinds of cells may have its name
ROWS = 8192  # rows whose shares are in memory at once


@dataclass(frozen=True)
class Bcos:
    """Fitted units, and the scale and intercepts of their logits."""

    units: BcosLinear
    scale: float
    intercepts: np.ndarray  # (classes,)

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Softmax of the logits."""
        return softmax(self.logits(scaled))

    def of_rows(self, rows: np.ndarray) -> None:
        """Those of their values."""

    def logits(self, scaled: np.ndarray) -> np.ndarray:
        """``(m, classes)`` of rows on the common scale."""
        import torch

        with torch.no_grad():
            said = self.units(torch.from_numpy(np.asarray(scaled, dtype=np.float64)))
        return self.scale * said.numpy() + self.intercepts

    def contributions(self, scaled: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Share of each column in the logit of one class of each row, ``(m, columns)``.

        With the intercept of the class they add up to the logit.

        Parameters
        ----------
        scaled
            Rows on the common scale.
        codes
            Class of each of them whose logit is taken apart ``(m,)``.
        """
        import torch

        of_columns = np.empty(scaled.shape)
        for start in range(0, len(scaled), ROWS):
            part = slice(start, start + ROWS)
            x = torch.from_numpy(np.asarray(scaled[part], dtype=np.float64))
            with torch.no_grad():
                shares = self.units.contributions_to(x, torch.from_numpy(codes[part]))
            of_columns[part] = self.scale * shares.numpy()
        return of_columns


def shares_of(fitted: RuleFitted, codes: np.ndarray, names: list[str]) -> pd.DataFrame:
    """What each column contributes to the logit of one class of each cell, divided by the temperature.

    Parameters
    ----------
    fitted
        B-cos units and their cells.
    codes
        Class of each cell ``(n,)``.
    names
        Of the columns; those of one name are added up.

    Returns
    -------
    One row per cell: a column of each name, ``intercept``, and ``logit``, which they add up to: the softmax over
    classes of the logits is the probability.
    """
    rule, temperature = fitted.rule, fitted.calibration.temperature
    scaled, parts, logit = fitted.cells.scaled, [], np.empty(len(codes))
    for start in range(0, len(codes), ROWS):
        part = slice(start, start + ROWS)
        shares, once = summed_by_name(rule.contributions(scaled[part], codes[part]), names)
        parts.append(shares / temperature)
        logit[part] = rule.logits(scaled[part])[np.arange(len(shares)), codes[part]] / temperature
    table = pd.DataFrame(np.concatenate(parts), columns=once)
    return table.assign(intercept=rule.intercepts[codes] / temperature, logit=logit)


def mean_shares(shares: pd.DataFrame, codes: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """One row per class that cells are called by: their number ``n``, and the mean of each share."""
    called = np.array(classes, dtype=object)[codes]
    table = shares.groupby(called).mean().reindex([name for name in classes if (called == name).any()])
    table.insert(0, "n", pd.Series(called).value_counts().reindex(table.index))
    return table.rename_axis("label")


def fit_bcos(cells: VisibleCells, rows: np.ndarray, codes: np.ndarray) -> Bcos:
    """Fit to labelled rows, classes weighing alike.

    Units begin at the means of their classes, less the mean of these, and are trained by Adam for a fixed number of
    steps on the cross-entropy. Weights have norm one, so that there is no penalty to choose: how sure the units are is
    the scale of the logits, and the temperature that follows.

    Parameters
    ----------
    cells
        Rows on one scale.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on, each class at least once.
    """
    import torch
    import torch.nn.functional as F

    from ..bcos import BcosLinear

    # in double precision: hundreds of steps make much of how the last digit of a value was rounded
    values = np.asarray(cells.scaled[rows], dtype=np.float64)
    columns = order_of_columns(values)  # noise is drawn column by column
    values = values[:, columns]
    n_classes, width = int(codes.max()) + 1, values.shape[1]
    rng = np.random.default_rng(cells.random_state)
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced
        units = BcosLinear(width, n_classes, max_out=MAX_OUT).double()
    means = class_means(values, codes)
    first = np.repeat(means - means.mean(axis=0), MAX_OUT, axis=0)
    noise = rng.normal(size=(n_classes, MAX_OUT * width))[np.argsort(order_of_columns(means.T))]  # whatever their names
    first += noise.reshape(first.shape) * 0.1 * np.abs(first).mean()
    scale, intercepts = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in ((), (n_classes,)))
    with torch.no_grad():
        units.linear.weight.copy_(torch.from_numpy(first))
        units.linear.weight.div_(torch.linalg.vector_norm(units.linear.weight, dim=1, keepdim=True) + 1e-12)
    weights = torch.from_numpy(len(codes) / (n_classes * np.bincount(codes)))
    x, y = torch.from_numpy(values), torch.from_numpy(codes.astype(np.int64))
    optimizer = torch.optim.Adam([units.linear.weight, scale, intercepts], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS)
    with one_thread():  # of torch, which may be loaded only now
        for _ in range(N_STEPS):
            part = slice(None) if len(x) <= MOST_AT_ONCE else torch.from_numpy(rng.choice(len(x), MOST_AT_ONCE, False))
            optimizer.zero_grad()
            F.cross_entropy(scale.exp() * units(x[part]) + intercepts, y[part], weights).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        units.linear.weight.copy_(units.linear.weight[:, np.argsort(columns)])  # as they stand in the table
    return Bcos(units, float(scale.detach().exp()), intercepts.detach().numpy())
