"""What is refused or reported before cells are measured, one rule at a time."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spatialfm._errors import ElementError, PanelError, SpatialfmWarning, TableError
from spatialfm.pp.arrays import AxisAffine
from spatialfm.pp.assemble import CellPlan, MeasuredCells
from spatialfm.pp.cell_plans import outside, plan_tables, report_left_out, report_masks, report_plans
from spatialfm.pp.elements import SampleElements
from spatialfm.pp.pieces import LabelScan

PAIR = SampleElements("s", "image_s", "cells_s", "s")


def plan(ids, channels=("A",), unit="µm") -> CellPlan:
    n = len(ids)
    scan = LabelScan(np.array(ids, int), np.ones(n, int), np.zeros((n, 2)), np.zeros((n, 4), int))
    return CellPlan(PAIR, list(channels), AxisAffine(0.5, 0.5), unit, scan)


def measured(kept, mean) -> MeasuredCells:
    return MeasuredCells(np.array(kept, int), np.asarray(mean, float), None, {})


def test_a_plan_holds_channels_cells_and_pixel_size(make_sdata):
    labels = np.zeros((8, 8), np.int32)
    labels[1:3, 1:4], labels[5:7, 5:7] = 3, 8
    sdata = make_sdata(s=(np.zeros((2, 8, 8), np.uint8), labels), mpp=0.5, channels=["A", "B"])
    (one,), fixed = plan_tables(sdata, [PAIR], "raise", "warn")
    assert not fixed
    assert one.channels == ["A", "B"]
    assert one.unit == "µm"
    assert (one.scan.ids.tolist(), one.scan.area.tolist()) == ([3, 8], [6, 4])
    assert one.to_system(2, 4) == (1, 2)


def test_two_channels_of_one_name_are_refused(make_sdata):
    sdata = make_sdata(s=(np.zeros((2, 8, 8), np.uint8), np.eye(8, dtype=np.int32)), channels=["A", "A"])
    with pytest.raises(PanelError, match="more than one channel 'A'"):
        plan_tables(sdata, [PAIR], "raise", "warn")


def test_pieces_get_numbers_where_this_is_asked_for(make_sdata):
    labels = np.zeros((20, 20), np.int32)
    labels[1:6, 1:6], labels[10:14, 10:14] = 3, 3
    sdata = make_sdata(s=(np.zeros((1, 20, 20), np.uint8), labels))
    (one,), (new,) = plan_tables(sdata, [PAIR], "split", "warn")
    assert one.scan.ids.tolist() == [3, 4]
    assert one.scan.area.tolist() == [25, 16]
    assert one.pair.labels == new.name == "cells_s_fixed"


def test_samples_without_cells_are_refused_or_reported():
    with pytest.raises(TableError, match=r"1 labels element holds no cell, only 0: 'cells_s'"):
        report_plans([plan([]), plan([1])], drop=False)
    with pytest.warns(SpatialfmWarning, match="They have no row in the table"):
        report_plans([plan([]), plan([1])], drop=True)


def test_an_unknown_pixel_size_is_reported_and_a_known_one_is_not():
    with pytest.warns(SpatialfmWarning, match=r"No pixel size is known for 1 image \('image_s'\)"):
        report_plans([plan([1], unit="pixel")], drop=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report_plans([plan([1])], drop=False)


@pytest.mark.parametrize(("n", "told"), [(10, True), (9, False)])
def test_a_channel_that_is_the_mask_is_told_from_ten_cells_on(n, told):
    ids = np.arange(3, 3 + n)
    plans = [plan(ids, ["mask", "CD3"])]
    parts = [measured(np.arange(n), np.column_stack([ids, ids + 0.5]))]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        report_masks(plans, parts, "sdata['table']")
    assert bool(seen) == told
    assert not told or "1 channel is the label image itself and no marker: 'mask' of image 'image_s'" in str(
        seen[0].message
    )


def test_cells_without_a_pixel_are_named():
    plans = [plan([3, 7, 8])]
    assert outside(plans[0], np.array([1])).startswith("1 cell of labels 'cells_s' with no pixel of image 'image_s'")
    with pytest.warns(SpatialfmWarning, match=r"Cells are left out: 2 cells of labels .*'s_3', 's_8'"):
        report_left_out(plans, [measured([1], [[0.0]])])


def test_outlines_are_not_split_and_points_are_not_measured(make_sdata):
    import pandas as pd
    from spatialdata.models import PointsModel

    sdata = make_sdata(s=(np.zeros((1, 8, 8), np.uint8), np.eye(8, dtype=np.int32)))
    del sdata.labels["cells_s"]
    sdata.points["cells_s"] = PointsModel.parse(pd.DataFrame({"x": [1.0], "y": [2.0]}))
    with pytest.raises(ElementError, match="have no pixels to measure"):
        plan_tables(sdata, [PAIR], "raise", "warn")
