"""Example cells: each cut shows the cell that the table means."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.reporting.examples import N_EXAMPLES, _channels, _limits, choose, example_cells
from spatialfm.reporting.source import ReportKeys, read_source
from spatialfm.reporting.summaries import marker_means


@pytest.fixture
def sdata():
    sfm.settings.progress = False
    sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=128, random_state=0, difficulty="easy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)  # a fragment of a mask
        sfm.pp.cell_table(sdata)
    names = np.where(np.arange(sdata["table"].n_obs) % 2, "odd", "even")
    sdata["table"].obs["phenotype"] = pd.Categorical(names)
    return sdata


def source_of(sdata, samples=None):
    keys = ReportKeys("sample", "patient", "phenotype", None, None, None, None, ())
    return read_source(sdata, samples=samples, patients=None, keys=keys)


def test_each_cut_has_the_mask_of_a_cell_of_its_phenotype(sdata):
    found = choose(source_of(sdata), "phenotype")
    assert {name: len(examples) for name, examples in found.items()} == {"even": N_EXAMPLES, "odd": N_EXAMPLES}
    cells = sdata["table"]
    for name, examples in found.items():
        for one in examples:
            middle = ((one.window.x0 + one.window.x1) / 2, (one.window.y0 + one.window.y1) / 2)
            row = next(
                i for i in np.flatnonzero(np.isclose(cells.obsm["spatial"], middle).all(axis=1))
                if cells.obs["sample"].iloc[i] == one.pair.sample
            )  # fmt: skip
            assert cells.obs["phenotype"].iloc[row] == name
            pixels = np.asarray(sdata.labels[one.pair.labels].data) == cells.obs["cell_id"].iloc[row]
            left, _, _, top = one.place
            y, x = round(top / 0.5), round(left / 0.5)  # half a µm per pixel
            np.testing.assert_array_equal(one.mask, pixels[y : y + one.mask.shape[0], x : x + one.mask.shape[1]])


def test_a_cell_that_is_not_where_the_table_says_is_not_shown(sdata):
    sdata["table"].obsm["spatial"] = sdata["table"].obsm["spatial"] + 1000.0  # positions in other units
    assert not any(choose(source_of(sdata), "phenotype").values())
    (sentence,) = example_cells(source_of(sdata), "phenotype", marker_means(sdata["table"], "phenotype")[1])
    assert "no cell is in an image that was looked at" in sentence
    sdata["table"].obsm["spatial"] = sdata["table"].obsm["spatial"] - 975.0  # 25 µm off: most cells are out of sight
    for examples in choose(source_of(sdata), "phenotype").values():
        assert all(one.mask.any() for one in examples)


def test_only_images_that_are_looked_at_are_cut(sdata):
    name = sdata["samples"].obs_names[1]
    found = choose(source_of(sdata, [name]), "phenotype")
    assert {one.pair.sample for examples in found.values() for one in examples} == {name}


def test_limits_are_percentiles_of_the_means_of_cells_and_channels_stand_out(sdata):
    source, cells = source_of(sdata), sdata["table"]
    pair = source.looked_at[0]
    chosen = [one for some in choose(source, "phenotype").values() for one in some if one.pair.sample == pair.sample]
    limits = _limits(source, {one.row: one for one in chosen})
    assert {cells.obs["sample"].iloc[one.row] for one in chosen} == {pair.sample}
    values = np.asarray(cells[(cells.obs["sample"] == pair.sample).to_numpy(), "CD3"].X, float).ravel()
    np.testing.assert_allclose(limits.loc["CD3"], np.percentile(values, (1, 99.5)))
    scores = pd.Series({"DAPI": 3.0, "CD3": -1.0, "CD8": 0.5, "CD4": 2.0, "not in the image": 9.0})
    assert _channels(source, pair, scores) == ["DAPI", "CD4", "CD8"]
    assert _channels(source, pair, scores - 2.5) == ["DAPI", "CD4"]  # none above average: the highest


def test_what_is_missing_is_said(sdata):
    cells = sdata["table"]
    cells.obs["cell_id"] = 1
    (sentence,) = example_cells(source_of(sdata), "phenotype", marker_means(sdata["table"], "phenotype")[1])
    assert "more than one for the same cell" in sentence
    del cells.obsm["spatial"]
    (sentence,) = example_cells(source_of(sdata), "phenotype", marker_means(sdata["table"], "phenotype")[1])
    assert "the cells have no obsm[&#x27;spatial&#x27;]" in sentence
