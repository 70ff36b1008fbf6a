"""Settings: where they come from, whose paths they mean, and what they become."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cohort import write_cohort

from spatialfm._errors import SpatialfmError
from spatialfm.cli._config import marker_names, named_markers, read_config
from spatialfm.cli._stages import STAGES


@pytest.fixture
def cohort(tmp_path):
    write_cohort(tmp_path, 2)
    return tmp_path


def test_paths_are_those_seen_from_the_settings_file(cohort, monkeypatch, tmp_path_factory):
    (cohort / "names.txt").write_text("a\n", encoding="utf-8")
    (cohort / "s.yaml").write_text("cohort: cohort.csv\nout: r\nread:\n  channel_names: names.txt\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    config = read_config(cohort / "s.yaml", STAGES)
    assert config.cohort == cohort / "cohort.csv"
    assert config.out == cohort / "r"
    assert config.of(STAGES["read"])["channel_names"] == str(cohort / "names.txt")


def test_paths_of_the_command_line_are_those_seen_from_where_it_is_given(cohort, monkeypatch, tmp_path_factory):
    here = tmp_path_factory.mktemp("here")
    for folder in (cohort, here):
        (folder / "names.txt").write_text("a\n", encoding="utf-8")
    (here / "mine.csv").write_bytes((cohort / "cohort.csv").read_bytes())
    (cohort / "s.yaml").write_text("cohort: cohort.csv\nout: r\n", encoding="utf-8")
    monkeypatch.chdir(here)
    changes = {("cohort",): "mine.csv", ("read", "channel_names"): "names.txt"}
    config = read_config(cohort / "s.yaml", STAGES, out=Path("q"), changes=changes)
    assert (config.cohort, config.out) == (here / "mine.csv", here / "q")
    assert config.of(STAGES["read"])["channel_names"] == str(here / "names.txt")


def test_a_table_alone_has_all_defaults(cohort, monkeypatch):
    monkeypatch.chdir(cohort)
    config = read_config(Path("cohort.csv"), STAGES)
    assert (config.out, config.random_state, config.given) == (Path("results").resolve(), 0, {})
    assert config.of(STAGES["niches"])["n_niches"] == 6


def test_what_is_written_beside_the_results_says_the_same(cohort):
    (cohort / "s.yaml").write_text(
        "cohort: cohort.csv\nrandom_state: 3\nsurvival:\n  event_value: yes\n", encoding="utf-8"
    )
    config = read_config(cohort / "s.yaml", STAGES, changes={("niches", "n_niches"): 4})
    config.out.mkdir()
    (config.out / "config.yaml").write_text(config.text(), encoding="utf-8")
    again = read_config(config.out, STAGES)
    assert again.given == config.given == {"niches": {"n_niches": 4}, "survival": {"event_value": "yes"}}
    assert (again.cohort, again.out, again.random_state) == (config.cohort, config.out, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "settings are 'key: value' lines"),
        ("out: r\n", "cohort: is missing"),
        ("cohort: no.csv\n", "there is no file"),
        ("cohort: 3\n", "cohort: 3 is not a path"),
        ("cohort: cohort.csv\nrandom_state: -1\n", "random_state: -1 is not a whole number"),
        ("cohort: cohort.csv\nrandom_state: true\n", "random_state: True is not"),
        ("cohort: cohort.csv\nout: cohort.csv\n", "is a file. Name a folder"),
        ("cohort: cohort.csv\nout: [a]\n", "is not a folder"),
        ("cohort: cohort.csv\nniches: 3\n", "line 2: niches: 3 where settings of the stage belong"),
        ("cohort: cohort.csv\nniches:\n  radius: null\n", "set one of radius and n_neighbors"),
        ("cohort: cohort.csv\nembed:\n  model: kronoss\n", "embed.model: No model 'kronoss'"),
        ("cohort: cohort.csv\nembed:\n  weights: w.pt\n", "embed.weights: there is no file 'w.pt'"),
        ("cohort: cohort.csv\nembed:\n  weights: a/hub\n", "'classical' has no weights"),
        ("cohort: cohort.csv\nembed:\n  recipe: {strde: 3}\n", "Did you mean 'stride'?"),
        ("cohort: cohort.csv\nembed:\n  precision: float8\n", "embed.precision: 'float8' is not"),
        ("cohort: cohort.csv\nread:\n  reader: cohrt\n", "there is no 'cohrt'. Did you mean 'cohort'?"),
        ("cohort: cohort.csv\nembed:\n  cohort: a\n", "belongs at the left margin"),
        ("cohort: cohort.csv\nphenotype:\n  signatures: {T: CD3}\n", "'CD3' for 'T' is not a list of strings"),
        ("cohort: cohort.csv\nphenotype:\n  signatures: {T: []}\n", "'T' names no marker"),
    ],
)
def test_a_problem_is_told_with_its_key(text, said, cohort):
    (cohort / "s.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpatialfmError) as error:
        read_config(cohort / "s.yaml", STAGES)
    assert said in str(error.value)
    assert "1 problem; nothing was done" in str(error.value)


def test_a_source_that_is_not_there(tmp_path):
    for name in ("a.yaml", "a.csv", "folder"):
        with pytest.raises(SpatialfmError, match="There is no"):
            read_config(tmp_path / name, STAGES)


def test_markers_are_read_as_everywhere():
    assert marker_names(["CD8a", "anti-CD3", "Foo7"]) == {"CD8a": "CD8", "anti-CD3": "CD3", "Foo7": "Foo7"}
    assert named_markers("k", ["CD8", "CD8a", "Foo7", "CD3"], ["CD8a", "Foo7", "anti-CD3"]) == []
    (problem,) = named_markers("k", ["Foo8"], ["CD8a", "Foo7"])
    assert problem == "k: no channel is the marker 'Foo8'. Did you mean 'Foo7'?"


def test_the_cohort_table_is_read_once_for_all_checks(cohort, monkeypatch):
    from spatialfm.io import _cohort_table

    asked, real = [], _cohort_table.load_table
    monkeypatch.setattr(_cohort_table, "load_table", lambda *a: (asked.append(a[0]), real(*a))[1])
    (cohort / "s.yaml").write_text(
        "cohort: cohort.csv\nsurvival:\n  time_key: months\n  event_key: died\n  covariates: [age]\n", encoding="utf-8"
    )
    read_config(cohort / "s.yaml", STAGES)
    assert asked == [cohort / "cohort.csv"]
