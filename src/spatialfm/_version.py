"""The version of the package, for those who write it into records."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("spatialfm")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def version_of(package: str) -> str:
    """Installed version of a package; ``"unknown"`` where none is, or where it is a checkout on the path.

    Examples
    --------
    >>> version_of("no-such-package")
    'unknown'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
