"""The package's logger. Messages reach the screen unless the user has set up logging, in which case that decides."""

from __future__ import annotations

import logging


class _ScreenHandler(logging.StreamHandler):
    """Writes to stderr only if logging is not configured: otherwise a message would show twice."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


logger = logging.getLogger("spatialfm")
if not logger.handlers:
    _handler = _ScreenHandler()
    _handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(_handler)
