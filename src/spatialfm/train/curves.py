"""Curves of a run, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Table = Sequence[Mapping[str, float]]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
SMOOTHED = 50  # windows of a running mean, at most a tenth of the run
PANELS = {  # title, and how the names of its columns begin
    "Validation": ("validation_",),
    "Probe of cells": ("probe_",),
    "Effective rank": ("effective_rank",),
    "Spread": ("spread",),
}


def draw_curves(losses: Table, checks: Table, path: Path) -> None:
    """Losses, learning rate, gradient and speed by step, and what the checks found, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[tuple[str, Table, list[str]]] = [
        ("Loss", losses, _apart(losses, _columns(losses, ("loss",)))),
        ("Learning rate", losses, _columns(losses, ("lr",))),
        ("Norm of the gradient", losses, _columns(losses, ("gradient_norm",))),
        ("Windows per second", losses, _columns(losses, ("windows_per_second",))),
    ]
    panels += [(title, checks, _columns(checks, begins)) for title, begins in PANELS.items()]
    panels = [panel for panel in panels if panel[2]]
    rows = -(-max(1, len(panels)) // 2)
    figure = Figure(figsize=(9, 2.6 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (title, table, names) in enumerate(panels):
        axes = figure.add_subplot(rows, 2, place + 1)
        _panel(axes, title, table, names, smooth=table is losses)
    figure.savefig(path, format="png", metadata={"Software": None})


def _columns(table: Table, begins: tuple[str, ...]) -> list[str]:
    names = dict.fromkeys(name for row in table for name in row)
    # of scores by mode and marker, the means by mode: ``pearson/niche``, and not ``pearson/niche/CD3``
    return [name for name in names if name.startswith(begins) and name.count("/") < 2]


def _apart(table: Table, names: list[str]) -> list[str]:
    """Columns without those that repeat an earlier one: the only term of a loss, whose curve would hide the loss."""
    values = [tuple(row.get(name) for row in table) for name in names]
    return [name for place, name in enumerate(names) if values[place] not in values[:place]]


def _panel(axes: Any, title: str, table: Table, names: Sequence[str], *, smooth: bool) -> None:
    for name, colour in zip(names, COLOURS * (1 + len(names) // len(COLOURS)), strict=False):
        points = [(row["step"], row[name]) for row in table if name in row]
        x, y = np.array(points).T
        width = min(SMOOTHED, len(y) // 10)
        if smooth and width > 1 and title != "Learning rate":
            axes.plot(x, y, color=colour, alpha=0.25, linewidth=0.8)
            axes.plot(x[width - 1 :], np.convolve(y, np.ones(width) / width, "valid"), color=colour, label=_label(name))
        else:
            axes.plot(x, y, color=colour, marker="" if smooth else ".", label=_label(name))
    values = np.array([row[name] for row in table for name in names if name in row])
    if title in ("Loss", "Norm of the gradient") and (values > 0).all() and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(names) > 1:
        axes.legend(fontsize=7, frameon=False)


def _label(name: str) -> str:
    for prefix in ("validation_", "probe_", "loss_"):
        name = name.removeprefix(prefix)
    return name.replace("_", " ")
