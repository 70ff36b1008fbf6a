"""The table of markers, and how channel names are matched to it."""

from __future__ import annotations

import csv
import doctest
import re
from collections import defaultdict
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import PanelError
from spatialfm.pp import panel, panel_index, panel_labels, panel_names
from spatialfm.pp.panel import AMBIGUOUS, COLUMNS, STATUSES, marker_table, match_markers, normalize_marker_name

KRONOS_TABLE_S2 = """
a-SMA|ACE2|ARID1A|ASS1|ATP5A|ATRX|B7H3|BCL2|BCL6|BDCA-2|b2M|b-CATENIN|b-TUBULIN|C1Q|C4A|CA9|CATHEPSIN L|CCR4|CCR6|CCR7
CD1A|CD1B|CD1C|CD10|CD103|CD106|CD107A|CD11B|CD11C|CD134|CD138|CD14|CD15|CD16|CD162|CD163|CD164|CD19|CD2|CD20|CD206
CD21|CD23|CD25|CD27|CD271|CD28|CD3|CD30|CD31|CD34|CD35|CD36|CD38|CD39|CD4|CD40|CD44|CD45|CD45RA|CD45RO|CD49A|CD5|CD54
CD56|CD57|CD61|CD66B|CD68|CD69|CD7|CD8|CDT1|CGAS|CLEAVED CASP3|CLEC9A|CLUSTERIN|COLLAGEN|CS|CTLA4|CXCL13|CXCR5
CYTOKERATIN|DAPI|DC-SIGN|DESMIN|E-CADHERIN|EBNA1|EGFR|EOMES|EPCAM|ERB|FIBRINOGEN|FN1|FOXP3|G6PD|GALECTIN-3|GATA3|GEMININ
GITR|GLUT1|GLYCOPHORIN-A|GZMA|GZMB|H2AX|H3K27AC|H3K27ME3|HEPATOCYTE-AG|HER2|HEY1|HISTONE-H3|HLA-1|HLA-DR|HLA-DRA
HLA-DRBPB|HSP27|IBA1|ICAM1|ICOS|IDH|IDO1|IGA1|IGA2|IGD|IGM|IL-1b|INOS|IRF4|KI-67|LAG3|LAMINA|LANGERIN|LMP1|LUMICAN
LYSOZYME|LYVE-1|MCT|MMP9|MPO|MUC1|MUC5AC|NAKATP|NOTCH2|P53|PAX5|PD1|PD-L1|pHH3|PODOCIN|PODOPLANIN|PROX1|PTEN|RAS|RB
RELA|RELB|S100|SIGELC-3|SIGLEC-7|SIGLEC-9|SPARC|STING|TBET|TCF1|TCR-b|TCR-gd|TCR-Va7.2|TIM3|TMPRSS2|TOX|TREM2|UROMODULIN
VDAC1|VIMENTIN|VISTA
"""
UNIPROT = re.compile(
    r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9]([A-Z][A-Z0-9]{2}[0-9]){1,2}"
)  # uniprot.org/help/accession_numbers


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return marker_table()


def kronos_names() -> list[str]:
    return [name for line in KRONOS_TABLE_S2.split("\n") for name in line.split("|") if name]


def one(name: str, **kwargs) -> pd.Series:
    return match_markers([name], **kwargs).iloc[0]


# ---------------------------------------------------------------------------------------------------------- the table


def test_table_is_large_and_whole(table):
    assert len(table) >= 300
    assert list(table.columns) == [
        "marker", "gene", "uniprot", "compartment", "kind", "species", "kronos", "aliases", "note", "checked",
    ]  # fmt: skip
    assert table["marker"].is_unique
    assert (table["marker"] == table["marker"].str.strip()).all()
    assert set(table["compartment"]) == {"nucleus", "membrane", "cytoplasm", "mitochondrion", "extracellular"}
    assert not table.isna().any().any()


def test_accessions_and_genes_are_well_formed(table):
    for row in table.itertuples():
        genes = [gene for gene in row.gene.split(";") if gene]
        accessions = [accession for accession in row.uniprot.split(";") if accession]
        assert all(UNIPROT.fullmatch(accession) for accession in accessions), row
        pattern = r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*" if row.species != "mouse" else r"[A-Z][A-Za-z0-9]*(-[A-Z][a-z]?\d?)?"
        assert all(re.fullmatch(pattern, gene) for gene in genes), row
        assert len(accessions) in (0, len(genes)), row
        assert len(set(accessions)) == len(accessions), row
        assert accessions or row.note, f"{row.marker} has no accession and no note that says why"


def test_a_gene_has_one_accession_everywhere(table):
    seen = defaultdict(set)
    for row in table[table["uniprot"] != ""].itertuples():
        for gene, accession in zip(row.gene.split(";"), row.uniprot.split(";"), strict=True):
            seen[gene].add(accession)
            seen[accession].add(gene)
    assert {name: other for name, other in seen.items() if len(other) > 1} == {}


def test_accessions_against_facts_from_elsewhere(table):
    """Accessions of VirTues' channels.csv (MIT) and of HuBMAP's OMAP-9, copied from there."""
    by_marker = table.set_index("marker")["uniprot"]
    virtues = {
        "MPO": "P05164", "SMA": "P62736", "H3": "P68431", "FAP": "Q12884", "HLA-DR": "P01903", "CD146": "P43121",
        "CDH11": "P55287", "CA9": "Q16790", "Collagen I": "P02452", "VCAM1": "P19320", "CD20": "P11836",
        "CD68": "P34810", "IDO": "P14902", "CD3e": "P07766", "PDN": "Q86YL7", "MMP11": "P24347", "PD-1": "Q15116",
        "CD73": "P21589", "MMP9": "P14780", "p75": "P08138", "TCF1/TCF7": "P36402", "CD10": "P08473", "VIM": "P08670",
        "FOXP3": "Q9BZS1", "CD8": "P01732", "CD248": "Q9HCU0", "LYVE-1": "Q9Y5Y7", "PDGFRB": "P09619",
        "CD34": "P28906", "CD4": "P01730", "vWF": "P04275", "CXCL12": "P48061", "CCL21": "O00585", "CDH6": "P55285",
        "Ki-67": "P46013", "CAV1": "Q03135",
    }  # fmt: skip
    omap = {
        "CD8A": "P01732", "MS4A1": "P11836", "PTPRC": "P08575", "ITGAX": "P20702", "GATA3": "P23771", "SPP1": "P10451",
        "SLC12A3": "P55017", "MRC1": "P22897", "THY1": "P04216", "AQP1": "P29972", "HAVCR1": "Q96D42",
        "CCL2": "P13500", "JUN": "P05412", "FN1": "P02751", "ATP1A1": "P05023", "MAP1LC3A": "Q9H492",
    }  # fmt: skip
    for source in (virtues, omap):
        matched = match_markers(list(source))
        assert set(matched["status"]) <= {"exact", "alias"}
        for row in matched.itertuples():
            assert by_marker[row.marker].split(";")[0] == source[row.channel], row.channel


def test_the_notes_tell_how_much_was_checked(table):
    notes = (files("spatialfm.pp") / "markers.md").read_text(encoding="utf-8")
    protein = table[table["uniprot"] != ""]
    pairs = {
        pair for row in protein.itertuples() for pair in zip(row.gene.split(";"), row.uniprot.split(";"), strict=True)
    }
    assert f"Of {len(pairs)} pairs" in notes
    assert f"in {(protein['checked'] == '').sum()} rows with an empty `checked`" in notes
    assert (table.loc[table["uniprot"] == "", "checked"] == "").all()
    assert all(f"| {source} |" in notes for cell in protein["checked"] for source in cell.split(";") if source)


def test_no_key_means_two_markers(table):
    owners = defaultdict(set)
    for row in table.itertuples():
        for name in [row.marker, row.kronos, *row.aliases.split(";")]:
            if name:
                owners[normalize_marker_name(name)].add(row.marker)
    assert {key: markers for key, markers in owners.items() if len(markers) > 1} == {}
    for name, markers in AMBIGUOUS.items():
        assert normalize_marker_name(name) not in owners, name
        outside = set(markers) - set(table["marker"])
        assert all(panel_index.find_gene(gene).marker == gene for gene in outside), name
        assert len(markers) > 1


def test_every_name_of_the_table_finds_its_marker(table):
    matched = match_markers(table["marker"].tolist())
    assert matched["marker"].tolist() == table["marker"].tolist()
    assert set(matched["status"]) == {"exact"}
    owner = {alias: row.marker for row in table.itertuples() for alias in row.aliases.split(";") if alias}
    matched = match_markers(list(owner))
    assert matched["marker"].tolist() == list(owner.values())
    assert set(matched["status"]) == {"alias"}


def test_kronos_markers_match_exactly_and_apart(table):
    names = kronos_names()
    assert len(set(names)) == 175
    assert sorted(table.loc[table["kronos"] != "", "kronos"]) == sorted(names)
    matched = match_markers(names)
    assert set(matched["status"]) == {"exact"}
    assert matched["marker"].is_unique
    assert (matched["duplicate_of"] == "").all()
    assert matched["kronos"].tolist() == names


def test_table_is_a_copy():
    first = marker_table()
    first.loc[0, "marker"] = "spoiled"
    assert marker_table().loc[0, "marker"] != "spoiled"


# ----------------------------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("name", "status", "marker"),
    [
        ("CD8a", "alias", "CD8"),
        ("CD8_alpha", "alias", "CD8"),
        ("CD8α", "alias", "CD8"),
        ("anti-CD8", "exact", "CD8"),
        ("Anti-Human CD45", "exact", "CD45"),
        ("CD8 (clone C8/144B)", "exact", "CD8"),
        ("Ki67 clone B56", "exact", "Ki-67"),
        ("CD8-Dy162", "exact", "CD8"),
        ("162Dy_CD8", "exact", "CD8"),
        ("CD8(Dy162Di)", "exact", "CD8"),
        ("CD8 - 162Dy", "exact", "CD8"),
        ("89Y_CD45", "exact", "CD45"),
        ("CD3_1841((1867))Er170(Er170Di)", "exact", "CD3"),
        ("CD8 - cytotoxic T cells:Cyc_3_ch_2", "exact", "CD8"),
        ("CD194 - CCR4 chemokine R:Cyc_14_ch_3", "alias", "CCR4"),
        ("HLA - DR", "exact", "HLA-DR"),
        ("DAPI-01", "exact", "DAPI"),
        ("DAPI_cyc01", "exact", "DAPI"),
        ("HOECHST1", "exact", "Hoechst"),
        ("HOECHST1:Cyc_1_ch_1", "exact", "Hoechst"),
        ("Hoechst 33342", "alias", "Hoechst"),
        ("DNA1 (Ir191)", "exact", "DNA"),
        ("Ir193", "alias", "DNA"),
        ("CD206-AF647", "exact", "CD206"),
        ("Opal 520 (CD8)", "exact", "CD8"),
        ("Ki67_570", "exact", "Ki-67"),
        ("α-SMA", "exact", "a-SMA"),
        ("alpha-SMA", "exact", "a-SMA"),
        ("β-catenin", "exact", "b-Catenin"),
        ("TCRγδ", "exact", "TCR gamma/delta"),
        ("IFN-γ", "exact", "IFN gamma"),
        ("HER2 (3B5)", "exact", "HER2"),
        ("CK8/18", "exact", "CK8/18"),
        ("panCK", "alias", "pan-Cytokeratin"),
        ("PgR", "alias", "PR"),
        ("Cytokeritin", "alias", "pan-Cytokeratin"),
        ("Granyzme B", "alias", "Granzyme B"),
        ("HistoneH3", "exact", "Histone H3"),
        ("c-Caspase3", "alias", "cleaved Caspase-3"),
        ("CD274/PD-L1", "alias", "PD-L1"),
        ("TCF7-TCF1", "alias", "TCF1"),
        ("phospho-S6", "exact", "pS6"),
        ("pS6(S240/244)-488", "exact", "pS6"),
        ("PD1", "exact", "PD-1"),
        ("PDL1", "exact", "PD-L1"),
    ],
)
def test_spellings_that_match(name, status, marker):
    row = one(name)
    assert (row["status"], row["marker"]) == (status, marker)


@pytest.mark.parametrize(
    "name",
    [
        "Cytokeratinn",  # one letter off is another name
        "CD33x",
        "CD4 T",
        "Granzyme",
        "STAT2 (pY690)",  # phosphorylated, and the table has only the plain protein
        "AKT (S473)",  # a site alone does not state that it is phosphorylated
        "Histone H3 (cleaved)",
        "EGFR (L858R)",
        "phospho-CD4",
        "mCD4",
        "CD",
        "Nucleus",
    ],
)
def test_nothing_is_matched_by_similarity(name):
    row = one(name)
    assert (row["status"], row["marker"], row["gene"], row["uniprot"]) == ("unknown", "", "", "")


@pytest.mark.parametrize(
    "name",
    ["", "  ", "Blank", "blank_2", "Blank-Cy3-cyc01", "empty", "AF", "AF1", "Autofluorescence", "Background", "190BCKG",
     "80ArAr", "131Xe", "Au197", "C12", "Na23", "Ag107", "107Ag(Ag107Di)", "Dy162(Dy162Di)", "Cd111", "100Ru", "Y89",
     "Au", "Ta", "isotype control", "Ms IgG1"],
)  # fmt: skip
def test_channels_without_marker_are_ignored(name):
    assert one(name)["status"] == "ignored"


def test_histones_and_iridium_are_no_background():
    assert match_markers(["HistoneH3", "HH3", "H3K27me3", "191Ir", "dsDNA"])["status"].isin(["exact", "alias"]).all()


@pytest.mark.parametrize(("name", "candidates"), [(name, list(markers)) for name, markers in AMBIGUOUS.items()])
def test_ambiguous_names_list_their_candidates(name, candidates):
    row = one(name)
    assert (row["status"], row["marker"]) == ("ambiguous", "")
    assert row["suggestions"].split("; ") == candidates


@pytest.mark.parametrize(
    ("name", "candidates"), [("CD31-vWF", "CD31; vWF"), ("CD3 (CD8)", "CD3; CD8"), ("CD68 + CD163", "CD68; CD163")]
)
def test_two_markers_in_one_name_are_ambiguous(name, candidates):
    assert one(name)[["status", "suggestions"]].tolist() == ["ambiguous", candidates]


def test_remark_that_names_the_same_marker_is_no_contradiction():
    assert one("CD279 (PD-1)")["marker"] == "PD-1"
    assert one("CD20 (MS4A1)")["marker"] == "CD20"


def test_suggestions_are_shown_and_never_used():
    row = one("Vimentine")
    assert row["status"] == "unknown"
    assert "Vimentin" in row["suggestions"].split("; ")
    assert one("Cy5")["via"].startswith("a dye")


def test_order_columns_and_content():
    names = ["CD20", "nonsense", "Blank", "CD8a"]
    matched = match_markers(np.array(names))
    assert list(matched.columns) == list(COLUMNS)
    assert matched["channel"].tolist() == names
    assert all(type(name) is str for name in matched["channel"])
    assert set(matched["status"]) <= set(STATUSES)
    assert matched.loc[0, ["gene", "uniprot", "compartment", "kronos"]].tolist() == [
        "MS4A1", "P11836", "membrane", "CD20",
    ]  # fmt: skip
    assert not matched.isna().any().any()


def test_duplicates_are_flagged_and_kept():
    matched = match_markers(["DAPI-01", "CD8", "DAPI-02", "CD8a", "Blank1", "Blank2"])
    assert matched["duplicate_of"].tolist() == ["", "", "DAPI-01", "CD8", "", ""]
    assert len(matched) == 6


def test_order_of_other_channels_changes_nothing():
    names = ["CD45R", "DAPI-01", "Blank", "162Dy_CD8", "CD31-vWF"]
    forward = match_markers(names).drop(columns="duplicate_of")
    backward = match_markers(names[::-1]).drop(columns="duplicate_of")
    pd.testing.assert_frame_equal(
        pd.DataFrame(forward), pd.DataFrame(backward).iloc[::-1].reset_index(drop=True), check_frame_type=False
    )


# ---------------------------------------------------------------------------------------------------- mapping, ignore


def test_mapping_resolves_and_leaves_out():
    matched = match_markers(
        ["Cy5", "HOECHST1", "CD3", "CD45R"], mapping={"Cy5": "Ki67", "HOECHST1": "DAPI", "CD3": None, "CD45R": "CD45RA"}
    )
    assert matched["status"].tolist() == ["alias", "alias", "ignored", "alias"]
    assert matched["marker"].tolist() == ["Ki-67", "DAPI", "", "CD45RA"]
    assert matched["via"].tolist() == ["mapping"] * 4
    assert matched.loc[0, "gene"] == "MKI67"


def test_ignore_goes_before_the_table_and_takes_patterns():
    matched = match_markers(["CD3", "CD3_old", "CD8_old", "CD8"], ignore="*_OLD")
    assert matched["status"].tolist() == ["exact", "ignored", "ignored", "exact"]
    assert one("CD3", ignore=["CD3"])[["status", "via"]].tolist() == ["ignored", "ignore"]


@pytest.mark.parametrize(
    ("names", "kwargs", "parts"),
    [
        ("CD3", {}, ["string 'CD3'", "['CD3']"]),
        ([], {}, ["empty", "Pass the names"]),
        (["CD3", 7], {}, ["Channel 1", "7 (int)", "channel_names="]),
        (["CD3", None], {}, ["Channel 1", "NoneType"]),
        (["CD3", "CD8", "CD3"], {}, ["'CD3' is there 2 times", "channel_names="]),
        (["CD3"], {"mapping": {"CD4": "CD4"}}, ["'CD4', which is not there", "Channels: 'CD3'"]),
        (["X"], {"mapping": {"X": "Vimentinn"}}, ["'X' to 'Vimentinn'", "unknown", "Vimentin", "marker_table()"]),
        (["X"], {"mapping": {"X": "HLA"}}, ["ambiguous", "HLA-ABC or HLA-DR"]),
        (["X"], {"mapping": {"X": "Blank"}}, ["'Blank'", "None"]),
        (["CD3"], {"ignore": ["CD4"]}, ["ignore= names 'CD4'", "Channels: 'CD3'"]),
    ],
)
def test_refusals(names, kwargs, parts):
    with pytest.raises(PanelError) as error:
        match_markers(names, **kwargs)
    for part in parts:
        assert part in str(error.value)


# ------------------------------------------------------------------------------------------------------ normalisation


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CD8_alpha", "cd8a"),
        ("HLA-DR", "hladr"),
        ("IL-1β", "il1b"),
        ("ＣＤ３", "cd3"),  # full-width letters of an export
        ("Kappa", "kappa"),
        ("Alpha", "alpha"),
        ("phospho-Histone H3", "phistoneh3"),
        ("Na+/K+ ATPase", "nakatpase"),
        ("", ""),
    ],
)
def test_normalize_marker_name(name, key):
    assert normalize_marker_name(name) == key


def test_normalizing_twice_is_normalizing_once(table):
    for name in [*table["marker"], *table["kronos"], *AMBIGUOUS]:
        assert normalize_marker_name(normalize_marker_name(name)) == normalize_marker_name(name)


# ------------------------------------------------------------------------------------------------------------ printed


def test_summary_counts():
    matched = match_markers(["CD3", "CD8a", "HLA", "Foo", "Blank", "aCD3", "anti-CD3"])
    assert matched.summary == (
        "7 channels: 2 exact, 1 alias, 1 ambiguous, 2 unknown, 1 ignored (1 of a marker that another channel has)"
    )


def test_printed_with_unresolved_channels_first():
    matched = match_markers(["CD3", "HLA", "Blank", "<b>Foo</b>"])
    lines = repr(matched).splitlines()
    assert lines[0] == matched.summary
    assert [line.split()[1] for line in lines[2:]] == ["HLA", "<b>Foo</b>", "CD3", "Blank"]
    html = matched._repr_html_()
    assert "4 channels: 1 exact, 1 ambiguous, 1 unknown, 1 ignored" in html
    assert "&lt;b&gt;Foo" in html
    assert "<b>Foo" not in html


def test_slices_stay_tables_that_print():
    matched = match_markers(["CD3", "HLA", "CD8"])
    known = matched[matched["status"] == "exact"]
    assert type(known) is type(matched)
    assert repr(known).startswith("2 channels: 2 exact")
    assert repr(matched[["channel", "status"]]).startswith("3 channels")
    assert repr(matched[["marker"]]).splitlines()[0].strip() == "marker"
    assert "Empty" in repr(matched.iloc[:0])
    assert known._repr_html_()
    assert pd.DataFrame(matched).merge(marker_table(), on="marker", how="left").shape[0] == 3


@pytest.mark.parametrize("module", [panel, panel_labels, panel_names])
def test_examples_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


# ---------------------------------------------------------------------------------------------------------- real data


def counts(names) -> dict[str, int]:
    return match_markers(names)["status"].value_counts().to_dict()


def ome_names(path) -> list[str]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        return re.findall(r'<Channel [^>]*Name="([^"]*)"', file.ome_metadata)


@pytest.mark.real_data
def test_dcis_mibi(real_data):
    names = (real_data / "dcis_mibi" / "channels.txt").read_text().split()
    matched = match_markers(names)
    assert counts(names) == {"exact": 33, "alias": 6}
    assert matched["marker"].is_unique
    by_channel = matched.set_index("channel")["marker"]
    assert by_channel["PanKRT"] == "pan-Cytokeratin"
    assert by_channel["HLADRDPDQ"] == "HLA-DR/DP/DQ"
    assert by_channel["COLI"] == "Collagen I"


@pytest.mark.real_data
def test_bnhl_codex(real_data):
    names = ome_names(real_data / "bnhl_codex" / "images" / "crop501_56ch.ome.tif")
    assert len(names) == 56
    matched = match_markers(names)
    assert counts(names) == {"exact": 52, "alias": 4}
    assert matched["marker"].is_unique
    by_channel = matched.set_index("channel")["marker"]
    assert by_channel[["Lambda", "Kappa", "Granyzme B", "TCF7-TCF1"]].tolist() == [
        "Ig lambda", "Ig kappa", "Granzyme B", "TCF1",
    ]  # fmt: skip


@pytest.mark.real_data
def test_crc_codex(real_data):
    with open(real_data / "crc_codex_table" / "reg009_A_58markers_CELESTA.csv", newline="") as file:
        header = next(csv.reader(file))
    names = [name for name in header if re.search(r":Cyc_\d+_ch_\d+$", name)]
    assert len(names) == 58
    matched = match_markers(names)
    assert counts(names) == {"exact": 57, "alias": 1}
    assert matched["marker"].is_unique


@pytest.mark.real_data
def test_imc(real_data):
    spleen = match_markers(ome_names(real_data / "spleen_imc" / "images" / "spleen315_r2.ome.tif"))
    assert spleen["status"].value_counts().to_dict() == {"exact": 11, "alias": 2}
    assert spleen.loc[spleen["duplicate_of"] != "", "channel"].tolist() == ["DNA3"]
    with open(real_data / "imc_raw" / "panel.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert match_markers([row["name"] for row in rows])["marker"].tolist() == ["", "CK5", "Laminin", "YBX1", "H3K27ac"]
    assert set(match_markers([row["channel"] for row in rows])["status"]) == {"ignored"}
    with open(real_data / "imc_raw" / "20210305_NE_mockData2_ROI_001_1.txt") as file:
        header = file.readline().rstrip().split("\t")[6:]
    # the instrument cut the name of cytokeratin 5 to "Cytoker": that could be any
    assert match_markers(header)["marker"].tolist() == ["", "", "Laminin", "YBX1", "H3K27ac"]
    assert match_markers(header)["status"].tolist()[:2] == ["ignored", "unknown"]


@pytest.mark.real_data
def test_tables_and_dyes(real_data):
    melanoma = pd.read_csv(real_data / "melanoma_imc_table" / "elementary_phenotypes.csv")["Name"].tolist()
    assert len(melanoma) == 35
    assert counts(melanoma) == {"exact": 27, "alias": 8}
    opal = match_markers(ome_names(real_data / "opal_mif" / "images" / "FIHC4_2.ome.tif"))
    assert opal.set_index("channel")["status"].to_dict() == {
        "Alexa 594": "unknown", "Cy3": "unknown", "Cy5": "unknown", "DAPI": "exact", "FITC": "unknown",
    }  # fmt: skip
    assert counts(["ck", "cd8", "cd14", "cd19", "cd4"]) == {"exact": 4, "alias": 1}  # nsclc_table


# ---------------------------------------------------------------------------------------- panels of published studies


def test_published_panels():
    danenberg = match_markers(
        ["Histone H3", "SMA", "CK5", "CD38", "HLA-DR", "CK8-18", "CD15", "FSP1", "CD163", "ICOS", "OX40", "CD68",
         "HER2 (3B5)", "CD3", "Podoplanin", "CD11c", "PD-1", "GITR", "CD16", "HER2 (D8F12)", "CD45RA", "B2M", "CD45RO",
         "FOXP3", "CD20", "ER", "CD8", "CD57", "Ki-67", "PDGFRB", "Caveolin-1", "CD4", "CD31-vWF", "CXCL12", "HLA-ABC",
         "panCK", "c-Caspase3c-PARP", "DNA1", "DNA2"]
    )  # fmt: skip
    assert danenberg["status"].value_counts().to_dict() == {"exact": 34, "alias": 3, "ambiguous": 2}
    assert danenberg.set_index("channel")["duplicate_of"][["HER2 (D8F12)", "DNA2"]].tolist() == ["HER2 (3B5)", "DNA1"]
    keren = match_markers(
        ["Au", "Background", "Beta_catenin", "Ca", "CD11b", "CD11c", "CD138", "CD16", "CD20", "CD209", "CD3", "CD31",
         "CD4", "CD45", "CD45RO", "CD56", "CD63", "CD68", "CD8", "dsDNA", "EGFR", "Fe", "FoxP3", "H3K27me3", "H3K9ac",
         "HLA-DR", "HLA_Class_1", "IDO", "Keratin17", "Keratin6", "Ki67", "Lag3", "MPO", "Na", "P", "p53",
         "Pan-Keratin", "PD-L1", "PD1", "phospho-S6", "Si", "SMA", "Ta", "Vimentin", "C", "B7H3", "CSF-1R", "OX40",
         "CD163"]
    )  # fmt: skip
    assert keren["status"].value_counts().to_dict() == {"exact": 31, "alias": 9, "ignored": 9}
    damond = match_markers(
        ["H3", "SMA", "INS", "CD38", "CD44", "PCSK2", "CD99", "CD68", "MPO", "SLC2A1", "CD20", "AMY2A", "CD3e", "PPY",
         "PIN", "GCG", "PDX1", "SST", "SYP", "KRT19", "CD45", "FOXP3", "CD45RA", "CD8a", "CA9", "IAPP", "KI-67",
         "NKX6-1", "pH3", "CD4", "CD31", "CDH", "PTPRN", "pRB", "cPARP1", "Ir191", "Ir193"]
    )  # fmt: skip
    assert damond["status"].value_counts().to_dict() == {"exact": 19, "alias": 17, "ambiguous": 1}
    orion = match_markers(
        ["Hoechst", "AF1", "CD31", "CD45", "CD68", "CD4", "FOXP3", "CD8a", "CD45RO", "CD20", "PD-L1", "CD3e", "CD163",
         "E-cadherin", "PD-1", "Ki67", "Pan-CK", "SMA"]
    )  # fmt: skip
    assert orion["status"].value_counts().to_dict() == {"exact": 13, "alias": 4, "ignored": 1}


def test_kronos_cohorts():
    """Table S4 of the KRONOS paper: every marker of the three lymphoma cohorts is one that it was trained on."""
    cohorts = [
        ["DAPI", "CD11b", "CD11c", "CD15", "CD163", "CD20", "CD206", "CD30", "CD31", "CD4", "CD56", "CD68", "CD7",
         "CD8", "Cytokeratin", "FoxP3", "MCT", "Podoplanin"],
        ["DAPI", "CD11c", "CD15", "CD163", "CD20", "CD3", "CD31", "CD4", "CD68", "CD8", "FoxP3", "Pax5"],
    ]  # fmt: skip
    for names in cohorts:
        matched = match_markers(names)
        assert set(matched["status"]) == {"exact"}
        assert [name.casefold() for name in matched["kronos"]] == [name.casefold() for name in names]
