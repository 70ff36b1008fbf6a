"""Checks of the arguments that simulated cohorts share, and their streams of random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from .._errors import SpatialfmError, listed
from ._simulate_panel import NICHES, PANEL_SIZES, TYPES

MIN_IMAGE = 64  # pixels
MIN_SIDE = 32.0  # µm: below, a sample has no room for niches
MPP_RANGE = (0.1, 1.5)  # above, a lymphocyte is under 20 pixels
# codes in the artifact masks; later ones cover earlier ones
ARTIFACTS = {"fold": 1, "blur": 2, "saturation": 3, "dropout": 4, "seam": 5}

# streams of random numbers: one a subject, so that a change of optics leaves the tissue as it is
_STREAMS = (
    "patient",
    "slide",
    "tissue",
    "expression",
    "shape",
    "segmentation",
    "optics",
    "artifacts",
    "latent",
    "outline",
    "mixture",
    "tail",
    "section",
    "size",
    "stain",
    "structures",
    "masks",
)


def generator(random_state: int, stream: str, *indices: int) -> np.random.Generator:
    """Generator of one subject of one patient, sample or slide; depends on nothing else in the cohort."""
    key = (_STREAMS.index(stream), *indices)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(random_state), spawn_key=key)))


def check_integer(name: str, value: object, minimum: int) -> int:
    """`value` as an int, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise SpatialfmError(f"{name}={value!r} is not valid. Pass an integer of at least {minimum}.")
    return int(value)


def check_number(name: str, value: object, low: float, high: float = np.inf) -> float:
    """`value` as a float within ``[low, high]``, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(value) or not low <= value <= high:
        span = f"from {low:g} to {high:g}" if np.isfinite(high) else f"of at least {low:g}"
        span = "that is finite" if low == -np.inf else span
        raise SpatialfmError(f"{name}={value!r} is not valid. Pass a number {span}.")
    return float(value)


def check_panel(n_markers: object) -> int:
    """12 or 40."""
    if isinstance(n_markers, bool) or n_markers not in PANEL_SIZES:
        raise SpatialfmError(f"n_markers={n_markers!r} is not valid. Pass 12 or 40: the panels there are.")
    return int(n_markers)


def check_effect_of(effect_of: object) -> str:
    """A niche or a phenotype."""
    if effect_of not in NICHES and effect_of not in TYPES:
        raise SpatialfmError(
            f"effect_of={effect_of!r} is neither a niche nor a phenotype. "
            f"Pass a niche ({listed(NICHES, 99)}) or a phenotype ({listed(TYPES, 99)})."
        )
    return str(effect_of)


def check_artifacts(artifacts: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of artifacts, in the order of their codes."""
    names = (artifacts,) if isinstance(artifacts, str) else tuple(artifacts or ())
    if unknown := [name for name in names if name not in ARTIFACTS]:
        raise SpatialfmError(f"artifacts= names {unknown[0]!r}. Pass any of {listed(ARTIFACTS, 99)}, or () for none.")
    return tuple(name for name in ARTIFACTS if name in names)


def check_image(image_size: object, mpp: object) -> tuple[int, float]:
    """Side in pixels and µm per pixel of an image that has room for tissue."""
    image_size = check_integer("image_size", image_size, MIN_IMAGE)
    mpp = check_number("mpp", mpp, *MPP_RANGE)
    if image_size * mpp < MIN_SIDE:
        raise SpatialfmError(
            f"image_size={image_size} at mpp={mpp:g} is a sample of {image_size * mpp:g} µm, too small for tissue. "
            f"Pass image_size={int(np.ceil(MIN_SIDE / mpp))} or more ({MIN_SIDE:g} µm)."
        )
    return image_size, mpp
