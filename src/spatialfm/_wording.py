"""Messages name an argument as the function that the user called has it.

What decides a number is named by a shared helper under one name, such as ``mpp=``. Some public functions take it as
an argument of that name, others as a field of one: the message says ``elements={"mpp": 0.5}`` there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

ARGUMENT = re.compile(r"(?<![\w.\"'{])([a-z][a-z_0-9]*)=(?!=)")
VALUE = re.compile(r"\"[^\"]*\"|'[^']*'|\{[^{}]*\}|\[[^\[\]]*\]|\([^()]*\)|<[^<>]*>|[\w-]+(?:\.\w+)*")
NAME_BEFORE = re.compile(r"[\w.]+$")

Fields = Mapping[str, tuple[str, str]]  # name → argument, and field of it
_CALLED: ContextVar[tuple[Collection[str], Fields] | None] = ContextVar("called", default=None)


@contextmanager
def called(arguments: Collection[str], fields: Fields) -> Iterator[None]:
    """Messages are of a function with these arguments, unless another public function has called it."""
    if _CALLED.get() is not None:
        yield
        return
    token = _CALLED.set((arguments, fields))
    try:
        yield
    except ValueError as error:  # of another thread or a worker, which does not know what was called
        if type(error).__module__.startswith(__package__):
            error.args = tuple(worded(one) if isinstance(one, str) else one for one in error.args)
        raise
    finally:
        _CALLED.reset(token)


@contextmanager
def within(fields: Fields) -> Iterator[None]:
    """Further names are fields of an argument of the function that was called, by dots: ``"panel.markers"``."""
    call = _CALLED.get()
    token = _CALLED.set(None if call is None else (call[0], {**call[1], **fields}))
    try:
        yield
    finally:
        _CALLED.reset(token)


def takes(argument: str) -> bool:
    """Whether the function that the user called has an argument, or a field of one: others must not be advised to."""
    call = _CALLED.get()
    return call is None or argument in call[0] or argument in call[1]


def worded(message: str) -> str:
    """A message in the words of the function that the user called.

    Examples
    --------
    >>> with called(["sdata", "elements"], {"mpp": ("elements", "mpp")}):
    ...     worded("The pixel size is unknown. Pass mpp=<µm per pixel>, or use sfm.pp.cells(mpp=1).")
    'The pixel size is unknown. Pass elements={"mpp": <µm per pixel>}, or use sfm.pp.cells(mpp=1).'
    """
    call = _CALLED.get()
    if call is None or not call[1]:
        return message
    arguments, fields = call
    text, start = "", 0
    inside = _calls(message)
    for hit in ARGUMENT.finditer(message):
        name = hit[1]
        if name in arguments or name not in fields or any(a <= hit.start() < b for a, b in inside):
            continue
        argument, field = fields[name]
        value = VALUE.match(message, hit.end())
        said = value[0] if value else "..."
        for key in reversed(field.split(".")):
            said = f'{{"{key}": {said}}}'
        text += f"{message[start : hit.start()]}{argument}={said}"
        start = value.end() if value else hit.end()
    return text + message[start:]


def _calls(text: str) -> list[tuple[int, int]]:
    """Spans of what stands in the parentheses of calls, whose arguments are those of other functions."""
    calls, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        if letter == "(":
            if depth or NAME_BEFORE.search(text[:place]):
                start, depth = (start, depth + 1) if depth else (place, 1)
        elif letter == ")" and depth:
            depth -= 1
            if not depth:
                calls.append((start, place))
    return calls
