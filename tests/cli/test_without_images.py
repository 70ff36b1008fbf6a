"""A cohort that is a table of cells: from CSV to a report with survival by two commands."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from cli_cohort import write_cells

from spatialfm._errors import TableError
from spatialfm.cli import _analysis, main
from spatialfm.cli._without_images import MARKERS, cohort_of, scaled_markers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def settings(folder, capsys, *, more: str = "") -> str:
    """The settings that ``init`` prints, as the user keeps them."""
    assert main(["init", "cells.csv", "--clinical", "patients.csv"]) == 0
    text = capsys.readouterr().out
    (folder / "config.yaml").write_text(text + more, encoding="utf-8")
    return text


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Cells with their types and no marker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_analysis, "FORMATS", (".png",))  # figures take longer than all else
    return tmp_path, write_cells(tmp_path, markers=False)


def test_two_commands_make_a_report_with_survival(typed, capsys):
    folder, truth = typed
    text = settings(folder, capsys)
    assert "# segment: left out, as the cohort is a table of cells, without images." in text
    assert "# embed: left out, as the cohort is a table of cells, without images." in text
    assert "# signatures: left out" in text
    assert main(["run", "config.yaml", "--set", "niches.n_niches=2"]) == 0
    said = capsys.readouterr().out
    assert "16 samples of 8 patients, 576 cells, 3 types; no images" in said
    assert "nothing is segmented" in said
    assert "left out: the cohort is a table of cells, without images, and models look at images" in said
    shares = pd.read_csv(folder / "results/tables/patients_phenotypes.csv", index_col=0)
    counted = pd.crosstab(truth["case"], truth["cell type"], normalize="index")
    np.testing.assert_allclose(shares[counted.columns], counted, atol=1e-5)
    assert shares["os_months"].tolist() == [3, 31, 5, 33, 7, 35, 9, 37]
    test = pd.read_csv(folder / "results/tables/survival_logrank.csv").set_index("by").loc["phenotypes"]
    assert (test["n"], test["events"], test["groups"]) == (8, 6, "low: 4; high: 4")
    assert test["p_value"] < 0.06  # all that have much tumor die before the others: of 70 partings, hardly any is such
    cells = ad.read_h5ad(folder / "results/cells.h5ad")
    assert cells.obs["phenotype"].astype(str).tolist() == truth["cell type"].tolist()
    np.testing.assert_allclose(cells.obsm["spatial"], truth[["X_um", "Y_um"]])
    report = (folder / "results/report.html").read_text(encoding="utf-8")
    assert "Positions of the cells of sample P0_1" in report
    assert "could not be made" not in report
    assert (folder / "results/figures/niches_example.png").stat().st_size > 5000
    assert main(["run", "results"]) == 0
    assert "Everything is finished" in capsys.readouterr().out
    truth.drop(columns="object").to_csv(folder / "cells.csv", index=False)
    assert main(["run", "results", "--dry-run"]) == 0
    assert "cells.csv' changed" in capsys.readouterr().out.splitlines()[0]


def test_the_table_of_samples_has_the_columns_of_one_value_in_each():
    obs = pd.DataFrame(
        {"sample": ["b", "a", "b", "a"], "stage": [2, 1, 2, 1], "area": [5, 6, 7, 8], "patient": list("yxyx")},
        index=list("0123"),
    )
    samples = cohort_of(ad.AnnData(np.zeros((4, 1)), obs=obs))["samples"].obs
    expected = pd.DataFrame({"patient": ["y", "x"], "stage": [2, 1]}, index=["b", "a"])
    pd.testing.assert_frame_equal(samples, expected, check_names=False, check_index_type=False)


def test_check_tells_cells_types_and_outcome(typed, capsys):
    folder, truth = typed
    settings(folder, capsys)
    assert main(["check", "config.yaml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"][:2] == [{"sample": "P0_1", "cells": 36}, {"sample": "P0_2", "cells": 36}]
    assert found["types"] == truth["cell type"].value_counts().to_dict()
    assert found["stages_left_out"] == ["segment", "embed"]
    assert found["outcome"] == {"time_key": "os_months", "event_key": "died", "patients": 8, "events": 6}
    assert main(["check", "config.yaml"]) == 0
    said = capsys.readouterr().out
    assert "16 samples of 8 patients" in said
    assert "left out, as there are no images: segment, embed" in said


def test_settings_of_stages_without_meaning_are_refused_together(typed, capsys):
    folder, _ = typed
    more = "segment:\n  method: watershed\nembed:\n  model: mean-intensity\nsignatures:\n  outcome: died\n"
    text = settings(folder, capsys, more=more).replace("phenotype:  #", "phenotype:\n  batch_key: core #")
    (folder / "config.yaml").write_text(text + more, encoding="utf-8")
    assert main(["run", "config.yaml"]) == 1
    said = capsys.readouterr().err
    for problem in (
        "segment.method: the cohort is a table of cells, without images, and this stage looks at images. Leave it out.",
        "embed.model: the cohort is a table of cells",
        "phenotype.batch_key: the table of cells has no markers to bring to one scale",
        "signatures.outcome: signatures are groups of cells by their markers, of which the table has none",
    ):
        assert problem in said
    assert not (folder / "results" / "cohort.zarr").exists()


def test_a_table_with_neither_types_nor_markers_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_cells(tmp_path, types=False, markers=False)
    settings(tmp_path, capsys)
    assert main(["check", "config.yaml"]) == 1
    assert "phenotype: the table of cells has neither types nor markers" in capsys.readouterr().out


@pytest.mark.slow
def test_without_types_cells_are_clustered_by_their_markers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truth = write_cells(tmp_path, types=False)
    text = settings(tmp_path, capsys)
    assert '  markers: ["CD3", "CD20", "Cytokeratin"]' in text
    more = "  signatures: {T: [CD3], B: [CD20], Tumor: [Cytokeratin]}\n"
    (tmp_path / "config.yaml").write_text(text.replace("phenotype:  #", f"phenotype:\n{more}  #"), encoding="utf-8")
    for stage in ("read", "segment", "embed", "phenotype"):
        assert main([stage, "config.yaml", "--quiet"]) == 0
    found = ad.read_h5ad(tmp_path / "results/stages/phenotype.h5ad")
    assert found.obs["phenotype"].astype(str).tolist() == truth["cell type"].tolist()
    assert found.obsm[MARKERS].shape == (576, 3)
    assert pd.read_csv(tmp_path / "results/tables/clusters.csv")["cells"].sum() == 576


def test_markers_are_compressed_and_those_that_a_sample_lacks_are_left_out():
    """Of intensities as they are, distances would see the brightest cells alone."""
    drawn = np.random.default_rng(0).normal(0, 1, (2000, 2))
    values = np.column_stack([np.exp(2 * drawn) * [1, 1000], np.where(np.arange(2000) < 9, np.nan, 1.0)])
    scores = scaled_markers(ad.AnnData(values.astype("float32")))
    assert scores.shape == (2000, 2)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scores.std(axis=0), 1, atol=1e-5)
    for column in (0, 1):  # above its beginning arcsinh is the logarithm that was drawn
        assert np.corrcoef(scores[:, column], drawn[:, column])[0, 1] > 0.97
    with pytest.raises(TableError, match="neither types nor a marker that every cell has"):
        scaled_markers(ad.AnnData(np.full((3, 1), np.nan, "float32")))
