"""The heatmap and the map show the z-scores that are there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ArgumentError, PanelError, TableError

MARKERS = ["CD3", "CD20", "DAPI"]


@pytest.fixture
def cells() -> AnnData:
    rng = np.random.default_rng(0)
    index = [f"c{i}" for i in range(40)]
    types = pd.Index(["B", "T"], name="type")
    mean = pd.DataFrame([[-1.0, 2.0, 0.1], [1.5, -0.8, -0.04]], index=types, columns=MARKERS)
    z = pd.DataFrame(rng.normal(size=(40, 3)), index=index, columns=MARKERS)
    obs = pd.DataFrame({"sample": ["s1"] * 25 + ["s2"] * 15}, index=index)
    record = {"mean": mean, "n": pd.DataFrame({"n": [1200, 30]}, index=types), "params": {"model": "kronos"}}
    obsm = {"marker_attention_z": z, "spatial": rng.uniform(0, 200, (40, 2))}
    return AnnData(obs=obs, obsm=obsm, uns={"marker_attention": record})


def test_the_heatmap_is_the_table(cells):
    ax = sfm.pl.marker_attention(cells, show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CD20", "DAPI", "CD3"]  # by type, then strength
    assert [label.get_text() for label in ax.get_yticklabels()] == ["B (1,200)", "T (30)"]
    (mesh,) = ax.collections
    np.testing.assert_allclose(np.ravel(mesh.get_array()), [2.0, 0.1, -1.0, -0.8, -0.04, 1.5])
    assert mesh.get_clim() == (-2, 2)
    assert [text.get_text() for text in ax.texts] == ["2.0", "0.1", "−1.0", "−0.8", "0.0", "1.5"]
    plain = sfm.pl.marker_attention(cells, sort=False, limit=1, show=False)
    assert [label.get_text() for label in plain.get_xticklabels()] == MARKERS
    assert plain.collections[0].get_clim() == (-1, 1)


def test_the_map_is_the_sample(cells):
    ax = sfm.pl.marker_attention(cells, marker="CD20", sample="s2", show=False)
    (points,) = ax.collections
    z, xy = cells.obsm["marker_attention_z"]["CD20"].to_numpy()[25:], cells.obsm["spatial"][25:]
    drawn = np.c_[points.get_offsets(), points.get_array()]  # in any order: none of the numbers is on top by its size
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], (rows := np.c_[xy, z])[np.lexsort(rows.T)])
    low, high = points.get_clim()
    assert low == -high
    assert ax.yaxis_inverted()
    assert (ax.get_xlabel(), ax.get_title(loc="left")) == ("x", "s2")  # nobody said the unit
    assert sfm.pl.marker_attention(cells[:25], marker="CD20", show=False).get_title(loc="left") == "s1"


@pytest.mark.parametrize("unit", ["µm", "pixel"])
def test_the_map_is_in_the_unit_of_the_table(cells, unit):
    cells.uns["spatialfm"] = {"table": {"unit": unit}}
    cells.obsm["other"] = cells.obsm["spatial"]
    for key, expected in (("spatial", f" ({unit})"), ("other", "")):
        ax = sfm.pl.marker_attention(cells, marker="CD20", sample="s2", spatial_key=key, show=False)
        assert (ax.get_xlabel(), ax.get_ylabel()) == (f"x{expected}", f"y{expected}")


def test_labels_do_not_run_into_each_other(cells, check_boxes):
    figure = sfm.pl.marker_attention(cells, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    for labels in (ax.get_xticklabels(), ax.get_yticklabels(), ax.texts):
        check_boxes(figure, [label.get_window_extent() for label in labels])


def test_what_is_constant_is_drawn(cells):
    cells.uns["marker_attention"]["mean"][:] = 0.0
    ax = sfm.pl.marker_attention(cells, show=False)
    assert {text.get_text() for text in ax.texts} == {"0.0"}
    cells.obsm["marker_attention_z"][:] = 0.0
    sfm.pl.marker_attention(cells, marker="CD3", sample="s1", show=False)


def test_refusals(cells):
    for arguments, error, message in [
        ({"key": "x"}, TableError, r"No attention in uns\['x'\]; uns has 'marker_attention'.*sfm.tl.marker_attention"),
        ({"marker": "CD8"}, PanelError, r"No marker 'CD8' in obsm\['marker_attention_z'\].*'CD3', 'CD20', 'DAPI'"),
        ({"marker": "CD3"}, TableError, "sample=None is not one of 's1', 's2'"),
        ({"marker": "CD3", "sample": "x"}, TableError, "sample='x' is not one of"),
        ({"marker": "CD3", "library_key": "slide"}, TableError, "No column 'slide' in obs"),
        ({"marker": "CD3", "spatial_key": "xy"}, TableError, "No coordinates 'xy' in obsm"),
        ({"sample": "s1"}, TableError, "sample='s1' is drawn as a map of one marker. Pass marker="),
        ({"limit": 0}, ArgumentError, "limit=0.*above 0"),
    ]:
        with pytest.raises(error, match=message):
            sfm.pl.marker_attention(cells, **arguments)
