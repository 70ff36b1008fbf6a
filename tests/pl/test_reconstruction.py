"""Reconstructed images: pixels are drawn where they are, r is that of hidden pixels."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats
from spatialdata import SpatialData
from spatialdata.models import Image2DModel

import spatialfm as sfm
from spatialfm._errors import ElementError, PanelError, TableError


def images(side: int = 32, *, space: str = "intensity", hidden: bool = True, noise: float = 1.0) -> SpatialData:
    """Two samples of two markers; predicted at half the resolution, as a model with larger pixels does."""
    rng = np.random.default_rng(0)
    sdata = SpatialData()
    sdata.attrs["spatialfm"] = {"imputed": {}}
    for sample in ("a", "b"):
        measured = rng.gamma(2, size=(2, side, side))
        halved = measured.reshape(2, side // 2, 2, side // 2, 2).mean(axis=(2, 4))
        masks = (rng.random(halved.shape) < 0.5).astype(np.uint8)
        predicted = np.where(masks, halved + noise * rng.normal(size=halved.shape), halved)
        sdata[f"image_{sample}"] = Image2DModel.parse(measured, dims=("c", "y", "x"), c_coords=["DAPI", "Ki67"])
        for ending, values in {"": predicted, **({"_hidden": masks} if hidden else {})}.items():
            name = f"image_{sample}_reconstructed{ending}"
            sdata[name] = Image2DModel.parse(values, dims=("c", "y", "x"), c_coords=["DAPI", "Ki-67"])
            notes = json.dumps({"space": space, "imputed": ["DAPI", "Ki-67"]})
            sdata.attrs["spatialfm"]["imputed"][name] = {"of": f"image_{sample}", "sample": sample, "record": notes}
    return sdata


def halved(sdata: SpatialData, sample: str, channel: int) -> np.ndarray:
    pixels = np.asarray(sdata[f"image_{sample}"].data)[channel]
    return pixels.reshape(len(pixels) // 2, 2, len(pixels) // 2, 2).mean(axis=(1, 3))


def test_pictures_are_the_pixels_of_the_marker():
    sdata = images()
    axes = sfm.pl.reconstruction(sdata, "DAPI", show=False)
    assert axes.shape == (2, 4)
    for row, sample in zip(axes, "ab", strict=True):
        measured, predicted = halved(sdata, sample, 0), np.asarray(sdata[f"image_{sample}_reconstructed"].data)[0]
        masks = np.asarray(sdata[f"image_{sample}_reconstructed_hidden"].data)[0] > 0
        drawn = [ax.images[0].get_array() for ax in row]
        np.testing.assert_allclose(drawn[0], measured, rtol=1e-6)
        np.testing.assert_array_equal(np.ma.getmaskarray(drawn[1]), masks)
        np.testing.assert_allclose(drawn[2], predicted, rtol=1e-6)
        np.testing.assert_allclose(drawn[3], predicted - measured, atol=1e-5)
        limits = [ax.images[0].get_clim() for ax in row]
        assert limits[0] == limits[1] == limits[2]
        np.testing.assert_allclose(limits[0], (0, np.percentile(measured, 99)), rtol=1e-6)
        assert limits[3][0] == -limits[3][1]
        r = stats.pearsonr(measured[masks], predicted[masks]).statistic  # visible pixels would make it higher
        assert row[2].get_title(loc="left").endswith(f"r = {r:.2f}")
        assert row[0].get_ylabel() == sample
    assert axes[0, 0].get_title(loc="left") == "measured"
    figure = axes[0, 0].figure
    assert figure.get_suptitle() == "DAPI"
    assert tuple(figure.get_size_inches()) == pytest.approx((8.6, 4.8))
    plt.close("all")


def test_colour_bars_say_what_they_show_and_where_colours_end_before_the_pixels():
    """The brightest hundredth of the pixels lies above the scale, and so does a hundredth of the differences."""
    axes = sfm.pl.reconstruction(images(), "DAPI", show=False)
    for row in axes:
        bars = [ax.images[0].colorbar for ax in row[2:]]
        assert [bar.ax.get_ylabel() for bar in bars] == ["intensity", "predicted minus measured"]
        for bar, shown in zip(bars, ([0, 2], [3]), strict=True):
            low, high = bar.mappable.get_clim()
            values = np.concatenate([np.ravel(row[place].images[0].get_array()) for place in shown])
            above, below = (values > high).any(), (values < low).any()
            assert bar.extend == {(0, 0): "neither", (1, 0): "max", (0, 1): "min", (1, 1): "both"}[above, below]
        assert bars[0].extend in ("max", "both")
    plt.close("all")


def test_a_channel_is_found_by_the_name_of_its_marker_and_samples_are_chosen():
    sdata = images()
    axes = sfm.pl.reconstruction(sdata, "Ki-67", samples="b", show=False)
    np.testing.assert_allclose(axes[0, 0].images[0].get_array(), halved(sdata, "b", 1), rtol=1e-6)
    plt.close("all")


def test_a_marker_that_was_hidden_as_a_whole_has_no_input():
    sdata = images(hidden=False)
    axes = sfm.pl.reconstruction(sdata, "DAPI", samples=["a"], show=False)
    assert np.ma.getmaskarray(axes[0, 1].images[0].get_array()).all()
    assert [text.get_text() for text in axes[0, 1].texts] == ["hidden as a whole"]
    r = stats.pearsonr(halved(sdata, "a", 0).ravel(), np.asarray(sdata["image_a_reconstructed"].data)[0].ravel())
    assert axes[0, 2].get_title(loc="left") == f"reconstruction, r = {r.statistic:.2f}"
    plt.close("all")


def test_large_images_are_averaged(monkeypatch):
    from importlib import import_module

    monkeypatch.setattr(import_module("spatialfm.pl._reconstruction"), "MOST", 8)
    axes = sfm.pl.reconstruction(images(), "DAPI", show=False)
    assert axes[0, 0].images[0].get_array().shape == (8, 8)
    whole = halved(images(), "a", 0)
    np.testing.assert_allclose(axes[0, 0].images[0].get_array().mean(), whole.mean(), rtol=1e-5)
    plt.close("all")


def test_what_cannot_be_compared_is_refused():
    sdata = images()
    with pytest.raises(ElementError, match=r"No image that a model predicted ends in 'imputed' \(key=\)"):
        sfm.pl.reconstruction(sdata, "DAPI", key="imputed")
    with pytest.raises(ElementError, match="Sample 'c' was not reconstructed"):
        sfm.pl.reconstruction(sdata, "DAPI", samples="c")
    with pytest.raises(PanelError, match="Marker 'CD3' was not predicted"):
        sfm.pl.reconstruction(sdata, "CD3")
    with pytest.raises(ElementError, match="is standardised: it has no difference"):
        sfm.pl.reconstruction(images(space="standardised"), "DAPI")
    with pytest.raises(TableError, match="2 samples need 8 axes"):
        sfm.pl.reconstruction(sdata, "DAPI", ax=[plt.subplots()[1]])
    sdata["image_a"] = Image2DModel.parse(np.ones((1, 32, 32)), dims=("c", "y", "x"), c_coords=["DAPI"])
    with pytest.raises(PanelError, match="Marker 'Ki-67' was not measured in 'image_a'"):
        sfm.pl.reconstruction(sdata, "Ki-67")
    plt.close("all")
