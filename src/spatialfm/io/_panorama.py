"""Panoramas of the slide as image elements, in the coordinate systems of the acquisitions that lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spatialdata.models import Image2DModel
from spatialdata.transformations import Affine, Scale

from .._errors import counted, listed, warn
from .._keys import panorama_name
from ._imc_samples import ImcSample
from ._mcd_array import lazy_picture
from ._mcd_file import Corners, McdContents, Picture
from ._names import sample_name

if TYPE_CHECKING:
    from xarray import DataArray


def panorama_elements(
    contents: Sequence[tuple[Path, McdContents]], samples: Sequence[ImcSample]
) -> dict[str, DataArray]:
    """Elements ``panorama_<file>_<number>`` of all panoramas that have pixels.

    Each is in the coordinate system of every acquisition whose centre lies in it, so that it can be drawn below; one
    without such, and with a size, in one of its own, in µm.
    """
    elements, odd = {}, []
    for file, one in contents:
        mine = [sample for sample in samples if sample.file == file]
        for picture in one.pictures:
            name = panorama_name(sample_name(f"{file.stem}_{picture.id:03d}"))
            pixels = lazy_picture(one.state, picture)
            if pixels is None:
                odd.append(name)
                continue
            height, width = pixels.shape[1:]
            transformations = _transformations(picture, mine, width, height) or _own(name, picture, width)
            elements[name] = Image2DModel.parse(
                pixels, dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=transformations
            )
    if odd:
        what = counted(len(odd), "picture of a slide is", "pictures of slides are")
        warn(f"{what} left out, of an unknown format or too large to be decoded: {listed(odd, 3)}.")
    return elements


def _transformations(picture: Picture, samples: Sequence[ImcSample], width: int, height: int) -> dict[str, Any]:
    if picture.corners is None:
        return {}
    to_slide = _plane(picture.corners, width, height)
    placed = {}
    for sample in samples:
        corners = None if sample.acquisition is None else sample.acquisition.corners
        if sample.acquisition is not None and sample.acquisition.slide != picture.slide:
            continue  # the µm of another slide
        if corners is None or not _is_flat(corners):
            continue
        centre = np.append((np.array(corners[1]) + np.array(corners[2])) / 2, 1)
        place = np.linalg.solve(to_slide, centre)
        if 0 <= place[0] <= width and 0 <= place[1] <= height:
            matrix = np.linalg.solve(_plane_um(corners), to_slide)
            placed[sample.sample] = Affine(np.round(matrix, 9), input_axes=("x", "y"), output_axes=("x", "y"))
    return placed


def _own(name: str, picture: Picture, width: int) -> dict[str, Any]:
    if picture.corners is None:
        return {}
    side = float(np.linalg.norm(np.subtract(picture.corners[1], picture.corners[0]))) / width
    return {name: Scale([side, side], axes=("x", "y"))}


def _is_flat(corners: Corners) -> bool:
    """Whether three corners span a region."""
    return bool(abs(np.linalg.det(_columns(corners)[:2, :2])) > 0)


def _columns(corners: Corners) -> np.ndarray:
    """Map of the unit square to a region of the slide."""
    top_left, top_right, bottom_left = (np.array(one, dtype=float) for one in corners)
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = top_right - top_left, bottom_left - top_left, top_left
    return matrix


def _plane(corners: Corners, width: float, height: float) -> np.ndarray:
    """Map from pixels x, y to µm of the slide."""
    return _columns(corners) @ np.diag([1 / width, 1 / height, 1])


def _plane_um(corners: Corners) -> np.ndarray:
    """Map from µm right and down of the top left corner to µm of the slide."""
    top_left, top_right, bottom_left = (np.array(one, dtype=float) for one in corners)
    return _plane(corners, float(np.linalg.norm(top_right - top_left)), float(np.linalg.norm(bottom_left - top_left)))
