"""What commands print."""

from __future__ import annotations

import json
import warnings

from spatialfm._errors import warn
from spatialfm.cli._screen import Screen


def test_text_goes_to_people_and_one_document_to_programs(capsys):
    Screen("run").document({"a": 1})
    Screen("run").say("on the way")
    assert capsys.readouterr() == ("on the way\n", "")
    screen = Screen("run", as_json=True)
    screen.say("on the way")
    screen.document({"ä": 1})
    out, error = capsys.readouterr()
    assert json.loads(out) == {"ä": 1}
    assert error == "on the way\n"


def test_quiet_leaves_results(capsys):
    screen = Screen("run", quiet=True)
    screen.say("on the way")
    screen.show("a result")
    assert capsys.readouterr().out == "a result\n"


def test_an_error_is_also_a_document(capsys):
    screen = Screen("run", as_json=True)
    screen.note("mind")
    screen.refuse("No such file.")
    out, error = capsys.readouterr()
    assert json.loads(out) == {"command": "run", "status": "refused", "error": "No such file.", "notes": ["mind"]}
    assert error.splitlines() == ["  note: mind", "spatialfm run: No such file."]


def test_our_warnings_are_notes_that_are_shown_once(capsys):
    screen = Screen("run")
    with screen.noting() as first:
        warn("mind")
        warn("mind")
        warnings.warn("of another package", DeprecationWarning, stacklevel=1)
    with screen.noting() as second:
        warn("mind")
        warn("this too")
    assert first == ["mind"]
    assert second == ["mind", "this too"]
    assert screen.notes == ["mind", "this too"]
    assert capsys.readouterr().out == "  note: mind\n  note: this too\n"
