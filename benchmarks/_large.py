"""Cells of large cohorts, and an index of them without the minutes that its graph takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

COMPILES = 60_000  # cells of the size that is not counted: a graph, which `search` asks above 50,000, is compiled


def simulated(n: int, per_sample: int = 5_000):
    """Cells of two samples per patient: types with places in 16 dimensions, of which one half lives together."""
    rng = np.random.default_rng(0)
    per_sample = min(per_sample, n // 48)  # 24 patients at least
    sample = np.minimum(np.arange(n) // per_sample, n // per_sample - 1)
    patient, side = sample // 2, 7 * np.sqrt(per_sample)
    places = rng.uniform(0, side, (n, 2))
    kind = np.where(places[:, 0] < side / 2, rng.integers(0, 8, n), rng.integers(4, 12, n))
    centers = np.random.default_rng(1).normal(size=(12, 16)) * 2
    values = (centers[kind] + rng.normal(size=(n, 16))).astype(np.float32)
    obs = pd.DataFrame(
        {
            "sample": pd.Categorical.from_codes(sample, [f"s{i}" for i in range(sample[-1] + 1)]),
            "patient": pd.Categorical.from_codes(patient, [f"p{i}" for i in range(patient[-1] + 1)]),
            "type": pd.Categorical.from_codes(kind, [f"t{i}" for i in range(12)]),
            "response": pd.Categorical.from_codes(patient % 2, ["no", "yes"]),
        },
        index=pd.RangeIndex(n).astype(str),
    )
    return AnnData(values, obs=obs, obsm={"X_latent": values, "spatial": places})


class Kept:
    """What a graph keeps of its rows, 30 neighbours each, without being built: at random among cells of their type.

    A search of rows of the index reads nothing else of a graph; the neighbours are as far apart in memory as true ones.
    """

    def __init__(self, values: np.ndarray, kind: np.ndarray) -> None:
        rng, places = np.random.default_rng(0), np.empty((len(values), 30), np.int32)
        for one in np.unique(kind):
            rows = np.flatnonzero(kind == one)
            places[rows] = rows[rng.integers(0, len(rows), (len(rows), 30))]
        places[:, 0] = np.arange(len(values))
        far = np.empty(places.shape, np.float32)
        for start in range(0, len(values), COMPILES):
            part = slice(start, start + COMPILES)
            far[part] = np.sqrt(((values[places[part]] - values[part, None]) ** 2).sum(axis=2))
            order = np.argsort(far[part], axis=1)
            far[part], places[part] = (np.take_along_axis(one[part], order, 1) for one in (far, places))
        self.neighbor_graph = places, far


def with_neighbours(cells):
    """An index of cells as `build_index` makes it, but for its graph."""
    index = sfm.tl.build_index(cells, "X_latent", approximate=False)
    return replace(index, graph=Kept(index.values, cells.obs["type"].cat.codes.to_numpy()), method="pynndescent")
