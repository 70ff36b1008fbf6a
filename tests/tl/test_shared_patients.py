"""Folds over samples share patients that have several: said by name."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning


@pytest.mark.parametrize("name", ["patient", "PatientID"])
def test_folds_of_samples_that_share_patients_are_said(name):
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=80, random_state=0)
    cells.obs["sample"] = cells.obs["patient"].astype(str) + np.where(np.arange(cells.n_obs) % 2, "a", "b")
    cells.obs = cells.obs.rename(columns={"patient": name})
    options = {"use_rep": "X_latent", "C": 1.0, "n_folds": 2, "n_repeats": 1, "min_cells": 20}
    with pytest.warns(SpatialfmWarning, match=rf"obs\['{name}'\] have cells in several of obs\['sample'\]"):
        sfm.tl.evaluate_annotation(cells, "type", patient_key="sample", **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*cells in several of")
        sfm.tl.evaluate_annotation(cells, "type", patient_key=name, **options)
