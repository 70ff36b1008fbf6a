"""Whether p-values, intervals and scores mean what they say: every function on cohorts whose truth was set.

    python benchmarks/calibration.py [--only tl.logrank] [--cheap] [--jobs 2] [--rows rows.csv]
    python benchmarks/calibration.py --markdown rows.csv    # the tables of docs/calibration.md

Prints one row a function and setting: the share of null cohorts with p below 0.05, the share of 95 % intervals that
cover, the mean difference of a score and chance, the share of planted effects found; with its 95 % interval. The cases
are the lists ``CASES`` of `benchmarks/calibrate/`. Rows of a file that are not measured again stay.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import warnings
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
from calibrate import __path__ as cases_path
from calibrate.case import Case, measure
from joblib import Parallel, delayed

import spatialfm as sfm
from spatialfm._errors import SpatialfmError

KEYS = ["function", "setting", "kind"]
TITLES = {
    "p_value": ("Nothing there: p-values below 0.05", "share"),
    "interval": ("95 % intervals that hold the truth", "share"),
    "score": ("Scores, less what is right", "mean"),
    "power": ("Something there: p-values below 0.05", "share"),
    "refused": ('What is refused, and what would be said of nothing (on_selected="mark")', "share"),
}
REFUSED = "refused"  # how the notes of such cases begin


def all_cases() -> list[Case]:
    modules = [m.name for m in pkgutil.iter_modules(cases_path)]
    return [case for name in modules for case in getattr(importlib.import_module(f"calibrate.{name}"), "CASES", [])]


def run_one(case: Case, seed: int) -> object:
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return case.run(seed)
        except SpatialfmError:  # the package says that this cohort cannot be tested
            return None


def row(case: Case, jobs: int, cohorts: int | None = None) -> dict[str, object]:
    n = min(case.cohorts, cohorts or case.cohorts)
    results = Parallel(n_jobs=jobs)(delayed(run_one)(case, seed) for seed in range(n))
    found = measure(case, [one for one in results if one is not None])
    values = {"nominal": found.nominal, "measured": found.value, "low": found.low, "high": found.high}
    return (
        {"function": case.function, "setting": case.setting, "kind": case.kind}
        | values
        | {"cohorts": found.cohorts, "refused": sum(one is None for one in results)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="functions, by a pattern such as tl.cox or tl.*")
    parser.add_argument("--cheap", action="store_true", help="what the slow tests hold")
    parser.add_argument("--cohorts", type=int, help="at most so many a case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="CSV file for the table")
    parser.add_argument("--markdown", type=Path, help="print such a file as tables, and measure nothing")
    args = parser.parse_args()
    if args.markdown:
        print(markdown(pd.read_csv(args.markdown)))
        return
    cases = [case for case in all_cases() if fnmatch(case.function, args.only) and (case.cheap or not args.cheap)]
    rows = []
    for case in cases:
        rows.append(row(case, args.jobs, args.cohorts))
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
        if args.rows:
            write_rows(rows[-1:], args.rows)


def write_rows(rows: list[dict], path: Path) -> None:
    """Add rows to a file, in place of those of the same cases."""
    table = pd.DataFrame(rows)
    if path.exists():
        table = pd.concat([pd.read_csv(path), table]).drop_duplicates(KEYS, keep="last")
    table.to_csv(path, index=False)


def markdown(table: pd.DataFrame) -> str:
    """One table a kind; of cases that are still there, in their order."""
    cases = {(case.function, case.setting, case.kind): (i, case) for i, case in enumerate(all_cases())}
    table = table[[key in cases for key in table[KEYS].itertuples(index=False, name=None)]]
    order = [cases[key][0] for key in table[KEYS].itertuples(index=False, name=None)]
    table = table.iloc[pd.Series(order).argsort().to_numpy()]
    refused = [cases[key][1].note.startswith(REFUSED) for key in table[KEYS].itertuples(index=False, name=None)]
    kind = table["kind"].where(~pd.Series(refused, index=table.index), "refused")
    parts = []
    for name, (title, head) in TITLES.items():
        lines = [
            f"## {title}", "", f"| function | setting | {head} | 95 % interval | cohorts |",
            "| --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for one in table[kind == name].itertuples():
            case = cases[(one.function, one.setting, one.kind)][1]
            said = f"{one.setting}{' (conservative)' if case.conservative else ''}"
            note = f"; {case.note}" if case.note and name != "refused" else ""
            refusals = f", {one.refused} refused" if one.refused else ""
            found = f"{one.measured:.3f} | {one.low:.3f} to {one.high:.3f}" if one.cohorts else "none is given | "
            name_of, n = one.function.split(".")[-1], one.cohorts or case.cohorts
            lines.append(f"| `{name_of}` | {said}{note} | {found} | {n:,}{refusals} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
