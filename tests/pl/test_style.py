"""One typeface and one size for the figures of an analysis."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


def test_titles_axes_and_legends_have_one_size_inside_the_block_only():
    before = dict(mpl.rcParams)
    with sfm.pl.style(font_size=7):
        figure, ax = plt.subplots()
        ax.plot([0, 1], label="a line")
        title, x, legend = ax.set_title("title"), ax.set_xlabel("x"), ax.legend(title="lines")
        texts = [title, x, *ax.get_xticklabels(), *legend.get_texts(), legend.get_title()]
        assert {text.get_fontsize() for text in texts} == {7.0}
        assert {text.get_fontname() for text in texts} == {"DejaVu Sans"}
    assert dict(mpl.rcParams) == before
    plt.close(figure)


def test_text_stays_text_in_vector_files(tmp_path):
    with sfm.pl.style():
        figure, ax = plt.subplots()
        ax.set_title("a title to be edited")
        figure.savefig(tmp_path / "figure.svg")
    plt.close(figure)
    assert "a title to be edited" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_are_none_are_refused(size):
    with pytest.raises(TableError, match=r"is not a size of text\. Pass points"):
        sfm.pl.style(size)
