"""Calls of markers on the melanoma table (Moldoveanu et al. 2022) beside those that were published with it.

    python benchmarks/positivity.py --data <folder with the sets> [--write docs/positivity.md]

The published calls were made sample by sample. `sfm.tl.marker_positivity` calls the same means by the mixture of each
sample and is given the published calls to compare with. A published call *fails* in a sample where 99 % of its cells or
more are positive: a threshold below all cells.
"""

from __future__ import annotations

from pathlib import Path

import _harness
import anndata as ad
import numpy as np
import pandas as pd
from _harness import head, row

import spatialfm as sfm

LINEAGE = ["CD3", "CD8A", "CD20", "CD45", "CD31", "SOX10", "FOXP3", "MKI67"]


def read(folder: Path) -> ad.AnnData:
    """Means of the lineage markers, with the published calls as a layer."""
    table = pd.read_parquet(folder / "cells.parquet")
    obs = pd.DataFrame({"sample": table["sample_id"].astype(str).to_numpy()}, index=table.index.astype(str))
    cells = ad.AnnData(table[LINEAGE].to_numpy(np.float32), obs=obs, var=pd.DataFrame(index=LINEAGE))
    cells.layers["published"] = table[[f"{name}+" for name in LINEAGE]].to_numpy(np.float32)
    return cells


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    _harness.quiet()
    cells = read(arguments.data / "melanoma_imc_table")
    sfm.tl.marker_positivity(cells, compare_with="published")
    record = cells.uns["positive"]
    compared = record["agreement"].assign(fails=lambda table: table["note"] == "nearly all positive")
    between = record["between_samples"]
    failed = compared.groupby("sample")["fails"].any()
    print(f"{cells.n_obs:,} cells; the published calls of a marker fail in {failed.sum()} of {len(failed)} samples")
    head(
        "marker",
        "samples in which the published call fails",
        "positive there by ours, median (highest)",
        "Cohen's kappa in the other samples, median (lowest to highest)",
        "samples split by a threshold of their own",
        "called by that of all samples",
        "not called",
        "median share of cells that the others' threshold calls alike",
    )
    for name in LINEAGE:
        mine, status = compared[compared["marker"] == name], record["status"][name]
        there, elsewhere = mine.loc[mine["fails"], "share"], mine.loc[~mine["fails"], "kappa"].dropna()
        split, lost = int((status == "split").sum()), int(status.isin(["unclear", "not measured"]).sum())
        same = between.loc[between["marker"] == name, "same"].median()
        row(
            name,
            len(there),
            f"{there.median():.1%} ({there.max():.1%})" if there.notna().any() else "–",
            f"{elsewhere.median():.2f} ({elsewhere.min():.2f} to {elsewhere.max():.2f})" if len(elsewhere) else "–",
            split,
            len(status) - split - lost,
            lost,
            "–" if np.isnan(same) else f"{same:.1%}",
        )
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
