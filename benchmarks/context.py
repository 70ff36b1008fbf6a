"""Cells in context (SToFM) judged as its paper judges: macro F1 of tissue domains, within and across patients.

    python benchmarks/context.py simulated
    python benchmarks/context.py arrangement
    python benchmarks/context.py colorectal --data <folder with the tables>
    python benchmarks/context.py scale

simulated   Niches of simulated cohorts of 18 patients on three slides, markers standardised by slide. Clusters of the
            markers, the context of the markers (neither sees a label) and the linear probe are learned from the 12
            patients of two slides; the 6 of the third are new. True types, which nobody has, say what there is to be
            known. Within patients: half of the cells of the 12 held out. Settings were tried on other cohorts.
            Intervals: Student's t over cohorts, each with new patients and a training of its own.
arrangement Three niches of 10 patients that hold the same two types in the same shares, in layers, in nests and mixed
            at random, with edges between niches anywhere. What a neighbourhood holds says little of them, how it is
            arranged says all. Probes: the linear one, and 50 boosted trees, for which the spread of a composition
            around one half counts as well. Intervals: patients drawn anew.
colorectal  The published neighborhoods of one core of Schürch et al. (Cell 2020), in strips of the core that are held
            out, from one-hot published types of each cell; the model is trained on 30 other images. These
            neighborhoods were made from compositions of the 10 nearest neighbours: that row is what the truth was
            made of.
scale       Memory and time of 200,000 cells of one slice.

One core takes some minutes each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import _harness
import numpy as np
import pandas as pd
from _harness import head, peak, printed_last, row
from anndata import AnnData
from scipy.spatial import cKDTree
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm

SHAPE = {"dim": 64, "hidden": 64, "heads": 4, "depth": 3, "gaussians": 32}
OPTIONS = {"learning_rate": 3e-3, "pairs": 1e-3}
LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=150, class_weight="balanced"))
FIRST_COHORT = 400  # settings were tried on others
JITTER = 0.3  # what another slide may do to the markers
COMPOSITION = "composition of clusters, 10 neighbours"
CONTEXT = "context"


def trained(cells: AnnData, use_rep: str, steps: int, n_cells: int, out: Path | None = None, **options) -> object:
    """A model trained on slices, without labels; in `out` a run that was ended is gone on with."""
    with tempfile.TemporaryDirectory() as folder:
        return sfm.train.pretrain_context(
            cells,
            use_rep=use_rep,
            out=Path(folder) / "run" if out is None else out,
            shape=SHAPE,
            slicing={"n_cells": n_cells, "unit": 10.0},
            options=OPTIONS | options,
            steps=steps,
            batch_size=4,
            check_every=steps,
        )


def macro_f1(values: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, n_folds: int, probe=None) -> float:
    """Macro F1 of a probe (default: linear) on held-out cells, the mean over folds of cells or of whole groups."""
    probe = LINEAR if probe is None else probe
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=0) if groups is None else GroupKFold(n_folds)
    scores = []
    for training, test in splitter.split(values, labels, groups):
        probe.fit(values[training], labels[training])
        scores.append(f1_score(labels[test], probe.predict(values[test]), average="macro"))
    return float(np.mean(scores))


def simulated(args) -> None:
    numbers = range(FIRST_COHORT, FIRST_COHORT + args.cohorts)
    scores = [cohort_scores(number, args) for number in numbers]
    head(
        "read from",
        "macro F1 within patients",
        "macro F1 of new patients",
        "less composition (95 %)",
        "context less this (95 %)",
    )
    for name in scores[0]:
        within = np.mean([one[name]["within"] for one in scores])
        new, plain, context = ([np.array(one[kind]["new"]) for one in scores] for kind in (name, COMPOSITION, CONTEXT))
        across = np.mean([f1_of(cells.sum(0)) for cells in new])
        over_plain = "" if name == COMPOSITION else difference(new, plain)
        row(name, f"{within:.3f}", f"{across:.3f}", over_plain, "" if name == CONTEXT else difference(context, new))
    print(f"\n{args.cohorts} cohorts of {len(new[0])} new patients, {args.steps} steps")


def difference(first: list[np.ndarray], second: list[np.ndarray]) -> str:
    """Macro F1 of `first` less `second`, the mean over cohorts and its interval, by Student's t over cohorts."""
    each = np.array([f1_of(one.sum(0)) - f1_of(other.sum(0)) for one, other in zip(first, second, strict=True)])
    half = t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return f"{each.mean():+.3f} ({each.mean() - half:+.3f} to {each.mean() + half:+.3f})"


def cohort_scores(number: int, args) -> dict[str, dict]:
    """Macro F1 within patients, and what is said of new ones, for all that is read from; kept in ``--results``."""
    kept = args.results / f"cohort_{number}_{args.steps}.json" if args.results else None
    if kept is not None and kept.is_file():
        return json.loads(kept.read_text())
    cells, old = cohort(number)
    names, labels = np.unique(cells.obs["niche"].astype(str), return_inverse=True)
    known, half = np.flatnonzero(old), np.random.default_rng(0).random(old.sum()) < 0.5  # of the cells of patients
    who, scores = np.unique(cells.obs["patient"].astype(str)[~old], return_inverse=True)[1], {}
    run = kept.with_suffix("") if kept is not None else None
    for name, values in read_from(cells, old, args.steps, run).items():
        LINEAR.fit(values[known[half]], labels[known[half]])
        within = f1_score(labels[known[~half]], LINEAR.predict(values[known[~half]]), average="macro")
        LINEAR.fit(values[old], labels[old])
        new = np.zeros((who.max() + 1, len(names), len(names)))
        np.add.at(new, (who, labels[~old], LINEAR.predict(values[~old])), 1)
        scores[name] = {"within": float(within), "new": new.tolist()}
        print(f"cohort {number}, {name}: {within:.3f} within, {f1_of(new.sum(0)):.3f} of new patients", flush=True)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(scores))
    return scores


def cohort(number: int) -> tuple[AnnData, np.ndarray]:
    """Cells of 18 patients on three slides, and True for those of the two slides that are learned from."""
    cells = sfm.datasets.simulate_cells(
        18, cells_per_patient=600, patients_per_slide=6, difficulty="real", random_state=number
    )
    cells.obsm["X_markers"] = np.arcsinh(np.asarray(cells.X) / 20).astype(np.float32)
    sfm.pp.standardize(cells, use_rep="X_markers", batch_key="slide", key_added="X_markers")
    return cells, (cells.obs["slide"] != "S3").to_numpy()


def read_from(cells: AnnData, old: np.ndarray, steps: int, run: Path | None) -> dict[str, np.ndarray]:
    """What a probe reads niches from; clusters and the context are learned from the same markers of the same cells."""
    learned_from = cells[old].copy()
    sfm.tl.cell_states(learned_from, 12, use_rep="X_markers", key_added="cluster")
    sfm.tl.cell_states(cells, use_rep="X_markers", source=learned_from, key_added="cluster")
    composition = {
        (kind, n): sfm.tl.neighborhood_composition(cells, kind, n_neighbors=n, include_self=True, copy=True).to_numpy()
        for kind in ("cluster", "type")
        for n in (5, 10, 20)
    }
    own = {kind: pd.get_dummies(cells.obs[kind]).to_numpy(np.float32) for kind in ("cluster", "type")}
    scales = {kind: np.hstack([own[kind], *(composition[kind, n] for n in (5, 10, 20))]) for kind in own}
    means = np.hstack([cells.obsm["X_markers"], *(means_of_neighbours(cells, n) for n in (5, 10, 20))])
    model = trained(learned_from, "X_markers", steps, 300, run, pairs=0.0, jitter=JITTER)
    context = sfm.tl.embed_context(cells, use_rep="X_markers", model=model, slicing={"n_cells": 1000}, copy=True)
    return {
        "markers of the cell": cells.obsm["X_markers"],
        COMPOSITION: composition["cluster", 10],
        "composition of clusters, 5, 10 and 20 neighbours, and own cluster": scales["cluster"],
        "means of the markers of 5, 10 and 20 neighbours, and own markers": means,
        "composition of true types, 10 neighbours": composition["type", 10],
        "composition of true types, 5, 10 and 20 neighbours, and own type": scales["type"],
        CONTEXT: context,
        "context, and composition of clusters": np.hstack([context, composition["cluster", 10]]),
        "context, and clusters at three scales": np.hstack([context, scales["cluster"]]),
    }


def means_of_neighbours(cells: AnnData, n: int) -> np.ndarray:
    """Mean markers of the nearest cells and the cell itself."""
    xy, values = cells.obsm["spatial"], cells.obsm["X_markers"]
    means = np.empty_like(values)
    for rows in cells.obs.groupby("sample", observed=True).indices.values():
        means[rows] = values[rows][cKDTree(xy[rows]).query(xy[rows], k=n + 1)[1]].mean(1)
    return means


def confusions(values: np.ndarray, labels: np.ndarray, patients: np.ndarray, probe) -> np.ndarray:
    """Cells of each patient by true and predicted label ``(patients, labels, labels)``, in four folds of patients."""
    names, truth = np.unique(labels, return_inverse=True)
    said = cross_val_predict(probe, values, truth, groups=patients, cv=GroupKFold(4))
    who = np.unique(patients, return_inverse=True)[1]
    found = np.zeros((who.max() + 1, len(names), len(names)))
    np.add.at(found, (who, truth, said), 1)
    return found


def with_interval(cells: np.ndarray, n: int = 1000) -> str:
    """Macro F1 of all patients, and the 95 % interval of draws of as many."""
    draws = np.random.default_rng(0).integers(0, len(cells), (n, len(cells)))
    low, high = np.quantile([f1_of(cells[draw].sum(0)) for draw in draws], [0.025, 0.975])
    return f"{f1_of(cells.sum(0)):.3f} ({low:.3f} to {high:.3f})"


def f1_of(cells: np.ndarray) -> float:
    """Macro F1 of numbers of cells by true and predicted label."""
    return float((2 * np.diagonal(cells) / np.maximum(cells.sum(0) + cells.sum(1), 1)).mean())


def arranged(n_patients: int = 10, n_cells: int = 400, seed: int = 0) -> AnnData:
    """Cells of two types whose niches differ in arrangement alone: ``obs["niche"]``, markers ``obsm["X_markers"]``.

    Cells have 100 µm² each, at least 6 µm apart. Layers are 24 µm wide and run anyhow in each patient; nests are the
    blobs of a smooth field of about the same width. A tenth of the cells has the other type. Types differ by 1.5
    standard deviations in four of eight markers, which all have noise.
    """
    rng, parts = np.random.default_rng(seed), []
    side = float(np.sqrt(n_cells * 100.0))
    for patient in range(n_patients):
        xy = _spaced(side, n_cells, rng)
        zone = np.array([_smooth(xy, 120.0, rng) for _ in range(3)]).argmax(0)
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 48)
        layers = ((xy @ [np.cos(angle), np.sin(angle)] + phase) // 24 % 2).astype(bool)
        blobs = _smooth(xy, 24.0, rng)
        types = np.select([zone == 0, zone == 1], [layers, blobs > np.median(blobs)], rng.random(len(xy)) < 0.5)
        types = types ^ (rng.random(len(xy)) < 0.1)
        markers = rng.normal(size=(len(xy), 8))
        markers[:, :4] += 1.5 * np.where(types, 0.5, -0.5)[:, None] * [1, 1, -1, -1]
        obs = pd.DataFrame({"patient": f"P{patient:02d}", "sample": f"S{patient:02d}"}, index=range(len(xy)))
        obs["niche"], obs["type"] = np.array(["layers", "nests", "mixed"])[zone], np.where(types, "a", "b")
        parts.append((obs, xy, markers))
    obs = pd.concat([one for one, _, _ in parts], ignore_index=True)
    obs.index = obs.index.astype(str)
    obsm = {
        "spatial": np.concatenate([one for _, one, _ in parts]),
        "X_markers": np.concatenate([m for *_, m in parts]),
    }
    return AnnData(obs=obs.astype({"type": "category", "sample": "category"}), obsm=obsm)


def _spaced(side: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Places in a square, each at least 6 µm from the others."""
    kept = np.empty((0, 2))
    while len(kept) < n:
        new = rng.uniform(0, side, 2)
        if not len(kept) or ((kept - new) ** 2).sum(1).min() >= 36:
            kept = np.vstack([kept, new])
    return kept


def _smooth(xy: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """A random field of waves of about twice this width at places, with standard deviation 1."""
    directions = rng.normal(size=(40, 2))
    waves = directions / np.linalg.norm(directions, axis=1, keepdims=True) * np.pi / width
    waves *= rng.uniform(0.7, 1.3, (40, 1))
    return np.sqrt(2 / 40) * np.cos(xy @ waves.T + rng.uniform(0, 2 * np.pi, 40)).sum(1)


def arrangement(args) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    cells = arranged()
    for k in (10, 30):
        sfm.tl.neighborhood_composition(cells, "type", n_neighbors=k, include_self=True, key_added=f"of_{k}")
    began = time.perf_counter()
    model = trained(cells, "X_markers", args.steps, 400)
    print(f"{args.steps} steps of training: {time.perf_counter() - began:.0f} s")
    sfm.tl.embed_context(cells, use_rep="X_markers", model=model)
    own = (cells.obs["type"] == "a").to_numpy(float)[:, None]
    kinds = {
        "type of the cell": own,
        "composition of 10 neighbours and own type": np.hstack([cells.obsm["of_10"], own]),
        "composition of 10 and 30 neighbours and own type": np.hstack([cells.obsm["of_10"], cells.obsm["of_30"], own]),
        "context": cells.obsm["X_context"],
        "context, compositions and own type": np.hstack(
            [cells.obsm[k] for k in ("X_context", "of_10", "of_30")] + [own]
        ),
    }
    labels, patients = cells.obs["niche"].to_numpy(str), cells.obs["patient"].to_numpy(str)
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    head("read from", "macro F1 across patients, linear (95 %)", "macro F1 across patients, trees (95 %)")
    for name, values in kinds.items():
        row(name, *(with_interval(confusions(values, labels, patients, probe)) for probe in (LINEAR, trees)))


def colorectal(args) -> None:
    from niches import CORE, published_neighborhoods, read

    cells, core = read(args.data / "crc_codex_table")
    samples = cells.obs["sample"].astype(str)
    others = [name for name in samples.unique() if name != CORE][:: max(1, samples.nunique() // 30)]
    types = pd.get_dummies(cells.obs["type"]).to_numpy(np.float32)
    cells.obsm["X_types"] = types
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    model = trained(cells[samples.isin(others)].copy(), "X_types", args.steps, 500, pairs=0.0)
    mine = cells[(samples == CORE).to_numpy()].copy()
    sfm.tl.embed_context(mine, use_rep="X_types", model=model)
    published = published_neighborhoods(mine.obsm["spatial"], core)
    found = published.notna().to_numpy()
    labels = published[found].to_numpy(str)
    x = mine.obsm["spatial"][found, 0]
    strips = np.searchsorted(np.quantile(x, np.linspace(0, 1, 21)[1:-1]), x)  # 20, of which every fifth is held out
    kinds = {
        "type of the cell": mine.obsm["X_types"],
        "composition": mine.obsm["neighborhood_composition"],
        "context": mine.obsm["X_context"],
    }
    print(f"{found.sum():,} cells of {CORE} with a published neighborhood")
    head("read from", "macro F1 in strips held out")
    for name, values in kinds.items():
        row(name, f"{macro_f1(np.asarray(values)[found], labels, strips % 5, 5):.3f}")


def scale(args) -> None:
    head("cells of the slice", "pieces", "seconds", "peak memory (GB)", "above the smallest (GB)")
    least = None
    for n in (10_000, 50_000, 200_000):
        told = printed_last(__file__, "alone", str(n))
        least = told["peak"] if least is None else least
        extra = f"{(told['peak'] - least) / 1e9:.2f}"
        row(f"{n:,}", told["pieces"], f"{told['seconds']:.0f}", f"{told['peak'] / 1e9:.2f}", extra)


def alone(n: int) -> None:
    """One slice of so many cells in a process of its own, by a model that was not trained: memory and time alone."""
    from spatialfm.models.context import new_context

    rng = np.random.default_rng(0)
    side = float(np.sqrt(n * 100.0))
    centers = rng.normal(size=(8, 32)) * 2
    places = rng.uniform(0, side, (n, 2))
    values = (centers[(places[:, 0] * 8 / side).astype(int)] + rng.normal(size=(n, 32))).astype(np.float32)
    cells = AnnData(obs=pd.DataFrame(index=pd.RangeIndex(n).astype(str)), obsm={"X_in": values, "spatial": places})
    model = new_context("stofm", {"in_dim": 32, "dim": 128, "heads": 8, "depth": 4}, 0, 3.0)
    began = time.perf_counter()
    sfm.tl.embed_context(cells, use_rep="X_in", model=model, library_key=None)
    most, pieces = peak(), int(cells.uns["spatialfm"]["X_context"]["n_pieces"])
    print(json.dumps({"peak": most, "seconds": time.perf_counter() - began, "pieces": pieces}))


def main() -> None:
    if sys.argv[1:2] == ["alone"]:
        _harness.quiet()
        return alone(int(sys.argv[2]))
    parser = _harness.parser(__doc__)
    parser.add_argument("part", choices=("simulated", "arrangement", "colorectal", "scale"))
    parser.add_argument("--steps", type=int, default=300, help="steps of training")
    parser.add_argument("--cohorts", type=int, default=4, help="simulated cohorts")
    parser.add_argument("--results", type=Path, help="folder that keeps what was done, to go on from")
    parser.add_argument("--data", type=Path, help="folder with the tables")
    args = parser.parse_args()
    _harness.quiet()
    _harness.part(args.part)
    {"simulated": simulated, "arrangement": arrangement, "colorectal": colorectal, "scale": scale}[args.part](args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
