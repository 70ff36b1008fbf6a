"""The settings file as Python values, with the line of each key.

YAML as in its version 1.2: ``yes``, ``on``, ``001`` and ``2024-01-31`` are text, as people mean who write the value
of a column. A key that stands twice is an error, since only one of its values would count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from .._errors import InputFileError
from ..pp.tables import read_text


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # PyYAML's own way: of the class


_NUMBERS = list("-+0123456789.")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), _NUMBERS)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:0|[1-9][0-9]*)?\.[0-9]+|(?:0|[1-9][0-9]*)\.?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    _NUMBERS,
)
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value.replace(".inf", "inf")
                                                                              .replace(".nan", "nan")))  # fmt: skip


@dataclass
class Document:
    """What a settings file holds.

    Attributes
    ----------
    content
        Its keys and values.
    lines
        Line of each key, by the path to it: ``("niches", "n_niches")``.
    problems
        Keys that stand twice.
    """

    content: Any
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def line(self, *path: str) -> str:
        """``line 3: ``, or nothing for what does not stand in the file."""
        return f"line {self.lines[path]}: " if path in self.lines else ""


def read_document(path: Path) -> Document:
    """Read a file.

    Raises
    ------
    InputFileError
        If it is not YAML; the message has the line.
    """
    try:
        loader = _Loader(read_text(path))
        try:
            node = loader.get_single_node()
            document = Document({} if node is None else loader.construct_document(node))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise InputFileError(
            f"'{path}'{where}: {getattr(error, 'problem', None) or error}. Settings are written as 'key: value', one "
            "per line, those of a stage indented by spaces; 'spatialfm init cohort.csv' prints an example."
        ) from error
    if node is not None:
        _walk(node, (), document)
    return document


def value_of(text: str) -> Any:
    """What a text on the command line would be in a settings file.

    Examples
    --------
    >>> value_of("0.5"), value_of("001"), value_of("yes"), value_of("[1, 2]"), value_of("null"), value_of("1e3")
    (0.5, '001', 'yes', [1, 2], None, 1000.0)
    """
    try:
        return yaml.load(text, Loader=_Loader)  # derived from SafeLoader
    except yaml.YAMLError:
        return text


def dump(content: Any) -> str:
    """Text of a settings file that reads as `content`."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Quotes what a reader of YAML, ours or another, would take for something else than text."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "'" if value_of(text) != text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _walk(node: yaml.Node, path: tuple[str, ...], document: Document) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if here in document.lines:
                document.problems.append(
                    f"line {line}: {'.'.join(here)} is also in line {document.lines[here]}. Remove one of them."
                )
            document.lines[here] = line
            _walk(value, here, document)
