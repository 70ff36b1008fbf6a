"""Tiles and the sharing of their tokens."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from stand_in import StandIn, card_of

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.embed.pixels.reader import SampleReader
from spatialfm.embed.windows.tiles import TileJob, share_out, tile_starts
from spatialfm.pp.arrays import AxisAffine


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"), [(170, 128, 42, 0), (1000, 128, 96, 120), (64, 64, 10, 3)]
)
def test_tiles_cover_the_axis_and_end_at_its_edge(size, window, stride, padding):
    starts = tile_starts(size, window, stride, padding)
    assert starts[0] == -padding
    assert starts[-1] + window == size + padding
    assert (np.diff(starts) <= stride).all()
    assert (np.diff(starts) > 0).all()


def test_an_axis_shorter_than_the_window_is_one_tile():
    assert tile_starts(50, 128, 42).tolist() == [0]


@pytest.mark.parametrize("grid", [(4, 6), (3, 3)])
def test_each_token_counts_as_often_as_it_has_pixels_of_the_cell(grid):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (3, 24, 36))
    labels[labels == 3] = 0  # a cell that no window holds
    tokens = rng.standard_normal((3, *grid, 7)).astype(np.float32)
    fine = tokens.repeat(24 // grid[0], axis=1).repeat(36 // grid[1], axis=2)  # one token a pixel
    cells, (sums,), pixels = share_out([torch.from_numpy(tokens)], torch.from_numpy(labels), 4)
    assert cells.tolist() == [0, 1, 3]
    for cell, total, counted in zip(cells.tolist(), sums, pixels, strict=True):
        inside = labels == cell + 1
        assert counted == inside.sum()
        np.testing.assert_allclose(total, fine[inside].sum(axis=0), rtol=1e-4, atol=1e-4)


def test_windows_without_cells_share_nothing_out():
    cells, (sums,), pixels = share_out([torch.ones(2, 2, 2, 3)], torch.zeros(2, 8, 8, dtype=torch.int64), 5)
    assert (cells.shape, sums.shape, pixels.shape) == ((0,), (0, 3), (0,))


class Patches(StandIn):
    """Tokens are the mean pixel of each patch of 4, and that mean times the marker's mean."""

    card = card_of(
        "patches",
        embedding_dim=2,
        patch_size=4,
        recipe=sfm.Recipe(window=16),
        outputs=("patch", "token"),
        default_output="patch",
    )

    def look(self, pixels):
        mean = torch.nn.functional.avg_pool2d(pixels, 4)
        token = torch.stack([mean, mean * pixels.mean((-2, -1), keepdim=True)], dim=-1)
        return {"patch": token.mean((1, 2, 3)), "token": token}


def shared_out_by_hand(image, labels, window, stride, padding):
    """One cell, tile and token at a time."""
    side = len(labels)
    big = np.pad(image.astype(np.float64), ((0, 0), (padding, padding), (padding, padding)))
    around = np.pad(labels, padding)
    starts = [start + padding for start in tile_starts(side, window, stride, padding)]
    rows = []
    for label in np.unique(labels[labels > 0]):
        total, weight = 0.0, 0
        for y in starts:
            for x in starts:
                tile, below = big[:, y : y + window, x : x + window], around[y : y + window, x : x + window] == label
                mean = tile.reshape(len(image), window // 4, 4, window // 4, 4).mean((2, 4))
                token = np.stack([mean, mean * tile.mean((1, 2))[:, None, None]], axis=-1)  # (M, h, w, 2)
                pixels = below.reshape(window // 4, 4, window // 4, 4).sum((1, 3))
                total, weight = total + np.einsum("hw,mhwd->md", pixels, token), weight + pixels.sum()
        rows.append(total / weight)
    return np.array(rows)  # (cells, M, 2)


@pytest.mark.parametrize(("output", "block"), [("marker", 1024), ("patch", 1024), ("marker", 30)])
def test_tiles_give_what_a_loop_gives(make_sdata, blobs, monkeypatch, output, block):
    monkeypatch.setattr(TileJob, "block_side", block)
    image, labels = blobs(3, side=60, n_cells=12)
    sdata = make_sdata({"a": (image / np.float32(255), labels)}, ["DAPI", "CD3", "CD20"], chunks=25)
    options = {"recipe": {"mode": "tile", "window": 16, "stride": 6, "padding": 12}}
    sfm.tl.embed_cells(sdata, Patches(), outputs=output, **options)
    expected = shared_out_by_hand(image / 255, labels, 16, 6, 12)
    expected = expected.reshape(len(expected), -1) if output == "marker" else expected.mean(axis=1)
    np.testing.assert_allclose(sdata["table"].obsm["X_patches"], expected, rtol=1e-4, atol=1e-6)
    notes = sfm.get.record(sdata["table"], "X_patches")
    asked = options["recipe"]
    assert {name: notes[name] for name in asked} == {name: notes["recipe"][name] for name in asked} == asked


def test_a_cell_that_no_pixel_of_the_grid_hits_takes_the_token_at_its_centroid(make_sdata):
    image, labels = np.random.default_rng(0).random((1, 80, 80)).astype(np.float32), np.zeros((80, 80), np.int32)
    labels[20:40, 20:40], labels[50, 50] = 1, 2  # at half the resolution only odd pixels are hit: cell 2 is not
    sdata = make_sdata({"a": (image, labels)}, ["DAPI"], mpp=0.25)
    encoder = Patches()
    encoder.card = dataclasses.replace(Patches.card, mpp=0.5)
    rows = sfm.tl.embed_cells(
        sdata, encoder, recipe={"mode": "tile", "window": 16, "stride": 8, "padding": 0}, copy=True
    ).obsm["X_patches"]
    small = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], size=(40, 40), mode="bilinear", antialias=True
    )
    window = small[0, 0, 17:33, 17:33]  # centred on model pixel 25
    assert rows[1, 0] == pytest.approx(float(window[8:12, 8:12].mean()), rel=1e-5)


def test_what_tiles_cannot_do_is_refused(make_sdata, blobs):
    sdata = make_sdata({"a": blobs()}, ["DAPI", "CD3", "CD20"])
    for arguments, message in [
        ({"model": "classical", "recipe": {"mode": "tile"}}, "offers no tokens"),
        ({"model": Patches(), "recipe": {"mode": "tile", "background": "zero"}}, "masks one cell's window"),
        ({"model": Patches(), "recipe": {"stride": 8}}, r"'stride' belongs to mode 'tile'"),
    ]:
        with pytest.raises(ModelError, match=message):
            sfm.tl.embed_cells(sdata, **arguments)
    assert not sdata.tables


@pytest.mark.slow  # a model of full size; tests/tl/test_virtues_recipe.py shares tokens out as well
@pytest.mark.goldens
def test_virtues_cell_tokens(reference):
    """Case ``cells1`` of the reference outputs: VirTues' official code and its way of sharing tokens out."""
    import sys

    sys.path.insert(0, str(reference))
    from synthetic_weights import synthetic_input, synthetic_weights

    sys.path.pop(0)
    golden = np.load(reference / "goldens" / "virtues.npz")
    channels = json.loads(str(golden["cells1/meta"]))["channels"]
    encoder = sfm.models.load("virtues", weights="random")
    state = synthetic_weights(reference / "layouts" / "virtues.json")
    own = encoder.backbone.state_dict()
    encoder.backbone.load_state_dict(
        {name: own[name] if name.endswith((".sin", ".cos")) else torch.from_numpy(state[name]) for name in own}
    )
    image, labels = synthetic_input("cells1", 3, 170, 150), golden["cells1/labels"]
    embeddings = synthetic_input("marker_embeddings", 12, 640)[np.ravel(channels)]
    ids = golden["cells1/cell_ids"]
    low = float(
        image.min()
    )  # the input is standardised already, and a reader takes no negative pixels: `mean` restores it
    reader = SampleReader("a", "a", image - low, labels, (0, 1, 2), ("a", "b", "c"), 1.0, 1.0, AxisAffine())
    job = TileJob(
        encoder=encoder,
        readers=[reader],
        labels=ids,
        sample=np.zeros(len(ids), int),
        centers=np.zeros((len(ids), 2)),
        markers=torch.from_numpy(embeddings),
        mean=torch.full((3,), -low),
        std=torch.ones(3),
        window=128,
        background="keep",
        outputs=("patch",),
        stride=42,
        padding=0,
    )
    (block,) = job.plan(1024)
    region = (block.y0, block.y1, block.x0, block.x1)
    found = job.encode_block(block, reader.pixels(*region), reader.label_image(*region), 4)
    tokens = found["patch"] / found["pixels"][:, None]
    expected = golden["cells1/cell_tokens"]
    np.testing.assert_array_equal(found["cells"], np.arange(len(ids)))
    assert np.linalg.norm(tokens - expected) / np.linalg.norm(expected) < 1e-5
