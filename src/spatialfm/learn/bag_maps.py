"""What the output for a bag rests on, cell by cell: gradients of any network, and exact shares of a B-cos one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .bag_bcos import BcosMIL
from .bag_training import BagRecipe, Bags, Trained, parts_of

ROWS = 8192  # cells whose shares are in memory at once


@dataclass(frozen=True)
class Shares:
    """Shares of one bag in the outputs of one network, in units of what is predicted (of a class, its logit).

    Attributes
    ----------
    output
        ``(outputs,)``, before probabilities are made of it.
    cells
        ``(cells, outputs)``.
    columns
        ``(outputs, columns)``, sums over the cells; empty for gradients, which do not add up.
    intercept
        ``(outputs,)``.
    """

    output: np.ndarray
    cells: np.ndarray
    columns: np.ndarray
    intercept: np.ndarray


def gradient_shares(trained: Trained, bags: Bags, bag: int, recipe: BagRecipe, device: torch.device) -> Shares:
    """Columns times the gradient of an output, summed over the columns of each cell.

    STAMP's heatmaps (El Nahhas et al., Nature Protocols 2025) are the softmax over tiles of the absolute mean over
    columns of the same product. Of a bag that a network takes in parts, the output is the mean of its parts.
    """
    parts = list(parts_of(trained, bags, bag, recipe, device))
    n_outputs, unit = trained.target.n_outputs, trained.target.unit
    cells, total = np.empty((len(bags.rows[bag]), n_outputs), np.float32), np.zeros(n_outputs)
    for part, x in parts:
        x.requires_grad_(True)
        output, _ = trained.network(x, torch.ones(x.shape[:2], dtype=torch.bool, device=device))
        total += output[0].detach().cpu().double().numpy() / len(parts)
        for k in range(n_outputs):
            (gradient,) = torch.autograd.grad(output[0, k], x, retain_graph=k + 1 < n_outputs)
            share = (x.detach() * gradient).sum(dim=2)[0] / len(parts)
            cells[part, k] = share.cpu().numpy() * unit
    return Shares(total * unit, cells, np.zeros((n_outputs, 0)), np.zeros(n_outputs))


def bcos_shares(trained: Trained, bags: Bags, bag: int, recipe: BagRecipe, device: torch.device) -> Shares:
    """Exact shares of the cells and of the columns; with the intercept they add up to the output."""
    network: BcosMIL = trained.network
    unit, rows = trained.target.unit, bags.rows[bag]
    n_outputs = trained.target.n_outputs
    cells, columns = np.empty((len(rows), n_outputs)), np.zeros((n_outputs, bags.values.shape[1]))
    with torch.no_grad():
        ((_, x),) = parts_of(trained, bags, bag, recipe, device)
        for start in range(0, len(rows), ROWS):
            some = x[0, start : start + ROWS]
            shares, intercept = network.contributions(some)
            weighted = shares.double().cpu().numpy() * (len(some) / len(rows))
            cells[start : start + ROWS], columns = weighted.sum(axis=2), columns + weighted.sum(axis=0)
        output, _ = network(x, torch.ones(x.shape[:2], dtype=torch.bool, device=device))
    mean = getattr(trained.target, "mean", 0.0)
    numbers = (output[0] * unit + mean, intercept * unit + mean)
    output, intercept = (one.detach().double().cpu().numpy() for one in numbers)
    return Shares(output, cells * unit, columns * unit, intercept)
