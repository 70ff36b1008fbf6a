"""Each result of the tools is recognised as what it is, with its n."""

from __future__ import annotations

import ast
import html
import re
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import kneighbors_graph

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.reporting.kinds import KINDS, counts_of, kind_of

N, TYPES = 30, ["T", "B", "Tumor"]


@pytest.fixture(scope="module")
def patients():
    """30 patients with outcome, a competing one, groups, a score and shares of three types."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "patient": [f"P{i}" for i in range(N)],
            "time": rng.exponential(20, N) + 1,
            "event": np.tile([1, 1, 0], N // 3),
            "cause": np.tile([1, 2, 0], N // 3),
            "arm": pd.Categorical(np.tile(["a", "b"], N // 2)),
            "age": rng.normal(60, 8, N),
            "score": rng.normal(size=N),
            "n_cells": 200,
        }
    )
    counts = rng.multinomial(200, [0.3, 0.2, 0.5], N)
    obs.index = obs["patient"].rename(None)
    table = ad.AnnData(counts / 200, obs=obs, var=pd.DataFrame(index=TYPES))
    table.layers["counts"] = counts
    table.uns["composition"] = {"params": {"cluster_key": "type", "patient_key": "patient"}}
    return table


CALLS = {
    "kaplan_meier": lambda p: sfm.tl.kaplan_meier(p, "arm"),
    "logrank": lambda p: sfm.tl.logrank(p, "arm", n_permutations=999),
    "cox": lambda p: sfm.tl.cox(p, ["age", "score"]),
    "fine_gray": lambda p: sfm.tl.fine_gray(p, "age", event_key="cause", event_value=1),
    "cumulative_incidence": lambda p: sfm.tl.cumulative_incidence(p, "arm", event_key="cause", censored_value=0),
    "rmst": lambda p: sfm.tl.rmst(p, "arm"),
    "concordance": lambda p: sfm.tl.concordance(p, "score"),
    "compare_concordance": lambda p: sfm.tl.compare_concordance(p, ["score", "age"]),
    "added_value": lambda p: sfm.tl.added_value(p, "score", covariates="age"),
    "cut_point": lambda p: sfm.tl.cut_point(p, "score"),
    "stratify": lambda p: sfm.tl.stratify(p, 2, time_key="time", event_key="event"),
    "compare_composition": lambda p: sfm.tl.compare_composition(p, "arm", n_permutations=99),
}


@pytest.fixture(scope="module")
def analysed(patients):
    """The table with all of these results, and the key of each."""
    table, keys = patients.copy(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        for function, call in CALLS.items():
            before = {*table.uns, "spatialfm"}
            call(table)
            (keys[function],) = set(table.uns) - before
    return table, keys


@pytest.mark.parametrize("function", CALLS)
def test_a_result_is_recognised(analysed, function):
    table, keys = analysed
    record = table.uns[keys[function]]
    kind = kind_of(record)
    assert kind is not None
    assert kind.function == function
    counts = counts_of(record)
    assert counts["n_patients"] == N
    if function in ("kaplan_meier", "logrank", "cox", "concordance", "compare_concordance", "added_value", "cut_point"):
        assert counts["events"] == 20
    if function == "fine_gray":
        assert counts["events"] == 10


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_results_of_cells_are_recognised():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=40, random_state=0)
    graph = kneighbors_graph(cells.obsm["X_latent"], 10)
    cells.obsp["connectivities"] = graph.maximum(graph.T)
    cells.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {}}
    sfm.tl.leiden_sweep(cells, resolutions=[0.5, 1.0], n_subsamples=2)
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=5)
    sfm.tl.niches(cells, 3)
    assert kinds_in(cells) == {"leiden_sweep": "leiden_sweep", "niche": "niches"}


def kinds_in(table: ad.AnnData) -> dict[str, str]:
    """Functions whose results are in a table, by their keys."""
    found = {key: kind_of(value) for key, value in table.uns.items() if isinstance(value, dict) and key != "spatialfm"}
    return {key: kind.function for key, kind in found.items() if kind is not None}


def test_errors_of_imputed_markers_are_recognised_and_shown(tmp_path):
    cells = sfm.datasets.simulate_cells(n_patients=10, cells_per_patient=40, random_state=0)
    cells.X[(cells.obs["patient"] == "P001").to_numpy(), cells.var_names.get_loc("CD8")] = np.nan
    sfm.tl.impute_markers(cells, markers=["CD8"], method="linear")
    summary = sfm.tl.calibrate_imputation(cells, n_bootstrap=0, n_permutations=99)
    assert kinds_in(cells) == {"imputation_calibration": "calibrate_imputation"}
    text = sfm.report(cells, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Written by sfm.tl.calibrate_imputation, in" in text
    assert f'<data value="{float(summary.loc["CD8", "shift_p"])!r}">' in text


@pytest.mark.slow
def test_a_search_for_signatures_is_recognised():
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=40, random_state=0)
    sfm.tl.discover_signatures(
        cells, use_rep="X_latent", outcome="response", positive="responder", resolutions=[1.0], n_permutations=3,
        n_repeats=1, n_repeats_model=1, n_folds=3, min_patients=0,
    )  # fmt: skip
    assert kinds_in(cells) == {"signatures": "discover_signatures"}
    assert counts_of(cells.uns["signatures"]) == {"n_patients": 12}


def test_all_of_them_are_drawn_and_described_in_one_report(analysed, tmp_path):
    table, keys = analysed
    cells = ad.AnnData(obs=pd.DataFrame({"sample": ["a"], "patient": ["P0"]}, index=["1"]))
    text = sfm.report(cells, tmp_path / "a.html", patients=table).read_text(encoding="utf-8")
    assert "not drawn" not in text
    assert "could not be made" not in text
    assert "Out of date" not in text
    assert "Not described here" not in text
    kinds = {kind.function: kind for kind in KINDS}
    for function in CALLS:
        assert f"Written by sfm.tl.{function}, in" in text
        assert html.escape(kinds[function].caveat) in text
        assert html.escape(kinds[function].correction) in text
    for function in ("logrank", "added_value", "cut_point"):
        assert f'<data value="{table.uns[keys[function]]["p_value"]!r}">' in text


def test_what_others_wrote_is_no_result():
    for value in ({"params": {}}, {"table": pd.DataFrame({"a": [1]})}, {"connectivities_key": "x"}, {}):
        assert kind_of(value) is None


def test_regressions_of_each_type_are_known_with_their_correction(tmp_path):
    frame = pd.DataFrame(
        {"by": "niches", "term": ["niche 1", "niche 2"], "hazard_ratio": [2.0, 0.5], "p_value": [0.011, 0.4],
         "p_holm": [0.022, 0.4], "n": [30, 29], "events": [20, 19], "adjusted_for": "", "caveats": ""}
    )  # fmt: skip
    patients = ad.AnnData(obs=pd.DataFrame(index=[f"P{i}" for i in range(30)]))
    patients.uns["regressions"] = frame
    assert counts_of({"regressions": frame}) == {"n_patients": 30, "events": 20}
    cells = ad.AnnData(obs=pd.DataFrame({"sample": ["a"], "patient": ["P0"]}, index=["1"]))
    text = sfm.report(cells, tmp_path / "a.html", patients=patients).read_text(encoding="utf-8")
    assert "Holm over all regressions that were made together" in text
    assert "Each of 2 types was tested in a Cox regression of its own" in text
    assert '<data value="0.022">0.022</data>' in text
    assert "not drawn" not in text


def test_groups_and_phenotypes_that_follow_a_batch_are_said(patients, tmp_path):
    table = ad.AnnData(obs=patients.obs.copy())
    table.obs["slide"] = table.obs["arm"].map({"a": "S1", "b": "S2"}).astype(str)
    sfm.tl.logrank(table, "arm", n_permutations=999)
    obs = pd.DataFrame({"sample": table.obs_names, "patient": table.obs_names, "slide": table.obs["slide"].to_numpy()})
    obs["phenotype"] = pd.Categorical(np.where(obs["slide"] == "S1", "T", "B"))
    cells = ad.AnnData(obs=obs.set_index(obs["sample"].astype(str)))
    text = html.unescape(sfm.report(cells, tmp_path / "a.html", patients=table).read_text(encoding="utf-8"))
    assert "Groups of 'arm' follow obs['slide']: they are the same within each of its 2 levels" in text
    assert "Shares of phenotypes follow obs['slide']" in text
    cells.obs["phenotype"] = pd.Categorical(["T", "B", "B"] * 10)
    assert "Shares of phenotypes follow" not in sfm.report(cells, tmp_path / "b.html").read_text(encoding="utf-8")


def test_each_kind_names_a_function_and_says_what_must_be_said():
    for kind in KINDS:
        names = re.findall(r"sfm\.tl\.(\w+)", kind.written_by)
        assert names
        assert all(hasattr(sfm.tl, name) for name in names), kind.function
        assert kind.correction.endswith("."), kind.function
        assert kind.caveat.endswith("."), kind.function


def test_tools_that_give_p_values_are_known():
    """A function of `tl` that writes p-values has a kind, so that none is left out of the overview."""
    root = Path(sfm.__file__).parent / "tl"
    without = []
    for path in sorted(root.glob("*/*.py")):
        text = path.read_text(encoding="utf-8")
        docs = {
            node.name: ast.get_docstring(node) or ""
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef)
        }
        doc = docs.get(path.stem, "").partition("Returns\n")[2].partition("Raises\n")[0]
        if "p_value" in doc and "write_uns(" in text:
            known = [name for kind in KINDS for name in re.findall(r"sfm\.tl\.(\w+)", kind.written_by)]
            without += [path.stem] if path.stem not in known else []
    assert not without
