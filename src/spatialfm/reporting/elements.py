"""Parts of an HTML page as text. All that comes from a user is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd

MOST_ROWS = 200  # rows of a table that are shown; the page says how many there are
LONG = 44  # characters of a value that takes a line of its own
_P_COLUMNS = {  # besides those that end in p_value; a class called "p_..." is a probability
    *("q_value", "p_adjusted", "p_holm", "q_together", "p_max", "p_ranks", "p_means", "p_reference", "q_reference"),
    *("p_cells", "q_cells", "p_patients", "q_patients", "p_two_sided", "p_t_test"),
    *("p_value_chi_squared", "p_value_unadjusted"),
}
_NO_END = ("img", "meta", "link", "br")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # which HTML does not allow


class Html(str):
    """Text that is HTML already."""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading that can be linked to."""

    key: str
    title: str
    body: list[Html] = field(default_factory=list)


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element; text in it and in its attributes is escaped, HTML is not. ``class_`` is ``class``.

    Examples
    --------
    >>> tag("p", "a < b ", tag("em", "c"), class_="note")
    '<p class="note">a &lt; b <em>c</em></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(clean(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _NO_END:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(content)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Parts one after the other; what is not HTML is escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(clean(part)) for part in parts))


def clean(value: object) -> str:
    """Text without the characters that no HTML page may hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))


def note(*text: object, kind: str = "note") -> Html:
    """A remark in a box: ``"note"``, ``"caution"``, or ``"absent"`` for what is not there."""
    return tag("p", *text, class_=kind)


def items(lines: Iterable[object]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", line) for line in lines))


def facts(pairs: Mapping[str, object]) -> Html:
    """Names and values, one pair per line; empty values are left out."""
    shown = {name: value for name, value in pairs.items() if value is not None and str(value) != ""}
    pairs = {name: cell(value) for name, value in shown.items()}
    rows = [
        tag("div", tag("dt", name), tag("dd", text), class_="long" if len(str(shown[name])) > LONG else None)
        for name, text in pairs.items()
    ]
    return tag("dl", *rows)


def number(value: float | int | np.number) -> Html:
    """A number as it is read, with all of its digits in ``value``.

    Examples
    --------
    >>> number(0.0123456), number(3)
    ('<data value="0.0123456">0.0123</data>', '<data value="3">3</data>')
    """
    value = value.item() if isinstance(value, np.generic) else value
    return tag("data", digits(value), value=repr(value))


def digits(value: float | int) -> str:
    """Three significant digits of what is not whole; thousands of what is."""
    if isinstance(value, int):
        return f"{value:,}"
    if not np.isfinite(value):
        return "\N{EN DASH}" if np.isnan(value) else "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e5:
        places = max(0, 2 - int(np.floor(np.log10(abs(value)))))
        return f"{value:,.{places}f}"
    return f"{value:.2e}"


def p_value(value: float) -> Html:
    """A p-value as papers have it, with all of its digits in ``value``."""
    value = float(value)
    if np.isnan(value):
        return Html("\N{EN DASH}")
    text = "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
    return tag("data", text, value=repr(value))


def cell(value: object, name: str = "") -> Html:
    """Content of a cell of a table, by its kind; `name` is that of its column."""
    if isinstance(value, Html):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return Html("\N{EN DASH}")
    if isinstance(value, bool | np.bool_):
        return Html("yes" if value else "no")
    if isinstance(value, int | float | np.integer | np.floating):
        return p_value(float(value)) if is_p(name) else number(value)
    return joined([value])


def is_p(name: str) -> bool:
    """Whether a column holds p-values or corrected ones, by its name.

    Examples
    --------
    >>> [is_p(name) for name in ("p_value", "ph_p_value", "q_reference", "p_max", "p_CD8")]
    [True, True, True, True, False]
    """
    return name.endswith("p_value") or name in _P_COLUMNS


def table(
    frame: pd.DataFrame, caption: str, *, index: str | None = "", show: Mapping[str, Callable] | None = None
) -> Html:
    """A table with a caption; the first column, or the index, heads its rows.

    Parameters
    ----------
    index
        Name of the index above it; None leaves the index out.
    show
        What makes the content of a column's cells.
    """
    shown = frame.iloc[:MOST_ROWS]
    names = [str(name) for name in frame.columns]
    makers = [(show or {}).get(name, lambda value, name=name: cell(value, name)) for name in names]
    kinds = [_kind(shown.iloc[:, i]) for i in range(len(names))]
    head = [] if index is None else [tag("th", index or (shown.index.name or ""), scope="col")]
    head += [tag("th", _heading(name), scope="col", class_=kind) for name, kind in zip(names, kinds, strict=True)]
    columns = [shown.iloc[:, i].tolist() for i in range(len(names))]
    rows = []
    for place, label in enumerate(shown.index):
        cells = [
            tag("td", make(column[place]), class_=kind)
            for make, column, kind in zip(makers, columns, kinds, strict=True)
        ]
        if index is None and cells:
            cells[0] = tag("th", makers[0](columns[0][place]), scope="row")
        elif index is not None:
            cells.insert(0, tag("th", cell(label), scope="row"))
        rows.append(tag("tr", *cells))
    left_out = len(frame) - len(shown)
    full = caption + (f" The first {len(shown):,} of {len(frame):,} rows." if left_out > 0 else "")
    return tag(
        "div",
        tag("table", tag("caption", full), tag("thead", tag("tr", *head)), tag("tbody", *rows)),
        class_="wide", role="region", aria_label=caption, tabindex="0",
    )  # fmt: skip


def _heading(name: str) -> str:
    """A column as a reader calls it: ``ci_low`` becomes ``ci low``."""
    return name.replace("_", " ")


def _kind(column: pd.Series) -> str | None:
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return "number"
    return "prose" if column.astype(str).str.len().max() > LONG else None
