"""``spatialfm survival``: what is tested, how it is corrected, and what is said where nothing can be."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

import spatialfm as sfm
from spatialfm._errors import SpatialfmError
from spatialfm.cli.survival import _in_words, group_and_compare, outcome_of, regressions, with_holm

SETTINGS = {
    "time_key": "time", "event_key": "event", "event_value": None, "entry_key": None, "on_missing": "raise",
    "alpha": 0.05, "n_groups": 2,
}  # fmt: skip


def patients(n=30, seed=0):
    """Fractions of three phenotypes, and an outcome that has nothing to do with them."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet([2, 2, 2], n)
    obs = pd.DataFrame({"time": rng.exponential(size=n), "event": 1, "age": rng.normal(60, 9, n)})
    obs.index = [f"P{i}" for i in range(n)]
    return ad.AnnData(fractions, obs=obs, var=pd.DataFrame(index=["A", "B", "C"]))


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, np.nan, 0.2], [0.5], [np.nan, 0.02]])
def test_correction_is_that_of_statsmodels_for_the_tests_that_were_made(p):
    found = with_holm(pd.DataFrame({"p_value": p}))["p_holm"].to_numpy()
    made = ~np.isnan(p)
    np.testing.assert_allclose(found[made], multipletests(np.array(p)[made], method="holm")[1])
    assert np.isnan(found[~made]).all()


def test_a_regression_that_cannot_be_fitted_is_a_row_that_says_why():
    table = patients()
    table.X[:, 2] = 0.0  # no patient has any
    found = regressions({"phenotypes": table}, SETTINGS, ()).set_index("term")
    assert found.loc["C", "caveats"].startswith("not fitted: ")
    assert np.isnan(found.loc["C", "hazard_ratio"])
    assert np.isfinite(found.loc[["A", "B"], "hazard_ratio"]).all()
    assert found.loc["A", "p_holm"] == pytest.approx(min(1, max(2 * found["p_value"].min(), found.loc["A", "p_value"])))


def test_where_none_can_be_fitted_every_row_says_why():
    table = patients()
    table.X[:] = 1 / 3
    found = regressions({"phenotypes": table}, SETTINGS, ())
    assert found["caveats"].str.startswith("not fitted: ").all()
    assert found[["hazard_ratio", "p_value", "p_holm", "n"]].isna().all(axis=None)
    assert _in_words(found, 0.05) == [f"no Cox regression could be fitted (phenotypes: {found['caveats'].iloc[0]})"]


def test_adjusted_regressions_are_those_of_cox():
    table = patients(60)
    found = regressions({"phenotypes": table}, SETTINGS, ["age"]).set_index("term")
    for name in "ABC":
        fit = sfm.tl.cox(table, [name, "age"], standardize=True, copy=True)["table"].loc[name]
        assert found.loc[name, "hazard_ratio"] == pytest.approx(fit["hazard_ratio"])
        assert found.loc[name, "p_value"] == pytest.approx(fit["p_value"])
    assert set(found["adjusted_for"]) == {"age"}


def test_groups_are_made_without_the_outcome():
    """The same patients with their outcomes shuffled are in the same groups, by whatever name."""
    table, shuffled = patients(), patients()
    shuffled.obs[["time", "event"]] = shuffled.obs[["time", "event"]].to_numpy()[::-1]
    for one in (table, shuffled):
        assert group_and_compare(one, "phenotypes", SETTINGS, 0)[0]["outcome_decides"] == "order"
    counts = pd.crosstab(table.obs["risk_group"], shuffled.obs["risk_group"])
    assert (counts > 0).sum().sum() == 2


def test_groups_that_cannot_be_made_are_told_and_an_outcome_that_cannot_be_used_is_refused():
    table = patients()
    table.X[:] = 1 / 3
    test, text = group_and_compare(table, "niches", SETTINGS, 0)
    assert test is None
    assert text.startswith("by niches: no groups were compared.")
    table = patients()
    table.obs.loc["P3", "time"] = -1
    with pytest.raises(SpatialfmError, match="negative"):
        group_and_compare(table, "niches", SETTINGS, 0)


def test_columns_are_known_by_the_names_that_stores_give_them():
    found = outcome_of(SETTINGS | {"time_key": "OS (months)"}, ["OS_months", "event"])
    assert found["time_key"] == "OS_months"
    assert found["event_key"] == "event"
    assert found["entry_key"] is None
