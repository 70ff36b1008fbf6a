"""Cells of tiles that are held, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from stand_in import Painter

import spatialfm as sfm
from spatialfm._errors import ElementError
from spatialfm.embed.call import Elements, Run, request_of
from spatialfm.embed.inputs import prepare_inputs
from spatialfm.embed.paint.partial import places_of_tiles, read_tiles
from spatialfm.embed.paint.plan import find_targets, plan_paint
from spatialfm.embed.windows.cells import find_cells
from spatialfm.pp.elements import match_elements

CHANNELS = ["CD3", "CD20", "CD68"]
RECIPE = {"statistics": {name: (50.0, 20.0) for name in CHANNELS}}


@pytest.fixture
def made(make_sdata):
    """An image of 70 pixels: a cell in a tile, one across two, one where tiles overlap, one at the border."""
    image = np.random.default_rng(0).integers(0, 200, (3, 70, 70)).astype(np.uint8)
    labels = np.zeros((70, 70), np.int32)
    labels[4:9, 5:11], labels[10:16, 28:36], labels[42:47, 44:50], labels[0:3, 66:70] = 7, 2, 9, 4
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    encoder = Painter()
    pairs = match_elements(sdata, None, None)
    request = request_of(encoder, panel=None, recipe=RECIPE, run=Run(), elements=Elements(), cells=False)
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    cells = find_cells(sdata, pairs, sdata["table"], "table", "drop", None, "raise")
    plan = plan_paint(inputs, find_targets(inputs, None), mode="marker")
    return plan, inputs, cells, (image.astype(float) - 50) / 20, labels


def test_whole_cells_alone_are_taken_and_each_once(made):
    plan, inputs, cells, seen, labels = made
    places = places_of_tiles(plan, inputs, cells)
    assert places.tolist() == sorted(places.tolist())
    found = read_tiles(plan, inputs, cells, places, 2)
    ids = cells.labels[found.rows].tolist()
    assert sorted(ids) == [4, 7, 9]  # 2 is cut by the edge of its tiles
    expected = np.array([[channel[labels == label].mean() for channel in seen] for label in ids])
    np.testing.assert_allclose(found.measured(), expected, rtol=1e-5)


def test_what_is_predicted_is_from_what_is_seen(made):
    plan, inputs, cells, seen, labels = made
    found = read_tiles(plan, inputs, cells, np.array([[0, 0, 0]]), 2)
    assert cells.labels[found.rows].tolist() == [7]
    window, inside = seen[:, :32, :32], (labels == 7)[:32, :32]
    both = window[[0, 2]]
    np.testing.assert_allclose(
        found.predicted([0, 2], [1]), [[both.mean(0)[inside].mean() + 0.1 * both.mean()]], rtol=1e-5
    )
    one = window[1][inside].mean() + 0.1 * window[1].mean()
    np.testing.assert_allclose(found.predicted([1], [2, 0]), [[one, one]], rtol=1e-5)


def test_tiles_without_whole_cells_are_refused(made):
    plan, inputs, cells, *_ = made
    with pytest.raises(ElementError, match="No cell lies within one of the 1 tiles of 32 pixels"):
        read_tiles(plan, inputs, cells, np.array([[0, 32, 0]]), 2)
