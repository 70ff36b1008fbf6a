"""Settings of an analysis: from a file, a cohort table or the folder of an earlier run; all problems found at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._arguments import File, Rule, shown
from .._errors import SpatialfmError, counted, listed
from .._ranges import range_of
from ._parser import meant
from ._without_images import READER
from ._yaml import Document, dump, read_document

if TYPE_CHECKING:
    from ._stage import Stage

CONFIG = "config.yaml"
OUT = "results"
YAML_SUFFIXES = (".yaml", ".yml")
TOP = {  # keys that belong to no stage
    "cohort": "table with one row per sample or per cell, or the folder of an instrument's software",
    "out": "folder of results",
    "random_state": "seed of everything that is random",
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked.

    Attributes
    ----------
    cohort, out, random_state
        As in `TOP`.
    given
        What was said, by stage; `Stage.settings` adds the defaults.
    """

    cohort: Path
    out: Path
    random_state: int = 0
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, stage: Stage) -> dict[str, Any]:
        """All settings of a stage."""
        return stage.settings(self.given.get(stage.name, {}))

    def text(self) -> str:
        """A settings file that says the same from anywhere."""
        content: dict[str, Any] = {"cohort": str(self.cohort.resolve()), "out": str(self.out.resolve())}
        content["random_state"] = self.random_state
        return dump(content | {name: dict(section) for name, section in self.given.items() if section})


class Draft:
    """Settings while they are checked, with what is wrong so far.

    Parameters
    ----------
    document
        What was read.
    stages
        All stages by name.
    source
        Of the document, for messages.
    """

    def __init__(self, document: Document, stages: Mapping[str, Stage], source: Path) -> None:
        self.document, self.stages = document, stages
        self.problems = list(document.problems)
        content = document.content
        if not isinstance(content, Mapping):
            refuse([f"settings are 'key: value' lines, not {shown(content)}."], source)
        self.content = {str(key): value for key, value in content.items()}

    def problem(self, path: Sequence[str], text: str) -> None:
        """Something is wrong with a key."""
        self.problems.append(f"{self.document.line(*path)}{'.'.join(path)}{': ' if path else ''}{text}")

    def section(self, name: str) -> dict[str, Any]:
        """What is said of a stage."""
        section = self.content.get(name)
        return {str(key): value for key, value in section.items()} if isinstance(section, Mapping) else {}

    def settings(self, name: str) -> dict[str, Any]:
        """All settings of a stage; those that cannot be are at their defaults."""
        section, options = self.section(name), self.stages[name].options(self.section(name))
        return {
            key: section[key] if key in section and one.fits(section[key]) else one.default
            for key, one in options.items()
        }

    @cached_property
    def columns(self) -> list[str] | None:
        """Columns of the cohort table, or of the clinical one of another reader, where there is one that can be read.

        Those of a table of cells go with those of its clinical table.
        """
        from ..io._cell_columns import names_of_columns
        from ..io._cohort_table import load_table

        reading, cohort = self.section("read"), Path(str(self.content.get("cohort")))
        reader, clinical = reading.get("reader", "cohort"), reading.get("clinical")
        try:
            if reader == READER and clinical is None:
                return names_of_columns(cohort)
            table = load_table(cohort if reader == "cohort" else Path(str(clinical)), [], [])[0]
            return [*(names_of_columns(cohort) if reader == READER else ()), *map(str, table.columns)]
        except (SpatialfmError, OSError):
            return None

    def check_columns(self, path: Sequence[str], names: Sequence[str], *, built: Sequence[str] = ()) -> None:
        """Names of columns that the cohort table must have, or that the readers make."""
        if self.columns is None:
            return
        known = list(dict.fromkeys([*self.columns, *built]))
        for name in names:
            if name not in known:
                self.problem(path, f"the cohort table has no column {name!r}{_or_all(name, known)}")


def read_config(
    source: Path,
    stages: Mapping[str, Stage],
    *,
    out: Path | None = None,
    changes: Mapping[tuple[str, ...], Any] | None = None,
) -> Config:
    """Settings from what a command was given.

    Parameters
    ----------
    source
        A settings file, a folder of results (whose settings go on), a cohort table or an instrument's folder.
    out
        Folder of results, before what the file says.
    changes
        Values by ``(key,)`` or ``(stage, key)``, before what the file says.

    Raises
    ------
    SpatialfmError
        With everything that is wrong, each with its line and key.
    """
    document, base = _document(source)
    draft = Draft(document, stages, source)
    content, said = draft.content, dict(changes or {})
    if out is not None:
        said["out",] = str(out)
    for path, value in said.items():
        document.lines.pop(path, None)
        if len(path) == 1:
            content[path[0]] = value
        elif isinstance(content.get(path[0]), Mapping | None):
            content[path[0]] = {**(content.get(path[0]) or {}), path[1]: value}
    content.setdefault("out", OUT)
    _place(draft, base, said)
    _check(draft)
    refuse(draft.problems, source)
    given = {name: draft.section(name) for name in stages if draft.section(name)}
    return Config(Path(content["cohort"]), Path(content["out"]), content.get("random_state", 0), given)


def refuse(problems: Sequence[str], source: Path) -> None:
    """Raise all problems in one error.

    Raises
    ------
    SpatialfmError
        If there are any.
    """
    if problems:
        lines = "\n".join(f"  - {one}" for one in problems)
        raise SpatialfmError(f"'{source}' has {counted(len(problems), 'problem')}; nothing was done:\n{lines}")


def _document(source: Path) -> tuple[Document, Path]:
    """What was read, and the folder at which its relative paths start."""
    if source.is_dir() and (source / CONFIG).is_file():
        document = read_document(source / CONFIG)
        if isinstance(document.content, dict):
            document.content["out"] = str(source)
        return document, Path.cwd()
    if source.suffix.lower() in YAML_SUFFIXES:
        if not source.is_file():
            raise SpatialfmError(f"There is no settings file '{source}'. 'spatialfm init cohort.csv' prints one.")
        return read_document(source), source.resolve().parent
    if not source.exists():
        raise SpatialfmError(f"There is no file or folder '{source}'. Pass a cohort table, settings, or results.")
    return Document({"cohort": str(source), "out": OUT}), Path.cwd()


def _place(draft: Draft, base: Path, said: Collection[tuple[str, ...]]) -> None:
    """Paths that are said relative to the settings file, as seen from here; those of the command line are already."""
    content, here = draft.content, Path.cwd()
    for key in ("cohort", "out"):
        if isinstance(content.get(key), str) and content[key].strip():
            content[key] = str((here if (key,) in said else base) / Path(content[key]).expanduser())
    for name, stage in draft.stages.items():
        section = draft.section(name)
        for key, one in stage.options(section).items():
            value = section.get(key)
            if isinstance(value, str) and value and "\0" not in value and takes_a_file(one.rule):
                path = (here if (name, key) in said else base) / Path(value).expanduser()
                if path.exists():  # what is not a path may be a name: of a hub, of a column
                    section[key] = str(path)
        if section:
            content[name] = section


def takes_a_file(rule: Rule) -> bool:
    """Whether a setting may be the path of a file."""
    return type(rule) is Rule or isinstance(rule, File) or any(map(takes_a_file, getattr(rule, "options", ())))


def _check(draft: Draft) -> None:
    content = draft.content
    for key in content:
        if key not in TOP and key not in draft.stages:
            draft.problem((key,), _unknown(key, draft))
    _check_cohort(draft)
    seed = content.get("random_state", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed not in range_of("random_state", whole=True):
        draft.problem(("random_state",), f"{shown(seed)} is not a whole number from 0 on.")
    out = content["out"]
    if not isinstance(out, str) or not out.strip():
        draft.problem(("out",), f"{shown(out)} is not a folder.")
    elif Path(out).exists() and not Path(out).is_dir():
        draft.problem(("out",), f"{out!r} is a file. Name a folder; it is made where it does not exist.")
    for name, stage in draft.stages.items():
        if content.get(name) is not None and not isinstance(content[name], Mapping):
            draft.problem((name,), f"{shown(content[name])} where settings of the stage belong, 'key: value' each.")
        _check_section(draft, stage)
        if stage.check is not None:
            stage.check(draft)


def _check_cohort(draft: Draft) -> None:
    cohort = draft.content.get("cohort")
    if not isinstance(cohort, str) or not cohort.strip():
        what = "is missing" if cohort is None else f"{shown(cohort)} is not a path"
        draft.problem(("cohort",), f"{what}. Name the table with one row per sample, such as 'cohort: cohort.csv'.")
    elif not Path(cohort).exists():
        draft.problem(("cohort",), f"there is no file {cohort!r}.")


def _check_section(draft: Draft, stage: Stage) -> None:
    section = draft.section(stage.name)
    options = stage.options(section)
    for key, value in section.items():
        if key not in options:
            draft.problem((stage.name, key), _unknown_option(key, stage.name, list(options), draft))
        elif (problem := options[key].problem(value)) is not None:
            draft.problem((stage.name, key), problem)


def _unknown(key: str, draft: Draft) -> str:
    owner = next((name for name, stage in draft.stages.items() if key in stage.options(draft.section(name))), None)
    if owner:
        return f"belongs to a stage: write it below '{owner}:', indented."
    return f"there is no such key{_or_all(key, [*TOP, *draft.stages])}"


def _unknown_option(key: str, of: str, known: list[str], draft: Draft) -> str:
    for name, stage in draft.stages.items():
        if name != of and key in stage.options(draft.section(name)):
            near = meant(key, known)
            return f"is a setting of stage {name!r}: write it below '{name}:'" + (near or ".")
    if key in TOP:
        return "belongs at the left margin, to no stage."
    return f"there is no such setting{_or_all(key, known)}"


def _or_all(name: str, known: Sequence[str]) -> str:
    """``. Did you mean 'a'?``, or ``; there are 'a', 'b'.``."""
    return meant(name, known) or f"; there are {listed(known, 30)}."


def one_of(draft: Draft, path: Sequence[str], value: str, known: Sequence[str]) -> None:
    """Note a value that is not one of those there are."""
    if value not in known:
        draft.problem(path, f"there is no {value!r}{_or_all(value, known)}")


def named_markers(key: str, wanted: Sequence[str], channels: Sequence[str]) -> list[str]:
    """A problem for each marker that no channel is, read as markers are read everywhere."""
    markers = marker_names(channels)
    known = {*channels, *markers.values()}
    asked = marker_names(wanted)
    return [
        f"{key}: no channel is the marker {name!r}{_or_all(name, sorted(known))}"
        for name in wanted
        if name not in known and asked[name] not in known
    ]


def marker_names(channels: Sequence[str]) -> dict[str, str]:
    """The marker of each channel; the channel's own name, where it is not known as one."""
    from ..pp import match_markers

    names = list(dict.fromkeys(channels))
    if not names:
        return {}
    table = match_markers(names)
    return {channel: marker or channel for channel, marker in zip(table["channel"], table["marker"], strict=True)}


def stored_names(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Columns of the cohort table by the names under which stores take them: ``OS (months)`` is ``OS_months``."""
    from ..pp.joins import column_name

    return [name if name in columns else column_name(name) for name in names]
