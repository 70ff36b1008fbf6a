"""Losses of self-distillation, as functions of what heads give.

DINO: Caron et al. 2021, arXiv:2104.14294; iBOT: Zhou et al. 2022, arXiv:2111.07832; KoLeo: Sablayrolles et al. 2019,
arXiv:1806.03198; together: Oquab et al. 2024 (DINOv2), arXiv:2304.07193. All work on parts of a batch: with
torch.distributed initialised, what is of the whole batch (the sums of Sinkhorn-Knopp, nearest neighbours) is of all
processes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist

_EPS = 1e-8
_TINY = torch.finfo(torch.float32).tiny  # a prototype that no image is near to gets nothing


def centred_targets(teacher: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """What the student is to predict: the teacher's softmax over prototypes, around a centre.

    Parameters
    ----------
    teacher
        ``(N, K)``, the teacher's logits.
    centre
        ``(K,)``, their running mean.
    temperature
        The teacher's; the lower, the sharper.
    """
    return ((teacher.float() - centre) / temperature).softmax(-1)


def moved_centre(centre: Tensor, total: Tensor, count: Tensor | float, momentum: float = 0.9) -> Tensor:
    """The centre after a batch, from the sum of the teacher's logits and their number.

    Examples
    --------
    >>> moved_centre(torch.zeros(2), torch.tensor([4.0, 8.0]), 4, momentum=0.5)
    tensor([0.5000, 1.0000])
    """
    return centre * momentum + total / count * (1 - momentum)


def sinkhorn_targets(teacher: Tensor, temperature: float, n_iterations: int = 3) -> Tensor:
    """What the student is to predict, with all prototypes used equally often over the batch (Sinkhorn-Knopp).

    Parameters
    ----------
    teacher
        ``(N, K)``, the teacher's logits of this process; N may be 0 in some.
    temperature
        The teacher's.
    n_iterations
        How often rows and columns are brought to their sums.
    """
    logits = teacher.float() / temperature
    highest = logits.amax() if logits.numel() else logits.new_full((), -torch.inf)
    assigned = (logits - _over_all(highest, dist.ReduceOp.MAX)).exp()  # a common factor cancels
    assigned = assigned / _over_all(assigned.sum())
    n = float(_over_all(assigned.new_tensor(float(len(assigned)))))
    for _ in range(n_iterations):
        assigned = assigned / (_over_all(assigned.sum(0)) * assigned.shape[1]).clamp(min=_TINY)
        assigned = assigned / (assigned.sum(1, keepdim=True) * n).clamp(min=_TINY)
    return assigned * n


def cross_entropies(student: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of each row.

    Parameters
    ----------
    student
        ``(..., K)``, the student's logits.
    targets
        ``(..., K)``, probabilities.
    temperature
        The student's.

    Returns
    -------
    ``(...)``, not negative.
    """
    return -(targets * (student.float() / temperature).log_softmax(-1)).sum(-1)


def dino_loss(student: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropies of every view of the student with every view of the teacher.

    Parameters
    ----------
    student
        ``(S, N, K)``, logits of S views of N images.
    targets
        ``(T, N, K)``, probabilities of T views.

    Returns
    -------
    The sum over all pairs of views and all images.
    """
    # the log-softmax of a view is the same with each target, and cross-entropies are linear in the target
    return cross_entropies(student, targets.sum(0)[None], temperature).sum()


def ibot_loss(student: Tensor, targets: Tensor, weights: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross-entropies of hidden tokens, each weighed by one over the number of hidden tokens of its image.

    Parameters
    ----------
    student, targets
        ``(N, K)``, logits and probabilities of all hidden tokens of a batch.
    weights
        ``(N,)``, see `token_weights`.

    Returns
    -------
    The sum, which the number of images (with and without hidden tokens) divides.
    """
    return (cross_entropies(student, targets, temperature) * weights).sum()


def token_weights(hidden: Tensor) -> Tensor:
    """Weights of the hidden tokens ``(B, L)`` of each image, in order.

    Examples
    --------
    >>> token_weights(torch.tensor([[True, True, False], [False, False, False], [False, True, False]]))
    tensor([0.5000, 0.5000, 1.0000])
    """
    return (1 / hidden.sum(-1, keepdim=True).clamp(min=1)).expand(hidden.shape)[hidden]


def koleo_loss(features: Tensor) -> Tensor:
    """How close embeddings lie to their nearest neighbours in the batch of all processes.

    Parameters
    ----------
    features
        ``(N, D)``, embeddings of images, one view of each.

    Returns
    -------
    The sum over the rows of this process of ``-log(distance + 1e-8)``, of rows of length one. Gradients reach the
    neighbours in other processes, too. 0 where there is but one image.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = F.normalize(features.float(), eps=_EPS, dim=-1)
        every, first = _gathered(own)
        if len(every) < 2:
            return 0.0 * own.sum()
        with torch.no_grad():
            likeness = own @ every.T
            rows = torch.arange(len(own), device=own.device)
            likeness[rows, first + rows] = -torch.inf
            nearest = likeness.argmax(1)
        distance = F.pairwise_distance(own, every[nearest], eps=_EPS)
        return -(distance + _EPS).log().sum()


def summed_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes."""
    return _over_all(tensor.clone())


def _over_all(tensor: Tensor, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor, how)
    return tensor


def _gathered(own: Tensor) -> tuple[Tensor, int]:
    """Rows of all processes, which may have different numbers of them, and the place of the first own one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return own, 0
    from torch.distributed.nn.functional import all_gather

    counts = own.new_zeros(dist.get_world_size(), dtype=torch.long)
    counts[dist.get_rank()] = len(own)
    dist.all_reduce(counts)
    padded = F.pad(own, (0, 0, 0, int(counts.max()) - len(own)))
    parts = all_gather(padded)
    every = torch.cat([part[:n] for part, n in zip(parts, counts.tolist(), strict=True)])
    return every, int(counts[: dist.get_rank()].sum())
