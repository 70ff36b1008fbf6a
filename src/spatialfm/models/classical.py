"""Features of a cell's pixels: intensity, texture and shape, without weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .._errors import ModelError
from .card import ModelCard
from .encoder import Encoder, EncoderOutput, Weights
from .recipe import Recipe
from .registry import register

SHAPE_FEATURES = ("area", "perimeter", "eccentricity", "major_axis", "minor_axis", "extent", "compactness")
MARKER_FEATURES = ("mean", "q10", "q50", "q90", "std", "nuclear_membrane", "gradient", "contrast")
QUANTILES = (0.1, 0.5, 0.9)

# pixels come in units of a marker's standard deviation: a tenth of it is noise, which no ratio may blow up
_FLOOR = 0.1
RIM, STEP = 1.0, 0.5  # µm
RIM_PIXELS, STEP_PIXELS = 2, 1  # of them if the pixel size is unknown

OF_NO_WEIGHTS: dict[str, Any] = {
    "family": "classical",
    "license": "BSD-3-Clause",
    "commercial": True,
    "gated": False,
    "trained_on": "nothing: fixed formulas",
    "parameters": 0,
    "marker_vocabulary": "none",
    "outputs": ("patch",),
    "needs_weights": False,
    "needs_mask": True,
}
CLASSICAL = ModelCard(
    name="classical",
    title="Intensity, nuclear to membrane ratio, texture and shape of a cell",
    reference="Shape after skimage.measure.regionprops; contrast after Geary 1954, The contiguity ratio and "
    "statistical mapping, The Incorporated Statistician 5, 115-145",
    recipe=Recipe(normalization="scale", standardize=True),
    mpp_reference=0.5,
    **OF_NO_WEIGHTS,
)


@register(CLASSICAL)
class ClassicalEncoder(Encoder):
    """Intensity, texture and shape of a cell: 7 columns of shape and 8 for each marker.

    Every value is taken over the cell's own pixels, so it depends neither on the window nor on the neighbours. Lengths
    are in µm: `spatialfm.tl.embed_cells` brings all images of a run to 0.5 µm per pixel, or to the coarsest of them
    where that is coarser (finer pixels are averaged, none is made up), and tells the encoder.

    - shape: `area`, `perimeter`, `major_axis`, `minor_axis` (in µm² and µm, as ``log1p``), `eccentricity`, `extent`
      (area over bounding box) and `compactness` (``4 π area / perimeter²``), defined as in
      ``skimage.measure.regionprops``
    - each marker: `mean`, `q10`, `q50`, `q90`, `std` and `gradient` (mean length of the gradient, per µm, of pixels
      0.5 µm apart), as ``arcsinh``; `nuclear_membrane`, the log ratio of the cell's core to its rim of 1 µm (0 where
      there is no core); `contrast`, the mean squared difference of pixels 0.5 µm apart over twice the variance
      (Geary's C: near 0 smooth, 1 no spatial order), drawn towards 1 where the marker hardly varies. Pixels larger
      than 0.5 µm are compared with their neighbours.

    If the pixel size is unknown, lengths are in pixels, the rim is 2 of them and the gradient is that of
    adjacent ones.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    mpp
        µm per pixel of what `forward` is given. `embed_cells` brings images to exactly this, from any size. Default:
        what the run has.
    rim
        Width of the rim in µm (in pixels where their size is unknown). Default: 1 µm, or 2 pixels.

    Examples
    --------
    >>> import torch
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.load("classical", mpp=0.5)
    >>> mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    >>> mask[:, 8:18, 8:20] = True
    >>> patch = encoder(torch.ones(1, 2, 32, 32), mask=mask).patch
    >>> features = dict(zip(encoder.feature_names(["DAPI", "CD3"]), patch[0].tolist(), strict=True))
    >>> print(f"{features['extent']:.2f} {features['CD3_mean']:.4f}")  # arcsinh(1) = 0.8814
    1.00 0.8814
    """

    def __init__(
        self, card: ModelCard, weights: None = None, *, mpp: float | None = None, rim: float | None = None
    ) -> None:
        super().__init__()
        self.card, self.weights = card, Weights("none")
        self.mpp = None if mpp is None else float(mpp)
        self.rim = None if rim is None else float(rim)
        self.options = {"mpp": self.mpp, "rim": self.rim}

    def at_pixel_size(self, mpp: float) -> ClassicalEncoder:
        """The encoder for pixels of `mpp` µm."""
        return ClassicalEncoder(self.card, mpp=mpp, rim=self.rim)

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Measure cells.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, divided by each marker's standard deviation.
        markers
            Not used.
        mask
            ``(B, H, W)``, True in the cell. A cell without pixels gives zeros.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `patch` ``(B, 7 + 8 M)``, columns as in `feature_names`.

        Raises
        ------
        ModelError
            If there is no mask, it does not fit the pixels, or there is no such output.
        """
        self.wanted(outputs)
        if mask is None:
            raise ModelError(f"Model {self.card.name!r} measures cells: pass mask=(B, H, W), True in the cell.")
        pixels, mask = checked(pixels, mask, self.card)
        with torch.autocast(pixels.device.type, enabled=False):
            pixels, mask = crop(pixels, mask)
            pixel, rim, step = self._lengths
            shape = shape_features(mask, pixel)
            marker = marker_features(pixels, mask, rim=rim, step=step, mpp=pixel)
        features = torch.cat([shape, marker.flatten(1)], dim=1)
        return EncoderOutput(patch=features * mask.flatten(1).any(1, keepdim=True))

    def measure_cells(
        self,
        region: np.ndarray,
        labels: np.ndarray,
        cells: np.ndarray,
        starts: np.ndarray,
        sides: np.ndarray,
        std: np.ndarray,
    ) -> np.ndarray:
        """What `forward` makes of the windows of many cells, several times as fast: on a CPU, without cutting them.

        Parameters
        ----------
        region, labels
            Pixels ``(M, h, w)`` float32, not divided by anything, and labels ``(h, w)`` int64.
        cells, starts, sides
            Labels ``(n,)``, first pixel ``(n, 2)`` and side ``(n,)`` of the window that each is looked for in. Where it
            is not, the pixel in the window's centre is used for it.
        std
            ``(M,)`` standard deviation of each marker.

        Returns
        -------
        ``(n, 7 + 8 M)`` float32, columns as in `feature_names`.
        """
        from .classical_kernels import measure_cells

        pixel, rim, step = self._lengths
        formula = (_OUTLINE.numpy(), pixel, *_whole_and_part(rim), step, _FLOOR)
        return measure_cells(region, labels, cells, starts, sides, std, formula, QUANTILES)

    @property
    def _lengths(self) -> tuple[float, float, int]:
        """Length of a pixel, width of the rim and distance of compared pixels, both in pixels."""
        mpp, rim = self.mpp, self.rim
        pixel = 1.0 if mpp is None else mpp
        width = (RIM_PIXELS if mpp is None else RIM) if rim is None else rim
        return pixel, width / pixel, STEP_PIXELS if mpp is None else max(1, round(STEP / mpp))

    def feature_names(self, markers: Sequence[str]) -> list[str]:
        """Columns of `patch`: the shape, then ``<marker>_<feature>``, marker by marker."""
        return [*SHAPE_FEATURES, *(f"{marker}_{feature}" for marker in markers for feature in MARKER_FEATURES)]


def crop(pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Cut pixels ``(B, M, H, W)`` and mask ``(B, H, W)`` to the box that holds every cell of the batch.

    What is outside the cells, NaN included, becomes 0.
    """
    box = []
    for axes in ((0, 2), (0, 1)):
        inside = mask.any(axes[1]).any(axes[0]).nonzero()
        box.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 1))
    mask = mask[..., box[0], box[1]]
    return pixels[..., box[0], box[1]].masked_fill(~mask[:, None], 0), mask


def cell_pixels(pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of each cell in a row: values ``(B, M, n)``, and which of the n are the cell's ``(B, n)``."""
    flat = mask.flatten(1)
    n = max(int(flat.sum(1).max()), 1) if len(flat) else 1
    order = flat.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :n]
    return pixels.flatten(2).gather(2, order[:, None].expand(-1, pixels.shape[1], -1)), flat.gather(1, order)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of finite ``(B, M, ...)`` where ``(B, ...)`` is True, 0 where it never is: ``(B, M)``."""
    weight = valid.flatten(1).to(values.dtype)[:, None]
    return (values.flatten(2) * weight).sum(2) / weight.sum(2).clamp(min=1)


def quantiles(values: Tensor, valid: Tensor, levels: Sequence[float] = QUANTILES) -> Tensor:
    """Quantiles ``(B, M, levels)`` of the valid ones of ``(B, M, n)``, linear between two values as in numpy."""
    ordered = values.masked_fill(~valid[:, None], torch.inf).sort(dim=2).values
    last = (valid.sum(1, keepdim=True) - 1).clamp(min=0)  # (B, 1)
    place = last * torch.tensor(levels, device=values.device)
    below = place.floor().long()
    low, high = (
        ordered.gather(2, index[:, None].expand(-1, values.shape[1], -1))
        for index in (below, (below + 1).minimum(last))
    )
    return torch.where(valid.any(1)[:, None, None], torch.lerp(low, high, (place - below)[:, None]), 0)


def erode(mask: Tensor, width: int) -> Tensor:
    """Take `width` pixels (in chessboard distance) off a mask ``(B, H, W)``; all around it is background."""
    width = min(width, max(mask.shape[1:]))  # more leaves nothing either
    background = F.pad((~mask).float()[:, None], [width] * 4, value=1.0)
    return F.max_pool2d(background, 2 * width + 1, stride=1)[:, 0] == 0


def marker_features(pixels: Tensor, mask: Tensor, *, rim: float, step: int, mpp: float) -> Tensor:
    """Intensity and texture ``(B, M, 8)`` of pixels ``(B, M, H, W)`` in a mask ``(B, H, W)``.

    Parameters
    ----------
    pixels, mask
        Finite values, and which of them are the cell's.
    rim, step
        Width of the rim, and distance of the pixels that are compared, both in pixels.
    mpp
        Length of a pixel; gradients are per unit of it.
    """
    values, valid = cell_pixels(pixels, mask)
    mean = masked_mean(values, valid)
    variance = masked_mean((values - mean[..., None]).square(), valid)
    gradient, difference = texture(pixels, mask, step)
    intensity = [mean[..., None], quantiles(values, valid), variance.sqrt()[..., None]]
    return torch.cat(
        [
            torch.cat(intensity, dim=-1).asinh(),
            core_to_rim(pixels, mask, rim)[..., None],
            (gradient / (step * mpp)).asinh()[..., None],
            ((difference / 2 + _FLOOR**2) / (variance + _FLOOR**2))[..., None],
        ],
        dim=-1,
    )


def core_to_rim(pixels: Tensor, mask: Tensor, rim: float) -> Tensor:
    """Log ratio ``(B, M)`` of the mean in the cell's core to that in its rim; 0 where the cell has no core.

    Of a rim of 1.5 pixels, the second pixel from the outside counts half as rim and half as core.
    """
    whole, part = _whole_and_part(rim)
    core = (erode(mask, whole) if whole else mask).float()
    if part:
        core = core * (1 - part) + erode(mask, whole + 1).float() * part
    inner, outer = (_weighted_mean(pixels, weight).clamp(min=0) + _FLOOR for weight in (core, mask.float() - core))
    return torch.where(core.flatten(1).any(1, keepdim=True), (inner / outer).log(), 0)


def _whole_and_part(rim: float) -> tuple[int, float]:
    whole = math.floor(rim + 1e-6)
    return whole, max(rim - whole, 0.0) if rim - whole > 1e-6 else 0.0


def _weighted_mean(pixels: Tensor, weight: Tensor) -> Tensor:
    """Mean ``(B, M)`` of pixels ``(B, M, H, W)`` with weights ``(B, H, W)``; 0 where all of them are."""
    weight = weight.flatten(1)[:, None]
    total = weight.sum(2)
    return (pixels.flatten(2) * weight).sum(2) / torch.where(total > 0, total, 1)


def texture(pixels: Tensor, mask: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
    """Mean length of, and mean squared, difference of pixels `step` apart, ``(B, M)`` each, within the mask."""
    if step >= min(mask.shape[1:]):  # too small a box to hold a pair along both axes
        margin = step + 1
        pixels, mask = F.pad(pixels, [0, margin, 0, margin]), F.pad(mask, [0, margin, 0, margin])
    across = (pixels[..., step:] - pixels[..., :-step]).square()
    down = (pixels[..., step:, :] - pixels[..., :-step, :]).square()
    pair_across, pair_down = mask[:, :, step:] & mask[:, :, :-step], mask[:, step:] & mask[:, :-step]
    corner = pair_across[:, :-step] & pair_down[:, :, :-step]
    gradient = masked_mean((across[:, :, :-step] + down[..., :-step]).sqrt(), corner)
    n_across, n_down = (pair.flatten(1).sum(1, keepdim=True) for pair in (pair_across, pair_down))
    total = masked_mean(across, pair_across) * n_across + masked_mean(down, pair_down) * n_down
    return gradient, total / (n_across + n_down).clamp(min=1)


def shape_features(mask: Tensor, mpp: float = 1.0) -> Tensor:
    """Shape ``(B, 7)`` of masks ``(B, H, W)``, sizes in µm if `mpp` gives the pixel size."""
    inside = mask.float()
    area = inside.sum((1, 2))
    y, x = (
        torch.arange(side, device=mask.device, dtype=torch.float32).reshape(shape)
        for side, shape in zip(mask.shape[1:], ((-1, 1), (1, -1)), strict=True)
    )
    n = area.clamp(min=1)
    # centred before they are squared: single precision would not survive the difference of two large moments
    y, x = (axis - ((axis * inside).sum((1, 2)) / n)[:, None, None] for axis in (y, x))
    yy, xx, yx = ((product * inside).sum((1, 2)) / n for product in (y * y, x * x, y * x))
    spread = ((yy - xx).square() + 4 * yx.square()).sqrt()
    large, small = (yy + xx + spread) / 2, ((yy + xx - spread) / 2).clamp(min=0)
    eccentricity = (1 - torch.where(large > 0, small / large, 1)).clamp(min=0).sqrt()
    length = perimeter(mask)
    box = mask.any(2).sum(1) * mask.any(1).sum(1)  # as long as the cell is in one piece
    compactness = torch.where(length > 0, 4 * math.pi * area / length.square(), 0)
    sizes = [area * mpp**2, length * mpp, 4 * large.sqrt() * mpp, 4 * small.sqrt() * mpp]
    area, length, major, minor = (size.log1p() for size in sizes)
    columns = [area, length, eccentricity, major, minor, inside.sum((1, 2)) / box.clamp(min=1), compactness]
    return torch.stack(columns, dim=1)


# length of a pixel of the outline by 1 + 2 * straight + 10 * diagonal neighbours on it
_OUTLINE = torch.zeros(50)
_OUTLINE[[5, 7, 15, 17, 25, 27]] = 1.0
_OUTLINE[[21, 33]] = math.sqrt(2)
_OUTLINE[[13, 23]] = (1 + math.sqrt(2)) / 2


def perimeter(mask: Tensor) -> Tensor:
    """Perimeter ``(B,)`` of masks ``(B, H, W)``, as ``skimage.measure.perimeter`` (Benkrid and Crookes) has it.

    A pixel of the outline counts 1, √2 or their mean, by the direction of its neighbours on the outline.
    """
    padded = F.pad(mask, [1, 1, 1, 1])
    centre = (slice(None), slice(1, -1), slice(1, -1))
    four = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
    outline = F.pad((padded[centre] & ~four).long(), [1, 1, 1, 1])
    straight = outline[:, :-2, 1:-1] + outline[:, 2:, 1:-1] + outline[:, 1:-1, :-2] + outline[:, 1:-1, 2:]
    diagonal = outline[:, :-2, :-2] + outline[:, :-2, 2:] + outline[:, 2:, :-2] + outline[:, 2:, 2:]
    return _OUTLINE.to(mask.device)[outline[centre] + 2 * straight + 10 * diagonal].sum((1, 2))


def checked(pixels: Tensor, mask: Tensor, card: ModelCard) -> tuple[Tensor, Tensor]:
    """Pixels ``(B, M, H, W)`` as floats and a mask ``(B, H, W)`` of booleans, if they fit each other."""
    if pixels.ndim != 4 or mask.shape != pixels[:, 0].shape:
        raise ModelError(
            f"Model {card.name!r} takes pixels (B, M, H, W) and a mask (B, H, W), got {tuple(pixels.shape)} and "
            f"{tuple(mask.shape)}."
        )
    return pixels.float(), mask.bool()
