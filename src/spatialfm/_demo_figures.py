"""Figures of ``spatialfm demo``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._keys import SAMPLES

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

DPI = 150  # of pixels; what is drawn as lines and text stays that in the other format
SUFFIXES = (".png", ".pdf")
CHANNELS = ("Cytokeratin", "CD3", "CD20")
# colours that stay apart with colour blindness and on white paper (Okabe and Ito 2008, Tol), the same in every figure
COLORS = {
    "Tumor": "#56B4E9",
    "CD8 T": "#D55E00",
    "CD4 T": "#E69F00",
    "Treg": "#332288",
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
        "1_tissue": lambda: tissue(sdata, patients),
        "2_umap": lambda: umap(adata, key),
        "3_phenotypes": lambda: phenotype_markers(adata, "phenotype", COLORS),
        "4_neighborhoods": lambda: neighborhood_enrichment(adata),
        "5_niches_of_patients": lambda: compositions(patients),
        "6_survival": lambda: survival_curves(patients, hazards),
        "7_hazard_ratios": lambda: hazard_ratios(patients, hazards),
    }
    import matplotlib.pyplot as plt

    from .pl import style

    paths = []
    with style():
        for name, draw in drawings.items():
            figure = draw()
            for suffix in SUFFIXES:
                paths.append(out / f"{name}{suffix}")
                figure.savefig(paths[-1], dpi=DPI, bbox_inches="tight")
            plt.close(figure)
    return paths


def tissue(sdata: SpatialData, patients: AnnData) -> Figure:
    """One image and its phenotypes, of the patient with most and the one with least of the niche that was found."""
    import matplotlib.pyplot as plt

    from .pl import cells
    from .pl._figure import letter_panels

    niche = patients.uns["cox"]["table"].index[0]
    fraction = patients.to_df()[niche]
    samples = sdata[SAMPLES].obs
    chosen = [
        samples.index[samples["patient"].astype(str) == patient][0]
        for patient in (fraction.idxmin(), fraction.idxmax())
    ]
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 8.2), layout="constrained")
    for row, sample, amount in zip(axes, chosen, ("least", "most"), strict=True):
        title = f"{sample}: patient with {amount} {niche}"
        cells(sdata, sample, channels=list(CHANNELS), title=title, ax=row[0], show=False)
        cells(sdata, sample, color="phenotype", fill=True, title="phenotypes found", ax=row[1], show=False)
    letter_panels(axes.ravel())
    return figure


def umap(adata: AnnData, key: str) -> Figure:
    """UMAP of the embedding by phenotype and by slide."""
    import matplotlib.pyplot as plt
    import scanpy as sc

    from .pl._figure import color_cycle, in_random_order, letter_panels

    mixed = adata[in_random_order(np.arange(adata.n_obs))].copy()  # otherwise the last slide would cover the others
    mixed.uns["slide_colors"] = color_cycle(adata.obs["slide"].nunique())
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for ax, column, title in zip(axes, ("phenotype", "slide"), (f"phenotypes on {key}", "slides"), strict=True):
        sc.pl.umap(mixed, color=column, ax=ax, show=False, title=title)
        for points in ax.collections:
            points.set_rasterized(True)
    letter_panels(axes)
    return figure


def phenotype_markers(adata: AnnData, key: str, palette: Mapping[str, str]) -> Figure:
    """Mean of each marker (layer ``"z"``) in each phenotype, beside the phenotype's colour."""
    import matplotlib.pyplot as plt

    from .pl._heatmap import draw_heatmap

    groups = adata.to_df("z").groupby(adata.obs[key], observed=True)
    n = groups.size()
    mean = groups.mean().set_axis([f"{name} ({n[name]:,})" for name in n.index], axis=0)
    colors = dict(zip(mean.index, (palette[name] for name in n.index), strict=True))
    rows, columns = mean.shape
    size = max(2.2 + 0.4 * columns, 4.6), max(1.6 + 0.2 * rows, 3.0)  # names and the label of the bar have room
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    draw_heatmap(ax, mean, label="mean intensity\n(z-score of its logarithm)", limit=2.5, colors=colors)
    ax.set_title("markers of each phenotype (cells)")
    return figure


def neighborhood_enrichment(adata: AnnData) -> Figure:
    """Phenotypes that are next to each other more often than by chance."""
    import matplotlib.pyplot as plt
    import pandas as pd

    from .pl._heatmap import draw_heatmap

    names = [str(name) for name in adata.obs["phenotype"].cat.categories]
    scores = pd.DataFrame(adata.uns["phenotype_nhood_enrichment"]["zscore"], index=names, columns=names)
    limit = float(np.nanpercentile(np.abs(scores), 95))
    figure, ax = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    draw_heatmap(ax, scores, label="z-score against shuffled phenotypes", limit=limit, colors=COLORS)
    ax.set(xlabel="neighbor (Delaunay)", ylabel="phenotype", title="who is next to whom")
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
    from .pl._figure import letter_panels

    figure, axes = plt.subplots(1, 2, figsize=(10.5, 4.2), gridspec_kw={"wspace": 0.5})
    kaplan_meier(patients, time_unit="months", title="risk groups (k-means on niches)", ax=axes[0], show=False)
    kaplan_meier(
        patients,
        key="kaplan_meier_top_niche",
        time_unit="months",
        title=f"fraction of {hazards.index[0]!r}\n(chosen by its p-value: optimistic)",
        ax=axes[1],
        show=False,
    )
    letter_panels(axes)
    return figure


def hazard_ratios(patients: AnnData, hazards: pd.DataFrame) -> Figure:
    """Hazard ratio of every niche, and the whole model of the one with the smallest p, on one scale."""
    import matplotlib.pyplot as plt

    from .pl import forest
    from .pl._figure import letter_panels
    from .pl._forest import draw_ratios

    adjusted = patients.uns["cox"]["table"]
    both = [hazards[["ci_low", "ci_high"]], adjusted[["ci_low", "ci_high"]]]
    low = min(0.9, *(float(table.to_numpy().min()) for table in both)) / 1.2
    high = max(1.1, *(float(table.to_numpy().max()) for table in both)) * 1.2
    heights = [len(hazards), len(adjusted) + 1]
    figure, axes = plt.subplots(2, 1, figsize=(7.2, 5.0), height_ratios=heights, layout="constrained")
    forest(
        patients, title=f"{hazards.index[0]}, stage and age in one regression", xlim=(low, high), ax=axes[1], show=False
    )
    notes = [f"corrected p = {p:.2g}" if np.isfinite(p) else "" for p in hazards["p_holm"]]
    draw_ratios(axes[0], hazards, [f"{name} (per SD)" for name in hazards.index], notes, (low, high))
    axes[0].set_xlabel("Hazard ratio (95 % interval)")
    axes[0].set_title("one Cox regression for each niche", loc="left", fontsize="medium")
    letter_panels(axes)
    return figure
