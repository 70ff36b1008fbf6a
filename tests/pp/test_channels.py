"""Quality of channels: what we spoil must show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

import spatialfm as sfm
from spatialfm._errors import PanelError
from spatialfm.pp import measure


@pytest.fixture
def tissue():
    """Bright cells on a dark ground, in two channels."""
    rng = np.random.default_rng(0)
    image = rng.poisson(40, (2, 120, 130)).astype(float)
    for y, x in rng.integers(8, 112, (60, 2)):
        image[:, y - 3 : y + 3, x - 3 : x + 3] += 3000
    return image


def one(make_sdata, image, channels=("DAPI", "CD3")):
    sdata = make_sdata(a=(image, np.zeros(image.shape[1:], np.int32)), channels=list(channels))
    return sfm.pp.channel_quality(sdata).loc["a"]


def test_values_are_those_of_the_whole_image(make_sdata, tissue, monkeypatch):
    image = tissue.astype(np.uint16)
    image[1] = np.random.default_rng(1).integers(0, 5000, image.shape[1:])
    for pixels in (measure.BLOCK_PIXELS, 40 * 40):
        monkeypatch.setattr(measure, "BLOCK_PIXELS", pixels)
        table = one(make_sdata, image)
        for number, channel in enumerate(("DAPI", "CD3")):
            values = image[number].astype(float)
            inner = laplace(values)[1:-1, 1:-1]
            assert table.loc[channel, "mean"] == pytest.approx(values.mean())
            assert table.loc[channel, "sharpness"] == pytest.approx(inner.std() / values.std(), rel=1e-6)
            low, high = np.percentile(values, [0.1, 99.9])
            assert table.loc[channel, "dynamic_range"] == pytest.approx((high - low) / 65535)
            correlation = np.corrcoef(image[0].ravel(), image[number].ravel())[0, 1]
            assert table.loc[channel, "nuclear_correlation"] == pytest.approx(correlation, abs=1e-9)


def test_blur_saturation_and_blank_channels_show(make_sdata, tissue):
    sharp = one(make_sdata, tissue.astype(np.uint16))
    assert (sharp["note"] == "").all()
    blurred = one(make_sdata, np.stack([gaussian_filter(part, 2) for part in tissue]).astype(np.uint16))
    assert (blurred["sharpness"] < 0.5 * sharp["sharpness"]).all()
    bright = one(make_sdata, np.minimum(tissue * 60, 65535).astype(np.uint16))
    assert (bright["note"] == "saturated").all()
    assert bright["saturated"].min() > 0.05
    noise = np.random.default_rng(0).normal(100, 5, tissue.shape).astype(np.uint16)
    assert (one(make_sdata, noise)["note"] == "blank").all()
    assert (one(make_sdata, np.full(tissue.shape, 7, np.uint16))["note"] == "constant").all()


def test_invalid_pixels_are_counted_and_left_out(make_sdata, tissue):
    image = tissue.astype(np.float32)
    clean = one(make_sdata, image)
    image[1, 0, :5] = np.nan
    table = one(make_sdata, image)
    assert table["invalid"].tolist() == [0, 5]
    assert table.loc["CD3", "mean"] == pytest.approx(clean.loc["CD3", "mean"], rel=1e-3)
    assert table.drop(columns="note").notna().all().all()


@pytest.mark.parametrize("spoilt", [0, 1])
def test_the_nuclear_correlation_is_over_pixels_that_both_channels_have(make_sdata, tissue, spoilt):
    image = tissue.astype(np.float32)
    image[spoilt, :50] = np.nan
    row = one(make_sdata, image).loc["CD3"]
    both = image[:, 50:].reshape(2, -1).astype(float)
    assert row["nuclear_correlation"] == pytest.approx(np.corrcoef(both)[0, 1], abs=1e-6)


@pytest.mark.parametrize("kind", ["int16", "int32", "uint32", "int64", "float64"])
def test_range_and_saturation_of_wide_types_are_those_of_the_values(make_sdata, tissue, kind):
    image = np.minimum(tissue, 3000).astype(kind)  # bright cells are cut off
    row = one(make_sdata, image).loc["DAPI"]
    assert row["saturated"] == pytest.approx((image[0] == 3000).mean())
    low, high = np.percentile(image[0], [0.1, 99.9])
    assert row["dynamic_range"] == pytest.approx((high - low) / 3000)
    assert row["note"] == "saturated"


def test_the_nuclear_stain_is_named_or_found(make_sdata, tissue):
    image = tissue.astype(np.uint16)
    assert one(make_sdata, image, ("CD3", "CD8"))["nuclear_correlation"].isna().all()
    sdata = make_sdata(a=(image, np.zeros(image.shape[1:], np.int32)), channels=["CD3", "odd"])
    assert sfm.pp.channel_quality(sdata, nuclear="odd").loc[("a", "odd"), "nuclear_correlation"] == pytest.approx(1)
    with pytest.raises(PanelError, match=r"No channel 'DNA9' in image"):
        sfm.pp.channel_quality(sdata, nuclear="DNA9")


def test_the_simulators_planted_artifacts_show():
    options = {"n_patients": 1, "n_samples": 1, "random_state": 0}
    clean = sfm.pp.channel_quality(sfm.datasets.simulate_cohort(**options, difficulty="easy"))
    assert (clean["note"] == "").mean() > 0.5
    assert clean.xs("DAPI", level="channel")["nuclear_correlation"].iloc[0] == pytest.approx(1)
    options["artifact_rate"] = 1.0
    saturated = sfm.pp.channel_quality(
        sfm.datasets.simulate_cohort(artifacts="saturation", **options, difficulty="easy")
    )
    assert (clean["saturated"] == 0).all()
    assert (saturated["saturated"] > 0.005).sum() >= 3  # a patch of the image, in some of its channels


def test_pixels_of_tissue_count(make_sdata):
    """A channel without stain has a contrast between glass and tissue, but not in the tissue."""
    rng = np.random.default_rng(0)
    glass = np.broadcast_to(np.arange(300) < 150, (256, 300))
    image = rng.poisson(np.where(glass, 20, 300), (2, 256, 300)).astype(float)
    for y, x in rng.integers((8, 160), (240, 290), (300, 2)):
        image[0, y - 4 : y + 4, x - 4 : x + 4] += 800
    sdata = make_sdata(a=(image.astype(np.uint16), np.zeros(glass.shape, np.int32)), channels=["DAPI", "blank"])
    found = sfm.pp.channel_quality(sdata).loc["a"]
    assert found.loc["blank", "note"] == "blank"
    assert found["tissue"].iloc[0] == pytest.approx(0.5, abs=0.03)
    everything = sfm.pp.channel_quality(sdata, tissue="all").loc["a"]
    assert everything.loc["blank", "note"] == ""
    np.testing.assert_allclose(everything["mean"], np.floor(image).mean(axis=(1, 2)))
    told = sfm.pp.channel_quality(sdata, tissue=~glass).loc["a"]
    for number, channel in enumerate(("DAPI", "blank")):
        values = image[number][~glass]
        inner = laplace(image[number])[1:-1, 1:-1][~glass[1:-1, 1:-1]]
        assert told.loc[channel, "mean"] == pytest.approx(values.mean())
        assert told.loc[channel, "sharpness"] == pytest.approx(inner.std() / values.std(), rel=1e-6)
        ordered = np.sort(values)
        snr = ordered[-(len(ordered) // 20) :].mean() / ordered[: len(ordered) // 2].mean()
        assert told.loc[channel, "snr"] == pytest.approx(snr, rel=1e-2)
        correlation = np.corrcoef(image[0][~glass], values)[0, 1]
        assert told.loc[channel, "nuclear_correlation"] == pytest.approx(correlation, abs=1e-9)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_contrast_is_the_same_in_every_type_of_pixels(make_sdata, kind):
    image = np.zeros((4, 40, 40), kind)
    image[0] = np.where(np.arange(40) < 20, 1, 4)  # 4 over 1
    image[1, :, 30:] = 3  # over nothing
    image[2, :, :24], image[2, :, 36:] = 1, 100  # the darkest half: 480 times 0, 320 times 1
    sdata = make_sdata(a=(image, np.zeros((40, 40), np.int32)), channels=["DAPI", "CD3", "CD8", "CD20"])
    assert sfm.pp.channel_quality(sdata, tissue="all")["snr"].tolist() == [4.0, 1000.0, 250.0, 1.0]
