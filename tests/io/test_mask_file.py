"""Planes of a mask: which is chosen, and colours that are numbers."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from spatialfm._errors import InputFileError
from spatialfm.io._mask_file import MaskFile, chosen_plane, decoded


def mask(n, dtype=np.uint16, **kwargs) -> MaskFile:
    return MaskFile([da.full((2, 2), i, dtype=dtype) for i in range(n)], "m.tif", **kwargs)


def value(plane) -> int:
    return int(plane[0, 0])


def test_one_plane_needs_no_choice_and_several_do():
    assert value(chosen_plane(mask(1), None)) == 0
    assert value(chosen_plane(mask(5), 3)) == 3
    assert value(chosen_plane(mask(2, names=("nuclei", "cells")), "cells")) == 1
    with pytest.raises(InputFileError, match=r"have 2 planes \(0: 'nuclei', 1: 'cells'\)"):
        chosen_plane(mask(2, names=("nuclei", "cells")), None)


@pytest.mark.parametrize("wanted", [5, -1, "cells"])
def test_planes_that_are_not_there_are_refused(wanted):
    with pytest.raises(InputFileError, match="have no plane"):
        chosen_plane(mask(5), wanted)


def test_colours_are_not_taken_for_numbers():
    with pytest.raises(InputFileError, match="are a colour picture"):
        chosen_plane(mask(3, np.uint8), None)
    with pytest.raises(InputFileError, match="have a palette"):
        chosen_plane(mask(1, is_palette=True), None)
    assert value(chosen_plane(mask(1, is_palette=True), 0)) == 0
    with pytest.raises(InputFileError, match="have 3 planes"):
        chosen_plane(mask(3, np.uint16), None)  # of 16 bits they are not colours


@pytest.mark.parametrize(
    ("encoding", "expected"), [("rgb", 7 + 256 * 2 + 65_536 * 1), ("bgr", 1 + 256 * 2 + 65_536 * 7)]
)
@pytest.mark.parametrize("n", [3, 4])
def test_a_colour_encodes_a_number(encoding, expected, n):
    planes = [da.full((2, 2), one, dtype=np.uint8) for one in (7, 2, 1, 255)[:n]]
    assert value(decoded(MaskFile(planes, "m.png"), encoding)) == expected
    with pytest.raises(InputFileError, match="needs 8-bit red, green and blue"):
        decoded(mask(3), encoding)
