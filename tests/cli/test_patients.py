"""``spatialfm patients``: rows are patients, or samples where nobody names patients."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SpatialfmWarning
from spatialfm.cli import _analysis
from spatialfm.cli._config import Config
from spatialfm.cli._stages import STAGES
from spatialfm.cli.patients import name_of, patients


def analysis_of(tmp_path, monkeypatch, obs):
    monkeypatch.setattr(_analysis, "FORMATS", (".png",))
    found = _analysis.Analysis(Config(tmp_path / "c.csv", tmp_path), STAGES)
    table = ad.AnnData(np.ones((len(obs), 1), np.float32), obs=obs, var=pd.DataFrame(index=["DAPI"]))
    monkeypatch.setattr(found, "cells", lambda: table)
    return found


OBS = pd.DataFrame(
    {
        "sample": ["a1"] * 3 + ["a2"] + ["b1"] * 4,
        "patient": ["a"] * 4 + ["b"] * 4,
        "phenotype": pd.Categorical(list("TTBT") + list("BBBT")),
        "niche": pd.Categorical(list("11212222")),
    },
    index=[f"c{i}" for i in range(8)],
)


def test_cells_of_all_samples_of_a_patient_are_counted_together(tmp_path, monkeypatch):
    done = patients(analysis_of(tmp_path, monkeypatch, OBS))
    assert done.findings == ["2 patients by 2 phenotypes", "2 patients by 2 niches"]
    table = ad.read_h5ad(tmp_path / name_of("phenotypes"))
    assert table.to_df().loc["a"].to_dict() == {"B": 0.25, "T": 0.75}
    assert table.to_df().loc["b"].to_dict() == {"B": 0.75, "T": 0.25}
    text = pd.read_csv(tmp_path / "tables" / "patients_phenotypes.csv", index_col=0)
    assert text.loc["a", "T"] == 0.75
    assert ad.read_h5ad(tmp_path / "cells.h5ad").n_obs == 8


def test_without_patients_samples_are_rows_and_that_is_said(tmp_path, monkeypatch):
    with pytest.warns(SpatialfmWarning, match="names no patients: each sample counts as one"):
        done = patients(analysis_of(tmp_path, monkeypatch, OBS.drop(columns="patient")))
    assert done.findings[0] == "3 samples by 2 phenotypes"
