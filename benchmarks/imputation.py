"""Markers that were not stained: a small masked model beside floors, and error bars on patients that nobody has seen.

    python benchmarks/imputation.py model imputed intervals --out <folder> [--minutes 1.5] [--write docs/imputation.md]
    python benchmarks/imputation.py real --data <folder with the sets> --out <folder> [--write docs/imputation.md]

`model`: a small VirTues is trained for `--minutes` on images of simulated patients (`sfm.train.pretrain`, masked; one
that is in the folder is taken), and predicts hidden tokens of other patients in three modes, beside floors that were
fitted to patients other than those scored (`sfm.tl.evaluate_reconstruction`). `imputed`: its imputed markers get
intervals from half of these patients, which are looked up in the other half, for several halves. `intervals`: the same
for the floors on simulated cells. `surprise`: how well faults that were planted are found. `real`: scores and intervals
of the floors on real sets: cells of the melanoma and breast tables, squares of 16 pixels of the 39 channels of the
breast images, and cells of one lymphoid image of 56 channels, whose "patients" are its quadrants.

Coverage is the share of cells of patients not calibrated on whose measured value is within the interval, averaged over
patients, markers and halves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import _harness
import anndata as ad
import numpy as np
import pandas as pd
from _harness import head, row
from _labelled import SETS

import spatialfm as sfm

MARKERS = ["CD3", "CD4", "CD8", "FOXP3", "CD20", "CD68", "Cytokeratin", "aSMA", "Ki67", "PD1"]
SHAPE = {"dim": 64, "depth": 4, "heads": 4, "hidden": 128, "decoder_depth": 1}
WINDOW, SIDE = 32, 192
TO_TRAIN, TO_TEST = 16, 12
BATCH = 16
IMPUTED = ["CD8", "CD20", "Cytokeratin", "Ki67"]
HALVES, COVERAGE = 5, 0.9
CELLS = 300  # of each patient of the real tables
METHODS = {
    "model": "small VirTues",
    "mean": "mean of visible pixels",
    "correlated": "most correlated marker",
    "linear": "ridge regression",
    "knn": "ten nearest cells",
}


# ------------------------------------------------------------------------------------------------ a small masked model


def cohort(n: int, seed: int, difficulty: str):
    """Images of `n` patients with a cell table."""
    sdata = sfm.datasets.simulate_cohort(n, n_samples=1, image_size=SIDE, difficulty=difficulty, random_state=seed)
    sfm.pp.cell_table(sdata)
    return sdata


def trained(args):
    """The small model, of an earlier run where there is one in the folder, and what it is asked with."""
    panel, folder = {"markers": MARKERS}, args.out / f"virtues-{args.difficulty}"
    if not (folder / "model.safetensors").is_file():
        sfm.train.pretrain(
            cohort(TO_TRAIN, 0, args.difficulty),
            "virtues",
            out=folder,
            shape=SHAPE,
            windows={"size": WINDOW + 16, "crop": WINDOW, "stride": WINDOW, "panel": panel},
            options={"lr": 1e-3},
            minutes=args.minutes,
            batch_size=BATCH,
            check_every=500,
            workers=0,
            license="CC0-1.0",
        )
    losses = pd.read_csv(folder / "losses.csv")
    first, last = losses["loss"].iloc[:20].mean(), losses["loss"].iloc[-20:].mean()
    minutes = losses["seconds"].iloc[-1] / 60
    print(f"{len(losses):,} steps of {BATCH} windows in {minutes:.1f} minutes; loss {first:.3f}, at last {last:.3f}")
    return sfm.models.load("virtues", weights=folder), {"panel": panel, "recipe": {"window": WINDOW}}


def model(args) -> None:
    """Scores by mode and marker, on patients that were not trained on."""
    encoder, asked = trained(args)
    scores = sfm.tl.evaluate_reconstruction(cohort(TO_TEST, 100, args.difficulty), encoder, **asked, n_bootstrap=500)
    _harness.part("model")
    scores_table(scores, "r")
    markers_table(scores)


def imputed(args) -> None:
    """Coverage of the intervals of the model's imputed markers, in patients that were not calibrated on."""
    encoder, asked = trained(args)
    sdata = cohort(TO_TEST, 100, args.difficulty)
    sfm.tl.impute_markers(sdata, encoder, markers=IMPUTED, space="intensity", **asked)
    table = sdata["table"]
    _harness.part("imputed")
    head("simulated images", "markers", "coverage of unseen patients (stated 0.90)", "lowest and highest patient")
    halves = list(halves_of(table.obs["patient"]))
    row(METHODS["model"], ", ".join(IMPUTED), *covered([held(table, IMPUTED, new) for new in halves]))


def scores_table(scores: pd.DataFrame, score: str) -> None:
    """Mean over markers: modes and units by methods."""
    of_all = scores[(scores["marker"] == "all") & (scores["score"] == score)]
    head("mode", "of each", *METHODS.values())
    for (mode, unit), part in of_all.groupby(["mode", "unit"], sort=False):
        by = part.set_index("method")
        cells = [
            f"{by.loc[name, 'mean']:.3f} ({_harness.interval(by.loc[name, 'low'], by.loc[name, 'high'])})"
            if name in by.index and np.isfinite(by.loc[name, "mean"])
            else "–"
            for name in METHODS
        ]
        row(mode, unit, *cells)


def markers_table(scores: pd.DataFrame) -> None:
    """Whole markers hidden, of pixels: markers by methods."""
    part = scores[(scores["mode"] == "marker") & (scores["unit"] == "cell") & (scores["score"] == "r")]
    by = part.pivot_table(index="marker", columns="method", values="mean", sort=False)
    head("marker, hidden as a whole (cells)", *METHODS.values())
    for name in [one for one in by.index if one != "all"]:
        row(name, *(f"{by.loc[name].get(key, np.nan):.2f}".replace("nan", "–") for key in METHODS))


# --------------------------------------------------------------------------------------------------------- error bars


def halves_of(patients: pd.Series) -> Iterator[np.ndarray]:
    """Several times, the half of the patients that is not calibrated on; rows."""
    names = np.unique(patients.astype(str))
    for seed in range(HALVES):
        new = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        yield patients.astype(str).isin(new).to_numpy()


def held(table: ad.AnnData, markers: list[str], new: np.ndarray) -> pd.DataFrame:
    """Share of the cells of each new patient that intervals hold, patients by markers; their truth is hidden."""
    truth = table.to_df()[markers]
    hidden = table.copy()
    hidden.X = np.array(hidden.X, dtype=float)
    hidden.X[np.ix_(new, hidden.var_names.get_indexer(markers))] = np.nan
    if "X_imputed" not in hidden.obsm or hidden.uns["spatialfm"]["X_imputed"]["method"] != "model":
        sfm.tl.impute_markers(hidden, markers=markers, method=table.uns["method"], space="intensity")
    sfm.tl.calibrate_imputation(hidden, markers=markers, coverage=COVERAGE, n_bootstrap=0, n_permutations=19)
    low, high = (hidden.obsm[f"X_imputed_{end}"].loc[new, markers] for end in ("lower", "upper"))
    inside = (truth.loc[new] >= low) & (truth.loc[new] <= high)
    return inside.groupby(table.obs.loc[new, "patient"].astype(str), observed=True).mean()


def covered(found: list[pd.DataFrame]) -> tuple[str, str]:
    """Mean over halves, patients and markers; and the single patients furthest off."""
    by_patient = pd.concat([one.mean(axis=1) for one in found])
    return f"{by_patient.mean():.3f}", f"{by_patient.min():.2f} to {by_patient.max():.2f}"


def intervals(args) -> None:
    """Coverage of the floors on simulated cells."""
    cells = sfm.datasets.simulate_cells(40, cells_per_patient=CELLS, n_markers=12, difficulty="real", random_state=0)
    markers = ["CD8", "CD20", "CD68", "Ki67"]
    _harness.part("intervals")
    head("simulated cells", "markers", "coverage of unseen patients (stated 0.90)", "lowest and highest patient")
    for method in ("linear", "knn"):
        cells.uns["method"] = method
        halves = list(halves_of(cells.obs["patient"]))
        row(METHODS[method], ", ".join(markers), *covered([held(cells, markers, new) for new in halves]))


# ------------------------------------------------------------------------------------------------------------ surprise

FAULTS = ("fold", "saturation")
SWAPPED = ("CD8", "CD20")


def surprise(args) -> None:
    """AUROC of planted faults by surprise and by what `sfm.pp.channel_quality` says of the sample of a cell."""
    from sklearn.metrics import roc_auc_score
    from surprise import KINDS, planted

    sdata = sfm.datasets.simulate_cohort(
        16, n_samples=1, image_size=SIDE, artifacts=list(FAULTS), artifact_rate=0.5, difficulty=args.difficulty,
        random_state=7,
    )  # fmt: skip
    sfm.pp.cell_table(sdata)
    cells = sdata["table"]
    samples, fault = cells.obs["sample"].astype(str).to_numpy(), planted(sdata)
    clean = sorted(set(samples) - set(samples[fault > 0]))
    swapped = np.isin(samples, clean[:2])
    places = list(cells.var_names.get_indexer(SWAPPED))
    cells.X[np.ix_(swapped, places)] = cells.X[np.ix_(swapped, places[::-1])]
    reference = sorted(set(cells.obs["patient"][np.isin(samples, clean[2:])].astype(str)))
    quality = sfm.pp.channel_quality(sdata).reset_index()
    table = quality.groupby("sample")[list(quality.select_dtypes("number"))].agg(["min", "max"])
    truths = {name: fault == KINDS[name] for name in FAULTS}
    truths["channels swapped"] = swapped
    _harness.part("surprise")
    head(
        "planted fault",
        "cells with it",
        "surprise, regression",
        "surprise, nearest cells",
        "channel quality, best of its columns",
    )
    scores = {}
    for method in ("linear", "knn"):
        sfm.tl.surprise(cells, method=method, reference=reference)
        scores[method] = np.abs(cells.layers["surprise"])
    for name, truth in truths.items():
        columns = places if name == "channels swapped" else list(range(cells.n_vars))
        kept = truth | ((fault == 0) & ~swapped)
        found = [roc_auc_score(truth[kept], values[kept][:, columns].max(axis=1)) for values in scores.values()]
        of_samples = [table[column].reindex(samples).fillna(0).to_numpy(float)[kept] for column in table.columns]
        best = max(max(one, 1 - one) for one in (roc_auc_score(truth[kept], values) for values in of_samples))
        row(name, int(truth.sum()), *(f"{one:.2f}" for one in found), f"{best:.2f}")


# ---------------------------------------------------------------------------------------------------------- real sets


def drawn(cells: ad.AnnData, key: str) -> ad.AnnData:
    """`CELLS` cells of each patient at most, with the patients in ``obs["patient"]``."""
    rng, patients = np.random.default_rng(0), cells.obs[key].astype(str).to_numpy()
    rows = [rng.permutation(np.flatnonzero(patients == name))[:CELLS] for name in np.unique(patients)]
    part = cells[np.sort(np.concatenate(rows))]
    return ad.AnnData(
        np.asarray(part.X, np.float32),
        obs=pd.DataFrame({"patient": part.obs[key].astype(str).to_numpy()}, index=part.obs_names.astype(str)),
        var=pd.DataFrame(index=part.var_names.astype(str)),
    )


def lymphoid(data: Path) -> ad.AnnData:
    """Cells of the image of 56 channels, by quadrant."""
    folder = data / "bnhl_codex"
    image, mask = (next((folder / kind).glob(f"*{name}*.tif")) for kind, name in (("images", "56"), ("masks", "501")))
    sdata = sfm.io.read_tiff(image, mask, sample="lymphoid", mpp=0.377)
    sfm.pp.cell_table(sdata)
    cells = sdata["table"]
    high = cells.obsm["spatial"] > np.median(cells.obsm["spatial"], axis=0)
    cells.obs["quadrant"] = [f"quadrant {2 * int(y) + int(x)}" for x, y in high]
    return cells


def squares(data: Path, side: int = 16) -> ad.AnnData:
    """Means of squares of the breast images, 39 channels, by patient."""
    import tifffile

    names = (data / "dcis_mibi" / "channels.txt").read_text().split()
    values, patients = [], []
    for path in sorted((data / "dcis_mibi" / "images").glob("*.tif")):
        image = tifffile.imread(path).astype(np.float32)
        n = image.shape[-1] // side
        part = image[:, : n * side, : n * side].reshape(len(image), n, side, n, side).mean(axis=(2, 4))
        chosen = np.random.default_rng(0).permutation(n * n)[:CELLS]
        values.append(part.reshape(len(image), -1).T[chosen])
        patients += [path.name.split("_")[1]] * len(chosen)
    cells = ad.AnnData(np.concatenate(values), obs=pd.DataFrame({"patient": patients}))
    cells.obs_names, cells.var_names = [f"square {place}" for place in range(cells.n_obs)], names
    return cells


def real_sets(data: Path) -> Iterator[tuple[str, ad.AnnData]]:
    melanoma, dcis = SETS["melanoma"](data), SETS["dcis_table"](data)
    yield melanoma.name, drawn(melanoma.cells, "patient")
    yield dcis.name, drawn(dcis.cells, "patient")
    yield "breast DCIS, MIBI (squares of 16 pixels, 39 channels)", drawn(squares(data), "patient")
    yield "lymphoid tissue, CODEX (1 image, 56 channels)", drawn(lymphoid(data), "quadrant")


def real(args) -> None:
    """Scores of the floors with a whole marker hidden, and coverage where there are ten patients or more."""
    _harness.part("real")
    floors = [name for name in METHODS if name != "model"]
    head("set", "patients", "markers", *(f"{METHODS[name]}, r" for name in floors if name != "mean"),
         "best predicted by regression", "worst", "coverage, regression", "coverage, nearest cells")  # fmt: skip
    for title, cells in real_sets(args.data):
        scores = sfm.tl.evaluate_reconstruction(cells, n_cells=CELLS, n_bootstrap=0)
        scores = scores[scores["score"] == "r"]
        mean = scores[scores["marker"] == "all"].set_index("method")["mean"]
        one = scores[(scores["method"] == "linear") & (scores["marker"] != "all")].set_index("marker")["mean"]
        one = one.dropna().sort_values()
        n = cells.obs["patient"].nunique()
        found = []
        for method in ("linear", "knn"):
            cells.uns["method"] = method
            markers = list(one.index[np.linspace(0, len(one) - 1, 4).round().astype(int)])
            halves = list(halves_of(cells.obs["patient"]))[:2] if n >= 10 else []
            found.append(" in ".join(covered([held(cells, markers, new) for new in halves])[:1]) if halves else "–")
        row(title, n, cells.n_vars, *(f"{mean[name]:.2f}" for name in floors if name != "mean"),
            f"{one.index[-1]} {one.iloc[-1]:.2f}", f"{one.index[0]} {one.iloc[0]:.2f}", *found)  # fmt: skip


PARTS = {"model": model, "imputed": imputed, "intervals": intervals, "surprise": surprise, "real": real}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--data", type=Path, help="folder with the sets")
    parser.add_argument("--minutes", type=float, default=1.5, help="of training")
    parser.add_argument("--difficulty", choices=["real", "easy"], default="real", help="of the simulated images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    args = parser.parse_args()
    _harness.quiet()
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        PARTS[part](args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
