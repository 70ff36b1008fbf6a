"""Figures of ``spatialfm demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._keys import SAMPLES

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

DPI = 150
CHANNELS = ("Cytokeratin", "CD3", "CD20")
# colours that stay apart with colour blindness (Okabe and Ito 2008), the same in every figure
COLORS = {
    "Tumor": "#56B4E9",
    "CD8 T": "#D55E00",
    "CD4 T": "#E69F00",
    "Treg": "#F0E442",
    "B": "#0072B2",
    "Macrophage": "#009E73",
    "Fibroblast": "#CC79A7",
    "Endothelial": "#8C510A",
    "Other": "#999999",
}


def draw_all(
    sdata: SpatialData, adata: AnnData, patients: AnnData, hazards: pd.DataFrame, out: Path, key: str
) -> list[Path]:
    """Draw every figure into `out`; the names give the order to read them in."""
    phenotypes = list(adata.obs["phenotype"].cat.categories)
    adata.uns["phenotype_colors"] = [COLORS[name] for name in phenotypes]
    # a niche takes the colour of the phenotype that it is named after
    niches = [COLORS.get(name.split(" +")[0].removesuffix(" niche"), "#444444") for name in patients.var_names]
    patients.uns["niche_colors"] = adata.uns["niche_colors"] = niches
    drawings = {
        "1_tissue.png": tissue(sdata, patients),
        "2_umap.png": umap(adata, key),
        "3_phenotypes.png": phenotype_markers(adata),
        "4_neighborhoods.png": neighborhood_enrichment(adata),
        "5_niches_of_patients.png": compositions(patients),
        "6_survival.png": survival_curves(patients, hazards),
        "7_hazard_ratios.png": hazard_ratios(patients, hazards),
    }
    paths = []
    import matplotlib.pyplot as plt

    for name, figure in drawings.items():
        figure.savefig(out / name, dpi=DPI, bbox_inches="tight")
        plt.close(figure)
        paths.append(out / name)
    return paths


def tissue(sdata: SpatialData, patients: AnnData) -> Figure:
    """One image and its phenotypes, of the patient with most and the one with least of the niche that was found."""
    import matplotlib.pyplot as plt

    from .pl import cells

    niche = patients.uns["cox"]["table"].index[0]
    fraction = patients.to_df()[niche]
    samples = sdata[SAMPLES].obs
    chosen = [
        samples.index[samples["patient"].astype(str) == patient][0]
        for patient in (fraction.idxmin(), fraction.idxmax())
    ]
    figure, axes = plt.subplots(2, 2, figsize=(11, 9.5), layout="constrained")
    for row, sample, amount in zip(axes, chosen, ("least", "most"), strict=True):
        title = f"{sample}: patient with {amount} {niche}"
        cells(sdata, sample, channels=list(CHANNELS), title=title, ax=row[0], show=False)
        cells(sdata, sample, color="phenotype", fill=True, title="phenotypes found", ax=row[1], show=False)
    return figure


def umap(adata: AnnData, key: str) -> Figure:
    """UMAP of the embedding by phenotype and by slide."""
    import matplotlib.pyplot as plt
    import scanpy as sc

    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.5), layout="constrained")
    sc.pl.umap(adata, color="phenotype", ax=axes[0], show=False, title=f"phenotypes on {key}")
    sc.pl.umap(adata, color="slide", ax=axes[1], show=False, title="slides")
    return figure


def phenotype_markers(adata: AnnData) -> Figure:
    """Mean of each marker in each phenotype."""
    import scanpy as sc

    plot = sc.pl.matrixplot(
        adata,
        list(adata.var_names),
        groupby="phenotype",
        layer="z",
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        colorbar_title="intensity\n(z-score of log)",
        figsize=(8.5, 4.2),
        return_fig=True,
        show=False,
    )
    plot.add_totals(color="#bbbbbb").make_figure()
    return plot.fig


def neighborhood_enrichment(adata: AnnData) -> Figure:
    """Phenotypes that are next to each other more often than by chance."""
    import matplotlib.pyplot as plt
    import squidpy as sq

    scores = adata.uns["phenotype_nhood_enrichment"]["zscore"]
    limit = np.nanpercentile(np.abs(scores), 95)
    figure, ax = plt.subplots(figsize=(6.5, 5.5), layout="constrained")
    sq.pl.nhood_enrichment(
        adata,
        cluster_key="phenotype",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        ax=ax,
        title="neighbors (Delaunay): z-score\nagainst shuffled phenotypes",
    )
    return figure


def compositions(patients: AnnData) -> Figure:
    """Niches of each patient, by risk group."""
    from .pl import composition

    return composition(
        patients, group_key="risk_group", title="niches of each patient, by risk group", show=False, return_fig=True
    )


def survival_curves(patients: AnnData, hazards: pd.DataFrame) -> Figure:
    """Survival of risk groups, and of patients with much and little of the niche that was found."""
    import matplotlib.pyplot as plt

    from .pl import kaplan_meier

    figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.8), gridspec_kw={"wspace": 0.45})
    kaplan_meier(patients, time_unit="months", title="risk groups (k-means on niches)", ax=axes[0], show=False)
    kaplan_meier(
        patients,
        key="kaplan_meier_top_niche",
        time_unit="months",
        title=f"fraction of {hazards.index[0]!r}\n(chosen by its p-value: optimistic)",
        ax=axes[1],
        show=False,
    )
    return figure


def hazard_ratios(patients: AnnData, hazards: pd.DataFrame) -> Figure:
    """Hazard ratio of every niche, and the whole model of the one with the smallest p."""
    import matplotlib.pyplot as plt

    from .pl import forest

    figure, axes = plt.subplots(2, 1, figsize=(8.5, 5.6), height_ratios=[len(hazards), 3], layout="constrained")
    rows = np.arange(len(hazards))[::-1]
    ratio = hazards["hazard_ratio"].to_numpy()
    below, above = ratio - hazards["ci_low"].to_numpy(), hazards["ci_high"].to_numpy() - ratio
    axes[0].errorbar(ratio, rows, xerr=[below, above], fmt="s", color="#0072B2", linewidth=2)
    axes[0].axvline(1, color="#999999", linestyle="--", linewidth=1)
    axes[0].set_xscale("log")
    ticks = [
        tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if hazards["ci_low"].min() <= tick <= hazards["ci_high"].max()
    ]
    axes[0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].minorticks_off()
    axes[0].set_yticks(rows, hazards.index)
    for row, (_, hazard) in zip(rows, hazards.iterrows(), strict=True):
        text = "{hazard_ratio:.2f} ({ci_low:.2f} to {ci_high:.2f})".format(**hazard)
        if np.isfinite(hazard["p_holm"]):
            text += f", corrected p = {hazard['p_holm']:.2g}"
        axes[0].text(1.03, row, text, transform=axes[0].get_yaxis_transform(), va="center", fontsize="small")
    axes[0].spines[["left", "top", "right"]].set_visible(False)
    axes[0].set_xlabel("Hazard ratio per SD (95 % interval)")
    axes[0].set_title("one Cox regression for each niche", loc="left")
    forest(patients, title=f"{hazards.index[0]}, stage and age in one regression", ax=axes[1], show=False)
    return figure
