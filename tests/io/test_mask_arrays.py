"""Masks that are arrays of numpy or PNG files."""

from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
import scipy.sparse
from PIL import Image

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io import _mask_arrays


def labels_of(ome, path, **options):
    return sfm.io.read_tiff(ome, path, **options).labels["cells_core1"].values


@pytest.mark.parametrize("dtype", ["uint16", ">u4", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_where_it_is_asked_for(tmp_path, ome, mask, monkeypatch, dtype, order):
    path = tmp_path / "m.npy"
    np.save(path, np.asarray(mask.astype(dtype), order=order))
    read = []
    inner = _mask_arrays.ArrayPlane.__getitem__
    monkeypatch.setattr(_mask_arrays.ArrayPlane, "__getitem__", lambda self, key: read.append(key) or inner(self, key))
    element = sfm.io.read_tiff(ome, path).labels["cells_core1"]
    assert read == []
    array = pickle.loads(pickle.dumps(element.data))
    assert array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(array.compute(), mask)
    assert read


@pytest.mark.parametrize("last", [False, True])
def test_planes_of_an_array_are_asked_for(tmp_path, ome, mask, last):
    stack = np.stack([mask // 2, mask], axis=-1 if last else 0)
    np.save(tmp_path / "m.npy", stack)
    with pytest.raises(InputFileError, match=r"2 planes \(0, 1\).*labels_plane=<number>"):
        labels_of(ome, tmp_path / "m.npy")
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.npy", labels_plane=1), mask)
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.npy", labels_plane=0), mask // 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_an_npz_are_planes_by_their_names(tmp_path, ome, mask, save):
    save(tmp_path / "one.npz", whatever=mask)
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "one.npz"), mask)
    save(tmp_path / "two.npz", nuclei=(mask // 2).astype(np.uint8), cells=mask, cutoff=np.array([3.0]))
    with pytest.raises(InputFileError, match=r"2 planes \(0: 'nuclei', 1: 'cells'\)"):
        labels_of(ome, tmp_path / "two.npz")
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "two.npz", labels_plane="cells"), mask)
    with pytest.raises(InputFileError, match="no plane 'Cells'"):
        labels_of(ome, tmp_path / "two.npz", labels_plane="Cells")


@pytest.mark.parametrize("mode", ["L", "I;16", "LA"])
def test_gray_png(tmp_path, ome, mask, mode):
    path = tmp_path / "m.png"
    numbers = mask if mode != "I;16" else (mask * 9001).astype(np.uint16)
    picture = Image.fromarray(numbers.astype(np.uint16 if mode == "I;16" else np.uint8))
    (picture.convert("LA") if mode == "LA" else picture).save(path)
    found = labels_of(ome, path)
    assert found.dtype == (np.uint16 if mode == "I;16" else np.uint8)
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_a_png_are_decoded_only_when_told(tmp_path, ome, mask, alpha):
    numbers = mask.astype(np.uint32) * 70_001  # three bytes
    colours = np.stack([numbers >> shift & 255 for shift in (0, 8, 16)] + [numbers * 0 + 255] * alpha, -1)
    Image.fromarray(colours.astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputFileError, match=r"colour picture \(. planes of 8 bits\).*labels_encoding='rgb'"):
        labels_of(ome, tmp_path / "m.png")
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.png", labels_encoding="rgb"), numbers)
    swapped = (numbers >> 16) + (numbers & 0xFF00) + ((numbers & 0xFF) << 16)
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.png", labels_encoding="bgr"), swapped)


def test_a_palette_has_two_meanings(tmp_path, ome, mask):
    picture = Image.fromarray(mask.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0] + [7, 0, 0] + [0, 1, 0] + [9, 9, 9] * 4 + [0, 2, 1])
    picture.save(tmp_path / "m.png")
    with pytest.raises(InputFileError, match=r"palette.*labels_plane=0.*labels_encoding='rgb'"):
        labels_of(ome, tmp_path / "m.png")
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.png", labels_plane=0), mask)
    expected = np.select([mask == 1, mask == 2, mask == 7], [7, 256, 2 * 256 + 65_536])
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.png", labels_encoding="rgb"), expected)


def png(bits: int, kind: int) -> bytes:
    """Header and one row of a PNG that no program of the tests can write."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    header = struct.pack(">IIBBBBB", 90, 70, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "kind", "message"),
    [(16, 2, "16 bits for each colour"), (16, 6, "16 bits for each colour"), (16, 4, "16 bits a pixel"),
     (4, 0, "4 bits a pixel"), (1, 0, "yes/no mask")],
)  # fmt: skip
def test_a_png_that_would_lose_numbers_is_refused(tmp_path, ome, bits, kind, message):
    (tmp_path / "m.png").write_bytes(png(bits, kind))
    with pytest.raises(InputFileError, match=message):
        labels_of(ome, tmp_path / "m.png")


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("m_seg.npy", lambda path, mask: np.save(path, {"masks": mask}, allow_pickle=True), "Python objects"),
        ("m.npy", lambda path, mask: np.save(path, mask.astype("U3")), "hold <U3, not whole numbers"),
        ("m.npy", lambda path, mask: np.save(path, np.stack([mask] * 80)), r"shape \(80, 70, 90\)"),
        ("m.npy", lambda path, mask: path.write_bytes(b"no array"), "cannot be read as NPY"),
        ("m.npz", lambda path, mask: path.write_bytes(b"PK no archive"), "cannot be read as NPZ"),
        ("m.npz", lambda path, mask: scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(mask)), "sparse matrix"),
        ("m.npz", lambda path, mask: np.savez(path, a=mask[0], b=mask[1]), "none of which has the axes"),
        ("m.npy", lambda path, mask: np.save(path, mask.astype("f4")), "cast_labels=True"),
        ("m.npz", lambda path, mask: np.savez(path, mask=mask > 0), "yes/no mask"),
        ("m.png", lambda path, mask: path.write_bytes(b"GIF89a"), "not a PNG"),
        ("m.npy", lambda path, mask: np.save(path, mask[:-3]), "67 x 90 pixels"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, ome, mask, name, save, message):
    save(tmp_path / name, mask)
    with pytest.raises(InputFileError, match=message):
        labels_of(ome, tmp_path / name)


def test_an_array_that_changes_is_not_read(tmp_path, ome, mask):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, mask=mask)
    element = sfm.io.read_tiff(ome, path).labels["cells_core1"]
    np.savez_compressed(path, mask=mask + 1, more=mask)
    with pytest.raises(InputFileError, match="changed since it was opened"):
        element.compute()


def test_whole_numbers_in_floats_are_taken_when_told(tmp_path, ome, mask):
    np.save(tmp_path / "m.npy", mask.astype("f4"))
    np.testing.assert_array_equal(labels_of(ome, tmp_path / "m.npy", cast_labels=True), mask)
    with pytest.raises(InputFileError, match="labels_series= is for TIFF files"):
        labels_of(ome, tmp_path / "m.npy", labels_series=1)
