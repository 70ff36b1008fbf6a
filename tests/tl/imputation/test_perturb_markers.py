"""Cells whose pixels are set to a value, against embeddings of images that were changed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stand_in import Painter

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError, TableError
from spatialfm.embed.paint.expected import expected_means

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
    told = {"recipe": {"mode": "crop", "statistics": of_pixels, "standardize": False}}
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
