"""``sfm.settings``: the few things that hold for a whole session; each also an environment variable."""

from __future__ import annotations

import functools
import logging
import os
import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from ._arguments import is_flag, scalar, shown
from ._errors import ArgumentError, ArgumentTypeError
from ._logging import logger

if TYPE_CHECKING:
    import torch

_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO, 3: logging.DEBUG}
_WORDS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off", ""), False)
LONGEST = 20  # digits of a size
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(size: int | float | str, name: str = "") -> int:
    """Number of bytes in ``"512 MiB"``, ``"2GB"`` or a plain number.

    Parameters
    ----------
    name
        Setting that takes it, for the message.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)\s*", str(size), re.ASCII)
    if match is None or match[2].upper() not in _UNITS or len(match[1]) > LONGEST:
        refused = f"settings.{name}: cannot read" if name else "Cannot read"
        raise ArgumentError(f"{refused} {shown(size)} as a memory size. Write for example '512 MiB' or '2 GB'.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _flag(name: str, value: str | bool) -> bool:
    if is_flag(value):
        return bool(value)
    if not isinstance(value, str):
        raise ArgumentTypeError(f"settings.{name} must be True or False, not {shown(value)}.")
    word = value.strip().lower()
    if word not in _WORDS:
        raise ArgumentError(f"settings.{name} must be True or False, not {shown(value)}.")
    return _WORDS[word]


@functools.cache
def _cache_of_user() -> str:
    return platformdirs.user_cache_dir("spatialfm", appauthor=False)


class Settings:
    """Settings of the session.

    Each attribute takes its first value from the environment variable ``SPATIALFM_<NAME>``.

    Attributes
    ----------
    cache_dir
        Folder for weights and finished blocks of runs.
    device
        ``"auto"`` (cuda, mps, cpu, whichever comes first), or a torch device.
    batch_memory
        Memory in bytes that one batch of windows and its activations may take; accepts ``"512 MiB"``.
    result_memory
        Bytes of an embedding above which it stays on disk and is read when it is needed; accepts ``"4 GiB"``.
    verbosity
        0 errors, 1 warnings, 2 information, 3 everything.
    progress
        Whether progress bars are shown.
    offline
        Whether downloads are forbidden.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.settings.batch_memory = "256 MiB"
    >>> sfm.settings.batch_memory
    268435456
    >>> sfm.settings.reset()
    """

    _cache_dir: Path
    _device: str | torch.device
    _batch_memory: int
    _result_memory: int
    _verbosity: int
    _progress: bool
    _offline: bool

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Go back to the environment variables and defaults."""
        env = {name: os.environ.get(f"SPATIALFM_{name.upper()}") for name in self._defaults()}
        for name, default in self._defaults().items():
            try:
                setattr(self, name, default if env[name] is None else env[name])
            except ValueError as error:  # at import, where it could not be corrected otherwise
                setattr(self, name, default)
                logger.warning(
                    "SPATIALFM_%s=%s cannot be understood, and %s counts: %s", name.upper(), env[name], default, error
                )

    if not TYPE_CHECKING:  # a type checker has the names; if any could be set, it would not report a wrong one

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_") and name not in self._defaults():
                raise AttributeError(f"There is no setting {name!r}. There are: {', '.join(self._defaults())}.")
            super().__setattr__(name, scalar(value))

    @staticmethod
    def _defaults() -> dict[str, Any]:
        return {
            "cache_dir": _cache_of_user(),
            "device": "auto",
            "batch_memory": "512 MiB",
            "result_memory": "1 GiB",
            "verbosity": 2,
            "progress": True,
            "offline": False,
        }

    @property
    def cache_dir(self) -> Path:
        """Folder for weights and finished blocks of runs."""
        return self._cache_dir

    @cache_dir.setter
    def cache_dir(self, value: str | PathLike) -> None:
        if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str) or not text:
            raise ArgumentTypeError(f"settings.cache_dir must be the path of a folder, not {shown(value)}.")
        if "\0" in text:
            raise ArgumentError(f"settings.cache_dir must be the path of a folder, not {shown(value)}.")
        self._cache_dir = Path(text).expanduser()

    @property
    def device(self) -> str | torch.device:
        """``"auto"`` or a torch device."""
        return self._device

    @device.setter
    def device(self, value: str | torch.device) -> None:
        if not (isinstance(value, str) and value.strip() or type(value).__module__ == "torch"):
            raise ArgumentTypeError(f"settings.device must be a string such as 'auto' or 'cpu', not {shown(value)}.")
        self._device = value

    @property
    def batch_memory(self) -> int:
        """Bytes that one batch may take."""
        return self._batch_memory

    @batch_memory.setter
    def batch_memory(self, value: int | str) -> None:
        size = parse_bytes(value, "batch_memory")
        if not size:
            raise ArgumentError(
                f"settings.batch_memory must be above 0, not {shown(value)}. Write for example '512 MiB'."
            )
        self._batch_memory = size

    @property
    def result_memory(self) -> int:
        """Bytes of an embedding above which it stays on disk."""
        return self._result_memory

    @result_memory.setter
    def result_memory(self, value: int | str) -> None:
        self._result_memory = parse_bytes(value, "result_memory")

    @property
    def verbosity(self) -> int:
        """0 errors, 1 warnings, 2 information, 3 everything."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, value: int | str) -> None:
        if str(value) not in {str(level) for level in _LEVELS}:
            raise ArgumentError(f"settings.verbosity must be 0, 1, 2 or 3, not {shown(value)}.")
        self._verbosity = int(value)
        level = _LEVELS[min(max(self._verbosity, 0), 3)]
        if logger.level != level:  # setting it goes through all loggers of all packages
            logger.setLevel(level)

    @property
    def progress(self) -> bool:
        """Whether progress bars are shown."""
        return self._progress

    @progress.setter
    def progress(self, value: bool | str) -> None:
        self._progress = _flag("progress", value)

    @property
    def offline(self) -> bool:
        """Whether downloads are forbidden."""
        return self._offline

    @offline.setter
    def offline(self, value: bool | str) -> None:
        self._offline = _flag("offline", value)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {getattr(self, name)}" for name in self._defaults())


settings = Settings()
