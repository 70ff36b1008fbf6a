"""Expected means of cells against plain numpy, with a decoder that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from stand_in import Painter, Sums

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError
from spatialfm.embed.paint.expected import expected_means

CHANNELS = ["CD3", "CD20", "CD68"]
RECIPE = {"statistics": {"CD3": (50.0, 20.0), "CD20": (70.0, 40.0), "CD68": (10.0, 80.0)}}


def standardised(image):
    mean, std = np.array(list(RECIPE["statistics"].values())).T
    return (image.astype(np.float64) - mean[:, None, None]) / std[:, None, None]


def predicted(seen, place, starts):
    """One marker from the others, tile by tile, tiles that overlap averaged."""
    others = np.delete(seen, place, axis=0)
    sums, counts = np.zeros(seen.shape[1:]), np.zeros(seen.shape[1:])
    for y in starts[0]:
        for x in starts[1]:
            at = (slice(y, y + 32), slice(x, x + 32))
            sums[at] += others[:, *at].mean(0) + 0.1 * others[:, *at].mean()
            counts[at] += 1
    return sums / counts


def of_cells(values, labels):
    return np.array([values[labels == label].mean() for label in np.unique(labels[labels > 0])])


@pytest.fixture
def cohort(make_sdata, blobs):
    image, labels = blobs(1, side=70, n_cells=8)
    return make_sdata({"a": (image, labels)}, CHANNELS), image, labels


def test_means_are_those_of_the_tiles_worked_out_one_by_one(cohort):
    sdata, image, labels = cohort
    measured, expected = expected_means(sdata, Painter(), recipe=RECIPE)
    seen, starts = standardised(image), ([0, 32, 38], [0, 32, 38])
    assert list(measured.columns) == list(expected.columns) == CHANNELS
    assert list(measured.index) == list(sdata["table"].obs_names)
    for place, name in enumerate(CHANNELS):
        np.testing.assert_allclose(measured[name], of_cells(seen[place], labels), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            expected[name], of_cells(predicted(seen, place, starts), labels), rtol=1e-5, atol=1e-6
        )


def test_markers_that_are_not_asked_for_are_seen(cohort):
    sdata, image, labels = cohort
    measured, expected = expected_means(sdata, Painter(), recipe=RECIPE, markers=["CD20"])
    assert list(expected.columns) == ["CD20"]
    values = predicted(standardised(image), 1, ([0, 32, 38], [0, 32, 38]))
    np.testing.assert_allclose(expected["CD20"], of_cells(values, labels), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(measured["CD20"], of_cells(standardised(image)[1], labels), rtol=1e-5, atol=1e-6)


def test_a_second_call_takes_what_the_first_found(cohort):
    sdata, *_ = cohort
    encoder = Painter()
    first = expected_means(sdata, encoder, recipe=RECIPE)
    seen = encoder.n_windows
    second = expected_means(sdata, encoder, recipe=RECIPE)
    assert encoder.n_windows == seen > 0
    assert all(one.equals(other) for one, other in zip(first, second, strict=True))
    assert not list((sfm.settings.cache_dir / "runs").glob("*"))  # blocks are forgotten


def test_a_model_without_decoder_and_a_panel_of_one_are_refused(cohort):
    sdata, *_ = cohort
    with pytest.raises(ModelError, match="'sums' has no decoder.*model='virtues'"):
        expected_means(sdata, Sums())
    with pytest.raises(PanelError, match=r"All channels are hidden \('CD3'\)"):
        expected_means(sdata, Painter(), recipe=RECIPE, panel={"markers": ["CD3"]})
