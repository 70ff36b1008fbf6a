"""Attention of VirTues on markers and positions (Wenckstern et al. 2026, arXiv:2501.06039)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from .._errors import ModelError

Over = Literal["query", "key"]


@dataclass(frozen=True)
class VirTuesAttention:
    """Attention of one batch; channel 0 is the summary, the markers follow in their order.

    Attributes
    ----------
    marker
        ``(B, heads, 1 + M, 1 + M, h, w)``: softmax attention of one channel (first of the two axes) to another at each
        position, in a marker attention block. Zero from and to hidden tokens.
    spatial
        ``(B, heads, 1 + M, h, w)``: softmax attention to each position of a channel, in a spatial attention block. Sums
        to 1 over the positions; zero for a channel that is hidden altogether.
    importance
        ``(B, M)``: score of each marker, see `marker_importance`.
    """

    marker: Tensor
    spatial: Tensor
    importance: Tensor

    @property
    def summary_to_marker(self) -> Tensor:
        """Attention of the summary token of each position to each marker there, ``(B, heads, M, h, w)``."""
        return self.marker[:, :, 0, 1:]


def marker_importance(attention: Tensor, *, over: Over = "query") -> Tensor:
    """Importance of each marker from marker attention (Methods, "Model inspection and visualization").

    Attention is summed over the positions, scaled to 0..1, and summed over heads and attending markers.

    Parameters
    ----------
    attention
        ``(B, heads, M, M, h, w)``: softmax attention of one marker (first of the two axes) to another, without the
        summary.
    over
        What the minimum and maximum of the scaling run over: ``"query"``, the attending markers, as the formula is
        printed; or ``"key"``, the markers attended to, which leaves the differences between them as they are.

    Returns
    -------
    ``(B, M)``. What does not vary counts as 0, so a single marker has the score 0.

    Examples
    --------
    Two markers and one head: the first marker attends to both alike, the second to the first alone.

    >>> import torch
    >>> from spatialfm.models.virtues_attention import marker_importance
    >>> attention = torch.tensor([[0.5, 0.5], [1.0, 0.0]])[None, None, :, :, None, None]
    >>> marker_importance(attention)
    tensor([[1., 1.]])
    >>> marker_importance(attention, over="key")
    tensor([[1., 0.]])
    """
    if over not in get_args(Over):
        raise ModelError(f"over={over!r} is neither 'query' nor 'key'.")
    return importance_of_heads(attention.sum((-2, -1)), over=over).sum(1)


def importance_of_heads(total: Tensor, *, over: Over = "query") -> Tensor:
    """What each head adds to `marker_importance`, ``(B, heads, M)``.

    Parameters
    ----------
    total
        ``(B, heads, M, M)``, attention of one marker (first of the two axes) to another, summed over the positions.
    over
        As above.
    """
    axis = -2 if over == "query" else -1
    low, high = total.amin(axis, keepdim=True), total.amax(axis, keepdim=True)
    spread = high - low
    scaled = torch.where(spread > 0, (total - low) / spread.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
    return scaled.sum(2)
