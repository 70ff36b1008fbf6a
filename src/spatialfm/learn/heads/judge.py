"""Methods and representations scored on the same folds, draws and cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..._preparation import ARCSINH
from ...metrics import classification
from ..conformal import accuracy_of_surest, sets_of
from ..probe import cofactors_of, draw_per_class
from ..temperature import calibration_error, debiased_calibration_error
from .auto import fit_of
from .blocks import ColumnBlock, scaler_of
from .by_sample import on_scale
from .cells import VisibleCells
from .covering import least_probabilities
from .folds import Fold
from .options import Options
from .scores import FLOORS
from .signature import fit_signatures, union
from .trained import Trained

N_RANDOM = 16  # columns of the floor
DRAW = 100_003  # between the seeds of draws, above any number of folds
FLOOR_PENALTY = 1.0  # nothing is searched where there is nothing to find


@dataclass(frozen=True)
class Markers:
    """Markers that types have and lack, and intensities of these in labelled cells and in the others."""

    rep: str  # "X", or the layer
    types: list[str]
    signs: np.ndarray  # (types, markers)
    values: np.ndarray  # (n, markers)
    others: np.ndarray  # (m, markers)


@dataclass(frozen=True)
class Judged:
    """What is scored.

    Attributes
    ----------
    names
        Label of each labelled cell ``(n,)``.
    classes
        Their order.
    values
        By representation, ``(n, columns)``; several side by side are one.
    blocks
        By representation, what its columns are.
    others
        By representation, cells without a label that counts ``(m, columns)``, NaN where a row is not complete.
    groups
        Patient of each labelled cell, for what keeps patients together in a training part; None for quadrants.
    seen
        Which of the other cells a fold may see.
    heads, sizes, n_draws
        Methods, training cells per class (None: all), and draws of them in each fold.
    transductive
        Whether cells of the test part are seen, without their labels.
    preparation
        What columns are scaled on, in words.
    stacked
        Whether representations side by side have a method each, whose probabilities are pooled.
    trained
        Representations that are trained on the drawn cells of each fold, by name.
    markers
        Markers of types, which are scored too: they see no label.
    samples, by_sample
        Sample of the labelled cells, then of the others, where each may have a scale of its own; whether it has one
        whatever the labels say.
    """

    names: np.ndarray
    classes: list[str]
    values: dict[str, np.ndarray]
    blocks: dict[str, list[ColumnBlock]]
    others: dict[str, np.ndarray]
    groups: np.ndarray | None
    seen: Callable[[Fold], np.ndarray]
    heads: list[str]
    sizes: list[int | None]
    n_draws: int
    transductive: bool
    preparation: str
    stacked: bool = False
    trained: dict[str, Trained] = field(default_factory=dict)
    markers: Markers | None = None
    samples: np.ndarray | None = None
    by_sample: bool = False


def judge(task: Judged, folds: Iterable[Fold], options: Options) -> pd.DataFrame:
    """Every score of every class, fold and draw; the same cells are drawn for all methods and representations."""
    rows = []
    for number, fold in enumerate(folds):
        rooms = {rep: _cells(task, fold, rep, options) for rep in task.values}
        noise = _noise(task, fold, options)
        by_markers = [] if task.markers is None else [_by_markers(task, task.markers, fold, options)]
        for size in task.sizes:
            for draw in range(1 if size is None else task.n_draws):
                part = fold.train
                if size is not None:
                    seed = options.random_state + number + DRAW * draw
                    part = draw_per_class(task.names, fold.train, size, seed)
                rooms |= {rep: _trained(task, fold, rep, part, options) for rep in task.trained}
                results = [(rep, head, *_run(task, fold, rooms[rep], part, rep, head, options))
                         for rep in rooms for head in task.heads]  # fmt: skip
                results += by_markers
                results += [(*_floor_names(one), *_floor(task, fold, noise, part, one, options)) for one in FLOORS]
                for rep, head, scores, seconds, notes in results:
                    marks = {"use_rep": rep, "head": head, "n_train": size or len(part), "fold": number, **notes}
                    marks |= {"asked": "all" if size is None else str(size), "draw": draw, "seconds": seconds}
                    rows.append(scores.reset_index().assign(**marks, preparation=_prepared(task, rooms.get(rep))))
    return pd.concat(rows, ignore_index=True)


@dataclass(frozen=True)
class _Room:
    """Cells that a fold may see, and where its labelled cells are among them."""

    cells: VisibleCells
    place: np.ndarray  # (n,) row of each labelled cell; -1 if it is not seen
    test: np.ndarray  # values of the tested cells
    samples: np.ndarray | None = None  # of the cells


def _cells(task: Judged, fold: Fold, rep: str, options: Options) -> _Room:
    own, more = task.values[rep], task.others[rep]
    rows = np.arange(len(own)) if task.transductive else fold.train
    also = more if task.transductive else more[task.seen(fold)]
    scaler = scaler_of(task.blocks[rep], own[rows], also)
    place = np.full(len(own), -1)
    place[rows] = np.arange(len(rows))
    complete = np.isfinite(also).all(axis=1)
    groups = None
    if task.groups is not None:  # of cells without label no patient is asked
        groups = np.concatenate([task.groups[rows], np.full(int(complete.sum()), "", dtype=task.groups.dtype)])
    values = np.concatenate([own[rows], also[complete].astype(own.dtype, copy=False)])
    samples = None
    if task.samples is not None and task.transductive:  # all of them are seen
        samples = task.samples[np.r_[np.ones(len(own), bool), complete]]
    cells = VisibleCells(values, scaler, groups, place[fold.train], options.random_state)
    return _Room(cells, place, own[fold.test], samples)


def _prepared(task: Judged, room: _Room | None) -> str:
    """What is done to the columns of a representation, in words."""
    return (ARCSINH if room is not None and any(cofactors_of(room.cells.scaler)) else "") + task.preparation


def _trained(task: Judged, fold: Fold, rep: str, part: np.ndarray, options: Options) -> _Room:
    """The same of a representation that has learned from these cells of the training part alone."""
    values, others = task.trained[rep](part)
    alone = replace(task, values={rep: values}, others={rep: others}, blocks={rep: [ColumnBlock(rep, values.shape[1])]})
    return _cells(alone, fold, rep, options)


def _run(
    task: Judged, fold: Fold, room: _Room, part: np.ndarray, rep: str, head: str, options: Options
) -> tuple[pd.DataFrame, float, dict]:
    started = time.perf_counter()
    blocks, rows = task.blocks.get(rep, []), room.place[part]
    cells, _ = on_scale(room.cells, room.samples, rows, task.names[part], options, always=task.by_sample)
    model, _ = fit_of(head, blocks, task.stacked, cells, rows, task.names[part], options)
    # as new cells, or as those that were seen without label
    seen = task.transductive and not options.published
    probability = model.predict_seen(room.place[fold.test]) if seen else model.predict_proba(room.test)
    seconds = time.perf_counter() - started
    notes = {"C": model.notes.get("C", np.nan), "chosen": model.notes.get("chosen", head)}
    scores = _scores(task, fold, probability, model.classes)
    if options.coverage is not None:
        head = notes["chosen"]
        least = least_probabilities(head, blocks, task.stacked, cells, rows, task.names[part], options, model)
        sets, truth = sets_of(probability, least), _places(task.names[fold.test], model.classes)
        inside, single = sets[np.arange(len(truth)), truth], sets.sum(axis=1) == 1
        scores.loc["macro", "coverage"], scores.loc["macro", "set_size"] = inside.mean(), sets.sum(axis=1).mean()
        scores.loc["macro", "coverage_of_types"] = np.mean([inside[truth == code].mean() for code in np.unique(truth)])
        scores.loc["macro", "single"] = single.mean()
        scores.loc["macro", "single_right"] = inside[single].mean() if single.any() else np.nan
    return scores, seconds, notes


def _by_markers(
    task: Judged, markers: Markers, fold: Fold, options: Options
) -> tuple[str, str, pd.DataFrame, float, dict]:
    """Scores of what markers of types say of the tested cells; a type without markers is never said."""
    started = time.perf_counter()
    rows = slice(None) if task.transductive else fold.train
    also = markers.others if task.transductive else markers.others[task.seen(fold)]
    seen = np.concatenate([markers.values[rows], also])
    fitted = fit_signatures(seen, markers.types, markers.signs, options.random_state)
    everyone = union(task.classes, markers.types)
    probability = np.zeros((len(fold.test), len(everyone)))
    probability[:, [everyone.index(name) for name in markers.types]] = fitted.predict_proba(markers.values[fold.test])
    scores = _scores(task, fold, probability, everyone)
    return markers.rep, "signatures", scores, time.perf_counter() - started, {"C": np.nan, "chosen": "signatures"}


def _scores(task: Judged, fold: Fold, probability: np.ndarray, classes: list[str]) -> pd.DataFrame:
    names = task.names[fold.test]
    scores = classification(names, probability, classes)
    truth = _places(names, classes)
    scores.loc["macro", "calibration_error"] = calibration_error(probability, truth)
    scores.loc["macro", "calibration_error_debiased"] = debiased_calibration_error(probability, truth)
    for share, right in accuracy_of_surest(probability, truth).items():
        scores.loc["macro", f"surest_{100 * share:.0f}"] = right
    order = [*task.classes, "macro"]
    return scores.loc[[name for name in order if name in scores.index]]


def _places(names: np.ndarray, classes: list[str]) -> np.ndarray:
    order = np.argsort(classes)
    return order[np.searchsorted(np.asarray(classes)[order], names)]


def _noise(task: Judged, fold: Fold, options: Options) -> _Room:
    """Random numbers in place of a representation, the same for a cell in all folds."""
    values = np.random.default_rng(options.random_state).standard_normal((len(task.names), N_RANDOM))
    bare = replace(
        task,
        values={"": values},
        blocks={"": [ColumnBlock("", N_RANDOM)]},
        others={"": np.zeros((0, N_RANDOM))},
        seen=lambda fold: np.zeros(0, int),
        samples=None,
    )
    return _cells(bare, fold, "", options)


def _floor_names(floor: str) -> tuple[str, str]:
    return (floor, "linear") if floor == FLOORS[0] else (floor, "majority")


def _floor(
    task: Judged, fold: Fold, noise: _Room, part: np.ndarray, floor: str, options: Options
) -> tuple[pd.DataFrame, float, dict]:
    if floor == FLOORS[0]:
        plain = replace(options, C=FLOOR_PENALTY, calibrate=False, coverage=None)
        return _run(task, fold, noise, part, "", "linear", plain)
    started = time.perf_counter()
    classes, counts = np.unique(task.names[fold.train], return_counts=True)
    probability = np.tile(counts / counts.sum(), (len(fold.test), 1))
    seconds = time.perf_counter() - started
    return _scores(task, fold, probability, classes.tolist()), seconds, {"C": np.nan, "chosen": "majority"}
