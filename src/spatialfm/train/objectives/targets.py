"""What is known of windows: labels and numbers, by sample or by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..._errors import ArgumentError, counted, listed, warn
from ..._spelling import TEXT_OF_MISSING, by_reading
from ..batch import WindowSample

UNKNOWN = -1  # the class of a window whose label is not known


@dataclass(frozen=True)
class Targets:
    """Labels and numbers of windows.

    Attributes
    ----------
    keys
        Columns that name a row: some of ``source``, ``sample``, ``y``, ``x``.
    rows
        Number of the row of each key.
    classes
        Names of the classes of each label.
    codes
        ``(n, labels)``, numbers of classes, -1 where not known.
    columns
        Names of the numbers.
    values
        ``(n, columns)``, brought to mean 0 and deviation 1, NaN where not known.
    mean, std
        ``(columns,)``, of the numbers as given.
    counted
        Rows that decide these and the weights of classes; None: all.
    """

    keys: tuple[str, ...]
    rows: dict[tuple, int]
    classes: dict[str, tuple[str, ...]]
    codes: np.ndarray
    columns: tuple[str, ...]
    values: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    counted: np.ndarray | None = None

    def of(self, window: WindowSample) -> tuple[np.ndarray, np.ndarray]:
        """Codes and values of a window.

        Raises
        ------
        ArgumentError
            If the table has no row for it.
        """
        if window.place is None:
            raise ArgumentError("Targets are found by the place of a window; these windows state none.")
        place = dict(zip(("source", "sample", "y", "x"), window.place, strict=True))
        key = tuple(place[name] for name in self.keys)
        self._check_there([key])
        return self.codes[self.rows[key]], self.values[self.rows[key]]

    def on(self, windows: pd.DataFrame) -> Targets:
        """The same targets, with weights of classes, means and deviations of the rows of these windows alone.

        Raises
        ------
        ArgumentError
            If a window has no row, all known ones have the same class of a label, or a number is the same in all.

        Warns
        -----
        SpatialfmWarning
            If a class of the table is of none of these windows.
        """
        columns = [windows[name].astype(int if name in "yx" else str) for name in self.keys]
        keys = list(dict.fromkeys(zip(*columns, strict=True)))
        self._check_there(keys)
        counted = np.unique([self.rows[key] for key in keys]).astype(int)
        values = self.values * self.std + self.mean
        mean, std = _scales(values[counted], self.columns)
        self._check_classes(counted)
        return replace(self, values=(values - mean) / std, mean=mean, std=std, counted=counted)

    def _check_classes(self, counted: np.ndarray) -> None:
        """Refuse labels of one class in these rows, and tell of classes that none of them has."""
        for place, (label, names) in enumerate(self.classes.items()):
            there = set(self.codes[counted, place].tolist()) - {UNKNOWN}
            absent = [name for code, name in enumerate(names) if code not in there]
            if len(there) < 2:
                raise ArgumentError(
                    f"Label {label!r} has no two classes in the windows that are trained on; without are "
                    f"{listed(absent)}. Name more of them, or hold out other patients."
                )
            if absent:
                warn(
                    f"No window that is trained on has {listed(absent, 6)} of label {label!r}: nothing is learned of "
                    "that. Hold out other patients, or leave it out."
                )

    def _check_there(self, keys: Sequence[tuple]) -> None:
        """Refuse windows of which the table says nothing."""
        if lacking := [key for key in keys if key not in self.rows]:
            where = ", ".join(f"{name} {value!r}" for name, value in zip(self.keys, lacking[0], strict=True))
            raise ArgumentError(
                f"targets= has no row for the window of {where}. Add one; what is not known of it may be missing there."
            )

    def class_weights(self, label: int) -> np.ndarray:
        """Weights ``(classes,)`` by which all classes of a label weigh the same; 1 on average.

        A class that none of the rows has, which are counted, weighs 1: nothing is trained by it.
        """
        n_classes = len(tuple(self.classes.values())[label])
        codes = self.codes[:, label] if self.counted is None else self.codes[self.counted, label]
        counts = np.bincount(codes[codes >= 0], minlength=n_classes)
        return np.where(counts > 0, counts.sum() / np.maximum((counts > 0).sum() * counts, 1), 1.0)


def targets_of(table: pd.DataFrame, labels: Sequence[str], numbers: Sequence[str]) -> Targets:
    """Read targets from a table with one row per sample or per window.

    Parameters
    ----------
    table
        Columns ``sample``, ``source`` where samples of several sources have one name, and ``y`` and ``x`` where
        windows have targets of their own, as in ``Windows.table``.
    labels, numbers
        Columns to classify, and to predict as numbers. Missing values are not known.

    Raises
    ------
    ArgumentError
        If a column is missing, a label has one class or two that read alike, a number is the same everywhere, or two
        rows are of one window.
    """
    if both := sorted(set(labels) & set(numbers)):
        raise ArgumentError(f"{both[0]!r} is in labels= and in numbers=. Leave it out of one.")
    if not labels and not numbers:
        raise ArgumentError("Nothing is to be predicted. Name columns of targets= in labels= or numbers=.")
    if missing := [name for name in ("sample", *labels, *numbers) if name not in table.columns]:
        raise ArgumentError(f"targets= has no column {missing[0]!r}; it has {listed(table.columns)}.")
    keys = tuple(name for name in ("source", "sample", "y", "x") if name in table.columns)
    if ("y" in keys) != ("x" in keys):
        raise ArgumentError("targets= has one of the columns 'y' and 'x'. Windows need both, samples neither.")
    rows: dict[tuple, int] = {}
    for number, row in enumerate(table[list(keys)].itertuples(index=False, name=None)):
        key = tuple(int(one) if name in "yx" else str(one) for name, one in zip(keys, row, strict=True))
        if rows.setdefault(key, number) != number:
            raise ArgumentError(f"targets= has two rows of {', '.join(map(repr, key))}. Keep one.")
    classes, codes = {}, np.full((len(table), len(labels)), UNKNOWN)
    for place, name in enumerate(labels):
        column = table[name].astype(object)
        known = column.notna().to_numpy()
        names = sorted({str(one) for one in column[known]})
        _check_spelling(name, names)
        if len(names) < 2:
            raise ArgumentError(f"Label {name!r} has {counted(len(names), 'class', 'classes')}: {listed(names)}.")
        codes[known, place] = np.searchsorted(names, [str(one) for one in column[known]])
        classes[name] = tuple(names)
    values = np.full((len(table), len(numbers)), np.nan)
    for place, name in enumerate(numbers):
        try:
            values[:, place] = table[name].to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"Column {name!r} of targets= holds what is not a number: {error}.") from error
    values = np.where(np.isfinite(values), values, np.nan)
    mean, std = _scales(values, numbers)
    return Targets(keys, rows, classes, codes, tuple(numbers), (values - mean) / std, mean, std)


def _check_spelling(label: str, names: Sequence[str]) -> None:
    """Refuse names of classes that read alike, and missing values that became text."""
    by_name = by_reading(names)
    if twice := [same for same in by_name.values() if len(same) > 1]:
        raise ArgumentError(
            f"Label {label!r} of targets= spells {twice[0][0]!r} and {twice[0][1]!r}, which read alike and would be "
            "two classes. If they are one, write them alike; otherwise rename one."
        )
    if missing := sorted(TEXT_OF_MISSING & set(by_name)):
        raise ArgumentError(
            f"Label {label!r} of targets= reads {by_name[missing[0]][0]!r}, as a missing value does that became text: "
            "it would be a class. Make it missing (None), or rename it."
        )


def _scales(values: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of columns ``(n, columns)``, NaN where not known."""
    for name, column in zip(names, values.T, strict=True):
        there = column[np.isfinite(column)]
        if len(there) < 2 or np.ptp(there) == 0:
            raise ArgumentError(f"Column {name!r} of targets= has fewer than two different numbers to train on.")
    return (np.nanmean(values, axis=0), np.nanstd(values, axis=0)) if len(names) else (np.zeros(0), np.ones(0))
