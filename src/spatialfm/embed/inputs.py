"""What a run works on, whatever its windows are: markers, pixel sizes, readers, statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._errors import ModelError, PanelError, warn
from .._logging import logger
from ..models.encoder import STD_EPSILON
from ..pp.arrays import channel_names, image_array
from ..pp.elements import SampleElements
from ..pp.missing_chunks import report_missing_chunks
from ..pp.tissue_sources import Tissue, tissue_sources
from .domain import domain_warnings
from .markers.panel import Panel, marker_ids, resolve_panel, vocabulary_of
from .markers.proteins import find_embeddings
from .pixels.decoded import Decoded
from .pixels.geometry import EXACT, common_pixel_size, image_pixel_sizes, resampling_ratios
from .pixels.levels import say_levels
from .pixels.normalize import intensity_ranges, marker_statistics
from .pixels.odd_report import report_odd_pixels
from .pixels.open import open_reader
from .pixels.preprocess import PreparedReader, prepare, statistics_readers
from .pixels.published import GivenStatistics, clip_of, of_markers, read_statistics
from .pixels.reader import SampleReader
from .pixels.tissue import tissue_notes

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.encoder import Encoder, MarkerEntry


@dataclass(frozen=True)
class Options:
    """What the user may decide about an embedding; see `spatialfm.tl.embed_cells`."""

    markers: Sequence[str] | None = None
    mapping: Mapping[str, str | None] | None = None
    on_unknown: str | None = None
    outputs: str | Sequence[str] | None = None
    normalization: str = "auto"
    intensity_max: float | Mapping[str, float] | None = None
    background: str | None = None
    mpp: float | Mapping[str, float] | None = None
    resample: bool = True
    window: int | None = None
    centers: tuple[str, str] | None = None
    mode: str = "auto"
    stride: int | None = None
    padding: int | None = None
    stats: object = None
    marker_embeddings: object = None
    autocast: bool = False
    compile: bool = False
    on_nan: str = "raise"
    tissue: Tissue = "auto"
    workers: str | None = None  # device asked of the workers of a cluster, if one runs it
    arguments: Sequence[str] = ()  # of the public function that was called; messages name no others

    def offer(self, name: str) -> bool:
        """Whether the function that was called has an argument."""
        return not self.arguments or name in self.arguments


@dataclass(frozen=True)
class Inputs:
    """Everything but the windows.

    Attributes
    ----------
    encoder, options
        The model, and what the user decided.
    panel
        Markers and their channels.
    markers
        What the model is told of them: ids, embeddings, names or nothing.
    raw, readers
        One reader a sample: pixels as they are (scaled and resampled), and as the model's preparation has them.
    ratios
        Image pixels per model pixel of each sample.
    mean, std
        Statistics of the markers, ``(M,)``.
    notes
        What the record says of all this.
    """

    encoder: Encoder
    options: Options
    panel: Panel
    markers: torch.Tensor | list[str] | None
    raw: list[SampleReader]
    readers: list[SampleReader]
    ratios: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    notes: dict[str, object]

    def job_arguments(
        self, outputs: Sequence[str], background: str, window: int, padding: int | None = None
    ) -> dict[str, object]:
        """Arguments that every kind of job takes.

        Parameters
        ----------
        padding
            Zeros around the image before everything; None: as many as a window that begins in the image needs.
        """
        device, markers = self.encoder.device, self.markers
        return {
            "encoder": self.encoder,
            "readers": [_padded(reader, window, padding) for reader in self.readers],
            "markers": markers.to(device) if isinstance(markers, torch.Tensor) else markers,
            "mean": torch.tensor(self.mean, dtype=torch.float32, device=device),
            "std": torch.tensor(self.std, dtype=torch.float32, device=device),
            "window": window,
            "background": background,
            "outputs": tuple(outputs),
            "autocast": self.options.autocast,
            "compile": self.options.compile,
        }


def prepare_inputs(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    encoder: Encoder,
    options: Options,
    *,
    tiles: bool = False,
) -> Inputs:
    """Resolve the panel, pixel sizes, units and statistics; every check that needs no window is made here.

    `tiles`: windows are units of their own, so that their side must be the same in µm whatever the model.
    """
    card, names = encoder.card, [channel_names(sdata, pair.image) for pair in pairs]
    if options.normalization not in ("auto", "published", "cohort"):
        raise ModelError(f"normalization={options.normalization!r} is none of 'auto', 'published', 'cohort'.")
    if options.on_nan not in ("raise", "zero"):
        raise ModelError(f"on_nan={options.on_nan!r} is neither 'raise' nor 'zero'.")
    if options.normalization == "published" and card.normalization != "marker statistics":
        raise ModelError(f"{card.name} has no published marker statistics. Pass normalization='auto'.")
    if options.stats is not None and card.normalization == "none":
        raise PanelError(f"{card.name} takes pixels without statistics of markers. Leave out stats=.")
    if options.stats is not None and options.normalization != "auto":
        raise PanelError(f"stats= and normalization={options.normalization!r} contradict each other. Pass one of them.")
    panel = resolve_panel(
        names,
        markers=options.markers,
        mapping=options.mapping,
        on_unknown=options.on_unknown
        or ("raise" if card.marker_vocabulary in ("ids", "protein embedding") else "keep"),
    )
    entries = vocabulary_of(encoder, panel.markers)
    panel, markers, ids, origins = _markers(encoder, panel, entries, options)
    if panel.dropped:
        logger.info("channels left out: %s", "; ".join(f"{name} ({why})" for name, why in panel.dropped.items()))
    samples = [pair.sample for pair in pairs]
    of_size = tiles or not card.size_free
    encoder, sizes, ratios, used = _pixel_sizes(sdata, pairs, encoder, options, of_size=of_size)
    logged = card.normalization == "virtues"  # a logarithm takes pixels as they are
    dtypes = {pair.sample: image_array(sdata, pair.image).dtype for pair in pairs}
    ranges = _ranges(dtypes, options.intensity_max, card.name, logged=logged)
    pairs = report_missing_chunks(sdata, list(pairs))  # nothing where whoever found the cells has looked
    decoded = Decoded()
    raw = [
        open_reader(
            sdata,
            pair,
            channels,
            ratio=ratio,
            intensity_max=ranges[pair.sample],
            on_nan=options.on_nan,
            area=card.mpp is None,
            decoded=decoded,
        )
        for pair, channels, ratio in zip(pairs, panel.channels, ratios, strict=True)
    ]
    tissue = tissue_sources(sdata, pairs, options.tissue, [reader.shape for reader in raw], ratios, used)
    raw = [replace(reader, tissue=source) for reader, source in zip(raw, tissue, strict=True)]
    recipe = encoder.options.get("recipe", "released") if logged else None
    given = None if options.stats is None else read_statistics(options.stats, card, recipe)
    found = None if given is None else of_markers(given, panel.markers, panel.names)
    known = () if found is None else found[2]  # the names under which the markers stand in stats=
    odd = report_odd_pixels(samples, raw, can_zero=options.offer("on_nan"))
    say_levels(samples, raw, of_cohort=card.normalization in ("scale", "virtues"))
    readers, prepared = _prepared(raw, pairs, given, known) if logged else (raw, {})
    n_known = len(entries) if encoder.n_marker_ids else None
    warned = domain_warnings(card, names, sizes, ratios, n_markers=len(panel.markers), n_known=n_known, common=of_size)
    mean, std, sources = marker_statistics(
        card,
        panel.markers,
        entries,
        statistics_readers(readers, recipe) if logged else readers,
        tissue_of=raw,
        normalization=options.normalization,
        # a mapping that leaves samples out says nothing of their range
        intensity_max=None
        if isinstance(options.intensity_max, Mapping) and set(samples) - set(options.intensity_max)
        else options.intensity_max,
        given=None if found is None else found[:2],
    )
    _warn_of_ranges(given, raw)
    if (own := encoder.own_statistics) is not None and len(own[0]) == len(panel.markers):
        mean, std, sources = *(np.array(part, float) for part in own), ["model"] * len(panel.markers)
    notes = {
        "domain_warnings": warned,
        "markers": list(panel.markers),
        "marker_ids": ids,
        "marker_embeddings": origins,
        "markers_dropped": panel.dropped,
        "channels": dict(zip(samples, panel.names, strict=True)),
        "normalization": card.normalization,
        "recipe": recipe,
        "normalization_mean": list(map(float, mean)),
        "normalization_std": list(map(float, std)),
        "normalization_source": sources,
        "normalization_epsilon": STD_EPSILON if logged else 0.0,
        "stats": given and {"from": given.where, "names": dict(zip(panel.markers, known, strict=True))},
        **prepared,
        "intensity_max": {sample: reader.intensity_max for sample, reader in zip(samples, raw, strict=True)},
        "mpp_image": dict(zip(samples, sizes, strict=True)),
        "mpp_used": dict(zip(samples, used, strict=True)),
        "computed_in": "bfloat16" if options.autocast else "float32",
        "compiled": options.compile,
        "on_nan": options.on_nan,
        **odd,
        **tissue_notes(samples, raw, used="cohort" in sources or "image" in str(prepared.get("clip_source"))),
        "workers": options.workers,
    }
    return Inputs(encoder, options, panel, markers, raw, readers, np.asarray(ratios), mean, std, notes)


def _prepared(
    raw: Sequence[SampleReader],
    pairs: Sequence[SampleElements],
    given: GivenStatistics | None,
    names: Sequence[str],
) -> tuple[list[PreparedReader], dict[str, object]]:
    """Readers of pixels clipped, logged and blurred, and what the record says of the clipping."""
    known = [clip_of(given, (pair.sample, pair.image), names) for pair in pairs]
    readers = [prepare(reader, clip) for reader, clip in zip(raw, known, strict=True)]
    samples = [pair.sample for pair in pairs]
    return (
        readers,
        {
            "clip": {sample: list(map(float, reader.clip)) for sample, reader in zip(samples, readers, strict=True)},
            "clip_source": {
                sample: "image" if clip is None else "published" if np.isfinite(clip).all() else "published, else image"
                for sample, clip in zip(samples, known, strict=True)
            },
        },
    )


def _padded(reader: SampleReader | PreparedReader, window: int, padding: int | None) -> SampleReader | PreparedReader:
    if not isinstance(reader, PreparedReader):
        return reader
    if padding is not None:
        return reader.padded(padding, padding)
    return reader.padded(*(max(0, window - side) for side in reader.shape))


def _warn_of_ranges(given: GivenStatistics | None, readers: Sequence[SampleReader]) -> None:
    if given is None or not given.intensity_max:
        return
    then, now = set(given.intensity_max.values()), {reader.intensity_max for reader in readers}
    if then != now:
        before, here = (", ".join(f"{value:g}" for value in sorted(values)) for values in (then, now))
        warn(
            f"stats= are of pixels divided by {before}, and those of this run are divided by {here}. They fit only if "
            "the brightest possible pixel means the same in both; pass intensity_max= if not."
        )


def _markers(
    encoder: Encoder, panel: Panel, entries: Mapping[str, MarkerEntry], options: Options
) -> tuple[Panel, torch.Tensor | list[str] | None, list[int] | None, dict[str, str] | None]:
    """What the model is told of the markers: ids, names, protein embeddings or nothing; those without are left out.

    Last come the ids, and where each embedding came from, for the record.
    """
    if encoder.card.marker_vocabulary == "protein embedding":
        found = find_embeddings(
            panel.markers, options.marker_embeddings, encoder.marker_dim, nuclear=encoder.options.get("nuclear")
        )
        panel = panel.without(found.reasons)
        vectors = torch.tensor(np.stack([found.vectors[name] for name in panel.markers]))
        return panel, vectors, None, {name: found.origins[name] for name in panel.markers}
    if options.marker_embeddings is not None:
        raise ModelError(f"{encoder.card.name} takes no marker embeddings. Leave out marker_embeddings=.")
    if encoder.card.marker_vocabulary == "names":  # as the model spells them, where it knows them
        return panel, [entries[name].name if name in entries else name for name in panel.markers], None, None
    if not encoder.n_marker_ids:
        return panel, None, None, None
    ids = marker_ids(encoder, panel.markers, entries)
    ids = [ids[name] for name in panel.markers]
    return panel, torch.tensor(ids), ids, None


def _ranges(
    dtypes: Mapping[str, np.dtype], intensity_max: float | Mapping[str, float] | None, model: str, *, logged: bool
) -> dict[str, float]:
    """Pixel value that becomes 1 in each sample.

    Of a model that takes logarithms, pixels stay as they are, or go to the unit of the sample with the largest range.
    """
    ranges = intensity_ranges(dtypes, intensity_max)
    if not logged:
        return ranges
    if isinstance(intensity_max, Mapping):
        return {sample: value / max(ranges.values()) for sample, value in ranges.items()}
    if intensity_max is not None:
        warn(f"{model} takes pixel values as they are: intensity_max={intensity_max} changes nothing.")
    return dict.fromkeys(ranges, 1.0)


def _pixel_sizes(
    sdata: SpatialData, pairs: Sequence[SampleElements], encoder: Encoder, options: Options, *, of_size: bool
) -> tuple[Encoder, list[float | None], list[float], list[float | None]]:
    """The encoder told of its pixels, µm per pixel of the images, image pixels per model pixel, µm of the latter."""
    sizes = image_pixel_sizes(
        sdata, pairs, options.mpp, required=encoder.card.mpp is not None or encoder.mpp is not None, common=of_size
    )
    common = common_pixel_size(encoder.card, sizes, encoder.mpp) if of_size else None
    ratios = resampling_ratios(encoder.card, sizes, resample=options.resample, common=common)
    used = [None if size is None else size * ratio for size, ratio in zip(sizes, ratios, strict=True)]
    if None not in used and max(used) <= min(used) * (1 + 2 * EXACT):
        encoder = encoder.at_pixel_size(float(np.median(used)))
    return encoder, sizes, ratios, used
