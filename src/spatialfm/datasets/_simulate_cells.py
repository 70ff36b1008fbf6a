"""``sfm.datasets.simulate_cells``: simulated tissue without pixels, for statistics that need hundreds of cohorts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from .._keys import ATTRS_TRUTH, PATIENT_KEY, SAMPLE_KEY, SPATIAL
from .._public import public
from ._simulate_difficulty import Biology, biology_of, settings_of
from ._simulate_expression import TypeMixture, expression, mixture_columns
from ._simulate_optics import rescaled
from ._simulate_options import check_effect_of, check_integer, check_number, check_panel, generator
from ._simulate_panel import NICHES, STATES, TYPES, SimulatedPanel, panel
from ._simulate_patients import Patient, draw_patient, effect_record, fractions, outcomes
from ._simulate_slides import draw_slide
from ._simulate_tissue import Tissue, draw_tissue

LATENT = "X_latent"
_UM2_PER_CELL = 105.0  # a square that holds the wanted cells in all but the sparsest patients
_TOUCH = 10.0  # µm between the centres of cells that touch
_NICHE_WEIGHT = 0.5  # length of the niche's direction in the embedding; the type's and the state's is 1


@dataclass(frozen=True)
class _Sample:
    name: str
    tissue: Tissue
    mixture: TypeMixture | None
    values: np.ndarray
    latent: np.ndarray


@public
def simulate_cells(
    n_patients: int = 60,
    *,
    cells_per_patient: int = 1000,
    n_samples: int = 1,
    n_markers: int = 12,
    effect_of: str = "tumor nest",
    effect_size: float = 1.0,
    baseline_hazard: float = 0.015,
    n_latent: int = 32,
    latent_noise: float = 0.3,
    marker_noise: float = 0.1,
    spillover: float = 0.1,
    batch_effect: float = 1.0,
    patients_per_slide: int = 8,
    difficulty: Literal["real", "easy"] = "easy",
    random_state: int = 0,
) -> ad.AnnData:
    r"""Simulate the cells of a cohort, without images.

    The tissue, the patients and the outcome are those of :func:`simulate_cohort`, see there; 60 patients of 1000 cells
    take about a second. What is hard about images is not here: these cells are for statistics.

    Parameters
    ----------
    n_patients
        Patients.
    cells_per_patient
        Cells of each patient, shared out evenly over its samples. A sample is the square around its centre that
        holds that many.
    n_samples
        Samples of each patient.
    n_markers
        12 or 40.
    effect_of
        What drives the outcome, as in :func:`simulate_cohort`.
    effect_size
        Size of that effect, as in :func:`simulate_cohort`.
    baseline_hazard
        Deaths per month without it, as in :func:`simulate_cohort`.
    n_latent
        Columns of the embedding.
    latent_noise
        Standard deviation of the noise in each column. Without noise a cell is the sum of a unit vector for its type,
        its state (0 to 1) times one for the kind of state, and half of one for its niche; the vectors are orthogonal
        where `n_latent` has room for all, so that two types are :math:`\sqrt{2}` apart.
    marker_noise
        Coefficient of variation of the measurement of a marker.
    spillover
        Share of the mean of touching cells that is added to a cell's membrane markers.
    batch_effect
        Strength of the staining differences between slides, in `X` and in the embedding; 0: none.
    patients_per_slide
        Patients whose samples are on one slide.
    difficulty
        ``"real"``: rare types, cells of many sizes, cells between types, and expression and brightness of markers as
        in :func:`simulate_cohort`; the embedding stays what it is, but of cells between types.
    random_state
        Seed; the same seed gives the same bytes. A patient's cells do not depend on how many others there are.

    Returns
    -------
    AnnData with one row per cell. `X`: float32 ``(n, n_markers)``, marker values in photons per pixel above background;
    ``obs``: ``sample``, ``patient``, ``slide``, ``type``, ``niche``, ``state`` and the patient's clinical columns, with
    ``difficulty="real"`` also ``other_type`` and ``other_share``, what a cell between two types has of the other one;
    ``obsm["spatial"]``: centre (x, y) in µm; ``obsm["X_latent"]``: the embedding; ``uns["truth"]``: ``effect`` (the
    planted effect in numbers), ``patients`` (a data frame with ``fraction``, ``z``, ``log_hazard``, ``hazard``, …)
    and ``parameters`` (JSON text).

    Raises
    ------
    SpatialfmError
        If an argument has a value that is not valid; the message names it and those that are.

    See Also
    --------
    simulate_cohort : the same with images and label images.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> adata = sfm.datasets.simulate_cells(4, cells_per_patient=100, effect_of="CD8 T", effect_size=-1.0)
    >>> adata.shape
    (400, 12)
    >>> adata.obsm["X_latent"].shape
    (400, 32)
    >>> adata.uns["truth"]["effect"]["log_hazard_ratio_per_sd"]
    -1.0
    """
    parameters = {
        "n_patients": check_integer("n_patients", n_patients, 1),
        "n_samples": check_integer("n_samples", n_samples, 1),
        "cells_per_patient": check_integer("cells_per_patient", cells_per_patient, 10 * n_samples),
        "n_markers": check_panel(n_markers),
        "effect_of": check_effect_of(effect_of),
        "effect_size": check_number("effect_size", effect_size, -np.inf),
        "baseline_hazard": check_number("baseline_hazard", baseline_hazard, 1e-6),
        "n_latent": check_integer("n_latent", n_latent, 2),
        "latent_noise": check_number("latent_noise", latent_noise, 0),
        "marker_noise": check_number("marker_noise", marker_noise, 0),
        "spillover": check_number("spillover", spillover, 0, 1),
        "batch_effect": check_number("batch_effect", batch_effect, 0),
        "patients_per_slide": check_integer("patients_per_slide", patients_per_slide, 1),
        "difficulty": difficulty,
        "random_state": check_integer("random_state", random_state, 0),
    }
    hard, markers = settings_of(difficulty, {}), panel(parameters["n_markers"])
    markers = rescaled(markers, hard["brightness"], hard["dim_markers"])
    patients = [draw_patient(i, random_state, patients_per_slide) for i in range(n_patients)]
    samples = [
        _draw_sample(patient, s, n_cells, markers, biology_of(hard), parameters)
        for patient in patients
        for s, n_cells in enumerate(_shared_out(cells_per_patient, n_samples))
    ]
    return _assemble(patients, samples, markers, parameters)


def _draw_sample(
    patient: Patient, s: int, n_cells: int, markers: SimulatedPanel, biology: Biology, parameters: dict
) -> _Sample:
    seed, batch_effect, n_latent = (parameters[key] for key in ("random_state", "batch_effect", "n_latent"))

    def stream(name: str) -> np.random.Generator:
        return generator(seed, name, patient.index, s)

    tissue = _square_of(n_cells, patient, stream("tissue"), biology, stream("size"))
    n_markers, rng = len(markers.names), stream("expression")
    level, mixture = expression(tissue.type, tissue.state, patient.marker_gain, rng, n_markers, biology, stream)
    gain = draw_slide(patient.slide, seed, batch_effect).gain[:n_markers]
    values = _measured(level, tissue.xy, markers, gain, parameters["spillover"], parameters["marker_noise"], rng)
    rng = generator(seed, "latent", 0, patient.index, s)
    latent = _embedding(tissue, mixture, _directions(n_latent, seed), parameters["latent_noise"], rng)
    latent += batch_effect * _slide_shift(n_latent, patient.slide, seed)
    return _Sample(f"{patient.name}_{s + 1}", tissue, mixture, values, latent)


def _shared_out(total: int, parts: int) -> list[int]:
    return [total // parts + (i < total % parts) for i in range(parts)]


def _square_of(
    n_cells: int, patient: Patient, rng: np.random.Generator, biology: Biology, size_rng: np.random.Generator
) -> Tissue:
    """The `n_cells` cells of a sample that a square around its centre holds."""
    side = np.sqrt(n_cells * _UM2_PER_CELL) + 20.0
    tissue, _ = draw_tissue(side, patient, rng, biology, size_rng)
    while len(tissue.xy) < n_cells:
        side *= 1.15
        tissue, _ = draw_tissue(side, patient, rng, biology, size_rng)
    reach = np.abs(tissue.xy - side / 2).max(axis=1)
    return tissue.keep(np.sort(np.argsort(reach, kind="stable")[:n_cells]))


def _measured(
    level: np.ndarray,
    xy: np.ndarray,
    markers: SimulatedPanel,
    gain: np.ndarray,
    spillover: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Marker values ``(n, M)``: expression times brightness, with spill-over, slide gain and noise."""
    value = level * markers.photons.astype(np.float32)
    if spillover > 0:
        pairs = cKDTree(xy).query_pairs(_TOUCH, output_type="ndarray")
        rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
        touching = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(xy), len(xy)))
        degree = np.maximum(np.bincount(rows, minlength=len(xy)), 1)[:, None]
        membrane = np.array([compartment == "membrane" for compartment in markers.compartments])
        value[:, membrane] += spillover * (touching @ value[:, membrane]) / degree
    value *= gain
    value *= np.clip(1 + noise * rng.standard_normal(value.shape, np.float32), 0, None)
    return value.astype(np.float32)


def _directions(n_latent: int, random_state: int) -> np.ndarray:
    """Unit vectors ``(types + kinds of state + niches, n_latent)``."""
    n = len(TYPES) + len(set(STATES.values())) + len(NICHES)
    vectors = generator(random_state, "latent", 1).standard_normal((max(n, n_latent), n_latent))
    if n_latent >= n:
        return np.linalg.qr(vectors.T)[0].T[:n]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[:n]


def _embedding(
    tissue: Tissue, mixture: TypeMixture | None, directions: np.ndarray, noise: float, rng: np.random.Generator
) -> np.ndarray:
    kinds = list(dict.fromkeys(STATES.values()))
    kind_of_type = np.array([kinds.index(STATES[name]) for name in TYPES])
    of_type, of_state, of_niche = np.split(directions, [len(TYPES), len(TYPES) + len(kinds)])
    own = of_type[tissue.type]
    if mixture is not None:
        share = mixture.share[:, None]
        own = (1 - share) * own + share * of_type[mixture.other]
    latent = own + tissue.state[:, None] * of_state[kind_of_type[tissue.type]]
    latent += _NICHE_WEIGHT * of_niche[tissue.niche]
    return (latent + noise * rng.standard_normal(latent.shape, np.float32)).astype(np.float32)


def _slide_shift(n_latent: int, slide: int, random_state: int) -> np.ndarray:
    """Offset of a slide in the embedding, a fifth of a unit vector long on average."""
    shift = generator(random_state, "latent", 2, slide).standard_normal(n_latent)
    return (0.2 * shift / np.sqrt(n_latent)).astype(np.float32)


def _assemble(patients: list[Patient], samples: list[_Sample], markers: SimulatedPanel, parameters: dict) -> ad.AnnData:
    tissues, names = [sample.tissue for sample in samples], [sample.name for sample in samples]
    counts = np.array([len(tissue.xy) for tissue in tissues])
    sample = np.repeat(np.arange(len(tissues)), counts)
    of_sample = np.repeat(np.arange(len(patients)), parameters["n_samples"])
    patient = of_sample[sample]
    niche = np.concatenate([tissue.niche for tissue in tissues])
    types = np.concatenate([tissue.type for tissue in tissues])
    fraction = fractions(patient, niche, types, parameters["effect_of"], len(patients))
    effect_size, baseline = parameters["effect_size"], parameters["baseline_hazard"]
    clinical, truth = outcomes(patients, fraction, effect_size, baseline)
    slides = np.array([p.slide for p in patients])
    obs = {
        SAMPLE_KEY: pd.Categorical.from_codes(sample, names),
        PATIENT_KEY: pd.Categorical.from_codes(patient, [p.name for p in patients]),
        "slide": pd.Categorical.from_codes(slides[patient], [f"S{i + 1}" for i in range(slides.max() + 1)]),
        "type": pd.Categorical.from_codes(types, TYPES),
        "niche": pd.Categorical.from_codes(niche, NICHES),
        "state": np.concatenate([tissue.state for tissue in tissues]),
    }
    obs |= mixture_columns([one.mixture for one in samples])
    for column, per_patient in clinical.items():
        if per_patient.dtype.kind in "if":
            obs[column] = per_patient.to_numpy()[patient]
        else:
            codes, levels = pd.factorize(per_patient, sort=True)
            obs[column] = pd.Categorical.from_codes(codes[patient], list(levels))
    index = [f"{names[s]}_{i + 1}" for s, count in enumerate(counts) for i in range(count)]
    adata = ad.AnnData(
        np.concatenate([one.values for one in samples]),
        obs=pd.DataFrame(obs, index=index),
        var=pd.DataFrame({"compartment": list(markers.compartments)}, index=list(markers.names)),
    )
    adata.obsm[SPATIAL] = np.concatenate([tissue.xy for tissue in tissues])
    adata.obsm[LATENT] = np.concatenate([one.latent for one in samples])
    adata.uns[ATTRS_TRUTH] = {
        "effect": effect_record(parameters["effect_of"], effect_size, baseline, fraction),
        "patients": truth,
        "parameters": json.dumps(parameters),
    }
    return adata
