"""``spatialfm run``: from files to survival, what is done again and what is not, what is refused before any work."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from cli_cohort import CHANNELS, SETTINGS, write_cohort
from sklearn.neighbors import kneighbors_graph
from statsmodels.stats.multitest import multipletests

import spatialfm as sfm
from spatialfm.cli import _analysis, _run, _state, main, niches, survival
from spatialfm.cli._stages import STAGES

NAMES = list(STAGES)


def nearest(values, n_neighbors, random_state):
    """Who is near whom, without the minute that compiling scanpy's graph takes."""
    graph = kneighbors_graph(values, n_neighbors, mode="connectivity")
    return graph.maximum(graph.T).tocsr()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cohort that was taken from files to the end, once."""
    folder = tmp_path_factory.mktemp("cohort")
    truth = write_cohort(folder)
    (folder / "config.yaml").write_text(SETTINGS, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_analysis, "FORMATS", (".png",))  # time; all formats have their own test
        patch.setattr(_analysis, "DPI", 40)
        patch.setattr(importlib.import_module("spatialfm.tl.phenotypes.leiden_sweep"), "neighbour_graph", nearest)
        assert main(["run", str(folder / "config.yaml"), "--quiet"]) == 0
    return folder, truth


@pytest.fixture
def results(finished, tmp_path):
    """A copy of the finished folder of results; the cohort stays where it is."""
    return shutil.copytree(finished[0] / "results", tmp_path / "results")


@pytest.fixture
def quick(monkeypatch):
    """No figures, and a report of one line: what they hold is looked at in the finished folder."""

    def write(data, path, **settings):
        path.write_text("<!DOCTYPE html>", encoding="utf-8")

    monkeypatch.setattr(_analysis, "FORMATS", ())
    monkeypatch.setattr("spatialfm.reporting.report", write)


def planned(source, capsys, *options):
    """What a run would do, and why."""
    capsys.readouterr()
    assert main(["run", str(source), "--dry-run", "--json", *options]) == 0
    return {one["name"]: one["why"] for one in json.loads(capsys.readouterr().out)["stages"] if one["why"] is not None}


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------- the results


def test_cells_have_their_planted_phenotype(finished):
    folder, truth = finished
    cells = ad.read_h5ad(folder / "results" / "cells.h5ad")
    found = (
        cells.obs[["sample", "cell_id", "phenotype"]].astype({"cell_id": int}).merge(truth, on=["sample", "cell_id"])
    )
    assert len(found) == len(truth) == cells.n_obs
    assert (found["phenotype"].astype(str) == found["type"]).all()
    assert cells.obsm["X_mean_intensity"].shape == (cells.n_obs, len(CHANNELS))
    assert cells.uns["spatialfm"]["X_mean_intensity"]["model"] == "mean-intensity"


def test_patients_are_counted_as_planted(finished):
    folder, truth = finished
    patients = ad.read_h5ad(folder / "results" / "patients_phenotypes.h5ad")
    planted = pd.crosstab(truth["sample"].str.replace("S", "P"), truth["type"], normalize="index")
    np.testing.assert_allclose(patients.to_df()[planted.columns].loc[planted.index], planted, atol=1e-6)
    table = pd.read_csv(folder / "results" / "tables" / "patients_phenotypes.csv", index_col=0)
    np.testing.assert_allclose(table.loc[planted.index, planted.columns], planted, atol=1e-4)


def test_survival_is_that_of_the_functions_with_corrections_for_all_tests(finished):
    folder, truth = finished
    table = pd.read_csv(folder / "results" / "tables" / "survival_cox.csv")
    assert set(table["by"]) == {"phenotypes", "niches"}
    patients = sfm.tl.composition(ad.read_h5ad(folder / "results" / "cells.h5ad"), "phenotype")
    keys = {"time_key": "months", "event_key": "died", "event_value": "yes"}
    fit = sfm.tl.cox(patients, "B", standardize=True, copy=True, **keys)["table"].loc["B"]
    row = table.set_index("term").loc["B"]
    assert row["hazard_ratio"] == pytest.approx(fit["hazard_ratio"])
    assert row["n"] == 8
    assert row["events"] == 6
    tested = table.dropna(subset="p_value")
    np.testing.assert_allclose(tested["p_holm"], multipletests(tested["p_value"], method="holm")[1])
    assert not tested["caveats"].isna().any()  # 6 events carry no regression without a caveat

    groups = pd.read_csv(folder / "results" / "tables" / "survival_logrank.csv")
    assert groups["n"].tolist() == [8, 8]
    assert groups["outcome_decides"].eq("order").all()  # the outcome names the groups and does not make them
    curves = pd.read_csv(folder / "results" / "tables" / "survival_kaplan_meier.csv")
    # patients with much tumor died early, and only the tissue was used to tell them apart
    high = curves[(curves["by"] == "phenotypes") & (curves["group"] == "high")]
    assert high["at_risk"].max() == 4
    assert high["survival"].min() == pytest.approx(1 - 3 / 4)  # patients 0, 2 and 4 died, 6 lived


def test_the_store_is_one_that_spatialdata_reads(finished):
    sdata = sd.read_zarr(finished[0] / "results" / "cohort.zarr")
    assert len(sdata.images) == len(sdata.labels) == 8
    assert sdata["samples"].obs["patient"].nunique() == 8


def test_figures_are_there_and_the_record_lists_every_file(finished):
    out = finished[0] / "results"
    state = json.loads((out / "state.json").read_text(encoding="utf-8"))
    assert list(state["stages"]) == NAMES
    listed = {name for record in state["stages"].values() for name in record["outputs"]}
    assert {f"figures/{path.name}" for path in (out / "figures").iterdir()} <= listed
    assert "figures/survival_phenotypes.png" in listed
    assert all((out / name).exists() for name in listed)
    assert not [path for path in out.rglob(".*") if path.is_file() and ".zarr" not in str(path)]  # nothing half written


# ----------------------------------------------------------------------------------------------- what is done again


def test_nothing_is_done_twice(finished, capsys):
    folder, _ = finished
    before = {path: time for path, time in contents(folder).items() if path.name != "config.yaml"}
    assert main(["run", str(folder / "config.yaml")]) == 0
    assert "Everything is finished" in capsys.readouterr().out
    assert before == {path: time for path, time in contents(folder).items() if path.name != "config.yaml"}
    assert planned(folder / "results", capsys) == {}  # the folder alone says what it was made from


@pytest.mark.parametrize(
    ("change", "first", "why"),
    [
        ("niches.n_niches=3", "niches", "n_niches is 3, was 2"),
        ("survival.n_groups=3", "survival", "n_groups is 3, was 2"),
        ("embed.model=classical", "embed", 'model is "classical", was "mean-intensity"'),
        ("random_state=1", "phenotype", "random_state is 1, was 0"),
        ("report.title=Mine", "report", 'title is "Mine", was null'),
    ],
)
def test_a_setting_that_changed_does_its_stage_and_those_behind_it_again(change, first, why, finished, capsys):
    found = planned(finished[0] / "config.yaml", capsys, "--set", change)
    assert list(found) == NAMES[NAMES.index(first) :]
    assert found[first] == why


def test_a_file_that_changed_is_read_again_and_one_that_was_touched_is_not(finished, capsys):
    folder, _ = finished
    image = folder / "S3.ome.tif"
    content = image.read_bytes()
    os.utime(image)
    assert planned(folder / "config.yaml", capsys) == {}
    try:
        image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        found = planned(folder / "config.yaml", capsys)
        assert list(found) == NAMES
        assert "S3.ome.tif' changed" in found["read"]
        image.unlink()
        assert "S3.ome.tif' changed" in planned(folder / "config.yaml", capsys)["read"]
    finally:
        image.write_bytes(content)


CLINICAL = ["read", "signatures", "patients", "survival", "report"]


def test_an_image_that_was_saved_as_that_of_another_sample_is_named(tmp_path, capsys):
    write_cohort(tmp_path, 3)
    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "first")]) == 0
    assert "have the same content" not in "".join(capsys.readouterr())  # masks may well be alike, of a grid
    shutil.copy(tmp_path / "S0.ome.tif", tmp_path / "S2.ome.tif")
    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "results")]) == 0
    said = "".join(capsys.readouterr())
    assert re.search(r"Images '[^']*S0.ome.tif', '[^']*S2.ome.tif' have the same content: the tissue", said)
    notes = json.loads((tmp_path / "results" / "state.json").read_text(encoding="utf-8"))["stages"]["read"]["notes"]
    assert any("have the same content" in note for note in notes)


def test_a_clinical_value_that_changed_does_only_stages_again_that_look_at_it(finished, results, quick, capsys):
    folder, table = finished[0], finished[0] / "cohort.csv"
    content, before = table.read_bytes(), contents(results / "stages")
    frame = pd.read_csv(table).astype({"months": float})
    try:
        frame.loc[3, "months"], frame.loc[5, "died"] = 1.25, "no"
        frame.to_csv(table, index=False)
        found = planned(results, capsys)
        assert list(found) == CLINICAL
        assert main(["signatures", str(results)]) == 1
        assert "Stage 'read' comes first" in capsys.readouterr().err
        assert main(["run", str(results), "--json"]) == 0
        done = json.loads(capsys.readouterr().out)["stages"]
        assert [one["name"] for one in done if one["state"] == "done"] == CLINICAL
        kept = [path for path, time in contents(results / "stages").items() if before.get(path) == time]
        kept = [path for path in kept if path.suffix == ".h5ad"]
        assert {path.stem for path in kept} == {"segment", "embed", "phenotype", "niches"}
        cells = ad.read_h5ad(results / "cells.h5ad").obs
        expected = frame.set_index("sample").loc[cells["sample"].astype(str)]
        assert cells["months"].tolist() == expected["months"].tolist()
        assert cells["died"].astype(str).tolist() == expected["died"].tolist()
        patients = ad.read_h5ad(results / "patients_niches.h5ad").obs
        assert patients["months"].to_dict() == frame.set_index("patient")["months"].to_dict()
        assert set(pd.read_csv(results / "tables" / "survival_cox.csv")["events"]) == {5}  # there were 6
        assert planned(results, capsys) == {}
        frame.iloc[::-1].to_csv(table, index=False)  # rows in another order
        assert list(planned(results, capsys)) == CLINICAL
        old, frame.loc[3, "patient"] = frame.loc[3, "patient"], "P9"  # cells are drawn evenly of patients
        frame.iloc[::-1].to_csv(table, index=False)
        assert list(planned(results, capsys)) == [name for name in NAMES if name not in ("segment", "embed")]
        assert main(["run", str(results), "--quiet"]) == 0
        assert planned(results, capsys) == {}
        sample = frame.loc[3, "sample"]
        cells = ad.read_h5ad(results / "cells.h5ad").obs
        assert set(cells.loc[cells["sample"].astype(str) == sample, "patient"].astype(str)) == {"P9"}
        patients = ad.read_h5ad(results / "patients_niches.h5ad").obs
        assert patients["months"].to_dict() == frame.set_index("patient")["months"].to_dict()
        assert old not in patients.index
        frame.loc[3, "sample"] = "S99"
        frame.to_csv(table, index=False)
        assert list(planned(results, capsys)) == NAMES
    finally:
        table.write_bytes(content)
    assert planned(folder / "config.yaml", capsys) == {}


def test_a_column_by_which_cells_are_brought_to_one_scale_is_not_only_clinical(finished, results, capsys):
    found = planned(results, capsys, "--set", "phenotype.batch_key=died")
    assert "read" not in found
    table = finished[0] / "cohort.csv"
    content = table.read_bytes()
    try:
        table.write_bytes(content.replace(b"yes", b"no", 1))
        assert list(planned(results, capsys, "--set", "phenotype.batch_key=died"))[:2] == ["read", "phenotype"]
        table.write_bytes(content.replace(b"died", b"dead", 1))  # a column of another name
        assert list(planned(results, capsys, "--set", "survival.event_key=dead")) == CLINICAL
        lines = [f"{line},{end}" for line, end in zip(content.decode().split(), ["grade", *"12312312"], strict=True)]
        table.write_text("\n".join(lines))  # one more clinical column
        assert list(planned(results, capsys)) == CLINICAL
        (results / "cohort.zarr" / "zarr.json").unlink()
        shutil.rmtree(results / "cohort.zarr")
        table.write_bytes(content.replace(b"yes", b"no", 1))
        assert list(planned(results, capsys)) == NAMES
    finally:
        table.write_bytes(content)


@pytest.mark.slow
def test_the_table_of_cells_is_that_of_a_run_from_scratch(finished, results, tmp_path, quick, monkeypatch):
    """After clinical values changed, in a folder where stages were kept and in a new one."""
    monkeypatch.setattr(importlib.import_module("spatialfm.tl.phenotypes.leiden_sweep"), "neighbour_graph", nearest)
    table = finished[0] / "cohort.csv"
    content = table.read_bytes()
    try:
        frame = pd.read_csv(table, dtype=str)
        frame.loc[[1, 4], "months"], frame.loc[6, "age"] = "7.5", "80"
        frame.loc[2, "died"] = {"yes": "no", "no": "yes"}[frame.loc[2, "died"]]
        frame.loc[3, "patient"] = "P9"
        frame.iloc[::-1].to_csv(table, index=False)
        new = tmp_path / "new"
        for out in (results, new):
            assert main(["run", str(finished[0] / "config.yaml"), "--out", str(out), "--quiet"]) == 0
    finally:
        table.write_bytes(content)
    found, expected = (ad.read_h5ad(out / "cells.h5ad") for out in (results, new))
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    np.testing.assert_array_equal(found.obsm["X_mean_intensity"], expected.obsm["X_mean_intensity"])
    names = {path.name for path in (new / "tables").iterdir()}
    assert names == {path.name for path in (results / "tables").iterdir()} >= {"survival_cox.csv", "clusters.csv"}
    for name in names:
        assert (results / "tables" / name).read_bytes() == (new / "tables" / name).read_bytes(), name


@pytest.mark.slow
def test_survival_without_a_regression_says_so_and_the_report_is_written(results, monkeypatch, capsys):
    from spatialfm._errors import SurvivalError

    def fails(*_, **__):
        raise SurvivalError("The fit does not converge.")

    monkeypatch.setattr(_analysis, "FORMATS", ())
    monkeypatch.setattr(sfm.tl, "cox", fails)
    assert main(["run", str(results), "--redo", "survival"]) == 0
    said = capsys.readouterr().out
    assert "no Cox regression could be fitted (phenotypes: not fitted: The fit does not converge.)" in said
    regressions = pd.read_csv(results / "tables" / "survival_cox.csv")
    assert regressions["p_value"].isna().all()
    assert regressions["caveats"].str.startswith("not fitted").all()
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "Tumor" in text
    assert "Holm over all regressions" not in text


def test_another_version_does_all_again(finished, monkeypatch, capsys):
    monkeypatch.setattr(_state, "__version__", "9.9")
    found = planned(finished[0] / "config.yaml", capsys)
    assert list(found) == NAMES
    assert found["read"].startswith(f"made by version {sfm.__version__}")


def test_a_result_that_is_gone_is_made_again(results, capsys):
    (results / "tables" / "niches_enrichment.csv").unlink()
    found = planned(results, capsys)
    assert list(found) == NAMES[NAMES.index("niches") :]
    assert "not there any more" in found["niches"]


def test_a_result_that_was_changed_by_hand_is_neither_replaced_nor_built_on_silently(results, capsys):
    table = results / "tables" / "clusters.csv"
    table.write_text("mine", encoding="utf-8")
    assert main(["run", str(results)]) == 1
    said = capsys.readouterr().err
    assert "'tables/clusters.csv'" in said
    assert "--accept phenotype" in said
    assert "--redo phenotype" in said
    assert table.read_text(encoding="utf-8") == "mine"
    assert list(planned(results, capsys, "--redo", "phenotype"))[0] == "phenotype"


def test_redo_does_one_stage_and_those_behind_it(results, quick, capsys):
    assert main(["report", str(results), "--redo", "report", "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert (stage["name"], stage["state"], stage["why"]) == ("report", "done", "asked for")


def test_a_stage_that_is_to_be_done_again_is_kept_where_that_is_refused(results, capsys):
    assert main(["phenotype", str(results), "--redo", "phenotype", "--use-rep", "X_none", "--batch-key", "slide"]) == 1
    assert planned(results, capsys) == {}


def test_a_run_that_is_stopped_goes_on_there(results, quick, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    before = contents(results / "stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survival, "regressions", stopped)
        assert main(["survival", str(results), "--redo", "survival"]) == 130
    said = capsys.readouterr().err
    assert "stopped in stage 'survival'" in said
    assert f"'spatialfm run {results}' goes on" in said
    assert list(planned(results, capsys)) == ["survival", "report"]
    assert contents(results / "stages") == before
    assert main(["run", str(results), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)["stages"]
    assert [one["name"] for one in done if one["state"] == "done"] == ["survival", "report"]


def test_an_embedding_that_is_stopped_goes_on_with_the_blocks_that_are_not_finished(tmp_path, monkeypatch, capsys):
    from spatialfm.embed.windows.crop import CropJob

    write_cohort(tmp_path, 4)
    out, asked, real = tmp_path / "out", [], CropJob.encode_block

    def stops(job, block, *args, **kwargs):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(block.sample)
        return real(job, block, *args, **kwargs)

    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(out), "--quiet"]) == 0
    assert main(["segment", str(out), "--quiet"]) == 0
    monkeypatch.setattr(CropJob, "encode_block", stops)
    assert main(["embed", str(out), "--model", "mean-intensity"]) == 130
    assert "stopped in stage 'embed'" in capsys.readouterr().err
    assert not (out / "stages" / "embed.h5ad").exists()
    before, asked[:] = list(asked), []
    monkeypatch.setattr(CropJob, "encode_block", lambda *a, **k: (asked.append(a[1].sample), real(*a, **k))[1])
    assert main(["embed", str(out)]) == 0  # the model is in the settings that are kept with the results
    assert before == [0, 1]
    assert asked in ([2, 3], [1, 2, 3])  # the second may not have been on disk yet
    assert ad.read_h5ad(out / "stages" / "embed.h5ad").obsm["X_mean_intensity"].shape == (4 * 36, 4)


@pytest.mark.slow
def test_files_of_other_settings_do_not_stay_behind(results, quick):
    adjusted = results / "tables" / "survival_cox_adjusted.csv"
    assert main(["survival", str(results), "--covariates", "age", "--quiet"]) == 0
    table = pd.read_csv(adjusted).set_index("term")
    patients = sfm.tl.composition(ad.read_h5ad(results / "cells.h5ad"), "phenotype")
    keys = {"time_key": "months", "event_key": "died", "event_value": "yes"}
    fit = sfm.tl.cox(patients, ["B", "age"], standardize=True, copy=True, **keys)["table"].loc["B"]
    assert table.loc["B", "hazard_ratio"] == pytest.approx(fit["hazard_ratio"])
    assert main(["run", str(results), "--set", "survival.covariates=[]", "--quiet"]) == 0
    assert not adjusted.exists()
    assert (results / "tables" / "survival_cox.csv").exists()


def test_figures_are_in_every_format_and_the_same_each_time(tmp_path):
    import matplotlib.pyplot as plt

    from spatialfm.cli._config import Config

    analysis = _analysis.Analysis(Config(tmp_path / "c.csv", tmp_path), STAGES)

    def draw():
        figure, ax = plt.subplots(figsize=(2, 2))
        ax.plot([1, 2], label="text")
        assert ax.set_title("words").get_fontsize() == ax.xaxis.label.get_fontsize() == 9.0  # those of sfm.pl.style
        return figure

    before_it = plt.get_fignums()
    analysis.write_figure("f", draw)
    files = sorted((tmp_path / "figures").iterdir())
    assert [path.suffix for path in files] == [".pdf", ".png", ".svg"]
    assert b"words" in (tmp_path / "figures" / "f.svg").read_bytes()  # text stays text
    before = [path.read_bytes() for path in files]
    analysis.write_figure("f", draw)
    assert [path.read_bytes() for path in files] == before
    assert plt.get_fignums() == before_it  # none stays open


def test_an_interval_without_an_end_reaches_the_border_and_numbers_are_those_of_the_table():
    import matplotlib.pyplot as plt

    from spatialfm.cli._figures import WIDEST, forest_of_many

    columns = ["term", "hazard_ratio", "ci_low", "ci_high", "p_holm"]
    rows = [("a", 0.5, 0.2, 1.25, 0.3), ("b", 4.0, 0.0, np.inf, 1.0), ("c", 9.0, 0.5, 1e9, 1.0), ("d", *[np.nan] * 4)]
    figure = forest_of_many(pd.DataFrame(rows, columns=columns), 0.05)
    figure.canvas.draw()
    (ax,) = figure.axes
    low, high = ax.get_xlim()
    assert low == pytest.approx(1 / WIDEST / 1.1)
    assert high == pytest.approx(WIDEST * 1.1)
    (lines,) = [one for one in ax.collections if len(one.get_segments()) == 3]  # what could not be fitted is left out
    ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert ends == [[0.2, 1.25], pytest.approx([low, high]), pytest.approx([0.5, high])]
    assert [text.get_text() for text in ax.texts] == [
        "0.50 (0.20 to 1.25), corrected p = 0.3", "4.00 (0.00 to ∞), corrected p = 1",
        "9.00 (0.50 to 1000000000.00), corrected p = 1",
    ]  # fmt: skip
    labels = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in zip(labels, labels[1:], strict=False))
    plt.close(figure)


def test_the_report_has_the_results(finished):
    text = (finished[0] / "results" / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    for part in ("Tumor", "mean-intensity", "log-rank", "risk_group", "Holm over all regressions"):
        assert part in text
    cox = pd.read_csv(finished[0] / "results" / "tables" / "survival_cox.csv", float_precision="round_trip")
    assert "Holm over all regressions that were made together" in text
    for column in ("hazard_ratio", "p_value", "p_holm"):
        assert all(f'<data value="{value!r}">' in text for value in cox[column].dropna().tolist()), column


# ------------------------------------------------------------------------------------------------- what is refused


def refused(arguments, capsys):
    assert main(arguments) == 1
    return capsys.readouterr().err


def test_all_problems_of_settings_are_told_at_once_and_nothing_is_written(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    (tmp_path / "config.yaml").write_text(
        "cohort: cohort.csv\n"
        "nichess:\n  n_niches: 2\n"
        "embed:\n  modle: kronos\n  batch_size: -1\n"
        "niches:\n  n_niches: many\n"
        "n_groups: 3\n"
        "survival:\n  time_key: month\n  covariates: [age, stag]\n"
        "phenotype:\n  batch_key: slide\n"
        "read:\n  n_niches: 3\n  patient_key: case\n",
        encoding="utf-8",
    )
    said = refused(["run", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")], capsys)
    assert "has 10 problems; nothing was done" in said
    for part in (
        "line 2: nichess: there is no such key. Did you mean 'niches'?",
        "line 5: embed.modle: there is no such setting. Did you mean 'model'?",
        "line 6: embed.batch_size: -1 is not",
        "line 8: niches.n_niches: 'many' is not",
        "line 9: n_groups: belongs to a stage: write it below 'survival:'",
        "line 11: survival.time_key: the cohort table has no column 'month'. Did you mean 'months'?",
        "line 12: survival.covariates: the cohort table has no column 'stag'",
        "line 14: phenotype.batch_key: the cohort table has no column 'slide'",
        "line 16: read.n_niches: is a setting of stage 'niches'",
        "line 17: read.patient_key: the cohort table has no column 'case'",
    ):
        assert part in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("embed.markers=[CD33]", "embed.markers: no channel is the marker 'CD33'. Did you mean 'CD3'?"),
        ("phenotype.signatures={T: [CD8]}", "phenotype.signatures.T: no channel is the marker 'CD8'"),
        ("read.mpp_column=months", "is not a pixel size"),
    ],
)
def test_markers_and_files_are_looked_at_before_anything_is_read(change, said, tmp_path, monkeypatch, capsys):
    write_cohort(tmp_path, 2)
    if "months" in change:
        table = pd.read_csv(tmp_path / "cohort.csv")
        table["months"] = -1
        table.to_csv(tmp_path / "cohort.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert said in refused(["run", "cohort.csv", "--set", change], capsys)
    assert not (tmp_path / "results" / "cohort.zarr").exists()


def test_samples_without_mask_are_refused_by_name_before_anything_is_read(tmp_path, capsys):
    write_cohort(tmp_path, 2, masks=False)
    said = refused(["run", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")], capsys)
    assert "2 samples without mask: 'S0', 'S1'" in said
    assert "method: watershed" in said
    assert not (tmp_path / "out" / "cohort.zarr").exists()


def test_what_a_reader_proposes_as_an_argument_is_said_as_a_setting(tmp_path, capsys):
    import tifffile

    write_cohort(tmp_path, 2)
    tifffile.imwrite(tmp_path / "S0_mask.tif", np.ones((44, 44), np.float32))
    said = refused(["run", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")], capsys)
    assert "cast_labels=True" in said
    assert "In the settings: read.cast_labels; as an option of 'spatialfm read': --cast-labels" in said
    assert not (tmp_path / "out").exists()


def test_samples_that_share_no_channel_are_refused_before_anything_is_read(tmp_path, capsys):
    import tifffile

    write_cohort(tmp_path, 2)
    metadata = {"axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Channel": {"Name": ["a", "b", "c", "d"]}}
    pixels = np.ones((4, 44, 44), np.float32)
    tifffile.imwrite(tmp_path / "S0.ome.tif", pixels, photometric="minisblack", metadata=metadata)
    said = refused(["run", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")], capsys)
    assert "embed.markers: no channel is in every sample" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", ["w.pt", "a/hub"])
def test_weights_are_looked_at_once_before_anything_is_done(weights, tmp_path, monkeypatch):
    from spatialfm.cli._config import read_config

    write_cohort(tmp_path, 2)
    (tmp_path / "w.pt").write_bytes(b"weights")
    said = f"cohort: cohort.csv\nembed:\n  model: kronos\n  weights: {weights}\n"
    (tmp_path / "s.yaml").write_text(said, encoding="utf-8")
    asked = []
    monkeypatch.setattr("spatialfm.models.load", lambda model, weights, **_: asked.append((model, weights)))
    analysis = _analysis.Analysis(read_config(tmp_path / "s.yaml", STAGES), STAGES)
    settings, is_file = analysis.settings("embed"), weights == "w.pt"
    STAGES["embed"].before(settings, sd.SpatialData())
    # as seen from the settings file; a file that changes has the stage done again
    assert asked == [("kronos", str(tmp_path / "w.pt") if is_file else weights)]
    assert _run._inputs(analysis, STAGES["embed"], settings) == ([tmp_path / "w.pt"] if is_file else [])


def test_a_folder_of_others_is_not_written_into(tmp_path, capsys):
    write_cohort(tmp_path / "data", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("kept")
    said = refused(["run", str(tmp_path / "data" / "cohort.csv"), "--out", str(tmp_path / "out")], capsys)
    assert "'thesis.docx'" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]


def test_a_folder_in_which_another_process_works_is_left_alone(results, monkeypatch, capsys):
    from spatialfm import _disk

    class Mine(_disk.Hold):
        """The other process is this one, which is alive."""

    other = Mine(results / "analysis")
    other.take()
    try:
        assert "is in use by process" in refused(["run", str(results), "--redo", "report"], capsys)
    finally:
        other.release()
    assert planned(results, capsys) == {}


def test_a_damaged_record_is_not_taken_for_an_empty_one(results, capsys):
    (results / "state.json").write_text("{", encoding="utf-8")
    assert "is not a record of finished stages" in refused(["run", str(results)], capsys)


def test_a_stage_that_fails_says_which_and_keeps_the_others(results, quick, monkeypatch, capsys):
    from spatialfm._errors import TableError

    def fails(*_, **__):
        raise TableError("Too few cells. Pass n_niches=2.")

    monkeypatch.setattr(niches, "described", fails)  # its files are written already
    said = refused(["niches", str(results), "--redo", "niches"], capsys)
    assert "stage 'niches': Too few cells." in said
    monkeypatch.undo()
    assert list(planned(results, capsys)) == NAMES[NAMES.index("niches") :]


def test_a_stage_before_its_time_names_the_one_that_comes_first(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    said = refused(["embed", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")], capsys)
    assert "Stage 'segment' comes first: not done yet" in said


def test_set_needs_a_key_and_a_value(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    assert "is not STAGE.SETTING=VALUE" in refused(["run", str(tmp_path / "cohort.csv"), "--set", "n_niches"], capsys)


def test_an_error_of_the_program_is_told_apart_from_one_of_the_files(results, monkeypatch, capsys):
    def fails(*_, **__):
        raise KeyError("x")

    monkeypatch.setattr(_run, "plan", fails)
    said = refused(["run", str(results)], capsys)
    assert "Traceback" in said
    assert "an error of the program" in said


# -------------------------------------------------------------------------------- as it is called by people


@pytest.mark.slow
def test_24_patients_go_from_tiff_to_a_report_by_two_commands(tmp_path):
    def command(*arguments):
        program = [sys.executable, "-m", "spatialfm", *arguments]
        return subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    truth = write_cohort(tmp_path, 24)
    (tmp_path / "config.yaml").write_text(command("init", "cohort.csv"), encoding="utf-8")
    changes = ["--set", "survival.time_key=months", "--set", "survival.event_value=yes", "--set", "niches.n_niches=3"]
    assert "Results in" in command("run", "config.yaml", *changes)
    cells = ad.read_h5ad(tmp_path / "results" / "cells.h5ad")
    found = (
        cells.obs[["sample", "cell_id", "phenotype"]].astype({"cell_id": int}).merge(truth, on=["sample", "cell_id"])
    )
    names = {"T": "Other", "B": "B", "Tumor": "Tumor"}  # of the default signatures, none is CD3 alone
    assert (found["phenotype"].astype(str) == found["type"].map(names)).mean() > 0.99
    assert (tmp_path / "results" / "report.html").stat().st_size > 100_000
    assert {path.suffix for path in (tmp_path / "results" / "figures").iterdir()} == {".png", ".pdf", ".svg"}
    assert "Everything is finished" in command("run", "config.yaml", *changes)
