"""Lists of public names for the pages of docs/api/, so that a new function needs no line there.

A page includes ``../_names/<room>.md``, or ``../_names/tl.<folder>.md`` of the rooms of ``tl``: the names that
`__init__.py` registers, in its order, without those that the page itself lists.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

DOCS = Path(__file__).parent
TARGET = DOCS / "_names"
ROOMS = ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train")
BLOCK = """```{{eval-rst}}
.. currentmodule:: spatialfm

.. autosummary::
   :toctree: ../generated
   :nosignatures:

   {names}
```
"""


def page(room: str) -> str:
    """The page of a room, as it is written by hand."""
    return (DOCS / "api" / f"{room}.md").read_text(encoding="utf-8")


def by_hand(room: str) -> list[str]:
    """Names of a room that its page lists by hand."""
    return re.findall(rf"^   {room}\.(\w+)$", page(room), re.MULTILINE)


def included(room: str) -> list[str]:
    """Lists that the page of a room includes."""
    return re.findall(r"^```\{include\} \.\./_names/([\w.]+)\.md$", page(room), re.MULTILINE)


def lists() -> dict[str, list[str]]:
    """Names by list: of each room, and of each room of ``tl``."""
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        listed = set(by_hand(room))
        for name, folder in _registered(room):
            if name not in listed:
                found.setdefault(f"{room}.{folder}" if folder else room, []).append(name)
    return found


def _registered(room: str) -> list[tuple[str, str]]:
    """Public names in the order of the room's file, each with its folder, empty where the room has none."""
    module = importlib.import_module(f"spatialfm.{room}")
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    order = {node.name: "" for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            for file, names in ast.literal_eval(node.value).items():
                order |= dict.fromkeys(names, file.rpartition(".")[0])
    rest = sorted(set(module.__all__) - set(order))
    return [(name, order.get(name, "")) for name in [*order, *rest] if name in module.__all__]


def write() -> list[str]:
    """Write all lists; gives the sources whose functions get a page."""
    TARGET.mkdir(exist_ok=True)
    for old in TARGET.glob("*.md"):
        old.unlink()
    for name, names in lists().items():
        room = name.partition(".")[0]
        text = BLOCK.format(names="\n   ".join(f"{room}.{one}" for one in names))
        (TARGET / f"{name}.md").write_text(text, encoding="utf-8")
    sources = [*(DOCS / "api").glob("*.md"), *TARGET.glob("*.md")]
    return sorted(path.relative_to(DOCS).as_posix() for path in sources)
