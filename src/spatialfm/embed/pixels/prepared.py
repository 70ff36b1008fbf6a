"""The images of a run as a model's own preparation has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...models.preparation import PreparedPixels
from ...models.recipe import Recipe
from .reader import SampleReader
from .tissue import find_tissue, tissue_identity


@dataclass(frozen=True)
class TissueOf:
    """Tissue of an image, for a preparation that asks for it."""

    reader: SampleReader

    @property
    def identity(self) -> str:
        """What decides it, besides the pixels."""
        return tissue_identity(self.reader)

    def find(self) -> tuple[np.ndarray, int]:
        """Mask, and how many model pixels one of its pixels spans."""
        return find_tissue(self.reader)


def prepare_readers(readers: Sequence[SampleReader], recipe: Recipe, known: Sequence[np.ndarray | None]) -> list[Any]:
    """Each image as the recipe prepares it; `known`: values that were published for it."""
    if recipe.preparation is None:
        return list(readers)
    made: list[Any] = [
        recipe.prepare(reader, TissueOf(reader), values) for reader, values in zip(readers, known, strict=True)
    ]
    return made


def of_statistics(readers: Sequence[SampleReader | PreparedPixels]) -> list[SampleReader | PreparedPixels]:
    """The pixels that mean and standard deviation of the cohort are of."""
    return [reader.of_statistics() if isinstance(reader, PreparedPixels) else reader for reader in readers]


def preparation_notes(
    samples: Sequence[str], readers: Sequence[SampleReader | PreparedPixels]
) -> dict[str, dict[str, Any]]:
    """Entries of the record on the preparation: each note by sample."""
    notes: dict[str, dict[str, Any]] = {}
    for sample, reader in zip(samples, readers, strict=True):
        for name, value in (reader.notes() if isinstance(reader, PreparedPixels) else {}).items():
            notes.setdefault(name, {})[sample] = value
    return notes


def padded(reader: SampleReader | PreparedPixels, window: int, padding: int | None) -> SampleReader | PreparedPixels:
    """A prepared image with the zeros around it; None: as many as a window that begins in the image needs."""
    if not isinstance(reader, PreparedPixels):
        return reader
    if padding is not None:
        return reader.padded(padding, padding)
    rows, columns = (max(0, window - side) for side in reader.shape)
    return reader.padded(rows, columns)
