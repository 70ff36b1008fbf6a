"""Whether p-values, intervals and scores mean what they say: every function on cohorts whose truth was set.

    python benchmarks/calibration.py [--only tl.logrank] [--cheap] [--cohorts 100] [--jobs 2] [--rows]
    python benchmarks/calibration.py --write docs/calibration.md    # the kept rows as the tables of the page

Prints one row per function and setting: the share of null cohorts with p of 0.05 or less, the share of 95 % intervals
that cover, the mean difference of a score and chance, the share of planted effects found; with its 95 % interval. The
cases are the lists ``CASES`` of `benchmarks/calibrate/`. With ``--rows`` what is measured is kept in `rows.csv` there,
with its date and version, in place of the rows of the same cases; ``--only "tl.cox: 30 patients*"`` measures single
cases again.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import textwrap
import warnings
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
from calibrate import __path__ as cases_path
from calibrate.case import Case, measure
from joblib import Parallel, delayed

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmError

ROWS = Path(__file__).parent / "calibrate" / "rows.csv"
KEYS = ["function", "setting", "kind"]
BEGIN, END = "<!-- tables: calibration.py --write -->", "<!-- end of tables -->"
TITLES = {
    "p_value": ("Nothing there: p-values of 0.05 or less", "share"),
    "interval": ("95 % intervals that hold the truth", "share"),
    "score": ("Scores, less what is right", "mean"),
    "power": ("Something there: p-values of 0.05 or less", "share"),
    "refused": ('What is refused, and what would be said of nothing (on_selected="mark")', "share"),
}
REFUSED = "refused"  # how the notes of such cases begin


def all_cases() -> list[Case]:
    modules = [m.name for m in pkgutil.iter_modules(cases_path)]
    return [case for name in modules for case in getattr(importlib.import_module(f"calibrate.{name}"), "CASES", [])]


def run_one(case: Case, seed: int) -> object:
    sfm.settings.progress, sfm.settings.verbosity = False, 0
    _origin.forget()  # what is remembered of another cohort, whose patients have the same names
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
        | {
            "cohorts": found.cohorts,
            "refused": n - found.cohorts if found.cohorts else sum(one is None for one in results),
        }
        | {"date": date.today().isoformat(), "version": sfm.__version__}
    )


def key_of(case: Case) -> tuple[str, str, str]:
    return case.function, case.setting, case.kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help='a pattern of functions, "tl.cox", or of cases, "tl.cox: 30 *"')
    parser.add_argument("--cheap", action="store_true", help="what the slow tests hold")
    parser.add_argument("--cohorts", type=int, help="at most so many a case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=Path, nargs="?", const=ROWS, help="CSV file to keep rows in (default: rows.csv)")
    parser.add_argument("--take", type=Path, help="keep the rows of another such file, and measure nothing")
    parser.add_argument("--write", type=Path, help="put the kept rows into a page, and measure nothing")
    args = parser.parse_args()
    if args.take:
        write_rows(pd.read_csv(args.take).to_dict("records"), args.rows or ROWS)
    if args.write:
        write_page(args.write, pd.read_csv(args.rows or ROWS))
    if args.take or args.write:
        return
    rows = []
    for case in all_cases():
        wanted = fnmatch(case.function, args.only) or fnmatch(f"{case.function}: {case.setting}", args.only)
        if not wanted or (args.cheap and not case.cheap):
            continue
        rows.append(row(case, args.jobs, args.cohorts))
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
        if args.rows:
            write_rows(rows[-1:], args.rows)


def write_rows(rows: list[dict], path: Path) -> None:
    """Add rows to a file, in place of those of the same cases; in the order of the cases, without those of none."""
    table = pd.DataFrame(rows)
    for name, value in (("date", date.today().isoformat()), ("version", sfm.__version__)):
        table[name] = table[name].fillna(value) if name in table else value
    if path.exists():
        table = pd.concat([pd.read_csv(path), table]).drop_duplicates(KEYS, keep="last")
    in_order(table)[0].to_csv(path, index=False, float_format="%.6g")


def in_order(table: pd.DataFrame) -> tuple[pd.DataFrame, list[Case]]:
    """Rows of cases that are still there, in their order, and these cases."""
    place = {key_of(case): (i, case) for i, case in enumerate(all_cases())}
    keys = [key for key in table[KEYS].itertuples(index=False, name=None) if key in place]
    keys.sort(key=lambda key: place[key][0])
    table = table.set_index(KEYS).loc[keys].reset_index() if keys else table.iloc[:0]
    return table, [place[key][1] for key in keys]


def write_page(page: Path, table: pd.DataFrame) -> None:
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{markdown(table)}\n\n{after}")


def markdown(table: pd.DataFrame) -> str:
    """What was measured when, and one table a kind."""
    table, cases = in_order(table)
    parts = [_told(table, cases)]
    refused = [case.note.startswith(REFUSED) for case in cases]
    kinds = ["refused" if no else case.kind for case, no in zip(cases, refused, strict=True)]
    for name, (title, head) in TITLES.items():
        lines = [
            f"## {title}", "", f"| function | setting | {head} | 95 % interval | cohorts |",
            "| --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for one, case, kind in zip(table.itertuples(), cases, kinds, strict=True):
            if kind != name:
                continue
            said = f"{one.setting}{' (conservative)' if case.conservative else ''}"
            note = f"; {case.note}" if case.note and name != "refused" else ""
            refusals = f", {one.refused} refused" if one.refused else ""
            found = f"{one.measured:.3f} | {one.low:.3f} to {one.high:.3f}" if one.cohorts else "none is given | "
            n = one.cohorts or case.cohorts
            lines.append(f"| `{one.function}` | {said}{note} | {found} | {n:,}{refusals} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _told(table: pd.DataFrame, cases: list[Case]) -> str:
    dates, versions = sorted(table["date"].unique()), sorted(table["version"].astype(str).unique())
    when = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    found = {key_of(case) for case in cases}
    missing = [f"`{case.function}`, {case.setting} ({case.kind})" for case in all_cases() if key_of(case) not in found]
    text = f"{len(cases)} of {len(cases) + len(missing)} cases, measured {when} (version {', '.join(versions)})."
    fewer = sum(n < case.cohorts for n, case in zip(table["cohorts"] + table["refused"], cases, strict=True) if n)
    if fewer:
        text += f" {fewer} of them have fewer cohorts than the command's own number."
    return textwrap.fill(text + (f" Not measured: {'; '.join(missing)}." if missing else ""), 120)


if __name__ == "__main__":
    main()
