"""From cells to patients on four public cohorts: how far published cell types (or pixels) say who a patient is.

    python benchmarks/patients.py --data <folder with the tables> [--parts crc nsclc melanoma dcis] [--quick]

crc       35 patients in two groups (Schürch et al., Cell 2020): types and neighborhoods, few-shot and cross-validated
nsclc     153 patients with survival (Johnson et al., J Thorac Oncol 2021): phenotypes and neighborhoods
melanoma  30 patients with response (Moldoveanu et al., Sci Immunol 2022): types from the table's calls, and from cuts
dcis      58 patients, progression or not (Risom et al., Cell 2022): tiles of the images, without segmentation

Scores are of patients that took no part in anything that was chosen; p-values are from shuffled outcomes. What is
neither is called optimistic.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from niches import read as read_crc
from scipy.spatial import cKDTree
from scipy.stats import mannwhitneyu

import spatialfm as sfm

# balanced accuracy over 100 draws of 5 support cases a class: KRONOS, arXiv 2506.03373, Table S19
PUBLISHED_FEW_SHOT = {4: (0.7389, 0.7103, 0.6640, 0.6532), 8: (0.7584, 0.6952, 0.6665, 0.6564)}
PUBLISHED_FEW_SHOT[16] = (0.7188, 0.7059, 0.6374, 0.6816)
SHUFFLES = 49


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(*names: str) -> None:
    print()
    row(*names)
    row(*["---"] * len(names))


def p_text(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def score_head() -> None:
    head("logistic regression on", "patients", "AUROC", "95 % interval, shared patients accounted for", "p")


def classified(samples: AnnData, label_key: str, names: dict[str, str], args, **options) -> None:
    """Logistic regression on each representation; AUROC over draws, its interval and p-value."""
    sfm.tl.classify_samples(
        samples,
        label_key=label_key,
        use_rep=list(names),
        n_draws=20 if args.quick else 100,
        n_permutations=9 if args.quick else SHUFFLES,
        **options,
    )
    record = samples.uns["classify_samples"]
    summary = record["summary"].query("score == 'auroc'").set_index("use_rep")
    counts = ", ".join(map(str, record["patients"]["label"].value_counts(sort=False)))
    for key, name in names.items():
        found = summary.loc[key]
        interval = f"{max(found['low'], 0):.2f} to {min(found['high'], 1):.2f}"
        row(name, counts, f"{found['mean']:.2f}", interval, f"{found['p_value']:.2f}")


def compared(patients: AnnData, group_key: str, n: int, what: str) -> None:
    """The columns of a composition that differ most between two groups."""
    table = sfm.tl.compare_composition(patients, group_key, copy=True).sort_values("p_value")
    head(what, *(f"median in {table.iloc[0][f'group_{i}']} (%)" for i in (1, 2)), "effect (95 %)", "p", "q")
    for name, found in table.head(n).iterrows():
        row(
            name,
            f"{100 * found['median_1']:.1f}",
            f"{100 * found['median_2']:.1f}",
            f"{found['effect']:.2f} ({found['effect_low']:.2f} to {found['effect_high']:.2f})",
            p_text(found["p_value"]),
            f"{found['q_value']:.3f}",
        )


def side_by_side(cells: AnnData, keys: list[str]) -> AnnData:
    """Compositions by several columns, one row per patient: log-ratios in obsm, fractions of the first in X."""
    tables = [sfm.tl.composition(cells, key, library_key="sample", patient_key="patient") for key in keys]
    for key, table in zip(keys, tables, strict=True):
        if not table.obs_names.equals(tables[0].obs_names):
            raise ValueError(f"patients of {key} are in another order")
        tables[0].obsm[f"X_{key}"] = table.layers["clr"]
    return tables[0]


def part_crc(args) -> None:
    cells, _ = read_crc(args.data / "crc_codex_table")
    options = {"library_key": "sample", "include_self": True}
    sfm.tl.neighborhood_composition(cells, "type", n_neighbors=10, key_added="X_near", **options)
    # as many cells as are in a patch of 96 µm, the one that KRONOS embeds
    sfm.tl.neighborhood_composition(cells, "type", n_neighbors=60, key_added="X_patch", **options)
    sfm.tl.niches(cells, 10, use_rep="X_near")
    patients = side_by_side(cells, ["type", "niche"])
    print(f"\n### Colorectal cancer, CODEX: {patients.n_obs} patients, {cells.n_obs:,} cells, two groups")
    score_head()
    classified(patients, "group", {"X_type": "cell types", "X_niche": "niches"}, args, n_components=None)

    few = {"label_key": "group", "n_draws": 100, "n_permutations": 0 if args.quick else SHUFFLES, "copy": True}
    names = {"X_near": "neighborhoods of 10 cells", "X_patch": "neighborhoods of 60 cells"}
    names_of = names | {"type": "published types", "b_cells": "B cells and all others"}
    cells.obs["b_cells"] = (cells.obs["type"] == "b_cells").astype(str).astype("category")
    keys = ["type", "b_cells"]  # follicles are made of B cells, and define one of the groups
    found = sfm.tl.few_shot_samples(cells, use_rep=list(names), n_clusters=[4, 8, 16], cluster_key=keys, **few)
    scores = found["summary"].set_index(["representation", "n_clusters", "score"])
    head(
        "five support patients a class: shares of", "K", "balanced accuracy", "AUROC", "p",
        *(f"published: {name}" for name in ("KRONOS", "CA-MAE", "UNI", "DINO-v2")),
    )  # fmt: skip
    for rep, k in found["summary"][["representation", "n_clusters"]].drop_duplicates().itertuples(index=False):
        accuracy, auroc = (scores.loc[(rep, k, score)] for score in ("balanced_accuracy", "auroc"))
        row(
            names_of[rep],
            k,
            f"{accuracy['mean']:.2f} ({accuracy['low']:.2f} to {accuracy['high']:.2f})",
            f"{auroc['mean']:.2f}",
            f"{auroc['p_value']:.2f}",
            *(f"{value:.2f}" for value in PUBLISHED_FEW_SHOT.get(k, ())),
            *("" for _ in range(0 if k in PUBLISHED_FEW_SHOT else 4)),
        )
    compared(patients, "group", 3, "share of type")
    pairs = sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=10, copy=True)
    best = pairs.sort_values("p_value").iloc[0]
    print(
        f"\nPairs of neighbours: {int(pairs['significant'].sum())} of {pairs['p_value'].notna().sum()} differ after "
        f"correction; smallest q {best['q_value']:.2f} ({best['cell_type']}, {best['neighbour']})"
    )


KEYS = {"time_key": "survival_days", "event_key": "survival_status"}


def read_nsclc(folder: Path) -> AnnData:
    table = pd.read_parquet(folder / "cells.parquet")
    kinds = {"ck": "tumor", "cd8": "CD8 T", "cd4": "CD4 T", "cd19": "B", "cd14": "CD14"}
    types = np.select([table[f"phenotype_{name}"] for name in kinds], list(kinds.values()), "other")
    patient = table["patient_id"].astype(int).astype(str)
    obs = pd.DataFrame(
        {
            "patient": pd.Categorical(patient),
            "sample": pd.Categorical(patient + "_" + table["image_id"].astype(str)),  # images are numbered by patient
            "type": pd.Categorical(types),
        }
    )
    obs.index = obs.index.astype(str)
    clinic = pd.read_csv(folder / "patients.csv").set_index("patient_id")
    clinic.index = clinic.index.astype(int).astype(str)
    for name in clinic:
        obs[name] = obs["patient"].astype(str).map(clinic[name]).to_numpy()
    return AnnData(obs=obs, obsm={"spatial": table[["x", "y"]].to_numpy(float)})


def part_nsclc(args) -> None:
    cells = read_nsclc(args.data / "nsclc_table")
    sizes = cells.obs["sample"].value_counts()
    small = cells.obs["sample"].map(sizes).to_numpy(int) < 11
    if small.any():
        print(f"{small.sum()} cells in images of fewer than 11 left out")
        cells = cells[~small].copy()
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    sfm.tl.niches(cells, 10)
    sfm.tl.cell_states(cells, 120, use_rep="neighborhood_composition")
    patients = side_by_side(cells, ["type", "niche"])
    states = sfm.tl.composition(cells, "state", library_key="sample", patient_key="patient")
    deaths = int(patients.obs["survival_status"].sum())
    print(f"\n### Lung cancer, Vectra: {patients.n_obs} patients, {deaths} deaths, {cells.n_obs:,} cells")

    sfm.tl.cox(patients, ["CD8 T", "CD4 T", "B", "CD14", "age", "gender", "stage"], standardize=True, **KEYS)
    head("Cox regression: a standard deviation more of", "hazard ratio", "95 % interval", "p")
    for name, found in patients.uns["cox"]["table"].iterrows():
        interval = f"{found['ci_low']:.2f} to {found['ci_high']:.2f}"
        row(name, f"{found['hazard_ratio']:.2f}", interval, p_text(found["p_value"]))
    head("cut where survival differs most", "low, high", "more deaths in", "naive p: optimistic", "corrected p")
    for name in ("CD8 T", "CD4 T", "B", "CD14"):
        cut = sfm.tl.cut_point(patients, name, copy=True, n_permutations=2000, **KEYS)
        sizes = f"{cut['n_low']}, {cut['n_high']}"
        row(name, sizes, cut["higher_risk"], f"{cut['naive_p_value']:.3f}", f"{cut['p_value']:.2f}")
    models(patients, args)
    strata(patients, states, args)


def models(patients: AnnData, args) -> None:
    """Concordance of nested cross-validation, from clinic, cells and both."""
    clinic = ["age", "gender", "stage"]
    sources = {
        "age, sex, stage": (None, clinic),
        "types": ("X_type", None),
        "niches": ("X_niche", None),
        "types, age, sex, stage": ("X_type", clinic),
    }
    head("model", "from", "Harrell's concordance, nested", "p", "on its own patients: optimistic")
    for model, shuffles in (("coxnet", SHUFFLES), ("survival_forest", 0)):
        for name, (rep, covariates) in sources.items():
            options = {"use_rep": rep, "covariates": covariates, "n_permutations": 0 if args.quick else shuffles}
            found = getattr(sfm.tl, model)(patients, copy=True, **options, **KEYS)
            score = found["scores"].loc["harrell"]
            row(
                model,
                name,
                f"{score['value']:.2f} ({score['ci_low']:.2f} to {score['ci_high']:.2f})",
                f"{found['p_value']:.2f}" if "p_value" in found else "",
                f"{found['optimistic_harrell']:.2f}",
            )


def strata(patients: AnnData, states: AnnData, args) -> None:
    """Risk groups with and without cross-fitting, and how often each finds something in shuffled outcomes."""
    ways = {
        "2 clusters, named by survival": {"n_groups": 2},
        "4 clusters merged into 2 by survival, as published: optimistic": {"n_groups": 4, "merge_into": 2},
        "the same, cross-fitted": {"n_groups": 4, "merge_into": 2, "cross_fit": 5},
    }
    n_seeds, n_shuffles = (2, 5) if args.quick else (10, 100)
    head(
        "risk groups of", "from", "low, high", "p, procedure shuffled", "log-rank p", "of 10 seeds: median (range)",
        "log-rank p below 0.05 in shuffled outcomes (%)",
    )  # fmt: skip
    for table, what in ((states, "120 states of neighborhoods"), (patients, "types")):
        table = table.copy()
        for name, options in ways.items():
            p = [p_of(table, seed, options) for seed in range(n_seeds)]
            p_of(table, 0, options | {"n_permutations": 19 if args.quick else 199})
            of_procedure = table.uns["risk_group"]["test"]["p_value"]
            sizes = table.obs["risk_group"].value_counts().reindex(["low", "high"])
            null, shuffled = [], table.copy()
            for shuffle in range(n_shuffles):
                order = np.random.default_rng(shuffle).permutation(table.n_obs)
                shuffled.obs[list(KEYS.values())] = table.obs[list(KEYS.values())].to_numpy()[order]
                null.append(p_of(shuffled, shuffle, options))
            row(
                name,
                what,
                ", ".join(map(str, sizes)),
                f"{of_procedure:.3f}",
                f"{p[0]:.3f}",
                f"{np.median(p):.3f} ({min(p):.3f} to {max(p):.3f})",
                f"{100 * np.mean(np.array(null) < 0.05):.1f}",
            )


def p_of(patients: AnnData, seed: int, options: dict) -> float:
    sfm.tl.stratify(patients, random_state=seed, **options, **KEYS)
    if patients.obs["risk_group"].nunique() < 2:
        return 1.0
    return float(sfm.tl.logrank(patients, "risk_group", on_selected="mark", copy=True, **KEYS)["p_value"])


# from the published definitions (composite_phenotypes.csv), the more specific first
MELANOMA = {
    "Treg": (["FOXP3", "CD4", "CD3"], ["SOX10", "CD31", "CD20"]),
    "CD8 T, antigen-experienced": (["CD3", "CD8A", "CD45RO"], ["CD20"]),
    "CD8 T, other": (["CD3", "CD8A"], ["CD20"]),
    "CD4 T": (["CD3", "CD4"], ["CD20"]),
    "T, other": (["CD3"], ["CD20"]),
    "B": (["CD20"], ["CD31", "SOX10"]),
    "macrophage": (["CD68"], ["CD3", "SOX10"]),
    "monocyte": (["CD14"], ["CD3", "SOX10"]),
    "endothelium": (["CD31"], ["CD20", "CD45", "CD3", "SOX10"]),
    "melanoma": (["SOX10"], ["CD20", "CD3", "CD45", "CD31"]),
    "melanocyte": (["S100"], ["CD20", "CD3", "CD45", "CD31"]),
}
EXPERIENCED = "CD8 T, antigen-experienced"
LINEAGE = ["CD3", "CD8A", "CD20", "CD45", "CD31", "SOX10", "FOXP3", "MKI67"]


def read_melanoma(folder: Path) -> tuple[AnnData, dict[str, np.ndarray]]:
    """Cells with types by the table's own calls (``type``) and by one cut a marker (``cut_type``); both calls."""
    from skimage.filters import threshold_otsu

    table = pd.read_parquet(folder / "cells.parquet")
    calls = {name[:-1]: table[name].to_numpy(bool) for name in table if name.endswith("+")}
    logs = np.log(table[list(calls)].clip(lower=1.0))
    cuts = {name: (logs[name] > threshold_otsu(logs[name].to_numpy())).to_numpy() for name in calls}
    subject = table["sample_id"].str.replace("sample", "subject")
    diagnosis = pd.read_csv(folder / "diagnosis.tsv", sep="\t").set_index("Subject of diagnosis")["Diagnosis"]
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(table["sample_id"]),
            "patient": pd.Categorical(subject),
            "type": pd.Categorical(types_of(calls)),
            "cut_type": pd.Categorical(types_of(cuts)),
            "response": pd.Categorical(subject.map(diagnosis)),
        }
    )
    for name, found in (("calls", calls), ("cuts", cuts)):
        obs[f"proliferating_{name}"] = holds(found, *MELANOMA[EXPERIENCED]) & found["MKI67"]
    obs.index = obs.index.astype(str)
    markers = [name for name in calls if name != "H3"]
    values = np.arcsinh(table[markers].to_numpy(np.float32))
    cells = AnnData(
        values, obs=obs, var=pd.DataFrame(index=markers), obsm={"spatial": table[["x", "y"]].to_numpy(float)}
    )
    cells.obsm["X_markers"] = (values - values.mean(axis=0)) / values.std(axis=0)
    return cells, calls


def holds(calls: dict[str, np.ndarray], positive: list[str], negative: list[str]) -> np.ndarray:
    return np.all([calls[m] for m in positive] + [~calls[m] for m in negative], axis=0)


def types_of(calls: dict[str, np.ndarray]) -> np.ndarray:
    return np.select([holds(calls, *rule) for rule in MELANOMA.values()], list(MELANOMA), "other")


def part_melanoma(args) -> None:
    cells, calls = read_melanoma(args.data / "melanoma_imc_table")
    share = pd.DataFrame({name: calls[name] for name in LINEAGE}).groupby(cells.obs["sample"].to_numpy()).mean()
    for source, key in (("", "type"), ("cut_", "cut_type")):
        options = {"library_key": "sample", "n_neighbors": 10, "include_self": True}
        sfm.tl.neighborhood_composition(cells, key, key_added=f"X_{source}near", **options)
        sfm.tl.niches(cells, 10, use_rep=f"X_{source}near", key_added=f"{source}niche")
    patients = side_by_side(cells, ["type", "niche", "cut_type", "cut_niche"])
    counts = patients.obs["response"].value_counts()
    print(f"\n### Melanoma, IMC: {patients.n_obs} patients, " + ", ".join(f"{n} {name}s" for name, n in counts.items()))
    print(
        f"\nOf {len(share)} samples, {int((share > 0.99).any(axis=1).sum())} have a marker of lineage that is called "
        "positive in more than 99 % of their cells: "
        + ", ".join(f"{name} in {n}" for name, n in (share > 0.99).sum().items())
    )
    patients.obsm["X_markers"] = patient_means(cells, ["X_markers"])[patients.obs_names].obsm["X_markers"]
    names = {"X_type": "cell types, published calls", "X_niche": "niches, published calls"}
    names |= {"X_cut_type": "cell types, one cut a marker", "X_cut_niche": "niches, one cut a marker"}
    names |= {"X_markers": "mean of 34 markers"}
    score_head()
    classified(patients, "response", names, args, n_components=None, positive="Responder")
    for key, what in (("type", "share of type, published calls"), ("cut_type", "share of type, one cut a marker")):
        compared(sfm.tl.composition(cells, key, library_key="sample", patient_key="patient"), "response", 2, what)
    published_findings(cells)
    signatures(cells, args)


def signatures(cells: AnnData, args) -> None:
    """Clusters of cells that predict the response, as published and nested."""
    sfm.tl.discover_signatures(
        cells,
        use_rep="X_markers",
        outcome="response",
        positive="Responder",
        resolutions=[2.0],
        n_permutations=19 if args.quick else 99,
    )
    head("signatures from marker means", "AUROC", "95 % interval", "mean of shuffles", "p")
    for name, found in cells.uns["signatures"]["scores"].iterrows():
        interval = f"{found['ci_low']:.2f} to {found['ci_high']:.2f}" if np.isfinite(found["ci_low"]) else ""
        row(name, f"{found['score']:.2f}", interval, f"{found['null_mean']:.2f}", f"{found['p_value']:.2f}")
    head("signature", "cells", "AUROC alone", "risk ratio", "q", "any cluster as good in shuffles (%)")
    for name, found in cells.uns["signatures"]["signatures"].iterrows():
        row(
            name,
            int(found["n_cells"]),
            *(f"{found[column]:.2f}" for column in ("score", "ratio", "q_value")),
            f"{100 * found['p_max']:.0f}",
        )


def published_findings(cells: AnnData) -> None:
    """What the paper found before treatment: proliferating antigen-experienced CD8 T cells, and closer to melanoma."""
    response = cells.obs.drop_duplicates("patient").set_index("patient")["response"].astype(str)
    head("antigen-experienced CD8 T cells", "responders", "others", "AUROC", "p (Mann-Whitney)")
    for source, key in (("calls", "type"), ("cuts", "cut_type")):
        name = "published calls" if source == "calls" else "one cut a marker"
        share = 100 * cells.obs.groupby("patient", observed=True)[f"proliferating_{source}"].mean()
        finding(f"proliferating, % of all cells; {name}", share, response)
        finding(f"median distance to melanoma cells (µm); {name}", distances(cells, key), response)


def finding(what: str, values: pd.Series, response: pd.Series) -> None:
    groups = response.loc[values.index]
    one, two = values[groups == "Responder"].dropna(), values[groups != "Responder"].dropna()
    test = mannwhitneyu(one, two)
    medians = (f"{part.median():.2f} (n = {len(part)})" for part in (one, two))
    row(what, *medians, f"{test.statistic / len(one) / len(two):.2f}", p_text(test.pvalue))


def distances(cells: AnnData, key: str) -> pd.Series:
    """Median over a patient's antigen-experienced CD8 T cells of the distance to the nearest melanoma cell."""
    found = {}
    for patient, rows in cells.obs.groupby("patient", observed=True).indices.items():
        places, types = cells.obsm["spatial"][rows], cells.obs[key].to_numpy()[rows]
        t, tumor = places[types == EXPERIENCED], places[types == "melanoma"]
        found[patient] = np.median(cKDTree(tumor).query(t)[0]) if len(t) and len(tumor) else np.nan
    return pd.Series(found)


# of the published features those that say how whole the layer of myoepithelium around the duct is
LATE = 6000  # fields from here on: nearly all of progressors
MYOEPITHELIUM = ["SMA_coverage", "SMA_thickness", "Myoep_cluster_fracECAD", "MYOEPmask_density_total_myoep"]


def part_dcis(args) -> None:
    folder = args.data / "dcis_mibi"
    clinic = pd.read_csv(folder / "clinical_core.csv")
    clinic["image"] = [str(folder / "images" / f"{fov}.ome.tif") for fov in clinic["fov"]]
    clinic = clinic.rename(columns={"fov": "sample", "Patient_ID": "patient"}).astype({"patient": str})
    cases = clinic[clinic["Tissue_Type"] == "DCIS"]
    normal = clinic[(clinic["Tissue_Type"] == "normal") & ~clinic["patient"].isin(cases["patient"])]
    columns = ["sample", "patient", "Tissue_Type", "Status", "image"]
    # 500 µm on 1,024 pixels: the publication's field of view; the files do not state
    sdata = sfm.io.read_cohort(
        pd.concat([cases, normal])[columns],
        channel_names=(folder / "channels.txt").read_text().split(),
        mpp=500 / 1024,
        labels_column=None,
    )
    for model in ("mean-intensity", "classical"):
        # ion counts are sparse: a third of a tile above the threshold would leave epithelium alone
        options = {
            "size": 64,
            "min_tissue": 0.05,
            "panel": {"on_unknown": "keep"},
            "table_name": model.replace("-", "_"),
        }
        sfm.tl.embed_tiles(sdata, model, **options)
    tiles = sdata["mean_intensity"]
    tiles.obsm["X_classical"] = sdata["classical"].obsm["X_classical"]
    if not tiles.obs_names.equals(sdata["classical"].obs_names):
        raise ValueError("tiles of the two models are not the same")
    numbers = tiles.obs["sample"].astype(str).str.extract(r"Point(\d+)_")[0].astype(int).to_numpy()
    tiles.obs["late"] = numbers >= LATE
    means = patient_means(tiles, ["X_mean_intensity", "X_classical"])
    duct = tiles[(tiles.obs["Tissue_Type"] == "DCIS").to_numpy()].copy()
    print(f"\n### Breast DCIS, MIBI: {cases['patient'].nunique()} patients, {duct.n_obs:,} tiles of 64 pixels")
    late = pd.crosstab(cases["PointNumber"] >= LATE, cases["Status"])
    print(
        f"\nOf {late.loc[True].sum()} fields numbered {LATE} and above {late.loc[True, 'progressor']} are of "
        f"progressors, of {late.loc[False].sum()} others {late.loc[False, 'progressor']}."
    )
    progression(means[means.obs_names.isin(cases["patient"])].copy(), cases, folder, args)
    names = {"X_mean_intensity": "normal breast or DCIS: tiles, mean intensity"}
    names["X_classical"] = "normal breast or DCIS: tiles, classical"
    early = means[~means.obs["late"].to_numpy(bool)].copy()
    score_head()
    classified(early, "Tissue_Type", names, args, n_components=16, positive="normal")
    head("kinds of tissue compared between progressors and others", "smallest p", "smallest q of 8")
    for key, name in (("X_mean_intensity", "tiles, mean intensity"), ("X_classical", "tiles, classical")):
        sfm.tl.tissue_clusters(duct, 8, use_rep=key, library_key="sample")
        found = sfm.tl.composition(duct, "tissue_cluster", library_key="sample", patient_key="patient")
        table = sfm.tl.compare_composition(found, "Status", copy=True)
        row(name, f"{table['p_value'].min():.3f}", f"{table['q_value'].min():.2f}")


def patient_means(cells: AnnData, keys: list[str]) -> AnnData:
    """One row per patient: the mean of each representation, which needs no components of single rows."""
    names = cells.obs["patient"].astype(str).to_numpy()
    obs = cells.obs.drop_duplicates("patient")
    means = AnnData(obs=obs.set_index(obs["patient"].astype(str).to_numpy()))
    for key in keys:
        means.obsm[key] = (
            pd.DataFrame(np.asarray(cells.obsm[key])).groupby(names).mean().loc[means.obs_names].to_numpy()
        )
    return means


def progression(tiles: AnnData, cases: pd.DataFrame, folder: Path, args) -> None:
    """Progressors or not: from tiles, with and without the late fields, from cell types and from published features."""
    features = pd.read_csv(folder / "clinical_and_features_mmc1.csv").set_index("fov").loc[cases["sample"]]
    patients = AnnData(obs=cases[["patient", "sample", "Status"]].set_index("sample", drop=False))
    columns = features.loc[:, "epi_area":"Neighborhood_frequency_clust10"]
    columns = columns.loc[:, columns.notna().all() & (columns.nunique() > 1)]
    patients.obsm["X_published"] = columns.to_numpy(float)
    late = (cases["PointNumber"] >= LATE).to_numpy()
    patients.obsm["X_late"] = late[:, None].astype(float)
    cells = pd.read_parquet(folder / "cells_fusesom_risom_dat_inferred_fov.parquet").dropna(subset="fov_inferred")
    obs = pd.DataFrame({"sample": cells["fov_inferred"].astype(str), "type": cells["CellType"].astype(str)})
    obs = obs[obs["sample"].isin(cases["sample"])]
    for name in ("patient", "Status"):
        obs[name] = obs["sample"].map(cases.set_index("sample")[name])
    obs.index = obs.index.astype(str)
    types = sfm.tl.composition(AnnData(obs=obs), "type", library_key="sample", patient_key="patient")
    types.obsm["X_type"] = types.layers["clr"]
    of_late = types.obs_names.isin(cases.loc[late, "patient"])

    common = {"label_key": "Status", "args": args, "positive": "progressor"}
    names = {"X_mean_intensity": "tiles, mean intensity", "X_classical": "tiles, classical"}
    score_head()
    classified(patients, names={"X_late": f"number of the field, {LATE} or above"}, n_components=None, **common)
    sources = (
        (tiles, tiles.obs["late"].to_numpy(bool), names),
        (types, of_late, {"X_type": "published cell types"}),
        (patients, late, {"X_published": f"{columns.shape[1]} published features of cells"}),
    )
    for part, rows, titles in sources:
        classified(part, names=titles, n_components=16, **common)
        without = {key: f"{title}; without late fields" for key, title in titles.items()}
        classified(part[~rows].copy(), names=without, n_components=16, **common)
    head("published feature", "median in progressors", "in others", "AUROC", "p", "AUROC without late fields", "p")
    status = cases["Status"].to_numpy()
    for name in MYOEPITHELIUM:
        values = features[name].to_numpy(float)
        cells_of_row = []
        for keep in (np.full(len(late), True), ~late):
            one, two = (values[(status == which) & keep] for which in ("progressor", "nonprogressor"))
            test = mannwhitneyu(one, two)
            cells_of_row += [f"{test.statistic / len(one) / len(two):.2f}", p_text(test.pvalue)]
        medians = (f"{np.median(values[status == which]):.3g}" for which in ("progressor", "nonprogressor"))
        row(name, *medians, *cells_of_row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["crc", "nsclc", "melanoma", "dcis"])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    for part in args.parts:
        globals()[f"part_{part}"](args)


if __name__ == "__main__":
    main()
