"""``spatialfm demo``: from images and masks to survival, on a simulated cohort whose truth is compared at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._errors import SpatialfmError, counted, listed
from ._keys import (
    ATTRS_TRUTH,
    INSTANCE_KEY,
    PATIENT_KEY,
    SAMPLE_KEY,
    SAMPLES,
    TABLE,
    TRUE_CELLS_PREFIX,
    TRUTH,
    cell_name,
    cells_name,
    obsm_key,
)
from ._optional import check_neighbours

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

# what an immunologist would expect to see together; markers that mark a state (Ki67, PD1) name no type
SIGNATURES = {
    "Tumor": ("Cytokeratin",),
    "CD8 T": ("CD3", "CD8"),
    "CD4 T": ("CD3", "CD4"),
    "Treg": ("CD3", "CD4", "FOXP3"),
    "B": ("CD20",),
    "Macrophage": ("CD68",),
    "Fibroblast": ("aSMA",),
    "Endothelial": ("CD31",),
}
NICHE_RADIUS = 20.0  # µm: the cells that a cell can touch, and theirs
N_NICHES = 5
STORE, CELLS, PATIENTS = "cohort.zarr", "cells.h5ad", "patients.h5ad"
MARK = ".spatialfm-demo"  # marks a folder in which files of these names may be replaced


def run_demo(
    out: Path,
    *,
    n_patients: int = 24,
    model: str = "classical",
    weights: str | None = None,
    random_state: int = 0,
    say: Callable[[str], object],
) -> None:
    """Run every step and leave store, tables and figures in a folder.

    Parameters
    ----------
    out
        Folder; made where it does not exist.
    n_patients
        Patients of the cohort, with two images each.
    model, weights
        Encoder of the cells, as in `spatialfm.tl.embed_cells`.
    random_state
        Seed of the cohort, of clustering and of k-means.
    say
        Takes each line of the report.
    """
    from . import _demo_figures as figures
    from .datasets import simulate_cohort
    from .models import load
    from .pp import cell_table
    from .tl import embed_cells, name_clusters

    encoder = load(model, weights=weights)  # what it refuses, it refuses before minutes of work
    out = Path(out)
    check_folder(out)
    step = _Steps(say)

    step(f"simulate {n_patients} patients with two images of 12 markers each, and imperfect masks")
    sdata = simulate_cohort(n_patients, random_state=random_state, difficulty="easy")
    step("read the channel names as markers")
    say(_indented(matched_markers(sdata)))
    step("measure every cell")
    cell_table(sdata)
    say(f"  {sdata[TABLE].n_obs:,} cells in {len(sdata[SAMPLES]):,} images")
    step(f"embed every cell with {model!r}")
    embed_cells(sdata, encoder)
    adata, key = sdata[TABLE], obsm_key(model)
    say(f"  obsm[{key!r}]: {adata.obsm[key].shape[0]:,} x {adata.obsm[key].shape[1]:,}")
    if weights is None and model == "classical":
        step(
            "embed the cells of one image with KRONOS and random weights (untrained: shows that it runs, means nothing)"
        )
        say(f"  {embed_untrained(sdata)}")

    step("cluster (scanpy), and name the clusters by their markers")
    cluster(adata, key, random_state)
    marker_scores(adata)
    name_clusters(adata, "leiden", SIGNATURES, batch_key="slide", key_added="phenotype")
    say(_indented(adata.obs["phenotype"].value_counts().to_frame("cells")))
    step("neighborhoods (squidpy), and niches from them")
    neighborhoods(adata, random_state)
    say(_indented(adata.obs["niche"].value_counts().to_frame("cells")))
    step("from cells to patients: composition, risk groups, survival")
    patients, hazards = survival(adata, random_state)
    say(_indented(hazards.round(3)))
    for line in survival_findings(patients, hazards):
        say(f"  {line}")

    step("compare with the truth")
    for line in compare_with_truth(sdata, adata, hazards):
        say(f"  {line}")
    step("figures")
    paths = figures.draw_all(sdata, adata, patients, hazards, out, key)
    step("write")
    paths += write_all(sdata, adata, patients, out)
    step.done()
    say(f"\nResults in {out.resolve()}:")
    for path in paths:
        say(f"  {path.relative_to(out)}")


def check_folder(out: Path) -> None:
    """Make the folder and mark it as the demo's; one that holds files of these names from elsewhere is refused.

    Raises
    ------
    SpatialfmError
        Before anything is simulated.
    """
    mark = out / MARK
    if not mark.exists() and (taken := [name for name in (STORE, CELLS, PATIENTS) if (out / name).exists()]):
        raise SpatialfmError(
            f"Folder {str(out)!r} already holds {listed(taken)}, which this demo may not have written and would "
            "replace. Pass another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text("written by 'spatialfm demo', which replaces what an earlier run left here\n")


class _Steps:
    """Numbers the steps and reports how long each took."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say, self.number = say, 0
        self.first = self.last = time.perf_counter()

    def __call__(self, what: str) -> None:
        self._close()
        self.number += 1
        self.say(f"\n[{self.number}] {what}")

    def _close(self) -> None:
        now = time.perf_counter()
        if self.number:
            self.say(f"  {now - self.last:.1f} s")
        self.last = now

    def done(self) -> None:
        self._close()
        self.say(f"\nDone in {time.perf_counter() - self.first:.0f} s.")


def matched_markers(sdata: SpatialData) -> pd.DataFrame:
    """Which marker each channel of the first image is."""
    from .pp import match_markers
    from .pp.arrays import channel_names

    table = match_markers(channel_names(sdata, next(iter(sdata.images))))
    return table[["channel", "status", "marker", "gene", "compartment"]].set_index("channel")


def embed_untrained(sdata: SpatialData) -> str:
    """Run KRONOS without trained weights on one image; what comes out is not kept."""
    from .tl import embed_cells

    sample = sdata[SAMPLES].obs_names[0]
    start = time.perf_counter()
    embedded = embed_cells(sdata, "kronos", weights="random", samples=[sample], copy=True)
    shape = embedded.obsm[obsm_key("kronos")].shape
    return f"sample {sample}: {shape[0]} cells x {shape[1]:,} columns in {time.perf_counter() - start:.1f} s"


def cluster(adata: AnnData, key: str, random_state: int) -> None:
    """Leiden clusters and UMAP of the embedding; writes ``obs["leiden"]`` and ``obsm["X_umap"]``.

    Features are standardised within slides. These hold patients at random here; where slide and outcome are tangled,
    that would remove biology too.
    """
    import scanpy as sc

    from .pp import standardize

    standardize(adata, use_rep=key, batch_key="slide", key_added="X_slide")
    n_comps = min(30, adata.obsm["X_slide"].shape[1] - 1)
    adata.obsm["X_pca"] = sc.pp.pca(adata.obsm["X_slide"], n_comps=n_comps, random_state=random_state)
    check_neighbours(adata.n_obs)
    sc.pp.neighbors(adata, use_rep="X_pca", n_neighbors=15, random_state=random_state)
    sc.tl.leiden(adata, resolution=1.5, flavor="igraph", n_iterations=2, random_state=random_state)
    sc.tl.umap(adata, random_state=random_state)


def marker_scores(adata: AnnData) -> None:
    """Intensity of each marker in each cell, as z-score of its logarithm within the slide: the layer ``"z"``."""
    from .pp.batches import log_scores

    adata.layers["z"] = log_scores(adata.X, pd.factorize(adata.obs["slide"])[0]).astype(np.float32)


def neighborhoods(adata: AnnData, random_state: int) -> None:
    """Enrichment of phenotypes next to each other, and niches; writes ``uns`` and ``obs["niche"]``."""
    import squidpy as sq
    from sklearn.cluster import KMeans

    from .tl import neighborhood_composition

    if hasattr(sq.gr, "spatial_neighbors_delaunay"):
        sq.gr.spatial_neighbors_delaunay(adata, library_key=SAMPLE_KEY)
    else:  # squidpy before 1.8
        sq.gr.spatial_neighbors(adata, coord_type="generic", delaunay=True, library_key=SAMPLE_KEY)
    sq.gr.nhood_enrichment(adata, cluster_key="phenotype", seed=random_state, n_perms=500, show_progress_bar=False)
    neighborhood_composition(
        adata, "phenotype", library_key=SAMPLE_KEY, radius=NICHE_RADIUS, include_self=True, key_added="neighborhood"
    )
    around = adata.obsm["neighborhood"]
    clusters = KMeans(N_NICHES, n_init=10, random_state=random_state).fit_predict(around)
    adata.obs["niche"] = _named_niches(around, clusters, list(adata.obs["phenotype"].cat.categories))


def _named_niches(around: np.ndarray, clusters: np.ndarray, phenotypes: list[str]) -> pd.Categorical:
    """Niches named by the one or two phenotypes that are most over-represented in them."""
    overall = around.mean(axis=0)
    names: dict[int, str] = {}
    for number in range(clusters.max() + 1):
        # a share of 10 % at least: the rare ones can be enriched a lot without making the niche
        share = around[clusters == number].mean(axis=0)
        enriched = np.where(share >= 0.1, share / overall, 0)
        top = [phenotypes[i] for i in np.argsort(-enriched)[:2] if enriched[i] > 1.2] or [phenotypes[share.argmax()]]
        name = " + ".join(top) + " niche"
        names[number] = name if name not in names.values() else f"{name} {number}"
    return pd.Categorical([names[number] for number in clusters], sorted(names.values()))


def survival(adata: AnnData, random_state: int) -> tuple[AnnData, pd.DataFrame]:
    """Patients by niches, their risk groups, one Cox regression for each niche, and one with stage and age."""
    from .tl import composition, cox, kaplan_meier, logrank, stratify
    from .tl.survival.logrank import holm

    patients = composition(adata, "niche", library_key=SAMPLE_KEY, patient_key=PATIENT_KEY)
    patients.obs["stage (1 to 4)"] = patients.obs["stage"].map({"I": 1, "II": 2, "III": 3, "IV": 4}).astype(float)
    # the outcome names the groups and does not make them, so the test on them is valid
    stratify(patients, 2, time_key="time", event_key="event", random_state=random_state)
    kaplan_meier(patients, "risk_group")
    logrank(patients, "risk_group")
    rows = []
    for niche in patients.var_names:
        # alone: a few dozen deaths do not carry three terms in each of several models
        cox(patients, niche, standardize=True)
        rows.append(patients.uns["cox"]["table"].loc[niche, ["hazard_ratio", "ci_low", "ci_high", "p_value"]])
    hazards = pd.DataFrame(rows, index=pd.Index(patients.var_names, name="niche")).astype(float)
    hazards["p_holm"] = holm(hazards["p_value"].to_numpy())
    hazards = hazards.sort_values("p_value")
    top = hazards.index[0]
    cox(patients, [top, "stage (1 to 4)", "age"], standardize=True)
    fraction = patients.to_df()[top]
    patients.obs["top_niche"] = pd.Categorical(np.where(fraction > fraction.median(), "above median", "up to median"))
    kaplan_meier(patients, "top_niche", key_added="kaplan_meier_top_niche")
    return patients, hazards


def survival_findings(patients: AnnData, hazards: pd.DataFrame) -> list[str]:
    """Result of the survival analysis, in words."""
    test, top = patients.uns["logrank"], hazards.iloc[0]
    return [
        f"{test['n']} patients, {test['events']} deaths. Risk groups by k-means on niches, made without the outcome: "
        f"log-rank {_p(test['p_value'], 3)}.",
        f"Of {len(hazards)} niches, {hazards.index[0]!r} has the smallest p: hazard ratio {top['hazard_ratio']:.2f} "
        f"({top['ci_low']:.2f} to {top['ci_high']:.2f}) per standard deviation; "
        f"{_p(top['p_value'])}, {_corrected(hazards, top)}.",
        "A niche that was chosen by its p-value looks better than it is: its interval and its curves are optimistic.",
    ]


def _p(value: float, digits: int = 2) -> str:
    return f"p = {value:.{digits}g}" if np.isfinite(value) else "no p (the groups cannot be compared)"


def _corrected(hazards: pd.DataFrame, row: pd.Series) -> str:
    tests = counted(len(hazards), "test")
    return f"corrected for {tests} p = {row['p_holm']:.2g}" if np.isfinite(row["p_holm"]) else f"no p for {tests}"


def true_rows(sdata: SpatialData, adata: AnnData) -> pd.DataFrame:
    """For each cell of the table, the row of the true cell that most of its pixels belong to; NaN where none does."""
    parts = []
    for sample in sdata[SAMPLES].obs_names:
        true_ids = np.asarray(sdata.labels[cells_name(sample)].data).ravel()
        true = np.asarray(sdata.labels[TRUE_CELLS_PREFIX + sample].data).ravel()
        inside = (true_ids > 0) & (true > 0)
        pairs = pd.DataFrame({"found": true_ids[inside], "true": true[inside]}).value_counts().reset_index()
        pairs = pairs.drop_duplicates("found")  # sorted by count: the first is the largest overlap
        parts.append(pairs.assign(name=[cell_name(sample, label) for label in pairs["found"]], sample=sample))
    best = pd.concat(parts).set_index("name").reindex(adata.obs_names)
    truth = sdata[TRUTH].obs.set_index([SAMPLE_KEY, INSTANCE_KEY])
    return truth.reindex(pd.MultiIndex.from_frame(best[["sample", "true"]])).set_axis(adata.obs_names)


def compare_with_truth(sdata: SpatialData, adata: AnnData, hazards: pd.DataFrame) -> list[str]:
    """How well phenotypes, niches and effect were found, in words; writes the true ones into ``obs``."""
    from sklearn.metrics import adjusted_rand_score

    from .tl.phenotypes.name_clusters import OTHER

    truth = true_rows(sdata, adata)
    known = truth["type"].notna().to_numpy()
    adata.obs["true_type"], adata.obs["true_niche"] = truth["type"], truth["niche"]

    def agreement(predicted: str, true: str) -> float:
        return adjusted_rand_score(adata.obs.loc[known, true].astype(str), adata.obs.loc[known, predicted].astype(str))

    named = truth["type"].astype(str).where(truth["type"].isin(list(SIGNATURES)), OTHER)
    right = (named.to_numpy() == adata.obs["phenotype"].astype(str).to_numpy())[known].mean()
    effect = sdata.attrs[ATTRS_TRUTH]["effect"]
    planted = float(np.exp(effect["log_hazard_ratio_per_sd"]))
    in_niche = (truth["niche"] == effect["effect_of"]).to_numpy()
    # overlap over union: the niche found that comes nearest to the one that drives the hazard
    overlap = {name: (in_niche & mask).sum() / (in_niche | mask).sum() for name, mask in _masks(adata.obs["niche"])}
    nearest = max(overlap, key=overlap.__getitem__)
    hazard = hazards.loc[nearest]
    covered = "contains" if hazard["ci_low"] <= planted <= hazard["ci_high"] else "does not contain"
    return [
        f"phenotypes: adjusted Rand index {agreement('phenotype', 'true_type'):.2f}; {right:.0%} of cells have their "
        f"planted type (types without a marker in the panel count as {OTHER!r})",
        f"niches: adjusted Rand index {agreement('niche', 'true_niche'):.2f}",
        f"planted effect: hazard ratio {planted:.2f} per standard deviation of the fraction in {effect['effect_of']!r}",
        f"nearest to it is {nearest!r} (overlap over union {overlap[nearest]:.2f}): {hazard['hazard_ratio']:.2f} "
        f"({hazard['ci_low']:.2f} to {hazard['ci_high']:.2f}), which {covered} the planted value; "
        f"{_corrected(hazards, hazard)}",
        "fractions add up to 1, so where one niche raises the hazard, another seems to lower it",
        f"({(~known).sum()} segmented cells match no true cell and are left out)",
    ]


def _masks(column: pd.Series) -> list[tuple[str, np.ndarray]]:
    return [(name, (column == name).to_numpy()) for name in column.cat.categories]


def write_all(sdata: SpatialData, adata: AnnData, patients: AnnData, out: Path) -> list[Path]:
    """Write the store and the two tables; an earlier run's are replaced."""
    import shutil

    store, cells, rows = out / STORE, out / CELLS, out / PATIENTS
    if store.exists():
        shutil.rmtree(store)
    sdata[TABLE] = adata
    sdata.write(store)
    adata.write_h5ad(cells)
    patients.write_h5ad(rows)
    return [store, cells, rows]


def _indented(table: pd.DataFrame) -> str:
    return "\n".join(f"  {line}" for line in table.to_string(na_rep="-").splitlines())
