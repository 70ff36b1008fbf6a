"""Protein embeddings of markers: from a folder, a FASTA file, the user's own vectors, or UniProt and ESM-2.

A folder is laid out as VirTues' published one: one file ``<UniProt accession>.pt`` a protein, each a bare tensor,
isoforms by their own accession (``P08575-8.pt``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..._errors import PanelError, WeightsError, listed, warn
from ..._logging import logger
from ..._settings import settings
from ...pp.panel import match_markers
from .accessions import Protein, proteins_of
from .esm2 import SHIPPED, shipped_embeddings
from .protein_vectors import MODEL, checked_vector, read_vector
from .sequences import ACCESSION, fasta_text, kept_sequence_file, read_fasta, uniprot_sequence, write_whole

WIDTH = 640  # of the vectors of MODEL
_SUFFIXES = (".pt", ".npy")

Vectors = dict[str, np.ndarray]


class Embeddings(NamedTuple):
    """Protein embeddings of markers.

    Attributes
    ----------
    vectors
        ``{marker: float32 (dim,)}`` of the markers that have one.
    reasons
        Why the others have none.
    origins
        Where each vector came from: accession and source.
    """

    vectors: Vectors
    reasons: dict[str, str]
    origins: dict[str, str]


@dataclass(frozen=True)
class _Source:
    label: str
    what: str = "embedding"
    own: Vectors = field(default_factory=dict)  # by marker
    vectors: Vectors = field(default_factory=dict)  # by accession
    sequences: dict[str, str] = field(default_factory=dict)  # by accession
    remote: bool = False  # asks UniProt for sequences that are not here
    shipped: frozenset[str] = frozenset()  # accessions of `vectors` that come with the package
    quiet: bool = False  # not named among the places where a user looked


def protein_embeddings(
    markers: Sequence[str], source: object, dim: int, *, nuclear: str | None = None
) -> tuple[Vectors, dict[str, str]]:
    """`find_embeddings` without where they came from.

    Examples
    --------
    >>> result, reasons = protein_embeddings(["CD4", "DAPI"], {"P01730": np.ones(640)}, 640)
    >>> result["CD4"].shape, reasons
    ((640,), {'DAPI': 'no protein sequence (DNA stain)'})
    """
    return find_embeddings(markers, source, dim, nuclear=nuclear)[:2]


def find_embeddings(markers: Sequence[str], source: object, dim: int, *, nuclear: str | None = None) -> Embeddings:
    """Find the protein embedding of every marker.

    The accession of a marker is that of `sfm.pp.match_markers`; of a complex or family, the first (representative)
    one that a source has; if it is not the first, a warning names it. A marker that VirTues gives an isoform, or
    another member of its family, takes that first. Local files and vectors are checked before anything is fetched or
    computed.

    Of 40 common proteins the package holds the embeddings itself (those of VirTues' repository, in half precision).
    They come after every source that is given.

    Parameters
    ----------
    markers
        Markers or channel names; also UniProt accessions.
    source
        - None: what ``sfm.settings.cache_dir / "proteins"`` holds, then what is shipped; the rest is computed with
          ESM-2 from the sequences of UniProt, one protein at a time, so that a stopped run goes on where it was.
        - a folder of ``<UniProt accession>.pt`` (read without running code) or ``.npy``, each ``(d,)`` or ``(1, d)``
        - a FASTA file with UniProt's headers (``>sp|P01730|CD4_HUMAN``) or bare accessions (``>P01730``), may be
          gzipped: the embeddings are computed with ESM-2 and kept in the cache folder
        - ``{marker, channel name or accession: vector}``
        - a list of these, tried in order for each marker
    dim
        Width that the model takes.
    nuclear
        ``"histone"``: stains of DNA, which have no protein, take histone H3's embedding.

    Raises
    ------
    PanelError
        If `source` holds what is not a vector or a sequence, or a vector of the wrong width.
    WeightsError
        If a folder or file is missing, unreadable, not finite or of the wrong width; if sequences would have to be
        fetched and cannot be.
    ModelError
        If embeddings must be computed and `transformers` is not installed.

    References
    ----------
    Wenckstern et al. 2026, arXiv:2501.06039, Methods, "Tokenization".

    Examples
    --------
    >>> result = find_embeddings(["CD4", "DAPI"], None, 640, nuclear="histone")
    >>> result.vectors["CD4"].shape, result.origins["DAPI"]
    ((640,), 'P68431, shipped with spatialfm')
    """
    proteins = proteins_of(markers, nuclear)
    sources = [_open(item, proteins, dim) for item in _as_list(source)]
    if dim == WIDTH:
        sources.append(_Source(SHIPPED, vectors=shipped_embeddings(), quiet=True))
    vectors, sequences, reasons, origins = _choose(proteins, sources, dim)
    computed = _compute({(accession, sequence) for accession, sequence in sequences.values()}, dim)
    vectors |= {marker: computed[key] for marker, key in sequences.items()}
    return Embeddings(
        {marker: vectors[marker] for marker in dict.fromkeys(markers) if marker in vectors}, reasons, origins
    )


def _as_list(source: object) -> list[object]:
    if not isinstance(source, (list, tuple)):
        return [source]
    if not source:
        raise PanelError("marker_embeddings is an empty list. Pass None for what UniProt and ESM-2 give, or a folder.")
    return list(source)


def _open(source: object, proteins: Sequence[Protein], dim: int) -> _Source:
    """A source with all that it has for these proteins, checked."""
    if source is None:
        stored = shipped_embeddings() if dim == WIDTH else {}
        own = _read_wanted(_cache(), proteins, dim)
        shipped = frozenset(set(stored) - set(own))
        return _Source("UniProt", "sequence", vectors={**stored, **own}, remote=True, shipped=shipped)
    if isinstance(source, Mapping):
        return _from_mapping(source, proteins, dim)
    if not isinstance(source, (str, os.PathLike)):
        raise PanelError(
            f"marker_embeddings is {type(source).__name__}; expected a folder, a FASTA file, a mapping "
            "{marker: vector}, or a list of these."
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path, proteins, dim)
    if path.suffix in _SUFFIXES:
        raise WeightsError(f"marker_embeddings={str(path)!r} is one file. Pass its folder, or {{marker: vector}}.")
    if not path.is_file():
        raise WeightsError(
            f"No folder or FASTA file {str(path)!r} of protein embeddings. Pass marker_embeddings=<folder of "
            "<UniProt accession>.pt or .npy>, or a FASTA file with the sequences."
        )
    return _from_fasta(path, proteins)


def _from_fasta(path: Path, proteins: Sequence[Protein]) -> _Source:
    from ...models.esm import clean_sequence

    records = read_fasta(fasta_text(path), str(path))
    wanted = {accession for protein in proteins for accession in protein.accessions if accession in records}
    return _Source(
        str(path),
        what="sequence",
        sequences={accession: clean_sequence(records[accession], f"{accession} in {path}") for accession in wanted},
    )


def _from_folder(folder: Path, proteins: Sequence[Protein], dim: int) -> _Source:
    def has_any(place: Path) -> bool:
        return place.is_dir() and any(file.suffix in _SUFFIXES for file in place.iterdir())

    if not has_any(folder) and has_any(folder / MODEL):  # VirTues' script puts a folder of the model's name in between
        folder = folder / MODEL
    if not has_any(folder):
        raise WeightsError(
            f"Folder {folder} contains no protein embeddings. Its files must be named <UniProt accession>.pt or .npy, "
            "e.g. P01730.pt."
        )
    return _Source(str(folder), vectors=_read_wanted(folder, proteins, dim))


def _from_mapping(vectors: Mapping, proteins: Sequence[Protein], dim: int) -> _Source:
    remedy = "Pass one vector per marker."
    checked = {
        key: checked_vector(value, dim, f"marker_embeddings[{key!r}]", PanelError, remedy)
        for key, value in vectors.items()
    }
    if strange := [key for key in checked if not isinstance(key, str) or not key.strip()]:
        raise PanelError(f"marker_embeddings has the key {strange[0]!r}, which is not a name of a marker.")
    names = {protein.marker for protein in proteins}
    own = {key: vector for key, vector in checked.items() if key in names}
    by_accession = {key: vector for key, vector in checked.items() if key not in names and ACCESSION.fullmatch(key)}
    others = [key for key in checked if key not in own and key not in by_accession]
    if others:
        _add_by_other_names(own, {key: checked[key] for key in others}, proteins)
    return _Source("the given vectors", own=own, vectors=by_accession)


def _add_by_other_names(own: Vectors, others: Vectors, proteins: Sequence[Protein]) -> None:
    """Vectors under another name of a marker; its own name goes before."""
    table = match_markers(list(others))
    meant = dict(zip(table["channel"], table["marker"], strict=True))
    if unknown := [key for key in others if not meant[key]]:
        logger.warning("marker_embeddings: no marker of the panel is called %s", ", ".join(map(repr, unknown[:8])))
    markers = match_markers([protein.marker for protein in proteins])["marker"] if proteins else []
    for protein, marker in zip(proteins, markers, strict=True):
        keys = [key for key in others if marker and meant[key] == marker]
        if protein.marker in own or not keys:
            continue
        if any(not np.array_equal(others[key], others[keys[0]]) for key in keys):
            raise PanelError(
                f"marker_embeddings has different vectors for marker {protein.marker!r}: under {keys}. Keep one, "
                f"under {protein.marker!r}."
            )
        own[protein.marker] = others[keys[0]]


def _read_wanted(folder: Path, proteins: Sequence[Protein], dim: int) -> Vectors:
    paths = {
        accession: folder / f"{accession}{suffix}"
        for protein in proteins
        for accession in protein.accessions
        for suffix in reversed(_SUFFIXES)  # of two files the .pt, as VirTues would read
        if (folder / f"{accession}{suffix}").is_file()
    }
    return {accession: read_vector(path, dim) for accession, path in paths.items()}


def _choose(
    proteins: Sequence[Protein], sources: Sequence[_Source], dim: int
) -> tuple[Vectors, dict[str, tuple[str, str]], dict[str, str], dict[str, str]]:
    """For each marker a vector, an (accession, sequence) to embed, or the reason why there is none; and the origins."""
    vectors: Vectors = {}
    sequences: dict[str, tuple[str, str]] = {}
    reasons: dict[str, str] = {}
    origins: dict[str, str] = {}
    absent: dict[str, str] = {}  # would have to be fetched
    others: list[str] = []  # another chain of a complex, another member of a family
    for protein in proteins:
        for source in sources:
            what, accession = _look_up(protein, source, dim)
            if what is None:
                continue
            if isinstance(what, str):
                sequences[protein.marker] = (accession, what)
            else:
                vectors[protein.marker] = what
            origins[protein.marker] = _origin(source, accession, computed=isinstance(what, str))
            if accession not in ("", *protein.accessions[:1]):
                others.append(f"{protein.marker} that of {accession} instead of {protein.accessions[0]}")
            break
        else:
            reasons[protein.marker] = protein.why_none or _why_none(protein, sources)
            if protein.accessions and settings.offline and any(source.remote for source in sources):
                absent[protein.marker] = protein.accessions[0]
    if absent:
        raise WeightsError(_how_to_make(absent))
    if others:
        warn(
            f"Protein embeddings of other proteins than the markers' first: {listed(others, quoted=False)}. Add those "
            "of the first ones to marker_embeddings=, or give the marker's vector, {marker: vector}."
        )
    return vectors, sequences, reasons, origins


def _origin(source: _Source, accession: str, *, computed: bool) -> str:
    if not accession:
        return source.label
    if accession in source.shipped:
        return f"{accession}, {SHIPPED}"
    if source.remote and not computed:
        return f"{accession}, {_cache()}"
    return f"{accession}, computed from {source.label}" if computed else f"{accession}, {source.label}"


def _look_up(protein: Protein, source: _Source, dim: int) -> tuple[np.ndarray | str | None, str]:
    """A vector or a sequence, and its accession."""
    if protein.marker in source.own:
        return source.own[protein.marker], ""
    for accession in protein.accessions:
        for kept in (source.vectors, source.sequences):
            if accession in kept:
                return kept[accession], accession
        if not source.remote:
            continue
        if not settings.offline and not kept_sequence_file(accession).is_file():
            _check_can_compute(dim)  # before time is spent on the network
        if sequence := uniprot_sequence(accession):
            from ...models.esm import clean_sequence

            return clean_sequence(sequence, f"{accession} from UniProt"), accession
    return None, ""


def _why_none(protein: Protein, sources: Sequence[_Source]) -> str:
    names = " or ".join(protein.accessions)
    return "; ".join(f"no {source.what} of {names} in {source.label}" for source in sources if not source.quiet)


def _how_to_make(absent: Mapping[str, str]) -> str:
    listed = ", ".join(f"{accession} ({marker})" for marker, accession in absent.items())
    return (
        f"No protein embedding of {listed}, and downloads are off (sfm.settings.offline). Put <accession>.pt or .npy "
        f"into {_cache()}: the mean of the last layer of ESM-2 ({MODEL}) over the residues, shape ({WIDTH},). Or pass "
        "marker_embeddings= such a folder, or a FASTA file with these sequences from which they are computed."
    )


def _cache() -> Path:
    return settings.cache_dir / "proteins" / MODEL


def _check_can_compute(dim: int) -> None:
    from ...models.esm import require_transformers

    if dim != WIDTH:
        raise WeightsError(
            f"Embeddings computed here are ESM-2's ({MODEL}) and {WIDTH} wide; the model takes {dim}. Pass "
            f"marker_embeddings=<folder of embeddings of width {dim}>."
        )
    require_transformers()


def _compute(wanted: set[tuple[str, str]], dim: int) -> dict[tuple[str, str], np.ndarray]:
    """Embeddings of (accession, sequence) pairs: from the cache folder, or computed into it one by one."""
    paths = {
        key: _cache() / f"{key[0]}-{hashlib.sha256(key[1].encode()).hexdigest()[:16]}.npy" for key in sorted(wanted)
    }
    vectors = {key: vector for key, path in paths.items() if (vector := _computed_before(path, dim)) is not None}
    missing = {path.stem: key for key, path in paths.items() if key not in vectors}
    if missing:
        _check_can_compute(dim)
        from ..._progress import progress_bar
        from ...models.esm import iter_esm_embeddings

        logger.info("Embedding %d proteins with ESM-2 (%s) into %s", len(missing), MODEL, _cache())
        # one at a time: no vector depends on its company, and a stopped run keeps what it has
        made = iter_esm_embeddings({stem: key[1] for stem, key in missing.items()}, f"facebook/{MODEL}", batch_size=1)
        for stem, vector in progress_bar(
            made,
            total=len(missing),
            desc="proteins",
        ):
            key = missing[stem]
            remedy = "Check the weights of ESM-2."
            vectors[key] = checked_vector(vector, dim, f"The embedding of {key[0]}", WeightsError, remedy)
            try:
                write_whole(paths[key], vector)
            except OSError as error:  # a run can do without
                logger.warning("%s cannot be written: %s", paths[key], error)
    return vectors


def _computed_before(path: Path, dim: int) -> np.ndarray | None:
    """A vector that was computed into the cache folder; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        return read_vector(path, dim)
    except WeightsError as error:
        logger.warning("%s It is computed again.", error)
        return None
