"""Where the network looks: as the published code does, and so that tiles give what whole images give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nimbus_stand_in import mean_map, noise, stand_in

from spatialfm.models.nimbus import Nimbus
from spatialfm.models.nimbus_tiles import View, kept_of, reflected, windows_of


@pytest.fixture(scope="module")
def network():
    network = Nimbus(4)
    network.load_state_dict(stand_in())
    return network.eval()


def test_maps_are_those_of_the_published_code(network):
    """Made with `test_time_aug` of angelolab/Nimbus-Inference 58beca2: an image that is seen whole, one in tiles."""
    found = mean_map(network, noise((96, 160)), "released")
    expected = [0.656362, 0.743522, 0.794675, 0.863891]
    np.testing.assert_allclose(found[[0, 5, 48, 95], [0, 150, 80, 159]], expected, atol=2e-6)
    tiled = mean_map(network, noise((1100, 200)), "released")
    expected = [0.166328, 0.60916, 0.167744, 0.865871, 0.716493, 0.853695]
    rows, columns = [0, 10, 415, 416, 550, 1099], [0, 190, 100, 100, 77, 199]
    np.testing.assert_allclose(tiled[rows, columns], expected, atol=2e-6)
    assert tiled.mean() == pytest.approx(0.533135, abs=2e-6)
    assert tiled.std() == pytest.approx(0.262598, abs=2e-6)


def test_corrected_tiles_give_what_the_whole_image_gives(network):
    """Inside: the network looks 94 pixels far, and pads a whole image at every layer. Released tiles do not."""
    image = noise((1120, 208))
    with torch.inference_mode():
        whole = network(torch.from_numpy(image[None]))[0].numpy()
    inside = slice(96, -96), slice(96, -96)
    np.testing.assert_allclose(mean_map(network, image, "none")[inside], whole[inside], atol=2e-5)
    (tile,) = [unit[0] for unit in windows_of((1025, 1025), "released") if unit[0].view == View(mirrored=0)][:1]
    rows = columns = reflected(0, 1024, 1120), reflected(0, 1024, 208)
    seen = torch.from_numpy(image[:, rows[0]][:, :, columns[1]][None])
    with torch.inference_mode():
        released = kept_of(network, seen, whole=tile.whole).numpy()
        padded = network(seen)[0].numpy()[96:-96, 96:-96]
    assert np.abs(released - padded).max() > 0.1  # what comes from below is two pixels off


def test_corrected_views_are_the_four_rotations_and_two_mirror_images(network):
    image = noise((64, 96))
    with torch.inference_mode():
        maps = [
            np.rot90(network(torch.from_numpy(np.rot90(image, k, (1, 2)).copy()[None]))[0].numpy(), -k)
            for k in range(4)
        ]
        for axis in (0, 1):
            mirrored = np.flip(image, axis + 1).copy()
            maps.append(np.flip(network(torch.from_numpy(mirrored[None]))[0].numpy(), axis))
    np.testing.assert_allclose(mean_map(network, image, "corrected"), np.mean(maps, axis=0), atol=2e-6)


@pytest.mark.parametrize("view", [View(turns=1), View(turns=2), View(turns=3), View(mirrored=0), View(1, 1)])
def test_a_box_of_what_is_seen_is_found_in_the_image(view):
    image = torch.arange(35.0).reshape(5, 7)
    seen = view.of(image)
    assert tuple(seen.shape) == view.shape((5, 7))
    torch.testing.assert_close(view.back(seen), image)
    y0, y1, x0, x1 = view.box_back((1, 3, 2, 5), (5, 7))
    torch.testing.assert_close(view.of(image[y0:y1, x0:x1]), seen[1:3, 2:5])


def test_mirrored_places_are_those_of_numpy():
    values = np.arange(5)
    np.testing.assert_array_equal(values[reflected(-11, 17, 5)], np.pad(values, (11, 12), mode="reflect"))


def test_an_image_that_is_no_multiple_of_16_is_padded_and_none_of_it_is_lost():
    ((window,),) = windows_of((50, 17), "none")
    assert (window.read, window.kept, window.whole) == ((0, 64, 0, 32), (0, 50, 0, 17), True)
