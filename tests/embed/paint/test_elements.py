"""Predicted images as elements: names that are free, places, records."""

from __future__ import annotations

import numpy as np
import pytest
from spatialdata.transformations import get_transformation

from spatialfm._errors import ElementError
from spatialfm.embed.paint.elements import add_images, check_image_names
from spatialfm.embed.paint.pyramid import write_pyramid
from spatialfm.pp.elements import SampleElements


@pytest.fixture
def sdata(make_sdata):
    return make_sdata({"a": (np.zeros((1, 16, 16), np.uint8), None)}, ["CD3"], mpp=0.5)


PAIR = SampleElements("a", "image_a", None, "a")


def write(folder, value, hidden=False):
    for ending in ("", "_hidden") if hidden else ("",):
        write_pyramid(folder / f"00000{ending}", (2, 8, 8), "float32", lambda channel, box: np.full(
            (box[1] - box[0], box[3] - box[2]), value + channel, np.float32), levels=not ending)  # fmt: skip


def test_images_lie_where_their_sample_lies_with_a_record(sdata, tmp_path):
    write(tmp_path, 3.0, hidden=True)
    add_images(sdata, [PAIR], [2.0], tmp_path, "painted", {"imputed": ["CD8", "CD20"], "space": "intensity"})
    image = sdata.images["image_a_painted"]
    assert np.asarray(image)[:, 0, 0].tolist() == [3, 4]
    assert image.coords["c"].values.tolist() == ["CD8", "CD20"]
    matrix = get_transformation(image, "a").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(np.diag(matrix), [1, 1, 1])  # pixels of two of 0.5 µm
    records = sdata.attrs["spatialfm"]["imputed"]
    assert {name: note["holds"] for name, note in records.items()} == {
        "image_a_painted": "values", "image_a_painted_hidden": "hidden",
    }  # fmt: skip
    assert records["image_a_painted"]["of"] == "image_a"


def test_a_later_call_replaces_what_an_earlier_one_predicted(sdata, tmp_path):
    write(tmp_path / "one", 3.0, hidden=True)
    add_images(sdata, [PAIR], [2.0], tmp_path / "one", "painted", {"imputed": ["CD8", "CD20"]})
    write(tmp_path / "two", 7.0)
    check_image_names(sdata, ["a"], "painted")  # what was predicted may be written again
    add_images(sdata, [PAIR], [2.0], tmp_path / "two", "painted", {"imputed": ["CD8", "CD20"]})
    assert float(np.asarray(sdata.images["image_a_painted"])[0, 0, 0]) == 7
    assert "image_a_painted_hidden" not in sdata.images
    assert list(sdata.attrs["spatialfm"]["imputed"]) == ["image_a_painted"]


def test_names_of_others_are_not_written_over(sdata):
    sdata.images["image_a_mine"] = sdata.images["image_a"]
    with pytest.raises(ElementError, match="sdata.images holds one of that name"):
        check_image_names(sdata, ["a"], "mine")
    with pytest.raises(ElementError, match="names hold letters, digits"):
        check_image_names(sdata, ["a"], "x/y")
    check_image_names(sdata, ["a"], "free")
