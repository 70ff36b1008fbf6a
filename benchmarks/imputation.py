"""Markers that were not stained: a small masked model beside floors, and error bars on patients that nobody has seen.

    python benchmarks/imputation.py model design imputed intervals shifted --out <folder> [--write docs/imputation.md]
    python benchmarks/imputation.py real panels --data <sets> --out <folder> [--write docs/imputation.md]

`model`: a small VirTues is trained for `--steps` on images of simulated patients (`sfm.train.pretrain`, masked; one
that is in the folder is taken), and predicts hidden tokens of other patients in three modes, beside floors that were
fitted to patients other than those scored (`sfm.tl.evaluate_reconstruction`). `imputed`: its imputed markers get
intervals from half of these patients, which are looked up in the other half, for several halves. `intervals`: the
same for the floors on simulated cells. `design`: panels that the model chooses (`sfm.tl.select_panel`). `shifted`:
coverage in patients who were stained otherwise, and whether that is said. `panels`: panels of twelve from the real
sets. `real`: scores and intervals of the floors on real sets: cells of the melanoma and breast tables, squares of 16
pixels of the 39 channels of the breast images, and cells of one lymphoid image of 56 channels, whose "patients" are
its quadrants.

Coverage is the share of cells of patients not calibrated on whose measured value is within the interval, averaged over
patients, markers and halves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import _harness
import anndata as ad
import matplotlib.pyplot as plt
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
# half of the windows lack one whole marker, as it is asked for later; of the others more is seen than as published
LEARNING = {"learning_rate": 1e-3, "mode": {"independent": 0.5, "marker": 0.5}, "ratio": (0.1, 1.0), "error": "hidden"}
IMPUTED = ["CD8", "CD20", "Cytokeratin", "Ki67"]
HALVES, COVERAGE = 5, 0.9
N_PANEL = 12
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
            options=LEARNING,
            steps=args.steps,
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


def design(args) -> None:
    """Panels by the model: what it makes of them, what regression makes of the same, and of those that it chooses."""
    encoder, asked = trained(args)
    sdata = cohort(TO_TEST, 100, args.difficulty)
    told = {"method": "model", "keep": [], "max_tiles": 96, "n_folds": 4, "n_random": 2}
    sfm.tl.select_panel(sdata, 6, encoder, **told, **asked)
    curve, params = (sdata["table"].uns["panel"][name] for name in ("curve", "params"))
    sfm.pl.panel_curve(sdata["table"], save=args.out / "panel-model.png")
    print(f"{params['n_cells']} cells in {params['n_tiles']} tiles of {params['n_patients']} patients")
    _harness.part("design")
    head(
        "size", "chosen by the model, score (95 % interval)", "regression, the same panels",
        "the model less regression", "the model, panels that regression chooses", "random panels",
        "panel of all patients",
    )  # fmt: skip
    for one in curve.itertuples():
        low, high = one.gain_over_linear_low, one.gain_over_linear_high
        row(one.size, f"{one.score:.2f} ({_harness.interval(one.ci_low, one.ci_high)})", f"{one.linear:.2f}",
            f"{one.gain_over_linear:.2f} ({_harness.interval(low, high)})", f"{one.chosen_by_linear:.2f}",
            f"{one.random:.2f}", one.markers)  # fmt: skip


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


def panels(args) -> None:
    """Panels of twelve of the real sets: what they reach in held-out patients, beside random ones and the variance."""
    _harness.part("panels")
    head("set", "patients", "candidates", "explained by 6", "by 12 (95 % interval)", "12 at random (95 % of them)",
         "12 of largest variance", "the twelve")  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(15, 11), layout="constrained")
    for (title, cells), ax in zip(real_sets(args.data), axes.flat, strict=True):
        ranking = sfm.tl.select_panel(cells, N_PANEL)
        curve = cells.uns["panel"]["curve"].set_index("size")
        last = curve.loc[N_PANEL]
        sfm.pl.panel_curve(cells, ax=ax, title=title, show=False)
        row(title, cells.obs["patient"].nunique(), len(ranking), f"{curve.loc[N_PANEL // 2, 'score']:.2f}",
            f"{last['score']:.2f} ({_harness.interval(last['ci_low'], last['ci_high'])})",
            f"{last['random']:.2f} ({_harness.interval(last['random_low'], last['random_high'])})",
            f"{last['variance']:.2f}", last["markers"])  # fmt: skip
    figure.savefig(args.figure or args.out / "panels.png", dpi=90)


# ------------------------------------------------------------------------------------------------- patients who differ

GAINS = (1.0, 1.5, 2.0)


def shifted(args) -> None:
    """Coverage in new patients who were stained brighter, and how often it is said that they differ."""
    _harness.part("shifted")
    head("new patients are stained brighter", "by", "coverage (stated 0.90)", "said to differ, of 10 cohorts")
    seen = ["CD3", "CD4", "CD68"]
    for what, markers in (("markers that are seen", seen), ("the imputed marker alone", ["CD8"])):
        for gain in GAINS[what != "markers that are seen" :]:
            found = [of_brighter(seed, markers, gain) for seed in range(10)]
            held_in, said = np.array(found).T
            row(what if gain > 1 else "not at all", f"{gain:g}", f"{held_in.mean():.3f}", int(said.sum()))


def of_brighter(seed: int, markers: list[str], gain: float) -> tuple[float, bool]:
    """Coverage of CD8 in 10 of 30 patients, of whom some markers are brighter, and whether a warning names them."""
    cells = sfm.datasets.simulate_cells(30, cells_per_patient=150, n_markers=12, random_state=seed)
    patients = np.random.default_rng(seed).permutation(sorted(cells.obs["patient"].unique()))
    new = cells.obs["patient"].isin(patients[20:]).to_numpy()
    cells.X[np.ix_(new, cells.var_names.get_indexer(markers))] *= gain
    truth = cells[new].to_df()["CD8"]
    cells.X[new, cells.var_names.get_loc("CD8")] = np.nan
    sfm.tl.impute_markers(cells, markers=["CD8"], method="linear", space="intensity")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sfm.tl.calibrate_imputation(cells, markers=["CD8"], coverage=COVERAGE, n_bootstrap=0)
    low, high = (cells.obsm[f"X_imputed_{end}"].loc[new, "CD8"] for end in ("lower", "upper"))
    inside = ((truth >= low) & (truth <= high)).groupby(cells.obs.loc[new, "patient"].astype(str)).mean()
    return float(inside.mean()), any("New patients differ" in str(one.message) for one in said)


PARTS = {
    "model": model,
    "design": design,
    "imputed": imputed,
    "intervals": intervals,
    "shifted": shifted,
    "real": real,
    "panels": panels,
}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--data", type=Path, help="folder with the sets")
    parser.add_argument("--steps", type=int, default=2500, help="of training")
    parser.add_argument("--difficulty", choices=["real", "easy"], default="real", help="of the simulated images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--figure", type=Path, help="where panels are drawn (default: panels.png in that folder)")
    args = parser.parse_args()
    _harness.quiet()
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.parts:
        PARTS[part](args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
