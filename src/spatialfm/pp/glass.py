"""Is there empty glass around the tissue, and where? Arrays in, masks out.

Decided on a small image (every pixel the mean of a square), smoothed over the radius of a cell, in four steps:

1. *One score.* Hot pixels are cut. Each channel is scaled between its 0.5th and 99.5th percentile and clipped, so that
   no single channel decides, however bright; the square root spreads the dark end, where counts are. The score is the
   mean over channels: no stain of nuclei is needed, and a constant channel has no influence.
2. *One mode or two.* Normal mixtures of one and of two components are fitted to the score. Two are believed where they
   gain more than `MIN_GAIN` in log-likelihood after the penalty of the BIC, counting as one observation what one
   smoothing window covers, and where Ashman's D (distance of the means over the pooled spread; Ashman, Bird and Zepf
   1994) exceeds `MIN_SEPARATION`: tissue of two kinds overlaps, glass and tissue hardly do. Slopes between the two are
   left out.
3. *Is the darker one empty?* At least half of the channels must be `MIN_LEVEL` times darker there, or vary
   `MIN_CONTRAST` times less from one cell to the next, which an offset of the camera does not hide; and hardly any may
   be brighter. Tissue of 2 counts next to tissue of 4 is not glass. Nor may its grain be that of the brighter one:
   pixels one cell apart differ no more than neighbours if there is only noise; in dim stroma they do
   (`has_cells`). If the darker one is not empty, it is split further: there may be glass next to dim tissue.
4. *Is it glass or a hole?* Glass is large: regions of less than `MIN_GLASS` (or `MIN_SHARE` of a small image), regions
   enclosed by tissue of up to `MAX_HOLE` (vessels, ducts, necrosis, fat), and regions with segmented cells are tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

RADIUS = 4.0  # µm of a cell, the standard deviation of the smoothing
ASSUMED_MPP = 0.5  # µm per pixel, if unknown
MIN_GAIN = 10.0
MIN_SEPARATION = 4.0
MIN_LEVEL = 5.0
MIN_CONTRAST = 3.0
MAX_REVERSED = 0.1  # share of channels that may be brighter on glass
MIN_GRAIN, MIN_RELATIVE_GRAIN = 0.25, 0.3
MIN_GLASS = 2_500.0  # µm², and of small images:
MIN_SHARE = 0.05  # of the image
MAX_HOLE = 100_000.0  # µm²
MIN_PIECE = 150.0  # µm² of tissue without a segmented cell: less is dust
MIN_CELLS = 0.05  # share of a region that is segmented cells
_EDGE = 0.3  # share of either mode, that on the steepest slopes of the score, that is taken for its blurred edge
_SPIKE = 3.0
_MIN_PAIRS = 200
_MAX_RIM = 2.0
_DEPTH = 3  # how often the darker part is split
_SAMPLE = 150  # points of a side that mixtures are fitted to
_ROUNDS, _SETTLED = 300, 1e-3  # of fitting; change of the mean log-likelihood


@dataclass(frozen=True)
class Split:
    """A mixture of two normal distributions.

    Attributes
    ----------
    cut
        Score between them.
    gain, separation
        Log-likelihood gained over one component, and Ashman's D.
    rim
        How far, in standard deviations of the smoothing, the cut is outside of a sharp edge; three quarters of it, as
        edges are not that sharp.
    """

    cut: float
    gain: float
    separation: float
    rim: float


def find_tissue_mask(small: np.ndarray, size: float, cells: np.ndarray | None = None) -> np.ndarray:
    """Where there is tissue, ``(h, w)`` boolean; everywhere where no glass is found.

    Parameters
    ----------
    small
        ``(c, h, w)``, an image averaged over squares.
    size
        Side of one of its pixels in µm.
    cells
        ``(h, w)``, where segmented cells are.
    """
    sigma = max(RADIUS / size, 0.5)
    small = _without_spikes(small)
    min_area = min(MIN_GLASS / size**2, MIN_SHARE * small[0].size)
    measured = ~_not_measured(small, sigma, min_area)
    if not measured.any():
        return np.ones(small.shape[1:], bool)
    darkest = _dark(small, measured, sigma, min_area)
    if darkest is None:
        return measured
    dark, rim = darkest
    glass = _opened(dark, sigma) & measured
    glass = _large(glass, measured, min_area, MAX_HOLE / size**2, cells)
    tissue = measured & ~_grown(glass, rim)
    if cells is not None:
        tissue |= measured & _grown(cells, sigma)
    tissue = _without_dust(tissue, MIN_PIECE / size**2, cells)
    return tissue if tissue.any() else measured


def _without_spikes(small: np.ndarray) -> np.ndarray:
    """Hot pixels cut down to `_SPIKE` times what nearly all pixels with any signal stay below."""
    out = np.array(small, np.float32)
    np.nan_to_num(out, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    for channel in out:
        lit = channel[channel > 0]
        if lit.size:
            np.minimum(channel, _SPIKE * np.quantile(lit, 0.995), out=channel)
    return out


def _not_measured(small: np.ndarray, sigma: float, min_area: float) -> np.ndarray:
    """Exact zeros of all channels in large pieces that reach the edge: what a mosaic was padded with."""
    empty = (small == 0).all(axis=0)
    if not empty.any() or empty.all():
        return np.zeros(empty.shape, bool)
    core = _opened(empty, 6 * sigma)  # counts are zero on many pixels, but not on all of so many
    padding = empty & _grown(core, sigma)
    pieces, n = ndimage.label(padding)
    edge = np.unique(_border(pieces))
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    kept = [piece for piece in edge if piece and area[piece] >= min_area]
    return np.isin(pieces, kept)


def _dark(small: np.ndarray, measured: np.ndarray, sigma: float, min_area: float) -> tuple[np.ndarray, float] | None:
    """The darkest part of an image, if it is empty, and by how many pixels it is too small."""
    score = _score(small, measured, sigma)
    if score is None:
        return None
    slope = ndimage.gaussian_gradient_magnitude(score, sigma / 2)
    inside, empty = measured, None
    for _ in range(_DEPTH):
        some = _thinned(inside)
        split = two_modes(score[some], slope[some], inside.sum() / max(4 * np.pi * sigma**2, 1))
        if split is None:
            break
        dark = inside & (score < split.cut)
        if dark.sum() < min_area:
            break
        clear = split.gain > MIN_GAIN and split.separation > MIN_SEPARATION
        bright = inside & ~dark
        if empty is not None and _opened(bright, 2 * sigma).sum() < min_area:
            break  # the blurred edge of what was split before
        if clear and is_empty(small, dark, bright, round(sigma)) and not has_cells(small, dark, bright, sigma):
            empty = dark, split.rim * sigma
        inside = dark
    return empty


def _score(small: np.ndarray, measured: np.ndarray, sigma: float) -> np.ndarray | None:
    """Mean over channels of the root of the scaled, smoothed intensity; None where no channel varies."""
    total, n = np.zeros(measured.shape, np.float32), 0
    weight = _smoothed(measured.astype(np.float32), sigma) if not measured.all() else 1.0
    for channel in small:
        level = _smoothed(np.where(measured, channel, 0), sigma) / np.maximum(weight, 1e-6)
        low, high = np.quantile(level[measured], [0.005, 0.995])
        if high - low > 1e-6 * max(abs(high), abs(low)):
            total += np.sqrt(np.clip((level - low) / (high - low), 0, 1))
            n += 1
    return total / n if n else None


def two_modes(values: np.ndarray, slope: np.ndarray, n_independent: float) -> Split | None:
    """Split values between two normal components; None where there is nothing to split.

    Parameters
    ----------
    values, slope
        ``(n,)``, and how steeply each changes in the image: at the blurred edge of the tissue all values occur, which
        would hide that there are two modes.
    n_independent
        Number of observations that all values are worth.
    """
    from skimage.filters import threshold_otsu

    if len(values) < 20 or np.ptp(values) == 0:
        return None
    bright = values > threshold_otsu(values)
    flat = np.zeros(len(values), bool)
    for side in (bright, ~bright):
        if side.sum() < 4:
            return None
        flat |= side & (slope <= np.quantile(slope[side], 1 - _EDGE))
    values, bright, floor = values[flat].astype(np.float64), bright[flat], 1e-6 * np.ptp(values) ** 2
    variance = float(values.var())
    one = -0.5 * (np.log(2 * np.pi * (variance + floor)) + variance / (variance + floor))  # of a single component
    share, mean, variance = fit_two(values, bright, floor)
    two = float(np.logaddexp(*_log_densities(values, share, mean, variance)).mean())
    gain = n_independent * (two - one) - 1.5 * np.log(max(n_independent, 2))
    order = np.argsort(mean)
    share, (low, high), spread = share[order], mean[order], np.sqrt(variance[order])
    between = np.linspace(low, high, 400)
    dark_density, bright_density = _log_densities(between, share, mean[order], spread**2)
    is_high = bright_density > dark_density
    crossing = between[np.argmax(is_high)] if is_high.any() else high
    # glass is narrow, so that the crossing is close to it, in the blurred edge of the tissue: further up, as long as
    # all but the dimmest tissue is above
    cut = max(crossing, min(low + 0.4 * (high - low), high - 2 * spread[1]))
    separation = np.sqrt(2) * (high - low) / np.hypot(*spread)
    # the score is a root: at a smoothed edge it has this part of its height where the level has the square of it
    height = np.clip((cut - low) / (high - low), 0, 1)
    return Split(float(cut), float(gain), float(separation), float(0.75 * np.clip(-ndtri(height**2), 0, _MAX_RIM)))


def fit_two(values: np.ndarray, bright: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, means and variances ``(2,)`` of two normal components, by expectation and maximisation.

    Parameters
    ----------
    values, bright
        ``(n,)``, and which of them begin in the second component.
    floor
        Added to variances.
    """
    belongs, before = np.stack([~bright, bright]).astype(np.float64), -np.inf
    for _ in range(_ROUNDS):
        total = belongs.sum(axis=1) + 10 * np.finfo(float).eps
        mean = belongs @ values / total
        variance = np.maximum((belongs * (values - mean[:, None]) ** 2).sum(axis=1) / total, 0) + floor
        parts = _log_densities(values, total / values.size, mean, variance)
        both = np.logaddexp(*parts)
        if abs(both.mean() - before) < _SETTLED:
            break
        before, belongs = both.mean(), np.exp(parts - both)
    return total / values.size, mean, variance


def _log_densities(values: np.ndarray, share: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Logarithm of each component's part of the density, ``(2, n)``."""
    height = np.log(share) - 0.5 * np.log(2 * np.pi * variance)
    return height[:, None] - 0.5 * (values - mean[:, None]) ** 2 / variance[:, None]


def is_empty(small: np.ndarray, dark: np.ndarray, bright: np.ndarray, lag: int) -> bool:
    """Whether the darker part of an image holds nothing that the brighter part has."""
    levels, contrasts, differs = [], [], []
    lag = max(lag, 1)
    for channel in small:
        (low, low_change), (high, high_change) = (_level_and_change(channel, part, lag) for part in (dark, bright))
        if high_change == low_change == 0:
            continue
        # below zero a level has no meaning as a ratio: backgrounds were subtracted, or channels standardised
        levels.append(high / max(low, 1e-9 * high) if high > 0 and low >= -0.1 * high else 1.0)
        contrasts.append(high_change / max(low_change, 1e-9 * high_change) if high_change > 0 else 0.0)
        differs.append(high - low)
    if not levels:
        return False
    apart = (np.array(levels) >= MIN_LEVEL) | (np.array(contrasts) >= MIN_CONTRAST)
    return bool(apart.mean() >= 0.5 and (np.array(differs) < 0).mean() <= MAX_REVERSED)


def has_cells(small: np.ndarray, dark: np.ndarray, bright: np.ndarray, sigma: float) -> bool:
    """Whether the darker part of an image is grained like the brighter one: pixels apart differ more than neighbours.

    Noise differs from pixel to pixel as much as from cell to cell, for noise of any strength; cells do not.
    """
    image = np.zeros(small.shape[1:], np.float64)
    for channel in small:  # each as bright as any other, so that the grain of none drowns
        mean = float(channel[bright].mean(dtype=np.float64))
        if mean > 0:
            image += channel / mean
    near, far = max(1, round(sigma / 3)), max(2, round(sigma))
    grain = []
    for part, other in ((dark, bright), (bright, dark)):
        inside = part & ~_grown(other, sigma)  # the blurred edge between the two is not grain
        changes = [_mean_square_change(image, inside, lag) for lag in (near, max(far, near + 1))]
        if changes[0] <= 0 or not np.isfinite(changes).all():
            return False
        grain.append(changes[1] / changes[0] - 1)
    return bool(grain[0] > MIN_GRAIN and grain[0] > MIN_RELATIVE_GRAIN * grain[1])


def _mean_square_change(image: np.ndarray, part: np.ndarray, lag: int) -> float:
    changes, n = 0.0, 0
    for ahead, behind in _shifted(lag):
        both = part[ahead] & part[behind]
        changes += float(((image[ahead] - image[behind])[both] ** 2).sum())
        n += int(both.sum())
    return changes / n if n >= _MIN_PAIRS else np.nan


def _shifted(lag: int) -> list[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Slices of an image and of the same `lag` pixels down, and to the right."""
    ahead, behind, whole = slice(lag, None), slice(None, -lag), slice(None)
    return [((ahead, whole), (behind, whole)), ((whole, ahead), (whole, behind))]


def _level_and_change(channel: np.ndarray, part: np.ndarray, lag: int) -> tuple[float, float]:
    """Mean of a part of an image, and mean absolute difference of its pixels that are `lag` apart."""
    changes, n = 0.0, 0
    for ahead, behind in _shifted(lag):
        both = part[ahead] & part[behind]
        changes += float(np.abs(channel[ahead] - channel[behind])[both].sum(dtype=np.float64))
        n += int(both.sum())
    return float(channel[part].mean(dtype=np.float64)), changes / max(n, 1)


def _large(
    glass: np.ndarray, measured: np.ndarray, min_area: float, max_hole: float, cells: np.ndarray | None
) -> np.ndarray:
    """Regions of glass that are neither small, nor holes in the tissue, nor full of cells."""
    regions, n = ndimage.label(glass)
    area = np.bincount(regions.ravel(), minlength=n + 1)
    at_edge = np.zeros(n + 1, bool)
    at_edge[_border(regions)] = True
    at_edge[np.unique(regions[ndimage.binary_dilation(~measured)])] = True  # next to what was not measured
    is_large = (area >= min_area) & (at_edge | (area > max_hole))
    if cells is not None:
        is_large &= np.bincount(regions.ravel(), cells.ravel(), minlength=n + 1) < MIN_CELLS * area
    is_large[0] = False
    return is_large[regions]


def _without_dust(tissue: np.ndarray, min_area: float, cells: np.ndarray | None) -> np.ndarray:
    pieces, n = ndimage.label(tissue)
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    is_large = area >= min_area
    edge = np.unique(_border(pieces))
    is_large[edge] |= area[edge] >= min_area / 3  # the edge of the image has cut off the rest
    if cells is not None:
        is_large[np.unique(pieces[cells])] = True
    is_large[0] = False
    return is_large[pieces]


def _smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(np.asarray(image, np.float32), sigma, mode="nearest", truncate=3)


def _opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """What a disc of this radius fits into; beyond the image everything goes on."""
    pad = int(np.ceil(radius)) + 1
    padded = np.pad(mask, pad, mode="edge")
    if padded.all():
        return mask
    core = ndimage.distance_transform_edt(padded) > radius
    return _grown(core, radius)[pad:-pad, pad:-pad] & mask


def _grown(mask: np.ndarray, radius: float) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask


def _border(image: np.ndarray) -> np.ndarray:
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def _thinned(mask: np.ndarray) -> np.ndarray:
    """Some of the pixels of a mask, on a regular grid."""
    step = max(1, int(np.sqrt(mask.sum())) // _SAMPLE)
    grid = np.zeros(mask.shape, bool)
    grid[::step, ::step] = True
    return mask & grid
