from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


@pytest.fixture
def target() -> ad.AnnData:
    tables = []
    for name, seed in (("A", 0), ("B", 1)):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(120, 2))
        time, limit = rng.exponential(np.exp(-x[:, 0])), rng.uniform(0, 3, 120)
        obs = {"time": np.minimum(time, limit), "event": time <= limit, "tumor": x[:, 0], "noise": x[:, 1]}
        tables.append(ad.AnnData(obs=pd.DataFrame(obs, index=[f"{name}{i}" for i in range(120)])))
    source, target = tables
    sfm.tl.cox(source, "tumor")
    sfm.tl.cox(source, "noise", key_added="other")
    for key in ("cox", "other"):
        sfm.tl.predict_survival(source, target, key=key, horizon=0.5, n_bootstrap=100)
    return target


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_points_are_the_groups_at_the_horizon(target):
    ax = sfm.pl.calibration(target, show=False)
    table = target.uns["cox_predicted"]["calibration"]
    table = table[table["time"] == 0.5]
    points = next(line for line in ax.lines if line.get_marker() == "o")
    assert points.get_xdata() == pytest.approx(table["predicted"].to_numpy())
    assert points.get_ydata() == pytest.approx(table["observed"].to_numpy())
    segments = [part for one in ax.collections for part in one.get_segments()]
    limits = table[["ci_low", "ci_high"]].to_numpy()
    drawn = np.array([part[:, 1] for part in segments if part[:, 1].max() > 0])
    assert np.sort(drawn, axis=0) == pytest.approx(np.sort(limits, axis=0))
    text = ax.get_legend().get_title().get_text()
    slope = target.uns["cox_predicted"]["scores"].loc["calibration_slope", "value"]
    assert f"calibration slope {slope:.2f}" in text
    assert "120 patients" in text


def test_events_of_the_time_that_is_drawn_are_told_from_all(target):
    """Slope and ratio are of the whole follow-up, and risks of the time at the axes, by which fewer had events."""
    events = int((target.obs["event"] & (target.obs["time"] <= 0.5)).sum())
    every = int(target.obs["event"].sum())
    assert 0 < events < every
    text = sfm.pl.calibration(target, time_unit="years", show=False).get_legend().get_title().get_text()
    assert text.splitlines()[:2] == [
        f"120 patients, {every} events ({events} by 0.5 years)", "over all of the follow-up:",
    ]  # fmt: skip
    text = sfm.pl.decision_curve(target, time_unit="years", show=False).get_legend().get_title().get_text()
    assert text == f"120 patients, {every} events ({events} by 0.5 years)"
    text = sfm.pl.calibration(target, times=[0.2, 0.5], show=False).get_legend().get_title().get_text()
    assert text.splitlines()[0] == f"120 patients, {every} events"


def test_several_times_are_told_apart(target):
    ax = sfm.pl.calibration(target, times=[0.2, 0.5], show=False)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sum(name.startswith("time ") for name in names) == 2
    with pytest.raises(TableError, match="has calibration at"):
        sfm.pl.calibration(target, times=30.0, show=False)


def test_net_benefit_is_drawn_beside_all_and_none(target):
    ax = sfm.pl.decision_curve(target, {"tumor": "cox_predicted", "noise": "other_predicted"}, show=False)
    curves = {line.get_label(): line for line in ax.lines}
    for name, key in (("tumor", "cox_predicted"), ("noise", "other_predicted")):
        table = target.uns[key]["decision_curve"]
        assert curves[name].get_ydata() == pytest.approx(table["net_benefit"].to_numpy(), nan_ok=True)
    assert curves["treat all"].get_ydata() == pytest.approx(table["treat_all"].to_numpy())
    assert set(curves) >= {"treat all", "treat none"}


def test_other_horizons_are_not_compared(target):
    target.uns["other_predicted"]["params"]["horizon"] = 0.7
    with pytest.raises(TableError, match="Run both by the same time"):
        sfm.pl.decision_curve(target, ["cox_predicted", "other_predicted"], show=False)


def test_changed_data_are_not_drawn(target):
    target.obs["time"] = target.obs["time"] * 2
    with pytest.raises(TableError, match="was made of other data"):
        sfm.pl.calibration(target, show=False)
    with pytest.raises(TableError, match="No decision_curve of a model in uns"):
        sfm.pl.decision_curve(target, "nothing", show=False)


@pytest.mark.parametrize(
    ("draw", "name"), [(sfm.pl.calibration, {"key": "days"}), (sfm.pl.decision_curve, {"keys": "days"})]
)
def test_risks_are_not_by_a_time_of_another_unit_without_a_word(target, draw, name):
    target.obs["survival_days"] = target.obs.pop("time")
    source = target.copy()
    source.obs_names = [f"source {name}" for name in source.obs_names]
    rng = np.random.default_rng(2)
    source.obs["tumor"] = rng.normal(size=120)
    source.obs["survival_days"] = rng.exponential(np.exp(-source.obs["tumor"]))
    sfm.tl.cox(source, "tumor", time_key="survival_days")
    sfm.tl.predict_survival(source, target, key="cox", key_added="days", horizon=0.5, n_bootstrap=100)
    with pytest.warns(SpatialfmWarning, match="'survival_days', which reads as days by its name"):
        draw(target, time_unit="months", show=False, **name)
