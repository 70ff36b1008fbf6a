"""Attention of a sample in space, and by type."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def cells():
    """Two samples; B cells of the first draw four times as much attention as T cells, none is paid in the second."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "sample": np.repeat(["s1", "s2"], 60),
            "patient": np.repeat(["P1", "P2"], 60),
            "type": pd.Categorical(np.tile(["T", "T", "B"], 40), categories=["NK", "T", "B"]),
        },
        index=[f"c{i}" for i in range(120)],
    )
    obs["mil_attention"] = np.where(obs["type"] == "B", 2.0, 0.5) * np.where(obs["sample"] == "s2", np.nan, 1)
    adata = AnnData(obs=obs, obsm={"spatial": rng.uniform(0, 300, (120, 2))})
    patients = pd.DataFrame({"label": ["yes"], "p_no": [0.2], "p_yes": [0.8]}, index=pd.Index(["P1"], name="patient"))
    adata.uns["mil"] = {"patients": patients, "params": {"case_key": "patient"}}
    return adata


def test_cells_are_where_they_lie_in_the_colour_of_their_attention(cells):
    ax = sfm.pl.attention(cells, "s1", show=False)
    drawn = ax.collections[1]
    assert len(drawn.get_offsets()) == 60
    values = drawn.get_array()
    order = [tuple(place) for place in cells.obsm["spatial"][:60]]
    rows = [order.index(tuple(place)) for place in np.asarray(drawn.get_offsets())]
    np.testing.assert_allclose(2.0**values, cells.obs["mil_attention"].to_numpy()[:60][rows])
    assert drawn.get_clim() == (-1, 1)
    assert ax.yaxis_inverted()  # as images have it
    assert ax.get_title(loc="left") == "s1: yes, held-out probability 0.80"
    bar = ax.figure.axes[1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["1/2", "1", "2"]


@pytest.mark.parametrize(("unit", "expected"), [("µm", "x (µm)"), ("pixel", "x (pixel)"), (None, "x")])
def test_the_map_is_in_the_unit_of_the_table(cells, unit, expected):
    if unit is not None:
        cells.uns["spatialfm"] = {"table": {"unit": unit}}
    ax = sfm.pl.attention(cells, "s1", show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (expected, expected.replace("x", "y", 1))


def test_a_third_coordinate_is_not_drawn(cells):
    cells.obsm["spatial"] = np.column_stack([cells.obsm["spatial"], np.full(120, 7.0)])
    ax = sfm.pl.attention(cells, "s1", show=False)
    assert sorted(map(tuple, ax.collections[1].get_offsets())) == sorted(map(tuple, cells.obsm["spatial"][:60, :2]))


def test_types_are_in_order_with_quartiles_and_means(cells):
    cells.obs.loc["c2", "mil_attention"] = 16.0  # one B cell
    places, types = sfm.pl.attention(cells, "s1", cluster_key="type", show=False)
    assert [text.get_text() for text in types.get_yticklabels()] == ["B (20)", "T (40)"]
    means = types.collections[0].get_offsets()
    np.testing.assert_allclose(2.0 ** means[:, 0], [(19 * 2 + 16) / 20, 0.5])
    medians = [line.get_xdata()[0] for line in types.lines if line.get_color() == "black"]
    np.testing.assert_allclose(medians, [1, -1])
    assert places.figure is types.figure


def test_limits_given_axes_and_files(cells, tmp_path):
    figure, axes = plt.subplots(1, 2)
    found = sfm.pl.attention(
        cells, "s1", cluster_key="type", limit=8, ax=tuple(axes), title="mine", save=tmp_path / "a.png"
    )
    assert found[0] is axes[0]
    assert axes[0].collections[1].get_clim() == (-3, 3)
    assert axes[0].get_title(loc="left") == "mine"
    assert (tmp_path / "a.png").stat().st_size > 0
    assert sfm.pl.attention(cells, "s1", return_fig=True, show=False).axes
    with pytest.raises(TableError, match=r"ax= holds 1 axes; 2 are drawn"):
        sfm.pl.attention(cells, "s1", cluster_key="type", ax=axes[0])


def test_no_attention_and_one_value(cells):
    cells.obs["mil_attention"] = np.where(cells.obs["sample"] == "s1", 1.0, np.nan)
    ax = sfm.pl.attention(cells[cells.obs["sample"] == "s1"].copy(), show=False)
    assert (ax.collections[1].get_array() == 0).all()
    cells.obs.loc["c0", "mil_attention"] = 0.0  # its logarithm would not be a number
    assert np.isfinite(sfm.pl.attention(cells, "s1", show=False).collections[1].get_array()).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "other"}, r"No attention in obs\['other_attention'\].*Make it with sfm.tl.mil"),
        ({"sample": "s9"}, "sample='s9' is not one of 's1', 's2'"),
        ({"sample": None}, "sample=None is not one of 's1', 's2'"),
        ({"sample": "s2"}, "The patient of sample 's2' was left out"),
        ({"cluster_key": "kind"}, r"No column 'kind' in obs \(cluster_key=\)"),
        ({"cluster_key": "type", "min_cells": 50}, "has 50 cells in this sample. Pass a smaller min_cells="),
        ({"library_key": "slide"}, r"No column 'slide' in obs \(library_key=\)"),
        ({"spatial_key": "places"}, r"No coordinates 'places' in obsm"),
        ({"limit": 0.5}, "limit=0.5 is not a multiple"),
    ],
)
def test_what_is_missing_is_told(cells, arguments, message):
    with pytest.raises(TableError, match=message):
        sfm.pl.attention(cells, **{"sample": "s1"} | arguments)


def test_labels_do_not_overlap(cells, check_boxes):
    places, types = sfm.pl.attention(cells, "s1", cluster_key="type", show=False)
    figure = places.figure
    figure.canvas.draw()
    for ax in figure.axes:
        low, high = sorted(ax.get_ylim())
        inside = [text for text in ax.get_yticklabels() if low <= text.get_position()[1] <= high]
        assert len(inside) > 1
        check_boxes(figure, [text.get_window_extent() for text in inside])
    check_boxes(figure, [ax.xaxis.label.get_window_extent() for ax in (places, types)])


def test_labels_of_small_contributions_do_not_overlap(cells, check_boxes):
    shares = np.random.default_rng(0).normal(scale=0.00035, size=120)
    cells.obsm["mil_contribution"] = pd.DataFrame({"no": -shares, "yes": shares}, index=cells.obs_names)
    _, types = sfm.pl.attention(cells, "s1", values="contribution", output="yes", cluster_key="type", show=False)
    types.figure.canvas.draw()
    low, high = types.get_xlim()
    inside = [text for text in types.get_xticklabels() if low <= text.get_position()[0] <= high]
    assert len(inside) > 1
    check_boxes(types.figure, [text.get_window_extent() for text in inside])


@pytest.mark.parametrize(("values", "what"), [("gradient", "Gradient × input of"), ("contribution", "Contribution to")])
def test_what_raises_and_lowers_an_answer_is_drawn_around_0(cells, values, what):
    rng = np.random.default_rng(1)
    yes = rng.normal(size=120) * np.where(cells.obs["sample"] == "s2", np.nan, 1)
    cells.obsm[f"mil_{values}"] = pd.DataFrame({"no": -2 * yes, "yes": yes}, index=cells.obs_names)
    cells.uns["mil"]["params"]["positive"] = "no"
    places, types = sfm.pl.attention(cells, "s1", values=values, output="yes", cluster_key="type", show=False)
    drawn = places.collections[1]
    order = [tuple(place) for place in cells.obsm["spatial"][:60]]
    rows = [order.index(tuple(place)) for place in np.asarray(drawn.get_offsets())]
    np.testing.assert_allclose(drawn.get_array(), yes[:60][rows])
    end = np.percentile(np.abs(yes[:60]), 99)
    np.testing.assert_allclose(drawn.get_clim(), (-end, end))
    assert places.figure.axes[-1].get_ylabel() == types.get_xlabel() == f"{what} 'yes'"
    b_cells = yes[:60][(cells.obs["type"] == "B")[:60]]
    means = dict(
        zip(
            [text.get_text() for text in types.get_yticklabels()], types.collections[0].get_offsets()[:, 0], strict=True
        )
    )
    assert means["B (20)"] == pytest.approx(b_cells.mean())
    ax = sfm.pl.attention(cells, "s1", values=values, limit=0.5, show=False)  # of the positive class
    np.testing.assert_allclose(sorted(ax.collections[1].get_array()), sorted(-2 * yes[:60]))
    assert ax.collections[1].get_clim() == (-0.5, 0.5)
    for arguments, message in (
        ({"output": "maybe"}, "output='maybe' is not one of 'no', 'yes'"),
        ({"sample": "s2"}, "was left out"),
    ):
        with pytest.raises(TableError, match=message):
            sfm.pl.attention(cells, **{"sample": "s1", "values": values} | arguments)
    with pytest.raises(TableError, match="output='yes' is of gradients and contributions"):
        sfm.pl.attention(cells, "s1", output="yes")
    del cells.obsm[f"mil_{values}"]
    with pytest.raises(TableError, match=rf"No table in obsm\['mil_{values}'\].*Make it with sfm.tl.mil"):
        sfm.pl.attention(cells, "s1", values=values)


def test_attention_of_networks_of_other_labels_is_refused():
    """Also where a title is given; a table with fewer cells makes the same map."""
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=20, effect_size=3.0, random_state=0)
    options = {"n_folds": 2, "n_seeds": 1, "n_heads": 2, "hidden": 8, "max_epochs": 2}
    sfm.tl.mil(cells, use_rep="X_latent", label_key="response", head="bcos", **options)
    sample = cells.obs["sample"].iloc[0]
    assert sfm.pl.attention(cells[cells.obs["sample"] == sample], sample, show=False)
    assert sfm.pl.contributions(cells[::2], "mil", show=False)
    cells.obs["response"] = cells.obs["response"].astype(str).replace({"responder": "responded"})
    for draw in (
        lambda: sfm.pl.attention(cells, sample, title="own", show=False),
        lambda: sfm.pl.contributions(cells, "mil", show=False),
    ):
        with pytest.raises(TableError, match=r"obs\['response'\] changed since"):
            draw()
    plt.close("all")
