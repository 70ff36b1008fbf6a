"""What the package promises a type checker: each parameter has a type, and what a call returns is known from it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_origin, get_type_hints, is_typeddict

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm.cohort import records

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train")
OURS = [(room, name) for room in ROOMS for name in importlib.import_module(f"spatialfm.{room}").__all__]
FUNCTIONS = {
    f"{room}.{name}": function
    for room, name in OURS
    if inspect.isfunction(function := getattr(importlib.import_module(f"spatialfm.{room}"), name))
} | {"report": sfm.report}
of_each_function = pytest.mark.parametrize("name", FUNCTIONS)


def annotations(name: str) -> dict[str, ast.expr]:
    """Parameters and their types."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    untyped = [one.name for one in parameters if one.annotation is one.empty]
    assert not untyped
    return {one.name: ast.parse(str(one.annotation), mode="eval").body for one in parameters}


def names_in(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} | {
        one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)
    }


@of_each_function
def test_each_parameter_has_a_type_that_says_something(name):
    assert not [one for one, node in annotations(name).items() if "object" in names_in(node)]


@of_each_function
def test_a_path_is_a_text_or_pathlike(name):
    for one, node in annotations(name).items():
        used = names_in(node)
        assert "Path" not in used, one
        assert "PathLike" not in used or "str" in used, one


@of_each_function
def test_copy_returns_one_kind_of_thing_and_nothing_else_has_it(name):
    signature = inspect.signature(FUNCTIONS[name])
    members = [ast.unparse(one) for one in _members(ast.parse(str(signature.return_annotation), mode="eval").body)]
    if "copy" not in signature.parameters:
        # what is written and returned is `None`; figures are shown
        assert "None" not in members or members == ["None"] or "Figure" in members
        return
    copy = signature.parameters["copy"]
    assert (copy.kind, copy.default, copy.annotation) == (copy.KEYWORD_ONLY, False, "bool")
    assert len(members) == 2
    assert members[1] == "None"


def _members(node: ast.expr) -> list[ast.expr]:
    return [*_members(node.left), *_members(node.right)] if isinstance(node, ast.BinOp) else [node]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_what_is_returned_has_a_type(name):
    returned = inspect.signature(FUNCTIONS[name]).return_annotation
    assert returned is not inspect.Signature.empty
    assert "object" not in names_in(ast.parse(str(returned), mode="eval").body)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_parameter_is_described_by_itself(name):
    entries = described(FUNCTIONS[name])
    assert not [entry for entry in entries if "," in entry]
    assert sorted(entry.lstrip("*") for entry in entries) == sorted(inspect.signature(FUNCTIONS[name]).parameters)


def described(function) -> list[str]:
    """Names of the entries under Parameters, each of which has a text."""
    _, _, section = inspect.getdoc(function).partition("Parameters\n----------\n")
    section = re.split(r"\n\n[A-Z][A-Za-z ]+\n---", section)[0]
    entries = re.findall(r"^(\S[^\n]*)\n((?:    [^\n]*\n?|\n)*)", section, re.MULTILINE)
    assert all(text.strip() for _, text in entries)
    return [entry for entry, _ in entries]


def test_overloads_are_those_of_the_signatures():
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "write_stubs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    for name, function in FUNCTIONS.items():
        room, _, short = name.partition(".")
        if {"copy", "return_fig"} & set(inspect.signature(function).parameters):
            stub = (ROOT / "src" / "spatialfm" / room / "__init__.pyi").read_text(encoding="utf-8")
            assert stub.count(f"@overload\ndef {short}(") == 3, name


def test_completion_shows_what_is_meant():
    assert dir(sfm) == sorted(sfm.__all__)
    records = {"Elements", "Panel", "Recipe", "Reduce", "Run"}  # arguments of the functions that embed
    assert set(ROOMS) == set(sfm.__all__) - {"report", "settings", "__version__"} - records
    for room in ROOMS:
        module = importlib.import_module(f"spatialfm.{room}")
        assert set(dir(module)) == set(module.__all__), room


def test_settings_declare_what_can_be_set():
    declared = {name for name, one in vars(type(sfm.settings)).items() if isinstance(one, property)}
    assert declared == set(sfm.settings._defaults())
    assert all(one.fset is not None for one in map(vars(type(sfm.settings)).get, declared))


def test_the_rooms_that_lint_checks_exist():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert all(list(ROOT.glob(pattern)) for pattern in config["files"])
    assert config["disallow_untyped_defs"]
    assert "mypy" in (ROOT / "Makefile").read_text(encoding="utf-8").partition("lint:")[2].partition("\n\n")[0]


@pytest.fixture(scope="module")
def patients() -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "time": rng.exponential(10, 60) + 1,
            "event": np.tile([1, 1, 0], 20),
            "cause": np.tile([1, 2, 0], 20),
            "arm": pd.Categorical(np.tile(["a", "b"], 30), ordered=True),
            "age": rng.normal(60, 9, 60),
            "score": rng.normal(size=60),
        },
        index=[f"patient {i}" for i in range(60)],
    )
    return ad.AnnData(obs=obs)


CALLS = {
    "kaplan_meier": {"group_key": "arm"},
    "logrank": {"group_key": "arm", "trend": True, "pairwise": True},
    "cox": {"covariates": ["age", "score"]},
    "fine_gray": {"covariates": ["age"], "event_key": "cause", "event_value": 1, "censored_value": 0},
    "cumulative_incidence": {"group_key": "arm", "event_key": "cause", "n_permutations": 999},
    "rmst": {"group_key": "arm", "n_permutations": 999},
    "concordance": {"score_key": "score", "n_bootstrap": 100},
    "compare_concordance": {"score_keys": ["age", "score"]},
    "added_value": {"features": ["score"], "covariates": ["age"], "n_bootstrap": 100},
    "cut_point": {"score_key": "score", "n_permutations": 999},
    "power": {"question": "survival", "effect": 2.0, "n_patients": [40], "n_simulations": 9},
}


@pytest.mark.parametrize("name", CALLS)
def test_a_copy_holds_what_its_type_declares_and_what_is_written(patients, name):
    function = getattr(sfm.tl, name)
    declared = getattr(records, str(inspect.signature(function).return_annotation).partition(" | ")[0])
    options = CALLS[name] | ({"patient_key": None} if "patient_key" in inspect.signature(function).parameters else {})
    record = function(patients.copy(), **options, copy=True)
    assert declared.__required_keys__ <= set(record)
    assert set(record) <= declared.__required_keys__ | declared.__optional_keys__
    for key, kind in get_type_hints(declared).items():
        wanted = get_origin(kind) or kind
        if key in record and inspect.isclass(wanted) and not is_typeddict(wanted):
            assert isinstance(record[key], (float, int, np.floating) if wanted is float else wanted), key

    written = patients.copy()
    assert function(written, **options, key_added="mine") is None
    beside = set(record) & {"groups"} if name == "cut_point" else set()  # of each patient: in obs
    assert set(written.uns["mine"]) >= set(record) - beside


WITH_COPY = [name for name, function in FUNCTIONS.items() if "copy" in inspect.signature(function).parameters]


@pytest.mark.parametrize("name", WITH_COPY)
def test_a_copy_is_the_whole_record_or_its_docstring_says_what_is_only_written(name):
    returned = annotation_of_copy(name)
    if is_typeddict(getattr(records, returned, None)) or returned == "AnnData":
        return
    text = inspect.getdoc(FUNCTIONS[name]).partition("\ncopy\n")[2].partition("\n\n")[0]
    assert re.search(r"\balone\b|otherwise written|either way", text), text
    assert re.search(r"only\s+written|either way", text), text


def annotation_of_copy(name: str) -> str:
    """What ``copy=True`` returns, as the stub says it."""
    room, _, function = name.partition(".")
    stub = ast.parse((ROOT / "src" / "spatialfm" / room / "__init__.pyi").read_text(encoding="utf-8"))
    (found,) = [
        ast.unparse(node.returns)
        for node in stub.body
        if isinstance(node, ast.FunctionDef) and node.name == function
        for one in node.args.kwonlyargs
        if one.arg == "copy" and ast.unparse(one.annotation) == "Literal[True]"
    ]
    return found
