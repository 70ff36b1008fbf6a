"""From what the user asked for to a job, with every check made before the first window is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._errors import ModelError, counted, warn
from .._identity import fingerprint
from .._logging import logger
from .._settings import settings
from ..models.encoder import digest_of
from ..models.family import shape_of
from ..models.preparation import Preparation, code_of
from ..models.recipe import PADDING, Recipe
from .call import Request
from .inputs import Inputs
from .markers.panel import ResolvedPanel
from .result.reduce import check_basis, check_components
from .run.block import Block
from .run.engine import Job, choose_batch_size
from .windows.blocks import choose_window, needed_sides
from .windows.cells import Cells
from .windows.crop import CropJob, PointJob
from .windows.tiles import TileJob

if TYPE_CHECKING:
    from ..models.encoder import Encoder

OF_WINDOWS = ("patch", "marker", "attention")  # outputs that are one row per window


@dataclass(frozen=True)
class RunPlan:
    """A job, its blocks, and the entries of the record."""

    job: Job
    blocks: list[Block]
    panel: ResolvedPanel
    identity: str
    notes: dict[str, Any] = field(default_factory=dict)

    def batch_size(self, asked: int | None) -> int:
        """Windows of a batch: those asked for, or as many as fit into memory."""
        job = self.job
        return asked or choose_batch_size(job.encoder, len(self.panel.markers), job.window, settings.batch_memory)


def check_options(encoder: Encoder, request: Request) -> tuple[str, ...]:
    """Outputs to use; errors for what the model does not offer."""
    card = encoder.card
    if request.recipe.mode == "crop":
        return choose_outputs(encoder, request, [name for name in card.outputs if name in OF_WINDOWS], "cells")
    outputs = [request.outputs] if isinstance(request.outputs, str) else request.outputs or ()
    if "attention" in outputs and "attention" in card.outputs:
        raise ModelError(
            "mode='tile' shares tokens out to cells, and outputs='attention' is one row per window. Pass mode='crop', "
            "or for regions sfm.tl.embed_tiles(..., outputs='attention')."
        )
    # one vector per position is the patch's; the tokens of each marker are the marker's
    return choose_outputs(encoder, request, ["patch", *(["marker"] if "token" in card.outputs else [])], "cells")


def choose_outputs(encoder: Encoder, request: Request, offered: Sequence[str], what: str) -> tuple[str, ...]:
    """Outputs that are meant, by default the card's."""
    card, outputs = encoder.card, request.outputs
    if outputs is None:
        return (card.default_output if card.default_output in offered else offered[0],)
    outputs = (outputs,) if isinstance(outputs, str) else tuple(dict.fromkeys(outputs))
    if unknown := [name for name in outputs if name not in offered]:
        raise ModelError(
            f"{card.name} has no output {unknown[0]!r} for {what}; it offers {list(offered)}. Correct outputs=."
        )
    if not outputs:
        raise ModelError(f"outputs= is empty; {card.name} offers {list(offered)}.")
    return outputs


def check_window(inputs: Inputs, window: int, *, pads: bool = True, argument: str = "window") -> None:
    """Refuse images that are smaller than a window where nothing may be padded."""
    if pads and inputs.encoder.card.pads:
        return
    for reader in inputs.readers:
        if min(reader.shape) < window:
            height, width = reader.shape
            why = f"{inputs.encoder.card.name} cannot pad it" if pads else "padding=0 forbids to pad it"
            raise ModelError(
                f"Image {reader.name!r} has {height} x {width} pixels at the model's scale, a window {window}, and "
                f"{why}. Pass a smaller {argument}=" + (", or leave the sample out with samples=." if pads else ".")
            )


def plan_cells(inputs: Inputs, cells: Cells) -> RunPlan:
    """Windows around cells, or tiles whose tokens are shared out to them."""
    card, recipe = inputs.encoder.card, inputs.request.recipe
    outputs = check_options(inputs.encoder, inputs.request)
    background = "keep" if cells.of_points else recipe.background
    per_cell = inputs.ratios[cells.sample]
    centers = cells.centers / per_cell[:, None]
    extents = needed_sides(centers, cells.boxes / per_cell[:, None])
    if cells.of_points:
        _check_points(inputs, cells)
    window = choose_window(recipe.window, card.patch_size, extents)
    of_cells = {"labels": cells.labels, "sample": cells.sample, "centers": centers}
    notes = {"mode": recipe.mode, **inputs.notes, "background": background, "window": window}
    if cells.kinds:
        notes["cells_drawn_as"] = dict(cells.kinds)
    if recipe.mode == "tile":
        stride, padding = recipe.stride or window, recipe.padding or 0
        check_window(inputs, window, pads=padding > 0)
        arguments = inputs.job_arguments(outputs, background, window, padding)
        tiles = TileJob(**arguments, **of_cells, stride=stride, padding=padding)
        return finish_plan(inputs, tiles, notes | {"stride": stride, "padding": padding})
    check_window(inputs, window)
    n_truncated = int((extents > window + window % 2).sum())
    if n_truncated:
        n_cells_text = counted(len(extents), "cell")
        logger.warning(
            f"{n_truncated:,} of {n_cells_text} {'reaches' if n_truncated == 1 else 'reach'} beyond a window of "
            f"{window} pixels"
        )
    centred = "centroid" if recipe.centers is None else list(recipe.centers)
    arguments = inputs.job_arguments(outputs, background, window, max(PADDING, window))
    crops = PointJob if cells.of_points else CropJob
    job = crops(**arguments, **of_cells, extents=extents if recipe.window is None else None)
    return finish_plan(inputs, job, notes | {"centers": centred, "n_cells_truncated": n_truncated})


def _check_points(inputs: Inputs, cells: Cells) -> None:
    """Say what is embedded of cells without outline, and refuse windows that only an outline could decide."""
    card, recipe = inputs.encoder.card, inputs.request.recipe
    if recipe.mode == "crop" and recipe.window is None:
        raise ModelError(
            f"{card.name} takes windows as large as the cells, and cells that are points have no size. Pass "
            "window=<pixels>."
        )
    if recipe.mode == "crop" and (recipe.background == "zero" or card.needs_mask):
        shape = "; what it measures of the shape of a cell is that of the window" if card.needs_mask else ""
        n_samples = counted(len(cells.kinds), "sample")
        warn(
            f"Cells of {n_samples} are points without outline: windows around them are embedded whole, with "
            f"background='keep'{shape}. The record says so."
        )


def check_reduction(
    plan: RunPlan, n_components: int | None, bases: Mapping[str, Mapping[str, np.ndarray] | None]
) -> None:
    """Refuse components or a basis that do not fit the embedding, by what the model makes of one empty window.

    Raises
    ------
    ModelError
        Before anything is encoded.
    """
    if not n_components and not any(basis is not None for basis in bases.values()):
        return
    for output, basis in bases.items():
        width = n_columns(plan.job, output)
        if basis is not None:
            check_basis(basis, width)
        elif n_components:
            check_components(n_components, (len(plan.job.labels), width))


def n_columns(job: Job, output: str) -> int:
    """Columns of an output, by what the model makes of one empty window."""
    with torch.inference_mode():
        outputs = job.encode(*empty_windows(job, 1))
    if isinstance(job, TileJob):
        return job.tokens_of(outputs, output).shape[-1]
    return getattr(outputs, output)[0].numel()


def empty_windows(job: Job, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows ``(n, M, side, side)`` of zeros and masks that hold all of them, to see what the model makes of any."""
    side, device = job.window, job.encoder.device
    windows = torch.zeros((n, len(job.mean), side, side), device=device)
    return windows, torch.ones((n, side, side), dtype=torch.bool, device=device)


def finish_plan(inputs: Inputs, job: Job, notes: dict[str, Any]) -> RunPlan:
    """Cut the job into blocks and give it its identity."""
    blocks = job.plan(job.block_side)
    return RunPlan(job, blocks, inputs.panel, _identity(job, blocks, notes), notes)


def _identity(job: Job, blocks: Sequence[Block], notes: Mapping[str, Any]) -> str:
    """Fingerprint of all that decides the numbers: every pixel and label, the model, and each field of the job."""
    encoder = job.encoder
    apart = ("encoder", "readers", "recipe")
    return fingerprint(
        {
            "job": f"{type(job).__qualname__} {job.layout}".strip(),
            **{f"job.{f.name}": getattr(job, f.name) for f in fields(job) if f.name not in apart},
            **{f"model.{name}": value for name, value in encoder_identity(encoder, job.recipe).items()},
            "notes": dict(notes),
            "images": [reader.fingerprint for reader in job.readers],
            "prepared": [getattr(reader, "preparation", "") for reader in job.readers],
            "blocks": [[block.sample, block.n_windows, block.y0, block.y1, block.x0, block.x1] for block in blocks],
            "device": encoder.device.type,
        }
    )


def encoder_identity(encoder: Encoder, recipe: Recipe | None = None) -> dict[str, Any]:
    """All that decides what an encoder makes of pixels: its card, `options`, weights, and a user's own code."""
    kind = type(encoder)
    return {
        "card": _card_of(encoder, recipe),
        "options": encoder.options,
        "shape": shape_of(encoder),  # heads and strides are in no weight
        "weights": state_hash(encoder),
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "code": code_of(kind),
    }


def _card_of(encoder: Encoder, recipe: Recipe | None) -> dict[str, Any]:
    """The card, with the recipe that is used: what a user departs from decides nothing."""
    card = encoder.card
    recipe = card.recipe if recipe is None else recipe
    values = {one.name: getattr(card, one.name) for one in fields(card) if one.name != "recipe"}
    used = {name: getattr(recipe, name) for name in recipe.names()}
    if isinstance(recipe.preparation, Preparation):
        used["preparation"] = [code_of(type(recipe.preparation)), repr(recipe.preparation)]
    return values | {"recipe": used}


def state_hash(encoder: Encoder) -> str:
    """SHA-256 of an encoder's parameters and buffers, independent of their file."""
    # buffers that are not to be saved with the weights are not part of `state_dict`
    return digest_of({**dict(encoder.named_buffers()), **dict(encoder.named_parameters())})
