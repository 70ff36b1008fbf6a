"""Loops compiled to machine code; only modules that are loaded when they are needed import this one."""

from __future__ import annotations

from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """The function as machine code, compiled at its first call and kept on disk for the next session."""
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # no folder to keep it in, neither next to the file nor in the home folder
        return njit(function, nogil=True)
