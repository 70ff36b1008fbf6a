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

from pathlib import Path

import _harness
import numpy as np
import pandas as pd
from _harness import head, p_text, row
from _patients import SHUFFLES, between, claim, claims, classified, compared, score_head, side_by_side
from _patients_tissue import part_dcis, part_melanoma
from anndata import AnnData
from niches import read as read_crc

import spatialfm as sfm

# balanced accuracy over 100 draws of 5 support cases a class: KRONOS, arXiv 2506.03373, Table S19
PUBLISHED_FEW_SHOT = {4: (0.7389, 0.7103, 0.6640, 0.6532), 8: (0.7584, 0.6952, 0.6665, 0.6564)}
PUBLISHED_FEW_SHOT[16] = (0.7188, 0.7059, 0.6374, 0.6816)


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
        "five support patients per class: shares of", "K", "balanced accuracy", "AUROC", "p",
        *(f"published: {name}" for name in ("KRONOS", "CA-MAE", "UNI", "DINO-v2")),
    )  # fmt: skip
    of_all_types = []
    for rep, k in found["summary"][["representation", "n_clusters"]].drop_duplicates().itertuples(index=False):
        if rep != "b_cells":
            of_all_types.append(scores.loc[(rep, k, "balanced_accuracy"), "mean"])
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
    claims_crc(compared(patients, "group", 3, "share of type"), of_all_types)
    pairs = sfm.tl.compare_enrichment(cells, "type", "group", n_neighbors=10, copy=True)
    best = pairs.sort_values("p_value").iloc[0]
    print(
        f"\nPairs of neighbours: {int(pairs['significant'].sum())} of {pairs['p_value'].notna().sum()} differ after "
        f"correction; smallest q {best['q_value']:.2f} ({best['cell_type']}, {best['neighbour']})"
    )


def claims_crc(types: pd.DataFrame, accuracies: list[float]) -> None:
    b = types.loc["b_cells"]
    others = int((types["q_value"] < 0.05).sum()) - int(b["q_value"] < 0.05)
    passing = f"{others} more" if others else "nothing else"
    claim(
        "colorectal",
        "one group of 17 has lymphoid follicles, the other of 18 none",
        f"B cells {100 * b['median_1']:.1f} % and {100 * b['median_2']:.1f} % of cells, q = {b['q_value']:.3f}; "
        f"{passing} among {len(types)} types passes",
        "yes" if b["q_value"] < 0.05 and b["median_1"] > b["median_2"] else "no",
    )
    published = [scores[0] for scores in PUBLISHED_FEW_SHOT.values()]
    others = [score for scores in PUBLISHED_FEW_SHOT.values() for score in scores[1:]]
    claim(
        "colorectal",
        f"KRONOS tells the groups at a balanced accuracy of {between(published)}, "
        f"other image models at {between(others)}",
        f"types and neighborhoods {between(accuracies)}",
        "no: lower" if max(accuracies) < min(published) else "yes",
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
        if name == "CD8 T":
            of_t_cells = cut
    claim_nsclc(of_t_cells, models(patients, args))
    strata(patients, states, args)


def claim_nsclc(cut: dict, concordances: list[float]) -> None:
    longer = cut["higher_risk"] == "low"
    shown = longer and cut["p_value"] < 0.05
    claim(
        "lung",
        "more immune cells, and longer survival, where tumor cells carry MHC II (log-rank p = 0.046)",
        f"more CD8 T cells, {'longer' if longer else 'shorter'} survival, {'' if shown else 'but '}"
        f"p = {cut['p_value']:.2f} after correction; nested concordance of cells {between(concordances)}",
        "yes" if shown else "neither for nor against" if longer else "no",
    )


def models(patients: AnnData, args) -> list[float]:
    """Concordance of nested cross-validation, from clinic, cells and both; those of cells alone are returned."""
    clinic = ["age", "gender", "stage"]
    sources = {
        "age, sex, stage": (None, clinic),
        "types": ("X_type", None),
        "niches": ("X_niche", None),
        "types, age, sex, stage": ("X_type", clinic),
    }
    of_cells = []
    head("model", "from", "Harrell's concordance, nested", "p", "on its own patients: optimistic")
    for model, shuffles in (("coxnet", SHUFFLES), ("survival_forest", 0)):
        for name, (rep, covariates) in sources.items():
            options = {"use_rep": rep, "covariates": covariates, "n_permutations": 0 if args.quick else shuffles}
            found = getattr(sfm.tl, model)(patients, copy=True, **options, **KEYS)
            score = found["scores"].loc["harrell"]
            if covariates is None:
                of_cells.append(score["value"])
            row(
                model,
                name,
                f"{score['value']:.2f} ({score['ci_low']:.2f} to {score['ci_high']:.2f})",
                f"{found['p_value']:.2f}" if "p_value" in found else "",
                f"{found['optimistic_harrell']:.2f}",
            )
    return of_cells


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
            whole = table.copy()
            sfm.tl.stratify(whole, **options, n_permutations=19 if args.quick else 199, **KEYS)
            of_procedure = whole.uns["risk_group"]["test"]["p_value"]
            sizes = whole.obs["risk_group"].value_counts().reindex(["low", "high"])
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
    """Log-rank p of one stratification, of a copy: a table remembers all groups that an outcome made in it."""
    patients = patients.copy()
    sfm.tl.stratify(patients, random_state=seed, **options, **KEYS)
    if patients.obs["risk_group"].nunique() < 2:
        return 1.0
    return float(sfm.tl.logrank(patients, "risk_group", on_selected="mark", copy=True, **KEYS)["p_value"])


PARTS = {"crc": part_crc, "nsclc": part_nsclc, "melanoma": part_melanoma, "dcis": part_dcis}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    _harness.quiet()
    for part in args.parts:
        _harness.part(part)
        PARTS[part](args)
    claims(args.write, ["colorectal", "lung", "melanoma", "breast"])
    _harness.finish(args)


if __name__ == "__main__":
    main()
