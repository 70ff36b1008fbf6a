"""From expression to counts: stain, spill-over, blur, light, camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ._simulate_fields import smooth_noise
from ._simulate_panel import SPREAD_LIMIT, SimulatedPanel
from ._simulate_shapes import Shapes
from ._simulate_slides import Slide, illumination

# share of a marker's light in each part of the cell: (nucleus, membrane, cytoplasm)
COMPARTMENT_WEIGHTS = {
    "nuclear": (1.0, 0.04, 0.04),
    "membrane": (0.10, 1.0, 0.22),
    "cytoplasm": (0.25, 0.75, 1.0),
}
# how much of a marker's light reaches over to a touching cell: membranes overlap in the depth of the section
_SPILL_WEIGHTS = {"nuclear": 0.1, "membrane": 1.0, "cytoplasm": 0.5}
SPILL_LENGTH = 0.8  # µm over which spill-over falls to 1/e
MAX_COUNT = 65535


@dataclass(frozen=True)
class Camera:
    """Optics and camera.

    Attributes
    ----------
    psf
        Standard deviation of the point-spread function in µm.
    spillover
        Share of a membrane's light that a touching cell shows at the contact.
    background
        Factor of background and autofluorescence.
    gain, offset, read_noise
        Counts a photon, counts without light, standard deviation of the read noise in counts.
    """

    psf: float
    spillover: float
    background: float
    gain: float
    offset: float
    read_noise: float


def expected_photons(
    expression: np.ndarray,
    shapes: Shapes,
    glow: np.ndarray,
    markers: SimulatedPanel,
    slide: Slide,
    camera: Camera,
    mpp: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Expected photons ``(M, h, w)``, float32.

    Parameters
    ----------
    expression
        ``(n, M)`` relative expression of the cells, in the order of their labels.
    shapes
        Pixels of the cells.
    glow
        ``(h, w)`` autofluorescence of each place relative to the marker's background.
    """
    size = shapes.labels.shape[0]
    table = np.concatenate([np.zeros((1, expression.shape[1]), np.float32), expression])  # row 0: background
    part = np.where(shapes.nucleus, 0, np.where(shapes.membrane, 1, 2))
    reach = np.where(shapes.other > 0, np.exp(-shapes.other_distance / SPILL_LENGTH), 0).astype(np.float32)
    light = illumination(slide, size)
    textures = [_texture(size, scale / mpp, rng) for scale in (0.6, 0.9)]
    photons = np.empty((expression.shape[1], size, size), np.float32)
    for m, compartment in enumerate(markers.compartments):
        weights = np.array(COMPARTMENT_WEIGHTS[compartment], np.float32)
        signal = table[:, m][shapes.labels] * weights[part]
        if camera.spillover > 0:
            signal += camera.spillover * _SPILL_WEIGHTS[compartment] * reach * table[:, m][shapes.other]
        signal *= textures[compartment != "nuclear"]
        signal *= markers.photons[m] * slide.gain[m]
        signal += camera.background * markers.background[m] * slide.background[m] * glow
        photons[m] = blurred(signal, camera.psf / mpp) * light
    return photons


def autofluorescence(shapes: Shapes, stroma: np.ndarray, mpp: float, rng: np.random.Generator) -> np.ndarray:
    """Background of each place ``(h, w)``: fibres of the stroma glow, cells glow a little, the rest hardly."""
    size = shapes.labels.shape[0]
    fibres = 0.9 * stroma * np.clip(1 + 0.5 * smooth_noise((size, size), 1.5 / mpp, rng), 0, 3)
    return (0.6 + 0.5 * (shapes.labels > 0) + fibres).astype(np.float32)


def expose(photons: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Counts (uint16) of expected photons: ``offset + gain * Poisson(photons) + normal(0, read_noise)``, rounded."""
    counts = camera.gain * rng.poisson(photons) + camera.offset
    counts = counts + camera.read_noise * rng.standard_normal(photons.shape, np.float32)
    return np.clip(np.rint(counts), 0, MAX_COUNT).astype(np.uint16)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; the image goes on beyond its edge as a mirror image."""
    return ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=3.5) if sigma > 0 else image


def _texture(size: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    noise = np.clip(smooth_noise((size, size), sigma, rng), -SPREAD_LIMIT, SPREAD_LIMIT)
    return np.exp(0.18 * noise).astype(np.float32)
