"""Each file with code has a test of the same place and name; the few that have none say why, and where they are tested."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TESTS = ROOT / "src" / "spatialfm", ROOT / "tests"

# what holds no decision of its own: names, types, protocols, a logger
NOTHING_TO_TEST = {
    "_compiled.py", "_keys.py", "_logging.py", "_progress.py", "_types.py", "_version.py", "embed/run/block.py",
    "io/_page.py",
}  # fmt: skip
# parts of one thing whose numbers show only in the whole: file, and the test that holds it
IN_THE_WHOLE = {}


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
    return TESTS / path.parent / f"test_{path.stem.lstrip('_')}.py"


def test_each_file_has_a_test_of_its_place_and_name():
    without = [file for file in files() if not mirrored(file).is_file()]
    assert len(files()) > 250
    assert not sorted(set(without) - NOTHING_TO_TEST - set(IN_THE_WHOLE))


def test_exceptions_are_still_needed():
    """A file that has got a test, or is gone, is no exception any more."""
    needed = {file for file in files() if not mirrored(file).is_file()}
    assert not sorted((NOTHING_TO_TEST | set(IN_THE_WHOLE)) - needed)
    assert not NOTHING_TO_TEST & set(IN_THE_WHOLE)


@pytest.mark.parametrize("test", sorted(set(IN_THE_WHOLE.values())))
def test_what_holds_an_exception_is_a_test(test):
    assert "def test_" in (TESTS / test).read_text(encoding="utf-8")
