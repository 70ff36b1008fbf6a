"""What methods are told besides cells and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fitted import Fitted


@dataclass(frozen=True)
class Options:
    """Options of all methods; those that a method has no use for are left.

    Attributes
    ----------
    C, n_trials
        Penalty of the linear probe, and trials that search it.
    calibrate
        Whether probabilities are divided by a temperature that suits held-out labels.
    published
        The linear probe as KRONOS has it.
    random_state
        Seed.
    coverage, by_type
        Share of cells of new patients whose set of types holds the true one; None: no sets. Whether it holds for each
        type by itself.
    like
        The same method fitted to all labels, whose penalty, temperatures and weights of parts are kept: what is fitted
        again and again with some labels held out would otherwise hold others out of these to find the same numbers.
    """

    C: float | str = "grid"
    n_trials: int = 25
    calibrate: bool = True
    published: bool = False
    random_state: int = 0
    coverage: float | None = None
    by_type: bool = True
    like: Fitted | None = None

    def again(self, fitted: Fitted) -> Options:
        """Options of fits to some of the labels that `fitted` was fitted to: nothing is found again."""
        return replace(self, calibrate=False, coverage=None, like=fitted)

    def of_part(self, number: int) -> Options:
        """Options of a part of a mixture."""
        parts: Any = getattr(self.like, "parts", None)
        return replace(self, calibrate=False, like=None if parts is None else parts[number])

    @property
    def penalty(self) -> float | str:
        """Penalty of the linear probe: that which was found, or what was asked for."""
        return self.C if self.like is None else self.like.notes.get("C", self.C)
