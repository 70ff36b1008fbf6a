"""What a run works on, for any windows: markers, pixel sizes, readers, statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._errors import ModelError, counted, listed, warn
from .._logging import logger
from .._settings import settings
from ..models.preparation import PreparedPixels
from ..models.recipe import Recipe
from ..pp.arrays import channel_names, image_array
from ..pp.default_names import say_default_names
from ..pp.elements import SampleElements
from ..pp.missing_chunks import report_missing_chunks
from ..pp.pixel_sizes import image_pixel_sizes
from ..pp.units import intensity_ranges
from .call import Request
from .domain import domain_warnings, training_warnings
from .markers.panel import ResolvedPanel, marker_ids, resolve_panel, vocabulary_of
from .markers.proteins import find_embeddings
from .pixels.geometry import EXACT, common_pixel_size, resampling_ratios
from .pixels.levels import say_levels
from .pixels.normalize import settled_statistics
from .pixels.odd_report import report_odd_pixels
from .pixels.open import open_readers
from .pixels.prepared import of_statistics, padded, preparation_notes, prepare_readers
from .pixels.published import GivenStatistics, clip_of, of_markers, preparation_name, read_statistics
from .pixels.reader import SampleReader
from .pixels.tissue import tissue_notes

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..models.encoder import Encoder, MarkerEntry


@dataclass(frozen=True)
class Inputs:
    """Everything but the windows.

    Attributes
    ----------
    encoder, request
        The model, and what was asked for.
    panel
        Markers and their channels.
    markers
        What the model is given for them: ids, embeddings, names or nothing.
    raw, readers
        One reader a sample: pixels as they are (scaled and resampled), and as the model's preparation has them.
    ratios
        Image pixels per model pixel of each sample.
    mean, std
        Statistics of the markers, ``(M,)``.
    notes
        The entries of the record on all this.
    """

    encoder: Encoder
    request: Request
    panel: ResolvedPanel
    markers: torch.Tensor | list[str] | None
    raw: list[SampleReader]
    readers: list[SampleReader | PreparedPixels]
    ratios: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    notes: dict[str, Any]

    def job_arguments(
        self, outputs: Sequence[str], background: str, window: int, padding: int | None = None
    ) -> dict[str, Any]:
        """Arguments that every kind of job takes.

        Parameters
        ----------
        padding
            Zeros around the image before everything; None: as many as a window that begins in the image needs.
        """
        device, markers = self.encoder.device, self.markers
        return {
            "encoder": self.encoder,
            "readers": [padded(reader, window, padding) for reader in self.readers],
            "markers": markers.to(device) if isinstance(markers, torch.Tensor) else markers,
            "mean": torch.tensor(self.mean, dtype=torch.float32, device=device),
            "std": torch.tensor(self.std, dtype=torch.float32, device=device),
            "window": window,
            "background": background,
            "outputs": tuple(outputs),
            "autocast": self.request.run.precision == "bfloat16",
            "compile": self.request.run.compile,
            "recipe": self.request.recipe,
        }


def prepare_inputs(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    encoder: Encoder,
    request: Request,
    *,
    tiles: bool = False,
    table: AnnData | None = None,
) -> Inputs:
    """Resolve the panel, pixel sizes, units and statistics; every check that needs no window is made here.

    `tiles`: windows are separate units, so that their side must be the same in µm for every model. `table`: of the
    cells, for messages.
    """
    card, recipe, names = encoder.card, request.recipe, [channel_names(sdata, pair.image) for pair in pairs]
    if recipe.statistics_from == "published" and recipe.normalization != "marker statistics":
        raise ModelError(f"{card.name} has no published marker statistics. Pass statistics='auto'.")
    if card.marker_vocabulary != "rgb":
        say_default_names(sdata, pairs, table)
    panel = _panel(encoder, names, request)
    entries = vocabulary_of(encoder, panel.markers)
    panel, markers, ids, origins = _markers(encoder, panel, entries, request)
    _tell_dropped(panel)
    samples = [pair.sample for pair in pairs]
    of_size = tiles or not card.size_free
    encoder, sizes, ratios, used, common = _pixel_sizes(sdata, pairs, encoder, request, of_size=of_size)
    ranges = ranges_of({pair.sample: image_array(sdata, pair.image).dtype for pair in pairs}, recipe, card.name)
    pairs = report_missing_chunks(sdata, list(pairs))  # nothing where whoever found the cells has looked
    raw = open_readers(
        sdata, pairs, panel.channels, ratios, used, ranges=ranges, tissue=recipe.tissue, on_nan=recipe.on_nan,
        area=recipe.resampling == "area",
    )  # fmt: skip
    given = None if recipe.statistics_from != "given" else read_statistics(recipe.statistics, card.name, recipe)
    given_statistics = None if given is None else of_markers(given, panel.markers, panel.names)
    known = () if given_statistics is None else given_statistics[2]  # the names of the markers in what was given
    odd = report_odd_pixels(samples, raw)
    prepares = recipe.preparation is not None
    say_levels(samples, raw, of_cohort=recipe.normalization == "scale" or prepares)
    readers = prepare_readers(raw, recipe, [clip_of(given, (pair.sample, pair.image), known) for pair in pairs])
    n_known = len(entries) if encoder.n_marker_ids else None
    warned = domain_warnings(card, names, sizes, ratios, n_markers=len(panel.markers), n_known=n_known, common=of_size)
    warned += training_warnings(encoder, recipe, cells=not tiles)
    mean, std, sources = _statistics(encoder, recipe, panel.markers, entries, samples, raw, readers, given_statistics)
    _warn_of_ranges(given, raw)
    notes = {
        "domain_warnings": warned,
        "markers": list(panel.markers),
        "marker_ids": ids,
        "marker_embeddings": origins,
        "markers_dropped": panel.dropped,
        "channels": dict(zip(samples, panel.names, strict=True)),
        # what a later cohort is brought to, too
        "recipe": (recipe if common is None else recipe.replace(pixel_size=common)).storable(),
        "normalization": recipe.normalization,
        "preparation": preparation_name(recipe),
        "normalization_mean": list(map(float, mean)),
        "normalization_std": list(map(float, std)),
        "normalization_source": sources,
        "normalization_epsilon": recipe.epsilon,
        "stats": given and {"from": given.where, "names": dict(zip(panel.markers, known, strict=True))},
        **preparation_notes(samples, readers),
        "intensity_max": {sample: reader.intensity_max for sample, reader in zip(samples, raw, strict=True)},
        "mpp_image": dict(zip(samples, sizes, strict=True)),
        "mpp_used": dict(zip(samples, used, strict=True)),
        "size_free": card.size_free,
        "attention_head": "all" if card.attention_head is None else card.attention_head,
        "computed_in": "bfloat16" if request.run.precision == "bfloat16" else "float32",
        "compiled": request.run.compile,
        "on_nan": recipe.on_nan,
        **odd,
        **tissue_notes(samples, raw, used="cohort" in sources or prepares),
        "workers": None if request.run.client is None else str(request.run.device or settings.device),
    }
    return Inputs(encoder, request, panel, markers, raw, readers, np.asarray(ratios), mean, std, notes)


def _panel(encoder: Encoder, names: Sequence[Sequence[str]], request: Request) -> ResolvedPanel:
    """Markers of all images; unknown ones are refused where the model knows markers by name."""
    asked, by_name = request.panel, encoder.card.marker_vocabulary in ("ids", "protein embedding")
    return resolve_panel(
        names,
        markers=asked.markers,
        mapping=asked.mapping,
        on_unknown=asked.on_unknown or ("raise" if by_name else "keep"),
        nuisance=asked.nuisance,
    )


def _tell_dropped(panel: ResolvedPanel) -> None:
    if panel.dropped:
        logger.info("channels left out: %s", "; ".join(f"{name} ({why})" for name, why in panel.dropped.items()))


def _statistics(
    encoder: Encoder,
    recipe: Recipe,
    markers: Sequence[str],
    entries: Mapping[str, MarkerEntry],
    samples: Sequence[str],
    raw: Sequence[SampleReader],
    readers: Sequence[SampleReader | PreparedPixels],
    given: tuple[np.ndarray, np.ndarray, list[str]] | None,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mean and standard deviation of each marker, and where they come from; the model's own go before all others."""
    # a mapping that leaves samples out does not give their range
    largest = recipe.intensity_max
    if isinstance(largest, Mapping) and set(samples) - set(largest):
        largest = None
    statistics = settled_statistics(
        encoder.card.name, recipe, markers, entries, of_statistics(readers), tissue_of=raw, intensity_max=largest,
        given=None if given is None else given[:2],
    )  # fmt: skip
    own = encoder.own_statistics
    if own is None or len(own[0]) != len(markers):
        return statistics
    return np.array(own[0], float), np.array(own[1], float), ["model"] * len(markers)


def _warn_of_ranges(given_statistics: GivenStatistics | None, readers: Sequence[SampleReader]) -> None:
    if given_statistics is None or not given_statistics.intensity_max:
        return
    then, now = set(given_statistics.intensity_max.values()), {reader.intensity_max for reader in readers}
    if then != now:
        before, now_text = (", ".join(f"{value:g}" for value in sorted(values)) for values in (then, now))
        warn(
            f"statistics= are of pixels divided by {before}, and those of this run are divided by {now_text}. They fit "
            "only if the brightest possible pixel means the same in both; pass intensity_max= if not."
        )


def _markers(
    encoder: Encoder, panel: ResolvedPanel, entries: Mapping[str, MarkerEntry], request: Request
) -> tuple[ResolvedPanel, torch.Tensor | list[str] | None, list[int] | None, dict[str, str] | None]:
    """What the model is given for the markers: ids, names, protein embeddings or nothing; those without are left out.

    Last come the ids, and where each embedding came from, for the record.
    """
    if encoder.card.marker_vocabulary == "protein embedding":
        width: Any = encoder.marker_dim  # of models that take protein embeddings
        embeddings = find_embeddings(panel.markers, request.panel.embeddings, width, nuclear=encoder.nuclear)
        panel = panel.without(embeddings.reasons)
        vectors = torch.tensor(np.stack([embeddings.vectors[name] for name in panel.markers]))
        return panel, vectors, None, {name: embeddings.origins[name] for name in panel.markers}
    if request.panel.embeddings is not None:
        raise ModelError(f"{encoder.card.name} takes no marker embeddings. Leave out embeddings=.")
    if encoder.card.marker_vocabulary == "names":  # as the model spells them, if it has them
        return panel, [entries[name].name if name in entries else name for name in panel.markers], None, None
    if not encoder.n_marker_ids:
        return panel, None, None, None
    if encoder.only_known and (unknown := [name for name in panel.markers if name not in entries]):
        warn(
            f"{encoder.card.name} does not know {len(unknown)} of {counted(len(panel.markers), 'marker')}; left out: "
            f"{listed(unknown, 12)}."
        )
        panel = panel.without(dict.fromkeys(unknown, f"{encoder.card.name} does not know it"))
    known = marker_ids(encoder, panel.markers, entries)
    ids = [known[name] for name in panel.markers]
    return panel, torch.tensor(ids), ids, None


def ranges_of(dtypes: Mapping[str, np.dtype], recipe: Recipe, model: str) -> dict[str, float]:
    """Pixel value that becomes 1 in each sample.

    Where pixels stay as they are, 1, or what brings them to the unit of the sample with the largest range.
    """
    ranges = intensity_ranges(dtypes, recipe.intensity_max)
    if recipe.scaling == "range":
        return ranges
    if isinstance(recipe.intensity_max, Mapping):
        return {sample: value / max(ranges.values()) for sample, value in ranges.items()}
    if recipe.intensity_max is not None:
        warn(f"{model} takes pixel values as they are: intensity_max={recipe.intensity_max} changes nothing.")
    return dict.fromkeys(ranges, 1.0)


def _pixel_sizes(
    sdata: SpatialData, pairs: Sequence[SampleElements], encoder: Encoder, request: Request, *, of_size: bool
) -> tuple[Encoder, list[float | None], list[float], list[float | None], float | None]:
    """The encoder told of its pixels, µm per pixel of the images, image pixels per model pixel, µm of the latter.

    Last comes the size that all images were brought to, None where each kept to what the model was trained on.
    """
    card, recipe = encoder.card, request.recipe
    asked = encoder.mpp if recipe.pixel_size is None else recipe.pixel_size
    sizes = image_pixel_sizes(
        sdata, pairs, request.elements.mpp, required=card.mpp is not None or asked is not None, common=of_size
    )
    common = common_pixel_size(card, sizes, asked) if of_size else None
    resample = recipe.resampling != "none"
    ratios = resampling_ratios(card, sizes, resample=resample, common=common)
    used = [None if size is None else size * ratio for size, ratio in zip(sizes, ratios, strict=True)]
    known = [size for size in used if size is not None]
    if len(known) == len(used) and max(known) <= min(known) * (1 + 2 * EXACT):
        encoder = encoder.at_pixel_size(float(np.median(known)))
    return encoder, sizes, ratios, used, common if resample else None
