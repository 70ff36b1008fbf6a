"""Paths as tables hold them: from other systems, with other letters for the same name, or nearly right."""

from __future__ import annotations

import difflib
import re
import unicodedata
from errno import EINVAL, ELOOP, ENAMETOOLONG
from pathlib import Path

from .._errors import InputFileError, listed
from ._names import stem

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def find_path(text: str, folder: Path | None = None) -> Path:
    """The path that a text means; one that does not exist where there is none.

    Tried are the text as it is, letters composed and decomposed (``é`` is stored as two characters by some systems),
    and backslashes as separators. Nothing is guessed beyond that.
    """
    path = _absolute(_expanded(text), folder)
    if exists(path):
        return path
    texts = [text] if _WINDOWS.match(text) else [text, text.replace("\\", "/")]
    for variant in texts:
        for form in ("NFC", "NFD"):
            other = _absolute(_expanded(unicodedata.normalize(form, variant)), folder)
            if exists(other):
                return other
    return path


def absent(text: str, path: Path) -> str:
    """Reason why a file was not found, for a message: similar names, or the kind of path."""
    if re.match(r"[a-z][a-z0-9+]+://", text):
        return f"no file '{text}': it is an address; copy the file to a disk"
    if _WINDOWS.match(text) and "\\" not in str(Path.cwd()):
        return f"no file '{text}': it is a path of a Windows computer, not of this one"
    if re.search(r"[*?\[]", text):
        return f"no file '{path}': patterns are not expanded; write one path per row"
    return f"no file '{path}'" + _near(path)


def exists(path: Path) -> bool:
    """Whether there is such a file or folder that may be looked at.

    Raises
    ------
    InputFileError
        If the system refuses to look: no permission, a disk that does not answer.
    """
    try:
        path.stat()
    except ValueError:  # a zero byte
        return False
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno in (ENAMETOOLONG, ELOOP, EINVAL):
            return False
        raise InputFileError(
            f"'{path}' cannot be opened: {error.strerror}. Check its permissions and the disk."
        ) from error
    return True


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a file whose name begins with ~
        return Path(text)


def _absolute(path: Path, folder: Path | None) -> Path:
    return path if path.is_absolute() or folder is None else folder / path


def _near(path: Path) -> str:
    """Names in the folder that the path may mean; the choice is the user's."""
    if not exists(path.parent) or not path.parent.is_dir():
        return "" if path.parent.parent == path.parent else " (nor its folder)"
    names = [file.name for file in path.parent.iterdir() if not file.name.startswith(".")][:10_000]
    wanted = stem(path).lower()  # case and the ways to write .tif apart
    same = [name for name in names if stem(Path(name)).lower() == wanted]
    close = same[:3] or difflib.get_close_matches(path.name, names, n=2, cutoff=0.85)
    return f"; the folder has {listed(close)}" if close else ""
