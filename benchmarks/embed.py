"""How much of the bare encoder's speed `embed_cells` keeps, in one run on a generated store.

    python benchmarks/embed.py [--cells 400] [--markers 10 18 40] [--repeats 3]

Efficiency is the cells a second of the whole pipeline (reading from a store, cutting, normalising, masking, encoding,
writing finished blocks) over those of the encoder alone on the same number of windows, in memory and in the same
batches. Both are measured in turn and the median of their ratios is printed. Weights are random.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import spatialdata as sd
import torch
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm.embed.engine import choose_batch_size

PITCH = 14  # pixels from cell to cell at 0.5 µm: as dense as a lymph node


def generated_store(folder: Path, n_cells: int, n_markers: int) -> sd.SpatialData:
    """Noise with a disk of 12 pixels every `PITCH`, written and read back, so that pixels come from disk."""
    per_side = int(np.ceil(np.sqrt(n_cells)))
    side = per_side * PITCH
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    disk = (y % PITCH - PITCH / 2) ** 2 + (x % PITCH - PITCH / 2) ** 2 < 36
    labels = np.where(disk, 1 + (y // PITCH) * per_side + x // PITCH, 0).astype(np.int32)
    image = rng.integers(0, 60000, (n_markers, side, side), dtype=np.uint16)
    scale = {"a": Scale([0.5, 0.5], axes=("x", "y"))}
    names = [f"marker{number}" for number in range(n_markers)]
    chunks = (1, 512, 512)
    sdata = sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(
                da.from_array(image, chunks), dims=("c", "y", "x"), c_coords=names, transformations=dict(scale)
            )
        },
        labels={
            "cells_a": Labels2DModel.parse(
                da.from_array(labels, chunks[1:]), dims=("y", "x"), transformations=dict(scale)
            )
        },
    )
    sdata.write(folder / "cohort.zarr")
    sdata = sd.read_zarr(folder / "cohort.zarr")
    sfm.pp.cell_table(sdata, morphology=False)
    return sdata


def bare_seconds(encoder, n_windows: int, n_markers: int, window: int, batch: int, outputs) -> float:
    """Seconds of the encoder alone."""
    pixels = torch.randn((batch, n_markers, window, window))
    markers = torch.arange(n_markers)
    started = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, n_windows, batch):
            encoder(pixels[: min(batch, n_windows - first)], markers, outputs=outputs)
    return time.perf_counter() - started


def pipeline_seconds(sdata, encoder, **options) -> tuple[float, int]:
    """Seconds of one whole call, everything included, and the number of windows."""
    started = time.perf_counter()
    table = sfm.tl.embed_cells(sdata, encoder, on_unknown="keep", copy=True, resume=False, **options)
    seconds = time.perf_counter() - started
    return seconds, table.n_obs


def n_tiles(sdata, window: int, stride: int, padding: int) -> int:
    from spatialfm.embed.tiles import tile_starts

    height, width = sdata["image_a"].shape[1:]
    return len(tile_starts(height, window, stride, padding)) * len(tile_starts(width, window, stride, padding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--markers", type=int, nargs="+", default=[10, 18, 40])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    encoder = sfm.models.load("kronos", weights="random")
    tile = {"mode": "tile", "window": 128, "stride": 96, "padding": 0, "outputs": "marker"}
    print(f"KRONOS, float32, {torch.get_num_threads()} threads, {arguments.cells} cells\n")
    print("| markers | mode | windows | cells a second | bare encoder | efficiency |\n|---|---|---|---|---|---|")
    for n_markers in arguments.markers:
        with tempfile.TemporaryDirectory() as folder:
            sfm.settings.cache_dir = Path(folder) / "cache"
            sdata = generated_store(Path(folder), arguments.cells, n_markers)
            for mode, options, window in (("crop", {}, 64), ("tile", tile, 128)):
                batch = choose_batch_size(encoder, n_markers, window, sfm.settings.batch_memory)
                ratios, rates = [], []
                for _ in range(arguments.repeats + 1):
                    seconds, n_cells = pipeline_seconds(sdata, encoder, **options)
                    windows = n_cells if mode == "crop" else n_tiles(sdata, 128, 96, 0)
                    bare = bare_seconds(encoder, windows, n_markers, window, min(batch, windows), ("marker",) if mode == "crop" else ("token",))
                    ratios.append(bare / seconds)
                    rates.append((n_cells / seconds, n_cells / bare))
                rate, bare_rate = np.median(rates[1:], axis=0)  # the first pass is a warm-up
                row = (n_markers, mode, windows, f"{rate:.1f}", f"{bare_rate:.1f}", f"{np.median(ratios[1:]):.2f}")
                print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
