"""Scores of reconstruction: points, intervals and ticks are what was written, on one scale."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import PanelError, TableError

VALUES = {"CD8": 0.3, "CD3": 0.8, "all": 0.55}


def scored(model: bool = True) -> AnnData:
    rows = []
    for mode, unit in (("marker", "pixel"), ("marker", "cell"), ("niche", "pixel")):
        for method, shift in (("model", 0.1), ("mean", np.nan), ("linear", 0.0), ("knn", -0.1)):
            if (method == "model" and not model) or (unit == "pixel" and method == "knn"):
                continue
            for marker, value in VALUES.items():
                for score, factor in (("r", 1), ("mse", 10)):
                    mean = factor * (value + shift)
                    rows.append([marker, mode, unit, method, score, mean, mean - 0.05, mean + 0.04, 5])
    table = AnnData(obs=pd.DataFrame(index=["c"]))
    columns = ["marker", "mode", "unit", "method", "score", "mean", "low", "high", "n_patients"]
    table.uns["reconstruction"] = {"summary": pd.DataFrame(rows, columns=columns)}
    return table


def test_points_intervals_and_ticks_are_what_was_written():
    axes = sfm.pl.reconstruction_scores(scored(), show=False)
    assert [ax.get_title(loc="left") for ax in axes] == [
        "marker-wise, pixels", "marker-wise, cells", "niche-wise, pixels"
    ]  # fmt: skip
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["mean of markers", "CD3", "CD8"]
    points = next(line for line in axes[1].lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xdata(), [0.65, 0.9, 0.4])
    segments = [one.get_segments() for one in axes[1].collections if one.get_segments()]
    intervals = next(part for part in segments if part[0][0][1] == part[0][1][1])
    np.testing.assert_allclose([[a[0], b[0]] for a, b in intervals], [[0.6, 0.69], [0.85, 0.94], [0.35, 0.44]])
    upright = [part for part in segments if part[0][0][0] == part[0][1][0]]
    ticks = [[float(a[0]) for a, _ in sorted(part, key=lambda one: one[0][1])] for part in upright]
    np.testing.assert_allclose(ticks, [[0.55, 0.8, 0.3], [0.45, 0.7, 0.2]])
    assert len({ax.get_xlim() for ax in axes}) == 1
    assert tuple(axes[0].figure.get_size_inches()) == pytest.approx((10.2, 2.02))  # 3 panels, 3 rows
    legend = [text.get_text() for text in axes[-1].get_legend().get_texts()]
    assert legend == [
        "model,\n95 % interval\nfor other patients",
        "linear regression",
        "nearest cells",
    ]  # the mean has no r
    plt.close("all")


def test_without_a_model_the_regression_is_the_point():
    axes = sfm.pl.reconstruction_scores(scored(model=False), markers=["CD8"], show=False)
    points = next(line for line in axes[1].lines if line.get_marker() == "o")
    assert points.get_xdata().tolist() == [0.3]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["CD8"]
    axes = sfm.pl.reconstruction_scores(scored(), method="knn", show=False)
    assert next(line for line in axes[1].lines if line.get_marker() == "o").get_xdata()[0] == pytest.approx(0.45)
    plt.close("all")


def test_the_smallest_error_is_the_best():
    axes = sfm.pl.reconstruction_scores(scored(), score="mse", show=False)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["mean of markers", "CD8", "CD3"]
    figure = sfm.pl.reconstruction_scores(scored(), return_fig=True, title="a $ title")
    assert figure.get_suptitle() == "a $ title"
    plt.close("all")


def test_what_was_not_scored_is_refused():
    table = scored()
    with pytest.raises(TableError, match=r"No scores in uns\['no'\]"):
        sfm.pl.reconstruction_scores(table, key="no")
    with pytest.raises(TableError, match="has no score 'f1'"):
        sfm.pl.reconstruction_scores(table, score="f1")
    with pytest.raises(PanelError, match="Marker 'CD4' was not scored"):
        sfm.pl.reconstruction_scores(table, markers=["CD4"])
    with pytest.raises(TableError, match="method='forest' was not scored"):
        sfm.pl.reconstruction_scores(table, method="forest")
    with pytest.raises(TableError, match="There are 3 modes and units"):
        sfm.pl.reconstruction_scores(table, ax=plt.subplots()[1])
    plt.close("all")
