from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import PolyCollection
from sksurv.nonparametric import kaplan_meier_estimator

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.pl._kaplan_meier import at_risk_at, fill_lines, format_p


@pytest.fixture
def patients() -> AnnData:
    rng = np.random.default_rng(0)
    arm = np.repeat(["low", "high"], 40)
    time, censored = rng.exponential(np.where(arm == "low", 40, 15)), rng.exponential(40, 80)
    obs = pd.DataFrame({"time": np.minimum(time, censored).round(1), "event": time <= censored, "arm": arm})
    obs["arm"] = pd.Categorical(obs["arm"], ["low", "high"], ordered=True)
    obs["other"] = rng.choice(["a", "b"], 80)
    obs.index = [f"P{i}" for i in range(80)]
    adata = AnnData(obs=obs)
    sfm.tl.kaplan_meier(adata, "arm")
    sfm.tl.logrank(adata, "arm")
    return adata


def curve_lines(ax):
    return {line.get_label().split(" (")[0]: line for line in ax.get_lines() if not line.get_label().startswith("_")}


def value_at(line, times):
    x, y = line.get_xdata(), line.get_ydata()
    return y[np.searchsorted(x, times, side="right") - 1]


def test_curves_equal_scikit_survival(patients):
    ax = sfm.pl.kaplan_meier(patients, show=False)
    lines = curve_lines(ax)
    assert set(lines) == {"low", "high"}
    for name, line in lines.items():
        rows = patients.obs[patients.obs["arm"] == name]
        time, survival, interval = kaplan_meier_estimator(rows["event"], rows["time"], conf_type="log-log")
        assert line.get_drawstyle() == "steps-post"
        assert (line.get_xdata()[0], line.get_ydata()[0]) == (0, 1)
        np.testing.assert_allclose(value_at(line, time), survival)
        (band,) = [c for c in ax.collections if isinstance(c, PolyCollection) and c.get_facecolor()[0, :3] ==
                   pytest.approx(plt.matplotlib.colors.to_rgb(line.get_color()))]  # fmt: skip
        drawn = band.get_paths()[0].vertices
        for bound in interval:
            assert all(np.isclose(drawn[:, 1], value).any() for value in bound[:5])


def test_the_axis_is_not_given_another_unit_than_that_of_the_column_without_a_word(patients):
    patients.obs["survival_days"] = patients.obs["time"]
    sfm.tl.kaplan_meier(patients, "arm", time_key="survival_days", key_added="days")
    with pytest.warns(SpatialfmWarning, match="'survival_days', which reads as days by its name"):
        sfm.pl.kaplan_meier(patients, key="days", time_unit="months", show=False)


@pytest.mark.parametrize("width", range(16, 60))
def test_a_value_stays_beside_its_letter(width):
    text = "log-rank at equal age and stage p < 0.001 (unadjusted p = 0.012), arm B (n = 12, 3 events), q = 1"
    lines = fill_lines(text, width).splitlines()
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= width
    for value in ("p < 0.001", "p = 0.012", "n = 12", "q = 1"):
        assert any(value in line for line in lines)


def test_strata_of_the_test_are_named(patients):
    sfm.tl.logrank(patients, "arm", strata="other")
    ax = sfm.pl.kaplan_meier(patients, show=False)
    assert ax.get_legend().get_title().get_text().startswith("log-rank within other p ")


def test_censoring_marks(patients):
    ax = sfm.pl.kaplan_meier(patients, show=False)
    marks = [line for line in ax.get_lines() if line.get_marker() == "|"]
    drawn = np.unique(np.concatenate([line.get_xdata() for line in marks]))
    np.testing.assert_allclose(drawn, np.unique(patients.obs.loc[~patients.obs["event"], "time"]))
    bare = sfm.pl.kaplan_meier(patients, censor_marks=False, interval=False, at_risk=False, show=False)
    assert not [line for line in bare.get_lines() if line.get_marker() == "|"]
    assert not bare.collections
    assert not bare.texts


def test_numbers_at_risk_are_counted_right(patients):
    ax = sfm.pl.kaplan_meier(patients, show=False)
    texts = {}
    for text in ax.texts:
        texts.setdefault(text.xyann[1], []).append((text.xy[0], text.get_text()))
    rows = [sorted((x, t) for x, t in row if t.isdigit()) for row in texts.values()]
    rows = [row for row in rows if row]
    assert len(rows) == 2
    for (x_and_count), name in zip(rows, ["low", "high"], strict=True):
        times = patients.obs.loc[patients.obs["arm"] == name, "time"]
        assert [count for _, count in x_and_count] == [str((times >= x).sum()) for x, _ in x_and_count]
        assert [x for x, _ in x_and_count] == list(ax.get_xticks())
    named = [text.get_text() for text in ax.texts if not text.get_text().isdigit()]
    assert named == ["Number at risk", "low", "high"]


def test_at_risk_at_times_of_events():
    curve = pd.DataFrame({"time": [0.0, 2, 4], "at_risk": [5, 5, 3], "events": [0, 1, 2], "censored": [0, 1, 1]})
    assert at_risk_at(curve, np.array([0, 1, 2, 2.1, 4, 5])).tolist() == [5, 5, 5, 3, 3, 0]


def test_legend_has_counts_and_p(patients):
    ax = sfm.pl.kaplan_meier(patients, show=False)
    events = patients.obs.groupby("arm", observed=True)["event"].sum()
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        f"low (n = 40, {events['low']} events)",
        f"high (n = 40, {events['high']} events)",
        "95 % interval at each time",
    ]
    assert legend.get_title().get_text() == f"log-rank {format_p(patients.uns['logrank']['p_value'])}\narm"


def test_p_is_shown_only_for_the_same_test(patients):
    def title():
        return sfm.pl.kaplan_meier(patients, show=False).get_legend().get_title().get_text()

    assert title().startswith("log-rank")
    patients.uns["logrank"]["optimistic"] = True
    assert "optimistic" in title()
    sfm.tl.logrank(patients, "other")
    assert title() == "arm"
    sfm.tl.logrank(patients[:70].copy(), "arm", key_added="x")
    subset = patients[:70].copy()
    sfm.tl.logrank(subset, "arm")
    patients.uns["logrank"] = subset.uns["logrank"]
    assert title() == "arm"
    del patients.uns["logrank"]
    assert title() == "arm"


def test_axis_names_its_unit(patients):
    assert sfm.pl.kaplan_meier(patients, show=False).get_xlabel() == "Time"
    ax = sfm.pl.kaplan_meier(patients, time_unit="months", title="A cohort", show=False)
    assert ax.get_xlabel() == "Time (months)"
    assert ax.get_ylabel() == "Survival probability"
    assert ax.get_title(loc="left") == "A cohort"
    patients.obs["os_days"] = patients.obs["time"]
    sfm.tl.kaplan_meier(patients, time_key="os_days")
    ax = sfm.pl.kaplan_meier(patients, show=False)
    assert ax.get_xlabel() == "os_days"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"n = 80, {patients.obs['event'].sum()} events",
        "95 % interval at each time",
    ]
    sfm.tl.kaplan_meier(patients, alpha=0.1)
    said = [text.get_text() for text in sfm.pl.kaplan_meier(patients, show=False).get_legend().get_texts()]
    assert said[-1] == "90 % interval at each time"
    alone = sfm.pl.kaplan_meier(patients, interval=False, show=False)
    assert len(alone.get_legend().get_texts()) == 1


@pytest.mark.parametrize("names", [["low", "high"], ["immune-excluded stroma", "rich in lymphoid aggregates"]])
def test_nothing_overlaps_or_is_cut_off(patients, names, check_boxes):
    patients.obs["arm"] = patients.obs["arm"].cat.rename_categories(names)
    sfm.tl.kaplan_meier(patients, "arm")
    sfm.tl.logrank(patients, "arm")
    figure = sfm.pl.kaplan_meier(patients, time_unit="months", title="A cohort", return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    texts = [text for text in [*ax.texts, ax.xaxis.label, ax._left_title, *ax.get_xticklabels()] if text.get_text()]
    boxes = [text.get_window_extent() for text in texts] + [ax.get_legend().get_window_extent()]
    check_boxes(figure, boxes)
    assert ax.get_window_extent().width > 0.6 * figure.bbox.width


def test_band_ends_where_everybody_died():
    obs = pd.DataFrame({"time": [1.0, 2, 3], "event": 1}, index=list("abc"))
    adata = AnnData(obs=obs)
    sfm.tl.kaplan_meier(adata)
    ax = sfm.pl.kaplan_meier(adata, show=False)
    (band,) = [c for c in ax.collections if isinstance(c, PolyCollection)]
    vertices = band.get_paths()[0].vertices
    assert np.isfinite(vertices).all()
    assert vertices[:, 0].max() == 3


def test_habits(patients, tmp_path):
    figure, ax = plt.subplots()
    assert sfm.pl.kaplan_meier(patients, ax=ax) is ax
    assert sfm.pl.kaplan_meier(patients, return_fig=True).axes
    assert isinstance(sfm.pl.kaplan_meier(patients), plt.Axes)  # no screen: nothing to show
    for name in ("km.png", "km.pdf", "km.svg"):
        sfm.pl.kaplan_meier(patients, save=tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert "<text" in (tmp_path / "km.svg").read_text()  # text stays text
    assert "Number at risk" in (tmp_path / "km.svg").read_text()


def test_show(patients, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    assert sfm.pl.kaplan_meier(patients, show=True) is None
    assert shown == [1]
    monkeypatch.setattr(plt, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    assert sfm.pl.kaplan_meier(patients) is None
    assert shown == [1, 1]
    sfm.pl.kaplan_meier(patients, show=False)
    assert shown == [1, 1]


def test_refuses_when_not_run(patients):
    with pytest.raises(TableError, match=r"No Kaplan-Meier curves in uns\['km'\]; uns has .*sfm.tl.kaplan_meier"):
        sfm.pl.kaplan_meier(patients, key="km")


def test_colours(patients):
    from matplotlib.colors import to_hex

    lines = curve_lines(sfm.pl.kaplan_meier(patients, palette={"low": "#000000", "high": "#ff0000"}, show=False))
    assert [to_hex(lines[name].get_color()) for name in ("low", "high")] == ["#000000", "#ff0000"]
    patients.uns["arm_colors"] = ["#111111", "#222222"]
    lines = curve_lines(sfm.pl.kaplan_meier(patients, show=False))
    assert [to_hex(lines[name].get_color()) for name in ("low", "high")] == ["#111111", "#222222"]


@pytest.mark.parametrize(
    ("p", "text"), [(1e-9, "p < 0.001"), (0.0123, "p = 0.012"), (0.049, "p = 0.049"), (0.4, "p = 0.40")]
)
def test_format_p(p, text):
    assert format_p(p) == text


def test_after_a_round_trip_through_a_file(patients, tmp_path):
    from anndata import read_h5ad

    patients.write_h5ad(tmp_path / "p.h5ad")
    ax = sfm.pl.kaplan_meier(read_h5ad(tmp_path / "p.h5ad"), show=False)
    assert set(curve_lines(ax)) == {"low", "high"}
    assert ax.get_legend().get_title().get_text().startswith("log-rank")


def test_covariates_of_the_test_are_named(patients):
    patients.obs["age"] = np.random.default_rng(0).normal(size=patients.n_obs)
    group_key = patients.uns["kaplan_meier"]["params"]["group_key"]
    sfm.tl.logrank(patients, group_key, covariates="age", n_permutations=999)
    ax = sfm.pl.kaplan_meier(patients, show=False)
    text = ax.get_legend().get_title().get_text().replace("\n", " ")
    test = patients.uns["logrank"]
    assert f"at equal age p {'<' if test['p_value'] < 0.001 else '='}" in text
    assert f"(unadjusted p {'<' if test['p_value_unadjusted'] < 0.001 else '='}" in text
    assert ("(permutation)" in text) == test["permuted"]


def test_a_test_at_covariates_that_changed_is_not_shown(patients):
    patients.obs["age"] = np.random.default_rng(0).normal(size=patients.n_obs)
    group_key = patients.uns["kaplan_meier"]["params"]["group_key"]
    sfm.tl.logrank(patients, group_key, covariates="age", n_permutations=999)
    sfm.tl.rmst(patients, group_key, covariates="age", n_permutations=999)
    patients.obs["age"] += np.random.default_rng(1).normal(size=patients.n_obs)
    with pytest.warns(SpatialfmWarning) as said:
        ax = sfm.pl.kaplan_meier(patients, show=False)
    words = [str(one.message) for one in said if "Not shown beside the curves" in str(one.message)]
    assert [key for key in ("logrank", "rmst") for text in words if f"uns['{key}']" in text] == ["logrank", "rmst"]
    text = ax.get_legend().get_title().get_text()
    assert "p = " not in text
    assert "difference" not in text


def test_a_difference_of_means_says_which_group_less_which(patients):
    """Means are areas under scikit-survival's curves."""
    sfm.tl.rmst(patients, "arm", horizon=20.0, n_permutations=999)
    area = {}
    for name in ("low", "high"):
        rows = patients.obs[patients.obs["arm"] == name]
        time, survival = kaplan_meier_estimator(rows["event"], rows["time"])
        ends = np.clip(np.concatenate([[0], time, [20.0]]), 0, 20)
        area[name] = float((np.diff(ends) * np.concatenate([[1], survival])).sum())
    text = sfm.pl.kaplan_meier(patients, show=False).get_legend().get_title().get_text().replace("\n", " ")
    assert f"mean up to 20: {area['low']:.3g} (low), {area['high']:.3g} (high)" in text
    assert f"high less low: {area['high'] - area['low']:.3g} (95 % interval" in text.replace("−", "-")
    patients.obs["time"] *= 200
    sfm.tl.rmst(patients, "arm", horizon=4000.0, n_permutations=999)
    sfm.tl.kaplan_meier(patients, "arm")
    text = sfm.pl.kaplan_meier(patients, show=False).get_legend().get_title().get_text().replace("\n", " ")
    assert f"mean up to 4,000: {200 * area['low']:,.0f} (low), {200 * area['high']:,.0f} (high)" in text


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_groups_made_at_equal_covariates_say_so(patients):
    """The p-value is that of the cut, which a changed covariate hides."""

    def title() -> str:
        return " ".join(sfm.pl.kaplan_meier(patients, show=False).get_legend().get_title().get_text().split())

    patients.obs["age"] = np.random.default_rng(1).normal(60, 9, 80)
    patients.obs["score"] = patients.obs["age"] + np.random.default_rng(2).normal(0, 5, 80)
    sfm.tl.cut_point(patients, "score", n_permutations=100)
    sfm.tl.kaplan_meier(patients, "score_group")
    assert "best of all cuts" not in title()
    sfm.tl.cut_point(patients, "score", covariates="age", n_permutations=100)
    sfm.tl.kaplan_meier(patients, "score_group")
    record = patients.uns["score_group"]
    without = format_p(record["p_value_unadjusted"])
    assert f"best of all cuts at equal age: {format_p(record['p_value'])} (unadjusted {without})" in title()
    record["p_value"] = "small"
    with pytest.raises(TableError, match=r"uns\['score_group'\] is not as sfm.tl.cut_point writes it"):
        title()
    record["p_value"] = 0.5
    patients.obs["age"] += 1
    with pytest.warns(SpatialfmWarning, match="Not shown beside the curves"):
        assert "best of all cuts" not in title()


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_a_trend_of_groups_at_equal_covariates_says_so(patients):
    patients.obs["age"] = np.random.default_rng(1).normal(60, 9, 80)
    shares = np.random.default_rng(2).dirichlet(np.ones(3), 80)
    table = AnnData(shares, obs=patients.obs)
    sfm.tl.stratify(table, 3, time_key="time", event_key="event", n_permutations=19, covariates="age")
    sfm.tl.kaplan_meier(table, "risk_group")
    text = " ".join(sfm.pl.kaplan_meier(table, show=False).get_legend().get_title().get_text().split())
    assert f"trend of these groups at equal age: {format_p(table.uns['risk_group']['test']['p_value'])} (unadj" in text


def test_curves_have_their_height_whatever_is_written_around_them():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"time": rng.exponential(30, 80), "event": rng.random(80) < 0.7, "stage": np.tile(["I", "II", "III", "IV"], 20)}
    )
    adata = AnnData(obs=obs.set_index(obs.index.astype(str)))
    for function in (sfm.tl.kaplan_meier, sfm.tl.logrank, sfm.tl.rmst, sfm.tl.cumulative_incidence):
        function(adata, "stage")
    for draw in (sfm.pl.kaplan_meier, sfm.pl.cumulative_incidence):
        for options in ({}, {"at_risk": False, "title": "All patients"}):
            figure = draw(adata, return_fig=True, **options)
            figure.canvas.draw()
            height = figure.axes[0].get_window_extent().height / figure.dpi
            assert height == pytest.approx(2.6, abs=0.1)
            plt.close(figure)
        assert draw(adata, figsize=(5, 4), return_fig=True).get_size_inches().tolist() == [5, 4]
