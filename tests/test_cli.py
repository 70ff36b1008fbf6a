"""The command line: what it prints, what it refuses, and what the demo leaves behind."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import tifffile

from spatialfm.cli import main


def test_models_prints_every_model_with_its_licence(capsys):
    import spatialfm as sfm

    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for name, row in sfm.models.list_models().iterrows():
        assert name in printed
        assert row["license"] in printed


def test_markers_reads_names_a_text_file_and_the_channels_of_a_tiff(tmp_path, capsys):
    (tmp_path / "panel.txt").write_text("# my panel\nCD8a\n\nBlank\n", encoding="utf-8")
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": ["CD8a", "Blank"]}}
    tifffile.imwrite(tmp_path / "core.ome.tif", np.zeros((2, 32, 32), np.uint16), metadata=metadata)
    printed = []
    for arguments in (["CD8a", "Blank"], [str(tmp_path / "panel.txt")], [str(tmp_path / "core.ome.tif")]):
        assert main(["markers", *arguments]) == 0
        printed.append(capsys.readouterr().out)
    assert "alias" in printed[0]
    assert "ignored" in printed[0]
    assert printed[0] == printed[1] == printed[2]


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
