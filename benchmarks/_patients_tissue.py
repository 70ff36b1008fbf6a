"""Melanoma and breast DCIS: two of the parts of `patients.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from _harness import head, p_text, row
from _patients import claim, classified, compared, score_head, side_by_side
from anndata import AnnData
from scipy.spatial import cKDTree
from scipy.stats import mannwhitneyu

import spatialfm as sfm

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
    many, near = {}, {}
    head("antigen-experienced CD8 T cells", "responders", "others", "AUROC", "p (Mann-Whitney)")
    for source, key in (("calls", "type"), ("cuts", "cut_type")):
        name = "published calls" if source == "calls" else "one cut a marker"
        share = 100 * cells.obs.groupby("patient", observed=True)[f"proliferating_{source}"].mean()
        many[source] = finding(f"proliferating, % of all cells; {name}", share, response)
        near[source] = finding(f"median distance to melanoma cells (µm); {name}", distances(cells, key), response)
    claims_melanoma(many, near)


def claims_melanoma(many: dict[str, tuple[float, float]], near: dict[str, tuple[float, float]]) -> None:
    """AUROC of responders and p of both findings, by the table's calls and by cuts of our own."""
    yes = {source: auroc > 0.5 and p <= 0.05 for source, (auroc, p) in many.items()}
    told = {
        source: f"{'yes' if yes[source] else 'no'} (AUROC {auroc:.2f}, p = {p:.3f})"
        for source, (auroc, p) in many.items()
    }
    claim(
        "melanoma",
        "responders have more proliferating antigen-experienced CD8 T cells",
        f"by the table's calls {told['calls']}, by one cut a marker {told['cuts']}",
        "yes" if all(yes.values()) else "with cuts of our own" if yes["cuts"] else "no",
    )
    closer = [auroc < 0.5 and p <= 0.05 for auroc, p in near.values()]
    claim(
        "melanoma",
        "in responders such cells lie closer to melanoma cells",
        f"{'a' if all(closer) else 'no'} difference (p = {near['calls'][1]:.2f} and {near['cuts'][1]:.2f})",
        "yes" if all(closer) else "no",
    )


def finding(what: str, values: pd.Series, response: pd.Series) -> tuple[float, float]:
    groups = response.loc[values.index]
    one, two = values[groups == "Responder"].dropna(), values[groups != "Responder"].dropna()
    test = mannwhitneyu(one, two)
    medians = (f"{part.median():.2f} (n = {len(part)})" for part in (one, two))
    auroc = test.statistic / len(one) / len(two)
    row(what, *medians, f"{auroc:.2f}", p_text(test.pvalue))
    return auroc, test.pvalue


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
            auroc = test.statistic / len(one) / len(two)
            cells_of_row += [f"{auroc:.2f}", p_text(test.pvalue)]
            if name == "Myoep_cluster_fracECAD" and keep.all():
                claim(
                    "breast",
                    "the layer of myoepithelium is *less* broken in patients that progress",
                    f"E-cadherin in it AUROC {auroc:.2f} (p = {p_text(test.pvalue)})",
                    "yes" if auroc > 0.5 and test.pvalue < 0.05 else "no",
                )
        medians = (f"{np.median(values[status == which]):.3g}" for which in ("progressor", "nonprogressor"))
        row(name, *medians, *cells_of_row)
