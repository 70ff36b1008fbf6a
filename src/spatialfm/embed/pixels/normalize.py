"""Scale, mean and standard deviation of every marker, and where they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..._errors import PanelError, warn
from ..._types import is_short
from ...models.preparation import Preparation, PreparedPixels
from .reader import SampleReader
from .statistics import cohort_statistics

if TYPE_CHECKING:
    from ...models.encoder import MarkerEntry
    from ...models.recipe import Recipe

LOWEST, HIGHEST = 0.5, 25.0  # usual place of the 99th percentile of a marker, in standard deviations from the mean
Statistics = tuple[np.ndarray, np.ndarray, list[str]]  # mean (M,), standard deviation (M,), source of each
OfCohort = Callable[[], tuple[np.ndarray, np.ndarray]]


def settled_statistics(
    model: str,
    recipe: Recipe,
    markers: Sequence[str],
    entries: Mapping[str, MarkerEntry],
    readers: Sequence[SampleReader | PreparedPixels],
    *,
    tissue_of: Sequence[SampleReader],
    intensity_max: float | Mapping[str, float] | None,
    given: tuple[np.ndarray, np.ndarray] | None,
    of_cohort: OfCohort | None = None,
) -> Statistics:
    """Mean and standard deviation of each marker: given by the user, published with the model, or of the cohort.

    Parameters
    ----------
    model, recipe
        Name of the model, and how it is used.
    given
        What the user gave, ``(M,)`` each.
    of_cohort
        Gives those of the cohort, where it is larger than `readers`, ``(M,)`` each.

    Raises
    ------
    PanelError
        If statistics are asked for that do not exist, or published ones do not fit the pixels.
    """
    n = len(markers)
    if recipe.normalization == "none":
        return np.zeros(n), np.ones(n), ["none"] * n
    if given is not None:
        (mean, std), sources = (np.array(part, float) for part in given), ["given"] * n
        _check_scale(model, recipe, markers, mean, std, readers)
    else:
        mean, std, sources = _published_or_cohort(
            model,
            recipe,
            markers,
            entries,
            readers,
            intensity_max,
            of_cohort or (lambda: cohort_statistics(readers, tissue_of=tissue_of)),
        )
    flat = [name for name, value in zip(markers, std, strict=True) if not value > 0]
    if flat:
        warn(f"Markers with one value in all tissue pixels carry no information: {', '.join(flat)}.")
        std[~(std > 0)] = 1.0
    return (np.zeros(n) if recipe.normalization == "scale" else mean), std, sources


def _published_or_cohort(
    model: str,
    recipe: Recipe,
    markers: Sequence[str],
    entries: Mapping[str, MarkerEntry],
    readers: Sequence[SampleReader | PreparedPixels],
    intensity_max: float | Mapping[str, float] | None,
    of_cohort: OfCohort,
) -> Statistics:
    usable = recipe.normalization == "marker statistics" and recipe.statistics_from != "cohort"
    published = np.array([usable and name in entries for name in markers])
    lacking = [name for name, has in zip(markers, published, strict=True) if not has]
    if recipe.statistics_from == "published" and lacking:
        raise PanelError(
            f"{model} has no published statistics for {', '.join(lacking)}. Pass statistics='auto' to compute "
            "theirs over the tissue of the cohort, or markers= without them; models that take markers by a table take "
            "marker_metadata=<its path> where they are loaded."
        )
    dtypes = {str(reader.image.dtype) for reader in readers} - {"uint8", "uint16"}
    if published.any() and dtypes and intensity_max is None:
        raise PanelError(
            f"Published statistics are for pixels scaled to 0..1, and the range of {sorted(dtypes)[0]} pixels is "
            "unknown. Pass intensity_max=<value of the brightest possible pixel>, or statistics='cohort'."
        )
    mean = np.array([entries[name].mean if has else 0.0 for name, has in zip(markers, published, strict=True)])
    std = np.array([entries[name].std if has else 1.0 for name, has in zip(markers, published, strict=True)])
    if lacking:
        means, stds = of_cohort()
        mean[~published], std[~published] = means[~published], stds[~published]
        if published.any():
            warn(
                f"{model} has no published statistics for {', '.join(lacking)}: theirs are computed over the tissue "
                "of this cohort."
            )
    return mean, std, ["published" if has else "cohort" for has in published]


def _check_scale(
    model: str,
    recipe: Recipe,
    markers: Sequence[str],
    mean: np.ndarray,
    std: np.ndarray,
    readers: Sequence[SampleReader | PreparedPixels],
) -> None:
    """Statistics of raw or of scaled pixels, given to a model that takes the others, are seen by their size."""
    if isinstance(recipe.preparation, Preparation):
        highest = [reader.highest() for reader in readers if isinstance(reader, PreparedPixels)]
        known = [values for values in highest if values is not None]
        if not known:
            return
        top = np.max(known, axis=0)
        present = (top > 0) & (std > 0)
        if not present.any():
            return
        place = float(np.median((top[present] - mean[present]) / std[present]))
        if not LOWEST <= place <= HIGHEST:
            warn(
                f"statistics= do not seem to be of {recipe.preparation.words} pixels: the largest value of the median "
                f"marker is {place:.3g} standard deviations from its mean, where 1 to 10 are usual. Pass statistics "
                "of pixels prepared in this way, over the tissue."
            )
        return
    whole = [reader for reader in readers if is_short(reader.image.dtype)]
    if len(whole) < len(readers):
        return
    limit = max(np.iinfo(reader.image.dtype).max / reader.intensity_max for reader in whole)
    above = [f"{name} ({value:g})" for name, value in zip(markers, mean, strict=True) if value > limit]
    if above:
        raise PanelError(
            f"statistics= has means that no pixel reaches: {', '.join(above)}. {model} takes pixels divided by "
            f"intensity_max ({whole[0].intensity_max:g}), which are {limit:g} at most. Divide mean and standard "
            "deviation by it too."
        )
