"""Summaries over folds and draws, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spatialfm.learn.heads.scores import SCORES, abstention, by_class, differences, mean_times, over_draws, summarise


def table(f1, *, use_rep="X_a", head="linear", draws=1, **columns):
    """One row per fold and draw."""
    f1 = np.asarray(f1, float)
    rows = pd.DataFrame(dict.fromkeys(SCORES, 0.5), index=range(len(f1)))
    rows["f1"] = f1
    rows["fold"], rows["draw"] = np.arange(len(f1)) // draws, np.arange(len(f1)) % draws
    fixed = {"use_rep": use_rep, "head": head, "asked": "all", "partition": 0, "preparation": "z", "circular": False}
    return rows.assign(**fixed, **columns)


def test_draws_are_averaged_before_folds_are_summarised():
    macro = table([0.2, 0.4, 0.6, 0.8, 0.9, 0.7], draws=2)
    assert over_draws(macro)["f1"].tolist() == pytest.approx([0.3, 0.7, 0.8])
    row = summarise(macro).set_index("score").loc["f1"]
    values = np.array([0.3, 0.7, 0.8])
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    assert row["n_folds"] == 3
    # 1 / K of independent folds and 1 / (K - 1) for what they share (Nadeau and Bengio 2003), cut to 0 and 1
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert (row["low"], row["high"]) == (max(values.mean() - half, 0), min(values.mean() + half, 1))


def test_an_interval_reaches_below_0_where_chance_was_taken_off():
    macro = table([0.5, 0.5, 0.5]).assign(calibration_error=0.01, calibration_error_debiased=[-0.02, 0.0, -0.01])
    found = summarise(macro).set_index("score")
    half = stats.t.ppf(0.975, 2) * 0.01 * np.sqrt(1 / 3 + 1 / 2)
    assert found.loc["calibration_error_debiased", "low"] == pytest.approx(-0.01 - half)
    assert found.loc["calibration_error_debiased", "high"] == pytest.approx(-0.01 + half)


def test_differences_are_of_the_same_folds_and_of_one_change_at_a_time():
    macro = pd.concat(
        [
            table([0.9, 0.7, 0.8], use_rep="X_a"),
            table([0.5, 0.6, 0.4], use_rep="X_b").iloc[::-1],  # in another order
            table([0.1, 0.2, 0.3], use_rep="X_b", head="knn"),
            table([0.1, 0.1, 0.1], use_rep="16 random numbers"),
        ],
        ignore_index=True,
    )
    found = differences(macro)
    found = found[found["score"] == "f1"].set_index(["first", "second"])
    assert list(found.index) == [("X_a", "X_b"), ("X_b", "X_b")]  # not X_a linear against X_b knn, and no floors
    apart = np.array([0.4, 0.1, 0.4])
    assert found.loc[("X_a", "X_b"), "difference"] == pytest.approx(apart.mean())
    error = apart.std(ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert found.loc[("X_a", "X_b"), "p_value"] == pytest.approx(2 * stats.t.sf(apart.mean() / error, 2))


def test_the_support_of_a_class_is_counted_once_over_draws():
    rows = [table([0.2, 0.4, 0.6, 0.8], draws=2).assign(**{"class": "T", "n": [5, 5, 7, 7]})]
    rows.append(table([0.0] * 4, draws=2).assign(**{"class": "macro", "n": 12}))
    found = by_class(pd.concat(rows))
    assert found["class"].tolist() == ["T"]
    assert found["support"].tolist() == [12]
    assert found["f1"].tolist() == pytest.approx([0.5])
    assert not {"calibration_error", "calibration_error_debiased"} & set(found.columns)


def test_seconds_are_those_of_the_whole_not_of_each_class():
    macro = table([0.1, 0.2], seconds=[1.0, 3.0]).assign(**{"class": "macro"})
    of_class = table([0.1, 0.2], seconds=[9.0, 9.0]).assign(**{"class": "T"})
    assert mean_times(pd.concat([macro, of_class]))["seconds"].tolist() == [2]


def test_columns_of_abstention_are_found_by_their_beginning():
    macro = table([0.1, 0.3], surest_50=[0.8, 0.6], set_size=[1.0, 2.0], other=[1.0, 1.0])
    found = abstention(macro)
    assert list(found.columns) == ["use_rep", "head", "n_train", "surest_50", "set_size"]
    assert found[["surest_50", "set_size"]].iloc[0].tolist() == pytest.approx([0.7, 1.5])
