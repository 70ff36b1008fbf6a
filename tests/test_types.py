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

import pytest

import spatialfm as sfm

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl")
OURS = [(room, name) for room in ROOMS for name in importlib.import_module(f"spatialfm.{room}").__all__]
FUNCTIONS = {
    f"{room}.{name}": function
    for room, name in OURS
    if inspect.isfunction(function := getattr(importlib.import_module(f"spatialfm.{room}"), name))
}
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


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"models.load"}))
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
    assert set(ROOMS) == set(sfm.__all__) - {"settings", "__version__"} - records
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
