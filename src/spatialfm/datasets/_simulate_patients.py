"""Patients of a simulated cohort: what their tissue is made of, their clinical columns, and their hazard.

The only definition of how outcome depends on tissue; cohorts with and without pixels share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._simulate_options import generator
from ._simulate_panel import MARKERS, NICHES, SPREAD_LIMIT, TYPES

# mean share of a niche, and standard deviation of its log-ratio between patients and between samples of a patient
_NICHE_MEAN = np.array([0.45, 0.37, 0.10, 0.08])
_NICHE_SD = np.array([0.55, 0.35, 0.90, 0.35])
_NICHE_SD_SAMPLE = 0.25
# standard deviation, between patients, of the log-odds of each type (order of TYPES)
_TYPE_SD = np.array([0.25, 0.55, 0.35, 0.55, 0.30, 0.65, 0.40, 0.55, 0.25, 0.15])
_STATE_SD = 0.6  # logit of the state
_MARKER_SD = 0.1  # log of the expression

STAGES = ("I", "II", "III", "IV")
_STAGE_SHARE = np.array([0.25, 0.35, 0.25, 0.15])
LOG_HR_STAGE = 0.25  # a step of the stage
LOG_HR_AGE = 0.20  # ten years over AGE_REFERENCE
AGE_REFERENCE = 62.0
RESPONSE_INTERCEPT = -0.2
FOLLOW_UP = (24.0, 84.0)  # months, uniform: entry spread over five years, then the study closes
FORMULA = (
    "hazard(t) = baseline_hazard * exp(effect_size * z + "
    f"{LOG_HR_STAGE} * (stage - 1) + {LOG_HR_AGE} * (age - {AGE_REFERENCE:g}) / 10), constant in time; "
    f"logit P(responder) = {RESPONSE_INTERCEPT} - effect_size * z; "
    "z = (fraction - mean) / sd of the cohort's patients; sex, treatment and slide have no effect; "
    f"censoring uniform on {FOLLOW_UP[0]:g} to {FOLLOW_UP[1]:g} months"
)


@dataclass(frozen=True)
class Patient:
    """Random values drawn once per patient, before any tissue.

    Attributes
    ----------
    name, index, slide
        Name, position in the cohort, index of the slide of all samples of the patient.
    niche_logits, type_shift, state_shift
        ``(niches,)`` log-ratios of niche shares; ``(types,)`` shifts of the log-odds of types, and of the logits of
        states.
    marker_gain
        Factor of the expression of each of the 40 markers.
    clinical
        Age, sex, stage, treatment.
    exposure_time
        Draw from the unit exponential: survival time times hazard.
    follow_up
        Months after which the patient is censored.
    response_draw
        Draw from the uniform that decides on response.
    """

    name: str
    index: int
    slide: int
    niche_logits: np.ndarray
    type_shift: np.ndarray
    state_shift: np.ndarray
    marker_gain: np.ndarray
    clinical: dict[str, object]
    exposure_time: float
    follow_up: float
    response_draw: float


def draw_patient(index: int, random_state: int, patients_per_slide: int) -> Patient:
    """Patient number `index` of the cohort; does not depend on how many there are."""
    rng = generator(random_state, "patient", index)
    marker_gain = np.exp(_MARKER_SD * np.clip(rng.standard_normal(len(MARKERS)), -SPREAD_LIMIT, SPREAD_LIMIT))
    return Patient(
        name=f"P{index + 1:03d}",
        index=index,
        slide=index // patients_per_slide,
        niche_logits=np.log(_NICHE_MEAN) + _NICHE_SD * rng.standard_normal(len(NICHES)),
        type_shift=_TYPE_SD * rng.standard_normal(len(TYPES)),
        state_shift=_STATE_SD * rng.standard_normal(len(TYPES)),
        marker_gain=marker_gain,
        clinical={
            "age": int(np.clip(np.rint(rng.normal(AGE_REFERENCE, 10)), 30, 90)),
            "sex": ("female", "male")[rng.integers(2)],
            "stage": STAGES[rng.choice(len(STAGES), p=_STAGE_SHARE)],
            "treatment": ("chemotherapy", "immunotherapy")[rng.integers(2)],
        },
        exposure_time=float(rng.standard_exponential()),
        follow_up=float(rng.uniform(*FOLLOW_UP)),
        response_draw=float(rng.random()),
    )


def niche_shares(patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """Shares of the area ``(niches,)`` of one sample: the patient's, with a spread between samples."""
    logits = patient.niche_logits + _NICHE_SD_SAMPLE * rng.standard_normal(len(NICHES))
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


def fractions(patient_of_cell: np.ndarray, niche: np.ndarray, types: np.ndarray, effect_of: str, n: int) -> np.ndarray:
    """Share of each of `n` patients' cells that are in a niche, or of a type."""
    hit = niche == NICHES.index(effect_of) if effect_of in NICHES else types == TYPES.index(effect_of)
    return np.bincount(patient_of_cell, hit, n) / np.maximum(np.bincount(patient_of_cell, minlength=n), 1)


def outcomes(
    patients: list[Patient], fraction: np.ndarray, effect_size: float, baseline_hazard: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clinical columns, and the truth behind them, one row per patient.

    Returns
    -------
    clinical
        ``age``, ``sex``, ``stage``, ``treatment``, ``response``, ``time`` (months), ``event`` (1: died, 0: censored).
    truth
        ``fraction``, ``z``, ``log_hazard``, ``hazard`` (a month), ``response_probability``, ``survival_time`` (months,
        as it would be without censoring), ``follow_up``.
    """
    clinical = pd.DataFrame([patient.clinical for patient in patients], index=[patient.name for patient in patients])
    spread = fraction.std()
    # a cohort without spread has no direction of effect
    z = (fraction - fraction.mean()) / spread if spread > 0 else np.zeros(len(fraction))
    stage = clinical["stage"].map({name: i for i, name in enumerate(STAGES)}).to_numpy(float)
    log_hazard = (
        np.log(baseline_hazard)
        + effect_size * z
        + LOG_HR_STAGE * stage
        + LOG_HR_AGE * (clinical["age"].to_numpy(float) - AGE_REFERENCE) / 10
    )
    survival = np.array([patient.exposure_time for patient in patients]) / np.exp(log_hazard)
    follow_up = np.array([patient.follow_up for patient in patients])
    probability = 1 / (1 + np.exp(effect_size * z - RESPONSE_INTERCEPT))
    responds = np.array([patient.response_draw for patient in patients]) < probability
    clinical["response"] = np.where(responds, "responder", "non-responder")
    # no patient leaves on the day of entry: methods refuse a time of zero
    clinical["time"] = np.maximum(np.round(np.minimum(survival, follow_up), 2), 0.01)
    clinical["event"] = (survival <= follow_up).astype(np.int64)
    truth = pd.DataFrame(
        {
            "fraction": fraction,
            "z": z,
            "log_hazard": log_hazard,
            "hazard": np.exp(log_hazard),
            "response_probability": probability,
            "survival_time": survival,
            "follow_up": follow_up,
        },
        index=clinical.index,
    )
    return clinical, truth


def effect_record(
    effect_of: str, effect_size: float, baseline_hazard: float, fraction: np.ndarray
) -> dict[str, object]:
    """The planted effect in numbers and text, for the truth that goes with a cohort."""
    return {
        "effect_of": effect_of,
        "kind": "niche" if effect_of in NICHES else "phenotype",
        "log_hazard_ratio_per_sd": effect_size,
        "log_odds_of_response_per_sd": -effect_size,
        "fraction_mean": float(fraction.mean()),
        "fraction_sd": float(fraction.std()),
        "baseline_hazard_per_month": baseline_hazard,
        "log_hazard_ratio_per_stage": LOG_HR_STAGE,
        "log_hazard_ratio_per_10_years": LOG_HR_AGE,
        "age_reference": AGE_REFERENCE,
        "response_intercept": RESPONSE_INTERCEPT,
        "formula": FORMULA,
    }
