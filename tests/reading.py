"""What a reader is held to: a small folder as a program writes it, the call that reads it, and what must come of it.

The cases of a reader are the list ``CASES`` of a file beside this one, `reading_<format>.py`; `io/test_contract.py`
runs all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from spatialdata import SpatialData

import spatialfm as sfm


@dataclass(frozen=True)
class Sample:
    """Truth of one sample: what was written, not what was read."""

    name: str
    mpp: float = 1.0
    channels: tuple[str, ...] = ()
    pixels: np.ndarray | None = None  # (c, y, x); None where the reader gives no image
    labels: np.ndarray | None = None  # (y, x); None where it gives no labels
    patient: str | None = None  # compared where `Case.has_samples`


@dataclass(frozen=True)
class Refusal:
    """One way in which users break the folder, and words of the message that they read."""

    name: str
    damage: Callable[[Path], None]
    message: str  # a regular expression
    read: Callable[[Path], object] | None = None  # another call; default: that of the case


@dataclass(frozen=True)
class Case:
    """A reader on one layout.

    Attributes
    ----------
    write
        Writes the files into an empty folder and returns the truth, one `Sample` for each.
    read
        The call, given that folder.
    pixel_readers
        Functions, as ``module:name``, through which every pixel comes. They must not be called before a pixel is asked
        for, and must be called then. Empty where the reader gives no pixels.
    cells
        Truth of ``sdata["table"]``, given the samples: a table with the columns ``sample``, ``id``, ``x``, ``y`` (µm)
        and one for each marker. None where the call makes no table.
    measures
        Whether the call measures cells, and so reads all pixels once.
    has_samples
        Whether the result has ``sdata["samples"]``.
    """

    name: str
    write: Callable[[Path], list[Sample]]
    read: Callable[[Path], SpatialData]
    pixel_readers: tuple[str, ...] = ("spatialfm.io._reader:read_page",)
    cells: Callable[[list[Sample]], pd.DataFrame] | None = None
    measures: bool = False
    has_samples: bool = True
    refusals: tuple[Refusal, ...] = ()


def blobs(height: int, width: int, first: int = 1, *, step: int = 8, side: int = 5) -> np.ndarray:
    """Labels ``(y, x)``: squares on a grid, whose ids have gaps (`first`, `first` + 2, ...)."""
    labels = np.zeros((height, width), np.uint16)
    corners = [(y, x) for y in range(1, height - side, step) for x in range(1, width - side, step)]
    for i, (y, x) in enumerate(corners):
        labels[y : y + side, x : x + side] = first + 2 * i
    return labels


def counts(n_channels: int, height: int, width: int, start: int = 0) -> np.ndarray:
    """Pixels ``(c, y, x)`` that all differ, so that no place and no channel can be taken for another."""
    return (start + np.arange(n_channels * height * width, dtype=np.uint16)).reshape(n_channels, height, width)


def measured(samples: list[Sample]) -> pd.DataFrame:
    """Mean of each channel and centroid in µm of every cell, by one pass over its pixels."""
    rows = []
    for sample in samples:
        for label in np.unique(sample.labels)[1:]:
            y, x = np.nonzero(sample.labels == label)
            means = sample.pixels[:, y, x].astype(float).mean(axis=1)
            place = {"x": (x.mean() + 0.5) * sample.mpp, "y": (y.mean() + 0.5) * sample.mpp}
            values = dict(zip(sample.channels, means, strict=True))
            rows.append({"sample": sample.name, "id": int(label), **place, **values})
    return pd.DataFrame(rows)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file in a folder: what a reader must leave as it is."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def survival_of(sdata: SpatialData, *, n_groups: int = 2):
    """From an object that was read to the survival curves of groups of patients.

    The phenotype of a cell is the marker in which it is brightest, each in units of its own standard deviation.
    """
    adata = sdata["table"]
    values = np.asarray(adata.X, dtype=float)
    brightest = ((values - values.mean(axis=0)) / values.std(axis=0)).argmax(axis=1)
    adata.obs["phenotype"] = pd.Categorical(adata.var_names[brightest])
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    sfm.tl.stratify(patients, n_groups=n_groups)
    sfm.tl.kaplan_meier(patients, "risk_group")
    return patients
