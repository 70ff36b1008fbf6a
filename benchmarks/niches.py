"""Niches of the colorectal CODEX cohort (Schürch et al., Cell 2020) against its published neighborhoods.

    python benchmarks/niches.py --data <folder with the tables>

Cell types are the published ones, neighborhoods are made from them by `sfm.tl.neighborhood_composition` (10 nearest
cells and the cell itself) and `sfm.tl.niches` (10), over all 140 images. Published neighborhoods exist for one core of
that table; agreement is the adjusted Rand index on its cells. Then the share of each niche is compared between the two
groups of patients (Mann-Whitney over patients, Benjamini-Hochberg).
"""

from __future__ import annotations

from pathlib import Path

import _harness
import numpy as np
import pandas as pd
from _harness import head, row
from anndata import AnnData
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import spatialfm as sfm

CORE = "reg009_A"


def read(folder: Path) -> tuple[AnnData, pd.DataFrame]:
    table = pd.read_parquet(folder / "cells.parquet")
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical(table["imageID"]),
            "patient": pd.Categorical(table["ID"].astype(int).astype(str)),
            "group": pd.Categorical(table["Group"].astype(int).astype(str)),
            "type": pd.Categorical(table["cellType"]),
        }
    )
    obs.index = obs.index.astype(str)
    core = pd.read_csv(folder / f"{CORE}_58markers_CELESTA.csv")
    return AnnData(obs=obs, obsm={"spatial": table[["x", "y"]].to_numpy(float)}), core


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    _harness.quiet()
    cells, core = read(arguments.data / "crc_codex_table")
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    mine = np.flatnonzero(cells.obs["sample"] == CORE)
    published = published_neighborhoods(cells.obsm["spatial"][mine], core)
    found = published.notna().to_numpy()
    print(f"{cells.n_obs:,} cells; {found.sum():,} of {len(mine):,} cells of {CORE} have a published neighborhood")
    head("seed", "adjusted Rand index with the published neighborhoods", "normalised mutual information")
    for seed in range(3):
        sfm.tl.niches(cells, 10, random_state=seed)
        niches = cells.obs["niche"].to_numpy()[mine][found]
        scores = [score(published[found], niches) for score in (adjusted_rand_score, normalized_mutual_info_score)]
        row(seed, f"{scores[0]:.3f}", f"{scores[1]:.3f}")
    shuffled = np.random.default_rng(0).permutation(niches)
    row("shuffled", f"{adjusted_rand_score(published[found], shuffled):.3f}", "")
    patients = sfm.tl.composition(cells, "niche", library_key="sample", patient_key="patient")
    groups = patients.obs["group"].astype(str) if "group" in patients.obs else None
    if groups is None:
        groups = cells.obs.drop_duplicates("patient").set_index("patient")["group"].astype(str)
        groups = groups.loc[patients.obs["patient"].astype(str) if "patient" in patients.obs else patients.obs_names]
    one = (groups == groups.unique()[0]).to_numpy()
    p = stats.mannwhitneyu(patients.X[one], patients.X[~one]).pvalue
    q = stats.false_discovery_control(p)
    enriched = cells.uns["niche"]["enrichment"]
    print(f"\nGroups of {one.sum()} and {(~one).sum()} patients:")
    head("niche", "most enriched types", "p", "q")
    for name, p_value, q_value in zip(patients.var_names, p, q, strict=True):
        top = ", ".join(enriched.loc[name].sort_values(ascending=False).index[:2])
        row(name, top, f"{p_value:.3f}", f"{q_value:.3f}")
    _harness.finish(arguments)


def published_neighborhoods(positions: np.ndarray, core: pd.DataFrame) -> pd.Series:
    """Neighborhood of the cell of the exported core that is at the same place, within a pixel."""
    best = None
    for x, y in (("X_withinTile:X_withinTile", "Y_withinTile:Y_withinTile"), ("X", "Y"), ("X.1", "Y.1")):
        distance, nearest = cKDTree(core[[x, y]].to_numpy(float)).query(positions)
        if best is None or (distance <= 1).sum() > (best[0] <= 1).sum():
            best = distance, nearest
    names = core["neighborhood name"].to_numpy(object)[best[1]]
    return pd.Series(np.where(best[0] <= 1, names, None))


if __name__ == "__main__":
    main()
