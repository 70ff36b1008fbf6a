"""Peak memory of one process that embeds a store: ``python benchmarks/_peak.py STORE CACHE MODEL [result_memory]``."""

from __future__ import annotations

import json
import resource
import sys
import warnings

import dask.array as da
import spatialdata as sd

import spatialfm as sfm


def main() -> None:
    store, cache, model = sys.argv[1:4]
    warnings.simplefilter("ignore")
    sfm.settings.progress, sfm.settings.verbosity, sfm.settings.cache_dir = False, 0, cache
    if len(sys.argv) > 4:
        sfm.settings.result_memory = sys.argv[4]
    sdata = sd.read_zarr(store)
    options = {"weights": "random", "run": {"precision": "bfloat16"}} if model == "kronos" else {}
    sfm.tl.embed_cells(sdata, model, panel={"on_unknown": "keep"}, **options)
    rows = next(values for key, values in sdata["table"].obsm.items() if key != "spatial")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "shape": rows.shape, "on_disk": isinstance(rows, da.Array)}))


if __name__ == "__main__":
    main()
