"""Scores by training cells: what is drawn is what was written, with the floors."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError


def scored(circular=False):
    rows = []
    for rep, head, start in [
        ("X_a", "linear", 0.4), ("X_a", "lda", 0.5), ("X_b", "linear", 0.3),
        ("16 random numbers", "linear", 0.1), ("none", "majority", 0.05),
    ]:  # fmt: skip
        for step, size in enumerate(["5", "20"]):
            for score in ("f1", "calibration_error", "calibration_error_debiased"):
                mean = start + 0.1 * step
                rows.append({"use_rep": rep, "head": head, "n_train": size, "score": score, "preparation": "",
                             "circular": circular and rep == "X_b", "mean": mean, "sd": 0.02, "low": mean - 0.05,
                             "high": mean + 0.04, "n_folds": 4})  # fmt: skip
    table = AnnData(obs=pd.DataFrame(index=["c"]))
    table.uns["annotation"] = {"summary": pd.DataFrame(rows), "differences": pd.DataFrame()}
    return table


def test_each_line_is_its_means_with_its_interval_and_floors_are_grey():
    ax = sfm.pl.annotation_scores(scored(), show=False)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["a, linear", "a, lda", "b, linear", "16 random numbers", "shares of the classes"]
    drawn = {box.get_label(): box for box in ax.containers}
    data, _, bars = drawn["a, lda"]
    np.testing.assert_allclose(data.get_ydata(), [0.5, 0.6])
    segments = bars[0].get_segments()
    np.testing.assert_allclose([one[:, 1] for one in segments], [[0.45, 0.54], [0.55, 0.64]])
    floor = next(line for line in ax.lines if line.get_label() == "16 random numbers")
    np.testing.assert_allclose(floor.get_ydata(), [0.1, 0.1, 0.2, 0.2])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "20"]
    assert len({tuple(box[0].get_xdata()) for box in ax.containers}) == 3  # beside each other
    plt.close("all")


def test_circular_ones_are_hollow_and_said():
    ax = sfm.pl.annotation_scores(scored(circular=True), score="calibration_error", show=False)
    drawn = {box.get_label(): box[0] for box in ax.containers}
    assert drawn["b, linear (circular)"].get_markerfacecolor() == "white"
    assert drawn["a, linear"].get_markerfacecolor() != "white"
    assert ax.get_ylabel() == "expected calibration error"
    plt.close("all")


def test_an_error_that_is_below_0_by_chance_is_seen():
    table = scored()
    table.uns["annotation"]["summary"][["mean", "low", "high"]] -= 0.5
    ax = sfm.pl.annotation_scores(table, score="calibration_error_debiased", show=False)
    assert ax.get_ylim()[0] < -0.4  # the floor of random numbers
    plt.close("all")


def test_intervals_of_many_methods_stay_nearer_to_their_size_than_to_the_next():
    table = scored()
    rows = table.uns["annotation"]["summary"]
    methods = [rows[rows["head"] == "lda"].assign(head=f"method {i}") for i in range(30)]
    table.uns["annotation"]["summary"] = pd.concat(methods)
    ax = sfm.pl.annotation_scores(table, show=False)
    assert len(ax.containers) == 30
    places = np.array([box[0].get_xdata() for box in ax.containers])
    assert np.abs(places - [0, 1]).max() < 0.5
    assert (np.diff(places, axis=0) > 0).all()
    plt.close("all")


def test_what_is_not_there_is_refused():
    with pytest.raises(TableError, match="No result 'other' of sfm.tl.evaluate_annotation"):
        sfm.pl.annotation_scores(scored(), key="other")
