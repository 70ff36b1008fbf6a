"""A stage of an analysis: a function whose signature says which settings there are, and whose docstring what they mean.

The settings file, the options of the command, their help and the checks of both are made of that one signature.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arguments import Refused, Rule, either, scalar, shown
from .._signatures import rules_of


@dataclass(frozen=True)
class Option:
    """One setting of a stage.

    Attributes
    ----------
    name, default, help
        As in the function's signature and docstring.
    rule
        What the value may be.
    """

    name: str
    default: Any
    rule: Rule
    help: str

    @property
    def flag(self) -> str:
        """``--n-niches`` of ``n_niches``."""
        return "--" + self.name.replace("_", "-")

    def problem(self, value: Any) -> str | None:
        """Why a value cannot be, or None."""
        try:
            self.rule.take(scalar(value))
        except Refused as refusal:
            return f"{shown(value)} is not {either(self.rule.words())}. {refusal.hint}".strip()
        return None

    def fits(self, value: Any) -> bool:
        """Whether the value can be."""
        return self.problem(value) is None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes
    ----------
    name, summary, example
        Of its command.
    run
        Takes the analysis and the settings as keywords, and returns what was done.
    needs
        Stages whose results it reads.
    seeded
        Whether the seed decides its results.
    check
        Looks for settings that no signature can refuse: columns, models, files.
    before
        The same, given the settings and the images, before the first stage is done: problems found.
    clinical
        Whether, with given settings, it looks at clinical values; not whether it hands them on.
    patients
        Whether it looks at the names of patients, by which cells are drawn evenly.
    borrowed
        Gives a public function whose settings it takes too, and those of them that it leaves out.
    """

    name: str
    summary: str
    example: str
    run: Callable[..., Done]
    needs: tuple[str, ...]
    seeded: bool = False
    check: Callable[[Any], None] | None = None
    before: Callable[[Mapping[str, Any], Any], list[str]] | None = None
    clinical: Callable[[Mapping[str, Any]], bool] | None = None
    patients: bool = False
    borrowed: Callable[[Mapping[str, Any]], tuple[Callable, tuple[str, ...]]] | None = None

    def options(self, given: Mapping[str, Any]) -> dict[str, Option]:
        """Settings by name; of a stage that borrows some, those that go with the given ones."""
        settings = options_of(self.run)
        if self.borrowed is not None:
            function, without = self.borrowed(given)
            other = options_of(function)
            settings |= {name: one for name, one in other.items() if name not in without and name not in settings}
        return settings

    def looks_at_clinical(self, settings: Mapping[str, Any]) -> bool:
        """Whether it looks at clinical values, with these settings."""
        return self.clinical is not None and self.clinical(settings)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, the defaults of those that are not given."""
        return {name: given.get(name, one.default) for name, one in self.options(given).items()}

    @property
    def description(self) -> str:
        """What the command does: the docstring of its function, without its parameters."""
        text = inspect.getdoc(self.run) or self.summary
        return " ".join(re.split(r"\n(?:Parameters|Returns)\n-+\n", text)[0].split())


@dataclass(frozen=True)
class Done:
    """What a stage did.

    Attributes
    ----------
    findings
        Sentences for people.
    """

    findings: list[str] = field(default_factory=list)


def options_of(function: Callable) -> dict[str, Option]:
    """The settings of a function: what it takes by name, but for the data that comes first."""
    rules, texts = rules_of(function), parameter_texts(inspect.getdoc(function) or "")
    return {
        name: Option(name, one.default, rules.get(name, Rule()), texts.get(name, ""))
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is one.KEYWORD_ONLY or (one.kind is one.POSITIONAL_OR_KEYWORD and one.default is not one.empty)
    }


def parameter_texts(doc: str) -> dict[str, str]:
    """The text of each parameter of a numpy docstring, in one line.

    Examples
    --------
    >>> parameter_texts('''Sum.
    ...
    ... Parameters
    ... ----------
    ... a, b
    ...     Numbers, as in
    ...     school.
    ...
    ... Returns
    ... -------
    ... Their sum.''')
    {'a': 'Numbers, as in school.', 'b': 'Numbers, as in school.'}
    """
    match = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", doc, flags=re.M | re.S)
    texts: dict[str, list[str]] = {}
    names: list[str] = []
    for line in match[1].splitlines() if match else []:
        if line and not line.startswith(" "):
            names = [name.strip() for name in line.split(":")[0].split(",")]
            texts |= {name: [] for name in names}
        elif line.strip():
            for name in names:
                texts[name].append(line.strip())
    return {name: re.sub(r"[`*]+", "", " ".join(lines)) for name, lines in texts.items()}
