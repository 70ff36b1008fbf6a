"""Whether the tests would notice: one-line bugs are planted in a copy of the package, and tests are run on it.

    python tests/mutants/mutants.py [--only "stats/*"] [--jobs 1]

Each entry of `mutants.toml` has a file of the package, a piece of its text that occurs there once, what takes its
place, and the tests that must fail. Those that pass are printed as survivors; none is the goal. The tests are first run
without any bug: one that fails anyway notices nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "spatialfm"
LIST = Path(__file__).with_name("mutants.toml")
LONGEST = 300  # seconds that the tests of one bug may take
SEPARATE = 10**9  # time stamp of the first planted file: a compiled file of another bug is never taken


@dataclass(frozen=True)
class Mutant:
    """A one-line bug."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

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
            raise ValueError(f"{self.file} has {self.old!r} {n} times. Change the entry of {LIST.name}.")
        return text.replace(self.old, self.new)


def read() -> list[Mutant]:
    """All entries, in their order."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(one["file"], one["old"], one["new"], tuple(one["tests"])) for one in entries]


class Copy:
    """A copy of the package, in which one bug at a time is planted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.n_planted = folder, 0
        self.package = folder / "src" / "spatialfm"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def pytest(self, tests: Sequence[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run tests on the copy up to the first failure."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.package.parent),
            "NUMBA_CACHE_DIR": str(self.folder / "compiled"),
        }
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)

    def survives(self, mutant: Mutant) -> str:
        """``""`` where a test fails; otherwise how the bug got away."""
        file = self.package / mutant.file
        file.write_text(mutant.text(), encoding="utf-8")
        self.n_planted += 1
        os.utime(file, (SEPARATE + self.n_planted, SEPARATE + self.n_planted))
        try:
            done = self.pytest(mutant.tests, LONGEST)
        except subprocess.TimeoutExpired:
            return ""  # a bug that never ends is noticed
        finally:
            shutil.copy2(PACKAGE / mutant.file, file)
        if done.returncode == 1:
            return ""
        return (
            "all tests pass" if done.returncode == 0 else f"pytest ended with {done.returncode}: {done.stdout[-300:]}"
        )


def run(mutants: Sequence[Mutant], jobs: int, folder: Path) -> list[tuple[Mutant, str]]:
    """Survivors, each with how it got away; one line is printed for each bug."""
    copies: Queue[Copy] = Queue()
    for number in range(jobs):
        copies.put(Copy(folder / str(number)))

    def one(mutant: Mutant) -> str:
        copy = copies.get()
        try:
            return copy.survives(mutant)
        finally:
            copies.put(copy)

    survivors = []
    with ThreadPoolExecutor(jobs) as pool:
        for number, (mutant, how) in enumerate(zip(mutants, pool.map(one, mutants), strict=True), 1):
            print(f"{number}/{len(mutants)} {'SURVIVED' if how else 'noticed'} {mutant.name}", flush=True)
            if how:
                survivors.append((mutant, how))
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="files of the package, by a pattern such as stats/*")
    parser.add_argument("--jobs", type=int, default=1, help="bugs that are tried at the same time")
    args = parser.parse_args()
    mutants = [one for one in read() if fnmatch(one.file, args.only)]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        sound = Copy(Path(folder) / "sound").pytest(tests)
        if sound.returncode != 0:
            sys.exit(f"The tests do not pass without a bug, so that they cannot notice one:\n{sound.stdout[-3000:]}")
        print(f"tests pass without a bug, {time.perf_counter() - start:.0f} s", flush=True)
        survivors = run(mutants, args.jobs, Path(folder))
    print(f"\n{len(mutants)} bugs, {len(survivors)} survivors, {time.perf_counter() - start:.0f} s")
    for mutant, how in survivors:
        print(f"- {mutant.name}\n  {how}; tests: {' '.join(mutant.tests)}")
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main()
