"""Cells that are in a table twice."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning

WORDS = "cells have the sample and the number"


def cohort(sample: str = "s1", first: int = 1) -> ad.AnnData:
    obs = {"sample": [sample] * 4, "region": ["cells_s1"] * 4, "cell_id": range(first, first + 4), "type": list("abab")}
    table = ad.AnnData(obs=pd.DataFrame(obs, index=[f"{sample}_{i}" for i in range(4)]))
    table.obsm["spatial"] = np.arange(8.0).reshape(4, 2) * 10
    return table


def joined(*tables: ad.AnnData) -> ad.AnnData:
    return ad.concat(tables, keys=[f"cohort{i}" for i in range(len(tables))], index_unique="_")


CALLS = {
    "composition": lambda table: sfm.tl.composition(table, "type", patient_key=None),
    "neighborhood_composition": lambda table: sfm.tl.neighborhood_composition(table, "type", n_neighbors=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_two_samples_of_one_name_are_told(call):
    table = joined(cohort(), cohort())
    with pytest.warns(SpatialfmWarning, match=f"^4 {WORDS} .* in 's1': two samples of one name were joined"):
        call(table)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("other", [cohort("s2"), cohort("s1", first=5)], ids=["another name", "other cells of it"])
def test_samples_that_are_apart_are_not(call, other, recwarn):
    call(joined(cohort(), other))
    assert not [one for one in recwarn if WORDS in str(one.message)]


@pytest.mark.parametrize("field", ["fov", "region"])
def test_numbers_may_begin_anew_in_each_field_of_a_sample(field, recwarn):
    one, two = cohort(), cohort()
    one.obs[field], two.obs[field] = "f1", "f2"
    CALLS["composition"](joined(one, two))
    assert not [one for one in recwarn if WORDS in str(one.message)]


def test_the_column_that_the_table_names_counts():
    table = joined(cohort(), cohort())
    table.obs["number"] = range(8)
    table.uns["spatialdata_attrs"] = {"region": "cells_s1", "region_key": "region", "instance_key": "number"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        CALLS["composition"](table)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_cells_without_numbers_are_told_by_their_places(call):
    table = joined(cohort(), cohort(), cohort("s2"))
    del table.obs["cell_id"]
    with pytest.warns(SpatialfmWarning, match="^100% of the cells of 's1' lie exactly on another one .so in 1 of 2"):
        call(table)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_fields_that_overlap_are_not(call, recwarn):
    """Half of the cells lie on another one; and places that are all the same are none."""
    one, two = cohort("s1"), cohort("s2")
    one.obsm["spatial"][2] = one.obsm["spatial"][1]
    two.obsm["spatial"][:] = 0
    table = joined(one, two)
    del table.obs["cell_id"]
    call(table)
    assert not [one for one in recwarn if "lie exactly" in str(one.message)]
