"""The whole page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from spatialfm.reporting.elements import Section, tag
from spatialfm.reporting.page import page


class Read(HTMLParser):
    """Elements, and ids and links to them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.metas = [], [], [], []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        """Opened."""
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if name == "a" else []
        self.metas += [given] if name == "meta" else []
        if name not in ("meta", "link"):
            self.open.append(name)

    def handle_endtag(self, name):
        """Closed."""
        assert self.open.pop() == name


@pytest.fixture
def text():
    sections = [Section("cells", "Cells & <more>", [tag("p", "a < b")]), Section("methods", "Methods", [])]
    return page("A <b>title</b>", "Of 3 cells.", sections, "2026-01-02")


def test_every_link_leads_to_its_part_and_all_is_closed(text):
    read = Read(text)
    assert read.open == []
    assert sorted(set(read.ids)) == sorted(read.ids) == ["cells", "content", "contents", "methods"]
    assert read.links == ["#content", "#cells", "#methods", "#cells", "#methods"]


def test_titles_are_text(text):
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in text
    assert "Cells &amp; &lt;more&gt;" in text
    assert "<p>a &lt; b</p>" in text


def test_whoever_opens_the_page_fetches_nothing(text):
    (policy,) = [one["content"] for one in Read(text).metas if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert '<time datetime="2026-01-02">2026-01-02</time>' in text
