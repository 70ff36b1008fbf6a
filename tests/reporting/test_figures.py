"""Figures inside of the page."""

from __future__ import annotations

import base64
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm.reporting import figures
from spatialfm.reporting.figures import SCALE, drawn, encoded, heatmap


@pytest.fixture(autouse=True)
def _closed():
    plt.close("all")
    yield
    assert not plt.get_fignums(), "a figure stayed open"


def curve():
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, 1], [1, 0])
    return figure


def test_curves_are_drawings_of_their_size_and_pictures_are_pixels():
    made = drawn(curve, alt="a & b", caption="A <caption>.")
    assert made.startswith('<figure><img src="data:image/svg+xml;base64,')
    assert 'alt="a &amp; b"' in made
    assert "<figcaption>A &lt;caption&gt;.</figcaption>" in made
    svg = base64.b64decode(re.search(r"base64,([^\"]+)", made)[1]).decode()
    assert "<text" not in svg  # no font of the reader's machine is needed
    points = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    assert int(re.search(r'alt="[^"]*" width="(\d+)"', made)[1]) == round(points / 72 * SCALE)

    made = drawn(lambda: heatmap(pd.DataFrame(np.eye(3)), "x", 1.0), alt="", caption="")
    png = base64.b64decode(re.search(r"image/png;base64,([^\"]+)", made)[1])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width = int.from_bytes(png[16:20], "big")
    assert int(re.search(r'width="(\d+)"', made)[1]) == round(width / figures.DPI * SCALE)


def test_the_same_figure_is_the_same_text():
    assert drawn(curve, alt="", caption="") == drawn(curve, alt="", caption="")


def test_a_drawing_of_very_many_points_becomes_pixels():
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.plot(np.random.default_rng(0).normal(size=5_000), "o")
    assert encoded(figure)[0].startswith("data:image/png")
    plt.close(figure)


@pytest.mark.parametrize(
    ("error", "text"), [(TableError("No <column>."), "No &lt;column&gt;."), (KeyError("x"), "KeyError: &#x27;x&#x27;")]
)
def test_a_figure_that_cannot_be_drawn_says_why_in_its_place(error, text):
    def fails():
        plt.figure()
        raise error

    assert drawn(fails, alt="", caption="") == f'<p class="caution">This figure is not drawn: {text}</p>'


@pytest.mark.parametrize(
    ("low", "high", "extend"), [(-1, 1, "neither"), (-3, 1, "min"), (0, 3, "max"), (-9, 9, "both")]
)
def test_a_heatmap_marks_colours_that_are_cut_off(low, high, extend):
    figure = heatmap(pd.DataFrame([[low, np.nan], [high, 0]], index=["$\\frac$", "b"], columns=["c", "d"]), "bar", 2.0)
    ax, bar = figure.axes
    assert bar._colorbar.extend == extend
    assert ax.collections[0].get_clim() == (-2.0, 2.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["$\\frac$", "b"]
    np.testing.assert_array_equal(np.ma.getmaskarray(ax.collections[0].get_array()), [[False, True], [False, False]])
    figure.canvas.draw()  # the name with dollar signs is not a formula
    plt.close(figure)
