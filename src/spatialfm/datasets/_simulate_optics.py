"""From expression to counts: stain, spill-over, blur, light, camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ._simulate_difficulty import Camera
from ._simulate_expression import TELLING
from ._simulate_fields import smooth_noise
from ._simulate_panel import MARKERS, SPREAD_LIMIT, SimulatedPanel
from ._simulate_shapes import Shapes
from ._simulate_slides import Slide, illumination
from ._simulate_stain import Stain
from ._simulate_structures import spectrum

# share of a marker's light in each part of the cell: (nucleus, membrane, cytoplasm)
COMPARTMENT_WEIGHTS = {
    "nuclear": (1.0, 0.04, 0.04),
    "membrane": (0.10, 1.0, 0.22),
    "cytoplasm": (0.25, 0.75, 1.0),
}
# how much of a marker's light reaches over to a touching cell: membranes overlap in the depth of the section
_SPILL_WEIGHTS = {"nuclear": 0.1, "membrane": 1.0, "cytoplasm": 0.5}
SPILL_LENGTH = 0.8  # µm over which spill-over falls to 1/e
HALO_WIDTH = 3.0  # µm, standard deviation of the light that is scattered in the section and the optics
MAX_COUNT = 65535


@dataclass(frozen=True)
class Scene:
    """What difficult tissue adds to a sample; None: nothing.

    Attributes
    ----------
    stain
        Factors of the light of stains.
    structures
        ``(h, w)`` what glows without a stain, in units of a marker's background.
    fields_of_view
        ``(h, w)`` factor of all light.
    """

    stain: Stain | None = None
    structures: np.ndarray | None = None
    fields_of_view: np.ndarray | None = None


def rescaled(markers: SimulatedPanel, brightness: list[float] | None, dim_markers: float) -> SimulatedPanel:
    """The panel with its photons at expression 1 spread evenly, in logs, from `brightness[0]` to `brightness[1]`.

    The order of the markers stays; those that alone tell related types apart are dimmed after that.
    """
    photons = markers.photons
    if brightness is not None:
        logs = np.log([row[1] for row in MARKERS.values()])
        place = (np.log(photons) - logs.min()) / (logs.max() - logs.min())
        photons = brightness[0] * (brightness[1] / brightness[0]) ** place
    telling = np.isin(markers.names, TELLING)
    return replace(markers, photons=np.where(telling, dim_markers * photons, photons))


def expected_photons(
    expression: np.ndarray,
    shapes: Shapes,
    glow: np.ndarray,
    markers: SimulatedPanel,
    slide: Slide,
    camera: Camera,
    mpp: float,
    rng: np.random.Generator,
    scene: Scene = Scene(),
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
    # ions are counted pixel by pixel: no lamp that is brighter in the middle
    light = np.ones((size, size), np.float32) if camera.detector == "ions" else illumination(slide, size)
    if scene.fields_of_view is not None:
        light = light * scene.fields_of_view
    textures = [_texture(size, scale / mpp, rng) for scale in (0.6, 0.9)]
    colour = spectrum(expression.shape[1])
    photons = np.empty((expression.shape[1], size, size), np.float32)
    for m, compartment in enumerate(markers.compartments):
        weights = np.array(COMPARTMENT_WEIGHTS[compartment], np.float32)
        signal = table[:, m][shapes.labels] * weights[part]
        if camera.spillover > 0:
            signal += camera.spillover * _SPILL_WEIGHTS[compartment] * reach * table[:, m][shapes.other]
        signal *= textures[compartment != "nuclear"]
        if scene.stain is not None:
            signal = scene.stain.applied(signal, m, compartment)
        signal *= markers.photons[m] * slide.gain[m]
        signal += camera.background * markers.background[m] * slide.background[m] * glow
        if scene.structures is not None:
            signal += camera.background * markers.background[m] * colour[m] * scene.structures
        if camera.halo > 0:
            signal = (1 - camera.halo) * signal + camera.halo * blurred(signal, HALO_WIDTH / mpp)
        photons[m] = blurred(signal, camera.psf / mpp) * light
    if camera.bleed_through > 0:
        for m in range(len(photons) - 1, 0, -1):  # from the last, so that a channel hands on its own light alone
            photons[m] += camera.bleed_through * photons[m - 1]
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


def detected(image: np.ndarray, markers: SimulatedPanel, slide: Slide, camera: Camera, glow: np.ndarray) -> np.ndarray:
    """What a detector stores of counts ``(M, h, w)``: with ``"subtracted"``, those above offset and background.

    `glow` is the autofluorescence of the pixels of tissue, whose median is the background that is expected: what is
    taken off does not depend on how much glass is beside the tissue.
    """
    if camera.detector != "subtracted":
        return image
    usual = float(np.median(glow))
    for m, counts in enumerate(image):
        level = camera.offset + camera.gain * camera.background * markers.background[m] * slide.background[m] * usual
        image[m] = np.clip(counts.astype(np.float32) - level, 0, MAX_COUNT).astype(np.uint16)
    return image


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; the image goes on beyond its edge as a mirror image."""
    return ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=3.5) if sigma > 0 else image


def _texture(size: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    noise = np.clip(smooth_noise((size, size), sigma, rng), -SPREAD_LIMIT, SPREAD_LIMIT)
    return np.exp(0.18 * noise).astype(np.float32)
