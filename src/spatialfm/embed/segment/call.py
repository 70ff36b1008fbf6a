"""Cells of whole images by a network with its own encoder: checked, planned, run in tiles that are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..._errors import ArgumentError, ModelError, WeightsError, counted, listed, warn
from ..._progress import progress_bar
from ..._public import meant
from ..._settings import settings
from ...models.encoder import Encoder, resolve_device
from ...models.registry import load
from ...models.virtues import VirTuesEncoder
from ...models.virtues_cards import VIRTUES, VIRTUES_SP32
from ...models.virtues_segmenter import HEAD_FILE, VirTuesSegmenter, load_segmenter
from ...pp.channels import nuclear_stains
from ...pp.segment_run import Kept, SegmentJob
from ...pp.segmenters import NETWORK
from ...pp.stitch import StitchGrid
from ..call import CALL_FIELDS, OF_CELLS, Elements, Request, request_of
from ..inputs import Inputs, prepare_inputs
from ..plan import encoder_identity, state_hash
from .logits import LogitMap
from .tiles import Phenotypes, find_objects, on_image_grid

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...pp.elements import SampleElements

OPTIONS = ("model", "encoder", "nuclear", "phenotypes", "panel", "recipe", "batch_size")
# where messages about markers and pixels find what they name
OPTION_FIELDS = {
    name: ("options", f"{record}.{field}") for name, (record, field) in CALL_FIELDS.of(["panel", "recipe"]).items()
}
_FOLDERS = {str(PurePosixPath(card.weights_file or "").parent): card.name for card in (VIRTUES, VIRTUES_SP32)}
_HOW = (
    f"the folder of a published set, with {HEAD_FILE} and model.safetensors (virtues-sp31 or virtues-sp32 of "
    "https://huggingface.co/bunnelab/virtues)"
)


@dataclass(frozen=True)
class Network:
    """A network with all that its options decide.

    Attributes
    ----------
    segmenter
        Encoder and head, on their device.
    request
        Panel and recipe of the encoder.
    batch_size
        Windows that go through it together.
    """

    segmenter: VirTuesSegmenter
    request: Request
    batch_size: int

    def identity(self) -> dict[str, object]:
        """What decides the logits of given pixels."""
        segmenter = self.segmenter
        return {
            "encoder": encoder_identity(segmenter.encoder, self.request.recipe),
            "head": state_hash(segmenter.head),  # type: ignore[arg-type]  # of any module
            "rule": repr(segmenter.rule),
            "answers": list(segmenter.answers),
            "device": segmenter.encoder.device.type,
        }


@dataclass(frozen=True)
class FoundCells:
    """Cells of one image.

    Attributes
    ----------
    labels
        ``(y, x)`` uint32 at the pixels of the image, an array or lazy; cells 1 to `n`.
    n
        Their number.
    phenotypes
        None where the head has none.
    mpp
        µm per pixel of the network.
    """

    labels: object
    n: int
    phenotypes: Phenotypes | None
    mpp: float


def open_network(weights: str | os.PathLike | None, options: Mapping[str, Any], mpp: Any = None) -> Network:
    """Encoder and head, ready to run.

    Parameters
    ----------
    weights
        Of the head: a file, a folder that holds it, or a repository of the hub.
    options
        ``model``, ``encoder``, ``nuclear``: of the encoder; ``phenotypes``: names of the head's; ``panel``, ``recipe``:
        as `spatialfm.tl.embed_cells` takes them; ``batch_size``.
    mpp
        µm per pixel of the images, where they do not say it.

    Raises
    ------
    ArgumentError
        If an option is not known, or nothing says which model it is.
    WeightsError, ModelError
        If a file is missing or does not fit, or encoder and head do not fit each other.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise ArgumentError(f"options= of method={NETWORK!r} has no {unknown[0]!r}. {meant(unknown[0], OPTIONS)}")
    if weights is None:
        raise ArgumentError(f"method={NETWORK!r} needs the weights of its head. Pass weights=<path>: {_HOW}.")
    batch_size = options.get("batch_size", 4)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"options={{'batch_size': {batch_size!r}}} must be a whole number, at least 1.")
    names = options.get("phenotypes")
    if isinstance(names, str):
        raise ArgumentError(f"options={{'phenotypes': {names!r}}} is one name. Pass a list of them.")
    encoder = _encoder(weights, options)
    own = encoder.card.settle(encoder.card.recipe, cells=False)
    recipe, elements = options.get("recipe"), Elements(mpp=mpp)
    request = request_of(encoder, panel=options.get("panel"), recipe=recipe, elements=elements, cells=False)
    if wrong := [name for name in ("window", *OF_CELLS) if getattr(request.recipe, name) != getattr(own, name)]:
        raise ArgumentError(
            f"options={{'recipe': {{{wrong[0]!r}: ...}}}} cannot be chosen: the head was made for windows of "
            f"{VirTuesSegmenter.window} pixels over whole images. Leave it out."
        )
    segmenter = load_segmenter(encoder, weights, names)
    return Network(segmenter.to(resolve_device(None)), request, batch_size)


def _encoder(weights: str | os.PathLike, options: Mapping[str, Any]) -> VirTuesEncoder:
    """The encoder that is meant: as it is, of a file that is named, or of the file beside the head."""
    given = options.get("encoder")
    if isinstance(given, Encoder):
        if wrong := [name for name in ("model", "nuclear") if options.get(name) is not None]:
            raise ArgumentError(
                f"options={{{wrong[0]!r}: ...}} belongs to an encoder that is not loaded yet. Leave it out."
            )
        encoder = given
    elif given is not None and not isinstance(given, str | os.PathLike):
        raise ArgumentError(
            f"options={{'encoder': ...}} must be a file, a folder or an encoder of sfm.models.load, not a "
            f"{type(given).__name__}."
        )
    else:
        encoder = load(
            _model(weights, options.get("model")),
            weights=_beside(weights) if given is None else given,
            nuclear=options.get("nuclear"),
        )
    if not isinstance(encoder, VirTuesEncoder):
        raise ModelError(f"The head of VirTues takes an encoder of VirTues, not {encoder.card.name!r}.")
    return encoder


def _model(weights: str | os.PathLike, named: object) -> str:
    if named is not None:
        if named not in _FOLDERS.values():
            raise ArgumentError(
                f"options={{'model': {named!r}}} has no head; {' and '.join(_FOLDERS.values())} have one."
            )
        return str(named)
    parts = Path(os.fspath(weights)).parts
    models = [model for folder, model in _FOLDERS.items() if folder in parts]
    if len(models) != 1:
        raise ArgumentError(
            f"weights={os.fspath(weights)!r} does not say which set of weights it is of. Pass options={{'model': "
            f"'virtues'}} (sp31, MIT) or options={{'model': 'virtues-sp32'}} (no commercial use)."
        )
    return models[0]


def _beside(weights: str | os.PathLike) -> str | os.PathLike:
    """The encoder's file in the folder of the head."""
    path = Path(weights).expanduser()
    if not path.exists():  # a repository, or nothing: whoever reads the head's file says so
        return os.fspath(weights).removesuffix(f"/{HEAD_FILE}")
    if path.is_dir():
        return path
    if not (path.parent / "model.safetensors").is_file():
        raise WeightsError(
            f"The head {path} needs its encoder, and there is no model.safetensors beside it. Pass "
            "options={'encoder': <file of the encoder>}."
        )
    return path.parent / "model.safetensors"


def plan_images(
    sdata: SpatialData, pairs: Sequence[SampleElements], network: Network, tile_size: int, overlap: float, area: float
) -> tuple[Inputs, list[SegmentJob]]:
    """Images opened and cut into tiles; every check that needs no network is made here.

    Parameters
    ----------
    tile_size
        Of a tile without its overlap, in pixels of the network.
    overlap
        µm that two tiles share.
    area
        Cells of fewer µm² are left out.

    Raises
    ------
    PanelError, ModelError, PixelSizeError, CoordinateError
        As for an embedding.
    ArgumentError
        If a tile is smaller than its overlap.
    """
    inputs = prepare_inputs(sdata, pairs, network.segmenter.encoder, network.request)
    jobs = []
    for pair, reader, raw in zip(pairs, inputs.readers, inputs.raw, strict=True):
        size = float(inputs.notes["mpp_used"][pair.sample])
        around = int(np.ceil(overlap / 2 / size))
        if 2 * around > tile_size:
            raise ArgumentError(
                f"Tiles of {tile_size} pixels are smaller than their overlap of {2 * around} pixels ({overlap:g} µm of "
                f"{size:g} µm each, image {pair.image!r}). Pass tile_size={2 * around} or more, or a smaller overlap=."
            )
        height, width = (int(side) for side in reader.shape)
        jobs.append(
            SegmentJob(
                sample=pair.sample,
                image=pair.image,
                pixels=reader,
                channels=list(raw.channel_names),
                nuclear=[],
                membrane=[],
                mpp=size,
                grid=StitchGrid((height, width), tile_size, around),
                min_area=area / size**2,
                nan_code="",
            )
        )
    _warn_without_nuclei(inputs)
    return inputs, jobs


def _warn_without_nuclei(inputs: Inputs) -> None:
    """Say that the head finds cells best where a stain of nuclei is among the markers (notebook 3 of the release)."""
    panel = inputs.panel
    if nuclear_stains(panel.markers):
        return
    names = list(panel.dropped)
    stains = [names[place] for place in nuclear_stains(names)]
    remedy = (
        f" {listed(stains, 3)} would be one, given the protein embedding of histone H3: pass options={{'nuclear': "
        "'histone'}."
        if stains and inputs.encoder.nuclear is None
        else ""
    )
    warn(f"No marker of nuclei is among the {counted(len(panel.markers), 'marker')} that VirTues is given.{remedy}")


def run_images(network: Network, inputs: Inputs, jobs: Sequence[SegmentJob]) -> list[FoundCells]:
    """Cells of each image, one after the other; finished tiles are kept until all images are done."""
    identity = network.identity()
    kept, names = Kept({"method": NETWORK, **identity}), [list[str]() for _ in jobs]
    done: list[FoundCells] = []
    shapes = [(int(raw.image.shape[-2]), int(raw.image.shape[-1])) for raw in inputs.raw]
    pixels = sum(max(np.prod(shape), np.prod(job.grid.shape)) for shape, job in zip(shapes, jobs, strict=True))
    in_memory = bool(4 * pixels <= settings.result_memory)
    with progress_bar(total=sum(len(job.grid.cores()) for job in jobs), desc="segment", unit="tile") as bar:
        for number, (job, of_job) in enumerate(zip(jobs, names, strict=True)):
            logits, reader, shape = _logit_map(network, inputs, number), inputs.readers[number], shapes[number]
            decides = {
                **identity,
                "pixels": reader.fingerprint,
                "preparation": getattr(reader, "preparation", None),
                **{name: getattr(logits, name) for name in ("markers", "mean", "std")},
            }
            labels, n, phenotypes = find_objects(job, logits, decides, kept, bar.update, of_job, in_memory)
            labels, left = on_image_grid(labels, n, float(inputs.ratios[number]), shape, job.image, in_memory)
            if left is not None:
                n, phenotypes = len(left), None if phenotypes is None else phenotypes.take(left)
            done.append(FoundCells(labels, n, phenotypes, job.mpp))
    kept.forget([name for of_job in names for name in of_job])
    return done


def _logit_map(network: Network, inputs: Inputs, number: int) -> LogitMap:
    device = network.segmenter.encoder.device
    mean, std = (torch.tensor(part, dtype=torch.float32, device=device) for part in (inputs.mean, inputs.std))
    return LogitMap(
        network.segmenter,
        inputs.readers[number],
        torch.as_tensor(inputs.markers).to(device),
        mean,
        std,
        network.request.recipe,
        network.batch_size,
    )


def record_of(network: Network, inputs: Inputs) -> dict[str, object]:
    """What is kept of the network, its pixels and its markers, of all images alike."""
    segmenter, notes = network.segmenter, inputs.notes
    encoder = segmenter.encoder
    names = ("markers", "markers_dropped", "marker_embeddings", "normalization_source", "recipe", "domain_warnings")
    return {
        "weights": segmenter.head_weights.source,
        "sha256": segmenter.head_weights.sha256,
        "model": encoder.card.name,
        "license": encoder.card.license,
        "commercial_use": encoder.card.commercial,
        "encoder_weights": encoder.weights.source,
        "encoder_sha256": encoder.weights.sha256,
        "model_options": json.dumps(encoder.options, default=str),
        "phenotypes": list(segmenter.answers),
        **{name: json.dumps(notes[name], default=str) for name in names},
    }
