"""Which class was annotated where: shapes or labels elements, shared out to the tokens below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import CoordinateError, ElementError, TableError, counted, listed

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

    from .elements import SampleElements


def annotation_elements(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    annotations: str | Mapping[str, str],
    kinds: Sequence[str] = ("shapes",),
) -> dict[str, str]:
    """Annotated samples and the element of each, which is in the coordinate system of the sample's image.

    Parameters
    ----------
    annotations
        ``{sample: element}``; a pattern such as ``"annotation_{sample}"``, of which samples that have no such element
        are not annotated; or one element, which counts for all samples in whose coordinate system it is.
    kinds
        Kinds of elements that may be annotations.

    Raises
    ------
    ElementError, CoordinateError
        If a sample or element does not exist, or an element is in no coordinate system of its sample.
    """
    from spatialdata.transformations import get_transformation

    elements = [name for kind in kinds for name in getattr(sdata, kind)]
    systems = {pair.sample: pair.coordinate_system for pair in pairs}
    of_name = {name: get_transformation(_element(sdata, name), get_all=True) for name in elements}
    what = " or ".join(kinds)
    if isinstance(annotations, Mapping):
        chosen = {str(sample): str(name) for sample, name in annotations.items()}
        if unknown := [sample for sample in chosen if sample not in systems]:
            raise ElementError(f"annotations= names sample {unknown[0]!r}, but the samples are {listed(systems)}.")
    elif "{sample}" in annotations:
        chosen = {sample: annotations.replace("{sample}", sample) for sample in systems}
        chosen = {sample: name for sample, name in chosen.items() if name in of_name}
    elif annotations in of_name:
        chosen = {sample: annotations for sample, system in systems.items() if system in of_name[annotations]}
        if not chosen:
            raise CoordinateError(
                f"Annotations {annotations!r} are in {listed(of_name[annotations])}, and no sample is: they are in "
                f"{listed(systems.values())}. Connect them with spatialdata.transformations.set_transformation(...)."
            )
    else:
        chosen = {}
    if missing := [name for name in chosen.values() if name not in of_name]:
        raise ElementError(f"No {what} element {missing[0]!r} (annotations=) in sdata; found {listed(elements)}.")
    if not chosen:
        raise ElementError(
            f"No {what} element {annotations!r} (annotations=) in sdata; found {listed(elements)}. Pass a name, a "
            'pattern such as "annotation_{sample}", or {sample: element}.'
        )
    for sample, name in chosen.items():
        if systems[sample] not in of_name[name]:
            raise CoordinateError(
                f"Annotations {name!r} (in {listed(of_name[name])}) are not in coordinate system {systems[sample]!r} "
                f"of sample {sample!r}. Connect them with spatialdata.transformations.set_transformation(...)."
            )
    return chosen


def _element(sdata: SpatialData, name: str):
    return sdata.shapes[name] if name in sdata.shapes else sdata.labels[name]


def annotate_tokens(
    sdata: SpatialData,
    pair: SampleElements,
    element: str,
    label_key: str,
    boxes: np.ndarray,
    min_cover: float,
    classes: Mapping[object, str] | None = None,
) -> np.ndarray:
    """Class of each token of a sample, None where no class covers `min_cover` of it (or two do so alike).

    Parameters
    ----------
    boxes
        ``(n, 4)`` x0, y0, x1, y1 of the tokens in the sample's coordinate system.
    classes
        Class of each value of the element; values that are not named keep theirs (shapes) or mean nothing (labels).

    Raises
    ------
    TableError
        If shapes have no such column, or no shape has a class.
    ElementError
        If the element is outside of the image.
    """
    if element in sdata.shapes:
        frame = sdata.shapes[element]
        if label_key not in frame:
            raise TableError(
                f"No column {label_key!r} in shapes {element!r} (label_key=); found {listed(frame.columns, 12)}."
            )
        names, geometries = _geometries(frame, label_key, pair.coordinate_system, classes or {})
        if not len(names):
            raise TableError(f"No shape of {element!r} has a value in column {label_key!r}. Label the shapes.")
        shares = shares_of_shapes(geometries, boxes)
    else:
        names, shares = _shares_of_pixels(sdata, pair, element, boxes, classes or {})
    if not (shares > 0).any():
        raise ElementError(_beside(sdata, pair, element, boxes))
    best = shares.argmax(axis=1)
    ordered = np.sort(shares, axis=1)
    clear = ordered[:, -1] >= min_cover
    if len(names) > 1:
        clear &= ordered[:, -1] > ordered[:, -2]
    return np.where(clear, np.array(names, dtype=object)[best], None)


def shares_of_shapes(geometries: Sequence[object], boxes: np.ndarray) -> np.ndarray:
    """Share of each box that each geometry covers, ``(n, geometries)``.

    Examples
    --------
    >>> from shapely import box
    >>> shares_of_shapes([box(0, 0, 2, 2), box(3, 0, 9, 9)], np.array([[1.0, 0.0, 5.0, 1.0]]))
    array([[0.25, 0.5 ]])
    """
    import shapely

    squares = shapely.box(*boxes.T)
    area = shapely.area(squares)
    shares = np.zeros((len(boxes), len(geometries)))
    for column, geometry in enumerate(geometries):
        shapely.prepare(geometry)
        whole = shapely.covers(geometry, squares)
        part = shapely.intersects(geometry, squares) & ~whole
        shares[whole, column] = 1
        shares[part, column] = shapely.area(shapely.intersection(squares[part], geometry)) / area[part]
    return shares


def _geometries(
    frame: GeoDataFrame, label_key: str, system: str, classes: Mapping[object, str]
) -> tuple[list[str], list[object]]:
    """Classes in sorted order, and the union of the shapes of each, in a coordinate system."""
    import shapely
    from spatialdata import transform

    frame = frame[frame[label_key].notna().to_numpy()]
    if frame.empty:
        return [], []
    frame = transform(frame, to_coordinate_system=system)
    shapes = frame.geometry
    if (shapes.geom_type == "Point").any():  # circles
        shapes = shapes.buffer(frame["radius"]) if "radius" in frame else shapes
    shapes = shapely.make_valid(np.asarray(shapes.array, dtype=object))
    labels = np.array([str(classes.get(value, value)) for value in frame[label_key].astype(object)])
    names = sorted(set(labels.tolist()))
    return names, [shapely.union_all(shapes[labels == name]) for name in names]


def _shares_of_pixels(
    sdata: SpatialData, pair: SampleElements, element: str, boxes: np.ndarray, classes: Mapping[object, str]
) -> tuple[list[str], np.ndarray]:
    from .arrays import labels_array
    from .elements import axis_affine
    from .tiles import pixels_of_labels

    values = np.array(sorted(classes), dtype=np.int64)
    names = sorted(set(classes.values()))
    codes = np.array([names.index(classes[value]) for value in values])
    to_labels = axis_affine(sdata.labels[element], element, pair.coordinate_system).inverse()
    counts, area = pixels_of_labels(labels_array(sdata, element).data, boxes, to_labels, values, codes, len(names))
    return names, counts / np.maximum(area, 1)[:, None]


def _beside(sdata: SpatialData, pair: SampleElements, element: str, boxes: np.ndarray) -> str:
    from spatialdata import get_extent

    extent = get_extent(_element(sdata, element), coordinate_system=pair.coordinate_system)
    x0, y0, x1, y1 = *boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)
    (ax0, ax1), (ay0, ay1) = extent["x"], extent["y"]
    return (
        f"Annotations {element!r} (x {ax0:.0f} to {ax1:.0f}, y {ay0:.0f} to {ay1:.0f}) cover no token of image "
        f"{pair.image!r} (x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}) in coordinate system "
        f"{pair.coordinate_system!r}. Correct the transformation with "
        "spatialdata.transformations.set_transformation(...), or leave the sample out of annotations=."
    )


def check_classes(labels: pd.Series, min_tokens: int) -> None:
    """Refuse fewer than two classes, and classes with too few tokens to learn from."""
    counts = labels.value_counts()
    if len(counts) < 2:
        raise TableError(
            f"The annotations hold {counted(len(counts), 'class', 'classes')} ({listed(counts.index)}) on "
            f"{counted(int(counts.sum()), 'token')}. Annotate regions of two or more."
        )
    if len(few := counts.index[counts < min_tokens]):
        raise TableError(
            f"Class {few[0]!r} covers {counted(counts[few[0]], 'token')}, fewer than min_tokens={min_tokens}. Annotate "
            "more of it, pass a smaller stride= or min_tokens=, or leave the class out."
        )
