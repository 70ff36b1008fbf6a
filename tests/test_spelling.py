"""Names that read alike, and names that do not."""

from __future__ import annotations

import pandas as pd
import pytest

from spatialfm._errors import TableError
from spatialfm._spelling import as_read, check_label_names


@pytest.mark.parametrize(
    "name", ["T cell", "t  Cell", " T cell ", "\ufeffT cell", "T cell\u200b", "T\xa0cell", "T\tcell", "Ｔ cell"]
)
def test_one_name_in_several_spellings(name):
    assert as_read(name) == "t cell"


def test_names_that_a_reader_tells_apart_stay_apart():
    names = ["T cell", "Tcell", "T-cell", "T cells", "Γ cell", 1, 1.0]
    assert len({as_read(name) for name in names}) == len(names)


@pytest.mark.parametrize("missing", ["", "nan", "None", "<NA>", " NaN "])
def test_a_missing_label_that_became_text_is_no_type(missing):
    labels = pd.Series(["B", missing, missing, "T"], name="known")
    with pytest.raises(TableError, match=r"in 2 of 4 cells, which would be a type.*replace\(.*None\)"):
        check_label_names(labels)


@pytest.mark.parametrize("other", ["t cell", "T cell ", "T  cell", "\ufeffT cell"])
def test_two_labels_that_read_alike_are_refused(other):
    with pytest.raises(TableError, match="read alike and would be two types"):
        check_label_names(pd.Series(["B", "T cell", None, other], name="known").astype("category"))


def test_other_labels_and_numbers_are_labels():
    check_label_names(pd.Series(["CD4+ T", "CD4- T", "CD4 T", "none of these", "NA-like", None], name="known"))
    check_label_names(pd.Series([1.0, 2.0, 10.0, None], name="known"))
    check_label_names(pd.Series([True, False], name="known"))
    unused = pd.Series(pd.Categorical(["B", None], categories=["B", "nan", "b"]), name="known")
    check_label_names(unused)  # categories that no cell has
