"""Cells whose pixels are set to a value, against embeddings of images that were changed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stand_in import Painter

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, ModelError, PanelError, SpatialfmWarning, TableError
from spatialfm.embed.paint.expected import expected_means
from spatialfm.embed.perturbed import Perturbation

CHANNELS = ["CD3", "CD20", "CD68"]
RECIPE = {"statistics": {name: (50.0, 20.0) for name in CHANNELS}}


@pytest.fixture
def cohort(make_sdata, blobs):
    parts = {name: blobs(number, side=70, n_cells=8) for number, name in enumerate("ab")}
    sdata = make_sdata(parts, CHANNELS)
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["mine"] = np.arange(sdata["table"].n_obs) % 4 == 0
    return sdata, parts, make_sdata


def by_hand(cohort, rows: np.ndarray, value: float):
    """The same samples with images in which CD20 of some rows is set."""
    sdata, parts, make_sdata = cohort
    obs = sdata["table"].obs
    changed = {}
    for name, (image, labels) in parts.items():
        own = obs.loc[rows & (obs["sample"] == name).to_numpy(), "cell_id"].to_numpy()
        copy = image.copy()
        copy[1][np.isin(labels, own)] = value
        changed[name] = copy, labels
    return make_sdata(changed, CHANNELS)


def test_embeddings_move_as_with_images_that_were_changed_by_hand(cohort):
    sdata = cohort[0]
    of_pixels = {name: (0.2, 0.1) for name in CHANNELS}
    # markers in another order than the channels of the image
    told = {"recipe": {"mode": "crop", "statistics": of_pixels, "standardize": False}}
    told["panel"] = {"markers": ["CD20", "CD3", "CD68"]}
    table = sfm.tl.perturb_markers(sdata, "classical", {"CD20": 7.0}, cells="mine", **told)
    obs = sdata["table"].obs
    kinds = obs["perturbation_cells"].astype(object)
    before = sfm.tl.embed_cells(sdata, "classical", copy=True, **told).obsm["X_classical"].astype(float)
    spread = np.sqrt(before.var(axis=0).sum())
    for kind in ("chosen", "random"):
        rows = (kinds == kind).to_numpy()
        assert rows.sum() == obs["mine"].sum()
        other = sfm.tl.embed_cells(by_hand(cohort, rows, 7), "classical", copy=True, **told).obsm["X_classical"]
        moved = np.linalg.norm(other - before, axis=1) / spread
        np.testing.assert_allclose(obs.loc[rows, "perturbation"], moved[rows], rtol=1e-4)
        assert table.loc["embedding", kind] == pytest.approx(moved[rows].mean(), rel=1e-4)
    assert (kinds == "chosen").to_numpy().tolist() == obs["mine"].tolist()
    assert obs["perturbation"].notna().sum() == 2 * obs["mine"].sum()
    one, two = obs["perturbation"][kinds == "chosen"], obs["perturbation"][kinds == "random"]
    pooled = np.sqrt((one.var() + two.var()) / 2)  # as many of both
    assert table.loc["embedding", "effect_size"] == pytest.approx((one.mean() - two.mean()) / pooled)


def test_statistics_stay_those_of_the_images_as_they_are(cohort):
    """Means of intensities move on a straight line with the value: nothing that they are divided by has seen it."""
    sdata, moved = cohort[0], []
    for value in (245.0, 250.0, 255.0):
        sfm.tl.perturb_markers(sdata, "mean-intensity", {"CD20": value}, cells="mine")
        moved.append(sdata["table"].obs["perturbation"].dropna().to_numpy())
    assert (moved[1] > moved[0]).all()
    np.testing.assert_allclose(moved[2] - moved[1], moved[1] - moved[0], rtol=1e-3)


def test_expected_markers_move_as_with_images_that_were_changed_by_hand(cohort):
    sdata = cohort[0]
    table = sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0}, cells="mine", recipe=RECIPE)
    assert table.index.tolist() == ["embedding", "CD3", "CD68"]
    rows = sdata["table"].obs["mine"].to_numpy()
    before, after = (expected_means(one, Painter(), recipe=RECIPE)[1] for one in (sdata, by_hand(cohort, rows, 0)))
    for marker in ("CD3", "CD68"):
        change = (after[marker].to_numpy() - before[marker].to_numpy())[rows]
        assert table.loc[marker, "chosen"] == pytest.approx(change.mean(), rel=1e-4)
    alone = sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0}, cells="mine", recipe=RECIPE, reconstruct=False)
    assert alone.index.tolist() == ["embedding"]
    names = sdata["table"].obs_names[rows].tolist()
    same = sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0}, cells=names, recipe=RECIPE, reconstruct=False)
    assert same.equals(alone)


def test_regression_without_a_model_moves_others_by_its_coefficients():
    """Markers of one unit of arcsinh: what is expected of the others follows the ridge coefficient of what was set."""
    from sklearn.linear_model import Ridge

    cells = sfm.datasets.simulate_cells(4, cells_per_patient=100, n_markers=12, random_state=0)
    cells.obs["mine"] = np.arange(400) % 5 == 0
    found = sfm.tl.perturb_markers(cells, None, {"CD8": 0.0}, cells="mine", method="linear")
    assert set(found.index) == {"embedding", *cells.var_names} - {"CD8"}
    x = np.array(cells.X, float)
    low, high = np.array([np.quantile(one[one > 0], [0.05, 0.99]) for one in x.T]).T
    z = np.arcsinh(x / np.maximum(low, high / 1000))
    mean, sd = z.mean(0), z.std(0)
    z, place, rows = (z - mean) / sd, cells.var_names.get_loc("CD8"), cells.obs["mine"].to_numpy()
    step = -mean[place] / sd[place] - z[rows, place]  # arcsinh(0) is 0
    assert found.loc["embedding", "chosen"] == pytest.approx((np.abs(step) / np.sqrt(12)).mean(), rel=1e-5)
    for name in ("CD3", "CD20"):
        target = cells.var_names.get_loc(name)
        others = np.delete(np.arange(12), target)
        close = []
        for alpha in 400 * 10.0 ** np.arange(-6, 3):  # the penalties that are tried
            ridge = Ridge(alpha=alpha).fit(z[:, others], z[:, target])
            close.append(ridge.coef_[list(others).index(place)] * step.mean())
        assert np.isclose(found.loc[name, "chosen"], close, rtol=1e-4).any()
    by_cells = sfm.tl.perturb_markers(cells, None, {"CD8": 0.0}, cells="mine", method="knn", key_added="near")
    assert by_cells.loc["embedding", "chosen"] == pytest.approx(found.loc["embedding", "chosen"])
    assert by_cells.loc["CD3", "chosen"] < 0  # a cell without CD8 is less often a T cell
    assert cells.uns["near"]["params"]["method"] == "knn"
    alone = sfm.tl.perturb_markers(cells, None, {"CD8": 0.0}, cells="mine", method="linear", reconstruct=False)
    assert alone.index.tolist() == ["embedding"]


def test_a_marker_that_is_the_same_everywhere_has_no_unit_to_change_by():
    cells = sfm.datasets.simulate_cells(2, cells_per_patient=40, n_markers=12, random_state=0)
    cells.X[:, cells.var_names.get_loc("CD8")] = 0
    with pytest.raises(PanelError, match="'CD8' is the same in all cells"), pytest.warns(SpatialfmWarning):
        sfm.tl.perturb_markers(cells, None, {"CD8": 5.0}, cells=list(cells.obs_names[:5]), method="linear")
    with pytest.warns(SpatialfmWarning, match="left out: 'CD8'"):
        found = sfm.tl.perturb_markers(cells, None, {"CD3": 5.0}, cells=list(cells.obs_names[:5]), method="linear")
    assert "CD8" not in found.index
    cells.X[:] = 0
    with pytest.raises(PanelError, match="12 markers are the same in all cells"):
        sfm.tl.perturb_markers(cells, None, {"CD3": 5.0}, cells=list(cells.obs_names[:5]), method="linear")


@pytest.mark.parametrize(
    ("model", "arguments", "error", "said"),
    [
        (None, {}, ArgumentError, "needs a model"),
        ("virtues", {"method": "linear"}, ArgumentError, "takes no model"),
        (None, {"method": "linear", "recipe": {"window": 32}}, ArgumentError, "recipe= belongs to a model"),
        (None, {"method": "knn", "values": {"CD99": 1.0}}, PanelError, "No marker 'CD99' among those measured"),
        ("virtues", {}, ElementError, "Pass the SpatialData"),
    ],
)
def test_methods_and_models_that_do_not_fit_are_refused(model, arguments, error, said):
    cells = sfm.datasets.simulate_cells(2, cells_per_patient=20, n_markers=12, random_state=0)
    values = arguments.pop("values", {"CD8": 0.0})
    with pytest.raises(error, match=said):
        sfm.tl.perturb_markers(cells, model, values, cells=list(cells.obs_names[:3]), **arguments)
    assert "perturbation" not in cells.uns


def test_with_the_preparation_of_virtues_only_tiles_with_changed_cells_move(make_sdata, blobs):
    """Clipping values, means and deviations of whole images stay, so that nothing outside of the tile is moved."""
    parts = {name: blobs(number, side=64, n_cells=12) for number, name in enumerate("ab")}
    sdata = make_sdata(parts, CHANNELS, mpp=1.0)
    sfm.pp.cell_table(sdata)
    table, tiny = sdata["table"], sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    corner = (table.obs["sample"] == "a").to_numpy() & (table.obsm["spatial"] < 26).all(axis=1)
    told = {"recipe": {"window": 32}, "panel": {"markers": CHANNELS}}
    assert tiny.card.recipe.preparation is not None  # clipped and blurred as published
    before = expected_means(sdata, tiny, **told)[1]
    change = Perturbation({"CD20": 0.0}, corner)
    after = expected_means(sdata, tiny, change=change, **told)[1]
    moved = (after - before).abs()
    assert corner.sum() >= 2
    assert (moved.loc[corner, ["CD3", "CD68"]] > 0).all().all()
    other = (table.obs["sample"] == "b").to_numpy() | (table.obsm["spatial"] > 40).any(axis=1)
    assert (moved[other] < 1e-6).all().all()
    found = sfm.tl.perturb_markers(sdata, tiny, {"CD20": 0.0}, cells=list(table.obs_names[corner]), **told)
    assert found.index.tolist() == ["embedding", "CD3", "CD68"]
    for marker in ("CD3", "CD68"):
        own = (after - before).loc[corner, marker]
        assert found.loc[marker, "chosen"] == pytest.approx(own.mean(), rel=1e-4)
    assert found.loc["embedding", "chosen"] > 0


@pytest.mark.parametrize(
    ("values", "arguments", "error", "said"),
    [
        ({}, {"cells": "mine"}, PanelError, "values= is empty"),
        ({"CD99": 0.0}, {"cells": "mine"}, PanelError, "No marker 'CD99' among those"),
        ({"CD20": -1.0}, {"cells": "mine"}, PanelError, "no intensity below 0"),
        ({"CD20": 1e9}, {"cells": "mine"}, PanelError, "does not fit"),
        ({"CD20": 0.4}, {"cells": "mine"}, PanelError, "a value of 0.4 would become 0"),
        ({"CD20": 0.0}, {"cells": "yours"}, TableError, "No column 'yours'"),
        ({"CD20": 0.0}, {"cells": "cell_id"}, TableError, "must hold True and False"),
        ({"CD20": 0.0}, {"cells": ["nobody"]}, TableError, "No row 'nobody'"),
        ({"CD20": 0.0}, {"cells": []}, TableError, "No cell is chosen"),
        ({"CD20": 0.0}, {"cells": "everyone"}, TableError, "All cells are chosen"),
        ({"CD20": 0.0}, {"cells": "mine", "reconstruct": True}, ModelError, "has no decoder"),
    ],
)
def test_refusals_come_before_anything_is_written(cohort, values, arguments, error, said):
    sdata = cohort[0]
    sdata["table"].obs["everyone"] = True
    with pytest.raises(error, match=said):
        sfm.tl.perturb_markers(sdata, "mean-intensity", values, **arguments)
    assert "perturbation" not in sdata["table"].obs
    assert "perturbation" not in sdata["table"].uns


def test_a_marker_by_the_name_of_its_channel_is_the_same_marker(make_sdata, blobs):
    sdata = make_sdata({"a": blobs(0, side=70, n_cells=8)}, ["CD3", "MS4A1", "CD68"])
    sfm.pp.cell_table(sdata)
    told = {"cells": list(sdata["table"].obs_names[:2]), "panel": {"mapping": {"MS4A1": "CD20"}}, "recipe": RECIPE}
    one = sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0}, **told)
    other = sfm.tl.perturb_markers(sdata, Painter(), {"MS4A1": 0.0}, **told)
    assert one.index.tolist() == ["embedding", "CD3", "CD68"]
    pd.testing.assert_frame_equal(other, one)
    with pytest.raises(PanelError, match="names one marker twice"):
        sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0, "MS4A1": 5.0}, **told)
    sdata["table"].obs_names = ["1"] * sdata["table"].n_obs
    with pytest.raises(TableError, match="Two rows of the table have one name"):
        sfm.tl.perturb_markers(sdata, Painter(), {"CD20": 0.0}, **told | {"cells": ["1"]})
