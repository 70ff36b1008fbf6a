"""Windows around cells, read and cut as an embedding does it, for objectives that know something of cells."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .._errors import SpatialfmError, listed
from .._identity import fingerprint
from .._keys import PATIENT_KEY, SAMPLE_KEY
from ..embed.windows.blocks import window_starts
from ..embed.windows.crop import PointJob
from ..embed.windows.pool import encode_windows
from ..embed.windows.tiles import TileJob, share_out
from .augment import NOTHING, Augment, oriented
from .batch import WindowSample
from .workers import read_in_place, settle_worker

if TYPE_CHECKING:
    from ..embed.planned import EmbeddingPlan
    from ..embed.run.engine import Job
    from ..models.encoder import Encoder

KEPT_BYTES = 2**29  # of windows that were read: those of rare classes come again and again
JITTER = 4  # a cell is up to a so-manieth of a window from its middle, where an embedding has it anywhere in a tile


@dataclass(frozen=True)
class CellSample(WindowSample):
    """The window of one cell.

    Attributes
    ----------
    pixels
        ``(M, H, W)``, scaled as the recipe says and not yet normalised, which is the encoder's part.
    mask
        ``(H, W)``, True in the cell; None where cells have no outline and windows are taken whole.
    """

    mask: Tensor | None = None


class CellWindows:
    """One window per cell of a plan, for a loop of training.

    Parameters
    ----------
    plan
        What embedding these cells would do: readers, windows, centres, statistics.
    rows
        Cells to take, as rows of the plan's table.
    patients
        Patient of each of these rows.
    strata
        Name of the stratum of each row, which are drawn alike: its class; None: its patient.
    augment
        How windows are changed at random when they are trained on.
    tissue
        Whether a window is read as a whole, instead of its cell.

    Attributes
    ----------
    numbers
        Numbers that the samples of the windows bear.
    table
        One row per cell: ``source`` (image), ``sample``, ``patient``, ``y`` and ``x`` (first row and column of the
        window in model pixels), ``cell`` (name), ``stratum``.
    strata
        Numbers of the windows of each stratum.
    """

    def __init__(
        self,
        plan: EmbeddingPlan,
        rows: np.ndarray,
        patients: np.ndarray,
        strata: np.ndarray | None = None,
        augment: Augment | None = None,
        *,
        tissue: bool = False,
    ) -> None:
        self.tissue = tissue
        place = pd.Series(np.arange(len(plan.cells.rows)), index=plan.cells.rows).reindex(rows)
        if place.isna().any():
            lost = plan.table.obs_names[np.asarray(rows)[place.isna().to_numpy()]]
            raise SpatialfmError(f"Cells without pixels cannot be trained on: {listed(lost, 5)}. Leave them out.")
        job: Any = plan.run.job
        self.job: Job = job.to("cpu") if job.encoder.device.type != "cpu" else job
        self.cells = place.to_numpy(int)
        self.augment = Augment() if augment is None else augment
        pairs = [plan.pairs[number] for number in job.sample[self.cells]]
        starts = window_starts(job.centers[self.cells], job.window)
        names = np.asarray(patients, str) if strata is None else np.asarray(strata, str)
        self.table = pd.DataFrame(
            {
                "source": [pair.image for pair in pairs],
                SAMPLE_KEY: [pair.sample for pair in pairs],
                PATIENT_KEY: np.asarray(patients, str),
                "y": starts[:, 0],
                "x": starts[:, 1],
                "cell": plan.table.obs_names[rows].to_numpy(str),
                "stratum": names,
            }
        )
        self.numbers = np.arange(len(self.table))
        self.markers = tuple(plan.run.panel.markers)
        self.identity = plan.run.identity
        self._kept: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def strata(self) -> list[np.ndarray]:
        """Numbers of the windows of each stratum, in the order of their names."""
        names = self.table["stratum"].to_numpy()
        return [np.flatnonzero(names == name) for name in np.unique(names)]

    def part(self, numbers: np.ndarray) -> CellWindows:
        """Some of the windows, which keep the numbers that samples of them bear."""
        part = object.__new__(CellWindows)
        part.__dict__.update({k: v for k, v in self.__dict__.items() if k != "strata"})
        part.cells, part.numbers = self.cells[numbers], self.numbers[numbers]
        part.table = self.table.iloc[numbers].reset_index(drop=True)
        part._kept, part._bytes = OrderedDict(), 0
        return part

    def sample(
        self, index: int, rng: np.random.Generator, *, crop: bool = True, channels: bool = True, augment: bool = True
    ) -> CellSample:
        """The window of one cell.

        Parameters
        ----------
        index
            Number of the window.
        rng
            All that is random comes from it.
        crop
            Whether a cell may be off the middle of its window, in models that see it anywhere in a tile.
        channels
            Not used: all channels are seen, as in an embedding.
        augment
            Whether the window is changed at random.
        """
        settle_worker()
        of_place, of_change = rng.spawn(2)
        shift = of_place.integers(-self.margin, self.margin + 1, size=2) if crop and augment else np.zeros(2, int)
        pixels, mask = self._window(index, shift)
        both = np.concatenate([pixels, mask[None].astype(np.float32)])
        both = np.ascontiguousarray(oriented(both, self.augment if augment else NOTHING, of_change))
        tensor = torch.from_numpy(both)
        outline = None if isinstance(self.job, PointJob) else tensor[-1] > 0
        return CellSample(tensor[:-1], None, self.markers, int(self.numbers[index]), mask=outline)

    def encoding(self) -> CellEncoding:
        """How they become embeddings."""
        output = "patch" if self.tissue else self.job.outputs[0]
        return CellEncoding(replace(self.job, compile=False, autocast=False), output, self.tissue)

    @property
    def margin(self) -> int:
        """How far a window may be off its cell, in model pixels."""
        return self.job.window // JITTER if isinstance(self.job, TileJob) else 0

    def _window(self, index: int, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled pixels ``(M, H, W)`` and the outline of the cell in the window that is shifted by so much."""
        job, side = self.job, self.job.window
        reader = job.readers[int(job.sample[self.cells[index]])]
        start = self.table[["y", "x"]].iloc[index].to_numpy()
        first = self._inside(start, reader.shape)
        place = self._inside(first + shift, reader.shape)
        if index not in self._kept:
            region = self._read(index, first - self.margin)
            if self._bytes > KEPT_BYTES:
                self._bytes -= sum(part.nbytes for part in self._kept.popitem(last=False)[1])
            self._kept[index] = region
            self._bytes += sum(part.nbytes for part in region)
        self._kept.move_to_end(index)
        y, x = place - first + self.margin
        pixels, mask = (part[..., y : y + side, x : x + side] for part in self._kept[index])
        if not mask.any():  # no model pixel hits it: it has the one at its centroid, as in an embedding
            mask = np.zeros_like(mask)
            mask[tuple(np.clip(start + side // 2 - place, 0, side - 1))] = True
        return pixels, mask

    def _inside(self, start: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """First row and column, moved into the image for models that take no padding."""
        if self.job.encoder.card.pads:
            return start
        return np.clip(start, 0, np.maximum(0, np.array(shape) - self.job.window))

    def _read(self, index: int, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and outline of a window with its margin."""
        cell, job = int(self.cells[index]), self.job
        reader, side = job.readers[int(job.sample[cell])], job.window + 2 * self.margin
        (y0, x0), (y1, x1) = start.tolist(), (start + side).tolist()
        with read_in_place():
            return reader.pixels(y0, y1, x0, x1), reader.label_image(y0, y1, x0, x1) == int(job.labels[cell])

    def parts(self) -> dict[str, str]:
        """Digests of what a step sees, by what it is about."""
        contents: dict[str, Any] = {
            "images, labels, markers and statistics": self.identity,
            "cells": self.table["cell"].tolist(),
            "patients": self.table[PATIENT_KEY].tolist(),
            "strata": self.table["stratum"].tolist(),
            "augmentation": {name: getattr(self.augment, name) for name in self.augment.names()},
        }
        return {name: fingerprint({name: value}) for name, value in contents.items()}

    def __getstate__(self) -> dict[str, bytes]:
        # graphs of dask hold functions that pickle does not take; a worker needs no weights
        state = {k: v for k, v in self.__dict__.items() if k not in ("_kept", "job")}
        stand_in: Any = _NoWeights(self.job.encoder)
        return {"state": cloudpickle.dumps(state | {"job": replace(self.job, encoder=stand_in)})}

    def __setstate__(self, state: dict[str, bytes]) -> None:
        self.__dict__.update(cloudpickle.loads(state["state"]))
        self._kept, self._bytes = OrderedDict(), 0


class _NoWeights:
    """What a worker asks of an encoder when it reads windows."""

    def __init__(self, encoder: Encoder) -> None:
        self.card = encoder.card


@dataclass(frozen=True)
class CellEncoding:
    """How windows of cells become one vector each, as in an embedding, and with gradients.

    Attributes
    ----------
    job
        The job of the embedding; its encoder is not used.
    output
        Output of the encoder that becomes the embedding.
    tissue
        Whether it is of the whole window; otherwise, of models that see tiles, of the tokens below the cell.
    """

    job: Job
    output: str
    tissue: bool = False

    def __call__(self, encoder: Encoder, samples: Sequence[CellSample]) -> Tensor:
        """Embeddings ``(B, columns)`` of windows of cells, in the order in which `obsm` holds them."""
        job, device = self.job, encoder.device
        pixels = torch.stack([one.pixels for one in samples]).to(device)
        outlines = [one.mask for one in samples if one.mask is not None]
        masks = torch.stack(outlines).to(device) if outlines else torch.ones_like(pixels[:, 0], dtype=torch.bool)
        markers = job.markers.to(device) if isinstance(job.markers, Tensor) else job.markers
        out = encode_windows(
            encoder,
            pixels,
            masks if not isinstance(job, TileJob) else None,
            markers,
            job.mean.to(device),
            job.std.to(device),
            background=job.background,
            outputs=(self.output,) if self.tissue else replace(job, outputs=(self.output,)).wanted_outputs,
            recipe=job.recipe,
        )
        if self.tissue or not isinstance(job, TileJob):
            return getattr(out, self.output).flatten(1).float()
        number = torch.arange(1, len(samples) + 1, device=device)[:, None, None]
        cells, (sums,), counts = share_out([job.tokens_of(out, self.output).float()], masks * number, len(samples))
        # every mask has a pixel, so that all cells are there and in order
        return sums / counts[:, None]
