"""What a fitted method is: classes, and probabilities of rows it has seen and of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ..temperature import MIN_HELD_OUT, Calibration, calibration_of, predicted_without, tempered
from .cells import VisibleCells

BLOCK = 65_536  # rows that are predicted at once
MOST_COUNTED = 20_000  # rows whose types are counted


class Fitted(Protocol):
    """A fitted method."""

    @property
    def classes(self) -> list[str]:
        """Names of the columns of probabilities, sorted."""

    @property
    def calibration(self) -> Calibration:
        """Its temperature."""

    @property
    def notes(self) -> dict[str, Any]:
        """What was chosen while it was fitted: numbers and text, for the record."""

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Probabilities ``(m, classes)`` of rows ``(m, columns)``, not yet scaled."""

    def predict_seen(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The same of rows of the `VisibleCells` that it was fitted with; all of them by default."""


class ScoringRule(Protocol):
    """How a method answers, on the common scale."""

    def of_values(self, scaled: np.ndarray) -> np.ndarray:
        """Probabilities ``(m, classes)`` of rows that are on the common scale."""

    def of_rows(self, rows: np.ndarray) -> np.ndarray | None:
        """Probabilities of rows of the cells; None where they are those of their values."""


@dataclass(frozen=True)
class RuleFitted:
    """A rule with its classes and the cells whose scale it knows."""

    classes: list[str]
    cells: VisibleCells = field(repr=False)
    rule: ScoringRule
    calibration: Calibration = Calibration()
    notes: dict[str, Any] = field(default_factory=dict)

    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Probabilities ``(m, classes)`` of rows ``(m, columns)``, not yet scaled."""
        return in_blocks(lambda part: self.rule.of_values(self.cells.scaler.transform(values[part])), len(values), self)

    def predict_seen(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of rows of the cells."""
        rows = np.arange(len(self.cells)) if rows is None else rows

        def answer(part: slice) -> np.ndarray:
            known = self.rule.of_rows(rows[part])
            return self.rule.of_values(self.cells.scaled[rows[part]]) if known is None else known

        return in_blocks(answer, len(rows), self)


def in_blocks(answer: Callable[[slice], np.ndarray], n: int, fitted: Fitted) -> np.ndarray:
    """Probabilities of all rows, made block by block and divided by the temperature."""
    out = np.empty((n, len(fitted.classes)))
    for start in range(0, n, BLOCK):
        part = slice(start, min(start + BLOCK, n))
        out[part] = tempered(answer(part), fitted.calibration.temperature)
    return out


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities ``(n, classes)`` of scores that are logarithms up to a constant of each row."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def held_out_probability(
    fit: Callable[[np.ndarray, np.ndarray], Fitted],
    rows: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of labelled rows by fits without their label, and which of `rows` they are.

    A row that is held out stays among the cells that are seen, as one without label.

    Parameters
    ----------
    fit
        Called with rows and their codes.
    rows, codes
        Labelled rows ``(n,)`` and their classes, from 0 on.
    groups
        Patient of each of them; whole patients are held out where there are enough.
    """

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return fit(rows[train], codes[train]).predict_seen(rows[test])

    return predicted_without(predict, codes, groups, random_state)


def some_rows(cells: VisibleCells) -> np.ndarray:
    """Rows of the cells, at most 20,000, drawn at random: their shares of types are those of all to a per cent."""
    return cells.drawn(MOST_COUNTED)


def called_shares(fitted: Fitted, rows: np.ndarray) -> np.ndarray:
    """Share ``(classes,)`` of the rows of the cells that are called by each type."""
    called = fitted.predict_seen(rows).argmax(axis=1)
    return np.bincount(called, minlength=len(fitted.classes)) / len(rows)


def with_temperature(
    fitted: RuleFitted, fit: Callable[[np.ndarray, np.ndarray], RuleFitted], rows: np.ndarray, codes: np.ndarray
) -> RuleFitted:
    """The same method with the temperature that suits labelled rows which were held out, in turn.

    Held-out rows of a type weigh together what the type does among all cells, by what the method calls them.
    """
    cells = fitted.cells
    probability, places = held_out_probability(fit, rows, codes, cells.groups_of(rows), cells.random_state)
    if len(places) < MIN_HELD_OUT:
        return fitted
    shares, patients = called_shares(fitted, some_rows(cells)), cells.groups_of(rows[places])
    return replace(fitted, calibration=calibration_of(probability, codes[places], shares, groups=patients))
