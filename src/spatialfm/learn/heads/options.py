"""What methods are told besides cells and labels."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    C: float | str = "grid"
    n_trials: int = 25
    calibrate: bool = True
    published: bool = False
    random_state: int = 0
    coverage: float | None = None
    by_type: bool = True
