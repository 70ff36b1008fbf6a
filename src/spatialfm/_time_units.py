"""Units of times: what a column's name states, and values that cannot be in it."""

from __future__ import annotations

import numpy as np

from ._errors import counted, warn
from ._spelling import words_in

LONGEST = 60.0  # years: no follow-up lasts longer, and two years in days are more months
FEWEST, TIMES_AS_LONG = 5, 10.0  # rows with and without event, and how much longer events take, in two units
_PER_YEAR = {"day": 365.25, "week": 52.18, "month": 12.0, "year": 1.0}


def unit_in(key: object) -> str:
    """Unit of time that a column's name states; empty where it states none, or several.

    Examples
    --------
    >>> unit_in("OS_months"), unit_in("daysToEntry"), unit_in("time"), unit_in("months_or_days")
    ('month', 'day', '', '')
    """
    words = words_in(key)
    units = [unit for unit in _PER_YEAR if words & {unit, f"{unit}s"}]
    return units[0] if len(units) == 1 else ""


def tell_long(values: np.ndarray, key: str, argument: str) -> None:
    """Warn of times that cannot be in the unit that the column is named by, such as days among months."""
    unit = unit_in(key)
    if not unit or "age" in words_in(key) or not values.size:
        return
    longest = values.max() / _PER_YEAR[unit]
    if longest > LONGEST:
        n = int((values / _PER_YEAR[unit] > LONGEST).sum())
        warn(
            f"obs[{key!r}] ({argument}=) reads as {unit}s by its name and goes to {values.max():,.0f}, which would "
            f"be {longest:,.0f} years; {counted(n, 'row is', 'rows are')} above {LONGEST:g} years. If some are in "
            "another unit, bring all to one: curves and hazard ratios take them as they are."
        )


def tell_two_units(time: np.ndarray, event: np.ndarray, key: str) -> None:
    """Warn where events take so much longer than follow-up without one that both can hardly be in one unit.

    Tables have days to the event in one column and months of follow-up in another, which are then made one. The other
    way round nothing can be told: many die in the first weeks of a follow-up of years.

    Parameters
    ----------
    time, event
        ``(n,)``, of the same rows.
    key
        Column of the times.

    Warns
    -----
    SpatialfmWarning
        If the median of five events or more is ten times that of five rows or more without.
    """
    event = np.asarray(event, bool)
    if min(event.sum(), (~event).sum()) < FEWEST:
        return
    with_event, without = float(np.median(time[event])), float(np.median(time[~event]))
    if with_event > TIMES_AS_LONG * without:
        warn(
            f"obs[{key!r}] (time_key=): half of the events come after {with_event:,.4g}, and half of the rows without "
            f"an event are followed for less than {without:,.4g}. Are events in days and the others in months? "
            "Bring all to one unit; no number of survival holds across two."
        )


def tell_other_unit(time_unit: str | None, time_key: str, longest: float) -> None:
    """Warn of a unit that a figure is to show, where the times that are drawn cannot be in it.

    Warns
    -----
    SpatialfmWarning
        If the column's name states another unit, or the longest time would be longer than a life.
    """
    shown, stated = unit_in(time_unit or ""), unit_in(time_key)
    if not shown:
        return
    years = longest / _PER_YEAR[shown]
    why = ""
    if stated and stated != shown:
        why = f"the times are those of column {time_key!r}, which reads as {stated}s by its name"
    elif years > LONGEST and "age" not in words_in(time_key):
        why = f"times go to {longest:,.0f}, which would be {years:,.0f} years"
    if why:
        warn(
            f"time_unit={time_unit!r} names the unit and converts nothing, and {why}. Pass the unit of the column, or "
            "convert the column and compute what is drawn again."
        )
