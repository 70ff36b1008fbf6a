"""Where training of attention over bags begins: at what the mean cell of a bag tells. Pure torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .bag_network import GatedAttentionMIL

Loss = Callable[[torch.Tensor], torch.Tensor]
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse strengths, scikit-learn's C, on means with standard deviation 1
MOST_STEPS = 200  # of L-BFGS


def start_at_means(
    network: GatedAttentionMIL, fit: np.ndarray, loss: Loss, validation: np.ndarray, validation_loss: Loss
) -> None:
    """Set even attention, and the last layer to the linear model of mean cells: the loss with a ridge.

    From a last layer of zeros Adam moves all columns by steps of one size, those that say nothing as far as those that
    do: with tens of patients and an epoch of one or two steps that is most of what is learned. The linear model of the
    means has no steps. Its penalty is the one of `PENALTIES` with the lowest loss of the validation bags, the strongest
    of several.

    Parameters
    ----------
    fit, validation
        Mean cells ``(bags, columns)``, standardised as the network's cells are.
    loss, validation_loss
        Of outputs for these bags.
    """
    x, seen = torch.from_numpy(fit), torch.from_numpy(validation)
    spread = x.std(0, correction=0).clamp_min(1e-6)
    n_outputs = network.head.out_features
    models = [_fitted(x / spread, loss, n_outputs, strength) for strength in PENALTIES]
    with torch.no_grad():
        losses = [float(validation_loss(model(seen / spread))) for model in models]
        best = models[int(np.argmin(losses))]
        network.weight.zero_()
        network.head.weight.copy_((best.weight / spread / network.n_heads).repeat(1, network.n_heads))
        network.head.bias.copy_(best.bias)


def _fitted(x: torch.Tensor, loss: Loss, n_outputs: int, strength: float) -> nn.Linear:
    """A linear model ``(n, columns)`` to outputs, with the smallest penalised loss."""
    model = nn.Linear(x.shape[1], n_outputs, dtype=x.dtype)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    steps = torch.optim.LBFGS(model.parameters(), max_iter=MOST_STEPS, line_search_fn="strong_wolfe")

    def penalised() -> torch.Tensor:
        steps.zero_grad()
        total = loss(model(x)) + model.weight.square().sum() / (2 * strength * len(x))
        total.backward()
        return total

    steps.step(penalised)
    return model
