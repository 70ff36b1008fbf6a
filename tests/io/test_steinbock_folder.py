"""What is where in a folder of steinbock, by names of files and small tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import InputFileError, PanelError, SpatialfmWarning
from spatialfm.io._steinbock_folder import (
    SteinbockPanel,
    _pixel_size,
    check_panel,
    check_stated_shape,
    find_samples,
    read_panel,
)


@pytest.fixture
def make(tmp_path):
    def touch(*names, images=None):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        if images is not None:
            pd.DataFrame(images).to_csv(tmp_path / "images.csv", index=False)
        return tmp_path

    return touch


def test_images_and_masks_of_one_name_are_a_sample(make):
    samples, rows = find_samples(make("img/a 1.tiff", "img/b.ome.tiff", "masks/a 1.tiff", "masks/B.tiff"), "img", True)
    assert [(one.sample, one.mask.name, one.table_name) for one in samples] == [
        ("a_1", "a 1.tiff", "a 1.csv"), ("b", "B.tiff", "b.csv"),
    ]  # fmt: skip
    assert list(rows.index) == ["a_1", "b"]


def test_what_images_csv_states_is_kept_by_image(make):
    images = {
        "image": ["b.tiff", "a.tiff"], "width_px": [20, 10], "height_px": [20, 10], "num_channels": [3, 4],
        "acquisition_width_um": [20.06, 5.0], "acquisition_height_um": [20.0, 5.0], "note": ["x", "y"],
    }  # fmt: skip
    samples, rows = find_samples(make("img/a.tiff", "img/b.tiff", images=images), "img", False)
    assert samples[0].stated_shape == (4, 10, 10)
    assert (samples[0].pixel_size.x, samples[1].pixel_size.x) == (0.5, 1.0)
    assert rows["note"].tolist() == ["y", "x"]
    with pytest.raises(InputFileError, match="has 3 channels instead of 4, 9 rows instead of 10 that"):
        check_stated_shape(samples[0], (3, 9, 10), "images.csv")
    check_stated_shape(samples[0], (4, 10, 10), "images.csv")


@pytest.mark.parametrize(("um", "expected"), [(4.02, 0.4), (4.03, 0.403), (0.0, None), (np.nan, None)])
def test_a_region_that_was_drawn_a_little_larger_has_whole_pixels(um, expected):
    row = pd.Series({"acquisition_width_um": um, "acquisition_height_um": um, "width_px": 10, "height_px": 10})
    size = _pixel_size(row)
    assert (None if size is None else size.x) == (None if expected is None else pytest.approx(expected))


def test_what_has_no_counterpart_is_told(make):
    folder = make("img/a.tiff", "img/b.tiff", "masks/a.tiff", "masks/z.tiff", images={"image": ["a.tiff", "gone.tiff"]})
    with pytest.warns(SpatialfmWarning) as seen:
        samples, _ = find_samples(folder, "img", True)
    said = " ".join(str(one.message) for one in seen)
    assert samples[1].mask is None
    for text in (
        "1 row without an image, which is left out: 'gone.tiff'",
        "1 image has no row in images.csv: 'b.tiff'",
        "1 mask has no image and is left out: 'z.tiff'",
        "1 image has no mask, and so no cells: 'b'",
    ):
        assert text in said


@pytest.mark.parametrize(
    ("names", "masks", "message"),
    [
        (("img/a.tiff", "img/x/a.tiff"), False, "would both be sample 'a'; rename one"),
        (("img/a.tiff", "masks/a.tiff", "masks/x/A.tiff"), True, "would be of one image"),
        (("img/a.tiff", "masks/b.tiff"), True, "no image has a mask of its name"),
        (("img/a.tiff", "masks/a.tiff", "masks_2/a.tiff"), True, "has 2 folders of masks: 'masks', 'masks_2'"),
        (("img/a.tiff",), "other", "masks='other': .* contains no TIFF file"),
        (("raw/a.tiff",), False, "images in another folder of it are read with images="),
    ],
)
def test_folders_that_cannot_be_used_are_refused(make, names, masks, message):
    with pytest.raises(InputFileError, match=message):
        find_samples(make(*names), "img", masks)


@pytest.fixture
def panel(tmp_path):
    def write(**columns):
        table = {"channel": ["Ir191", "Er170", "Dy162"], "name": ["DNA", "CD3", ""], "keep": [1, 1, 0]} | columns
        pd.DataFrame(table).to_csv(tmp_path / "panel.csv", index=False)
        return tmp_path / "panel.csv"

    return write


def test_channels_are_those_that_are_kept(panel):
    assert read_panel(panel()) == SteinbockPanel(("DNA", "CD3"), ("Ir191", "Er170"), 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"keep": [1, 1, 1]}, "channel 'Dy162' is kept, but has no name"),
        ({"keep": [1, 2, 0]}, r"row 2 \('Er170'\) has '2' in column 'keep'"),
        ({"name": ["DNA", "DNA", ""]}, "name 'DNA' occurs 2 times"),
        ({"channel": ["Ir191", "Ir191", "x"]}, "channel 'Ir191' occurs 2 times"),
        ({"keep": [0, 0, 0]}, "it keeps no channel"),
    ],
)
def test_panels_that_cannot_be_used_are_refused(panel, columns, message):
    with pytest.raises(PanelError, match=message):
        read_panel(panel(**columns))


def test_an_image_of_all_rows_was_extracted_before_the_panel_was_edited(tmp_path):
    one = SteinbockPanel(("DNA", "CD3"), ("Ir191", "Er170"), 3)
    check_panel(one, 2, tmp_path / "a.tiff", tmp_path / "panel.csv")
    with pytest.raises(PanelError, match="It has as many as the panel has rows"):
        check_panel(one, 3, tmp_path / "a.tiff", tmp_path / "panel.csv")
    with pytest.raises(PanelError, match="Take the panel that they were extracted with"):
        check_panel(one, 5, tmp_path / "a.tiff", tmp_path / "panel.csv")
