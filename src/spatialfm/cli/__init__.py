"""The command line: one file per command, each calling the public functions."""

from ._main import main

__all__ = ["main"]
