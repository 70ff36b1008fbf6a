"""Every sample opened in turn, and what is wrong with any of them in one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .._errors import SpatialfmError
from .._progress import progress_bar
from ._cohort_table import refuse_all

if TYPE_CHECKING:
    from ._elements import ReadSample


def read_each(openers: Iterable[tuple[str, Callable[[], ReadSample]]]) -> list[ReadSample]:
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
    read, errors = [], []
    for sample, opener in progress_bar(list(openers), desc="files", unit="sample"):
        try:
            read.append(opener())
        except SpatialfmError as error:
            errors.append((sample, error))
    kinds = {type(error) for _, error in errors}
    refuse_all(
        [f"sample {sample!r}: {error}" for sample, error in errors], kinds.pop() if len(kinds) == 1 else SpatialfmError
    )
    return read
