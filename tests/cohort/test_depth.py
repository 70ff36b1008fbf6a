"""Numbers of cells against outcomes, and weights by which patients count alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.cohort.depth import cells_of_cases, class_depth, depth_of, patient_weights, survival_depth, tell_dominant


def table(counts, **columns):
    names = np.repeat([f"p{i}" for i in range(len(counts))], counts)
    return AnnData(obs=pd.DataFrame({"patient": names, **columns}, index=[f"c{i}" for i in range(len(names))]))


def test_cells_are_rows_or_what_they_stand_for():
    codes = np.array([0, 0, 1])
    assert cells_of_cases(table([2, 1]), codes, 3).tolist() == [2, 1, 0]
    assert cells_of_cases(table([2, 1], n_cells=[10, 5, 7]), codes, 2).tolist() == [15, 7]


def test_classes_are_compared_by_mann_and_whitney():
    n, codes = np.array([10, 12, 11, 50, 60, 55, 70]), np.array([0, 0, 0, 1, 1, 1, 1])
    with pytest.warns(SpatialfmWarning, match=r"median 11 of 'a', 58 of 'b'; AUROC 1.00"):
        found = class_depth(n, codes, ["a", "b"], "arm", "Do this.")
    assert found["depth_p_value"] == pytest.approx(stats.mannwhitneyu(n[codes == 1], n[codes == 0]).pvalue)
    with pytest.warns(SpatialfmWarning, match="of those with an event"):
        survival_depth(n, -n.astype(float) + 99, np.ones(7, int), ["t", "e"], "Do this.")


@pytest.mark.parametrize(("cells", "expected"), [("all", None), ("even", 100), (30, 30), (1000, 1000)])
def test_how_many_are_drawn(cells, expected):
    n = np.array([100, 120, 1000, 1000])
    assert depth_of(cells, n, "cells_per_patient") == expected
    assert depth_of("even", np.array([7, 400, 500, 600]), "x") == 400
    assert depth_of("even", np.array([7, 400, 500, 600]), "x", lambda drawn: drawn.min() < 400) == 7


def test_a_draw_of_few_cells_is_said():
    with pytest.warns(SpatialfmWarning, match="draws 7 cells of each patient"):
        depth_of(7, np.array([100, 200, 300]), "cells_per_patient")
    for wrong in ("some", 0, True, 2.5):
        with pytest.raises(TableError, match="is not known"):
            depth_of(wrong, np.array([100]), "cells_per_patient")


def test_weights_make_patients_count_alike():
    weights, how = patient_weights(table([2, 6, 4]), "patient")
    sums = np.bincount(np.repeat([0, 1, 2], [2, 6, 4]), weights)
    np.testing.assert_allclose(sums, sums[0])
    assert weights.sum() == pytest.approx(12)
    assert how == "3 patients alike"
    assert patient_weights(table([3, 3]), "patient")[0] is None
    assert patient_weights(table([2, 6]), None) == (None, "rows alike")


@pytest.mark.parametrize(("counts", "said"), [([6, 2, 2], True), ([5, 3, 2], False), ([9, 1], False)])
def test_a_patient_with_most_of_the_cells_is_said(recwarn, counts, said):
    tell_dominant(table(counts))
    assert any("of the cells are of patient 'p0'" in str(one.message) for one in recwarn) is said
