"""What is refused before any token is laid."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import ElementError, SpatialfmError
from spatialfm.tl.regions.token_table import check_dense, write_predictions

PAIRS = [SimpleNamespace(sample="s1")]
FITS = {"min_cover": 0.5, "min_tokens": 1, "n_train": None}


def store(**tables):
    elements = dict.fromkeys(("shapes", "points"), {})
    return SimpleNamespace(images={"s1_image": 0}, labels={"regions_s1": 0}, tables=tables, attrs={}, **elements)


def of(instance_key, regions):
    table = ad.AnnData(np.zeros((1, 1)))
    table.uns["spatialdata_attrs"] = {"instance_key": instance_key, "region": regions}
    return table


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"opening": -1.0}, SpatialfmError, r"opening=-1\.0 is not a radius"),
        ({"closing": np.inf}, SpatialfmError, "closing=inf is not a radius"),
        ({"min_cover": 0.0}, SpatialfmError, r"min_cover=0\.0 is not a share"),
        ({"min_cover": 1.1}, SpatialfmError, r"min_cover=1\.1 is not a share"),
        ({"min_tokens": 0}, SpatialfmError, "must be 1 or more"),
        ({"n_train": 0}, SpatialfmError, "must be 1 or more"),
    ],
)
def test_numbers_that_make_no_sense(change, error, message):
    check_dense(store(), PAIRS, "tokens", "label", opening=0.0, closing=None, **FITS | {"min_cover": 1.0})
    with pytest.raises(error, match=message):
        check_dense(store(), PAIRS, "tokens", "label", **FITS | change)


@pytest.mark.parametrize(
    ("table_name", "key", "message"),
    [
        ("same", "same", "are both 'same'"),
        ("s1_image", "label", "cannot be written: an element has that name"),
        ("cells", "label", "'cells' contains no tokens and is not written over"),
        ("tokens", "regions", "key_added"),  # labels of that name are there
        ("regions", "label", "table_name"),
    ],
)
def test_names_that_are_taken(table_name, key, message):
    sdata = store(cells=of("cell_id", ["a"]), tokens=of("token_id", ["tokens_s1"]))
    with pytest.raises(ElementError, match=message):
        check_dense(sdata, PAIRS, table_name, key, **FITS)


def test_the_codes_of_an_earlier_call_are_written_over():
    sdata = store(tokens=of("token_id", ["tokens_s1"]))
    sdata.labels["tokens_s1"] = 0
    check_dense(sdata, PAIRS, "tokens", "label", **FITS)


def test_predictions_stand_beside_the_annotation():
    table = ad.AnnData(np.zeros((2, 1)), obs=pd.DataFrame(index=["t1", "t2"]))
    said = pd.DataFrame({"label": ["a", "b"], "confidence": [0.9, 0.6], "margin": [0.8, 0.2], "entropy": [0.1, 0.9]},
                        index=table.obs_names)  # fmt: skip
    write_predictions(
        table, np.array(["a", None], object), said, np.array([[0.9, 0.1], [0.4, 0.6]]), ["a", "b"], "label", {"C": 1.0}
    )
    assert table.obs["annotation"].isna().tolist() == [False, True]
    assert table.obs["annotation"].iloc[0] == "a"
    assert table.obs["label_margin"].tolist() == [0.8, 0.2]
    assert table.obsm["label_probability"]["b"].tolist() == [0.1, 0.6]
