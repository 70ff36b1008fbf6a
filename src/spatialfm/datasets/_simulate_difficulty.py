"""How hard simulated tissue is: every number of it, for easy and for realistic cohorts, and what each may be.

The realistic numbers are those with which `benchmarks/realism.py` finds simulated images nearest to real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .._errors import SpatialfmError, listed
from ._simulate_crowding import INDIVIDUAL
from ._simulate_options import ARTIFACTS, check_artifacts, check_integer, check_number

DETECTORS = ("camera", "subtracted", "ions")

EASY: dict[str, Any] = {
    "detector": "camera",
    "brightness": None,
    "dim_markers": 1.0,
    "expression_spread": 0.3,
    "expression_tail": 0.0,
    "section_spread": 0.0,
    "nonspecific": 0.02,
    "continuum": 0.0,
    "marker_sharing": 0.0,
    "rare_share": None,
    "cell_size_spread": INDIVIDUAL,
    "granularity": 0.0,
    "polarity": 0.0,
    "unevenness": 0.0,
    "stitching": 0.0,
    "spillover": 0.4,
    "psf": 0.35,
    "halo": 0.0,
    "bleed_through": 0.0,
    "background": 1.0,
    "collagen": 0.0,
    "red_cells": 0.0,
    "camera_gain": 4.0,
    "camera_offset": 100.0,
    "read_noise": 8.0,
    "batch_effect": 1.0,
    "artifacts": (),
    "artifact_rate": 0.3,
    "merge_rate": 0.04,
    "split_rate": 0.03,
    "miss_rate": 0.03,
    "dilation": 1,
    "nuclear_rate": 0.0,
    "mask_shift": 0.0,
}
REAL: dict[str, Any] = EASY | {
    "brightness": (10.0, 400.0),
    "dim_markers": 0.25,
    "expression_spread": 0.55,
    "expression_tail": 0.2,
    "section_spread": 0.2,
    "nonspecific": 0.1,
    "continuum": 0.3,
    "marker_sharing": 0.4,
    "rare_share": 0.002,
    "cell_size_spread": 0.28,
    "granularity": 0.4,
    "polarity": 0.5,
    "unevenness": 0.25,
    "stitching": 0.06,
    "halo": 0.08,
    "bleed_through": 0.02,
    "collagen": 2.0,
    "red_cells": 4.0,
    "batch_effect": 1.6,
    "artifacts": tuple(ARTIFACTS),
    "artifact_rate": 0.1,
    "merge_rate": 0.06,
    "split_rate": 0.05,
    "miss_rate": 0.05,
    "nuclear_rate": 0.15,
    "mask_shift": 0.5,
}
# what differs where ions are counted: no camera, no light of the tissue itself, and few ions
_IONS: dict[str, Any] = {
    "brightness": (2.0, 400.0),
    "background": 0.002,
    "collagen": 0.0,
    "red_cells": 0.0,
    "stitching": 0.0,
    "halo": 0.05,
    "camera_gain": 1.0,
    "camera_offset": 0.0,
    "read_noise": 0.0,
}
DIFFICULTIES = {"real": REAL, "easy": EASY}

# lowest and highest value of each number
_RANGES: dict[str, tuple[float, float]] = {
    "dim_markers": (0, 1),
    "expression_spread": (0, 2),
    "expression_tail": (0, 0.5),
    "section_spread": (0, 1),
    "nonspecific": (0, 1),
    "continuum": (0, 1),
    "marker_sharing": (0, 1),
    "cell_size_spread": (0, 0.5),
    "granularity": (0, 1),
    "polarity": (0, 1),
    "unevenness": (0, 2),
    "stitching": (0, 1),
    "spillover": (0, 1),
    "psf": (0, 5),
    "halo": (0, 0.9),
    "bleed_through": (0, 0.5),
    "background": (0, np.inf),
    "collagen": (0, np.inf),
    "red_cells": (0, np.inf),
    "camera_gain": (1e-3, np.inf),
    "camera_offset": (0, np.inf),
    "read_noise": (0, np.inf),
    "batch_effect": (0, np.inf),
    "artifact_rate": (0, 1),
    "merge_rate": (0, 1),
    "split_rate": (0, 1),
    "miss_rate": (0, 0.9),
    "nuclear_rate": (0, 1),
    "mask_shift": (0, 10),
}


@dataclass(frozen=True)
class Biology:
    """What makes types hard to tell apart before any optics; each as in `simulate_cohort`, by default easy."""

    expression_spread: float = EASY["expression_spread"]
    expression_tail: float = EASY["expression_tail"]
    section_spread: float = EASY["section_spread"]
    nonspecific: float = EASY["nonspecific"]
    continuum: float = EASY["continuum"]
    marker_sharing: float = EASY["marker_sharing"]
    rare_share: float | None = EASY["rare_share"]
    cell_size_spread: float = EASY["cell_size_spread"]


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
    halo
        Share of the light that is scattered over 3 µm.
    bleed_through
        Share of a channel's light that the next channel shows, too.
    detector
        ``"camera"``; ``"subtracted"``: counts above the expected background, those below it 0; ``"ions"``: counts as
        they are drawn.
    """

    psf: float
    spillover: float
    background: float
    gain: float
    offset: float
    read_noise: float
    halo: float = 0.0
    bleed_through: float = 0.0
    detector: str = "camera"


def settings_of(difficulty: object, given: Mapping[str, object]) -> dict[str, Any]:
    """Every number of a difficulty: those that were given, and for None those of the difficulty and the detector.

    Raises
    ------
    SpatialfmError
        If the difficulty or the detector is unknown, or a number is out of its range.
    """
    if difficulty not in DIFFICULTIES:
        raise SpatialfmError(f"difficulty={difficulty!r} is not valid. Pass {listed(DIFFICULTIES, 99)}.")
    detector = EASY["detector"] if given.get("detector") is None else given["detector"]
    if detector not in DETECTORS:
        raise SpatialfmError(f"detector={detector!r} is not valid. Pass {listed(DETECTORS, 99)}.")
    preset = DIFFICULTIES[str(difficulty)] | (_IONS if detector == "ions" else {})
    out = preset | {name: given[name] for name in preset if given.get(name) is not None}
    for name, (low, high) in _RANGES.items():
        out[name] = check_number(name, out[name], low, high)
    if out["cell_size_spread"] < INDIVIDUAL:
        raise SpatialfmError(
            f"cell_size_spread={out['cell_size_spread']!r} is less than any cells differ by. "
            f"Pass at least {INDIVIDUAL}."
        )
    out["dilation"] = check_integer("dilation", out["dilation"], 0)
    out["artifacts"] = list(check_artifacts(out["artifacts"]))
    if out["rare_share"] is not None:
        out["rare_share"] = check_number("rare_share", out["rare_share"], 1e-4, 0.2)
    if out["brightness"] is not None:
        out["brightness"] = list(_check_brightness(out["brightness"]))
    return out


def biology_of(settings: Mapping[str, Any]) -> Biology:
    return Biology(**{field.name: settings[field.name] for field in fields(Biology)})


def camera_of(settings: Mapping[str, Any]) -> Camera:
    names = {"gain": "camera_gain", "offset": "camera_offset"}
    return Camera(**{field.name: settings[names.get(field.name, field.name)] for field in fields(Camera)})


def _check_brightness(brightness: object) -> tuple[float, float]:
    try:
        dim, bright = (check_number("brightness", value, 1e-3, 1e4) for value in brightness)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        dim, bright = 1.0, 0.0
    if dim > bright:
        raise SpatialfmError(
            f"brightness={brightness!r} is not valid. Pass the photons a pixel of the dimmest and of the brightest "
            "marker, such as brightness=(6, 300)."
        )
    return dim, bright
