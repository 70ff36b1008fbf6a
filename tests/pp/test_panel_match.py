"""What a channel's name means, and what contradicts it."""

from __future__ import annotations

import pytest

from spatialfm.pp.panel_match import match_name


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("CD3", "CD3"),
        ("141Pr_CD3", "CD3"),
        ("CD274/PD-L1", "PD-L1"),
        ("CD279_PD-1", "PD-1"),
        ("Cytokeratin 1, 5, 6A, 8", "pan-Cytokeratin"),
        ("STAT3 (pY705)", "pSTAT3"),
        ("KCNQ1", "KCNQ1"),
    ],
)
def test_names_with_what_stands_around_them(name, marker):
    assert match_name(name).marker == marker


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [
        ("c3", ("C3",)),  # a channel's number, or complement
        ("Er", ("ER",)),  # erbium, or the oestrogen receptor
        ("CD4/CD8", ("CD4", "CD8")),
        ("CD3 (CD20)", ("CD20", "CD3")),
    ],
)
def test_what_may_be_two_things_is_left_to_the_user(name, suggestions):
    match = match_name(name)
    assert match.status == "ambiguous"
    assert match.marker == ""
    assert set(suggestions) <= set(match.suggestions)


def test_a_phosphorylated_protein_is_never_the_plain_one():
    assert match_name("CD3 (pY142)").marker != "CD3"


@pytest.mark.parametrize("name", ["blank", "Argon80", "autofluorescence_1"])
def test_channels_that_are_no_markers_are_ignored(name):
    assert match_name(name).status == "ignored"


def test_a_marker_beside_such_a_word_is_told():
    match = match_name("CD8_autofluorescence")
    assert (match.status, match.suggestions) == ("ambiguous", ("CD8",))


@pytest.mark.parametrize("name", ["AF488", "Opal 520"])
def test_a_dye_alone_needs_its_marker(name):
    match = match_name(name)
    assert match.status == "unknown"
    assert "dye" in match.via


def test_a_number_that_makes_another_protein_is_not_a_repeated_stain():
    assert match_name("Vimentin_2").marker == "Vimentin"
    assert match_name("Claudin 4").marker != "Claudin-1"
    assert match_name("Arginase 2").marker == "Arginase-2"


def test_an_unknown_name_comes_with_similar_ones():
    match = match_name("Vimentine")
    assert (match.status, match.marker) == ("unknown", "")
    assert "Vimentin" in match.suggestions
