"""``sfm.pp.segmentation_quality`` against the errors that the simulator made, and against planted ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from geopandas import GeoDataFrame
from shapely import box
from sklearn.metrics.cluster import contingency_matrix
from spatialdata.models import Image2DModel, Labels2DModel, PointsModel, ShapesModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation, get_transformation

import spatialfm as sfm
from spatialfm._errors import ArgumentError, CoordinateError, ElementError, PanelError, SpatialfmWarning, TableError

TRUE = {f"P00{i}_1": f"true_cells_P00{i}_1" for i in (1, 2)}


@pytest.fixture(scope="module")
def sdata():
    """Merges, splits and missed cells, with outlines as they are: each is one by any measure."""
    return sfm.datasets.simulate_cohort(
        n_patients=2, n_samples=1, image_size=256, dilation=0, merge_rate=0.2, split_rate=0.2, miss_rate=0.1,
        random_state=0,
        difficulty="easy",
    )  # fmt: skip


def test_merges_splits_and_misses_are_those_that_the_simulator_made(sdata):
    found = sfm.pp.segmentation_quality(sdata, reference=TRUE).set_index("sample")
    for sample, made in sdata.attrs["truth"]["segmentation"].items():
        row = found.loc[sample]
        assert row["n_cells"] == made["segmented_cells"]
        assert row["n_reference"] == made["true_cells"]
        assert row["merges"] == made["merges"]
        assert row["splits"] == made["splits"]
        assert row["missed"] == made["missed"]
        labels = [sdata[name + sample].values.ravel() for name in ("cells_", "true_cells_")]
        shared = contingency_matrix(*labels)  # rows and columns ascend, the background is first in both
        union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
        iou = (shared / union)[1:, 1:]
        for threshold in (0.5, 0.9):
            f1 = 2 * (iou > threshold).sum() / sum(iou.shape)
            assert row[f"f1_{threshold}"] == pytest.approx(f1)
    assert found["n_seams"].tolist() == [0, 0]


def test_the_truth_against_itself_is_without_error(sdata):
    found = sfm.pp.segmentation_quality(sdata, TRUE, reference=TRUE)
    assert (found[[f"f1_{one:g}" for one in (0.5, 0.6, 0.7, 0.8, 0.9)]] == 1).all(axis=None)
    assert (found[["merges", "splits", "missed"]] == 0).all(axis=None)


def test_nuclei_show_most_merged_and_split_cells(sdata):
    cells = sfm.pp.segmentation_quality(sdata, reference=TRUE, by="cell")
    merged = cells["merged"].astype(bool)
    assert cells.loc[merged, "several_nuclei"].mean() > 0.85
    assert merged[cells["several_nuclei"]].mean() > 0.85
    parts = cells["split"].astype(bool)
    assert (cells["shared_nucleus"] | cells["no_nucleus"])[parts].mean() > 0.75
    assert cells.loc[~merged & ~parts, "shared_nucleus"].mean() < 0.05
    truth = sfm.pp.segmentation_quality(sdata, TRUE)
    assert (truth["several_nuclei"] / truth["n_cells"]).max() < 0.02
    per_sample = sfm.pp.segmentation_quality(sdata)
    assert per_sample["several_nuclei"].tolist() == cells.groupby("sample")["several_nuclei"].sum().tolist()


def disc(centre, radius, shape=(120, 160)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


@pytest.fixture
def planted():
    """Nuclei and cells in known places: as it should be, two nuclei, none, half a nucleus each, at the border."""
    stain, cells = np.full((120, 160), 100.0), np.zeros((120, 160), np.int64)
    for centre in ((30, 30), (30, 80), (30, 95), (80, 100), (0, 140)):
        stain[disc(centre, 6)] = 4000
    cells[disc((30, 30), 9)] = 11
    cells[disc((30, 87), 18)] = 12  # two nuclei
    cells[disc((80, 30), 9)] = 13  # none
    cells[disc((80, 100), 9)] = 14
    cells[:, 100:][disc((80, 100), 9)[:, 100:]] = 15  # the other half
    cells[disc((0, 140), 9)] = 16  # at the border
    stain[disc((100, 140), 6)] = 4000  # a nucleus outside of cells
    scale = {"a": Scale([0.5, 0.5], axes=("x", "y"))}
    return sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(
                stain[None].astype(np.uint16), dims=("c", "y", "x"), c_coords=["DAPI"], transformations=scale
            )
        },
        labels={"cells_a": Labels2DModel.parse(cells, dims=("y", "x"), transformations=scale)},
    )


@pytest.mark.parametrize("tile", [1024, 64])
def test_each_planted_cell_has_the_flag_that_it_should(planted, tile, monkeypatch):
    from spatialfm.pp import segment_quality

    monkeypatch.setattr(segment_quality, "TILE", tile)
    monkeypatch.setattr(segment_quality, "OVERLAP", 4)
    cells = sfm.pp.segmentation_quality(planted, by="cell").set_index("cell_id")
    assert (
        cells["n_nuclei"].to_dict()
        == {11: 1, 12: 2, 13: 0, 14: 0, 15: 1, 16: 1} | cells["n_nuclei"][[14, 15]].to_dict()
    )
    assert cells.index[cells["several_nuclei"]].tolist() == [12]
    assert cells.index[cells["no_nucleus"]].tolist() == [13]
    assert cells.index[cells["shared_nucleus"]].tolist() == [14, 15]
    assert cells.index[cells["at_border"]].tolist() == [16]
    (row,) = sfm.pp.segmentation_quality(planted).to_dict("records")
    assert (row["n_cells"], row["n_nuclei"], row["nuclei_outside"]) == (6, 6, 1)
    assert [row[flag] for flag in ("at_border", "cut", "no_nucleus", "several_nuclei", "shared_nucleus")] == [
        1,
        0,
        1,
        1,
        2,
    ]


def test_labels_that_go_on_beyond_the_image_end_at_its_border(sdata):
    """A canvas that is larger than the image: where the image ends, its cells do, as at no other line."""
    own = sd.SpatialData(images={"image_P001_1": sdata["image_P001_1"]}, labels={"cells_a": sdata["cells_P001_1"]})
    inside = sdata["cells_P001_1"].values
    to_system = Sequence([Translation([-20, -10], axes=("x", "y")), get_transformation(own["image_P001_1"], "P001_1")])
    own["padded_a"] = Labels2DModel.parse(
        np.pad(inside, ((10, 30), (20, 4))), dims=("y", "x"), transformations={"P001_1": to_system}
    )
    pairs = ({"P001_1": "cells_a"}, {"P001_1": "padded_a"})
    one, two = (sfm.pp.segmentation_quality(own, each, by="cell").set_index("cell_id") for each in pairs)
    edges = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    assert sorted(two.index[two["at_border"]]) == sorted(set(edges[edges > 0]))
    assert not two["cut"].any()
    assert two.drop(columns="labels").equals(one.drop(columns="labels"))


def test_labels_of_other_pixels_than_the_image_are_followed(planted):
    coarse = planted["cells_a"].values[::2, ::2]
    planted["coarse_a"] = Labels2DModel.parse(
        coarse, dims=("y", "x"), transformations={"a": Scale([1.0, 1.0], axes=("x", "y"))}
    )
    fine = sfm.pp.segmentation_quality(planted, "cells_a", image="image_a", by="cell")
    both = sfm.pp.segmentation_quality(planted, "coarse_a", image="image_a", reference="cells_a", by="cell")
    flags = ["no_nucleus", "several_nuclei", "shared_nucleus", "at_border"]
    assert both[flags].equals(fine[flags])
    assert both["reference_id"].tolist() == both["cell_id"].tolist()
    assert both["iou"].min() > 0.75


def test_polygons_are_judged_and_are_a_reference_as_labels_are(planted):
    polygons = GeoDataFrame(geometry=[box(x, y, x + 9, y + 9) for x, y in ((10, 10), (35, 10), (10, 35))])  # µm
    planted["drawn_a"] = ShapesModel.parse(polygons, transformations={"a": Identity()})
    (row,) = sfm.pp.segmentation_quality(planted, {"a": "drawn_a"}, reference="cells_a").to_dict("records")
    assert (row["n_cells"], row["n_reference"], row["no_nucleus"]) == (3, 6, 1)
    (row,) = sfm.pp.segmentation_quality(planted, {"a": "cells_a"}, reference="drawn_a").to_dict("records")
    assert (row["n_cells"], row["n_reference"]) == (6, 3)


@pytest.mark.parametrize("ids", [[0, 1, 2], ["aab-1", "aac-1", "aad-1"], [40, 7, 9]])
def test_polygons_keep_the_ids_of_their_element(planted, ids):
    """The first lies on label 1 and the second on 2 of the labels, as planted; the third on nothing."""
    squares = [box(x, y, x + 9, y + 9) for x, y in ((10, 10), (35, 10), (10, 48))]  # µm
    planted["drawn_a"] = ShapesModel.parse(GeoDataFrame(geometry=squares, index=ids), transformations={"a": Identity()})
    labels = planted["cells_a"].values
    below = [int(labels[2 * y + 9, 2 * x + 9]) for x, y in ((10, 10), (35, 10))]
    cells = sfm.pp.segmentation_quality(planted, {"a": "drawn_a"}, image="image_a", by="cell")
    assert sorted(cells["cell_id"], key=ids.index) == ids
    back = sfm.pp.segmentation_quality(planted, {"a": "cells_a"}, image="image_a", reference="drawn_a", by="cell")
    back = back.set_index("cell_id")["reference_id"]
    assert back.loc[below].tolist() == ids[:2]
    nothing = back.drop(below)
    assert (nothing == 0).all() if ids[0] == 40 else nothing.isna().all()
    sfm.pp.cell_table(planted, labels={"a": "drawn_a"}, image={"a": "image_a"})
    sfm.pp.segmentation_quality(planted, {"a": "drawn_a"}, image="image_a", by="cell", table_name="table")
    obs = planted["table"].obs.set_index("cell_id")
    flags = cells.set_index("cell_id").loc[obs.index]
    assert obs["segmentation_no_nucleus"].tolist() == flags["no_nucleus"].tolist()
    assert obs.loc[ids[2], "segmentation_no_nucleus"]


def test_positions_alone_are_refused(planted):
    spots = PointsModel.parse(np.array([[10.0, 10], [30, 30]]), transformations={"a": Identity()})
    planted["spots_a"] = spots
    for arguments in ({"labels": {"a": "spots_a"}}, {"labels": {"a": "cells_a"}, "reference": "spots_a"}):
        with pytest.raises(ElementError, match=r"'spots_a' are positions without outlines"):
            sfm.pp.segmentation_quality(planted, **arguments)


def test_flags_go_to_the_rows_of_the_cells(sdata):
    own = sd.SpatialData(
        images={name: sdata[name] for name in sdata.images}, labels={name: sdata[name] for name in sdata.labels}
    )
    sfm.pp.cell_table(own)
    own.tables["table"] = own["table"][np.random.default_rng(0).permutation(own["table"].n_obs)].copy()
    cells = sfm.pp.segmentation_quality(
        own, samples="P001_1", reference="true_cells_P001_1", by="cell", table_name="table"
    )
    obs = own["table"].obs
    assert obs["segmentation_merged"].dtype == "boolean"
    assert obs.loc[obs["sample"] == "P002_1", "segmentation_merged"].isna().all()
    written = obs[obs["sample"] == "P001_1"].set_index("cell_id").loc[cells["cell_id"]]
    for flag in ("merged", "split", "no_nucleus", "several_nuclei", "shared_nucleus", "at_border", "cut"):
        assert written[f"segmentation_{flag}"].astype(bool).tolist() == cells[flag].astype(bool).tolist()
    sfm.pp.segmentation_quality(own, samples="P002_1", table_name="table")
    assert obs is own["table"].obs
    assert obs["segmentation_cut"].dtype == bool  # known of all now
    assert obs.loc[obs["sample"] == "P002_1", "segmentation_merged"].isna().all()  # there was no reference


def test_without_a_nuclear_stain_the_rest_is_told(planted):
    planted["image_a"] = planted["image_a"].assign_coords(c=["CD8"])
    with pytest.warns(SpatialfmWarning, match=r"No nuclear stain is recognised in 'image_a'.*nuclear=<channel>"):
        found = sfm.pp.segmentation_quality(planted, reference="cells_a")
    assert found[["no_nucleus", "several_nuclei", "n_nuclei", "nuclei_outside"]].isna().all(axis=None)
    assert found["f1_0.5"].tolist() == [1]
    assert found["at_border"].tolist() == [1]


def test_labels_without_a_cell_have_rows_and_no_number(planted):
    empty = Labels2DModel.parse(
        np.zeros((120, 160), int), dims=("y", "x"), transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))}
    )
    planted["empty_a"] = empty
    (row,) = sfm.pp.segmentation_quality(planted, "empty_a", image="image_a", reference="cells_a").to_dict("records")
    assert (row["n_cells"], row["f1_0.5"], row["missed"], row["nuclei_outside"]) == (0, 0, 6, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"thresholds": [0.4]}, ArgumentError, r"from 0\.5 to below 1, not 0\.4"),
        ({"reference": {"z": "cells_a"}}, ElementError, r"reference= names sample 'z'; the samples are 'a'"),
        ({"reference": ["cells_a", "cells_a"]}, ElementError, r"names 2 elements for 1 sample"),
        ({"reference": "none"}, ElementError, r"No labels element 'none'"),
        ({"reference": "elsewhere"}, CoordinateError, r"'elsewhere' \(in 'b'\) share no coordinate system"),
        ({"nuclear": "CD8"}, PanelError, r"No channel 'CD8'"),
        ({"table_name": "table"}, TableError, r"No table 'table' in sdata; found none"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(planted, arguments, error, message):
    planted["elsewhere"] = Labels2DModel.parse(
        np.zeros((4, 4), int), dims=("y", "x"), transformations={"b": Scale([1.0, 1.0], axes=("x", "y"))}
    )
    with pytest.raises(error, match=message):
        sfm.pp.segmentation_quality(planted, **arguments)


def test_a_table_of_other_labels_is_refused(planted):
    sfm.pp.cell_table(planted)
    planted["again_a"] = planted["cells_a"]
    with pytest.raises(TableError, match=r"Table 'table' has no row of labels 'again_a'; it annotates 'cells_a'"):
        sfm.pp.segmentation_quality(planted, "again_a", image="image_a", table_name="table")
    assert isinstance(planted["table"].obs, pd.DataFrame)
    assert not [name for name in planted["table"].obs if name.startswith("segmentation")]
