"""Columns of a second cohort, as a model of the first wants them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.cohort.transferred_columns import check_compositions, named_values, target_covariates


def table(names, values, **params):
    adata = AnnData(np.asarray(values, float), var=pd.DataFrame(index=list(names)))
    if params:
        adata.uns["composition"] = {"params": params}
    return adata


def test_values_come_in_the_order_of_the_source():
    source, target = table("abc", [[0, 0, 0]]), table("cab", [[3, 1, 2]])
    np.testing.assert_array_equal(named_values(source, target, ["a", "b", "c"], None), [[1, 2, 3]])
    with pytest.raises(SurvivalError, match="The target has no 'd' in var"):
        named_values(source, target, ["a", "d"], None)
    with pytest.raises(SurvivalError, match="no layer 'x'"):
        named_values(source, target, ["a"], "x")


def test_covariates_that_are_absent_are_named_together():
    target = table("ab", [[1, 2]])
    target.obs["age"] = [50.0]
    found = target_covariates(target, '{"age": {}, "b": {}}', None)
    assert found.iloc[0].tolist() == [50.0, 2.0]
    with pytest.raises(SurvivalError, match="The target has no 'stage', 'sex'"):
        target_covariates(target, '{"age": {}, "stage": {}, "sex": {}}', None)


def test_what_makes_fractions_mean_different_things():
    source = table("ab", [[0.5, 0.5]], pseudocount=0.5, cells_per_row="all")
    with pytest.warns(SpatialfmWarning, match="The target counts 'c'"):
        check_compositions(source, table("abc", [[0.2, 0.3, 0.5]], pseudocount=0.5), ["a", "b"], None)
    with pytest.raises(SurvivalError, match="pseudocount of 0.5 in the source and of 1.0"):
        check_compositions(source, table("ab", [[0.5, 0.5]], pseudocount=1.0), ["a", "b"], "clr")
    with pytest.warns(SpatialfmWarning, match="Fractions rest on all cells a row in the source and 100"):
        check_compositions(source, table("ab", [[0.5, 0.5]], pseudocount=0.5, cells_per_row=100), ["a", "b"], None)
    with pytest.warns(SpatialfmWarning, match="nothing shows that the target does"):
        check_compositions(source, table("ab", [[0.5, 0.5]]), ["a", "b"], None)
