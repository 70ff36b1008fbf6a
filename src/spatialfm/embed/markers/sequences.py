"""Protein sequences: from a FASTA file, or from UniProt's REST service with the answers kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zlib
from pathlib import Path

import numpy as np

from ... import _disk
from ..._errors import PanelError, WeightsError
from ..._logging import logger
from ..._settings import settings

UNIPROT = "https://rest.uniprot.org/uniprotkb"
TIMEOUT = 30  # seconds for one sequence
ACCESSION = re.compile(r"([OPQ]\d[A-Z0-9]{3}\d|[A-NR-Z]\d(?:[A-Z][A-Z0-9]{2}\d){1,2})(-\d+)?")  # UniProt's own pattern
_SEAL = re.compile(r" sha256=[0-9a-f]{32}(?=\n|$)")
_MEND = (
    "Pass marker_embeddings=<FASTA file with the sequences>, or a folder of embeddings <UniProt accession>.pt or .npy; "
    "or try again later."
)


def read_fasta(text: str, where: str) -> dict[str, str]:
    r"""``{accession: sequence}`` of a FASTA file with UniProt's headers or bare accessions.

    Raises
    ------
    PanelError
        If it is not a FASTA file, no header has an accession, or an accession has two sequences.

    Examples
    --------
    >>> read_fasta(">sp|P01730|CD4_HUMAN T-cell surface glycoprotein\nMNRG\nVPFR\n>P08575-8\nMYLW", "cd.fasta")
    {'P01730': 'MNRGVPFR', 'P08575-8': 'MYLW'}
    """
    records: dict[str, str] = {}
    for record in re.split(r"^>", "\n" + text.lstrip("\ufeff"), flags=re.MULTILINE):
        header, _, body = record.partition("\n")
        if not header.strip():
            if body.strip():
                raise PanelError(f"{where} is not a FASTA file: it begins with {body.strip()[:20]!r} instead of '>'.")
            continue
        first = header.split()[0].split("|")
        accession = first[1] if first[0] in ("sp", "tr") and len(first) > 1 else first[0]
        sequence = "".join(body.split()).upper()
        if records.setdefault(accession, sequence) != sequence:
            raise PanelError(f"{where} has two different sequences of {accession!r}. Keep one of them.")
    if not any(ACCESSION.fullmatch(accession) for accession in records):
        first_header = f"found {next(iter(records))!r}" if records else "it is empty"
        raise PanelError(
            f"{where} has no sequence under a UniProt accession ({first_header}). Headers must read "
            "'>sp|P01730|CD4_HUMAN' or '>P01730'."
        )
    return records


def fasta_text(path: Path) -> str:
    """Text of a FASTA file, gzipped or not.

    Raises
    ------
    WeightsError
        If it is not text, or a damaged archive.
    """
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path} cannot be read as FASTA ({type(error).__name__}). Pass a text file with protein sequences, or the "
            "folder that holds the embeddings."
        ) from error


def kept_sequence_file(accession: str) -> Path:
    """Where the answer of UniProt for an accession is kept."""
    return settings.cache_dir / "proteins" / "sequences" / f"{accession}.fasta"


def uniprot_sequence(accession: str) -> str | None:
    """The sequence of a UniProt entry, kept or fetched; None if there is no such entry, or downloads are off.

    Raises
    ------
    WeightsError
        If UniProt cannot be reached, or answers something else.
    """
    path = kept_sequence_file(accession)
    text = _kept_sequence(path)
    if text is None:
        text = "" if settings.offline else _fetch(accession)
        if not text.strip():
            return None
        try:
            read_fasta(text, f"The answer of {UNIPROT} for {accession}")
        except PanelError as error:
            raise WeightsError(f"{error} {_MEND}") from error
        try:
            write_whole(path, _sealed(text).encode())
        except OSError as error:  # a run can do without
            logger.warning("%s cannot be written: %s", path, error)
    # an entry that was merged into another comes under its new accession
    return next(iter(read_fasta(text, str(path)).values()))


def _kept_sequence(path: Path) -> str | None:
    """Text of an answer that is kept; None where there is none, or not as it was written."""
    if not os.path.lexists(path):
        return None
    try:
        text = fasta_text(path)
        read_fasta(text, str(path))
        seal = _SEAL.search(text)
        # files of earlier versions have none
        if seal is None or _sealed(_SEAL.sub("", text)) == text:
            return text
        why = "not as it was written"
    except (WeightsError, PanelError) as error:
        why = str(error)
    logger.warning("%s cannot be used%s: %s", path, "" if settings.offline else " and is fetched again", why)
    return None


def _sealed(text: str) -> str:
    """A FASTA text with a digest of itself behind its first header."""
    header, _, body = text.partition("\n")
    return f"{header} sha256={hashlib.sha256(text.encode()).hexdigest()[:32]}\n{body}"


def _fetch(accession: str) -> str:
    """FASTA text of a UniProt entry; empty if there is no such entry."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import urlopen

    url = f"{UNIPROT}/{accession}.fasta"
    logger.info("Fetching %s", url)
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:  # a fixed https address
            return answer.read().decode("utf-8")
    except (OSError, HTTPException, UnicodeDecodeError) as error:  # no network, a refusal, a time that ran out
        if isinstance(error, HTTPError) and error.code in (400, 404, 410):
            return ""
        raise WeightsError(
            f"The sequence of {accession} cannot be fetched from {url} ({type(error).__name__}: {error}). {_MEND}"
        ) from error


def write_whole(path: Path, content: bytes | np.ndarray) -> None:
    """Write under another name and rename: no process reads half a file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if not isinstance(content, bytes):
        stream = io.BytesIO()
        np.save(stream, content)
        content = stream.getvalue()
    _disk.write_bytes(path, content)
