"""Arguments of commands."""

from __future__ import annotations

import argparse

import pytest

from spatialfm.cli import _parser
from spatialfm.cli._parser import Parser, add_command, meant


@pytest.fixture
def parser():
    top = Parser(prog="spatialfm")
    commands = top.add_subparsers(dest="command")
    run = add_command(commands, "run", print, summary="runs", description="Runs.", example="spatialfm run x")
    run.add_argument("--out")
    run.add_argument("--kind", choices=["cells", "tiles"])
    return top


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--uot", "x"], "spatialfm run: error: unrecognized arguments: --uot x. Did you mean '--out'?"),
        (["run", "--uot=x"], "Did you mean '--out'?"),
        (["rnu"], "no command 'rnu'. Did you mean 'run'?"),
        (["zzz"], "no command 'zzz'; there are run"),
        (["run", "--kind", "cell"], "no value 'cell'. Did you mean 'cells'?"),
        (["run", "--kind", "CELLS"], "no value 'CELLS'. Did you mean 'cells'?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(parser, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(arguments)
    said = capsys.readouterr().err
    assert message in said
    assert "usage:" not in said


def test_what_is_right_is_read(parser):
    read = parser.parse_args(["run", "--out", "x", "--quiet"])
    assert (read.out, read.quiet, read.run) == ("x", True, print)


def test_an_example_keeps_its_lines(parser):
    help_of_run = parser._of_command("run").format_help()
    assert "example:\n  spatialfm run x" in help_of_run


def test_names_are_answered_in_their_own_case():
    assert meant("CD 3", ["CD3", "DAPI"]) == ". Did you mean 'CD3'?"
    assert meant("x", []) == ""


@pytest.mark.parametrize(
    ("text", "low", "number"), [("3", 1, 3), ("1", 1, 1), ("-2", 1, None), ("0", 1, None), ("4", 5, None)]
)
def test_whole_numbers(text, low, number):
    if number is None:
        with pytest.raises(argparse.ArgumentTypeError, match=f"is not a whole number from {low} to"):
            _parser.whole(text, "n_niches", low)
    else:
        assert _parser.whole(text, "n_niches", low) == number


@pytest.mark.parametrize("text", ["1.5", "x", "", "9" * 5000, "-1", str(2**32)])
def test_seeds_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number from 0 to 4,294,967,295"):
        _parser.seed(text)
    assert _parser.seed("0") == 0
    assert _parser.seed(str(2**32 - 1)) == 2**32 - 1


@pytest.mark.parametrize(("text", "message"), [(" ", "it is empty"), ("a\0b", "it holds a null byte")])
def test_texts_that_say_nothing(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        _parser.some_text(text)


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "a"
    file.write_text("x")
    with pytest.raises(argparse.ArgumentTypeError, match="is a file. Pass a folder"):
        _parser.folder(str(file))
    assert _parser.folder(str(tmp_path)) == tmp_path
    assert _parser.folder(str(tmp_path / "new")) == tmp_path / "new"


def test_models_that_there_are():
    assert _parser.model("kronos") == "kronos"
    with pytest.raises(argparse.ArgumentTypeError, match="kronos"):
        _parser.model("kronso")
