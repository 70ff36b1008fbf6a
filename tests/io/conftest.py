"""Files that the readers are tried on, written by tifffile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

NAMES = ["DAPI", "CD3", "CD8", "CD20", "Ki67"]


@pytest.fixture
def pixels() -> np.ndarray:
    """``(c, y, x)`` = (5, 70, 90), all values different between channels and positions."""
    return np.arange(5 * 70 * 90, dtype=np.uint16).reshape(5, 70, 90)


@pytest.fixture
def mask() -> np.ndarray:
    """``(y, x)`` = (70, 90) with cells 1, 2 and 7."""
    labels = np.zeros((70, 90), np.uint16)
    labels[5:15, 5:20], labels[30:40, 30:50], labels[60:70, 80:90] = 1, 2, 7
    return labels


def ome_metadata(names=NAMES, mpp: float | None = 0.5, unit: str = "µm") -> dict:
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
    if mpp is not None:
        metadata |= {f"PhysicalSize{axis}": mpp for axis in "XY"} | {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    return metadata


@pytest.fixture
def ome(tmp_path, pixels) -> Path:
    """OME-TIFF with names and 0.5 µm per pixel."""
    path = tmp_path / "core1.ome.tif"
    tifffile.imwrite(path, pixels, metadata=ome_metadata())
    return path


@pytest.fixture
def mask_file(tmp_path, mask) -> Path:
    """Mask of `ome`."""
    path = tmp_path / "core1_mask.tif"
    tifffile.imwrite(path, mask)
    return path


@pytest.fixture
def count_decoding(monkeypatch):
    """Counts strips and tiles that are decoded, and windows that are read from pages that need no decoding."""
    import spatialfm.io._layout as layout
    import spatialfm.io._reader as reader

    counts = {"segments": 0, "raw": 0}
    decode = tifffile.TiffPage.decode

    def counting(page):
        inner = decode.__get__(page)

        def count(*args, **options):
            counts["segments"] += 1
            return inner(*args, **options)

        return count

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(counting))
    read_raw = reader._read_raw

    def counting_raw(*args):
        counts["raw"] += 1
        return read_raw(*args)

    monkeypatch.setattr(reader, "_read_raw", counting_raw)
    layout.layout_of.cache_clear()
    yield counts
    layout.layout_of.cache_clear()
