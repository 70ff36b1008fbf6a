"""The end that all readers have in common."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ClinicalError, SpatialfmWarning
from spatialfm.io._assemble import assemble
from spatialfm.io._cell_frame import CellFrame, table_of_cells
from spatialfm.io._elements import ReadSample, image_element, labels_element
from spatialfm.io._lazy_image import LazyImage


def opened(sample, names, *notes, labels=False):
    image = LazyImage((da.zeros((len(names), 8, 8), dtype="uint8"),), names, True, None, None, "", f"{sample}.tif")
    cells = {f"cells_{sample}": labels_element(da.zeros((8, 8), dtype="int32"), sample, 0.5)} if labels else {}
    return ReadSample(
        sample, {f"image_{sample}": image_element(image, sample, 0.5)}, cells, names, {"mpp": 0.5}, notes=list(notes)
    )


def test_samples_become_elements_a_table_and_records():
    obs = pd.DataFrame({"patient": ["p", "q"], "age": [60, 70]}, index=["a", "b"])
    with pytest.warns(SpatialfmWarning, match="different panels: 2 channels of 3 not in all of them"):
        sdata = assemble([opened("a", ("DAPI", "CD3"), labels=True), opened("b", ("DAPI", "CD8"))], obs)
    assert list(sdata.images) == ["image_a", "image_b"]
    assert list(sdata.labels) == ["cells_a"]
    assert list(sdata.tables) == ["samples"]
    pd.testing.assert_frame_equal(sdata["samples"].obs, obs)
    record = sdata.attrs["spatialfm"]
    assert record["samples"] == {"a": {"mpp": 0.5}, "b": {"mpp": 0.5}}
    assert record["panel"] == {
        "union": ["DAPI", "CD3", "CD8"],
        "samples": {"a": ["DAPI", "CD3"], "b": ["DAPI", "CD8"]},
    }
    np.testing.assert_array_equal(sdata["samples"].X, np.zeros((2, 0)))


def test_one_warning_for_all_files_with_the_same_to_say(recwarn):
    notes = [("mpp_assumed", f"{name}.tif", "") for name in "ab"]
    obs = pd.DataFrame({"patient": ["p", "p"]}, index=["a", "b"])
    assemble([opened(name, ("DAPI",), note) for name, note in zip("ab", notes, strict=True)], obs)
    said = [str(w.message) for w in recwarn if issubclass(w.category, SpatialfmWarning)]
    assert len(said) == 1
    assert "a.tif" in said[0]
    assert "b.tif" in said[0]
    assert "1 µm per pixel is assumed" in said[0]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("patient", "'patient' is in .* with other values"),
        ("Patient", "'Patient' .* and column 'patient' .* case only"),
    ],
)
def test_a_column_of_the_cells_does_not_hide_that_of_their_samples(column, message):
    obs = pd.DataFrame({"patient": ["p", "q"]}, index=["a", "b"])

    def cells(values):
        parts = [
            CellFrame(
                one, np.array([1]), np.zeros((1, 2)), pd.DataFrame({"CD3": [1.0]}), pd.DataFrame({column: [value]})
            )
            for one, value in zip("ab", values, strict=True)
        ]
        return table_of_cells(parts, source="t")

    read = [opened(one, ("DAPI",), labels=True) for one in "ab"]
    with pytest.raises(ClinicalError, match=message):
        assemble(read, obs, cells(["p", "other"]))
    if column == "patient":
        assert assemble(read, obs, cells(["p", "q"]))["table"].obs["patient"].tolist() == ["p", "q"]
        obs["core"] = ["1", "A"]
        same = cells(["p", "q"])[:1].copy()
        same.obs["core"] = [1.0]
        assert assemble(read, obs, same)["table"].obs["core"].tolist() == [1.0]
