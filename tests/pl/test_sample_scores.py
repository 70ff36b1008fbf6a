"""Figure of the scores of classified patients: which interval is drawn, and what is said of it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture(scope="module")
def cells():
    table = sfm.datasets.simulate_cells(n_patients=16, cells_per_patient=40, effect_size=3.0, random_state=0)
    options = {"use_rep": ["X", "X_latent"], "n_components": [None, 4], "n_draws": 12, "n_permutations": 3}
    sfm.tl.classify_samples(table, label_key="response", **options)
    sfm.tl.few_shot_samples(table, label_key="response", use_rep="X_latent", n_draws=6, key_added="few")
    return table


def ends(ax) -> list[tuple[float, float]]:
    """Of the horizontal lines, which are intervals."""
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and np.ptp(line.get_ydata()) == 0]
    return [tuple(line.get_xdata()) for line in lines]


def test_the_interval_for_other_patients_is_drawn_and_not_the_published_one(cells):
    ax = sfm.pl.sample_scores(cells, show=False)
    summary = cells.uns["classify_samples"]["summary"].query("score == 'auroc'")
    assert len(summary) == 4
    np.testing.assert_allclose(ends(ax), summary[["low", "high"]])
    assert (summary["high"] - summary["low"] > summary["high_published"] - summary["low_published"]).all()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["draws", "95 % interval for other patients", "chance"]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "X, all columns", "X, 4 components", "X_latent, all columns", "X_latent, 4 components",
    ]  # fmt: skip
    first = summary.iloc[0]
    said = [text.get_text() for text in ax.texts]
    assert said[0].startswith(f"{first['mean']:.2f} ({first['low']:.2f} to {first['high']:.2f}), p = ")
    dots = ax.collections[0].get_offsets()[:, 0]
    draws = cells.uns["classify_samples"]["draws"]
    own = draws[(draws["use_rep"] == "X") & draws["n_components"].isna() | (draws["n_components"] == 0)]
    np.testing.assert_allclose(np.sort(dots), np.sort(own[own["use_rep"] == "X"]["auroc"]))


def test_few_shots_and_other_scores(cells):
    ax = sfm.pl.sample_scores(cells, key="few", score="f1_macro", show=False)
    summary = cells.uns["few"]["summary"].query("score == 'f1_macro'")
    np.testing.assert_allclose(ends(ax), summary[["low", "high"]])
    assert "chance" not in [text.get_text() for text in ax.get_legend().get_texts()]
    assert ax.get_xlabel() == "macro F1 in held-out patients"


def test_circular_scores_are_hollow_and_said(cells):
    table = cells.copy()
    table.uns["classify_samples"]["params"]["circular"] = "made of these cells"
    ax = sfm.pl.sample_scores(table, show=False)
    assert "circular" in ax.get_legend().get_title().get_text()
    assert {line.get_markerfacecolor() for line in ax.get_lines() if line.get_marker() == "o"} == {"white"}
    table.uns["classify_samples"]["params"] |= {"circular": "", "by_outcome": "perhaps"}
    ax = sfm.pl.sample_scores(table, show=False)
    assert "perhaps optimistic" in ax.get_legend().get_title().get_text()


def test_nothing_overlaps_or_is_cut_off(cells, check_boxes):
    for key in ("classify_samples", "few"):
        figure = sfm.pl.sample_scores(cells, key=key, return_fig=True)
        figure.canvas.draw()
        ax = figure.axes[0]
        boxes = [text.get_window_extent() for text in [*ax.texts, *ax.get_yticklabels(), ax.xaxis.label]]
        check_boxes(figure, [*boxes, ax.get_legend().get_window_extent()])
        plt.close(figure)


def test_refuses_what_is_not_there(cells, tmp_path):
    with pytest.raises(TableError, match="No scores of patients in uns\\['mil'\\]"):
        sfm.pl.sample_scores(cells, key="mil")
    sfm.pl.sample_scores(cells, save=tmp_path / "scores.svg")
    assert "AUROC" in (tmp_path / "scores.svg").read_text()


@pytest.mark.parametrize("key", ["classify_samples", "few"])
def test_scores_of_other_patients_are_refused(cells, key):
    some = cells[cells.obs["patient"] != cells.obs["patient"].iloc[0]].copy()
    with pytest.raises(TableError, match="the rows .* changed since"):
        sfm.pl.sample_scores(some, key=key, show=False)
    swapped = {"responder": "non-responder", "non-responder": "responder"}
    other = cells.copy()
    other.obs["response"] = other.obs["response"].astype(str).map(swapped)
    with pytest.raises(TableError, match=r"obs\['response'\] changed since"):
        sfm.pl.sample_scores(other, key=key, show=False)
