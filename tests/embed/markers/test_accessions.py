"""Which protein stands for a marker, against facts of UniProt."""

from __future__ import annotations

import pytest

from spatialfm.embed.markers.accessions import HISTONE_H3, proteins_of


@pytest.mark.parametrize(
    ("marker", "first"),
    [
        ("CD4", "P01730"),
        ("CD8", "P01732"),
        ("CD20", "P11836"),
        ("CD45RA", "P08575-8"),
        ("Q9Y5Y7", "Q9Y5Y7"),
        ("VIM", "P08670"),
    ],
)
def test_the_first_accession(marker, first):
    (found,) = proteins_of([marker])
    assert found.accessions[0] == first
    assert found.why_none == ""


@pytest.mark.parametrize("stain", ["DAPI", "Hoechst", "DNA1"])
def test_stains_of_dna_stand_for_histone_where_that_is_asked_for(stain):
    assert proteins_of([stain], "histone")[0].accessions == (HISTONE_H3,)
    (none,) = proteins_of([stain])
    assert none.accessions == ()
    assert "no protein sequence" in none.why_none


def test_unknown_names_say_why_and_each_comes_once():
    found = proteins_of(["CD4", "Quux77", "CD4"])
    assert [one.marker for one in found] == ["CD4", "Quux77"]
    assert "unknown in the table of markers" in found[1].why_none
    assert proteins_of([]) == []
