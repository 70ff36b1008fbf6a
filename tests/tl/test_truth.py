"""From cells to survival on cohorts whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm


def of_cohort(effect_size: float, seed: int, cells_per_patient: int = 120):
    cells = sfm.datasets.simulate_cells(
        100, cells_per_patient=cells_per_patient, effect_size=effect_size, random_state=seed
    )
    patients = sfm.tl.composition(cells, "niche", patient_key="patient")
    result = sfm.tl.cox(patients, "tumor nest", standardize=True, test_proportional_hazards=False, copy=True)
    c_index = sfm.tl.concordance(patients, "tumor nest", n_bootstrap=200, copy=True)
    return cells, patients, result["table"].iloc[0], c_index


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_effect_is_found(seed):
    """The hazard depends on the niche's fraction; counting 120 cells per patient blurs that a little."""
    cells, patients, row, c_index = of_cohort(1.0, seed)
    assert cells.uns["truth"]["effect"]["log_hazard_ratio_per_sd"] == 1.0
    assert patients.n_obs == 100
    assert {"time", "event", "age"} <= set(patients.obs.columns)
    assert 0.6 < row["coef"] < 1.5
    assert row["p_value"] < 1e-5
    assert c_index["ci_low"] > 0.6


@pytest.mark.slow
def test_without_effect_nothing_is_found():
    rows, inside = [], 0
    for seed in range(8):
        _, _, row, c_index = of_cohort(0.0, seed, cells_per_patient=60)
        rows.append(row["p_value"])
        inside += c_index["ci_low"] <= 0.5 <= c_index["ci_high"]
    assert np.sum(np.array(rows) < 0.05) <= 2  # 99.4 % of binomial(8, 0.05)
    assert inside >= 6


def test_neighbourhoods_tell_niches_apart():
    """The nearest neighbours of a cell in a tumor nest are tumor cells; those in an aggregate are not."""
    cells = sfm.datasets.simulate_cells(6, cells_per_patient=400, random_state=0)
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    tumor = list(cells.uns["neighborhood_composition"]["categories"]).index("Tumor")
    fraction = cells.obsm["neighborhood_composition"][:, tumor]
    niche = cells.obs["niche"].astype(str)
    assert fraction[niche == "tumor nest"].mean() > 3 * fraction[niche == "lymphoid aggregate"].mean()
