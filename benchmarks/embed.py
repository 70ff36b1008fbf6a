"""How fast, how large and how safe `embed_cells` is: every figure is a ratio taken in this run, on generated stores.

    python benchmarks/embed.py [--parts a b c d e f g] [--quick] [--device auto]

a  pipeline efficiency: cells a second of the whole call over those of the bare encoder on as many windows in memory
b  share of the measured rate of matrix products that the bare encoder reaches; bfloat16 over float32
c  KRONOS in tile mode (windows of 128 at stride 96) over its published crop recipe (token overlap)
d  peak memory against the side of the image, 20 markers of 16 bits
e  two dask workers over one
f  what an interruption costs
g  time of `import spatialfm`

Whatever is compared is measured in turn, the first pass is a warm-up, and medians are printed. Weights are random.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _harness
import numpy as np
import torch
from _generated import PITCH, generated_store
from _harness import printed_last, row, titled

import spatialfm as sfm
from spatialfm.embed.run.engine import choose_batch_size
from spatialfm.embed.windows.tiles import tile_starts

TILE = {"recipe": {"mode": "tile", "window": 128, "stride": 96, "padding": 0}, "outputs": "marker"}
HERE = Path(__file__).parent


def verdict(value: float, target: float, *, below: bool = False) -> str:
    return "reached" if (value <= target if below else value >= target) else "missed"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def clock_and_processor(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of the clock, and of all threads of this process, which carry further next to other work."""
    before = time.process_time()
    return seconds(work, device), time.process_time() - before


def in_turn(
    works: dict[str, Callable[[], object]], repeats: int, device: torch.device, timer: Callable = seconds
) -> dict[str, np.ndarray]:
    """Seconds of each, measured A B A B, the first pass left out."""
    taken = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            spent = timer(work, device)
            if repeat:
                taken[name].append(spent)
    return {name: np.array(values) for name, values in taken.items()}


def bare(encoder, n_windows: int, n_markers: int, window: int, batch: int, outputs: tuple[str, ...]) -> Callable:
    """The encoder alone on as many windows, in memory and in the same batches."""
    device = encoder.device
    pixels, markers = torch.randn((batch, n_markers, window, window), device=device), torch.arange(n_markers).to(device)

    def work() -> None:
        with torch.inference_mode():
            for first in range(0, n_windows, batch):
                encoder(pixels[: min(batch, n_windows - first)], markers, outputs=outputs)

    return work


def n_tiles(side: int) -> int:
    return len(tile_starts(side, TILE["window"], TILE["stride"])) ** 2


def part_a(encoder, folder: Path, args) -> None:
    titled(
        f"a. Pipeline efficiency, {args.cells} cells ({args.device}, float32)",
        *("markers", "mode", "windows", "statistics", "cells a second", "bare encoder", "efficiency", "target 0.95"),
        "efficiency (processor time)",
    )
    for n_markers in args.markers:
        # tiles are cheap a cell: they get the larger image, so that both run for long
        for mode, options, window, more in (("crop", {}, 64, 1), ("tile", TILE, 128, 10)):
            side = int(np.sqrt(args.cells * more)) * PITCH
            path = folder / f"a{n_markers}{mode}.zarr"
            sdata = generated_store(path, side, n_markers)
            n_cells = sdata["table"].n_obs
            windows = n_cells if mode == "crop" else n_tiles(side)
            batch = min(choose_batch_size(encoder, n_markers, window, sfm.settings.batch_memory), windows)
            # published statistics come with KRONOS's weights; those of the cohort cost a pass over the pixels
            panel = sfm.pp.match_markers(sdata.images["image_a"].coords["c"].values)
            given = {row.marker or row.channel: (0.4, 0.3) for row in panel.itertuples()}
            spent = in_turn(
                {
                    "given": lambda sdata=sdata, options=options, given=given: embed(
                        sdata, encoder, **options | {"recipe": options.get("recipe", {}) | {"statistics": given}}
                    ),
                    "of the cohort": lambda sdata=sdata, options=options: embed(sdata, encoder, **options),
                    "bare": bare(
                        encoder, windows, n_markers, window, batch, ("marker",) if mode == "crop" else ("token",)
                    ),
                },
                args.repeats,
                encoder.device,
                clock_and_processor,
            )
            for name in ("given", "of the cohort"):
                ratio, processor = np.median(spent["bare"] / spent[name], axis=0)
                rates = [f"{n_cells / np.median(spent[which][:, 0]):.1f}" for which in (name, "bare")]
                reached = verdict(ratio, 0.95)
                row(n_markers, mode, windows, name, *rates, f"{ratio:.3f}", reached, f"{processor:.3f}")
            shutil.rmtree(path)


def embed(sdata, encoder, **options):
    return sfm.tl.embed_cells(sdata, encoder, panel={"on_unknown": "keep"}, copy=True, run={"resume": False}, **options)


def forward_flops(encoder, n_markers: int, window: int) -> float:
    """Of one window: 2 a multiplication and addition, in linear layers, patch embedding and both products of attention.

    Counted by hand, as torch's counter does not see inside fused attention on a CPU; without that part both agree.
    """
    config, n_blocks = encoder.backbone.config, len(encoder.executed)
    stride = config.stride or config.patch_size
    tokens = n_markers * ((window - config.patch_size) // stride + 1) ** 2
    length, dim = tokens + 1 + config.registers, config.dim
    linear = 2 * length * dim * dim * (4 + 2 * config.mlp_ratio)  # projections of attention, and the feed-forward layer
    attention = 4 * length**2 * dim
    return n_blocks * (linear + attention) + 2 * tokens * dim * config.patch_size**2 * config.in_channels


def product_rate(m: int, k: int, n: int, dtype: torch.dtype, device: torch.device) -> tuple[Callable, float]:
    a, b = torch.randn((m, k), dtype=dtype, device=device), torch.randn((k, n), dtype=dtype, device=device)
    times = max(1, int(2e10 / (2 * m * k * n)) * (50 if device.type == "cuda" else 1))

    def work() -> None:
        for _ in range(times):
            torch.mm(a, b)

    return work, 2.0 * m * k * n * times


def part_b(encoder, folder: Path, args) -> None:
    device, n_markers, window = encoder.device, 18, 64
    batch = choose_batch_size(encoder, n_markers, window, sfm.settings.batch_memory)
    flops = forward_flops(encoder, n_markers, window) * batch
    forward = bare(encoder, batch, n_markers, window, batch, ("marker",))
    length = batch * (n_markers * 16 + 1 + encoder.backbone.config.registers)
    shapes = {"2048³": (2048, 2048, 2048), "the model's": (length, 384, 1536)}
    titled(
        f"b. Share of the machine's matrix products, KRONOS at 18 markers, batches of {batch} ({args.device})",
        *("type", "products of", "GFLOP/s there", "GFLOP/s of the encoder", "cells a second", "share", "target"),
    )
    speeds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):

        def encode(dtype=dtype) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                forward()

        works, counted = {"encoder": encode}, {"encoder": flops}
        for label, shape in shapes.items():
            works[label], counted[label] = product_rate(*shape, dtype, device)
        spent = in_turn(works, 3 * args.repeats, device)
        rates = {label: counted[label] / np.median(values) / 1e9 for label, values in spent.items()}
        speeds[name] = batch / np.median(spent["encoder"])
        for label in shapes:
            share = rates["encoder"] / rates[label]
            target = f"0.7: {verdict(share, 0.7)}" if name == "float32" else ""
            row(
                name,
                label,
                f"{rates[label]:.0f}",
                f"{rates['encoder']:.0f}",
                f"{speeds[name]:.1f}",
                f"{share:.2f}",
                target,
            )
    ratio = speeds["bfloat16"] / speeds["float32"]
    print(f"\nbfloat16 over float32: {ratio:.2f} (target 1.7: {verdict(ratio, 1.7)})", flush=True)


def part_c(encoder, folder: Path, args) -> None:
    titled(
        f"c. KRONOS in tile mode over its published crops, 18 markers, 20,000 cells a mm² ({args.device})",
        *("tiles", "cells a second in tiles", "cells a second in crops", "ratio", "target 8"),
    )
    overlap = sfm.models.load("kronos", weights="random", token_overlap=True).to(encoder.device)
    crops = generated_store(folder / "crops.zarr", int(np.sqrt(args.cells / 8)) * PITCH, 18)
    tiles = generated_store(folder / "tiles.zarr", int(np.sqrt(args.cells * 8)) * PITCH, 18)
    for name, model in (("16 px tokens", encoder), ("token overlap", overlap)):
        works = {
            "tile": lambda model=model: embed(tiles, model, **TILE),
            "crop": lambda: embed(crops, overlap),
        }
        spent = in_turn(works, max(1, args.repeats - 1), encoder.device)
        rates = [table["table"].n_obs / np.median(spent[kind]) for kind, table in (("tile", tiles), ("crop", crops))]
        ratio = rates[0] / rates[1]
        row(name, *(f"{rate:.1f}" for rate in rates), f"{ratio:.1f}", verdict(ratio, 8))


def part_d(encoder, folder: Path, args) -> None:
    sides = (1024, 2048) if args.quick else (4096, 8192, 16384)
    titled(
        "d. Peak memory of the embedding process, 20 markers of 16 bits",
        *("cells", "model", "side", "rows x columns", "peak (GiB)", "over the smallest", "kept on disk", "target"),
    )
    few = 20_000 if not args.quick else 2_000
    settings = [
        ("the same number", "mean-intensity", lambda side: max(PITCH, int(side / np.sqrt(few)))),
        ("dense", "mean-intensity", lambda side: PITCH),
    ]
    for cells, model, pitch in settings:
        first = None
        for side in sides:
            store = folder / f"d{side}.zarr"
            make = f"from _generated import *; generated_store({str(store)!r}, {side}, 20, pitch={pitch(side)})"
            subprocess.run([sys.executable, "-W", "ignore", "-c", make], cwd=HERE, check=True, capture_output=True)
            found = peak(store, folder / "cache", model)
            first = first or found["peak"]
            growth = found["peak"] / first
            fits = growth <= 1.1 and found["peak"] < 3 * 2**30
            target = ("reached" if fits else "missed") if cells == "the same number" else ""
            row(
                cells,
                model,
                side,
                " x ".join(map(str, found["shape"])),
                f"{found['peak'] / 2**30:.2f}",
                f"{growth:.2f}",
                "yes" if found["on_disk"] else "no",
                target,
            )
            shutil.rmtree(store)
    if not args.quick:
        store = folder / "columns.zarr"
        generated_store(store, 1024, 20, pitch=40)
        for limit in ("1 GiB", "1 KiB"):
            found = peak(store, folder / "cache", "kronos", limit)
            shape = " x ".join(map(str, found["shape"]))
            row(
                "625",
                f"kronos, result_memory={limit}",
                1024,
                shape,
                f"{found['peak'] / 2**30:.2f}",
                "",
                "yes" if found["on_disk"] else "no",
                "",
            )


def peak(store: Path, cache: Path, *arguments: str) -> dict:
    return printed_last("-W", "ignore", str(HERE / "_peak.py"), str(store), str(cache), *arguments)


def part_e(encoder, folder: Path, args) -> None:
    from dask.distributed import Client, LocalCluster

    if encoder.device.type != "cpu":
        print("\npart e is measured on the CPU only")
        return
    titled("e. Two dask workers of one thread over one", "workers", "cells a second", "ratio", "target 1.8")
    side = int(np.sqrt(args.cells)) * PITCH
    sdata = generated_store(folder / "e.zarr", side, 10)
    rates = {1: [], 2: []}
    from spatialfm.embed.windows.crop import CropJob

    CropJob.block_side = side // 4  # sixteen blocks, so that the last one does not decide
    for n_workers in (1, 2) * (1 if args.quick else args.repeats):
        options = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            embed(sdata, encoder, run={"client": client})  # workers start up, load torch and the weights
            spent = seconds(lambda client=client: embed(sdata, encoder, run={"client": client}), encoder.device)
            rates[n_workers].append(sdata["table"].n_obs / spent)
    del CropJob.block_side
    CropJob.block_side = 1024
    one, two = (np.median(rates[n]) for n in (1, 2))
    row(1, f"{one:.1f}", "", "")
    row(2, f"{two:.1f}", f"{two / one:.2f}", verdict(two / one, 1.8))


class Stopping(torch.nn.Module):
    """Hook that interrupts after some windows."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def __call__(self, module, inputs) -> None:
        self.left -= len(inputs[0])
        if self.left < 0:
            raise KeyboardInterrupt


def part_f(encoder, folder: Path, args) -> None:
    from spatialfm.embed.windows.crop import CropJob

    titled(
        "f. A run interrupted halfway and resumed, over an undisturbed one", "run", "seconds", "overhead", "target 2 %"
    )
    side = int(np.sqrt(args.cells)) * PITCH
    sdata = generated_store(folder / "f.zarr", side, 18)
    n_cells = sdata["table"].n_obs
    CropJob.block_side = side // 8
    spent: dict[str, list[float]] = {"undisturbed": [], "stopped and resumed": []}
    wasted = []
    for repeat in range(args.repeats + 1):
        whole = seconds(lambda: embed(sdata, encoder), encoder.device)
        counted = [0]
        count = encoder.register_forward_pre_hook(
            lambda module, inputs, counted=counted: counted.__setitem__(0, counted[0] + len(inputs[0]))
        )
        stop = encoder.register_forward_pre_hook(Stopping(n_cells // 2))

        def interrupted(stop=stop) -> None:
            try:
                embed(sdata, encoder)
            except KeyboardInterrupt:
                stop.remove()
            sfm.tl.embed_cells(sdata, encoder, panel={"on_unknown": "keep"}, copy=True)

        both = seconds(interrupted, encoder.device)
        count.remove()
        if repeat:
            again = (counted[0] - n_cells) / n_cells  # windows of the block that was stopped, encoded twice
            spent["undisturbed"].append(whole)
            spent["stopped and resumed"].append(both - again * whole)
            wasted.append(again)
    CropJob.block_side = 1024
    overhead = float(np.median(np.array(spent["stopped and resumed"]) / np.array(spent["undisturbed"]))) - 1
    row("undisturbed", f"{np.median(spent['undisturbed']):.1f}", "", "")
    taken = np.median(spent["stopped and resumed"])
    row("stopped and resumed", f"{taken:.1f}", f"{100 * overhead:.1f} %", verdict(overhead, 0.02, below=True))
    print(
        f"\nThe block that was stopped is encoded again: {100 * np.median(wasted):.1f} % of the windows, not counted."
    )


def part_g(encoder, folder: Path, args) -> None:
    print("\n### g. Import\n", flush=True)
    subprocess.run([sys.executable, str(HERE / "import_time.py")], check=True)


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices="abcdefg", default=list("abcdefg"))
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the ratios mean little")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cells", type=int, help="cells of a run")
    parser.add_argument("--markers", type=int, nargs="+", help="of part a")
    parser.add_argument("--repeats", type=int)
    args = parser.parse_args()
    args.cells = args.cells or (64 if args.quick else 600)
    args.markers = args.markers or ([2] if args.quick else [10, 18, 40])
    args.repeats = args.repeats or (1 if args.quick else 3)
    _harness.quiet()
    encoder = sfm.models.load("kronos", weights="random").to(sfm.models.encoder.resolve_device(args.device))
    args.device = encoder.device.type
    sfm.settings.device = args.device
    print(f"spatialfm {sfm.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, {args.device}")
    with tempfile.TemporaryDirectory() as folder:
        sfm.settings.cache_dir = Path(folder) / "cache"
        for part in args.parts:
            _harness.part(part)
            globals()[f"part_{part}"](encoder, Path(folder), args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
