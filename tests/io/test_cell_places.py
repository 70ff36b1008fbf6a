"""Cells of a table against the label image that they are said to be in."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from reading import blobs

from spatialfm.io._cell_frame import CellFrame
from spatialfm.io._cell_places import check_in_labels

LABELS = blobs(60, 80)
IDS = np.unique(LABELS)[1:].astype(np.int64)
XY = np.array([np.argwhere(LABELS == one).mean(axis=0)[::-1] + 0.5 for one in IDS])  # pixels


def check(xy, ids=IDS, mpp=0.5, labels=LABELS):
    frame = CellFrame("a", ids, xy, pd.DataFrame(index=range(len(ids))), pd.DataFrame(index=range(len(ids))))
    return check_in_labels(frame, da.from_array(labels, chunks=16), mpp)


def test_cells_that_are_where_the_mask_has_them():
    assert check(XY * 0.5) == ("", "")
    assert check(XY * 0.5 + 0.9) == ("", "")  # two pixels: centres of nuclei, positions of whole pixels
    few = XY * 0.5
    few[:3] += 20  # under a twentieth
    assert check(few) == ("", "")
    assert check(XY[2:] * 0.5, IDS[2:]) == ("", "2 cells: 1, 3")
    assert check(np.empty((0, 2)), IDS[:0])[0] == ""


@pytest.mark.parametrize(
    ("xy", "hint"),
    [
        (XY, "They fit as pixels: the table has pixels where µm are said."),
        (XY * 0.25, "They fit as µm: the table has µm where pixels are said."),
        (XY[::-1] * 0.5, "Are they of another image, or a mask that was numbered anew?"),
        (XY * 0.5 + 8, "Are they of another image, or a mask that was numbered anew?"),
    ],
)
def test_cells_that_are_elsewhere(xy, hint):
    wrong, _ = check(xy)
    assert wrong.startswith("sample 'a': ")
    assert "are not where the mask has them (cell " in wrong
    assert wrong.endswith(hint)


def test_ids_and_numbers_that_are_none():
    assert check(XY * 0.5, IDS + 1)[0].startswith("sample 'a': 70 cells of 70 not in the labels: 2, 4")
    assert "label -1 is negative" in check(XY * 0.5, labels=np.where(LABELS == 1, -1, LABELS.astype(int)))[0]
