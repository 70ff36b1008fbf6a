"""``spatialfm init``: a settings file that is right as it stands."""

from __future__ import annotations

import pandas as pd
import pytest
import reading_steinbock
from cli_cohort import write_cohort

from spatialfm.cli import main
from spatialfm.cli._config import read_config
from spatialfm.cli._outcome_columns import values_to_choose
from spatialfm.cli._stages import STAGES
from spatialfm.cli.init import guessed


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    write_cohort(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "cohort.csv"]) == 0
    return tmp_path, capsys.readouterr().out


def test_it_is_a_file_that_runs_and_names_every_setting(printed):
    folder, text = printed
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    config = read_config(folder / "config.yaml", STAGES)
    assert config.given == {"survival": {"event_key": "died"}}  # the one column that is not called as by default
    for name, stage in STAGES.items():
        section = text.split(f"\n{name}:")[1].split("\n\n")[0]
        for key in stage.options({}):
            assert f"{key}:" in section
    assert "# Columns of cohort.csv: sample, patient, image, labels, age, months, died" in text


def test_the_values_of_the_event_are_written_as_comments_and_none_is_taken(printed):
    folder, text = printed  # patients of small number died: 'yes' alone
    assert "\n  # The table has these values; remove the # before the one that means the event:\n" in text
    assert "\n  # event_value: 'yes'\n" in text
    assert "\n  event_value:" not in text
    (folder / "config.yaml").write_text(text.replace("# event_value: 'yes'", "event_value: 'yes'"), encoding="utf-8")
    assert read_config(folder / "config.yaml", STAGES).given["survival"] == {"event_key": "died", "event_value": "yes"}


def test_values_to_choose_are_those_of_a_column_that_does_not_say_itself():
    table = pd.DataFrame({"status": [1.0, 2.0, None], "dead": [0, 1, 1], "censored": [0, 1, 1], "event": list("abc")})
    assert values_to_choose(table, "status") == [1, 2]
    assert [type(one) for one in values_to_choose(table, "status")] == [int, int]
    assert values_to_choose(table, "dead") == []
    assert values_to_choose(table, "censored") == [0, 1]
    assert values_to_choose(table, "event") == ["a", "b", "c"]
    assert values_to_choose(pd.DataFrame({"event": list("abcde")}), "event") == []
    assert values_to_choose(table, "absent") == []


def test_the_reader_of_a_folder_is_guessed_and_its_settings_are_named(tmp_path, capsys):
    (tmp_path / "imc").mkdir()
    reading_steinbock.write(tmp_path / "imc")
    assert main(["init", str(tmp_path / "imc")]) == 0
    text = capsys.readouterr().out
    assert "\n  reader: steinbock  # guessed from the folder\n" in text
    assert "# clinical: null" in text
    assert "labels_column" not in text
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    assert main(["check", str(tmp_path / "config.yaml"), "--no-estimate"]) == 0
    assert "2 samples" in capsys.readouterr().out


def test_all_comments_taken_away_it_still_is_one(printed):
    """Each default, set, is a value that the setting can have."""
    folder, text = printed
    lines = []
    for line in text.splitlines():
        bare = line.strip().removeprefix("# ")
        key = bare.partition(":")[0]
        is_setting = line.startswith("  # ") and any(key in stage.options({}) for stage in STAGES.values())
        is_choice = bare == "event_value: 'yes'"  # a value of the table, not a default
        lines.append(f"  {bare}" if is_setting and not is_choice and not key.endswith("time_key") else line)
    (folder / "all.yaml").write_text("\n".join(lines), encoding="utf-8")
    config = read_config(folder / "all.yaml", STAGES)
    for stage in STAGES.values():
        said = {key: value for key, value in config.of(stage).items() if key != "event_key"}
        default = {key: value for key, value in stage.settings({}).items() if key != "event_key"}
        assert {key: list(v) if isinstance(v, tuple) else v for key, v in default.items()} == said


def test_columns_are_guessed_by_their_usual_names_and_only_if_there_is_one():
    columns = ["Core ID", "Case", "file", "mask_path", "OS months", "Vital status"]
    assert guessed(columns) == {
        ("read", "library_key"): "Core ID",
        ("read", "patient_key"): "Case",
        ("read", "image_column"): "file",
        ("read", "labels_column"): "mask_path",
        ("survival", "time_key"): "OS months",
        ("survival", "event_key"): "Vital status",
    }
    assert ("survival", "time_key") not in guessed(["os_months", "pfs"])
    assert guessed(["sample", "core", "patient", "image", "labels", "mpp", "time", "event"]) == {}


def test_a_cohort_without_masks_is_segmented(tmp_path, capsys):
    write_cohort(tmp_path, 2, masks=False)
    assert main(["init", str(tmp_path / "cohort.csv")]) == 0
    assert "\n  method: watershed" in capsys.readouterr().out


def test_a_table_that_cannot_be_read_is_refused(tmp_path, capsys):
    assert main(["init", str(tmp_path / "no.csv")]) == 1
    pd.DataFrame({"a": []}).to_csv(tmp_path / "empty.csv", index=False)
    assert main(["init", str(tmp_path / "empty.csv")]) == 1
    assert "no rows" in capsys.readouterr().err


def test_what_is_to_be_said_of_a_table_is_a_note_beside_the_file(tmp_path, capsys):
    """Standard output is the settings file: a note in it would be a setting."""
    (tmp_path / "cohort.csv").write_text("sample,patient,image,grade\na,p1,a.tif,1\nb,p2,b.tif,2\nc,p3,c.tif,.\n")
    assert main(["init", str(tmp_path / "cohort.csv")]) == 0
    seen = capsys.readouterr()
    assert "note" not in seen.out
    assert seen.err.startswith("note: Columns of ")
    assert seen.err.count("that look like numbers are kept as text: 'grade'") == 1
    assert "Warning" not in seen.err
