"""``spatialfm signatures``: the search of the function, its honest score first, and none where no outcome is named."""

from __future__ import annotations

import json
import re
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from cli_cohort import SETTINGS, write_cohort
from sklearn.neighbors import kneighbors_graph

import spatialfm as sfm
from spatialfm.cli import _analysis, main
from spatialfm.cli._config import Config
from spatialfm.cli._stages import STAGES
from spatialfm.cli.signatures import outcome_of, signatures

SEARCH = {"resolutions": [1.0], "max_cells": None, "n_permutations": 9, "n_repeats": 2, "n_repeats_model": 2}
GRAPH = "spatialfm.learn.signature_clusters.neighbour_graph"


def nearest(values, n_neighbors, random_state):
    """Who is near whom, without the minute that compiling scanpy's graph takes."""
    graph = kneighbors_graph(values, n_neighbors, mode="connectivity")
    return graph.maximum(graph.T).tocsr()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Cells of 24 patients as the stages before leave them, the search on them, and the same by the function."""
    out = tmp_path_factory.mktemp("results")
    cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=40, random_state=0)
    cells.obs["phenotype"] = cells.obs["type"]
    cells.uns["leiden_sweep"] = {"params": {"use_rep": "X_latent"}}
    cells.obsm["X_first"] = np.zeros((cells.n_obs, 2), np.float32)  # an embedding that phenotypes were not made of
    (out / "stages").mkdir()
    cells.write_h5ad(out / "stages" / "segment.h5ad")
    for stage in ("embed", "phenotype"):
        ad.AnnData(obs=cells.obs[[]]).write_h5ad(out / "stages" / f"{stage}.h5ad")
    analysis = _analysis.Analysis(Config(out / "cohort.csv", out), STAGES)
    options = STAGES["signatures"].settings({"outcome": "response", "positive": "responder", **SEARCH})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_analysis, "FORMATS", (".png",))
        patch.setattr(_analysis, "DPI", 40)
        patch.setattr(GRAPH, nearest)
        said = signatures(analysis, **options).findings
        again = sfm.tl.discover_signatures(
            cells, use_rep="X_latent", outcome="response", positive="responder", copy=True, **SEARCH
        )
    return out, analysis, said, again


def test_scores_are_those_of_the_function_on_the_same_cells(searched):
    out, analysis, _, again = searched
    scores = pd.read_csv(out / "tables" / "signatures_scores.csv", index_col=0)
    columns = ["score", "ci_low", "ci_high", "p_value"]
    np.testing.assert_allclose(scores[columns], again["scores"][columns])
    cells = analysis.cells("signatures")
    np.testing.assert_array_equal(cells.obsm["signatures"], again["cells"])
    assert list(cells.obsm["signatures"]) == list(again["signatures"].index)


def test_the_honest_score_comes_first_and_the_other_is_called_what_it_is(searched):
    _, _, said, again = searched
    nested = again["scores"].loc["nested"]
    assert said[0].startswith(
        f"in patients who took no part in the search: AUROC {nested['score']:.2f} (95 % interval "
    )
    assert said[0].endswith("by shuffled outcomes. This is the number to report")
    published = again["scores"].drop(index="nested")["score"].iloc[0]
    assert said[1].startswith(f"as published: AUROC {published:.2f}, optimistic")
    assert published != nested["score"]
    assert len(said) == 3 + len(again["signatures"])
    assert all(line.startswith(f"  {name} (") for name, line in zip(again["signatures"].index, said[3:], strict=True))


def test_figures_and_tables_are_written_and_known_to_the_stage(searched):
    out, analysis, *_ = searched
    assert (out / "figures" / "signatures_scores.png").is_file()
    types = pd.read_csv(out / "tables" / "signatures_types.csv")
    assert {"signature", "type", "log2_enrichment", "q_value"} <= set(types)
    patients = pd.read_csv(out / "tables" / "signatures_patients.csv", index_col=0)
    assert len(patients) == 24
    assert patients["origin"].str.contains("chosen by the outcome of these patients").all()
    assert {"tables/signatures.csv", "figures/signatures.png", "stages/signatures.h5ad"} <= set(analysis.files)


@pytest.mark.slow
def test_the_report_shows_the_search(searched, tmp_path):
    cells = searched[1].cells("signatures")
    text = sfm.report(cells, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Signatures of an outcome: signatures" in text
    assert "the nested score is the one to report" in text
    assert "Types of cells in signatures" in text


def test_without_an_outcome_nothing_is_searched_and_it_says_so(searched, tmp_path):
    out = shutil.copytree(searched[0], tmp_path / "results")
    (out / "stages" / "signatures.h5ad").unlink()
    analysis = _analysis.Analysis(Config(out / "cohort.csv", out), STAGES)
    said = signatures(analysis, **STAGES["signatures"].settings({})).findings
    assert said == ["skipped: no outcome is named. Name a column of the cohort table: signatures.outcome."]
    assert analysis.files == ["stages/signatures.h5ad"]
    assert "signatures" not in analysis.cells("signatures").obsm


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Sixteen patients in files, of whom those with mostly tumor do not respond."""
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 16)
    table = pd.read_csv(folder / "cohort.csv")
    table["best response"] = ["PD" if number % 2 == 0 else "CR" for number in range(len(table))]
    table.to_csv(folder / "cohort.csv", index=False)
    return folder


@pytest.mark.slow
def test_from_files_to_the_report(cohort, capsys):
    """The planted composition decides the outcome of every patient; another outcome redoes what builds on it."""
    search = "resolutions: [0.5, 1.0]\n  max_cells: null\n  n_permutations: 19"
    settings = f"{SETTINGS}signatures:\n  outcome: best response\n  positive: CR\n  {search}\n"
    (cohort / "config.yaml").write_text(settings, encoding="utf-8")
    assert main(["run", str(cohort / "config.yaml"), "--quiet"]) == 0
    results = cohort / "results"
    assert pd.read_csv(results / "tables" / "signatures_scores.csv", index_col=0).loc["nested", "score"] == 1.0
    assert "signatures" in ad.read_h5ad(results / "cells.h5ad").obsm
    said = json.loads((results / "state.json").read_text(encoding="utf-8"))["stages"]["signatures"]["findings"]
    assert any("times Tumor" in line and "(non-response)" in line for line in said)
    assert "Signatures of an outcome" in (results / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["run", str(results), "--dry-run", "--json", "--set", "signatures.positive=PD"]) == 0
    plan = {one["name"]: one["why"] for one in json.loads(capsys.readouterr().out)["stages"] if one["why"]}
    assert list(plan) == ["signatures", "patients", "survival", "report"]
    assert plan["signatures"] == 'positive is "PD", was "CR"'


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("outcome: bestresponse", "signatures.outcome: the cohort table has no column 'bestresponse'. Did you mean"),
        ("outcome: [months, died, age]", "neither one column nor a time and an event"),
        ("outcome: best response", "signatures: .*positive"),
        ("outcome: age", "signatures: .*'age'"),
        ("outcome: [months, died]", "signatures: .*'died'.*event_value"),
        ("outcome: best response\n  positive: CR\n  n_folds: 40", "signatures: .*40 folds|signatures: .*n_folds"),
        ("outcome: best response\n  positive: CR\n  block_key: sites", "signatures.block_key: the cohort table has no"),
        ("outcome: best response\n  nested: false", "signatures.nested: there is no such setting"),
    ],
)
def test_an_outcome_that_cannot_be_used_is_told_before_any_work(cohort, tmp_path, capsys, settings, said):
    config = tmp_path / "config.yaml"
    text = f"{SETTINGS}signatures:\n  {settings}\n".replace("cohort: ", f"cohort: {cohort}/")
    config.write_text(text.replace("out: results", f"out: {tmp_path}/results"), encoding="utf-8")
    assert main(["run", str(config)]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "results").exists()


def test_columns_bear_the_names_that_stores_give_them():
    assert outcome_of("best response", ["best_response"]) == "best_response"
    assert outcome_of(["OS (months)", "died"], ["OS_months", "died"]) == ("OS_months", "died")
