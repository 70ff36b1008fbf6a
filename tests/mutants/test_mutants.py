"""The list of planted bugs still fits the code; `make mutants` runs it."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("spatialfm_mutants", HERE / "mutants.py")
mutants = importlib.util.module_from_spec(_spec)
sys.modules["spatialfm_mutants"] = mutants
_spec.loader.exec_module(mutants)
ALL = mutants.read()


@functools.cache
def names_of_tests(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@functools.cache
def statements(path: Path) -> list[tuple[int, int]]:
    """First and last line of each statement of a file that stands in nothing else."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [(min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", []))]), n.end_lineno or 0) for n in body]


def meaning(text: str) -> str:
    return ast.dump(ast.parse(text))


def changes_something(mutant: mutants.Mutant) -> bool:
    """Whether more than comments and spaces differ; only the statement that has the bug is looked at."""
    before = (mutants.PACKAGE / mutant.file).read_text(encoding="utf-8")
    first = before[: before.index(mutant.old)].count("\n") + 1
    last = first + mutant.old.count("\n")
    for start, end in statements(mutants.PACKAGE / mutant.file):
        if start <= first and last <= end:
            before = "".join(before.splitlines(keepends=True)[start - 1 : end])
    return meaning(before) != meaning(before.replace(mutant.old, mutant.new))


def test_each_bug_has_its_place():
    """One test for all: the list is read in a second."""
    wrong = []
    for mutant in ALL:
        try:
            mutant.text()
        except (ValueError, FileNotFoundError) as error:
            wrong.append(str(error))
            continue
        if not changes_something(mutant):
            wrong.append(f"{mutant.name}: changes nothing")
        for test in mutant.tests:
            file, _, name = test.partition("::")
            path = mutants.ROOT / file
            if not path.is_file() or (name and name.partition("[")[0] not in names_of_tests(path)):
                wrong.append(f"{mutant.name}: no test {test}")
    assert not wrong, "\n".join(wrong)


def test_each_bug_stands_in_the_list_of_its_room():
    for file in mutants.LISTS:
        entries = mutants.read([file])
        assert {one.list for one in entries} == {file.name}
        assert [one.file for one in entries] == sorted(one.file for one in entries), f"{file.name}: sort by file"


def test_enough_bugs_over_all_rooms():
    assert len({(one.file, one.old, one.new) for one in ALL}) == len(ALL) >= 80
    rooms = {one.file.split("/")[0] for one in ALL}
    assert rooms >= {"cohort", "datasets", "embed", "io", "learn", "metrics", "models", "pl", "pp", "stats", "tl"}
    assert "get.py" in rooms
    assert sum(one.file.startswith("embed/") for one in ALL) >= 25


def test_a_place_that_is_gone_is_said():
    gone = mutants.Mutant("_keys.py", "no such text", "x", ())
    with pytest.raises(ValueError, match="0 times"):
        gone.text()


@pytest.mark.slow  # three processes that load the package anew from files that nobody has compiled
def test_what_is_noticed_and_what_survives(tmp_path):
    """A bug that the named test sees, and one that it does not; the working tree is left as it is."""
    test = tmp_path / "test_variance.py"
    test.write_text(
        "from spatialfm.stats.jackknife import jackknife_variance\n\n\n"
        "def test_variance():\n    assert jackknife_variance([1.0, 2.0, 3.0]) == 4 / 3\n"
    )
    file = "stats/jackknife.py"
    before = (mutants.PACKAGE / file).read_text(encoding="utf-8")
    copy = mutants.Copy(tmp_path / "copy")
    assert copy.survives(mutants.Mutant(file, "(n - 1) / n *", "n / (n - 1) *", (str(test),))) == ""
    assert copy.survives(mutants.Mutant(file, "if n > 1 else", "if n > 2 else", (str(test),))) == "all tests pass"
    assert copy.survives(mutants.Mutant(file, "if n > 1 else", "if n > 1 else", ("no/such/test.py",))) != ""
    assert (mutants.PACKAGE / file).read_text(encoding="utf-8") == before
    assert (copy.package / file).read_text(encoding="utf-8") == before
