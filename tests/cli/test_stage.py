"""Stages: their settings are their signatures, and each is explained."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import spatialfm as sfm
from spatialfm.cli._stage import Done, Stage, options_of
from spatialfm.cli._stages import STAGES


def stage(borrowed=None):
    def run(analysis, *, n_niches: int = 3, markers: Sequence[str] | None = None) -> Done:
        """Do it.

        Parameters
        ----------
        n_niches
            How many.
        markers
            Which
            ones.
        """
        return Done()

    return Stage("x", "does x", "spatialfm x", run, (), borrowed=borrowed)


def test_settings_are_the_signature_and_help_is_the_docstring():
    options = stage().options({})
    assert {name: (one.default, one.help, one.flag) for name, one in options.items()} == {
        "n_niches": (3, "How many.", "--n-niches"),
        "markers": (None, "Which ones.", "--markers"),
    }
    assert stage().description == "Do it."
    assert stage().settings({"n_niches": 5}) == {"n_niches": 5, "markers": None}


def test_a_value_is_checked_as_the_functions_check_theirs():
    options = stage().options({})
    assert options["n_niches"].fits(4)
    assert "0 is not" in options["n_niches"].problem(0)
    assert "'CD3' is not a list of strings" in options["markers"].problem("CD3")


def test_settings_of_another_function_are_borrowed_but_for_those_left_out():
    def other(data, a: int = 1, *, n_niches: int = 9, b: str = "x"):
        """Other.

        Parameters
        ----------
        a, b
            Both.
        """

    options = stage(lambda given: (other, ("b",))).options({})
    assert list(options) == ["n_niches", "markers", "a"]
    assert options["n_niches"].default == 3  # its own goes before
    assert options["a"].help == "Both."


@pytest.mark.parametrize("name", STAGES)
def test_each_setting_of_each_stage_is_explained(name):
    options = STAGES[name].options({})
    assert not [key for key, one in options.items() if not one.help]
    assert not [key for key, one in options.items() if one.problem(one.default) and one.default != ()]


def test_reading_has_the_settings_of_its_reader():
    options = STAGES["read"].options({})
    theirs = options_of(sfm.io.read_cohort)
    assert {"library_key", "mpp", "channel_names"} <= set(options) & set(theirs)
    assert "cell_table" not in options  # cells are measured by stage segment
    assert "channel_names" in STAGES["read"].options({"reader": "tiff"})


def test_stages_are_in_an_order_in_which_each_finds_what_it_needs():
    seen = set()
    for name, one in STAGES.items():
        assert name == one.name
        assert set(one.needs) <= seen
        seen.add(name)
