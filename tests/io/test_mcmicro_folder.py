"""Which samples a folder of MCMICRO holds, by names of files alone."""

from __future__ import annotations

import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._mcmicro_folder import find_images, find_segmented, without_mask


@pytest.fixture
def make(tmp_path):
    def touch(*names, project="p"):
        for name in names:
            path = tmp_path / project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / project

    return touch


def found(folder, which="auto"):
    return find_images(folder, which, names_given=True)


def test_whole_slides_are_named_after_their_files(make):
    (one, two) = found(make("registration/a2.ome.tif", "registration/a10.ome.tif"))
    assert (one.sample, one.core, one.image_id) == ("a2", None, "a2")
    assert two.sample == "a10"


def test_cores_are_named_after_the_project_and_go_before_the_slide(make):
    images = found(make("registration/a.ome.tif", "dearray/10.tif", "dearray/2.tif", "dearray/TMA_MAP.tif"))
    assert [(one.sample, one.core) for one in images] == [("p_2", "2"), ("p_10", "10")]
    assert images[0].slide.name == "a.ome.tif"


def test_images_without_background_are_taken_where_there_are_any(make):
    folder = make("registration/a.ome.tif", "background/a_backsub.ome.tif")
    assert [(one.sample, one.is_subtracted) for one in found(folder)] == [("a", True)]
    assert [(one.path.name, one.is_subtracted) for one in found(folder, "registration")] == [("a.ome.tif", False)]
    with pytest.raises(InputFileError, match="No image in '.*background'"):
        found(make("registration/b.ome.tif", project="q"), "background")


def test_a_folder_of_projects_is_read_whole_and_names_must_differ(make, tmp_path):
    make("registration/a.ome.tif", project="p")
    make("registration/b.ome.tif", project="q")
    assert [one.sample for one in found(tmp_path)] == ["a", "b"]
    make("registration/A.ome.tif", project="r")
    with pytest.raises(InputFileError, match="several images of one name"):
        found(tmp_path)


def test_other_folders_are_refused(make, tmp_path):
    with pytest.raises(InputFileError, match="is not a folder of MCMICRO"):
        found(tmp_path)
    with pytest.raises(InputFileError, match="No folder"):
        found(tmp_path / "absent")
    with pytest.raises(InputFileError, match="laid out as nf-core/mcmicro writes it"):
        found(make("registration/ashlar/a.tif"))


def test_masks_are_those_of_the_image_and_not_of_one_whose_name_ends_alike(make):
    folder = make(
        "registration/1.ome.tif", "registration/a-1.ome.tif",
        "segmentation/unmicst-1/cell.ome.tif", "segmentation/unmicst-a-1/cell.ome.tif",
        "quantification/1--unmicst_cell.csv", "quantification/unmicst-a-1_cell.csv",
    )  # fmt: skip
    images = found(folder)
    segmented, chosen = find_segmented(images, None, None)
    assert chosen == "unmicst/cell"
    assert [one.mask.parent.name for one in segmented] == ["unmicst-1", "unmicst-a-1"]
    assert [one.table.name for one in segmented] == ["1--unmicst_cell.csv", "unmicst-a-1_cell.csv"]


def test_several_methods_or_masks_must_be_chosen(make):
    folder = make(
        "registration/a.ome.tif", "registration/b.ome.tif", "segmentation/x-a/nuclei.ome.tif",
        "segmentation/x-a/rings.ome.tif", "segmentation/y-a/cell.ome.tif",
    )  # fmt: skip
    images = found(folder)
    with pytest.raises(InputFileError, match="Cells were segmented by 'x', 'y'"):
        find_segmented(images, None, None)
    with pytest.raises(InputFileError, match="Which mask is meant, of 'x': 'nuclei', 'rings'"):
        find_segmented(images, "x", None)
    with pytest.raises(InputFileError, match="There is no mask 'cell' of 'x'"):
        find_segmented(images, "x", "cell")
    with pytest.raises(InputFileError, match="No folder 'segmentation/z-<image>'"):
        find_segmented(images, "z", None)
    segmented, chosen = find_segmented(images, "x", "nuclei")
    assert [one.mask is None for one in segmented] == [False, True]
    assert without_mask(images, segmented, chosen).startswith("1 sample has no mask in segmentation/x-<image>/nuclei")
    assert without_mask(images, segmented, "") == ""


def test_without_masks_there_are_no_cells(make):
    segmented, chosen = find_segmented(found(make("registration/a.ome.tif")), None, None)
    assert chosen == ""
    assert segmented[0].mask is None
