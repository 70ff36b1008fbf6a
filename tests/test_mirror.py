"""Each file with code has a test of its place and name, but for those that hold no decision."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TESTS = ROOT / "src" / "spatialfm", ROOT / "tests"

# what holds no decision of its own: names, protocols, fields that others read, a logger, a bar
NOTHING_TO_TEST = {
    "_compiled.py",
    "_logging.py",
    "_progress.py",
    "_version.py",
    "cohort/records.py",
    "embed/run/block.py",
    "io/_page.py",
    "train/fabric.py",
    "train/objectives/objective.py",
}


@cache
def files() -> list[str]:
    """Files of the package that define a function or a class, by their path in it."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        if path.name != "__init__.py" and (defines or path.name in ("_keys.py", "_version.py")):
            found.append(path.relative_to(PACKAGE).as_posix())
    return found


def mirrored(file: str) -> Path:
    """Where the test of a file is."""
    path = Path(file)
    cases = TESTS / f"reading_{path.stem}.py"  # of a reader, which `io/test_contract.py` runs
    if path.parent.name == "io" and cases.is_file() and "\nCASES" in cases.read_text(encoding="utf-8"):
        return cases
    return TESTS / path.parent / f"test_{path.stem.lstrip('_')}.py"


def test_each_file_has_a_test_of_its_place_and_name():
    without = [file for file in files() if not mirrored(file).is_file()]
    assert len(files()) > 250
    assert not sorted(set(without) - NOTHING_TO_TEST)


def test_exceptions_are_still_needed():
    """A file that has got a test, or is gone, is not an exception any more."""
    needed = {file for file in files() if not mirrored(file).is_file()}
    assert not sorted(NOTHING_TO_TEST - needed)
