"""Signals are answered between steps, and a second one at once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from spatialfm.train.interrupt import SIGNALS, answered_between_steps


@pytest.mark.parametrize("sent", SIGNALS)
def test_the_first_signal_asks_and_the_second_ends(sent):
    before = [signal.getsignal(one) for one in SIGNALS]
    with answered_between_steps() as stop:
        assert not stop.asked
        os.kill(os.getpid(), sent)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt, match="goes on from the last checkpoint"):
            os.kill(os.getpid(), sent)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), answered_between_steps():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_no_handler_is_set():
    seen = []

    def run():
        with answered_between_steps() as stop:
            seen.append((stop.asked, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
