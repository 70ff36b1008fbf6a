"""Mean and standard deviation of every marker, over all images of a corpus that measure it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd

from .._errors import counted, warn
from ..embed.pixels.normalize import settled_statistics
from ..embed.pixels.prepared import of_statistics
from ..embed.pixels.statistics import merged, moments_of_images
from ..models.preparation import Preparation
from ..models.recipe import Recipe
from .corpus import Image
from .layout import value_of

Moments = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Standard:
    """What the pixels of one image are standardised with.

    Attributes
    ----------
    mean, std
        ``(M,)``.
    origin
        Where each comes from: ``"cohort"``, ``"published"``, ``"given"`` or ``"none"``.
    """

    mean: np.ndarray
    std: np.ndarray
    origin: tuple[str, ...]

    @cached_property
    def both(self) -> np.ndarray:
        """Means and standard deviations, ``(2, M)``, float32."""
        return np.stack([self.mean, self.std]).astype(np.float32)


def moments_of(images: Sequence[Image], recipe: Recipe) -> list[Moments | None]:
    """Tissue pixels, means and squared deviations of each image whose statistics count; they are read once and kept."""
    wanted = [
        recipe.normalization != "none"
        and image.given is None
        and (recipe.statistics_from == "cohort" or any(name not in image.entries for name in image.markers))
        for image in images
    ]
    chosen = [image for image, is_wanted in zip(images, wanted, strict=True) if is_wanted]
    parts = iter(
        moments_of_images(of_statistics([image.reader for image in chosen]), tissue_of=[image.raw for image in chosen])
        if chosen
        else []
    )
    return [next(parts) if is_wanted else None for is_wanted in wanted]


def standards(
    images: Sequence[Image],
    moments: Sequence[Moments | None],
    sets: Sequence[str],
    counts: Sequence[bool],
    model: str,
    recipe: Recipe,
) -> list[Standard]:
    """Statistics that each image is standardised with.

    Parameters
    ----------
    images, moments
        All images, and what `moments_of` gives of each.
    sets
        Name of the set of each image whose statistics it is standardised with: that of the whole corpus, or a data set.
    counts
        Whether an image's pixels count, such as those that are trained on. A marker that none of these has takes the
        others'.
    model, recipe
        Name of the model, and how it is used.
    """
    out: list[Standard | None] = [None] * len(images)
    done: dict[tuple, Standard] = {}
    for number, (image, one_set) in enumerate(zip(images, sets, strict=True)):
        key = (one_set, image.where, image.markers)
        if key not in done:
            alike = [
                other
                for other, other_set in zip(images, sets, strict=True)
                if (other_set, other.where, other.markers) == key
            ]
            mean, std, origin = settled_statistics(
                model,
                recipe,
                image.markers,
                image.entries,
                of_statistics([other.reader for other in alike]),
                tissue_of=[other.raw for other in alike],
                intensity_max=_range_of(recipe, [other.sample for other in alike]),
                given=image.given,
                of_cohort=partial(_together, image.markers, one_set, images, moments, sets, counts),
            )
            done[key] = Standard(mean, std, tuple(origin))
        out[number] = done[key]
    return [one for one in out if one is not None]


def _range_of(recipe: Recipe, samples: Sequence[str]) -> float | Mapping[str, float] | None:
    """Of a recipe, or None if it leaves some samples out."""
    given = recipe.intensity_max
    return None if isinstance(given, Mapping) and set(samples) - set(given) else given


def _together(
    markers: Sequence[str],
    one_set: str,
    images: Sequence[Image],
    moments: Sequence[Moments | None],
    sets: Sequence[str],
    counts: Sequence[bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each marker over the images of a set that have it."""
    means, stds = np.zeros(len(markers)), np.ones(len(markers))
    for place, marker in enumerate(markers):
        having = [
            (part, image.markers.index(marker), is_counted)
            for image, part, other, is_counted in zip(images, moments, sets, counts, strict=True)
            if other == one_set and part is not None and marker in image.markers
        ]
        chosen = [(part, at) for part, at, is_counted in having if is_counted] or [(part, at) for part, at, _ in having]
        _, mean, std = merged(
            [
                {"count": part["count"], "mean": part["mean"][at : at + 1], "squares": part["squares"][at : at + 1]}
                for part, at in chosen
            ]
        )
        means[place], stds[place] = mean[0], std[0]
    return means, stds


def sets_of(images: Sequence[Image], recipe: Recipe, dataset_key: str | None) -> list[str]:
    """The set whose statistics each image is standardised with.

    Models that prepare whole images have statistics of each data set (VirTues), others of the whole corpus (KRONOS).
    """
    if dataset_key is not None:
        return [str(value_of(image, dataset_key)) for image in images]
    if isinstance(recipe.preparation, Preparation):
        sources = [image.source for image in images]
        if 1 < len(sources) == len(set(sources)) and recipe.statistics_from != "given":
            warn(
                f"{counted(len(sources), 'source')} of one image each: every image is standardised by statistics of "
                "its own. If they are of one data set, put their stores into one folder, or pass dataset_key=."
            )
        return sources
    return ["corpus"] * len(images)


def marker_metadata(images: Sequence[Image], standards: Sequence[Standard]) -> pd.DataFrame:
    """One row for each marker: its id, and what its pixels are standardised with, where that is one over the corpus."""
    rows: dict[str, dict] = {}
    for image, standard in zip(images, standards, strict=True):
        for place, name in enumerate(image.markers):
            key = None if image.keys is None or image.keys.ndim > 1 else int(image.keys[place])
            row = rows.setdefault(
                name,
                {
                    "id": key,
                    "mean": standard.mean[place],
                    "std": standard.std[place],
                    "n_images": 0,
                    "from": standard.origin[place],
                },
            )
            row["n_images"] += 1
            if (row["mean"], row["std"]) != (standard.mean[place], standard.std[place]):
                row["mean"] = row["std"] = np.nan
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "marker"
    return table
