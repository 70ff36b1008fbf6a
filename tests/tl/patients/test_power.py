"""Power by simulation, against closed forms where there are any."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.stats.power import FollowUp, Spread, cox_score_p, spread_of


def pilot(n: int = 60, n_cells: int = 400, mean: float = 0.1, correlation: float = 0.05, seed: int = 0) -> ad.AnnData:
    """Compositions of patients whose shares of ``T`` have a beta distribution that is known."""
    rng = np.random.default_rng(seed)
    size = (1 - correlation) / correlation
    share = rng.beta(mean * size, (1 - mean) * size, n)
    hits = rng.binomial(n_cells, share)
    counts = np.column_stack([hits, n_cells - hits]).astype(np.float64)
    obs = pd.DataFrame({"time": rng.exponential(1, n), "event": rng.random(n) < 0.7}, index=[f"P{i}" for i in range(n)])
    table = ad.AnnData(counts / n_cells, obs=obs, var=pd.DataFrame(index=["T", "rest"]))
    table.layers["counts"] = counts
    return table


def test_spread_between_patients_is_what_was_put_in():
    """Few cells or many, the spread is that of the patients: counting is not counted twice."""
    for n_cells in (30, 3000):
        table = pilot(4000, n_cells)
        found = spread_of(table.layers["counts"][:, 0], table.layers["counts"].sum(axis=1), np.zeros(4000, int))
        assert found.mean == pytest.approx(0.1, abs=0.003)
        assert found.correlation == pytest.approx(0.05, abs=0.007)


def test_groups_of_the_pilot_do_not_widen_the_spread():
    rng = np.random.default_rng(1)
    codes = np.repeat([0, 1], 2000)
    share = rng.beta(*(np.array([[0.05, 0.95], [0.3, 0.7]])[codes] * 19).T)
    hits = rng.binomial(1000, share)
    within = spread_of(hits, np.full(4000, 1000), codes)
    assert within.correlation < 0.06 < spread_of(hits, np.full(4000, 1000), np.zeros(4000, int)).correlation


def test_shares_are_drawn_with_that_mean_and_spread():
    drawn = Spread(0.2, 0.1).draw(200_000, np.random.default_rng(0), fold=1.5)
    assert drawn.mean() == pytest.approx(0.3, abs=0.002)
    assert drawn.var() == pytest.approx(0.1 * 0.3 * 0.7, rel=0.02)


def test_score_test_is_the_log_rank_test_with_ties_and_censoring():
    rng = np.random.default_rng(3)
    group, time, event = rng.integers(0, 2, 50), np.ceil(8 * rng.random(50)), rng.random(50) < 0.6
    expected = logrank_test(time[group == 0], time[group == 1], event[group == 0], event[group == 1]).p_value
    assert cox_score_p(group.astype(float), time, event) == pytest.approx(expected, rel=1e-9)


def test_simulated_follow_up_is_that_of_the_pilot():
    """Half die of a hazard of 1 before a censoring hazard of 1; with three times the hazard, three quarters."""
    rng = np.random.default_rng(0)
    died, left = rng.exponential(1, (2, 4000))
    follow_up = FollowUp.of(np.minimum(died, left), died <= left)
    time, event = follow_up.draw(np.ones(20_000), rng)
    assert event.mean() == pytest.approx(0.5, abs=0.02)
    assert time.mean() == pytest.approx(0.5, abs=0.02)
    assert follow_up.draw(np.full(20_000, 3.0), rng)[1].mean() == pytest.approx(0.75, abs=0.02)


def test_power_of_the_log_rank_test_is_schoenfelds():
    """Schoenfeld (Biometrika 1981): z = log(HR) sqrt(events p (1 - p)) - 1.96."""
    table = pilot(400)
    table.obs["event"] = True
    options = {"share": 0.5, "n_patients": [40, 80, 160], "n_simulations": 1500, "copy": True}
    found = sfm.tl.power(table, "survival", 1.7, **options)["table"]
    expected = stats.norm.cdf(np.log(1.7) * np.sqrt(found["events"] / 4) - 1.96)
    np.testing.assert_allclose(found["power"], expected, atol=0.045)
    assert found["events"].tolist() == [40, 80, 160]
    assert found[["n_1", "n_2"]].to_numpy().tolist() == [[20, 20], [40, 40], [80, 80]]


def test_power_of_a_continuous_feature_is_that_of_hsieh_and_lavori():
    """Controlled Clinical Trials 2000: z = log(HR) sd sqrt(events) - 1.96."""
    table = pilot(400)
    table.obs["event"] = True
    found = sfm.tl.power(table, "survival", 1.35, n_patients=[80, 160], n_simulations=1500, copy=True)["table"]
    assert not found[["n_1", "n_2"]].any(axis=None)  # no groups, which it called half and half
    expected = stats.norm.cdf(np.log(1.35) * np.sqrt(found["events"]) - 1.96)
    np.testing.assert_allclose(found["power"], expected, atol=0.05)


def test_power_for_an_auroc_is_near_noethers():
    """Noether (JASA 1987), for the test of Mann and Whitney: z = sqrt(12 c (1 - c) n) |p - 1/2| - 1.96."""
    found = sfm.tl.power(pilot(), "auroc", 0.7, n_patients=[60, 100], n_simulations=400, copy=True)["table"]
    expected = stats.norm.cdf(np.sqrt(12 / 4 * found["n_patients"]) * 0.2 - 1.96)
    np.testing.assert_allclose(found["power"], expected, atol=0.08)


def test_no_effect_is_found_at_the_level():
    options = {"n_patients": [40], "n_simulations": 1000, "copy": True}
    for question, effect, more in (("survival", 1.0, {"share": 0.3}), ("auroc", 0.5, {})):
        row = sfm.tl.power(pilot(), question, effect, **more, **options)["table"].iloc[0]
        assert row["ci_low"] - 0.01 < 0.05 < row["ci_high"] + 0.01


def test_cells_beyond_a_number_buy_nothing_where_patients_differ():
    """With a correlation of 0.3, ten thousand cells say of a share little more than a hundred."""
    options = {"cell_type": "T", "n_patients": [40], "n_cells": [5, 100, 10_000], "n_simulations": 300, "copy": True}
    power = sfm.tl.power(pilot(200, correlation=0.3), "composition", 2.5, **options)["table"]["power"]
    assert power.iloc[1] - power.iloc[0] > 0.1
    assert abs(power.iloc[2] - power.iloc[1]) < 0.12


def test_what_is_needed_is_the_least_that_stays():
    table = pilot()
    sfm.tl.power(table, "auroc", 0.8, n_patients=[10, 40, 20, 160], n_simulations=200, n_tests=5)
    result = table.uns["power"]
    assert result["table"]["n_patients"].tolist() == [10, 20, 40, 160]
    first = result["table"].query("power >= 0.8")["n_patients"].iloc[0]
    assert result["needed"].loc[0, "n_patients"] == first
    nothing = sfm.tl.power(table, "auroc", 0.55, n_patients=[10], n_simulations=50, copy=True)
    assert nothing["needed"].loc[0, "n_patients"] == 0


def test_the_same_seed_gives_the_same_power():
    options = {"n_patients": [20], "n_simulations": 60, "copy": True}
    one, two, other = (sfm.tl.power(pilot(), "auroc", 0.7, random_state=s, **options)["table"] for s in (1, 1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert one["power"].iloc[0] != other["power"].iloc[0]


@pytest.mark.parametrize(
    ("question", "effect", "options", "words"),
    [
        ("composition", 2.0, {}, "cell_type="),
        ("composition", 2.0, {"cell_type": "B"}, "'B'"),
        ("composition", 20.0, {"cell_type": "T"}, "above 1"),
        ("composition", 2.0, {"cell_type": "T", "n_cells": 0}, "n_cells=0"),
        ("survival", 2.0, {"cell_type": "T"}, "Leave it out"),
        ("survival", -2.0, {}, "hazard ratio"),
        ("auroc", 1.2, {}, "AUROC"),
        ("auroc", 0.7, {"n_patients": [4]}, "fewer than 3"),
        ("auroc", 0.7, {"n_patients": [20], "share": 0.05}, "fewer than 3"),
        ("auroc", 0.7, {"share": 1.5}, "share=1.5"),
    ],
)
def test_what_cannot_be_asked(question, effect, options, words):
    table = pilot()
    with pytest.raises((TableError, ValueError), match=words):
        sfm.tl.power(table, question, effect, **options)
    assert "power" not in table.uns


def test_small_pilots_are_said_or_refused():
    with pytest.warns(SpatialfmWarning, match="8 patients"):
        sfm.tl.power(pilot(8), "composition", 2.0, cell_type="T", n_patients=[10], n_simulations=20)
    with pytest.raises(TableError, match="too few"):
        sfm.tl.power(pilot(4), "composition", 2.0, cell_type="T")
    table = pilot()
    del table.layers["counts"]
    with pytest.raises(TableError, match="layer 'counts'"):
        sfm.tl.power(table, "composition", 2.0, cell_type="T")


@pytest.mark.parametrize(
    ("question", "way"), [("survival", "Pass share= for a feature of two groups"), ("auroc", "Leave")]
)
def test_groups_of_the_pilot_are_refused_where_they_are_not_looked_at(question, way):
    """They were passed over: of a continuous feature the power is far higher than of two groups."""
    with pytest.raises(TableError, match=rf"group_key='arm' is for question='composition' only. {way}"):
        sfm.tl.power(pilot(), question, 0.7, group_key="arm", n_patients=[20])


def test_figure_shows_lines_of_cells_and_refuses_changed_data():
    table = pilot()
    options = {"cell_type": "T", "n_patients": [10, 20], "n_cells": [10, 100], "n_simulations": 30}
    sfm.tl.power(table, "composition", 2.0, **options)
    ax = sfm.pl.power(table, show=False)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["10 cells per patient", "100 cells per patient", "95 % interval of the simulation"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), table.uns["power"]["table"]["power"][2:])
    title = "2-fold share of T in 50 % of patients against the others, level 0.05"
    assert ax.get_title().replace("\n", " ") == title
    with pytest.raises(TableError, match="No result 'other'"):
        sfm.pl.power(table, key="other")
    table.X[:] = 0.5
    with pytest.raises(TableError, match="changed"):
        sfm.pl.power(table)
