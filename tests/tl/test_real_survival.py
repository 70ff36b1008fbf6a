"""From published cells to survival, compared with other implementations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sksurv.compare import compare_survival
from sksurv.linear_model import CoxPHSurvivalAnalysis

import spatialfm as sfm
from spatialfm._errors import ClinicalError

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture
def patients(real_data) -> AnnData:
    """153 patients with lung cancer (Johnson et al. 2021), 879,694 cells, 89 deaths."""
    folder = real_data / "nsclc_table"
    if not (folder / "cells.parquet").is_file():
        pytest.skip("no lung cancer table")
    columns = ["patient_id", "image_id", "phenotype_ck", "phenotype_cd8", "phenotype_cd19"]
    obs = pd.read_parquet(folder / "cells.parquet", columns=columns)
    kinds = [obs["phenotype_ck"], obs["phenotype_cd8"], obs["phenotype_cd19"]]
    obs["type"] = pd.Categorical(np.select(kinds, ["tumor", "CD8 T", "B"], "other"))
    clinic = pd.read_csv(folder / "patients.csv").set_index("patient_id").astype({"gender": "category"})
    for name in ("gender", "age", "stage", "survival_days", "survival_status"):
        obs[name] = obs["patient_id"].map(clinic[name])
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs)
    with pytest.raises(ClinicalError, match="5 samples belong to more than one patient"):
        sfm.tl.composition(cells, "type", library_key="image_id", patient_key="patient_id")
    cells.obs["sample_id"] = cells.obs["patient_id"].astype(str) + "_" + cells.obs["image_id"].astype(str)  # as it says
    return sfm.tl.composition(cells, "type", library_key="sample_id", patient_key="patient_id")


def test_cells_to_survival(patients):
    keys = {"time_key": "survival_days", "event_key": "survival_status"}
    assert patients.n_obs == 153
    assert patients.obs["survival_status"].sum() == 89
    assert patients.obs["n_cells"].sum() == 879_694
    patients.obs["B_cells"] = pd.qcut(patients.to_df()["B"], 2, labels=["few", "many"])
    sfm.tl.kaplan_meier(patients, "B_cells", **keys)
    sfm.tl.logrank(patients, "B_cells", **keys)
    sfm.tl.cox(patients, ["B", "age", "stage"], standardize=True, test_proportional_hazards=False, **keys)

    outcome = np.array(
        list(zip(patients.obs["survival_status"] == 1, patients.obs["survival_days"], strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    statistic, p_value = compare_survival(outcome, patients.obs["B_cells"].astype(str))
    assert patients.uns["logrank"]["statistic"] == pytest.approx(statistic)
    assert patients.uns["logrank"]["p_value"] == pytest.approx(p_value)
    design = patients.obs[["age", "stage"]].assign(B=patients.to_df()["B"])[["B", "age", "stage"]].astype(float)
    other = CoxPHSurvivalAnalysis(ties="efron", tol=1e-12).fit((design - design.mean()) / design.std(), outcome)
    np.testing.assert_allclose(patients.uns["cox"]["table"]["coef"], other.coef_, rtol=1e-4)
    ax = sfm.pl.kaplan_meier(patients, time_unit="days", show=False)
    assert ax.get_legend().get_title().get_text().startswith("log-rank p")


def test_virtues_recipe(patients):
    """Clusters of compositions, ordered by the outcome; the partition is the same with and without it."""
    keys = {"time_key": "survival_days", "event_key": "survival_status"}
    without = sfm.tl.stratify(patients, 2, copy=True)
    sfm.tl.stratify(patients, 2, **keys)
    groups = patients.obs["risk_group"]
    assert pd.crosstab(without, groups).gt(0).sum().tolist() == [1, 1]
    record = patients.uns["risk_group"]["groups"]
    assert record["observed"].sum() == 89
    ratio = record["observed"] / record["expected"]
    assert ratio["low"] < ratio["high"]
