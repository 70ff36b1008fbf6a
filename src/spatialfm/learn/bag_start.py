"""Where training of attention over bags begins: at what the mean cell of a bag tells. Pure torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from .bag_network import GatedAttentionMIL
    from .bag_training import Bags, Target

PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse strengths, scikit-learn's C, on means with standard deviation 1
MOST_STEPS = 200  # of L-BFGS


def start_at_means(
    network: GatedAttentionMIL,
    bags: Bags,
    target: Target,
    fit: np.ndarray,
    validation: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
) -> None:
    """Set even attention, and the last layer to the linear model of mean cells: the target's loss with a ridge.

    From a last layer of zeros Adam moves all columns by steps of one size, those that say nothing as far as those that
    do: with tens of patients and an epoch of one or two steps that is most of what is learned. The linear model of the
    means has no steps. Its penalty is the one of `PENALTIES` with the lowest loss of the validation bags, the strongest
    of several.
    """
    x = _means(bags, fit, mean, sd)
    seen = _means(bags, validation, mean, sd)
    spread = x.std(0, correction=0).clamp_min(1e-6)
    models = [_fitted(x / spread, target, fit, strength) for strength in PENALTIES]
    with torch.no_grad():
        losses = [float(target.loss(model(seen / spread), validation)) for model in models]
        best = models[int(np.argmin(losses))]
        network.weight.zero_()
        network.head.weight.copy_((best.weight / spread / network.n_heads).repeat(1, network.n_heads))
        network.head.bias.copy_(best.bias)


def _fitted(x: torch.Tensor, target: Target, chosen: np.ndarray, strength: float) -> nn.Linear:
    """A linear model ``(n, columns)`` to outputs, with the smallest penalised loss."""
    model = nn.Linear(x.shape[1], target.n_outputs, dtype=x.dtype)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    steps = torch.optim.LBFGS(model.parameters(), max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        steps.zero_grad()
        found = target.loss(model(x), chosen, True) + model.weight.square().sum() / (2 * strength * len(x))
        found.backward()
        return found

    steps.step(loss)
    return model


def _means(bags: Bags, chosen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> torch.Tensor:
    """Standardised mean cell of each bag, of all its cells, ``(bags, columns)``, float64 on the processor."""
    rows = [bags.values[bags.rows[bag]].mean(axis=0, dtype=np.float64) for bag in chosen]
    return torch.from_numpy((np.stack(rows) - mean) / sd)
