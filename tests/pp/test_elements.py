"""Pairs of images and labels, and the maps between their pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest
import spatialdata as sd
from elsewhere import cosmx_like
from spatialdata.models import Image2DModel, Image3DModel, Labels2DModel, Labels3DModel, ShapesModel
from spatialdata.transformations import Affine, Identity, Scale, Sequence, Translation, set_transformation

import spatialfm
from spatialfm._errors import CoordinateError, ElementError
from spatialfm.pp.arrays import AxisAffine, channel_names, image_array, labels_array
from spatialfm.pp.elements import (
    SampleElements,
    axis_affine,
    labels_to_image,
    match_elements,
    pixel_size,
    sample_images,
)

XY = {"axes": ("x", "y")}


def image(systems, size=8, **options):
    return Image2DModel.parse(
        np.arange(2 * size * size).reshape(2, size, size), dims=("c", "y", "x"), transformations=systems, **options
    )


def labels(systems, size=8, **options):
    return Labels2DModel.parse(
        np.arange(size * size).reshape(size, size), dims=("y", "x"), transformations=systems, **options
    )


def scale(*system, factor=0.5):
    return {name: Scale([factor, factor], **XY) for name in system}


@pytest.fixture
def cohort():
    names = ("a", "b")
    return sd.SpatialData(
        images={f"image_{s}": image(scale(s)) for s in names}, labels={f"cells_{s}": labels(scale(s)) for s in names}
    )


# ---- pairs ----


def test_pairs_by_name(cohort):
    assert match_elements(cohort) == [
        SampleElements("a", "image_a", "cells_a", "a"),
        SampleElements("b", "image_b", "cells_b", "b"),
    ]


def test_samples_select_and_order(cohort):
    assert [pair.sample for pair in match_elements(cohort, samples=["b", "a"])] == ["b", "a"]
    assert [pair.sample for pair in match_elements(cohort, samples="b")] == ["b"]
    cohort.images["image_long"], cohort.labels["cells_long"] = image(scale("long")), labels(scale("long"))
    assert [pair.sample for pair in match_elements(cohort, samples="long")] == ["long"]
    with pytest.raises(ElementError, match="No sample 'z' in sdata; found 'a', 'b', 'long'"):
        match_elements(cohort, samples=["a", "z"])
    with pytest.raises(ElementError, match="'a'.*twice"):
        match_elements(cohort, samples=["a", "a"])


@pytest.mark.parametrize("given", ["image_b", ["image_b"], {"b": "image_b"}])
def test_images_by_argument(cohort, given):
    assert match_elements(cohort, given) == [SampleElements("b", "image_b", "cells_b", "b")]


def test_labels_by_argument(cohort):
    cohort.labels["nuclei"] = labels(scale("a"))
    for given in ("nuclei", ["nuclei"], {"a": "nuclei"}):
        assert match_elements(cohort, "image_a", given)[0].labels == "nuclei"
    both = match_elements(cohort, ["image_b", "image_a"], ["cells_b", "nuclei"])
    assert [(p.image, p.labels) for p in both] == [("image_b", "cells_b"), ("image_a", "nuclei")]


def test_the_only_two_of_a_coordinate_system_belong_together():
    sdata = sd.SpatialData(images={"he": image(scale("slide"))}, labels={"mask": labels(scale("slide"))})
    assert match_elements(sdata) == [SampleElements("he", "he", "mask", "slide")]
    sdata.labels["nuclei"] = labels(scale("slide"))
    with pytest.raises(
        ElementError, match=r"'he' shares its coordinate system with labels .*which belong together\? Pass labels="
    ):
        match_elements(sdata)


def test_the_system_of_the_samples_name_goes_first():
    both = {"global": Identity(), **scale("a")}
    sdata = sd.SpatialData(images={"image_a": image(both)}, labels={"cells_a": labels(both)})
    assert match_elements(sdata)[0].coordinate_system == "a"
    assert pixel_size(sdata, match_elements(sdata)[0]) == 0.5
    renamed = sd.SpatialData(images={"scan": image(both)}, labels={"mask": labels(both)})
    assert match_elements(renamed, {"a": "scan"}, {"a": "mask"})[0].coordinate_system == "a"


def test_images_without_labels(cohort):
    del cohort.labels["cells_b"]
    with pytest.raises(ElementError, match=r"No labels element for image 'image_b'.*found 'cells_a'.*'cells_b'"):
        match_elements(cohort)
    assert match_elements(cohort, need_labels=False)[1] == SampleElements("b", "image_b", None, "b")
    assert len(match_elements(cohort, samples=["a"])) == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"image": "x"}, r"No image element 'x' in sdata; found 'image_a', 'image_b'. Pass image="),
        ({"labels": ["cells_a", "x"]}, r"No labels element 'x' in sdata; found 'cells_a', 'cells_b'"),
        ({"labels": {"a": "x", "b": "cells_b"}}, "No labels element 'x'"),
        ({"labels": "cells_a"}, r"1 labels element for 2 images"),
        ({"labels": {"z": "cells_a"}}, "labels= names sample 'z', but the samples are 'a', 'b'"),
        ({"image": ["image_a", "image_a"]}, "named twice"),
        ({"labels": {"a": "cells_a"}}, "No labels element for image 'image_b'"),
    ],
)
def test_refusals(cohort, arguments, match):
    with pytest.raises(ElementError, match=match):
        match_elements(cohort, **arguments)


def test_no_image_at_all():
    with pytest.raises(ElementError, match=r"contains no image element.*read_tiff"):
        match_elements(sd.SpatialData())


def test_no_common_coordinate_system(cohort):
    with pytest.raises(CoordinateError, match=r"'image_a' \(in 'a'\) and labels 'cells_b' \(in 'b'\) share no"):
        match_elements(cohort, "image_a", "cells_b")


# ---- maps ----


@pytest.mark.parametrize("join", ["list", "dict", "by hand"])
def test_what_was_made_of_images_is_no_sample_where_its_record_is_lost(join):
    """`spatialdata.concatenate` leaves attrs out, and with a dict it renames elements."""
    parts = {}
    for name in "ab":
        one = sd.SpatialData(images={f"image_{name}": image(scale(name), c_coords=["CD3", "DAPI"])})
        names = [f"image_{name}{ending}" for ending in ("_imputed", "_reconstructed", "_reconstructed_hidden")]
        for made in (*names, f"surprise_{name}"):
            one.images[made] = image(scale(name), c_coords=["CD3", "DAPI"])
        one.images[f"panorama_{name}_001"] = Image2DModel.parse(
            np.zeros((3, 8, 8), np.uint8), dims=("c", "y", "x"), c_coords=["r", "g", "b"]
        )
        one.attrs["spatialfm"] = {"imputed": dict.fromkeys(names, {}), "panoramas": [f"panorama_{name}_001"]}
        parts[name] = one
    if join == "by hand":
        images = {name: element for one in parts.values() for name, element in one.images.items()}
        sdata = sd.SpatialData(images=images)
    else:
        sdata = sd.concatenate(parts if join == "dict" else list(parts.values()))
    assert "spatialfm" not in sdata.attrs
    assert len(sdata.images) == 12
    expected = ["image_a-a", "image_b-b"] if join == "dict" else ["image_a", "image_b"]
    assert sample_images(sdata) == expected
    table = spatialfm.pp.marker_statistics(sdata)
    assert table.loc["CD3", "n_pixels"] == 2 * 8 * 8


def test_records_of_two_objects_are_kept_as_messages_advise():
    parts = []
    for name in "ab":
        parts.append(sd.SpatialData(images={f"image_{name}": image(scale(name))}))
        parts[-1].attrs["spatialfm"] = {"samples": {name: {"mpp": 1.0, "mpp_source": "assumed"}}}
    records = sd.concatenate(parts, attrs_merge="unique").attrs["spatialfm"]["samples"]
    assert {name: record["mpp_source"] for name, record in records.items()} == {"a": "assumed", "b": "assumed"}


def test_axis_affine_composes_and_inverts():
    one, two = AxisAffine(2, 3, 5, 7), AxisAffine(0.5, 4, -1, 2)
    y, x = np.array([0.0, 1.5]), np.array([2.0, -3.0])
    np.testing.assert_allclose(one.then(two)(y, x), two(*one(y, x)))
    np.testing.assert_allclose(one.inverse()(*one(y, x)), (y, x))
    assert one.then(one.inverse()).is_identity
    assert not AxisAffine(offset_x=0.01).is_identity
    assert not AxisAffine(scale_y=1.0001).is_identity


def test_maps_follow_scale_and_offset():
    sdata = sd.SpatialData(
        images={"image_a": image(scale("a", factor=0.25))},
        labels={"cells_a": labels({"a": Sequence([Scale([0.5, 1.0], **XY), Translation([10.0, 20.0], **XY)])})},
    )
    (pair,) = match_elements(sdata)
    assert axis_affine(sdata["cells_a"], "cells_a", "a") == AxisAffine(1.0, 0.5, 20.0, 10.0)
    found = labels_to_image(sdata, pair)
    np.testing.assert_allclose(found(3.0, 5.0), ((3 * 1.0 + 20) / 0.25, (5 * 0.5 + 10) / 0.25))
    assert pixel_size(sdata, pair) == 0.25


@pytest.mark.parametrize(
    "matrix",
    [[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0.2, 0], [0, 1, 0], [0, 0, 1]], [[-1, 0, 8], [0, 1, 0], [0, 0, 1]]],
    ids=["rotated", "sheared", "mirrored"],
)
def test_what_is_no_scale_and_offset_is_refused(cohort, matrix):
    set_transformation(cohort["cells_a"], Affine(matrix, input_axes=("x", "y"), output_axes=("x", "y")), "a")
    with pytest.raises(CoordinateError, match="'cells_a' is rotated, sheared or mirrored in coordinate system 'a'"):
        labels_to_image(cohort, match_elements(cohort)[0])


def test_pixel_sizes(cohort):
    pair = match_elements(cohort)[0]
    with pytest.raises(CoordinateError, match="'image_a' is not in coordinate system 'z'; it is in 'a'"):
        axis_affine(cohort["image_a"], "image_a", "z")
    set_transformation(cohort["image_a"], Scale([0.5, 0.6], **XY), "a")
    with pytest.raises(CoordinateError, match=r"not square \(0.6 x 0.5 µm"):
        pixel_size(cohort, pair)
    set_transformation(cohort["image_a"], Identity(), "a")
    assert pixel_size(cohort, pair) is None


# ---- arrays ----


def test_multiscale_elements_give_their_largest_level():
    levels = {"scale_factors": [2, 2]}
    sdata = sd.SpatialData(
        images={"image_a": image(scale("a"), size=16, c_coords=["CD3", "CD8"], **levels)},
        labels={"cells_a": labels(scale("a"), size=16, **levels)},
    )
    assert image_array(sdata, "image_a").shape == (2, 16, 16)
    np.testing.assert_array_equal(labels_array(sdata, "cells_a"), np.arange(256).reshape(16, 16))
    assert channel_names(sdata, "image_a") == ["CD3", "CD8"]
    (pair,) = match_elements(sdata)
    assert pair == SampleElements("a", "image_a", "cells_a", "a")
    assert labels_to_image(sdata, pair).is_identity
    assert pixel_size(sdata, pair) == 0.5


def test_channels_without_names_are_numbered(cohort):
    assert channel_names(cohort, "image_a") == ["0", "1"]


def volume(n, kind="image", multiscale=False):
    systems = {"a": Scale([0.5, 0.5, 2.0], axes=("x", "y", "z"))}
    values = np.random.default_rng(0).integers(1, 100, (2, n, 16, 16)).astype(np.uint16)
    if kind == "labels":
        return values[0], Labels3DModel.parse(values[0], dims=("z", "y", "x"), transformations=systems)
    options = {"scale_factors": [{"x": 2, "y": 2, "z": 1}]} if multiscale else {}
    element = Image3DModel.parse(
        values, dims=("c", "z", "y", "x"), c_coords=["DAPI", "CD3"], transformations=systems, **options
    )
    return values, element


@pytest.mark.parametrize("multiscale", [False, True])
def test_volumes_are_refused_with_a_call_that_makes_them_flat(multiscale, tmp_path):
    values, element = volume(3, multiscale=multiscale)
    numbers, cells = volume(3, "labels")
    sdata = sd.SpatialData(images={"image_a": element}, labels={"cells_a": cells})
    scope = {"sdata": sdata, "spatialdata": sd, "spatialfm": spatialfm}
    with pytest.raises(
        ElementError, match=r"'image_a' is a volume of 3 Z planes.*\.max\('z'\).*image='image_a_2d'"
    ) as e:
        match_elements(sdata)
    exec(re.search(r"sdata\[.*\)\)", str(e.value))[0].replace("isel(z=<plane>)", "max('z')"), scope)
    with pytest.raises(ElementError, match=r"'cells_a' is a volume of 3 Z planes.*labels='cells_a_2d'") as e:
        match_elements(sdata, image="image_a_2d", labels="cells_a")
    assert "max(" not in str(e.value)  # the highest number of a pixel is not a cell's shape
    exec(re.search(r"sdata\[.*\)\)", str(e.value))[0].replace("<plane>", "1"), scope)
    (pair,) = match_elements(sdata, image="image_a_2d", labels="cells_a_2d")
    np.testing.assert_array_equal(image_array(sdata, pair.image).values, values.max(axis=1))
    np.testing.assert_array_equal(labels_array(sdata, pair.labels).values, numbers[1])
    assert channel_names(sdata, pair.image) == ["DAPI", "CD3"]
    assert pixel_size(sdata, pair) == 0.5
    sdata.write(tmp_path / "a.zarr")


def test_a_volume_of_one_plane_is_flat():
    values, element = volume(1)
    numbers, cells = volume(1, "labels")
    sdata = sd.SpatialData(images={"image_a": element}, labels={"cells_a": cells})
    (pair,) = match_elements(sdata)
    np.testing.assert_array_equal(image_array(sdata, pair.image).values, values[:, 0])
    np.testing.assert_array_equal(labels_array(sdata, pair.labels).values, numbers[0])
    assert labels_to_image(sdata, pair).is_identity
    assert pixel_size(sdata, pair) == 0.5


def test_elements_of_another_kind_are_named():
    circles = ShapesModel.parse(np.array([[3.0, 4.0]]), geometry=0, radius=1)
    sdata = sd.SpatialData(images={"image_a": image(scale("a"))}, shapes={"cells_a": circles})
    with pytest.raises(ElementError, match=r"'cells_a' in sdata \(it is a shapes element, and a label image is"):
        labels_array(sdata, "cells_a")
    with pytest.raises(ElementError, match=r"'image_a' in sdata \(it is an image element\)"):
        labels_array(sdata, "image_a")


@pytest.mark.parametrize("cut", [slice(2, None), slice(None, None, 2), slice(None, None, -1)])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_elements_cut_by_indexing_do_not_lie_where_their_transformation_says(cut, kind):
    systems = {"s": Scale([0.5, 0.5], **XY)}
    elements = {"images": {"image_s": image(systems)}, "labels": {"cells_s": labels(systems)}}
    sdata = sd.SpatialData(**elements)
    name = next(iter(elements[kind]))
    part = sdata[name].isel(x=cut)
    getattr(sdata, kind)[name] = part
    with pytest.raises(CoordinateError, match=f"{name!r} was cut or turned by indexing: its x runs from"):
        match_elements(sdata)
    sdata[name] = sdata[name].drop_vars(["y", "x"])  # as the message states
    assert match_elements(sdata)[0].labels == "cells_s"


def test_a_bounding_box_moves_the_transformation_along():
    systems = {"s": Scale([0.5, 0.5], **XY)}
    sdata = sd.SpatialData(images={"image_s": image(systems)}, labels={"cells_s": labels(systems)})
    sdata.labels["cells_s"] = sd.bounding_box_query(
        sdata["cells_s"], axes=("y", "x"), min_coordinate=[1, 0], max_coordinate=[4, 4], target_coordinate_system="s"
    )
    (pair,) = match_elements(sdata)
    assert labels_to_image(sdata, pair) == AxisAffine(1.0, 1.0, 2.0, 0.0)


def test_fields_that_are_alone_with_their_labels_in_one_system_and_together_in_another():
    sdata = cosmx_like()
    for table in (True, False):
        if not table:
            del sdata.tables["table"]
        pairs = match_elements(sdata)
        assert [(pair.image, pair.labels, pair.coordinate_system) for pair in pairs] == [
            ("1_image", "1_labels", "1"),
            ("2_image", "2_labels", "2"),
        ]
    sdata.labels["other"] = Labels2DModel.parse(  # a second segmentation of the slide leaves no image its own
        np.ones((8, 8), int), dims=("y", "x"), transformations={"global": Identity()}
    )
    with pytest.raises(ElementError, match='which belong together.* or image="1_image" to take it alone'):
        match_elements(sdata)
