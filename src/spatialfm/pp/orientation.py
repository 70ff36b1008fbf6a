"""Whether a mask lies on its image as it is, or only once it is transposed, mirrored or turned.

On a square image a transposed mask passes every check of shapes, and every intensity is then that of another place. A
mask that fits has a peak: pixels of a cell are more alike than those within the same outline a cell's width further on.
In a wrong orientation there is none, as over so short a distance a tissue changes little. The same cells are looked at
in all orientations, so that only what lies below them differs. Where none fits, the masks of other samples are tried:
fields of one study mostly have one size, so that an exchanged file passes every check of shapes, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import counted, listed, warn
from .arrays import AxisAffine, channel_names, drawn_kind, image_array
from .channels import nuclear_channel
from .drawn_cells import cells_data
from .elements import SampleElements, labels_to_image
from .measure import LabelGrid, compact, loaded, plan_blocks

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .pieces import LabelScan

WIDE = 5.0  # sides of a cell that a window has
SIDE = 10.0  # pixels on a side of a cell, above which some are left out
IN_PASSING, IN_FULL = 25, 64  # windows at most
FEWEST = 9  # windows, below which nothing is said
CHANNELS = 6
FITS = 4.0  # standard errors above 0, from which a mask fits as it is
CLEAR = 6.0  # and from which another orientation does
NONE = 2.5  # up to which a mask does not fit as it is
BETTER = 2.0  # times the peak of any other orientation
TRIED = 40  # masks of other samples that are laid on an image whose own does not fit
AS_IT_IS = "as it is"

# What is done to an array (y, x): whether it is transposed first, then whether rows and columns are reversed
CHANGES: dict[str, tuple[bool, bool, bool]] = {
    AS_IT_IS: (False, False, False),
    "transposed": (True, False, False),
    "turned upside down": (False, True, False),
    "mirrored from left to right": (False, False, True),
    "turned by 180 degrees": (False, True, True),
    "turned by 90 degrees to the left": (True, True, False),
    "turned by 90 degrees to the right": (True, False, True),
    "mirrored about the diagonal from below left": (True, True, True),
}


def changed(labels, name: str):
    """Labels ``(y, x)`` once this was done to them.

    Examples
    --------
    >>> changed(np.array([[1, 2], [3, 4]]), "turned by 90 degrees to the left")
    array([[2, 4],
           [1, 3]])
    """
    swapped, rows, columns = CHANGES[name]
    return (labels.T if swapped else labels)[:: -1 if rows else 1, :: -1 if columns else 1]


def say_orientation(
    sdata: SpatialData, pairs: Sequence[SampleElements], scans: Sequence[LabelScan], *, in_passing: bool = False
) -> dict[str, str]:
    """Warn of labels that fit their image in another orientation alone, once for all samples.

    Parameters
    ----------
    sdata, pairs, scans
        Images and labels, and the cells of the labels.
    in_passing
        Whether to look at some cells of one block alone.

    Returns
    -------
    ``{sample: what has to be done to its labels}``, of these samples.
    """
    turned: dict[str, str] = {}
    open_ones: dict[str, dict[str, np.ndarray]] = {}
    for pair, scan in zip(pairs, scans, strict=True):
        fits = fits_of(sdata, pair, scan, in_passing=in_passing)
        if name := verdict(fits):
            turned[pair.sample] = name
        elif fits:
            open_ones[pair.sample] = fits
    shared = set.intersection(*map(set, open_ones.values())) if open_ones else set()
    together = {name: np.concatenate([fits[name] for fits in open_ones.values()]) for name in CHANGES if name in shared}
    if name := verdict(together):  # none shows it, and all do: they came the same way
        turned |= dict.fromkeys(open_ones, name)
    for name in dict.fromkeys(turned.values()):
        concerned = [pair for pair in pairs if turned.get(pair.sample) == name]
        warn(
            f"Labels of {len(concerned)} of {counted(len(pairs), 'sample')} do not fit their image, but would if they "
            f"were {name}: {listed([pair.labels for pair in concerned], 5)}. Intensities of their cells are those of "
            f"other places. {_remedy(sdata, str(concerned[0].labels), name)}"
        )
    heights = {sample: _peak(fits[AS_IT_IS])[1] for sample, fits in open_ones.items() if sample not in turned}
    _say_exchanged(sdata, pairs, scans, heights, in_passing)
    return turned


def _say_exchanged(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    scans: Sequence[LabelScan],
    heights: Mapping[str, float],
    in_passing: bool,
) -> None:
    """Warn of labels that fit the image of another sample, and not their own.

    Parameters
    ----------
    heights
        Of samples whose labels do not clearly fit in any orientation, the peak as they are, in standard errors. The
        labels that another image lacks are among theirs, and those that fit worst are tried first.
    """
    place_of = {pair.sample: place for place, pair in enumerate(pairs)}
    unsure = [place_of[sample] for sample in sorted(heights, key=lambda sample: heights[sample])]
    fitting = {}
    for place in (one for one in unsure if heights[pairs[one].sample] <= NONE):
        for other in [one for one in unsure if one != place][:TRIED]:
            if not _same_field(sdata, pairs[place], pairs[other]):
                continue
            look = _look(sdata, pairs[place], scans[other], in_passing, labels_of=pairs[other])
            if look is not None and _peak(look.alike(AS_IT_IS))[1] >= CLEAR:
                fitting[place] = other
                break
    if fitting:
        named = [f"{pairs[one].image!r} ({pairs[other].labels!r} does)" for one, other in fitting.items()]
        warn(
            f"Labels of {len(fitting)} of {counted(len(pairs), 'sample')} do not fit their image, but those of another "
            f"sample do: {listed(named, 5, quoted=False)}. Are files of masks exchanged? Intensities of cells are "
            "those of other places, in another sample. Look at one in sfm.pl.segmentation, and correct the paths."
        )


def _same_field(sdata: SpatialData, one: SampleElements, other: SampleElements) -> bool:
    """Whether labels of two samples have one size, so that each might be the other's."""
    return cells_data(sdata, one).shape == cells_data(sdata, other).shape


def _remedy(sdata: SpatialData, name: str, change: str) -> str:
    if drawn_kind(sdata, name) is not None:
        if change != "transposed":
            return f"Export the outlines {name!r} again in pixels of the image, y downwards."
        return (
            "Exchange x and y of the outlines, which files often hold in the other order: "
            f"sdata[{name!r}].geometry = shapely.transform(sdata[{name!r}].geometry.values, lambda xy: xy[:, ::-1])."
        )
    swapped, rows, columns = CHANGES[change]
    turn = f"[{'::-1' if rows else ':'}, {'::-1' if columns else ':'}]" if rows or columns else ""
    code = ".data" + (".T" if swapped else "") + turn
    return (
        "Look at one in sfm.pl.segmentation; then change the files, or the element: "
        f"sdata[{name!r}] = spatialdata.models.Labels2DModel.parse(spatialfm.pp.arrays.full_resolution(sdata[{name!r}])"
        f"{code}, dims=('y', 'x'), transformations=spatialdata.transformations.get_transformation(sdata[{name!r}], "
        "get_all=True)), and make the table again."
    )


def fits_of(
    sdata: SpatialData, pair: SampleElements, scan: LabelScan, *, in_passing: bool = False
) -> dict[str, np.ndarray]:
    """How well labels fit their image in each orientation, window by window; empty where they fit as they are.

    Parameters
    ----------
    sdata, pair
        Image and labels.
    scan
        Cells of the labels.
    in_passing
        Whether to look at some cells of one block alone.

    Returns
    -------
    ``{orientation: (n,) how much more alike pixels are within cells}``. Empty, too, where there are too few cells to
    tell.
    """
    look = _look(sdata, pair, scan, in_passing)
    return {} if look is None else look.fits()


def _look(
    sdata: SpatialData,
    pair: SampleElements,
    scan: LabelScan,
    in_passing: bool,
    labels_of: SampleElements | None = None,
) -> Look | None:
    """Windows on the image of a sample, with its own labels or those of another one, laid where its own lie."""
    image, labels = image_array(sdata, pair.image).data, cells_data(sdata, labels_of or pair)
    stain = nuclear_channel(channel_names(sdata, pair.image), None, pair.image)
    return Look.of(image, labels, labels_to_image(sdata, pair), scan, stain, in_passing)


def verdict(fits: Mapping[str, np.ndarray]) -> str | None:
    """What has to be done to labels so that they fit their image, where they clearly do not as they are.

    Parameters
    ----------
    fits
        As `fits_of` gives them; windows of several samples may be together.
    """
    peaks = {name: _peak(values) for name, values in fits.items()}
    if len(peaks) < 2:
        return None
    best = max(peaks, key=lambda name: peaks[name][1])
    others = max(abs(height) for name, (height, _) in peaks.items() if name != best)
    clear = peaks[best][1] >= CLEAR and peaks[AS_IT_IS][1] <= NONE and peaks[best][0] >= BETTER * others
    return best if clear and best != AS_IT_IS else None


def _peak(values: np.ndarray) -> tuple[float, float]:
    """Mean over windows, and in standard errors above 0; both 0 where there are too few."""
    error = values.std(ddof=1) / np.sqrt(values.size) if values.size >= FEWEST else 0.0
    return (float(values.mean()), float(values.mean() / error)) if error > 0 else (0.0, 0.0)


@dataclass(frozen=True)
class Look:
    """Windows around some cells, and the pixels of the image that each orientation of the labels lays below them.

    Attributes
    ----------
    image
        ``(c, y, x)``, of the channels that are compared.
    masks, corners
        Numbers of cells in each window ``(y, x)``, and its first row and column on the image ``(n, 2)``.
    frame
        First and last row, first and last column of the labels on the image, within which they are turned.
    shift, step
        Pixels that a cell is wide, and every how many-th is taken.
    level
        ``(c,)`` how bright each channel is.
    weights
        ``(c,)`` how much each counts: the share of its variance that outlines explain where there are no cells.
    at_once
        Pixels around all windows, and their first row and column, where they were read together.
    """

    image: object
    masks: list[np.ndarray]
    corners: np.ndarray
    frame: tuple[float, float, float, float]
    shift: int
    step: int
    level: np.ndarray
    weights: np.ndarray
    at_once: tuple[tuple[int, int], np.ndarray] | None = None

    @classmethod
    def of(
        cls, image, labels, to_image: AxisAffine, scan: LabelScan, stain: int | None, in_passing: bool
    ) -> Look | None:
        """Windows of the labels that are in the image with a margin; None where there are too few."""
        if scan.ids.size < FEWEST:
            return None
        side = float(np.sqrt(np.median(scan.area) * abs(to_image.scale_y * to_image.scale_x)))
        size, shift = round(WIDE * side), max(1, round(side))
        y, x = to_image(*(scan.centroid.T + 0.5))
        corners = np.floor(np.stack([y, x], axis=1)).astype(np.int64) - size // 2
        inside = (corners >= shift) & (corners + size + shift <= np.array(image.shape[-2:]))
        corners = corners[inside.all(axis=1)]
        if in_passing:
            corners = _of_one_block(corners + size // 2, image) - size // 2
        corners = _apart(corners, size, IN_PASSING if in_passing else IN_FULL)
        if len(corners) < FEWEST:
            return None
        grid = LabelGrid(labels, to_image.inverse())
        (y0, x0), (y1, x1) = corners.min(axis=0).tolist(), (corners.max(axis=0) + size).tolist()
        image = image[_compared(image.shape[0], stain)]
        at_once = None
        if in_passing:  # windows lie close together, and each reading of a few pixels has its price
            at_once = (y0 - shift, x0 - shift), loaded(image[:, y0 - shift : y1 + shift, x0 - shift : x1 + shift])
            together = grid((y0, y1, x0, x1))
            masks = [together[y - y0 : y - y0 + size, x - x0 : x - x0 + size] for y, x in corners.tolist()]
        else:
            masks = [grid((y, y + size, x, x + size)) for y, x in corners.tolist()]
        top, left = to_image(0, 0)
        bottom, right = to_image(*labels.shape)
        one, frame = np.ones(len(image)), (top, bottom, left, right)
        look = cls(image, masks, corners, frame, shift, max(1, int(side / SIDE)), one, one, at_once)
        below = [look.below(window, AS_IT_IS) for window in range(len(masks))]
        level = np.mean([np.abs(_finite(pixels)).mean(axis=(1, 2)) for pixels in below], axis=0)
        look = replace(look, level=np.where(level > 0, level, 1.0))
        explained = [
            evenness(mask, pixels, look.level, shift, look.step)[1] for mask, pixels in zip(masks, below, strict=True)
        ]
        return replace(look, weights=np.maximum(np.mean(explained, axis=0), 1e-6))

    def fits(self) -> dict[str, np.ndarray]:
        """See `fits_of`."""
        as_they_are = self.alike(AS_IT_IS)
        if _peak(as_they_are)[1] >= FITS:
            return {}
        top, bottom, left, right = self.frame
        square = abs((bottom - top) - (right - left)) < 1
        others = [name for name, (swapped, *_) in CHANGES.items() if name != AS_IT_IS and (square or not swapped)]
        return {AS_IT_IS: as_they_are} | {name: self.alike(name) for name in others}

    def alike(self, name: str) -> np.ndarray:
        """How much more alike pixels are within cells once this was done to the labels, of each window that has any."""
        shares = np.array(
            [
                evenness(mask, pixels, self.level, self.shift, self.step)[0]
                for window, mask in enumerate(self.masks)
                if (pixels := self.below(window, name)) is not None
            ]
        ).reshape(-1, len(self.weights))
        weight = (np.isfinite(shares) * self.weights).sum(axis=1)
        return (np.nan_to_num(shares) * self.weights).sum(axis=1)[weight > 0] / weight[weight > 0]

    def below(self, window: int, name: str) -> np.ndarray | None:
        """Pixels ``(c, y, x)`` of a window and a margin, once the labels are changed, turned back; None off the image.

        None, too, where this was done to the labels and they leave the image there.
        """
        swapped, rows, columns = CHANGES[name]
        top, bottom, left, right = self.frame
        y0, x0 = (self.corners[window] - self.shift).tolist()
        side = self.masks[window].shape[0] + 2 * self.shift
        if swapped:
            y0, x0 = top + (x0 - left), left + (y0 - top)
        y0 = round(bottom - (y0 - top) - side if rows else y0)
        x0 = round(right - (x0 - left) - side if columns else x0)
        if y0 < 0 or x0 < 0 or y0 + side > self.image.shape[1] or x0 + side > self.image.shape[2]:
            return None
        if self.at_once is not None and name == AS_IT_IS:
            (top, left), together = self.at_once
            return together[:, y0 - top : y0 - top + side, x0 - left : x0 - left + side]
        pixels = loaded(self.image[:, y0 : y0 + side, x0 : x0 + side])
        pixels = pixels[:, :: -1 if rows else 1, :: -1 if columns else 1]
        return pixels.swapaxes(1, 2) if swapped else pixels


def _compared(n: int, stain: int | None) -> list[int]:
    """Channels that are compared: the nuclear stain, and others evenly."""
    chosen = np.linspace(0, n - 1, min(n, CHANNELS)).astype(int).tolist()
    if stain is not None and stain not in chosen:
        chosen[0] = stain
    return sorted(set(chosen))


def _of_one_block(centers: np.ndarray, image) -> np.ndarray:
    """Those in the block of the image that has most of them: what is read in passing."""
    y, x = centers.T
    inside = [(y >= y0) & (y < y1) & (x >= x0) & (x < x1) for y0, y1, x0, x1 in plan_blocks(image)]
    return centers[max(inside, key=np.count_nonzero)]


def _apart(corners: np.ndarray, size: int, most: int) -> np.ndarray:
    """At most so many windows, evenly spread, of which none begins in the same square as another."""
    _, first = np.unique(corners // size, axis=0, return_index=True)
    places = np.unique(np.linspace(0, first.size - 1, min(first.size, most)).astype(int))
    return corners[first[places]] if first.size else corners


def evenness(
    mask: np.ndarray, pixels: np.ndarray, level: np.ndarray, shift: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much less pixels differ within cells than they do within the same outlines a little further on.

    Parameters
    ----------
    mask
        ``(y, x)`` numbers of cells.
    pixels
        ``(c, y + 2 shift, x + 2 shift)`` of the image around it.
    level
        ``(c,)`` how bright each channel is.
    shift
        Pixels to the outlines further on, in four directions.
    step
        Every how many-th pixel is taken.

    Returns
    -------
    evenness
        ``(c,)``: difference of the variances within outlines over their sum, mean over directions. Above 0 if cells are
        more even; where outlines are anywhere, its mean is 0, as what is here for one is further on for another. NaN
        where a channel has one value.
    explained
        ``(c,)``: share of the variance that outlines further on explain, beyond what they do of noise.
    """
    height, width = mask.shape
    ids, cell = compact(mask[::step, ::step].ravel())
    if cell.size <= ids.size:
        return np.full(len(pixels), np.nan), np.zeros(len(pixels))
    counts = np.bincount(cell, minlength=ids.size)
    values = np.arcsinh(_finite(pixels) / level[:, None, None])

    def within(down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
        part = values[:, down : down + height : step, right : right + width : step].reshape(len(values), -1)
        part = part - part.mean(axis=1, keepdims=True)
        sums = np.stack([np.bincount(cell, row, ids.size) for row in part])
        total = (part**2).sum(axis=1)
        return total - (sums**2 / counts).sum(axis=1), total

    here, _ = within(shift, shift)
    around = np.array([within(*place) for place in ((0, shift), (2 * shift, shift), (shift, 0), (shift, 2 * shift))])
    there, total = around[:, 0], around[:, 1]
    both = here + there
    varies = both > 1e-9 * cell.size
    shares = np.divide(there - here, both, out=np.zeros_like(both), where=varies)
    noise = (cell.size - 1) / (cell.size - ids.size)
    left = np.divide(there.sum(axis=0), total.sum(axis=0), out=np.ones(len(values)), where=total.sum(axis=0) > 0)
    return np.where(varies.any(axis=0), shares.mean(axis=0), np.nan), 1 - noise * left


def _finite(pixels: np.ndarray) -> np.ndarray:
    return np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
