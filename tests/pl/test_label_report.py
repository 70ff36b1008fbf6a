"""A report of labels as a figure: what is drawn is what was written."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

TYPES = ["B", "T", "Tumor $x$ $y$"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def reported(patients=("P1", "P2")) -> AnnData:
    """A record by hand: B has 4 labels, T 9, and one tumor cell; two T look like B, one B looks like a tumor."""
    cells = pd.DataFrame(
        {
            "label": pd.Categorical(["T", "T", "B", "B"], TYPES),
            "likelier": pd.Categorical(["B", "B", "Tumor $x$ $y$", None], TYPES),
            "score": [0.9, 0.8, 0.7, 0.1],
            "likely_wrong": [True, True, True, False],
        }
    )
    types = pd.DataFrame(
        {"n_labelled": [4, 9, 1], "n_likely_wrong": [1, 2, 0], "n_conflicts": [3, 5, 2]}, index=pd.Index(TYPES)
    )
    counts = pd.DataFrame([[4, 0, 1], [0, 9, 0]][: len(patients)], index=list(patients), columns=TYPES)
    adata = AnnData(np.zeros((4, 1)))
    adata.uns["label_report"] = {"cells": cells, "types": types, "counts": counts, "params": {}}
    return adata


def squares(ax) -> dict[tuple[str, int], int]:
    """Numbers that are written: by the name of the column and the row."""
    names = [label.get_text() for label in ax.get_xticklabels()]
    numbers = [(*text.get_position(), text.get_text()) for text in ax.texts if text.get_text().isdigit()]
    return {(names[round(x)], round(y)): int(number) for x, y, number in numbers}


def test_three_panels_say_what_was_found():
    counts, bars, doubts = sfm.pl.label_report(reported(), show=False)
    # the most often labelled on top
    assert [label.get_text() for label in counts.get_yticklabels()] == ["T (9)", "B (4)", "Tumor $x$ $y$ (1)"]
    assert squares(counts) == {("P2", 0): 9, ("P1", 1): 4, ("P1", 2): 1}
    drawn = counts.collections[0].get_array().reshape(3, 2)
    assert drawn.mask.tolist() == [[True, False], [False, True], [False, True]]  # no label: white
    np.testing.assert_allclose(drawn.compressed() ** 2, [9, 4, 1])
    wrong, conflicts = bars.containers
    assert [bar.get_width() for bar in wrong] == [2, 1, 0]
    assert [bar.get_width() for bar in conflicts] == [5, 3, 2]
    assert [label.get_text() for label in bars.get_legend().get_texts()] == ["likely wrong", "conflicts (pairs)"]
    # of T two look like B, of B one like a tumor; the cell that is not doubted is not counted
    assert squares(doubts) == {("B", 0): 2, ("Tumor $x$ $y$", 1): 1}
    for ax in (counts, bars, doubts):
        assert ax.get_ylim() == (2.5, -0.5)
        ax.get_figure().canvas.draw()


def test_panels_of_a_figure_of_its_own_have_letters():
    figure = sfm.pl.label_report(reported(), return_fig=True)
    bold = [[text.get_text() for text in ax.texts if text.get_fontweight() == "bold"] for ax in figure.axes]
    assert bold == [["a"], ["b"], ["c"]]
    given = plt.subplots(1, 3)[1]
    sfm.pl.label_report(reported(), ax=given, show=False)
    assert not [text for ax in given for text in ax.texts if text.get_fontweight() == "bold"]


def test_labels_without_patients_and_without_doubts():
    adata = reported(patients=["all"])
    adata.uns["label_report"]["cells"]["likelier"] = pd.Categorical([None] * 4, TYPES)
    counts, _, doubts = sfm.pl.label_report(adata, show=False)
    assert counts.get_xlabel() == "Labelled cells"
    assert [text.get_text() for text in doubts.texts][:1] == ["none"]


def test_axes_title_and_file(tmp_path):
    _, given = plt.subplots(1, 3)
    drawn = sfm.pl.label_report(reported(), ax=given, show=False)
    assert all(one is other for one, other in zip(drawn, given, strict=True))
    figure = sfm.pl.label_report(reported(), title="a $ title $", return_fig=True, save=tmp_path / "report.png")
    assert figure.get_suptitle() == "a $ title $"
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_what_is_no_report_is_refused():
    with pytest.raises(TableError, match=r"No report in uns\['other'\].*sfm.tl.label_report"):
        sfm.pl.label_report(reported(), key="other")
    with pytest.raises(TableError, match="has 3 panels"):
        sfm.pl.label_report(reported(), ax=plt.subplots(1, 2)[1])
    adata = reported()
    adata.uns["label_report"]["counts"] = adata.uns["label_report"]["counts"].drop(columns="T")
    with pytest.raises(TableError, match=r"has no type '?T"):
        sfm.pl.label_report(adata, show=False)


def test_a_written_report_is_drawn():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=60, latent_noise=0.4, random_state=0)
    table = sfm.tl.label_report(cells, "type", use_rep="X_latent", C=1.0)
    counts, bars, doubts = sfm.pl.label_report(cells, show=False)
    assert sum(squares(counts).values()) == len(table) == cells.n_obs
    assert table["likely_wrong"].sum() > 0
    assert sum(bar.get_width() for bar in bars.containers[0]) == table["likely_wrong"].sum()
    assert sum(squares(doubts).values()) == table["likely_wrong"].sum()
