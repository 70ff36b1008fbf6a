"""Linear models of patients whose errors may differ and may go together: covariates, repeated samples, sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .permutation import permutation_p


@dataclass(frozen=True)
class Estimate:
    """One coefficient of each column of values: ``(columns,)`` each."""

    value: np.ndarray
    error: np.ndarray
    freedom: np.ndarray

    def p_value(self) -> np.ndarray:
        """Two-sided, of Student's distribution; 1 where there is neither an effect nor an error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * stats.t.sf(np.abs(self.value) / self.error, self.freedom)
        return np.where(self.error > 0, p, np.where(np.abs(self.value) > 1e-9, 0.0, 1.0))

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends."""
        reach = stats.t.ppf((1 + level) / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach


def robust_fit(values: np.ndarray, design: np.ndarray, column: int, clusters: np.ndarray | None = None) -> Estimate:
    """Least squares with errors that hold for any variances, also of few patients.

    Bias-reduced (CR2, Bell and McCaffrey 2002) with Satterthwaite's degrees of freedom (Pustejovsky and Tipton 2018);
    rows of a cluster may depend on each other. Of two groups without covariates the error is that of Welch's test.

    Parameters
    ----------
    values
        ``(rows, columns)``.
    design
        ``(rows, terms)``, of full rank.
    column
        Term that is asked for.
    clusters
        Patient of each row (codes); None: each row its own.

    Examples
    --------
    >>> from scipy import stats
    >>> rng = np.random.default_rng(0)
    >>> values, group = rng.normal(size=(12, 1)), np.repeat([0.0, 1.0], [4, 8])
    >>> result = robust_fit(values, np.column_stack([np.ones(12), group]), 1)
    >>> welch = stats.ttest_ind(values[4:], values[:4], equal_var=False).statistic
    >>> bool(np.allclose(result.value / result.error, welch))
    True
    """
    values, design = np.asarray(values, dtype=float), np.asarray(design, dtype=float)
    n = len(values)
    clusters = np.arange(n) if clusters is None else np.asarray(clusters)
    bread = np.linalg.pinv(design.T @ design)
    hat = design @ bread @ design.T
    left = np.eye(n) - hat
    coefficients = bread @ design.T @ values
    residuals = values - design @ coefficients
    pushed, spreads = [], []
    for name in np.unique(clusters):
        rows = np.flatnonzero(clusters == name)
        root, axes = np.linalg.eigh(left[np.ix_(rows, rows)])
        scale = np.where(root > 1e-8, 1 / np.sqrt(np.maximum(root, 1e-8)), 0.0)
        weight = (axes * scale) @ axes.T @ design[rows] @ bread[:, column]
        pushed.append(weight @ residuals[rows])
        spreads.append(left[:, rows] @ weight)
    influence, spread = np.array(pushed), np.array(spreads)
    products = spread @ spread.T
    freedom = np.trace(products) ** 2 / max(float((products**2).sum()), 1e-300)
    error = np.sqrt((influence**2).sum(axis=0))
    error[error < 1e-10 * np.maximum(np.abs(values).max(axis=0), 1e-300)] = 0.0  # what is left of rounding
    return Estimate(coefficients[column], error, np.full(values.shape[1], max(freedom, 1.0)))


def whitened_fit(
    values: np.ndarray, design: np.ndarray, column: int, clusters: np.ndarray
) -> tuple[Estimate, np.ndarray]:
    """Mixed model with an intercept of each cluster, and errors that do not trust it (`robust_fit`).

    The variances between and within clusters are those of the restricted likelihood; they weigh the samples, so that
    a patient with many of them counts for more, but not for as many. Also returns the share of the variance between
    clusters ``(columns,)``.
    """
    design, parts, shares = np.asarray(design, dtype=float), [], []
    for outcome in np.asarray(values, dtype=float).T:
        ratio = variance_ratio(outcome, design, clusters)
        shares.append(ratio / (1 + ratio))
        white_y, white_x = _whitened(outcome[:, None], clusters, ratio), _whitened(design, clusters, ratio)
        parts.append(robust_fit(white_y, white_x, column, clusters))
    joined = Estimate(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("value", "error", "freedom")))
    return joined, np.array(shares)


def variance_ratio(values: np.ndarray, design: np.ndarray, clusters: np.ndarray) -> float:
    """Variance between clusters over that within, where the restricted likelihood is largest; 0 for none."""
    from scipy.optimize import minimize_scalar

    spread = values.std()
    sizes = np.unique(clusters, return_counts=True)[1]
    if not spread > 0 or len(sizes) == len(clusters):
        return 0.0
    scaled = ((values - values.mean()) / spread)[:, None]

    def lost(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)
        y, x = _whitened(scaled, clusters, ratio), _whitened(design, clusters, ratio)
        left = float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum())
        n, terms = x.shape
        return (n - terms) * np.log(max(left, 1e-12)) + np.linalg.slogdet(x.T @ x)[1] + np.log1p(sizes * ratio).sum()

    best = minimize_scalar(lost, bounds=(-12, 12), method="bounded", options={"xatol": 1e-4})
    return 0.0 if lost(-30) <= best.fun else float(np.exp(best.x))


def _whitened(values: np.ndarray, clusters: np.ndarray, ratio: float) -> np.ndarray:
    """Rows whose errors are independent, where clusters have an intercept of that variance (of 1 within)."""
    _, place, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, place, values)
    pull = (1 - 1 / np.sqrt(1 + sizes * ratio)) / sizes
    return values - (pull[:, None] * sums)[place]


def shuffled_within(
    values: np.ndarray,
    design: np.ndarray,
    tested: np.ndarray,
    blocks: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """p-values of the tested terms, residuals of all other terms being shuffled within blocks (Freedman and Lane 1983).

    The statistic is Wald's with errors that hold for unequal variances, so that shuffling is right in large samples
    where groups scatter differently (DiCiccio and Romano 2017), and exact where rows of a block are exchangeable.

    Parameters
    ----------
    values
        ``(rows, columns)``.
    design
        ``(rows, terms)``.
    tested
        Mask of the terms.
    blocks
        Codes ``(rows,)``: only rows of one block change places.
    """
    others, columns = design[:, ~tested], design[:, tested]
    project = others @ np.linalg.pinv(others)
    rest, columns = values - project @ values, columns - project @ columns
    bread = np.linalg.pinv(columns.T @ columns)
    left = np.eye(len(values)) - project - columns @ bread @ columns.T
    leverage = np.clip(np.diag(left), 0.05, None)
    orders, exact = block_orders(blocks, n_permutations, rng)
    p = np.full(values.shape[1], np.nan)
    for i, residuals in enumerate(rest.T):
        shuffled = np.concatenate([residuals[None], residuals[orders]])
        slope = shuffled @ columns @ bread
        residual = shuffled @ left
        weighted = residual**2 / leverage
        meat = np.einsum("bn,ni,nj->bij", weighted, columns, columns, optimize=True)
        covariance = bread @ meat @ bread + 1e-12 * np.trace(bread) * np.eye(len(bread))
        wald = np.einsum("bi,bi->b", slope, np.linalg.solve(covariance, slope[:, :, None])[:, :, 0])
        p[i] = permutation_p(wald[1:], wald[0], exact)
    return p


def block_orders(blocks: np.ndarray, n_permutations: int, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Orders of rows ``(shuffles, rows)`` within blocks; all of them, and True, for up to 13 pairs."""
    n = len(blocks)
    names, sizes = np.unique(blocks, return_counts=True)
    if (sizes == 2).all() and len(names) <= 13:
        pairs = np.array([np.flatnonzero(blocks == name) for name in names])
        swaps = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names))) & 1
        orders = np.tile(np.arange(n), (len(swaps), 1))
        for i, (one, two) in enumerate(pairs):
            swapped = swaps[:, i] == 1
            orders[swapped, one], orders[swapped, two] = two, one
        return orders, True
    orders = np.tile(np.arange(n), (n_permutations, 1))
    for name in names:
        rows = np.flatnonzero(blocks == name)
        orders[:, rows] = rng.permuted(orders[:, rows], axis=1)
    return orders, False


def fractional_logit(
    shares: np.ndarray, design: np.ndarray, column: int, clusters: np.ndarray | None = None
) -> Estimate:
    """Logit of mean shares as a linear model (Papke and Wooldridge 1996), errors as in `robust_fit`.

    Unlike the mean of logits it is defined where shares are 0, and does not depend on how many cells they come from.
    Estimates of groups without any are infinite, without an error.

    Examples
    --------
    Of two groups it is the difference of the logits of their means:

    >>> design = np.column_stack([np.ones(4), [0, 0, 1, 1]])
    >>> result = fractional_logit(np.array([[0.0], [0.2], [0.1], [0.5]]), design, 1)
    >>> float(result.value[0].round(3)), round(float(np.log(0.3 / 0.7) - np.log(0.1 / 0.9)), 3)
    (1.35, 1.35)
    """
    fits = []
    for share in np.asarray(shares, dtype=float).T:
        beta, diverges = _newton(share, design)
        fitted = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        root = np.sqrt(np.maximum(fitted * (1 - fitted), 1e-12))
        if diverges or not np.isfinite(beta).all():
            with_it = share[design[:, column] > design[:, column].mean()]
            sign = 1.0 if with_it.mean() > share.mean() else -1.0
            value = sign * np.inf if np.ptp(share) > 0 else 0.0
            fits.append((value, np.nan, 1.0))
            continue
        fit = robust_fit(
            (root * (design @ beta) + (share - fitted) / root)[:, None], root[:, None] * design, column, clusters
        )
        fits.append((fit.value[0], fit.error[0], fit.freedom[0]))
    return Estimate(*np.array(fits).T)


def _newton(shares: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, bool]:
    beta = np.zeros(design.shape[1])
    for _ in range(60):
        fitted = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        weight = fitted * (1 - fitted)
        step = np.linalg.pinv(design.T @ (weight[:, None] * design)) @ design.T @ (shares - fitted)
        beta = beta + step * min(1.0, 4.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            return beta, bool(np.abs(design @ beta).max() > 20)
    return beta, True
