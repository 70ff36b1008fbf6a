"""Files of other kinds are refused with what to do, by their name or by how they begin."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import spatialfm as sfm
from spatialfm._errors import InputFileError


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("core.czi", b"ZISRAWFILE", r"but one of Zeiss \(\.czi\), which is not read here\. Convert it .*OME-TIFF"),
        ("core.tif", b"ZISRAWFILE", r"but one of Zeiss \(\.czi\)"),  # renamed
        ("core.ND2", b"\xda\xce\xbe\x0a1234", r"one of Nikon \(\.nd2\)"),
        ("core.lif", b"p\0\0\0", r"one of Leica \(\.lif\)"),
        ("core.ims", b"\x89HDF\r\n", r"one of Imaris \(\.ims\)"),  # HDF5 inside
        ("core.vsi", b"abcd", r"one of Olympus"),
        ("core.mcd", b"abcd", r"sfm\.io\.read_mcd"),
        ("core.qpdata", b"abcd", r"sfm\.io\.read_qupath"),
        ("core.tif.gz", b"\x1f\x8b\x08\0", "Unpack it"),
        ("core.hdf5", b"\x89HDF\r\n", "but an HDF5 file"),
        ("core.jpeg", b"\xff\xd8\xff\xe0", "not those that were measured"),
        ("core.tif", b"\x89PNG\r\n", "picture .PNG., which is read as labels="),
        ("core.tif", b"abcd", r"is not a TIFF file \(it starts with b'abcd'\)"),
    ],
)
def test_each_is_told_what_to_do(tmp_path, name, start, message):
    path = tmp_path / name
    path.write_bytes(start + bytes(600))
    with pytest.raises(InputFileError, match=message):
        sfm.io.read_tiff(path)


def test_a_tiff_is_read_whatever_it_is_called(tmp_path):
    tifffile.imwrite(tmp_path / "core.czi", np.ones((2, 32, 32), np.uint8))
    sdata = sfm.io.read_tiff(tmp_path / "core.czi", mpp=0.5, channel_names=["a", "b"])
    assert next(iter(sdata.images.values())).shape == (2, 32, 32)
