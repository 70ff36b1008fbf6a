"""Planted artifacts and swapped channels: found by `sfm.tl.surprise`, and by the quality of channels.

Run: python benchmarks/surprise.py [--cohorts 3] [--write docs/imputation.md]
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import _harness
import numpy as np
from _harness import head, row

import spatialfm as sfm
from spatialfm.pp.arrays import labels_array
from spatialfm.stats.auroc import auroc

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData

METRICS = ["snr", "dynamic_range", "saturated", "sharpness", "nuclear_correlation"]
SWAPPED, SAMPLE = ("CD20", "Cytokeratin"), "P002_1"
KINDS = {"saturation": 3, "fold": 1}
SCORES = {
    "saturation": {"root mean square": "surprise"},
    "fold": {"root mean square": "surprise", "mean with its sign": "surprise_shift"},
}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--cohorts", type=int, default=3)
    arguments = parser.parse_args()
    _harness.quiet()
    found: dict[tuple[str, str, str], list[tuple[float, float, int]]] = defaultdict(list)
    for number in range(arguments.cohorts):
        for key, value in scored(cohort(5 + number)):
            found[key].append(value)
    head("planted", "n", "by", "method", "AUROC", "lowest and highest", "quality of channels")
    for (planted, by, method), values in found.items():
        ours, channels, n = np.array(values).T
        spread = f"{ours.min():.2f} to {ours.max():.2f}"
        row(planted, int(n.sum()), by, method, f"{ours.mean():.2f}", spread, f"{channels.mean():.2f}")
    _harness.finish(arguments)


def cohort(seed: int) -> SpatialData:
    """Ten samples with folds and clumps of stain; two channels of one of them are swapped."""
    sdata = sfm.datasets.simulate_cohort(
        10, n_samples=1, image_size=160, artifacts=["fold", "saturation"], artifact_rate=0.7, random_state=seed
    )
    image = sdata[f"image_{SAMPLE}"]
    names = image.coords["c"].values.tolist()
    one, other = (names.index(name) for name in SWAPPED)
    order = np.arange(len(names))
    order[[one, other]] = other, one
    image.data = image.data[order]
    sfm.pp.cell_table(sdata)
    return sdata


def scored(sdata: SpatialData):
    """AUROC of surprise and of the quality of channels, and the number of positives, of everything planted."""
    table, codes, channels = sdata["table"], planted(sdata), quality(sdata)
    of_sample = table.obs["sample"].map(channels.groupby("sample").max()).to_numpy(dtype=float)
    for method in ("linear", "knn"):
        sfm.tl.surprise(sdata, method=method)
        for kind, code in KINDS.items():
            rows = np.isin(codes, [0, code]) & (table.obs["sample"] != SAMPLE).to_numpy()
            truth = codes[rows] == code
            for by, column in SCORES[kind].items():
                score = table.obs[column].to_numpy()[rows]
                key = (f"{kind}, cells", by, method)
                yield key, (auroc(truth, score), auroc(truth, of_sample[rows]), int(truth.sum()))
        medians = table.uns["surprise"]["samples"].abs().stack()
        truth = np.array([sample == SAMPLE and marker in SWAPPED for sample, marker in medians.index])
        key = ("swapped channels, of all channels of all samples", "median of the sample", method)
        by_channel = channels.reindex(medians.index).to_numpy()
        yield key, (auroc(truth, medians.to_numpy()), auroc(truth, by_channel), int(truth.sum()))


def planted(sdata: SpatialData) -> np.ndarray:
    """Code of the artifact below more than half of each cell."""
    table = sdata["table"]
    codes = np.zeros(table.n_obs, int)
    for sample in table.obs["sample"].unique():
        labels, mask = (np.asarray(labels_array(sdata, f"{name}_{sample}").data) for name in ("cells", "artifacts"))
        rows = np.flatnonzero(table.obs["sample"] == sample)
        of = table.obs["cell_id"].to_numpy()[rows]
        for code in KINDS.values():
            share = np.bincount(labels.ravel(), mask.ravel() == code) / np.maximum(np.bincount(labels.ravel()), 1)
            codes[rows[share[of] > 0.5]] = code
    return codes


def quality(sdata: SpatialData) -> pd.Series:
    """How far a channel of a sample is from that channel of other samples, in the worst of five measures."""
    measured = sfm.pp.channel_quality(sdata)[METRICS].astype(float)
    apart = (measured - measured.groupby("channel").transform("median")).abs()
    return (apart / (1.4826 * apart.groupby("channel").transform("median") + 1e-9)).max(axis=1)


if __name__ == "__main__":
    main()
