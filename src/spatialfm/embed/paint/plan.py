"""From markers that are to be predicted to a job, with every check made before the first tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..._errors import ArgumentError, ModelError, PanelError, listed, repeated_names
from ...models.preparation import Preparation
from ...pp.panel import known_as, match_markers
from ..inputs import Inputs, prepare_inputs
from ..markers.proteins import find_embeddings
from ..pixels.published import of_markers, read_statistics
from ..plan import RunPlan, check_window, finish_plan
from ..windows.blocks import choose_window
from .blend import turned_back
from .job import TOGETHER, PaintJob

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...models.encoder import Encoder
    from ...pp.elements import SampleElements

WINDOW = 128  # model pixels of a tile, of models whose recipe has no window
KEPT = 2**26  # bytes of decoded pixels: blocks lie beside each other, and share no more than their edges


@dataclass(frozen=True)
class PaintTargets:
    """Markers that are predicted.

    Attributes
    ----------
    markers
        Their names.
    places
        Where they are among the markers of the panel and, behind these, those that have no pixels.
    added
        Markers without pixels in every sample.
    vectors
        Protein embeddings of these.
    origins
        Where they come from.
    """

    markers: tuple[str, ...]
    places: tuple[int, ...]
    added: tuple[str, ...] = ()
    vectors: torch.Tensor | None = None
    origins: dict[str, str] = field(default_factory=dict)


def check_decoder(encoder: Encoder) -> None:
    """Refuse a model that predicts no pixels.

    Raises
    ------
    ModelError
        Names models that do.
    """
    if not encoder.can_reconstruct:
        raise ModelError(
            f"Model {encoder.card.name!r} has no decoder, so that it predicts no pixels. Pass one that was trained to "
            "reconstruct, such as model='virtues'."
        )


def check_masks(mode: str, ratio: tuple[float, float]) -> None:
    """Refuse shares that hide nothing, or everything.

    Raises
    ------
    ArgumentError
        Before any image is read.
    """
    low, high = ratio
    if not 0 < low <= high <= 1:
        raise ArgumentError(f"ratio={ratio} must be two shares between 0 and 1, the smaller one first.")
    if mode in ("independent", "niche") and low == 1:
        raise ArgumentError(
            f"ratio={ratio} hides all tokens of all channels, so that nothing is left to predict from. Pass a smaller "
            "first share, such as ratio=(0.6, 1.0)."
        )


def find_targets(inputs: Inputs, markers: Sequence[str] | None) -> PaintTargets:
    """Where markers are in the panel, and the protein embeddings of those that are not.

    Raises
    ------
    PanelError
        If a marker is named twice, or is neither in the panel nor has an embedding; if no marker of the panel is left
        to predict from.
    """
    panel, request, encoder = inputs.panel, inputs.request, inputs.encoder
    if markers is None:
        return PaintTargets(panel.markers, tuple(range(len(panel.markers))))
    if isinstance(markers, str):
        raise PanelError(f"markers= takes a list of markers, not the string {markers!r}.")
    if not len(markers):
        raise PanelError("markers= is empty. Name the markers that are to be predicted.")
    names = [_name_of(marker, inputs) for marker in markers]
    if twice := repeated_names(names):
        raise PanelError(f"Marker {twice[0]!r} is asked for twice in markers=.")
    added = tuple(name for name in names if name not in panel.markers)
    every = [*panel.markers, *added]
    places = tuple(every.index(name) for name in names)
    if not added:
        return PaintTargets(tuple(names), places)
    if encoder.card.marker_vocabulary != "protein embedding":
        raise PanelError(
            f"No marker {added[0]!r} in every image, and {encoder.card.name} knows markers by their channels alone. "
            f"Markers in all images: {listed(panel.markers, 20)}."
        )
    width: Any = encoder.marker_dim  # of models that take protein embeddings
    embeddings = find_embeddings(list(added), request.panel.embeddings, width, nuclear=encoder.nuclear)
    if embeddings.reasons:
        name, why = next(iter(embeddings.reasons.items()))
        raise PanelError(
            f"Marker {name!r} is neither in the panel of all images nor has a protein embedding ({why}). Pass "
            f"panel={{'embeddings': {{{name!r}: <vector of {width} numbers>}}}}, or leave it out of markers=."
        )
    vectors = torch.tensor(np.stack([embeddings.vectors[name] for name in added]))
    return PaintTargets(tuple(names), places, added, vectors, {name: embeddings.origins[name] for name in added})


def _name_of(marker: str, inputs: Inputs) -> str:
    """A marker of the panel by its name or that of its channel, otherwise the name that is known for it."""
    panel = inputs.panel
    if marker in panel.markers:
        return marker
    for names in panel.names:
        if marker in names:
            return panel.markers[names.index(marker)]
    return known_as([marker])[marker]


def plan_paint(
    inputs: Inputs,
    targets: PaintTargets,
    *,
    mode: str,
    ratio: tuple[float, float] = (0.6, 1.0),
    random_state: int = 0,
    stride: int | None = None,
) -> RunPlan:
    """Tiles over all images, and what is hidden in them.

    Raises
    ------
    ModelError
        If sizes make no sense.
    PanelError
        If all channels would be hidden.
    """
    card, recipe = inputs.encoder.card, inputs.request.recipe
    seen = seen_markers(inputs, targets, mode)
    if not seen or (mode == "marker" and len(inputs.panel.markers) == 1):
        raise PanelError(
            f"All channels are hidden ({listed(inputs.panel.markers, 8)}), so that nothing is left to predict from. "
            "Leave markers out of markers=, or use a panel of more."
        )
    window = choose_window(recipe.window or WINDOW, card.patch_size, np.zeros(0))
    check_window(inputs, window)
    stride = window if stride is None else stride
    if not 1 <= stride <= window:
        raise ModelError(f"stride={stride} must be from 1 to the side of a tile, {window}.")
    for reader in inputs.raw:
        reader.decoded.narrow(KEPT)
    arguments = inputs.job_arguments((), "keep", window)
    if targets.vectors is not None and isinstance(arguments["markers"], torch.Tensor):
        added = targets.vectors.to(arguments["markers"])
        arguments["markers"] = torch.cat([arguments["markers"], added])
    job = PaintJob(
        **arguments,
        labels=np.zeros(0, np.int64),
        sample=np.zeros(0, np.int64),
        centers=np.zeros((0, 2)),
        targets=targets.places,
        n_added=len(targets.added),
        mode=mode,
        ratio=(float(ratio[0]), float(ratio[1])),
        random_state=random_state,
        stride=stride,
    )
    notes = inputs.notes | {"window": window, "stride": stride, "mode": mode, "background": "keep"}
    notes |= {"seen": seen, "imputed": list(targets.markers), "marker_embeddings_added": targets.origins}
    if job.draws:
        notes |= {"ratio": list(job.ratio), "random_state": random_state}
    return finish_plan(inputs, job, notes)


def seen_markers(inputs: Inputs, targets: PaintTargets, mode: str) -> list[str]:
    """Markers of which the model sees something when it predicts."""
    hidden = set(targets.markers) if mode == TOGETHER else set()
    return [name for name in inputs.panel.markers if name not in hidden]


def target_statistics(
    sdata: SpatialData, pairs: Sequence[SampleElements], inputs: Inputs, targets: PaintTargets
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each target, to turn pixels back to intensities.

    Those of a marker that some samples lack are of the samples that have it, or of ``statistics=``.

    Raises
    ------
    PanelError
        If a marker was stained in no sample, and nothing is said of it.
    ModelError
        If the model or its preparation cannot be undone.
    """
    one = torch.ones(1)
    turned_back(inputs.encoder, torch.zeros(1, 1, 1, 1), one, one, inputs.request.recipe)
    known = dict(zip(inputs.panel.markers, zip(inputs.mean, inputs.std, strict=True), strict=True))
    for name in targets.added:
        known[name] = _of_added(sdata, pairs, inputs, name)
    mean, std = zip(*(known[name] for name in targets.markers), strict=True)
    return np.array(mean, float), np.array(std, float)


def _of_added(sdata: SpatialData, pairs: Sequence[SampleElements], inputs: Inputs, name: str) -> tuple[float, float]:
    from ...pp.arrays import channel_names

    request = inputs.request
    if request.recipe.statistics_from == "given":
        statistics = read_statistics(request.recipe.statistics, inputs.encoder.card.name, request.recipe)
        mean, std, _ = of_markers(statistics, [name], [])
        return float(mean[0]), float(std[0])
    mapping = dict(request.panel.mapping or {})
    having = []
    for pair in pairs:
        channels = channel_names(sdata, pair.image)
        table = match_markers(channels, mapping={one: to for one, to in mapping.items() if one in channels})
        if name in channels or name in set(table["marker"]):
            having.append(pair)
    if not having:
        raise PanelError(
            f"Marker {name!r} was stained in no sample, so that its mean and standard deviation are unknown and pixels "
            "cannot be turned back to intensities. Pass space='standardised', or "
            f"recipe={{'statistics': {{{name!r}: (mean, std), ...}}}} with those of all markers."
        )
    own = {one: to for one, to in mapping.items() if any(one in channel_names(sdata, pair.image) for pair in having)}
    panel = request.panel.replace(markers=[name], mapping=own or None)
    alone = prepare_inputs(sdata, having, inputs.encoder, replace(request, panel=panel), tiles=True)
    return float(alone.mean[0]), float(alone.std[0])


def lost_of(inputs: Inputs) -> str:
    """What cannot be undone when pixels are turned back to intensities, for the record."""
    preparation = inputs.request.recipe.preparation
    return preparation.lost if isinstance(preparation, Preparation) else ""
