"""One sample of a simulated cohort: tissue, pixels, artifacts and the segmentation that a user would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._simulate_artifacts import add_artifacts
from ._simulate_difficulty import biology_of
from ._simulate_expression import TypeMixture, expression
from ._simulate_fields import NicheFields
from ._simulate_glass import STRAY_LIGHT, draw_outline, on_tissue
from ._simulate_masks import displaced, nuclei_of
from ._simulate_optics import Camera, Scene, autofluorescence, detected, expected_photons, expose, rescaled
from ._simulate_options import ARTIFACTS, generator
from ._simulate_panel import panel
from ._simulate_patients import Patient
from ._simulate_segmentation import segment
from ._simulate_shapes import Shapes, centroids, draw_shapes
from ._simulate_slides import draw_slide
from ._simulate_stain import draw_stain
from ._simulate_structures import stitched, structures
from ._simulate_tissue import Tissue, draw_tissue

_MARGIN = 12.0  # µm of tissue beyond the image, so that its edge cuts through cells as on a slide


@dataclass(frozen=True)
class SimulatedSample:
    """What is known of one sample, and what a user would have of it."""

    name: str
    patient: Patient
    tissue: Tissue
    expression: np.ndarray
    mixture: TypeMixture | None
    centroids: np.ndarray
    image: np.ndarray
    true_cells: np.ndarray
    cells: np.ndarray
    artifacts: np.ndarray | None
    outline: np.ndarray | None
    segmentation: dict[str, Any]


def draw_sample(patient: Patient, s: int, parameters: dict[str, Any], camera: Camera) -> SimulatedSample:
    """Sample number `s` of a patient; depends on no other sample."""
    size, mpp, n_markers, seed = (parameters[key] for key in ("image_size", "mpp", "n_markers", "random_state"))

    def rng(stream: str, *kind: int) -> np.random.Generator:
        return generator(seed, stream, patient.index, s, *kind)

    biology = biology_of(parameters)
    markers = rescaled(panel(n_markers), parameters["brightness"], parameters["dim_markers"])
    tissue, layout = draw_tissue(size * mpp + 2 * _MARGIN, patient, rng("tissue"), biology, rng("size"))
    outline = draw_outline(size, mpp, parameters["glass"], rng("outline")) if parameters["glass"] else None
    if outline is not None:
        tissue = tissue.keep(on_tissue(outline, tissue.xy - _MARGIN, mpp))
    tissue, shapes = draw_shapes(tissue, size, mpp, _MARGIN, rng("shape"))
    gain = patient.marker_gain
    level, mixture = expression(tissue.type, tissue.state, gain, rng("expression"), n_markers, biology, rng)
    slide = draw_slide(patient.slide, seed, parameters["batch_effect"])
    if outline is not None:
        outline = outline | (shapes.labels > 0)  # cells at the edge reach beyond it
    optics, scene = rng("optics"), _scene(layout, shapes, outline, parameters, rng)
    glow = autofluorescence(shapes, layout.glow(size, mpp, _MARGIN), mpp, optics)
    if outline is not None:
        glow = np.where(outline, glow, STRAY_LIGHT).astype(np.float32)
    photons = expected_photons(level, shapes, glow, markers, slide, camera, mpp, optics, scene)
    image, mask = expose(photons, camera, optics), None
    if parameters["artifacts"]:
        rngs = {kind: rng("artifacts", ARTIFACTS[kind]) for kind in parameters["artifacts"]}
        image, mask = add_artifacts(image, photons, rngs, parameters["artifact_rate"], camera, mpp)
    image = detected(image, markers, slide, camera, glow if outline is None else glow[outline])
    cells, counts = _segmentation(shapes, parameters, rng)
    centres = centroids(shapes.labels, len(tissue.xy), mpp)
    name = f"{patient.name}_{s + 1}"
    return SimulatedSample(
        name, patient, tissue, level, mixture, centres, image, shapes.labels, cells, mask, outline, counts
    )


def _scene(
    layout: NicheFields,
    shapes: Shapes,
    outline: np.ndarray | None,
    parameters: dict[str, Any],
    rng: Callable[..., np.random.Generator],
) -> Scene:
    """Uneven stain, glowing structures and fields of view, as far as they were asked for."""
    size, mpp = parameters["image_size"], parameters["mpp"]
    stain = {key: parameters[key] for key in ("granularity", "polarity", "unevenness")}
    light = {key: parameters[key] for key in ("collagen", "red_cells")}
    structure_rng, view_rng = rng("structures").spawn(2)
    glowing = structures(layout, size, mpp, _MARGIN, **light, rng=structure_rng)
    if glowing is not None and outline is not None:
        glowing = np.where(outline, glowing, 0)  # glass has neither fibres nor blood
    return Scene(
        draw_stain(shapes, mpp, **stain, rng=rng("stain")) if any(stain.values()) else None,
        glowing,
        stitched(size, mpp, parameters["stitching"], view_rng) if parameters["stitching"] else None,
    )


def _segmentation(
    shapes: Shapes, parameters: dict[str, Any], rng: Callable[..., np.random.Generator]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Labels that a user would have, and counts of their errors."""
    nuclear_rng, shift_rng = rng("masks").spawn(2)
    labels, further = shapes.labels, {}
    if parameters["nuclear_rate"]:
        labels, cells = nuclei_of(labels, shapes.nucleus, parameters["nuclear_rate"], nuclear_rng)
        further["nuclear"] = len(cells)
    errors = {key: parameters[key] for key in ("merge_rate", "split_rate", "miss_rate", "dilation")}
    labels, counts = segment(labels, **errors, rng=rng("segmentation"))
    if parameters["mask_shift"]:
        labels, shift = displaced(labels, parameters["mask_shift"], parameters["mpp"], shift_rng)
        further |= {"shift": list(shift)}
        counts["segmented_cells"] = int(labels.max())
    return labels, counts | further
