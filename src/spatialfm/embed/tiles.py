"""Windows laid over a whole image, and their tokens shared out to the cells below."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def tile_starts(size: int, window: int, stride: int, padding: int = 0) -> np.ndarray:
    """First pixel of each tile along one axis; the last one ends at the edge.

    Parameters
    ----------
    size
        Length of the axis.
    window, stride
        Side of a tile, and distance of one to the next.
    padding
        Pixels by which the tiles reach beyond both ends.

    Examples
    --------
    >>> tile_starts(170, 128, 42), tile_starts(150, 128, 42), tile_starts(100, 128, 42)
    (array([ 0, 42]), array([ 0, 22]), array([0]))
    """
    first, last = -padding, size + padding - window
    if last <= first:
        return np.array([first])
    starts = np.arange(first, last + 1, stride)
    return starts if starts[-1] == last else np.append(starts, last)


def share_out(tokens: Tensor, labels: Tensor, n_cells: int) -> tuple[Tensor, Tensor]:
    """Sum the tokens over each cell, a token as often as it has pixels of the cell (VirTues, Methods, Aggregation).

    Parameters
    ----------
    tokens
        ``(B, h, w, D)``, each over an equal part of its window.
    labels
        ``(B, H, W)``, int64: 0 is background, ``i + 1`` the cell of row ``i``.
    n_cells
        Rows of the result.

    Returns
    -------
    Sums ``(n_cells, D)`` and pixels counted ``(n_cells,)``; their ratio is the cell's embedding.

    Examples
    --------
    >>> import torch
    >>> tokens = torch.tensor([[[[1.0], [5.0]]]])  # one window, two tokens side by side
    >>> sums, pixels = share_out(tokens, torch.tensor([[[1, 1, 1, 2]]]), 2)
    >>> sums.flatten().tolist(), pixels.tolist()  # cell 1: two pixels of the first token, one of the second
    ([7.0, 5.0], [3.0, 1.0])
    """
    n_windows, h, w, width = tokens.shape
    n_tokens = n_windows * h * w
    rows = torch.arange(labels.shape[1], device=labels.device) * h // labels.shape[1]
    columns = torch.arange(labels.shape[2], device=labels.device) * w // labels.shape[2]
    position = rows[:, None] * w + columns
    window = torch.arange(n_windows, device=labels.device)[:, None, None] * (h * w)
    inside = labels > 0
    pairs, pixels = torch.unique(((labels - 1) * n_tokens + window + position)[inside], return_counts=True)
    cell, token = pairs // n_tokens, pairs % n_tokens
    pixels = pixels.to(tokens.dtype)
    overlap = torch.sparse_coo_tensor(
        torch.stack([cell, token]),
        pixels,
        (n_cells, n_tokens),
        device=tokens.device,
        is_coalesced=True,
        check_invariants=True,
    )
    sums = torch.sparse.mm(overlap, tokens.reshape(n_tokens, width))
    return sums, torch.zeros(n_cells, dtype=tokens.dtype, device=tokens.device).index_add_(0, cell, pixels)
