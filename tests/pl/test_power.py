"""`power`: what is drawn is what the table holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

TABLE = pd.DataFrame(
    {
        "n_cells": [500, 100, 100, 500],
        "n_patients": [10, 10, 40, 40],
        "power": [0.4, 0.3, 0.7, 0.9],
        "ci_low": [0.35, 0.25, 0.6, 0.85],
        "ci_high": [0.45, 0.36, 0.78, 0.94],
    }
)


def pilot(table=TABLE, **params) -> AnnData:
    told = {"question": "auroc", "effect": 0.75, "target_power": 0.8, "alpha": 0.05, "n_tests": 1} | params
    patients = AnnData(np.zeros((3, 1), np.float32))
    patients.uns["power"] = {"table": table, "params": told, "needed": table[["n_cells"]]}
    return patients


def test_a_line_for_each_number_of_cells_with_its_band_and_the_power_wanted():
    ax = sfm.pl.power(pilot(), show=False)
    fewer, more, wanted = ax.lines
    np.testing.assert_array_equal(fewer.get_xydata(), [[10, 0.3], [40, 0.7]])
    np.testing.assert_array_equal(more.get_xydata(), [[10, 0.4], [40, 0.9]])
    assert list(wanted.get_ydata()) == [0.8, 0.8]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        *("100 cells per patient", "500 cells per patient", "95 % interval of the simulation")
    ]
    bands = [{(10, 0.25), (10, 0.36), (40, 0.6), (40, 0.78)}, {(10, 0.35), (10, 0.45), (40, 0.85), (40, 0.94)}]
    for band, corners in zip(ax.collections, bands, strict=True):
        assert {tuple(map(float, point)) for point in band.get_paths()[0].vertices} == corners
    assert ax.get_ylim() == (0, 1.02)
    assert ax.get_xlim()[0] == 0
    assert "0.8 wanted" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("params", "title"),
    [
        ({}, "AUROC 0.75, level 0.05"),
        (
            {"question": "survival", "effect": 2.0, "n_tests": 4},
            "hazard ratio 2 per SD, level 0.013",
        ),  # 0.05 / 4, rounded
        (
            {"question": "survival", "effect": 2.0, "share": 0.3},
            "hazard ratio 2 in 30 % of patients against the\nothers, level 0.05",
        ),
        (
            {"question": "composition", "effect": 1.5, "cell_type": "T cell"},
            "1.5-fold share of T cell in 50 % of patients against\nthe others, level 0.05",
        ),
    ],
)
def test_the_title_says_the_effect_and_the_level_of_one_test(params, title):
    one = TABLE.assign(n_cells=0)
    ax = sfm.pl.power(pilot(one, **params), show=False)
    assert ax.get_title() == title
    # cells are not part of the question
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["95 % interval of the simulation"]
    assert sfm.pl.power(pilot(one), title="own", show=False).get_title() == "own"


def test_what_is_no_such_result_is_refused():
    with pytest.raises(TableError, match="No result 'other' of sfm.tl.power"):
        sfm.pl.power(pilot(), key="other", show=False)
    with pytest.raises(TableError, match="is not one of"):
        sfm.pl.power(pilot(question="what"), show=False)
    other = pilot()
    del other.uns["power"]["needed"]
    with pytest.raises(TableError, match="No result 'power'"):
        sfm.pl.power(other, show=False)
