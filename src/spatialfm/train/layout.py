"""Which windows there are: a grid over the tissue of each image, and what is refused before any pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._errors import ClinicalError, ModelError, PanelError, counted, listed, warn
from .._keys import PATIENT_KEY
from .._spelling import by_reading
from ..embed.windows.grid import tissue_grid
from ..models.encoder import Encoder
from ..models.recipe import Recipe
from .augment import Augment
from .channels import N_OTHERS, Draw
from .corpus import Image

BY_VOCABULARY: dict[str, Draw] = {"ids": "nuclear", "protein embedding": "share"}  # as published with each
OF_SOURCES = ("source", "sample")  # what windows may be drawn by, besides columns of the samples
TAKEN = ("image", "y", "x", "tissue_share")


@dataclass(frozen=True)
class WindowSettings:
    """What windows are, and what is made of one."""

    model: str
    recipe: Recipe
    size: int
    crop: int | None
    stride: int
    min_tissue: float
    channels: Draw
    augment: Augment
    strata: tuple[str, ...]
    patient_key: str
    dataset_key: str | None

    @property
    def reading(self) -> Recipe:
        """How cells are read by what is trained: in tiles as large as what a step sees, of models that see tiles."""
        recipe, side = self.recipe, self.size if self.crop is None else self.crop
        if recipe.mode != "tile" or recipe.window in (None, side):
            return recipe
        share = side / recipe.window
        return recipe.replace(
            window=side,
            stride=max(1, round(share * (recipe.stride or side))),
            padding=None if recipe.padding is None else round(share * recipe.padding),
        )

    def parts(self) -> dict[str, Any]:
        """All of it, as a record keeps it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("recipe", "augment")}
        augment = {name: getattr(self.augment, name) for name in self.augment.names()}
        return {**fields, "recipe": self.recipe.storable(), "augment": augment}


def check_settings(settings: WindowSettings, encoder: Encoder) -> None:
    """Sizes that make sense, and a model whose pixels are normalised here."""
    if type(encoder).normalize is not Encoder.normalize:
        raise ModelError(f"{settings.model} normalises pixels in its own way, and cannot be trained here.")
    if settings.size < 1 or settings.stride < 1 or not 0 <= settings.min_tissue <= 1:
        raise ModelError(
            f"size={settings.size} and stride={settings.stride} must be 1 or more, and "
            f"min_tissue={settings.min_tissue} from 0 to 1."
        )
    if settings.crop is not None and not 1 <= settings.crop <= settings.size:
        raise ModelError(f"crop={settings.crop} must be 1 to {settings.size}, the size of a window (size=).")
    patch = encoder.card.patch_size
    side = settings.size if settings.crop is None else settings.crop
    if patch is not None and side % patch:
        name = "size" if settings.crop is None else "crop"
        raise ModelError(f"{name}={side} must be a multiple of {patch}, the patch size of {settings.model}.")


def large_enough(images: Sequence[Image], size: int) -> list[Image]:
    """Images that hold a window; the others are named."""
    large = [image for image in images if min(image.raw.shape) >= size]
    small = [
        f"{image.name} ({image.raw.shape[0]} x {image.raw.shape[1]})" for image in images if min(image.raw.shape) < size
    ]
    if not large:
        raise ModelError(
            f"All {counted(len(images), 'image')} are smaller than a window of {size} pixels at the model's pixel "
            f"size: {listed(small, 5, quoted=False)}. Pass a smaller size= and crop=."
        )
    if small:
        warn(
            f"{counted(len(small), 'image')} of {len(images)} smaller than a window of {size} pixels left out: "
            f"{listed(small, 5, quoted=False)}. A smaller size= would keep them."
        )
    return large


def check_images(images: Sequence[Image], settings: WindowSettings) -> None:
    """Panels from which channels can be drawn, and columns that the settings name."""
    if settings.channels == "nuclear":
        without = {image.markers: image for image in images if not image.nuclear}
        if without:
            image = next(iter(without.values()))
            raise PanelError(
                f"channels='nuclear' needs a stain of nuclei, and image {image.name} has none: "
                f"{listed(image.markers, 20, quoted=False)}. Pass nuclear=<marker>, or channels='share' or 'all'."
            )
        few = [image for image in images if len(set(range(len(image.markers))) - set(image.nuclear)) < N_OTHERS]
        if few:
            raise PanelError(
                f"channels='nuclear' draws {N_OTHERS} markers beside the stain of nuclei, and image {few[0].name} has "
                f"{listed(few[0].markers, 20, quoted=False)}. Pass channels='all', or samples= without it."
            )
    if taken := [name for name in settings.strata if name in TAKEN]:
        raise ClinicalError(f"strata= names {taken[0]!r}, a column of windows.table itself. Rename it.")
    for name in [*settings.strata, *([] if settings.dataset_key is None else [settings.dataset_key])]:
        lacking = [image.name for image in images if value_of(image, name) is None]
        if lacking:
            raise ClinicalError(
                f"Column {name!r} has no value for {counted(len(lacking), 'sample')}: "
                f"{listed(lacking, 5, quoted=False)}. Add it to sdata['samples'] with sfm.pp.add_samples(sdata, table)."
            )
        values = dict.fromkeys(value_of(image, name) for image in images)
        twice = [same for same in by_reading(values).values() if len(same) > 1 and name not in OF_SOURCES]
        if twice:
            raise ClinicalError(
                f"Column {name!r} of the samples spells {twice[0][0]!r} and {twice[0][1]!r}, which read alike and "
                "would count as two. If they are one, write them alike in sdata['samples'].obs; otherwise rename one."
            )


def value_of(image: Image, name: str) -> str | None:
    """Source or sample of an image, or what a column of the samples says of it, as text; None where it is missing."""
    return str(getattr(image, name)) if name in OF_SOURCES else text_of(image.columns.get(name))


def text_of(value: object) -> str | None:
    """A value of a column as text; None where it is missing. Patient 7 and patient 7.0 of another table are one."""
    if value is None or pd.isna(value):
        return None
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def enumerated(images: Sequence[Image], settings: WindowSettings) -> pd.DataFrame:
    """One row for each window of a grid over the tissue of each image."""
    grid = tissue_grid([image.raw for image in images], settings.size, settings.stride, settings.min_tissue)
    if not len(grid.sample):
        raise ModelError(
            f"No window of {settings.size} pixels holds {settings.min_tissue:.0%} of tissue in any of "
            f"{counted(len(images), 'image')}. Pass a smaller size= or min_tissue=."
        )
    of_window = [images[number] for number in grid.sample]
    table = pd.DataFrame(
        {
            "image": grid.sample,
            "source": [image.source for image in of_window],
            "sample": [image.sample for image in of_window],
            PATIENT_KEY: [text_of(image.columns.get(settings.patient_key)) for image in of_window],
            "y": grid.starts[:, 0],
            "x": grid.starts[:, 1],
            "tissue_share": grid.coverage,
        }
    )
    for name in settings.strata:
        if name not in OF_SOURCES:
            table[name] = [text_of(image.columns.get(name)) for image in of_window]
    return table


def strata_of(table: pd.DataFrame, names: Sequence[str]) -> list[np.ndarray] | None:
    """Numbers of the windows of each combination of values that occurs."""
    if not names:
        return None
    return [
        np.sort(numbers)
        for _, numbers in sorted(table.groupby(list(names)).indices.items(), key=lambda one: str(one[0]))
    ]
