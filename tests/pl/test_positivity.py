"""Histograms with thresholds: what is drawn is what was found."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, TableError
from spatialfm.pl._positivity import _heading


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    positive = rng.random(900) < 0.3
    values = np.exp(rng.normal(np.where(positive, 3, 0), 0.4))[:, None]
    obs = pd.DataFrame({"sample": np.repeat(["a", "b", "c"], 300)}, index=[f"c{i}" for i in range(900)])
    table = ad.AnnData(np.hstack([values, values]), obs=obs, var=pd.DataFrame(index=["CD8/a", "CD3"]))
    sfm.tl.marker_positivity(table)
    return table


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_bars_and_line_are_where_cells_and_threshold_are(cells):
    axes = sfm.pl.positivity(cells, "CD3", bins=40, show=False)
    assert len(axes) == 3
    cofactor = cells.uns["positive"]["params"]["cofactors"].loc["CD3", "cofactor"]
    for ax, name in zip(axes, "abc", strict=True):
        rows = (cells.obs["sample"] == name).to_numpy()
        share = cells.uns["positive"]["share"].loc[name, "CD3"]
        assert ax.get_title(loc="left") == f"{name}\n{share:.1%} positive"
        line = ax.lines[0].get_xdata()[0]
        assert np.sinh(line) * cofactor == pytest.approx(cells.uns["positive"]["thresholds"].loc[name, "CD3"])
        heights = np.array([bar.get_height() for bar in ax.patches])
        assert heights.sum() == pytest.approx(1)
        assert heights[40:].sum() == pytest.approx((cells.layers["positive"][rows, 1] > 0.5).mean())
        blue = [bar.get_x() + bar.get_width() for bar in ax.patches[40:] if bar.get_height()]
        assert min(blue) >= line  # no bar of positive cells ends below the threshold


def test_ticks_are_intensities(cells):
    ax = sfm.pl.positivity(cells, "CD3", samples="a", show=False)[0]
    cofactor = cells.uns["positive"]["params"]["cofactors"].loc["CD3", "cofactor"]
    figure = ax.get_figure()
    figure.canvas.draw()
    texts = [label.get_text() for label in ax.get_xticklabels()]
    assert len(texts) >= 3
    np.testing.assert_allclose(np.sinh(ax.get_xticks()) * cofactor, [float(text) for text in texts], rtol=1e-6)
    assert figure.get_supxlabel() == "CD3 (intensity)"


def test_names_that_a_store_cannot_hold(cells):
    axes = sfm.pl.positivity(cells, "CD8/a", samples=["b", "c"], show=False)
    assert [ax.get_title(loc="left").splitlines()[0] for ax in axes] == ["b", "c"]


def test_names_with_dollar_signs_are_no_formula(cells):
    table = cells[:, 1:].copy()
    table.obs["sample"] = table.obs["sample"].astype(str).replace("a", "$\\frac$")
    table.var_names = ["$\\sqrt$"]
    sfm.tl.marker_positivity(table)
    figure = sfm.pl.positivity(table, "$\\sqrt$", return_fig=True)
    figure.canvas.draw()
    assert "$\\frac$" in {ax.get_title(loc="left").splitlines()[0] for ax in figure.axes}


def test_gates_and_what_was_not_called(cells):
    table = cells.copy()
    gates = pd.DataFrame({"CD3": [5.0, np.nan, 5.0]}, index=list("abc"))
    sfm.tl.marker_positivity(table, markers="CD3", method="gates", gates=gates)
    axes = sfm.pl.positivity(table, "CD3", show=False)
    assert axes[1].get_title(loc="left") == "b\nnot called (no gate)"
    assert not axes[1].lines
    assert axes[0].get_title(loc="left").endswith("% positive")
    assert all(bar.get_hatch() for bar in axes[1].patches)  # not to be taken for negative cells
    assert not any(bar.get_hatch() for bar in axes[0].patches)
    heights = sum(bar.get_height() for bar in axes[1].patches)
    assert heights == pytest.approx(1)
    (legend,) = axes[0].get_figure().legends
    assert "not called" in [text.get_text() for text in legend.get_texts()]


def test_a_title_does_not_contradict_its_share(cells):
    """0.3 % are positive by the threshold of all samples, and the sample has no population of positive cells."""
    table = cells.copy()
    table.uns["positive"]["status"]["CD3"] = ["no positives", "no negatives", "shared"]
    axes = sfm.pl.positivity(table, "CD3", show=False)
    titles = [ax.get_title(loc="left").splitlines()[1] for ax in axes]
    assert [title.split(" positive ")[1] for title in titles] == ["(hardly any)", "(nearly all)", "(shared)"]


def test_refusals(cells):
    with pytest.raises(PanelError, match="Marker 'CD4' was not called"):
        sfm.pl.positivity(cells, "CD4")
    with pytest.raises(TableError, match="No sample 'z'"):
        sfm.pl.positivity(cells, "CD3", samples=["z"])
    with pytest.raises(TableError, match="No calls of markers in uns.'calls'.; uns has 'positive'.*sfm.tl.marker_posi"):
        sfm.pl.positivity(cells, "CD3", key="calls")
    with pytest.raises(TableError, match="3 samples need as many axes; ax= has 1"):
        sfm.pl.positivity(cells, "CD3", ax=plt.subplots()[1])


def test_the_figure_says_what_colours_mean_and_its_title_is_not_cut(cells):
    figure = sfm.pl.positivity(cells, "CD3", samples="a", return_fig=True)
    figure.canvas.draw()
    (legend,) = figure.legends
    drawn = {text.get_text(): key for text, key in zip(legend.get_texts(), legend.legend_handles, strict=True)}
    ax = figure.axes[0]
    assert list(drawn) == ["negative", "positive", "threshold", "of the other samples"]
    assert drawn["negative"].get_facecolor() == ax.patches[0].get_facecolor()
    assert drawn["positive"].get_facecolor() == ax.patches[-1].get_facecolor()
    assert drawn["threshold"].get_color() == ax.lines[0].get_color()
    assert figure._suptitle.get_window_extent().x1 <= legend.get_window_extent().x0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (["split"], "a threshold of the sample's own"),
        (["unclear"], "no threshold of the sample's own"),
        (["split", "shared", "shared"], "1 of 3 samples has a threshold of its own"),
        (["split", "gate", "shared"], "2 of 3 samples have a threshold of their own"),
    ],
)
def test_the_title_counts_the_thresholds(status, said):
    assert _heading("CD3", pd.Series(status)) == f"CD3: {said}"


def test_the_threshold_of_the_other_samples_and_one_that_is_not_used_are_drawn(cells):
    table = cells.copy()
    between = table.uns["positive"]["between_samples"]
    row = (between["sample"] == "a") & (between["marker"] == "CD3")
    between.loc[row, ["own", "overruled"]] = [40.0, True]
    limits = table.uns["positive"]["thresholds"]["CD3"]
    ax = sfm.pl.positivity(table, "CD3", samples="a", show=False)[0]
    cofactor = table.uns["positive"]["params"]["cofactors"].loc["CD3", "cofactor"]
    places = {line.get_linestyle(): np.sinh(line.get_xdata()[0]) * cofactor for line in ax.lines}
    assert places == pytest.approx({"-": limits["a"], "--": np.median(limits[["b", "c"]]), ":": 40.0})


def test_calls_of_a_network_have_no_threshold(cells):
    table = cells.copy()
    record = table.uns["positive"]
    record["status"][:], record["thresholds"][:] = "network", np.nan
    del record["between_samples"], record["params"]["cofactors"]
    figure = sfm.pl.positivity(table, "CD3", return_fig=True)
    assert not figure.axes[0].lines
    assert figure._suptitle.get_text().replace("\n", " ") == "CD3: cells of 3 of 3 samples were called on the image"
    assert figure.axes[0].get_title(loc="left").endswith("(network)")
