"""Damaged files against the readers: each is read, or refused in the package's own words, in bounded time and memory.

    python tests/fuzz/fuzz.py [--minutes 60] [--seed 0] [--out fuzz_failures]

A file that ends in another exception, in a crash, takes over 10 s or over 1 GiB is written into the folder `--out`,
and the command fails. `--replay FILE ...` tries single files, `--keep N` writes the corpus of the tests again, `--kept`
counts what is in it. What is printed is the table of docs/reliability.md.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bases import NAMES, bases
from mutations import mutate

CORPUS = Path(__file__).with_name("corpus.zip")
SECONDS, BYTES = 10, 2**30
# a crash of LZW codes (see spatialfm.io._lzw), 65,535 samples a pixel that took 10 s, a strip before the file, memory
# overwritten for tables of a JPEG (see spatialfm.io._jpeg), a header of thousands of names that took 10 s
ONCE_FAILED = (202_798, 20_276_688, 20_281_828, 77_765, 40_001_914)
TITLES = {
    "image": "images", "labels": "masks", "xml": "OME-XML", "table": "cohort tables", "names": "lists of channels",
    "json": "lists of channels", "fasta": "FASTA, vectors, weights", "vector": "FASTA, vectors, weights",
    "weights": "FASTA, vectors, weights",
}  # fmt: skip
_KEPT = {"table": ("image.tif", "labels.tif"), "labels": ("image.tif",)}


def attempt(name: str, content: bytes, folder: Path) -> str:
    """What becomes of a file: ``read``, or ``refused``.

    Raises
    ------
    Exception
        Whatever else the readers raise.
    """
    import spatialfm as sfm
    from spatialfm._errors import SpatialfmError

    kind, _, file = name.partition("_")
    whole = _whole_files()
    for needed in _KEPT.get(kind, ()):
        (folder / needed).write_bytes(whole[needed])
    path = folder / file
    path.write_bytes(content)
    if kind == "xml":
        path = folder / "member.ome.tif"
        path.write_bytes(_member(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _READ[kind](sfm, path)
    except SpatialfmError:
        return "refused"
    return "read"


def _image(sfm, path: Path) -> None:
    sdata = sfm.io.read_tiff(path, mpp=0.5)
    image = next(iter(sdata.images.values()))
    _all_pixels(image["scale0"].ds["image"].data if hasattr(image, "children") else image.data)


def _all_pixels(array) -> None:
    """Every block, one after the other; of very many, the first and last."""
    from itertools import product

    places = list(product(*(range(n) for n in array.numblocks))) if array.npartitions < 4096 else [(0,) * array.ndim]
    for place in places[:64] + places[64:][-64:]:
        array.blocks[place].compute(scheduler="synchronous")


def _labels(sfm, path: Path) -> None:
    sdata = sfm.io.read_tiff(path.with_name("image.tif"), path, cast_labels=True, mpp=0.5)
    sfm.pp.check_labels(sdata)
    sfm.pp.cell_table(sdata, on_pieces="keep", on_missing="drop")


def _table(sfm, path: Path) -> None:
    sfm.io.read_cohort(path, channel_names=NAMES, mpp=0.5, on_pieces="keep")


def _names(sfm, path: Path) -> None:
    image = path.with_name("whole.tif")
    image.write_bytes(_whole_files()["image.tif"])
    sfm.io.read_tiff(image, channel_names=path, mpp=0.5)


def _fasta(sfm, path: Path) -> None:
    from spatialfm.embed.markers.sequences import fasta_text, read_fasta

    read_fasta(fasta_text(path), str(path))


def _vector(sfm, path: Path) -> None:
    from spatialfm.embed.markers.protein_vectors import read_vector

    read_vector(path, 8)


def _weights(sfm, path: Path) -> None:
    from spatialfm.models.hub import _read

    _read(path)


_READ = {
    "image": _image, "xml": _image, "labels": _labels, "table": _table, "names": _names, "json": _names,
    "fasta": _fasta, "vector": _vector, "weights": _weights,
}  # fmt: skip


def _whole_files() -> dict[str, bytes]:
    if not _WHOLE:
        found = bases()
        _WHOLE.update({"image.tif": found["image_shaped.tif"], "labels.tif": found["labels_raw.tif"]})
    return _WHOLE


_WHOLE: dict[str, bytes] = {}


def _member(xml: bytes) -> bytes:
    """A TIFF with damaged OME-XML as its description."""
    import io

    import tifffile

    stream = io.BytesIO()
    pixels = np.arange(3 * 32 * 40, dtype=np.uint16).reshape(3, 32, 40)
    with tifffile.TiffWriter(stream) as tif:
        for i, plane in enumerate(pixels):
            tif.write(plane, description=xml if i == 0 else None, metadata=None, contiguous=False)
    return stream.getvalue()


def _case(base_files: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    rng = np.random.default_rng(seed)
    names = sorted(base_files)
    name = names[rng.integers(len(names))]
    return name, mutate(base_files[name], rng, base_files[names[rng.integers(len(names))]])


@contextlib.contextmanager
def bounded(seconds: int):
    """Raise TimeoutError where the block takes more of the processor's time."""

    def stop(*_):
        raise TimeoutError(f"over {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _worker(seeds: range, connection) -> None:
    """Cases of these seeds, in a process that may take 1 GiB more than it has."""
    import logging

    import imagecodecs  # noqa: F401  loaded before the limit counts

    import spatialfm as sfm

    sfm.settings.progress, sfm.settings.verbosity = False, 0
    logging.getLogger("tifffile").disabled = True
    base_files = bases()
    for name, content in base_files.items():  # everything is imported, and every base is a whole file
        with tempfile.TemporaryDirectory() as folder:
            found = attempt(name, content, Path(folder))
            expected = "refused" if name in ("labels_planes.ome.tif", "json_panel.csv") else "read"
            if found != expected:
                raise SystemExit(f"{name} is {found}")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for seed in seeds:
        connection.send(("start", seed, None))
        name, content = _case(base_files, seed)
        with tempfile.TemporaryDirectory() as folder:
            try:
                with bounded(SECONDS):
                    outcome = attempt(name, content, Path(folder))
                detail = None
            except BaseException as error:
                outcome = type(error).__name__
                detail = "".join(traceback.format_exception(error))
        connection.send((outcome, seed, detail))
    connection.send(("end", -1, None))


def _processor_time(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # its end of the pipe states it
    return times.user + times.system


def run(seeds: range, out: Path | None, until: float | None = None) -> Counter:
    """Outcomes by name; failures are written into `out`."""
    counts: Counter = Counter()
    base_files = bases()
    context = multiprocessing.get_context("spawn")
    start = seeds.start
    while start < seeds.stop and (until is None or time.time() < until):
        here, there = context.Pipe()
        stop = min(start + 2000, seeds.stop)
        process = context.Process(target=_worker, args=(range(start, stop), there))
        process.start()
        there.close()
        current, used = None, 0.0
        while True:
            try:
                while not here.poll(SECONDS):  # on a busy machine its clock says nothing
                    if _processor_time(process.pid) - used > 6 * SECONDS:
                        raise TimeoutError
                outcome, seed, detail = here.recv()
            except EOFError:
                process.join()
                outcome, seed, detail = "crash", current, f"process ended with {process.exitcode}"
            except TimeoutError:  # within a library, where no signal is heard
                outcome, seed, detail = "hang", current, f"nothing for {6 * SECONDS} s of processor time"
            if outcome == "start":
                current, used = seed, _processor_time(process.pid)
                continue
            if outcome == "end":
                break
            if seed is None:
                raise SystemExit("The bases cannot be read: see above.")
            name, content = _case(base_files, seed)
            counts[(name.partition("_")[0], outcome)] += 1
            if outcome not in ("read", "refused") and out is not None:
                out.mkdir(parents=True, exist_ok=True)
                (out / f"{seed}_{outcome}_{name}").write_bytes(content)
                (out / f"{seed}_{outcome}_{name}.log").write_text(detail or "")
            if outcome in ("crash", "hang") or (until is not None and time.time() > until):
                break
        process.kill()
        process.join()
        start = (current if current is not None else stop) + 1
    return counts


def keep(n: int) -> None:
    """Write the corpus: damaged files of every kind, as many refused as read, and those that were neither once."""
    base_files = bases()
    kinds: Counter = Counter()
    with zipfile.ZipFile(CORPUS, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for seed in ONCE_FAILED:
            name, content = _case(base_files, seed)
            info = zipfile.ZipInfo(f"{seed:06d}/refused/{name}", (2000, 1, 1, 0, 0, 0))
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
        seed = 0
        while sum(kinds.values()) < n and seed < 20_000:
            name, content = _case(base_files, seed)
            with tempfile.TemporaryDirectory() as folder:
                outcome = attempt(name, content, Path(folder))
            if kinds[(name, outcome)] < (2 if outcome == "read" else 5) and len(content) < 60_000:
                kinds[(name, outcome)] += 1
                info = zipfile.ZipInfo(f"{seed:06d}/{outcome}/{name}", (2000, 1, 1, 0, 0, 0))
                archive.writestr(info, content, zipfile.ZIP_DEFLATED)
            seed += 1


def table(counts: Counter) -> str:
    """Rows of a page: by kind of file, how many were tried, read, refused, and neither."""
    rows: dict[str, Counter] = {title: Counter() for title in TITLES.values()}
    for (kind, outcome), n in counts.items():
        rows[TITLES[kind]][outcome if outcome in ("read", "refused") else "neither"] += n
    lines = ["| kind of file | tried | read | refused | neither |", "| --- | --- | --- | --- | --- |"]
    for title, row in rows.items():
        lines.append(f"| {title} | {row.total():,} | {row['read']:,} | {row['refused']:,} | {row['neither']:,} |")
    return "\n".join(lines)


def kept() -> Counter:
    """Kinds and outcomes of the corpus."""
    with zipfile.ZipFile(CORPUS) as archive:
        parts = [name.split("/") for name in archive.namelist()]
    return Counter((name.partition("_")[0], outcome) for _, outcome, name in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--out", type=Path, default=Path("fuzz_failures"))
    parser.add_argument("--replay", type=Path, nargs="*")
    parser.add_argument("--keep", type=int)
    parser.add_argument("--kept", action="store_true")
    args = parser.parse_args()
    if args.keep:
        keep(args.keep)
        return
    if args.kept:
        print(table(kept()))
        return
    if args.replay:
        for path in args.replay:
            name = path.name.split("_", 2)[2]
            with tempfile.TemporaryDirectory() as folder, bounded(60):
                print(path.name, attempt(name, path.read_bytes(), Path(folder)))
        return
    shutil.rmtree(args.out, ignore_errors=True)
    counts = run(range(args.seed, args.seed + args.cases), args.out, time.time() + 60 * args.minutes)
    print(table(counts))
    wrong = sum(n for (_, outcome), n in counts.items() if outcome not in ("read", "refused"))
    print(f"{sum(counts.values()):,} files, {wrong} neither read nor refused")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
