"""Tiles of an image segmented one by one, kept on disk until all are there, and stitched to one label image."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from .. import _disk
from .._cache import Arrays, keep_arrays, kept_arrays
from .._errors import ElementError, RunError, SpatialfmError, counted, warn
from .._identity import fingerprint
from .._settings import settings
from .measure import loaded, plan_blocks
from .segmenters import PERCENTILES, Levels, SegmentRequest, mean_of, scaled
from .stitch import Box, StitchGrid, numbered, stitch
from .watershed import smoothed

FOLDER = "segmentation"  # below settings.cache_dir
CHUNK = 1024  # pixels to a side of the labels on disk
MUCH_MORE = 2.0  # times as much above the lower threshold: 1.4 to 1.6 where nuclei are alike
_SAMPLED = 2**21  # pixels of a channel that levels are taken of


@dataclass(frozen=True)
class SegmentJob:
    """One image to segment.

    Attributes
    ----------
    sample, image
        Names.
    pixels
        ``(c, y, x)``, lazy: the channels that the method takes.
    channels
        Their names.
    nuclear, membrane
        Which of them are which; empty where a function takes all.
    mpp
        µm per pixel.
    grid
        Tiles.
    min_area
        Pixels.
    nan_code
        Code that sets pixels that are NaN to 0, for a message.
    """

    sample: str
    image: str
    pixels: object
    channels: list[str]
    nuclear: list[str]
    membrane: list[str]
    mpp: float
    grid: StitchGrid
    min_area: float
    nan_code: str


@dataclass
class Kept:
    """Where tiles are kept during a call; a function's are not taken up again, as nobody knows whether it changed."""

    identity: dict[str, object] | None
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        name = f"run-{uuid.uuid4().hex}" if self.identity is None else fingerprint(self.identity)[:32]
        self.folder = settings.cache_dir / FOLDER / name

    def tile(self, what: str) -> Path:
        """File of a tile."""
        return self.folder / f"{what[:32]}.npz"

    def forget(self, names: Sequence[str]) -> None:
        """Remove tiles: what they were kept for is written, or was given up. Those of other runs stay."""
        for what in names:
            self.tile(what).unlink(missing_ok=True)
        with suppress(OSError):  # others keep tiles there
            self.folder.rmdir()


def _say_few_bright(job: SegmentJob, stain: np.ndarray, threshold: float) -> None:
    """Warn where few very bright pixels, of debris or of a fold, draw Otsu's threshold above most nuclei."""
    from skimage.filters import threshold_otsu

    lower = float(threshold_otsu(np.sqrt(np.maximum(stain, 0)))) ** 2  # square roots: bright pixels weigh less
    share, wider = float((stain > threshold).mean()), float((stain > lower).mean())
    if wider >= MUCH_MORE * share:
        warn(
            f"Nuclei of image {job.image!r} may be missed: {100 * share:.1f} % of the smoothed nuclear stain are above "
            f"Otsu's threshold, {threshold:.3g}, which few bright ones draw up; by square roots it is {lower:.2g}, "
            f"with {100 * wider:.0f} % above. Look at the cells, and pass samples= with "
            f"options={{'threshold': {lower:.2g}}} if nuclei are missing."
        )


def find_levels(job: SegmentJob, request: SegmentRequest) -> Levels:
    """Levels of an image, over evenly spread pixels; and the thresholds of watershed, on smoothed ones.

    Raises
    ------
    ElementError
        If pixels are NaN or infinite.
    """
    from skimage.filters import threshold_otsu

    if not isinstance(request.method, str):
        return Levels()
    height, width = job.grid.shape
    every = max(1, int(np.ceil(np.sqrt(height * width / _SAMPLED))))
    parts, invalid = [], 0
    for y0, y1, x0, x1 in plan_blocks(job.pixels):
        block = loaded(job.pixels[:, y0:y1, x0:x1])
        if block.dtype.kind == "f":
            invalid += int(np.count_nonzero(~np.isfinite(block)))
        # the same pixels however the image is cut
        parts.append(block[:, -y0 % every :: every, -x0 % every :: every].reshape(len(block), -1))
    if invalid:
        raise ElementError(
            f"Image {job.image!r} has {counted(invalid, 'value')} that are NaN or infinite in the channels to segment "
            f"({', '.join(job.channels)}). Correct them in the file, or set what they count as, such as 0: "
            f"{job.nan_code}."
        )
    low, high = np.percentile(np.concatenate(parts, axis=1).astype(np.float64), PERCENTILES[request.method], axis=1)
    levels = Levels(low, high)
    if request.method != "watershed":
        return levels
    stains = [_smoothed_sample(job, levels, names, request.diameter / job.mpp) for names in (job.nuclear, job.membrane)]
    above = [0.0 if stain is None or np.ptp(stain) < 1e-6 else float(threshold_otsu(stain)) for stain in stains]
    given = request.options.get("threshold")
    threshold = above[0] if given is None else float(given)
    if given is None and threshold <= 0:
        threshold = np.inf  # one value everywhere: no nucleus
    elif given is None:
        _say_few_bright(job, stains[0], threshold)
    return Levels(low, high, threshold, above[1] or 1.0)


def _smoothed_sample(job: SegmentJob, levels: Levels, names: list[str], diameter: float) -> np.ndarray | None:
    """Evenly spread pixels of the smoothed mean of channels."""
    if not names:
        return None
    every = max(1, int(np.ceil(np.sqrt(np.prod(job.grid.shape) / _SAMPLED))))
    around = int(np.ceil(diameter))
    parts = []
    for y0, y1, x0, x1 in plan_blocks(job.pixels):
        top, left = min(y0, around), min(x0, around)
        tile = tile_of(job, (y0 - top, y1 + around, x0 - left, x1 + around))
        stain = smoothed(mean_of(tile, scaled(tile, levels), names), diameter)[
            top : top + y1 - y0, left : left + x1 - x0
        ]
        parts.append(stain[-y0 % every :: every, -x0 % every :: every].ravel())
    return np.concatenate(parts)


def tile_of(job: SegmentJob, box: Box) -> xr.DataArray:
    """Pixels of a box, with the names of the channels, and their rows and columns in the image."""
    (y0, y1, x0, x1), (height, width) = box, job.grid.shape
    places = {"y": np.arange(y0, min(y1, height)), "x": np.arange(x0, min(x1, width))}
    return xr.DataArray(
        loaded(job.pixels[:, y0:y1, x0:x1]), dims=("c", "y", "x"), coords={"c": job.channels, **places}, name=job.image
    )


def segment_tiles(
    job: SegmentJob, levels: Levels, segment: Callable, kept: Kept, step: Callable[[], object], names: list[str]
) -> None:
    """Segment the tiles that are not kept yet, and add to `names` what identifies each.

    A tile is known by its pixels: of an image that changed since a run was stopped, nothing is taken.

    Parameters
    ----------
    step, names
        As `keep_tiles` takes them.
    """

    def made_of(core: Box) -> tuple[str, Callable[[], Arrays]]:
        tile = tile_of(job, job.grid.outer(core))
        return _identity_of(tile, job, levels), lambda: {"labels": _checked(job, core, tile, segment, levels)}

    keep_tiles(job.grid.cores(), made_of, kept, step, names)


def keep_tiles(
    cores: Sequence[Box],
    made_of: Callable[[Box], tuple[str, Callable[[], Arrays]]],
    kept: Kept,
    step: Callable[[], object],
    names: list[str],
) -> None:
    """Make and keep the tiles that are not kept yet, and add to `names` what identifies each.

    Parameters
    ----------
    cores
        Of the tiles.
    made_of
        Gives, of a core, what identifies its tile, and a function that makes its arrays, with ``"labels"`` among them.
    step
        Called after each tile.
    names
        Of the tiles, extended in place: what was kept is known if a later tile fails.
    """
    for core in cores:
        what, make = made_of(core)
        path = kept.tile(what)
        if kept_arrays(path, what) is None:
            keep_arrays(path, what, make())
            if not path.is_file():
                raise RunError(
                    f"Tiles cannot be kept in {kept.folder}: make room there, or set sfm.settings.cache_dir to another "
                    "folder."
                )
        names.append(what)
        step()


def _identity_of(tile: xr.DataArray, job: SegmentJob, levels: Levels) -> str:
    digest = hashlib.sha256(f"{tile.dtype.str} {tile.shape} {job.channels} {job.nuclear} {job.membrane}".encode())
    digest.update(f"{job.mpp!r} {levels.low.tolist()} {levels.high.tolist()}".encode())
    digest.update(f"{levels.threshold!r} {levels.membrane!r}".encode())
    if job.grid.period != 1:  # where a tile lies between the pixels of a network
        digest.update(f"{job.grid.period!r} {int(tile.y[0])} {int(tile.x[0])}".encode())
    digest.update(np.ascontiguousarray(tile.values).tobytes())
    return digest.hexdigest()


def _checked(job: SegmentJob, core: Box, tile: xr.DataArray, segment: Callable, levels: Levels) -> np.ndarray:
    """Labels 1 to n of a tile, or an error that says which tile, and that what was finished is kept."""
    where = f"the tile of {job.image!r} at rows {core[0]} to {core[1]}, columns {core[2]} to {core[3]}"
    try:
        labels = segment(tile, job.nuclear, job.membrane, job.mpp, levels)
    except (SpatialfmError, MemoryError):
        raise
    except Exception as error:  # of a library, or of the user's own function
        raise RunError(f"The segmentation of {where} failed ({type(error).__name__}: {error}).") from error
    labels = np.asarray(labels)
    if labels.shape != tile.shape[-2:] or labels.dtype.kind not in "iub":
        raise ElementError(
            f"The segmentation of {where} returned {labels.dtype} {labels.shape}. It must return whole numbers "
            f"{tile.shape[-2:]}: 0 for the background, and one number for each cell."
        )
    if labels.size and labels.min() < 0:
        raise ElementError(f"The segmentation of {where} returned negative numbers. Background is 0, cells are above.")
    return numbered(labels)


def read_tile(job: SegmentJob, kept: Kept, what: str) -> Arrays:
    """Arrays of a tile that was kept."""
    arrays = kept_arrays(kept.tile(what), what)
    if arrays is None:
        raise RunError(f"A tile of {job.image!r} is gone from {kept.folder}. Run sfm.pp.segment_cells again.")
    return arrays


def stitched(job: SegmentJob, kept: Kept, names: Sequence[str], in_memory: bool) -> tuple[object, int]:
    """Label image ``(y, x)`` uint32, an array or lazy, and the number of cells.

    On disk it is called after what it was made of, and put in place whole: it never changes afterwards.
    """

    def read(index: int) -> np.ndarray:
        return read_tile(job, kept, names[index])["labels"]

    if in_memory:
        out = np.zeros(job.grid.shape, np.uint32)
        return out, stitch(job.grid, read, out, job.min_area)
    import dask.array as da
    import zarr

    # a tile is known by its pixels, so that who segmented it has to be added: the folder is called after that
    made_of = fingerprint(
        {"run": kept.folder.name, "tiles": list(names), "grid": repr(job.grid), "min_area": job.min_area}
    )
    path = settings.cache_dir / FOLDER / f"labels-{made_of[:32]}.zarr"
    if not path.is_dir():
        with _disk.written_beside(path, path.is_dir) as partial:
            array = zarr.create_array(
                str(partial), shape=job.grid.shape, chunks=(CHUNK, CHUNK), dtype=np.uint32, fill_value=0
            )
            array.attrs["n_cells"] = stitch(job.grid, read, array, job.min_area)
    return da.from_zarr(str(path)), int(zarr.open_array(str(path), mode="r").attrs["n_cells"])
