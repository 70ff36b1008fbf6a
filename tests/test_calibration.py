"""What the package says of chance, measured where the truth is known: `benchmarks/calibration.py` has the long form."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import spatialfm as sfm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

# functions whose tables have such a word, and why nothing is measured
NOT_MEASURED = {
    "tl.marker_attention": "z-scores of markers, which describe",
    "tl.cluster_agreement": "ARI and NMI with their spread over seeds, which describe",
}


def _load():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmark_calibration", FOLDER / "calibration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


calibration = _load()
CASES = calibration.all_cases()


def functions() -> list[str]:
    """Public functions that return a p-value, an interval or a score, by what their docstrings say they return."""
    found = []
    for room in ("tl", "metrics"):
        for name in getattr(sfm, room).__all__:
            text = getattr(getattr(sfm, room), name).__doc__
            returns = text[text.index("Returns\n") :].split("\n    Raises\n")[0]
            if re.search(r"\bp_value|\bq_value|\bp_[a-z]+``|interval|p-value|score", returns):
                found.append(f"{room}.{name}")
    return found


@pytest.mark.parametrize("function", functions())
def test_every_number_that_speaks_of_chance_is_measured(function):
    assert function in {case.function for case in CASES} | set(NOT_MEASURED)


def test_no_exception_is_stale():
    assert set(NOT_MEASURED) <= {f"{room}.{name}" for room in ("tl", "metrics") for name in getattr(sfm, room).__all__}
    assert not set(NOT_MEASURED) & {case.function for case in CASES}


def test_settings_are_told_apart():
    keys = [(case.function, case.setting, case.kind) for case in CASES]
    assert len(keys) == len(set(keys))


def test_shares_are_counted_by_cohort():
    """Two cohorts of two tests: one of them calls one. Intervals: one of two covers."""
    from calibrate.case import Case, measure

    null = Case("f", "s", "p_value", lambda seed: None)
    assert measure(null, [[0.01, 0.5], [0.2, np.nan]]).value == pytest.approx(0.25)
    covers = Case("f", "s", "interval", lambda seed: None)
    assert measure(covers, [(0, 1, 0.5), (0, 1, 2)]).value == pytest.approx(0.5)
    score = Case("f", "s", "score", lambda seed: None)
    assert measure(score, [(0.6, 0.5), (0.5, 0.5)]).value == pytest.approx(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.cheap and case.kind in ("p_value", "interval")],
    ids=lambda case: f"{case.function}: {case.setting}",
)  # fmt: skip
def test_calibration(case):
    """Between 0.03 and 0.07 at 0.05, and 0.93 to 0.97 at 0.95; on the safe side where that is said."""
    measured = calibration.row(case, jobs=1)
    error = measured["measured"] if case.kind == "p_value" else 1 - measured["measured"]
    assert error <= 0.07
    assert error >= 0.03 or case.conservative
    assert measured["cohorts"] > 0.9 * case.cohorts
