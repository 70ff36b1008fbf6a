"""Neighbours inside and outside, between groups of patients, and structures in groups; enrichment in signatures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

TYPES = np.array(["tumor", "T", "B", "NK", "rare"])
SHARES = np.array([0.5, 0.25, 0.18, 0.05, 0.02])


def tissue(seed: int, sizes: list[int], *, pull: float = 0.0, spread: float = 20.0) -> AnnData:
    """Cells in a square, types by chance with each patient's own shares; ``niche`` is a blob that knows no types.

    Inside of the niche B cells are more frequent by `pull` (log-odds). Types and places have nothing else in common,
    but patients differ in types, in the size of the niche, and in number of cells.
    """
    rng, parts, places = np.random.default_rng(seed), [], []
    for i, n in enumerate(sizes):
        xy = rng.uniform(0, np.sqrt(n) * 10, (n, 2))
        center, radius = rng.uniform(xy.min(0), xy.max(0)), rng.uniform(0.15, 0.4) * np.sqrt(n) * 10
        inside = ((xy - center) ** 2).sum(axis=1) < radius**2
        shares = rng.dirichlet(spread * SHARES)
        odds = np.tile(shares, (n, 1))
        odds[inside, 2] *= np.exp(pull)
        types = (rng.random((n, 1)) > np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
        name = f"P{i:02d}"
        parts.append(
            pd.DataFrame({"type": TYPES[np.minimum(types, 4)], "niche": inside, "patient": name, "sample": name})
        )
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})


def contrast(seed: int, sizes: list[int], pull: float = 0.0, only: str | None = None) -> np.ndarray:
    table = sfm.tl.neighborhood_contrast(
        tissue(seed, sizes, pull=pull), "type", cell_type="T", within="niche", n_neighbors=6, copy=True
    )
    return table["p_patients"].to_numpy() if only is None else table.loc[[only], "p_patients"].to_numpy()


def enrichment(seed: int, sizes: list[int], share: float, odds: float = 1.0) -> np.ndarray:
    """A signature of a share of the cells at random; rare cells are in it `odds` times as often."""
    cells = tissue(seed, sizes)
    rng = np.random.default_rng((seed, 1))
    chance = share * np.where(cells.obs["type"] == "rare", odds, 1.0)
    cells.obsm["signatures"] = pd.DataFrame({"S": rng.random(cells.n_obs) < chance}, index=cells.obs_names)
    del cells.obsm["spatial"]
    table = sfm.tl.score_signatures(cells, favorable=["S"], cluster_key="type").uns["enrichment"].set_index("type")
    return table["p_value"].to_numpy() if odds == 1 else table.loc[["rare"], "p_value"].to_numpy()


def structures(seed: int, n: tuple[int, int], p: tuple[float, float], what: str) -> object:
    """Patients of high and low risk, of whom shares `p` have a structure."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "risk": np.repeat(["high", "low"], n),
            "tls": np.concatenate([rng.random(k) < q for k, q in zip(n, p, strict=True)]),
        }
    )
    if obs["tls"].nunique() < 2:
        return [np.nan, np.nan, np.nan] if what == "interval" else [np.nan]
    obs.index = obs.index.astype(str)
    row = sfm.tl.risk_ratio(AnnData(obs=obs), "risk", "tls", group="high", copy=True).loc["tls"]
    return [row["ci_low"], row["ci_high"], p[0] / p[1]] if what == "interval" else [row["p_value"]]


def nests(
    seed: int, area: tuple[float, float], within: str | None, pull: float = 0.0, interval: bool = False
) -> np.ndarray:
    """16 patients; round nests cover a share of the tissue by group, rules of neighbourhood are the same.

    With `pull`, T cells of the second group are in clumps wherever they are. Intervals are those of differences, 0.
    """
    rng, parts, places = np.random.default_rng(seed), [], []
    for i in range(16):
        n = int(rng.choice([400, 800, 1500]))
        side, k = np.sqrt(n) * 10, rng.poisson(4) + 2
        xy = rng.uniform(0, side, (n, 2))
        radius = np.sqrt(area[i % 2] * side**2 / k / np.pi) * rng.uniform(0.7, 1.3, k)
        nest = (((xy[:, None] - rng.uniform(0, side, (k, 2))) ** 2).sum(axis=2) < radius**2).any(axis=1)
        odds = np.where(nest[:, None], [0.75, 0.1, 0.1, 0.05], [0.2, 0.4, 0.3, 0.1])
        clump = np.sin(xy[:, 0] / 8) * np.sin(xy[:, 1] / 8) > 0
        odds[:, 1] *= np.exp(pull * (i % 2) * np.where(clump, 1, -1))
        types = (rng.random((n, 1)) > np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)
        parts.append(
            pd.DataFrame({"type": TYPES[types], "niche": np.where(nest, "nest", "stroma"), "patient": f"P{i:02d}"})
        )
        parts[-1]["group"] = "ab"[i % 2]
        places.append(xy)
    obs = pd.concat(parts, ignore_index=True)
    obs["sample"], obs.index = obs["patient"], obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": np.concatenate(places)})
    table = sfm.tl.compare_enrichment(cells, "type", "group", within=within, copy=True)
    if interval:
        return table.assign(truth=0.0)[["low", "high", "truth"]].to_numpy()
    own = table[(table["cell_type"] == "T") & (table["neighbour"] == "T")]
    return (own if pull else table)["p_value"].to_numpy()


UNEVEN = [200, 2000, 150, 900, 300, 1200, 250, 600, 180, 1500, 220, 400]
CASES: list[Case] = [
    Case(
        "tl.neighborhood_contrast",
        "12 patients of 150 to 2,000 cells",
        "p_value",
        lambda s: contrast(s, UNEVEN),
        200,
        cheap=True,
        conservative=True,
    ),
    Case(
        "tl.neighborhood_contrast", "5 patients", "p_value", lambda s: contrast(s, UNEVEN[:5]), 200, conservative=True
    ),
    Case(
        "tl.neighborhood_contrast",
        "12 patients, B cells at odds 1.6 inside",
        "power",
        lambda s: contrast(s, UNEVEN, 0.47, "B"),
        100,
    ),
    Case(
        "tl.compare_enrichment",
        'nests of 15 % against 35 % of the area, within="niche"',
        "p_value",
        lambda s: nests(s, (0.15, 0.35), "niche"),
        60,
        conservative=True,
    ),
    Case(
        "tl.compare_enrichment",
        "nests of 15 % against 35 % of the area, over the whole sample",
        "p_value",
        lambda s: nests(s, (0.15, 0.35), None),
        60,
        note="another question, which is warned of: who shares tissue",
    ),
    Case(
        "tl.compare_enrichment",
        'nests of 15 % against 35 % of the area, within="niche"',
        "interval",
        lambda s: nests(s, (0.15, 0.35), "niche", interval=True),
        200,
    ),
    Case("tl.compare_enrichment", "the same nests", "p_value", lambda s: nests(s, (0.25, 0.25), None), 60),
    Case(
        "tl.compare_enrichment",
        'T cells in clumps, within="niche"',
        "power",
        lambda s: nests(s, (0.15, 0.35), "niche", 1.5),
        60,
    ),
    Case(
        "tl.score_signatures",
        "a random 2 % of the cells, 20 patients",
        "p_value",
        lambda s: enrichment(s, 20 * [500], 0.02),
        400,
        cheap=True,
        conservative=True,
    ),
    Case(
        "tl.score_signatures",
        "a random 10 %, 12 patients of 150 to 2,000 cells",
        "p_value",
        lambda s: enrichment(s, UNEVEN, 0.1),
        300,
        conservative=True,
    ),
    Case(
        "tl.score_signatures",
        "rare cells 4 times as often in a signature of 5 %",
        "power",
        lambda s: enrichment(s, UNEVEN, 0.05, 4.0),
        100,
    ),
    Case(
        "tl.risk_ratio",
        "30 against 40 patients, a structure in one of five",
        "p_value",
        lambda s: structures(s, (30, 40), (0.2, 0.2), "p"),
        400,
        cheap=True,
        conservative=True,
        note="Fisher's exact test",
    ),
    Case(
        "tl.risk_ratio",
        "30 against 40 patients, half against a quarter",
        "interval",
        lambda s: structures(s, (30, 40), (0.5, 0.25), "interval"),
        400,
        cheap=True,
    ),
    Case(
        "tl.risk_ratio",
        "12 against 60 patients, 5 % against 10 %",
        "interval",
        lambda s: structures(s, (12, 60), (0.05, 0.1), "interval"),
        400,
        cheap=True,
        conservative=True,
    ),
    Case(
        "tl.risk_ratio",
        "40 against 40 patients, 50 % against 15 %",
        "power",
        lambda s: structures(s, (40, 40), (0.5, 0.15), "p"),
        200,
    ),
]
