"""What an expert gets to fill in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import InputFileError, TableError


@pytest.fixture
def cells():
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=20, random_state=0)
    cells.obs["known"] = pd.Categorical(["β"] * 3 + [None] * 37)
    return cells


def test_labelled_cells_with_their_places(cells, tmp_path):
    path = sfm.io.write_cell_labels(cells, tmp_path / "labels.csv", "known")
    assert path.read_bytes()[:3] == b"\xef\xbb\xbf"  # by which spreadsheets know UTF-8
    table = pd.read_csv(path, encoding="utf-8-sig")
    assert list(table) == ["cell", "label", "sample", "patient", "x", "y"]
    assert table["cell"].tolist() == cells.obs_names[:3].tolist()
    assert table["label"].tolist() == ["β"] * 3
    assert np.allclose(table[["x", "y"]], cells.obsm["spatial"][:3], atol=6e-4)


def test_no_prediction_is_shown(cells, tmp_path):
    cells.obs["known_predicted"] = "T"
    path = sfm.io.write_cell_labels(cells, tmp_path / "labels.csv", "known", cells=cells.obs_names[2:5])
    assert "T" not in path.read_text(encoding="utf-8-sig").replace("T0", "")
    table = pd.read_csv(path, encoding="utf-8-sig")
    assert list(table) == ["cell", "label", "sample", "patient", "x", "y"]
    assert table["label"].isna().tolist() == [False, True, True]


def test_what_is_there_stays(cells, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("work of a week", encoding="utf-8")
    with pytest.raises(InputFileError, match="perhaps with labels"):
        sfm.io.write_cell_labels(cells, path, "known")
    assert path.read_text(encoding="utf-8") == "work of a week"
    sfm.io.write_cell_labels(cells, path, "known", overwrite=True)
    assert len(pd.read_csv(path, encoding="utf-8-sig")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Nothing to write"),
        ({"label_key": "none"}, "No column 'none' in obs"),
        ({"cells": ["a"]}, "1 of 1 cell .cells=. are not in obs_names"),
        ({"label_key": "empty"}, "No cell has a label in obs"),
    ],
)
def test_refusals(cells, tmp_path, arguments, message):
    cells.obs["empty"] = None
    with pytest.raises(TableError, match=message):
        sfm.io.write_cell_labels(cells, tmp_path / "a.csv", **arguments)
    assert not list(tmp_path.iterdir())
