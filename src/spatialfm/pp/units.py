"""Whether the samples of a cohort are in one unit: sizes of pixels, and how bright their values are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._coordinates import coordinates
from .._errors import PanelError, PixelSizeError, TableError, counted, listed, warn
from .._keys import SAMPLE_KEY, TABLE, UNS
from .._logging import logger
from .._types import is_short
from .elements import pixel_size, scale_advice

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .assemble import CellPlan, MeasuredCells
    from .elements import SampleElements

APART = 10.0  # times brighter in the median marker: no staining, but another unit
PIXEL_SIZES = (0.01, 50.0)  # µm per pixel that a microscope may have
NEAREST = (2.0, 100.0)  # µm between centres of neighbouring cells: a lymphocyte has 6, the emptiest stroma some tens
_FEWEST = 20  # cells; fewer say nothing of it


def length_unit(sdata: SpatialData, pair: SampleElements) -> str:
    """Unit of the pair's coordinates as figures name it: "µm"; "px", or "units" where no microscope has such pixels."""
    size = pixel_size(sdata, pair)
    if size is None:
        return "px"
    return "µm" if of_microscope(size) else "units"


def record_of_units(sdata: SpatialData, pairs: Sequence[SampleElements]) -> dict[str, str]:
    """What the table of a grid over images says of its coordinates, for `coordinate_unit`.

    They are those of the coordinate system, whatever size of pixels an embedding was told (``mpp=``).
    """
    known = {"px": "pixel", "µm": "µm"}
    units = {pair.sample: {"unit": known.get(length_unit(sdata, pair), "")} for pair in pairs}
    return {"samples": json.dumps(units, ensure_ascii=False)}


def of_microscope(size: float) -> bool:
    """Whether pixels may be of this size in µm.

    Examples
    --------
    >>> of_microscope(0.5), of_microscope(0.0005), of_microscope(500.0)
    (True, False, False)
    """
    return PIXEL_SIZES[0] <= size <= PIXEL_SIZES[1]


def apart(levels: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Which samples are darker than the others by an order of magnitude in the median marker.

    Parameters
    ----------
    levels
        ``(samples, markers)``, how bright each is; NaN where it is not measured.

    Returns
    -------
    None, or which samples are the darker ones ``(samples,)``, and how many times they are.

    Examples
    --------
    >>> import numpy as np
    >>> apart(np.array([[10.0, 20, 30], [2000, 5000, 7000], [12, 18, 40]]))
    (array([ True, False,  True]), 190.0)
    """
    logs = pd.DataFrame(np.log10(np.where(levels > 0, levels, np.nan)))  # pandas leaves NaN out, without a word
    logs = logs.loc[:, logs.notna().sum() > 1]
    relative = (logs - logs.median()).median(axis=1).to_numpy()
    known = np.sort(relative[np.isfinite(relative)])
    steps = np.diff(known)
    if not steps.size or steps.max() < np.log10(APART) - 1e-9:
        return None
    edge = known[steps.argmax()]
    low, high = np.nan_to_num(relative, nan=np.inf) <= edge, np.nan_to_num(relative, nan=-np.inf) > edge
    factor = 10 ** (np.median(relative[high]) - np.median(relative[low]))
    return low, float(f"{factor:.2g}")


def say_apart(samples: Sequence[str], levels: np.ndarray, remedy: str, of: str = "Pixels") -> None:
    """Warn of samples that seem to be in another unit than the others."""
    split = apart(levels)
    if split is None:
        return
    low, factor = split
    darker, others = ([name for name, is_low in zip(samples, low, strict=True) if is_low == side] for side in (1, 0))
    warn(
        f"{of} of {listed(darker, 5)} are some {factor:g} times darker than those of {listed(others, 5)} in the "
        "median marker, as if they were in another unit (8-bit exports next to raw images, 12-bit next to 16-bit, "
        f"0 to 1 next to counts). Numbers of the two cannot be compared. {remedy}"
    )


def kinds_of_pixels(dtypes: Mapping[str, np.dtype]) -> dict[str, list[str]]:
    """Samples by the type of their pixels; single and double precision, and integers without a range, go together."""
    kinds: dict[str, list[str]] = {}
    for sample, dtype in dtypes.items():
        if dtype.kind == "f":
            kind = "float"
        else:
            dtype = dtype.newbyteorder("=")  # files of some cameras and programs begin with the high byte
            kind = str(dtype) if dtype in (np.uint8, np.uint16, bool) else "integers of 32 or 64 bits or with sign"
        kinds.setdefault(kind, []).append(sample)
    return kinds


def intensity_ranges(
    dtypes: Mapping[str, np.dtype],
    intensity_max: float | Mapping[str, float] | None,
    otherwise: str = "embed them apart with samples=",
) -> dict[str, float]:
    """Pixel value that becomes 1 in each sample: what the user gives, otherwise by the type of its pixels.

    Parameters
    ----------
    dtypes
        Pixel type of each sample.
    intensity_max
        One value for all samples, or ``{sample: value}``.
    otherwise
        What to do if there is no such value, for the message.

    Raises
    ------
    PanelError
        If a value is not a positive number, a sample does not exist, or the types of samples without a value
        differ, so that the same value would mean different brightness.
    """
    largest = intensity_max if isinstance(intensity_max, Mapping) else {}
    if unknown := [name for name in largest if name not in dtypes]:
        raise PanelError(f"intensity_max= names sample {unknown[0]!r}; the samples are {listed(dtypes)}.")
    if not isinstance(intensity_max, Mapping) and intensity_max is not None:
        largest = dict.fromkeys(dtypes, intensity_max)
    for value in largest.values():
        if not (np.isfinite(value) and value > 0):
            raise PanelError(f"intensity_max={value} must be positive.")
    kinds = kinds_of_pixels(dtypes)
    unsaid = {kind: left for kind, names in kinds.items() if (left := [name for name in names if name not in largest])}
    if len(kinds) > 1 and unsaid:
        types = "; ".join(f"{listed(names, 5, quoted=False)}: {kind}" for kind, names in kinds.items())
        raise PanelError(
            f"Images of different pixel types ({types}): the same value may mean different brightness in them, and "
            "their relation is unknown. Pass intensity_max={sample: value} with the value of the brightest possible "
            f"pixel of each sample (the same for all if they hold the same counts), or {otherwise}."
        )
    return {
        sample: float(largest[sample]) if sample in largest else default_range(dtype)
        for sample, dtype in dtypes.items()
    }


def default_range(dtype: np.dtype) -> float:
    """The range of 8- and 16-bit pixels, 1 for all others.

    Examples
    --------
    >>> default_range(np.dtype("<u2")), default_range(np.dtype(">u2")), default_range(np.dtype("f4"))
    (65535.0, 65535.0, 1.0)
    """
    return float(np.iinfo(dtype).max) if is_short(np.dtype(dtype)) else 1.0


def unit_factors(dtypes: Mapping[str, np.dtype], intensity_max: float | Mapping[str, float] | None) -> dict[str, float]:
    """What brings the intensities of each sample to the unit of that with the largest range; refusals as above.

    One value for all samples, or none where they are of one type, leaves them as they are.

    Examples
    --------
    >>> import numpy as np
    >>> unit_factors({"a": np.dtype("uint8"), "b": np.dtype("uint16")}, {"a": 255, "b": 65535})
    {'a': 257.0, 'b': 1.0}
    """
    ranges = intensity_ranges(dtypes, intensity_max, "make a table of each with samples=")
    if not isinstance(intensity_max, Mapping):
        return dict.fromkeys(ranges, 1.0)
    return {sample: max(ranges.values()) / value for sample, value in ranges.items()}


def check_lengths(plans: Sequence[CellPlan]) -> None:
    """Refuse a mixture of samples in µm and samples in pixels, and implausible pixel sizes.

    Raises
    ------
    PixelSizeError
        Names the samples and how a size is set.
    """
    units: Mapping[str, list[str]] = {}
    for plan in plans:
        units.setdefault(plan.unit, []).append(plan.pair.image)
        size = plan.to_system.scale_x
        if plan.unit == "µm" and not of_microscope(size):
            raise PixelSizeError(
                f"{size:g} µm per pixel of labels {plan.pair.labels!r} cannot be: is coordinate system "
                f"{plan.pair.coordinate_system!r} in another unit than µm? "
                f"{scale_advice([plan.pair], drawn=plan.drawn is not None)}"
            )
    if len(units) > 1:
        unknown = [plan for plan in plans if plan.unit == "pixel"]
        raise PixelSizeError(
            f"No pixel size is known for {listed(units['pixel'], 5)}, while that of {listed(units['µm'], 5)} is: areas "
            "and centroids of one table would be in two units. Make a table of each with samples=, or set the size. "
            f"{scale_advice([plan.pair for plan in unknown], drawn=unknown[0].drawn is not None)}"
        )


def say_intensities(
    plans: Sequence[CellPlan],
    measured: Sequence[MeasuredCells],
    markers: Sequence[str],
) -> None:
    """Warn, once each, of other units, channels without signal, negative means, and markers that a sample lacks."""
    levels = np.full((len(plans), len(markers)), np.nan)
    flat, negative = [], []
    for row, (plan, part) in enumerate(zip(plans, measured, strict=True)):
        if not len(part.mean):
            continue
        levels[row, [markers.index(name) for name in plan.channels]] = part.mean.mean(axis=0)
        low, high = part.mean.min(axis=0), part.mean.max(axis=0)
        constant = (low == high) & ((len(part.mean) > 1) | (high == 0))
        flat += [f"{plan.pair.image}: {plan.channels[i]} ({low[i]:g})" for i in np.flatnonzero(constant)]
        negative += [f"{plan.pair.image}: {plan.channels[i]} (lowest {low[i]:g})" for i in np.flatnonzero(low < 0)]
    lacking = [
        f"{name} (not in {listed([plan.pair.sample for plan in plans if name not in plan.channels], 3, quoted=False)})"
        for name in markers
        if not all(name in plan.channels for plan in plans)
    ]
    if lacking:
        warn(
            f"Markers that some samples lack are NaN in X there: {listed(lacking, quoted=False)}. What takes no NaN is "
            "given the others: adata[:, ~np.isnan(adata.X).any(axis=0)]."
        )
    if flat:
        warn(f"Channels with one value in every cell carry no information: {listed(flat, quoted=False)}.")
    if negative:
        warn(
            f"Cells with a negative mean intensity: {listed(negative, quoted=False)}. They stay as they are; "
            "logarithms and square roots of X are not defined there. If a value such as -9999 marks pixels "
            "without data, replace it in the image first."
        )
    say_apart(
        [plan.pair.sample for plan in plans],
        levels,
        "Bring them to one unit with intensity_max={sample: value of the brightest possible pixel}, or make a table of "
        "each with samples=.",
    )


def intensity_factors(record: Mapping[str, object]) -> dict[str, float]:
    """What `spatialfm.pp.cell_table(intensity_max=)` multiplied the intensities of each sample by; empty without.

    Parameters
    ----------
    record
        Of a cell table.

    Examples
    --------
    >>> intensity_factors({"intensity_factors": '{"a": 257.0}'})
    {'a': 257.0}
    """
    try:
        factors = json.loads(str(record.get("intensity_factors", "{}")))
    except ValueError:
        return {}
    return factors if isinstance(factors, dict) else {}


def coordinate_unit(uns: Mapping[str, object]) -> str:
    """Unit of the coordinates and areas of a cell table: ``"µm"``, ``"pixel"``, or empty if it is not recorded.

    Raises
    ------
    TableError
        If the record has both samples in µm and samples in pixels.
    """
    units = _recorded_units(uns)
    if isinstance(units, str):
        return units
    if len(set(units.values())) > 1:
        in_pixels = [sample for sample, unit in units.items() if unit == "pixel"]
        raise TableError(
            f"Coordinates of {counted(len(in_pixels), 'sample')} ({listed(in_pixels, 5)}) are in pixels and those of "
            "the others in µm. Leave the ones or the others out, or give their images a pixel size and make another "
            "table next to this one with sfm.pp.cell_table(sdata, table_name=<new name>)."
        )
    return next(iter(units.values()), "")


def unit_of_sample(uns: Mapping[str, object], sample: str) -> str:
    """Unit of the coordinates of one sample: ``"µm"``, ``"pixel"``, or empty if it is not recorded.

    Examples
    --------
    >>> uns = {"spatialfm": {"table": {"samples": '{"a": {"unit": "pixel"}, "b": {"unit": "µm"}}'}}}
    >>> unit_of_sample(uns, "a"), unit_of_sample(uns, "b"), unit_of_sample({}, "a")
    ('pixel', 'µm', '')
    """
    units = _recorded_units(uns)
    return units if isinstance(units, str) else units.get(sample, "")


def told_pixel_size(uns: Mapping[str, object], sample: str, use_rep: str = "") -> float | None:
    """µm per pixel of the image of a sample, as the record of an embedding says.

    Where that of `use_rep` does not say it, the others do if they agree; None otherwise.

    Examples
    --------
    >>> told_pixel_size({"spatialfm": {"X_classical": {"mpp_image": '{"a": 0.5}'}}}, "a", "X_other")
    0.5
    """
    records = uns.get(UNS)
    notes = {
        key: json.loads(str(one["mpp_image"])).get(sample)
        for key, one in (records.items() if isinstance(records, Mapping) else ())
        if isinstance(one, Mapping) and "mpp_image" in one
    }
    sizes = {notes.get(use_rep)} - {None} or set(notes.values()) - {None}
    return float(sizes.pop()) if len(sizes) == 1 else None


def places_in_um(
    table: AnnData, spatial_key: str, library_key: str, *, use_rep: str, mpp: float | None = None
) -> tuple[np.ndarray, list[str]]:
    """Centres ``(n, 2)``, those in pixels brought to µm by `mpp` or by what is told, and samples of unknown size.

    Units are those of images: of ``obs["sample"]`` where it is there, as a row of `library_key` may have several.
    """
    places = coordinates(table, spatial_key)[:, :2].astype(np.float64)
    column = table.obs[SAMPLE_KEY if SAMPLE_KEY in table.obs else library_key]
    codes, names = pd.factorize(column.astype(str))
    unknown = []
    for code, name in enumerate(map(str, names)):
        if unit_of_sample(table.uns, name) == "pixel":
            size = mpp if mpp is not None else told_pixel_size(table.uns, name, use_rep)
            unknown += [name] if size is None else []
            places[codes == code] *= size or 1.0
    return places, unknown


def _recorded_units(uns: Mapping[str, object]) -> str | dict[str, str]:
    """One unit, empty if it is not recorded, or that of each sample."""
    try:
        record: Any = uns[UNS][TABLE]  # type: ignore[index]
        if "samples" not in record:  # a table that came without images has one unit
            return str(record["unit"])
        return {sample: str(entry["unit"]) for sample, entry in json.loads(record["samples"]).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def nearest_distance(coordinates: np.ndarray) -> float | None:
    """Median distance of a cell ``(n, 2)`` of one sample to the nearest other; None where there are too few."""
    from scipy.spatial import cKDTree

    unique = np.unique(coordinates[np.isfinite(coordinates).all(axis=1)], axis=0)
    if len(unique) < _FEWEST:
        return None
    return float(np.median(cKDTree(unique).query(unique[:10_000], k=2)[0][:, 1]))


def say_unit(uns: Mapping[str, object], coordinates: np.ndarray, libraries: np.ndarray, what: str) -> str:
    """Warn where a distance that a user gave is not taken in µm, as far as that can be known; the unit for the record.

    Parameters
    ----------
    coordinates, libraries
        Of the cells: ``(n, 2)``, and the sample of each.
    what
        The distance, such as ``"radius=30"``.
    """
    unit = coordinate_unit(uns)
    if unit == "pixel":
        warn(f"No pixel size is known for these cells: {what} is taken in pixels, not in µm.")
    elif not unit:
        distances = [nearest_distance(coordinates[libraries == one]) for one in np.unique(libraries)[:10]]
        known = [one for one in distances if one is not None]
        if known and not NEAREST[0] <= np.median(known) <= NEAREST[1]:
            warn(
                f"Cells are {np.median(known):.3g} apart (median to the nearest), which cells of a tissue are not in "
                f"µm, and {what} is taken in the same unit, which the table does not say. Bring the coordinates to µm: "
                "adata.obsm['spatial'] = adata.obsm['spatial'] * <µm in one unit>."
            )
        else:
            logger.info("%s is taken in the unit of the coordinates, which the table does not say.", what)
    return unit or "unknown"
