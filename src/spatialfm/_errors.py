"""The package's exceptions and warnings.

Every message states three things: what is wrong, in which element, file or channel, and the call that fixes it.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from ._wording import worded

_Name = TypeVar("_Name", bound=Hashable)

_PACKAGE = str(Path(__file__).parent)


class SpatialfmError(ValueError):
    """Base of all errors that spatialfm raises on purpose."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(worded(one) if isinstance(one, str) else one for one in args))


class ArgumentError(SpatialfmError):
    """An argument has a value that it cannot have; the message lists the possible ones."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of another type than it must be."""


class ElementError(SpatialfmError):
    """An element of the SpatialData is missing, or cannot be paired with another."""


class CoordinateError(SpatialfmError):
    """Two elements share no coordinate system, or a transformation is not a scale and an offset."""


class PixelSizeError(SpatialfmError):
    """The size of a pixel in µm is unknown or contradicts what is needed."""


class InputFileError(SpatialfmError):
    """A file that was to be read is missing, truncated, of another kind, or contradicts a second file."""


class PanelError(SpatialfmError):
    """Channel names or markers are duplicated, unknown or ambiguous, or none is left."""


class TableError(SpatialfmError):
    """A cell table does not fit its labels: rows without label, labels without row, missing columns."""


class ClinicalError(SpatialfmError):
    """A clinical table has duplicates, loses rows, or contradicts what is there."""


class ModelError(SpatialfmError):
    """An unknown model, an option that it does not have, or an output that it does not offer."""


class WeightsError(ModelError):
    """A weights file is missing, foreign, truncated, or would need pickle to be read."""


class SurvivalError(SpatialfmError):
    """Times, events or groups that survival analysis cannot take (negative times, no event, one group)."""


class RunError(SpatialfmError):
    """A run that stopped on the way; what it had finished is kept."""


class SpatialfmWarning(UserWarning):
    """Something was assumed or left out; the message names it, and how to decide it yourself."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(worded(one) if isinstance(one, str) else one for one in args))


def warn(message: str, category: type[Warning] = SpatialfmWarning) -> None:
    """Warn, pointing at the line outside of this package that called it, at any depth of the call."""
    level = outside = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            outside = level + 1
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=outside)


@contextmanager
def said_once() -> Iterator[None]:
    """Pass on each warning of other packages once, however often it arises inside; the user's filters hold."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for one in {(one.category, str(one.message)): one for one in reversed(caught)}.values():
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def listed(names: Iterable[object], limit: int = 8, *, quoted: bool = True) -> str:
    """``'a', 'b' and 3 more``: names for a message.

    Examples
    --------
    >>> listed(["a", "b", "c"], 2), listed(["a", "b"], quoted=False), listed([])
    ("'a', 'b' and 1 more", 'a, b', 'none')
    """
    texts = [repr(str(name)) if quoted else str(name) for name in names]
    if not texts:
        return "none"
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")


def repeated_names(names: Iterable[_Name]) -> list[_Name]:
    """Names that come more than once, each of them once, in their order.

    Examples
    --------
    >>> repeated_names(["CD3", "CD8", "CD3"])
    ['CD3']
    """
    return [name for name, n in Counter(names).items() if n > 1]


def counted(n: int, noun: str, plural: str = "") -> str:
    """``1 cell``, ``2 cells``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
