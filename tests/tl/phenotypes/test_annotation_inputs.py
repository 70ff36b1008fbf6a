"""Which cells have a scale of their own: samples that are known, named or insisted on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm._errors import TableError
from spatialfm.tl.phenotypes.annotation_inputs import samples_of, samples_of_parts


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
