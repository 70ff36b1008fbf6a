"""What a network sees of a tile is what it would see of the whole image, and labels come back to their place.

Expected pixels are those of `torch.nn.functional.interpolate`, which the library calls on images. The network is a
stand-in with what makes its own tiles differ: it pools, and fills up at the right and bottom.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from spatialdata import SpatialData
from spatialdata.models import Image2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.pp.segment_instanseg import STEP, InstanSegTiles, TileAxis, resampled
from spatialfm.pp.stitch import StitchGrid

# as `eval_small_image` and `_instanseg_padding` of instanseg-torch 0.1.2 do it, with blocks of pooled pixels for cells
LIBRARY = """
import numpy as np
import torch
from skimage.measure import label
from torch.nn.functional import avg_pool2d, interpolate, pad

class InstanSeg:
    def __init__(self, model_type, device=None, verbosity=1):
        self.instanseg = model_type

    def eval_small_image(self, image, pixel_size=None, normalise=True, return_image_tensor=True, target="all_outputs",
                         rescale_output=True):
        shape, scale = image.shape[-2:], pixel_size / self.instanseg.pixel_size
        if not np.allclose(scale, 1, 0.01):
            image = interpolate(image, scale_factor=scale, mode="bilinear")
        h, w = image.shape[-2:]
        filled = pad(image, [0, -w % 16, 0, -h % 16], mode="reflect")
        pooled = interpolate(avg_pool2d(filled, 8), scale_factor=8, mode="nearest")[0, 0, :h, :w]
        found = torch.as_tensor(label(pooled.numpy() > 0.5, connectivity=1).astype("float32"))[None, None]
        return found if found.shape[-2:] == shape else interpolate(found, size=shape, mode="nearest")
"""


class Network(torch.nn.Module):
    def __init__(self, pixel_size: float):
        super().__init__()
        self.pixel_size = pixel_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def library(tmp_path, monkeypatch):
    sfm.settings.cache_dir, sfm.settings.device = tmp_path / "cache", "cpu"
    (tmp_path / "instanseg.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("instanseg", None)
    sfm.settings.reset()


def weights(folder, pixel_size: float):
    path = folder / f"{pixel_size}.pt"
    torch.jit.script(Network(pixel_size)).save(str(path))
    return path


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.7692307692307693, 1.7])
def test_tiles_are_cut_out_of_what_the_network_sees_of_the_whole_image(scale):
    image = np.random.default_rng(0).random((2, 150, 170), np.float32)
    whole = torch.nn.functional.interpolate(torch.from_numpy(image)[None], scale_factor=scale, mode="bilinear")[0]
    grid = StitchGrid((150, 170), 60, 10, STEP / scale)
    for core in grid.cores():
        y0, y1, x0, x1 = grid.outer(core)
        rows, columns = TileAxis(y0, y1 - y0, scale), TileAxis(x0, x1 - x0, scale)
        assert rows.start % STEP == columns.start % STEP == 0
        assert y0 <= core[0] - 10 or y0 == 0
        assert y0 > core[0] - 10 - STEP / scale - 1
        seen = resampled(image[:, y0:y1, x0:x1], rows, columns)
        expected = whole[:, rows.start : rows.start + rows.size, columns.start : columns.start + columns.size].numpy()
        inner = (..., slice(1, -2), slice(1, -2))  # the others lie between this tile and the next
        assert np.allclose(seen[inner], expected[inner], atol=1e-4)


def test_labels_come_back_to_the_pixels_that_they_were_made_of():
    rows = TileAxis(first=37, n=100, scale=16 / 18.5)  # 37 image pixels are two steps
    assert rows.start == 2 * STEP
    centres = (np.arange(37, 137) + 0.5) * 16 / 18.5  # in pixels of the network
    assert np.array_equal(rows.targets()[:-1], (np.floor(centres) - 32)[:-1])
    assert rows.targets()[-1] <= rows.size - 1


def cells(side: int) -> np.ndarray:
    """Discs of 9 µm on pixels of 0.5 µm, each somewhere in a square of its own, apart from all others."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side]
    out = np.zeros((side, side), np.float32)
    for square in np.ndindex(side // 30, side // 30):
        cy, cx = np.array(square) * 30 + rng.uniform(11, 19, 2)
        out[(y - cy) ** 2 + (x - cx) ** 2 < 81] = 1
    return out


@pytest.mark.parametrize("pixel_size", [0.5, 0.65, 0.31])
def test_cells_in_tiles_are_those_of_the_whole_image(library, pixel_size):
    """A cell is where pooled pixels are bright: a tile that started elsewhere would have others."""
    side = 300
    image = np.stack([cells(side), np.zeros((side, side), np.float32)])
    image[1, :2, :2] = 1
    sdata = SpatialData(
        images={
            "image_a": Image2DModel.parse(
                image,
                dims=("c", "y", "x"),
                c_coords=["DAPI", "x"],
                transformations={"a": Scale([0.5, 0.5], ("x", "y"))},
            )
        }
    )
    path = weights(library, pixel_size)
    for key, tile in (("whole", 400), ("tiles", 90)):
        sfm.pp.segment_cells(
            sdata, "instanseg", nuclear="DAPI", weights=path, key_added=key, tile_size=tile, overlap=20, min_area=0
        )
    whole, tiles = (sdata[f"{key}_a"].values for key in ("whole", "tiles"))
    assert whole.max() > 95  # of 100
    assert ((whole > 0) != (tiles > 0)).mean() < 0.002  # a block at the end of a tile holds mirrored pixels


def test_a_tile_smaller_than_the_square_around_a_seed_is_filled_up(library):
    import xarray as xr

    model = InstanSegTiles(str(weights(library, 0.5)), "cpu", {})
    tile = xr.DataArray(np.ones((1, 20, 30), np.float32), dims=("c", "y", "x"), coords={"y": range(20), "x": range(30)})
    labels = model(tile, tile.values, 0.5)
    assert labels.shape == (20, 30)
    assert (labels == 1).all()


def test_a_model_that_does_not_say_the_size_of_its_pixels_is_refused(library):
    path = library / "identity.pt"
    torch.jit.script(torch.nn.Identity()).save(str(path))
    with pytest.raises(InputFileError, match=r"does not say the size of its pixels"):
        InstanSegTiles(str(path), "cpu", {})
