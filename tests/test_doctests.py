"""Every public function has an example, and the examples run."""

from __future__ import annotations

import doctest
import functools
import inspect
import logging
import warnings

import pytest
import spatialdata as sd
from simulated import once

import spatialfm as sfm

SIMULATED_ONCE = once(sfm.datasets.simulate_cohort, sd.deepcopy)  # many examples begin with the same
NAMESPACES = ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def public() -> list[str]:
    return [f"{room}.{name}" for room in NAMESPACES for name in getattr(sfm, room).__all__] + ["report"]


def find(name: str) -> object:
    return functools.reduce(getattr, name.split("."), sfm)


def run_examples(target: object, name: str) -> str:
    """Run the examples of a docstring; returns the report, empty if all is well."""
    finder = doctest.DocTestFinder(recurse=False)
    report: list[str] = []
    for test in finder.find(target, name, globs={}):
        runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
        runner.run(test, out=report.append)
    return "".join(report)


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """An empty folder to work in; what libraries log on the screen is not part of an example's output."""
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    logging.disable(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
    plt.close("all")


# each takes seconds, most of it in functions whose own examples run always
LONG = {
    "pl.contributions", "pl.shift", "pl.signature_scores", "train.distil_encoder", "train.explain", "train.finetune",
    "train.pretrain", "train.pretrain_context", "train.Windows",
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow if one in LONG else ()) for one in public()])
def test_examples(name, quiet, monkeypatch):
    target = find(name)
    if name.startswith("datasets."):
        monkeypatch.setattr(sfm.datasets, "simulate_cells", sfm.datasets.simulate_cells.anew)
    else:
        monkeypatch.setattr(sfm.datasets, "simulate_cohort", SIMULATED_ONCE)
    if inspect.isfunction(target):  # classes are shown where functions make them
        doc = target.__doc__ or ""
        assert "Examples\n" in doc, f"sfm.{name} has no Examples section"
        assert ">>> " in doc.split("Examples\n", 1)[1], f"the Examples section of sfm.{name} has no >>> line"
    report = run_examples(target, name)
    assert not report, report


def test_settings_examples(quiet):
    assert not run_examples(type(sfm.settings), "settings")


def test_a_wrong_example_is_caught():
    def wrong():
        """Add.

        >>> 1 + 1
        3
        """

    assert "Got:" in run_examples(wrong, "wrong")


def test_there_is_something_to_run():
    assert len(public()) > 20
