"""Names that try to become another marker, or to vanish: labels, pairs, gene symbols, counts of channels."""

from __future__ import annotations

import random
import time

import pandas as pd
import pytest

from spatialfm.pp.panel import marker_table, match_markers
from spatialfm.pp.panel_index import _genes, facts_of, rows
from spatialfm.pp.panel_names import ignored_reason


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return marker_table()


def one(name: str, **kwargs) -> pd.Series:
    return match_markers([name], **kwargs).iloc[0]


BEFORE = ("{i:02d}_", "C{i}-", "ch{i}_", "Channel {i} ", "R2.{i}_", "cyc{i}_", "anti-", "Anti-human ", "img_", "AF488-",
          "Cy5_", "PE-", "BV421 ", "Opal520_", "143Nd-", "Er168-", "141Pr_", "s00{i}_", "reg00{i}_", "Rb_",
          "Mean: ")  # fmt: skip
AFTER = ("_{i}", "-{i}", "_c{i}", "_cyc{i}", "_R{i}", "-Cy5", " (Opal 570)", "_488", " 1:200", " 1/50", "_100ms",
         " 20 ms", " Mean", "_nuc", "_Nd143", "(Gd158Di)", " (clone SP57)", " SP142", " EPR1234", "_Rb", "-Ms",
         ".ome.tif",
         "_AFRemoved_12", " background subtracted", "_AF", "_blank", " (isotype control)", "-BX0{i}", " #70306",
         " cat#304002", " 14-4777-82", " L26", "_II", " copy")  # fmt: skip


def test_no_label_makes_another_marker_or_hides_one(table):
    """Each marker with labels at random: itself, or said to be unresolved; never another, never left out."""
    draw = random.Random(0)
    named, names = {}, table.loc[~table["kind"].isin(["stain", "family", "complex"]), "marker"]
    for name in names[~names.str.startswith("Ig")]:
        for _ in range(6):
            before, after = draw.choice(("", *BEFORE)), draw.choice(("", *AFTER))
            named[before.format(i=draw.randint(5, 9)) + name + after.format(i=draw.randint(5, 9))] = name
    matched = match_markers(list(named))
    expected = matched["channel"].map(named)
    another = matched[(matched["marker"] != "") & (matched["marker"] != expected)]
    # a number glued by the label itself is part of the name where the table or HGNC has it so
    spelled = another[~another["channel"].str.contains(r"[-_][5-9]$|_II$")]
    assert spelled[["channel", "marker"]].to_numpy().tolist() == []
    assert len(another) < 0.005 * len(matched)
    assert matched.loc[matched["status"] == "ignored", "channel"].tolist() == []
    plain = match_markers([f"Cy5_{name}_AFRemoved_12.ome.tif" for name in names])
    assert (plain["marker"].to_numpy() == names.to_numpy()).mean() > 0.98


def test_two_markers_are_never_one(table):
    """``A_B`` is neither A nor B, unless one is a chain, form or member of the other."""
    names = table.loc[table["kind"].isin(["protein", "modified", "isoform"]) & (table["gene"] != ""), "marker"].tolist()
    draw = random.Random(1)
    pairs = {}
    while len(pairs) < 3000:
        first, second = draw.choice(names), draw.choice(names)
        pairs[first + draw.choice(["_", "-", " ", "/", "+", ", ", " & "]) + second] = (first, second)
    wrong = []
    for row in match_markers(list(pairs)).itertuples():
        genes = [set(facts_of(name, "human")["gene"].split(";")) for name in pairs[row.channel]]
        if row.marker in pairs[row.channel] and not (genes[0] & genes[1]):
            wrong.append((row.channel, row.marker))
        assert row.status != "ignored", row.channel
    assert wrong == []


def test_a_gene_symbol_is_that_gene_or_reported():
    """Of all HGNC symbols none is another gene, a modified form, or left out; TTF1 and DNA2 are panels' own words."""
    symbols = list(_genes()[0])
    assert len(symbols) > 19000
    other = {}
    for row in match_markers(symbols).itertuples():
        if row.status == "ignored" or (
            row.marker and (row.channel not in row.gene.split(";") or row.kind in ("modified", "isoform"))
        ):
            other[row.channel] = row.marker
        elif row.kind == "family":
            assert row.gene.split(";")[0] == row.channel, "a member of a family taken for the family's first"
    assert other == {"CTRL": "", "DNA2": "DNA", "TTF1": "TTF-1"}


@pytest.mark.parametrize(
    ("name", "among"),
    [
        ("C2-CD3", {"CD3", "C2CD3"}), ("mTfR1", {"CD71", "MTFR1"}), ("CS_1", {"CS", "CD319"}), ("MIB1", {"Ki-67"}),
        ("S100A", {"S100A4"}), ("CGA", {"Chromogranin A", "CGA"}), ("PRB1", {"pRB", "PRB1"}), ("MAX", {"MAX"}),
        ("IFNG-R2", {"IFNGR2"}), ("cytokeratin 17_1", {"pan-Cytokeratin"}), ("CREB1-pCREB", {"pCREB", "CREB"}),
        ("CD8_autofluorescence", {"CD8"}), ("CD3 (isotype control)", {"CD3"}), ("CD163_blank", {"CD163"}),
        ("Streptavidin-CD8", {"CD8"}), ("T PR BV421", {"TPR", "PR"}), ("Ms H3", {"MSH3"}), ("PSD-95-1", {"PSD"}),
        ("IL-2_Rb", {"CD122"}),
    ],
)  # fmt: skip
def test_what_may_be_either_is_said(name, among):
    row = one(name)
    assert row["status"] == "ambiguous"
    assert among <= set(row["suggestions"].split("; "))


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("BRAF", "BRAF"), ("RAD21", "RAD21"), ("MART1_488", "Melan-A"), ("MART-1 L26", "Melan-A"), ("DAD1", "DAD1"),
        ("Anti-human Cyclin D1", "Cyclin D1"), ("anti-human ALK", "ALK"), ("anti-human IgG", "IgG"), ("MAG_2A", ""),
        ("SIGLEC5", "SIGLEC5"), ("MAPK9", "MAPK9"), ("P45984", "MAPK9"), ("LC3B", "LC3B"), ("JNK", "JNK"),
        ("C5", "C5"), ("C9", "C9"),
        ("FTH1", "FTH1"), ("P02794", "FTH1"), ("IL12B", "IL12B"), ("LAMC2", "LAMC2"), ("CD3D", "CD3"),
        ("P04234", "CD3"),
        ("CD8 background subtracted", "CD8"), ("CK16-Ms", "CK16"), ("cytokeratin 16-Ms", "CK16"), ("VEGF-C", "VEGFC"),
        ("CD279_PD-1", "PD-1"), ("CD3(Er170)Di", "CD3"), ("Nd(145) CD163", "CD163"), ("NF-κB p65", "NF-kB p65"),
        ("Integrin β4", "ITGB4"), ("CD3-BX045", "CD3"), ("CD8 TRITC 1:200", "CD8"), ("img_CD20.tiff", "CD20"),
        ("S100A4_AFRemoved_12", "FSP1"), ("Laminin 5", "Laminin 5"), ("C1-DAPI", "DAPI"), ("C3", "C3"),
    ],
)  # fmt: skip
def test_what_is_meant_is_found(name, marker):
    assert one(name)["marker"] == marker


@pytest.mark.parametrize("names", [["c1", "c2", "c3", "CD3"], ["C0", "C1", "C2", "C3"], ["DAPI", "c3"], ["C_1", "C_2"]])
def test_counts_of_channels_are_no_complement(names):
    matched = match_markers(names).set_index("channel")
    counts = [name for name in names if name not in ("CD3", "DAPI")]
    assert (matched.loc[counts, "marker"] == "").all()
    assert matched.loc[counts, "status"].isin(["unknown", "ambiguous"]).all()
    assert match_markers(["C3", "C5", "K8"])["marker"].tolist() == ["C3", "C5", "CK8"]


def test_an_image_named_by_its_dyes_is_reported():
    dyes = ["AF_488", "AF_555", "AF 647", "Opal 570", "FITC", "Cy5", "TRITC", "AF750"]
    matched = match_markers(dyes)
    assert set(matched["status"]) == {"unknown"}
    assert matched["via"].str.startswith("a dye").all()


def test_what_is_left_out_names_no_gene():
    """No symbol of the table or of HGNC matches the patterns of secondaries, blanks and controls by chance."""
    by_chance = {name for name in _genes()[0] if ignored_reason(name)}
    assert by_chance <= {"CTRL", "MAX", "TIC", "GOLD"}
    assert [name for name in rows() if ignored_reason(name) and rows()[name]["gene"]] == []


def test_names_that_nobody_knows_are_fast():
    names = [f"zq{place}_foo bar-{place % 97}" for place in range(2000)]
    match_markers(["warm up"])
    start = time.process_time()
    assert (match_markers(names)["marker"] == "").all()
    assert time.process_time() - start < 6  # 10,000 in some 5 seconds on one core
