"""Types that several rooms use, and what narrows one."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None, what: str) -> T:
    """A value that is there by the time it is used; its absence is a mistake of this package, not of a user.

    Examples
    --------
    >>> present(3, "n")
    3
    """
    if value is None:
        raise RuntimeError(f"{what} is used before it was set: a mistake in spatialfm, please report it.")
    return value
