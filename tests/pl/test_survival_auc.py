from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError
from spatialfm.pl._survival_auc import _apart


@pytest.fixture
def outcome() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    risk = rng.normal(size=80)
    time, censored = rng.exponential(10 * np.exp(-risk)), rng.exponential(15, 80)
    return np.minimum(time, censored), time <= censored, risk


@pytest.fixture
def scored(outcome) -> AnnData:
    """Two risk scores, as the survival models write them."""
    time, event, risk = outcome
    samples = AnnData(obs=pd.DataFrame(index=[f"P{i}" for i in range(80)]))
    samples.uns["coxnet"] = sfm.metrics.survival(time, event, risk, n_bootstrap=100)
    samples.uns["survival_forest"] = sfm.metrics.survival(time, event, -risk, n_bootstrap=100)
    return samples


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_one_score(scored):
    ax = sfm.pl.survival_auc(scored, time_unit="months", title="Lung", show=False)
    curves, scores = scored.uns["coxnet"]["curves"], scored.uns["coxnet"]["scores"]
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_xydata(), curves[["time", "auc"]])
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(curves["auc_ci_low"].min())
    assert band[:, 1].max() == pytest.approx(curves["auc_ci_high"].max())
    chance = ax.lines[1]
    assert set(chance.get_ydata()) == {0.5}
    assert "chance" in texts(ax)
    value, low, high = scores.loc["mean_auc"]
    label = ax.get_legend().get_texts()[0].get_text()
    assert " ".join(label.split()) == f"coxnet: mean AUC {value:.2f} ({low:.2f} to {high:.2f})"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Time (months)", "Time-dependent AUC")
    assert ax.get_title(loc="left") == "Lung"
    last = curves.iloc[-1]
    assert f"{last['at_risk']:.0f} ({last['events']:.0f})" in texts(ax)
    assert ax.get_ylim()[0] <= curves["auc_ci_low"].min()


def test_several_scores_of_the_same_patients(scored):
    ax = sfm.pl.survival_auc(scored, {"Cox": "coxnet", "Forest": "survival_forest"}, show=False)
    assert [" ".join(text.get_text().split())[:9] for text in ax.get_legend().get_texts()] == [
        *("Cox: mean", "Forest: m", "95 % inte")
    ]
    assert ax.get_legend().get_texts()[-1].get_text() == "95 % interval over patients, as in brackets"
    colors, markers = ({getattr(line, f"get_{name}")() for line in ax.lines[:2]} for name in ("color", "marker"))
    assert len(colors) == len(markers) == 2
    assert "Cox" not in texts(ax)  # one row of numbers serves both
    low = scored.uns["survival_forest"]["curves"]["auc_ci_low"].min()
    assert ax.get_ylim()[0] <= low < 0.5
    picked = sfm.pl.survival_auc(scored, ["coxnet"], palette={"coxnet": "tab:red"}, show=False)
    assert to_hex(picked.lines[0].get_color()) == to_hex("tab:red")


def test_results_of_different_patients(outcome):
    time, event, risk = outcome
    results = {
        "all": sfm.metrics.survival(time, event, risk, n_bootstrap=0),
        "half": sfm.metrics.survival(time[:40], event[:40], risk[:40], n_bootstrap=0),
    }
    ax = sfm.pl.survival_auc(results, show=False)
    assert not ax.collections  # no interval, no band
    assert {"all", "half", "Patients at risk (events so far)"} <= set(texts(ax))
    bare = sfm.pl.survival_auc(results, at_risk=False, interval=False, show=False)
    assert texts(bare) == ["chance"]
    alone = sfm.pl.survival_auc(results["half"], show=False)
    assert alone.get_legend().get_texts()[0].get_text().startswith("mean AUC 0.")


def test_numbers_do_not_overlap(scored):
    ax = sfm.pl.survival_auc(scored, show=False)
    ax.figure.canvas.draw()
    numbers = [text for text in ax.texts if text.get_text()[0].isdigit()]
    boxes = [text.get_window_extent() for text in numbers]
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in zip(boxes[:-1], boxes[1:], strict=True))
    label = ax.xaxis.label.get_window_extent()
    header = next(text for text in ax.texts if text.get_text().startswith("Patients")).get_window_extent()
    assert header.y1 < label.y0 + 1
    assert boxes[0].y1 < header.y0 + 1
    assert _apart(np.array([1.0, 1.1, 2.0, 5.0]), 1.5) == [2, 3]


def test_where_it_goes(scored, tmp_path):
    figure, ax = plt.subplots()
    assert sfm.pl.survival_auc(scored, ax=ax) is ax
    sfm.pl.survival_auc(scored, save=tmp_path / "auc.svg")
    assert "Time-dependent AUC" in (tmp_path / "auc.svg").read_text()
    assert sfm.pl.survival_auc(scored, return_fig=True).axes


def test_a_feature_that_the_outcome_made_is_named(scored):
    """As coxnet records it with `on_selected="mark"`; scores of arrays alone have no such record."""
    labels = []
    text = "perhaps: of the same patients"  # words that people read, and figures do not
    for made in ({}, {"by_outcome": "yes"}, {"by_outcome": "perhaps"}, {"selected": text, "by_outcome": "no"}):
        scored.uns["coxnet"]["params"] = made
        for keys in ("coxnet", {"x": "coxnet"}):
            ax = sfm.pl.survival_auc(scored, keys, show=False)
            labels.append(ax.get_legend().get_texts()[0].get_text().partition("optimistic")[::2])
            plt.close(ax.figure)
    assert [bool(after) for _, after in labels] == [False, False, True, True, True, True, False, False]
    assert [before.endswith("perhaps ") for before, _ in labels] == [False] * 4 + [True, True, False, False]


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
def test_groups_of_a_cut_are_named_in_the_figure_of_a_model_that_takes_them():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"time": rng.exponential(size=60), "event": 1}, index=[f"P{i}" for i in range(60)])
    patients = AnnData(rng.normal(size=(60, 2)), obs=obs, var=pd.DataFrame(index=["a", "b"]))
    sfm.tl.cut_point(patients, "a", n_permutations=100)
    options = {"n_folds": 2, "n_inner_folds": 2, "n_repeats": 1, "n_bootstrap": 100, "on_selected": "mark"}
    sfm.tl.coxnet(patients, use_rep="X", covariates="a_group", n_alphas=5, **options)
    ax = sfm.pl.survival_auc(patients, "coxnet", show=False)
    assert "optimistic: the outcome made a feature" in ax.get_legend().get_texts()[0].get_text()


def test_refusals(scored):
    with pytest.raises(
        TableError, match=r"No scores in uns\['cox'\] \(keys=\); uns has 'coxnet'.*sfm.tl.coxnet\(patients\)"
    ):
        sfm.pl.survival_auc(scored, "cox")
    scored.uns["cox"] = {"table": 1}
    with pytest.raises(TableError, match=r"uns\['cox'\] is not as sfm.tl.coxnet writes it: there is no \['curves'\]"):
        sfm.pl.survival_auc(scored, "cox")
    with pytest.raises(TableError, match=r"There are no scores to draw"):
        sfm.pl.survival_auc({})
    with pytest.raises(ArgumentError, match=r"scores must be an AnnData or a dict"):
        sfm.pl.survival_auc([1])
    assert not plt.get_fignums()


def test_times_of_another_unit_are_named(scored):
    scored.uns["coxnet"]["params"] = {**scored.uns["coxnet"].get("params", {}), "time_key": "survival_days"}
    with pytest.warns(SpatialfmWarning, match="'survival_days', which reads as days by its name"):
        sfm.pl.survival_auc(scored, time_unit="months", show=False)
