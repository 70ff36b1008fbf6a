"""Docstrings as Sphinx's napoleon reads them: it takes each line of a section of returned values for a type."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib import import_module
from typing import Annotated, Any, get_origin

RULE = re.compile(r"-{3,}")
SENTENCES = "In sentences"  # of napoleon_custom_sections
END = ".. end of the sentences"  # a remark in reStructuredText
SAME = {"spatialfm.train.FineTuning": "spatialfm.train.finetune"}  # fields that are the arguments of a function


def prepare(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """For Sphinx's event ``autodoc-process-docstring``, before napoleon; changes `lines`."""
    if what == "class" and dataclasses.is_dataclass(obj):
        if name in SAME and not sections(lines, ("Parameters",)):
            lines += ["", *parameters_of(_found(SAME[name]), {field.name for field in dataclasses.fields(obj)})]
        lines[:] = fields_as_parameters(lines)
    lines[:] = returns_as_text(lines)


def finish(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """For the same event, after napoleon; changes `lines`."""
    lines[:] = returns_as_field(lines)


def type_shown(annotation: Any, config: Any) -> str | None:
    """For ``typehints_formatter``: numbers whose range is annotated are shown as numbers, in place of ``Annotated``."""
    if get_origin(annotation) is not Annotated:
        return None
    from sphinx_autodoc_typehints import format_annotation

    return format_annotation(annotation.__origin__, config)


def skip(app: Any, what: str, name: str, obj: Any, is_skipped: bool, options: Any) -> bool | None:
    """For ``autodoc-skip-member``: functions that write messages are of no use to readers of the page on errors."""
    return True if inspect.isfunction(obj) and obj.__module__ == "spatialfm._errors" else None


def sections(lines: list[str], names: tuple[str, ...]) -> list[tuple[int, int]]:
    """First line of each section of these names, and the line behind its last one."""
    heads = [i for i in range(len(lines) - 1) if lines[i].strip() and RULE.fullmatch(lines[i + 1].strip())]
    ends = [*heads[1:], len(lines)]
    return [(head, end) for head, end in zip(heads, ends, strict=False) if lines[head].strip() in names]


def returns_as_text(lines: list[str]) -> list[str]:
    """Returned values that are described in sentences, in a section whose text napoleon leaves as it is.

    A type with its indented description is left to napoleon. `returns_as_field` gives the section its name back.

    Examples
    --------
    >>> returns_as_text(["Sum.", "", "Returns", "-------", "None. Writes `x`: text."])[2:]
    ['In sentences', '------------', 'None. Writes `x`: text.', '', '.. end of the sentences', '']
    >>> returns_as_text(["Returns", "-------", "AnnData", "    One row per cell."])[2:]
    ['AnnData', '    One row per cell.']
    """
    out = list(lines)
    for head, end in reversed(sections(lines, ("Returns", "Yields"))):
        text = lines[head + 2 : end]
        while text and not text[-1].strip():
            text.pop()
        while text and not text[0].strip():
            text.pop(0)
        if not text or (len(text) > 1 and text[1].startswith("    ")):
            continue
        out[head:end] = [SENTENCES, "-" * len(SENTENCES), *text, "", END, ""]
    return out


def returns_as_field(lines: list[str]) -> list[str]:
    """After napoleon: the section of `returns_as_text` as the field of returned values."""
    out = list(lines)
    if f".. rubric:: {SENTENCES}" not in out:
        return out
    head, end = out.index(f".. rubric:: {SENTENCES}"), next(i for i, line in enumerate(out) if line.strip() == END)
    text = out[head + 1 : end]
    while text and not text[0].strip():
        text.pop(0)
    inner = len(text[0]) - len(text[0].lstrip())
    body = [line[inner:] for line in text]
    out[head : end + 1] = [":returns: " + body[0], *(" " * 10 + line if line.strip() else "" for line in body[1:])]
    return out


def fields_as_parameters(lines: list[str]) -> list[str]:
    """The fields of a data class under the heading of what they are to a caller: its arguments."""
    out = list(lines)
    if not sections(lines, ("Parameters",)):
        for head, _ in sections(lines, ("Attributes",)):
            out[head : head + 2] = ["Parameters", "----------"]
    return out


def parameters_of(function: Any, names: set[str]) -> list[str]:
    """The section of parameters of a function, of those with these names."""
    lines = (inspect.getdoc(function) or "").splitlines()
    (head, end), *_ = sections(lines, ("Parameters",))
    kept, takes = [], False
    for line in lines[head + 2 : end]:
        if line and not line.startswith(" "):
            takes = any(one.strip() in names for one in line.split(","))
        if takes:
            kept.append(line)
    return ["Parameters", "----------", *kept]


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)
