"""How near simulated images are to real ones, and whether representations rank on them as they do on real ones.

    python benchmarks/realism.py --data <folder with the image sets>

**Statistics.** Of every channel of every image, in cells and pixels as masks and files have them: see `_realism.py`.
The distance is Wasserstein's between the channels of simulated and of real images, in standard deviations of the real
ones; each image counts the same. To know what a distance means, each real set is also compared with all others: what
real tissue differs by from one study to the next.

**Scores.** Cells are labelled (real: with published types or regions; simulated: with the true type that a mask
overlaps most), represented in eight ways, and annotated with the package's probe (`sfm.tl.evaluate_annotation`, C = 1):
five labels per class, or all of three quadrants, tested on the fourth quadrant. Only classes of 15 and more cells take
part. The order of representations on simulated tissue is compared with that on real tissue by Spearman's correlation of
their mean scores.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import _harness
import _realism_figure
import numpy as np
import pandas as pd
from _realism import CELL_STATISTICS, CHANNEL_STATISTICS, distance, image_statistics, quantile
from _realism_sets import REAL, REPRESENTATIONS, Set, represented, simulated
from scipy.stats import spearmanr

import spatialfm as sfm

SEEDS = (0, 1)
MIN_CELLS = 15  # of a class in an image, so that about 11 are left in three quadrants of it
N_DRAWS = 4
SIZES = {5: "5", None: "all"}
TISSUES = ("real images", "simulated, easy", "simulated, real")


def statistics(sets: Iterable[Set]) -> dict[str, dict[str, np.ndarray]]:
    """By statistic and set: a value for each channel, or for each cell."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for one in sets:
        table, diameter = image_statistics(one.image, one.masks, one.mpp)
        for name, column in CHANNEL_STATISTICS.items():
            out.setdefault(name, {})[one.name] = table[column].to_numpy(float)
        for name in CELL_STATISTICS:
            out.setdefault(name, {})[one.name] = diameter
    return out


def study(name: str) -> str:
    return name.split(",")[0]


def between_studies(values: dict[str, np.ndarray]) -> float:
    """Median distance of the sets of a study from those of all others."""
    studies = dict.fromkeys(map(study, values))
    found = []
    for one in studies:
        mine = {name: value for name, value in values.items() if study(name) == one}
        found.append(distance(mine, {name: value for name, value in values.items() if name not in mine}))
    return float(np.median(found))


def statistics_rows(real: dict, easy: dict, hard: dict) -> list[dict]:
    rows, sums = [], []
    for name in real:
        numbers = [distance(easy[name], real[name]), distance(hard[name], real[name]), between_studies(real[name])]
        sums.append(numbers)
        rows.append(
            {"statistic": name}
            | {title: spread(sets[name]) for title, sets in zip(TISSUES, (real, easy, hard), strict=True)}
            | dict(zip(("distance, easy", "distance, real", "between real studies"), two(numbers), strict=True))
        )
    mean = np.mean(sums, axis=0)
    rows.append(dict.fromkeys(rows[0], "") | {"statistic": "mean of the distances"})
    rows[-1] |= dict(zip(("distance, easy", "distance, real", "between real studies"), two(mean), strict=True))
    return rows


def spread(sets: dict[str, np.ndarray]) -> str:
    """Median, and the values that 10 and 90 % of the channels reach."""
    low, middle, high = (quantile(sets, share) for share in (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def two(numbers: Iterable[float]) -> list[str]:
    return [f"{number:.2f}" for number in numbers]


def scores(one: Set) -> pd.DataFrame:
    """Macro F1 by representation and number of labels; empty where fewer than two classes have enough cells."""
    cells = represented(one)
    counts = cells.obs["label"].value_counts()
    if (counts >= MIN_CELLS).sum() < 2:
        return pd.DataFrame()
    options = {"use_rep": list(REPRESENTATIONS), "patient_key": "quadrant", "C": 1.0, "min_cells": MIN_CELLS}
    draws = []
    for draw in range(N_DRAWS):
        for size in SIZES if draw == 0 else [5]:
            sfm.tl.evaluate_annotation(
                cells, "label", n_train=size, calibrate=False, random_state=1000 * draw, **options
            )
            folds = cells.uns["annotation"]["folds"]
            macro = folds[folds["class"] == "macro"].groupby("use_rep")["f1"].mean()
            draws.append(macro.rename((size and str(size)) or "all"))
    table = pd.concat(draws, axis=1).T.groupby(level=0).mean().T.loc[list(REPRESENTATIONS)]
    return table.assign(set=one.name, classes=int((counts >= MIN_CELLS).sum()), of_types=one.of_types)


def all_scores(sets: Iterable[Set]) -> pd.DataFrame:
    found = []
    for one in sets:
        if one.labels is None:
            continue
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # channels without a known marker; probes on noise that do not converge
            found.append(scores(one))
        sys.stderr.write(f"{one.name}: scored, {time.perf_counter() - started:.0f} s\n")
    return pd.concat([table for table in found if len(table)])


def score_rows(tables: dict[str, pd.DataFrame]) -> list[dict]:
    rows = []
    for rep, title in REPRESENTATIONS.items():
        row = {"representation": title}
        for size in SIZES.values():
            for tissue, table in tables.items():
                values = table.loc[rep, size]
                row[f"{tissue}, {size} labels"] = f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"
        rows.append(row)
    return rows


def order_rows(tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Agreement of the order of representations with that on real sets, and of real sets with each other."""
    rows = []
    for title, wanted in (("all", [True, False]), ("those of types", [True])):
        real = tables[TISSUES[0]]
        real = real[real["of_types"].isin(wanted)].rename_axis("rep").reset_index()
        for size in SIZES.values():
            wide = real.pivot(index="rep", columns="set", values=size)
            apart = [spearmanr(wide[name], wide.drop(columns=name).mean(axis=1))[0] for name in wide]
            row = {"real sets": title, "labels per class": size}
            for tissue in TISSUES[1:]:
                one = tables[tissue].groupby(level=0)[size].mean()
                row[f"{tissue} with {TISSUES[0]}"] = f"{spearmanr(one, wide.mean(axis=1).loc[one.index])[0]:.2f}"
            row["one real set with the others"] = f"{np.mean(apart):.2f} ({min(apart):.2f} to {max(apart):.2f})"
            rows.append(row)
    return rows


def few_rows(tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Mean intensity at five labels per class, set by set."""
    return [
        {"tissue": tissue, "set": row["set"], "classes": row["classes"], "mean intensity": f"{row['5']:.2f}"}
        | {"classical": f"{table.loc['classical'].set_index('set').loc[row['set'], '5']:.2f}"}
        for tissue, table in tables.items()
        for _, row in table.loc[["mean"]].iterrows()
    ]


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the image sets")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw images and statistics into this file")
    parser.add_argument("--only", choices=("statistics", "scores"), help="one of the two parts")
    arguments = parser.parse_args()
    _harness.quiet()
    makers: dict[str, Callable[[], list[Set]]] = {
        TISSUES[0]: lambda: [one for read in REAL for one in read(arguments.data)],
        TISSUES[1]: lambda: [one for seed in SEEDS for one in simulated("easy", seed)],
        TISSUES[2]: lambda: [one for seed in SEEDS for one in simulated("real", seed)],
    }
    tissues = {name: make() for name, make in makers.items()}
    if arguments.only != "scores":
        _harness.part("statistics")
        found = [statistics(sets) for sets in tissues.values()]
        _harness.table(statistics_rows(*found))
        if arguments.figure:
            _realism_figure.draw(arguments.figure, found)
    if arguments.only != "statistics":
        tables = {name: all_scores(sets) for name, sets in tissues.items()}
        for part, rows in (("scores", score_rows), ("order", order_rows), ("sets", few_rows)):
            _harness.part(part)
            _harness.table(rows(tables))
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
