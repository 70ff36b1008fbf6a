"""The images of a run of training, of any panel each: readers, markers, what each marker is to the model.

Readers, geometry, tissue and preparation are those of an embedding. What differs: an embedding has one panel, which all
samples share, and here each image has its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from .._errors import ClinicalError, ElementError, PanelError, counted, listed, repeated_names
from .._keys import SAMPLES
from ..embed.call import Elements, Panel
from ..embed.inputs import ranges_of
from ..embed.markers.panel import ResolvedPanel, assign_ids, resolve_panel, vocabulary_of
from ..embed.markers.proteins import find_embeddings
from ..embed.pixels.decoded import Decoded
from ..embed.pixels.geometry import common_pixel_size, resampling_ratios
from ..embed.pixels.levels import REMEDY, say_levels
from ..embed.pixels.odd_report import report_odd_pixels
from ..embed.pixels.open import open_readers
from ..embed.pixels.prepared import prepare_readers
from ..embed.pixels.published import GivenStatistics, clip_of, of_markers
from ..embed.pixels.reader import SampleReader
from ..models.encoder import Encoder, MarkerEntry
from ..models.preparation import PreparedPixels
from ..models.recipe import Recipe
from ..pp.arrays import channel_names, image_array
from ..pp.channels import nuclear_stains
from ..pp.elements import SampleElements, match_elements
from ..pp.missing_chunks import report_missing_chunks
from ..pp.panel import match_markers
from ..pp.pixel_sizes import image_pixel_sizes
from ..pp.units import say_apart
from .sources import Opened

T = TypeVar("T")


@dataclass(frozen=True)
class Wishes:
    """What a user asked of the images.

    Attributes
    ----------
    encoder
        The model that they are for.
    recipe, panel, elements
        As in an embedding.
    samples
        Samples to use; None: all.
    nuclear
        Markers that count as stains of nuclei; None: those that are known.
    """

    encoder: Encoder
    recipe: Recipe
    panel: Panel
    elements: Elements
    samples: tuple[str, ...] | None = None
    nuclear: tuple[str, ...] | None = None

    @property
    def by_marker(self) -> bool:
        """Whether the model knows markers, so that a channel has to be one."""
        return self.encoder.card.marker_vocabulary in ("ids", "protein embedding")

    @property
    def on_unknown(self) -> Any:
        """What becomes of channels that are not known markers."""
        return self.panel.on_unknown or ("raise" if self.by_marker else "keep")


@dataclass(frozen=True)
class Image:
    """One image.

    Attributes
    ----------
    source, sample, where
        Item of the sources, sample in it, and path of the object.
    columns
        What ``sdata["samples"]`` says of the sample.
    markers
        Names of the ``M`` markers.
    keys
        Their ids ``(M,)`` or embeddings ``(M, d)``; None: the model has none.
    nuclear
        Which of them stain nuclei.
    raw, reader
        Pixels at the model's scale: as they are, and as its preparation has them.
    mpp
        µm per pixel of these; None: unknown.
    entries
        The model's own entry of each marker that it has one of.
    given
        Mean and standard deviation that the user gave, ``(M,)`` each.
    bright
        How bright each marker is, ``(M,)``.
    """

    source: str
    sample: str
    where: str
    columns: Mapping[str, Any]
    markers: tuple[str, ...]
    keys: np.ndarray | None
    nuclear: tuple[int, ...]
    raw: SampleReader
    reader: SampleReader | PreparedPixels
    mpp: float | None
    entries: Mapping[str, MarkerEntry] = field(default_factory=dict, repr=False)
    given: tuple[np.ndarray, np.ndarray] | None = None
    bright: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def name(self) -> str:
        """Sample and path, for messages."""
        return f"{self.sample!r} of {self.where}"


@dataclass(frozen=True)
class ImageGroup:
    """Images of one object that have the same channels: their places in it, markers, and µm per pixel of each."""

    opened: Opened
    places: list[int]
    pairs: list[SampleElements]
    panel: ResolvedPanel
    sizes: list[float | None]


def open_corpus(opened: Sequence[Opened], wishes: Wishes, given: GivenStatistics | None) -> list[Image]:
    """All images of the sources, checked; no pixel is read but for a look at their values.

    Raises
    ------
    ElementError, PanelError, PixelSizeError, CoordinateError, InputFileError
        As for an embedding; the message names the object.
    """
    _check_images(opened, wishes.elements.image)
    groups = [group for one in opened for group in _groups(one, wishes)]
    samples = {pair.sample for group in groups for pair in group.pairs}
    if wishes.samples is not None and (missing := [name for name in wishes.samples if name not in samples]):
        raise ElementError(f"No sample {missing[0]!r} in the sources; correct samples=.")
    if not groups and wishes.panel.markers is not None and any(len(one.sdata.images) for one in opened):
        raise PanelError(f"None of markers={list(wishes.panel.markers)} is in any image. Correct markers=.")
    if not groups:
        raise ElementError("The sources contain no image element. Read one with sfm.io.read_tiff(path).")
    _check_markers(groups, wishes)
    groups, keys, entries = _known_to_the_model(groups, wishes)
    sizes = [size for group in groups for size in group.sizes]
    pixel_size = wishes.encoder.mpp if wishes.recipe.pixel_size is None else wishes.recipe.pixel_size
    common = common_pixel_size(wishes.encoder.card, sizes, pixel_size)
    ranges, decoded = _ranges(groups, wishes), Decoded()
    order = [one.where for one in opened]
    placed = [
        (order.index(group.opened.where), place, image)
        for group in groups
        for place, image in zip(
            group.places, _open_group(group, wishes, common, ranges, keys, entries, given, decoded), strict=True
        )
    ]
    images = [image for _, _, image in sorted(placed, key=lambda one: one[:2])]
    _compare_levels(images, wishes.recipe)
    return images


def _check_images(opened: Sequence[Opened], image: Any) -> None:
    """Every image that is named is in one of the objects."""
    named = list(image.values()) if isinstance(image, Mapping) else [image] if isinstance(image, str) else image or []
    there = {name for one in opened for name in one.sdata.images}
    if missing := [name for name in named if name not in there]:
        raise ElementError(f"No image {missing[0]!r} in the sources; found {listed(sorted(there))}. Correct image=.")


def _groups(one: Opened, wishes: Wishes) -> Iterator[ImageGroup]:
    image = wishes.elements.image
    if isinstance(image, Mapping):
        image = {sample: name for sample, name in image.items() if name in one.sdata.images}
    elif image is not None:
        image = [name for name in ([image] if isinstance(image, str) else image) if name in one.sdata.images]
    some = one.sdata.images if image is None else image
    pairs = match_elements(one.sdata, image, {}, need_labels=False) if len(some) else []
    pairs = [pair for pair in pairs if wishes.samples is None or pair.sample in wishes.samples]
    needed = wishes.encoder.card.mpp is not None or wishes.recipe.pixel_size is not None
    mpp = _of_samples(wishes.elements.mpp, [pair.sample for pair in pairs])
    sizes = image_pixel_sizes(one.sdata, pairs, mpp, required=needed, common=True)
    by_panel: dict[tuple[str, ...], list[int]] = {}
    for number, pair in enumerate(pairs):
        by_panel.setdefault(tuple(channel_names(one.sdata, pair.image)), []).append(number)
    for channels, members in by_panel.items():
        panel = _resolved(channels, len(members), wishes)
        if panel is not None:
            yield ImageGroup(one, members, [pairs[n] for n in members], panel, [sizes[n] for n in members])


def _resolved(channels: tuple[str, ...], n_images: int, wishes: Wishes) -> ResolvedPanel | None:
    """The markers of a panel, as far as they are asked for; None: none is."""
    markers, mapping = asked_of(wishes.panel, channels)
    if markers is not None and not markers:
        return None
    return resolve_panel(
        [channels] * n_images,
        markers=markers,
        mapping=mapping,
        on_unknown=wishes.on_unknown,
        nuisance=wishes.panel.nuisance,
    )


def asked_of(panel: Panel, channels: Sequence[str]) -> tuple[list[str] | None, dict[str, str | None]]:
    """Of the markers and the mapping that are asked for, what an image with these channels has; no markers: all."""
    mapping = {name: marker for name, marker in (panel.mapping or {}).items() if name in channels}
    if panel.markers is None:
        return None, mapping
    known = {*channels, *match_markers(list(channels), mapping=mapping)["marker"]}
    asked = match_markers(list(dict.fromkeys(panel.markers)))
    pairs = zip(asked["channel"], asked["marker"], strict=True)
    return [name for name, marker in pairs if {name, marker} & known], mapping


def _of_samples(value: T, samples: Sequence[str]) -> Any:
    """Of an argument that is a mapping by sample, what is about these."""
    return {name: part for name, part in value.items() if name in samples} if isinstance(value, Mapping) else value


def _check_markers(groups: Sequence[ImageGroup], wishes: Wishes) -> None:
    """Every marker and channel that an argument names is somewhere."""
    channels = {name for group in groups for names in group.panel.names for name in names} | {
        name for group in groups for name in group.panel.dropped
    }
    markers = {name for group in groups for name in group.panel.markers}
    for name in wishes.panel.mapping or ():
        if name not in channels:
            raise PanelError(f"mapping= names channel {name!r}, which no image has. Channels: {listed(channels, 20)}.")
    for name in wishes.panel.markers or ():
        if not {name, match_markers([name])["marker"].iloc[0]} & (markers | channels):
            raise PanelError(f"No marker {name!r} in the images. Markers: {listed(markers, 20)}. Correct markers=.")


def _known_to_the_model(
    groups: Sequence[ImageGroup], wishes: Wishes
) -> tuple[list[ImageGroup], dict[str, Any], dict[str, MarkerEntry]]:
    """Panels less what the model cannot take, what it takes each marker by, and its own entries of markers."""
    encoder, names = wishes.encoder, list(dict.fromkeys(name for group in groups for name in group.panel.markers))
    entries = vocabulary_of(encoder, names)
    if encoder.card.marker_vocabulary == "protein embedding":
        width: Any = getattr(encoder, "marker_dim")  # noqa: B009  of models that take protein embeddings
        embeddings = find_embeddings(names, wishes.panel.embeddings, width, nuclear=encoder.nuclear)
        if embeddings.reasons and wishes.panel.on_unknown != "drop":
            _refuse_without(embeddings.reasons, encoder)
        left = [_without(group, embeddings.reasons) for group in groups]
        return [group for group in left if group is not None], dict(embeddings.vectors), entries
    if encoder.n_marker_ids:
        known = {marker: entry.id for marker, entry in entries.items()}
        taken = [entry.id for entry in encoder.vocabulary]
        return list(groups), dict(assign_ids(names, known, taken, encoder.n_marker_ids)), entries
    return list(groups), {}, entries


def _refuse_without(reasons: Mapping[str, str], encoder: Encoder) -> None:
    why = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:10])
    histone = ""
    if encoder.nuclear is None and any("DNA" in reason for reason in reasons.values()):
        histone = (
            " Stains of DNA take histone H3's embedding with sfm.models.new_encoder('virtues', nuclear='histone')."
        )
    raise PanelError(
        f"{counted(len(reasons), 'marker')} without protein embedding: {why}. Pass panel={{'on_unknown': 'drop'}} to "
        f"leave {'it' if len(reasons) == 1 else 'them'} out, or panel={{'embeddings': {{marker: vector}}}}.{histone}"
    )


def _without(group: ImageGroup, reasons: Mapping[str, str]) -> ImageGroup | None:
    here = {name: why for name, why in reasons.items() if name in group.panel.markers}
    if len(here) == len(group.panel.markers):
        return None
    return replace(group, panel=group.panel.without(here)) if here else group


def _ranges(groups: Sequence[ImageGroup], wishes: Wishes) -> dict[tuple[str, str], float]:
    """Pixel value that becomes 1 in each image; of one unit over the whole corpus where values are scaled to it."""
    dtypes = {
        (group.opened.where, pair.sample): image_array(group.opened.sdata, pair.image).dtype
        for group in groups
        for pair in group.pairs
    }
    samples = [sample for _, sample in dtypes]
    ambiguous = set(repeated_names(samples))
    name_of = {key: key[1] if key[1] not in ambiguous else f"{key[0]}/{key[1]}" for key in dtypes}
    given = wishes.recipe.intensity_max
    if isinstance(given, Mapping):  # a sample's name may stand for images of several objects
        named = {name: given.get(name, given.get(key[1])) for key, name in name_of.items()}
        unused = [name for name in given if name not in named and name not in samples]
        if unused:
            raise PanelError(f"intensity_max= names sample {unused[0]!r}, which the sources do not have.")
        given = {name: value for name, value in named.items() if value is not None}
    recipe = wishes.recipe.replace(intensity_max=given)
    if recipe.scaling == "range":
        ranges = ranges_of({name_of[key]: dtype for key, dtype in dtypes.items()}, recipe, wishes.encoder.card.name)
        return {key: ranges[name] for key, name in name_of.items()}
    out: dict[tuple[str, str], float] = {}
    for source in dict.fromkeys(group.opened.source for group in groups):  # each is standardised by itself
        places = {group.opened.where for group in groups if group.opened.source == source}
        here = {name_of[key]: dtype for key, dtype in dtypes.items() if key[0] in places}
        part = recipe.replace(intensity_max=_of_samples(given, list(here)))
        ranges = ranges_of(here, part, wishes.encoder.card.name)
        out |= {key: ranges[name] for key, name in name_of.items() if key[0] in places}
    return out


def _open_group(
    group: ImageGroup,
    wishes: Wishes,
    common: float | None,
    ranges: Mapping[tuple[str, str], float],
    keys: Mapping[str, Any],
    entries: Mapping[str, MarkerEntry],
    given: GivenStatistics | None,
    decoded: Decoded,
) -> list[Image]:
    recipe, sdata, panel = wishes.recipe, group.opened.sdata, group.panel
    ratios = resampling_ratios(wishes.encoder.card, group.sizes, resample=recipe.resampling != "none", common=common)
    used = [None if size is None else size * ratio for size, ratio in zip(group.sizes, ratios, strict=True)]
    pairs = report_missing_chunks(sdata, list(group.pairs))
    samples = [pair.sample for pair in pairs]
    raw = open_readers(
        sdata,
        pairs,
        panel.channels,
        ratios,
        used,
        ranges={sample: ranges[group.opened.where, sample] for sample in samples},
        tissue=_of_samples(recipe.tissue, samples),
        on_nan=recipe.on_nan,
        area=recipe.resampling == "area",
    )
    # one limit for what all images hold in memory; messages name the object too
    where = group.opened.where
    raw = [replace(reader, decoded=decoded, name=f"{reader.name} ({where})") for reader in raw]
    report_odd_pixels(samples, raw)
    of_cohort = recipe.preparation is not None or recipe.normalization == "scale"
    bright = say_levels(samples, raw, of_cohort=of_cohort, compared=False)
    mean, std, known = (None, None, ()) if given is None else of_markers(given, panel.markers, panel.names)
    readers = prepare_readers(raw, recipe, [clip_of(given, (pair.sample, pair.image), known) for pair in pairs])
    nuclear = _nuclear(panel.markers, wishes.nuclear)
    columns = _columns(group.opened, samples)
    table = np.stack([keys[name] for name in panel.markers]) if keys else None
    return [
        Image(
            group.opened.source,
            pair.sample,
            group.opened.where,
            columns[pair.sample],
            panel.markers,
            table,
            nuclear,
            raw[n],
            readers[n],
            used[n],
            {name: entries[name] for name in panel.markers if name in entries},
            None if mean is None or std is None else (mean, std),
            bright[n],
        )
        for n, pair in enumerate(pairs)
    ]


def _compare_levels(images: Sequence[Image], recipe: Recipe) -> None:
    """Warn of images in another unit than those that they share statistics with."""
    sets = [image.source if recipe.scaling == "raw" else "" for image in images]
    for one_set in dict.fromkeys(sets):
        members = [image for image, other in zip(images, sets, strict=True) if other == one_set]
        markers = list(dict.fromkeys(name for image in members for name in image.markers))
        levels = np.full((len(members), len(markers)), np.nan)
        for row, image in zip(levels, members, strict=True):
            row[[markers.index(name) for name in image.markers]] = image.bright
        if len(members) > 1:
            say_apart([image.sample for image in members], levels, REMEDY)


def _nuclear(markers: Sequence[str], asked: Sequence[str] | None) -> tuple[int, ...]:
    if asked is None:
        return tuple(nuclear_stains(list(markers)))
    return tuple(place for place, name in enumerate(markers) if name in asked)


def _columns(opened: Opened, samples: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Columns of the table of samples, by sample; empty where it has no such row."""
    if SAMPLES not in opened.sdata.tables:
        return {sample: {} for sample in samples}
    obs = opened.sdata.tables[SAMPLES].obs
    names = obs.index.astype(str)
    if twice := sorted(set(names[names.duplicated()]) & set(samples)):
        raise ClinicalError(
            f"The table {SAMPLES!r} of {opened.where} has more than one row of {counted(len(twice), 'sample')}: "
            f"{listed(twice, 5)}. Which of them holds cannot be told: keep one row of each."
        )
    rows = {str(name): number for number, name in enumerate(obs.index)}
    return {
        sample: {str(key): obs[key].iloc[rows[sample]] for key in obs.columns} if sample in rows else {}
        for sample in samples
    }
