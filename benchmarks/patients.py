"""From cells to patients on four public cohorts: how far published cell types (or pixels) say who a patient is.

    python benchmarks/patients.py --data <folder with the tables> [--parts crc nsclc melanoma dcis] [--quick]

crc       35 patients in two groups (Schürch et al., Cell 2020): types and niches, few-shot and cross-validated
nsclc     153 patients with survival (Johnson et al., J Thorac Oncol 2021): phenotypes by compartment
melanoma  30 patients with response (Moldoveanu et al., Sci Immunol 2022): phenotypes from the published calls
dcis      58 patients, progression or not (Risom et al., Cell 2022): tiles of the images, without segmentation

Every score is of patients that took no part in anything that was chosen; p-values are from shuffled outcomes.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from niches import read as read_crc

import spatialfm as sfm


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(*names: str) -> None:
    row(*names)
    row(*["---"] * len(names))


def classified(samples: AnnData, label_key: str, names: dict[str, str], args, **options) -> None:
    """Logistic regression on each representation; AUROC over draws, its honest interval and p-value."""
    sfm.tl.classify_samples(
        samples,
        label_key=label_key,
        use_rep=list(names),
        n_draws=20 if args.quick else 100,
        n_permutations=19 if args.quick else 199,
        **options,
    )
    summary = samples.uns["classify_samples"]["summary"].query("score == 'auroc'").set_index("use_rep")
    head("from", "AUROC", "95 % interval of the draws", "with shared patients accounted for", "p (shuffles)")
    for key, name in names.items():
        found = summary.loc[key]
        row(
            name,
            f"{found['mean']:.2f}",
            f"{found['low']:.2f} to {found['high']:.2f}",
            f"{max(found['low_corrected'], 0):.2f} to {min(found['high_corrected'], 1):.2f}",
            f"{found['p_value']:.3f}",
        )


def side_by_side(cells: AnnData, keys: list[str]) -> AnnData:
    """Compositions by several columns, one row a patient: log-ratios in obsm, fractions of the first in X."""
    tables = [sfm.tl.composition(cells, key, library_key="sample", patient_key="patient") for key in keys]
    for key, table in zip(keys, tables, strict=True):
        tables[0].obsm[f"X_{key}"] = table.layers["clr"]
    return tables[0]


def part_crc(args) -> None:
    cells, _ = read_crc(args.data / "crc_codex_table")
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    sfm.tl.niches(cells, 10)
    patients = side_by_side(cells, ["type", "niche"])
    print(f"\n### Colorectal cancer, CODEX: {patients.n_obs} patients, {cells.n_obs:,} cells, two groups\n")
    classified(patients, "group", {"X_type": "cell types", "X_niche": "niches"}, args, n_components=None)
    sfm.tl.few_shot_samples(
        cells, label_key="group", cluster_key=["type", "niche"], n_draws=100, n_permutations=0 if args.quick else 99
    )
    found = cells.uns["few_shot_samples"]["summary"]
    print("\nFive support patients a class, nearest neighbour of distributions, 100 draws (KRONOS's protocol):\n")
    head("from", "balanced accuracy", "AUROC", "95 % interval of the draws")
    for name in ("type", "niche"):
        mine = found[found.astype(str).eq(name).any(axis=1)].set_index("score")
        auroc = mine.loc["auroc"]
        row(
            name,
            f"{mine.loc['balanced_accuracy', 'mean']:.2f}",
            f"{auroc['mean']:.2f}",
            f"{auroc['low']:.2f} to {auroc['high']:.2f}",
        )
    print("\nShares of types, compared between the groups (Mann-Whitney over patients):\n")
    table = sfm.tl.compare_composition(patients, "group", copy=True).sort_values("p_value")
    print(table.head(4).round(3).to_markdown() if hasattr(table, "to_markdown") else table.head(4))


def part_nsclc(args) -> None:
    folder = args.data / "nsclc_table"
    table = pd.read_parquet(folder / "cells.parquet")
    kinds = {"ck": "tumor", "cd8": "CD8 T", "cd4": "CD4 T", "cd19": "B", "cd14": "CD14"}
    flags = [table[f"phenotype_{name}"] for name in kinds]
    types = np.select(flags, list(kinds.values()), "other")
    obs = pd.DataFrame(
        {
            "patient": pd.Categorical(table["patient_id"].astype(str)),
            "sample": pd.Categorical(table["patient_id"].astype(str) + "_" + table["image_id"].astype(str)),
            "type": pd.Categorical(types),
            "place": pd.Categorical(pd.Series(types) + " in " + table["tissue_category"].astype(str).str.lower()),
        }
    )
    obs.index = obs.index.astype(str)
    clinic = pd.read_csv(folder / "patients.csv").set_index("patient_id")
    clinic.index = clinic.index.astype(int).astype(str)
    for name in clinic:
        obs[name] = obs["patient"].astype(str).map(clinic[name]).to_numpy()
    cells = AnnData(obs=obs)
    patients = side_by_side(cells, ["type", "place"])
    keys = {"time_key": "survival_days", "event_key": "survival_status"}
    print(
        f"\n### Lung cancer, Vectra: {patients.n_obs} patients, {int(patients.obs['survival_status'].sum())} deaths\n"
    )
    sfm.tl.cox(patients, ["CD8 T", "CD4 T", "B", "CD14", "age", "stage"], standardize=True, **keys)
    found = patients.uns["cox"]["table"][["hazard_ratio", "ci_low", "ci_high", "p_value"]]
    head("a standard deviation more of", "hazard ratio", "95 % interval", "p")
    for name, values in found.iterrows():
        row(name, f"{values.iloc[0]:.2f}", f"{values.iloc[1]:.2f} to {values.iloc[2]:.2f}", f"{values.iloc[3]:.3f}")
    print("\nOut-of-fold concordance (nested cross-validation by patient):\n")
    head("model", "from", "Harrell's concordance", "95 % interval")
    patients.obsm["X_clinical"] = patients.obs[["age", "stage"]].to_numpy(float)
    patients.obsm["X_both"] = np.hstack([patients.obsm["X_clinical"], patients.obsm["X_place"]])
    for model in ("coxnet", "survival_forest"):
        for rep, name in (
            ("X_clinical", "age, stage"),
            ("X_type", "types"),
            ("X_place", "types by compartment"),
            ("X_both", "both"),
        ):
            record = getattr(sfm.tl, model)(patients, rep, copy=True, **keys)
            row(model, name, *concordance(record))
    sfm.tl.stratify(patients, 4, merge_into=2, layer="clr", **keys)
    print()
    head("groups merged by survival", "log-rank p")
    row("on all patients, as published: optimistic", f"{p_of(patients, keys):.3g}")
    sfm.tl.stratify(patients, 4, merge_into=2, cross_fit=5, layer="clr", **keys)
    row("cross-fitted", f"{p_of(patients, keys):.3g}")


def p_of(patients: AnnData, keys: dict) -> float:
    return float(sfm.tl.logrank(patients, "risk_group", copy=True, **keys)["p_value"])


def concordance(record: dict) -> tuple[str, str]:
    scores = record["scores"]
    mine = scores.loc[[name for name in scores.index if "harrell" in str(name).lower()][0]]
    return f"{mine.iloc[0]:.2f}", f"{mine['ci_low']:.2f} to {mine['ci_high']:.2f}"


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


def part_melanoma(args) -> None:
    folder = args.data / "melanoma_imc_table"
    table = pd.read_parquet(folder / "cells.parquet")
    calls = {name[:-1]: table[name].to_numpy(bool) for name in table if name.endswith("+")}

    def holds(positive: list[str], negative: list[str]) -> np.ndarray:
        return np.all([calls[m] for m in positive] + [~calls[m] for m in negative], axis=0)

    types = np.select([holds(*rule) for rule in MELANOMA.values()], list(MELANOMA), "other")
    subject = table["sample_id"].str.replace("sample", "subject")
    diagnosis = pd.read_csv(folder / "diagnosis.tsv", sep="\t").set_index("Subject of diagnosis")["Diagnosis"]
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(table["sample_id"]),
            "patient": pd.Categorical(subject),
            "type": pd.Categorical(types),
            "response": pd.Categorical(subject.map(diagnosis)),
        }
    )
    obs.index = obs.index.astype(str)
    markers = [name for name in calls if name != "H3" and name in table]
    values = np.arcsinh(table[markers].to_numpy(np.float32))
    cells = AnnData(
        values, obs=obs, var=pd.DataFrame(index=markers), obsm={"spatial": table[["x", "y"]].to_numpy(float)}
    )
    cells.obsm["X_markers"] = (values - values.mean(axis=0)) / values.std(axis=0)
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    sfm.tl.niches(cells, 10)
    patients = side_by_side(cells, ["type", "niche"])
    counts = patients.obs["response"].value_counts().to_dict()
    print(f"\n### Melanoma, IMC: {patients.n_obs} patients, {counts}\n")
    names = {"X_type": "cell types", "X_niche": "niches"}
    classified(patients, "response", names, args, n_components=None, positive="Responder")
    print("\nShares of types, compared between responders and others (Mann-Whitney over patients):\n")
    found = sfm.tl.compare_composition(patients, "response", copy=True).sort_values("p_value")
    print(found.head(4).round(3).to_string())
    experienced = holds(*MELANOMA["CD8 T, antigen-experienced"]) & calls["MKI67"]
    share = pd.Series(experienced).groupby(subject.to_numpy()).mean()
    one = share[diagnosis[share.index] == "Responder"]
    two = share[diagnosis[share.index] != "Responder"]
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(one, two)
    print(
        f"\nProliferating antigen-experienced CD8 T cells, median share {100 * one.median():.2f} % in responders, "
        f"{100 * two.median():.2f} % in others, p = {test.pvalue:.3f}, AUROC {test.statistic / len(one) / len(two):.2f}"
    )
    sfm.tl.discover_signatures(
        cells,
        use_rep="X_markers",
        outcome="response",
        positive="Responder",
        resolutions=[2.0] if args.quick else [2.0, 3.0, 4.0],
        n_permutations=19 if args.quick else 199,
    )
    print("\nSignatures from marker means:\n")
    print(cells.uns["signatures"]["scores"].round(3).to_string())
    print(cells.uns["signatures"]["signatures"][["n_cells", "score", "ratio", "q_value", "p_max"]].round(3).to_string())
    for name, inside in cells.obsm["signatures"].items():
        top = cells.obs["type"][inside.to_numpy()].value_counts(normalize=True).head(2)
        print(name, ", ".join(f"{kind} {100 * part:.0f} %" for kind, part in top.items()))


def part_dcis(args) -> None:
    folder = args.data / "dcis_mibi"
    clinic = pd.read_csv(folder / "clinical_core.csv")
    clinic = clinic[(clinic["Tissue_Type"] == "DCIS") & clinic["Status"].isin(["progressor", "nonprogressor"])]
    channels = (folder / "channels.txt").read_text().split()
    tables = []
    for case in clinic.itertuples():
        path = folder / "images" / f"{case.fov}.ome.tif"
        # 500 µm on 1,024 pixels: the field of view of the publication's MIBI-TOF
        sdata = sfm.io.read_tiff(path, channel_names=channels, mpp=500 / 1024, sample=str(case.fov))
        for model in ("mean-intensity", "classical"):
            sfm.tl.embed_tiles(
                sdata,
                model,
                size=64,
                stride=64,
                min_tissue=0.3,
                on_unknown="keep",
                key_added=f"X_{model.replace('-', '_')}",
            )
        tiles = sdata["tiles"]
        tiles.obs["patient"], tiles.obs["status"] = str(case.Patient_ID), str(case.Status)
        tables.append(tiles)
    import anndata

    tiles = anndata.concat(tables, index_unique="-", keys=[str(case.fov) for case in clinic.itertuples()])
    print(f"\n### Breast DCIS, MIBI: {clinic['Patient_ID'].nunique()} patients, {tiles.n_obs:,} tiles of 64 pixels")
    print(f"\n{tiles.obs.drop_duplicates('patient')['status'].value_counts().to_dict()}\n")
    names = {"X_mean_intensity": "tiles, mean intensity", "X_classical": "tiles, classical"}
    classified(tiles, "status", names, args, n_components=16, positive="progressor", library_key=None)
    for key, name in names.items():
        sfm.tl.tissue_clusters(tiles, 8, use_rep=key, library_key="sample")
        found = sfm.tl.composition(tiles, "tissue_cluster", library_key="sample", patient_key="patient")
        table = sfm.tl.compare_composition(found, "status", copy=True)
        print(
            f"\n{name}: kinds of tissue compared between progressors and others, smallest q "
            f"{table['q_value'].min():.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["crc", "nsclc", "melanoma", "dcis"])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    for part in args.parts:
        globals()[f"part_{part}"](args)


if __name__ == "__main__":
    main()
