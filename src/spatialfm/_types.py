"""Types that several rooms use, and what narrows one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

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


def is_short(dtype: np.dtype) -> bool:
    """Whether pixels are whole numbers of 8 or 16 bits without sign, whichever byte of them comes first.

    Examples
    --------
    >>> import numpy as np
    >>> [is_short(np.dtype(name)) for name in ("u1", "<u2", ">u2", "i2", "u4", "f4")]
    [True, True, True, False, False, False]
    """
    return dtype.kind == "u" and dtype.itemsize <= 2
