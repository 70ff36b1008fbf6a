"""The figure of the tissue: what it shows is what embeddings take."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from spatialdata.models import Labels2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import ElementError, PanelError, TableError


@pytest.fixture
def sdata(make_sdata):
    """Two images of 40 x 60 µm; in the first, all right of 15 µm is tissue."""
    image = np.full((2, 80, 120), 50, np.uint8)
    image[1] = 7
    sdata = make_sdata({sample: (image, np.zeros((80, 120), np.int32)) for sample in "ab"}, ["CD3", "DAPI"])
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 8:] = 1
    for sample, values in (("a", mask), ("b", np.ones_like(mask))):
        sdata[f"tissue_{sample}"] = Labels2DModel.parse(
            values, dims=("y", "x"), transformations={sample: Scale([2.0, 2.0], axes=("x", "y"))}
        )
    yield sdata
    plt.close("all")


def test_outline_share_and_what_is_left_out(sdata):
    axes = sfm.pl.tissue(sdata, show=False)
    assert [ax.get_title(loc="left") for ax in axes] == ["a: 73% tissue", "b: 100% tissue"]
    assert axes[0].get_xlim() == (0, 60)
    assert axes[0].get_ylim() == (40, 0)  # downwards, as the image
    shown, outside = axes[0].get_images()
    assert np.asarray(shown.get_array()).shape == (80, 120)
    assert np.asarray(outside.get_array())[..., 3].astype(bool).mean() == pytest.approx(8 / 30)
    (outline,) = [one for one in axes[0].collections if type(one).__name__.endswith("ContourSet")]
    assert {round(float(x), 6) for path in outline.get_paths() for x in path.vertices[:, 0]} == {16.0}
    assert not [one for one in axes[1].collections if type(one).__name__.endswith("ContourSet")]


def test_the_nuclear_stain_is_shown_or_what_is_asked_for(sdata):
    sdata["image_a"].data[1, :40] = 3  # of the nuclear stain, a dim half: 3 of 7
    sdata["image_a"].data[1, 40:] = 7
    (ax,) = sfm.pl.tissue(sdata, "a", show=False)
    grey = np.asarray(ax.get_images()[0].get_array())
    np.testing.assert_allclose([grey[0, 0], grey[-1, 0]], [3 / 7, 1])
    (ax,) = sfm.pl.tissue(sdata, "a", channels=["CD3", "DAPI"], show=False)
    grey = np.asarray(ax.get_images()[0].get_array())
    np.testing.assert_allclose([grey[0, 0], grey[-1, 0]], [(1 + 3 / 7) / 2, 1])


def test_a_file_and_axes(sdata, tmp_path):
    _, ax = plt.subplots()
    (drawn,) = sfm.pl.tissue(sdata, ["b"], ax=ax, save=tmp_path / "tissue.png")
    assert drawn is ax
    assert (tmp_path / "tissue.png").stat().st_size > 0


def test_refusals(sdata):
    with pytest.raises(PanelError, match=r"No channel 'CD8' in image 'image_a'"):
        sfm.pl.tissue(sdata, channels="CD8")
    with pytest.raises(TableError, match=r"ax= holds 1 axes; 2 samples are to be drawn"):
        sfm.pl.tissue(sdata, ax=plt.subplots()[1])
    sdata["tissue_a"].data[:] = 0
    with pytest.raises(ElementError, match=r"Labels 'tissue_a' contains no tissue"):
        sfm.pl.tissue(sdata)
    del sdata["tissue_a"]
    with pytest.raises(ElementError, match=r"No element states where 'a' has tissue\. Make them with sfm\.pp\.tissue"):
        sfm.pl.tissue(sdata)
