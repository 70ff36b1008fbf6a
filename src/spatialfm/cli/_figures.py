"""Figures of stages that no function of `spatialfm.pl` draws alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure

WIDEST = 1000.0  # of a ratio that is drawn: beyond, an interval says no more than that it is wide


def survival_curves(patients: AnnData, kind: str, time_unit: str | None) -> Figure:
    """Curves of the groups with numbers at risk."""
    from ..pl import kaplan_meier

    title = f"groups of patients by their {kind}\n(k-means, made without the outcome)"
    return kaplan_meier(patients, time_unit=time_unit, title=title, show=False, return_fig=True)


def forest_of_many(hazards: pd.DataFrame, alpha: float) -> Figure:
    """The hazard ratios of regressions that stand side by side, with corrected p-values."""
    import matplotlib.pyplot as plt

    from ..pl._forest import draw_ratios

    shown = hazards.dropna(subset=["hazard_ratio", "ci_low", "ci_high"])
    figure, ax = plt.subplots(figsize=(7.5, 1.4 + 0.3 * len(shown)), layout="constrained")
    low, high = shown["ci_low"].clip(1 / WIDEST).min(), shown["ci_high"].clip(upper=WIDEST).max()
    notes = [f"corrected p = {p:.2g}" for p in shown["p_holm"]]
    draw_ratios(ax, shown, list(shown["term"]), notes, (min(low, 0.9) / 1.1, max(high, 1.1) * 1.1))
    ax.set_xlabel(f"Hazard ratio per SD ({100 * (1 - alpha):g} % interval)")
    ax.set_title("one Cox regression for each (Holm's correction for all)", loc="left", fontsize="medium")
    return figure
