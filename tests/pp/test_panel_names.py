"""Names of channels as laboratories write them: what is resolved, what is ignored, and what is never guessed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from spatialfm._errors import ArgumentError
from spatialfm.pp.panel import marker_table, match_markers


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return marker_table()


def one(name: str, **kwargs) -> pd.Series:
    return match_markers([name], **kwargs).iloc[0]


# ---------------------------------------------------------------------------------- panels as published, and held out

PANELS = sorted((Path(__file__).parent / "panels").glob("*.csv"))


@pytest.mark.parametrize("path", PANELS, ids=lambda path: path.stem)
def test_no_channel_of_a_published_panel_is_wrong(path, table):
    """`expected` was written by hand: the marker, ``ignored``, or ``unresolved`` where the name fits several."""
    names = pd.read_csv(path, dtype=str, keep_default_na=False)
    matched = match_markers(names["channel"].tolist(), species="mouse" if "_mouse_" in path.stem else "human")
    got = matched["marker"].where(matched["marker"] != "", matched["status"].replace({"ignored": "ignored"}))
    got = got.replace({"unknown": "unresolved", "ambiguous": "unresolved"})
    wrong = [
        (channel, expected, found)
        for channel, expected, found in zip(names["channel"], names["expected"], got, strict=True)
        if found not in (expected, "unresolved")
    ]
    assert wrong == []
    markers = names["expected"].isin(table["marker"]) | ~names["expected"].isin(["ignored", "unresolved"])
    assert (got[markers] == names.loc[markers, "expected"]).mean() >= 0.95


def test_there_are_panels_held_out():
    assert sum(path.stem.startswith("heldout") for path in PANELS) >= 6


def test_every_gene_and_accession_of_the_table_resolves(table):
    """A gene resolves to a marker that has it among its genes, an accession likewise."""
    by_marker = table.set_index("marker")
    for column in ("gene", "uniprot"):
        human = table[table["species"] == "human"]
        names = sorted({name for cell in human[column] for name in cell.split(";") if name} - {"UCHL1"})
        for row in match_markers(names).itertuples():
            genes = by_marker.loc[row.marker, column] if row.marker in by_marker.index else getattr(row, column)
            assert row.channel in genes.split(";"), row.channel
            # a member of a family is never taken for the family's first protein
            if row.kind == "family":
                assert row.channel == genes.split(";")[0]
    assert one("UCHL1")["status"] == "ambiguous"  # PGP9.5, or the clone UCHL1 against CD45RO


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("R6.0.4_CY7_KI67", "Ki-67"), ("001_DAPI", "DAPI"), ("Cy3_CD8", "CD8"), ("AF647-CD3", "CD3"),
        ("141Pr_CD3", "CD3"), ("CD3Er170Di", "CD3"), ("In113_CD4", "CD4"), ("Er168_CD8", "CD8"), ("In115_PR", "PR"),
        ("Pr141_ER", "ER"), ("er168_CD8", "CD8"), ("CD45_1", "CD45"), ("CD3_Rat_", "CD3"), ("PD_L1__SP142_", "PD-L1"),
        ("PD_L1 _28_8_", "PD-L1"), ("CD8a C8/144B", "CD8"), ("CD20-Ga", "CD20"), ("CD8_150ms", "CD8"),
        ("CD8: Cell: Mean", "CD8"), ("CD163 EPR19518", "CD163"), ("gdTCR", "TCR gamma/delta"),
        ("Histone3", "Histone H3"),
        ("Keratin-pan", "pan-Cytokeratin"), ("OPN", "Osteopontin"), ("White191Ir", "DNA"), ("ß-Catenin", "b-Catenin"),
        ("Programmed cell death protein 1", "PD-1"), ("Smooth muscle actin", "a-SMA"), ("EPCAM/CD326", "EpCAM"),
        ("Epithelial cell adhesion molecule", "EpCAM"), ("STAT3 (pY705)", "pSTAT3"), ("pSTAT3Tyr705", "pSTAT3"),
        ("p-S6 (S235/236)", "pS6"), ("Caspase 3 cleaved", "cleaved Caspase-3"), ("CK5_6", "CK5/6"),
        ("NKX6_1", "NKX6.1"),
        ("4_1BB", "CD137"), ("53BP1", "53BP1"), ("B7_H3", "B7-H3"), ("Type IV collagen", "Collagen IV"),
        ("Collagen_2", "Collagen II"), ("P01730", "CD4"), ("ZNF90", "ZNF90"), ("HLA-DRA, HLA-DRB1", "HLA-DR"),
        ("CD111", "NECTIN1"), ("Cytokeratin 1, 5, 6A, 6B, 6C, 8", "pan-Cytokeratin"), ("S100", "S100"),
        ("AR_nuc", "AR"),
        ("CD16/32", "CD16/32"), ("CD45.1", "CD45.1"), ("VEGF-R2", "VEGFR2"), ("TNF-R1", "CD120a"),
    ],
)  # fmt: skip
def test_labels_and_spellings(name, marker):
    assert one(name)["marker"] == marker


@pytest.mark.parametrize(
    "name",
    [
        "CD3_CD8", "CD3 1", "CD4_1", "CD8_1", "CD5_3", "CD1", "CD66", "KI-6", "ER membrane", "C3_AR", "BRCA1/2",
        "CK5_2", "Galectin_2", "SMA-2", "AKT (S473)", "EGFR (L858R)", "AF-CD3", "IgG1", "CD45RA/RO", "CD20-Er",
        "CD4-Pr", "Er", "Pr", "Ar", "APC", "AF647", "AF_555", "Opal 570", "CD3_Rb", "BAD", "14-3-3", "PERK", "TCF4",
        "PHF1",
        "H3K27me", "CD44v6", "T cell", "NK", "Mac", "In", "PD1/PDL1", "CD88x", "cell", "PD", "NAK", "Gr-1", "CD45-1",
        "H2-Ab1",
    ],
)  # fmt: skip
def test_nothing_is_guessed(name):
    row = one(name)
    assert row["marker"] == ""
    assert row["status"] in ("ambiguous", "unknown")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("goat_anti_rabbit", "secondary"), ("A488 d_a_rat", "secondary"), ("goat anti-mouse IgG AF488", "secondary"),
        ("anti_Goat", "secondary"), ("Control_488nm", "control"), ("isotype IgG2a", "control"), ("Rb IgG", "control"),
        ("S", "element"), ("Gold", "element"), ("BackgroundScan", "background"),
        ("White190BCKG", "background"), ("EQ beads", "beads"), ("H&E", "microscopy"), ("nuclear mask", "mask"),
        ("Pt195", "isotope"), ("Nd142Di", "isotope"), ("TRITC - Autofluorescence", "autofluorescence"),
    ],
)  # fmt: skip
def test_ignored_channels_say_why(name, why):
    row = one(name)
    assert row["status"] == "ignored"
    assert why in row["via"]


def test_genes_families_and_species_are_said():
    assert one("CD3")[["gene", "uniprot", "kind", "species"]].tolist() == [
        "CD3E;CD3D;CD3G", "P07766;P04234;P09693", "complex", "human",
    ]  # fmt: skip
    assert one("HLA-DR")[["gene", "kind"]].tolist() == ["HLA-DRA;HLA-DRB1", "complex"]
    assert one("CD8")[["gene", "kind"]].tolist() == ["CD8A", "complex"]  # the chain that antibodies bind
    assert one("panCK")["kind"] == "family"
    assert one("CD45RO")["kind"] == "isoform"
    assert one("pERK")["kind"] == "modified"
    assert one("CD15")["kind"] == "glycan"
    assert one("DAPI")[["kind", "species"]].tolist() == ["stain", ""]
    assert one("Ly6G")[["gene", "uniprot", "species"]].tolist() == ["Ly6g", "P35461", "mouse"]
    mouse = match_markers(["CD3e", "CD45", "CD1a", "MHC-II", "CD45R"], species="mouse").set_index("channel")
    assert mouse.loc["CD45", ["gene", "uniprot", "species"]].tolist() == ["Ptprc", "P06800", "mouse"]
    assert mouse.loc["CD3e", "gene"] == "Cd3e;Cd3d;Cd3g"
    assert mouse.loc["CD1a", ["gene", "uniprot"]].tolist() == ["", ""]  # the mouse has none
    assert mouse["marker"].tolist()[3:] == ["I-A/I-E", "B220"]
    with pytest.raises(ArgumentError, match="'human' or 'mouse'"):
        match_markers(["CD3"], species="rat")


def test_what_was_left_out_is_said():
    assert one("R6.0.4_CY7_KI67")["stripped"] == "R6.0.4; CY7"
    assert one("CD8 (clone SP57)")["stripped"] == "(clone SP57)"
    assert one("CD8")["stripped"] == ""


@pytest.mark.parametrize(
    "label", ["R{i}.0_CY5_{name}", "{i:03d}_{name}", "{name}_{i}ms", "Cycle {i} {name}", "AF647-{name} (clone {i})"]
)
def test_a_label_never_makes_another_marker(table, label):
    names = [label.format(i=i, name=name) for i, name in enumerate(table["marker"], 101) if i < 999]
    matched = match_markers(names)
    expected = table["marker"].tolist()[: len(names)]
    wrong = [
        (row.channel, row.marker)
        for row, name in zip(matched.itertuples(), expected, strict=True)
        if row.marker not in ("", name)
    ]
    assert wrong == []
    assert (matched["marker"] == expected).mean() > 0.98


@pytest.mark.real_data
def test_panels_of_real_files(real_data):
    names = pd.read_csv(real_data / "panels" / "channel_names.csv", keep_default_na=False)["channel"]
    matched = match_markers(list(dict.fromkeys(names))).set_index("channel")
    rows = matched.loc[names]
    carrying = rows[rows["status"] != "ignored"]
    assert (carrying["marker"] != "").mean() > 0.95
    assert set(carrying.index[carrying["marker"] == ""]) == {
        "A488", "A555", "A647", "AF488", "AF555", "AF647", "R1.0.1_CY3", "CD45R", "CD66", "NKG2G", "CarbonicAnhydrase",
        "MHCII", "MastChyTry", "R4.0.4_CY3_PD", "R6.0.4_CY5_NAK", "R6.0.4_FITC_MHCII", "R2.0.4_CY3_PERK",
    }  # fmt: skip


@pytest.mark.real_data
def test_accessions_of_hubmap(real_data):
    """Every accession of the OMAP tables agrees, but for those that `markers.md` lists as theirs."""
    rows = pd.read_csv(real_data / "panels" / "omap_uniprot.csv", keep_default_na=False)
    matched = match_markers(list(dict.fromkeys(rows["name"]))).set_index("channel")
    differs = set()
    for row in rows.itertuples():
        ours = set(matched.loc[row.name, "uniprot"].split(";"))
        if matched.loc[row.name, "marker"] and "," not in row.uniprot and row.uniprot not in ours:
            differs.add(row.name)
    assert differs == {
        "HLA-DR", "Ki-67", "ICOS", "MARCKS", "eNOS", "COX2", "SMA", "anti-SMA", "CD57", "CD15", "FUT4", "CD8",
        "anti-CD8", "CD8A",
    }  # fmt: skip
