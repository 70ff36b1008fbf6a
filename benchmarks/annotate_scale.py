"""Seconds and peak memory of `sfm.tl.annotate` on a million cells with a representation of 100 columns.

    python benchmarks/annotate_scale.py [--cells 1000000] [--columns 100] [--labels 20] [--methods linear lda ...]

Each method runs in a process of its own on two threads. Cells are of twelve types, in shares from 30 to 0.3 %, drawn
around means of their type; memory is the largest resident size of the process, of which the cells themselves are
0.4 GB per 100 columns. Columns are named as means of markers (`X`), so that arcsinh takes part.

The second table is what the choice of the penalty costs: seconds of `C="grid"` over those of a single fit with the C
that it found, on 20,000 labelled cells of 60 columns.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

N_TYPES = 12
THREADS = {name: "2" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def run(method: str, n_cells: int, n_columns: int, n_labels: int) -> dict:
    """Annotate, in this process."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData

    import spatialfm as sfm

    sfm.settings.verbosity, sfm.settings.progress = 0, False
    rng = np.random.default_rng(0)
    shares = np.geomspace(100, 1, N_TYPES)
    codes = rng.choice(N_TYPES, n_cells, p=shares / shares.sum())
    means = rng.normal(0, 0.7, (N_TYPES, n_columns)).astype(np.float32)
    values = rng.standard_normal((n_cells, n_columns), dtype=np.float32)
    for start in range(0, n_cells, 100_000):
        part = slice(start, start + 100_000)
        values[part] = np.exp(values[part] + means[codes[part]])
    labels = np.full(n_cells, np.nan, object)
    for code in range(N_TYPES):
        mine = np.flatnonzero(codes == code)
        labels[rng.choice(mine, min(n_labels, len(mine)), replace=False)] = f"type {code}"
    obs = pd.DataFrame({"label": pd.Categorical(labels)}, index=np.arange(n_cells).astype(str))
    cells = AnnData(values, obs=obs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, worked = time.perf_counter(), time.process_time()
    sfm.tl.annotate(cells, "label", use_rep="X", method=method, patient_key=None)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    found = cells.obs["label_predicted"].astype(str).to_numpy()
    right = np.mean([(found[codes == code] == f"type {code}").mean() for code in range(N_TYPES)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": seconds,
        "worked": worked,
        "before": before / 2**20,
        "peak": peak / 2**20,
        "recall": float(right),
    }


def penalty(n_cells: int = 20_000, n_columns: int = 60, n_runs: int = 3) -> dict:
    """What the search of the penalty costs, in this process."""
    import numpy as np

    from spatialfm.learn.probe import column_scaler, fit_probe

    rng = np.random.default_rng(0)
    codes = rng.integers(0, N_TYPES, n_cells)
    values = rng.standard_normal((n_cells, n_columns)) + rng.normal(0, 0.5, (N_TYPES, n_columns))[codes]
    scaler, labels = column_scaler(values), np.char.add("type ", codes.astype(str))
    spent: dict[str, list[float]] = {"grid": [], "single": []}
    for _ in range(n_runs):
        started = time.perf_counter()
        C = fit_probe(values, labels, head="linear", C="grid", scaler=scaler)[1]
        spent["grid"].append(time.perf_counter() - started)
        started = time.perf_counter()
        fit_probe(values, labels, head="linear", C=C, scaler=scaler)
        spent["single"].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in spent.items()} | {"C": C}


def main() -> None:
    import _harness

    parser = _harness.parser(__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--labels", type=int, default=20, help="labelled cells per type")
    parser.add_argument(
        "--methods", nargs="*", default=["ensemble", "linear", "lda", "nearest_mean", "self_training", "spreading"]
    )
    arguments = parser.parse_args()
    rows = []
    for method in arguments.methods:
        asked = [method, arguments.cells, arguments.columns, arguments.labels]
        found = _harness.printed_last(__file__, "--one", json.dumps(asked), env=os.environ | THREADS)
        rows.append(
            {
                "method": method,
                "cells": f"{arguments.cells:,}",
                "columns": arguments.columns,
                "labels per type": arguments.labels,
                "seconds": f"{found['seconds']:.0f}",
                "processor seconds": f"{found['worked']:.0f}",
                "peak memory (GiB)": f"{found['peak']:.1f}",
                "before annotate (GiB)": f"{found['before']:.1f}",
                "mean recall of types": f"{found['recall']:.3f}",
            }
        )
    _harness.part("methods")
    _harness.table(rows)
    found = penalty()
    _harness.part("penalty")
    _harness.table(
        [
            {
                "labelled cells": "20,000",
                "columns": 60,
                "C found": f"{found['C']:.3g}",
                "single fit (s)": f"{found['single']:.2f}",
                "with the grid (s)": f"{found['grid']:.2f}",
                "ratio": f"{found['grid'] / found['single']:.2f}",
            }
        ]
    )
    _harness.finish(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run(*json.loads(sys.argv[2]))))
    else:
        main()
