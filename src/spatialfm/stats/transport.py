"""Entropic optimal transport between two sets of points that all weigh alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TransportPlan:
    """An entropic plan, as far as distances need it.

    Attributes
    ----------
    cost
        What the plan costs: the sum of plan times squared distances, without the entropy.
    objective
        What the plan minimises: the cost plus `reg` times its divergence from the plan of independence.
    error
        Sum of the absolute errors of the marginals.
    """

    cost: float
    objective: float
    error: float


def entropic_plan(cost: np.ndarray, reg: float, *, max_iter: int, tol: float) -> TransportPlan:
    """Entropic plan between uniform weights by POT's log-stabilised Sinkhorn, begun at the exact solution.

    Begun at zero, Sinkhorn needs thousands of iterations at a small `reg`, and its kernel underflows. The potentials
    of the exact plan (a network simplex, milliseconds for hundreds of points) are at most ``reg * log(n * m)`` in value
    from the entropic ones: the kernel is then well scaled, and a run that is cut short is still close.

    Parameters
    ----------
    cost
        Squared distances ``(n, m)``.
    reg
        Weight of the entropy, in the units of `cost`.
    max_iter, tol
        Iterations, and the sum of absolute errors of the marginals at which they end.

    Examples
    --------
    Two points that both move by 1:

    >>> import numpy as np
    >>> one, two = np.array([0.0, 5.0]), np.array([1.0, 6.0])
    >>> plan = entropic_plan((one[:, None] - two) ** 2, 0.01, max_iter=1000, tol=1e-6)
    >>> round(plan.cost, 6)
    1.0
    """
    import ot

    a, b = ot.unif(cost.shape[0]), ot.unif(cost.shape[1])
    _, exact = ot.emd(a, b, cost, numItermax=2_000_000, log=True)
    with np.errstate(over="ignore", invalid="ignore"):
        plan, log = ot.bregman.sinkhorn_stabilized(
            a, b, cost, reg, tau=1e10, numItermax=max_iter, stopThr=tol / np.sqrt(len(b)), warn=False, log=True,
            warmstart=(exact["u"], exact["v"]), print_period=50,
        )  # fmt: skip
    if not np.isfinite(plan).all():  # `reg` is beyond what numbers can hold: the exact plan is what it tends to
        return TransportPlan(float(exact["cost"]), float(exact["cost"]), float("inf"))
    error = float(np.abs(plan.sum(axis=0) - b).sum() + np.abs(plan.sum(axis=1) - a).sum())
    # the dual value: P = exp((f + g - cost) / reg), so cost plus reg * KL(P | a b) is what the potentials add up to
    objective = float(log["alpha"] @ a + log["beta"] @ b + reg * (np.log(len(a)) + np.log(len(b))))
    return TransportPlan(float((plan * cost).sum()), objective, error)


def squared_distance(
    one: np.ndarray, two: np.ndarray, reg: float, *, debiased: bool, max_iter: int, tol: float
) -> tuple[float, float]:
    """Squared 2-Wasserstein distance with entropy, or Sinkhorn divergence, and the error of the marginals.

    Parameters
    ----------
    one, two
        Points ``(n, d)`` and ``(m, d)``.
    debiased
        Sinkhorn divergence ``OT(one, two) - (OT(one, one) + OT(two, two)) / 2`` (Feydy et al. 2019), with the entropy.
    """
    import ot

    def plan(x: np.ndarray, y: np.ndarray) -> TransportPlan:
        return entropic_plan(ot.dist(x, y, metric="sqeuclidean"), reg, max_iter=max_iter, tol=tol)

    between = plan(one, two)
    if not debiased:
        return between.cost, between.error
    within = plan(one, one), plan(two, two)
    value = between.objective - (within[0].objective + within[1].objective) / 2
    return max(value, 0.0), max(between.error, within[0].error, within[1].error)


def wasserstein(one: np.ndarray, two: np.ndarray) -> float:
    """2-Wasserstein distance of two sets of points, all points of a set weighing alike."""
    import ot

    cost = ot.dist(one, two, metric="sqeuclidean")
    return float(np.sqrt(max(ot.emd2(ot.unif(len(one)), ot.unif(len(two)), cost, numItermax=2_000_000), 0)))


def lower_bound(one: np.ndarray, two: np.ndarray) -> float:
    """At most the 2-Wasserstein distance: every axis is transported separately.

    Any plan moves mass along all axes at once, and along each of them at no less than that axis alone would cost.
    """
    import ot

    return float(np.sqrt(np.sum(ot.wasserstein_1d(one, two, p=2))))


def on_axes(values: np.ndarray, n_components: int | None) -> np.ndarray:
    """On principal axes, where bounds are tight; of all of them, which turns the cloud and changes no distance."""
    values = values.astype(np.float64)
    values -= values.mean(axis=0)
    axes = np.linalg.eigh(values.T @ values)[1][:, ::-1]
    return values @ (axes if n_components is None else axes[:, :n_components])


def moved_points(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where the points of a reference go when they are moved onto a set of points ``(k, d)``.

    The exact plan shares the mass of each reference point out over the points; it goes to their mean (barycentric
    projection). Divided by the square root of k, the distance of two such embeddings is the 2-Wasserstein distance
    where the sets are shifts of the reference, and near it where they are alike (linear optimal transport: Wang et al.
    2013; Kolouri et al., ICLR 2021).

    Examples
    --------
    >>> moved_points(np.array([[4.0], [0.0], [6.0], [2.0]]), np.array([[0.0], [1.0]])).tolist()
    [[1.0], [5.0]]
    """
    import ot

    plan = ot.emd(
        ot.unif(len(reference)), ot.unif(len(points)), ot.dist(reference, points, metric="sqeuclidean"),
        numItermax=2_000_000,
    )  # fmt: skip
    return len(reference) * plan @ points
