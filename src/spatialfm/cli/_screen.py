"""All that a command prints: text for people on standard output, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._errors import SpatialfmWarning
from .._logging import logger


class Screen:
    """Where a command speaks.

    Parameters
    ----------
    command
        Its name, which begins its errors.
    quiet
        Whether only notes and errors are shown, and results.
    as_json
        Whether standard output has one JSON document, which `document` prints; text then goes to standard error.
    """

    def __init__(self, command: str, *, quiet: bool = False, as_json: bool = False) -> None:
        self.command, self.quiet, self.as_json = command, quiet, as_json
        self.notes: list[str] = []

    def say(self, text: str = "") -> None:
        """One line on how it goes, which ``--quiet`` leaves out."""
        if not self.quiet:
            self.show(text)

    def show(self, text: str) -> None:
        """A result."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def document(self, content: Any) -> None:
        """What ``--json`` asks for."""
        if self.as_json:
            print(json.dumps(content, indent=2, ensure_ascii=False), flush=True)

    def refuse(self, message: str, status: str = "refused") -> None:
        """An error, on standard error; in JSON also a document, as a program reads nothing else."""
        self.document({"command": self.command, "status": status, "error": message, "notes": self.notes})
        print(f"spatialfm {self.command}: {message}" if status == "refused" else message, file=sys.stderr)

    def note(self, text: str, *, to_stderr: bool = False) -> None:
        """One of our warnings; the same one is shown once."""
        if text not in self.notes:
            self.notes.append(text)
            if to_stderr:
                print(f"note: {text}", file=sys.stderr, flush=True)
            else:
                self.show(f"  note: {text}")

    @contextmanager
    def noting(self, *, to_stderr: bool = False) -> Iterator[list[str]]:
        """Our warnings become notes; those of other packages are for developers and go to the log.

        Gives the notes of this block, also those that were shown before.

        Parameters
        ----------
        to_stderr
            Whether they are kept apart from standard output, which is a file.
        """
        heard: list[str] = []

        def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
            if isinstance(message, SpatialfmWarning):
                self.note(str(message), to_stderr=to_stderr)
                if str(message) not in heard:
                    heard.append(str(message))
            else:
                logger.debug("%s: %s", category.__name__, message)

        with warnings.catch_warnings():
            warnings.simplefilter("always", SpatialfmWarning)
            warnings.showwarning = show
            yield heard
