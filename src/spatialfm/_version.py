"""The version of the package, for those who write it into records."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("spatialfm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
