"""``sfm.pp.segment_cells`` against the truth of the simulator, and what it refuses."""

from __future__ import annotations

import re
import warnings

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel
from spatialdata.transformations import Identity, Scale, get_transformation, set_transformation

import spatialfm as sfm
from spatialfm._errors import (
    ArgumentError,
    ElementError,
    InputFileError,
    PanelError,
    PixelSizeError,
    RunError,
    SpatialfmWarning,
)
from spatialfm.pp.stitch import overlaps

MEMBRANE = ["CD3", "CD8", "CD4", "CD20", "CD68", "Cytokeratin"]


@pytest.fixture(autouse=True)
def _cache(tmp_path):
    sfm.settings.cache_dir = tmp_path / "cache"
    yield
    sfm.settings.reset()


@pytest.fixture(scope="module")
def simulated():
    return sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=320, random_state=0, difficulty="easy")


@pytest.fixture
def sdata(simulated):
    """The image and the truth, and nothing else."""
    images = {"image_P001_1": simulated["image_P001_1"]}
    return sd.SpatialData(images=images, labels={"true_cells_P001_1": simulated["true_cells_P001_1"]})


def f1(found, truth) -> float:
    """Object F1 at an intersection over union of 0.5, written out: `scipy` counts nothing here that the code does."""
    found, truth = np.asarray(found), np.asarray(truth)
    n_found, n_truth = np.unique(found[found > 0]).size, np.unique(truth[truth > 0]).size
    hits = 0
    for cell in np.unique(found[found > 0]):
        mask = found == cell
        others, shared = np.unique(truth[mask], return_counts=True)
        for other, n in zip(others, shared, strict=True):
            hits += bool(other) and n / (mask.sum() + (truth == other).sum() - n) > 0.5
    return 2 * hits / (n_found + n_truth)


def test_cells_of_the_simulator_are_found_and_tiles_change_nothing(sdata):
    truth = sdata["true_cells_P001_1"].values
    scores, found = {}, {}
    for side, overlap in ((320, None), (150, None), (64, 24)):
        name = f"tiles{side}"
        sfm.pp.segment_cells(sdata, nuclear="DAPI", key_added=name, tile_size=side, overlap=overlap)
        found[side] = sdata[f"{name}_P001_1"].values
        scores[side] = f1(found[side], truth)
    assert scores[320] > 0.9
    assert scores[150] == pytest.approx(scores[320], abs=0.01)
    assert scores[64] == pytest.approx(scores[320], abs=0.01)
    assert f1(found[64], found[320]) > 0.99


def test_nuclei_that_few_bright_ones_hide_are_said_with_a_threshold_that_finds_them(sdata, recwarn):
    sfm.pp.segment_cells(sdata, nuclear="DAPI", key_added="clean")
    assert not [one for one in recwarn if "may be missed" in str(one.message)]
    real = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=160, random_state=5)
    truth = real["true_cells_P001_1"].values
    with pytest.warns(SpatialfmWarning, match="Nuclei of image 'image_P001_1' may be missed") as caught:
        sfm.pp.segment_cells(real, nuclear="DAPI", key_added="otsu")
    (said,) = [str(one.message) for one in caught if "may be missed" in str(one.message)]
    lower = float(re.search(r"'threshold': ([\d.e-]+)", said)[1])
    sfm.pp.segment_cells(real, nuclear="DAPI", key_added="lower", options={"threshold": lower})
    assert f1(real["lower_P001_1"].values, truth) > 2 * f1(real["otsu_P001_1"].values, truth)


def test_no_cell_ends_at_the_border_of_a_tile(sdata):
    """Where cores meet, cells touch as often as without tiles; without an overlap they would be cut there."""

    def touching(**options):
        sfm.pp.segment_cells(sdata, nuclear="DAPI", overwrite=True, **options)
        labels = sdata["cells_P001_1"].values
        return sum(
            ((one[63:-1:64] != one[64::64]) & (one[63:-1:64] > 0) & (one[64::64] > 0)).sum()
            for one in (labels, labels.T)
        )

    whole = touching()
    assert touching(tile_size=64, overlap=24) == pytest.approx(whole, rel=0.05)
    assert touching(tile_size=64, overlap=0) > 2 * whole


def test_the_membrane_brings_outlines_nearer_to_the_truth(sdata):
    truth = sdata["true_cells_P001_1"].values
    shared = []
    for membrane in (None, MEMBRANE):
        sfm.pp.segment_cells(sdata, nuclear="DAPI", membrane=membrane, expansion=3.0, overwrite=True)
        found = sdata["cells_P001_1"].values
        one, other, n = overlaps(found, truth)
        iou = n / (np.bincount(found.ravel())[one] + np.bincount(truth.ravel())[other] - n)
        shared.append(iou[iou > 0.5].mean())
    assert shared[1] > shared[0] + 0.01


def test_the_element_lies_on_the_image_and_says_how_it_was_made(sdata):
    sfm.pp.segment_cells(sdata, membrane=["CD3"], diameter=9, min_area=10)  # DAPI is recognised
    element = sdata["cells_P001_1"]
    assert element.dtype == np.uint32
    assert element.shape == sdata["image_P001_1"].shape[1:]
    matrices = [
        get_transformation(sdata[name], "P001_1").to_affine_matrix(("y", "x"), ("y", "x")).tolist()
        for name in ("cells_P001_1", "image_P001_1")
    ]
    assert matrices[0] == matrices[1]
    areas = np.bincount(element.values.ravel())[1:] * 0.25
    assert areas.min() >= 10
    record = sdata.attrs["spatialfm"]["segmentation"]["cells_P001_1"]
    assert record["n_cells"] == areas.size == element.values.max()
    assert (record["method"], record["nuclear"], record["membrane"]) == ("watershed", ["DAPI"], ["CD3"])
    assert (record["diameter_um"], record["min_area_um2"], record["mpp"]) == (9, 10, 0.5)
    sfm.pp.cell_table(sdata)
    assert sdata["table"].n_obs == areas.size


def test_lengths_are_in_micrometres_whatever_the_pixels(simulated):
    """The same image with pixels of twice the size and twice as many µm in each argument: the same cells."""
    fine = sd.SpatialData(images={"image_P001_1": simulated["image_P001_1"]})
    coarse = sd.SpatialData(
        images={
            "image_P001_1": Image2DModel.parse(
                simulated["image_P001_1"].values,
                dims=("c", "y", "x"),
                c_coords=[str(name) for name in simulated["image_P001_1"].c.values],
                transformations={"P001_1": Scale([1.0, 1.0], axes=("x", "y"))},
            )
        }
    )
    sfm.pp.segment_cells(fine, diameter=8, expansion=2, min_area=5)
    sfm.pp.segment_cells(coarse, diameter=16, expansion=4, min_area=20)
    assert np.array_equal(fine["cells_P001_1"], coarse["cells_P001_1"])
    with pytest.warns(SpatialfmWarning, match="mpp=0.5 contradicts"):
        sfm.pp.segment_cells(coarse, diameter=8, expansion=2, min_area=5, mpp=0.5, key_added="again")
    assert np.array_equal(fine["cells_P001_1"], coarse["again_P001_1"])


# --------------------------------------------------------------------------------------------------------- a function


def squares(tile, mpp, side=20):
    """Cells of one size in places that do not depend on the tile: what a pixel says of its place."""
    places = tile.sel(c="place").values
    return places.astype(np.int64)


@pytest.fixture
def placed():
    """An image whose first channel holds the number of the square that a pixel is in, with gaps between them."""
    y, x = np.mgrid[:90, :120]
    place = np.where((y % 15 < 12) & (x % 17 < 14), 1 + (y // 15) * 8 + x // 17, 0).astype(np.uint16)
    image = np.stack([place, place * 0 + 3])
    return sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(
                da.from_array(image, chunks=(1, 40, 50)),
                dims=("c", "y", "x"),
                c_coords=["place", "other"],
                transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))},
            )
        }
    )


def test_a_function_gets_named_channels_and_micrometres_and_its_cells_are_kept_as_they_are(placed):
    seen = []

    def method(tile, mpp, factor):
        seen.append((tile.dims, [str(name) for name in tile.c.values], tile.dtype, mpp, factor))
        return squares(tile, mpp) * factor

    sfm.pp.segment_cells(placed, method, options={"factor": 3}, tile_size=40, overlap=18, min_area=0)
    truth = placed["image_a"].values[0]
    found = placed["cells_a"].values
    one, other, n = overlaps(found, truth)
    assert one.size == np.unique(one).size == np.unique(truth[truth > 0]).size  # one to one
    assert n.sum() == (truth > 0).sum() == (found > 0).sum()  # and every pixel
    assert len(seen) == 9
    assert set(map(str, seen)) == {str((("c", "y", "x"), ["place", "other"], np.dtype(np.uint16), 0.5, 3))}


def test_a_function_gets_only_the_channels_that_are_named(placed):
    names = []
    sfm.pp.segment_cells(
        placed, lambda tile, mpp: names.append(list(tile.c.values)) or squares(tile, mpp), nuclear="place", diameter=3
    )
    assert names == [["place"]]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            lambda tile, mpp: tile.values[0, 1:].astype(int),
            r"returned int64 \(89, 120\)\. It must return whole numbers",
        ),
        (lambda tile, mpp: tile.values[0] * 0.5, r"returned float64"),
        (lambda tile, mpp: tile.values[0].astype(int) - 5, "returned negative numbers"),
    ],
)
def test_what_is_no_label_image_is_refused_and_nothing_written(placed, method, message):
    with pytest.raises(ElementError, match=message):
        sfm.pp.segment_cells(placed, method, diameter=3)
    assert not placed.labels
    assert "segmentation" not in placed.attrs.get("spatialfm", {})


def test_an_error_of_a_function_names_the_tile(placed, tmp_path):
    def method(tile, mpp):
        if tile.values[0, -1, -1] == tile.values[0].max():
            raise KeyError("no such thing")
        return squares(tile, mpp)

    with pytest.raises(RunError, match=r"tile of 'image_a' at rows \d+ to \d+, columns .* failed \(KeyError"):
        sfm.pp.segment_cells(placed, method, diameter=2, tile_size=40)
    assert not placed.labels
    assert not list((tmp_path / "cache").rglob("*.npz"))  # of a function that may be changed, nothing is taken up


# ------------------------------------------------------------------------------------------------- large and stopped


def test_a_stopped_run_goes_on_where_it_stopped_and_ends_with_the_same_cells(sdata, monkeypatch):
    from spatialfm.pp.watershed import Watershed

    sfm.pp.segment_cells(sdata, key_added="whole", tile_size=110, overlap=40)
    original, calls = Watershed.__call__, []

    def counted(self, *pixels):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(self, *pixels)

    monkeypatch.setattr(Watershed, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        sfm.pp.segment_cells(sdata, tile_size=110, overlap=40)
    assert "cells_P001_1" not in sdata.labels
    assert len(calls) == 6
    sfm.pp.segment_cells(sdata, tile_size=110, overlap=40)
    assert len(calls) == 6 + 4  # nine tiles, of which five were there
    assert np.array_equal(sdata["cells_P001_1"], sdata["whole_P001_1"])
    sfm.pp.segment_cells(
        sdata, key_added="other", tile_size=110, overlap=40, diameter=9
    )  # other options: nothing is taken
    assert len(calls) == 10 + 9


def test_tiles_of_another_image_are_not_taken(sdata, monkeypatch):
    from spatialfm.pp import segment_run

    forget = segment_run.Kept.forget
    monkeypatch.setattr(segment_run.Kept, "forget", lambda self, names: None)
    sfm.pp.segment_cells(sdata, key_added="one")
    image = sdata["image_P001_1"]
    changed = image.values.copy()
    changed[0, :40] = changed[0].min()
    sdata["image_P001_1"] = Image2DModel.parse(
        changed, dims=image.dims, c_coords=image.c.values, transformations=get_transformation(image, get_all=True)
    )
    sfm.pp.segment_cells(sdata, key_added="two")
    assert not sdata["two_P001_1"].values[:30].any()
    assert sdata["one_P001_1"].values[:30].any()
    monkeypatch.setattr(segment_run.Kept, "forget", forget)


def test_large_labels_stay_on_disk_and_are_the_same(sdata, tmp_path):
    sfm.pp.segment_cells(sdata, key_added="memory", tile_size=110, overlap=40)
    sfm.settings.result_memory = 1000
    sfm.pp.segment_cells(sdata, key_added="disk", tile_size=110, overlap=40)
    stores = list((tmp_path / "cache" / "segmentation").iterdir())
    assert [one.suffix for one in stores] == [".zarr"]  # and no tile is left
    assert np.array_equal(sdata["disk_P001_1"], sdata["memory_P001_1"])
    sdata.write(tmp_path / "sdata.zarr")
    assert np.array_equal(sd.read_zarr(tmp_path / "sdata.zarr")["disk_P001_1"], sdata["memory_P001_1"])


def test_labels_on_disk_are_those_of_their_own_method_options_and_function(sdata):
    """The same image again, with what changes neither pixels nor levels."""

    def one_cell(tile, mpp):
        return np.ones(tile.shape[1:], int)

    def two_cells(tile, mpp):
        return one_cell(tile, mpp) + (np.arange(tile.shape[2]) >= 160)

    calls = [{"expansion": 0.0}, {"expansion": 4.0}, {"method": one_cell}, {"method": two_cells}]
    for place, memory in (("memory", 2**30), ("disk", 0)):
        sfm.settings.result_memory = memory
        for number, call in enumerate(calls):
            sfm.pp.segment_cells(sdata, key_added=f"{place}{number}", nuclear="DAPI", **call)
    kept = [sdata[f"memory{number}_P001_1"].values for number in range(len(calls))]
    assert (kept[0] > 0).sum() < (kept[1] > 0).sum()
    assert (kept[2].max(), kept[3].max()) == (1, 2)
    for number, labels in enumerate(kept):
        assert np.array_equal(sdata[f"disk{number}_P001_1"], labels)


# --------------------------------------------------------------------------------------------------------- refusals


def test_names_that_exist_are_refused_and_labels_of_a_table_never_replaced(simulated, sdata):
    sdata["cells_P001_1"] = simulated["cells_P001_1"]
    before = sdata["cells_P001_1"].values.copy()
    with pytest.raises(ElementError, match=r"already has labels 'cells_P001_1'.*key_added="):
        sfm.pp.segment_cells(sdata)
    sfm.pp.cell_table(sdata)
    with pytest.raises(ElementError, match=r"Table 'table' annotates labels 'cells_P001_1'"):
        sfm.pp.segment_cells(sdata, overwrite=True)
    with pytest.raises(ElementError, match=r"sdata\.images holds one of that name"):
        sfm.pp.segment_cells(sdata, key_added="image")
    assert np.array_equal(sdata["cells_P001_1"], before)
    sfm.pp.segment_cells(sdata, key_added="again")
    assert sdata["again_P001_1"].values.any()


def test_channels_pixel_sizes_and_tiles_are_checked_before_any_work(sdata, placed):
    with pytest.raises(PanelError, match=r"No channel 'DNA' in image 'image_P001_1' \(nuclear=\); found 'DAPI'"):
        sfm.pp.segment_cells(sdata, nuclear="DNA")
    with pytest.raises(PanelError, match=r"\(membrane=\)"):
        sfm.pp.segment_cells(sdata, membrane=["CD3", "none"])
    with pytest.raises(PanelError, match=r"No nuclear stain is recognised.*'place', 'other'.*Pass nuclear="):
        sfm.pp.segment_cells(placed)
    with pytest.raises(ArgumentError, match=r"smaller than their overlap of 128 pixels.*tile_size=128"):
        sfm.pp.segment_cells(sdata, tile_size=100)
    with pytest.raises(ElementError, match=r"No sample 'x'"):
        sfm.pp.segment_cells(sdata, samples="x")
    set_transformation(sdata["image_P001_1"], Identity(), "P001_1")
    with pytest.raises(PixelSizeError, match=r"unknown.*Pass mpp="):
        sfm.pp.segment_cells(sdata)
    assert set(sdata.labels) == {"true_cells_P001_1"}


def test_pixels_that_are_nan_are_refused_with_code_that_runs(simulated):
    image = simulated["image_P001_1"].values.astype(np.float32)
    image[0, 3, 7], image[0, 4, 7] = np.nan, np.inf
    sdata = sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(
                image,
                dims=("c", "y", "x"),
                c_coords=[str(name) for name in simulated["image_P001_1"].c.values],
                transformations={"a": Scale([0.5, 0.5], axes=("x", "y"))},
            )
        }
    )
    with pytest.raises(ElementError, match=r"2 values that are NaN.*\(DAPI\)") as refused:
        sfm.pp.segment_cells(sdata)
    code = str(refused.value).partition("such as 0: ")[2].rstrip(".")
    exec(code, {"sdata": sdata, "numpy": np})
    sfm.pp.segment_cells(sdata)
    assert sdata["cells_a"].values.any()


def test_an_image_without_signal_gives_no_cell_and_a_warning(placed):
    with pytest.warns(SpatialfmWarning, match=r"No cell was found for 'cells_a'"):
        sfm.pp.segment_cells(placed, nuclear="other", diameter=3)
    assert not placed["cells_a"].values.any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "virtues"}, ArgumentError, r"needs the weights of its head"),
        (
            {"weights": "w.pt"},
            ArgumentError,
            r"weights= belongs to method='instanseg', 'cellpose' and 'virtues', not to watershed",
        ),
        ({"options": {"treshold": 1}}, ArgumentError, r"no 'treshold'; it takes 'threshold'"),
        ({"method": "stardist"}, ArgumentError, r"method must be"),
        ({"diameter": 0}, ArgumentError, r"diameter must be a number above 0"),
        ({"expansion": -1}, ArgumentError, r"expansion must be"),
    ],
)
def test_arguments_that_cannot_be_are_refused(sdata, arguments, error, message):
    with pytest.raises(error, match=message):
        sfm.pp.segment_cells(sdata, **arguments)
    assert set(sdata.labels) == {"true_cells_P001_1"}


def test_several_samples_and_only_those_asked_for():
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.segment_cells(sdata, samples=["P001_1", "P003_1"], key_added="found")
    assert {name for name in sdata.labels if name.startswith("found")} == {"found_P001_1", "found_P003_1"}
    alone = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.segment_cells(alone, samples="P003_1", key_added="found")
    assert np.array_equal(alone["found_P003_1"], sdata["found_P003_1"])


def test_weights_that_are_no_file_are_refused(sdata, monkeypatch, tmp_path):
    from spatialfm.pp import segmenters

    monkeypatch.setattr(segmenters, "need", lambda *args: None)
    for method in ("instanseg", "cellpose"):
        with pytest.raises(ArgumentError, match=r"needs the weights of a model, which are not downloaded for you"):
            sfm.pp.segment_cells(sdata, method)
        with pytest.raises(InputFileError, match=r"is not a file. Pass the"):
            sfm.pp.segment_cells(sdata, method, weights=tmp_path / "none.pt")
