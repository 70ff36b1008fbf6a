"""Whether the tests would notice: one-line bugs are planted in a copy of the package, and tests are run on it.

    python tests/mutants/mutants.py [--only "stats/*"] [--jobs 1]

The list has one file for each room (`stats.toml` is that of `stats/`; `package.toml` that of the files beside the
rooms). An entry has a file of the package, a piece of its text that occurs there once, what takes its place, and the
tests that must fail. Those that pass are printed as survivors; none is the goal. The tests are first run
without any bug: one that fails anyway notices nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "spatialfm"
LISTS = sorted(Path(__file__).parent.glob("*.toml"))
LONGEST = 300  # seconds that the tests of one bug may take
LIBRARIES = (
    "anndata", "dask.array", "lifelines", "matplotlib.pyplot", "numba", "ot", "pandas", "pytest", "scanpy",
    "scipy.ndimage", "scipy.stats", "skimage.measure", "sklearn.cluster", "sklearn.linear_model", "sksurv.metrics",
    "spatialdata", "spatialdata.models", "squidpy", "statsmodels.api", "tifffile", "torch", "xarray", "zarr",
)  # fmt: skip
NOTICED = (1, -signal.SIGBUS, -signal.SIGSEGV)  # a test has failed, or the bug has ended the process that ran them
SEPARATE = 10**9  # time stamp of the first planted file: a compiled file of another bug is never taken


@dataclass(frozen=True)
class Mutant:
    """A one-line bug."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def list(self) -> str:
        """Name of the file of the list that the bug belongs to."""
        room, slash, _ = self.file.partition("/")
        return f"{room if slash else 'package'}.toml"

    @property
    def name(self) -> str:
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def text(self) -> str:
        """The file with the bug in it.

        Raises
        ------
        ValueError
            If its place is not found, or found twice: the file has changed, and the entry must follow.
        """
        text = (PACKAGE / self.file).read_text(encoding="utf-8")
        if (n := text.count(self.old)) != 1:
            raise ValueError(f"{self.file} has {self.old!r} {n} times. Change the entry of {self.list}.")
        return text.replace(self.old, self.new)


def read(lists: Sequence[Path] = LISTS) -> list[Mutant]:
    """All entries, room by room."""
    entries = [one for file in lists for one in tomllib.loads(file.read_text(encoding="utf-8"))["mutant"]]
    return [Mutant(one["file"], one["old"], one["new"], tuple(one["tests"])) for one in entries]


class Copy:
    """A copy of the package, in which one bug at a time is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_planted = folder, 0
        self.package = folder / "src" / "spatialfm"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def output(self) -> str:
        """What the last tests have printed."""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def plant(self, mutant: Mutant) -> None:
        """Write the file with the bug in it."""
        file = self.package / mutant.file
        file.write_text(mutant.text(), encoding="utf-8")
        self.n_planted += 1
        os.utime(file, (SEPARATE + self.n_planted, SEPARATE + self.n_planted))

    def clear(self, mutant: Mutant) -> None:
        """Write the file as it is."""
        shutil.copy2(PACKAGE / mutant.file, self.package / mutant.file)

    def start(self, tests: Sequence[str]) -> int:
        """Run tests on the copy, up to the first failure, in a process of its own; its number.

        The process is forked: libraries are loaded once for all bugs. The package itself is not loaded here.
        """
        if pid := os.fork():
            return pid
        code = 3
        try:
            with open(self.folder / "output", "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.environ |= {"NUMBA_CACHE_DIR": str(self.folder / "compiled"), "PYTHONPATH": str(self.package.parent)}
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            os.chdir(ROOT)
            sys.path.insert(0, str(self.package.parent))
            for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE.name]:
                del sys.modules[name]  # of the working tree, where the one who forks has loaded it
            import pytest

            code = int(pytest.main(["-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests]))
        finally:
            sys.stdout.flush()
            os._exit(code)  # nothing of the parent is cleaned up here

    def run(self, tests: Sequence[str], seconds: float = float("inf")) -> int | None:
        """Start tests and wait for their exit code; None where they took longer."""
        pid, started = self.start(tests), time.monotonic()
        while (code := ended(pid)) is None and time.monotonic() - started < seconds:
            time.sleep(0.02)
        return stop(pid) if code is None else code

    def survives(self, mutant: Mutant) -> str:
        """``""`` where a test fails; otherwise how the bug got away."""
        self.plant(mutant)
        code = self.run(mutant.tests, LONGEST)
        self.clear(mutant)
        return verdict(code, self)


def ended(pid: int) -> int | None:
    """Exit code of a process, None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def stop(pid: int) -> None:
    """End a process that takes too long."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def verdict(code: int | None, copy: Copy) -> str:
    """How a bug got away, by the exit code of its tests; ``""`` where one has failed."""
    if code is None:
        return f"no test failed in {LONGEST} s"
    if code in NOTICED:
        return ""
    return "all tests pass" if code == 0 else f"pytest ended with {code}: {copy.output[-300:]}"


def load_libraries() -> None:
    """Load what the tests need, so that it is loaded once; what is not installed is left out."""
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)


def run(mutants: Sequence[Mutant], jobs: int, folder: Path) -> list[tuple[Mutant, str]]:
    """Survivors, each with how it got away; one line is printed for each bug."""
    free, waiting = [Copy(folder / str(number)) for number in range(jobs)], list(mutants)
    at_work: dict[int, tuple[Mutant, Copy, float]] = {}
    survivors, n_done = [], 0
    while waiting or at_work:
        while waiting and free:
            mutant, copy = waiting.pop(0), free.pop()
            copy.plant(mutant)
            at_work[copy.start(mutant.tests)] = mutant, copy, time.monotonic()
        time.sleep(0.02)
        for pid, (mutant, copy, started) in list(at_work.items()):
            code, seconds = ended(pid), time.monotonic() - started
            if code is None and seconds < LONGEST:
                continue
            how = verdict(stop(pid) if code is None else code, copy)
            del at_work[pid]
            copy.clear(mutant)
            free.append(copy)
            n_done += 1
            kind = "SURVIVED" if how else "noticed"
            print(f"{n_done}/{len(mutants)} {kind} {seconds:.0f} s {mutant.name}", flush=True)
            if how:
                survivors.append((mutant, how))
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="files of the package, by a pattern such as stats/*")
    parser.add_argument("--jobs", type=int, default=1, help="bugs that are tried at the same time")
    parser.add_argument("--trusted", action="store_true", help="do not run the tests without a bug first")
    args = parser.parse_args()
    mutants = [one for one in read() if fnmatch(one.file, args.only)]
    if not mutants:
        parser.error(f"No planted bug is in a file like {args.only!r}: names are such as learn/temperature.py.")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        load_libraries()
        sound = Copy(Path(folder) / "sound")
        if not args.trusted and sound.run(tests) != 0:
            sys.exit(f"The tests do not pass without a bug, so that they cannot notice one:\n{sound.output[-3000:]}")
        print(f"tests pass without a bug, {time.perf_counter() - start:.0f} s", flush=True)
        survivors = run(mutants, args.jobs, Path(folder))
    print(f"\n{len(mutants)} bugs, {len(survivors)} survivors, {time.perf_counter() - start:.0f} s")
    for mutant, how in survivors:
        print(f"- {mutant.name}\n  {how}; tests: {' '.join(mutant.tests)}")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
