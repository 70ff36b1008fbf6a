"""The first step of every public function: its arguments are checked against its signature.

An argument that it does not have is named, with the one that was meant; one whose value it cannot take is refused with
what it may be, before any work. Both come from the signature: a new function needs nothing but the decorator.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from ._arguments import Refused, Rule, either, scalar, shown
from ._errors import ArgumentError, ArgumentTypeError
from ._renamed import new_name
from ._signatures import rules_of
from ._threads import one_thread
from ._wording import called

P = ParamSpec("P")
R = TypeVar("R")

UNKNOWN_TO_SOME = {  # what some of the functions with a certain argument take, and others must not be guessed to
    "entry_key": (
        "event_key",
        "does not handle late entry (left truncation), and would count the time before it as survived. entry_key= is "
        "taken by sfm.tl.kaplan_meier, logrank, cox (with penalizer= for many features), cumulative_incidence, "
        "fine_gray, rmst, concordance, compare_concordance, added_value, cut_point and stratify.",
    )
}


FITS = ("spatialfm.tl.", "spatialfm.metrics.", "spatialfm.pp.batches")  # rooms in which tables are fitted


class KnowsFields(Protocol):
    """Knows which names are fields of an argument; for messages."""

    def of(self, arguments: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Argument and field of each name, of a function with these arguments."""

    def hint(self, name: str, value: object, given: Mapping[str, object], arguments: Sequence[str]) -> str | None:
        """What a keyword that there is not must have meant."""


@overload
def public(function: Callable[P, R]) -> Callable[P, R]: ...


@overload
def public(
    *, fields: KnowsFields | None = None, all_threads: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def public(
    function: Callable[P, R] | None = None, *, fields: KnowsFields | None = None, all_threads: bool = False
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of public functions; those that take further keywords check the names of these, with `meant`.

    Functions that read images take `fields`. They and those of `all_threads` limit the threads of what they fit by
    themselves, with `one_thread`.
    """
    if function is None:
        return lambda one: _public(one, fields, all_threads)
    return _public(function, fields)


def _public(function: Callable[P, R], fields: KnowsFields | None, all_threads: bool = False) -> Callable[P, R]:
    parameters = inspect.signature(function).parameters
    # of a class, as the user writes it
    spoken = function.__name__ if function.__name__ != "__init__" else function.__qualname__.split(".")[-2]
    named = [name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    takes_rows = any(one.kind is one.VAR_POSITIONAL for one in parameters.values())
    takes_more = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    rules: dict[str, Rule] = {}
    all_threads = all_threads or fields is not None or not function.__module__.startswith(FITS)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not takes_more:
            for name in kwargs:
                if name not in parameters:
                    if name in UNKNOWN_TO_SOME and UNKNOWN_TO_SOME[name][0] in parameters:
                        raise TypeError(f"{spoken}() {UNKNOWN_TO_SOME[name][1]}")
                    now = new_name(spoken, name, named)
                    answer = f"It is called {now!r}." if now else None
                    if answer is None and fields is not None:
                        said = dict(zip(positional, args, strict=False)) | kwargs
                        answer = fields.hint(name, kwargs[name], said, named)
                    answer = _one_by_one(kwargs[name], named) or meant(name, named) if answer is None else answer
                    raise TypeError(f"{spoken}() has no argument {name!r}. {answer}")
        if len(args) > len(positional) and not takes_rows:
            raise TypeError(_too_many(spoken, len(args), positional, named))
        if not rules:  # read at the first call: an import costs nothing
            rules.update(rules_of(function))
        given = dict(zip(positional, args, strict=False))
        with called(named, fields.of(named) if fields is not None else {}):
            first: tuple[Any, ...] = (*taken(spoken, given, rules).values(), *args[len(given) :])
            named_ones: dict[str, Any] = taken(spoken, kwargs, rules)
            with nullcontext() if all_threads else one_thread():
                return function(*first, **named_ones)

    call.__dict__.update(arguments=named, fields=fields)  # attributes that the type of a function lacks
    return call


def _too_many(name: str, n_given: int, positional: list[str], known: list[str]) -> str:
    """What to say of values without a name, of which a function takes fewer."""
    of_object = positional[:1] == ["self"]
    first, others = positional[of_object:], [f"{one}=" for one in known if one not in positional]
    return (
        f"{name}() takes {len(first)} of its values without a name ({', '.join(first) or 'none'}), and was given "
        f"{n_given - of_object}. " + (f"Write the names of the others: {', '.join(others)}." if others else "")
    ).strip()


def _one_by_one(value: object, known: Sequence[str]) -> str:
    """What to write for a dict of arguments, as functions that take them grouped are given; empty for anything else."""
    if not isinstance(value, Mapping) or not value or not set(map(str, value)) <= set(known):
        return ""
    return f"Pass what is in it by itself: {', '.join(f'{name}={shown(one)}' for name, one in value.items())}."


def taken(name: str, given: Mapping[str, Any], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The arguments as the function wants them, or an error that names the wrong one, and its possible values."""
    values = {}
    for argument, value in given.items():
        try:
            values[argument] = rules[argument].take(scalar(value)) if argument in rules else value
        except Refused as refusal:
            kind = ArgumentTypeError if refusal.is_type else ArgumentError
            requirement = f"{argument} must be {either(rules[argument].words())}. {refusal.hint}".strip()
            raise kind(f"{name}({argument}={shown(value)}): {requirement}") from None
    return values


def meant(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'markers'?``, or what there is.

    Examples
    --------
    >>> meant("marker", ["markers", "mapping"])
    "Did you mean 'markers'?"
    >>> meant("cluster", ["cluster_se", "se_cluster_key", "ties"])
    "Did you mean 'cluster_se' or 'se_cluster_key'?"
    >>> meant("zoom", ["markers", "mapping"])
    'There are: markers, mapping.'
    """
    known = list(known)
    of_the_word = [one for one in known if name in one.split("_")]
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    close = list(dict.fromkeys([*close, *(of_the_word if len(of_the_word) < 3 else [])]))
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else f"There are: {', '.join(known) or 'none'}."
