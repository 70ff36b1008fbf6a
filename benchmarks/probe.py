"""Annotation of real cells with published labels: mean intensity, `classical`, and encoders with random weights.

    python benchmarks/probe.py --data <folder with the image sets>

Mean intensity is given as it is and as its arcsinh (that of `classical`, whose other columns are shape, quantiles and
texture), so that what a transformation gains is not taken for what texture gains.

Every representation of a set is scored in one call of `sfm.tl.evaluate_annotation`, on the same folds, so that the
differences between them are paired. Cells are grouped, never drawn at random: by patient or by image where several are
annotated, otherwise by quadrant of the one image, with 16 µm between training and test cells. The probe is L2 logistic
regression on standardised columns with balanced classes and C fixed at 1 (no search: minutes instead of hours).

KRONOS and VirTues run with random weights. They are a floor, what their architecture and their way of reading a cell
give without any training: **random weights say nothing about the models**. VirTues is told its markers by random
vectors in place of protein embeddings, and its tiles do not overlap (stride 128 instead of 42, to save time).

Of each set at most 1,600 labelled cells take part, as many of one image as of another, drawn at random with seed 0, the
same for all representations.
"""

from __future__ import annotations

import sys
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import _harness
import numpy as np
import pandas as pd
from _labelled import SETS

import spatialfm as sfm

if TYPE_CHECKING:
    from _labelled import Labelled
    from anndata import AnnData

MAX_CELLS = 1600  # labelled cells a set
MIN_CELLS = 10  # classes with fewer cells are left out, and named
STRIDE = 128  # of VirTues' tiles; 42 is published
FEW = (1, 5, 10, 20)  # labelled cells per class
N_DRAWS = 20
FEW_MIN_CELLS = 28  # in a whole image, so that about 20 are left in three quadrants of it
SCORES = {"macro F1": "f1", "balanced accuracy": "recall"}
FLOOR, ARCSINH = "X_noise", "X_arcsinh_mean"
REPRESENTATIONS = {  # the later is subtracted from the earlier
    "X_classical": "classical",
    "X_kronos": "kronos, random weights",
    "X_virtues": "virtues, random weights",
    ARCSINH: "arcsinh of mean intensity",
    "X_mean_intensity": "mean intensity",
    FLOOR: "16 random numbers",
}
PAIRS = [
    ("X_classical", "X_mean_intensity"),
    (ARCSINH, "X_mean_intensity"),
    ("X_classical", ARCSINH),
    ("X_kronos", "X_mean_intensity"),
    ("X_virtues", "X_mean_intensity"),
    ("X_classical", "X_kronos"),
    ("X_classical", "X_virtues"),
]


@dataclass
class Task:
    """Cells with ``obs["label"]`` and their representations; `patient_key` as `sfm.tl.evaluate_annotation` takes it."""

    name: str
    cells: AnnData
    patient_key: str
    held_out: str
    note: str = ""


def image_task(one: Labelled, note: str) -> Task:
    """Draw the cells of a set with images and embed them. Cells without label take no part."""
    name, sdata = one.name, one.sdata
    table = sdata["table"]
    table.obs["label"] = table.obs["label"].to_numpy(object)  # no classes of cells that are not drawn
    known = table.obs[table.obs["label"].notna()]
    rng = np.random.default_rng(0)
    names = []
    each = MAX_CELLS // known["sample"].nunique()
    for _, rows in known.groupby("sample", observed=True):
        names.extend(rng.choice(rows.index, min(each, len(rows)), replace=False))
    if len(names) < len(known):
        note += f" {len(names):,} of {len(known):,} labelled cells drawn ({each:,} per image, seed 0)."
    sdata.tables["table"] = table[table.obs_names.isin(names)].copy()
    channels = sorted({str(channel) for image in sdata.images.values() for channel in image.coords["c"].values})
    models = {
        "mean-intensity": {},
        "classical": {},
        "kronos": {"weights": "random", "panel": {"on_unknown": "keep"}},
        "virtues": {
            "weights": "random",
            "panel": {"on_unknown": "keep", "embeddings": stand_ins(channels)},
            "recipe": {"stride": STRIDE, "padding": 0},
        },
    }
    for model, options in models.items():
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # markers and platforms that the models do not know: nothing is known here
            sfm.tl.embed_cells(sdata, model, on_missing="drop", **options)
        say(f"{name}: {model}, {time.perf_counter() - started:.0f} s")
    classical = sfm.get.features(sdata["table"], "X_classical")
    sdata["table"].obsm[ARCSINH] = classical.filter(regex="_mean$").to_numpy()
    return Task(name, with_floor(sdata["table"]), one.patient_key, one.held_out, note.strip())


def stand_ins(channels: list[str], width: int = 640) -> dict[str, np.ndarray]:
    """A random vector in place of each protein embedding, always the same one for the same marker."""
    resolved = sfm.pp.match_markers(channels)
    markers = [row.marker or row.channel for row in resolved.itertuples()]
    return {
        name: np.random.default_rng(zlib.crc32(name.encode())).standard_normal(width).astype(np.float32)
        for name in dict.fromkeys(markers)
    }


def with_floor(cells: AnnData) -> AnnData:
    cells.obsm[FLOOR] = np.random.default_rng(1).standard_normal((cells.n_obs, 16))
    return cells


def table_task(one: Labelled) -> Task:
    """A published table of means: there are no masks, so nothing else to embed."""
    cells = one.cells
    cells.obs["label"] = cells.obs["label"].to_numpy(object)
    cells.obsm["X_mean_intensity"] = cells.X
    return Task(
        f"breast DCIS, MIBI (published table, {cells.obs['sample'].nunique()} fields)",
        with_floor(cells),
        one.patient_key,
        one.held_out,
        "Published means only: no masks, so no other representation. The field of a cell, and so the patient, was "
        "inferred from the order of rows.",
    )


NOTES = {  # of the sets with images
    "dcis": "Cells whose published type could be matched surely.",
    "opal": "",
    "bnhl": "Classes are codes without names, made from a panel of which 5 markers are here.",
    "spleen": "The label is the region of the cell, not its type.",
}


def task_of(name: str, data: Path) -> Task:
    one = SETS[name](data)
    return table_task(one) if one.sdata is None else image_task(one, NOTES[name])


def evaluate(task: Task, **options) -> dict[str, pd.DataFrame]:
    """All representations of a task in one call: what it leaves in ``uns``."""
    use_rep = [name for name in REPRESENTATIONS if name in task.cells.obsm]
    options = {"use_rep": use_rep, "patient_key": task.patient_key, "C": 1.0, "min_cells": MIN_CELLS} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a probe on random numbers need not converge
        sfm.tl.evaluate_annotation(task.cells, "label", **options)
    return task.cells.uns["annotation"]


def score_rows(task: Task, found: dict[str, pd.DataFrame]) -> list[dict]:
    summary = found["summary"].set_index(["use_rep", "score"])
    counts = task.cells.obs["label"].value_counts()
    counts = counts[counts >= MIN_CELLS]
    rows = []
    for rep, title in reversed(REPRESENTATIONS.items()):
        if rep in summary.index:
            width = task.cells.obsm[rep].shape[1]
            rows.append(
                {
                    "data": task.name,
                    "held out": task.held_out,
                    "cells": f"{counts.sum():,}",
                    "classes": len(counts),
                    "representation": title if rep == FLOOR else f"{title} ({width:,})",
                    **{
                        column: between(*summary.loc[(rep, score), ["mean", "low", "high"]], least=0)
                        for column, score in SCORES.items()
                    },
                }
            )
    return rows


def difference_row(task: Task, found: dict[str, pd.DataFrame]) -> dict:
    table = found["differences"].query("score == 'f1'").set_index(["first", "second"])
    row = {"data": task.name}
    for pair in PAIRS:
        column = " minus ".join(REPRESENTATIONS[rep].split(",")[0] for rep in pair)
        row[column] = (
            between(*table.loc[pair, ["difference", "low", "high"]], signed=True) if pair in table.index else ""
        )
    return row


def few_labels(task: Task) -> list[dict]:
    """1 to 20 labelled cells per class in three quadrants, tested on the fourth: over draws, mean and 95 % of draws."""
    draws = []
    for draw in range(N_DRAWS):
        found = evaluate(task, n_train=FEW, min_cells=FEW_MIN_CELLS, random_state=1000 * draw)["folds"]
        macro = found[found["class"] == "macro"]
        draws.append(macro.groupby(["use_rep", "asked"])["f1"].mean().unstack())
    over = pd.concat(draws, keys=range(N_DRAWS), names=["draw"])
    rows = []
    for rep, title in reversed(REPRESENTATIONS.items()):
        if rep not in task.cells.obsm:
            continue
        values = over.xs(rep, level="use_rep")
        rows.append({"representation": title})
        for size in FEW:
            one = values[str(size)]
            rows[-1][f"{size} a class"] = between(one.mean(), one.quantile(0.025), one.quantile(0.975))
        if rep not in ("X_mean_intensity", FLOOR):
            apart = values[str(FEW[-1])] - over.xs("X_mean_intensity", level="use_rep")[str(FEW[-1])]
            rows[-1]["minus mean intensity, 20 a class"] = between(
                apart.mean(), apart.quantile(0.025), apart.quantile(0.975), signed=True
            )
        else:
            rows[-1]["minus mean intensity, 20 a class"] = ""
    return rows


def between(mean: float, low: float, high: float, *, signed: bool = False, least: float = -1) -> str:
    sign = "+" if signed else ""
    return f"{mean:{sign}.3f} [{max(low, least):{sign}.3f}, {min(high, 1):{sign}.3f}]"


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the image sets")
    parser.add_argument("--only", nargs="*", choices=[*NOTES, "dcis_table"], default=[*NOTES, "dcis_table"])
    arguments = parser.parse_args()
    _harness.quiet()
    scores, differences, few, notes = [], [], [], []
    for name in arguments.only:
        task = task_of(name, arguments.data)
        started = time.perf_counter()
        found = evaluate(task)
        scores += score_rows(task, found)
        if name != "dcis_table":
            differences.append(difference_row(task, found))
        say(f"{task.name}: scored, {time.perf_counter() - started:.0f} s")
        counts = task.cells.obs["label"].value_counts()
        rare = ", ".join(sorted(counts.index[counts < MIN_CELLS].astype(str)))
        task.note += f" Classes under {MIN_CELLS} cells left out: {rare}." if rare else ""
        if task.note:
            notes.append(f"- {task.name}: {task.note.strip()}")
        if name == "dcis":
            started = time.perf_counter()
            few, n_classes = few_labels(task), int((counts >= FEW_MIN_CELLS).sum())
            few_of = f"{task.name}, {n_classes} classes of {FEW_MIN_CELLS} or more cells"
            say(f"{task.name}: few labels, {time.perf_counter() - started:.0f} s")
    _harness.table(scores)
    if differences:
        columns = [name for name in differences[0] if name != "data"]
        turned = [
            {"macro F1, paired by fold": name} | {row["data"]: row[name] for row in differences} for name in columns
        ]
        print("\nDifferences:")
        _harness.table(turned)
    if few:
        print(f"\nFew labels ({few_of}), macro F1 over {N_DRAWS} draws:")
        _harness.part("few")
        _harness.table(few)
    print("\n" + "\n".join(notes))
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
