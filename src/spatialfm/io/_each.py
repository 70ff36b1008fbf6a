"""Every sample opened in turn, and what is wrong with any of them in one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .._errors import SpatialfmError
from .._progress import progress_bar
from ._cohort_table import refuse_all

Opened = TypeVar("Opened")


def read_each(openers: Iterable[tuple[str, Callable[[], Opened]]]) -> list[Opened]:
    """Open all samples.

    Parameters
    ----------
    openers
        Name of each sample, and the call that opens it.

    Raises
    ------
    SpatialfmError
        With the problems of all samples, by name. If all are of one kind, the error is of that kind, so that it can be
        caught as what it is.
    """
    read, errors = open_each(openers)
    refuse_each(errors)
    return read


def open_each(
    openers: Iterable[tuple[str, Callable[[], Opened]]],
) -> tuple[list[Opened], list[tuple[str, SpatialfmError]]]:
    """What could be opened, and what was wrong with the samples that could not."""
    read, errors = [], []
    for sample, opener in progress_bar(list(openers), desc="files", unit="sample"):
        try:
            read.append(opener())
        except SpatialfmError as error:
            errors.append((sample, error))
    return read, errors


def refuse_each(errors: Sequence[tuple[str, SpatialfmError]]) -> None:
    """Raise what is wrong with samples, if anything is, as `read_each` does."""
    kinds = {type(error) for _, error in errors}
    refuse_all(
        [f"sample {sample!r}: {error}" for sample, error in errors], kinds.pop() if len(kinds) == 1 else SpatialfmError
    )
