"""What simulated cells express: their type's markers, those it shares, states between types, and heavy tails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._simulate_difficulty import Biology
from ._simulate_panel import MARKERS, SPREAD_LIMIT, TYPES, panel

# types that come from each other, or are hard to tell apart: they share markers, and cells between them exist
RELATED = {
    "Tumor": ("Fibroblast",),
    "CD8 T": ("CD4 T",),
    "CD4 T": ("Treg", "CD8 T"),
    "Treg": ("CD4 T",),
    "B": ("CD4 T",),
    "Macrophage": ("Dendritic", "Neutrophil"),
    "Dendritic": ("Macrophage",),
    "Neutrophil": ("Macrophage",),
    "Fibroblast": ("Endothelial", "Tumor"),
    "Endothelial": ("Fibroblast",),
}
# markers that alone tell related types apart, in one panel or the other
TELLING = ("CD8", "CD4", "FOXP3", "CD20", "CD68", "PD1", "CD11c", "CD15", "CD25", "CD31")
_TAIL_LIMIT = 4.0  # natural logs after which heavy tails are cut: a factor of 55


@dataclass(frozen=True)
class TypeMixture:
    """Cells between two types.

    Attributes
    ----------
    other
        ``(n,)`` index of the other type.
    share
        ``(n,)`` how much of the cell is of the other type, 0 to 0.5.
    """

    other: np.ndarray
    share: np.ndarray


def mixture_columns(mixtures: Sequence[TypeMixture | None]) -> dict[str, pd.Categorical | np.ndarray]:
    """Columns ``other_type`` and ``other_share`` of the cells of all samples; none where types are apart."""
    drawn = [mixture for mixture in mixtures if mixture is not None]
    if len(drawn) < len(mixtures):
        return {}
    return {
        "other_type": pd.Categorical.from_codes(np.concatenate([mixture.other for mixture in drawn]), TYPES),
        "other_share": np.concatenate([mixture.share for mixture in drawn]),
    }


def draw_mixture(types: np.ndarray, continuum: float, rng: np.random.Generator) -> TypeMixture:
    """Which cells are between their type and a related one (a share `continuum` of them), and how far."""
    related = [[TYPES.index(name) for name in RELATED[own]] for own in TYPES]
    pick = rng.random(len(types))
    other = np.array([related[t][int(u * len(related[t]))] for t, u in zip(types, pick, strict=True)], np.int64)
    between = rng.random(len(types)) < continuum
    share = np.where(between, 0.5 * rng.random(len(types)), 0.0)
    return TypeMixture(other.reshape(len(types)), share)


def shared(level: np.ndarray, sharing: float) -> np.ndarray:
    """Levels ``(T, M)`` where every type shows a share of what its related types express, if that is more."""
    if sharing == 0:
        return level
    others = np.array([level[[TYPES.index(name) for name in RELATED[own]]].max(axis=0) for own in TYPES])
    return np.maximum(level, sharing * others)


def expression(
    types: np.ndarray,
    states: np.ndarray,
    gain: np.ndarray,
    rng: np.random.Generator,
    n_markers: int,
    biology: Biology = Biology(),  # noqa: B008  frozen
    further: Callable[[str], np.random.Generator] | None = None,
) -> tuple[np.ndarray, TypeMixture | None]:
    """Relative expression ``(n, M)`` of cells of given type and state, and which of them are between types.

    Random numbers are drawn for the large panel in any case, so that a cohort with 12 markers is the same
    tissue as the one with 40. `further` gives those of difficult tissue, a stream for each subject, so that one
    number of the difficulty leaves the others' draws as they are.
    """
    markers, n = panel(n_markers), len(types)
    base = shared(markers.level, biology.marker_sharing)
    level, mixture = np.clip(base[types] + states[:, None] * markers.load[types], 0, None), None
    if biology.continuum > 0 and further is not None:
        mixture = draw_mixture(types, biology.continuum, further("mixture"))
        second = np.clip(base[mixture.other] + states[:, None] * markers.load[mixture.other], 0, None)
        level = (1 - mixture.share[:, None]) * level + mixture.share[:, None] * second
    level = level + biology.nonspecific
    spread = np.clip(rng.standard_normal((n, len(MARKERS)), np.float32), -SPREAD_LIMIT, SPREAD_LIMIT)
    logs = biology.expression_spread * spread[:, :n_markers]
    if biology.expression_tail > 0 and further is not None:
        # Student's t: a normal over the root of a mean of squares; the tail is one over the degrees of freedom
        freedom = 1 / biology.expression_tail
        squares = further("tail").chisquare(freedom, (n, len(MARKERS)))[:, :n_markers] / freedom
        logs = np.clip(logs / np.sqrt(squares), -_TAIL_LIMIT, _TAIL_LIMIT)
    if biology.section_spread > 0 and further is not None:
        cut = np.clip(further("section").standard_normal(n), -SPREAD_LIMIT, SPREAD_LIMIT)
        logs = logs + biology.section_spread * cut[:, None]
    return (level * gain[:n_markers] * np.exp(logs)).astype(np.float32), mixture
