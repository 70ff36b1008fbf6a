"""What was read, but for clinical values: which columns those are, and that cells get them as they are now."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import tifffile
from cli_cohort import write_cohort

import spatialfm as sfm
from spatialfm._errors import ClinicalError
from spatialfm.cli._but_clinical import add_clinical, but_clinical, drop_clinical
from spatialfm.cli._state import stamp_of

IMAGE = "{core}.ome.tif"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two samples whose images are named by a template."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 2)
    table = pd.read_csv(folder / "cohort.csv").assign(core=["S0", "S1"], site=["a", "b"], nr=["1", "2"])
    table.drop(columns="image").to_csv(folder / "cohort.csv", index=False)
    return folder


def digest(folder, tmp_path, change=None, *, patients=True, **settings):
    """The digest, after a change of the table."""
    frame = pd.read_csv(folder / "cohort.csv", dtype=str)
    if change is not None:
        change(frame)
    path = tmp_path / "cohort.csv"
    frame.to_csv(path, index=False)
    for file in folder.glob("*.tif"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    sdata = sfm.io.read_cohort(path, image=IMAGE, cell_table=False, **settings)
    stamps = {str(one): stamp_of(one) for one in tmp_path.iterdir()}
    return but_clinical({"cohort": str(path), "image": IMAGE, **settings}, sdata, stamps, patients=patients)


@pytest.mark.parametrize(
    ("column", "value", "same"),
    [
        ("months", "77", True),
        ("died", "", True),
        ("nr", "01", True),
        ("site", "c", False),  # a batch, at which phenotypes look
        ("patient", "P7", False),
        ("sample", "S9", False),
    ],
)
def test_clinical_values_do_not_count_and_all_others_do(column, value, same, cohort, tmp_path):
    before = digest(cohort, tmp_path)
    assert before is not None
    after = digest(cohort, tmp_path, lambda frame: frame.__setitem__(column, [value, *frame[column][1:]]))
    assert (after == before) is same


def test_the_order_of_rows_does_not_count_and_names_of_patients_where_they_are_asked_for(cohort, tmp_path):
    def turned(frame):
        frame[:] = frame.iloc[::-1].to_numpy()

    def renamed(frame):
        frame["patient"] = ["P7", *frame["patient"][1:]]

    for patients in (True, False):
        before = digest(cohort, tmp_path, patients=patients)
        assert digest(cohort, tmp_path, turned, patients=patients) == before
        assert (digest(cohort, tmp_path, renamed, patients=patients) == before) is not patients


def test_names_settings_and_pixels_count(cohort, tmp_path):
    before = digest(cohort, tmp_path)
    assert digest(cohort, tmp_path) == before
    assert digest(cohort, tmp_path, lambda frame: frame.insert(0, "grade", "1")) == before  # one more clinical column
    assert digest(cohort, tmp_path, lambda frame: frame.insert(0, "slide", "1")) != before  # of a batch
    assert digest(cohort, tmp_path, lambda frame: frame.insert(0, "mpp", "2")) != before  # which the reader takes
    images = digest(cohort, tmp_path, patients=False)
    assert digest(cohort, tmp_path, lambda frame: frame.insert(0, "slide", "1"), patients=False) == images
    assert digest(cohort, tmp_path, lambda frame: frame.insert(0, "mpp", "2"), patients=False) != images
    assert digest(cohort, tmp_path, lambda frame: frame.__setitem__("core", ["S1", "S0"])) != before
    assert digest(cohort, tmp_path, clinical_keys=["age"]) != before
    path = cohort / "S1_mask.tif"
    content = path.read_bytes()
    try:
        tifffile.imwrite(path, tifffile.imread(path) % 2)
        assert digest(cohort, tmp_path) != before
    finally:
        path.write_bytes(content)


def test_cells_that_came_with_the_cohort_are_not_told_apart(cohort, tmp_path):
    sdata = sfm.io.read_cohort(cohort / "cohort.csv", image=IMAGE, cell_table=False)
    assert but_clinical({}, sdata, {}) is not None
    sdata["table"] = ad.AnnData(np.zeros((1, 1)))
    assert but_clinical({}, sdata, {}) is None


def test_cells_have_the_values_of_their_samples_as_they_are_now():
    obs = pd.DataFrame({"sample": ["b", "a", "b"], "area": 1.0, "age": 1, "cluster_given": "x"}, index=list("uvw"))
    cells = ad.AnnData(obs=obs)
    drop_clinical(cells, pd.DataFrame({"age": [1], "cluster": ["x"], "gone": [2]}, index=["a"]))
    assert list(cells.obs) == ["sample", "area"]
    now = pd.DataFrame({"age": [50, 60, 70], "cluster": ["k", "l", "m"], "late": 1}, index=["a", "b", "c"])
    add_clinical(cells, now)
    assert cells.obs["age"].tolist() == [60, 50, 60]
    assert cells.obs["cluster_given"].tolist() == ["l", "k", "l"]
    assert cells.obs["late"].tolist() == [1, 1, 1]
    with pytest.raises(ClinicalError, match="'area'.*Rename it there"):
        add_clinical(cells, pd.DataFrame({"area": [1, 2, 3]}, index=["a", "b", "c"]))
