"""Channel names to markers: by exact key in a shipped table, never by similarity.

The table is ``markers.csv`` beside this file; ``markers.md`` says where its facts come from and how they were checked.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.resources import files

import numpy as np
import pandas as pd

from .._errors import PanelError
from .panel_names import (
    ignored_reason,
    is_fluorophore,
    is_modification,
    normalize_marker_name,
    parts,
    remarks,
    spellings,
    without_round,
)

STATUSES = ("exact", "alias", "ambiguous", "unknown", "ignored")
COLUMNS = (
    "channel", "status", "marker", "gene", "uniprot", "compartment", "kronos", "duplicate_of", "suggestions", "via",
)  # fmt: skip

AMBIGUOUS: dict[str, tuple[str, ...]] = {
    "actin": ("a-SMA", "b-Actin"),
    "B7": ("CD80", "CD86"),
    "cadherin": ("E-cadherin", "N-cadherin", "P-cadherin", "VE-cadherin"),
    "CDH": ("E-cadherin", "P-cadherin"),
    "c-Caspase3c-PARP": ("cleaved Caspase-3", "cleaved PARP"),
    "cPARP/cCasp3": ("cleaved Caspase-3", "cleaved PARP"),
    "cCasp3/cPARP": ("cleaved Caspase-3", "cleaved PARP"),
    "CD1": ("CD1a", "CD1b", "CD1c", "CD1d"),
    "CD11": ("CD11a", "CD11b", "CD11c"),
    "CD45R": ("CD45RA", "CD45RB", "CD45RO"),
    "CD49": ("CD49a", "CD49b", "CD49d", "CD49e", "CD49f"),
    "CD62": ("CD62E", "CD62L", "CD62P"),
    "CD66": ("CD66a", "CD66b", "CD66c", "CEA"),
    "CD79": ("CD79a", "CD79b"),
    "claudin": ("Claudin-1", "Claudin-5"),
    "E/P-cadherin": ("E-cadherin", "P-cadherin"),
    "HLA": ("HLA-ABC", "HLA-DR", "HLA-DR/DP/DQ"),
    "HLA class II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HLA class 2": ("HLA-DR", "HLA-DR/DP/DQ"),
    "HLA-II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "Ig": ("IgA", "IgD", "IgG", "IgM"),
    "immunoglobulin": ("IgA", "IgD", "IgG", "IgM"),
    "lamin": ("Lamin A/C", "Lamin B1"),
    "LFA-1": ("CD11a", "CD18"),
    "MHC": ("HLA-ABC", "HLA-DR", "HLA-DR/DP/DQ"),
    "MHC class II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "MHC-II": ("HLA-DR", "HLA-DR/DP/DQ"),
    "MHC2": ("HLA-DR", "HLA-DR/DP/DQ"),
    "NF-kB": ("NF-kB p65", "RELB"),
    "Siglec": ("CD33", "CD169", "Siglec-7", "Siglec-9"),
    "TCR": ("TCR beta", "TCR gamma/delta"),
    "tubulin": ("b-Tubulin", "b3-Tubulin"),
    "UCHL1": ("CD45RO", "PGP9.5"),
}
"""Names that fit several markers: they are never decided here."""


class PanelTable(pd.DataFrame):
    """A data frame of channels and their markers, printed with a summary and unresolved channels first."""

    @property
    def _constructor(self) -> type[PanelTable]:
        return PanelTable

    @property
    def summary(self) -> str:
        """``38 channels: 30 exact, 5 alias, 1 ambiguous, 2 unknown``."""
        counts = self["status"].value_counts()
        text = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts.get(status, 0))
        doubled = int((self["duplicate_of"] != "").sum()) if "duplicate_of" in self else 0
        return f"{len(self)} channels: {text}" + (f" ({doubled} of a marker that another channel has)" * bool(doubled))

    def _is_whole(self) -> bool:
        return {"channel", "status"} <= set(self.columns) and len(self) > 0

    def _unresolved_first(self) -> pd.DataFrame:
        order = self["status"].map({"ambiguous": 0, "unknown": 1}).fillna(2).to_numpy()
        plain = pd.DataFrame(self).iloc[np.argsort(order, kind="stable")]
        # a column that says nothing of any channel only takes width
        return plain[[name for name in plain if name in COLUMNS[:3] or (plain[name].astype(str) != "").any()]]

    def __repr__(self) -> str:
        if not self._is_whole():
            return super().__repr__()
        return f"{self.summary}\n{self._unresolved_first().to_string()}"

    def _repr_html_(self) -> str | None:
        if not self._is_whole():
            return super()._repr_html_()
        return f"<p>{escape(self.summary)}</p>{self._unresolved_first().to_html()}"


@dataclass(frozen=True)
class _Match:
    status: str
    marker: str = ""
    suggestions: tuple[str, ...] = ()
    via: str = ""


def marker_table() -> pd.DataFrame:
    """The markers that `match_markers` knows.

    Returns
    -------
    One row a marker: `marker` (unique), `gene` (HGNC symbols, for a complex or family several with ``;`` between, the
    representative one first), `uniprot` (accessions, as many and in the same order; empty where the epitope is not a
    protein), `compartment` (nucleus, membrane, cytoplasm, mitochondrion or extracellular: where the stain is expected),
    `kronos` (name in Table S2 of the KRONOS paper, empty for markers that it lacks), `aliases` (with ``;`` between),
    `note`, and `checked` (the source that every gene and accession of the row was compared with, empty where none was).
    A copy: change it as you like.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> table = sfm.pp.marker_table().set_index("marker")
    >>> table.loc["CD3", "gene"], table.loc["CD3", "uniprot"]
    ('CD3E;CD3D;CD3G', 'P07766;P04234;P09693')
    """
    return _table().copy()


def match_markers(
    channel_names: Sequence[str],
    *,
    mapping: Mapping[str, str | None] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> PanelTable:
    """Find the marker of every channel.

    A name matches by its key: case, separators, Greek letters, metals, dyes, staining rounds and words like ``anti-``
    do not count, the rest must be in the table to the letter. Similar names are only suggested. A remark that tells of
    a modified protein (``STAT3 (pY705)``) is never dropped.

    Parameters
    ----------
    channel_names
        Names of the channels of one image, or of a model's vocabulary.
    mapping
        ``{channel: marker}`` for names that are not known or not meant as the table has them; None leaves a channel
        out. A marker may be written as any name of the table.
    ignore
        Channels without a marker, by name or with ``*`` and ``?`` as in file names; also those that the table knows.
        Blanks, autofluorescence and bare isotopes are ignored anyway.

    Returns
    -------
    One row a channel, in the given order, with columns `channel`, `status`, `marker`, `gene`, `uniprot`,
    `compartment`, `kronos` (see `marker_table`), `duplicate_of` (the first channel with the same marker; nothing is
    merged), `suggestions` (candidates of an ambiguous name, similar names of an unknown one, with ``;`` between) and
    `via` (what decided). Fields without content are empty strings. `status` is

    - ``exact``: the name of the marker in the table or in KRONOS,
    - ``alias``: another name that the table lists, or `mapping`,
    - ``ambiguous``: the name of several markers,
    - ``unknown``: not in the table,
    - ``ignored``: no marker in it.

    Raises
    ------
    PanelError
        If names are missing, doubled or no text, or `mapping` or `ignore` name a channel that is not there or a marker
        that the table lacks.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> panel = sfm.pp.match_markers(["DAPI-01", "anti-CD8 (clone C8/144B)", "162Dy_CD20", "CD45R", "CD400", "Blank"])
    >>> panel[["status", "marker", "suggestions"]].values.tolist()[:4]
    [['exact', 'DAPI', ''], ['exact', 'CD8', ''], ['exact', 'CD20', ''], ['ambiguous', '', 'CD45RA; CD45RB; CD45RO']]
    >>> panel.summary
    '6 channels: 3 exact, 1 ambiguous, 1 unknown, 1 ignored'
    >>> sfm.pp.match_markers(["HOECHST1", "Keratin"], mapping={"HOECHST1": "DAPI"})["marker"].tolist()
    ['DAPI', 'pan-Cytokeratin']
    """
    channels = _checked_channels(channel_names)
    targets = _checked_mapping(mapping, channels)
    left_out = _checked_ignore(ignore, channels)
    matches = []
    for channel in channels:
        if channel in targets:
            target = targets[channel]
            matches.append(_Match("alias", target, via="mapping") if target else _Match("ignored", via="mapping"))
        elif channel in left_out:
            matches.append(_Match("ignored", via="ignore"))
        else:
            matches.append(_match(channel))
    return _as_table(channels, matches)


def _checked_channels(channel_names: Sequence[str]) -> list[str]:
    if isinstance(channel_names, str):
        raise PanelError(f"channel_names is the string {channel_names!r}. Pass a list: [{channel_names!r}].")
    names = list(channel_names)
    if not names:
        raise PanelError("channel_names is empty: an image without channels. Pass the names of its channels.")
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise PanelError(
                f"Channel {place} is named {name!r} ({type(name).__name__}), not a string. Pass names as strings, e.g. "
                "sfm.io.read_tiff(..., channel_names=[...])."
            )
    names = [str(name) for name in names]  # numpy's strings print and compare like str, but are not
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise PanelError(
            f"Channel {doubled[0]!r} is there {names.count(doubled[0])} times"
            + (f" ({len(doubled)} names are doubled)" if len(doubled) > 1 else "")
            + ". Give every channel its own name, e.g. sfm.io.read_tiff(..., channel_names=[...])."
        )
    return names


def _checked_mapping(mapping: Mapping[str, str | None] | None, channels: list[str]) -> dict[str, str | None]:
    targets: dict[str, str | None] = {}
    for channel, target in (mapping or {}).items():
        if channel not in channels:
            raise PanelError(
                f"mapping= names channel {channel!r}, which is not there. Channels: {_listed(channels)}. "
                "Mend mapping=, or leave this entry out."
            )
        if target is None:
            targets[channel] = None
            continue
        found = _match(target) if isinstance(target, str) else _Match("unknown")
        if found.status not in ("exact", "alias"):
            near = f" Perhaps {' or '.join(found.suggestions)}?" if found.suggestions else ""
            raise PanelError(
                f"mapping= sends channel {channel!r} to {target!r}, which is {found.status} in the table of markers."
                f"{near} See sfm.pp.marker_table(), or map it to None to leave the channel out."
            )
        targets[channel] = found.marker
    return targets


def _checked_ignore(ignore: str | Iterable[str] | None, channels: list[str]) -> set[str]:
    left_out: set[str] = set()
    for pattern in [ignore] if isinstance(ignore, str) else list(ignore or []):
        hits = [
            name for name in channels if name == pattern or fnmatch.fnmatchcase(name.casefold(), pattern.casefold())
        ]
        if not hits:
            raise PanelError(f"ignore= names {pattern!r}, but no channel is called so. Channels: {_listed(channels)}.")
        left_out.update(hits)
    return left_out


def _match(name: str) -> _Match:
    """Marker of one name."""
    index = _index()
    direct = index.get(normalize_marker_name(name))
    if direct is not None:
        return direct
    if reason := ignored_reason(name):
        return _Match("ignored", via=reason)
    for text, removed in spellings(name):
        key = normalize_marker_name(text)
        found = index.get(key) or index.get(without_round(key))
        if found is not None and not (is_modification(removed) and not _is_modified(found.marker)):
            return _contradicted(found, text, name)
    for text, removed in spellings(name):
        if not is_modification(removed) and (found := _several(text)):
            return found
    if is_fluorophore(name):
        return _Match("unknown", via="a dye: say its marker in mapping=")
    return _Match("unknown", suggestions=_suggest(name))


def _contradicted(found: _Match, text: str, name: str) -> _Match:
    """The match, unless a remark in parentheses names another marker."""
    others = [_index().get(normalize_marker_name(remark)) for remark in remarks(name) if remark not in text]
    other = {match.marker for match in others if match is not None and match.marker} - {found.marker}
    if found.marker and other:
        return _Match("ambiguous", suggestions=(found.marker, *sorted(other)), via="several markers in the name")
    return found


def _several(name: str) -> _Match | None:
    """A name that lists names: synonyms of one marker, or several markers."""
    for cut in parts(name):
        found = [_index().get(normalize_marker_name(part)) for part in cut]
        if any(match is None or not match.marker for match in found):
            continue
        markers = list(dict.fromkeys(match.marker for match in found if match is not None))
        if len(markers) == 1:
            return _Match("alias", markers[0], via="synonyms")
        return _Match("ambiguous", suggestions=tuple(markers), via="several markers in the name")
    return None


def _is_modified(marker: str) -> bool:
    row = _rows().get(marker)
    return row is not None and any(
        word in row["note"] for word in ("phosphorylated", "cleaved", "acetylated", "methylated", "mutant")
    )


def _suggest(name: str) -> tuple[str, ...]:
    index = _index()
    near = []
    for text, _ in spellings(name):
        for key in difflib.get_close_matches(normalize_marker_name(text), index, n=5, cutoff=0.7):
            near += [index[key].marker] if index[key].marker else index[key].suggestions
    return tuple(dict.fromkeys(near))[:3]


def _as_table(channels: list[str], matches: list[_Match]) -> PanelTable:
    first: dict[str, str] = {}
    records = []
    for channel, match in zip(channels, matches, strict=True):
        row = _rows().get(match.marker, {})
        duplicate_of = first.get(match.marker, "") if match.marker else ""
        if match.marker:
            first.setdefault(match.marker, channel)
        facts = [row.get(name, "") for name in ("gene", "uniprot", "compartment", "kronos")]
        record = (channel, match.status, match.marker, *facts, duplicate_of, "; ".join(match.suggestions), match.via)
        records.append(record)
    return PanelTable(records, columns=list(COLUMNS))


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    with files(__package__).joinpath("markers.csv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype=str, keep_default_na=False)


@lru_cache(maxsize=1)
def _rows() -> dict[str, dict[str, str]]:
    return {row["marker"]: row for row in _table().to_dict("records")}


@lru_cache(maxsize=1)
def _index() -> dict[str, _Match]:
    """Key → what it means. A name goes before an alias, so that an alias can never hide a marker."""
    index: dict[str, _Match] = {}
    for row in _table().to_dict("records"):
        index[normalize_marker_name(row["marker"])] = _Match("exact", row["marker"], via="name")
    for row in _table().to_dict("records"):
        if row["kronos"]:
            index.setdefault(normalize_marker_name(row["kronos"]), _Match("exact", row["marker"], via="KRONOS name"))
    for row in _table().to_dict("records"):
        for alias in filter(None, row["aliases"].split(";")):
            index.setdefault(normalize_marker_name(alias), _Match("alias", row["marker"], via="alias"))
    for name, markers in AMBIGUOUS.items():
        index.setdefault(normalize_marker_name(name), _Match("ambiguous", suggestions=markers, via="alias of several"))
    return index


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
