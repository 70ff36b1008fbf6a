"""Probabilities of markers for the cells of whole images: checked, planned, run in blocks that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ..._errors import ModelError, PanelError, counted, listed
from ..._identity import fingerprint
from ..._logging import logger
from ...models.nimbus import CARD, MAGNIFICATION, Nimbus
from ...models.nimbus_tiles import LARGEST, Augmentation
from ...pp.arrays import channel_names
from ...pp.elements import SampleElements
from ...pp.pixel_sizes import TOLERANCE, image_pixel_sizes
from ..call import Run
from ..pixels.open import open_readers
from ..pixels.reader import SampleReader
from ..plan import encoder_identity
from ..session import run_blocks
from .job import ProbabilityBlock, ProbabilityJob, cell_means
from .normalizers import normalizers_of

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..run.store import BlockStore


@dataclass(frozen=True)
class ProbabilityPlan:
    """All that is settled before the first pass.

    Attributes
    ----------
    job, blocks, identity
        The run.
    places
        Number of the sample and of the marker of each reader of the job.
    notes
        Entries of the record.
    """

    job: ProbabilityJob
    blocks: list[ProbabilityBlock]
    identity: str
    places: list[tuple[int, int]]
    notes: dict[str, Any]


def plan_probabilities(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    markers: Sequence[str],
    network: Nimbus,
    *,
    augmentation: Augmentation,
    magnification: float | None,
    mpp: float | Mapping[str, float] | None,
    normalizers: Mapping[str, float],
    compile: bool = False,
    random_state: int = 0,
) -> ProbabilityPlan:
    """Images opened, normalisers found, and every image cut into passes of the network.

    Raises
    ------
    PixelSizeError
        If neither the magnification nor the size of a pixel is known.
    """
    channels = [channel_names(sdata, pair.image) for pair in pairs]
    sizes = image_pixel_sizes(sdata, pairs, mpp, required=magnification is None)
    ratios = [_ratio(size, magnification) for size in sizes]
    here = [[name for name in markers if name in names] for names in channels]
    chosen = [[names.index(name) for name in own] for names, own in zip(channels, here, strict=True)]
    ranges = {pair.sample: 1.0 for pair in pairs}
    whole = open_readers(
        sdata, pairs, chosen, [1.0] * len(pairs), sizes, ranges=ranges, tissue="all", on_nan="raise", area=False
    )
    places, readers, shapes = [], [], []
    for number, (reader, own, ratio) in enumerate(zip(whole, here, ratios, strict=True)):
        for place, name in enumerate(own):
            places.append((number, markers.index(name)))
            readers.append(reader.of_channels([place]))
            shapes.append(network_shape(reader, ratio))
    by_marker = {
        name: [reader for reader, (_, place) in zip(readers, places, strict=True) if place == j]
        for j, name in enumerate(markers)
    }
    normalizer_of = normalizers_of(by_marker, normalizers, random_state)
    job = ProbabilityJob(
        encoder=network,  # type: ignore[arg-type]  # what the engine asks of it, it has: a card, a device, tensors
        readers=readers,
        labels=np.zeros(0, np.int64),
        sample=np.zeros(0, np.int64),
        centers=np.zeros((0, 2)),
        markers=None,
        mean=torch.zeros(len(readers)),
        std=torch.tensor([normalizer_of[markers[place]] for _, place in places], dtype=torch.float32),
        window=LARGEST,
        background="keep",
        outputs=(),
        compile=compile,
        shapes=tuple(shapes),
        augmentation=augmentation,
    )
    blocks = job.plan(LARGEST)
    samples = [pair.sample for pair in pairs]
    notes = {
        "model": CARD.name,
        "license": CARD.license,
        "weights": network.weights.source,
        "weights_sha256": network.weights.sha256,
        "augmentation": augmentation,
        "magnification": magnification,
        # tables, as names of markers and samples need not be keys that a store can hold
        "normalizers": pd.DataFrame(
            {"normalizer": normalizer_of.values(), "given": [name in normalizers for name in normalizer_of]},
            index=list(normalizer_of),
        ),
        "images": pd.DataFrame(
            {"mpp": pd.Series(sizes, dtype=float).to_numpy(), "pixels_per_pixel": ratios}, index=samples
        ),
        "windows": sum(block.n_windows for block in blocks),
    }
    return ProbabilityPlan(job, blocks, _identity(job, whole, blocks), places, notes)


def network_shape(reader: SampleReader, ratio: float) -> tuple[int, int]:
    """Height and width of an image in pixels of the network, rounded down."""
    height, width = (max(1, int(side / ratio + 1e-6)) for side in reader.image.shape[-2:])
    return height, width


def _ratio(size: float | None, magnification: float | None) -> float:
    """Image pixels per pixel of the network, which sees images at a magnification of 10, about 1 µm per pixel."""
    if magnification is not None:
        return magnification / MAGNIFICATION
    ratio = float(CARD.mpp or 1) / float(size or 1)
    return 1.0 if abs(ratio - 1) <= TOLERANCE else ratio


def check_markers(
    sdata: SpatialData, pairs: Sequence[SampleElements], markers: Sequence[str], normalizers: Mapping[str, float]
) -> dict[str, float]:
    """Refuse markers and normalisers that cannot be, before weights are read; the latter as numbers.

    Raises
    ------
    PanelError
        If a marker is a channel of no image, or a normaliser is not above 0 or of no marker.
    """
    there = {name for pair in pairs for name in channel_names(sdata, pair.image)}
    if lacking := [name for name in markers if name not in there]:
        raise PanelError(
            f"Marker {lacking[0]!r} is a channel of no image; there are {listed(sorted(there), 60)}. Pass markers= "
            "without it."
        )
    if unknown := [name for name in normalizers if name not in markers]:
        raise PanelError(f"normalizers= has {unknown[0]!r}, which is not among the markers {listed(markers, 60)}.")
    for name, value in normalizers.items():
        if not (np.isfinite(value) and value > 0):
            raise PanelError(f"normalizers= divides {name!r} by {value!r}. Pass a number above 0.")
    return {name: float(value) for name, value in normalizers.items()}


def _identity(job: ProbabilityJob, images: Sequence[SampleReader], blocks: Sequence[ProbabilityBlock]) -> str:
    return fingerprint(
        {
            "job": type(job).__qualname__,
            **{f"model.{name}": value for name, value in encoder_identity(job.encoder).items()},
            "images": [reader.fingerprint for reader in images],
            "channels": [[reader.name, *reader.channel_names] for reader in job.readers],
            "normalizers": job.std,
            "shapes": job.shapes,
            "augmentation": job.augmentation,
            "compile": job.compile,
            "blocks": len(blocks),
            "device": job.encoder.device.type,
        }
    )


def run_probabilities(
    plan: ProbabilityPlan, how: Run, devices: Sequence[torch.device]
) -> tuple[list[dict[str, np.ndarray]], float]:
    """Labels of each reader with their mean probability and pixels, and the seconds that it took."""
    if how.precision != "float32":
        raise ModelError(f"precision={how.precision!r}: {CARD.name} computes in float32. Leave precision= out.")
    logger.info(
        "%s over %s", counted(plan.notes["windows"], "pass", "passes"), counted(len(plan.job.readers), "channel")
    )

    def means(store: BlockStore) -> list[dict[str, np.ndarray]]:
        return cell_means(plan.blocks, store.read, len(plan.job.readers))

    return run_blocks(plan.job, plan.blocks, plan.identity, how, devices, 1, means)
