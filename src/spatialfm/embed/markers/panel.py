"""From channel names to the markers that a model is given: which channels, which ids, which statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..._errors import PanelError, counted, listed, warn
from ...pp.panel import match_markers, normalize_marker_name, nuisance_channels

if TYPE_CHECKING:
    from ...models.encoder import Encoder, MarkerEntry

OnUnknown = Literal["raise", "keep", "drop"]
Nuisance = Literal["drop", "keep"]


@dataclass(frozen=True)
class ResolvedPanel:
    """The markers that all samples share, in the order of the first one.

    Attributes
    ----------
    markers
        Canonical names; a channel that is kept without being known goes by its own name.
    channels
        For each sample, the index of the channel of each marker.
    names
        For each sample, the name of that channel.
    dropped
        Channel and reason for everything that is left out.
    """

    markers: tuple[str, ...]
    channels: tuple[tuple[int, ...], ...]
    names: tuple[tuple[str, ...], ...]
    dropped: dict[str, str]

    def without(self, reasons: Mapping[str, str]) -> ResolvedPanel:
        """The panel less some markers, each with its reason."""
        places = [place for place, name in enumerate(self.markers) if name not in reasons]
        if not places:
            listed = "; ".join(f"{name} ({why})" for name, why in list(reasons.items())[:8])
            raise PanelError(f"No marker is left: {listed}.")
        gone = {
            names[place]: reasons[self.markers[place]]
            for names in self.names
            for place in range(len(names))
            if place not in places
        }
        return ResolvedPanel(
            tuple(self.markers[place] for place in places),
            tuple(tuple(indices[place] for place in places) for indices in self.channels),
            tuple(tuple(names[place] for place in places) for names in self.names),
            {**self.dropped, **gone},
        )


def resolve_panel(
    panels: Sequence[Sequence[str]],
    *,
    markers: Sequence[str] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    on_unknown: OnUnknown = "raise",
    nuisance: Nuisance = "drop",
) -> ResolvedPanel:
    """Choose one channel per marker in every sample.

    Parameters
    ----------
    panels
        Channel names of each sample.
    markers
        Markers or channel names to use (default: all).
    mapping
        Channel → marker (or None to leave it out), for names that the table does not know.
    on_unknown
        What becomes of channels that are unknown or ambiguous.
    nuisance
        What becomes of channels without a marker (`spatialfm.pp.panel.nuisance_channels`) that neither `markers` nor
        `mapping` names: left out, with one warning, or kept by their own names.

    Raises
    ------
    PanelError
        If channels are unknown and `on_unknown` is ``"raise"``, a marker asked for is absent, or none is left.
    """
    mapping = dict(mapping or {})
    everywhere = {name for panel in panels for name in panel}
    if absent := [name for name in mapping if name not in everywhere]:
        raise PanelError(f"mapping= names channel {absent[0]!r}, which no image has. Channels: {_listed(everywhere)}.")
    dropped: dict[str, str] = {}
    unresolved: dict[str, str] = {}
    asked = set(everywhere if nuisance == "keep" else everywhere.intersection(markers or ()))
    left_out: dict[str, str] = {}
    resolved = [
        _resolve_one(tuple(panel), mapping, on_unknown, dropped, unresolved, left_out, asked) for panel in panels
    ]
    _say_nuisance(left_out)
    wanted = None if markers is None else _wanted(markers, resolved, panels)
    if on_unknown == "raise":
        _refuse({name: why for name, why in unresolved.items() if wanted is None or name in wanted})
    shared = [name for name in resolved[0] if all(name in other for other in resolved)]
    for other, panel in zip(resolved, panels, strict=True):
        for name, index in other.items():
            if name not in shared:
                dropped[panel[index]] = "not measured in every sample"
            elif wanted is not None and name not in wanted:
                dropped[panel[index]] = "not among markers="
    _say_left_out(resolved, shared, wanted)
    used = shared if wanted is None else [name for name in wanted if name in shared]
    if wanted is not None and len(used) < len(wanted):
        missing = [name for name in wanted if name not in shared]
        raise PanelError(f"Marker {missing[0]!r} is not measured in every sample. Correct markers= or samples=.")
    if not used:
        raise PanelError(
            f"No marker is left of channels {_listed(everywhere)}. See sfm.pp.match_markers(channels) and pass "
            "mapping=."
        )
    return ResolvedPanel(
        tuple(used),
        tuple(tuple(other[name] for name in used) for other in resolved),
        tuple(tuple(panel[other[name]] for name in used) for other, panel in zip(resolved, panels, strict=True)),
        dropped,
    )


def _say_left_out(resolved: list[dict[str, int]], shared: Sequence[str], wanted: Sequence[str] | None) -> None:
    """A warning, and the record, name the markers that some samples lack."""
    if wanted is not None:
        return
    every = dict.fromkeys(name for other in resolved for name in other)
    lacking = [
        f"{name} (in {sum(name in other for other in resolved)} of {len(resolved)})"
        for name in every
        if name not in shared
    ]
    if lacking and shared:
        warn(
            f"{len(lacking)} of {counted(len(every), 'marker')} {'is' if len(lacking) == 1 else 'are'} not measured "
            f"in every sample and left out: {listed(lacking, 10, quoted=False)}. If two of them are one, pass "
            "mapping= with the marker of each channel; samples= embeds the samples of a panel apart."
        )


def _say_nuisance(left_out: Mapping[str, str]) -> None:
    """One warning of all channels that are left out because they hold no marker."""
    if not left_out:
        return
    by_reason: dict[str, list[str]] = {}
    for channel, why in left_out.items():
        by_reason.setdefault(why, []).append(channel)
    named = "; ".join(f"{listed(channels, 10)} ({why})" for why, channels in by_reason.items())
    n = len(left_out)
    one, many = "1 channel holds no marker by its name and is", f"{n} channels hold no marker by their names and are"
    warn(
        f"{one if n == 1 else many} left out: {named}. "
        f'If one holds a marker, pass mapping={{"{next(iter(left_out))}": "<marker>"}}; to use them all by their own '
        'names, nuisance="keep". The cell table keeps them.'
    )


def _resolve_one(
    panel: tuple[str, ...],
    mapping: Mapping[str, str | None],
    on_unknown: OnUnknown,
    dropped: dict[str, str],
    unresolved: dict[str, str],
    left_out: dict[str, str],
    asked: set[str],
) -> dict[str, int]:
    """Marker → channel of one panel; what is left out or not resolved goes into the dictionaries.

    `asked`: channels that are used by their own names even if they hold no marker.
    """
    table = match_markers(list(panel), mapping={name: to for name, to in mapping.items() if name in panel})
    nuisance = nuisance_channels(table)
    chosen: dict[str, int] = {}
    for index, row in enumerate(table.itertuples()):
        if row.channel in nuisance and row.channel not in asked:
            left_out[row.channel] = nuisance[row.channel]
            dropped[row.channel] = f"ignored: {nuisance[row.channel]}"
            continue
        if row.status == "ignored" and row.channel not in nuisance:
            dropped[row.channel] = f"ignored: {row.via}"
            continue
        known = row.status in ("exact", "alias")
        if not known and row.channel not in nuisance:
            if on_unknown == "drop":
                dropped[row.channel] = row.status
                continue
            unresolved[row.channel] = f"{row.status}; perhaps {row.suggestions}" if row.suggestions else row.status
        name = row.marker if known else row.channel
        if name in chosen:
            dropped[row.channel] = f"same marker as channel {panel[chosen[name]]}"
        else:
            chosen[name] = index
    return chosen


def _refuse(unresolved: Mapping[str, str]) -> None:
    if not unresolved:
        return
    lines = "; ".join(f"{name!r} ({why})" for name, why in list(unresolved.items())[:10])
    raise PanelError(
        f"{counted(len(unresolved), 'channel is', 'channels are')} not resolved to a marker: {lines}. Pass "
        f'mapping={{"{next(iter(unresolved))}": "<marker>"}} (None leaves it out), or on_unknown="keep" to use them as '
        'markers that the model has never seen, or on_unknown="drop".'
    )


def _wanted(markers: Sequence[str], resolved: list[dict[str, int]], panels: Sequence[Sequence[str]]) -> list[str]:
    if isinstance(markers, str):
        raise PanelError(f"markers= takes a list of markers, not the string {markers!r}.")
    by_channel = {
        panel[index]: name for other, panel in zip(resolved, panels, strict=True) for name, index in other.items()
    }
    wanted = []
    for asked in markers:
        name = asked if asked in resolved[0] else by_channel.get(asked)
        if name is None:
            row = match_markers([asked]).iloc[0]
            name = row["marker"] if row["status"] in ("exact", "alias") else None
        if name is None or not any(name in other for other in resolved):
            raise PanelError(f"No marker {asked!r} in the images. Markers: {_listed(resolved[0])}. Correct markers=.")
        if name in wanted:
            raise PanelError(f"Marker {name!r} is asked for twice in markers=.")
        wanted.append(name)
    return wanted


def vocabulary_of(encoder: Encoder, markers: Sequence[str]) -> dict[str, MarkerEntry]:
    """The entry of the model's vocabulary for each marker that it has."""
    if not encoder.vocabulary:
        return {}
    names = [entry.name for entry in encoder.vocabulary]
    table = match_markers(names)
    entries: dict[str, MarkerEntry] = {}
    for preferred in (True, False):  # entries whose own name is the marker go before aliases of it
        for entry, row in zip(encoder.vocabulary, table.itertuples(), strict=True):
            if (row.status == "exact") == preferred:
                marker = row.marker if row.status in ("exact", "alias") else entry.name
                entries.setdefault(normalize_marker_name(marker), entry)
    entry_of = {marker: entries.get(normalize_marker_name(marker)) for marker in markers}
    return {marker: entry for marker, entry in entry_of.items() if entry is not None}


def assign_ids(markers: Sequence[str], known: Mapping[str, int], taken: Iterable[int], n_ids: int) -> dict[str, int]:
    """Ids of all markers: the model's own, and for those it lacks one that it does not use.

    The free id depends on the marker's name, so that the same marker takes the same id in another panel (unless two
    names meet on one id, when the next free one serves).

    Examples
    --------
    >>> assign_ids(["CD3", "new"], {"CD3": 7}, [7], 9)["CD3"]
    7
    """
    free = [number for number in range(n_ids) if number not in set(taken)]
    ids = dict(known)
    unknown = sorted(marker for marker in markers if marker not in known)
    if len(unknown) > len(free):
        raise PanelError(
            f"{counted(len(unknown), 'marker')} without id, and {counted(len(free), 'id is', 'ids are')} free. Pass "
            "fewer markers=."
        )
    used: set[int] = set()
    for marker in unknown:
        place = int.from_bytes(hashlib.sha256(marker.encode()).digest()[:8], "big") % len(free)
        while free[place] in used:
            place = (place + 1) % len(free)
        used.add(free[place])
        ids[marker] = free[place]
    return {marker: ids[marker] for marker in markers}


def marker_ids(encoder: Encoder, markers: Sequence[str], entries: Mapping[str, MarkerEntry]) -> dict[str, int]:
    """Ids for an encoder that takes markers by id, with a warning that names those it has never seen."""
    known = {marker: entry.id for marker, entry in entries.items()}
    without = [marker for marker in markers if marker not in known]
    if without:
        reason = "no marker_metadata.csv was found next to the weights" if not encoder.vocabulary else "not in its list"
        warn(
            f"{encoder.card.name} has no id for {len(without)} of {counted(len(markers), 'marker')} ({reason}): "
            f"{', '.join(without)}. "
            "They take ids that the model does not use: it treats them as markers that it has never seen."
        )
    return assign_ids(markers, known, (entry.id for entry in encoder.vocabulary), encoder.n_marker_ids)


def _listed(names: Iterable[str]) -> str:
    return listed(sorted(map(str, names)), 20, quoted=False)
