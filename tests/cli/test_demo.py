"""``spatialfm demo``: what it refuses, and what it leaves behind."""

from __future__ import annotations

import anndata as ad
import pytest

from spatialfm.cli import main


def test_the_demo_refuses_a_cohort_that_is_too_small_and_writes_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--patients", "3", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "argument --patients: '3' is not a whole number from 8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_demo_refuses_an_unknown_model_before_it_simulates(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--model", "kronoss", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert "No model 'kronoss'" in printed.err
    assert "simulate" not in printed.out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demo_leaves_store_tables_and_figures(tmp_path, capsys):
    import spatialdata as sd

    assert main(["demo", "--patients", "12", "--model", "mean-intensity", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "adjusted Rand index" in printed
    assert len(list(tmp_path.glob("*.png"))) == 7
    sdata = sd.read_zarr(tmp_path / "cohort.zarr")
    cells, patients = ad.read_h5ad(tmp_path / "cells.h5ad"), ad.read_h5ad(tmp_path / "patients.h5ad")
    assert sdata["table"].obs["phenotype"].astype(str).tolist() == cells.obs["phenotype"].astype(str).tolist()
    assert cells.obsm["X_mean_intensity"].shape == (cells.n_obs, 12)
    assert patients.n_obs == 12
    assert (cells.obs["true_type"] == "Tumor")[cells.obs["phenotype"] == "Tumor"].mean() > 0.9
