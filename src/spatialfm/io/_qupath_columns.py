"""How QuPath names its measurements, across its versions and the plugins that write some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .._errors import TableError, listed

COMPARTMENTS = ("cell", "nucleus", "cytoplasm", "membrane")
_STATISTICS = ("mean", "median", "min", "max", "sum", "std dev", "std.dev.", "std.dev", "variance", "range")
_MICRO = re.compile(r"Â?µ|μ|\\u00b5")


@dataclass(frozen=True)
class Intensity:
    """What a measurement of intensity is of; `compartment` is empty where the name has none."""

    marker: str
    compartment: str
    statistic: str


def plain(name: str) -> str:
    """A name with one kind of µ, as whichever encoding left it.

    Examples
    --------
    >>> plain("Centroid X Âµm") == plain("Centroid X μm") == "Centroid X µm"
    True
    """
    return _MICRO.sub("µ", name)


def intensity(name: str) -> Intensity | None:
    """Marker, compartment and statistic of a measurement; None where it is another kind.

    Examples
    --------
    >>> intensity("Cell: CD3 mean")
    Intensity(marker='CD3', compartment='cell', statistic='mean')
    >>> intensity("CD3: Nucleus: Median")
    Intensity(marker='CD3', compartment='nucleus', statistic='median')
    >>> intensity("CD3: Mean")
    Intensity(marker='CD3', compartment='', statistic='mean')
    >>> intensity("Nucleus: Area µm^2") is None
    True
    """
    parts = [part.strip() for part in name.split(": ")]
    if len(parts) == 2 and parts[0].lower() in COMPARTMENTS:
        statistic = next((s for s in _STATISTICS if parts[1].lower().endswith(" " + s)), None)
        return statistic and Intensity(parts[1][: -len(statistic) - 1], parts[0].lower(), _one_word(statistic))
    if len(parts) not in (2, 3) or parts[-1].lower() not in _STATISTICS:
        return None
    rest = parts[:-1]
    places = [part.lower() for part in rest if part.lower() in COMPARTMENTS]
    markers = [part for part in rest if part.lower() not in COMPARTMENTS]
    if len(markers) != 1 or len(places) > 1:
        return None
    return Intensity(markers[0], places[0] if places else "", _one_word(parts[-1].lower()))


def chosen_intensities(names: Iterable[str], compartment: str | None, statistic: str, source: str) -> dict[str, str]:
    """Column of each marker.

    Parameters
    ----------
    compartment
        Which part of a cell. Default: the cell where it was measured, otherwise the only one.

    Raises
    ------
    TableError
        If there are intensities, but not of this compartment and statistic, or the compartment has to be said.
    """
    intensities = {name: kind for name in names if (kind := intensity(plain(name))) is not None}
    ours = {name: kind for name, kind in intensities.items() if kind.statistic == statistic.lower()}
    there = list(dict.fromkeys(kind.compartment for kind in ours.values()))
    if not intensities:
        return {}
    if compartment is None:
        compartment = "cell" if "cell" in there else there[0] if len(there) == 1 else None
    if compartment is None or compartment.lower() not in there:
        have = listed(
            dict.fromkeys(f"{k.compartment or 'no compartment'}, {k.statistic}" for k in intensities.values())
        )
        raise TableError(
            f"{source[0].upper()}{source[1:]} has no {statistic} of the {compartment or 'cell'}; intensities are of "
            f"{have}. Pass compartment= and statistic=."
        )
    chosen: dict[str, str] = {}
    for name, kind in ours.items():
        if kind.compartment == compartment.lower():
            chosen.setdefault(kind.marker, name)
    return chosen


def _one_word(statistic: str) -> str:
    return "std dev" if statistic.startswith("std") else statistic
