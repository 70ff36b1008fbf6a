"""Ctrl-C, and the end that schedulers of clusters ask for: answered between steps, where weights are whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether an end was asked for."""

    asked: bool = False


@contextmanager
def answered_between_steps() -> Iterator[Stop]:
    """Signals set `Stop.asked`; a second one ends the process as Ctrl-C does, wherever it is."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main one may set handlers
        yield stop
        return

    def ask(*_: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt("Stopped within a step. The same call goes on from the last checkpoint.")
        stop.asked = True

    before = [signal.signal(one, ask) for one in SIGNALS]
    try:
        yield stop
    finally:
        for one, handler in zip(SIGNALS, before, strict=True):
            signal.signal(one, handler)
