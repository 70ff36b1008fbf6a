"""What the tests of single functions say to tests of all functions, found by the name of the constant.

`tests/tl/survival/test_cox.py` may hold ``ROUND_TRIP`` for `test_round_trip.py` or ``NOT_MEASURED`` for
`test_calibration.py`, so that a new function needs no entry in a list elsewhere.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

TESTS = Path(__file__).parent


def texts(constant: str, room: str) -> dict[str, str]:
    """Values, written as literals, by the function that the file is the test of."""
    nodes = {path: _assigned(path, constant) for path in _files(constant, room)}
    return {_function(path): ast.literal_eval(node) for path, node in nodes.items() if node is not None}


def values(constant: str, room: str) -> dict[str, object]:
    """Values of any kind, by the function that the file is the test of; the files are run."""
    return {
        _function(path): getattr(_run(path), constant)
        for path in _files(constant, room)
        if _assigned(path, constant) is not None
    }


def _files(constant: str, room: str) -> list[Path]:
    paths = sorted((TESTS / room).rglob("test_*.py"))
    return [path for path in paths if f"\n{constant}" in path.read_text(encoding="utf-8")]


def _assigned(path: Path, constant: str) -> ast.expr | None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == constant:
            return node.value
    return None


def _function(path: Path) -> str:
    return path.stem.removeprefix("test_")


def _run(path: Path):
    spec = importlib.util.spec_from_file_location(f"mirrored_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
