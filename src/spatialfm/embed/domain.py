"""Where a model is used on what it was not trained for: one sentence each, as a warning and in the record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .._errors import counted, warn
from ..models.saved import PIXELS
from ..pp.panel_names import ISOTOPE_TAG
from ..pp.pixel_sizes import TOLERANCE

if TYPE_CHECKING:
    from ..models.card import ModelCard
    from ..models.encoder import Encoder
    from ..models.recipe import Recipe

_DYES = re.compile(r"dapi|hoechst|draq|sytox|syto|propidium", re.IGNORECASE)


def looks_ion_based(channels: Sequence[str], size: float | None) -> bool:
    """Whether an image seems to be imaging mass cytometry or MIBI.

    It does if a channel is named after an isotope, or if pixels are about 1 µm or the stain of nuclei is not a
    fluorescent dye while histone H3 or an iridium intercalator (``DNA1``, ``DNA3``) is there.

    Examples
    --------
    >>> looks_ion_based(["CD8-Dy162", "CD3"], 0.5), looks_ion_based(["DAPI", "CD3"], 1.0)
    (True, False)
    """
    if any(ISOTOPE_TAG.search(name) for name in channels):
        return True
    if any(_DYES.search(name) for name in channels):
        return False
    nuclear = any(
        re.fullmatch(r"(histone)?[ _-]?h3|hh3|dna[ _-]?\d?", name.strip(), re.IGNORECASE) for name in channels
    )
    return nuclear or (size is not None and abs(size - 1.0) < 0.05)


OF_PIXELS = ("scaling", "intensity_max", "preparation", "normalization", "statistics", "pixel_size")
OF_WINDOWS = ("mode", "window", "background")


def training_warnings(encoder: Encoder, recipe: Recipe, *, cells: bool) -> list[str]:
    """Whether an adapter, or an encoder that was trained here, is used otherwise than in its training.

    Of an adapter: on pixels, or on windows of cells, that are made otherwise. Of an encoder: on pixels, which
    its statistics of markers are of.
    """
    of_adapter = (encoder.adapted or {}).get("recipe")
    trained = of_adapter or encoder.trained_recipe
    if not trained:
        return []
    used = recipe.storable()
    names = [*OF_PIXELS, *(OF_WINDOWS if cells else ())] if of_adapter else PIXELS
    who = f"Adapter {encoder.weights.adapter!r}" if of_adapter else f"This {encoder.card.name}"
    warnings = [
        f"{who} was trained with {name} {_told(trained[name])}, and is used with {_told(used[name])}: pass "
        f"recipe={{{name!r}: {'...' if isinstance(trained[name], Mapping) else repr(trained[name])}}} to embed as it "
        "was trained."
        for name in names
        if name in trained and _told(trained[name]) != _told(used[name])
    ]
    for sentence in warnings:
        warn(sentence)
    return warnings


def _told(value: object) -> str:
    """A value of a recipe; of what is said of each sample, only that it is."""
    return "a value for each sample" if isinstance(value, Mapping) else repr(value)


def domain_warnings(
    card: ModelCard,
    channels: Sequence[Sequence[str]],
    sizes: Sequence[float | None],
    ratios: Sequence[float],
    *,
    n_markers: int,
    n_known: int | None,
    common: bool = False,
) -> list[str]:
    """What a user should know before trusting the embedding; what is reported nowhere else is also given as a warning.

    Parameters
    ----------
    card
        The model.
    channels
        All channel names of each image.
    sizes, ratios
        µm per pixel of each image, and image pixels per model pixel.
    n_markers, n_known
        Markers used, and how many of them the model has seen; None where that is not known.
    common
        Whether images of different pixel sizes give numbers that cannot be compared.
    """
    warnings = []
    ion = [looks_ion_based(names, size) for names, size in zip(channels, sizes, strict=True)]
    if any(ion) and "ion" not in card.domains and "fluorescence" in card.domains:
        warnings.append(
            f"{card.name} was trained on fluorescence, and {sum(ion)} of {counted(len(ion), 'image')} "
            f"{'looks' if sum(ion) == 1 else 'look'} ion-based (IMC, MIBI)."
        )
    if not all(ion) and "fluorescence" not in card.domains and "ion" in card.domains:
        warnings.append(
            f"{card.name} was trained on ion-based images, and {len(ion) - sum(ion)} of "
            f"{counted(len(ion), 'image')} {'does' if len(ion) - sum(ion) == 1 else 'do'} not look so."
        )
    if card.domains == ("rgb",):
        warnings.append(f"{card.name} was trained on RGB images; each marker is shown to it as a grey one.")
    low, high = card.mpp_range or (card.mpp, card.mpp)
    off = [
        size
        for size, ratio in zip(sizes, ratios, strict=True)
        if low is not None
        and high is not None
        and size is not None
        and ratio == 1
        and not low * (1 - TOLERANCE) <= size <= high * (1 + TOLERANCE)
    ]
    if off:
        span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        warnings.append(
            f"{card.name} was trained at {span} µm per pixel, and {len(off)} of {counted(len(sizes), 'image')} "
            f"{'is' if len(off) == 1 else 'are'} used at {off[0]:g} without resampling."
        )
    used = [size * ratio for size, ratio in zip(sizes, ratios, strict=True) if size is not None]
    if common and used and max(used) > min(used) * (1 + TOLERANCE):
        warnings.append(
            f"Images of {min(used):g} to {max(used):g} µm per pixel are used side by side without resampling: a window "
            "covers more of the tissue in some, and the embeddings are not in one unit."
        )
    for sentence in warnings:
        warn(sentence)
    if n_known is not None and 2 * n_known < n_markers:  # `marker_ids` has named them in a warning
        warnings.append(f"{card.name} has seen only {n_known} of the {counted(n_markers, 'marker')}.")
    return warnings
