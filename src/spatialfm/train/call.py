"""Where the functions that train have what is an argument of `Windows`, for messages."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache

from .._arguments import shown
from ..embed.call import CALL_FIELDS


@cache
def window_arguments() -> tuple[str, ...]:
    """Arguments of `Windows` but for the images and the model."""
    from .data import Windows

    return tuple(list(inspect.signature(Windows).parameters)[2:])


class TrainFields:
    """Names that are keys of ``windows=``, or fields of one: ``windows={"recipe": {"on_nan": "zero"}}``."""

    def of(self, arguments: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Argument and field of each name, of a function with these arguments."""
        of_windows = CALL_FIELDS.of(window_arguments())
        fields = {name: ("windows", f"{argument}.{field}") for name, (argument, field) in of_windows.items()}
        fields |= {name: ("windows", name) for name in window_arguments()}
        return {name: place for name, place in fields.items() if name not in arguments}

    def hint(self, name: str, value: object, given: Mapping[str, object], arguments: Sequence[str]) -> str | None:
        """What a keyword that there is not must have meant; None: nothing that is known here."""
        fields = [one for one in window_arguments() if one not in arguments]
        close = [name] if name in fields else get_close_matches(name, [*arguments, *fields], n=1, cutoff=0.6)
        if not close or close[0] in arguments:
            return None
        return f"It is an argument of Windows: windows={{{close[0]!r}: {shown(value)}}}."


TRAIN_FIELDS = TrainFields()
