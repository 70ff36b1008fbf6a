"""``spatialfm read``: cohort tables, folders of other software, and what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import reading_steinbock
import spatialdata as sd
from cli_cohort import as_ome_zarr, as_steinbock, write_cohort
from reading import measured
from reading_qupath import QUPATH, write_qupath
from spatialdata.models import Image2DModel

from spatialfm.cli import _analysis, main
from spatialfm.cli._stages import STAGES
from spatialfm.cli.read import channels_of, reader_of_folder, readers, samples_of


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_folder_of_other_software_is_read_by_its_reader_and_measured(tmp_path, capsys):
    (tmp_path / "steinbock").mkdir()
    samples = reading_steinbock.write(tmp_path / "steinbock")
    names = [one.name for one in samples]
    clinical = pd.DataFrame({"sample": names, "patient": [f"P{i}" for i in range(len(names))], "os": 3})
    clinical.to_csv(tmp_path / "clinical.csv", index=False)
    (tmp_path / "s.yaml").write_text(
        "cohort: steinbock\nout: out\nread:\n  reader: steinbock\n  clinical: clinical.csv\n"
        "survival:\n  time_key: oss\n",
        encoding="utf-8",
    )
    assert main(["read", str(tmp_path / "s.yaml")]) == 1  # columns are those of the clinical table
    assert "survival.time_key: the cohort table has no column 'oss'" in capsys.readouterr().err
    text = (tmp_path / "s.yaml").read_text(encoding="utf-8").replace("oss", "os")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    assert main(["read", str(tmp_path / "s.yaml"), "--quiet"]) == 0
    assert main(["segment", str(tmp_path / "out"), "--quiet"]) == 0
    store = sd.read_zarr(tmp_path / "out" / "cohort.zarr")
    assert store["samples"].obs.loc[names, "patient"].tolist() == clinical["patient"].tolist()
    table = ad.read_h5ad(tmp_path / "out" / "stages" / "segment.h5ad")
    planted = measured(samples)
    found = table.to_df().assign(sample=table.obs["sample"].astype(str), id=table.obs["cell_id"].astype(int))
    both = planted.merge(found, on=["sample", "id"], suffixes=("", "_found"))
    assert len(both) == len(planted) == table.n_obs
    for channel in samples[0].channels:
        assert both[channel].to_numpy() == pytest.approx(both[f"{channel}_found"].to_numpy(), rel=1e-5)

    (tmp_path / "clinical.csv").write_text((tmp_path / "clinical.csv").read_text() + "\n", encoding="utf-8")
    assert main(["run", str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    assert "read       to do: " in capsys.readouterr().out  # the clinical table is one of its inputs


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", [as_steinbock, as_ome_zarr])
def test_files_of_other_software_become_cells_by_commands(tmp_path, layout):
    """Cells and patients are those that were planted, as from TIFF files."""
    truth = write_cohort(tmp_path)
    (tmp_path / "config.yaml").write_text(layout(tmp_path), encoding="utf-8")
    for stage in ("read", "segment"):
        assert main([stage, str(tmp_path / "config.yaml"), "--quiet"]) == 0
    cells = ad.read_h5ad(tmp_path / "results" / "stages" / "segment.h5ad")
    assert cells.obs["sample"].astype(str).tolist() == truth["sample"].tolist()
    assert cells.obs["cell_id"].astype(int).tolist() == truth["cell_id"].tolist()
    samples = sd.read_zarr(tmp_path / "results" / "cohort.zarr")["samples"].obs
    assert samples["patient"].astype(str).to_dict() == {name: f"P{name[1:]}" for name in truth["sample"].unique()}


@pytest.mark.slow  # all stages, which tests of `spatialfm run` go through with TIFF files
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layout", [as_steinbock, as_ome_zarr])
def test_files_of_other_software_go_to_survival_by_commands(tmp_path, monkeypatch, layout):
    """Cells, types and outcome are those that were planted, as from TIFF files."""
    monkeypatch.setattr(_analysis, "FORMATS", (".png",))  # figures take longer than all else
    truth = write_cohort(tmp_path)
    (tmp_path / "config.yaml").write_text(layout(tmp_path), encoding="utf-8")
    for stage in ("read", "segment", "embed", "phenotype", "signatures", "niches", "patients", "survival"):
        assert main([stage, str(tmp_path / "config.yaml"), "--quiet"]) == 0
    cells = ad.read_h5ad(tmp_path / "results" / "cells.h5ad").obs
    assert cells["phenotype"].astype(str).tolist() == truth["type"].tolist()
    shares = pd.read_csv(tmp_path / "results" / "tables" / "patients_phenotypes.csv", index_col=0)
    planted = pd.crosstab("P" + truth["sample"].str[1:], truth["type"], normalize="index")
    np.testing.assert_allclose(shares[planted.columns], planted, atol=1e-5)
    test = pd.read_csv(tmp_path / "results" / "tables" / "survival_logrank.csv").set_index("by").loc["phenotypes"]
    assert (test["n"], test["events"], test["groups"]) == (8, 6, "low: 4; high: 4")
    assert test["p_value"] < 0.06  # of the 70 ways to part eight patients, hardly any is as far apart
    assert (tmp_path / "results" / "figures" / "survival_phenotypes.png").is_file()


def test_readers_are_those_of_the_package():
    assert {"cohort", "tiff", "steinbock", "mcmicro"} <= set(readers())


def test_a_reader_that_there_is_not_is_answered_with_the_nearest(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    assert main(["read", str(tmp_path / "cohort.csv"), "--reader", "stenbock"]) == 1
    assert "read.reader: there is no 'stenbock'. Did you mean 'steinbock'?" in capsys.readouterr().err


def test_files_that_are_not_there_are_refused_together_and_nothing_is_written(tmp_path, capsys):
    write_cohort(tmp_path, 3)
    (tmp_path / "S1.ome.tif").unlink()
    (tmp_path / "S2_mask.tif").unlink()
    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "stage 'read': The cohort has 2 problems" in said
    assert "S1.ome.tif" in said
    assert "S2_mask.tif" in said
    assert not (tmp_path / "out").exists()


def test_an_older_store_stays_where_reading_is_stopped(tmp_path, monkeypatch, capsys):
    import spatialfm.io

    write_cohort(tmp_path, 2)
    out = tmp_path / "out"
    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(out), "--quiet"]) == 0
    before = sorted(path.name for path in out.iterdir())

    def stopped(sdata, path, overwrite=False):
        raise KeyboardInterrupt

    monkeypatch.setattr(spatialfm.io, "write", stopped)
    assert main(["read", str(out), "--redo", "read"]) == 130
    assert sorted(path.name for path in out.iterdir()) == before
    assert len(sd.read_zarr(out / "cohort.zarr").images) == 2


@pytest.fixture
def polygons(tmp_path):
    """Two samples of QuPath: images, polygons and one table."""
    write_qupath(tmp_path)
    rows = pd.DataFrame(
        {
            "sample": ["core_1", "core_2"],
            "image": ["images/core 1.ome.tif", "images/core 2.ome.tif"],
            "labels": ["cells/core 1.geojson", "cells/core 2.geojson"],
            "measurements": "measurements.tsv",
            "kind": "qupath",
            "patient": ["p1", "p2"],
        }
    )
    rows.to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path


def test_polygons_are_masks_and_are_not_segmented_anew(polygons, capsys):
    """They were taken for samples without mask, whose cells a segmentation would have replaced."""
    out = str(polygons / "results")
    assert main(["check", str(polygons / "cohort.csv"), "--no-estimate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["mask"] for one in found["samples"]] == [True, True]
    assert found["without_mask"] == []
    assert main(["read", str(polygons / "cohort.csv"), "--out", out]) == 0
    assert "2 samples of 2 patients, 2 with a mask" in capsys.readouterr().out
    assert main(["segment", out, "--method", "watershed"]) == 0
    assert "every sample has a mask: nothing to segment" in capsys.readouterr().out
    cells = ad.read_h5ad(polygons / "results" / "stages" / "segment.h5ad")
    assert cells.n_obs == sum(len(np.unique(labels)) - 1 for _, labels, _ in QUPATH.values())


@pytest.mark.parametrize("file", ["cells/core 1.geojson", "measurements.tsv"])
def test_polygons_and_tables_that_changed_are_read_again(polygons, capsys, file):
    out = str(polygons / "results")
    assert main(["read", str(polygons / "cohort.csv"), "--out", out, "--quiet"]) == 0
    (polygons / file).write_bytes((polygons / file).read_bytes() + b"\n")
    capsys.readouterr()
    assert main(["read", out, "--dry-run", "--json"]) == 0
    assert f"{Path(file).name}' changed" in json.loads(capsys.readouterr().out)["stages"][0]["why"]


def test_a_panorama_is_no_sample_and_has_no_markers():
    """Its red, green and blue were counted among the channels, and no channel was then in every sample."""
    pixels = {"c": ["CD3", "CD20"]}
    sdata = sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(np.ones((2, 8, 8)), dims=("c", "y", "x"), c_coords=pixels["c"]),
            "panorama_a": Image2DModel.parse(np.ones((3, 8, 8)), dims=("c", "y", "x"), c_coords=["r", "g", "b"]),
        }
    )
    assert samples_of(sdata) == ["a"]
    assert channels_of(sdata) == ["CD3", "CD20"]
    assert STAGES["embed"].before(STAGES["embed"].settings({"model": "classical"}), sdata) == []


def test_a_folder_is_known_by_its_files(tmp_path):
    for name, files in {
        "m": ["markers.csv"],
        "s": ["panel.csv", "img"],
        "both": ["markers.csv", "panel.csv", "img"],
    }.items():
        for file in files:
            (tmp_path / name / file).mkdir(parents=True)
    (tmp_path / "a.ome.zarr").mkdir()
    (tmp_path / "empty").mkdir()
    found = {name: reader_of_folder(tmp_path / name) for name in ("m", "s", "both", "a.ome.zarr", "empty")}
    assert found == {"m": "mcmicro", "s": "steinbock", "both": None, "a.ome.zarr": "ome_zarr", "empty": None}
