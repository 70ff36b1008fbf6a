"""Pixels of outlines, discs and points, against shapely at the centres of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from spatialfm.pp.fill_kernels import fill_discs, fill_outlines, fill_points


def outlines(polygons, origin=(0, 0), shape=(12, 14)):
    """Labels and counts of polygons, each with all its rings."""
    rings = [[np.array(one.exterior.coords), *(np.array(hole.coords) for hole in one.interiors)] for one in polygons]
    flat = [ring for each in rings for ring in each]
    ring_of = np.cumsum([0, *map(len, rings)])
    ring_start = np.cumsum([0, *map(len, flat)])
    bounds = np.array([one.bounds for one in polygons])
    boxes = np.column_stack(
        [np.floor(bounds[:, 1]), np.ceil(bounds[:, 3]), np.floor(bounds[:, 0]), np.ceil(bounds[:, 2])]
    ).astype(np.int64)
    out, cells = np.zeros(shape, np.int64), np.arange(len(polygons))
    counts = fill_outlines(out, *origin, cells, cells + 5, boxes, ring_of, ring_start, np.concatenate(flat))
    return out, counts


def inside(polygon, origin=(0, 0), shape=(12, 14)):
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return shapely.contains_xy(polygon, x + origin[1], y + origin[0])


@pytest.mark.parametrize("origin", [(0, 0), (3, 5), (-4, -2)])
def test_a_pixel_is_an_outlines_where_its_centre_is_inside(origin):
    star = shapely.Polygon([(1.2, 1.1), (12.7, 2.3), (6.1, 5.2), (11.4, 10.9), (3.3, 8.2)])
    ring = shapely.Polygon([(0.3, 0.2), (9.9, 0.7), (8.8, 11.6), (1.1, 9.7)], [[(3, 3), (6.2, 3.1), (5, 6.7)]])
    for one in (star, ring):
        out, counts = outlines([one], origin)
        np.testing.assert_array_equal(out == 5, inside(one, origin))
        assert counts.tolist() == [inside(one, origin).sum()]


def test_the_first_of_two_keeps_a_pixel_and_both_are_counted():
    one, two = shapely.box(1, 1, 6, 6), shapely.box(4, 4, 9, 9)
    out, counts = outlines([one, two])
    assert (out == 5).sum() == 25
    assert (out == 6).sum() == 25 - 4
    assert counts.tolist() == [25, 25]


def test_outlines_with_a_common_edge_through_centres_share_no_pixel_and_leave_none_out():
    left, right = shapely.box(0, 0, 4.5, 12), shapely.box(4.5, 0, 14, 12)
    out, counts = outlines([left, right])
    assert (out > 0).all()
    assert (out[:, 4] == 6).all()  # a centre on the edge belongs to the right
    assert counts.sum() == 12 * 14


def test_discs_and_ellipses_hold_what_is_nearer_than_their_radius():
    out = np.zeros((12, 14), np.int64)
    centers, radii = np.array([[5.3, 6.1]]), np.array([3.0])
    to_disc = np.array([[0.5, 0.0], [0.0, 1.0]])  # twice as wide as high
    counts = fill_discs(out, 0, 0, np.array([0]), np.array([9]), np.array([[0, 12, -1, 13]]), centers, to_disc, radii)
    y, x = np.mgrid[:12, :14] + 0.5
    expected = ((x - 5.3) / 2) ** 2 + (y - 6.1) ** 2 < 9
    np.testing.assert_array_equal(out == 9, expected)
    assert counts.tolist() == [expected.sum()]


def test_a_point_has_the_pixel_that_holds_it_unless_it_is_elsewhere_or_taken():
    out = np.zeros((4, 4), np.int64)
    boxes = np.array([[11, 12, 22, 23], [11, 12, 22, 23], [14, 15, 20, 21], [10, 11, 19, 20]])
    counts = fill_points(out, 10, 20, np.arange(4), np.arange(4) + 1, boxes)
    assert counts.tolist() == [1, 1, 0, 0]
    assert out[1, 2] == 1
    assert np.count_nonzero(out) == 1
