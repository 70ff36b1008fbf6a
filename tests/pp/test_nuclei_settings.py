"""Cells are judged by nuclei of the size, stain and threshold by which they were made, where that is recorded."""

from __future__ import annotations

import copy

import pytest
import spatialdata as sd

import spatialfm as sfm
from spatialfm.pp.elements import match_elements
from spatialfm.pp.nuclei_settings import NucleiSettings, nuclei_settings

MADE = {"diameter": 4.0, "options": {"threshold": 0.3}, "nuclear": ["DAPI"]}
FLAGS = ["n_cells", "no_nucleus", "several_nuclei", "shared_nucleus", "n_nuclei", "nuclei_outside"]


@pytest.fixture(scope="module")
def sdata():
    cohort = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=192, difficulty="easy", random_state=2)
    sfm.pp.segment_cells(cohort, key_added="made", **MADE)
    return cohort


def found(sdata, nuclear=None, diameter=None, labels="made_P001_1"):
    (one,) = nuclei_settings(sdata, match_elements(sdata, None, labels), nuclear, diameter)
    return one


def test_cells_grown_from_nuclei_are_judged_by_the_same_nuclei(sdata, tmp_path):
    by_default = sfm.pp.segmentation_quality(sdata, "made_P001_1")[FLAGS]
    assert by_default[["no_nucleus", "shared_nucleus", "nuclei_outside"]].to_numpy().sum() == 0
    assert by_default["n_nuclei"].item() == by_default["n_cells"].item()
    other = sfm.pp.segmentation_quality(sdata, "made_P001_1", diameter=8)[FLAGS]
    assert other[["no_nucleus", "shared_nucleus"]].to_numpy().sum() > 5  # what the figures were of smaller cells
    path = sfm.io.write(copy.copy(sdata), tmp_path / "cohort.zarr")
    assert sfm.pp.segmentation_quality(sd.read_zarr(path), "made_P001_1")[FLAGS].equals(by_default)


def test_what_is_asked_for_goes_first(sdata):
    assert found(sdata) == NucleiSettings(4.0, ("DAPI",), 0.3)
    assert found(sdata, diameter=9) == NucleiSettings(9.0, ("DAPI",), 0.3)
    assert found(sdata, nuclear="DAPI") == NucleiSettings(4.0, ("DAPI",), 0.3)
    assert found(sdata, nuclear=["CD3", "DAPI"]) == NucleiSettings(4.0, ("CD3", "DAPI"), None)  # another stain's scale
    assert found(sdata, labels="cells_P001_1") == NucleiSettings(8.0, None, None)
    assert found(sdata).request.options == {"threshold": 0.3}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image": "image_other"}, NucleiSettings()),
        ({"method": "virtues"}, NucleiSettings()),  # which has no diameter, and records the default
        ({"method": "cellpose"}, NucleiSettings(4.0, ("DAPI",), None)),
        ({"nuclear": "DAPI"}, NucleiSettings(4.0, ("DAPI",), 0.3)),
        ({"nuclear": ["Hoechst"]}, NucleiSettings(4.0, None, 0.3)),  # channels were renamed since
        ({"nuclear": None, "options": "?"}, NucleiSettings(4.0, None, None)),
        ({"diameter_um": "nan"}, NucleiSettings(8.0, ("DAPI",), 0.3)),
        ({"diameter_um": None, "options": "{}"}, NucleiSettings(8.0, ("DAPI",), None)),
    ],
)
def test_records_of_others_and_damaged_ones(sdata, change, expected):
    other = sd.SpatialData(images=dict(sdata.images), labels=dict(sdata.labels), attrs=copy.deepcopy(sdata.attrs))
    other.attrs["spatialfm"]["segmentation"]["made_P001_1"] |= change
    assert found(other) == expected
    other.attrs["spatialfm"]["segmentation"] = "gone"
    assert found(other) == NucleiSettings()
