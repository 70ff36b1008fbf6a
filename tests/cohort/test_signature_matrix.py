"""Markers of types in the forms that users write them."""

from __future__ import annotations

import pandas as pd
import pytest

from spatialfm._errors import PanelError, TableError
from spatialfm.cohort.signature_matrix import signature_matrix

MARKERS = ["CD3", "CD8", "CD4", "CD20", "panCK", "CD45", "HLA-"]
COLUMNS = ["group", "type", "CD3", "CD4"]
EXPECTED = {
    "CD8 T": {"CD3": 1, "CD8": 1, "CD20": -1},
    "B": {"CD20": 1, "CD3": -1},
    "Tumor": {"panCK": 1, "CD45": -1},
}


def as_dict(matrix):
    return {
        name: {marker: int(sign) for marker, sign in row.items() if sign}
        for name, row in matrix.to_dict("index").items()
    }


@pytest.mark.parametrize(
    "signatures",
    [
        {"CD8 T": ["CD3", "CD8+", "CD20-"], "B": ["CD20", "CD3-"], "Tumor": ["panCK", "CD45-"]},
        {
            "CD8 T": {"positive": ["CD3", "CD8"], "negative": "CD20"},
            "B": {"positive": "CD20", "negative": ["CD3"]},
            "Tumor": {"positive": ["panCK"], "negative": ["CD45"]},
        },
        {"cell_types": {"CD8 T": ["CD3", "CD8", "CD20-"], "B": ["CD20", "CD3-"], "Tumor": ["panCK", "CD45-"]},
         "cell_states": {"active": ["CD4"]}},
        pd.DataFrame(EXPECTED).T,
        pd.DataFrame(
            [["all", "Immune", "pos", None, None, None],
             ["all", "Tumor", "neg", "allpos", None, None],
             ["Immune", "B", None, None, "neg", "pos"],
             ["Immune", "CD8 T", None, None, "allpos", "allneg"]],
            columns=["group", "type", "CD45", "panCK", "CD3", "CD20"],
        ),
    ],
)  # fmt: skip
def test_forms(signatures):
    found = as_dict(signature_matrix(signatures, MARKERS))
    if isinstance(signatures, pd.DataFrame) and "group" in signatures:
        assert found == {  # types of a group have its markers, and the group is not a type
            "Tumor": {"CD45": -1, "panCK": 1},
            "B": {"CD45": 1, "CD3": -1, "CD20": 1},
            "CD8 T": {"CD45": 1, "CD3": 1, "CD20": -1},
        }
    else:
        assert found == EXPECTED


def test_a_name_that_ends_with_a_minus_is_a_marker_if_there_is_one():
    assert as_dict(signature_matrix({"a": "HLA-", "b": ["CD3", "HLA--"]}, MARKERS)) == {
        "a": {"HLA-": 1},
        "b": {"CD3": 1, "HLA-": -1},
    }


@pytest.mark.parametrize(
    ("signatures", "error", "message"),
    [
        ({"B": ["CD19"], "T": ["CD3"]}, PanelError, r"No marker 'CD19' in the table.*Did you mean .*Rename it"),
        ({"B": ["CD20-"], "T": ["CD3"]}, TableError, "'B' has no marker that its cells have"),
        ({"B": ["CD20"]}, TableError, "fewer than two types"),
        ({"B": ["CD20"], "T": ["CD20"]}, TableError, "have the same markers"),
        ([["CD20"]], TableError, "neither a table nor names with markers"),
        ({"B": {"pos": ["CD20"]}, "T": "CD3"}, TableError, "'pos' beside 'positive' and 'negative'"),
        (pd.DataFrame({"CD3": [2, 0], "CD20": [0, 1]}, index=["T", "B"]), TableError, r"has .*2.* for 'T' and 'CD3'"),
        (
            pd.DataFrame([["all", "T", "anypos", "anypos"], ["all", "B", None, "pos"]], columns=COLUMNS),
            TableError, "'anypos' of several markers for 'T'",
        ),
        (
            pd.DataFrame([["Immune", "T", "pos", None], ["all", "B", None, "pos"]], columns=COLUMNS),
            TableError, "the group 'Immune', which is not a type",
        ),
    ],
)  # fmt: skip
def test_refusals(signatures, error, message):
    with pytest.raises(error, match=message):
        signature_matrix(signatures, MARKERS)
