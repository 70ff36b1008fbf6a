"""Which cells have a scale of their own, and what labels of one patient say of others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.tl.phenotypes.annotation_inputs import samples_of, samples_of_parts, tell_one_patient


def table(**columns) -> AnnData:
    return AnnData(obs=pd.DataFrame(columns, index=[f"c{number}" for number in range(4)]))


def test_samples_are_coded_by_name():
    cells = table(sample=["b", "a", "b", "b"], slide=[1, 1, 2, 2])
    np.testing.assert_array_equal(samples_of(cells, "sample", "auto"), [0, 1, 0, 0])
    np.testing.assert_array_equal(samples_of(cells, "slide", True), [0, 0, 1, 1])
    assert samples_of(cells, "sample", False) is None


def test_samples_of_parts_are_in_the_order_of_these():
    cells = table(sample=["b", "a", "b", "a"])
    parts = (cells[[3, 1]], cells[[0, 2]])
    np.testing.assert_array_equal(samples_of_parts(cells, parts, "sample", "auto"), [0, 0, 1, 1])
    assert samples_of_parts(cells, parts, "sample", False) is None


def test_samples_that_are_not_known_are_asked_for_only_where_they_are_needed():
    some, none = table(sample=["b", None, "b", "b"]), table(other=[1, 2, 3, 4])
    assert samples_of(some, "sample", "auto") is None
    assert samples_of(none, "sample", "auto") is None
    assert samples_of(none, None, "auto") is None
    for cells, key in ((some, "sample"), (none, "sample"), (none, None)):
        with pytest.raises(TableError, match="library_key"):
            samples_of(cells, key, True)
    with pytest.raises(TableError, match="slide"):
        samples_of(none, "slide", "auto")


def test_labels_of_one_patient_are_told_of_and_their_probabilities_too_high_for_others():
    """Types lie elsewhere in each patient: what is right on the cells of one is too sure on those of others."""
    apart, told = [], "All labelled cells are of one patient .*'p0'.*960 cells of others"
    for seed in range(4):
        rng = np.random.default_rng(seed)
        patient, codes = np.repeat(np.arange(9), 120), rng.integers(0, 3, 1080)
        values = 1.5 * np.eye(3)[codes] + rng.normal(0, 0.8, (1080, 3)) + rng.normal(0, 0.7, (9, 3, 3))[patient, codes]
        obs = pd.DataFrame({"type": np.array(list("ABC"))[codes], "patient": [f"p{one}" for one in patient]})
        cells = AnnData(np.zeros((1080, 0), np.float32), obs=obs.set_index("c" + obs.index.astype(str)))
        cells.obsm["X_model"] = values
        cells.obs["known"] = cells.obs["type"].where(np.arange(1080) < 60)
        with pytest.warns(SpatialfmWarning, match=told):
            sfm.tl.annotate(cells, "known", use_rep="X_model", method="lda")
        said = cells.obsm["known_predicted_probability"].to_numpy()
        confidence, right = said.max(axis=1), said.argmax(axis=1) == codes
        apart.append([(confidence - right)[rows].mean() for rows in (slice(60, 120), slice(120, None))])
    own, others = np.mean(apart, axis=0)
    assert others > own + 0.05


def test_labels_of_one_patient_are_not_told_of_where_there_is_no_other(recwarn):
    groups = np.array(["a", "a", "b"])
    tell_one_patient(groups, np.array([0, 2]), "patient")
    tell_one_patient(groups[:2], np.array([0]), "patient")
    tell_one_patient(None, np.array([0]), None)
    tell_one_patient(groups, np.array([], int), "patient")
    assert not recwarn
