"""Sets of types for cells of new patients, on cohorts whose truth is known; means of markers in any unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError


def heavy_tailed(seed=0, n_patients=14, n_cells=60):
    """Means of 8 markers in 4 types of 14 patients; each patient has a staining of its own."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 0.8, (4, 8))
    n = n_patients * n_cells
    codes, patient = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05]), np.repeat(np.arange(n_patients), n_cells)
    stain = rng.normal(0, 0.3, (n_patients, 8))
    values = np.exp(centres[codes] + stain[patient] + rng.normal(size=(n, 8)))
    obs = pd.DataFrame({"type": [f"T{code}" for code in codes], "patient": [f"P{one}" for one in patient]})
    return AnnData(values.astype(np.float32), obs=obs.set_index(obs.index.astype(str)))


@pytest.mark.parametrize("method", ["linear", "lda"])
def test_units_of_markers_do_not_matter(method):
    cells = heavy_tailed()
    other = cells.copy()
    other.X = (cells.X * np.geomspace(0.004, 300, 8)).astype(np.float32)
    for table in (cells, other):
        table.obs["known"] = table.obs["type"].where(np.arange(table.n_obs) % 20 == 0)
        sfm.tl.annotate(table, "known", use_rep="X", method=method)
    np.testing.assert_allclose(
        cells.obsm["known_predicted_probability"], other.obsm["known_predicted_probability"], atol=2e-3
    )
    one, two = (table.uns["known_predicted"]["cofactors"]["cofactor"].to_numpy() for table in (cells, other))
    np.testing.assert_allclose(two / one, np.geomspace(0.004, 300, 8), rtol=1e-5)
    expected = [np.quantile(column, 0.05) for column in np.asarray(cells.X, float).T]
    np.testing.assert_allclose(one, expected, rtol=1e-5)


def test_arcsinh_is_for_means_alone_and_can_be_left():
    cells = heavy_tailed()
    cells.X = cells.X**2  # two decades within a type, as ion counts have them
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 20 == 0)
    cells.obsm["X_network"] = np.asarray(cells.X)
    right = {}
    for name, options in {"with": {"use_rep": "X"}, "without": {"use_rep": "X", "arcsinh": False}}.items():
        sfm.tl.annotate(cells, "known", method="linear", **options)
        right[name] = (cells.obs["known_predicted"] == cells.obs["type"]).mean()
        assert ("cofactors" in cells.uns["known_predicted"]) == (name == "with")
        assert cells.uns["known_predicted"]["params"]["preparation"].startswith("means by") == (name == "with")
    assert right["with"] > right["without"] + 0.02
    without = cells.obsm["known_predicted_probability"].to_numpy()
    sfm.tl.annotate(cells, "known", use_rep="X_network", method="linear")
    assert "cofactors" not in cells.uns["known_predicted"]
    np.testing.assert_allclose(cells.obsm["known_predicted_probability"], without, atol=1e-6)
    centred = cells.copy()
    centred.X = (cells.X - cells.X.mean(axis=0)) / cells.X.std(axis=0)
    sfm.tl.annotate(centred, "known", use_rep="X", method="linear")
    assert "cofactors" not in centred.uns["known_predicted"]


@pytest.mark.parametrize("method", ["linear", "lda"])
@pytest.mark.parametrize("of", ["types", "cells"])
def test_sets_hold_the_true_type_of_new_patients_as_often_as_stated(method, of):
    """Mean over cohorts of 14 patients, of whom 11 have labels; each new patient weighs the same."""
    covered, of_rare = [], []
    for seed in range(8):
        cells = heavy_tailed(seed)
        labelled = cells.obs["patient"].isin([f"P{one}" for one in range(11)])
        cells.obs["known"] = cells.obs["type"].where(labelled)
        sfm.tl.annotate(cells, "known", use_rep="X", method=method, C=1.0, coverage=0.8, coverage_of=of)
        sets = sfm.get.table(cells, "known_predicted_set")
        inside = np.array([row[name] for row, name in zip(sets.to_dict("records"), cells.obs["type"], strict=True)])
        new = ~labelled.to_numpy()
        covered += [inside[new & (cells.obs["patient"] == f"P{one}")].mean() for one in (11, 12, 13)]
        of_rare += inside[new & (cells.obs["type"] == "T3")].tolist()
        np.testing.assert_array_equal(cells.obs["known_predicted_set_size"], sets.sum(axis=1))
    assert np.mean(covered) > 0.78
    assert np.mean(covered) < 0.97
    if of == "types":
        assert np.mean(of_rare) > 0.76
    least = cells.uns["known_predicted"]["sets"]["least_probability"]
    assert (least > 0).all()
    assert cells.obs["known_predicted_set_size"].min() == 1


@pytest.mark.parametrize("method", ["linear", "lda"])
def test_sets_of_a_method_that_knows_its_labels_by_heart_hold_the_true_type_too(method):
    """Columns of noise, half as many as labelled cells: a method is sure of these alone, and of no other cell."""
    covered = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cells = AnnData(obs=pd.DataFrame({"type": rng.choice(["A", "B", "C"], 600)}, index=np.arange(600).astype(str)))
        cells.obs["patient"] = [f"P{number}" for number in np.arange(600) // 10]
        cells.obsm["X_noise"] = rng.normal(size=(600, 60))
        labelled = np.arange(600) < 120  # 12 patients
        cells.obs["known"] = cells.obs["type"].where(labelled)
        options = {"use_rep": "X_noise", "method": method, "C": 1.0, "coverage": 0.8, "coverage_of": "cells"}
        sfm.tl.annotate(cells, "known", **options)
        sets = sfm.get.table(cells, "known_predicted_set")
        inside = sets.to_numpy()[np.arange(600), sets.columns.get_indexer(cells.obs["type"])]
        covered.append(inside[~labelled].mean())
    assert np.mean(covered) > 0.78


def test_sets_are_refused_with_few_patients_before_anything_is_fitted(monkeypatch):
    cells = heavy_tailed()
    cells.obs["known"] = cells.obs["type"].where(cells.obs["patient"].isin(["P1", "P2", "P3"]))
    monkeypatch.setattr("spatialfm.tl.phenotypes.annotate.answer", None)
    with pytest.raises(TableError, match=r"3 patients have labelled cells.*needs 9.*coverage=0.75"):
        sfm.tl.annotate(cells, "known", use_rep="X", coverage=0.9)
    with pytest.raises(TableError, match="Pass patient_key="):
        sfm.tl.annotate(cells, "known", use_rep="X", coverage=0.9, patient_key=None)


def test_a_type_of_few_patients_is_said_and_in_every_set():
    cells = heavy_tailed()
    rare = (cells.obs["type"] == "T3") & ~cells.obs["patient"].isin(["P0", "P1"])
    cells.obs["known"] = cells.obs["type"].where(~rare)
    with pytest.warns(UserWarning, match="'T3' is labelled in fewer than 9 patients"):
        sfm.tl.annotate(cells, "known", use_rep="X", method="linear", coverage=0.9)
    assert cells.obsm["known_predicted_set"]["T3"].all()
    sfm.tl.annotate(cells, "known", use_rep="X", method="linear")
    assert "known_predicted_set" not in cells.obsm
    assert "known_predicted_set_size" not in cells.obs


def test_evaluation_scores_sets_and_abstention():
    """On cells of other patients; what is kept by the surest is right more often than all are."""
    cells = heavy_tailed(n_patients=16, n_cells=80)
    options = {"use_rep": "X", "C": 1.0, "heads": ["linear", "lda"], "coverage": 0.8}
    sfm.tl.evaluate_annotation(cells, "type", **options)
    table = cells.uns["annotation"]["abstention"].set_index("head")
    assert table.index.tolist() == ["linear", "lda", "linear", "majority"]
    table = table.iloc[:2]
    assert (table["coverage_of_types"] > 0.76).all()
    assert (table["surest_50"] > table["surest_75"]).all()
    assert (table["surest_75"] > table["surest_100"]).all()
    assert (table["single_right"] > table["surest_100"]).all()
    assert table["set_size"].between(1, 3).all()
    folds = cells.uns["annotation"]["folds"]
    macro = folds[(folds["class"] == "macro") & (folds["use_rep"] == "X") & (folds["head"] == "lda")]
    assert macro["coverage"].mean() == pytest.approx(table.loc["lda", "coverage"])
    summary = cells.uns["annotation"]["summary"].set_index(["use_rep", "head"])["preparation"]
    assert summary["X"].str.startswith("means by arcsinh").all()
    assert not summary["16 random numbers"].str.startswith("means by arcsinh").any()
