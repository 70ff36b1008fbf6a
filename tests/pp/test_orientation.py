"""Masks that were transposed, mirrored or turned on their way to the image, against those that were not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale, get_transformation

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.pp import orientation
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.orientation import AS_IT_IS, CHANGES, Look, changed, evenness, say_orientation, verdict
from spatialfm.pp.pieces import scan_labels

BACK = dict.fromkeys(CHANGES) | {name: name for name in CHANGES if "90" not in name}
BACK["turned by 90 degrees to the left"] = "turned by 90 degrees to the right"
BACK["turned by 90 degrees to the right"] = "turned by 90 degrees to the left"


@pytest.fixture(scope="module")
def tissue():
    sdata = sfm.datasets.simulate_cohort(
        n_patients=1, n_samples=1, image_size=384, difficulty="easy", random_state=3
    )  # fmt: skip
    return sdata["image_P001_1"].values, sdata["cells_P001_1"].values


def look(image, labels, to_image=None, in_passing=True):
    windows = Look.of(image, labels, to_image or AxisAffine(), scan_labels(labels), 0, in_passing)
    return None if windows is None else windows.fits()


def objects(image, labels, mpp=(0.5, 0.5)):
    to = [{"s1": Scale([one, one], axes=("x", "y"))} for one in mpp]
    return sd.SpatialData(
        images={"image_s1": Image2DModel.parse(image, dims=("c", "y", "x"), transformations=to[0])},
        labels={"cells_s1": Labels2DModel.parse(labels, dims=("y", "x"), transformations=to[1])},
    )


@pytest.mark.parametrize("name", list(CHANGES))
def test_what_was_done_to_a_mask_is_named_by_what_undoes_it(tissue, name):
    image, labels = tissue
    spoiled = np.ascontiguousarray(changed(labels, name))
    np.testing.assert_array_equal(changed(spoiled, BACK[name]), labels)
    assert verdict(look(image, spoiled)) == (None if name == AS_IT_IS else BACK[name])


def test_labels_of_other_pixels_that_begin_elsewhere_are_turned_within_their_own_frame(tissue):
    image, labels = tissue
    spoiled = np.ascontiguousarray(np.kron(labels[40:360, 30:350], np.ones((2, 2), labels.dtype)).T)
    assert verdict(look(image, spoiled, AxisAffine(0.5, 0.5, 40, 30))) == "transposed"
    upside_down = np.ascontiguousarray(labels[40:360, 30:330][::-1])
    assert verdict(look(image, upside_down, AxisAffine(1, 1, 40, 30))) == "turned upside down"


def test_nothing_is_said_of_noise_of_another_tissue_or_of_few_cells(tissue):
    image, labels = tissue
    rng = np.random.default_rng(0)
    assert verdict(look(rng.poisson(2.0, image.shape), labels)) is None
    assert verdict(look(np.roll(image, (150, 90), (1, 2)), labels)) is None
    assert look(image, np.where(labels < 6, labels, 0)) is None
    assert verdict(look(np.zeros_like(image), labels)) is None


def test_samples_none_of_which_shows_it_are_known_together(monkeypatch):
    monkeypatch.setattr(orientation, "_say_exchanged", lambda *_: None)  # there are no pixels
    """A dozen windows of each sample; pixels below cells are a little more alike in one orientation."""
    rng = np.random.default_rng(0)

    def planted(fitting, n):
        return [
            {name: rng.normal(0.05 if name == fits else 0.0, 0.05, 12) for name in CHANGES} for fits in [fitting] * n
        ]

    def said_of(samples):
        pairs = [SampleElements(f"s{i}", f"image_s{i}", f"cells_s{i}", "s") for i in range(len(samples))]
        left = iter(samples)
        monkeypatch.setattr(orientation, "fits_of", lambda *given, **options: next(left))
        return say_orientation(sd.SpatialData(), pairs, pairs)

    samples = planted("turned upside down", 6)
    assert [verdict(one) for one in samples] == [None] * 6
    with pytest.warns(SpatialfmWarning, match="Labels of 6 of 7 samples do not fit .* turned upside down"):
        assert said_of([*samples, {}]) == {f"s{i}": "turned upside down" for i in range(6)}  # the last one fits
    assert said_of([*samples[:4], *planted(AS_IT_IS, 4)]) == {}
    assert said_of(planted("nothing", 8)) == {}


def test_evenness_is_that_of_its_definition():
    mask = np.repeat([1, 2], 4)[None].repeat(4, axis=0)  # two cells of 4 x 4
    pixels = np.zeros((2, 8, 12))
    pixels[0, :, 6:] = 1.0  # their border, with a margin of 2
    shares, explained = evenness(mask, pixels, np.ones(2), 2, 1)
    assert shares[0] == pytest.approx(0.5)  # none within; moved along the border there is none either, across it some
    assert np.isnan(shares[1])
    # moved across by 2: one cell has one value, the other two halves of variance 1/4 over 16 pixels
    high = np.arcsinh(1.0)
    within, total = 2 * 16 * high**2 / 4, high**2 * 32 * (2 * 0.25 + 2 * (0.25 * 0.75))
    assert explained[0] == pytest.approx(1 - within / total * 31 / 30)


def test_evenness_of_outlines_anywhere_is_0_on_average():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(1)
    bumps = np.exp(2 * gaussian_filter(rng.normal(size=(512, 512)), 4, mode="wrap") * 15)
    mask = (np.indices((40, 40)) // 10 * [[[4]], [[1]]]).sum(axis=0)
    shares = [
        evenness(mask, bumps[None, y : y + 60, x : x + 60], np.ones(1), 10, 1)[0][0]
        for y in range(0, 450, 15)
        for x in range(0, 450, 15)
    ]
    assert abs(np.mean(shares)) < 0.012  # the mean of 900 that overlap; a mean over `here` alone gives some 0.05


@pytest.mark.parametrize("call", [sfm.pp.cell_table, lambda sdata: sfm.pp.segmentation_quality(sdata, nuclear="0")])
def test_a_transposed_mask_is_named_with_the_call_that_mends_it(tissue, call):
    image, labels = tissue
    sdata = objects(image, np.ascontiguousarray(labels.T))
    with pytest.warns(SpatialfmWarning, match=r"1 of 1 sample do not fit their image, but would .* transposed") as said:
        call(sdata)
    code = next(str(one.message) for one in said if "transposed" in str(one.message))
    code = code[code.index("sdata['cells_s1'] =") : code.index(", and make the table")]
    exec(code, {"sdata": sdata, "spatialdata": sd, "spatialfm": sfm})
    np.testing.assert_array_equal(sdata["cells_s1"].values, labels)
    assert get_transformation(sdata["cells_s1"], "s1") == Scale([0.5, 0.5], axes=("x", "y"))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*do not fit.*")
        call(objects(image, labels))


@pytest.fixture(scope="module")
def three_fields():
    return sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=320, difficulty="easy", random_state=5)


def exchanged(sdata, order):
    """The same images, each with the mask of another sample."""
    names = [f"P00{n}_1" for n in (1, 2, 3)]
    masks = [sdata[f"cells_{name}"].values for name in names]
    out = sd.SpatialData(images=dict(sdata.images.items()), attrs=dict(sdata.attrs))
    for name, place in zip(names, order, strict=True):
        to = get_transformation(sdata[f"cells_{name}"], get_all=True)
        out.labels[f"cells_{name}"] = Labels2DModel.parse(masks[place], dims=("y", "x"), transformations=to)
    return out


@pytest.mark.parametrize(
    ("order", "named"),
    [
        ([1, 0, 2], {"image_P001_1": "cells_P002_1", "image_P002_1": "cells_P001_1"}),
        ([1, 2, 0], {"image_P001_1": "cells_P003_1", "image_P002_1": "cells_P001_1", "image_P003_1": "cells_P002_1"}),
        ([0, 1, 2], {}),
    ],
)
def test_masks_that_were_exchanged_between_fields_of_one_size_are_named_with_the_ones_that_fit(
    order, named, three_fields
):
    sdata = exchanged(three_fields, order)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sfm.pp.cell_table(sdata)
    said = [str(one.message) for one in caught if "those of another sample do" in str(one.message)]
    assert len(said) == bool(named)
    for image, labels in named.items():
        assert f"'{image}' ('{labels}' does)" in said[0]
    if named:
        assert f"Labels of {len(named)} of 3 samples do not fit" in said[0]


def test_a_mask_used_twice_is_named_where_the_right_one_is_there_too(three_fields):
    """The first image has the mask of the second, which is right there: only one path is wrong."""
    with pytest.warns(SpatialfmWarning) as caught:
        sfm.pp.cell_table(exchanged(three_fields, [1, 1, 0]))
    said = [str(one.message) for one in caught if "those of another sample do" in str(one.message)]
    assert len(said) == 1
    assert "'image_P001_1' ('cells_P003_1' does)" in said[0]
    assert "'image_P002_1'" not in said[0]
