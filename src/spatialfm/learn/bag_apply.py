"""A published network on bags of columns as they are: nothing is fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .._errors import TableError, counted
from .bag_maps import gradient_shares
from .bag_published import HistoBistroMIL, StampMIL
from .bag_tasks import TaskName
from .bag_training import BagRecipe, Bags, Trained, predict

WHOLE = 2**62  # cells that are taken at once: published networks see bags whole


@dataclass(frozen=True)
class PublishedTarget:
    """What the outputs of a published network mean."""

    task: TaskName
    n_outputs: int
    unit = 1.0

    def predict(self, outputs: torch.Tensor) -> np.ndarray:
        """Probabilities, of a single output that of the second of two classes; log hazards and numbers as they are."""
        if self.task != "classification":
            return outputs.cpu().double().numpy()
        if self.n_outputs > 1:
            return outputs.softmax(dim=1).cpu().double().numpy()
        positive = outputs.sigmoid().cpu().double().numpy()
        return np.concatenate([1 - positive, positive], axis=1)


@dataclass(frozen=True)
class BagPredictions:
    """Predictions ``(bags, columns)``, attention ``(cells,)`` and, where asked for, gradients ``(cells, outputs)``."""

    predicted: np.ndarray
    attention: np.ndarray
    gradient: np.ndarray | None


def check_width(network: StampMIL | HistoBistroMIL, width: int, use_rep: str, file: str) -> None:
    """Refuse columns that the network was not trained on."""
    first = network.project_features[0] if isinstance(network, StampMIL) else network.projection[0]
    if first.in_features != width:
        raise TableError(
            f"Weights file {file} takes {first.in_features} columns, and {use_rep!r} (use_rep=) has {width}. Pass the "
            "features of the encoder that it was trained on."
        )


def n_outputs_of(network: StampMIL | HistoBistroMIL) -> int:
    """Numbers that a network gives for a bag."""
    return int(network.mlp_head[-1].out_features)


def class_names(classes: list[str] | None, told: object, n_outputs: int) -> list[str]:
    """Names of the classes: given, of the file, or numbers; of a single output there are two."""
    n = max(n_outputs, 2)
    names = classes if classes is not None else told if isinstance(told, list | tuple) and len(told) == n else None
    if names is None:
        return [str(number) for number in range(n)]
    if len(names) != n or len(set(map(str, names))) < n:
        raise TableError(
            f"classes= has {counted(len(names), 'name')}; the network tells {n} classes apart. Pass {n} names."
        )
    return [str(name) for name in names]


def apply(
    network: StampMIL | HistoBistroMIL, bags: Bags, target: PublishedTarget, gradients: bool, device: torch.device
) -> BagPredictions:
    """Predict each bag from all its cells."""
    width, n_cells = bags.values.shape[1], len(bags.values)
    whole, same = BagRecipe(max_cells=WHOLE), np.zeros(width, np.float32)
    trained = Trained(network.to(device), same, np.ones(width, np.float32), target, 0, 0, np.nan)  # type: ignore[arg-type]
    attention = np.zeros(n_cells, np.float32)
    gradient = np.zeros((n_cells, target.n_outputs), np.float32) if gradients else None
    predicted = []
    for bag, rows in enumerate(bags.rows):
        output, attention[rows] = predict(trained, bags, bag, whole, device)
        predicted.append(output)
        if gradient is not None:
            gradient[rows] = gradient_shares(trained, bags, bag, whole, device).cells
    return BagPredictions(np.array(predicted), attention, gradient)
