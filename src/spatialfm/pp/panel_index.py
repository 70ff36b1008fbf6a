"""The table of markers as an index from keys to meanings, and the proteins of all genes behind it."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import numpy as np
import pandas as pd

from .panel_names import normalize_marker_name, without_round

Species = Literal["human", "mouse"]

AMBIGUOUS: dict[str, tuple[str, ...]] = {
    "actin": ("a-SMA", "b-Actin", "pan-Actin"),
    "aquaporin": ("AQP1", "AQP2", "AQP3", "AQP4"),
    "arginase": ("Arginase-1", "Arginase-2"),
    "B7": ("CD80", "CD86"),
    "cadherin": ("E-cadherin", "N-cadherin", "P-cadherin", "VE-cadherin"),
    "carbonic anhydrase": ("CA2", "CA9", "CA12"),
    "catenin": ("b-Catenin", "alpha-Catenin", "p120-Catenin"),
    "caspase": ("Caspase-3", "Caspase-8", "Caspase-9"),
    "CDH": ("E-cadherin", "P-cadherin"),
    "CK2": ("Keratin 2", "CSNK2A1"),
    "c-Caspase3c-PARP": ("cleaved Caspase-3", "cleaved PARP"),
    "cPARP/cCasp3": ("cleaved Caspase-3", "cleaved PARP"),
    "cCasp3/cPARP": ("cleaved Caspase-3", "cleaved PARP"),
    "PARP/CASP3": ("cleaved Caspase-3", "cleaved PARP"),
    "CD1": ("CD1a", "CD1b", "CD1c", "CD1d"),
    "CD11": ("CD11a", "CD11b", "CD11c"),
    "CD45RA/RO": ("CD45RA", "CD45RO"),
    "CD45RO/RA": ("CD45RA", "CD45RO"),
    "CD45R": ("CD45RA", "CD45RB", "CD45RO", "B220"),
    "CD49": ("CD49a", "CD49b", "CD49d", "CD49e", "CD49f"),
    "CD62": ("CD62E", "CD62L", "CD62P"),
    "CD66": ("CD66a", "CD66b", "CD66c", "CEA"),
    "CD79": ("CD79a", "CD79b"),
    "CD85": ("LILRB1", "LILRB2", "LILRB4"),
    "CD107": ("CD107a", "LAMP2"),
    "CD120": ("CD120a", "CD120b"),
    "CD140": ("PDGFRA", "PDGFRB"),
    "PDGFR": ("PDGFRA", "PDGFRB"),
    "claudin": ("Claudin-1", "Claudin-5"),
    "cyclin": ("Cyclin A2", "Cyclin B1", "Cyclin D1", "Cyclin E1"),
    "E/P-cadherin": ("E-cadherin", "P-cadherin"),
    "FGFR": ("FGFR1", "FGFR2", "FGFR3"),
    "galectin": ("Galectin-1", "Galectin-3", "Galectin-9"),
    "Gr-1": ("Ly6G", "Ly6C"),
    "H2-Ab1": ("I-A/I-E", "H2AB1"),
    "HLA": ("HLA-ABC", "HLA-DR", "HLA-DR/DP/DQ"),
    "HLA class II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HLA class 2": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HLA-II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HLA2": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HSP": ("HSP27", "HSP60", "HSP70", "HSP90"),
    "Ig": ("IgA", "IgD", "IgG", "IgM"),
    "immunoglobulin": ("IgA", "IgD", "IgG", "IgM"),
    "interleukin": ("IL-1b", "IL-2", "IL-6", "IL-10"),
    "integrin": ("CD29", "CD49f", "CD51", "CD61"),
    "lamin": ("Lamin A/C", "Lamin B1", "Lamin A/B/C"),
    "LFA-1": ("CD11a", "CD18"),
    "Ly6": ("Ly6G", "Ly6C"),
    "Ly6G/Ly6C": ("Ly6G", "Ly6C"),
    "Ly6C/G": ("Ly6G", "Ly6C"),
    "mast cell chymase/tryptase": ("Chymase", "Tryptase"),
    "MastChyTry": ("Chymase", "Tryptase"),
    "MHC": ("HLA-ABC", "HLA-DR", "HLA-DR/DP/DQ", "H-2", "I-A/I-E"),
    "MHC class II": ("HLA-DR", "HLA-DR/DP/DQ", "I-A/I-E"),
    "MHC-II": ("HLA-DR", "HLA-DR/DP/DQ", "I-A/I-E"),
    "MHC2": ("HLA-DR", "HLA-DR/DP/DQ", "I-A/I-E"),
    "MHC class 2": ("HLA-DR", "HLA-DR/DP/DQ", "I-A/I-E"),
    "MIB1": ("Ki-67", "MIB1"),  # the clone against Ki-67, or a ubiquitin ligase
    "mucin": ("MUC1", "MUC2", "MUC5AC"),
    "NAK": ("NaKATPase", "TBK1"),
    "NF-kB": ("NF-kB p65", "RELB"),
    "NOTCH": ("NOTCH1", "NOTCH2"),
    "PD": ("PD-1", "PD-L1", "PD-L2"),
    "PD-L": ("PD-L1", "PD-L2"),
    "PHF1": ("pTau", "PHF1"),
    "S100A": ("S100A1", "S100A4", "S100A8", "S100A9"),
    "Siglec": ("CD33", "CD169", "Siglec-7", "Siglec-9"),
    "surfactant protein": ("SP-A", "SFTPB", "SFTPC", "SFTPD"),
    "TCF4": ("TCF7L2", "TCF4"),
    "TCR": ("TCR beta", "TCR gamma/delta"),
    "tubulin": ("b-Tubulin", "b3-Tubulin", "a-Tubulin"),
    "UCHL1": ("CD45RO", "PGP9.5"),
    "VEGFR": ("VEGFR1", "VEGFR2", "VEGFR3"),
}
"""Names that fit several markers (or genes): they are never decided here."""

MOUSE_MEANING = {
    "MHC": "", "CD45R": "B220", "MHC class II": "I-A/I-E", "MHC-II": "I-A/I-E", "MHC2": "I-A/I-E",
    "MHC class 2": "I-A/I-E", "H2-Ab1": "I-A/I-E", "MHC class I": "H-2", "MHC-I": "H-2", "MHC1": "H-2",
    "CD16": "", "CD161": "NK1.1", "Siglec5": "Siglec-F",
}  # fmt: skip
"""What names mean in a mouse where it is another marker; empty where the human reading stays."""

# a dot between these digits is part of the name, an underscore is not: CD45_1 is CD45 stained a first time
_DOT_ONLY = frozenset({"cd45.1", "cd45.2"})

# in capitals alone, where the small letter that distinguishes them is lost
_CASE_COUNTS = {"PERK": ("pERK1/2", "EIF2AK3"), "CGA": ("Chromogranin A", "CGA"), "PRB1": ("pRB", "PRB1")}

# gene symbols that are also words of a panel
_NO_GENE = frozenset({"bad", "camp", "cat", "cell", "clock", "ctrl", "impact", "large", "mask", "max", "mice", "rest",
                      "set", "star", "tag", "test", "tub", "was", "bos", "ice", "ski"})  # fmt: skip

_ROMAN = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_COLLAGEN = r"(?:coll?|collagen|colagen)(?:type)?"
RESPELLED: tuple[tuple[re.Pattern[str], object], ...] = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"^(?:cytokeratin|keratin|krt|ker|kr|k)(?=\d)", "ck"),
        (rf"^{_COLLAGEN}(\d\d?)$", lambda m: "collagen" + _ROMAN[int(m[1])] if int(m[1]) < len(_ROMAN) else m[0]),
        (rf"^{_COLLAGEN}([ivx]+)$", r"collagen\1"),
        (rf"^type([ivx]+){_COLLAGEN}$", r"collagen\1"),
        (r"^interleukin(?=\d)", "il"),
        (r"^interferon(?=[a-z])", "ifn"),
        (r"^(?:clvd?|cl|clev|act(?:ivated|ive)?|c)[._]?casp(?:ase)?(\d+)$", r"cleavedcaspase\1"),
        (r"^(?:cleaved)?casp(?:ase)?(\d+)(?:cleaved|active|clv)$", r"cleavedcaspase\1"),
        (r"^cleavedcasp(\d+)$", r"cleavedcaspase\1"),
        (r"^cadherin(?=\d)", "cdh"),
        (r"^aquaporin(?=\d)", "aqp"),
        (r"^mucin(?=\d)", "muc"),
        (r"^(.+)phospho(?:rylated)?$", r"p\1"),
        (r"^human(?=.{3})", ""),
    )
)
"""Ways of writing a key that other laboratories write otherwise; the new key must be in the table."""
_MAY_BE_RESPELLED = re.compile(
    r"^(?:k[er\d]|cytok|col|interl|interf|type|human|c[._]?[cl]?[lasev]|act|cadh|aqua|mucin)"
    r"|(?:phospho|phosphorylated|cleaved|active|clv)$"
)


@dataclass(frozen=True)
class Match:
    """What a name means."""

    status: str
    marker: str = ""
    suggestions: tuple[str, ...] = ()
    via: str = ""
    stripped: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def known_markers() -> pd.DataFrame:
    """The table of markers, not to be changed."""
    return _read("markers.csv")


def _read(name: str) -> pd.DataFrame:
    with files(__package__).joinpath(name).open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype=str, keep_default_na=False)


@lru_cache(maxsize=1)
def rows() -> dict[str, dict[str, str]]:
    """Row of each marker."""
    return {row["marker"]: row for row in known_markers().to_dict("records")}


def is_modified(marker: str) -> bool:
    """Whether a marker is a modified form of a protein."""
    return rows().get(marker, {}).get("kind") == "modified"


@lru_cache(maxsize=1)
def index() -> dict[str, Match]:
    """Key → what it means. A name takes precedence over an alias, so that an alias can never hide a marker."""
    matches: dict[str, Match] = {}
    records = list(rows().values())

    def add(name: str, match: Match) -> None:
        matches.setdefault(normalize_marker_name(name), match)

    for row in records:
        add(row["marker"], Match("exact", row["marker"], via="name"))
    for row in records:
        if row["kronos"]:
            add(row["kronos"], Match("exact", row["marker"], via="KRONOS name"))
    for row in records:
        for alias in filter(None, row["aliases"].split(";")):
            add(alias, Match("alias", row["marker"], via="alias"))
    for name, markers in AMBIGUOUS.items():
        add(name, Match("ambiguous", suggestions=markers, via="alias of several"))
    for row in _read("marker_synonyms.csv").itertuples():
        add(row.synonym, Match("alias", row.marker, via="HGNC synonym"))
    for accession, marker in _accessions(records).items():
        add(accession, Match("alias", marker, via="UniProt accession"))
    _add_modified(matches, records)
    return matches


def _accessions(records: list[dict[str, str]]) -> dict[str, str]:
    """Accession → the marker that is this protein and nothing else, or the only complex that has it."""
    owners: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in records:
        for accession in filter(None, row["uniprot"].split(";")):
            owners[accession].append(row)
    order = {"protein": 0, "complex": 1, "family": 2, "isoform": 3, "modified": 4}
    meaning = {}
    for accession, rows_ in owners.items():
        if gene := _apart(accession, [row for row in rows_ if row["kind"] != "modified"]):
            meaning[accession] = gene
            continue
        rank = [(len(row["uniprot"].split(";")) > 1, order.get(row["kind"], 5)) for row in rows_]
        best = [row["marker"] for row, its in zip(rows_, rank, strict=True) if its == min(rank)]
        same = [name for name in best if name == rows_[0]["gene"]]  # two names of one protein: that of the gene
        if len(best) == 1 or same:
            meaning[accession] = (same or best)[0]
        else:
            meaning[accession] = best[0]
    return meaning


def _apart(accession: str, rows_: list[dict[str, str]]) -> str:
    """Gene of an accession that only a family or complex has, which neither goes first there nor is a name of it."""
    for row in rows_:
        place = row["uniprot"].split(";").index(accession)
        gene = row["gene"].split(";")[place]
        names = (row["marker"], row["kronos"], *row["aliases"].split(";"))
        if not place or row["species"] != "human" or normalize_marker_name(gene) in map(normalize_marker_name, names):
            return ""
    return gene if rows_ else ""


def _add_modified(matches: dict[str, Match], records: list[dict[str, str]]) -> None:
    """``p`` and ``cleaved`` before any name of the protein, where the table has the modified form."""
    plain: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in records:
        if row["gene"] and row["kind"] in ("protein", "family", "complex"):
            plain[row["gene"]].append(row)
    for row in records:
        if row["kind"] != "modified" or not (word := re.search(r"phosphorylated|cleaved$", row["note"])):
            continue
        for base in plain[row["gene"]]:
            for name in [base["marker"], base["gene"], *filter(None, base["aliases"].split(";"))]:
                key = normalize_marker_name(name)
                if ";" in name or not re.match(r"[a-z]", key) or re.fullmatch(r"p\d+", key):
                    continue
                match = Match("alias", row["marker"], via="alias of the modified protein")
                for start in ("p",) if word[0] == "phosphorylated" else ("cleaved", "clv"):
                    matches.setdefault(start + key, match)


@lru_cache(maxsize=1)
def _spellings() -> frozenset[str]:
    names = [name for row in rows().values() for name in (row["marker"], row["kronos"], *row["aliases"].split(";"))]
    return frozenset(_spaced(name) for name in names)


def _spaced(name: str) -> str:
    return re.sub(r"[-_ ]+", " ", name.strip().lower())


def is_spelled_so(text: str) -> bool:
    """Whether the table has a name with its gaps where this one has them."""
    return _spaced(text) in _spellings()


@lru_cache(maxsize=1)
def _mouse_index() -> dict[str, str]:
    return {normalize_marker_name(name): marker for name, marker in MOUSE_MEANING.items() if marker}


@lru_cache(maxsize=65536)
def find(text: str, species: Species = "human") -> Match | None:
    """What a name means, to the letter; None where the table does not have it."""
    if text in _CASE_COUNTS:
        return Match("ambiguous", suggestions=_CASE_COUNTS[text], via="alias of several")
    key = normalize_marker_name(text)
    if not key:
        return None
    known = index()
    if species == "mouse" and key in _mouse_index():
        return Match("alias", _mouse_index()[key], via="name in the mouse")
    if key in _DOT_ONLY and "." not in text:  # the mouse allele, or CD45 stained again
        return Match("ambiguous", suggestions=(key[:4].upper(), key.upper()), via="alias of several")
    dotted = key.replace("_", ".")
    letter = key.replace("kappa", "k").replace("lambda", "l")  # NF-κB is written NF-kB
    for candidate in (key, dotted if dotted not in _DOT_ONLY or dotted == key else "", without_round(key), letter):
        if candidate in known:
            return _member(text, known[candidate])
    for pattern, put in RESPELLED if _MAY_BE_RESPELLED.search(dotted) else ():
        new = pattern.sub(put, dotted)
        if new != dotted and new in known:
            match = known[new]
            if "phospho" in pattern.pattern and not is_modified(match.marker):
                continue
            return Match(
                "alias" if match.status == "exact" else match.status, match.marker, match.suggestions, "spelling"
            )
    return None


def _member(text: str, match: Match) -> Match:
    """The gene itself for the symbol of a family's member, whose first protein is another's."""
    row = rows().get(match.marker)
    if row and row["kind"] == "family" and text in row["gene"].split(";")[1:] and is_gene_symbol(text):
        return Match("alias", text, via="HGNC gene symbol")
    return match


@lru_cache(maxsize=1)
def _genes() -> tuple[dict[str, tuple[str, str, str]], dict[str, str], dict[str, str]]:
    """Gene → (symbol, accessions, mouse symbol); key → gene, of symbols and of other names."""
    with (
        files(__package__).joinpath("genes.csv.gz").open("rb") as raw,
        gzip.open(raw, "rt", encoding="utf-8") as handle,
    ):
        frame = pd.read_csv(handle, dtype=str, keep_default_na=False)
    facts, symbols, others = {}, {}, {}
    for gene, uniprot, mouse, synonyms in frame.itertuples(index=False):
        facts[gene] = (gene, uniprot, mouse)
        symbols[normalize_marker_name(gene)] = gene
        for synonym in filter(None, synonyms.split(";")):
            others.setdefault(normalize_marker_name(synonym), gene)
    return facts, symbols, others


def is_gene_symbol(text: str) -> bool:
    """Whether this is an HGNC symbol to the letter, capitals included."""
    return text in _genes()[0]


def find_gene(text: str) -> Match | None:
    """The protein of a gene that the table of markers lacks, by its HGNC symbol, CD number or former symbol."""
    key = re.sub(r"^integrin(?:subunit)?([ab])(?=[\dvmxlde])", r"itg\1", normalize_marker_name(text))
    if len(key) < 3 or key in _NO_GENE:
        return None
    _, symbols, others = _genes()
    if key in symbols:
        return Match("alias", symbols[key], via="HGNC gene symbol")
    return Match("alias", others[key], via="HGNC synonym") if key in others else None


@lru_cache(maxsize=1)
def _mouse_accessions() -> dict[str, str]:
    return dict(_read("markers_mouse.csv").itertuples(index=False))


def facts_of(marker: str, species: Species) -> dict[str, str]:
    """Row of a marker with the gene and accession of the species; an empty accession is one that is not stored."""
    row = rows().get(marker)
    if row is None:
        gene, uniprot, _ = _genes()[0][marker]
        one = uniprot if ";" not in uniprot else ""  # several proteins of one gene: undecided which
        row = {"gene": gene, "uniprot": one, "kind": "protein", "species": "human"}
    if species == "human" or row["species"] != "human" or not row["gene"]:
        return row
    genes = [_genes()[0].get(gene, ("", "", ""))[2] for gene in row["gene"].split(";")]
    genes = [gene for gene in genes if gene]
    accessions = [_mouse_accessions().get(gene, "") for gene in genes]
    whole = bool(genes) and all(accessions)
    return {**row, "gene": ";".join(genes), "uniprot": ";".join(accessions) if whole else "", "species": "mouse"}


def suggest(texts: list[str], n: int = 3) -> tuple[str, ...]:
    """Markers with similar names, by shared pairs of letters: for a person to look at, never used."""
    names, columns, sizes, matrix = _pairs()
    near: list[str] = []
    for text in dict.fromkeys(texts):
        pairs = _letter_pairs(normalize_marker_name(text))
        places = [columns[pair] for pair in pairs if pair in columns]
        if not places:
            continue
        shared = matrix[places].sum(axis=0, dtype=np.uint8)
        score = shared * (2 / (sizes + len(pairs)))  # Dice's coefficient
        good = np.flatnonzero(score >= 0.6)
        for place in sorted(good, key=lambda place: (-score[place], names[place]))[:8]:
            match = index()[names[place]]
            near += [match.marker] if match.marker else match.suggestions
    return tuple(dict.fromkeys(near))[:n]


def _letter_pairs(key: str) -> set[str]:
    framed = f"^{key}$"
    return {framed[place : place + 2] for place in range(len(framed) - 1)}


@lru_cache(maxsize=1)
def _pairs() -> tuple[list[str], dict[str, int], np.ndarray, np.ndarray]:
    names = [key for key, match in index().items() if match.via in ("name", "KRONOS name", "alias", "alias of several")]
    sets = [_letter_pairs(name) for name in names]
    columns = {pair: place for place, pair in enumerate(sorted(set().union(*sets)))}
    matrix = np.zeros((len(columns), len(names)), np.uint8)
    for place, pairs in enumerate(sets):
        matrix[[columns[pair] for pair in pairs], place] = 1
    return names, columns, np.array([len(pairs) for pairs in sets], np.float32), matrix
