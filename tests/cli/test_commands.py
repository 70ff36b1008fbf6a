"""Commands of stages: options of the command line become settings."""

from __future__ import annotations

import json

import pytest
from cli_cohort import write_cells, write_cohort

from spatialfm.cli import main
from spatialfm.cli._commands import _typed
from spatialfm.cli._stages import STAGES


def typed(stage, name, given):
    return _typed(STAGES[stage].options({})[name], given)


@pytest.mark.parametrize(
    ("stage", "name", "given", "value"),
    [
        ("niches", "n_niches", "8", 8),
        ("niches", "radius", "null", None),
        ("niches", "radius", "12.5", 12.5),
        ("phenotype", "resolution", "auto", "auto"),
        ("phenotype", "batch_key", "001", "001"),
        ("embed", "markers", ["DAPI", "CD3"], ["DAPI", "CD3"]),
        ("embed", "markers", ["7"], ["7"]),
        ("embed", "outputs", ["marker"], "marker"),
        ("embed", "outputs", ["marker", "patch"], ["marker", "patch"]),
        ("survival", "event_value", ["yes"], "yes"),
        ("survival", "event_value", ["1", "2"], [1, 2]),
        ("patients", "cells_per_row", "100", 100),
        ("patients", "cells_per_row", "even", "even"),
    ],
)
def test_text_becomes_what_the_setting_takes(stage, name, given, value):
    found = typed(stage, name, given)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["niches", "--n-niches", "many"], "argument --n-niches: 'many' is not"),
        (["niches", "--n-niches", ""], "it is empty"),
        (["niches", "--n-nices", "3"], "--n-nices. Did you mean '--n-niches'?"),
        (["run"], "SOURCE"),
        (["run", "x", "--redo", "niche"], "no stage 'niche'. Did you mean 'niches'?"),
        (["embed", "--precision", "float8"], "argument --precision: 'float8' is not"),
        (["read", "a", "--out", ""], "it is empty"),
    ],
)
def test_what_cannot_be_is_a_usage_error(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_options_of_a_command_are_kept_with_the_results(tmp_path, capsys):
    write_cohort(tmp_path, 2)
    out = tmp_path / "out"
    said = ["read", str(tmp_path / "cohort.csv"), "--out", str(out), "--clinical-keys", "age", "--no-cast-labels"]
    assert main([*said, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["state"]) for one in document["stages"]] == [("read", "done")]
    assert document["stages"][0]["findings"][0] == "2 samples of 2 patients, 2 with a mask"
    kept = (out / "config.yaml").read_text(encoding="utf-8")
    assert "clinical_keys:\n  - age" in kept
    assert "cast_labels: false" in kept
    import spatialdata as sd

    assert list(sd.read_zarr(out / "cohort.zarr")["samples"].obs) == ["patient", "age"]
    assert main([*said, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["state"] == "finished before"
    assert main(["segment", str(out), "--json"]) == 0  # the folder is all that the next command needs
    assert "72 cells in 2 samples, 4 markers measured" in capsys.readouterr().out
    assert main(["segment", str(out)]) == 0
    assert "Stages to do: embed, phenotype" in capsys.readouterr().out


@pytest.mark.parametrize("written", [["--reader", "cells"], ["--reader=cells"]])
def test_settings_of_a_reader_are_options_of_read(written, tmp_path, capsys):
    write_cells(tmp_path, 4)
    call = [
        "read",
        str(tmp_path / "cells.csv"),
        *written,
        "--x",
        "X_um",
        "--y",
        "Y_um",
        "--library-key",
        "case",
        "core",
    ]
    call += ["--patient-key", "case", "--phenotype", "cell type", "--clinical", str(tmp_path / "patients.csv")]
    assert main([*call, "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["stages"][0]["findings"]
    assert found[0] == "8 samples of 4 patients, 288 cells, 3 types; no images"
    with pytest.raises(SystemExit) as ended:
        main(["read", str(tmp_path / "cells.csv"), "--x", "X_um"])
    assert ended.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["read", "--reader", "cells", "--help"])
    assert "--x X" in capsys.readouterr().out
