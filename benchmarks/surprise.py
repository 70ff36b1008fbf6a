"""Planted artifacts and swapped channels: found by `sfm.tl.surprise`, and by the quality of channels.

    python benchmarks/surprise.py [--cohorts 10] [--first 6] [--write docs/imputation.md]

Each cohort has twelve samples with folds and clumps of saturated stain, and one in which two channels are swapped in
the image. The reference is all of its patients, of whom most have some artifact, or eight clean patients of another
draw of the simulator. Surprise is what the function writes, without a choice. The quality of channels
(`sfm.pp.channel_quality`) knows samples and no cells: every column of it is a score, as its largest, smallest, mean and
farthest value in a sample, or of a channel as its deviation from that channel in other samples. The column, and its
sign, that is best on all other cohorts is taken: no score has seen the truth of the cohort that it is judged on. What
finds swapped channels was chosen on cohorts 0 to 5, which are therefore not among those that are reported.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import _harness
import anndata as ad
import numpy as np
import pandas as pd
from _harness import head, interval, row
from scipy import stats

import spatialfm as sfm
from spatialfm.pp.arrays import labels_array
from spatialfm.stats.auroc import auroc

if TYPE_CHECKING:
    from spatialdata import SpatialData

PAIRS = [("CD20", "Cytokeratin"), ("CD8", "CD20"), ("CD4", "CD68"), ("FOXP3", "CD8"), ("CD3", "aSMA"), ("Ki67", "PD1")]
KINDS = {"saturation": 3, "fold": 1}
SWAPPED = "swapped channels"
CELLS = {"saturation": ("surprise", "surprise_rms"), "fold": ("surprise", "surprise_shift")}
SIDE = 160


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--cohorts", type=int, default=10)
    parser.add_argument("--first", type=int, default=6, help="number, and seed, of the first one")
    arguments = parser.parse_args()
    _harness.quiet()
    ours: dict[tuple[str, ...], list[float]] = defaultdict(list)
    quality: dict[str, list[dict[str, float]]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for number in range(arguments.first, arguments.first + arguments.cohorts):
        table, codes, swapped, channels, clean = cohort(number)
        for kind, truth, rows in faults(table, codes, swapped):
            counts[kind] += int(truth.sum())
            quality[kind].append(of_samples(channels, table.obs["sample"].astype(str).to_numpy()[rows], truth))
        counts[SWAPPED] += 2
        quality[SWAPPED].append(of_channels(channels, swapped))
        for key, value in scored(table, codes, swapped, clean):
            ours[key].append(value)
    head("planted", "n", "reference", "method", "by", "AUROC (95 % interval over cohorts)",
         "quality of channels", "difference (95 % interval)")  # fmt: skip
    for (kind, reference, method, by), values in ours.items():
        other = chosen_on_others(quality[kind])
        row(kind, counts[kind], reference, method, by, mean_of(np.array(values)), f"{other.mean():.2f}",
            mean_of(np.array(values) - other))  # fmt: skip
    _harness.finish(arguments)


def cohort(number: int) -> tuple[ad.AnnData, np.ndarray, tuple[str, ...], pd.DataFrame, ad.AnnData]:
    """Cells, codes of their artifacts, what is swapped, the quality of channels, and cells of clean patients."""
    told = {"n_samples": 1, "image_size": SIDE, "difficulty": "real"}
    sdata = sfm.datasets.simulate_cohort(
        12, artifacts=["fold", "saturation"], artifact_rate=0.6, random_state=20 + number, **told
    )
    sfm.pp.cell_table(sdata)
    codes = planted(sdata)
    samples = sdata["table"].obs["sample"].astype(str)
    dirty = set(samples[codes > 0])
    sample = min(sorted(set(samples)), key=lambda name: name in dirty)  # a clean one, where there is one
    swapped = (sample, *PAIRS[number % len(PAIRS)])
    image = sdata[f"image_{sample}"]
    names = image.coords["c"].values.tolist()
    order = np.arange(len(names))
    one, other = (names.index(name) for name in swapped[1:])
    order[[one, other]] = other, one
    image.data = image.data[order]
    channels = sfm.pp.channel_quality(sdata).reset_index()
    del sdata.tables["table"]  # of the images before
    sfm.pp.cell_table(sdata)
    clean = sfm.datasets.simulate_cohort(8, artifacts=[], random_state=500 + number, **told)
    sfm.pp.cell_table(clean)
    clean["table"].obs["patient"] = [f"clean {name}" for name in clean["table"].obs["patient"]]
    return sdata["table"], codes, swapped, channels, clean["table"]


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


def faults(table: ad.AnnData, codes: np.ndarray, swapped: tuple[str, ...]):
    """Of each artifact: which of the cells that are clean or have it do, and which cells these are."""
    others = (table.obs["sample"].astype(str) != swapped[0]).to_numpy()
    for kind, code in KINDS.items():
        rows = np.isin(codes, [0, code]) & others
        yield kind, codes[rows] == code, rows


def scored(table: ad.AnnData, codes: np.ndarray, swapped: tuple[str, ...], clean: ad.AnnData):
    """AUROC of surprise, of everything planted, by reference and method."""
    for reference, given in (("all patients", None), ("clean patients", clean)):
        for method in ("linear", "knn"):
            sfm.tl.surprise(table, method=method, reference=given)
            for kind, truth, rows in faults(table, codes, swapped):
                for column in CELLS[kind]:
                    score = table.obs[column].to_numpy()[rows]
                    yield (kind, reference, method, f'obs["{column}"]'), auroc(truth, score)
            for name in ("swapped", "apart"):
                table_of = table.uns["surprise"][name]
                found = (table_of.abs() if name == "apart" else table_of).stack()
                truth = np.array([sample == swapped[0] and marker in swapped[1:] for sample, marker in found.index])
                yield (SWAPPED, reference, method, f'uns["surprise"]["{name}"]'), auroc(truth, found.to_numpy())


def deviations(channels: pd.DataFrame) -> dict[str, pd.Series]:
    """Every column, and its deviation from the same channel of other samples in median absolute deviations."""
    found = {}
    for column in channels.select_dtypes("number"):
        values = channels[column].astype(float)
        apart = values - values.groupby(channels["channel"]).transform("median")
        spread = 1.4826 * apart.abs().groupby(channels["channel"]).transform("median")
        found[column], found[f"{column}, apart"] = values, apart / (spread + 1e-9)
    return found


def of_samples(channels: pd.DataFrame, samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUROC of each column, as a score of the samples of cells."""
    out = {}
    for name, values in deviations(channels).items():
        groups = {"": values, "distance of ": values.abs()}
        for what, one in groups.items():
            for how in ("max", "min", "mean"):
                score = one.groupby(channels["sample"].astype(str)).agg(how).reindex(samples).fillna(0).to_numpy()
                out[f"{what}{name}: {how}"] = auroc(truth, score)
    return out


def of_channels(channels: pd.DataFrame, swapped: tuple[str, ...]) -> dict[str, float]:
    """AUROC of each column, as a score of channels of samples."""
    truth = ((channels["sample"].astype(str) == swapped[0]) & channels["channel"].isin(swapped[1:])).to_numpy()
    out = {}
    for name, values in deviations(channels).items():
        for what, one in (("", values), ("distance of ", values.abs())):
            out[f"{what}{name}"] = auroc(truth, one.fillna(0).to_numpy())
    return out


def chosen_on_others(scores: list[dict[str, float]]) -> np.ndarray:
    """Of each cohort, what the column reaches that is best on all others, whichever way round."""
    table, out = pd.DataFrame(scores), []
    for number in range(len(table)):
        others = table.drop(index=number).mean()
        best = (others - 0.5).abs().idxmax()
        found = table.loc[number, best]
        out.append(found if others[best] >= 0.5 else 1 - found)
    return np.array(out)


def mean_of(values: np.ndarray) -> str:
    """Mean with the 95 % interval (Student's t) over cohorts."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ({interval(values.mean() - half, values.mean() + half)})"


if __name__ == "__main__":
    main()
