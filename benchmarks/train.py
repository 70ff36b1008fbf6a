"""How fast windows are read for training, and in how much memory.

    python benchmarks/train.py windows [--sides 2048 4096 8192] [--markers 20] [--workers 0 2] [--read store packed]

`windows`: one square image of noise that compresses, on disk in chunks of 512 pixels, for a model that takes three
channels of a window (KRONOS: 224 of 256 pixels) and one that takes 75 to 100 % of them (VirTues: 128 of 256, at
1 µm). Windows a second in random order, from the store and from packed pixels, and the peak memory of a process that
opens the store, makes its statistics and reads 200 windows in random order, less what it had after the imports.
Processor time is that of the reading process, whose torch has one thread; it depends little on other jobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _harness
from _harness import head, part, printed_last, row

N_TIMED = 200
MODELS = {"kronos": {"size": 256, "crop": 224}, "virtues": {"size": 256, "crop": 128}}


def opened(store: Path, model: str, **options):
    """Windows over a store, as the paper of the model has them."""
    import numpy as np

    from spatialfm.train import Windows

    panel = None
    if model == "virtues":
        import spatialdata as sd

        names = [str(name) for name in next(iter(sd.read_zarr(store).images.values())).c.values]
        panel = {"embeddings": {name: np.ones(640, np.float32) for name in names}, "on_unknown": "drop"}
    return Windows(store, model, panel=panel, recipe={"tissue": "all"}, **MODELS[model], **options)


def timed(windows, workers: int) -> tuple[float, float]:
    """Windows a second in random order, and milliseconds of processor time of this process for each."""
    import numpy as np
    from torch.utils.data import DataLoader

    order = np.random.default_rng(0).integers(len(windows), size=N_TIMED).tolist()
    options = {"num_workers": workers, "collate_fn": list, "prefetch_factor": 2 if workers else None}
    loader = DataLoader(_Sampled(windows), batch_size=8, sampler=order, **options)
    batches = iter(loader)
    next(batches)
    start, used = time.perf_counter(), time.process_time()
    n = sum(len(batch) for batch in batches)
    return n / (time.perf_counter() - start), (time.process_time() - used) / n * 1000


class _Sampled:
    """What a step would draw of each window."""

    def __init__(self, windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int):
        from spatialfm.train.batch import random_of

        return self.windows.sample(index, random_of(0, 0, index, 1)).pixels


def resident(name: str) -> float:
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return float("nan")


def measure(task: str, store: str, cache: str, model: str, workers: str) -> None:
    """One row, in a process of its own."""
    import torch

    import spatialfm as sfm
    from spatialfm.train import Windows  # noqa: F401  imported before memory is looked at

    torch.set_num_threads(1)
    _harness.quiet()
    sfm.settings.cache_dir = cache
    before = resident("VmRSS")
    packed = {"cache": Path(cache) / f"pack_{model}_{Path(store).stem}"} if task == "packed" else {}
    start = time.perf_counter()
    windows = opened(Path(store), model, **packed)
    ready = time.perf_counter() - start
    speed, cost = timed(windows, int(workers))
    found = {"ready": ready, "speed": speed, "cost": cost, "peak": resident("VmHWM") - before}
    print(json.dumps({"n": len(windows), **found}))


def windows(args) -> None:
    part("windows")
    head(
        "model",
        "side",
        "windows",
        "read from",
        "workers",
        "ready after (s)",
        "windows a second",
        "processor ms a window",
        "peak (MiB)",
    )
    with tempfile.TemporaryDirectory() as folder:
        for side in args.sides:
            store = Path(folder) / f"{side}.zarr"
            code = (
                "import pathlib, _generated; "
                f"_generated.generated_store(pathlib.Path({str(store)!r}), {side}, {args.markers}, table=False)"
            )
            here = Path(__file__).parent
            subprocess.run([sys.executable, "-c", code], check=True, cwd=here, capture_output=True)
            for model in args.models:
                for task in args.read:
                    for workers in args.workers:
                        found = printed_last(__file__, "_measure", task, str(store), folder, model, str(workers))
                        row(
                            model,
                            side,
                            found["n"],
                            task,
                            workers,
                            f"{found['ready']:.1f}",
                            f"{found['speed']:.0f}",
                            f"{found['cost']:.1f}" if not workers else "",
                            f"{found['peak']:.0f}",
                        )


def main() -> None:
    if sys.argv[1:2] == ["_measure"]:
        measure(*sys.argv[2:])
        return
    parser = _harness.parser(__doc__)
    parser.add_argument("parts", nargs="*", default=["windows"], choices=["windows"])
    parser.add_argument("--sides", nargs="*", type=int, default=[2048, 4096, 8192])
    parser.add_argument("--read", nargs="*", default=["store", "packed"], choices=["store", "packed"])
    parser.add_argument("--markers", type=int, default=20)
    parser.add_argument("--workers", nargs="*", type=int, default=[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    for name in args.parts:
        {"windows": windows}[name](args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
