"""Expected means of cells against plain numpy, with a decoder that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from stand_in import Painter, Sums, card_of

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError
from spatialfm.embed.paint.expected import expected_means
from spatialfm.models.recipe import Recipe
from spatialfm.models.virtues_pixels import RELEASED

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


class Prepared(Painter):
    """Takes pixels as VirTues does: clipped, logged, standardised and blurred as whole images."""

    card = card_of(
        "prepared",
        embedding_dim=1,
        recipe=Recipe(
            window=32, background="keep", scaling="raw", normalization="marker statistics", preparation=RELEASED
        ),
        patch_size=8,
        marker_vocabulary="protein embedding",
    )


def test_whole_images_are_prepared_before_tiles_are_cut(make_sdata):
    """What VirTues' reader makes of an image, by scipy: painted, expected of cells (as for surprise), turned back."""
    rng = np.random.default_rng(5)
    image = rng.gamma(2.0, 40.0, (3, 96, 96)).astype(np.uint16)
    image[:, rng.random((96, 96)) < 0.01] = 4000  # clipped
    labels = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((12, 12), int)).astype(np.int32)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    statistics = {"CD3": (4.0, 0.5), "CD20": (3.5, 0.7), "CD68": (4.5, 0.4)}
    told = {"recipe": {"statistics": statistics, "tissue": "all"}}

    high = np.percentile(image.reshape(3, -1), 99, axis=1)
    seen = np.log1p(np.clip(image.astype(float), 0, high[:, None, None]))
    kernel = np.exp([-0.5, 0.0, -0.5]) / np.exp([-0.5, 0.0, -0.5]).sum()
    for axis in (1, 2):
        seen = correlate1d(seen, kernel, axis=axis, mode="mirror")
    mean, std = np.array(list(statistics.values())).T[..., None, None]
    seen = (seen - mean) / std
    painted = np.stack([predicted(seen, place, ([0, 32, 64], [0, 32, 64])) for place in range(3)])

    sfm.tl.reconstruct(sdata, Prepared(), mode="marker", **told)
    np.testing.assert_allclose(sdata["image_a_reconstructed"].values, painted, rtol=1e-4, atol=1e-4)
    measured, expected = expected_means(sdata, Prepared(), **told)
    for place, name in enumerate(CHANNELS):
        np.testing.assert_allclose(measured[name], of_cells(seen[place], labels), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(expected[name], of_cells(painted[place], labels), rtol=1e-4, atol=1e-4)
    sfm.tl.impute_markers(sdata, Prepared(), markers=["CD20"], space="intensity", **told)
    turned = np.maximum(np.expm1(painted[1] * std[1] + mean[1]), 0)
    np.testing.assert_allclose(sdata["image_a_imputed"].values[0], turned, rtol=1e-3)


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
