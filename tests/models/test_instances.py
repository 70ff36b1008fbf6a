"""Objects from offsets, spreads and depth against InstanSeg's own post-processing, and piece by piece.

``instances_values.json`` holds what ``InstanSeg.postprocessing`` of instanseg-torch 0.1.2 returned, called as VirTues
calls it (``n_sigma=2``, ``window_size=64``, ``cleanup_fragments=True``): the number of each object, its pixels, and the
sums of their rows and columns.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import nn

from spatialfm.models.instances import HOLE, InstanceRule, find_instances, find_seeds, kind_of_pixels, merged

VALUES = json.loads((Path(__file__).parent / "instances_values.json").read_text())
LAYERS = {  # a pixel is of an object if the sum of |offsets| is small
    "fc1.weight": [[1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0], [0, 0, 0.5, 0.5]],
    "fc2.weight": np.eye(5).tolist(),
    "fc3.weight": [[-2, -2, -2, -2, 0.3]],
    "fc3.bias": [2.0],
}


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1)).requires_grad_(False)
    for parameter in net.parameters():
        parameter.zero_()
    for place, name in ((0, "fc1"), (2, "fc2"), (4, "fc3")):
        net[place].weight.copy_(torch.tensor(LAYERS[f"{name}.weight"]))
        net[place].bias.copy_(torch.tensor(LAYERS.get(f"{name}.bias", [0.0] * len(net[place].bias))))
    return net


def drawn(seed: int, height: int, width: int, n: int) -> torch.Tensor:
    """Logits of n discs with noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    best, off_x, off_y = np.full((height, width), -1.0), np.zeros((height, width)), np.zeros((height, width))
    middles = np.stack([generator.uniform(0, height, n), generator.uniform(0, width, n), generator.uniform(3, 9, n)], 1)
    for y, x, radius in middles:
        depth = 1 - np.hypot(rows - y, columns - x) / radius
        deeper = depth > best
        best = np.where(deeper, depth, best)
        off_x = np.where(deeper, (x - columns) * 0.25, off_x)
        off_y = np.where(deeper, (y - rows) * 0.25, off_y)
    best = np.clip(best, -1, 1)

    def logit(offset):
        p = np.clip(offset / 8 + 0.5 + generator.normal(0, 0.02, offset.shape), 0.01, 0.99)
        return np.log(p / (1 - p))

    depth = best * 12 + generator.normal(0, 0.8, best.shape)
    spread = generator.normal(0, 1, (2, height, width))
    return torch.tensor(np.stack([logit(off_x), logit(off_y), *spread, depth]), dtype=torch.float32)


def summary(labels: np.ndarray) -> list[list[int]]:
    rows, columns = np.indices(labels.shape)
    return [
        [int(one), int((labels == one).sum()), int(rows[labels == one].sum()), int(columns[labels == one].sum())]
        for one in np.unique(labels[labels > 0])
    ]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: f"{case['height']}x{case['width']}")
def test_objects_are_those_of_instanseg(classifier, case):
    """Numbers and pixels of all objects, where candidates overlap, have fragments and holes, and lie at the border."""
    logits = drawn(case["seed"], case["height"], case["width"], case["n"])
    with torch.inference_mode():
        assert summary(find_instances(logits, classifier)) == case["objects"]


def test_an_object_is_the_same_wherever_the_image_was_cut(classifier):
    logits = drawn(1, 128, 160, 60)
    whole = find_instances(logits, classifier)
    part = find_instances(logits[:, 10:118, 20:150], classifier, shape=(128, 160))
    inside = (slice(50, 78), slice(60, 110))  # windows there are whole in both
    cut = part[40:68, 40:90]
    pairs = np.unique(np.stack([whole[inside].ravel(), cut.ravel()]), axis=1)
    assert len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1])) > 5
    assert np.array_equal(pairs[:, 0], [0, 0])


def ring_and_disc() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Logits of an object with a hole, in which lies another one; and the pixels of the two."""
    rows, columns = np.mgrid[:48, :48]
    inner = np.hypot(rows - 24, columns - 28) < 2.9
    outer = (np.hypot(rows - 24, columns - 24) < 11) & ~inner
    depth, offsets = np.full((48, 48), -12.0), np.zeros((2, 48, 48))
    for mask, x in ((outer, 20), (inner, 28)):
        offsets[:, mask] = 0.25 * np.stack([x - columns[mask], 24 - rows[mask]])
        depth[mask] = -3
        depth[24, x] = 7
    p = offsets / 8 + 0.5
    values = np.concatenate([np.log(p / (1 - p)), np.zeros((2, 48, 48)), depth[None]])
    return torch.tensor(values, dtype=torch.float32), outer, inner


def test_an_object_in_the_hole_of_another_keeps_its_pixels(classifier):
    """InstanSeg fills a hole with a probability of 0.63, and the object in it has 0.88; its own code draws the same."""
    logits, outer, inner = ring_and_disc()
    assert np.array_equal(find_instances(logits, classifier), outer + 2 * inner)
    alone = logits.clone()
    alone[-1, 24, 28] = -3  # no seed in the hole: it is filled
    assert np.array_equal(find_instances(alone, classifier), (outer | inner).astype(int))


def test_no_seed_and_tiny_images(classifier):
    assert not find_instances(torch.full((5, 40, 40), -9.0), classifier).any()
    assert find_instances(torch.zeros(5, 1, 7), classifier).shape == (1, 7)


def test_seeds_are_peaks_and_the_first_of_equal_ones():
    depth = torch.zeros(30, 30)
    depth[5, 6], depth[5, 9], depth[20, 20], depth[20, 21], depth[28, 2] = 0.9, 0.8, 0.7, 0.7, 0.5
    assert find_seeds(depth).tolist() == [[5, 6], [20, 20]]
    assert find_seeds(depth, InstanceRule(distance=2)).tolist() == [[5, 6], [5, 9], [20, 20]]
    assert find_seeds(depth, InstanceRule(seed=0.4)).tolist() == [[5, 6], [20, 20], [28, 2]]


def test_fragments_go_and_holes_are_filled():
    generator = np.random.default_rng(3)
    above = generator.random((20, 24, 28)) < 0.55
    seeds = np.stack([generator.integers(0, 24, 20), generator.integers(0, 28, 20)], axis=1)
    kinds = kind_of_pixels(above, seeds)
    square = np.ones((3, 3))
    for mask, (y, x), kind in zip(above, seeds, kinds, strict=True):
        near = np.zeros_like(mask)
        near[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
        pieces = label(mask, square)[0]
        own = np.isin(pieces, np.unique(pieces[near & mask])) & (pieces > 0)
        assert np.array_equal(kind == 1, own)
        rows, columns = np.nonzero(own)
        distance = np.full(mask.shape, 99)
        for a, b in np.ndindex(*mask.shape):
            if rows.size:
                distance[a, b] = np.maximum(np.abs(rows - a), np.abs(columns - b)).min()
        outside = label(~own, square)[0]
        open_pieces = np.unique(outside[(distance > 3) & ~own])
        assert np.array_equal(kind == HOLE, ~own & ~np.isin(outside, open_pieces))


def test_candidates_that_cover_each_other_are_one():
    """Of sets of pixels written out: pairs by their intersection over union, chains of them as one."""
    sets = [set(range(20)), set(range(4, 24)), set(range(8, 28)), set(range(40, 60)), {90}]
    number = np.concatenate([np.full(len(one), place) for place, one in enumerate(sets)])
    pixel = np.concatenate([sorted(one) for one in sets])
    group, area = merged(number, pixel, 6, 0.5)
    assert group.tolist() == [0, 0, 0, 3, 4, 5]  # the third with the second: 16 of 24; with the first alone 12 of 28
    assert area.tolist() == [20, 20, 20, 20, 1, 0]
    assert merged(number, pixel, 6, 0.7)[0].tolist() == [0, 1, 2, 3, 4, 5]
