"""What is said of masks: how they were made, and which cells are in doubt."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Identity, Scale, set_transformation

import spatialfm as sfm
from spatialfm.reporting.methods import sentences
from spatialfm.reporting.quality import _flagged, quality_section, segmentations
from spatialfm.reporting.source import ReportKeys, read_source


@pytest.fixture(scope="module")
def sdata():
    """One small image with the masks that came with it, and others that were made here."""
    sfm.settings.progress = False
    sdata = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.segment_cells(sdata, method="watershed", diameter=8.0, key_added="found")
    return sdata


def source_of(sdata):
    keys = ReportKeys("sample", "patient", None, None, None, None, None, ())
    return read_source(sdata, samples=None, patients=None, keys=keys)


def test_how_masks_were_made_is_in_the_section_and_in_the_methods(sdata):
    record = sdata.attrs["spatialfm"]["segmentation"]["found_P001_1"]
    frame = segmentations(source_of(sdata))
    assert frame.loc["found_P001_1", ["method", "cells", "diameter in µm"]].tolist() == [
        "watershed", record["n_cells"], 8.0,
    ]  # fmt: skip
    text = "".join(quality_section(source_of(sdata)).body)
    assert '<th scope="row">found_P001_1</th>' in text
    assert any(one.startswith("Cells were segmented with watershed on ") for one in sentences(source_of(sdata)))


def test_flags_are_found_or_read_from_the_table(sdata):
    found = sfm.pp.segmentation_quality(sdata).iloc[0]
    text = "".join(quality_section(source_of(sdata)).body)
    assert "as sfm.pp.segmentation_quality finds them" in text
    for name in ("n_cells", "at_border", "no_nucleus", "nuclei_outside"):
        assert f'<data value="{int(found[name])}">' in text

    sfm.pp.cell_table(sdata)
    sfm.pp.segmentation_quality(sdata, table_name="table")
    flags = sdata["table"].obs["segmentation_at_border"].astype(bool)
    flags.iloc[0] = not flags.iloc[0]  # what is in the table is taken, not made again
    sdata["table"].obs["segmentation_at_border"] = flags
    text = "".join(quality_section(source_of(sdata)).body)
    assert "as sfm.pp.segmentation_quality wrote them into the table" in text
    assert flags.sum() != found["at_border"]
    assert f'<data value="{int(flags.sum())}">' in text
    del sdata.tables["table"]


def squares(side):
    """A label image of four squares of `side` pixels."""
    return np.kron(np.array([[1, 0, 2], [0, 0, 0], [3, 0, 4]]), np.ones((side, side), int))


def of_two_kinds(dtypes=("u1", "u2"), sizes=(0.5, 0.5)):
    """Cells of 16 µm² in two images, whose pixels are 10 and 20 in the first, and 1000 and 2000 in the second."""
    images, labels = {}, {}
    for name, dtype, mpp, dark in zip("ab", dtypes, sizes, (10, 1000), strict=True):
        mask = squares(round(4 / mpp))
        move = {name: Scale([mpp, mpp], ("x", "y"))}
        pixels = (dark * (1 + (np.indices(mask.shape).sum(axis=0) % 2)))[None].astype(dtype)
        images[f"image_{name}"] = Image2DModel.parse(
            pixels, dims=("c", "y", "x"), c_coords=["DAPI"], transformations=dict(move)
        )
        labels[f"cells_{name}"] = Labels2DModel.parse(mask, dims=("y", "x"), transformations=dict(move))
    return sd.SpatialData(images=images, labels=labels)


def shown_channels(sdata):
    """Numbers of images, and means, of the rows of the table of channels; whether the reader is cautioned."""
    text = "".join(quality_section(source_of(sdata)).body)
    rows = [row for row in re.findall(r"<tr>(.*?)</tr>", text, flags=re.DOTALL) if '<th scope="row">DAPI' in row]
    numbers = [[float(value) for value in re.findall(r'<data value="([^"]*)"', row)] for row in rows]
    return sorted((round(n), mean) for n, mean, *_ in numbers), "differ in type or size of their pixels" in text


@pytest.mark.parametrize(
    ("dtypes", "sizes", "expected", "cautioned"),
    [
        (("u1", "u2"), (0.5, 0.5), [(1, 15.0), (1, 1500.0)], True),
        (("u2", "u2"), (0.5, 1.0), [(1, 15.0), (1, 1500.0)], True),
        (("u2", "u2"), (0.5, 0.5), [(2, 757.5)], False),
    ],
)
def test_channels_of_other_pixels_stand_apart(dtypes, sizes, expected, cautioned):
    rows, said = shown_channels(of_two_kinds(dtypes, sizes))
    assert rows == [(n, pytest.approx(mean, rel=0.01)) for n, mean in expected]
    assert said == cautioned


def test_areas_of_masks_are_in_one_unit():
    """Squares of 4 µm are 8 pixels wide in one image, and 4 in the other."""
    text = "".join(quality_section(source_of(of_two_kinds(sizes=(0.5, 1.0)))).body)
    assert "8 cells in 2 masks; median area of a cell 16 µm² (median over masks)" in text


def test_areas_of_masks_without_a_pixel_size_are_in_pixels():
    sdata = of_two_kinds(("u1", "u1"), (0.5, 0.5))
    for name in "ab":
        set_transformation(sdata[f"image_{name}"], Identity(), name)
        set_transformation(sdata[f"cells_{name}"], Identity(), name)
    text = "".join(quality_section(source_of(sdata)).body)
    assert "median area of a cell 64 pixels (median over masks)" in text


def test_cells_of_no_sample_are_left_out_and_samples_that_were_not_looked_at_have_no_number():
    """Three cells of a, of which one is cut; two of b that nobody looked at; one of no sample."""
    flag = pd.array([True, False, False, None, None, True], dtype="boolean")
    obs = pd.DataFrame({"sample": ["a", "a", "a", "b", "b", None], "segmentation_cut": flag}, index=list("123456"))
    source = read_source(
        ad.AnnData(np.zeros((6, 1)), obs=obs), samples=None, patients=None,
        keys=ReportKeys("sample", "patient", None, None, None, None, None, ()),
    )  # fmt: skip
    for categorical in (False, True):
        if categorical:
            source.cells.obs["sample"] = source.cells.obs["sample"].astype("category")
        counts, said = _flagged(source)
        assert counts["cells"].to_dict() == {"a": 3, "b": 2}
        assert counts.loc["a", "cut"] == 1
        assert pd.isna(counts.loc["b", "cut"])
        assert said.endswith("; 1 cell of no sample left out")
