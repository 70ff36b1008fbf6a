"""One marker in two columns, or by two names in two tables: what is predicted is not to be read off itself."""

from __future__ import annotations

from collections.abc import Sequence

from ..._errors import PanelError, warn
from ...pp.panel import known_as


def check_one_name(names: Sequence[str], markers: Sequence[str]) -> None:
    """Refuse to predict a marker that another column holds by another name.

    Raises
    ------
    PanelError
        Names both: the one would be read off the other.
    """
    known = known_as(names)
    for marker in markers:
        if same := [name for name in names if name != marker and known[name] == known.get(marker, marker)]:
            raise PanelError(
                f"{marker!r} and {same[0]!r} of the table are one marker, {known[same[0]]!r}, so that {marker!r} would "
                f"be read off {same[0]!r}. Put them into one column, or leave {same[0]!r} out."
            )


def say_spelled_otherwise(own: Sequence[str], known: Sequence[str]) -> None:
    """Markers that both tables have, and name differently, are not seen."""
    ones, others = (known_as([name for name in a if name not in b]) for a, b in ((own, known), (known, own)))
    there = {marker: name for name, marker in others.items()}
    if pairs := [f"{name!r} is {there[marker]!r}" for name, marker in ones.items() if marker in there]:
        warn(
            f"Markers that source= names otherwise are not used as inputs: {', '.join(pairs[:6])}. Name them alike to "
            "use them."
        )
