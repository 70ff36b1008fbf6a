"""Annotation with few labels on every labelled set: methods, representations and 1 to 100 labelled cells per type.

    python benchmarks/annotation.py --data <folder with the sets> [--only dcis opal ...] [--results rows.csv]

Cells are held out by patient, by image, or by quadrant of the one image, with 16 µm between. Labelled cells are drawn
from the others, the same for all methods and representations; then every method annotates as `sfm.tl.annotate` does,
which sees all cells and the labels of those that were drawn (of large sets, 2,000 held-out cells and 4,000 others). The
score is macro F1 over the types that held-out cells have, of types with ten cells or more. Beside the calibration error
stands the one that probabilities which are right would have on as many cells by chance, and an estimate without chance.

`before` is what `sfm.tl.annotate` did before columns were scaled by all cells: standardised on the labelled cells,
logistic regression with C = 1 and classes that weigh alike. Differences are paired by draw. Rows of `--results` are
kept between runs and not made again, so that sets, methods, sizes and draws can be scored one by one; sets whose
representations were made are kept in `--features`.
"""

from __future__ import annotations

import pickle
import sys
import time
import warnings
from pathlib import Path

import _harness
import _labelled
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm
from spatialfm._keys import PATIENT_KEY
from spatialfm.cohort.intensities import intensities
from spatialfm.learn.heads.auto import fit_of
from spatialfm.learn.heads.blocks import ColumnBlock, scaler_of
from spatialfm.learn.heads.by_sample import on_scale
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.options import Options
from spatialfm.learn.probe import away_from, draw_per_class, quadrants
from spatialfm.learn.temperature import calibration_error, debiased_calibration_error

SIZES = (1, 5, 10, 20, 100)
BEFORE, DEFAULT = "before", "ensemble"
METHODS = ("linear", "lda", "nearest_mean", "spreading", "self_training", "knn", "forest", "trees", DEFAULT)
DONE_BY = ["representation", "labels", "draw", "method"]
MIN_CELLS, MAX_TEST, MAX_OTHERS, MARGIN = 10, 2000, 4000, 16.0
PCA_OF = "means, 20 components"


def representations(task: _labelled.Labelled) -> dict[str, tuple[np.ndarray, object]]:
    """Columns and which of them are means, by name."""
    from sklearn.decomposition import PCA

    table = np.asarray(task.cells.X, np.float32)
    if not task.name.startswith("lung"):
        means = intensities(task.cells, "X")
        found = {"means as they are": (table, None), "means": (table, means)}
        if table.shape[1] > 20:
            scaled = StandardScaler().fit_transform(np.log1p(np.maximum(table, 0)))
            found[PCA_OF] = (PCA(20, random_state=0).fit_transform(scaled), None)
    else:
        found = {"shape": (table, None)}
    if task.sdata is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sfm.tl.embed_cells(task.sdata, "classical", on_missing="drop")
        cells = task.sdata["table"]
        found["classical"] = (np.asarray(cells.obsm["X_classical"]), intensities(cells, "X_classical"))
    return found


def held_out(task: _labelled.Labelled, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that may be drawn, and rows that are scored: a quarter of patients, or a quadrant, another for each seed."""
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    rows, rng = np.flatnonzero(np.isin(labels, names[counts >= MIN_CELLS])), np.random.default_rng(seed)
    samples = task.cells.obs["sample"].to_numpy(dtype=str)
    if task.patient_key == "quadrant":
        places = np.asarray(task.cells.obsm["spatial"], float)
        groups = quadrants(places[rows], samples[rows])
    else:
        groups = np.unique(task.cells.obs[task.patient_key].to_numpy(dtype=str)[rows], return_inverse=True)[1]
    fold = rng.permutation(groups.max() + 1)[groups] % 4 == seed % 4
    train, test = rows[~fold], rows[fold]
    if task.patient_key == "quadrant":
        train = away_from(train, test, places, samples, MARGIN)
    test = test[np.isin(labels[test], labels[train])]
    return train, np.sort(rng.choice(test, min(MAX_TEST, len(test)), replace=False))


def before(values: np.ndarray, part: np.ndarray, labels: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[str]]:
    scaler = StandardScaler().fit(values[part])
    model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(scaler.transform(values[part]), labels[part])
    return model.predict_proba(scaler.transform(values[test])), model.classes_.tolist()


def error_of_right_ones(probability: np.ndarray, seed: int, n_draws: int = 20) -> float:
    """Calibration error of probabilities that are right, by chance alone: mean over truths drawn from their confidence.

    Of few cells it is far from 0, as each bin holds but a handful.
    """
    confidence, said = probability.max(axis=1), probability.argmax(axis=1)
    draws = np.random.default_rng(seed).random((n_draws, len(said))) < confidence
    other = (said + 1) % probability.shape[1]
    return float(np.mean([calibration_error(probability, np.where(right, said, other)) for right in draws]))


def macro_f1(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean F1 of the types that occur; one that none of the cells has would count as 0 for every method."""
    return float(f1_score(truth, found, average="macro", labels=np.unique(truth), zero_division=0))


def read(name: str, data: Path, features: Path | None) -> tuple[_labelled.Labelled, dict]:
    """A set and its representations, from the folder of those that were made if it is there."""
    kept = None if features is None else features / f"{name}.pkl"
    if kept is not None and kept.exists():
        return pickle.loads(kept.read_bytes())
    task = _labelled.SETS[name](data)
    given = representations(task)
    task.sdata = None  # pixels are not looked at again
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps((task, given)))
    return task, given


def evaluate(
    name: str,
    task: _labelled.Labelled,
    given: dict,
    draws: int,
    sizes: list[int],
    methods: list[str],
    done: set[tuple[str, int, int, str]],
) -> pd.DataFrame:
    """One row per representation, method, number of labels and draw, but for those (in this order) that are done."""
    rows: list[dict] = []
    labels = task.cells.obs["label"].astype(object).fillna("").to_numpy(dtype=str)
    patients = task.cells.obs[PATIENT_KEY].to_numpy(dtype=str) if PATIENT_KEY in task.cells.obs else None
    samples = pd.factorize(task.cells.obs["sample"].astype(str))[0]
    for seed in range(draws):
        train, test = held_out(task, labels, seed)
        rng = np.random.default_rng(seed)
        others = np.setdiff1d(np.arange(len(labels)), test)
        others = rng.choice(others, min(MAX_OTHERS, len(others)), replace=False)
        for size in sizes:
            part = draw_per_class(labels, train, size, seed)
            seen = np.concatenate([test, part, np.setdiff1d(others, part)])
            groups = None if patients is None else patients[seen]  # as annotate takes them by default
            known, truth = np.arange(len(test), len(test) + len(part)), labels[test]
            for rep, (values, means) in given.items():
                missing = [method for method in (BEFORE, *methods) if (rep, size, seed, method) not in done]
                if not missing:
                    continue
                blocks = [ColumnBlock(rep, values.shape[1], means)]
                cells = VisibleCells(values[seen], scaler_of(blocks, values[seen]), groups, known, seed)
                cells, scale = on_scale(cells, samples[seen], known, labels[part], Options(random_state=seed))
                for method in missing:
                    started = time.perf_counter()
                    if method == BEFORE:
                        probability, classes = before(values, part, labels, test)
                    else:
                        options = Options(random_state=seed)
                        model, _ = fit_of(method, blocks, False, cells, known, labels[part], options)
                        probability, classes = model.predict_seen(np.arange(len(test))), model.classes
                    seconds = time.perf_counter() - started
                    found = np.asarray(classes)[probability.argmax(axis=1)]
                    inside = np.isin(truth, classes)
                    of_truth = np.searchsorted(classes, truth[inside])
                    rows.append(
                        {
                            "set": name,
                            "data": task.name,
                            "origin": task.origin + (" (circular)" if task.circular else ""),
                            "representation": rep,
                            "method": method,
                            "labels": size,
                            "draw": seed,
                            "types": len(classes),
                            "by_sample": method != BEFORE and scale.get("by_sample", False),
                            "f1": macro_f1(truth, found),
                            "ece": calibration_error(probability[inside], of_truth),
                            "ece_chance": error_of_right_ones(probability[inside], seed),
                            "ece_debiased": debiased_calibration_error(probability[inside], of_truth),
                            "seconds": seconds,
                        }
                    )
        sys.stderr.write(f"{task.name}: draw {seed + 1} of {draws}\n")
    return pd.DataFrame(rows)


def paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows beside what the same draw and representation had before."""
    keys = ["set", "representation", "labels", "draw"]
    old = rows[rows["method"] == BEFORE].set_index(keys)[["f1", "ece"]].add_suffix("_before")
    return rows[rows["method"] != BEFORE].join(old, on=keys)


def signed(value: float) -> str:
    return f"{value:+.3f}"


def set_rows(rows: pd.DataFrame, sizes: tuple[int, ...] = (5, 20)) -> list[dict]:
    """The default against what was before, set by set."""
    table, found = paired(rows[rows["method"].isin([BEFORE, DEFAULT])]), []
    for (data, rep), part in table[table["representation"].isin(["means", "shape", "classical"])].groupby(
        ["data", "representation"], sort=False
    ):
        row = {"data": data, "labels were made by": part["origin"].iloc[0], "types": part["types"].max()}
        row["representation"] = rep
        for size in sizes:
            mine = part[part["labels"] == size]
            row[f"before, {size}"] = f"{mine['f1_before'].mean():.3f}"
            row[f"{DEFAULT}, {size}"] = f"{mine['f1'].mean():.3f}"
            row[f"difference, {size}"] = signed((mine["f1"] - mine["f1_before"]).mean())
        row[f"calibration error, {sizes[-1]}: before"] = f"{mine['ece_before'].mean():.3f}"
        row["now"] = f"{mine['ece'].mean():.3f}"
        row["by chance"] = f"{mine['ece_chance'].mean():.3f}"
        row["without chance"] = f"{mine['ece_debiased'].mean():.3f}"
        found.append(row)
    return found


def method_rows(rows: pd.DataFrame) -> list[dict]:
    """Each method, mean over sets: difference to what was before at each number of labels, and the worst set.

    Of the lung set no pixels were published: the shape of its masks stands for means.
    """
    found = []
    rows = rows.assign(representation=rows["representation"].replace("shape", "means"))
    for (rep, method), part in paired(rows).groupby(["representation", "method"], sort=False):
        of_set = part.assign(gain=part["f1"] - part["f1_before"]).groupby(["labels", "set"])[
            ["gain", "f1", "ece", "ece_chance", "ece_debiased"]
        ]
        of_set = of_set.mean()
        row = {"representation": rep, "method": method, "sets": part["set"].nunique()}
        for size in sorted(part["labels"].unique()):
            one = of_set.loc[size]
            row[f"{size} per type"] = f"{one['f1'].mean():.3f} ({signed(one['gain'].mean())})"
        for size in (5, 20):
            row[f"worst set, {size}"] = signed(of_set.loc[size, "gain"].min()) if size in of_set.index else ""
        row["calibration error, 20"] = f"{of_set.loc[20, 'ece'].mean():.3f}" if 20 in of_set.index else ""
        row["by chance"] = f"{of_set.loc[20, 'ece_chance'].mean():.3f}" if 20 in of_set.index else ""
        row["without chance"] = f"{of_set.loc[20, 'ece_debiased'].mean():.3f}" if 20 in of_set.index else ""
        row["seconds"] = f"{part['seconds'].median():.2f}"
        found.append(row)
    return found


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument("--only", nargs="*", choices=list(_labelled.SETS), default=list(_labelled.SETS))
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--sizes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--reps", nargs="*", help="representations by their names here; default: all")
    parser.add_argument("--features", type=Path, help="folder for representations, made once")
    parser.add_argument("--results", type=Path, help="rows of earlier runs, to which those of this one are added")
    arguments = parser.parse_args()
    _harness.quiet()
    kept = pd.read_csv(arguments.results) if arguments.results and arguments.results.exists() else pd.DataFrame()
    for name in arguments.only:
        mine = kept[kept["set"] == name] if len(kept) else pd.DataFrame(columns=DONE_BY)
        done = set(mine[DONE_BY].itertuples(index=False, name=None))
        task, given = read(name, arguments.data, arguments.features)
        given = {rep: one for rep, one in given.items() if arguments.reps is None or rep in arguments.reps}
        found = evaluate(name, task, given, arguments.draws, arguments.sizes, arguments.methods, done)
        kept = pd.concat([kept, found], ignore_index=True)
        if arguments.results:
            kept.to_csv(arguments.results, index=False)
    _harness.part("sets")
    _harness.table(set_rows(kept))
    _harness.part("methods")
    _harness.table(method_rows(kept))
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
