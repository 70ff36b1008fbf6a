"""From what the user asked for to a job, with every check made before the first window is encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._errors import ModelError
from .._logging import logger
from ..pp.elements import SampleElements, channel_names, image_array, labels_array, labels_to_image
from .cells import Cells
from .crop import CropJob
from .domain import domain_warnings
from .engine import Block, Job
from .geometry import image_pixel_sizes, resampling_ratios
from .normalize import intensity_range, marker_statistics
from .panel import Panel, marker_ids, resolve_panel, vocabulary_of
from .preprocess import prepare
from .proteins import protein_embeddings
from .reader import SampleReader
from .store import fingerprint
from .tiles import TileJob
from .windows import choose_window

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.encoder import Encoder

STRIDE, PADDING = 42, 120  # of tiles, in model pixels (VirTues, Methods, Aggregation)
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
    mode: str = "auto"
    stride: int | None = None
    padding: int | None = None
    stats: Mapping[str, object] | None = None
    marker_embeddings: object = None


@dataclass(frozen=True)
class Plan:
    """A job, its blocks, and what the record will say of them."""

    job: Job
    blocks: list[Block]
    panel: Panel
    identity: str
    notes: dict[str, object] = field(default_factory=dict)


def check_options(encoder: Encoder, options: Options) -> tuple[str, str, str]:
    """Mode, output and background to use; errors for what the model does not offer."""
    card = encoder.card
    mode = card.mode if options.mode == "auto" else options.mode
    if mode not in ("crop", "tile"):
        raise ModelError(f"mode={options.mode!r} is none of 'auto', 'crop', 'tile'.")
    if mode == "tile" and not {"token", "summary"} & set(card.outputs):
        raise ModelError(f"{card.name} offers no tokens to share out to cells. Pass mode='crop'.")
    for name in ("stride", "padding"):
        if getattr(options, name) is not None and mode != "tile":
            raise ModelError(f"{name}= belongs to mode='tile'; {card.name} is run with mode='crop'. Leave it out.")
        if getattr(options, name) is not None and getattr(options, name) < (1 if name == "stride" else 0):
            raise ModelError(f"{name}={getattr(options, name)} is too small. Pass a number of pixels.")
    if mode == "tile":  # one vector a position is the patch's; the tokens of each marker are the marker's
        offered = ["patch", *(["marker"] if "token" in card.outputs else [])]
    else:
        offered = [name for name in card.outputs if name in ("patch", "marker")]
    output = options.output or (card.default_output if card.default_output in offered else offered[0])
    if output not in offered:
        raise ModelError(f"{card.name} has no output {output!r} for cells; it offers {offered}. Mend output=.")
    background = options.background or ("keep" if mode == "tile" else card.background)
    if mode == "tile" and background == "zero":
        raise ModelError("background='zero' masks one cell's window; tiles hold many cells. Pass mode='crop'.")
    if background not in ("zero", "keep"):
        raise ModelError(f"background={background!r} is neither 'zero' nor 'keep'.")
    if options.normalization not in ("auto", "published", "cohort"):
        raise ModelError(f"normalization={options.normalization!r} is none of 'auto', 'published', 'cohort'.")
    if options.normalization == "published" and card.normalization != "marker statistics":
        raise ModelError(f"{card.name} has no published marker statistics. Pass normalization='auto'.")
    return mode, output, background


def make_plan(
    sdata: SpatialData, pairs: Sequence[SampleElements], cells: Cells, encoder: Encoder, options: Options
) -> Plan:
    """Resolve the panel, pixel sizes, statistics and windows of a run."""
    card = encoder.card
    mode, output, background = check_options(encoder, options)
    panel = resolve_panel(
        [channel_names(sdata, pair.image) for pair in pairs],
        markers=options.markers,
        mapping=options.mapping,
        on_unknown=options.on_unknown
        or ("raise" if card.marker_vocabulary in ("ids", "protein embedding") else "keep"),
    )
    panel, markers, ids = _markers(encoder, panel, options)
    if panel.dropped:
        logger.info("channels left out: %s", "; ".join(f"{name} ({why})" for name, why in panel.dropped.items()))
    sizes = image_pixel_sizes(sdata, pairs, options.mpp, required=card.mpp is not None)
    ratios = resampling_ratios(card, sizes, resample=options.resample)
    entries = vocabulary_of(encoder, panel.markers)
    warned = domain_warnings(
        card,
        [channel_names(sdata, pair.image) for pair in pairs],
        sizes,
        ratios,
        n_markers=len(panel.markers),
        n_known=len(entries) if encoder.n_marker_ids else None,
    )
    raw = [
        _reader(sdata, pair, panel, number, ratio, options.intensity_max)
        for number, (pair, ratio) in enumerate(zip(pairs, ratios, strict=True))
    ]
    readers = [prepare(reader) for reader in raw] if card.normalization == "virtues" else raw
    mean, std, sources = marker_statistics(
        card,
        panel.markers,
        entries,
        readers,
        tissue_of=raw,
        normalization=options.normalization,
        intensity_max=options.intensity_max,
        given=options.stats,
    )
    per_cell = np.asarray(ratios)[cells.sample]
    extents = cells.extents / per_cell
    window = choose_window(options.window, card.window, card.patch_size, extents, tiles=mode == "tile")
    common = {
        "encoder": encoder,
        "readers": readers,
        "labels": cells.labels,
        "sample": cells.sample,
        "centers": cells.centers / per_cell[:, None],
        "markers": markers.to(encoder.device) if isinstance(markers, torch.Tensor) else markers,
        "mean": torch.tensor(mean, dtype=torch.float32, device=encoder.device),
        "std": torch.tensor(std, dtype=torch.float32, device=encoder.device),
        "window": window,
        "background": background,
        "output": output,
    }
    notes = {
        "mode": mode,
        "domain_warnings": warned,
        "markers": list(panel.markers),
        "marker_ids": ids,
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
    }
    if mode == "tile":
        stride = STRIDE if options.stride is None else options.stride
        padding = PADDING if options.padding is None else options.padding
        job = TileJob(**common, stride=stride, padding=padding)
        notes |= {"stride": stride, "padding": padding}
    else:
        fitting = card.window is None and options.window is None
        job = CropJob(**common, extents=extents if fitting else None)
        notes["n_cells_truncated"] = int((extents > window + 1).sum())
        if notes["n_cells_truncated"]:
            logger.warning(
                "%d of %d cells reach beyond their window of %d pixels",
                notes["n_cells_truncated"],
                len(extents),
                window,
            )
    blocks = job.plan(BLOCK)
    return Plan(job, blocks, panel, _identity(job, blocks, notes), notes)


def _markers(
    encoder: Encoder, panel: Panel, options: Options
) -> tuple[Panel, torch.Tensor | list[str] | None, list[int] | None]:
    """What the model is told of the markers: ids, names, protein embeddings or nothing; those without are left out."""
    if encoder.card.marker_vocabulary == "protein embedding":
        embeddings, reasons = protein_embeddings(panel.markers, options.marker_embeddings, encoder.marker_dim)
        panel = panel.without(reasons)
        return panel, torch.tensor(np.stack([embeddings[name] for name in panel.markers])), None
    if options.marker_embeddings is not None:
        raise ModelError(f"{encoder.card.name} takes no marker embeddings. Leave out marker_embeddings=.")
    if encoder.card.marker_vocabulary == "names":  # as the model spells them, where it knows them
        entries = vocabulary_of(encoder, panel.markers)
        return panel, [entries[name].name if name in entries else name for name in panel.markers], None
    if not encoder.n_marker_ids:
        return panel, None, None
    ids = marker_ids(encoder, panel.markers, vocabulary_of(encoder, panel.markers))
    ids = [ids[name] for name in panel.markers]
    return panel, torch.tensor(ids), ids


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
            "centers": job.centers,
            "markers": job.markers.cpu().numpy() if isinstance(job.markers, torch.Tensor) else job.markers or "",
            "blocks": [[block.sample, block.n_units, block.y0, block.x0] for block in blocks],
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
