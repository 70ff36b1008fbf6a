"""Stores of any size, written block by block: noise that compresses, with a disk for each cell."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import spatialdata as sd
from spatialdata.models import Image2DModel, Labels2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm

PITCH = 14  # pixels from cell to cell at 0.5 µm: 20,000 cells a mm², our choice for tissue as dense as a lymph node
RADIUS = 6
MARKERS = (
    "DAPI CD3 CD4 CD8 CD20 CD45 CD68 CD163 CD11b CD11c CD31 CD34 CD38 CD45RO CD45RA CD56 CD57 CD21 Ki67 "
    "FOXP3 PD-1 PD-L1 HLA-DR GranzymeB PanCK ECadherin Vimentin aSMA Collagen4 Podoplanin CD138 CD15 "
    "CD66b CD16 CD14 CD44 MPO LAG3 TIM3 IDO1 "
).split()


def label_block(block_info=None, *, per_side: int, pitch: int) -> np.ndarray:
    """Disks on a square lattice."""
    (y0, y1), (x0, x1) = block_info[None]["array-location"]
    y, x = np.arange(y0, y1)[:, None], np.arange(x0, x1)
    disk = (y % pitch - pitch // 2) ** 2 + (x % pitch - pitch // 2) ** 2 < RADIUS**2
    inside = disk & (y // pitch < per_side) & (x // pitch < per_side)
    return np.where(inside, 1 + (y // pitch) * per_side + x // pitch, 0).astype(np.int32)


def image_block(block_info=None) -> np.ndarray:
    """Coarse noise: the same value for 4 pixels, of few bits, so that 16k images fit on a disk."""
    (c, _), (y0, y1), (x0, x1) = block_info[None]["array-location"]
    rng = np.random.default_rng([c, y0, x0])
    small = rng.integers(1, 64, (-(-(y1 - y0) // 2), -(-(x1 - x0) // 2)), dtype=np.uint16) * 900
    return small.repeat(2, axis=0).repeat(2, axis=1)[None, : y1 - y0, : x1 - x0]


def generated_store(
    path: Path, side: int, n_markers: int, *, pitch: int = PITCH, chunk: int = 512, table: bool = True
) -> sd.SpatialData:
    """Write a cohort of one square image with its cell table, and read it back lazily."""
    per_side = side // pitch
    spans = tuple(min(chunk, side - start) for start in range(0, side, chunk))
    image = da.map_blocks(
        image_block, dtype=np.uint16, chunks=((1,) * n_markers, spans, spans), meta=np.empty((0, 0, 0), np.uint16)
    )
    labels = da.map_blocks(
        label_block,
        per_side=per_side,
        pitch=pitch,
        dtype=np.int32,
        chunks=(spans, spans),
        meta=np.empty((0, 0), np.int32),
    )
    scale = {"a": Scale([0.5, 0.5], axes=("x", "y"))}
    names = MARKERS[:n_markers]
    sdata = sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(image, dims=("c", "y", "x"), c_coords=names, transformations=dict(scale))
        },
        labels={"cells_a": Labels2DModel.parse(labels, dims=("y", "x"), transformations=dict(scale))},
    )
    sdata.write(path)
    sdata = sd.read_zarr(path)
    if not table:
        return sdata
    sfm.pp.cell_table(sdata, morphology=False)
    sdata.write_element("table")
    return sd.read_zarr(path)
