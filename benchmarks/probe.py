"""Linear probe on real cells with published labels: mean intensities against the `classical` encoder.

    python benchmarks/probe.py --data <folder with the image sets>

Cells are grouped, never drawn at random: by image where a data set has several annotated images, otherwise by image
quadrant with a margin of half a window between training and test cells. The probe is logistic regression with balanced
class weights on standardised features (scaled on the training cells alone), C fixed at 1. Scores are means over folds
with a 95 % interval from Student's t over folds; with four folds that interval is wide, and it should be.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spatialfm as sfm

MARGIN_UM = 16.0  # half a 64-pixel window at 0.5 µm: no test window overlaps a training cell's centre
MIN_CELLS = 10  # classes with fewer cells than this are left out, and said


@dataclass
class Task:
    name: str
    grouping: str
    features: dict[str, np.ndarray]
    labels: np.ndarray
    groups: np.ndarray
    positions: np.ndarray | None = None
    note: str = ""


def quadrants(positions: np.ndarray) -> np.ndarray:
    """Quadrant 0..3 of each cell, cut at the medians so that each holds as many cells as it can."""
    low = positions <= np.median(positions, axis=0)
    return 2 * low[:, 0] + low[:, 1]


def folds(task: Task):
    """Train and test cells; cells of the training part within the margin of a test cell are left out."""
    names = np.unique(task.groups)
    splitter = GroupKFold(min(len(names), 5))
    for train, test in splitter.split(task.labels, groups=task.groups):
        if task.positions is not None:
            from scipy.spatial import cKDTree

            near, _ = cKDTree(task.positions[test]).query(task.positions[train])
            train = train[near > MARGIN_UM]
        yield train, test


def score(task: Task, values: np.ndarray) -> pd.DataFrame:
    rows = []
    for train, test in folds(task):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3000, class_weight="balanced"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # non-convergence of a floor baseline is no news
            probe.fit(values[train], task.labels[train])
        found = probe.predict(values[test])
        present = np.unique(task.labels[test])
        recall = recall_score(task.labels[test], found, labels=present, average=None)
        rows.append(
            {
                "balanced accuracy": recall.mean(),  # over the classes that the test part holds
                "macro F1": f1_score(task.labels[test], found, average="macro", labels=present, zero_division=0),
                "chance": 1 / len(present),
                "n_test": len(test),
            }
        )
    return pd.DataFrame(rows)


def interval(values: pd.Series) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.sem()
    return f"{values.mean():.3f} [{max(0, values.mean() - half):.3f}, {min(1, values.mean() + half):.3f}]"


def image_task(name: str, sdata, labels: pd.Series, note: str = "", **options) -> Task:
    """A task on images: `labels` by cell name; cells without label take no part."""
    sfm.tl.embed_cells(sdata, "classical", **options)
    table = sdata["table"]
    labels = labels.reindex(table.obs_names)
    kept = labels.notna() & labels.isin(labels.value_counts().loc[lambda n: n >= MIN_CELLS].index)
    rare = sorted(set(labels.dropna()) - set(labels[kept]))
    note += f" Classes under {MIN_CELLS} cells left out: {', '.join(map(str, rare))}." if rare else ""
    samples = table.obs["sample"].astype(str).to_numpy()
    several = len(set(samples)) > 1
    positions = np.asarray(table.obsm["spatial"])[kept]
    return Task(
        name,
        "image" if several else "quadrant of the one annotated image",
        {
            "mean intensity": np.asarray(table.X)[kept],
            "classical": np.asarray(table.obsm["X_classical"])[kept],
        },
        labels[kept].astype(str).to_numpy(),
        samples[kept] if several else quadrants(positions),
        None if several else positions,
        note.strip(),
    )


def dcis_image(data: Path) -> Task:
    folder = data / "dcis_mibi"
    sdata = sfm.io.read_tiff(
        folder / "images/Point2203_pt1072_31606.ome.tif",
        folder / "masks/Point2203_pt1072_31606_cellmask.tif",
        sample="Point2203",
        mpp=0.5,  # not in the file; it scales area and perimeter alone, which a standardised probe does not see
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(folder / "cells_Point2203_matched_labels.csv")
    sure = cells[cells["best_match_is_assigned"] & (cells["match_cost"] < 0.05)]
    labels = pd.Series(sure["cell_type"].to_numpy(), index="Point2203_" + sure["label"].astype(str))
    return image_task("breast DCIS, MIBI (1 field)", sdata, labels, "Strict subset of matched cells.")


def opal(data: Path) -> Task:
    folder = data / "opal_mif"
    sdata = sfm.io.read_tiff(
        folder / "images/FIHC4_2.ome.tif", folder / "masks/FIHC4_2_cell(nuc+cyto).tif", sample="FIHC4"
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(next((folder / "original").glob("*cell_seg_data.txt")), sep="\t")
    labels = pd.Series(cells["Phenotype"].to_numpy(), index="FIHC4_" + cells["Cell ID"].astype(str))
    return image_task("lymphoma, Opal mIF (1 field)", sdata, labels.replace("", np.nan))


def bnhl(data: Path) -> Task:
    folder = data / "bnhl_codex"
    sdata = sfm.io.read_tiff(
        folder / "images/crop500_5ch_uint16.ome.tif", folder / "masks/crop500_cellmask.tif", sample="crop500", mpp=0.377
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(folder / "cells_crop500_label_codes.csv")
    cells = cells[cells["label_code"].notna()]
    codes = "code " + cells["label_code"].astype(int).astype(str)
    labels = pd.Series(codes.to_numpy(), index="crop500_" + cells["cell"].astype(int).astype(str))
    return image_task(
        "lymph node, CODEX (1 crop)",
        sdata,
        labels,
        "Classes are codes that come from a panel of which 5 markers are here.",
    )


def spleen(data: Path) -> Task:
    folder = data / "spleen_imc"
    table = pd.DataFrame({"sample": ["r2", "r4", "r12", "r20"]})
    table["image"] = [folder / f"images/spleen315_{name}.ome.tif" for name in table["sample"]]
    table["labels"] = [folder / f"masks/spleen315_{name}_cellmask.tif" for name in table["sample"]]
    table["patient"] = "spleen315"
    sdata = sfm.io.read_cohort(table, mpp=1.0)
    names = {1: "white pulp", 2: "red pulp"}
    import tifffile

    labels = {}
    obs = sdata["table"]
    for sample in table["sample"]:
        regions = tifffile.imread(folder / f"masks/spleen315_{sample}_region.tif")
        mine = obs[obs.obs["sample"] == sample]
        x, y = np.asarray(mine.obsm["spatial"]).T.astype(int)
        labels |= dict(zip(mine.obs_names, (names.get(value) for value in regions[y, x]), strict=True))
    return image_task(
        "spleen, IMC (4 images)",
        sdata,
        pd.Series(labels),
        "The label is the region that the cell lies in, not its type.",
    )


def dcis_table(data: Path) -> Task:
    cells = pd.read_parquet(data / "dcis_mibi/cells_fusesom_risom_dat_inferred_fov.parquet")
    field = next(name for name in cells.columns if "fov" in name.lower())
    kind = next(name for name in cells.columns if "type" in name.lower() or "pheno" in name.lower())
    numbers = cells.select_dtypes("number")
    numbers = numbers[[name for name in numbers.columns if name != field]]
    keep = cells[[field, kind]].notna().all(axis=1)
    return Task(
        "breast DCIS, MIBI (published table)",
        f"image ({cells.loc[keep, field].nunique()} fields)",
        {"mean intensity": numbers[keep].to_numpy(float)},
        cells.loc[keep, kind].astype(str).to_numpy(),
        cells.loc[keep, field].astype(str).to_numpy(),
        note="Published means only: no masks to run `classical` on. Types were made from these means.",
    )


TASKS = {"dcis": dcis_image, "opal": opal, "bnhl": bnhl, "spleen": spleen, "dcis_table": dcis_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the image sets")
    parser.add_argument("--only", nargs="*", choices=list(TASKS), default=list(TASKS))
    arguments = parser.parse_args()
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    logging.getLogger().addHandler(logging.NullHandler())
    rows, notes = [], []
    for name in arguments.only:
        task = TASKS[name](arguments.data)
        for features, values in task.features.items():
            scores = score(task, values)
            rows.append(
                {
                    "data": task.name,
                    "grouped by": task.grouping,
                    "cells": len(task.labels),
                    "classes": len(set(task.labels)),
                    "features": f"{features} ({values.shape[1]})",
                    "balanced accuracy": interval(scores["balanced accuracy"]),
                    "macro F1": interval(scores["macro F1"]),
                    "chance": f"{scores['chance'].mean():.3f}",
                    "folds": len(scores),
                }
            )
        if task.note:
            notes.append(f"- {task.name}: {task.note}")
    header = list(rows[0])
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in header) + " |")
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
