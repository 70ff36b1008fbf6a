"""Imputing a marker of large images: peak memory against the side, and a run that is killed and goes on.

    python benchmarks/impute_scale.py [--sides 2048 4096 8192 16384] [--kill 16384] [--write docs/imputation.md]

Images are generated (3 channels, one cell every 56 pixels) and read lazily from a store. The model is a small VirTues
with random weights: memory and bytes depend on its shape, not on what it has learned. Every run has a process of its
own. Each side has one row: what its process took at most, of which what libraries and weights take before the run is
shown apart. The killed run is ended with SIGKILL once half of its blocks are there, repeated, and compared file by file
with one that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _generated
import _harness
import numpy as np
from _harness import peak, printed_last, row, titled

CHANNELS = ["CD3", "CD20", "CD68"]
SHAPE = {"dim": 16, "heads": 1, "depth": 2, "decoder_depth": 1}
PITCH = 56


def child(store: str, cache: str) -> None:
    """Impute one marker of a store, and print what it took."""
    import spatialdata as sd

    import spatialfm as sfm

    _harness.quiet()
    sfm.settings.cache_dir = cache
    sdata = sd.read_zarr(store)
    encoder = sfm.models.new_encoder("virtues", **SHAPE)
    started, before = time.perf_counter(), peak()
    statistics = {name: (5.0, 2.0) for name in CHANNELS}
    sfm.tl.impute_markers(
        sdata,
        encoder,
        markers=["CD4"],
        elements={"mpp": 1.0},
        recipe={"statistics": statistics},
        panel={"markers": CHANNELS},
    )
    seconds = time.perf_counter() - started
    print(json.dumps({"peak": peak(), "before": before, "seconds": seconds, "digest": digest(Path(cache) / "imputed")}))


def digest(folder: Path) -> str:
    """SHA-256 of all files of a folder, with their names."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(folder)).encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def n_blocks(cache: Path) -> int:
    """Blocks that a run has finished."""
    return len(list(cache.glob("runs/*/block_*")))


def killed(store: Path, cache: Path, side: int) -> int:
    """Start a run and kill it once half of its blocks are there; how many there were."""
    half = max(1, int(np.ceil(side / 512)) ** 2 // 2)
    command = [sys.executable, __file__, "--child", str(store), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None and n_blocks(cache) < half:
            time.sleep(0.05)
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
    return n_blocks(cache)


def made(folder: Path, side: int) -> Path:
    """Store of one image."""
    store = folder / f"{side}.zarr"
    if not store.is_dir():
        _generated.MARKERS = CHANNELS
        _generated.generated_store(store, side, len(CHANNELS), pitch=PITCH)
    return store


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--sides", type=int, nargs="*", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--kill", type=int, default=16384, help="side of the image whose run is killed; 0: none")
    parser.add_argument("--folder", type=Path, help="where stores are made and kept")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    _harness.quiet()
    folder = args.folder or Path(tempfile.mkdtemp())
    whole = {}
    titled(
        "Peak memory of imputing one marker",
        "side, pixels",
        "tiles",
        "peak of the process, GB",
        "of the run, GB",
        "seconds",
    )
    for side in args.sides:
        done = printed_last(__file__, "--child", str(made(folder, side)), tempfile.mkdtemp(dir=folder))
        whole[side] = done["digest"]
        peaks = (done["peak"], done["peak"] - done["before"])
        tiles = int(np.ceil(side / 128)) ** 2
        row(f"{side:,}", f"{tiles:,}", *(f"{one / 1e9:.2f}" for one in peaks), f"{done['seconds']:.0f}")
    if args.kill:
        store, cache = made(folder, args.kill), Path(tempfile.mkdtemp(dir=folder))
        n = killed(store, cache, args.kill)
        again = printed_last(__file__, "--child", str(store), str(cache))
        if args.kill not in whole:
            whole[args.kill] = printed_last(__file__, "--child", str(store), tempfile.mkdtemp(dir=folder))["digest"]
        columns = ("side, pixels", "blocks when killed", "blocks", "same bytes", "peak of the second process, GB")
        titled("A run that was killed and repeated", *columns)
        blocks = int(np.ceil(args.kill / 512)) ** 2
        same = "yes" if again["digest"] == whole[args.kill] else "no"
        row(f"{args.kill:,}", f"{n:,}", f"{blocks:,}", same, f"{again['peak'] / 1e9:.2f}")
    _harness.finish(args)


if __name__ == "__main__":
    main()
