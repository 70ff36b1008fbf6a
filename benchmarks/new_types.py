"""How often a type without labels is proposed, and how often something is proposed where every type has labels.

    python benchmarks/new_types.py --data <folder with the sets> [--features <folder>] [--results rows.csv]

Of each type with 40 cells or more (at most the eight commonest) all labels are taken away, and `sfm.tl.propose_types`
is asked, with several seeds. Found: a proposal most of whose named cells are of the type. Others are proposals that
are not. Labels are of 160 cells that `sfm.tl.suggest_labels` asks for, or of ten cells of each type (at most half of
them), drawn at random. Of large sets 3,000 cells are looked at, at most 300 of a patient.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import _harness
import numpy as np
import pandas as pd
from _harness import head, row
from annotation import read
from scipy.spatial import cKDTree

import spatialfm as sfm
from spatialfm._keys import PATIENT_KEY

if TYPE_CHECKING:
    from anndata import AnnData

SIMULATED, SETS = ("sim0", "sim1", "sim2", "sim3", "sim4", "sim5"), ("crc_core", "dcis", "dcis_table", "melanoma")
SUGGESTED, AT_RANDOM = "160, suggested", "10 per type, at random"
MIN_CELLS, MAX_TYPES, MAX_CELLS = 40, 8, 3000


def simulated(seed: int, kept: Path | None) -> AnnData:
    """Cells of a cohort that is as hard as tissue, with `classical` and the type of the true cell at each."""
    if kept is not None and kept.exists():
        return pickle.loads(kept.read_bytes())
    sdata = sfm.datasets.simulate_cohort(n_patients=16, n_samples=1, image_size=176, random_state=seed)
    sfm.pp.cell_table(sdata)
    sfm.tl.embed_cells(sdata, "classical")
    cells, truth = sdata["table"], sdata["truth"]
    cells.obs["label"] = pd.Series(index=cells.obs_names, dtype=object)
    for sample in cells.obs["sample"].unique():
        mine, theirs = cells.obs["sample"] == sample, truth.obs["sample"] == sample
        distance, nearest = cKDTree(truth.obsm["spatial"][theirs]).query(cells.obsm["spatial"][mine])
        names = truth.obs["type"][theirs].astype(str).to_numpy()[nearest]
        cells.obs.loc[mine, "label"] = np.where(distance < 3, names, None)  # within the cell
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(cells))
    return cells


def some_patients(cells: AnnData) -> AnnData:
    if cells.n_obs <= 2 * MAX_CELLS:
        return cells
    key = PATIENT_KEY if PATIENT_KEY in cells.obs else "sample"
    of, rng, rows = cells.obs[key].astype(str).to_numpy(), np.random.default_rng(0), []
    for name in rng.permutation(np.unique(of)):
        mine = np.flatnonzero(of == name)
        rows.append(rng.choice(mine, min(len(mine), MAX_CELLS // 10), replace=False))
        if sum(map(len, rows)) > MAX_CELLS:
            break
    return cells[np.sort(np.concatenate(rows))].copy()


def labelled(cells: AnnData, use_rep: str, how: str, seed: int) -> pd.Series:
    """Names of the cells that have a label."""
    truth, known = cells.obs["label"].astype(object), pd.Series(index=cells.obs_names, dtype=object)
    if how == SUGGESTED:
        asked = sfm.tl.suggest_labels(cells, use_rep=use_rep, n=160, random_state=seed).index
        known[asked] = truth[asked]
        return known
    rng = np.random.default_rng(seed)
    for name, members in truth.groupby(truth).groups.items():
        if len(members) > 3:
            known[rng.choice(members, min(10, len(members) // 2), replace=False)] = name
    return known


def of_type(proposed: pd.Series, truth: pd.Series, name: str) -> tuple[int, int]:
    """Cells of the type in proposals that are mostly of it, and the number of the other proposals."""
    inside, others = 0, 0
    for one in proposed.cat.categories:
        names = truth[proposed == one].dropna()
        mine = int((names == name).sum())
        inside, others = (inside + mine, others) if mine > len(names) / 2 else (inside, others + 1)
    return inside, others


def evaluate(name: str, cells: AnnData, use_rep: str, how: str, alphas: list[float], seeds: int) -> list[dict]:
    truth = cells.obs["label"].astype(object)
    known, counts = labelled(cells, use_rep, how, 0), truth.value_counts()
    types = [one for one in counts.index if counts[one] >= MIN_CELLS and (known == one).any()][:MAX_TYPES]
    rows = []
    for left_out in [*types, ""]:
        cells.obs["known"] = pd.Categorical(known.where(known != left_out))
        for alpha in alphas:
            for seed in range(seeds):
                options = {"use_rep": use_rep, "alpha": alpha, "random_state": 1000 * seed, "copy": True}
                proposed = sfm.tl.propose_types(cells, "known", **options)["proposed"]
                inside, others = of_type(proposed, truth, left_out)
                one = {"set": name, "labels": how, "alpha": alpha, "left out": left_out, "seed": seed}
                rows.append(one | {"inside": inside, "cells": int((truth == left_out).sum()), "others": others})
    return rows


COLUMNS = (
    "data", "labels", "alpha", "types", "found (share of types and seeds)", "all seeds agree (share of types)",
    "of its cells", "other proposals", "proposals, nothing left out",
)  # fmt: skip


def summary(rows: pd.DataFrame) -> list[dict]:
    table = []
    for (name, how, alpha), part in rows.groupby(["set", "labels", "alpha"], sort=False):
        without, whole = part[part["left out"] != ""], part[part["left out"] == ""]
        inside = (without["inside"] > 0).groupby(without["left out"]).mean()
        shares = (
            inside.mean(),
            inside.isin([0, 1]).mean(),
            (without["inside"] / without["cells"]).mean(),
            without["others"].mean(),
            whole["others"].mean(),
        )
        cells = [name, how, f"{alpha:g}", str(len(inside)), *(f"{share:.2f}" for share in shares)]
        table.append(dict(zip(COLUMNS, cells, strict=True)))
    return table


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument("--only", nargs="*", choices=[*SIMULATED, *SETS], default=[*SIMULATED, *SETS])
    parser.add_argument("--alpha", nargs="*", type=float, default=[0.05])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--features", type=Path, help="folder for representations, made once")
    parser.add_argument("--results", type=Path, help="rows of earlier runs, to which those of this one are added")
    arguments = parser.parse_args()
    _harness.quiet()
    kept = pd.read_csv(arguments.results) if arguments.results and arguments.results.exists() else pd.DataFrame()
    kept = kept.fillna({"left out": ""})
    for name in arguments.only:
        if len(kept) and name in set(kept["set"]):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name in SIMULATED:
                folder = arguments.features
                cells = simulated(int(name[3:]), None if folder is None else folder / f"{name}.pkl")
                how = SUGGESTED if int(name[3:]) < 4 else AT_RANDOM
            else:
                cells, how = some_patients(read(name, arguments.data, arguments.features)[0].cells), AT_RANDOM
            use_rep = "X_classical" if "X_classical" in cells.obsm else "X"
            rows = evaluate(name, cells, use_rep, how, arguments.alpha, arguments.seeds)
        kept = pd.concat([kept, pd.DataFrame(rows)], ignore_index=True)
        if arguments.results:
            kept.to_csv(arguments.results, index=False)
        sys.stderr.write(f"{name}\n")
    made = {(one["data"], one["alpha"]): list(one.values()) for one in summary(kept)} if len(kept) else {}
    known = {(one[0], one[2]): one for one in _harness.rows_of(arguments.write, "new_types.py")}  # of sets not run now
    head(*COLUMNS)
    for cells in (known | made).values():
        row(*cells)
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
