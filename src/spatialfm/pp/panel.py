"""Channel names to markers: by exact key in a shipped table, never by similarity.

The table is ``markers.csv`` in this folder; ``markers.md`` gives the sources of its facts and how they were checked.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from .._errors import PanelError, listed, repeated_names
from .._public import public
from .panel_index import AMBIGUOUS, Match, Species, facts_of, known_markers
from .panel_match import match_name
from .panel_names import normalize_marker_name

__all__ = ["AMBIGUOUS", "marker_table", "match_markers", "normalize_marker_name"]

STATUSES = ("exact", "alias", "ambiguous", "unknown", "ignored")
COLUMNS = (
    "channel", "status", "marker", "gene", "uniprot", "kind", "species", "compartment", "kronos", "duplicate_of",
    "suggestions", "via", "stripped",
)  # fmt: skip
FACTS = ("gene", "uniprot", "kind", "species", "compartment", "kronos")
_ONLY_A_NUMBER = re.compile(r"(?:channel|chan|ch|image|plane|band|frame)s?[-_ #.:]*\d+", re.IGNORECASE)
_NUMBER = "the number of a channel: give its marker in mapping="
_NO_NAME = ("a dye", "the number of a channel")  # what `via` begins with where a name tells of no marker


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
        # a column that is empty for all channels only takes width
        return plain[[name for name in plain if name in COLUMNS[:3] or (plain[name].astype(str) != "").any()]]

    def __repr__(self) -> str:
        if not self._is_whole():
            return super().__repr__()
        return f"{self.summary}\n{self._unresolved_first().to_string()}"

    def _repr_html_(self) -> str | None:
        if not self._is_whole():
            return super()._repr_html_()
        return f"<p>{escape(self.summary)}</p>{self._unresolved_first().to_html()}"


@public
def marker_table() -> pd.DataFrame:
    """The markers that `match_markers` recognises.

    Returns
    -------
    One row per marker: `marker` (unique), `gene` (HGNC symbols, for a complex or family several with ``;`` between, the
    representative one first), `uniprot` (accessions, as many and in the same order; empty where the epitope is not a
    protein), `compartment` (nucleus, membrane, cytoplasm, mitochondrion or extracellular: where the stain is expected),
    `kind` (protein, isoform, modified, complex, family, glycan, stain or undefined), `species` (whose gene and
    accession these are), `kronos` (name in Table S2 of the KRONOS paper, empty for markers that it lacks), `aliases`
    (with ``;`` between), `note`, and `checked` (the sources that every gene and accession of the row was compared with,
    empty where none was).
    A copy: change it as you like.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> table = sfm.pp.marker_table().set_index("marker")
    >>> table.loc["CD3", "gene"], table.loc["CD3", "uniprot"]
    ('CD3E;CD3D;CD3G', 'P07766;P04234;P09693')
    """
    return known_markers().copy()


@public
def match_markers(
    channel_names: Sequence[str],
    *,
    mapping: Mapping[str, str | None] | None = None,
    ignore: str | Iterable[str] | None = None,
    species: Species = "human",
) -> PanelTable:
    """Find the marker of every channel.

    A name matches by its key: case, separators, Greek letters, metals, dyes, staining rounds, clones, hosts and words
    like ``anti-`` do not count, the rest must be in the table to the letter, or be the HGNC symbol of a gene. Similar
    names are only suggested. A remark that tells of a modified protein is never dropped: ``STAT3 (pY705)`` is pSTAT3.
    What is left out may not name another marker (``CD3_CD8``), and a number at the end is that of a repeated stain only
    where it cannot be part of the name (``CD45_1`` is CD45; ``CD3_1`` is ambiguous with CD31).

    Parameters
    ----------
    channel_names
        Names of the channels of one image, or of a model's vocabulary.
    mapping
        ``{channel: marker}`` for names that are not known or have another meaning than in the table; None leaves a
        channel out. A marker may be written as any name of the table.
    ignore
        Channels without a marker, by name or with ``*`` and ``?`` as in file names; also those that are in the table.
        Blanks, autofluorescence, secondary antibodies, controls, elements and bare isotopes are ignored anyway.
    species
        ``"human"`` or ``"mouse"``: of which the genes and accessions are wanted. In the mouse, ``MHC-II`` is I-A/I-E
        and ``CD45R`` is B220.

    Returns
    -------
    One row per channel, in the given order, with columns `channel`, `status`, `marker`, `gene`, `uniprot`, `kind`,
    `species`, `compartment`, `kronos` (see `marker_table`; several genes of a complex or family with ``;`` between, the
    representative one first), `duplicate_of` (the first channel with the same marker; nothing is merged), `suggestions`
    (candidates of an ambiguous name, similar names of an unknown one, with ``;`` between), `via` (what decided, or why
    a channel is ignored) and `stripped` (what was left out of the name). Fields without content are empty strings; so
    is the accession of a mouse protein that is not stored. `status` is

    - ``exact``: the name of the marker in the table or in KRONOS,
    - ``alias``: another name that the table lists, an accession, the symbol of a gene, or `mapping`,
    - ``ambiguous``: the name of several markers,
    - ``unknown``: not in the table,
    - ``ignored``: no marker in it.

    Raises
    ------
    PanelError
        If names are missing, doubled or not text, or `mapping` or `ignore` name a channel that is not there or a marker
        that the table lacks.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> panel = sfm.pp.match_markers(["DAPI-01", "anti-CD8 (clone C8/144B)", "162Dy_CD20", "CD140", "CD400", "Blank"])
    >>> panel[["status", "marker", "suggestions"]].values.tolist()[:4]
    [['exact', 'DAPI', ''], ['exact', 'CD8', ''], ['exact', 'CD20', ''], ['ambiguous', '', 'PDGFRA; PDGFRB']]
    >>> panel.summary
    '6 channels: 3 exact, 1 ambiguous, 1 unknown, 1 ignored'
    >>> panel = sfm.pp.match_markers(["R6.0.4_CY7_KI67", "MHC-II", "goat_anti_rabbit"], species="mouse")
    >>> panel[["marker", "gene", "uniprot", "via", "stripped"]].values.tolist()[0]
    ['Ki-67', 'Mki67', 'E9PVX6', 'name', 'R6.0.4; CY7']
    >>> panel["via"].tolist()[1:]
    ['name in the mouse', 'secondary antibody']
    >>> sfm.pp.match_markers(["HOECHST1", "Keratin"], mapping={"HOECHST1": "DAPI"})["marker"].tolist()
    ['DAPI', 'pan-Cytokeratin']
    """
    channels = _checked_channels(channel_names)
    targets = _checked_mapping(mapping, channels, species)
    left_out = _checked_ignore(ignore, channels)
    numbered = _numbered(channels)
    matches = []
    for channel in channels:
        if channel in targets:
            target = targets[channel]
            matches.append(Match("alias", target, via="mapping") if target else Match("ignored", via="mapping"))
        elif channel in left_out:
            matches.append(Match("ignored", via="ignore"))
        elif channel in numbered:
            matches.append(Match("unknown", via=_NUMBER))
        else:
            match = match_name(channel, species)
            number = match.status == "unknown" and _ONLY_A_NUMBER.fullmatch(channel.strip())
            matches.append(Match("unknown", via=_NUMBER) if number else match)
    return _as_table(channels, matches, species)


def known_as(names: Sequence[str]) -> dict[str, str]:
    """The marker that each column is known to be; itself where it is not known."""
    if not names:
        return {}
    table = match_markers(list(names))
    known = zip(names, table["marker"], table["status"], strict=True)
    return {name: str(marker) if status in ("exact", "alias") else name for name, marker, status in known}


def nuisance_channels(matched: pd.DataFrame) -> dict[str, str]:
    """Channels without a marker in a table of `match_markers`, and why: blanks, autofluorescence, dyes, numbers.

    A dye or a number is all that is known of some channels in panels where no channel has a protein's name (beside a
    stain of DNA, at most); there, they are the markers.

    Examples
    --------
    >>> nuisance_channels(match_markers(["DAPI", "CD3", "AF", "Cy5"]))
    {'AF': 'autofluorescence', 'Cy5': 'a dye'}
    >>> nuisance_channels(match_markers(["Channel 1", "Channel 2", "Blank"]))
    {'Blank': 'blank channel'}
    >>> nuisance_channels(match_markers(["DAPI", "FITC", "Cy3", "Cy5"]))
    {}
    """
    named = (matched["gene"] != "").any()  # stains of DNA have none
    reasons = {}
    for channel, status, via in zip(matched["channel"], matched["status"], matched["via"], strict=True):
        if status == "ignored" and via not in ("mapping", "ignore"):
            reasons[channel] = via
        elif named and status in ("unknown", "ambiguous") and via.startswith(_NO_NAME):
            reasons[channel] = via.partition(":")[0]
    return reasons


def _numbered(channels: list[str]) -> set[str]:
    """Names that only count channels, ``c1, c2, c3``: c3 is then not complement C3."""
    counted: dict[str, dict[int, str]] = {}
    for channel in channels:
        if number := re.fullmatch(r"([A-Za-z])[-_ ]?(\d{1,2})", channel.strip()):
            counted.setdefault(number[1], {})[int(number[2])] = channel
    runs = [
        names
        for names in counted.values()
        if len(names) > 1 and min(names) <= 1 and max(names) - min(names) < len(names)
    ]
    return {name for names in runs for name in names.values()}


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
    if doubled := sorted(repeated_names(names)):
        raise PanelError(
            f"Channel {doubled[0]!r} is there {names.count(doubled[0])} times"
            + (f" ({len(doubled)} names are doubled)" if len(doubled) > 1 else "")
            + ". Give every channel its own name, e.g. sfm.io.read_tiff(..., channel_names=[...])."
        )
    return names


def _checked_mapping(
    mapping: Mapping[str, str | None] | None, channels: list[str], species: Species
) -> dict[str, str | None]:
    targets: dict[str, str | None] = {}
    known = set(channels)
    for channel, target in (mapping or {}).items():
        if channel not in known:
            raise PanelError(
                f"mapping= names channel {channel!r}, which is not there. Channels: {listed(channels, 12)}. "
                "Correct mapping=, or leave this entry out."
            )
        if target is None:
            targets[channel] = None
            continue
        match = match_name(target, species) if isinstance(target, str) else Match("unknown")
        if match.status not in ("exact", "alias"):
            near = f" Perhaps {' or '.join(match.suggestions)}?" if match.suggestions else ""
            raise PanelError(
                f"mapping= sends channel {channel!r} to {target!r}, which is {match.status} in the table of markers."
                f"{near} See sfm.pp.marker_table(), or map it to None to leave the channel out."
            )
        targets[channel] = match.marker
    return targets


def _checked_ignore(ignore: str | Iterable[str] | None, channels: list[str]) -> set[str]:
    left_out: set[str] = set()
    for pattern in [ignore] if isinstance(ignore, str) else list(ignore or []):
        hits = [
            name for name in channels if name == pattern or fnmatch.fnmatchcase(name.casefold(), pattern.casefold())
        ]
        if not hits:
            raise PanelError(
                f"ignore= names {pattern!r}, but no channel has that name. Channels: {listed(channels, 12)}."
            )
        left_out.update(hits)
    return left_out


def _as_table(channels: list[str], matches: list[Match], species: Species) -> PanelTable:
    first: dict[str, str] = {}
    records = []
    for channel, match in zip(channels, matches, strict=True):
        row = facts_of(match.marker, species) if match.marker else {}
        duplicate_of = first.get(match.marker, "") if match.marker else ""
        if match.marker:
            first.setdefault(match.marker, channel)
        facts = [row.get(name, "") for name in FACTS]
        notes = (duplicate_of, "; ".join(match.suggestions), match.via, "; ".join(match.stripped))
        records.append((channel, match.status, match.marker, *facts, *notes))
    return PanelTable(records, columns=list(COLUMNS))
