"""The table of markers as an index: what each key means, by facts of HGNC and UniProt."""

from __future__ import annotations

import pytest

from spatialfm.pp.panel_index import facts_of, find, find_gene, is_gene_symbol, is_modified, is_spelled_so, suggest


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("CD3", "CD3"),
        ("P01732", "CD8"),  # CD8A in UniProt
        ("PDCD1", "PD-1"),
        ("krt8", "CK8"),
        ("collagen type 4", "Collagen IV"),
        ("NF-κB p65", "NF-kB p65"),
        ("pSTAT3", "pSTAT3"),
    ],
)
def test_names_accessions_and_spellings(text, marker):
    assert find(text).marker == marker


@pytest.mark.parametrize("text", ["actin", "CD45R", "PD", "PERK"])
def test_names_of_several_markers_are_not_decided(text):
    match = find(text)
    assert match.status == "ambiguous"
    assert len(match.suggestions) > 1


def test_capitals_decide_where_the_small_letter_is_lost():
    assert find("PERK").status == "ambiguous"
    assert find("pERK").marker.startswith("pERK")


def test_a_mouse_reads_some_names_otherwise():
    assert find("CD45R", "mouse").marker == "B220"
    assert find("CD45R").status == "ambiguous"
    assert find("MHC-II", "mouse").marker == "I-A/I-E"


@pytest.mark.parametrize("text", ["", "--", "no such marker"])
def test_what_the_table_lacks_is_not_found(text):
    assert find(text) is None


def test_symbols_are_to_the_letter_and_genes_are_found_in_any_case():
    assert is_gene_symbol("CD8A")
    assert not is_gene_symbol("cd8a")
    assert find_gene("kcnq1").marker == "KCNQ1"
    assert find_gene("max") is None  # a word of a panel
    assert find_gene("ab") is None


def test_modified_forms_are_told_from_the_protein():
    assert is_modified("pSTAT3")
    assert not is_modified("CD3")


def test_facts_of_a_species():
    assert facts_of("CD8", "human")["gene"].split(";")[0] == "CD8A"
    mouse = facts_of("CD20", "mouse")
    assert mouse["gene"] == "Ms4a1"
    assert mouse["uniprot"] == "P19437"  # UniProt, CD20_MOUSE
    assert facts_of("KCNQ1", "human")["uniprot"] == "P51787"  # UniProt, KCNQ1_HUMAN


def test_similar_names_are_suggested_and_others_are_not():
    assert "Vimentin" in suggest(["vimentine"])
    assert suggest(["xyzzy"]) == ()


def test_gaps_are_part_of_a_spelling():
    assert is_spelled_so("PD-1")
    assert is_spelled_so("pd 1")
    assert not is_spelled_so("P D1")
