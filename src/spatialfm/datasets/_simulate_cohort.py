"""``sfm.datasets.simulate_cohort``: images, label images and patients whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._keys import (
    ARTIFACTS_PREFIX,
    ATTRS,
    ATTRS_TRUTH,
    INSTANCE_KEY,
    PATIENT_KEY,
    REGION_KEY,
    SAMPLE_KEY,
    SAMPLES,
    SPATIAL,
    TRUE_CELLS_PREFIX,
    TRUE_TISSUE_PREFIX,
    TRUTH,
    cell_name,
    cells_name,
    image_name,
)
from .._progress import progress_bar
from .._public import public
from ._simulate_artifacts import add_artifacts
from ._simulate_glass import STRAY_LIGHT, draw_outline, on_tissue
from ._simulate_optics import Camera, autofluorescence, expected_photons, expose
from ._simulate_options import (
    ARTIFACTS,
    check_artifacts,
    check_difficulty,
    check_effect_of,
    check_image,
    check_integer,
    check_number,
    check_panel,
    generator,
)
from ._simulate_panel import NICHES, STATES, TYPES, SimulatedPanel, expression, panel
from ._simulate_patients import Patient, draw_patient, effect_record, fractions, outcomes
from ._simulate_segmentation import segment
from ._simulate_shapes import centroids, draw_shapes
from ._simulate_slides import Slide, draw_slide
from ._simulate_tissue import Tissue, draw_tissue

if TYPE_CHECKING:
    from spatialdata import SpatialData

_MARGIN = 12.0  # µm of tissue beyond the image, so that its edge cuts through cells as on a slide


@dataclass(frozen=True)
class _Sample:
    name: str
    patient: Patient
    tissue: Tissue
    expression: np.ndarray
    centroids: np.ndarray
    image: np.ndarray
    true_cells: np.ndarray
    cells: np.ndarray
    artifacts: np.ndarray | None
    outline: np.ndarray | None
    segmentation: dict[str, int]


@public
def simulate_cohort(
    n_patients: int = 24,
    *,
    n_samples: int = 2,
    image_size: int = 256,
    n_markers: int = 12,
    mpp: float = 0.5,
    effect_of: str = "tumor nest",
    effect_size: float = 1.0,
    baseline_hazard: float = 0.015,
    artifacts: str | Sequence[str] = (),
    artifact_rate: float = 0.3,
    glass: float = 0.0,
    merge_rate: float = 0.04,
    split_rate: float = 0.03,
    miss_rate: float = 0.03,
    dilation: int = 1,
    batch_effect: float = 1.0,
    patients_per_slide: int = 8,
    spillover: float = 0.4,
    psf: float = 0.35,
    background: float = 1.0,
    camera_gain: float = 4.0,
    camera_offset: float = 100.0,
    read_noise: float = 8.0,
    difficulty: Literal["easy"] = "easy",
    random_state: int = 0,
) -> SpatialData:
    r"""Simulate images of a cohort of patients whose cells, niches and outcome are known.

    Tissue is laid out in four niches: vessels, lymphoid aggregates, tumor nests, and stroma around them. Cells keep
    a distance from each other; their types follow the niche, their place in it (macrophages at the border of tumor
    nests, B cells in the middle of aggregates, endothelial cells along vessels, few lymphocytes deep inside a nest)
    and their neighbours (regulatory T cells near CD8 T cells, CD4 T near dendritic cells, neutrophils together). Each
    cell has a continuous state (proliferation, exhaustion, polarization, …) that moves some of its markers. Patients
    differ in the shares of niches and types (logistic-normal), in states and in expression.

    Images have spill-over between touching cells, autofluorescence, a Gaussian point-spread function, staining and
    illumination that differ from slide to slide, Poisson and read noise, and artifacts on request. The segmentation
    that goes with them has errors; the true one is stored too.

    Parameters
    ----------
    n_patients
        Patients.
    n_samples
        Samples (images) of each patient.
    image_size
        Side of the images in pixels.
    mpp
        Pixel size of the images in µm.
    n_markers
        12 or 40; the first 12 are the same.
    effect_of
        What drives the outcome: the fraction of a patient's true cells that are in a niche (``"tumor nest"``,
        ``"stroma"``, ``"lymphoid aggregate"``, ``"vessel"``) or are of a phenotype (``"Tumor"``, ``"CD8 T"``,
        ``"CD4 T"``, ``"Treg"``, ``"B"``, ``"Macrophage"``, ``"Dendritic"``, ``"Neutrophil"``, ``"Fibroblast"``,
        ``"Endothelial"``).
    effect_size
        Log hazard ratio per standard deviation (over the cohort's patients) of that fraction. 0: the null cohort.
    baseline_hazard
        Deaths a month of a patient of 62 years, stage I, with the mean fraction.
    artifacts
        Any of ``"fold"``, ``"blur"``, ``"saturation"``.
    artifact_rate
        Probability of each artifact in each sample.
    glass
        Share of every image, outside of the tissue, that is empty: no cells, no autofluorescence, a little stray light.
    merge_rate
        Expected share of true cells that the segmentation fuses with a touching one.
    split_rate
        Expected share of true cells that it cuts in two.
    miss_rate
        Expected share of true cells that it misses.
    dilation
        Pixels by which segmented outlines are too far out: all into the background, those of a third of the cells
        into their neighbours too.
    batch_effect
        Strength of the differences between slides (0: none).
    patients_per_slide
        Patients on a slide.
    spillover
        Share of a cell's membrane light that a touching cell shows at the contact; falls to 1/e over 0.8 µm.
    psf
        Standard deviation of the point-spread function in µm.
    background
        Factor of background and autofluorescence.
    camera_gain
        Counts per photon: ``counts = offset + gain * Poisson(photons) + normal(0, read_noise)``.
    camera_offset
        Counts without light.
    read_noise
        Standard deviation of the read noise in counts.
    difficulty
        ``"easy"``: stains are specific, types are told apart by bright markers, and segmentation is nearly right.
    random_state
        Seed; the same seed gives the same bytes. Tissue and image of a sample depend on the seed, the patient's and
        the sample's number, not on how many others there are.

    Returns
    -------
    SpatialData with, for each sample (``P001_1``, ``P001_2``, …), in one coordinate system of its name in µm:

    - ``image_<sample>``: uint16 ``(c, y, x)``. Without artifacts nothing saturates at the default strengths.
    - ``cells_<sample>``: the segmentation that a user would have; ``true_cells_<sample>``: the true one.
    - ``artifacts_<sample>``, where artifacts were asked for: 0 clean, 1 fold, 2 blur, 3 saturation.
    - ``true_tissue_<sample>``, where glass was asked for: 1 tissue, 0 glass.

    and the tables

    - ``samples``: one row per sample; ``patient``, ``slide``, ``age``, ``sex``, ``stage``, ``treatment``,
      ``response``, ``time`` (months), ``event`` (1: died, 0: censored).
    - ``truth``: one row a true cell, annotates ``true_cells_<sample>``; ``type``, ``niche``, ``state`` (0 to 1),
      ``state_name``, ``sample``, ``patient``; ``X`` the relative expression; ``obsm["spatial"]`` the centroid in µm.

    ``sdata.attrs["truth"]`` holds parameters, effect, patients (``fraction``, ``z``, ``log_hazard``, ``hazard``, …),
    slides, compartments of the markers, counts of segmentation errors and artifact codes, ready for JSON. There is
    no cell table: :func:`spatialfm.pp.cell_table` makes it from the images, without a look at the truth.

    Raises
    ------
    SpatialfmError
        If an argument has a value that is not valid; the message names it and those that are.

    See Also
    --------
    simulate_cells : the same tissue without pixels, a thousand times faster.

    Notes
    -----
    With :math:`f_i` the fraction of patient `i`, and mean and standard deviation over the cohort's patients,

    .. math::
        z_i = \frac{f_i - \bar f}{\mathrm{sd}(f)}, \qquad
        h_i = h_0 \exp\Bigl(\beta z_i + 0.25\,(\mathrm{stage}_i - 1) + 0.2\,\frac{\mathrm{age}_i - 62}{10}\Bigr)

    with :math:`\beta` = `effect_size` and :math:`h_0` = `baseline_hazard`. Hazards are constant in time and
    proportional; survival times are exponential, follow-up is uniform from 24 to 84 months and ends in censoring.
    Response is drawn with :math:`\mathrm{logit}\,P(\mathrm{responder}) = -0.2 - \beta z_i`: what raises the hazard
    lowers the odds of response by the same factor. Sex, treatment and slide have no effect.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(2, n_samples=1, image_size=64, difficulty="easy")
    >>> sorted(sdata.images), sorted(sdata.tables)
    (['image_P001_1', 'image_P002_1'], ['samples', 'truth'])
    >>> sdata.attrs["truth"]["effect"]["log_hazard_ratio_per_sd"]
    1.0
    """
    parameters = {
        "n_patients": check_integer("n_patients", n_patients, 1),
        "n_samples": check_integer("n_samples", n_samples, 1),
        **dict(zip(("image_size", "mpp"), check_image(image_size, mpp), strict=True)),
        "n_markers": check_panel(n_markers),
        "effect_of": check_effect_of(effect_of),
        "effect_size": check_number("effect_size", effect_size, -np.inf),
        "baseline_hazard": check_number("baseline_hazard", baseline_hazard, 1e-6),
        "artifacts": list(check_artifacts(artifacts)),
        "artifact_rate": check_number("artifact_rate", artifact_rate, 0, 1),
        "glass": check_number("glass", glass, 0, 0.9),
        "merge_rate": check_number("merge_rate", merge_rate, 0, 1),
        "split_rate": check_number("split_rate", split_rate, 0, 1),
        "miss_rate": check_number("miss_rate", miss_rate, 0, 0.9),
        "dilation": check_integer("dilation", dilation, 0),
        "batch_effect": check_number("batch_effect", batch_effect, 0),
        "patients_per_slide": check_integer("patients_per_slide", patients_per_slide, 1),
        "difficulty": check_difficulty(difficulty),
        "random_state": check_integer("random_state", random_state, 0),
    }
    camera = Camera(
        psf=check_number("psf", psf, 0, 5),
        spillover=check_number("spillover", spillover, 0, 1),
        background=check_number("background", background, 0),
        gain=check_number("camera_gain", camera_gain, 1e-3),
        offset=check_number("camera_offset", camera_offset, 0),
        read_noise=check_number("read_noise", read_noise, 0),
    )
    seed = parameters["random_state"]
    patients = [draw_patient(i, seed, parameters["patients_per_slide"]) for i in range(n_patients)]
    jobs = [(patient, s) for patient in patients for s in range(n_samples)]
    samples = [
        _draw_sample(patient, s, parameters, camera)
        for patient, s in progress_bar(
            jobs,
            desc="simulate_cohort",
        )
    ]
    return _assemble(patients, samples, parameters, camera)


def _draw_sample(patient: Patient, s: int, parameters: dict, camera: Camera) -> _Sample:
    size, mpp, n_markers, seed = (parameters[key] for key in ("image_size", "mpp", "n_markers", "random_state"))

    def rng(stream: str, *kind: int) -> np.random.Generator:
        return generator(seed, stream, patient.index, s, *kind)

    markers = panel(n_markers)
    tissue, layout = draw_tissue(size * mpp + 2 * _MARGIN, patient, rng("tissue"))
    outline = draw_outline(size, mpp, parameters["glass"], rng("outline")) if parameters["glass"] else None
    if outline is not None:
        tissue = tissue.keep(on_tissue(outline, tissue.xy - _MARGIN, mpp))
    tissue, shapes = draw_shapes(tissue, size, mpp, _MARGIN, rng("shape"))
    level = expression(tissue.type, tissue.state, patient.marker_gain, rng("expression"), n_markers)
    slide = draw_slide(patient.slide, seed, parameters["batch_effect"])
    optics = rng("optics")
    glow = autofluorescence(shapes, layout.glow(size, mpp, _MARGIN), mpp, optics)
    if outline is not None:
        outline = outline | (shapes.labels > 0)  # cells at the edge reach beyond it
        glow = np.where(outline, glow, STRAY_LIGHT).astype(np.float32)
    photons = expected_photons(level, shapes, glow, markers, slide, camera, mpp, optics)
    image, mask = expose(photons, camera, optics), None
    if parameters["artifacts"]:
        rngs = {kind: rng("artifacts", ARTIFACTS[kind]) for kind in parameters["artifacts"]}
        image, mask = add_artifacts(image, photons, rngs, parameters["artifact_rate"], camera, mpp)
    cells, counts = segment(
        shapes.labels,
        **{key: parameters[key] for key in ("merge_rate", "split_rate", "miss_rate", "dilation")},
        rng=rng("segmentation"),
    )
    centres = centroids(shapes.labels, len(tissue.xy), mpp)
    name = f"{patient.name}_{s + 1}"
    return _Sample(name, patient, tissue, level, centres, image, shapes.labels, cells, mask, outline, counts)


def _assemble(patients: list[Patient], samples: list[_Sample], parameters: dict, camera: Camera) -> SpatialData:
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, Labels2DModel
    from spatialdata.transformations import Scale

    markers, mpp = panel(parameters["n_markers"]), parameters["mpp"]
    patient = np.concatenate([np.full(len(sample.tissue.xy), sample.patient.index) for sample in samples])
    niche = np.concatenate([sample.tissue.niche for sample in samples])
    types = np.concatenate([sample.tissue.type for sample in samples])
    fraction = fractions(patient, niche, types, parameters["effect_of"], len(patients))
    clinical, truth = outcomes(patients, fraction, parameters["effect_size"], parameters["baseline_hazard"])
    images, labels = {}, {}
    for sample in samples:
        where = {"transformations": {sample.name: Scale([mpp, mpp], axes=("x", "y"))}}
        images[image_name(sample.name)] = Image2DModel.parse(
            sample.image, dims=("c", "y", "x"), c_coords=list(markers.names), **where
        )
        masks = {cells_name(sample.name): sample.cells, TRUE_CELLS_PREFIX + sample.name: sample.true_cells}
        if sample.artifacts is not None:
            masks[ARTIFACTS_PREFIX + sample.name] = sample.artifacts
        if sample.outline is not None:
            masks[TRUE_TISSUE_PREFIX + sample.name] = sample.outline.astype(np.uint8)
        labels |= {name: Labels2DModel.parse(mask, dims=("y", "x"), **where) for name, mask in masks.items()}
    return SpatialData(
        images=images,
        labels=labels,
        tables={
            SAMPLES: _samples_table(samples, clinical),
            TRUTH: _truth_table(samples, patient, niche, types, markers),
        },
        attrs={
            ATTRS: {"samples": {sample.name: {"mpp": mpp, "mpp_source": "argument"} for sample in samples}},
            ATTRS_TRUTH: _truth_record(samples, truth, fraction, parameters, camera, markers),
        },
    )


def _samples_table(samples: list[_Sample], clinical: pd.DataFrame):
    import anndata as ad
    from spatialdata.models import TableModel

    obs = clinical.loc[[sample.patient.name for sample in samples]]
    obs = obs.rename_axis(PATIENT_KEY).reset_index().set_index(pd.Index([sample.name for sample in samples]))
    obs.insert(1, "slide", [f"S{sample.patient.slide + 1}" for sample in samples])
    for column in obs.columns[obs.dtypes == obs[PATIENT_KEY].dtype]:
        obs[column] = pd.Categorical(obs[column])
    return TableModel.parse(ad.AnnData(np.zeros((len(obs), 0), np.float32), obs=obs))


def _truth_table(samples: list[_Sample], patient, niche, types, markers: SimulatedPanel):
    import anndata as ad
    from spatialdata.models import TableModel

    counts = [len(sample.tissue.xy) for sample in samples]
    of_sample = np.repeat(np.arange(len(samples)), counts)
    cell_id = np.concatenate([np.arange(1, n + 1) for n in counts])
    names = [sample.name for sample in samples]
    patients = list(dict.fromkeys(sample.patient.name for sample in samples))
    kinds = list(dict.fromkeys(STATES.values()))
    regions = [TRUE_CELLS_PREFIX + name for name in names]
    obs = pd.DataFrame(
        {
            REGION_KEY: pd.Categorical.from_codes(of_sample, regions),
            INSTANCE_KEY: cell_id,
            SAMPLE_KEY: pd.Categorical.from_codes(of_sample, names),
            PATIENT_KEY: pd.Categorical.from_codes(patient, patients),
            "type": pd.Categorical.from_codes(types, TYPES),
            "niche": pd.Categorical.from_codes(niche, NICHES),
            "state": np.concatenate([sample.tissue.state for sample in samples]),
            "state_name": pd.Categorical.from_codes([kinds.index(STATES[TYPES[t]]) for t in types], kinds),
        },
        # not the names of the cell table, which numbers its cells otherwise: a join by name would be wrong in silence
        index=[cell_name(f"{names[s]}_true", label) for s, label in zip(of_sample, cell_id, strict=True)],
    )
    adata = ad.AnnData(
        np.concatenate([sample.expression for sample in samples]),
        obs=obs,
        var=pd.DataFrame({"compartment": list(markers.compartments)}, index=list(markers.names)),
        obsm={SPATIAL: np.concatenate([sample.centroids for sample in samples])},
    )
    return TableModel.parse(adata, region=regions, region_key=REGION_KEY, instance_key=INSTANCE_KEY)


def _truth_record(
    samples, truth: pd.DataFrame, fraction, parameters: dict, camera: Camera, markers: SimulatedPanel
) -> dict:
    """Everything behind the cohort that no element holds, ready for JSON."""
    effect = effect_record(*(parameters[key] for key in ("effect_of", "effect_size", "baseline_hazard")), fraction)
    slides = {patient.slide: patient.slide for patient in (sample.patient for sample in samples)}
    drawn = {f"S{i + 1}": draw_slide(i, parameters["random_state"], parameters["batch_effect"]) for i in slides}
    return {
        "parameters": parameters | {"camera": asdict(camera)},
        "effect": effect,
        "patients": {
            name: {column: float(value) for column, value in row.items()}
            for name, row in truth.to_dict("index").items()
        },
        "slides": {name: _slide_record(slide, markers) for name, slide in drawn.items()},
        "markers": dict(zip(markers.names, markers.compartments, strict=True)),
        "niches": list(NICHES),
        "types": list(TYPES),
        "states": dict(STATES),
        "segmentation": {sample.name: sample.segmentation for sample in samples},
        "artifact_codes": {kind: ARTIFACTS[kind] for kind in parameters["artifacts"]},
    }


def _slide_record(slide: Slide, markers: SimulatedPanel) -> dict:
    return {
        "gain": {name: float(slide.gain[m]) for m, name in enumerate(markers.names)},
        "background": {name: float(slide.background[m]) for m, name in enumerate(markers.names)},
        "illumination_falloff": slide.falloff,
        "illumination_centre": list(slide.centre),
    }
