"""Where each image holds tissue: found on it, or told by the user."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._errors import CoordinateError, ElementError, counted, listed, warn
from .arrays import AxisAffine, image_array, labels_array
from .elements import SampleElements, axis_affine, image_to_system, pixel_size
from .glass import (
    ASSUMED_MPP,
    MAX_HOLE,
    MIN_CONTRAST,
    MIN_GAIN,
    MIN_GLASS,
    MIN_LEVEL,
    MIN_SEPARATION,
    RADIUS,
    find_tissue_mask,
)
from .measure import LabelGrid, loaded
from .pieces import scan_labels

if TYPE_CHECKING:
    from spatialdata import SpatialData

Tissue = str | np.ndarray | Mapping[str, object]
SIDE = 512  # largest side of the averaged image that tissue is found on
GIVEN_SIDE = 4096  # largest side at which a mask of the user is kept; of larger ones the majority of each square
METHOD = {
    "radius_um": RADIUS,
    "assumed_mpp": ASSUMED_MPP,
    "side": SIDE,
    "min_gain": MIN_GAIN,
    "min_separation": MIN_SEPARATION,
    "min_level": MIN_LEVEL,
    "min_contrast": MIN_CONTRAST,
    "min_glass_um2": MIN_GLASS,
    "max_hole_um2": MAX_HOLE,
}
_CELLS = 0.25  # share of an averaged pixel that is cells, from which it is
_CLOSE = 0.999  # share of an image that a mask must cover: the last row may be lost in rounding

Read = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class TissueSource:
    """What decides where one image holds tissue.

    Attributes
    ----------
    kind
        ``"auto"``: found on the image; ``"all"``; ``"given"``: a mask.
    name
        Of the element, or what kind of thing was passed.
    size
        µm per pixel of the grid, None where nobody knows.
    cells
        Segmented cells on the grid: they are tissue whatever their brightness.
    step, shape, packed
        A mask that was given: pixels of the grid that one of its own spans, its shape, its bits.
    """

    kind: str = "auto"
    name: str = "auto"
    size: float | None = None
    cells: LabelGrid | None = None
    step: int = 1
    shape: tuple[int, int] = (0, 0)
    packed: bytes = b""

    def given(self) -> np.ndarray:
        """The mask that was given."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=self.shape[0] * self.shape[1]).reshape(self.shape).astype(bool)

    def where_cells_are(self, shape: tuple[int, int], step: int) -> np.ndarray | None:
        """Cells on the averaged grid."""
        if self.cells is None:
            return None
        covered = averaged(lambda *box: (self.cells((box[0], box[1], box[2], box[3])) > 0)[None], 1, shape, step)[0]
        return covered >= _CELLS

    def identity(self, cells: np.ndarray | None) -> str:
        """SHA-256 of all that decides, beside the image."""
        digest = hashlib.sha256(f"{self.kind} {self.size} {self.step} {self.shape} {sorted(METHOD.items())}".encode())
        digest.update(self.packed)
        digest.update(b"" if cells is None else np.packbits(cells).tobytes())
        return digest.hexdigest()


def squares(shape: tuple[int, int], side: int) -> int:
    """Pixels that one pixel of an image averaged down to at most `side` spans."""
    return max(1, -(-max(shape) // side))


def averaged(read: Read, n_channels: int, shape: tuple[int, int], step: int, block: int = 1024) -> np.ndarray:
    """Means of squares of ``step x step`` pixels, float32 ``(c, h, w)``; squares at the edge may be smaller.

    Parameters
    ----------
    read
        Pixels ``(c, y1 - y0, x1 - x0)`` of a region ``y0, y1, x0, x1``.
    """
    height, width = shape
    # blocks begin at multiples of `step`, so that no averaged pixel is cut by a block
    block = max(1, block // step) * step
    small = np.zeros((n_channels, -(-height // step), -(-width // step)), np.float32)
    for y0, y1, x0, x1 in _regions(shape, block):
        place = (slice(y0 // step, -(-y1 // step)), slice(x0 // step, -(-x1 // step)))
        rows, columns = np.arange(0, y1 - y0, step), np.arange(0, x1 - x0, step)
        n_pixels = np.outer(np.diff(rows, append=y1 - y0), np.diff(columns, append=x1 - x0))
        for target, values in zip(small, read(y0, y1, x0, x1), strict=True):
            sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)
            target[place] = sums / n_pixels
    return small


def found_tissue(
    read: Read,
    n_channels: int,
    shape: tuple[int, int],
    size: float | None,
    cells: np.ndarray | None = None,
    *,
    side: int = SIDE,
    block: int = 1024,
) -> tuple[np.ndarray, int]:
    """Tissue of an image, as `spatialfm.pp.glass` finds it on its averaged pixels.

    Returns
    -------
    Boolean mask, and how many pixels one of its pixels spans.
    """
    step = squares(shape, side)
    small = averaged(read, n_channels, shape, step, block)
    return find_tissue_mask(small, (ASSUMED_MPP if size is None else size) * step, cells), step


def tissue_sources(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    tissue: Tissue,
    shapes: Sequence[tuple[int, int]],
    ratios: Sequence[float],
    sizes: Sequence[float | None],
) -> list[TissueSource]:
    """What `tissue=` says of each image.

    Parameters
    ----------
    tissue
        ``"auto"``, ``"all"``, a labels or shapes element (``"{sample}"`` in it stands for the sample), a mask, or
        ``{sample: any of these}``.
    shapes, ratios, sizes
        Of the grid that is asked for: height and width, image pixels per pixel, µm per pixel.

    Raises
    ------
    ElementError, CoordinateError
        If an element is missing, shares no coordinate system with its image, leaves part of it uncovered, or is empty.
    """
    told = _told(tissue, [pair.sample for pair in pairs])
    out = []
    for pair, shape, ratio, size in zip(pairs, shapes, ratios, sizes, strict=True):
        what = told[pair.sample]
        cells = _cells(sdata, pair, ratio)
        if isinstance(what, str) and what in ("auto", "all"):
            out.append(TissueSource(what, what, size, cells))
            continue
        name, grid = _grid(sdata, pair, what, ratio)
        step = squares(shape, GIVEN_SIDE)
        mask = averaged(lambda *box, grid=grid: (grid(box) > 0)[None], 1, shape, step)[0] >= 0.5
        if not mask.any():
            raise ElementError(
                f"{name} (tissue=) holds no tissue in image {pair.image!r} (sample {pair.sample!r}): all of it is 0. "
                "Pass a mask that is not, tissue='auto' or tissue='all'."
            )
        packed = zlib.compress(np.packbits(mask).tobytes(), 1)
        out.append(TissueSource("given", name, size, cells, step, mask.shape, packed))
    return out


def _told(tissue: Tissue, samples: Sequence[str]) -> dict[str, object]:
    if isinstance(tissue, str):
        return {sample: tissue.replace("{sample}", sample) for sample in samples}
    if isinstance(tissue, Mapping):
        if unknown := [str(sample) for sample in tissue if str(sample) not in samples]:
            raise ElementError(f"tissue= names sample {unknown[0]!r}, but the samples are {listed(samples)}.")
        told = {str(sample): what for sample, what in tissue.items()}
        if missing := [sample for sample in samples if sample not in told]:
            raise ElementError(
                f"tissue= says nothing of {counted(len(missing), 'sample')}: {listed(missing)}. Name an element or a "
                "mask for each, or 'auto'."
            )
        return told
    if np.ndim(tissue) != 2:
        raise ElementError(
            f"tissue={type(tissue).__name__} is no mask. Pass 'auto', 'all', the name of a labels element, a 2-D mask, "
            "or {sample: any of these}."
        )
    if len(samples) > 1:
        raise ElementError(f"One mask (tissue=) for {len(samples)} samples ({listed(samples)}). Pass {{sample: mask}}.")
    return {samples[0]: tissue}


def _cells(sdata: SpatialData, pair: SampleElements, ratio: float) -> LabelGrid | None:
    """Segmented cells of a sample, where there are any that belong to it without doubt."""
    from .elements import _labels_of

    try:
        name = pair.labels or _labels_of(sdata, pair.sample, pair.image)
        if name is None or labels_array(sdata, name).dtype.kind not in "iu":
            return None
        return _labels_grid(sdata, pair, name, ratio)
    except ElementError:
        return None
    except ValueError:  # rotated, or in no common coordinate system
        return None


def _labels_grid(sdata: SpatialData, pair: SampleElements, name: str, ratio: float) -> LabelGrid:
    to_system = axis_affine(sdata.labels[name], name, pair.coordinate_system)
    to_labels = image_to_system(sdata, pair).then(to_system.inverse())
    return LabelGrid(labels_array(sdata, name).data, AxisAffine(ratio, ratio).then(to_labels))


def _grid(sdata: SpatialData, pair: SampleElements, what: object, ratio: float) -> tuple[str, Callable]:
    """What a mask is called, and the function that reads it on the grid asked for."""
    height, width = image_array(sdata, pair.image).shape[-2:]
    if not isinstance(what, str):
        mask = what if hasattr(what, "dtype") else np.asarray(what)
        if mask.ndim != 2 or mask.dtype.kind not in "biu":
            raise ElementError(
                f"The mask of sample {pair.sample!r} (tissue=) is {mask.ndim}-D {mask.dtype}. Pass a 2-D array of bool "
                "or of integers, where 0 is no tissue."
            )
        if tuple(mask.shape) != (height, width):
            raise ElementError(
                f"The mask of sample {pair.sample!r} (tissue=) has {mask.shape[0]} x {mask.shape[1]} pixels, image "
                f"{pair.image!r} has {height} x {width}. Pass one of the image's size, or a labels element with its "
                "transformation."
            )
        return "array", LabelGrid(
            getattr(mask, "data", mask) if hasattr(mask, "dims") else mask, AxisAffine(ratio, ratio)
        )
    if what in sdata.labels:
        grid = _labels_grid(sdata, pair, what, ratio)
        _check_cover(pair, what, grid, (height / ratio, width / ratio))
        return f"labels {what!r}", grid
    if what in sdata.shapes:
        return f"shapes {what!r}", _Drawn.of(sdata, pair, what, ratio)
    raise ElementError(
        f"No labels or shapes element {what!r} in sdata (tissue=, sample {pair.sample!r}); found "
        f"{listed([*sdata.labels, *sdata.shapes])}. Pass one of them, 'auto', 'all', or {{sample: mask}}."
    )


def _check_cover(pair: SampleElements, name: str, grid: LabelGrid, shape: tuple[float, float]) -> None:
    (y0, x0), (y1, x1) = grid.to_labels(0.0, 0.0), grid.to_labels(*shape)
    height, width = grid.labels.shape
    seen = max(0.0, min(y1, height) - max(y0, 0)) * max(0.0, min(x1, width) - max(x0, 0))
    if seen < (y1 - y0) * (x1 - x0) * _CLOSE - y1 + y0 - x1 + x0:  # less a row and a column
        raise ElementError(
            f"Labels {name!r} (tissue=) cover {seen / ((y1 - y0) * (x1 - x0)):.0%} of image {pair.image!r} (sample "
            f"{pair.sample!r}) in coordinate system {pair.coordinate_system!r}. Pass a mask of the whole image, or "
            "mend its transformation."
        )


@dataclass(frozen=True)
class _Drawn:
    """Shapes as a mask: a pixel is tissue if its centre lies in one."""

    geometry: object
    to_shapes: AxisAffine

    @classmethod
    def of(cls, sdata: SpatialData, pair: SampleElements, name: str, ratio: float) -> _Drawn:
        import shapely

        frame = sdata.shapes[name]
        outlines = frame.geometry.buffer(frame["radius"]) if "radius" in frame else frame.geometry
        geometry = shapely.union_all(outlines.to_numpy())
        shapely.prepare(geometry)
        to_system = axis_affine(frame, name, pair.coordinate_system)
        to_shapes = image_to_system(sdata, pair).then(to_system.inverse())
        return cls(geometry, AxisAffine(ratio, ratio).then(to_shapes))

    def __call__(self, box: tuple[int, int, int, int]) -> np.ndarray:
        import shapely

        y0, y1, x0, x1 = box
        y, x = self.to_shapes(np.arange(y0, y1)[:, None] + 0.5, np.arange(x0, x1)[None] + 0.5)
        return shapely.contains_xy(self.geometry, *np.broadcast_arrays(x, y))


def tissue_of_images(
    sdata: SpatialData, pairs: Sequence[SampleElements], sources: Sequence[TissueSource]
) -> Iterator[tuple[np.ndarray, int]]:
    """Mask of each image in turn, on its own pixels, and how many of them one pixel of the mask spans."""
    for pair, source in zip(pairs, sources, strict=True):
        image = image_array(sdata, pair.image).data
        if source.kind == "all":
            yield np.ones((1, 1), bool), max(image.shape[-2:])
        elif source.kind == "given":
            yield source.given(), source.step
        else:
            shape = image.shape[-2:]
            cells = source.where_cells_are(shape, squares(shape, SIDE))
            yield found_tissue(_finite(image), image.shape[0], shape, source.size, cells)


def sources_of_images(sdata: SpatialData, pairs: Sequence[SampleElements], tissue: Tissue) -> list[TissueSource]:
    """`tissue_sources` on the images' own pixels."""
    shapes = [image_array(sdata, pair.image).shape[-2:] for pair in pairs]
    return tissue_sources(sdata, pairs, tissue, shapes, [1.0] * len(pairs), [_size(sdata, pair) for pair in pairs])


def _size(sdata: SpatialData, pair: SampleElements) -> float | None:
    try:
        return pixel_size(sdata, pair)
    except CoordinateError:  # not square, or rotated: no reason to refuse what needs no size
        return None


def _finite(image: object) -> Read:
    def read(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        block = loaded(image[:, y0:y1, x0:x1])
        return block if block.dtype.kind != "f" else np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)

    return read


def warn_of_lost_cells(
    samples: Sequence[str], sources: Sequence[TissueSource], masks: Sequence[tuple[np.ndarray, int]]
) -> None:
    """One warning for all images of which less than half is tissue, with cells beside it."""
    found = []
    for sample, source, (mask, step) in zip(samples, sources, masks, strict=True):
        if mask.mean() >= 0.5 or source.cells is None:
            continue
        y, x = source.cells.to_labels.inverse()(*(scan_labels(source.cells.labels).centroid + 0.5).T)
        row, column = (np.floor(at / step).astype(int) for at in (y, x))
        known = (row >= 0) & (column >= 0) & (row < mask.shape[0]) & (column < mask.shape[1])
        outside = int((~mask[row[known], column[known]]).sum())
        if outside:
            found.append(f"{sample}: {mask.mean():.0%} of the pixels, {outside} of {known.sum()} cells outside")
    if found:
        warn(
            f"Less than half of {counted(len(found), 'image')} is taken for tissue, and cells lie outside of it "
            f"({listed(found, 5, quoted=False)}). Statistics and tiles are of the tissue alone. Pass tissue='all', or "
            "tissue=<labels element or mask> if that is wrong."
        )


def _regions(shape: tuple[int, int], block: int) -> Iterator[tuple[int, int, int, int]]:
    for y0 in range(0, shape[0], block):
        for x0 in range(0, shape[1], block):
            yield y0, min(y0 + block, shape[0]), x0, min(x0 + block, shape[1])
