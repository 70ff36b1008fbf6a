"""Large cohorts: how fast cells are measured, how time grows with their number, and what memory they take.

    python benchmarks/scale.py [--parts a b c d e] [--functions niches ...] [--few] [--cells 250000 ...] [--quick]

a  `cell_table` over `skimage.measure.regionprops_table` with the same columns; memory against the side of the image
b  model `classical` on blocks, over the same formulas on windows
c  growth: seconds of `neighborhood_composition`, `niches`, `build_index` and `search`, `leiden_sweep`,
   `discover_signatures` at 0.25, 0.5, 1 and 2 million cells, and the exponent between two sizes (n log n is 1.07
   there); a table a function, so that ``--write docs/performance.md`` leaves those of the others. `search` is asked
   for the neighbours of all cells, of 50,000 whatever their number, and of 50,000 of another patient, which the index
   does not hold; the least of three calls
d  files of 2 million cells imported, measured and joined to graphs: peak memory
e  an image of 20,000 x 20,000 pixels, 20 markers and 200,000 cells: table, embedding, composition; peak memory

Images and cells are generated. Compared code runs in turn in this process; whatever is measured alone has a process of
its own. Seconds of processor time stand next to those of the clock: on a machine with other work they carry further.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import _harness
import numpy as np
import pandas as pd
from _harness import row, titled
from _large import COMPILES, simulated, with_neighbours

HERE = Path(__file__).parent
FUNCTIONS = ("neighborhood_composition", "niches", "search", "leiden_sweep", "discover_signatures")
REPEATS = 3  # of `search`, of which the least counts
QUERIES = 50_000  # that a cohort of any size is asked for
COLUMNS = ("area", "perimeter", "axis_major_length", "axis_minor_length", "equivalent_diameter_area", "orientation",
           "eccentricity", "solidity")  # fmt: skip


def timed_step(name: str, work: Callable[[], object], repeats: int = 1, **more: object) -> None:
    """Print what a step took (the least of `repeats`) and the peak of the process so far, for `lines_alone`."""
    clock, processor = min((timed(work) for _ in range(repeats)), key=lambda seconds: seconds[1])
    print(json.dumps({"step": name, "clock": clock, "processor": processor, "peak": peak(), **more}), flush=True)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def in_turn(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Median seconds ``(2,)`` of each, measured A B A B after one pass that is not counted."""
    taken: dict[str, list] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            spent = timed(work)
            if repeat:
                taken[name].append(spent)
    return {name: np.median(values, axis=0) for name, values in taken.items()}


def lines_alone(part: str, **arguments: object) -> Iterator[dict]:
    """What its own process prints, line by line."""
    command = [sys.executable, "-W", "ignore", str(HERE / "scale.py"), "--alone", part, json.dumps(arguments)]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as run:
            yield from (json.loads(line) for line in run.stdout if line.startswith("{"))
        if run.returncode:
            errors.seek(0)
            raise SystemExit(errors.read())


def alone(part: str, **arguments: object) -> dict:
    """The last line that its own process prints: what it found, and its peak memory in GiB."""
    return list(lines_alone(part, **arguments))[-1]


def peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def part_a(folder: Path, args) -> None:
    import dask.array as da
    import spatialdata as sd
    from _generated import generated_store
    from skimage.measure import regionprops_table

    import spatialfm as sfm

    side = 512 if args.quick else 1024
    lazy = generated_store(folder / "a.zarr", side, 20, table=False)
    image, labels = lazy["image_a"].data.compute(), lazy["cells_a"].data.compute()
    held = sd.SpatialData(
        images={"image_a": lazy["image_a"].copy(data=da.from_array(image))},
        labels={"cells_a": lazy["cells_a"].copy(data=da.from_array(labels))},
    )
    planes = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    tables = {}

    def skimage() -> None:
        properties = ("label", "centroid", "intensity_mean", *COLUMNS)
        tables["skimage"] = pd.DataFrame(regionprops_table(labels, planes, properties=properties))

    works = {
        "skimage, in memory": skimage,
        "cell_table, in memory": lambda: tables.update(mine=sfm.pp.cell_table(held, copy=True)),
        "cell_table, from disk": lambda: sfm.pp.cell_table(lazy, copy=True),
    }
    spent = in_turn(works, args.repeats)
    n = len(tables["mine"])
    titled(
        f"a. {n:,} cells, 20 markers of 16 bits",
        *("what", "cells a second", "over skimage", "over skimage (processor time)", "target 5"),
    )
    for name, (clock, processor) in spent.items():
        ratios = spent["skimage, in memory"] / (clock, processor)
        reached = "" if name.startswith("skimage") else "reached" if ratios[0] >= 5 else "missed"
        row(name, f"{n / clock:,.0f}", *(f"{ratio:.1f}" for ratio in ratios), reached)
    print(f"\nLargest difference to skimage: {differences(tables['mine'], tables['skimage']):.1e}")
    sides = (512, 1024) if args.quick else (2048, 4096, 8192)
    cells = 1_000 if args.quick else 20_000
    titled("a. The same number of cells on larger images", "side", "cells", "peak (GiB)", "over the smallest")
    first = None
    for side in sides:
        found = alone("table", folder=str(folder), side=side, pitch=int(side / np.sqrt(cells)))
        first = first or found["peak"]
        row(f"{side:,}", f"{found['n']:,}", f"{found['peak']:.2f}", f"{found['peak'] / first:.2f}")


def differences(mine, theirs: pd.DataFrame) -> float:
    """Largest difference of any value, relative to 1 or to it where it is larger."""
    units = {name: 0.25 if name == "area" else 1.0 if name in COLUMNS[5:] else 0.5 for name in COLUMNS}
    pairs = [(mine.obs[name].to_numpy(), theirs[name] * unit) for name, unit in units.items()]
    pairs += [(mine.X[:, i], theirs[f"intensity_mean-{i}"]) for i in range(mine.n_vars)]
    pairs += [(mine.obsm["spatial"][:, i], (theirs[f"centroid-{1 - i}"] + 0.5) / 2) for i in range(2)]
    return max(float((abs(one - two) / np.maximum(1, abs(two))).max()) for one, two in pairs)


def alone_table(folder: str, side: int, pitch: int) -> dict:
    import spatialdata as sd

    import spatialfm as sfm

    path = Path(folder) / f"side{side}.zarr"
    make = f"from _generated import *; generated_store(Path({str(path)!r}), {side}, 20, pitch={pitch}, table=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", make], cwd=HERE, check=True, capture_output=True)
    return {"n": sfm.pp.cell_table(sd.read_zarr(path), copy=True).n_obs, "peak": peak()}


def part_b(folder: Path, args) -> None:
    from _generated import generated_store

    import spatialfm as sfm
    from spatialfm.embed.windows.crop import CropJob

    sdata = generated_store(folder / "b.zarr", 512 if args.quick else 1536, 20)
    n, rows = sdata["table"].n_obs, {}
    on_blocks = CropJob.measures

    def embed(name: str, measures: object) -> None:
        CropJob.measures = measures
        found = sfm.tl.embed_cells(sdata, "classical", panel={"on_unknown": "keep"}, copy=True, run={"resume": False})
        rows[name] = np.asarray(next(values for key, values in found.obsm.items() if key != "spatial"))

    works = {"windows": lambda: embed("windows", False), "blocks": lambda: embed("blocks", on_blocks)}
    spent = in_turn(works, args.repeats)
    titled(
        f"b. `classical`, {n:,} cells, 20 markers",
        *("pixels from", "cells a second", "over windows", "over windows (processor time)", "target 3"),
    )
    for name, (clock, processor) in spent.items():
        ratios = spent["windows"] / (clock, processor)
        reached = "" if name == "windows" else "reached" if ratios[0] >= 3 else "missed"
        row(name, f"{n / clock:,.0f}", *(f"{ratio:.1f}" for ratio in ratios), reached)
    print(f"\nLargest difference: {abs(rows['windows'] - rows['blocks']).max():.1e}")


def called(function: str, cells, few: bool) -> dict[str, Callable[[], object]]:
    """The function as users call it, or with `few` resolutions, subsets and shuffles (less that does not grow).

    Of `search`, few leaves out that its index is built.
    """
    import spatialfm as sfm

    sweep = {"resolutions": [0.5, 1.0], "n_subsamples": 1} if few else {}
    choice = {"resolutions": [4.0, 4.5], "nested": False, "n_permutations": 20} if few else {}
    choice |= {"outcome": "response", "positive": "yes", "max_cells": None}
    place = {"library_key": "sample", "n_neighbors": 10}
    if function == "niches":
        sfm.tl.neighborhood_composition(cells, "type", **place)
    if function == "search":
        made = {"index": with_neighbours(cells)} if few else {}
        drawn = np.random.default_rng(0).choice(cells.n_obs, min(QUERIES, cells.n_obs), replace=False)
        some = cells[drawn].copy()
        others = some.copy()  # each of them asks the graph
        of_others, rng = others.obsm["X_latent"], np.random.default_rng(1)
        others.obsm["X_latent"] = (of_others + rng.normal(0, 0.05 * of_others.std(axis=0), of_others.shape)).astype(
            of_others.dtype
        )
        others.obs_names, others.obs["patient"] = "other_" + others.obs_names, "another"
        steps: dict[str, Callable[[], object]] = {
            "build_index": lambda: made.update(index=sfm.tl.build_index(cells, "X_latent")),
            "search": lambda: sfm.tl.search(made["index"], cells, k=10),
            f"search, {some.n_obs:,} queries": lambda: sfm.tl.search(made["index"], some, k=10),
            f"search, {some.n_obs:,} cells of others": lambda: sfm.tl.search(made["index"], others, k=10),
        }
        if few:  # its neighbours are known without a graph
            del steps["build_index"], steps[f"search, {some.n_obs:,} cells of others"]
        return steps
    work = {
        "neighborhood_composition": lambda: sfm.tl.neighborhood_composition(cells, "type", **place),
        "niches": lambda: sfm.tl.niches(cells, 10),
        "leiden_sweep": lambda: sfm.tl.leiden_sweep(cells, use_rep="X_latent", **sweep),
        "discover_signatures": lambda: sfm.tl.discover_signatures(cells, use_rep="X_latent", **choice),
    }
    return {function: work[function]}


def alone_grow(function: str, sizes: list[int], few: bool, cache: str) -> None:
    """Seconds of each size, smallest first, in one process: what is compiled is compiled before."""
    import spatialfm as sfm
    from spatialfm import _origin

    sfm.settings.cache_dir = Path(cache)
    for n in [min(sizes[0], COMPILES), *sizes]:
        _origin.forget()  # results of the size before: its cells have the same names, and would be compared with these
        for name, work in called(function, simulated(n), few).items():
            # in seconds that other processes, which share the processor's cache, may double
            timed_step(name, work, REPEATS if name.startswith("search") else 1, n=n)


def part_c(folder: Path, args) -> None:
    sizes = args.cells or ([4_000, 8_000, 16_000] if args.quick else [250_000, 500_000, 1_000_000, 2_000_000])
    for function in args.functions:
        _harness.part(f"c-{function}")
        arguments = {"function": function, "sizes": sorted(sizes), "few": args.few, "cache": str(folder / "cache")}
        kept = _harness.rows_of(args.write, f"scale.py c-{function}")  # of other sizes
        rows = {(one[0], int(one[1].replace(",", ""))): (one[2], one[3], one[6]) for one in kept}
        for found in lines_alone("grow", **arguments):
            print(json.dumps(found), flush=True)
            if found["n"] in sizes:  # otherwise the one that compiles
                seconds = f"{found['clock']:.0f}", f"{found['processor']:.1f}", f"{found['peak']:.2f}"
                rows[f"`{found['step']}`", found["n"]] = seconds
        titled(
            f"c. Growth of {function}" + (", few resolutions, subsets and shuffles" if args.few else ""),
            *("function", "cells", "seconds", "processor (s)", "exponent (processor)", "n log n", "peak so far (GiB)"),
        )
        for name in dict.fromkeys(name for name, _ in sorted(rows)):
            _grown(name, {n: rows[name, n] for _, n in sorted(one for one in rows if one[0] == name)})


def _grown(name: str, rows: dict[int, tuple[str, str, str]]) -> None:
    """Rows of a function by size, with the exponent from one to the next."""
    before = None
    for n, (clock, processor, peak) in rows.items():
        exponents = ("", "")
        if before is not None and float(rows[before][1]) > 0:  # seconds to a tenth
            ratio = n / before
            usual = 1 + np.log(np.log(n) / np.log(before)) / np.log(ratio)
            grown = np.log(max(float(processor), 0.1) / float(rows[before][1])) / np.log(ratio)
            exponents = f"{grown:.2f}", f"{usual:.2f}"
        row(name, f"{n:,}", clock, processor, *exponents, peak)
        before = n


def write_files(folder: Path, n_cells: int, per_sample: int, n_markers: int) -> pd.DataFrame:
    """Images and masks as TIFF files, and the table that names them."""
    import tifffile
    from _generated import PITCH, RADIUS

    per_side = int(np.sqrt(per_sample))
    y, x = np.mgrid[:PITCH, :PITCH] - PITCH // 2
    disk = y**2 + x**2 < RADIUS**2
    rows = []
    for number in range(-(-n_cells // per_side**2)):
        rng = np.random.default_rng(number)
        numbers = np.arange(1, per_side**2 + 1, dtype=np.int32).reshape(per_side, per_side)
        mask = np.kron(numbers, disk.astype(np.int32))
        small = rng.integers(1, 64, (n_markers, per_side, per_side), dtype=np.uint16) * 900
        image = small.repeat(PITCH, axis=1).repeat(PITCH, axis=2)
        name, options = f"s{number:03d}", {"tile": (512, 512), "compression": "zlib"}
        tifffile.imwrite(folder / f"{name}.tif", image, photometric="minisblack", **options)
        tifffile.imwrite(folder / f"{name}_mask.tif", mask, **options)
        rows.append({"sample": name, "image": f"{name}.tif", "labels": f"{name}_mask.tif", "patient": f"p{number}"})
    return pd.DataFrame(rows)


def part_d(folder: Path, args) -> None:
    n = (args.cells or [8_000 if args.quick else 2_000_000])[-1]
    files = folder / "files"
    files.mkdir()
    write_files(files, n, 2_000 if args.quick else 100_000, 4).to_csv(files / "cohort.csv", index=False)
    titled(
        f"d. {n:,} cells from files, 4 markers",
        *("step", "seconds", "processor (s)", "peak so far (GiB)", "target 12"),
    )
    for step in lines_alone("import", folder=str(files)):
        reached = "reached" if step["peak"] < 12 else "missed"
        row(step["step"], f"{step['clock']:.0f}", f"{step['processor']:.0f}", f"{step['peak']:.2f}", reached)


def alone_import(folder: str) -> None:
    import squidpy as sq

    import spatialfm as sfm
    from spatialfm.learn.leiden import neighbour_graph

    names, held = ["DAPI", "CD3", "CD8", "CD68"], {}
    timed_step("read_cohort", lambda: held.update(sdata=sfm.io.read_cohort(
        f"{folder}/cohort.csv", channel_names=names, mpp=0.5, cell_table=False)))  # fmt: skip
    sdata = held["sdata"]
    timed_step("cell_table", lambda: sfm.pp.cell_table(sdata))
    cells = sdata["table"]
    kinds = pd.Categorical.from_codes(np.arange(cells.n_obs) % 12, [f"t{i}" for i in range(12)])
    cells.obs["type"] = kinds
    timed_step("neighborhood_composition", lambda: sfm.tl.neighborhood_composition(
        cells, "type", library_key="sample", n_neighbors=10))  # fmt: skip
    timed_step("squidpy's graph of 10 neighbours, kept", lambda: sq.gr.spatial_neighbors(
        cells, coord_type="generic", n_neighs=10, library_key="sample"))  # fmt: skip
    timed_step("graph of 15 nearest in the markers, kept", lambda: cells.obsp.update(
        markers=neighbour_graph(cells.X, 15, 0)))  # fmt: skip


def part_e(folder: Path, args) -> None:
    side, cells = (1_024, 2_000) if args.quick else (20_000, 200_000)
    path = folder / "large.zarr"
    pitch = int(side / np.sqrt(cells))
    make = f"from _generated import *; generated_store(Path({str(path)!r}), {side}, 20, pitch={pitch}, table=False)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", make], cwd=HERE, check=True, capture_output=True)
    titled(
        f"e. An image of {side:,} x {side:,} pixels, 20 markers, {(side // pitch) ** 2:,} cells",
        *("step", "seconds", "processor (s)", "cells a second", "peak so far (GiB)"),
    )
    for step in lines_alone("large", path=str(path), cache=str(folder / "cache")):
        rate = f"{(side // pitch) ** 2 / step['clock']:,.0f}"
        row(step["step"], f"{step['clock']:.0f}", f"{step['processor']:.0f}", rate, f"{step['peak']:.2f}")


def alone_large(path: str, cache: str) -> None:
    import spatialdata as sd

    import spatialfm as sfm

    sfm.settings.cache_dir = Path(cache)
    sdata = sd.read_zarr(path)
    timed_step("cell_table", lambda: sfm.pp.cell_table(sdata))
    cells = sdata["table"]
    timed_step("embed_cells, classical", lambda: sfm.tl.embed_cells(sdata, "classical", panel={"on_unknown": "keep"}))
    cells = sdata["table"]
    key = next(key for key in cells.obsm if key != "spatial")
    timed_step("cell_states, 20", lambda: sfm.tl.cell_states(cells, 20, use_rep=key))
    timed_step("neighborhood_composition", lambda: sfm.tl.neighborhood_composition(
        cells, "state", library_key="sample", n_neighbors=10))  # fmt: skip
    timed_step("composition", lambda: sfm.tl.composition(cells, "state", library_key="sample", patient_key=None))


ALONE = {"table": alone_table, "grow": alone_grow, "import": alone_import, "large": alone_large}


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices="abcde", default=list("abcde"))
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS), help="of part c")
    parser.add_argument(
        "--few", action="store_true", help="of part c: few resolutions, subsets and shuffles; no graph is built"
    )
    parser.add_argument("--cells", type=int, nargs="+", help="sizes of part c; the last is that of part d")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean little")
    parser.add_argument("--alone", nargs=2, metavar=("PART", "ARGUMENTS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.repeats = args.repeats or (1 if args.quick else 3)
    warnings.simplefilter("ignore")
    import spatialfm as sfm

    sfm.settings.progress, sfm.settings.verbosity = False, 0
    if args.alone:
        if (found := ALONE[args.alone[0]](**json.loads(args.alone[1]))) is not None:
            print(json.dumps(found))
        return
    print(f"spatialfm {sfm.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        sfm.settings.cache_dir = Path(folder) / "cache"
        for part in args.parts:
            _harness.part(part)
            globals()[f"part_{part}"](Path(folder), args)
    _harness.finish(args)


if __name__ == "__main__":
    main()
