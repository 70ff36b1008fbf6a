"""SpatialData by hand, so that these tests stand without the readers."""

from __future__ import annotations

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
from anndata import AnnData
from spatialdata.models import Image2DModel, Labels2DModel, TableModel
from spatialdata.transformations import Scale


def _add(sdata, sample, image, labels, *, mpp=0.5, channels=None, chunks=None, labels_to_system=None, levels=None):
    transformation = {sample: Scale([mpp, mpp], axes=("x", "y"))} if mpp else None
    chunks = chunks or image.shape
    sdata.images[f"image_{sample}"] = Image2DModel.parse(
        da.from_array(image, chunks=chunks),
        dims=("c", "y", "x"),
        c_coords=channels or [f"m{i}" for i in range(len(image))],
        transformations=transformation,
        scale_factors=levels,
    )
    sdata.labels[f"cells_{sample}"] = Labels2DModel.parse(
        da.from_array(labels, chunks=chunks[1:]),
        dims=("y", "x"),
        transformations=transformation if labels_to_system is None else {sample: labels_to_system},
        scale_factors=levels,
    )


@pytest.fixture
def make_sdata() -> Callable:
    """``make_sdata(s1=(image, labels), s2=..., mpp=0.5, **options)``: one image and one label image per sample."""

    def make(mpp=0.5, channels=None, chunks=None, labels_to_system=None, levels=None, **samples):
        sdata = sd.SpatialData()
        for sample, (image, labels) in samples.items():
            names = channels.get(sample) if isinstance(channels, dict) else channels
            _add(
                sdata,
                sample,
                image,
                labels,
                mpp=mpp,
                channels=names,
                chunks=chunks,
                labels_to_system=labels_to_system,
                levels=levels,
            )
        return sdata

    return make


@pytest.fixture
def add_samples() -> Callable:
    """Give a SpatialData a table of samples: ``add_samples(sdata, frame)``, index = sample."""

    def add(sdata, frame):
        sdata.tables["samples"] = TableModel.parse(AnnData(np.zeros((len(frame), 0), np.float32), obs=frame))
        return sdata

    return add


def tissue(seed: int = 0, size: int = 90, n: int = 40, n_channels: int = 3, dtype=np.float32):
    """Random image and irregular cells with sparse ids: touching, on the border, in pieces, of one pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centers = rng.uniform(0, size, (n, 2))
    radii = rng.uniform(3, 9, n)
    distance = np.hypot(y - centers[:, 0, None, None], x - centers[:, 1, None, None]) / radii[:, None, None]
    nearest = distance.argmin(axis=0)
    ids = np.cumsum(rng.integers(1, 40_000_000, n))
    labels = np.where(distance.min(axis=0) < 1, ids[nearest], 0)
    labels[rng.random(labels.shape) < 0.05] = 0  # ragged, with holes
    labels[0, 0] = 2_000_000_001  # one pixel
    labels[size - 1, 3:9] = 2_000_000_002  # one row
    image = rng.gamma(2, 50, (n_channels, size, size))
    return image.astype(dtype), labels.astype(np.int64)


@pytest.fixture
def make_tissue() -> Callable:
    """See `tissue`."""
    return tissue
