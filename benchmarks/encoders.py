"""Parameters, floating-point operations a cell and cells a second of every encoder, on this machine.

    python benchmarks/encoders.py [--markers 18] [--models kronos virtues ...] [--density 8000]

Weights are random: they cost what real ones cost. A model that works on tiles is charged one tile for the cells of one
stride, at `--density` cells a mm². Operations are counted by torch's own counter in one forward pass (a multiplication
and an addition are two; what happens inside fused attention on a CPU is not seen); seconds are the median of several
passes after one that does not count. Ratios within one run mean more than the figures, which are this machine's.
"""

from __future__ import annotations

import gc
import time

import _harness
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import spatialfm as sfm

STRIDE = 42


def inputs(encoder, n_markers: int, window: int, batch: int):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((batch, n_markers, window, window), generator=generator)
    mask = torch.zeros((batch, window, window), dtype=torch.bool)
    middle = slice(window // 2 - 8, window // 2 + 8)
    mask[:, middle, middle] = True
    if encoder.n_marker_ids:
        markers = torch.arange(n_markers)
    elif encoder.card.marker_vocabulary == "protein embedding":
        markers = torch.randn((n_markers, encoder.marker_dim), generator=generator)
    else:
        markers = None
    return pixels, markers, mask


def measure(name: str, n_markers: int, density: float, seconds: float) -> dict:
    card = sfm.models.card(name)
    encoder = sfm.models.load(name, weights="random" if card.needs_weights else None)
    window = card.recipe.window or 32
    batch = 1 if card.recipe.mode == "tile" or (card.parameters or 0) > 2e8 else 8
    pixels, markers, mask = inputs(encoder, n_markers, window, batch)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            encoder(pixels, markers, mask=mask)
        times, started = [], time.perf_counter()
        while len(times) < 3 or (time.perf_counter() - started < seconds and len(times) < 30):
            before = time.perf_counter()
            encoder(pixels, markers, mask=mask)
            times.append(time.perf_counter() - before)
    per_window = density * 1e-6 * (STRIDE * card.mpp) ** 2 if card.recipe.mode == "tile" else 1.0
    return {
        "model": name,
        "parameters (M)": f"{sum(parameter.numel() for parameter in encoder.parameters()) / 1e6:.1f}",
        "unit": f"{card.recipe.mode} of {window} px",
        "GFLOP a window": f"{counter.get_total_flops() / batch / 1e9:.2f}",
        "GFLOP a cell": f"{counter.get_total_flops() / batch / per_window / 1e9:.2f}",
        "cells a second": f"{batch * per_window / np.median(times):.1f}",
    }


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--markers", type=int, default=18)
    parser.add_argument("--density", type=float, default=8000, help="cells a mm², for models that work on tiles")
    parser.add_argument("--seconds", type=float, default=5, help="seconds a model, beyond three passes")
    parser.add_argument("--models", nargs="*", help="default: all but those with more than 5e8 parameters")
    arguments = parser.parse_args()
    sfm.settings.verbosity = 0
    names = arguments.models
    if not names:
        cards = [sfm.models.card(name) for name in sfm.models.list_models().index]
        names = [card.name for card in cards if not card.remote_code and (card.parameters or 0) < 5e8]
    rows = []
    for name in names:
        rows.append(measure(name, arguments.markers, arguments.density, arguments.seconds))
        gc.collect()
    print(f"{arguments.markers} markers, float32, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    _harness.table(rows)
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
