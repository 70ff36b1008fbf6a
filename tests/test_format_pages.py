"""Pages of formats: every reader has one, all are linked, and calls on them have arguments that there are."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import spatialfm as sfm

FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats"
PAGES = sorted(FORMATS.glob("*.md"))
INDEX = (FORMATS / "index.md").read_text(encoding="utf-8")


def calls(text: str) -> list[ast.Call]:
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    nodes = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func).startswith("sfm.")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_calls_have_arguments_that_there_are(page):
    found = calls(page.read_text(encoding="utf-8"))
    assert found, "a page without a call"
    for call in found:
        function = sfm
        for name in ast.unparse(call.func).split(".")[1:]:
            function = getattr(function, name)
        named = {keyword.arg: None for keyword in call.keywords}
        inspect.signature(function).bind(*[None] * len(call.args), **named)


def test_every_page_is_linked_and_every_reader_is_in_the_table():
    names = [page.stem for page in PAGES if page.stem != "index"]
    toctree = INDEX[INDEX.index("{toctree}") :].split()
    assert ":glob:" in toctree
    assert "*" in toctree  # those that are not named come last
    assert [name for name in names if f"[]({name}.md)" not in INDEX] == []
    readers = [name for name in sfm.io.__all__ if name.startswith("read_")]
    assert [name for name in readers if f"sfm.io.{name}(" not in INDEX] == []
