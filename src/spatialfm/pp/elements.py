"""Which image belongs to which labels, and how their pixels lie on each other.

Pixel ``i`` covers ``[i, i + 1)`` of an element's own coordinates and its centre is ``i + 0.5``, as in SpatialData.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from spatialdata.transformations import Identity, get_transformation

from .._errors import CoordinateError, ElementError, counted, listed
from .._keys import ATTRS, CELLS_PREFIX, IMAGE_PREFIX, MENDED_LABELS, TABLE

if TYPE_CHECKING:
    import xarray as xr
    from spatialdata import SpatialData


@dataclass(frozen=True)
class SampleElements:
    """The elements of one sample, and the coordinate system that they share."""

    sample: str
    image: str
    labels: str | None
    coordinate_system: str


@dataclass(frozen=True)
class AxisAffine:
    """``target = scale * source + offset`` on each axis: all that lies between two pixel grids of one slide."""

    scale_y: float = 1.0
    scale_x: float = 1.0
    offset_y: float = 0.0
    offset_x: float = 0.0

    def __call__(self, y, x):
        """Map source coordinates to target coordinates."""
        return self.scale_y * y + self.offset_y, self.scale_x * x + self.offset_x

    def inverse(self) -> AxisAffine:
        """The map from target to source."""
        return AxisAffine(
            1 / self.scale_y, 1 / self.scale_x, -self.offset_y / self.scale_y, -self.offset_x / self.scale_x
        )

    def then(self, other: AxisAffine) -> AxisAffine:
        """First this map, then `other`."""
        offset_y, offset_x = other(self.offset_y, self.offset_x)
        return AxisAffine(other.scale_y * self.scale_y, other.scale_x * self.scale_x, offset_y, offset_x)

    @property
    def is_identity(self) -> bool:
        """Whether the two grids coincide (to a thousandth of a pixel over 10,000 pixels)."""
        return bool(
            np.allclose([self.scale_y, self.scale_x], 1, rtol=0, atol=1e-7)
            and np.allclose([self.offset_y, self.offset_x], 0, atol=1e-3)
        )


def full_resolution(element) -> xr.DataArray:
    """The largest level of a raster element, lazily."""
    from xarray import DataArray

    if isinstance(element, DataArray):
        return element
    scale = element["scale0"]  # a multiscale element is a DataTree with one image a level
    return next(iter(scale.ds.values())).rename(None)


def image_array(sdata: SpatialData, name: str) -> xr.DataArray:
    """Full-resolution image ``(c, y, x)``, lazily."""
    if name not in sdata.images:
        raise ElementError(
            f"No image element {name!r} in sdata{_elsewhere(sdata, name)}; found {listed(sdata.images)}. "
            "Pass image=<name>."
        )
    return _flat(_uncut(full_resolution(sdata.images[name]), name), name, "image").transpose("c", "y", "x")


def labels_array(sdata: SpatialData, name: str) -> xr.DataArray:
    """Full-resolution label image ``(y, x)``, lazily."""
    if name not in sdata.labels:
        raise ElementError(
            f"No labels element {name!r} in sdata{_elsewhere(sdata, name)}; found {listed(sdata.labels)}. "
            "Pass labels=<name>."
        )
    return _flat(_uncut(full_resolution(sdata.labels[name]), name), name, "labels").transpose("y", "x")


def table_call(sdata: SpatialData, *options: str) -> str:
    """A call of `spatialfm.pp.cell_table` that writes a table without replacing one."""
    name, number = TABLE, 2
    while name in sdata.tables:
        name, number = f"{TABLE}_{number}", number + 1
    options = options if name == TABLE else (*options, f"table_name={name!r}")
    return f"sfm.pp.cell_table({', '.join(['sdata', *options])})"


def scale_advice(pairs: Sequence[SampleElements]) -> str:
    """How the pixel size of image and labels is set, as code for the first pair."""
    calls = [
        f"spatialdata.transformations.set_transformation(sdata[{name!r}], "
        f"spatialdata.transformations.Scale([mpp, mpp], axes=('x', 'y')), {pairs[0].coordinate_system!r})"
        for name in (pairs[0].image, pairs[0].labels)
        if name is not None
    ]
    return f"Set the µm per pixel of image and labels, each with its own mpp: {'; '.join(calls)}."


def nan_code(sdata: SpatialData, name: str) -> str:
    """Code that replaces pixels of an image that are NaN or infinite by 0, in all levels, under the same name."""
    image = f"sdata.images[{name!r}]"
    if hasattr(sdata.images[name], "children"):
        return f"{image} = {image}.map_over_datasets(lambda level: level.where(numpy.isfinite(level), 0))"
    return f"{image} = {image}.where(numpy.isfinite({image}), 0)"


def holds_cells(sdata: SpatialData, name: str) -> bool:
    """Whether any pixel of a labels element is not background; fields of view without tissue hold none."""
    return bool((labels_array(sdata, name).data != 0).any().compute())


def _uncut(array: xr.DataArray, name: str) -> xr.DataArray:
    """A raster whose pixels are those that its transformation speaks of.

    xarray's own indexing keeps the transformation of the whole, to which only the coordinates still bear witness.
    """
    for axis in ("y", "x"):
        centres = array.coords[axis].values if axis in array.coords else np.empty(0)
        if centres.size and centres.dtype.kind in "iuf":
            steps = centres - centres[0]
            if centres[0] not in (0, 0.5) or not np.allclose(steps, np.arange(centres.size), rtol=0, atol=1e-3):
                last = f" in steps of {centres[1] - centres[0]:g}" if centres.size > 1 else ""
                raise CoordinateError(
                    f"Element {name!r} was cut or turned by indexing: its {axis} runs from {centres[0]:g}{last}, but "
                    "its transformation is that of the whole, so that its cells would lie elsewhere. Cut with "
                    "spatialdata.bounding_box_query(element, axes=('y', 'x'), min_coordinate=[...], "
                    "max_coordinate=[...], target_coordinate_system=...), which moves the transformation along. If "
                    "the transformation is right for the pixels as they are, drop the coordinates: "
                    f"sdata[{name!r}] = sdata[{name!r}].drop_vars(['y', 'x'])."
                )
    return array


def _flat(array: xr.DataArray, name: str, kind: str) -> xr.DataArray:
    """A raster without its Z axis, where that is one plane."""
    if "z" not in array.dims:
        return array
    n = array.sizes["z"]
    if n == 1:
        return array.isel(z=0, drop=True)
    options = ["isel(z=<plane>)"] + (["max('z')", "mean('z')"] if kind == "image" else [])  # labels do not add up
    model, dims, more = "Labels2DModel", "('y', 'x')", ""
    if kind == "image":
        model, dims, more = (
            "Image2DModel",
            "('c', 'y', 'x')",
            f"c_coords={[str(c) for c in array.coords['c'].values]}, ",
        )
    raise ElementError(
        f"{kind.capitalize()} element {name!r} is a volume of {n} Z planes, but cells are measured in 2-D. Make a 2-D "
        f"element of it, with {' or '.join('.' + option for option in options)}, whichever is right for it: "
        f"sdata['{name}_2d'] = spatialdata.models.{model}.parse(spatialfm.pp.elements.full_resolution(sdata[{name!r}])"
        f".{options[0]}.data, dims={dims}, {more}transformations=spatialdata.transformations.get_transformation("
        f"sdata[{name!r}], get_all=True)). Then pass {kind}='{name}_2d'."
    )


def _elsewhere(sdata: SpatialData, name: str) -> str:
    """What an element of this name is, if it is of another kind."""
    kinds = {"image": sdata.images, "labels": sdata.labels, "shapes": sdata.shapes, "points": sdata.points}
    kind = next((kind for kind, elements in kinds.items() if name in elements), None)
    if kind == "shapes":
        return " (it is a shapes element: spatialdata.rasterize with return_regions_as_labels=True makes labels of it)"
    return f" (it is {'an' if kind == 'image' else 'a'} {kind} element)" if kind else ""


def channel_names(sdata: SpatialData, name: str) -> list[str]:
    """Channel names of an image element, as strings."""
    return [str(channel) for channel in image_array(sdata, name).coords["c"].values]


def match_elements(
    sdata: SpatialData,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    *,
    samples: str | Sequence[str] | None = None,
    need_labels: bool = True,
) -> list[SampleElements]:
    """Pair every image with its labels.

    The pairs are, in this order: what `image` and `labels` say (one name, lists of equal length, or mappings from
    sample to element); elements named ``image_<sample>`` and ``cells_<sample>``; the only image and the only labels
    of a coordinate system. Nothing is guessed beyond that. Labels that `spatialfm.pp.mend_labels` wrote stand for
    those that they were made of, unless `labels` names these.

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

    Raises
    ------
    ElementError
        If an element is missing, an image fits several labels, a sample is named twice, or labels were replaced after
        those that stand for them were made.
    CoordinateError
        If image and labels share no coordinate system.
    """
    images = _as_mapping(image, sdata.images, IMAGE_PREFIX, "image")
    if not images:
        raise ElementError("sdata holds no image element. Read one with sfm.io.read_tiff(path).")
    given = None if labels is None else _labels_mapping(labels, images, sdata)
    if samples is not None:  # first of all: what was not asked for need not be in order
        images = _chosen(images, [samples] if isinstance(samples, str) else list(samples))
    pairs = []
    for sample, image_name in images.items():
        image_array(sdata, image_name)
        if given is not None:
            labels_name = given.get(sample)
        else:
            labels_name = _labels_of(sdata, sample, image_name)
        if labels_name is not None:
            labels_array(sdata, labels_name)
        elif need_labels:
            raise ElementError(
                f"No labels element for image {image_name!r} (sample {sample!r}); found {listed(sdata.labels)}. "
                f'Name it {CELLS_PREFIX + sample!r} or pass labels={{"{sample}": "<element>"}}.'
            )
        system = _shared_system(sdata, sample, image_name, labels_name)
        pairs.append(SampleElements(sample, image_name, labels_name, system))
    return pairs


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
            "scale and an offset can be followed. Resample it first, under a name of its own: "
            f"sdata[{name + '_straight'!r}] = spatialdata.transform(sdata[{name!r}], "
            f"to_coordinate_system={coordinate_system!r})."
        )
    return AxisAffine(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])


def image_to_system(sdata: SpatialData, pair: SampleElements) -> AxisAffine:
    """Map from pixels of the image to the shared coordinate system (µm where the readers made it)."""
    return axis_affine(sdata.images[pair.image], pair.image, pair.coordinate_system)


def labels_to_image(sdata: SpatialData, pair: SampleElements) -> AxisAffine:
    """Map from pixels of the labels to pixels of the image."""
    to_system = axis_affine(sdata.labels[pair.labels], pair.labels, pair.coordinate_system)
    return to_system.then(image_to_system(sdata, pair).inverse())


def pixel_size(sdata: SpatialData, pair: SampleElements) -> float | None:
    """µm per pixel of the image, or None where nobody said it (a bare identity transformation).

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
    if repeated := [sample for sample in samples if samples.count(sample) > 1]:
        raise ElementError(f"Sample {repeated[0]!r} comes twice in samples={samples}. Name it once.")
    return {sample: images[sample] for sample in samples}


def _labels_mapping(labels, images: dict[str, str], sdata) -> dict[str, str]:
    if isinstance(labels, Mapping):
        if unknown := [sample for sample in labels if sample not in images]:
            raise ElementError(f"labels= names sample {unknown[0]!r}, but the samples are {listed(images)}.")
        return {str(sample): str(name) for sample, name in labels.items()}
    names = [labels] if isinstance(labels, str) else list(labels)
    for name in names:
        labels_array(sdata, name)
    if len(names) != len(images):
        raise ElementError(
            f"{counted(len(names), 'labels element')} for {counted(len(images), 'image')} ({listed(images.values())}). "
            "Pass as many of each, in the same order, or a mapping {sample: element}."
        )
    return dict(zip(images, names, strict=True))


def _labels_of(sdata: SpatialData, sample: str, image_name: str) -> str | None:
    mended = {old: new for old, new in sdata.attrs.get(ATTRS, {}).get(MENDED_LABELS, {}).items() if new in sdata.labels}
    if CELLS_PREFIX + sample in sdata.labels:
        return _newest(sdata, sample, CELLS_PREFIX + sample, mended)
    systems = set(get_transformation(sdata.images[image_name], get_all=True))
    images = [name for name in sdata.images if systems & set(get_transformation(sdata.images[name], get_all=True))]
    labels = [
        name
        for name in sdata.labels
        if name not in mended and systems & set(get_transformation(sdata.labels[name], get_all=True))
    ]
    if not labels:
        return None
    if len(labels) == 1 and len(images) == 1:
        for source in [old for old, new in mended.items() if new == labels[0]]:
            _newest(sdata, sample, source, mended)
        return labels[0]
    raise ElementError(
        f"Image {image_name!r} shares its coordinate system with labels {listed(labels)} and images "
        f"{listed(images)}: "
        f'which belong together? Pass labels={{"{sample}": "<element>"}}.'
    )


def _newest(sdata: SpatialData, sample: str, name: str, mended: Mapping[str, str]) -> str:
    """The labels that stand for `name`, if these are still what they were made of."""
    from .stand_ins import check_stand_in

    while name in mended:
        check_stand_in(sdata, sample, name, mended[name])
        name = mended[name]
    return name


def _shared_system(sdata: SpatialData, sample: str, image_name: str, labels_name: str | None) -> str:
    systems = list(get_transformation(sdata.images[image_name], get_all=True))
    if labels_name is not None:
        of_labels = list(get_transformation(sdata.labels[labels_name], get_all=True))
        shared = [system for system in systems if system in of_labels]
        if not shared:
            raise CoordinateError(
                f"Image {image_name!r} (in {listed(systems)}) and labels {labels_name!r} (in {listed(of_labels)}) "
                "share "
                "no coordinate system. Connect them with spatialdata.transformations.set_transformation(...)."
            )
        systems = shared
    # one named after the sample is in µm by our convention and goes before any other
    return sample if sample in systems else systems[0]
