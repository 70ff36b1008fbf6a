"""A method for these cells, chosen by labelled ones that are held out in turn, and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ..probe import coded
from ..temperature import find_temperature, tempered
from .blocks import ColumnBlock, columns_of, scalers_of
from .cells import VisibleCells
from .compared import N_ERRORS, error_of_sum
from .fitted import Fitted, held_out_probability
from .methods import fit_codes, fit_method, parts_of_ensemble
from .mixture import Mixture, damping, each_tempered, fit_mixture, pooled
from .options import Options

AUTO = "auto"
FIRST = "ensemble"  # taken unless another is better by more than chance
OTHERS = ("linear", "lda", "nearest_mean", "trees", "self_training", "spreading")
MIN_HELD_OUT, MIN_OF_CLASS = 15, 3  # labelled cells, and those of the rarest class, below which nothing is compared
MOST_SEEN = 20_000  # cells without label that methods are compared with
COMPARED = ("method", "recall", "loss", "gain", "gain_error", "n_held_out")  # gain over the first


@dataclass(frozen=True)
class ChosenMethod:
    """The method, why, and what was compared."""

    method: str
    why: str
    table: pd.DataFrame  # one row per method that was compared, of `COMPARED`


def fit_any(
    name: str, cells: VisibleCells, rows: np.ndarray, labels: np.ndarray | pd.Categorical, options: Options
) -> tuple[Fitted, ChosenMethod | None]:
    """`fit_method`, or of ``"auto"`` the method that is chosen, with the choice."""
    if name != AUTO:
        return fit_method(name, cells, rows, labels, options), None
    choice = choose(cells, rows, labels, options)
    fitted = fit_method(choice.method, cells, rows, labels, options)
    return replace(fitted, notes={**fitted.notes, "chosen": choice.method, "why": choice.why}), choice


def fit_stacked(
    name: str,
    blocks: Sequence[ColumnBlock],
    cells: VisibleCells,
    rows: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    options: Options,
) -> tuple[Mixture, ChosenMethod | None]:
    """A method for each block of columns, whose probabilities are pooled with weights found on held-out labels.

    ``"auto"`` is chosen on all columns side by side, and is then the method of each block.
    """
    choice = choose(cells, rows, labels, options) if name == AUTO else None
    name = choice.method if choice else name
    codes, classes = coded(labels)
    columns = columns_of([block.width for block in blocks])
    by_block = split(cells, blocks)
    parts = [
        fit_codes(name, one, rows, codes, classes=classes, options=options.of_part(number))
        for number, one in enumerate(by_block)
    ]
    fits = [
        partial(fit_codes, name, one, classes=classes, options=options.again(part))
        for one, part in zip(by_block, parts, strict=True)
    ]
    fitted = fit_mixture(
        fits,
        columns,
        rows,
        codes,
        groups=cells.groups_of(rows),
        random_state=options.random_state,
        weigh=True,
        calibrate=options.calibrate,
        parts=parts,
        like=options.like,
    )
    weights = dict(zip([block.name for block in blocks], fitted.weights.tolist(), strict=True))
    notes = {"weights": weights} | ({"chosen": choice.method, "why": choice.why} if choice else {})
    return replace(fitted, notes=notes), choice


def fit_of(
    name: str,
    blocks: Sequence[ColumnBlock],
    stacked: bool,
    cells: VisibleCells,
    rows: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    options: Options,
) -> tuple[Fitted, ChosenMethod | None]:
    """`fit_stacked` where several representations are to be, otherwise `fit_any`."""
    if stacked and len(blocks) > 1:
        return fit_stacked(name, blocks, cells, rows, labels, options)
    return fit_any(name, cells, rows, labels, options)


def split(cells: VisibleCells, blocks: Sequence[ColumnBlock]) -> list[VisibleCells]:
    """The cells as each block alone shows them, with the scale that it has among the others."""
    scalers = scalers_of(cells.scaler)
    parts = columns_of([block.width for block in blocks])
    return [
        replace(cells, values=cells.values[:, part], scaler=scaler) for part, scaler in zip(parts, scalers, strict=True)
    ]


def choose(
    cells: VisibleCells, rows: np.ndarray, labels: np.ndarray | pd.Categorical, options: Options
) -> ChosenMethod:
    """Compare methods on labelled cells that are held out in turn, whole patients where there are five or more.

    What is compared is the balanced accuracy. Of few labels its differences are mostly chance, and the best of seven
    would be the luckiest: the first method, which was best on other sets, stays unless another is better by more than
    the standard error of the difference on the same cells (between patients, where these are held out).

    Parameters
    ----------
    cells
        All rows that may be seen; of more than 20,000 without label, so many take part.
    rows, labels
        Labelled rows ``(n,)`` and their labels.
    """
    codes, classes = coded(labels)
    if len(codes) < MIN_HELD_OUT or np.bincount(codes).min() < MIN_OF_CLASS:
        why = f"{FIRST}: {len(codes)} labelled cells, {np.bincount(codes).min()} of the rarest class, compare nothing"
        return ChosenMethod(FIRST, why, pd.DataFrame(columns=list(COMPARED)))
    some, places = _some(cells, rows)
    groups, plain = some.groups_of(places), replace(options, calibrate=False)
    # of the first, each part once: its temperatures are found on these rows and not again without each of them
    by_part = []
    for fit in parts_of_ensemble(some, places, codes, classes, plain)[0]:
        of_part, held_out = held_out_probability(fit, places, codes, groups, options.random_state)
        by_part.append(of_part)
    truth = codes[held_out]
    temperatures, equal = damping(by_part, truth), np.full(len(by_part), 1 / len(by_part))
    probabilities = {FIRST: pooled(each_tempered(by_part, temperatures), equal)}
    for name in OTHERS:
        if name == "trees":
            probabilities[name] = by_part[1]
            continue
        fit = partial(fit_codes, name, some, classes=classes, options=plain)
        probabilities[name] = held_out_probability(fit, places, codes, groups, options.random_state)[0]
    return decide(probabilities, truth, None if groups is None else groups[held_out])


def decide(probabilities: dict[str, np.ndarray], truth: np.ndarray, groups: np.ndarray | None) -> ChosenMethod:
    """The method by held-out probabilities ``(n, classes)`` of each; the first is the one to be beaten.

    Parameters
    ----------
    truth
        ``(n,)`` classes, from 0 on.
    groups
        Patient of each row; with five or more, errors are those between patients.
    """
    of_class = np.bincount(truth)
    share = 1 / (of_class[truth] * (of_class > 0).sum())
    right = {name: share * (probability.argmax(axis=1) == truth) for name, probability in probabilities.items()}
    first, *others = probabilities
    rows = []
    for name in probabilities:
        apart = right[name] - right[first]
        probability = tempered(probabilities[name], find_temperature(probabilities[name], truth))
        of_truth = np.maximum(probability[np.arange(len(truth)), truth], np.finfo(float).tiny)
        rows.append(
            {
                "method": name,
                "recall": right[name].sum(),
                "loss": -(share * np.log(of_truth)).sum(),
                "gain": apart.sum(),
                "gain_error": error_of_sum(apart, groups),
                "n_held_out": len(truth),
            }
        )
    table = pd.DataFrame(rows)
    able = table[table["gain"] > N_ERRORS * table["gain_error"]]
    best = first if able.empty else str(able.sort_values(["recall", "loss"], ascending=[False, True])["method"].iloc[0])
    return ChosenMethod(best, reason(table.set_index("method"), best, first, others, groups), table)


def reason(table: pd.DataFrame, best: str, first: str, others: Sequence[str], groups: np.ndarray | None) -> str:
    """Why a method was taken, in words."""
    n = int(table["n_held_out"].iloc[0])
    of = "" if groups is None or len(np.unique(groups)) < 5 else f" of {len(np.unique(groups))} patients held out whole"
    scores = ", ".join(f"{name} {table.loc[name, 'recall']:.2f}" for name in (first, *others))
    on = f"balanced accuracy on {n} labelled cells{of}, held out in turn: {scores}"
    if best == first:
        return f"{first}: no method was better by more than its standard error ({on})"
    gain, error = table.loc[best, ["gain", "gain_error"]]
    return f"{best}: better than {first} by {gain:.2f} with a standard error of {error:.2f} ({on})"


def _some(cells: VisibleCells, rows: np.ndarray) -> tuple[VisibleCells, np.ndarray]:
    """Labelled cells and at most 20,000 others, and where the labelled ones are among them."""
    if len(cells) <= MOST_SEEN + len(rows):
        return cells, rows
    kept = np.union1d(cells.drawn(MOST_SEEN, ~np.isin(np.arange(len(cells)), rows)), rows)
    places = np.searchsorted(kept, rows)
    of_names = None
    if cells.order is not None:  # those that were kept, numbered anew
        place = np.full(len(cells), -1)
        place[kept] = np.arange(len(kept))
        of_names = place[cells.order][place[cells.order] >= 0]
    return replace(
        cells, values=cells.values[kept], groups=cells.groups_of(kept), labelled=places, order=of_names
    ), places
