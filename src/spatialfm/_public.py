"""What every public function does first: an argument that it does not have is named, with the one that was meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import ParamSpec, TypeVar

P, R = ParamSpec("P"), TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of public functions; those that take further keywords check these themselves, with `meant`."""
    parameters = inspect.signature(function).parameters
    named = [name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes_more = any(one.kind is one.VAR_KEYWORD for one in parameters.values())

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not takes_more:
            for name in kwargs:
                if name not in parameters:
                    raise TypeError(f"{function.__name__}() has no argument {name!r}. {meant(name, named)}")
        return function(*args, **kwargs)

    call.arguments = named
    return call


def meant(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'markers'?``, or what there is.

    Examples
    --------
    >>> meant("marker", ["markers", "mapping"])
    "Did you mean 'markers'?"
    >>> meant("zoom", ["markers", "mapping"])
    'There are: markers, mapping.'
    """
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(known) or 'none'}."
