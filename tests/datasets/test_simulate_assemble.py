"""What a simulated cohort holds, of three samples that are made by hand: names, places, tables and the truth."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from spatialdata.transformations import get_transformation

from spatialfm.datasets._simulate_assemble import assemble
from spatialfm.datasets._simulate_difficulty import camera_of, settings_of
from spatialfm.datasets._simulate_panel import NICHES, TYPES
from spatialfm.datasets._simulate_patients import AGE_REFERENCE, draw_patient
from spatialfm.datasets._simulate_sample import SimulatedSample
from spatialfm.datasets._simulate_slides import draw_slide
from spatialfm.datasets._simulate_tissue import Tissue

EFFECT, HAZARD = 0.7, 0.02
PARAMETERS = settings_of("easy", {"artifacts": ("fold", "seam")}) | {
    "n_markers": 12, "mpp": 0.25, "random_state": 4, "effect_of": "Treg", "effect_size": EFFECT,
    "baseline_hazard": HAZARD,
}  # fmt: skip
CAMERA = camera_of(PARAMETERS)


def sample(patient, number, types, value, **more):
    n = len(types)
    tissue = Tissue(
        xy=np.zeros((n, 2)),
        niche=np.full(n, NICHES.index("stroma")),
        type=np.array([TYPES.index(name) for name in types]),
        state=np.full(n, value / 10),
        axes=np.ones((n, 2)),
        angle=np.zeros(n),
        lobes=np.zeros((n, 2)),
        phase=np.zeros(n),
    )
    labels = np.zeros((6, 8), np.int32)
    labels[0, :n] = np.arange(1, n + 1)
    made = {
        "name": f"{patient.name}_{number}", "patient": patient, "tissue": tissue, "mixture": None,
        "expression": np.full((n, 12), value, np.float32), "centroids": np.full((n, 2), value, float),
        "image": np.full((12, 6, 8), value, np.uint16), "true_cells": labels, "cells": labels * 2, "artifacts": None,
        "outline": None, "segmentation": {"merges": value},
    }  # fmt: skip
    return SimulatedSample(**made | more)


@pytest.fixture(scope="module")
def patients():
    one, two = (draw_patient(i, 4, 1) for i in range(2))
    clinical = {"sex": "male", "treatment": "chemotherapy"}
    return [
        replace(one, clinical=clinical | {"age": int(AGE_REFERENCE), "stage": "I"}, exposure_time=0.0001),
        replace(two, clinical=clinical | {"age": int(AGE_REFERENCE) + 10, "stage": "III"}, exposure_time=1e6),
    ]


@pytest.fixture(scope="module")
def cohort(patients):
    """Of the first patient's six cells one is a Treg, of the second's two one."""
    one, two = patients
    samples = [
        sample(one, 1, ["B", "Treg"], 1, artifacts=np.ones((6, 8), np.uint8)),
        sample(one, 2, ["B"] * 4, 2, outline=np.eye(6, 8) > 0),
        sample(two, 1, ["Treg", "Tumor"], 3),
    ]
    return assemble(patients, samples, PARAMETERS, CAMERA)


def test_elements_are_named_after_samples_and_lie_in_um(cohort):
    assert sorted(cohort.images) == ["image_P001_1", "image_P001_2", "image_P002_1"]
    assert sorted(cohort.labels) == [
        "artifacts_P001_1",
        *(f"cells_{name}" for name in ("P001_1", "P001_2", "P002_1")),
        *(f"true_cells_{name}" for name in ("P001_1", "P001_2", "P002_1")),
        "true_tissue_P001_2",
    ]
    image = cohort.images["image_P002_1"]
    assert image.sizes == {"c": 12, "y": 6, "x": 8}
    assert (image.values == 3).all()
    for element in (image, cohort.labels["cells_P002_1"]):
        ((space, scale),) = get_transformation(element, get_all=True).items()
        assert space == "P002_1"
        assert scale.to_affine_matrix(("x", "y"), ("x", "y")).diagonal().tolist() == [0.25, 0.25, 1]
    assert (cohort.labels["cells_P001_2"].values == 2 * cohort.labels["true_cells_P001_2"].values).all()
    assert cohort.attrs["spatialfm"]["samples"]["P001_2"]["mpp"] == 0.25


def test_each_sample_has_its_patient_and_slide(cohort):
    obs = cohort.tables["samples"].obs
    assert obs["patient"].astype(str).to_dict() == {"P001_1": "P001", "P001_2": "P001", "P002_1": "P002"}
    assert obs["slide"].astype(str).tolist() == ["S1", "S1", "S2"]
    assert obs["stage"].astype(str).tolist() == ["I", "I", "III"]
    assert obs["age"].tolist() == [62, 62, 72]
    assert obs["event"].tolist() == [1, 1, 0]  # who would live for a million months is censored


def test_true_cells_are_numbered_within_their_sample(cohort):
    truth = cohort.tables["truth"]
    assert truth.obs["cell_id"].tolist() == [1, 2, 1, 2, 3, 4, 1, 2]
    names = ["P001_1"] * 2 + ["P001_2"] * 4 + ["P002_1"] * 2
    assert truth.obs["sample"].astype(str).tolist() == names
    assert truth.obs["region"].astype(str).tolist() == [f"true_cells_{name}" for name in names]
    assert truth.obs["patient"].astype(str).tolist() == [name[:4] for name in names]
    assert truth.obs["type"].astype(str).tolist() == ["B", "Treg", "B", "B", "B", "B", "Treg", "Tumor"]
    assert truth.obs["state_name"].astype(str).tolist()[:2] == ["proliferation", "suppression"]
    assert truth.obs["state"].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3])
    assert truth.X[:, 5].tolist() == truth.obsm["spatial"][:, 0].tolist() == [1, 1, 2, 2, 2, 2, 3, 3]
    assert truth.obs_names.is_unique
    assert truth.var.loc["FOXP3", "compartment"] == "nuclear"


def test_the_effect_is_that_of_shares_over_all_samples_of_a_patient(cohort):
    truth = cohort.attrs["truth"]
    one, two = (truth["patients"][name] for name in ("P001", "P002"))
    assert (one["fraction"], two["fraction"]) == pytest.approx((1 / 6, 1 / 2))
    assert (one["z"], two["z"]) == pytest.approx((-1, 1))
    assert one["log_hazard"] == pytest.approx(np.log(HAZARD) - EFFECT)
    # two stages and ten years more
    assert two["log_hazard"] - one["log_hazard"] == pytest.approx(2 * EFFECT + 2 * 0.25 + 0.2)
    assert truth["effect"]["kind"] == "phenotype"
    assert truth["effect"]["fraction_mean"] == pytest.approx(1 / 3)


def test_the_record_has_each_slide_and_sample_and_goes_into_json(cohort):
    truth = json.loads(json.dumps(cohort.attrs["truth"]))
    assert list(truth["slides"]) == ["S1", "S2"]
    second = draw_slide(1, 4, PARAMETERS["batch_effect"])
    assert truth["slides"]["S2"]["gain"]["DAPI"] == second.gain[0]
    assert truth["slides"]["S2"]["background"]["PD1"] == second.background[11]
    assert truth["slides"]["S1"]["illumination_falloff"] != second.falloff
    assert {name: one["merges"] for name, one in truth["segmentation"].items()} == {
        "P001_1": 1, "P001_2": 2, "P002_1": 3,
    }  # fmt: skip
    assert truth["artifact_codes"] == {"fold": 1, "seam": 5}
    assert truth["parameters"]["camera"]["gain"] == PARAMETERS["camera_gain"]
