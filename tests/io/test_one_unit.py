"""Samples of one cohort are in one unit: brought to it where the user says how, and refused where it is not known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import PanelError, PixelSizeError

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
OWN = np.array([[3, 0], [1, 2]], dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)[None]
MASK = (np.arange(1600).reshape(40, 40) // 800 + 1).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    """One field in 8 bits, in 16 and as shares of 1."""
    parts = {"a": OWN, "b": OWN.astype(np.uint16) * 257, "c": (OWN / 255).astype(np.float32)}
    for name, pixels in parts.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
        tifffile.imwrite(tmp_path / f"{name}_mask.tif", MASK)
    return tmp_path


def rows(samples="abc", **columns):
    frame = pd.DataFrame({"sample": list(samples), "patient": list(samples)})
    return frame.assign(**columns)


def read(folder, frame, **options):
    options = {"image": "{sample}.tif", "labels": "{sample}_mask.tif", "base_path": folder, "mpp": 0.5} | options
    return sfm.io.read_cohort(frame, **options)


@pytest.mark.parametrize("cell_table", [True, False])
def test_images_of_different_types_are_refused_by_name(folder, cell_table):
    with pytest.raises(PanelError, match=r"a: uint8; b: uint16; c: float.*intensity_max=.*read them as two cohorts"):
        read(folder, rows(), cell_table=cell_table)
    assert read(folder, rows("a"), cell_table=cell_table)["image_a"].dtype == np.uint8  # one type stays as it is


def test_they_are_brought_to_one_where_their_ranges_are_given(folder):
    sdata = read(folder, rows(), intensity_max={"a": 255, "b": 65535, "c": 1})
    for name in "abc":
        image = sdata[f"image_{name}"]
        assert image.dtype == np.float32
        np.testing.assert_allclose(image.values, OWN / 255, rtol=1e-6)
        assert list(get_transformation(image, get_all=True)) == [name]
    table = sdata["table"]
    np.testing.assert_allclose(table.X.reshape(3, 2), [[1.5 / 255, 1.5 / 255]] * 3, rtol=1e-6)  # by hand
    assert sdata.attrs["spatialfm"]["samples"]["b"]["intensity_max"] == 65535
    counts = read(folder, rows("ab"), intensity_max=255, cell_table=False)  # the same counts in two types
    np.testing.assert_allclose(counts["image_b"].values, OWN.astype(float) * 257 / 255, rtol=1e-6)


def test_scales_of_a_pyramid_are_brought_along(tmp_path):
    large = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    with tifffile.TiffWriter(tmp_path / "p.tif") as tif:
        options = {"tile": (64, 64), "photometric": "minisblack"}
        tif.write(large, subifds=1, **options)
        tif.write(large[::2, ::2], subfiletype=1, **options)
    sdata = read(tmp_path, rows("p"), labels=None, labels_column=None, intensity_max=65535)
    tree = sdata["image_p"]
    for name, pixels in {"scale0": large, "scale1": large[::2, ::2]}.items():
        np.testing.assert_allclose(tree[name]["image"].values[0], pixels / 65535, rtol=1e-5)
    assert get_transformation(tree, to_coordinate_system="p") is not None


def test_a_size_is_not_assumed_beside_known_ones(folder):
    frame = rows("aa").assign(sample=["s", "t"], image="a.tif", mpp=[0.5, None])
    with pytest.raises(PixelSizeError, match=r"1 sample \('t'\), while that of 's' is \(0\.5 µm\).*mpp_column="):
        sfm.io.read_cohort(frame, base_path=folder, cell_table=False)
    sdata = sfm.io.read_cohort(frame, base_path=folder, cell_table=False, mpp=0.25)
    assert [sdata.attrs["spatialfm"]["samples"][name]["mpp"] for name in "st"] == [0.5, 0.25]


def test_several_known_sizes_are_kept_and_embedded_at_one(folder):
    """Images at 0.5 and at 0.25 µm: areas of the table are in µm², and the engine shows both at the coarser size."""
    frame = rows("aa").assign(sample=["s", "t"], image="a.tif", labels="a_mask.tif", mpp=[0.5, 0.25])
    sdata = sfm.io.read_cohort(frame, base_path=folder, labels_column="labels")
    areas = sdata["table"].obs.groupby("sample", observed=True)["area"].first()
    assert areas.to_dict() == {"s": 800 * 0.25, "t": 800 * 0.0625}
    sfm.tl.embed_tiles(sdata, "classical", size=5)
    used = sfm.get.record(sdata["tiles"], "X_classical")["mpp_used"]
    assert used["s"] == used["t"]
