"""Representations against each other, over the same runs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def runs():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"use_rep": np.repeat(["a", "b", "c"], 10), "draw": np.tile(np.arange(10), 3)})
    table["f1"] = rng.normal(0.6, 0.1, 30) + np.repeat([0.2, 0.0, 0.0], 10)
    table["auroc"] = rng.random(30)
    return table.sample(frac=1, random_state=0)


def test_p_values_are_those_of_scipy(runs):
    table = sfm.metrics.compare_representations(runs, ["f1", "auroc"])
    assert len(table) == 12
    for row in table.itertuples():
        one, two = (runs.loc[runs["use_rep"] == name, row.score] for name in (row.first, row.second))
        assert row.p_published == pytest.approx(stats.mannwhitneyu(one, two, alternative="greater").pvalue)
        assert row.difference == pytest.approx(one.mean() - two.mean())
    best = table.query("score == 'f1' and first == 'a' and second == 'b'")
    assert best["p_published"].item() < 0.01
    assert table["p_value"].isna().all()  # of other patients nothing is known without ratio=


def test_the_test_is_paired_and_allows_for_shared_patients(runs):
    plain = sfm.metrics.compare_representations(runs, "f1", ratio=0.0).set_index(["first", "second"])
    wide = runs.pivot(index="draw", columns="use_rep", values="f1")
    expected = stats.ttest_rel(wide["a"], wide["b"], alternative="greater").pvalue
    assert plain.loc[("a", "b"), "p_value"] == pytest.approx(expected)
    wider = sfm.metrics.compare_representations(runs, "f1", ratio=0.25, n_cases=8).set_index(["first", "second"])
    difference = wide["a"] - wide["b"]
    t = difference.mean() / np.sqrt((1 / 10 + 2 * 0.25) * difference.var(ddof=1))
    assert wider.loc[("a", "b"), "p_value"] == pytest.approx(stats.t.sf(t, 7))
    assert wider.loc[("b", "a"), "p_value"] == pytest.approx(stats.t.cdf(t, 7))


def test_more_draws_of_the_same_patients_make_no_difference_significant():
    """Two equally good classifiers on 40 patients; 10 draws or 400: the published p goes to 0, the other stays."""
    rng = np.random.default_rng(0)
    patient = rng.normal(0, 0.1, 40)  # by how much the first does better in each
    draws = [patient[rng.choice(40, 8, replace=False)].mean() for _ in range(400)]
    runs = pd.DataFrame({"use_rep": np.repeat(["a", "b"], 400), "draw": np.tile(np.arange(400), 2)})
    runs["f1"] = np.r_[np.array(draws), np.zeros(400)] + rng.normal(0, 0.001, 800)
    few, many = (
        sfm.metrics.compare_representations(runs[runs["draw"] < n], "f1", ratio=0.25)
        .set_index(["first", "second"])
        .loc[[("a", "b"), ("b", "a")]]
        for n in (10, 400)
    )
    assert many["p_published"].min() < 1e-3
    assert many["p_value"].min() > 0.1
    assert few["p_value"].min() > 0.1


def test_runs_that_are_alike_or_missing(runs):
    same = runs.assign(f1=0.5)
    table = sfm.metrics.compare_representations(same, "f1", ratio=0.25)
    assert (table["p_published"] == 1).all()
    assert (table["p_value"] == 0.5).all()
    some = runs.copy()
    some.loc[some["draw"] < 3, "f1"] = np.nan
    assert (sfm.metrics.compare_representations(some, "f1")["n_runs"] == 7).all()
    none = sfm.metrics.compare_representations(runs.assign(f1=np.nan), "f1", ratio=0.2)
    assert none["p_value"].isna().all()
    assert sfm.metrics.compare_representations(runs[runs["use_rep"] == "a"], "f1").empty


def test_refusals(runs):
    with pytest.raises(TableError, match="No column 'recall' in runs; found"):
        sfm.metrics.compare_representations(runs, "recall")
    with pytest.raises(TableError, match="ratio=-1 is not a ratio"):
        sfm.metrics.compare_representations(runs, "f1", ratio=-1)
    with pytest.raises(TableError, match="'[abc]' has a run twice"):
        sfm.metrics.compare_representations(pd.concat([runs, runs]), "f1")
