"""Types that nobody labelled: is a type whose labels are taken away proposed, and is anything where none is?

    python benchmarks/new_types.py [--data <folder with the sets>] [--only cells dcis ...] [--results rows.csv]

Of each set the labels of one of its commonest types are taken away in turn, and once none. A type is found if a
proposal of `sfm.tl.propose_types` is mostly of it. Labels are ten of each type, drawn at random, or those that
`sfm.tl.suggest_labels` asks for. Of large tables so many cells are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import _harness
import _labelled
import numpy as np
import pandas as pd

import spatialfm as sfm
from spatialfm._demo import true_rows

if TYPE_CHECKING:
    from anndata import AnnData

ALPHAS, N_TYPES, N_EACH, N_SUGGESTED, MOST = (0.1, 0.2), 4, 10, 96, 8000
LEAST = 60  # cells of a type that is left out


def simulated_cells(data: Path | None) -> tuple[str, AnnData, str]:
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=250, latent_noise=0.2, batch_effect=0.5, random_state=0)
    return "`simulate_cells`, noise 0.2", cells, "X_latent"


def simulated_cohort(difficulty: str) -> tuple[str, AnnData, str]:
    sdata = sfm.datasets.simulate_cohort(8, n_samples=1, image_size=176, difficulty=difficulty, random_state=0)
    sfm.tl.embed_cells(sdata, "classical")
    cells = sdata["table"]
    cells.obs["type"] = true_rows(sdata, cells)["type"].to_numpy(object)  # none of a mask that is on no cell
    return f'`simulate_cohort(difficulty="{difficulty}")`, `classical`', cells, "X_classical"


def real(name: str, data: Path) -> tuple[str, AnnData, str]:
    task = _labelled.SETS[name](data)
    cells = task.cells[task.cells.obs["label"].notna().to_numpy()]
    rows = np.random.default_rng(0).permutation(cells.n_obs)[:MOST]
    cells = cells[np.sort(rows)].copy()
    cells.obs["type"] = cells.obs["label"].astype(object)
    if "patient" not in cells.obs:
        cells.obs["patient"] = "one"
    return f"{task.name}, {cells.n_vars} means", cells, "X"


SETS = {
    "cells": (simulated_cells, "random"),
    "easy": (lambda data: simulated_cohort("easy"), "suggested"),
    "real": (lambda data: simulated_cohort("real"), "suggested"),
    "dcis": (lambda data: real("dcis_table", data), "random"),
    "crc": (lambda data: real("crc_core", data), "random"),
    "melanoma": (lambda data: real("melanoma", data), "random"),
}


def labelled(cells: AnnData, rep: str, how: str, left_out: str | None) -> pd.Series:
    """Known types: ten cells of each, or those that are suggested, but for the type that is left out."""
    truth = cells.obs["type"].astype(object)
    if how == "suggested":
        chosen = sfm.tl.suggest_labels(cells, use_rep=rep, n=N_SUGGESTED, random_state=0).index
    else:
        rng = np.random.default_rng(0)
        groups = truth.groupby(truth).groups.values()
        chosen = np.concatenate([rng.choice(m, min(N_EACH, len(m) // 2), replace=False) for m in groups if len(m) > 3])
    known = pd.Series(index=cells.obs_names, dtype=object)
    known[chosen] = truth[chosen]
    return known.where(truth != left_out)


def evaluate(name: str, data: Path | None) -> pd.DataFrame:
    """One row per threshold and type that is left out; the last of none."""
    title, cells, rep = SETS[name][0](data)
    truth = cells.obs["type"].astype(object)
    counts = truth.value_counts()
    types = [one for one in counts.index if counts[one] >= LEAST][:N_TYPES]
    rows = []
    for left_out in (*types, None):
        cells.obs["known"] = labelled(cells, rep, SETS[name][1], left_out)
        for alpha in ALPHAS:
            sfm.tl.propose_types(cells, "known", use_rep=rep, alpha=alpha)
            record = cells.uns["proposed_types"]
            proposed = cells.obs["proposed_types"]
            of_it = [(truth[proposed == one] == left_out).mean() for one in record["table"].index]
            rows.append(
                {
                    "set": name,
                    "title": title,
                    "types": len(counts),
                    "labels": int(cells.obs["known"].notna().sum()),
                    "alpha": alpha,
                    "left out": left_out or "",
                    "hit": max(of_it, default=0.0) > 0.5,
                    "proposals": len(of_it),
                    "novel": record["params"]["novel"],
                }
            )
        sys.stderr.write(f"{name}: without {left_out}\n")
    return pd.DataFrame(rows)


def table_rows(rows: pd.DataFrame) -> list[dict]:
    """One row per set and threshold."""
    out = []
    for (name, alpha), part in rows.groupby(["set", "alpha"], sort=False):
        without, whole = part[part["left out"] != ""], part[part["left out"] == ""].iloc[0]
        out.append(
            {
                "data": whole["title"],
                "types": whole["types"],
                "labels": f"{whole['labels']}, {'at random' if SETS[name][1] == 'random' else 'suggested'}",
                "`alpha`": alpha,
                "left-out types that are proposed": f"{int(without['hit'].sum())} of {len(without)}",
                "nothing left out: novel cells": f"{100 * whole['novel']:.0f} %",
                "proposals": whole["proposals"],
            }
        )
    return out


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder with the sets")
    parser.add_argument("--only", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--results", type=Path, help="rows of earlier runs, to which those of this one are added")
    arguments = parser.parse_args()
    _harness.quiet()
    kept = pd.DataFrame()
    if arguments.results and arguments.results.exists():
        kept = pd.read_csv(arguments.results, keep_default_na=False)
    for name in arguments.only:
        if not len(kept) or name not in set(kept["set"]):
            kept = pd.concat([kept, evaluate(name, arguments.data)], ignore_index=True)
            if arguments.results:
                kept.to_csv(arguments.results, index=False)
    _harness.table(table_rows(kept))
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
