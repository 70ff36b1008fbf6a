"""Windows of cells: what a step sees is what an embedding sees."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.embed.planned import plan_embedding_of
from spatialfm.train.augment import Augment
from spatialfm.train.cells import CellWindows

from .tiny import encoder_of

MARKERS = ["CD3", "CD20", "Cytokeratin"]
NOTHING = {"samples": None, "panel": None, "reduce": None, "run": {"devices": "cpu"}, "elements": None}


@pytest.fixture(scope="module")
def sdata():
    made = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(made)
    return made


def plan_of(sdata, encoder, outputs=None, recipe=None):
    asked = {**NOTHING, "markers": MARKERS, "outputs": outputs, "recipe": recipe}
    return plan_embedding_of(
        sdata, encoder, weights=None, table_name="table", on_missing="raise", key_added=None, **asked
    )


def windows_of(sdata, encoder, rows=None, **options) -> CellWindows:
    plan = plan_of(sdata, encoder, **options)
    rows = np.arange(0, plan.table.n_obs, 4) if rows is None else rows
    return CellWindows(plan, rows, plan.table.obs["patient"].to_numpy(str)[rows])


def as_they_are(windows: CellWindows) -> list:
    return [windows.sample(i, np.random.default_rng(i), augment=False) for i in range(len(windows))]


@pytest.mark.parametrize(
    ("family", "output", "recipe"),
    [
        ("kronos", "marker", None),
        ("kronos", "patch", {"window": 48}),
        ("dinov2", "marker", {"window": 42}),
        ("openphenom", "patch", {"window": 32}),
        ("kronos", "marker", {"window": 32, "background": "keep"}),
    ],
)
def test_windows_become_the_rows_that_embed_cells_writes(sdata, family, output, recipe):
    encoder = encoder_of(family)
    windows = windows_of(sdata, encoder, outputs=output, recipe=recipe)
    found = windows.encoding()(encoder, as_they_are(windows))
    table = sfm.tl.embed_cells(sdata, encoder, markers=MARKERS, outputs=output, recipe=recipe, key_added="X", copy=True)
    expected = table[windows.table["cell"].to_list()].obsm["X"]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_tokens_are_shared_out_to_the_cell_by_its_pixels(sdata):
    """Each pixel of the cell counts with the token that it is below."""
    encoder = encoder_of("virtues")
    windows = windows_of(sdata, encoder, recipe={"window": 48})
    samples = as_they_are(windows)[:4]
    found = windows.encoding()(encoder, samples)
    job = windows.job
    for row, sample in zip(found, samples, strict=True):
        pixels = encoder.normalize(sample.pixels[None], job.mean, job.std, job.recipe)
        with torch.inference_mode():
            summary = encoder(pixels, job.markers, outputs=["summary"]).summary[0]
        places = np.argwhere(sample.mask.numpy()) // 8
        expected = np.mean([summary[y, x].numpy() for y, x in places], axis=0)
        np.testing.assert_allclose(row.numpy(), expected, rtol=0, atol=1e-5)


def test_gradients_reach_the_encoder(sdata):
    for family, recipe in (("kronos", None), ("virtues", {"window": 32})):
        encoder = encoder_of(family)
        windows = windows_of(sdata, encoder, recipe=recipe)
        encoder.requires_grad_(True)
        windows.encoding()(encoder, as_they_are(windows)[:2]).square().sum().backward()
        first = encoder.transformer_blocks()[0]
        assert max(one.grad.abs().max() for one in first.parameters()) > 0


def test_what_is_random_moves_pixels_and_outline_together(sdata):
    encoder = encoder_of("kronos")
    windows = windows_of(sdata, encoder)
    base = as_they_are(windows)[0]
    seen = set()
    for seed in range(12):
        sample = windows.sample(0, np.random.default_rng(seed))
        torch.testing.assert_close((sample.pixels * sample.mask).sum((1, 2)), (base.pixels * base.mask).sum((1, 2)))
        assert sample.mask.sum() == base.mask.sum()
        seen.add(sample.pixels.numpy().tobytes())
    assert 4 < len(seen) <= 8  # the eight orientations
    windows.augment = Augment(rotate=False, flip=False)
    assert torch.equal(windows.sample(0, np.random.default_rng(5)).pixels, base.pixels)


def test_a_model_of_tiles_sees_the_cell_at_many_places(sdata):
    windows = windows_of(sdata, encoder_of("virtues"), recipe={"window": 48})
    windows.augment = Augment(rotate=False, flip=False)
    base = as_they_are(windows)[0]
    middle = np.argwhere(base.mask.numpy()).mean(0)
    moved = [
        np.argwhere(windows.sample(0, np.random.default_rng(seed)).mask.numpy()).mean(0) - middle for seed in range(20)
    ]
    assert np.ptp(moved, axis=0).min() > 8
    assert np.abs(moved).max() <= 12 + 1e-6  # a quarter of the window


def test_a_copy_for_a_worker_holds_no_weights_and_reads_the_same(sdata):
    encoder = encoder_of("kronos")
    windows = windows_of(sdata, encoder).part(np.array([3, 1]))
    bare = copy.deepcopy(windows)
    content = pickle.dumps(windows)
    matrices = [one.detach().numpy().tobytes() for one in encoder.parameters() if one.ndim > 1 and one.abs().max() > 0]
    assert len(matrices) > 10
    assert not any(one in content for one in matrices)
    again = pickle.loads(content)
    for index in (0, 1):
        mine, other = (one.sample(index, np.random.default_rng(2)) for one in (bare, again))
        assert torch.equal(mine.pixels, other.pixels)
        assert torch.equal(mine.mask, other.mask)
    assert [again.sample(i, np.random.default_rng(0)).window for i in (0, 1)] == [3, 1]


def test_parts_keep_numbers_strata_and_say_what_differs(sdata):
    windows = windows_of(sdata, encoder_of("kronos"))
    part = windows.part(np.array([5, 2, 0]))
    assert part.table["cell"].tolist() == windows.table["cell"].iloc[[5, 2, 0]].tolist()
    assert sorted(np.concatenate(part.strata).tolist()) == [0, 1, 2]
    assert len(windows.strata) == 2  # patients
    assert windows.parts()["cells"] != part.parts()["cells"]
    same = ["images, labels, markers and statistics", "augmentation"]
    assert all(windows.parts()[name] == part.parts()[name] for name in same)


def test_cells_without_pixels_are_named(sdata):
    first = sdata["table"].obs["sample"].iloc[0]
    asked = {**NOTHING, "samples": [first], "markers": MARKERS, "outputs": None, "recipe": None}
    plan = plan_embedding_of(
        sdata, encoder_of("kronos"), weights=None, table_name="table", on_missing="raise", key_added=None, **asked
    )
    last = sdata["table"].obs_names[-1]
    with pytest.raises(SpatialfmError, match=f"Cells without pixels cannot be trained on: '{last}'"):
        CellWindows(plan, np.array([0, plan.table.n_obs - 1]), np.array(["P", "P"]))
