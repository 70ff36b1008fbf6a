"""What the package says of chance, measured where the truth is known: `benchmarks/calibration.py` has the long form."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mirrored import texts

import spatialfm as sfm

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"

# functions whose tables have such a word, and why nothing is measured; one that is added says so in its own test
NOT_MEASURED = {
    "tl.align": "its scores are those of metrics.cross_modal, which are measured",
    "tl.impute_markers": "predictions without an error of their own: tl.calibrate_imputation gives them one",
    "tl.reconstruct": "predicted pixels, which tl.evaluate_reconstruction compares with measured ones",
    "tl.label_report": "an order of labels by held-out confidence; tests hold it against labels that were flipped",
    "tl.marker_attention": "z-scores of markers, which describe",
    "tl.marker_positivity": "probabilities of a mixture of two populations; tests hold them against what was drawn",
    "tl.select_panel": "intervals of a mean over held-out patients; a test counts how often they hold",
    "tl.name_clusters": "z-scores of markers and their cosine with a signature, which describe",
    "tl.cluster_agreement": "ARI and NMI with their spread over seeds, which describe",
}
for room in ("tl", "metrics"):
    NOT_MEASURED |= {f"{room}.{name}": why for name, why in texts("NOT_MEASURED", room).items()}


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
            if inspect.isclass(getattr(getattr(sfm, room), name)):
                continue
            text = inspect.getdoc(getattr(getattr(sfm, room), name))
            returns = text[text.index("Returns\n") :].split("\nRaises\n")[0]
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
    of_19_shuffles = Case("f", "s", "p_value", lambda seed: None)
    assert measure(of_19_shuffles, [1 / 20, 2 / 20]).value == pytest.approx(0.5)
    score = Case("f", "s", "score", lambda seed: None)
    assert measure(score, [(0.6, 0.5), (0.5, 0.5)]).value == pytest.approx(0.05)


def test_the_page_is_what_the_rows_print(tmp_path):
    page = FOLDER.parent / "docs" / "calibration.md"
    copy = tmp_path / "calibration.md"
    copy.write_text(page.read_text())
    calibration.write_page(copy, pd.read_csv(calibration.ROWS))
    assert copy.read_text() == page.read_text(), "python benchmarks/calibration.py --write docs/calibration.md"


def outside(rows: pd.DataFrame) -> list[str]:
    """Levels and coverages outside of the band of the slow tests of which the page does not say why.

    Too many errors need a note; too few need one, or the word *conservative*.
    """
    cases, found = {calibration.key_of(case): case for case in CASES}, []
    for one in rows[rows["kind"].isin(["p_value", "interval"])].itertuples():
        case = cases[one.function, one.setting, one.kind]
        error = one.measured if one.kind == "p_value" else 1 - one.measured
        if (error > 0.07 and not case.note) or (error < 0.03 and not (case.conservative or case.note)):
            found.append(f"{one.function}: {one.setting} ({one.measured:.3f})")
    return found


def test_levels_outside_of_the_band_are_said_on_the_page():
    rows = pd.read_csv(calibration.ROWS)
    assert outside(rows) == []
    quiet = rows[(rows["function"] == "tl.logrank") & (rows["setting"] == "ties, 40 against 40")]
    assert len(outside(quiet.assign(measured=0.02))) == len(outside(quiet.assign(measured=0.08))) == 1


def test_rows_are_of_cases_that_are_there():
    rows = pd.read_csv(calibration.ROWS)[calibration.KEYS]
    assert set(rows.itertuples(index=False, name=None)) <= {calibration.key_of(case) for case in CASES}
    assert not rows.duplicated().any()


def test_rows_are_kept_measured_anew_and_printed(tmp_path, monkeypatch):
    from calibrate.case import Case

    cases = [
        Case("tl.one", "few", "p_value", lambda seed: 0.04 if seed == 0 else 0.5, cohorts=4, conservative=True),
        Case("tl.two", "many", "interval", lambda seed: (0, 1, 0.5), cohorts=10, note="why"),
        Case("tl.three", "none", "score", lambda seed: (0.5, 0.5), cohorts=10),
    ]
    monkeypatch.setattr(calibration, "all_cases", lambda: cases)
    rows, page = tmp_path / "rows.csv", tmp_path / "page.md"
    page.write_text(f"before\n{calibration.BEGIN}\nearlier\n{calibration.END}\nafter\n")
    gone = calibration.row(cases[1], 1, cohorts=2) | {"setting": "of another day"}
    calibration.write_rows([calibration.row(cases[1], 1, cohorts=2), gone], rows)
    calibration.write_rows([calibration.row(cases[0], 1), calibration.row(cases[1], 1)], rows)
    calibration.write_page(page, pd.read_csv(rows))
    text = page.read_text()
    assert text.startswith("before\n<!--")
    assert text.endswith("-->\nafter\n")
    assert "earlier" not in text
    words = " ".join(text.split())
    assert "2 of 3 cases, measured on " in words
    assert "Not measured: `tl.three`, none (score)." in words
    assert "| `tl.one` | few (conservative) | 0.250 | 0.046 to 0.699 | 4 |" in text  # Wilson's interval of 1 of 4
    assert "| `tl.two` | many; why | 1.000 | 0.722 to 1.000 | 10 |" in text
    assert "another day" not in rows.read_text()

    silent = Case("tl.four", "at times", "p_value", lambda seed: [0.5, np.nan, None][seed % 3], cohorts=9)
    assert {name: calibration.row(silent, 1)[name] for name in ("cohorts", "refused")} == {"cohorts": 3, "refused": 6}

    other = tmp_path / "other.csv"  # measured elsewhere
    pd.DataFrame([calibration.row(cases[2], 1)]).drop(columns=["date", "version"]).to_csv(other)
    command = ["calibration.py", "--take", str(other), "--rows", str(rows), "--write", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    calibration.main()
    assert "3 of 3 cases" in page.read_text()
    assert "| `tl.three` | none | 0.000 | 0.000 to 0.000 | 10 |" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.cheap and case.kind in ("p_value", "interval")],
    ids=lambda case: f"{case.function}: {case.setting}",
)  # fmt: skip
def test_calibration(case):
    """Between 0.03 and 0.07 at 0.05, and 0.93 to 0.97 at 0.95; on the safe side where that is reported."""
    measured = calibration.row(case, jobs=1)
    error = measured["measured"] if case.kind == "p_value" else 1 - measured["measured"]
    assert error <= 0.07
    assert error >= 0.03 or case.conservative
    assert measured["cohorts"] > 0.9 * case.cohorts
