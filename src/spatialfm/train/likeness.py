"""The loss of distillation: embeddings that point where the teacher's do, and lie among each other as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.encoder import Encoder
from .cell_objective import OfCells, Rates
from .cells import CellEncoding, CellSample
from .objectives import Group, Term
from .objectives.masked import scaled_groups

COMPONENTS = 128  # of the teacher's embedding
FITTED_ON = 4096  # cells


def compressed(values: np.ndarray, training: np.ndarray, n: int = COMPONENTS) -> np.ndarray:
    """Leading principal components of standardised columns ``(n_cells, k)``, fitted on the cells that are trained on.

    Examples
    --------
    >>> line = np.outer(np.arange(6.0), [1.0, 2.0, -1.0])
    >>> compressed(line, np.arange(4)).shape
    (6, 1)
    """
    known = values[training[np.linspace(0, len(training) - 1, min(len(training), FITTED_ON)).astype(int)]]
    mean, std = known.mean(0, dtype=np.float64), known.std(0, dtype=np.float64)
    keep = std > 1e-6 * max(1e-12, float(std.max()))
    scaled = (known[:, keep] - mean[keep]) / std[keep]
    _, size, directions = np.linalg.svd(scaled, full_matrices=False)
    chosen = directions[: min(n, int((size > 1e-5 * size[0]).sum()))]
    return (((values[:, keep] - mean[keep]) / std[keep]) @ chosen.T).astype(np.float32)


class Likeness(OfCells):
    """How unlike the embeddings of student and teacher are.

    One minus the cosine between a linear map of the student's and the teacher's, and the squared differences between
    the cosines of pairs of cells among the student's and among the teacher's.

    Parameters
    ----------
    encoder
        The student.
    encoding
        How windows become embeddings.
    targets
        The teacher's ``(n, k)``, by the number of the window.
    width
        Columns of the student's embedding.
    rates
        Learning rates; `head` is that of the linear map.
    relational
        Weight of the second part.
    """

    name = "likeness"
    teacher: Tensor

    def __init__(
        self, encoder: Encoder, encoding: CellEncoding, targets: np.ndarray, width: int, rates: Rates, relational: float
    ) -> None:
        super().__init__()
        self.encoder, self.encoding, self.rates, self.relational = encoder, encoding, rates, relational
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.map = nn.Linear(width, targets.shape[1])
        self.register_buffer("teacher", torch.from_numpy(targets), persistent=False)

    def forward(self, views: Sequence[CellSample]) -> dict[str, Term]:
        """Both parts of the loss of a batch."""
        own = self.encoding(self.encoder, views)
        wanted = self.teacher[torch.tensor([one.window for one in views], device=self.teacher.device)]
        terms = {"cosine": Term((1 - F.cosine_similarity(self.map(own), wanted)).sum(), len(views))}
        if self.relational and len(views) > 1:
            # of the student's embedding less its mean, as the teacher's components are centred
            mine, other = (_pairs(one) for one in (own - own.mean(0), wanted - wanted.mean(0)))
            terms["relational"] = Term((mine - other).square().sum(), mine.numel(), self.relational)
        return terms

    def scores(self, means: dict[str, float]) -> dict[str, float]:  # type: ignore[override]  # a dict is what it gets
        """Both parts, and their sum as ``loss``."""
        return dict(means) | {"loss": means["cosine"] + self.relational * means.get("relational", 0.0)}

    def likeness(self, own: Tensor, numbers: Tensor) -> float:
        """Mean cosine between the map of embeddings and the teacher's of these windows."""
        with torch.no_grad():
            return float(F.cosine_similarity(self.map(own), self.teacher[numbers]).mean())

    def groups(self) -> list[Group]:
        """The student, and the linear map with its own rate."""
        return scaled_groups(self, "map.", self.rates.head / self.rates.encoder)


def _pairs(values: Tensor) -> Tensor:
    """Cosines of all pairs of rows, each once."""
    units = F.normalize(values, dim=1)
    first, second = torch.triu_indices(len(values), len(values), offset=1, device=values.device)
    return (units @ units.T)[first, second]
