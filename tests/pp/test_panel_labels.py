"""Text around a marker's name: what each reading leaves out."""

from __future__ import annotations

import pytest

from spatialfm.pp.panel_labels import is_fluorophore, parts, readings, remarks


def barest(name):
    return list(readings(name))[-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("141Pr_CD3", "CD3"),
        ("CD3(Er170)Di", "CD3"),
        ("CD8-AF647", "CD8"),
        ("Opal 520 (CD8)", "CD8"),
        ("CD20 Cyc_3_ch_2", "CD20"),
        ("R6.0.4_CY7_KI67", "KI67"),
        ("anti-human CD45", "CD45"),
        ("CD8 clone C8/144B", "CD8"),
        ("PD-L1 SP263", "PD-L1"),
        ("CD68 mean", "CD68"),
        ("STAT3 pY705", "STAT3"),
        ("CD4.ome.tiff", "CD4"),
        ("CD34 BV510 (QBEnd10)_100ms", "CD34"),
    ],
)
def test_metals_dyes_rounds_clones_and_statistics_are_left_out(name, text):
    assert barest(name).text == text


@pytest.mark.parametrize("name", ["CD45RO", "C1Q", "HLA-DR", "IL-2", "S100"])
def test_parts_of_a_name_are_not(name):
    assert [reading.text for reading in readings(name) if not reading.replicate][-1] == name


def test_what_was_left_out_is_told():
    reading = barest("CD8 (T cells)-AF647")
    assert "AF647" in reading.removed
    assert "T cells" in remarks(reading)


def test_the_first_reading_is_the_name_itself_and_none_comes_twice():
    texts = [reading.text for reading in readings("  CD8 - T cells:Cyc_3_ch_2 ")]
    assert texts[0] == "CD8 - T cells:Cyc_3_ch_2"
    assert len(set(texts)) == len(texts)


def test_a_number_at_the_end_may_be_that_of_a_repeated_stain():
    *_, last = readings("Vimentin_2")
    assert (last.text, last.replicate) == ("Vimentin", True)


def test_names_are_cut_at_separators():
    assert next(parts("CD274/PD-L1")) == ["CD274", "PD-L1"]
    assert ["TCF7", "TCF1"] in list(parts("TCF7-TCF1"))
    assert list(parts("CD3")) == []


@pytest.mark.parametrize("name", ["AF488", "Cy5", "Opal 690", "PE-Cy7", "FITC", "BV421"])
def test_dyes(name):
    assert is_fluorophore(name)


@pytest.mark.parametrize("name", ["CD8", "PE1", "APCDD1"])
def test_markers_are_no_dyes(name):
    assert not is_fluorophore(name)
