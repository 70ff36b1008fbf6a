"""Parts of the page: what is escaped, what a table has for a screen reader, how numbers are written."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from spatialfm.reporting.elements import MOST_ROWS, Html, cell, digits, facts, is_p, joined, note, p_value, table, tag

EVIL = "<script>alert('1')</script>&\"'"
ESCAPED = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;&quot;&#x27;"


@pytest.mark.parametrize(
    "made",
    [
        tag("p", EVIL),
        tag("img", alt=EVIL),
        note(EVIL),
        joined([EVIL]),
        facts({"name": EVIL}),
        cell(EVIL),
        table(pd.DataFrame({"a": [EVIL]}), "caption"),
        table(pd.DataFrame({EVIL: [1]}), "caption"),
        table(pd.DataFrame({"a": [1]}, index=[EVIL]), "caption"),
        table(pd.DataFrame({"a": [1]}), EVIL),
        table(pd.DataFrame({"a": [EVIL]}), "caption", index=None),
    ],
)
def test_text_of_a_user_is_escaped_wherever_it_stands(made):
    assert "<script" not in made
    assert ESCAPED in made


def test_html_is_not_escaped_twice():
    assert tag("p", tag("em", "a<b")) == "<p><em>a&lt;b</em></p>"
    assert cell(Html("<b>x</b>")) == "<b>x</b>"


def test_characters_that_no_page_may_hold_are_replaced():
    assert tag("p", "a\x00b\x1bc\ud800") == "<p>a\ufffdb\ufffdc\ufffd</p>"
    assert tag("p", "a\tb\nc µ 細胞") == "<p>a\tb\nc µ 細胞</p>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1234567, "1,234,567"), (0.5, "0.500"), (12.3456, "12.3"), (123.456, "123"), (99999.4, "99,999"),
        (1.0, "1"), (0.00012345, "1.23e-04"), (-0.25, "-0.250"), (math.nan, "–"), (math.inf, "∞"), (-math.inf, "−∞"),
        (1234567.5, "1.23e+06"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert digits(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0004, "&lt; 0.001"), (0.0123, "0.012"), (0.234, "0.23"), (1.0, "1.00")])
def test_p_values_are_written_as_in_papers_with_all_digits_behind(value, text):
    assert p_value(value) == f'<data value="{value!r}">{text}</data>'
    assert p_value(math.nan) == "–"


def test_every_digit_of_a_number_is_in_the_page():
    values = np.random.default_rng(0).normal(size=50) * 10.0 ** np.random.default_rng(1).integers(-6, 6, 50)
    page = table(pd.DataFrame({"x": values}), "numbers")
    assert [float(one) for one in re.findall(r'<td class="number"><data value="([^"]+)">', page)] == values.tolist()


def test_what_is_missing_is_a_dash_and_truth_is_a_word():
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [None, "x"], "c": [True, False]})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table(frame, "caption"))
    assert cells == ['<data value="1">1</data>', "–", "yes", "–", "x", "no"]


def test_a_table_says_what_heads_its_rows_and_columns():
    frame = pd.DataFrame({"p_value": [0.04], "name": ["b"]}, index=pd.Index(["r"], name="row"))
    page = table(frame, "A caption.")
    assert "<caption>A caption.</caption>" in page
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page) == ["row", "p value", "name"]
    assert re.findall(r'<th scope="row">(.*?)</th>', page) == ["r"]
    assert '<data value="0.04">0.040</data>' in page
    assert re.findall(r'<th scope="row">(.*?)</th>', table(frame[["name"]], "c", index=None)) == ["b"]


def test_a_long_table_says_how_many_rows_it_leaves_out():
    page = table(pd.DataFrame({"a": range(MOST_ROWS + 7)}), "Caption.")
    assert page.count("<tr>") == MOST_ROWS + 1
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 7} rows." in page
    assert "The first" not in table(pd.DataFrame({"a": range(MOST_ROWS)}), "Caption.")


def test_a_class_that_is_called_like_a_p_value_is_none():
    assert not is_p("p_responder")
    assert not is_p("patients")
    assert not is_p("q50")
    assert is_p("q_value")
    assert is_p("naive_p_value")
    assert is_p("p_patients")
