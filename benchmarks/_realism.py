"""Statistics of an image and its masks that simulated and real tissue are compared by, and distances between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import wasserstein_distance
from skimage.segmentation import expand_labels

GAP = 2  # pixels: cells this near each other touch, since many programs leave a line between cells
LAG = 2.0  # µm over which pixels are compared
CHANNEL_STATISTICS = {
    "log10 of mean count": "mean",
    "share of zero pixels": "zeros",
    "dynamic range (log10 of 99.5 % quantile of cells over their mean)": "range",
    "inequality of cells (Gini)": "gini",
    "autocorrelation of pixels over 2 µm": "autocorrelation",
    "correlation across touching cells": "neighbours",
    "highest correlation with another channel": "channels",
}
CELL_STATISTICS = {"diameter of cells (µm)": "diameter"}


def image_statistics(image: np.ndarray, labels: np.ndarray, mpp: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Statistics of each channel of ``(c, y, x)``, and the diameters of the cells in µm.

    Channels without any light are left out: nothing can be said of them.
    """
    lit = image.reshape(len(image), -1).max(axis=1) > 0
    image = image[lit].astype(np.float64)
    means = cell_means(image, labels)
    scale = np.maximum(means.mean(axis=0), 1e-12)
    level = np.arcsinh(means / scale)
    pairs = touching(labels)
    between = np.corrcoef(level.T) if image.shape[0] > 1 else np.ones((1, 1))
    np.fill_diagonal(between, -1)
    step = max(1, round(LAG / mpp))
    rows = []
    for m, channel in enumerate(image):
        pixels = np.arcsinh(channel / channel.mean())
        rows.append(
            {
                "mean": np.log10(channel.mean()),
                "zeros": float((channel == 0).mean()),
                "range": np.log10(max(np.quantile(means[:, m], 0.995), 1e-12) / scale[m]),
                "gini": gini(means[:, m]),
                "autocorrelation": lagged(pixels, step),
                "neighbours": correlation(*level[pairs, m].T),
                "channels": float(between[m].max()) if len(image) > 1 else np.nan,
            }
        )
    area = np.bincount(labels.ravel())[1:]
    return pd.DataFrame(rows), 2 * np.sqrt(area[area > 0] / np.pi) * mpp


def cell_means(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each channel in each cell ``(n, c)``, in the order of the labels."""
    present = np.unique(labels)
    present = present[present > 0]
    return np.stack([ndimage.mean(channel, labels, present) for channel in image], axis=1)


def touching(labels: np.ndarray) -> np.ndarray:
    """Pairs of positions ``(p, 2)`` of labels that are at most twice `GAP` pixels apart; each pair once."""
    wide = expand_labels(labels, GAP)
    sides = [np.stack([wide[:, :-1].ravel(), wide[:, 1:].ravel()], 1)]
    sides.append(np.stack([wide[:-1].ravel(), wide[1:].ravel()], 1))
    pairs = np.concatenate(sides)
    pairs = pairs[(pairs > 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    present = np.unique(labels)
    return np.searchsorted(present[present > 0], pairs)


def gini(values: np.ndarray) -> float:
    """0 where all cells are alike, towards 1 where one cell has it all."""
    values = np.sort(np.clip(values, 0, None))
    total = values.sum()
    if total == 0:
        return np.nan
    n = len(values)
    return float(2 * (np.arange(1, n + 1) * values).sum() / (n * total) - (n + 1) / n)


def lagged(image: np.ndarray, step: int) -> float:
    """Mean of the correlations of an image with itself `step` pixels to the right, and down."""
    right = correlation(image[:, :-step].ravel(), image[:, step:].ravel())
    return float(np.mean([right, correlation(image[:-step].ravel(), image[step:].ravel())]))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(one) < 3 or one.std() == 0 or other.std() == 0:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def distance(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> float:
    """Wasserstein distance of two collections of sets, in standard deviations of the second.

    Each set counts the same, however many channels or cells it has.
    """
    (values, weights), (others, other_weights) = pooled(one), pooled(other)
    mean = np.average(others, weights=other_weights)
    spread = np.sqrt(np.average((others - mean) ** 2, weights=other_weights))
    return float(wasserstein_distance(values, others, weights, other_weights) / spread)


def pooled(sets: Mapping[str, Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Values of all sets, and weights with which each set counts the same."""
    kept = [np.asarray(values, float)[np.isfinite(values)] for values in sets.values()]
    kept = [values for values in kept if len(values)]
    return np.concatenate(kept), np.concatenate([np.full(len(values), 1 / len(values)) for values in kept])


def quantile(sets: Mapping[str, Sequence[float]], share: float) -> float:
    """Weighted quantile over the pooled values."""
    values, weights = pooled(sets)
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(reached, share)])
