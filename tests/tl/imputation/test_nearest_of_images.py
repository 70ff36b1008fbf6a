"""Nearest cells of images: which rows are written, what is painted where, and what an earlier call leaves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from anndata import AnnData
from spatialdata.models import TableModel

from spatialfm._errors import ArgumentError
from spatialfm.embed.call import Elements
from spatialfm.tl.imputation.nearest_of_images import impute_cells_of_images

LOW, HIGH = 5.5, 105.5  # means of the ten cells that are near 0, and near 100
OF_B, OF_C = {3: 101.0, 7: 1.0, 9: 99.0}, {2: 0.5}  # CD3 of each label, where CD68 was not stained


@pytest.fixture
def sdata(make_sdata) -> sd.SpatialData:
    """Twenty cells of which CD68 is known, in two groups that CD3 tells apart, and four of two images without it."""
    masks = {"a": np.arange(20) + 1, "b": np.array([3, 7, 0, 9, 9]), "c": np.array([2, 2])}
    made = make_sdata(
        {name: (np.zeros((1, 1, mask.size), np.uint8), mask[None].astype(np.int32)) for name, mask in masks.items()},
        ["CD3"],
    )
    rows = [("a", n + 1, n % 2 * 100.0, n % 2 * 100 + n // 2 + 1.0) for n in range(20)]
    rows += [(sample, label, value, np.nan) for sample, of in (("b", OF_B), ("c", OF_C)) for label, value in of.items()]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    table = pd.DataFrame(rows, columns=["sample", "id", "CD3", "CD68"], index=[f"row{n}" for n in range(len(rows))])
    obs = table[["sample", "id"]].assign(where=pd.Categorical("cells_" + table["sample"]))
    adata = AnnData(table[["CD3", "CD68"]].to_numpy(np.float32), obs, pd.DataFrame(index=["CD3", "CD68"]))
    made.tables["table"] = TableModel.parse(
        adata, region=["cells_a", "cells_b", "cells_c"], region_key="where", instance_key="id"
    )
    return made


def impute(sdata, **asked):
    told = {"samples": None, "panel": None, "source": None} | asked
    impute_cells_of_images(
        sdata, ["CD68"], told["source"], samples=told["samples"], panel=told["panel"], elements=Elements(),
        table_name="table", key_added="near", space="intensity", layer=None, patient_key=None, random_state=0,
    )  # fmt: skip
    frame, obs = sdata["table"].obsm["X_near"], sdata["table"].obs
    return {(s, n): value for s, n, value in zip(obs["sample"], obs["id"], frame["CD68"], strict=True)}


def test_each_cell_has_the_mean_of_its_ten_nearest_and_is_painted_below_its_label(sdata):
    found = impute(sdata)
    assert [found["b", label] for label in (3, 7, 9)] == pytest.approx([HIGH, LOW, HIGH])
    assert found["c", 2] == pytest.approx(LOW)
    assert np.isnan([found["a", n + 1] for n in range(20)]).all()
    np.testing.assert_allclose(sdata["image_b_near"].values[0, 0], [HIGH, LOW, np.nan, HIGH, HIGH])
    np.testing.assert_allclose(sdata["image_c_near"].values[0, 0], [LOW, LOW])
    assert "image_a_near" not in sdata.images
    records = sdata.attrs["spatialfm"]["imputed"]
    assert {name: (one["of"], one["sample"], one["holds"]) for name, one in records.items()} == {
        "image_b_near": ("image_b", "b", "cells"),
        "image_c_near": ("image_c", "c", "cells"),
    }


def test_samples_that_were_not_asked_for_are_left_out(sdata):
    found = impute(sdata, samples=["b"])
    assert found["b", 7] == pytest.approx(LOW)
    assert np.isnan(found["c", 2])
    assert "image_c_near" not in sdata.images


def test_samples_that_are_asked_for_one_after_the_other_are_all_there(sdata):
    impute(sdata, samples=["b"])
    found = impute(sdata, samples=["c"])
    assert (found["b", 7], found["c", 2]) == (pytest.approx(LOW), pytest.approx(LOW))
    assert {"image_b_near", "image_c_near"} <= set(sdata.images)


def test_an_image_whose_cells_have_been_measured_since_is_taken_away(sdata):
    impute(sdata)
    table = sdata["table"]
    table.X[(table.obs["sample"] == "c").to_numpy(), 1] = 4.0
    found = impute(sdata)
    assert np.isnan(found["c", 2])
    assert "image_c_near" not in sdata.images
    assert list(sdata.attrs["spatialfm"]["imputed"]) == ["image_b_near"]


def test_a_source_is_learned_from_unless_it_is_the_table_itself(sdata):
    other = sdata["table"][sdata["table"].obs["sample"] == "a"].copy()
    other.X[:, 1] += 1000
    assert impute(sdata, source=sdata["table"])["b", 7] == pytest.approx(LOW)
    found = impute(sdata, source=other)
    assert found["b", 7] == pytest.approx(1000 + LOW)
    assert found["a", 1] == pytest.approx(1000 + LOW)  # nothing is learned from this table: all of it is predicted


def test_channels_cannot_be_chosen(sdata):
    with pytest.raises(ArgumentError, match="Leave panel= out"):
        impute(sdata, panel={"markers": ["CD3"]})
    assert "X_near" not in sdata["table"].obsm
