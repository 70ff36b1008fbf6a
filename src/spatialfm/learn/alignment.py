"""Two representations of the same rows brought into one space, trained on some patients and stopped on others."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .._errors import TableError
from .._preparation import STANDARDIZED, column_scale
from .._progress import progress_bar
from .._threads import one_thread
from .alignment_network import Alignment, HeadName, LossName
from .column_order import order_of_columns

WARM_UP = 782 / 20_000  # share of the steps (HESCAPE)
MIN_DELTA = 0.01  # a validation loss that falls by less counts as none (HESCAPE)
LARGEST_GRADIENT = 5.0
BATCH_OF_ROWS = 65_536  # that are projected at once
SIDES = ("a", "b")


@dataclass(frozen=True)
class AlignmentRecipe:
    """What decides the heads and their training."""

    loss: LossName
    head_a: HeadName
    head_b: HeadName
    n_components: int
    dropout: float
    temperature: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_epochs: int
    patience: int


@dataclass(frozen=True)
class Aligned:
    """Trained heads, what standardises their columns, and a table with a row per epoch."""

    network: Alignment
    moments: dict[str, tuple[np.ndarray, np.ndarray]]
    history: pd.DataFrame
    best_epoch: int

    def project(self, values: np.ndarray, side: str, device: torch.device) -> np.ndarray:
        """Rows in the common space, float32 ``(n, n_components)``, each of length 1."""
        mean, sd = self.moments[side]
        parts = []
        with torch.no_grad():
            for start in range(0, len(values), BATCH_OF_ROWS):
                x = ((values[start : start + BATCH_OF_ROWS] - mean) / sd).astype(np.float32)
                parts.append(self.network.project(torch.from_numpy(x).to(device), side).cpu().numpy())  # type: ignore[arg-type]
        return np.concatenate(parts)

    def stored(self) -> dict[str, np.ndarray]:
        """All that decides the projections, by name: weights, and mean and deviation of the columns of both sides."""
        arrays = {name: one.detach().cpu().numpy() for name, one in self.network.state_dict().items()}
        for side in SIDES:
            arrays[f"{side} mean"], arrays[f"{side} sd"] = self.moments[side]
        return arrays

    def checksum(self) -> str:
        """SHA-256 of all that decides the projections: two tables may be compared where it is the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().numpy().astype("<f4").tobytes())
        for side in SIDES:
            for moment in self.moments[side]:
                digest.update(moment.astype("<f4").tobytes())
        return digest.hexdigest()


def stored_alignment(stored: Mapping[str, np.ndarray], recipe: AlignmentRecipe, device: torch.device) -> Aligned:
    """Heads as `Aligned.stored` gives them.

    Raises
    ------
    TableError
        If arrays are missing or have no place in heads of this recipe.
    """
    arrays = {name: np.asarray(value) for name, value in stored.items()}
    names = {(side, what): f"{side} {what}" for side in SIDES for what in ("mean", "sd")}
    if lost := [name for name in names.values() if name not in arrays]:
        raise TableError(f"The stored heads have no {lost[0]!r}: they are damaged. Align the source again.")
    moments = {side: (arrays[names[side, "mean"]], arrays[names[side, "sd"]]) for side in SIDES}
    widths = (len(moments["a"][0]), len(moments["b"][0]))
    network = Alignment(
        widths, (recipe.head_a, recipe.head_b), recipe.n_components, recipe.loss, recipe.dropout, recipe.temperature
    )
    weights = {name: torch.tensor(one) for name, one in arrays.items() if name not in names.values()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise TableError(f"The stored heads do not fit their recipe: {error}. Align the source again.") from error
    return Aligned(network.to(device).eval(), moments, pd.DataFrame(), 0)


@one_thread()  # what rounding changes in a step, the next ones enlarge
def fit_alignment(
    one: np.ndarray,
    two: np.ndarray,
    fit: np.ndarray,
    validation: np.ndarray,
    recipe: AlignmentRecipe,
    seed: int,
    device: torch.device,
) -> Aligned:
    """Train two heads until the loss of the validation rows has not fallen for some epochs.

    Parameters
    ----------
    one, two
        ``(n, columns)`` of the same rows.
    fit, validation
        Rows; columns are standardised by the former, the weights kept are those with the lowest loss of the latter.
    seed
        Of weights and batches. The state of torch's own generator is put back.
    """
    moments = {side: column_scale(values[fit], STANDARDIZED) for side, values in (("a", one), ("b", two))}
    pairs = [
        torch.from_numpy(((values - mean) / sd).astype(np.float32))
        for values, (mean, sd) in zip((one, two), moments.values(), strict=True)
    ]
    orders = [torch.from_numpy(order_of_columns(values[fit].numpy())) for values in pairs]
    pairs = [values[:, order] for values, order in zip(pairs, orders, strict=True)]  # weights are drawn by their place
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = Alignment(
            (one.shape[1], two.shape[1]), (recipe.head_a, recipe.head_b), recipe.n_components, recipe.loss,
            recipe.dropout, recipe.temperature,
        ).to(device)  # fmt: skip
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.999)
        )
        n_steps = recipe.max_epochs * sum(1 for _ in _batches(fit, recipe.batch_size))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
        held_out = rng.permutation(validation)  # the same batches at each epoch
        history, counted, lowest, best = [], 0, np.inf, np.inf
        best_epoch, state = 0, copy.deepcopy(network.state_dict())
        for epoch in progress_bar(range(1, recipe.max_epochs + 1), desc="epochs"):
            trained = _epoch(network, pairs, rng.permutation(fit), recipe.batch_size, optimizer, schedule, device)
            loss = _loss(network, pairs, held_out, recipe.batch_size, device)
            history.append({"epoch": epoch, "train_loss": trained, "validation_loss": loss})
            if loss < best:
                best, best_epoch, state = loss, epoch, copy.deepcopy(network.state_dict())
            if loss < lowest - MIN_DELTA:
                lowest, counted = loss, epoch
            elif epoch - counted >= recipe.patience:
                break
        network.load_state_dict(state)
    with torch.no_grad():
        for head, order in zip((network.a, network.b), orders, strict=True):
            head[0].weight.copy_(head[0].weight[:, order.argsort().to(device)])  # as columns stand in the table
    return Aligned(network.eval(), moments, pd.DataFrame(history), best_epoch)


def _epoch(network, pairs, order, batch_size, optimizer, schedule, device) -> float:
    """One pass over the rows to fit; mean loss of its batches."""
    network.train()
    losses = []
    for rows in _batches(order, batch_size):
        optimizer.zero_grad()
        loss = network(*(part[rows].to(device) for part in pairs))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        network.clamp()
        losses.append(loss.item())
    return float(np.mean(losses))


def _loss(network, pairs, order, batch_size, device) -> float:
    network.eval()
    with torch.no_grad():
        return float(
            np.mean(
                [network(*(part[rows].to(device) for part in pairs)).item() for rows in _batches(order, batch_size)]
            )
        )


def _batches(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Batches of one size: in a smaller one the partner has fewer rivals, and the loss is another.

    Where all rows are fewer than a batch, they are one.
    """
    size = min(size, len(order))
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]


def _rate(step: int, n_steps: int) -> float:
    """Share of the learning rate: it rises over the first steps and falls as a cosine to 0."""
    first = max(round(WARM_UP * n_steps), 1)
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(n_steps - first, 1)))
