"""The program: exit status, typos, help, signals, and what goes to which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
import weakref

import pytest

from spatialfm._errors import SpatialfmError, SpatialfmWarning
from spatialfm.cli import _main, main
from spatialfm.cli._screen import Screen
from spatialfm.cli._stages import STAGES


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["modles"], "no command 'modles'. Did you mean 'models'?"),
        (["MARKERS", "CD8"], "Did you mean 'markers'?"),
        (["xyz"], "there are init"),
        (["demo", "--patient-count", "9", "--modle", "classical"], "unrecognized arguments: --patient-count"),
        (["demo", "--modle=classical"], "--modle=classical. Did you mean '--model'?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(arguments, said, capsys):
    assert said in refused(arguments, capsys)


@pytest.mark.parametrize("command", ["init", "check", "run", *STAGES, "train", "demo", "models", "markers"])
def test_the_help_of_a_command_has_an_example_of_it(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    example = capsys.readouterr().out.split("example:")[1]
    assert f"spatialfm {command}" in example


def test_the_help_of_the_program_states_every_exit_status(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    for status in ("0  ", "1  ", "2  ", "130"):
        assert f"\n  {status}" in said


@pytest.mark.parametrize("module", ["spatialfm", "spatialfm.cli"])
def test_it_runs_as_a_module(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("spatialfm ")


def with_command(monkeypatch, run):
    """The program, with the command `models` doing something else."""
    monkeypatch.setattr(_main.models, "run", run)
    return main(["models"])


def test_errors_and_stops_have_their_exit_status(monkeypatch, capsys):
    def fail(error):
        def run(*_):
            raise error

        return run

    assert with_command(monkeypatch, fail(SpatialfmError("No."))) == 1
    assert capsys.readouterr().err == "spatialfm models: No.\n"
    assert with_command(monkeypatch, fail(OSError(28, "No space left on device", "/data/x"))) == 1
    assert "'/data/x': No space left on device. Pass another path." in capsys.readouterr().err
    assert with_command(monkeypatch, fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert with_command(monkeypatch, lambda *_: 1) == 1  # a check that found problems


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_sigterm_ends_it_as_ctrl_c_does_and_the_handler_goes_back(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    assert with_command(monkeypatch, lambda *_: os.kill(os.getpid(), signal.SIGTERM)) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_json_document_is_alone_on_standard_output(capsys):
    screen = Screen("check", as_json=True)
    with screen.noting():
        for _ in range(2):
            warnings.warn("odd", SpatialfmWarning, stacklevel=1)
        warnings.warn("of a library", FutureWarning, stacklevel=1)
    screen.say("on the way")
    screen.document({"n": 1, "notes": screen.notes})
    said = capsys.readouterr()
    assert json.loads(said.out) == {"n": 1, "notes": ["odd"]}
    assert said.err == "  note: odd\non the way\n"


def test_notes_of_a_block_are_all_of_it_though_each_is_shown_once(capsys):
    screen = Screen("run")
    heard = []
    for _ in range(2):
        with screen.noting() as notes:
            warnings.warn("odd", SpatialfmWarning, stacklevel=1)
        heard.append(notes)
    assert heard == [["odd"], ["odd"]]
    assert screen.notes == ["odd"]
    assert capsys.readouterr().out == "  note: odd\n"


def test_quiet_leaves_results_notes_and_errors(capsys):
    screen = Screen("run", quiet=True)
    screen.say("on the way")
    screen.note("odd")
    screen.show("result")
    screen.refuse("wrong")
    said = capsys.readouterr()
    assert said.out == "  note: odd\nresult\n"
    assert said.err == "spatialfm run: wrong\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_an_object_is_cleared_away_is_not_lost(number):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background

    class Held:
        """Something that a library refers to weakly."""

    def cleared(_):
        os.kill(os.getpid(), number)
        for _ in range(1000):  # the error is raised in here, where Python drops it
            pass

    held = [Held()]
    reference = weakref.ref(held[0], cleared)

    def work():
        held.clear()
        assert reference() is None
        time.sleep(5)

    try:
        with pytest.raises(KeyboardInterrupt), _main._terminated_as_interrupted():
            work()
    finally:
        signal.signal(signal.SIGINT, before)
