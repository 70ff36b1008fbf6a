"""Draw one figure for every function of ``sfm.pl`` into docs/_figures/, on simulated cohorts with known truth.

Usage: python docs/gallery.py [NAME ...]
"""

from __future__ import annotations

import functools
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

TARGET = Path(__file__).parent / "_figures"
DPI = 110


@functools.cache
def cells():
    """60 patients with tumour, outcome and response; more tumour nests are worse."""
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(60, cells_per_patient=300, effect_size=2.0, random_state=0)
    table.obs["arm"] = (
        table.obs["patient"].str[1:].astype(int).mod(2).map({0: "control", 1: "treated"}).astype("category")
    )
    return table


@functools.cache
def patients():
    """Their compositions."""
    import spatialfm as sfm

    return sfm.tl.composition(cells(), "niche", patient_key="patient")


@functools.cache
def images():
    """Four patients with one image each, some of it glass."""
    import spatialfm as sfm

    sdata = sfm.datasets.simulate_cohort(4, n_samples=1, image_size=256, glass=0.25, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    sfm.tl.embed_cells(sdata, "mean-intensity")
    return sdata


def attention():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(30, cells_per_patient=200, effect_size=3.0, random_state=0)
    options = {"n_folds": 2, "n_seeds": 1, "n_heads": 2, "hidden": 16, "max_epochs": 60, "learning_rate": 3e-3}
    table.uns["spatialfm"] = {"table": {"unit": "µm"}}  # which is the simulator's
    sfm.tl.mil(table, use_rep="X_latent", label_key="response", **options)
    return sfm.pl.attention(table, table.obs["sample"].iloc[0], cluster_key="type", return_fig=True)


@functools.cache
def _predicted():
    """Patients whose risk was predicted by a regression of the others."""
    import spatialfm as sfm

    here, there = patients()[:36].copy(), patients()[36:].copy()
    sfm.tl.cox(here, ["tumor nest"])
    sfm.tl.predict_survival(here, there, n_bootstrap=200)
    return there


def calibration():
    import spatialfm as sfm

    return sfm.pl.calibration(_predicted(), time_unit="months", return_fig=True)


def decision_curve():
    import spatialfm as sfm

    return sfm.pl.decision_curve(_predicted(), time_unit="months", return_fig=True)


def cell_map():
    import spatialfm as sfm

    sdata = images()
    sample = sdata["samples"].obs_names[0]
    return sfm.pl.cells(sdata, sample, channels=["Cytokeratin", "CD3", "CD20"], return_fig=True)


def cell_gallery():
    import spatialfm as sfm

    sdata = images()
    table = sfm.tl.suggest_labels(sdata["table"], use_rep="X_mean_intensity", n=12)
    channels = [["DAPI", "CD3", "CD20"], ["DAPI", "Cytokeratin", "CD68"]]
    return sfm.pl.cell_gallery(sdata, table.index, channels=channels, n_columns=6, return_fig=True)


def cluster_tree():
    import spatialfm as sfm

    some = cells()[cells().obs["patient"].isin(cells().obs["patient"].unique()[:8])].copy()
    sfm.tl.leiden_sweep(some, use_rep="X_latent", resolutions=[0.1, 0.3, 1.0], n_subsamples=2)
    return sfm.pl.cluster_tree(some, return_fig=True)


def compare_composition():
    import spatialfm as sfm

    types = sfm.tl.composition(cells(), "type", patient_key="patient")
    sfm.tl.compare_composition(types, "response")
    return sfm.pl.compare_composition(types, return_fig=True)


def compare_enrichment():
    import spatialfm as sfm

    sfm.tl.compare_enrichment(cells(), "type", "response", n_neighbors=6)
    return sfm.pl.compare_enrichment(cells(), return_fig=True)


def composition():
    import spatialfm as sfm

    return sfm.pl.composition(patients(), group_key="response", return_fig=True)


def concordance():
    import spatialfm as sfm

    table = patients().copy()
    sfm.tl.compare_concordance(table, ["tumor nest", "stroma", "age"])
    return sfm.pl.concordance(table, return_fig=True)


def cumulative_incidence():
    import numpy as np
    import pandas as pd

    import spatialfm as sfm

    table = patients().copy()
    other = np.arange(table.n_obs) % 4 == 0
    event = table.obs["event"].to_numpy(bool)
    kinds = np.where(event & other, "death of other causes", np.where(event, "relapse", "alive"))
    table.obs["outcome"] = pd.Categorical(kinds)
    sfm.tl.cumulative_incidence(table, "response", censored_value="alive", event_key="outcome", n_permutations=999)
    return sfm.pl.cumulative_incidence(table, time_unit="months", return_fig=True)


def forest():
    import spatialfm as sfm

    table = patients().copy()
    sfm.tl.cox(table, ["tumor nest", "stage", "age"], standardize=True)
    return sfm.pl.forest(table, return_fig=True)


def kaplan_meier():
    import spatialfm as sfm

    table = patients().copy()
    nests = table.to_df()["tumor nest"]
    table.obs["tumor nests"] = (nests > nests.median()).map({True: "many", False: "few"}).astype("category")
    sfm.tl.kaplan_meier(table, "tumor nests")
    sfm.tl.logrank(table, "tumor nests")
    return sfm.pl.kaplan_meier(table, time_unit="months", return_fig=True)


def marker_attention():
    import spatialfm as sfm

    sdata = images()
    names = ["DAPI", "CD3", "CD20", "Cytokeratin"]
    options = {"weights": "random", "markers": names, "outputs": "attention", "key_added": "X_attention"}
    adata = sfm.tl.embed_cells(sdata, "kronos", samples=[sdata["samples"].obs_names[0]], copy=True, **options)
    bright = adata.to_df()[["CD3", "CD20", "Cytokeratin"]]
    adata.obs["type"] = (bright / bright.mean()).idxmax(axis=1).astype("category")
    sfm.tl.marker_attention(adata, "X_attention", "type")
    return sfm.pl.marker_attention(adata, title="untrained encoder", return_fig=True)


def neighborhood_contrast():
    import spatialfm as sfm

    cells().obs["nest"] = cells().obs["niche"] == "tumor nest"
    sfm.tl.neighborhood_contrast(cells(), "type", cell_type="Tumor", within="nest")
    return sfm.pl.neighborhood_contrast(cells(), return_fig=True)


def positivity():
    import anndata as ad
    import numpy as np
    import pandas as pd

    import spatialfm as sfm

    # log-normal intensities of five samples: one stained more strongly, one with hardly a positive cell, one of a type
    rng, n = np.random.default_rng(0), 2000
    shares, stains = [0.3, 0.1, 0.2, 0.002, 0.95], [1, 1, 2.5, 1, 1]
    positive = rng.random((5, n)) < np.array(shares)[:, None]
    values = np.exp(rng.normal(np.where(positive, 2.6, 0), 0.5)) * np.array(stains)[:, None]
    obs = pd.DataFrame({"sample": np.repeat([f"sample {i + 1}" for i in range(5)], n)}, index=map(str, range(5 * n)))
    table = ad.AnnData(values.reshape(-1, 1), obs=obs, var=pd.DataFrame(index=["CD20"]))
    sfm.tl.marker_positivity(table)
    return sfm.pl.positivity(table, "CD20", return_fig=True)


def contributions():
    import numpy as np

    import spatialfm as sfm

    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=150, random_state=0)
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 4 == 0)
    sfm.tl.annotate(cells, "known", use_rep="X", method="bcos")
    return sfm.pl.contributions(cells, "known_predicted", return_fig=True)


def annotation_scores():
    import spatialfm as sfm

    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=120, latent_noise=0.5, random_state=0)
    sfm.tl.evaluate_annotation(
        cells, "type", use_rep="X_latent", heads=["linear", "lda", "nearest_mean", "ensemble"], n_train=[1, 5, 20],
        n_draws=2, min_cells=30, calibrate=False,
    )  # fmt: skip
    return sfm.pl.annotation_scores(cells, return_fig=True)


def label_report():
    import numpy as np

    import spatialfm as sfm

    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=120, latent_noise=0.25, random_state=0)
    rng = np.random.default_rng(0)
    known = cells.obs["type"].astype(object).where(rng.random(cells.n_obs) < 0.3)
    labelled = np.flatnonzero(known.notna())
    slips = rng.choice(labelled, 18, replace=False)  # an expert's, to be found
    known.iloc[slips] = known.iloc[np.roll(slips, 1)].to_numpy()
    cells.obs["known"] = known
    sfm.tl.label_report(cells, "known", use_rep="X_latent", C=1.0)
    return sfm.pl.label_report(cells, return_fig=True)


def panel_curve():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(20, cells_per_patient=500, n_markers=40, random_state=0)
    sfm.tl.select_panel(table, 14)
    return sfm.pl.panel_curve(table, return_fig=True)


def reconstruction():
    import spatialfm as sfm

    # pixels that a regression on the other channels predicts, as a stand-in for the weights of a model
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=256, random_state=0, difficulty="easy")
    stained = sdata.subset(["image_P002_1", "image_P003_1"])
    sfm.tl.impute_markers(sdata, markers=["CD8"], method="linear", source=stained, space="intensity")
    return sfm.pl.reconstruction(sdata, "CD8", samples=["P001_1"], key="imputed", return_fig=True)


def reconstruction_scores():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(16, cells_per_patient=200, random_state=0)
    sfm.tl.evaluate_reconstruction(table)
    return sfm.pl.reconstruction_scores(table, return_fig=True)


def surprise():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(8, cells_per_patient=400, random_state=0)
    swapped = (table.obs["patient"] == "P003").to_numpy()  # two channels of one patient under each other's name
    table.X[swapped] = table.X[swapped][:, [0, 1, 2, 3, 4, 6, 5, *range(7, 12)]]
    sfm.tl.surprise(table)
    return sfm.pl.surprise(table, return_fig=True)


def power():
    import spatialfm as sfm

    pilot = patients().copy()
    sfm.tl.power(pilot, "auroc", 0.75, n_patients=[10, 20, 30, 40, 60], n_simulations=200)
    return sfm.pl.power(pilot, return_fig=True)


def sample_scores():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(40, cells_per_patient=150, effect_size=1.5, random_state=0)
    sfm.tl.classify_samples(table, label_key="response", use_rep=["X", "X_latent"], n_components=[2, 8], n_draws=60)
    return sfm.pl.sample_scores(table, return_fig=True)


def search_results():
    import spatialfm as sfm

    sdata = images()
    index = sfm.tl.build_index(sdata["table"], "X_mean_intensity")
    hits = sfm.tl.search(index, sdata["table"][[3, 40, 90]], k=5)
    return sfm.pl.search_results(hits, sdata, channels=["DAPI", "CD3", "Cytokeratin"], k=5, return_fig=True)


def shift():
    import anndata as ad

    import spatialfm as sfm

    parts = [sfm.datasets.simulate_cells(12, cells_per_patient=150, random_state=0) for _ in range(2)]
    parts[1].obsm["X_latent"] = parts[1].obsm["X_latent"] + 0.4
    both = ad.concat(parts, label="time_point", keys=["before", "after"], index_unique="-")
    both.obsm["X_pca"] = both.obsm["X_latent"][:, :2]
    sfm.tl.distribution_shift(
        both, use_rep="X_latent", time_key="time_point", time_points=["before", "after"], library_key=None
    )
    return sfm.pl.shift(both, use_rep="X_pca", return_fig=True)


@functools.cache
def _signatures():
    import spatialfm as sfm

    table = sfm.datasets.simulate_cells(40, cells_per_patient=80, effect_size=3.0, random_state=0)
    options = {"positive": "responder", "resolutions": [1.0], "n_repeats": 2, "n_permutations": 30}
    sfm.tl.discover_signatures(table, use_rep="X_latent", outcome="response", **options)
    return table


def signatures():
    import spatialfm as sfm

    return sfm.pl.signatures(_signatures(), return_fig=True)


def signature_scores():
    import spatialfm as sfm

    return sfm.pl.signature_scores(_signatures(), return_fig=True)


def survival_auc():
    import spatialfm as sfm

    obs, nests = patients().obs, patients().to_df()["tumor nest"]
    scores = {
        "tumor nests": sfm.metrics.survival(obs["time"], obs["event"], nests, n_bootstrap=200),
        "age": sfm.metrics.survival(obs["time"], obs["event"], obs["age"], n_bootstrap=200),
    }
    return sfm.pl.survival_auc(scores, time_unit="months", return_fig=True)


def tile_map():
    import spatialfm as sfm

    sdata = images()
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    sfm.tl.tissue_clusters(sdata["tiles"], 4, use_rep="X_mean_intensity")
    return sfm.pl.tile_map(sdata, sdata["samples"].obs_names[0], "tissue_cluster", return_fig=True)


def segmentation():
    import spatialfm as sfm

    sdata = images()
    sample = sdata["samples"].obs_names[0]
    sfm.pp.segment_cells(sdata, samples=sample, membrane=["CD3", "Cytokeratin"], key_added="found")
    quality = sfm.pp.segmentation_quality(
        sdata,
        {sample: f"found_{sample}"},
        image={sample: f"image_{sample}"},
        reference=f"true_cells_{sample}",
        by="cell",
    )
    return sfm.pl.segmentation(
        sdata, sample, quality, membrane=["CD3", "Cytokeratin"], labels=f"found_{sample}", return_fig=True
    )


def tissue():
    import spatialfm as sfm

    sfm.pp.tissue(images())
    return sfm.pl.tissue(images(), return_fig=True)


FIGURES: dict[str, Callable] = {
    "cells": cell_map,
    "cell_gallery": cell_gallery,
    "segmentation": segmentation,
    "tissue": tissue,
    "tile_map": tile_map,
    "search_results": search_results,
    "marker_attention": marker_attention,
    "cluster_tree": cluster_tree,
    "composition": composition,
    "compare_composition": compare_composition,
    "compare_enrichment": compare_enrichment,
    "neighborhood_contrast": neighborhood_contrast,
    "signatures": signatures,
    "signature_scores": signature_scores,
    "sample_scores": sample_scores,
    "attention": attention,
    "shift": shift,
    "kaplan_meier": kaplan_meier,
    "cumulative_incidence": cumulative_incidence,
    "forest": forest,
    "concordance": concordance,
    "survival_auc": survival_auc,
    "calibration": calibration,
    "decision_curve": decision_curve,
    "panel_curve": panel_curve,
    "reconstruction": reconstruction,
    "reconstruction_scores": reconstruction_scores,
    "surprise": surprise,
    "positivity": positivity,
    "annotation_scores": annotation_scores,
    "label_report": label_report,
    "contributions": contributions,
    "power": power,
}


def outdated() -> list[str]:
    """Figures that are missing, or older than this file or than the code that draws."""
    sources = [Path(__file__), *(Path(__file__).parents[1] / "src" / "spatialfm" / "pl").glob("*.py")]
    changed = max(source.stat().st_mtime for source in sources)
    paths = {name: TARGET / f"{name}.png" for name in FIGURES}
    return [name for name, path in paths.items() if not path.exists() or path.stat().st_mtime < changed]


def write_cards(folder: Path) -> None:
    """One card per figure, which leads to its function, for the page that shows them."""
    folder.mkdir(exist_ok=True)
    cards = ["::::{grid} 1 2 3 3", ":gutter: 3", ""]
    for name in FIGURES:
        cards += [f":::{{grid-item-card}} `{name}`", f":link: generated/spatialfm.pl.{name}", ":link-type: doc"]
        cards += [f":img-top: _figures/{name}.png", f":img-alt: example of {name}", ":::", ""]
    (folder / "gallery.txt").write_text("\n".join([*cards, "::::", ""]), encoding="utf-8")


def draw(names: list[str]) -> None:
    """Draw the named figures, or all; each is written beside and renamed."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    os.environ.setdefault("SPATIALFM_PROGRESS", "0")
    import spatialfm as sfm

    sfm.settings.verbosity = 0
    TARGET.mkdir(exist_ok=True)
    for name in names or FIGURES:
        start = time.perf_counter()
        with sfm.pl.style(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what small simulated cohorts are warned of
            figure = FIGURES[name]()
            beside = TARGET / f".{name}.png"
            figure.savefig(beside, dpi=DPI, bbox_inches="tight")
            plt.close("all")
        beside.rename(TARGET / f"{name}.png")
        sys.stdout.write(f"figure of sfm.pl.{name}: {time.perf_counter() - start:.1f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    draw(sys.argv[1:])
