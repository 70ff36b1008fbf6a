"""Meaning of `tissue=` for each image: to be found, all of it, an element, or a mask."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import CoordinateError, ElementError, PixelSizeError, counted, listed
from .._keys import ATTRS, TABLE, TISSUE, TISSUE_PREFIX
from .arrays import AxisAffine, drawn_kind, image_array, labels_array
from .drawn_cells import cells_data
from .elements import SampleElements, axis_affine, image_to_system, pixel_size, scale_advice
from .measure import LabelGrid, loaded
from .stand_ins import labels_digest
from .tissue_masks import TissueSource, averaged, squares
from .units import of_microscope

if TYPE_CHECKING:
    from spatialdata import SpatialData

Tissue = str | np.ndarray | Mapping[str, object]
GIVEN_SIDE = 4096  # largest side at which a mask of the user is kept; of larger ones the majority of each square
_CLOSE = 0.999  # share of an image that a mask must cover: the last row may be lost in rounding


def tissue_sources(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    tissue: Tissue,
    shapes: Sequence[tuple[int, int]],
    ratios: Sequence[float],
    sizes: Sequence[float | None],
    *,
    elements: bool = True,
) -> list[TissueSource]:
    """Meaning of `tissue=` for each image.

    Parameters
    ----------
    tissue
        ``"auto"``, ``"all"``, a labels or shapes element (``"{sample}"`` in it is replaced by the sample), a mask, or
        ``{sample: any of these}``.
    shapes, ratios, sizes
        Of the grid that is asked for: height and width, image pixels per pixel, µm per pixel.
    elements
        Whether ``"auto"`` takes the element ``tissue_<sample>`` where there is one.

    Raises
    ------
    ElementError, CoordinateError
        If an element is missing, shares no coordinate system with its image, leaves part of it uncovered, or is empty.
    """
    given = _told(tissue, [pair.sample for pair in pairs])
    out = []
    for pair, shape, ratio, size in zip(pairs, shapes, ratios, sizes, strict=True):
        what, own = given[pair.sample], None
        if elements and isinstance(what, str) and what == "auto":
            own = own_element(sdata, pair.sample)
        cells = _cells(sdata, pair, ratio)
        if own is None and isinstance(what, str) and what in ("auto", "all"):
            out.append(TissueSource(what, what, size, cells))
            continue
        name, grid = _grid(sdata, pair, what if own is None else own, ratio, own=own is not None)
        step, mask = _on_grid(grid, shape)
        if not mask.any():
            place, other = " (tissue=)", "Pass a mask that is not, tissue='auto' or tissue='all'."
            if own is not None:
                place, other = "", _again(own)
            raise ElementError(
                f"{name[0].upper()}{name[1:]}{place} contains no tissue in image {pair.image!r} (sample "
                f"{pair.sample!r}): all of it is 0. {other}"
            )
        record: Mapping[str, object] = {}
        if isinstance(element := what if own is None else own, str):
            edited, record = _made_by(sdata, element)
            name += f" (method {record['method']!r}{', edited since' if edited else ''})" if record else ""
        packed = zlib.compress(np.packbits(mask).tobytes(), 1)
        out.append(TissueSource("given", name, size, cells, step, mask.shape, packed, record))
    return out


def own_element(sdata: SpatialData, sample: str) -> str | None:
    """The element of a sample's tissue, if there is one."""
    name = TISSUE_PREFIX + sample
    return name if name in sdata.labels or name in sdata.shapes else None


def _again(name: str) -> str:
    return (
        "Make it again with sfm.pp.tissue(sdata, overwrite=True), or remove it, so that tissue is found on the image: "
        f"del sdata[{name!r}]."
    )


def _on_grid(grid: Callable, shape: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Pixels of a grid that one pixel of a mask spans, and the mask."""
    step = squares(shape, GIVEN_SIDE)
    if isinstance(grid, LabelGrid) and (whole := _whole_pixels(grid, shape)) >= step:
        return whole, loaded(grid.labels) > 0  # as it was written: no border moves
    return step, averaged(lambda *box: (grid(box) > 0)[None], 1, shape, step)[0] >= 0.5


def _whole_pixels(grid: LabelGrid, shape: tuple[int, int]) -> int:
    """Pixels of a grid that each pixel of labels spans from its corner on, where these are whole; otherwise 0."""
    to_labels = grid.to_labels
    step = round(1 / to_labels.scale_y)
    if step < 1 or tuple(grid.labels.shape) != tuple(-(-n // step) for n in shape):
        return 0
    scales, offsets = (to_labels.scale_y, to_labels.scale_x), (to_labels.offset_y, to_labels.offset_x)
    fits = np.allclose(np.multiply(scales, step), 1, rtol=0, atol=1e-3 / max(grid.labels.shape))
    return step if fits and np.allclose(offsets, 0, atol=1e-3) else 0


def _made_by(sdata: SpatialData, name: str) -> tuple[bool, Mapping[str, object]]:
    """Whether an element was edited since it was made, and how it was; empty where `spatialfm.pp.tissue` did not."""
    record = sdata.attrs.get(ATTRS, {}).get(TISSUE, {}).get(name)
    if record is None or name not in sdata.labels:
        return False, {}
    return labels_digest(labels_array(sdata, name).data) != record["sha256"], record


def _told(tissue: Tissue, samples: Sequence[str]) -> dict[str, object]:
    if isinstance(tissue, str):
        return {sample: tissue.replace("{sample}", sample) for sample in samples}
    if isinstance(tissue, Mapping):
        if unknown := [str(sample) for sample in tissue if str(sample) not in samples]:
            raise ElementError(f"tissue= names sample {unknown[0]!r}, but the samples are {listed(samples)}.")
        given = {str(sample): what for sample, what in tissue.items()}
        if missing := [sample for sample in samples if sample not in given]:
            raise ElementError(
                f"tissue= does not cover {counted(len(missing), 'sample')}: {listed(missing)}. Name an element or a "
                "mask for each, or 'auto'."
            )
        return given
    if np.ndim(tissue) != 2:
        raise ElementError(
            f"tissue={type(tissue).__name__} is not a mask. Pass 'auto', 'all', the name of a labels element, a 2-D "
            "mask, or {sample: any of these}."
        )
    if len(samples) > 1:
        raise ElementError(f"One mask (tissue=) for {len(samples)} samples ({listed(samples)}). Pass {{sample: mask}}.")
    return {samples[0]: tissue}


def _cells(sdata: SpatialData, pair: SampleElements, ratio: float) -> LabelGrid | None:
    """Segmented cells of a sample, where there are any that belong to it without doubt."""
    from .elements import _labels_of

    try:
        name = pair.labels or _labels_of(sdata, pair.sample, pair.image, {pair.sample: pair.image}, TABLE)
        if name is not None and (kind := drawn_kind(sdata, name)) is not None:
            if kind != "shapes":
                return None
            return LabelGrid(cells_data(sdata, replace(pair, labels=name)), AxisAffine(ratio, ratio))
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


def _grid(sdata: SpatialData, pair: SampleElements, what: object, ratio: float, *, own: bool) -> tuple[str, Callable]:
    """What a mask is called, and the function that reads it on the grid asked for.

    `own`: the element was not named, but is the sample's own; it has to fit its image in both directions.
    """
    height, width = image_array(sdata, pair.image).shape[-2:]
    if not isinstance(what, str):
        mask = what if hasattr(what, "dtype") else np.asarray(what)
        if mask.ndim != 2 or mask.dtype.kind not in "biu":
            raise ElementError(
                f"The mask of sample {pair.sample!r} (tissue=) is {mask.ndim}-D {mask.dtype}. Pass a 2-D array of bool "
                "or of integers, where 0 is not tissue."
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
        if own:
            _check_fit(pair, what, grid, (height / ratio, width / ratio))
        else:
            _check_cover(pair, what, grid, (height / ratio, width / ratio))
        return f"labels {what!r}", grid
    if what in sdata.shapes:
        return f"shapes {what!r}", _Drawn.of(sdata, pair, what, ratio)
    raise ElementError(
        f"No labels or shapes element {what!r} in sdata (tissue=, sample {pair.sample!r}); found "
        f"{listed([*sdata.labels, *sdata.shapes])}. Pass one of them, 'auto', 'all', or {{sample: mask}}."
    )


def _check_fit(pair: SampleElements, name: str, grid: LabelGrid, shape: tuple[float, float]) -> None:
    """Refuse the tissue of an image that has been cut or replaced since."""
    low, high = np.array(grid.to_labels(0.0, 0.0)), np.array(grid.to_labels(*shape))
    if (np.abs(low) <= 1).all() and (np.abs(high - grid.labels.shape) <= 1).all():  # of its pixels
        return
    (top, left), (bottom, right) = low, high
    raise ElementError(
        f"Labels {name!r} are not of image {pair.image!r} (sample {pair.sample!r}) as it is now: they have "
        f"{grid.labels.shape[0]} rows and {grid.labels.shape[1]} columns, and the image is on their rows {top:.4g} "
        f"to {bottom:.4g} and columns {left:.4g} to {right:.4g}. {_again(name)}"
    )


def _check_cover(pair: SampleElements, name: str, grid: LabelGrid, shape: tuple[float, float]) -> None:
    (y0, x0), (y1, x1) = grid.to_labels(0.0, 0.0), grid.to_labels(*shape)
    height, width = grid.labels.shape
    seen = max(0.0, min(y1, height) - max(y0, 0)) * max(0.0, min(x1, width) - max(x0, 0))
    if seen < (y1 - y0) * (x1 - x0) * _CLOSE - y1 + y0 - x1 + x0:  # less a row and a column
        raise ElementError(
            f"Labels {name!r} (tissue=) cover {seen / ((y1 - y0) * (x1 - x0)):.0%} of image {pair.image!r} (sample "
            f"{pair.sample!r}) in coordinate system {pair.coordinate_system!r}. Pass a mask of the whole image, or "
            "correct its transformation."
        )


@dataclass(frozen=True)
class _Drawn:
    """Shapes as a mask: a pixel is tissue if its centre is in one."""

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


def sources_of_images(
    sdata: SpatialData, pairs: Sequence[SampleElements], tissue: Tissue, *, elements: bool = True
) -> list[TissueSource]:
    """`tissue_sources` on the images' own pixels; their size has to be one of a microscope where tissue is found."""
    shapes = [image_array(sdata, pair.image).shape[-2:] for pair in pairs]
    sizes = [_size(sdata, pair) for pair in pairs]
    sources = tissue_sources(sdata, pairs, tissue, shapes, [1.0] * len(pairs), sizes, elements=elements)
    for pair, source in zip(pairs, sources, strict=True):
        if source.kind == "auto" and source.size and not of_microscope(source.size):
            raise PixelSizeError(
                f"{source.size:g} µm per pixel of image {pair.image!r} cannot be: is coordinate system "
                f"{pair.coordinate_system!r} in another unit than µm? {scale_advice([pair])}"
            )
    return sources


def _size(sdata: SpatialData, pair: SampleElements) -> float | None:
    try:
        return pixel_size(sdata, pair)
    except CoordinateError:  # not square, or rotated: no reason to refuse what needs no size
        return None
