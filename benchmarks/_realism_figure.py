"""Simulated tissue, easy and real, and statistics of both beside those of real images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _realism import pooled
from _realism_sets import PLATFORMS, Set, simulated

SHOWN = ("inequality of cells (Gini)", "correlation across touching cells", "share of zero pixels")
CHANNELS = ("Cytokeratin", "CD8", "DAPI")  # red, green, blue
CROP = 100.0  # µm
COLORS = {"real images": "black", "simulated, easy": "#b35806", "simulated, real": "#2166ac"}


def draw(path: Path, statistics: Sequence[dict]) -> None:
    """Images above; below, of each statistic, which share of the channels is below a value."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [simulated("easy", 0)[0], *simulated("real", 0)]
    figure, axes = plt.subplots(2, 5, figsize=(12.5, 5.2), layout="constrained")
    for ax, one, title in zip(axes[0], shown, ["easy", *(f"real: {name}" for name in PLATFORMS)], strict=True):
        ax.imshow(composite(one), interpolation="nearest")
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()
    for ax, name in zip(axes[1], SHOWN, strict=False):
        for (label, color), values in zip(COLORS.items(), statistics, strict=True):
            values, weights = pooled(values[name])
            order = np.argsort(values)
            ax.step(values[order], np.cumsum(weights[order]) / weights.sum(), where="post", color=color, label=label)
        ax.set_xlabel(name, fontsize=9)
        ax.set_ylim(0, 1)
    axes[1, 0].set_ylabel("share of channels below", fontsize=9)
    axes[1, 3].legend(*axes[1, 0].get_legend_handles_labels(), loc="center left", frameon=False)
    for ax in axes[1, 3:]:
        ax.set_axis_off()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def composite(one: Set) -> np.ndarray:
    """Three channels of a crop as colours, each from its 1 % quantile to its 99.5 %."""
    names = list(map(str, next(iter(one.sdata.images.values())).coords["c"].values))
    side = round(CROP / one.mpp)
    layers = []
    for channel in CHANNELS:
        image = np.arcsinh(one.image[names.index(channel), :side, :side] / 5)
        low, high = np.quantile(image, [0.01, 0.995])
        layers.append(np.clip((image - low) / max(high - low, 1e-9), 0, 1))
    return np.stack(layers, axis=-1)
