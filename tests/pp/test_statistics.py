"""Statistics of markers: against numpy, against the record of an embedding, and as its input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import PanelError, PixelSizeError, RunError, SpatialfmWarning

NAMES = ["DAPI", "CD3", "CD8"]


@pytest.fixture
def sdata(make_sdata):
    """Two images of 60 x 80 and 50 x 70 pixels of 0.5 µm, full of tissue, with a cell each."""
    rng = np.random.default_rng(0)
    samples = {}
    for sample, shape, mean in (("a", (60, 80), 20), ("b", (50, 70), 60)):
        labels = np.zeros(shape, np.int32)
        labels[20:30, 20:30] = 1
        samples[sample] = (rng.poisson(mean, (3, *shape)).astype(np.uint8), labels)
    return make_sdata(channels=NAMES, **samples)


def test_against_numpy(sdata):
    table = sfm.pp.marker_statistics(sdata)
    pixels = [sdata[f"image_{sample}"].values.reshape(3, -1) / 255 for sample in "ab"]
    both = np.concatenate(pixels, axis=1)
    assert table.index.tolist() == NAMES
    assert table.index.name == "marker"
    np.testing.assert_allclose(table["mean"], both.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["std"], both.std(axis=1), rtol=1e-5)
    assert table["n_pixels"].tolist() == [60 * 80 + 50 * 70] * 3
    assert table.attrs["intensity_max"] == {"a": 255.0, "b": 255.0}
    assert table.attrs["mpp"] == {"a": 0.5, "b": 0.5}
    each = sfm.pp.marker_statistics(sdata, per_sample=True)
    for sample, values in zip("ab", pixels, strict=True):
        np.testing.assert_allclose(each.loc[sample, "mean"], values.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(each.loc[sample, "std"], values.std(axis=1), rtol=1e-5)
        assert each.loc[sample, "n_pixels"].tolist() == [values.shape[1]] * 3


def test_they_follow_tissue_and_intensity_range(sdata):
    mask = np.zeros((60, 80), bool)
    mask[10:40, 5:50] = True
    table = sfm.pp.marker_statistics(sdata, samples=["a"], tissue=mask, intensity_max=100.0, markers=["CD8", "DAPI"])
    values = sdata["image_a"].values[:, mask][[2, 0]] / 100
    assert table.index.tolist() == ["CD8", "DAPI"]
    np.testing.assert_allclose(table["mean"], values.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["std"], values.std(axis=1), rtol=1e-5)
    assert table["n_pixels"].tolist() == [30 * 45] * 2
    assert table.attrs["tissue_kept"] == {"a": pytest.approx(30 * 45 / (60 * 80), abs=1e-6)}


@pytest.mark.parametrize(("mpp", "pixel_size", "resampling"), [(0.5, None, None), (0.25, 0.5, "area")])
def test_the_record_of_an_embedding_has_the_same_numbers(make_sdata, mpp, pixel_size, resampling):
    """To the bit, also where images are brought to the pixel size of the model."""
    rng = np.random.default_rng(1)
    labels = np.zeros((64, 64), np.int32)
    labels[20:40, 20:40] = 1
    image = rng.integers(0, 999, (3, 64, 64)).astype(np.uint16)
    sdata = make_sdata(channels=NAMES, mpp=mpp, a=(image, labels), b=(image[:, ::-1] // 2, labels))
    table = sfm.pp.marker_statistics(sdata, pixel_size=pixel_size, resampling=resampling)
    sfm.tl.embed_cells(sdata, "classical")
    record = sfm.get.record(sdata["table"], "X_classical")
    assert list(record["markers"]) == table.index.tolist()
    assert list(record["normalization_std"]) == table["std"].tolist()
    assert table["n_pixels"].tolist() == [2 * (64 * mpp / 0.5) ** 2] * 3


@pytest.mark.parametrize("mpp", [0.2, 0.45])
def test_a_range_of_pixel_sizes_is_that_of_kronos(make_sdata, mpp):
    image = np.random.default_rng(2).integers(0, 999, (3, 96, 96)).astype(np.uint16)
    labels = np.zeros((96, 96), np.int32)
    labels[40:60, 40:60] = 1
    sdata = make_sdata(channels=NAMES, mpp=mpp, a=(image, labels))
    table = sfm.pp.marker_statistics(sdata, pixel_size=(0.37, 0.5))
    cells = sfm.tl.embed_cells(
        sdata,
        sfm.models.load("kronos", weights="random"),
        recipe={"statistics": "cohort"},
        panel={"on_unknown": "keep"},
        copy=True,
    )
    record = sfm.get.record(cells, "X_kronos")
    assert list(record["normalization_mean"]) == table["mean"].tolist()
    assert list(record["normalization_std"]) == table["std"].tolist()
    assert table.attrs["mpp"]["a"] == (0.37 if mpp == 0.2 else mpp)
    with pytest.raises(PixelSizeError, match=r"the smaller size comes first"):
        sfm.pp.marker_statistics(sdata, pixel_size=(0.5, 0.37))


def test_a_table_is_taken_as_statistics(sdata):
    """Cells of one sample, embedded with the statistics of both, are those of the run of both."""
    both = sfm.tl.embed_cells(sdata, "classical", copy=True)
    table = sfm.pp.marker_statistics(sdata)
    alone = sfm.tl.embed_cells(sdata, "classical", samples=["a"], recipe={"statistics": table}, copy=True)
    record = sfm.get.record(alone, "X_classical")
    assert list(record["normalization_source"]) == ["given"] * 3
    assert record["stats"]["from"] == "given table"
    assert list(record["normalization_std"]) == table["std"].tolist()
    wanted = sfm.get.record(both, "X_classical")["normalization_std"]
    assert list(record["normalization_std"]) == list(wanted)


def test_a_table_of_another_range_is_told(sdata):
    table = sfm.pp.marker_statistics(sdata, intensity_max=100.0)
    with pytest.warns(SpatialfmWarning, match=r"of pixels divided by 100, and those of this run are divided by 255"):
        sfm.tl.embed_cells(sdata, "classical", recipe={"statistics": table}, copy=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="std"), r"table without the column 'std'"),
        (lambda table: pd.concat([table, table[:1]]), r"several rows for 'DAPI'"),
        (lambda table: table[1:], r"contains no statistics for DAPI"),
        (lambda table: table.assign(std="x"), r"mean or standard deviation that is not a number"),
        (lambda table: pd.concat({"a": table}), r"of each sample separately"),
    ],
)
def test_tables_that_cannot_be_are_refused(sdata, change, message):
    table = change(sfm.pp.marker_statistics(sdata))
    with pytest.raises(PanelError, match=message):
        sfm.tl.embed_cells(sdata, "classical", recipe={"statistics": table}, copy=True)


def test_models_that_prepare_images_refuse_them(sdata):
    with pytest.raises(PanelError, match=r"virtues takes those of clipped, log-transformed ones"):
        sfm.tl.embed_cells(
            sdata,
            sfm.models.load("virtues", weights="random"),
            recipe={"statistics": sfm.pp.marker_statistics(sdata)},
            copy=True,
        )


def test_pixels_that_are_none(make_sdata, sdata):
    image = np.ones((3, 20, 20), np.float32) * np.arange(1, 21, dtype=np.float32)
    image[1, 3, 4] = np.nan
    broken = make_sdata(channels=NAMES, a=(image, np.zeros((20, 20), np.int32)))
    with pytest.raises(RunError, match=r"NaN or infinite in 1 image: 'image_a' \(channel 'CD3': 1 pixel\)"):
        sfm.pp.marker_statistics(broken)
    with pytest.warns(SpatialfmWarning, match="they count as 0"):
        table = sfm.pp.marker_statistics(broken, on_nan="zero")
    assert table.loc["CD3", "mean"] == pytest.approx(np.nan_to_num(image[1]).mean())
    unknown = make_sdata(channels=NAMES, mpp=None, a=(image, np.zeros((20, 20), np.int32)))
    with pytest.raises(PixelSizeError, match=r"pixel size of image 'image_a' is unknown"):
        sfm.pp.marker_statistics(unknown, pixel_size=0.5, on_nan="zero")
