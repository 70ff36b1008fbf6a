"""A simulated cohort as SpatialData: images, label images, tables, and the truth behind them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

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
from ._simulate_expression import mixture_columns
from ._simulate_optics import Camera
from ._simulate_options import ARTIFACTS
from ._simulate_panel import NICHES, STATES, TYPES, SimulatedPanel, panel
from ._simulate_patients import Patient, effect_record, fractions, outcomes
from ._simulate_sample import SimulatedSample
from ._simulate_slides import Slide, draw_slide

if TYPE_CHECKING:
    from spatialdata import SpatialData


def assemble(patients: list[Patient], samples: list[SimulatedSample], parameters: dict, camera: Camera) -> SpatialData:
    """The elements and tables of all samples; what `simulate_cohort` returns."""
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


def _samples_table(samples: list[SimulatedSample], clinical: pd.DataFrame):
    import anndata as ad
    from spatialdata.models import TableModel

    obs = clinical.loc[[sample.patient.name for sample in samples]]
    obs = obs.rename_axis(PATIENT_KEY).reset_index().set_index(pd.Index([sample.name for sample in samples]))
    obs.insert(1, "slide", [f"S{sample.patient.slide + 1}" for sample in samples])
    for column in obs.columns[obs.dtypes == obs[PATIENT_KEY].dtype]:
        obs[column] = pd.Categorical(obs[column])
    return TableModel.parse(ad.AnnData(np.zeros((len(obs), 0), np.float32), obs=obs))


def _truth_table(samples: list[SimulatedSample], patient, niche, types, markers: SimulatedPanel):
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
    obs = obs.assign(**mixture_columns([sample.mixture for sample in samples]))
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
