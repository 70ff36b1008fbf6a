"""Figures of stages that no function of `spatialfm.pl` draws alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
WIDEST = 1000.0  # of a ratio that is drawn: beyond, an interval says no more than that it is wide


def survival_curves(patients: AnnData, kind: str, time_unit: str | None) -> Figure:
    """Curves of the groups with numbers at risk."""
    from ..pl import kaplan_meier

    title = f"groups of patients by their {kind}\n(k-means, made without the outcome)"
    return kaplan_meier(patients, time_unit=time_unit, title=title, show=False, return_fig=True)


def forest_of_many(hazards: pd.DataFrame, alpha: float) -> Figure:
    """The hazard ratios of regressions that stand side by side, with corrected p-values."""
    import matplotlib.pyplot as plt

    shown = hazards.dropna(subset=["hazard_ratio", "ci_low", "ci_high"])
    figure, ax = plt.subplots(figsize=(7.5, 1.4 + 0.3 * len(shown)), layout="constrained")
    rows = np.arange(len(shown))
    ratio, low, high = (
        shown[name].clip(1 / WIDEST, WIDEST).to_numpy(float) for name in ("hazard_ratio", "ci_low", "ci_high")
    )
    ax.axvline(1, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.hlines(rows, low, high, color="#0072B2", lw=1.6)
    ax.plot(ratio, rows, "s", color="#0072B2", ms=5)
    ax.set_xscale("log")
    ticks = [tick for tick in TICKS if min(low.min(initial=0.9), 0.9) <= tick <= max(high.max(initial=1.1), 1.1)]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_yticks(rows, shown["term"])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    for row, one in enumerate(shown.itertuples()):
        text = f"{one.hazard_ratio:.2f} ({one.ci_low:.2f} to {one.ci_high:.2f}), corrected p = {one.p_holm:.2g}"
        ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.spines[["left", "top", "right"]].set_visible(False)
    ax.set_xlabel(f"Hazard ratio per SD ({100 * (1 - alpha):g} % interval)")
    ax.set_title("one Cox regression for each (Holm's correction for all)", loc="left", fontsize="medium")
    return figure
