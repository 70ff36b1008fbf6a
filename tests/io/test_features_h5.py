"""Features as STAMP and TRIDENT keep them: written, read as those read them, and back."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata.transformations import Identity, set_transformation

import spatialfm as sfm
from spatialfm._errors import InputFileError, SpatialfmWarning, TableError


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    samples = ["A/1"] * 3 + ["B"] * 2 + ["A/1"]
    obs = pd.DataFrame({"sample": samples, "patient": ["p1" if one == "A/1" else "p2" for one in samples]})
    made = AnnData(obs=obs.set_axis([f"t{i}" for i in range(6)]))
    made.obsm["X_net"] = rng.normal(size=(6, 5)).astype(np.float32)
    made.obsm["spatial"] = np.array([[16.0, 16], [48, 16], [16, 48], [100, 200], [132, 200], [48, 48]])
    made.uns["spatialfm"] = {
        "X_net": {
            "model": "net",
            "mode": "grid",
            "window": 64,
            "mpp_used": json.dumps({"A/1": 0.5, "B": 0.5}),
            "mpp_image": json.dumps({"A/1": 0.25, "B": 0.5}),
        }
    }
    return made


def test_what_stamp_reads(tiles, tmp_path):
    files = sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net")
    assert [file.name for file in files] == ["A_1.h5", "B.h5"]
    with h5py.File(files[0]) as file:
        np.testing.assert_array_equal(file["feats"][:], tiles.obsm["X_net"][[0, 1, 2, 5]])
        # upper left corners in µm: tiles of 64 pixels of 0.5 µm
        np.testing.assert_allclose(file["coords"][:], [[0, 0], [32, 0], [0, 32], [32, 32]])
        assert file.attrs["tile_size_um"] == 32
        assert file.attrs["tile_size_px"] == 64
        assert file.attrs["unit"] == "um"
        assert file.attrs["feat_type"] == "tile"
        assert file.attrs["extractor"] == "net"
    slides = pd.read_csv(tmp_path / "slide_table.csv")
    assert slides.to_dict("list") == {"PATIENT": ["p1", "p2"], "FILENAME": ["A_1.h5", "B.h5"]}


def test_what_trident_reads(tiles, tmp_path):
    files = sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net", layout="trident", patient_key=None)
    with h5py.File(files[0]) as file:
        assert file["features"].shape == (4, 5)
        assert file["coords"].dtype == np.int64
        # the image has pixels of 0.25 µm: twice as many as the model sees
        assert file["coords"][:].tolist() == [[0, 0], [128, 0], [0, 128], [128, 128]]
        assert file["coords"].attrs["patch_size_level0"] == 128
        assert file["coords"].attrs["patch_size"] == 64
    assert not (tmp_path / "slide_table.csv").exists()


@pytest.mark.parametrize("layout", ["stamp", "trident"])
def test_back_again(tiles, tmp_path, layout):
    sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net", layout=layout)
    back = sfm.io.read_features_h5(tmp_path)[tiles.obs_names]
    np.testing.assert_array_equal(back.obsm["X_features"], tiles.obsm["X_net"])
    np.testing.assert_allclose(back.obsm["spatial"], tiles.obsm["spatial"])
    assert back.obs["sample"].tolist() == tiles.obs["sample"].tolist()
    assert back.obs["patient"].tolist() == tiles.obs["patient"].tolist()
    record = back.uns["spatialfm"]["X_features"]
    assert record["model"] == "net"
    assert json.loads(record["tile_um"]) == {"A/1": 32.0, "B": 32.0}
    back.copy().write_h5ad(tmp_path / "back.h5ad")
    files = sfm.io.write_features_h5(back, tmp_path / "again", use_rep="X_features", tile_um=32)
    with h5py.File(files[0]) as file:
        assert file.attrs["extractor"] == "net"


def test_files_of_other_tools(tmp_path):
    with h5py.File(tmp_path / "slide 1.h5", "w") as file:  # TRIDENT's: pixels, whose size is not said
        file["features"] = np.ones((1, 3, 4), np.float16)
        file.create_dataset("coords", data=np.array([[0, 0], [512, 0], [0, 512]])).attrs["patch_size_level0"] = 512
    with pytest.raises(InputFileError, match=r"coordinates in pixels.*Pass mpp="):
        sfm.io.read_features_h5(tmp_path / "slide 1.h5")
    read = sfm.io.read_features_h5(tmp_path / "slide 1.h5", mpp=0.25)
    assert read.obsm["X_features"].dtype == np.float32
    np.testing.assert_allclose(read.obsm["spatial"], [[64, 64], [192, 64], [64, 192]])
    assert read.obs["sample"].unique().tolist() == ["slide 1"]
    assert "patient" not in read.obs
    with h5py.File(tmp_path / "old.h5", "w") as file:  # STAMP 2.0
        file["feats"], file["coords"] = np.ones((2, 4)), np.array([[0.0, 0.0], [256.0, 0.0]])
        file.attrs["tile_size"], file.attrs["unit"] = 256.0, "um"
    np.testing.assert_allclose(sfm.io.read_features_h5(tmp_path / "old.h5").obsm["spatial"], [[128, 128], [384, 128]])
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["patch_embeddings"] = np.ones((2, 4))
    with pytest.warns(SpatialfmWarning, match="No coordinates in the files of"):
        bare = sfm.io.read_features_h5(tmp_path / "bare.h5")
    assert "spatial" not in bare.obsm


def test_refusals(tiles, tmp_path):
    sfm.io.write_features_h5(tiles, tmp_path / "a", use_rep="X_net")
    with pytest.raises(InputFileError, match=r"A_1.h5.*already. Pass overwrite=True"):
        sfm.io.write_features_h5(tiles, tmp_path / "a", use_rep="X_net")
    sfm.io.write_features_h5(tiles, tmp_path / "a", use_rep="X_net", overwrite=True)
    cells = tiles.copy()
    del cells.uns["spatialfm"]
    with pytest.raises(TableError, match="pass tile_um="):
        sfm.io.write_features_h5(cells, tmp_path / "b", use_rep="X_net")
    with pytest.raises(TableError, match="pass mpp="):
        sfm.io.write_features_h5(cells, tmp_path / "b", use_rep="X_net", layout="trident", tile_um=20)
    with pytest.raises(TableError, match="No 'X_no' in obsm"):
        sfm.io.write_features_h5(cells, tmp_path / "b", use_rep="X_no", tile_um=20)
    cells.obsm["X_net"][1, 1] = np.nan
    with pytest.raises(TableError, match="NaN"):
        sfm.io.write_features_h5(cells, tmp_path / "b", use_rep="X_net", tile_um=20)
    assert not (tmp_path / "b").exists()
    with pytest.raises(InputFileError, match=r"No .h5 files"):
        sfm.io.read_features_h5(tmp_path)
    with pytest.raises(InputFileError, match="No file"):
        sfm.io.read_features_h5(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(InputFileError, match="not an HDF5 file"):
        sfm.io.read_features_h5(tmp_path / "text.h5")
    (tmp_path / "text.h5").unlink()
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file["feats"] = np.ones((2, 9))
    with pytest.raises(InputFileError, match=r"different widths: A_1.h5 has 5 columns, wide.h5 9"):
        sfm.io.read_features_h5([tmp_path / "a", tmp_path / "wide.h5"])
    (tmp_path / "c").mkdir()
    with h5py.File(tmp_path / "c" / "B.h5", "w") as file:  # the same name, of another sample
        file["feats"], file.attrs["sample"] = np.ones((2, 9)), "C"
    with pytest.raises(InputFileError, match=r"different widths: B.h5 has 5 columns, B.h5 9"):
        sfm.io.read_features_h5([tmp_path / "a" / "B.h5", tmp_path / "c"])
    with h5py.File(tmp_path / "cut.h5", "w") as file:
        file["feats"], file["coords"] = np.ones((2, 9)), np.ones((3, 2))
    with pytest.raises(InputFileError, match=r"2 rows of features and coords of shape \(3, 2\)"):
        sfm.io.read_features_h5(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "names.h5", "w") as file:
        file["feats"], file["obs_names"] = np.ones((2, 9)), ["a", "b", "c"]
    with pytest.raises(InputFileError, match=r"2 rows of features and obs_names of shape \(3,\)"):
        sfm.io.read_features_h5(tmp_path / "names.h5")
    with h5py.File(tmp_path / "unit.h5", "w") as file:
        file["feats"], file["coords"] = np.ones((2, 9)), np.ones((2, 2))
    with pytest.raises(InputFileError, match="does not say in which unit"):
        sfm.io.read_features_h5(tmp_path / "unit.h5")
    with pytest.raises(InputFileError, match="'B' is in two files"):
        sfm.io.read_features_h5([tmp_path / "a" / "B.h5", tmp_path / "a" / "B.h5"])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(2)
    with pytest.raises(InputFileError, match=r"no features \(feats, patch_embeddings, features\), but"):
        sfm.io.read_features_h5(tmp_path / "other.h5")


def test_samples_without_patient_are_not_one_patient(tiles, tmp_path):
    tiles.obs.loc[tiles.obs["sample"] == "A/1", "patient"] = np.nan
    with pytest.raises(TableError, match=r"does not name the patient of every row of sample 'A/1'"):
        sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net")
    assert not list(tmp_path.iterdir())
    sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net", patient_key=None)
    named = tiles[tiles.obs["sample"] == "B"].copy()
    sfm.io.write_features_h5(named, tmp_path, use_rep="X_net", overwrite=True)
    read = sfm.io.read_features_h5(tmp_path)
    assert read.obs.groupby("sample")["patient"].apply(lambda one: one.isna().all()).to_dict() == {
        "A/1": True,
        "B": False,
    }
    assert read.obs["patient"].dropna().unique().tolist() == ["p2"]


def test_a_table_of_slides_is_not_replaced_unasked(tiles, tmp_path):
    first, second = (tiles[tiles.obs["sample"] == one].copy() for one in ("A/1", "B"))
    sfm.io.write_features_h5(first, tmp_path, use_rep="X_net")
    with pytest.raises(InputFileError, match="slide_table.csv"):
        sfm.io.write_features_h5(second, tmp_path, use_rep="X_net")
    assert pd.read_csv(tmp_path / "slide_table.csv")["FILENAME"].tolist() == ["A_1.h5"]


def test_sides_of_tiles_that_there_are_not(tiles, tmp_path):
    for size in (0, -5):
        with pytest.raises((TableError, ValueError), match="tile_um"):
            sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net", tile_um=size)
    with pytest.raises(TableError, match="less than a pixel"):
        sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net", tile_um=0.1, mpp=0.5, layout="trident")
    tiles.obs_names = ["t"] * 6
    files = sfm.io.write_features_h5(tiles, tmp_path, use_rep="X_net")
    with pytest.raises(InputFileError, match="occur more than once, first 't'"):
        sfm.io.read_features_h5(files[0])


def test_the_unit_that_a_file_states_is_the_one_that_it_is_read_in(tmp_path):
    """Pixels of 0.5 µm beside tiles of 256 µm, whose size stands in µm: 512 pixels are one tile further."""
    path = tmp_path / "a.h5"

    def write(unit, **attrs):
        with h5py.File(path, "w") as file:
            file["feats"], file["coords"] = np.ones((2, 3), np.float32), np.array([[0, 0], [512, 0]])
            file.attrs["unit"] = unit
            file.attrs.update(attrs)

    write("px", tile_size_um=256.0, tile_size_px=224)
    with pytest.raises(InputFileError, match=r"coordinates in pixels, and not their size. Pass mpp="):
        sfm.io.read_features_h5(path)
    read = sfm.io.read_features_h5(path, mpp=0.5)
    np.testing.assert_array_equal(read.obsm["spatial"], [[128, 128], [384, 128]])
    assert json.loads(read.uns["spatialfm"]["X_features"]["tile_um"]) == {"a": 256.0}
    write("px", patch_size_level0=512)
    np.testing.assert_array_equal(sfm.io.read_features_h5(path, mpp=0.5).obsm["spatial"], [[128, 128], [384, 128]])
    write("px")
    with pytest.raises(InputFileError, match="does not say how large its tiles are"):
        sfm.io.read_features_h5(path, mpp=0.5)
    write("mm", tile_size_um=256.0)
    with pytest.raises(InputFileError, match="has coordinates in 'mm'"):
        sfm.io.read_features_h5(path)
    write("um", tile_size_um=256.0)
    np.testing.assert_array_equal(sfm.io.read_features_h5(path).obsm["spatial"], [[128, 128], [640, 128]])


@pytest.mark.parametrize("layout", ["stamp", "trident"])
def test_places_in_pixels_are_written_in_the_unit_of_the_file(make_sdata, tmp_path, layout):
    """The same image, with its size of pixels in its transformation and told in the call."""
    image = np.random.default_rng(0).integers(50, 200, (1, 64, 96)).astype(np.uint8)
    told, known = (make_sdata({"a": (image, None)}, ["DAPI"]) for _ in range(2))
    set_transformation(told["image_a"], Identity(), "a")
    sfm.tl.embed_tiles(known, "mean-intensity", size=32, min_tissue=0.0)  # 0.5 µm
    sfm.tl.embed_tiles(told, "mean-intensity", size=32, min_tissue=0.0, elements={"mpp": 0.5})
    written = []
    for name, sdata in {"told": told, "known": known}.items():
        (file,) = sfm.io.write_features_h5(
            sdata["tiles"], tmp_path / name, use_rep="X_mean_intensity", layout=layout, patient_key=None
        )
        with h5py.File(file) as content:
            written.append(content["coords"][:].tolist())
    corners = [[x, y] for y in (0, 32) for x in (0, 32, 64)]  # pixels
    assert written[0] == written[1] == (corners if layout == "trident" else (np.array(corners) / 2).tolist())
    read = sfm.io.read_features_h5(tmp_path / "told")
    np.testing.assert_allclose(read.obsm["spatial"], known["tiles"].obsm["spatial"])


def test_cells_in_pixels_need_their_size(make_sdata, tmp_path):
    labels = np.zeros((64, 96), np.int32)
    labels[10:20, 30:40] = 1
    sdata = make_sdata({"a": (np.full((1, 64, 96), 90, np.uint8), labels)}, ["DAPI"])
    for name in ("image_a", "cells_a"):
        set_transformation(sdata[name], Identity(), "a")
    with pytest.warns(SpatialfmWarning, match="No pixel size is known"):
        sfm.pp.cell_table(sdata)
    cells = sdata["table"]
    arguments = {"use_rep": "X", "tile_um": 10, "patient_key": None}
    with pytest.raises(TableError, match="Places of sample 'a' are in pixels, whose size is not known"):
        sfm.io.write_features_h5(cells, tmp_path, **arguments)
    sfm.io.write_features_h5(cells, tmp_path, **arguments, mpp=0.5)
    np.testing.assert_allclose(sfm.io.read_features_h5(tmp_path).obsm["spatial"], [[17.5, 7.5]])  # of 35, 15 pixels


def test_pixels_of_samples_on_one_slide_are_brought_to_micrometers(tmp_path):
    """A slide of two images: units are those of images; what another embedding says of their pixels holds."""
    units = {"a": {"unit": "pixel"}, "b": {"unit": "µm"}}
    notes = {"table": {"samples": json.dumps(units)}, "X_classical": {"mpp_image": json.dumps({"a": 0.5})}}
    obs = pd.DataFrame({"sample": ["a", "a", "b"], "slide": "s"}, index=["t1", "t2", "t3"])
    places = np.array([[100.0, 40.0], [200.0, 40.0], [30.0, 30.0]])
    cells = AnnData(obs=obs, obsm={"X_e": np.ones((3, 2)), "spatial": places}, uns={"spatialfm": notes})
    files = sfm.io.write_features_h5(cells, tmp_path, use_rep="X_e", library_key="slide", tile_um=10.0)
    back = sfm.io.read_features_h5(files)
    np.testing.assert_allclose(back.obsm["spatial"], [[50, 20], [100, 20], [30, 30]])
    cells.uns["spatialfm"]["X_e"] = {"mpp_image": json.dumps({"a": 0.25})}  # of the embedding that is written
    files = sfm.io.write_features_h5(cells, tmp_path, use_rep="X_e", library_key="slide", tile_um=10.0, overwrite=True)
    np.testing.assert_allclose(sfm.io.read_features_h5(files).obsm["spatial"][:2], [[25, 10], [50, 10]])
