"""From what the user asked for to a job, with every check made before the first window is encoded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._errors import ModelError, PanelError, SpatialfmWarning
from .._logging import logger
from ..pp.elements import SampleElements, channel_names, image_array, labels_array, labels_to_image
from .cells import Cells
from .engine import Job
from .geometry import image_pixel_sizes, resampling_ratios
from .panel import Panel, marker_ids, resolve_panel, vocabulary_of
from .reader import SampleReader
from .stats import cohort_statistics
from .store import fingerprint
from .windows import Block, choose_window, plan_blocks, window_starts

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.encoder import Encoder, MarkerEntry

BLOCK = 1024  # side in model pixels of what is read at a time; decides memory and speed, never the numbers


@dataclass(frozen=True)
class Options:
    """What the user may decide about an embedding; see `spatialfm.tl.embed_cells`."""

    markers: Sequence[str] | None = None
    mapping: Mapping[str, str | None] | None = None
    on_unknown: str | None = None
    output: str | None = None
    normalization: str = "auto"
    intensity_max: float | None = None
    background: str | None = None
    mpp: float | Mapping[str, float] | None = None
    resample: bool = True
    window: int | None = None


@dataclass(frozen=True)
class Plan:
    """A job, its blocks, and what the record will say of them."""

    job: Job
    blocks: list[Block]
    panel: Panel
    identity: str
    notes: dict[str, object] = field(default_factory=dict)


def check_options(encoder: Encoder, options: Options) -> tuple[str, str]:
    """Output and background to use; errors for what the model does not offer."""
    card = encoder.card
    output = options.output or card.default_output
    offered = [name for name in card.outputs if name in ("patch", "marker")]
    if output not in offered:
        raise ModelError(f"{card.name} has no output {output!r} for cells; it offers {offered}. Mend output=.")
    background = options.background or card.background
    if background not in ("zero", "keep"):
        raise ModelError(f"background={background!r} is neither 'zero' nor 'keep'.")
    if options.normalization not in ("auto", "published", "cohort"):
        raise ModelError(f"normalization={options.normalization!r} is none of 'auto', 'published', 'cohort'.")
    if options.normalization == "published" and card.normalization != "marker statistics":
        raise ModelError(f"{card.name} has no published marker statistics. Pass normalization='auto'.")
    return output, background


def make_plan(
    sdata: SpatialData, pairs: Sequence[SampleElements], cells: Cells, encoder: Encoder, options: Options
) -> Plan:
    """Resolve the panel, pixel sizes, statistics and windows of a run."""
    card = encoder.card
    output, background = check_options(encoder, options)
    panel = resolve_panel(
        [channel_names(sdata, pair.image) for pair in pairs],
        markers=options.markers,
        mapping=options.mapping,
        on_unknown=options.on_unknown or ("keep" if card.marker_vocabulary == "none" else "raise"),
    )
    if panel.dropped:
        logger.info("channels left out: %s", "; ".join(f"{name} ({why})" for name, why in panel.dropped.items()))
    sizes = image_pixel_sizes(sdata, pairs, options.mpp, required=card.mpp is not None)
    ratios = resampling_ratios(card, sizes, pairs, resample=options.resample)
    readers = [
        _reader(sdata, pair, panel, number, ratio, options.intensity_max)
        for number, (pair, ratio) in enumerate(zip(pairs, ratios, strict=True))
    ]
    entries = vocabulary_of(encoder, panel.markers)
    mean, std, sources = _statistics(encoder, panel, entries, readers, options)
    ids = marker_ids(encoder, panel.markers, entries) if encoder.n_marker_ids else None

    per_cell = np.asarray(ratios)[cells.sample]
    window = choose_window(options.window, card.window, card.patch_size, cells.extents / per_cell)
    starts = window_starts(cells.centers / per_cell[:, None], window)
    blocks = []
    for number in range(len(pairs)):
        members = np.flatnonzero(cells.sample == number)
        blocks += plan_blocks(number, members, starts[members], window, BLOCK)
    n_truncated = int((cells.extents / per_cell > window + 1).sum())
    if n_truncated:
        logger.warning("%d of %d cells reach beyond their window of %d pixels", n_truncated, len(starts), window)

    device = encoder.device
    job = Job(
        encoder=encoder,
        readers=readers,
        labels=cells.labels,
        starts=starts,
        markers=None if ids is None else torch.tensor([ids[name] for name in panel.markers], device=device),
        mean=torch.tensor(mean, dtype=torch.float32, device=device),
        std=torch.tensor(std, dtype=torch.float32, device=device),
        window=window,
        background=background,
        output=output,
        extents=cells.extents / per_cell if card.window is None and options.window is None else None,
    )
    notes = {
        "markers": list(panel.markers),
        "marker_ids": None if ids is None else [ids[name] for name in panel.markers],
        "markers_dropped": panel.dropped,
        "channels": {pair.sample: names for pair, names in zip(pairs, panel.names, strict=True)},
        "normalization": card.normalization,
        "normalization_mean": list(map(float, mean)),
        "normalization_std": list(map(float, std)),
        "normalization_source": sources,
        "intensity_max": {pair.sample: reader.intensity_max for pair, reader in zip(pairs, readers, strict=True)},
        "background": background,
        "output": output,
        "window": window,
        "mpp_image": {pair.sample: size for pair, size in zip(pairs, sizes, strict=True)},
        "mpp_used": {
            pair.sample: None if size is None else size * ratio
            for pair, size, ratio in zip(pairs, sizes, ratios, strict=True)
        },
        "n_cells_truncated": n_truncated,
    }
    return Plan(job, blocks, panel, _identity(job, blocks, notes), notes)


def intensity_range(dtype: np.dtype, intensity_max: float | None) -> float:
    """Pixel value that becomes 1: what the user says, the range of 8- and 16-bit pixels, 1 for all others."""
    if intensity_max is not None:
        if intensity_max <= 0:
            raise PanelError(f"intensity_max={intensity_max} must be positive.")
        return float(intensity_max)
    return float(np.iinfo(dtype).max) if dtype in (np.uint8, np.uint16) else 1.0


def _reader(
    sdata: SpatialData, pair: SampleElements, panel: Panel, number: int, ratio: float, intensity_max: float | None
) -> SampleReader:
    image = image_array(sdata, pair.image)
    return SampleReader(
        name=pair.image,
        labels_name=pair.labels,
        image=image.data,
        labels=labels_array(sdata, pair.labels).data,
        channels=panel.channels[number],
        channel_names=panel.names[number],
        intensity_max=intensity_range(image.dtype, intensity_max),
        ratio=ratio,
        image_to_labels=labels_to_image(sdata, pair).inverse(),
    )


def _statistics(
    encoder: Encoder,
    panel: Panel,
    entries: Mapping[str, MarkerEntry],
    readers: Sequence[SampleReader],
    options: Options,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mean, standard deviation and where they come from, for each marker."""
    card, n = encoder.card, len(panel.markers)
    if card.normalization == "none":
        return np.zeros(n), np.ones(n), ["none"] * n
    usable = card.normalization == "marker statistics" and options.normalization != "cohort"
    published = [usable and name in entries for name in panel.markers]
    if options.normalization == "published" and not all(published):
        lacking = [name for name, has in zip(panel.markers, published, strict=True) if not has]
        raise PanelError(
            f"{card.name} has no published statistics for {', '.join(lacking)}. Pass normalization='auto' to compute "
            "theirs "
            "over the tissue of the cohort, marker_metadata=<path of marker_metadata.csv>, or markers= without them."
        )
    dtypes = {str(reader.image.dtype) for reader in readers} - {"uint8", "uint16"}
    if any(published) and dtypes and options.intensity_max is None:
        raise PanelError(
            f"Published statistics are for pixels scaled to 0..1, and the range of {sorted(dtypes)[0]} pixels is "
            "unknown. "
            "Pass intensity_max=<value of the brightest possible pixel>, or normalization='cohort'."
        )
    mean = np.array([entries[name].mean if has else 0.0 for name, has in zip(panel.markers, published, strict=True)])
    std = np.array([entries[name].std if has else 1.0 for name, has in zip(panel.markers, published, strict=True)])
    if not all(published):
        of_cohort = cohort_statistics(readers)
        lacks = ~np.array(published)
        mean[lacks], std[lacks] = of_cohort[0][lacks], of_cohort[1][lacks]
        flat = [name for name, value in zip(panel.markers, std, strict=True) if not value > 0]
        if flat:
            warnings.warn(
                f"Marker(s) {', '.join(flat)} have the same value in all tissue pixels: they carry no information.",
                SpatialfmWarning,
                stacklevel=2,
            )
            std[std <= 0] = 1.0
        if any(published):
            names = ", ".join(np.array(panel.markers)[lacks])
            warnings.warn(
                f"{card.name} has no published statistics for {names}: theirs are computed over the tissue of this "
                "cohort.",
                SpatialfmWarning,
                stacklevel=2,
            )
    if card.normalization == "scale":
        mean = np.zeros(n)
    return mean, std, ["published" if has else "cohort" for has in published]


def _identity(job: Job, blocks: Sequence[Block], notes: Mapping[str, object]) -> str:
    """Fingerprint of all that decides the numbers, images included (by a sample of their pixels)."""
    encoder = job.encoder
    images = []
    for reader in job.readers:
        height, width = reader.shape
        y, x = max(0, height // 2 - 64), max(0, width // 2 - 64)
        digest = hashlib.sha256(reader.pixels(y, y + 128, x, x + 128).tobytes())
        digest.update(reader.label_image(y, y + 128, x, x + 128).tobytes())
        images.append([list(reader.image.shape), str(reader.image.dtype), digest.hexdigest()])
    return fingerprint(
        {
            "model": encoder.card.name,
            "options": encoder.options,
            "weights": state_hash(encoder),
            "notes": dict(notes),
            "images": images,
            "labels": job.labels,
            "starts": job.starts,
            "blocks": [[block.sample, len(block.cells), block.y0, block.x0] for block in blocks],
            "device": str(encoder.device),
        }
    )


def state_hash(encoder: Encoder) -> str:
    """SHA-256 of an encoder's parameters and buffers, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
