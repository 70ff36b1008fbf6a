"""The whole page: head, table of contents, sections, and the style that paper and dark screens need."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from .._version import __version__
from .elements import Html, Section, joined, tag

# nothing is fetched, by whoever opens the page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, lead: str, sections: Sequence[Section], written: str) -> str:
    """HTML of a report.

    Parameters
    ----------
    lead
        What the report is of, in one sentence.
    written
        Day on which it was written.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="generator", content=f"spatialfm {__version__}"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", style()),
    )
    contents = tag(
        "nav",
        tag("h2", "Contents", id="contents"),
        tag("ol", *(tag("li", tag("a", one.title, href=f"#{one.key}")) for one in sections)),
        aria_labelledby="contents",
    )
    header = tag(
        "header",
        tag("h1", title),
        tag("p", lead, class_="lead"),
        tag("p", f"Written with spatialfm {__version__} on ", tag("time", written, datetime=written), ".", class_="by"),
    )
    main = tag("main", *(_section(one) for one in sections), id="content")
    skip = tag("a", "To the content", href="#content", class_="skip")
    body = tag("body", skip, header, contents, main)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def style() -> Html:
    """The style sheet, which is text of ours."""
    return Html(files(__package__).joinpath("style.css").read_text(encoding="utf-8"))


def _section(one: Section) -> Html:
    return tag(
        "section",
        tag("h2", tag("a", one.title, href=f"#{one.key}", class_="anchor"), id=one.key),
        joined(one.body),
        aria_labelledby=one.key,
    )
