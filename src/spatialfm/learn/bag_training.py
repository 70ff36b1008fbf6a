"""Training on bags of cells: padding, batches, early stopping, and prediction of bags that were held out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .._threads import one_thread
from ..cohort.cases import Cases
from .bag_bcos import BcosMIL
from .bag_network import GatedAttentionMIL, TransformerMIL, cox_loss
from .bag_published import HistoBistroMIL, StampMIL
from .bag_start import start_at_means

SMALLEST_SD = 1e-6  # of a column that does not vary
DIV_FACTOR = 25.0  # of the one-cycle schedule: the first step size is the largest over this, as in STAMP


@dataclass(frozen=True)
class BagRecipe:
    """How a network is made and trained."""

    head: str = "attention"
    n_heads: int = 8
    hidden: int = 256
    n_layers: int = 2
    dropout: float = 0.0
    learning_rate: float = 1e-4
    batch_size: int = 16
    max_epochs: int = 100
    patience: int = 10
    max_cells: int = 512
    weight_decay: float = 0.0
    one_cycle: bool = False
    padding: str = "masked"

    def network(self, n_features: int, n_outputs: int) -> nn.Module:
        """A network with fresh weights.

        The last layer of our transformer starts at zero, as a random one is most of what few and small steps predict;
        published layers start as published; `train` sets where attention starts.
        """
        common = {"n_heads": self.n_heads, "hidden": self.hidden, "dropout": self.dropout}
        if self.head == "attention":
            return GatedAttentionMIL(n_features, n_outputs, **common)
        if self.head == "bcos":
            return BcosMIL(n_features, n_outputs, dropout=self.dropout)
        if self.head == "stamp":
            width, heads = self.n_heads * self.hidden, {"n_heads": self.n_heads, "n_layers": self.n_layers}
            return StampMIL(n_features, n_outputs, width=width, feedforward=width, dropout=self.dropout, **heads)
        if self.head == "histobistro":
            return HistoBistroMIL(n_features, n_outputs, n_layers=self.n_layers, **common)
        return _silent(TransformerMIL(n_features, n_outputs, n_layers=self.n_layers, **common))

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Adam, or with a penalty on weights AdamW."""
        if not self.weight_decay:
            return torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        return torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def schedule(self, optimizer: torch.optim.Optimizer, n_bags: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        """One cycle over all epochs; None where the step size stays."""
        if not self.one_cycle:
            return None
        steps = self.max_epochs * -(-n_bags // self.batch_size)
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps, div_factor=DIV_FACTOR)


@dataclass(frozen=True)
class Bags:
    """Cells of all bags."""

    values: np.ndarray  # (cells, columns)
    rows: list[np.ndarray]  # cells of each bag

    def moments(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the columns over the cells of some bags."""
        n, total = 0, 0.0
        for bag in chosen:
            n, total = n + len(self.rows[bag]), total + self.values[self.rows[bag]].sum(axis=0, dtype=np.float64)
        mean = total / n
        square = sum(((self.values[self.rows[bag]] - mean) ** 2).sum(axis=0, dtype=np.float64) for bag in chosen)
        sd = np.sqrt(square / n)
        return mean.astype(np.float32), np.where(sd > SMALLEST_SD, sd, 1.0).astype(np.float32)

    def means(self, chosen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Standardised mean cell of some bags, of all their cells, ``(bags, columns)``, float64."""
        rows = [self.values[self.rows[bag]].mean(axis=0, dtype=np.float64) for bag in chosen]
        return (np.stack(rows) - mean) / sd


@dataclass(frozen=True)
class ClassTarget:
    """Classes of the bags, as codes."""

    codes: np.ndarray
    n_outputs: int
    weights: np.ndarray | None = None
    unit = 1.0  # of an output, in what is predicted

    def of(self, fit: np.ndarray) -> ClassTarget:
        """With weights by which the classes of the bags to fit count alike."""
        counts = np.bincount(self.codes[fit], minlength=self.n_outputs)
        return replace(self, weights=len(fit) / (self.n_outputs * np.maximum(counts, 1)))

    def loss(self, outputs: torch.Tensor, chosen: np.ndarray, by_number: bool = False) -> torch.Tensor:
        """Cross-entropy, a mean by weight.

        `by_number`: the weighted sum over the number of bags, as for steps of training. The mean by weight of bags of
        one class, or of a single bag, is without their weight.
        """
        weights = torch.as_tensor(self.weights, dtype=outputs.dtype, device=outputs.device)
        codes = torch.as_tensor(self.codes[chosen], device=outputs.device)
        if by_number:
            return F.cross_entropy(outputs, codes, weights, reduction="sum") / len(outputs)
        return F.cross_entropy(outputs, codes, weights)

    def predict(self, outputs: torch.Tensor) -> np.ndarray:
        """Probabilities ``(bags, classes)``."""
        return outputs.softmax(dim=1).cpu().double().numpy()


@dataclass(frozen=True)
class NumberTarget:
    """A number of each bag."""

    values: np.ndarray
    mean: float = 0.0
    sd: float = 1.0
    n_outputs = 1

    @property
    def unit(self) -> float:
        """Of an output, in what is predicted."""
        return self.sd

    def of(self, fit: np.ndarray) -> NumberTarget:
        """Standardised over the bags to fit."""
        sd = float(self.values[fit].std())
        return replace(self, mean=float(self.values[fit].mean()), sd=sd if sd > 0 else 1.0)

    def loss(self, outputs: torch.Tensor, chosen: np.ndarray, by_number: bool = False) -> torch.Tensor:
        """Mean squared error, in standard deviations."""
        wanted = torch.as_tensor((self.values[chosen] - self.mean) / self.sd, dtype=outputs.dtype)
        return F.mse_loss(outputs[:, 0], wanted.to(outputs.device))

    def predict(self, outputs: torch.Tensor) -> np.ndarray:
        """Numbers ``(bags, 1)``."""
        return outputs.cpu().double().numpy() * self.sd + self.mean


@dataclass(frozen=True)
class SurvivalTarget:
    """Time and event of each bag."""

    time: np.ndarray
    event: np.ndarray
    n_outputs = 1
    unit = 1.0

    def of(self, fit: np.ndarray) -> SurvivalTarget:
        """The same: ranks need no scale."""
        return self

    def loss(self, outputs: torch.Tensor, chosen: np.ndarray, by_number: bool = False) -> torch.Tensor:
        """Cox's, over the bags that are looked at together."""
        time = torch.as_tensor(self.time[chosen], device=outputs.device, dtype=outputs.dtype)
        return cox_loss(outputs[:, 0], time, torch.as_tensor(self.event[chosen], device=outputs.device))

    def predict(self, outputs: torch.Tensor) -> np.ndarray:
        """Log hazard ``(bags, 1)``."""
        return outputs.cpu().double().numpy()


Target = ClassTarget | NumberTarget | SurvivalTarget


@dataclass(frozen=True)
class Trained:
    """A network and what it needs to predict."""

    network: nn.Module
    mean: np.ndarray
    sd: np.ndarray
    target: Target
    n_epochs: int  # that it was trained for; the weights are those of the best of them
    best_epoch: int
    loss: float  # of validation


@one_thread()  # what rounding changes in a step, the next ones enlarge
def train(
    bags: Bags,
    target: Target,
    fit: np.ndarray,
    validation: np.ndarray,
    recipe: BagRecipe,
    seed: int,
    device: torch.device,
) -> Trained:
    """Train one network until the loss of the validation bags has not fallen for some epochs.

    Parameters
    ----------
    fit, validation
        Bags; columns are standardised by the cells of the former.
    seed
        Of weights, batches and the cells drawn from large bags. The state of torch's own generator is put back.
    """
    mean, sd = bags.moments(fit)
    target, rng = target.of(fit), np.random.default_rng(seed)
    held = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=held):
        torch.manual_seed(seed)
        network = recipe.network(bags.values.shape[1], target.n_outputs).to(device)
        if isinstance(network, GatedAttentionMIL):
            means = [bags.means(part, mean, sd) for part in (fit, validation)]
            of_fit, of_validation = (partial(target.loss, chosen=part) for part in (fit, validation))
            start_at_means(network, means[0], partial(of_fit, by_number=True), means[1], of_validation)
        optimizer = recipe.optimizer(network)
        schedule, as_published = recipe.schedule(optimizer, len(fit)), recipe.padding == "published"
        by_number = not as_published or recipe.batch_size == 1  # STAMP takes the mean by weight of each step
        # STAMP validates on whole bags, one by one, where nothing is padded
        size, most = (1, len(bags.values)) if as_published else (recipe.batch_size, recipe.max_cells)
        seen = [pad(bags, part, mean, sd, most, rng, device) for part in _parts(validation, size)]
        # one that starts at the mean cell is kept as it was unless attention makes it better
        known = isinstance(network, GatedAttentionMIL)
        best = _loss(network, target, seen, validation) if known else np.inf
        best_epoch, state = 0, copy.deepcopy(network.state_dict())
        for epoch in range(1, recipe.max_epochs + 1):
            network.train()
            for part in _parts(rng.permutation(fit), recipe.batch_size):
                x, mask = pad(bags, part, mean, sd, recipe.max_cells, rng, device, as_published)
                optimizer.zero_grad()
                target.loss(network(x, mask)[0], part, by_number).backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
            loss = _loss(network, target, seen, validation)
            if loss < best:
                best, best_epoch, state = loss, epoch, copy.deepcopy(network.state_dict())
            elif epoch - best_epoch >= recipe.patience:
                break
        network.load_state_dict(state)
    return Trained(network.eval(), mean, sd, target, epoch, best_epoch, best)


def predict(
    trained: Trained, bags: Bags, bag: int, recipe: BagRecipe, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction ``(outputs,)`` for a bag from all its cells, and attention ``(cells,)``; 1 is the mean of the bag.

    A transformer takes large bags in parts of at most ``max_cells``, every cell in one of them; the prediction is then
    their mean.
    """
    outputs, attention = [], np.empty(len(bags.rows[bag]), np.float32)
    with torch.no_grad():
        for part, x in parts_of(trained, bags, bag, recipe, device):
            output, weights = trained.network(x, torch.ones(x.shape[:2], dtype=torch.bool, device=device))
            outputs.append(trained.target.predict(output)[0])
            attention[part] = weights[0].cpu().numpy() * len(part)
    return np.mean(outputs, axis=0), attention


def parts_of(
    trained: Trained, bags: Bags, bag: int, recipe: BagRecipe, device: torch.device
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Places in a bag and their standardised cells ``(1, cells, columns)``, in the parts that a network can take."""
    rows = bags.rows[bag]
    n_parts = 1 if trained.network.whole_bags else -(-len(rows) // recipe.max_cells)
    order = np.random.default_rng(bag).permutation(len(rows)) if n_parts > 1 else np.arange(len(rows))
    for part in np.array_split(order, n_parts):
        x = ((bags.values[rows[part]] - trained.mean) / trained.sd).astype(np.float32)
        yield part, torch.from_numpy(x)[None].to(device)


def pad(
    bags: Bags,
    chosen: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    max_cells: int,
    rng: np.random.Generator,
    device: torch.device,
    as_published: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised cells ``(bags, cells, columns)``, zeros behind the end of a bag, and the mask ``(bags, cells)``.

    With `as_published` each bag is filled up to `max_cells`, and the zeros are not told from cells, as in STAMP.
    """
    parts = [_some(bags.rows[bag], max_cells, rng) for bag in chosen]
    longest = max_cells if as_published else max(len(rows) for rows in parts)
    x = np.zeros((len(parts), longest, bags.values.shape[1]), np.float32)
    mask = np.full((len(parts), longest), as_published)
    for i, rows in enumerate(parts):
        x[i, : len(rows)], mask[i, : len(rows)] = (bags.values[rows] - mean) / sd, True
    return torch.from_numpy(x).to(device), torch.from_numpy(mask).to(device)


def _silent(network: TransformerMIL) -> nn.Module:
    """The network with a last layer that says nothing yet."""
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    return network


def _some(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= n else rng.choice(rows, n, replace=False)


def _parts(chosen: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def _loss(
    network: nn.Module, target: Target, seen: list[tuple[torch.Tensor, torch.Tensor]], validation: np.ndarray
) -> float:
    """Of all validation bags together, which Cox's loss needs."""
    network.eval()
    with torch.no_grad():
        outputs = torch.cat([network(x, mask)[0] for x, mask in seen])
        return float(target.loss(outputs, validation))


def bags_of_cases(values: np.ndarray, cases: Cases, bag: str) -> tuple[Bags, np.ndarray]:
    """Bags, and the case of each; in the order of the cases' names."""
    keys = [cases.codes] if bag == "patient" else [cases.samples, cases.codes]
    order = np.lexsort(keys)
    changes = np.flatnonzero(np.any([np.diff(key[order]) != 0 for key in keys], axis=0)) + 1
    rows = np.split(order, changes)
    return Bags(values, rows), np.array([cases.codes[mine[0]] for mine in rows])


def predict_cases(
    trained: Trained,
    bags: Bags,
    chosen: np.ndarray,
    case_of_bag: np.ndarray,
    shape: tuple[int, int],
    attention: np.ndarray,
    n_seeds: int,
    recipe: BagRecipe,
    device: torch.device,
) -> np.ndarray:
    """Predictions ``(cases, columns)``, the mean over the bags of a case; adds to `attention` of their cells."""
    total, times = np.zeros(shape), np.zeros((shape[0], 1))
    for number in chosen:
        output, weights = predict(trained, bags, int(number), recipe, device)
        total[case_of_bag[number]] += output
        times[case_of_bag[number]] += 1
        attention[bags.rows[number]] += weights / n_seeds
    return np.divide(total, times, out=np.full(shape, np.nan), where=times > 0)
