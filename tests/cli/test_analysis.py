"""The folder of an analysis: stages add to cells, and change nothing of another's."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import InputFileError, RunError, SpatialfmError
from spatialfm.cli._analysis import Analysis, EarlierNames, _undated, _update
from spatialfm.cli._config import Config


@pytest.fixture
def analysis(tmp_path):
    """Cells with an area, to which `embed` has added an embedding."""
    made = Analysis(Config(Path("cohort.csv"), tmp_path, random_state=5), {})
    table = ad.AnnData(obs=pd.DataFrame({"area": [1.0, 2.0]}, index=["a", "b"]))
    table.uns = {"spatialfm": {"segment": {"x": 1}}, "title": "first"}
    made.write_table(made.place("stages", "segment.h5ad"), table)
    before = EarlierNames(table)
    table.obsm["X_a"] = np.array([[1.0, 2], [3, 4]])
    table.obs["depth"] = [7, 8]
    table.uns = {"spatialfm": {"X_a": {"model": "a"}}, "title": "second"}
    made.add_to_cells("embed", table, before)
    return made


def test_layers_lie_on_each_other(analysis):
    table = analysis.cells("embed")
    assert list(table.obs) == ["area", "depth"]
    assert table.obsm["X_a"].tolist() == [[1, 2], [3, 4]]
    assert table.uns["spatialfm"] == {"segment": {"x": 1}, "X_a": {"model": "a"}}
    assert table.uns["title"] == "second"
    assert "X_a" not in analysis.cells("segment").obsm


def test_a_stage_writes_what_it_adds_alone(analysis):
    added = ad.read_h5ad(analysis.out / "stages" / "embed.h5ad")
    assert list(added.obs) == ["depth"]
    assert list(added.obsm) == ["X_a"]


def test_the_embedding_is_left_where_it_is_not_wanted(analysis):
    table = analysis.cells("embed", embedding=False)
    assert list(table.obs) == ["area"]
    assert not table.obsm


def test_a_stage_may_not_change_what_was_there(analysis):
    table = analysis.cells("embed")
    before = EarlierNames(table)
    table.obs["area"] = [1.0, 3.0]
    with pytest.raises(RunError, match="Stage 'phenotype' has changed column 'area' of the cells"):
        analysis.add_to_cells("phenotype", table, before)
    assert not (analysis.out / "stages" / "phenotype.h5ad").exists()


def test_layers_of_other_cells_are_refused(analysis):
    table = ad.AnnData(obs=pd.DataFrame({"area": [1.0, 2.0]}, index=["b", "a"]))
    analysis.write_table(analysis.place("stages", "segment.h5ad"), table)
    with pytest.raises(SpatialfmError, match="holds other cells than .* Pass --redo embed"):
        analysis.cells("embed")


def test_a_stage_that_has_not_run(analysis):
    with pytest.raises(InputFileError, match=r"phenotype\.h5ad' is not there: stage 'phenotype' makes it"):
        analysis.cells("phenotype")


def test_a_file_counts_once(analysis):
    assert analysis.files == ["stages/segment.h5ad", "stages/embed.h5ad"]
    analysis.place("stages", "embed.h5ad")
    assert analysis.files == ["stages/segment.h5ad", "stages/embed.h5ad"]
    assert analysis.place("tables", "x", "y.csv") == analysis.out / "tables" / "x" / "y.csv"
    assert (analysis.out / "tables" / "x").is_dir()
    assert analysis.random_state == 5


def test_tables_open_in_spreadsheets(analysis):
    analysis.write_csv("t", pd.DataFrame({"µ": [1]}, index=["a"]))
    assert (analysis.out / "tables" / "t.csv").read_bytes().splitlines() == ["\ufeff,µ".encode(), b"a,1"]


def test_records_are_merged_as_deep_as_they_go():
    uns = {"a": {"b": {"c": 1, "d": 2}}, "e": {"f": 1}}
    _update(uns, {"a": {"b": {"d": 3}}, "e": 4})
    assert uns == {"a": {"b": {"c": 1, "d": 3}}, "e": 4}


def test_figures_have_no_date():
    assert _undated(".pdf") == {"CreationDate": None}
    assert _undated(".svg") == {"Date": None}
    assert _undated(".png") == {}
