"""The protein that represents a marker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...pp.panel import marker_table, match_markers
from .sequences import ACCESSION

HISTONE_H3 = "P68431"


@dataclass(frozen=True)
class Protein:
    """A marker and the UniProt accessions that represent it, or why it has none."""

    marker: str
    accessions: tuple[str, ...] = ()  # the one to use first, then those that may represent it
    why_none: str = ""


def proteins_of(markers: Sequence[str], nuclear: str | None = None) -> list[Protein]:
    """Accessions of each marker, once each; `nuclear` as in `find_embeddings`.

    Examples
    --------
    >>> [protein.accessions for protein in proteins_of(["CD4", "CD45RA", "DAPI"], "histone")]
    [('P01730',), ('P08575-8', 'P08575'), ('P68431',)]
    """
    names = list(dict.fromkeys(markers))
    if not names:
        return []
    table = marker_table().set_index("marker")
    proteins = []
    for row in match_markers(names).itertuples():
        note, genes = (table.at[row.marker, column] if row.marker in table.index else "" for column in ("note", "gene"))
        accessions = row.uniprot.split(";") if row.uniprot else []
        accessions = [*_virtues_choice(note, genes.split(";"), accessions), *accessions]
        if accessions:
            proteins.append(Protein(row.channel, tuple(dict.fromkeys(accessions))))
        elif row.marker and nuclear == "histone" and re.search(r"DNA stain|double-stranded DNA", note):
            proteins.append(Protein(row.channel, (HISTONE_H3,)))
        elif row.marker:
            proteins.append(Protein(row.channel, why_none=f"no protein sequence ({note or 'none in the table'})"))
        elif ACCESSION.fullmatch(row.channel):
            proteins.append(Protein(row.channel, (row.channel,)))
        else:
            near = f", perhaps {row.suggestions}" if row.suggestions else ""
            why = f"no protein: {row.status} in the table of markers{near}"
            proteins.append(Protein(row.channel, why_none=why))
    return proteins


def _virtues_choice(note: str, genes: Sequence[str], accessions: Sequence[str]) -> list[str]:
    """The accession that VirTues takes where it is not the first: an isoform, another member of a family, an enzyme."""
    match = re.search(r"VirTues: (\S+?)\)", note)
    if not match:
        return []
    if ACCESSION.fullmatch(match[1]):
        return [match[1]]
    members = dict(zip(genes, accessions, strict=True)) if len(genes) == len(accessions) else {}
    return [members[match[1]]] if match[1] in members else []
