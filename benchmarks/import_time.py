"""Time of ``import spatialfm`` in a fresh interpreter.

Run: python benchmarks/import_time.py [--runs 15] [--target 0.3]

Exits with 1 where the median is above the target.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

STATEMENTS = {"nothing": "pass", "numpy": "import numpy", "spatialfm": "import spatialfm"}


def seconds(statement: str) -> float:
    """Wall time of one interpreter that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def heaviest(statement: str, n: int) -> list[str]:
    """The lines of ``-X importtime`` with the largest time of their own."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], check=True, capture_output=True, text=True
    )
    rows = [line.removeprefix("import time:").split("|") for line in run.stderr.splitlines() if "|" in line]
    own = [(int(row[0]), row[2].strip()) for row in rows if row[0].strip().isdigit()]
    return [f"{microseconds / 1000:8.1f} ms  {name}" for microseconds, name in sorted(own, reverse=True)[:n]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--target", type=float, default=0.3, help="seconds that the import alone may take")
    args = parser.parse_args()

    medians = {}
    for name, statement in STATEMENTS.items():
        seconds(statement)  # fills the file cache
        times = [seconds(statement) for _ in range(args.runs)]
        medians[name] = statistics.median(times)
        print(f"{name:10s} median {medians[name]:.3f} s of {args.runs}, from {min(times):.3f} to {max(times):.3f}")

    bare, numpy, ours = medians["nothing"], medians["numpy"], medians["spatialfm"]
    print(f"import spatialfm: {ours - bare:.3f} s above a bare interpreter (target {args.target} s)")
    print(f"ratio to a bare interpreter {ours / bare:.2f}, to one that imports numpy {ours / numpy:.2f}")
    print("heaviest modules (time of their own):", *heaviest(STATEMENTS["spatialfm"], 5), sep="\n")
    return int(ours > args.target)


if __name__ == "__main__":
    raise SystemExit(main())
