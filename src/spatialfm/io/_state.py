"""A file as it was when it was opened, so that one that changes since is not read without a word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._errors import InputFileError
from ._paths import exists


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was opened.

    `ctime_ns`, the time of the last change of its entry, is not set back by a copy that preserves the time of the
    content.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The file as it is now."""
        stat = path.stat()
        return cls(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def check_same(self) -> None:
        """Refuse a file that is gone or changed.

        Raises
        ------
        InputFileError
            With its name.
        """
        try:
            now = FileState.of(Path(self.path))
        except OSError as error:
            gone = "is gone" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error.strerror})"
            raise InputFileError(
                f"'{self.path}' {gone}; its pixels were to be read now. Put it back or read again."
            ) from error
        if now != self:
            raise InputFileError(
                f"'{self.path}' changed since it was opened. Read it again with the call that opened it."
            )


class OfFile:
    """What an array that reads a file on demand tells of itself; each such array is a dataclass with these fields."""

    state: FileState
    shape: tuple[int, ...]

    @property
    def source_files(self) -> tuple[str, ...]:
        """Every file that its values come from."""
        return (self.state.path,)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def file_state(path: Path) -> FileState:
    """Size and time of a file.

    Raises
    ------
    InputFileError
        If there is none, or it is a folder or empty.
    """
    if not exists(path):
        raise InputFileError(f"No file '{path}'. Check the path; relative ones start at '{Path.cwd()}'.")
    if not path.is_file():
        raise InputFileError(f"'{path}' is not a file. Pass the path of a TIFF file.")
    state = FileState.of(path.resolve())
    if state.size == 0:
        raise InputFileError(f"'{path}' is empty (0 bytes). Copy or export it again.")
    return state
