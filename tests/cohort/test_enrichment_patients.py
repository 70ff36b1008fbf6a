"""Patients whose neighbourhoods are compared: who is read, who is left out, and tests from scipy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.cohort.adjusted import Adjustment
from spatialfm.cohort.enrichment_patients import compare_patients, read_beside, read_units


def table(samples, patients, groups, **columns) -> ad.AnnData:
    obs = pd.DataFrame({"sample": samples, "patient": patients, "arm": groups, **columns})
    obs.index = [f"c{i}" for i in range(len(obs))]
    return ad.AnnData(obs=obs)


def test_units_are_patients_or_where_paired_patients_in_a_group():
    adata = table(["s1", "s1", "s2", "s3"], ["p", "p", "p", "q"], ["a", "a", "a", "b"])
    units, known = read_units(adata, "sample", "patient", "arm", "raise")
    assert units["unit"].to_dict() == {"s1": "p", "s2": "p", "s3": "q"}
    assert known.all()
    within = table(["s1", "s2", "s3"], ["p", "p", "q"], ["a", "b", "b"])
    with pytest.warns(SpatialfmWarning, match="1 patient has one of the groups and cannot be paired"):
        units, _ = read_units(within, "sample", "patient", "arm", "raise", paired=True)
    assert units["unit"].tolist() == ["p\na", "p\nb", "q\nb"]


def test_a_patient_in_two_groups_is_refused_unless_paired():
    adata = table(["s1", "s2", "s3"], ["p", "p", "q"], ["a", "b", "b"])
    with pytest.raises(TableError, match=r"pass pair_key=\"patient\""):
        read_units(adata, "sample", "patient", "arm", "raise")


def test_patients_without_a_group_are_refused_or_left_out():
    adata = table(["s1", "s2", "s3"], ["p", "q", "r"], ["a", None, "b"])
    with pytest.raises(TableError, match="'q'"):
        read_units(adata, "sample", "patient", "arm", "raise")
    units, known = read_units(adata, "sample", "patient", "arm", "drop")
    assert known.tolist() == [True, False, True]
    assert list(units.index) == ["s1", "s3"]


def test_one_group_and_unknown_words_are_refused():
    adata = table(["s1", "s2"], ["p", "q"], ["a", "a"])
    with pytest.raises(TableError, match="holds one group, 'a'; two are the least"):
        read_units(adata, "sample", "patient", "arm", "raise")
    with pytest.raises(TableError, match="on_missing='skip' is not known"):
        read_units(adata, "sample", "patient", "arm", "skip")


def test_patients_without_a_covariate_lose_their_cells():
    patients = np.repeat([f"p{i}" for i in range(8)], 2)
    age = np.repeat([50.0, np.nan, 61, 47, 55, 70, 66, 58], 2)
    adata = table([f"s{p}" for p in patients], patients, np.where(np.arange(16) < 8, "a", "b"), age=age)
    units, known = read_units(adata, "sample", "patient", "arm", "raise")
    adjustment, rows = read_beside(adata, units, known, ("age", None, "arm"), "sample", "drop", False)
    assert list(adjustment.covariates.index) == [f"p{i}" for i in (0, 2, 3, 4, 5, 6, 7)]
    assert rows.tolist() == (patients != "p1").tolist()
    nothing, rows = read_beside(adata, units, known, (None, None, "arm"), "sample", "raise", False)
    assert not nothing.given
    assert rows.all()


@pytest.fixture
def ratios():
    rng = np.random.default_rng(0)
    rows = [
        {"unit": f"p{i}", "group": "a" if i < 6 else "b", "cell_type": "T", "neighbour": one, "log2_ratio": value}
        for one, shift in (("B", 1.0), ("NK", 0.0))
        for i, value in enumerate(rng.normal(size=12) + shift * (np.arange(12) >= 6))
    ]
    frame = pd.DataFrame(rows)
    frame["group"] = pd.Categorical(frame["group"], ["a", "b", "c"])
    return frame


def test_groups_are_compared_by_ranks_and_means(ratios):
    nothing = Adjustment(pd.DataFrame(index=[f"p{i}" for i in range(12)]))
    table = compare_patients(ratios, [("T", "B"), ("T", "NK")], nothing, 0.05)
    assert list(zip(table["group_1"], table["group_2"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")] * 2
    for name in ("B", "NK"):
        part = ratios[ratios["neighbour"] == name]
        one, two = (part.loc[part["group"] == group, "log2_ratio"] for group in "ab")
        row = table[(table["neighbour"] == name) & (table["group_2"] == "b")].iloc[0]
        assert row["difference"] == pytest.approx(two.mean() - one.mean())
        interval = stats.ttest_ind(two, one, equal_var=False).confidence_interval()
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        u = stats.mannwhitneyu(two, one).statistic
        assert row["effect"] == pytest.approx(2 * u / 36 - 1)
    # nobody is in the third group: nothing is tested, and it does not count among the tests
    empty = table[table["group_2"] == "c"]
    assert empty["p_value"].isna().all()
    assert (empty["n_2"] == 0).all()
    tested = table["p_value"].notna()
    np.testing.assert_allclose(
        table.loc[tested, "q_value"], stats.false_discovery_control(table.loc[tested, "p_value"])
    )
    assert not table.loc[~tested, "significant"].any()


def test_with_a_covariate_the_difference_is_that_of_least_squares(ratios):
    age = pd.DataFrame({"age": np.linspace(40, 70, 12) + np.tile([0, 9], 6)}, index=[f"p{i}" for i in range(12)])
    table = compare_patients(ratios, [("T", "B")], Adjustment(age), 0.05)
    part = ratios[ratios["neighbour"] == "B"]
    design = np.column_stack([np.ones(12), (part["group"] == "b").to_numpy(float), age["age"]])
    expected = np.linalg.lstsq(design, part["log2_ratio"].to_numpy(), rcond=None)[0][1]
    assert table.iloc[0]["difference"] == pytest.approx(expected)
