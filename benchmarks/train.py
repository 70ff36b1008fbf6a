"""How fast windows are read for training, in how much memory, and what the loop costs beside the network.

    python benchmarks/train.py windows [--sides 2048 4096 8192] [--markers 20] [--workers 0 2] [--read store packed]
    python benchmarks/train.py loop [--steps 48]

`windows`: one square image of noise that compresses, on disk in chunks of 512 pixels, for a model that takes three
channels of a window (KRONOS: 224 of 256 pixels) and one that takes 75 to 100 % of them (VirTues: 128 of 256, at
1 µm). Windows a second in random order, from the store and from packed pixels, and the peak memory of a process that
opens the store, makes its statistics and reads 200 windows in random order, less what it had after the imports.
Processor time is that of the reading process, whose torch has one thread; it depends little on other jobs.

`loop`: windows a second of processor time of `pretrain`'s loop, from the end of one step to that of the next, with
reading of windows, optimizer, norms and tables, over that of a forward and backward pass of the objective alone on the
windows of one batch in memory. The two take turns, so that what else the machine does meets both. The ratio is the
median of that of each turn, with its quartiles. One process, one thread; windows come from a packed cache.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import _harness
import numpy as np
from _harness import head, part, printed_last, row

N_TIMED = 200
MODELS = {"kronos": {"size": 256, "crop": 224}, "virtues": {"size": 256, "crop": 128}}
TIMED = {  # whose loop is timed: model, shape, windows and options; those that pretrain.py trains where these are None
    "virtues, patches of 8 px": ("virtues", {"dim": 64, "depth": 4, "heads": 4, "hidden": 128, "decoder_depth": 1},
                                 {"size": 64, "crop": 48, "stride": 48}, {}),
    "virtues, as trained here": ("virtues", None, {}, None),
    "kronos, patches of 16 px": ("kronos", {"dim": 96, "depth": 4, "heads": 4, "grid": 4},
                                 {"size": 80, "crop": 64, "stride": 64},
                                 {"local_size": 32, "n_local": 4, "prototypes": 1024, "hidden": 256, "bottleneck": 64}),
    "kronos, as trained here": ("kronos", None, {}, None),
}  # fmt: skip
FIRST = 2  # steps that are not counted


def opened(store: Path, model: str, **options):
    """Windows over a store, as the paper of the model has them."""
    from spatialfm.train import Windows

    panel = None
    if model == "virtues":
        import spatialdata as sd

        names = [str(name) for name in next(iter(sd.read_zarr(store).images.values())).c.values]
        panel = {"embeddings": {name: np.ones(640, np.float32) for name in names}, "on_unknown": "drop"}
    return Windows(store, model, panel=panel, recipe={"tissue": "all"}, **MODELS[model], **options)


def timed(windows, workers: int) -> tuple[float, float]:
    """Windows a second in random order, and milliseconds of processor time of this process for each."""
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


def loop(args) -> None:
    """Windows a second of processor time of the loop and of the bare passes."""
    import pretrain
    import torch

    import spatialfm as sfm

    _harness.quiet()
    sfm.settings.offline = True  # markers whose protein embedding does not come with the package are left out
    torch.set_num_threads(1)
    part("loop")
    head("model", "bare forward and backward (windows/s)", "loop (windows/s)", "ratio", "quartiles")
    sources = [pretrain.simulated(pretrain.TECHNOLOGIES[0], 4, 0)]  # of fewer images, the largest windows fill no batch
    for name, (model, shape, cut, options) in TIMED.items():
        with tempfile.TemporaryDirectory() as folder:
            windows = pretrain.windows_of(model, sources, Path(folder) / "packed") | cut
            encoder = sfm.models.new_encoder(model, **(pretrain.SHAPES[model] if shape is None else shape))
            options = pretrain.OPTIONS[model] if options is None else options
            bare, whole = turns(encoder, sfm.train.Windows(sources, encoder, **windows), options, args, Path(folder))
        ratio = np.percentile(bare / whole, [50, 25, 75])
        speeds = [f"{pretrain.BATCH / np.median(seconds):.1f}" for seconds in (bare, whole)]
        row(name, *speeds, f"{ratio[0]:.2f}", _harness.interval(*ratio[1:]))


def turns(encoder, windows, options: dict, args, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Processor seconds of a bare pass and of a step of the loop, in turns."""
    from pretrain import BATCH

    from spatialfm.train.checkpoint import Checkpoints
    from spatialfm.train.drawn import DrawnWindows
    from spatialfm.train.fabric import new_fabric
    from spatialfm.train.loop import train
    from spatialfm.train.objectives import new_objective
    from spatialfm.train.steps import batches_of
    from spatialfm.train.trainer import TrainingPlan

    objective = new_objective({"virtues": "masked", "kronos": "distill"}[encoder.card.name], encoder, **options)
    drawn = DrawnWindows(windows, 0, BATCH)
    made = next(batches_of(drawn, objective.views(), 0, range(1)))[1]
    objective.batch_size = BATCH
    watch = Clock(folder, partial(passes, copy.deepcopy(objective), [one.views for one in made]))
    plan = TrainingPlan(args.steps, BATCH, check_every=args.steps)
    train(new_fabric(), objective, drawn, plan, Checkpoints(folder / "checkpoints"), watch)
    return np.array(watch.bare[FIRST:]), np.array(watch.loop[FIRST:])


class Clock:
    """Processor time of each step of the loop, its row in the table included, and of a bare pass behind each."""

    def __init__(self, folder: Path, bare) -> None:
        from spatialfm.train.monitor import Monitor

        self.monitor, self.pass_alone = Monitor(folder), bare
        self.bare: list[float] = []
        self.loop: list[float] = []

    def resume(self, step: int) -> bool:
        unchecked = self.monitor.resume(step)
        self.started = time.process_time()
        return unchecked

    def step(self, step: int, values) -> None:
        self.monitor.step(step, values)
        self.loop.append(time.process_time() - self.started)
        began = time.process_time()
        self.pass_alone()
        self.started = time.process_time()
        self.bare.append(self.started - began)

    def check(self, step: int, seen) -> None:
        """None is of interest here."""


def passes(objective, views) -> None:
    """Forward and backward, at the values of a step in the middle."""
    objective.before_step(objective.schedule(10, 40))
    terms = objective(views)
    sum(term.weight * term.total / term.count for term in terms.values()).backward()
    objective.zero_grad(set_to_none=True)


def main() -> None:
    if sys.argv[1:2] == ["_measure"]:
        measure(*sys.argv[2:])
        return
    parser = _harness.parser(__doc__)
    parser.add_argument("parts", nargs="*", default=["windows"], choices=["windows", "loop"])
    parser.add_argument("--sides", nargs="*", type=int, default=[2048, 4096, 8192])
    parser.add_argument("--read", nargs="*", default=["store", "packed"], choices=["store", "packed"])
    parser.add_argument("--markers", type=int, default=20)
    parser.add_argument("--workers", nargs="*", type=int, default=[0])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--steps", type=int, default=48, help="of each loop")
    args = parser.parse_args()
    for name in args.parts:
        {"windows": windows, "loop": loop}[name](args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
