"""``spatialfm report``: what the page is made of."""

from __future__ import annotations

import anndata as ad
import pandas as pd
import pytest

import spatialfm.reporting as reporting
from spatialfm.cli._analysis import STAGES as FOLDER
from spatialfm.cli._analysis import Analysis
from spatialfm.cli._config import Config
from spatialfm.cli._stages import STAGES
from spatialfm.cli.patients import name_of
from spatialfm.cli.report import _patients, report


def table(**columns):
    return ad.AnnData(obs=pd.DataFrame(columns, index=["a", "b"]))


@pytest.fixture
def passed(tmp_path, monkeypatch):
    """Function that makes the page of cells with some columns, and returns what the page was asked for."""

    def make(settings, **columns):
        analysis = Analysis(Config(tmp_path / "c.csv", tmp_path, given={"survival": settings}), STAGES)
        for kind in ("phenotypes", "niches"):
            analysis.write_table(analysis.place(name_of(kind)), table(of=kind))
        asked = {}
        monkeypatch.setattr(analysis, "whole", lambda: {"table": table(**columns)})
        monkeypatch.setattr(reporting, "report", lambda sdata, path, **more: asked.update(more, path=path))
        done = report(analysis, title="Mine")
        assert done.findings == [str(tmp_path / "report.html")] == [str(asked["path"])]
        assert "report.html" in analysis.files
        return asked

    return make


def test_columns_of_the_run_are_named_and_a_page_is_written_anew(passed):
    asked = passed({}, x="1")
    assert {name: asked[name] for name in ("phenotype_key", "niche_key", "patient_key", "library_key", "title")} == {
        "phenotype_key": "phenotype", "niche_key": "niche", "patient_key": "patient", "library_key": "sample",
        "title": "Mine",
    }  # fmt: skip
    assert asked["overwrite"] is True
    assert {kind: one.obs["of"].iloc[0] for kind, one in asked["patients"].items()} == {
        "phenotypes": "phenotypes", "niches": "niches",
    }  # fmt: skip


OUTCOME = {"time_key": "OS (months)", "event_key": "died", "event_value": "yes"}


def test_the_outcome_is_passed_under_the_names_that_tables_have(passed):
    asked = passed(OUTCOME, OS_months=[1.0, 2.0], died=["yes", "no"])
    assert (asked["time_key"], asked["event_key"], asked["event_value"]) == ("OS_months", "died", "yes")


@pytest.mark.parametrize("columns", [{"OS_months": [1.0, 2.0]}, {"died": ["yes", "no"]}, {"x": "1"}])
def test_an_outcome_that_cells_do_not_have_is_not_asked_for(passed, columns):
    assert not {"time_key", "event_key", "event_value"} & set(passed(OUTCOME, **columns))


def test_patients_are_those_with_results_where_there_are_some(tmp_path):
    analysis = Analysis(Config(tmp_path / "c.csv", tmp_path), STAGES)
    analysis.write_table(analysis.place(name_of("niches")), table(results="none"))
    assert _patients(analysis, "niches").obs["results"].iloc[0] == "none"
    analysis.write_table(analysis.place(FOLDER, "survival_niches.h5ad"), table(results="curves"))
    assert _patients(analysis, "niches").obs["results"].iloc[0] == "curves"
