"""``spatialfm check``: what it sees of a cohort without reading it, what it estimates, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import reading_steinbock
import tifffile
from cli_cohort import CHANNELS, PIXELS, SETTINGS, write_cohort

from spatialfm.cli import main


@pytest.fixture
def cohort(tmp_path):
    write_cohort(tmp_path, 4)
    (tmp_path / "config.yaml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


def checked(arguments, capsys):
    status = main(["check", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_it_reports_what_is_in_the_files_and_writes_nothing(cohort, capsys):
    before = sorted(cohort.rglob("*"))
    status, found = checked([cohort / "config.yaml"], capsys)
    assert status == 0
    assert found["status"] == "fine"
    assert found["patients"] == 4
    assert found["without_mask"] == []
    assert found["samples"][0] == {
        "sample": "S0", "pixels": [PIXELS, PIXELS], "channels": CHANNELS, "dtype": "float32", "mpp": 1.0,
        "mpp_source": "metadata", "mask": True, "bytes": 4 * 4 * PIXELS**2,
    }  # fmt: skip
    assert {one["channel"]: one["marker"] for one in found["channels"]} == {
        "DAPI": "DAPI", "CD3": "CD3", "CD20": "CD20", "Cytokeratin": "pan-Cytokeratin",
    }  # fmt: skip
    assert all(one["samples"] == 4 for one in found["channels"])
    assert found["outcome"] == {"time_key": "months", "event_key": "died", "patients": 4, "events": 4}
    assert [one["column"] for one in found["columns"]] == ["patient", "age", "months", "died"]
    cost = found["cost"]
    assert cost["cells"] == 4 * 36
    assert cost["disk_bytes"] == 4 * 4 * 4 * PIXELS**2 + 3 * 4 * cost["cells"] * len(CHANNELS)
    assert sorted(cohort.rglob("*")) == before


def test_text_says_the_same(cohort, capsys):
    assert main(["check", str(cohort / "config.yaml"), "--no-estimate"]) == 0
    said = capsys.readouterr().out
    for part in (
        "4 samples of 4 patients",
        "pan-Cytokeratin",
        "4 of 4",
        "survival: 4 patients, 4 events",
        "Nothing has",
    ):
        assert part in said
    assert "estimates" not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"months": ["x", 1, 2, 3]}, "survival: "),
        ({"months": [-1, 1, 2, 3]}, "negative or infinite time"),
        ({"died": ["alive", "alive", "dead", "dead"]}, "event_value='yes' is not a value"),
    ],
)
def test_an_outcome_that_cannot_be_used_is_a_problem(change, said, cohort, capsys):
    table = pd.read_csv(cohort / "cohort.csv")
    table.assign(**change).to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml"], capsys)
    assert status == 1
    assert found["status"] == "refused"
    assert any(said in one for one in found["problems"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patient": ["P0", "p0 ", "P2", "P3"]}, "patient 'p0' is spelled 'P0' in row 0, and each would count as"),
        ({"patient": ["P0", "P0", "P2", "P3"]}, "1 patient has several values in column 'months', first 'P0': 3, 31"),
        ({"months": [3.0, None, 5, 33]}, "In the settings: survival.on_missing"),
        ({"died": ["yes", "Yes", "no", "YES "]}, "also spells the event 'Yes', 'YES'"),
        ({"age": [50, None, 52, 53]}, "survival.covariates: 1 patient has no value in 'age': 'P1'"),
    ],
)
def test_what_stops_a_late_stage_is_found_by_check_and_by_run_before_anything_is_read(change, said, cohort, capsys):
    config = cohort / "config.yaml"
    config.write_text(SETTINGS + "  covariates: [age]\n", encoding="utf-8")
    table = pd.read_csv(cohort / "cohort.csv")
    table.assign(**change).to_csv(cohort / "cohort.csv", index=False)
    assert main(["check", str(config), "--no-estimate"]) == 1
    seen = capsys.readouterr()
    assert said in seen.out + seen.err
    assert main(["run", str(config), "--out", str(cohort / "out")]) == 1
    assert said in capsys.readouterr().err
    assert not (cohort / "out").exists()


def test_a_value_that_one_sample_of_a_patient_lacks_is_not_taken_from_the_other(cohort, capsys):
    """The table of patients would not have the column: seen before, and not after the last image."""
    table = pd.read_csv(cohort / "cohort.csv")
    table["patient"], table["died"] = ["P0", "P0", "P2", "P3"], "yes"
    table["months"] = [3.0, None, 5, 33]
    table.to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml", "--no-estimate"], capsys)
    assert status == 1
    assert any("several values in column 'months', first 'P0': 3.0, missing (samples S0, S1)" in one
               for one in found["problems"])  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_what_is_said_of_a_table_is_a_note_and_said_once(cohort, capsys):
    table = pd.read_csv(cohort / "cohort.csv").assign(grade=["1", "2", ".", "3"])
    table.to_csv(cohort / "cohort.csv", index=False)
    assert main(["check", str(cohort / "config.yaml"), "--no-estimate"]) == 0
    seen = capsys.readouterr()
    assert (seen.out + seen.err).count("are kept as text: 'grade'") == 1
    assert "Warning" not in seen.out + seen.err


def test_days_among_months_are_said(cohort, capsys):
    table = pd.read_csv(cohort / "cohort.csv").assign(months=[3, 31, 1005, 33])
    table.to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml", "--no-estimate"], capsys)
    assert status == 0
    assert any("goes to 1,005, which would be 84 years; 1 row is above 60 years" in one for one in found["notes"])


def test_several_sizes_of_pixels_are_said_and_cells_are_estimated_by_area(cohort, capsys):
    """Three of four samples with twice the pixels to a side: as many cells as ever, 36 in each."""
    for name in ("S0", "S1", "S2"):
        large = [
            np.kron(tifffile.imread(cohort / f"{name}{end}"), np.ones((2, 2))) for end in (".ome.tif", "_mask.tif")
        ]
        metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": CHANNELS}}
        tifffile.imwrite(
            cohort / f"{name}.ome.tif", large[0].astype(np.float32), photometric="minisblack", metadata=metadata
        )
        tifffile.imwrite(cohort / f"{name}_mask.tif", large[1].astype(np.uint16))
    assert main(["check", str(cohort / "config.yaml")]) == 0
    said = "".join(capsys.readouterr())
    assert "Images have 2 sizes of pixels (0.5 µm: S0, S1, S2; 1 µm: S3)" in said
    assert "about 144 cells" in said


def test_a_mask_that_is_refused_later_is_a_problem_with_its_setting(cohort, capsys):
    mask = tifffile.imread(cohort / "S2_mask.tif")
    tifffile.imwrite(cohort / "S2_mask.tif", (mask % 12 + (mask % 12 == 0) * 12 * (mask > 0)).astype(np.uint8))
    for number in (0, 1, 3):
        (cohort / f"S{number}_mask.tif").write_bytes((cohort / "S2_mask.tif").read_bytes())
    status, found = checked([cohort / "config.yaml"], capsys)
    assert status == 1
    assert "In the settings: segment.on_pieces" in found["problems"][0]
    assert found["patients"] == 4


def test_a_marker_that_no_channel_is_and_a_missing_mask_are_problems(cohort, capsys):
    (cohort / "config.yaml").write_text(SETTINGS.replace("[CD20]", "[CD19]"), encoding="utf-8")
    table = pd.read_csv(cohort / "cohort.csv")
    table.loc[1, "labels"] = None
    table.to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml"], capsys)
    assert status == 1
    assert found["without_mask"] == ["S1"]
    assert any("no channel is the marker 'CD19'" in one for one in found["problems"])
    assert any("1 sample without mask: 'S1'" in one for one in found["problems"])


def test_files_that_are_not_there_are_all_named(cohort, capsys):
    (cohort / "S1.ome.tif").unlink()
    (cohort / "S2_mask.tif").unlink()
    status, found = checked([cohort / "cohort.csv"], capsys)
    assert status == 1
    assert "S1.ome.tif" in found["error"]
    assert "S2_mask.tif" in found["error"]


def test_names_of_samples_with_blanks_are_changed_and_said(cohort, capsys):
    table = pd.read_csv(cohort / "cohort.csv")
    table.assign(sample=[f"core {i}" for i in range(4)]).to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml", "--no-estimate"], capsys)
    assert status == 0
    assert [one["sample"] for one in found["samples"]] == ["core_0", "core_1", "core_2", "core_3"]
    (note,) = [one for one in found["notes"] if "changed" in one]
    assert "'core 0' to 'core_0'" in note
    assert "sample_name" in [one["column"] for one in found["columns"]]
    table.assign(sample=["core 1", "core_1", "a", "b"]).to_csv(cohort / "cohort.csv", index=False)
    status, found = checked([cohort / "config.yaml", "--no-estimate"], capsys)
    assert status == 1
    assert "row 1: sample 'core_1' would be stored as 'core_1', as is 'core 1' of row 0" in found["error"]


@pytest.mark.parametrize(
    "how", [{"sep": ";", "decimal": ","}, {"sep": "\t", "encoding": "utf-16"}, {"encoding": "cp1252"}]
)
def test_tables_as_spreadsheets_write_them_say_the_same(how, cohort, capsys):
    table = pd.read_csv(cohort / "cohort.csv").assign(months=[3.5, 30.25, 4.5, 31.75], site="Köln")
    table.to_csv(cohort / "cohort.csv", index=False, **how)
    status, found = checked([cohort / "config.yaml", "--no-estimate"], capsys)
    assert status == 0
    columns = {one["column"]: one["values"] for one in found["columns"]}
    assert columns["months"] == "3.5 to 31.75"
    assert columns["site"] == "Köln"


def test_what_the_command_line_cannot_begin_at_is_told_with_what_to_do(tmp_path, capsys):
    (tmp_path / "imc").mkdir()
    reading_steinbock.write(tmp_path / "imc")
    status, found = checked([tmp_path / "imc"], capsys)
    assert status == 1
    assert "is a folder, not a table with one row per sample" in found["error"]
    assert "'reader: steinbock'" in found["error"]
    cells = tmp_path / "cells.csv"
    cells.write_text("sample,patient,x,y,CD3\na,p,1,2,3\n")
    status, found = checked([cells], capsys)
    assert status == 1
    assert "'spatialfm init TABLE > config.yaml' prints settings for it" in found["error"]
    (tmp_path / "config.yaml").write_text("cohort: cells.csv\nout: r\nread:\n  reader: features_h5\n")
    status, found = checked([tmp_path / "config.yaml"], capsys)
    assert status == 1
    assert "read.reader: 'features_h5' reads features that another program computed" in found["error"]
