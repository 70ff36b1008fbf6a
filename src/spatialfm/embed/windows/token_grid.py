"""Every position of every image as a row: the tokens of windows laid side by side, or one small window each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..._errors import ModelError
from ..inputs import Inputs
from ..pixels.tissue import find_tissue, share_of_tissue, tissue_notes
from ..plan import RunPlan, check_window, choose_outputs, finish_plan
from .blocks import choose_window
from .grid import GridJob
from .tiles import tile_starts

if TYPE_CHECKING:
    from ...models.encoder import EncoderOutput

DENSE = ("summary", "token")


@dataclass(frozen=True)
class TokenGrid:
    """Tokens of all samples.

    Attributes
    ----------
    sample
        Number of the sample, ``(n,)``.
    starts
        First row and column in model pixels, ``(n, 2)``.
    side, spacing
        Side of a token, and distance of one to the next, in model pixels.
    coverage
        Share of the token that is tissue, ``(n,)``.
    per_window
        Tokens of a window.
    rows
        Where each token stands among all tokens of all windows, ``(n,)``.
    """

    sample: np.ndarray
    starts: np.ndarray
    side: int
    spacing: int
    coverage: np.ndarray
    per_window: int
    rows: np.ndarray


@dataclass(frozen=True)
class TokenJob(GridJob):
    """Windows whose tokens are kept apart."""

    made_by = "sfm.tl.segment_regions or sfm.tl.detect_artifacts"

    def encode(self, windows: torch.Tensor, masks: torch.Tensor | None) -> EncoderOutput:
        """Outputs with the markers of a position side by side, ``(B, h, w, M * D)``."""
        outputs = super().encode(windows, masks)
        if outputs.token is None:
            return outputs
        return replace(outputs, token=outputs.token.permute(0, 2, 3, 1, 4).flatten(3))


def plan_tokens(inputs: Inputs, size: int | None, stride: int | None, min_tissue: float) -> tuple[RunPlan, TokenGrid]:
    """One row per token of the grid that covers every image.

    Models with tokens see windows of `size` every `stride` pixels; where windows overlap, a token counts in the window
    in whose middle it is most. All others see one window of `size` per token.

    Raises
    ------
    ModelError
        If sizes make no sense, the model has no such output, or no token holds enough tissue.
    """
    card, recipe = inputs.encoder.card, inputs.request.recipe
    outputs = _output(inputs)
    dense = outputs[0] in DENSE
    size = choose_window(
        size or (recipe.token_window if dense else recipe.point_window), card.patch_size, np.zeros(0), argument="size"
    )
    check_window(inputs, size, argument="size")
    stride = (size if dense else min(recipe.point_stride, size)) if stride is None else stride
    if stride < 1 or not 0 <= min_tissue <= 1:
        raise ModelError(f"stride={stride} must be 1 or more, and min_tissue={min_tissue} from 0 to 1.")
    if stride > size:
        raise ModelError(
            f"stride={stride} is larger than size={size}: tokens would leave gaps. Pass a smaller stride=."
        )
    arguments = inputs.job_arguments(outputs, "keep", size)
    side, spacing, n = _layout(arguments, size, card.patch_size) if dense else (size, stride, 1)
    windows, parts, first = [], [], 0
    for number, reader in enumerate(inputs.raw):
        axes = [tile_starts(length, size, stride) for length in reader.shape]
        kept = [
            kept_tokens(starts, size, side, spacing, n, length)
            for starts, length in zip(axes, reader.shape, strict=True)
        ]
        chosen = kept[0][:, None, :, None] & kept[1][None, :, None, :]  # (window y, window x, token y, token x)
        where = np.argwhere(chosen)
        starts = np.stack([axes[a][where[:, a]] + spacing * where[:, a + 2] for a in (0, 1)], axis=1)
        share = share_of_tissue(*find_tissue(reader), reader.shape, starts, side)
        where, starts, share = (part[share >= min_tissue] for part in (where, starts, share))
        used, place = np.unique(where[:, :2], axis=0, return_inverse=True)  # windows without a token are not encoded
        windows.append((number, np.stack([axes[a][used[:, a]] for a in (0, 1)], axis=1)))
        rows = ((first + place.reshape(-1)) * n + where[:, 2]) * n + where[:, 3]
        parts.append((np.full(len(starts), number), starts, share, rows))
        first += len(used)
    if not first:
        raise ModelError(f"No token holds {min_tissue:.0%} of tissue. Pass a smaller min_tissue=.")
    sample, starts, coverage, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
    corners = np.concatenate([part for _, part in windows])
    job = TokenJob(
        **arguments,
        labels=np.arange(len(corners)),
        sample=np.concatenate([np.full(len(part), number) for number, part in windows]),
        centers=corners + size // 2,
    )
    notes = inputs.notes | tissue_notes(list(inputs.notes["channels"]), inputs.raw, used=True)
    notes |= {"mode": "tokens", "background": "keep", "window": size, "stride": stride}
    notes |= {"token_side": side, "token_spacing": spacing, "min_tissue": min_tissue}
    return finish_plan(inputs, job, notes), TokenGrid(sample, starts, side, spacing, coverage, n * n, rows)


def kept_tokens(starts: np.ndarray, size: int, side: int, spacing: int, n: int, length: int) -> np.ndarray:
    """Which of the `n` tokens of each window count along one axis, ``(windows, n)``.

    Those that begin inside the image and have no window with a nearer middle.

    Examples
    --------
    >>> import numpy as np
    >>> kept_tokens(np.array([0, 4]), 8, 2, 2, 4, 12).astype(int)  # tokens at 0, 2, 4, 6 and at 4, 6, 8, 10
    array([[1, 1, 1, 0],
           [0, 1, 1, 1]])
    """
    cuts = (starts[1:] + starts[:-1] + size) / 2
    low, high = np.append(-np.inf, cuts), np.append(cuts, np.inf)
    first = starts[:, None] + spacing * np.arange(n)
    middle = first + side / 2
    return (middle >= low[:, None]) & (middle < high[:, None]) & (first < length)


def _output(inputs: Inputs) -> tuple[str, ...]:
    card = inputs.encoder.card
    offered = [name for name in (*DENSE, "patch", "marker") if name in card.outputs]
    if inputs.request.outputs is None and offered:
        return (offered[0],)
    outputs = choose_outputs(inputs.encoder, inputs.request, offered, "tokens")
    if len(outputs) > 1:
        raise ModelError(f"outputs={list(outputs)}: tokens take one output. Pass one of {offered}.")
    return outputs


def _layout(arguments: dict[str, Any], size: int, patch_size: int | None) -> tuple[int, int, int]:
    """Side of a token, distance to the next, and tokens a side of a window, from what the model makes of one."""
    job = TokenJob(**arguments, labels=np.zeros(0), sample=np.zeros(0), centers=np.zeros((0, 2)))
    device = job.encoder.device
    with torch.inference_mode():
        empty = torch.zeros((1, len(job.mean), size, size), device=device)
        tokens = getattr(
            job.encode(empty, torch.ones((1, size, size), dtype=torch.bool, device=device)), job.outputs[0]
        )
    n = tokens.shape[1]
    if patch_size is None or n == 1:
        return size // n, size // n, n
    return patch_size, (size - patch_size) // (n - 1), n
