"""Which markers a panel should have: greedy forward selection with floating backward steps.

Sequential floating forward selection (Pudil, Novovicova and Kittler, Pattern Recognition Letters 1994): the marker that
improves the panel most enters; then markers leave as long as the smaller panel is better than the best of its size so
far. A marker that was useful alone, and is not beside others, is so replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .._threads import one_thread

BETTER = 1e-9  # by which a smaller panel must be better: rounding would go in circles


class ScoredPanel(Protocol):
    """A panel, its score, and the scores of the panels beside it."""

    @property
    def n_markers(self) -> int:
        """Number of candidates."""

    def score(self) -> float:
        """Of the panel as it is."""

    def if_toggled(self) -> np.ndarray:
        """Scores ``(M,)`` of the panels in which one marker enters, or leaves if it is inside."""

    def toggle(self, marker: int) -> None:
        """Let a marker enter, or leave if it is inside."""


@dataclass(frozen=True)
class BestPanel:
    """The best panel of a size.

    Attributes
    ----------
    markers
        Numbers of its markers, in the order in which they entered.
    score
        By which it was chosen: better than the score on other patients.
    cost
        Sum over its markers.
    """

    markers: tuple[int, ...]
    score: float
    cost: float


@one_thread()
def search_panels(
    panel: ScoredPanel, n_markers: int, *, keep: Sequence[int] = (), costs: np.ndarray | None = None
) -> dict[int, BestPanel]:
    """The best panel of each size up to `n_markers`.

    Parameters
    ----------
    panel
        Empty.
    n_markers
        Size of the largest.
    keep
        Markers that are in every panel.
    costs
        ``(M,)``, positive. The marker that enters improves the panel most for its cost, and a smaller panel that
        replaces another costs no more.
    """
    price = np.ones(panel.n_markers) if costs is None else np.asarray(costs, float)
    inside: list[int] = []
    best: dict[int, BestPanel] = {}

    def toggle(marker: int) -> None:
        inside.remove(marker) if marker in inside else inside.append(marker)
        panel.toggle(marker)

    def note() -> None:
        known, now = best.get(len(inside)), BestPanel(tuple(inside), panel.score(), float(price[inside].sum()))
        if known is None or now.score > known.score + BETTER:
            best[len(inside)] = now
            return
        for marker in set(inside) ^ set(known.markers):  # what was found before is better: the search goes on from it
            toggle(marker)
        inside[:] = known.markers

    for marker in keep:
        toggle(int(marker))
    if inside:
        note()
    while len(inside) < n_markers:
        gain = panel.if_toggled() - panel.score()
        gain = np.where(gain > 0, gain / price, gain * price)
        gain[inside] = -np.inf
        entered = int(np.argmax(gain))
        toggle(entered)
        note()
        while (leaves := _leaves(panel, inside, [*keep, entered], best, price)) is not None:
            toggle(leaves)
            note()
    return best


def _leaves(
    panel: ScoredPanel, inside: list[int], stay: Sequence[int], best: dict[int, BestPanel], price: np.ndarray
) -> int | None:
    """The marker without which the panel is better than the best of that size; None: there is none."""
    free = [marker for marker in inside if marker not in stay]
    known = best.get(len(inside) - 1)
    if not free or known is None:
        return None
    scores, cost = panel.if_toggled(), price[inside].sum()
    may = [marker for marker in free if cost - price[marker] <= known.cost + BETTER]
    if not may:
        return None
    worst = max(may, key=lambda marker: scores[marker])
    return worst if scores[worst] > known.score + BETTER else None


@dataclass(frozen=True)
class Role:
    """What a marker does in a panel.

    Attributes
    ----------
    loss
        What the panel's score loses without it.
    substitute, loss_with_substitute
        The marker outside of the panel that replaces it best, and what the score then loses; None: all are inside.
    """

    loss: float
    substitute: int | None
    loss_with_substitute: float


def roles(panel: ScoredPanel, markers: Sequence[int], *, keep: Sequence[int] = ()) -> dict[int, Role]:
    """The role of each marker of a panel, which is the state of `panel`; those that are kept have none."""
    whole, out = panel.score(), {}
    for marker in (one for one in markers if one not in keep):
        panel.toggle(marker)
        without, others = panel.score(), panel.if_toggled()
        others[list(markers)] = -np.inf
        place = int(np.argmax(others))
        there = bool(np.isfinite(others[place]))
        out[marker] = Role(whole - without, place if there else None, whole - others[place] if there else np.nan)
        panel.toggle(marker)
    return out


def redundancy_groups(values: np.ndarray, patient: np.ndarray, redundancy: float) -> np.ndarray:
    """Groups ``(M,)`` from 1 on of markers that say nearly the same: mean correlation within patients, both signs.

    Average linkage, cut where the mean absolute correlation between two groups is below `redundancy`. Means of patients
    are taken off, as stains that are bright in the same patients say nothing of cells; every patient weighs alike.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    total = np.zeros((values.shape[1],) * 2)
    for number in np.unique(patient):
        own = values[patient == number]
        own = own - own.mean(axis=0)
        total += own.T @ own / len(own)
    scale = np.sqrt(np.diagonal(total))
    scale = np.where(scale > 0, scale, np.inf)
    distance = np.clip(1 - np.abs(total / np.outer(scale, scale)), 0, 1)
    np.fill_diagonal(distance, 0)
    if len(distance) == 1:
        return np.ones(1, int)
    clusters = fcluster(linkage(squareform(distance, checks=False), "average"), 1 - redundancy, "distance")
    _, first, codes = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes] + 1  # numbered in the order of the markers
