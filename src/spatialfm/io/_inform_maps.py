"""Segmentation maps of inForm: planes by their names, and whole cells of nucleus, cytoplasm and membrane."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import dask.array as da
import numpy as np
from scipy import ndimage

from .._errors import InputFileError, listed
from ._axes import assign_axes
from ._layout import open_tiff
from ._mask_file import MaskFile
from ._reader import lazy_levels
from ._state import file_state
from ._tifffile import all_series, open_file

WHOLE = "whole cell"
_PARTS = ("Nucleus", "Cytoplasm", "Membrane")
TISSUE = "TissueClassMap"
_NO_CELLS = (TISSUE, "ProcessRegionImage")
_OTHER_WORDS = {"nuclei": "Nucleus", "cells": WHOLE, "cell": WHOLE, "membranes": "Membrane", "tissue": TISSUE}


@dataclass(frozen=True)
class InformMaps(MaskFile):
    """The planes of a file of inForm, and the names of the tissue categories by the numbers in their plane."""

    categories: tuple[str, ...] = ()


def open_maps(path: Path) -> InformMaps:
    """All planes of ``*_binary_seg_maps.tif`` by the names that their descriptions have.

    Raises
    ------
    InputFileError
        If inForm did not write the file.
    """
    file_state(path)  # a missing or empty file
    names, planes, size, categories = [], [], None, ()
    for number, of_planes in enumerate(_descriptions(path)):
        layout = open_tiff(path, number)
        dims = layout.levels[0].dims
        stack = lazy_levels(layout, assign_axes(dims, "cyx" if len(dims) == 3 else None, None, f"'{path}'"))[0]
        size = size or layout.metadata.pixel_size
        for i, text in enumerate(of_planes):
            if (name := _plane_name(text)) is not None and name not in names and i < stack.shape[0]:
                names.append(name)
                planes.append(stack[i])
                categories = _categories(text) if name == TISSUE else categories
    if not names:
        raise InputFileError(
            f"'{path}' has no plane that is described as inForm does. If it is a mask of another program, pass it with "
            "the image to sfm.io.read_tiff."
        )
    return InformMaps(
        tuple(planes), str(path.resolve()), names=tuple(names), pixel_size=size, categories=tuple(categories)
    )


def tissue_map(maps: InformMaps) -> da.Array | None:
    """Tissue categories ``(y, x)``, numbered from 1 in the order of their names, 0 where there is none."""
    if TISSUE not in maps.names or not maps.categories:
        return None
    plane = maps.planes[maps.names.index(TISSUE)].astype(np.int64)
    return da.where(plane < len(maps.categories), plane + 1, 0).astype(np.uint8)


def cells_of(maps: MaskFile, wanted: str | None) -> tuple[da.Array, str]:
    """Label image ``(y, x)`` of the cells, and which plane it is.

    Parameters
    ----------
    wanted
        Name of a plane. Default: whole cells, of nucleus, cytoplasm and membrane; where there is no membrane, the
        objects or the nuclei.

    Raises
    ------
    InputFileError
        If there is no such plane, or it holds no cells.
    """
    planes = dict(zip(maps.names, maps.planes, strict=True))
    if wanted is not None:
        known = {name.lower(): name for name in (*planes, WHOLE)} | {k: v for k, v in _OTHER_WORDS.items()}
        wanted = known.get(wanted.lower(), wanted)
        if wanted != WHOLE and (wanted not in planes or wanted in _NO_CELLS):
            cells = [name for name in planes if name not in _NO_CELLS]
            raise InputFileError(
                f"'{maps.path}' has no plane of cells {wanted!r}; it has {listed(cells)}. Correct labels_plane=."
            )
    if wanted is None:
        wanted = next((name for name in ("Object", "Nucleus") if name in planes), None)
        wanted = WHOLE if {"Membrane", "Nucleus"} <= set(planes) else wanted
    if wanted is None:
        raise InputFileError(
            f"'{maps.path}' has {listed(planes)}, of which no cells can be made. Pass labels_plane=<name>."
        )
    if wanted != WHOLE:
        return planes[wanted], wanted
    if not {"Membrane", "Nucleus"} <= set(planes):
        raise InputFileError(
            f"'{maps.path}' has {listed(planes)}; whole cells need 'Nucleus' and 'Membrane'. Pass labels_plane=<name>."
        )
    parts = [planes[name] for name in _PARTS if name in planes]
    if len({part.shape for part in parts}) > 1:
        raise InputFileError(f"The planes of '{maps.path}' differ in size. Export them again.")
    whole = [part.rechunk(part.shape) for part in parts]  # holes are seen in the whole field alone
    cells = da.map_blocks(whole_cells, *whole, path=maps.path, dtype=np.uint32, meta=np.empty((0, 0), np.uint32))
    return cells, WHOLE


def whole_cells(nucleus: np.ndarray, *others: np.ndarray, path: str = "") -> np.ndarray:
    """Cells ``(y, x)`` of their parts; what a membrane encloses and no part covers belongs to its cell.

    Parameters
    ----------
    nucleus
        Ids of the cells, 0 elsewhere.
    others
        Cytoplasm, if there is one, and the membrane, a ring around each cell.

    Raises
    ------
    InputFileError
        If the membrane is the same number in all cells, as inForm before 2.4.3 wrote it.
    """
    membrane = others[-1]
    if membrane.max(initial=0) <= 1 < nucleus.max(initial=0):
        raise InputFileError(
            f"The membranes of '{path}' have one number for all cells, as inForm before 2.4.3 wrote them, and do not "
            'tell cells apart. Pass labels_plane="Nucleus".'
        )
    inner = nucleus.astype(np.uint32)
    for part in others[:-1]:
        inner = np.where(inner > 0, inner, part.astype(np.uint32))
    out = np.where(inner > 0, inner, membrane.astype(np.uint32))
    gaps, n = ndimage.label(out == 0)
    if not n:
        return out
    owner = _owners(gaps, out, n)
    owner[_open(gaps, inner, membrane, owner)] = 0
    return np.where(gaps > 0, owner[gaps], out)


def _owners(gaps: np.ndarray, cells: np.ndarray, n: int) -> np.ndarray:
    """The one cell beside each gap (by number, from 1 on); 0 where there are several."""
    pairs = _beside(gaps, cells)
    gap, count = np.unique(pairs[:, 0], return_counts=True)
    owner = np.zeros(n + 1, np.uint32)
    alone = gap[count == 1]
    one = pairs[np.isin(pairs[:, 0], alone)]
    owner[one[:, 0]] = one[:, 1]
    return owner


def _open(gaps: np.ndarray, inner: np.ndarray, membrane: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Gaps that reach the edge of the field and are not the inside of a cell that the edge cuts."""
    edge = np.unique(np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]))
    edge = edge[edge > 0]
    inside = {(int(gap), int(cell)) for gap, cell in _beside(gaps, inner)}
    with_membrane = set(np.unique(membrane).tolist())
    cut = [(int(g), int(owner[g])) in inside and int(owner[g]) in with_membrane for g in edge]
    return edge[~np.array(cut, dtype=bool)]


def _beside(gaps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Pairs of gap and cell that share a side."""
    pairs = []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        for a, b in ((one, other), (other, one)):
            touch = (gaps[a] > 0) & (cells[b] > 0)
            pairs.append(np.stack([gaps[a][touch], cells[b][touch]], axis=1).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)


def _descriptions(path: Path) -> list[list[str]]:
    """Descriptions of the pages of each image of a file."""
    try:
        with open_file(path) as tif:
            return [[_description(tif, page) for page in series] for series in all_series(tif)]
    except InputFileError:
        raise
    except Exception as error:  # damaged bytes make tifffile raise any error
        raise InputFileError(
            f"'{path}' cannot be read as TIFF: {error or type(error).__name__}. It is truncated, damaged or of another "
            "kind; export it again."
        ) from error


def _description(tif, page) -> str:
    whole = page if hasattr(page, "tags") else tif.pages.get(page.index)  # frames carry no tags
    return whole.description or ""


def _root(text: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.strip().strip("\0")))
    except ElementTree.ParseError:
        return None


def _categories(text: str) -> list[str]:
    """Names of the tissue categories; the number of a pixel is the place of its name, from 0 on."""
    root = _root(text)
    return [] if root is None else [(e.text or "").strip() for e in root.iter() if e.tag.rpartition("}")[2] == "Name"]


def _plane_name(text: str) -> str | None:
    """``Nucleus``, ``Membrane`` ... of a segmentation, otherwise the kind of the map."""
    root = _root(text)
    if root is None:
        return None
    kind = root.tag.rpartition("}")[2]
    if kind == "SegmentationImage":
        return next((e.text.strip() for e in root.iter() if e.tag.endswith("CompartmentType") and e.text), None)
    return kind if kind in _NO_CELLS else None
