"""Cases of masks that are not a TIFF of the image's size for `io/test_contract.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from reading import Case, Refusal, Sample, blobs, counts
from reading_tiff import NAMES, _image

import spatialfm as sfm


def _written(folder: Path) -> Sample:
    sample = Sample("a", 0.5, NAMES, counts(3, 20, 28), blobs(20, 28))
    _image(folder / "a.ome.tif", sample.pixels)
    return sample


def write_npz(folder: Path) -> list[Sample]:
    """Nuclei and cells of one archive."""
    sample = _written(folder)
    np.savez_compressed(folder / "mask.npz", nuclei=sample.labels // 2, cells=sample.labels)
    return [sample]


def write_png(folder: Path) -> list[Sample]:
    """A colour for each cell."""
    sample = _written(folder)
    colours = np.stack([sample.labels & 255, sample.labels >> 8, sample.labels * 0], axis=-1)
    Image.fromarray(colours.astype(np.uint8)).save(folder / "mask.png")
    return [sample]


def write_small(folder: Path) -> list[Sample]:
    """A mask of half the resolution."""
    small = blobs(10, 14)
    sample = Sample("a", 0.5, NAMES, counts(3, 20, 28), np.kron(small, np.ones((2, 2), np.uint16)))
    _image(folder / "a.ome.tif", sample.pixels)
    tifffile.imwrite(folder / "mask.tif", small)
    return [sample]


def _read(mask: str, **options):
    return lambda folder: sfm.io.read_tiff(folder / "a.ome.tif", folder / mask, **options)


_READERS = ("spatialfm.io._reader:read_page", "spatialfm.io._mask_arrays:ArrayPlane.__getitem__")

CASES = [
    Case(
        "mask-npz",
        write_npz,
        _read("mask.npz", labels_plane="cells"),
        _READERS,
        has_samples=False,
        refusals=(
            Refusal("plane-not-said", lambda folder: None, "0: 'nuclei', 1: 'cells'", _read("mask.npz")),
            Refusal("truncated", lambda folder: (folder / "mask.npz").write_bytes(b"PK"), "cannot be read as NPZ"),
        ),
    ),
    Case(
        "mask-png",
        write_png,
        _read("mask.png", labels_encoding="rgb"),
        _READERS,
        has_samples=False,
        refusals=(Refusal("encoding-not-said", lambda folder: None, "labels_encoding='rgb'", _read("mask.png")),),
    ),
    Case("mask-small", write_small, _read("mask.tif"), has_samples=False),
]
