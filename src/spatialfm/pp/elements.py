"""Which image belongs to which labels, and how their pixels are aligned.

Pixel ``i`` covers ``[i, i + 1)`` of an element's own coordinates and its centre is ``i + 0.5``, as in SpatialData.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from spatialdata.models import TableModel
from spatialdata.transformations import Identity, get_transformation

from .._errors import CoordinateError, ElementError, counted, listed, repeated_names
from .._keys import (
    ATTRS,
    CELLS_PREFIX,
    IMAGE_PREFIX,
    IMPUTED,
    MAPS,
    PANORAMA_PREFIX,
    PANORAMAS,
    SAMPLE_KEY,
    SPATIAL,
    SURPRISE_PREFIX,
    TABLE,
    TISSUE_PREFIX,
    TOKEN_KEY,
)
from .._wording import takes
from .arrays import AxisAffine, cells_element, channel_names, drawn_kind, image_array, labels_array
from .stand_ins import check_stand_in, stand_ins

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .stored_chunks import StoredChunks


@dataclass(frozen=True)
class SampleElements:
    """The elements of one sample, and the coordinate system that they share.

    Attributes
    ----------
    sample, image, labels, coordinate_system
        Names.
    stored
        Files below the elements by element name, once `spatialfm.pp.missing_chunks.report_missing_chunks` has looked.
    """

    sample: str
    image: str
    labels: str | None
    coordinate_system: str
    stored: Mapping[str, StoredChunks | None] = field(default_factory=dict, compare=False, repr=False)


def scale_advice(pairs: Sequence[SampleElements], *, drawn: bool = False) -> str:
    """How the pixel size of image and labels is set, as code for the first pair.

    `drawn`: the cells are shapes, which may be in other units than pixels already, and follow the image.
    """
    if drawn:
        system, space = pairs[0].coordinate_system, "spatialdata.transformations"
        calls = [
            f"{space}.set_transformation(sdata[{name!r}], {space}.Sequence([{space}.get_transformation("
            f"sdata[{name!r}], {system!r}), {space}.Scale([mpp, mpp], axes=('x', 'y'))]), {system!r})"
            for name in (pairs[0].image, pairs[0].labels)
        ]
        return f"Set it for both, where mpp is the µm per pixel of the image: {'; '.join(calls)}."
    calls = [
        f"spatialdata.transformations.set_transformation(sdata[{name!r}], "
        f"spatialdata.transformations.Scale([mpp, mpp], axes=('x', 'y')), {pairs[0].coordinate_system!r})"
        for name in (pairs[0].image, pairs[0].labels)
        if name is not None
    ]
    return f"Set the µm per pixel of image and labels, each with its own mpp: {'; '.join(calls)}."


def match_elements(
    sdata: SpatialData,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    samples: str | Sequence[str] | None = None,
    need_labels: bool = True,
    table_name: str = TABLE,
) -> list[SampleElements]:
    """Pair every image with its cells: a labels element, polygons or circles, or points.

    The pairs are, in this order: what `image` and `labels` state (one name, lists of equal length, or mappings from
    sample to element); elements named ``image_<sample>`` and ``cells_<sample>``; what the table annotates in the
    coordinate system of the image; the only image and the only labels of a coordinate system. Nothing is guessed beyond
    that. Labels that `spatialfm.pp.fix_labels` wrote replace those that they were made of, unless `labels` names
    these. A table with positions in ``obsm["spatial"]`` that annotates no element of `sdata` is one of points.

    Parameters
    ----------
    sdata
        Object whose elements are to be paired.
    image, labels
        Element names; a mapping is read as ``{sample: element}``.
    samples
        Samples to keep, in this order (default: all).
    need_labels
        Whether an image without labels is an error.
    table_name
        Table whose regions count.

    Raises
    ------
    ElementError
        If an element is missing, an image fits several labels, a sample is named twice, or labels were replaced after
        their replacements were made.
    CoordinateError
        If image and labels share no coordinate system.
    """
    images = _as_mapping(image, sample_images(sdata), IMAGE_PREFIX, "image")
    if not images:
        raise ElementError("sdata contains no image element. Read one with sfm.io.read_tiff(path).")
    given = None if labels is None else _labels_mapping(labels, images, sdata)
    if samples is not None:  # first of all: what was not asked for need not be in order
        images = _chosen(images, [samples] if isinstance(samples, str) else list(samples))
    pairs = []
    for sample, image_name in images.items():
        image_array(sdata, image_name)
        if given is not None:
            labels_name = given.get(sample)
        else:
            labels_name = _labels_of(sdata, sample, image_name, images, table_name)
        if labels_name is not None:
            cells_element(sdata, labels_name)
            if drawn_kind(sdata, labels_name) is None:
                labels_array(sdata, labels_name)
        elif need_labels:
            raise ElementError(_no_cells(sdata, sample, image_name))
        system = _shared_system(sdata, sample, image_name, labels_name)
        pairs.append(SampleElements(sample, image_name, labels_name, system))
    return pairs


def sample_images(sdata: SpatialData) -> list[str]:
    """Images that can be samples: all but pictures of whole slides, and what was predicted or painted.

    `spatialdata.concatenate` leaves the records of these out, and so does who makes an object of elements: their usual
    names tell them, too.
    """
    records = sdata.attrs.get(ATTRS, {})
    others = {*records.get(PANORAMAS, ()), *records.get(IMPUTED, ())}
    return [name for name in sdata.images if name not in others and not _is_made(sdata, name)]


def _is_made(sdata: SpatialData, name: str) -> bool:
    """Whether an image is one of those by its name, beside the image that it was made of."""
    for ending in ("_imputed", "_reconstructed"):
        if ending in name and name.replace("_hidden", "").replace(ending, "") in sdata.images:
            return True
    if name.startswith(SURPRISE_PREFIX) and IMAGE_PREFIX + name.removeprefix(SURPRISE_PREFIX) in sdata.images:
        return True
    return name.startswith(PANORAMA_PREFIX) and channel_names(sdata, name) == ["r", "g", "b"]


def axis_affine(element, name: str, coordinate_system: str) -> AxisAffine:
    """Map from an element's pixels to a coordinate system.

    Raises
    ------
    CoordinateError
        If the element is not in the coordinate system, or is rotated, sheared or mirrored in it.
    """
    transformations = get_transformation(element, get_all=True)
    if coordinate_system not in transformations:
        raise CoordinateError(
            f"Element {name!r} is not in coordinate system {coordinate_system!r}; it is in {listed(transformations)}. "
            "Add it with spatialdata.transformations.set_transformation(element, transformation, "
            f"{coordinate_system!r})."
        )
    matrix = transformations[coordinate_system].to_affine_matrix(("y", "x"), ("y", "x"))
    if not np.allclose([matrix[0, 1], matrix[1, 0]], 0, atol=1e-9) or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise CoordinateError(
            f"Element {name!r} is rotated, sheared or mirrored in coordinate system {coordinate_system!r}; only a "
            f"scale and an offset can be followed. Resample it first, under a new name: sdata[{name + '_straight'!r}] "
            f"= spatialdata.transform(sdata[{name!r}], to_coordinate_system={coordinate_system!r})."
        )
    return AxisAffine(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])


def image_to_system(sdata: SpatialData, pair: SampleElements) -> AxisAffine:
    """Map from pixels of the image to the shared coordinate system (µm where the readers made it)."""
    return axis_affine(sdata.images[pair.image], pair.image, pair.coordinate_system)


def labels_to_system(sdata: SpatialData, pair: SampleElements) -> AxisAffine:
    """Map from pixels of the labels to the shared coordinate system; cells that are drawn have the image's pixels."""
    if drawn_kind(sdata, str(pair.labels)) is not None:
        return image_to_system(sdata, pair)
    return axis_affine(sdata.labels[pair.labels], pair.labels, pair.coordinate_system)


def labels_to_image(sdata: SpatialData, pair: SampleElements) -> AxisAffine:
    """Map from pixels of the labels to pixels of the image."""
    if drawn_kind(sdata, str(pair.labels)) is not None:
        return AxisAffine()
    return labels_to_system(sdata, pair).then(image_to_system(sdata, pair).inverse())


def pixel_size(sdata: SpatialData, pair: SampleElements) -> float | None:
    """µm per pixel of the image, or None if unknown (a bare identity transformation).

    Raises
    ------
    CoordinateError
        If pixels are not square.
    """
    transformation = get_transformation(sdata.images[pair.image], pair.coordinate_system)
    if isinstance(transformation, Identity):
        return None
    affine = image_to_system(sdata, pair)
    if not np.isclose(affine.scale_y, affine.scale_x, rtol=1e-3):
        raise CoordinateError(
            f"Pixels of image {pair.image!r} are not square ({affine.scale_y:g} x {affine.scale_x:g} µm in coordinate "
            f"system {pair.coordinate_system!r}). Resample it first with spatialdata.rasterize(...)."
        )
    return float(affine.scale_x)


def _as_mapping(given, elements, prefix: str, what: str) -> dict[str, str]:
    if given is None:
        return {name.removeprefix(prefix): name for name in elements}
    if isinstance(given, Mapping):
        return {str(sample): str(name) for sample, name in given.items()}
    names = [given] if isinstance(given, str) else list(given)
    if len(set(names)) != len(names):
        raise ElementError(f"An element is named twice in {what}={names}.")
    return {name.removeprefix(prefix): name for name in names}


def _chosen(images: dict[str, str], samples: list[str]) -> dict[str, str]:
    if missing := [sample for sample in samples if sample not in images]:
        raise ElementError(f"No sample {missing[0]!r} in sdata; found {listed(images)}.")
    if repeated := repeated_names(samples):
        raise ElementError(f"Sample {repeated[0]!r} comes twice in samples={samples}. Name it once.")
    return {sample: images[sample] for sample in samples}


def _labels_mapping(labels, images: dict[str, str], sdata) -> dict[str, str]:
    if isinstance(labels, Mapping):
        if unknown := [sample for sample in labels if sample not in images]:
            raise ElementError(f"labels= names sample {unknown[0]!r}, but the samples are {listed(images)}.")
        return {str(sample): str(name) for sample, name in labels.items()}
    names = [labels] if isinstance(labels, str) else list(labels)
    for name in names:
        cells_element(sdata, name)
    if len(names) != len(images):
        raise ElementError(
            f"{counted(len(names), 'labels element')} for {counted(len(images), 'image')} ({listed(images.values())}). "
            "Pass as many of each, in the same order, or a mapping {sample: element}."
        )
    return dict(zip(images, names, strict=True))


def _labels_of(
    sdata: SpatialData, sample: str, image_name: str, chosen: Mapping[str, str], table_name: str
) -> str | None:
    replacements = {old: new for old, new in stand_ins(sdata).items() if new in sdata.labels}
    if CELLS_PREFIX + sample in sdata.labels:
        return _newest(sdata, sample, CELLS_PREFIX + sample, replacements)
    if CELLS_PREFIX + sample in sdata.shapes or CELLS_PREFIX + sample in sdata.points:
        return CELLS_PREFIX + sample
    if annotated := _annotated_for(sdata, sample, image_name, chosen, table_name):
        return annotated
    # where samples have tissue or regions, and no cells
    others = {TISSUE_PREFIX + name for name in (sample, *(one.removeprefix(IMAGE_PREFIX) for one in sdata.images))}
    others |= {*sdata.attrs.get(ATTRS, {}).get(MAPS, {}), *_tokens(sdata)}
    systems = set(get_transformation(sdata.images[image_name], get_all=True))
    images = [
        name for name in sample_images(sdata) if systems & set(get_transformation(sdata.images[name], get_all=True))
    ]
    labels = [
        name
        for name in sdata.labels
        if name not in {*replacements, *others} and systems & set(get_transformation(sdata.labels[name], get_all=True))
    ]
    if not labels:
        return None
    if len(images) > 1 and (own := _alone_with(sdata, image_name, images, labels)) is not None:
        images, labels = [image_name], [own]
    if len(labels) == 1 and len(images) == 1:
        for source in [old for old, new in replacements.items() if new == labels[0]]:
            _newest(sdata, sample, source, replacements)
        return labels[0]
    alone = f', or image="{image_name}" to take it alone' if len(images) > 1 and takes("image") else ""
    raise ElementError(
        f"Image {image_name!r} shares its coordinate system with labels {listed(labels)} and images {listed(images)}: "
        f'which belong together? Pass labels={{"{sample}": "<element>"}}{alone}.'
    )


def _tokens(sdata: SpatialData) -> set[str]:
    """Labels elements of tokens, by the tables that annotate them."""
    of_tokens = (
        table_regions(table)
        for table in sdata.tables.values()
        if (table.uns.get(TableModel.ATTRS_KEY) or {}).get(TableModel.INSTANCE_KEY) == TOKEN_KEY
    )
    return {name for regions in of_tokens for name in regions}


def _alone_with(sdata: SpatialData, image_name: str, images: Sequence[str], labels: Sequence[str]) -> str | None:
    """The labels that have a coordinate system with this image alone, if each image has others such, as fields have.

    Fields of view are each in a system of their own, and all in one of the slide.
    """
    of_images: dict[str, set[str]] = {name: set() for name in images}
    systems = set().union(*(_systems(sdata.images[name]) for name in images))
    for system in systems:
        there = [name for name in images if system in _systems(sdata.images[name])]
        with_it = [name for name in labels if system in _systems(sdata.labels[name])]
        if len(there) == 1 and len(with_it) == 1:
            of_images[there[0]].add(with_it[0])
    paired = [name for own in of_images.values() for name in own]
    if len(of_images[image_name]) != 1 or sorted(paired) != sorted(labels):
        return None
    return next(iter(of_images[image_name]))


def _annotated_for(
    sdata: SpatialData, sample: str, image_name: str, chosen: Mapping[str, str], table_name: str
) -> str | None:
    """The element that the table annotates in the coordinate system of an image, or the table itself."""
    if table_name not in sdata.tables:
        return None
    regions = table_regions(sdata.tables[table_name])
    present = [name for name in regions if name in sdata.labels or name in sdata.shapes or name in sdata.points]
    systems = _systems(sdata.images[image_name])
    fitting = [name for name in present if systems & _systems(cells_element(sdata, name))]
    beside = [name for name in chosen.values() if systems & _systems(sdata.images[name])]
    if present and not fitting:
        return None
    if not present:
        table = sdata.tables[table_name]
        nowhere = SPATIAL not in table.obsm or (len(chosen) > 1 and SAMPLE_KEY not in table.obs)
        return None if nowhere or sdata.labels else table_name
    if len(fitting) > 1 or len(beside) > 1:
        if all(name in sdata.labels for name in fitting):
            return None  # the labels of the coordinate system say what they belong to
        named, by = _image_named(sdata.tables[table_name], beside)
        alone = {name: one for one, name in chosen.items()}[named] if named else sample
        raise ElementError(
            f"Table {table_name!r} annotates {listed(fitting)} in the coordinate system of {listed(beside)}: which "
            f'belong together? {by}Pass labels={{"{alone}": "<element>"}}, or samples=["{alone}"] for this image alone.'
        )
    return fitting[0]


def _image_named(table: AnnData, images: Sequence[str]) -> tuple[str | None, str]:
    """The one of several images that a column of a table names in all rows, as sopa writes it; and a sentence."""
    for column in table.obs.columns:
        values = table.obs[column].dropna().unique() if table.obs[column].dtype.kind not in "fiub" else ()
        if len(values) == 1 and str(values[0]) in images:
            return str(values[0]), f"Its column {str(column)!r} names {str(values[0])!r}. "
    return None, ""


def table_regions(table: AnnData) -> list[str]:
    """Elements that a table says it annotates; none where it says nothing."""
    attrs = table.uns.get(TableModel.ATTRS_KEY)
    if not attrs or attrs.get(TableModel.REGION_KEY_KEY) not in table.obs:
        return []
    return [str(name) for name in pd.unique(table.obs[attrs[TableModel.REGION_KEY_KEY]])]


def _systems(element: object) -> set[str]:
    return set(get_transformation(element, get_all=True))


def _no_cells(sdata: SpatialData, sample: str, image_name: str) -> str:
    systems = _systems(sdata.images[image_name])
    near = [name for name in (*sdata.shapes, *sdata.points) if systems & _systems(cells_element(sdata, name))]
    drawn = f"; shapes or points there are {listed(near)}" if near else ""
    return (
        f"No labels element for image {image_name!r} (sample {sample!r}); found {listed(sdata.labels)}{drawn}. "
        f'Name it {CELLS_PREFIX + sample!r} or pass labels={{"{sample}": "<element>"}}.'
    )


def _newest(sdata: SpatialData, sample: str, name: str, replacements: Mapping[str, str]) -> str:
    """The labels that replace `name`, if `name` is still what they were made of."""
    while name in replacements:
        check_stand_in(sdata, sample, name, replacements[name])
        name = replacements[name]
    return name


def _shared_system(sdata: SpatialData, sample: str, image_name: str, labels_name: str | None) -> str:
    systems = list(get_transformation(sdata.images[image_name], get_all=True))
    if labels_name is not None:
        element = cells_element(sdata, labels_name)
        of_labels = systems if element is None else list(get_transformation(element, get_all=True))
        shared = [system for system in systems if system in of_labels]
        if not shared:
            raise CoordinateError(
                f"Image {image_name!r} (in {listed(systems)}) and labels {labels_name!r} (in {listed(of_labels)}) "
                "share no coordinate system. Connect them with spatialdata.transformations.set_transformation(...)."
            )
        systems = shared
    # one named after the sample is in µm by our convention and takes precedence
    return sample if sample in systems else systems[0]
