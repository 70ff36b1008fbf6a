"""What a report is made of: which columns, tables and images are taken, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel

from spatialfm._errors import ElementError, TableError
from spatialfm.reporting import source as module
from spatialfm.reporting.cohort import patients_of
from spatialfm.reporting.source import ReportKeys, read_source

KEYS = ReportKeys("sample", "patient", None, None, None, None, None, ())


def cells(**columns):
    obs = pd.DataFrame({name: list(values) for name, values in columns.items()})
    return ad.AnnData(obs=obs.set_axis([f"c{i}" for i in range(len(obs))]))


def read(data, **more):
    return read_source(data, **{"samples": None, "patients": None, "keys": KEYS} | more)


def test_usual_columns_are_taken_where_none_is_named_and_scores_are_none():
    table = cells(leiden="01", cell_type=[0.1, 0.2], niches="ab")
    keys = read(table).keys
    assert (keys.phenotype, keys.niche) == ("leiden", "niches")  # numbers with a fraction are not types
    assert read(table, keys=replace(KEYS, phenotype="niches")).keys.phenotype == "niches"
    assert read(cells(sample="ab")).keys.phenotype is None


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"phenotype": "kind"}, TableError, r"'kind' in obs of the cells \(phenotype_key=\); found 'sample'"),
        ({"niche": "place"}, TableError, r"'place' in obs of the cells \(niche_key=\)"),
        ({"embeddings": ("x",)}, ElementError, r"No embedding 'x' in obsm \(use_rep=\)"),
    ],
)
def test_names_that_are_not_there_are_refused(changes, error, says):
    with pytest.raises(error, match=says):
        read(cells(sample="ab"), keys=replace(KEYS, **changes))


def test_embeddings_are_those_with_a_record_and_an_array():
    table = cells(sample="ab")
    table.obsm["kept"] = table.obsm["bare"] = np.zeros((2, 3))
    table.uns["spatialfm"] = {"kept": {"model": "m"}, "gone": {"model": "m"}, "table": {"statistic": "mean"}}
    assert read(table).keys.embeddings == ("kept",)


def test_samples_and_patients_are_those_of_the_cells():
    samples = read(cells(sample=["s2", "s2", "s1", None, "s1"], patient=["b", "b", "a", "c", "a"])).samples
    assert samples["patient"].to_dict() == {"s2": "b", "s1": "a"}  # a cell of no sample adds none
    assert list(read(cells(type="ab")).samples.index) == []


def test_a_cell_without_patient_makes_no_patient_called_nan():
    source = read(cells(sample=["s1", "s1", "s2", "s3"], patient=[None, "a", "b", np.nan]))
    assert source.samples["patient"].dropna().to_dict() == {"s1": "a", "s2": "b"}
    assert source.samples.index.tolist() == ["s1", "s2", "s3"]
    assert patients_of(source) == ["a", "b"]


def test_passed_tables_do_not_replace_those_that_are_there():
    table, other = cells(sample="ab"), cells(time="1")
    other.uns["composition"] = {"params": {}}
    source = read(table, patients={"cells": other, "late": other})
    assert list(source.tables) == ["cells", "cells (passed)", "late"]
    assert source.tables["cells"] is table
    assert list(source.patients) == ["cells (passed)", "late"]
    assert list(read(table, patients=other).tables) == ["cells", "patients"]


def test_records_are_dictionaries_and_tables_without_the_notes_of_the_package():
    table, frame = cells(sample="ab"), pd.DataFrame({"n": [1]})
    table.uns |= {"spatialfm": {"a": {}}, "cox": {"table": frame}, "scores": frame, "colors": ["r"], "params": {"k": 1}}
    found = {key: record for _, _, key, record in read(table).records()}
    assert set(found) == {"cox", "scores", "params"}
    assert found["scores"]["params"] == {"k": 1}
    assert found["scores"]["scores"] is frame


def images(**sides):
    made = {f"image_{name}": Image2DModel.parse(np.zeros((1, n, n), np.uint8)) for name, n in sides.items()}
    return sd.SpatialData(images=made)


def test_images_to_look_at_are_the_named_ones_or_the_first_that_are_not_too_large(monkeypatch):
    sdata = images(a=4, b=3, c=2)
    looked_at = [one.sample for one in read(sdata, samples=["c", "a", "c"]).looked_at]
    assert looked_at == ["c", "a"]
    monkeypatch.setattr(module, "MOST_VALUES", 25)  # 16, 16 + 9, 16 + 9 + 4 values
    source = read(sdata)
    assert [one.sample for one in source.looked_at] == ["a", "b"]
    assert [one.sample for one in source.pairs] == source.samples.index.tolist() == ["a", "b", "c"]
    with pytest.raises(ElementError, match=r"No image of sample 'd' \(samples=\); there are 'a', 'b', 'c'"):
        read(sdata, samples=["a", "d"])


def test_samples_of_a_table_alone_are_refused():
    with pytest.raises(ElementError, match="names images to look at, and there are none"):
        read(cells(sample="ab"), samples=["a"])
