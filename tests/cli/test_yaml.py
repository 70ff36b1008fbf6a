"""Settings files: what is text, what is a number, and where a mistake is."""

from __future__ import annotations

import math

import pytest
import yaml

from spatialfm._errors import InputFileError
from spatialfm.cli._yaml import dump, read_document, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, text) for text in ("yes", "no", "on", "off", "001", "2024-01-31", "12:30", "0x1f", "1_000", "y")],
        *[("0.5", 0.5), ("1e3", 1000.0), ("-3", -3), (".5", 0.5), (".inf", math.inf), ("0", 0)],
        *[("true", True), ("False", False), ("null", None), ("", None), ("~", None)],
        *[("[a, 1, yes]", ["a", 1, "yes"]), ("{a: no}", {"a": "no"}), ("'1'", "1"), ("[a", "[a")],
    ],
)
def test_values_are_what_people_mean(text, value):
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


VALUES = {
    "text": ["001", "yes", "1e3", "null", "true", "0.5", "2024-01-31", "a: b #c", "", "é", "x\ny", "~", "[1]"],
    "numbers": [0.5, 1e-7, 3, math.inf],
    "others": [True, None, {}, []],
}


def test_what_is_written_is_read_again_also_by_others(tmp_path):
    (tmp_path / "a.yaml").write_text(dump(VALUES), encoding="utf-8")
    assert read_document(tmp_path / "a.yaml").content == VALUES
    assert yaml.safe_load(dump(VALUES))["text"] == VALUES["text"]


def test_lines_of_keys_and_keys_that_stand_twice(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\nb:\n  # remark\n  c: 2\nb:\n  c: 3\n", encoding="utf-8")
    document = read_document(tmp_path / "a.yaml")
    assert document.line("b", "c") == "line 6: "
    assert document.line("z") == ""
    assert document.problems[0] == "line 5: b is also in line 2. Remove one of them."


@pytest.mark.parametrize("text", ["a: [1", "a:\n\tb: 1", "a: b: c"])
def test_a_mistake_is_told_with_its_line(text, tmp_path):
    (tmp_path / "a.yaml").write_text("x: 1\n" + text, encoding="utf-8")
    with pytest.raises(InputFileError, match=r"a\.yaml', line [23]: "):
        read_document(tmp_path / "a.yaml")


def test_no_object_can_be_made_by_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("a: !!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(InputFileError):
        read_document(tmp_path / "a.yaml")


def test_an_empty_file_has_no_settings(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing\n", encoding="utf-8")
    assert read_document(tmp_path / "a.yaml").content == {}
