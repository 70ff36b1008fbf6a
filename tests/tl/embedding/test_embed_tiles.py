"""`embed_tiles` against plain numpy, tile by tile."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, TableError
from spatialfm.embed.windows.grid import GridJob

CHANNELS = ["DAPI", "CD3", "CD20"]


@pytest.fixture
def sdata(make_sdata):
    """Two images; the right half of the first contains no tissue."""
    rng = np.random.default_rng(0)
    images = {}
    for sample, (height, width) in {"a": (96, 128), "b": (70, 64)}.items():
        image = rng.integers(100, 200, (3, height, width)).astype(np.uint8)
        images[sample] = image
    images["a"][:, :, 64:] = rng.integers(0, 4, (3, 96, 64))
    labels = {sample: np.zeros(image.shape[1:], np.int32) for sample, image in images.items()}
    for label, (y, x) in enumerate([(8, 8), (12, 40), (20, 50), (60, 10), (80, 50)], start=1):
        labels["a"][y - 3 : y + 3, x - 3 : x + 3] = label
    labels["b"][30:36, 30:36] = 1
    return make_sdata({sample: (images[sample], labels[sample]) for sample in images}, CHANNELS)


def test_tiles_are_means_of_squares_of_tissue(sdata, monkeypatch):
    for block in (1024, 40):
        monkeypatch.setattr(GridJob, "block_side", block)
        table = sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, copy=True)
        image = np.asarray(sdata["image_a"])
        of_a = table[table.obs["sample"] == "a"]
        assert of_a.n_obs == 6  # the six squares of the left half; the right half is empty
        expected = [image[:, y : y + 32, x : x + 32].mean((1, 2)) / 255 for y in (0, 32, 64) for x in (0, 32)]
        np.testing.assert_allclose(of_a.obsm["X_mean_intensity"], expected, rtol=1e-5)
        np.testing.assert_allclose(of_a.obsm["spatial"][0], [8, 8])  # µm: 16 pixels of 0.5
        # image b is 70 pixels high: the last row of tiles ends at its edge
        centres = table[table.obs["sample"] == "b"].obsm["spatial"][:, 1]
        np.testing.assert_allclose(np.unique(centres), [8, 24, 27])
    assert not sdata.tables
    assert not sdata.shapes


def test_shapes_and_table_belong_together_and_survive_a_store(sdata, tmp_path):
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, stride=16, min_tissue=0.6)
    table = sdata["tiles"]
    assert set(table.obs["region"]) == {"tiles_a", "tiles_b"} == set(sdata.shapes)
    for sample in ("a", "b"):
        mine = table.obs[table.obs["sample"] == sample]
        np.testing.assert_array_equal(mine["tile_id"], sdata[f"tiles_{sample}"].index)
        bounds = sdata[f"tiles_{sample}"].bounds
        np.testing.assert_allclose(bounds["maxx"] - bounds["minx"], 16)  # 32 pixels of 0.5 µm
        centre = table[mine.index].obsm["spatial"]
        np.testing.assert_allclose((bounds["minx"] + bounds["maxx"]) / 2, centre[:, 0])
    assert (table.obs["tissue"] >= 0.6).all()
    sdata.write(tmp_path / "cohort.zarr")
    again = sd.read_zarr(tmp_path / "cohort.zarr")
    np.testing.assert_array_equal(again["tiles"].obsm["X_mean_intensity"], table.obsm["X_mean_intensity"])
    notes = sfm.get.record(again["tiles"], "X_mean_intensity")
    assert (notes["mode"], notes["window"], notes["stride"], notes["min_tissue"]) == ("grid", 32, 16, 0.6)


def test_the_commonest_label_of_a_tile_and_its_share(sdata):
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["type"] = ["B", "T", "B", "T", None, "T"]  # a_1 … a_5, b_1
    table = sfm.tl.embed_tiles(sdata, "mean-intensity", size=64, cluster_key="type", copy=True)
    first = table.obs.iloc[0]  # rows and columns 0 to 64 of a: a_1 B, a_2 T, a_3 B, a_4 T (tie: B), a_5 without label
    assert (first["n_cells"], first["label"], first["label_share"]) == (4, "B", 0.5)
    small = sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="type", copy=True).obs
    assert small["n_cells"].tolist()[:2] == [1, 2]  # a_1; a_2 and a_3
    assert small["label"].tolist()[:2] == ["B", "B"]
    assert small["label_share"].tolist()[:2] == [1.0, 0.5]
    empty = small[small["n_cells"] == 0]
    assert len(empty)
    assert empty["label"].isna().all()
    assert empty["label_share"].isna().all()


def test_kronos_regions(sdata):
    """Whole windows, nothing masked: the same as the encoder on the standardised pixels."""
    encoder = sfm.models.load("kronos", weights="random")
    table = sfm.tl.embed_tiles(sdata, encoder, size=64, outputs="patch", samples=["a"], copy=True)
    notes = sfm.get.record(table, "X_kronos")
    mean, std = (np.array(notes[f"normalization_{name}"])[:, None, None] for name in ("mean", "std"))
    first = np.asarray(sdata["image_a"])[:, :64, :64] / 255
    with torch.inference_mode():
        pixels = torch.tensor((first - mean) / std, dtype=torch.float32)[None]
        expected = encoder(pixels, torch.tensor(notes["marker_ids"])).patch[0].numpy()
    np.testing.assert_allclose(table.obsm["X_kronos"][0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 40}, ModelError, r"size=40 is not a multiple of the model's patch of 16"),
        ({"stride": 0}, ArgumentError, r"stride=0.*at least 1"),
        ({"min_tissue": 2}, ArgumentError, r"min_tissue=2.*from 0 to 1"),
        ({"outputs": "token"}, ModelError, r"no output 'token' for tiles"),
        ({"size": 512, "min_tissue": 0.9}, ModelError, r"No tile of 512 pixels holds 90% of tissue"),
        ({"cluster_key": "type"}, TableError, r"No table 'table' to take 'type' from"),
    ],
)
def test_refusals_write_nothing(sdata, arguments, error, message):
    with pytest.raises(error, match=message):
        sfm.tl.embed_tiles(sdata, "kronos", weights="random", **arguments)
    assert not sdata.tables
    assert not sdata.shapes


@pytest.mark.parametrize("lacking", ["sample", "spatial"])
def test_a_table_of_cells_that_tells_no_place_is_refused_before_any_tile(make_sdata, lacking):
    image, labels = np.full((2, 64, 64), 40, np.uint8), np.zeros((64, 64), np.int32)
    labels[8:16, 8:16], labels[40:50, 40:50] = 1, 2
    sdata = make_sdata({"s": (image, labels)}, ["DAPI", "CD3"])
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["type"] = ["T", "B"]
    if lacking == "sample":
        del sdata["table"].obs["sample"]
    else:
        del sdata["table"].obsm["spatial"]
    with pytest.raises(TableError, match=rf"Table 'table' has no .*'{lacking}'.*cell_table_name="):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="type", recipe={"tissue": "all"})
    assert "tiles" not in sdata.tables


def test_a_model_that_measures_cells_measures_whole_tiles(make_sdata):
    """Means and quantiles of `classical` are of all pixels of a tile, whatever cells are in it."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 1000, (2, 64, 96)).astype(np.uint16)
    image[:, :, 32:64] //= 3
    labels = np.zeros((64, 96), np.int32)
    labels[10:20, 10:20], labels[40:44, 50:60] = 1, 2
    sdata = make_sdata({"a": (image, labels)}, ["CD3", "CD8"], mpp=0.5)
    tiles = sfm.tl.embed_tiles(sdata, "classical", size=32, stride=32, recipe={"tissue": "all"}, copy=True)
    names = json.loads(tiles.uns["spatialfm"]["X_classical"]["feature_names"])
    found = pd.DataFrame(tiles.obsm["X_classical"], columns=names)
    parts = image.reshape(2, 2, 32, 3, 32).transpose(1, 3, 0, 2, 4).reshape(6, 2, -1).astype(float)
    for c, marker in enumerate(["CD3", "CD8"]):
        for name, expected in (("mean", parts[:, c].mean(axis=1)), ("q50", np.median(parts[:, c], axis=1))):
            # intensities are in logarithms, and a pixel is next to nothing of a tile
            assert np.corrcoef(found[f"{marker}_{name}"], np.log(expected))[0, 1] > 0.999
