"""Whether p-values, intervals and scores mean what they say: every function on cohorts whose truth was set.

    python benchmarks/calibration.py [--only tl.logrank] [--cheap] [--jobs 2] [--rows rows.csv]

Prints one row a function and setting: the share of null cohorts with p below 0.05, the share of 95 % intervals that
cover, the mean difference of a score and chance, the share of planted effects found; with its 95 % interval. The cases
are the lists ``CASES`` of `benchmarks/calibrate/`.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import warnings

import pandas as pd
from calibrate import __path__ as cases_path
from calibrate.case import Case, measure
from joblib import Parallel, delayed

import spatialfm as sfm
from spatialfm._errors import SpatialfmError


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
    parser.add_argument("--only", default="", help="functions whose name contains this")
    parser.add_argument("--cheap", action="store_true", help="what the slow tests hold")
    parser.add_argument("--cohorts", type=int, help="at most so many a case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", help="CSV file for the table")
    args = parser.parse_args()
    cases = [case for case in all_cases() if args.only in case.function and (case.cheap or not args.cheap)]
    rows = []
    for case in cases:
        rows.append(row(case, args.jobs, args.cohorts))
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
        if args.rows:
            pd.DataFrame(rows).to_csv(args.rows, index=False)


if __name__ == "__main__":
    main()
