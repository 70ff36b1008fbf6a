"""Patients who came under observation late: R's survival package on a cohort that is written out.

Values are of R 4.2.2, survival 3.5.3, on the columns of `cohort`:

    d <- data.frame(time, entry, event, x, z, grp)                  # the columns below, i <- 0:39
    concordance(Surv(entry, time, event) ~ x, d, reverse = TRUE)
    a <- coxph(Surv(entry, time, event) ~ z, d); b <- coxph(Surv(entry, time, event) ~ z + x, d)
    2 * (b$loglik[2] - a$loglik[2]); concordance(a)$concordance; concordance(b)$concordance
    n <- coxph(Surv(entry, time, event) ~ 1, d, ties = "breslow")
    tapply(event - residuals(n, "martingale"), grp, sum)            # expected events
    coxph(Surv(entry, time, event) ~ grp, d, ties = "exact")$score  # log-rank statistic
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import chi2

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm.cohort.outcome import observed_expected
from spatialfm.stats.risk_table import martingale_residuals


def cohort() -> AnnData:
    i = np.arange(40)
    steps = (i * 7) % 41
    time = 2 + steps + 0.25 * (i % 3)
    obs = pd.DataFrame({"time": time, "entry": time * ((i * 3) % 5) / 8, "event": (i % 4 != 0).astype(int)})
    obs["x"], obs["z"] = np.sin(i) + 0.05 * (20 - steps), np.cos(2 * i)
    obs["grp"] = np.where(obs["x"] > 0.3, "high", "low")
    return AnnData(obs=obs.set_axis([f"P{k:02d}" for k in i]))


def test_concordance_is_rs():
    result = sfm.tl.concordance(cohort(), "x", entry_key="entry", copy=True)
    assert result["c_index"] == pytest.approx(0.741071428571, abs=1e-11)
    assert result["n_pairs"] == 332 + 116
    assert result["ci_low"] < result["c_index"] < result["ci_high"]
    both = sfm.tl.compare_concordance(cohort(), ["z", "x"], entry_key="entry", copy=True)
    assert both["scores"]["c_index"].to_numpy() == pytest.approx([0.560267857143, 0.741071428571], abs=1e-11)
    assert both["n_pairs"] == 448


def test_bootstrap_knows_who_was_there():
    """A late patient with the best score is never compared: what it is given for a score does not move the interval."""
    samples = cohort()
    samples.obs["event"] = np.where(samples.obs_names == "P05", 0, samples.obs["event"])
    samples.obs.loc["P05", ["time", "entry"]] = [100.0, 99.0]
    found = []
    for value in (-9.0, 9.0):
        samples.obs.loc["P05", "x"] = value
        found.append(sfm.tl.concordance(samples, "x", entry_key="entry", copy=True))
    assert found[0]["ci_low"] == found[1]["ci_low"]
    assert sfm.tl.concordance(samples, "x", copy=True)["c_index"] != found[0]["c_index"]


def test_added_value_is_rs():
    result = sfm.tl.added_value(cohort(), "x", "z", entry_key="entry", n_bootstrap=100, copy=True)
    assert result["lr_statistic"] == pytest.approx(24.2221146926, abs=1e-6)
    assert result["table"]["c_index"].iloc[:2].to_numpy() == pytest.approx([0.560267857143, 0.785714285714], abs=1e-9)


def test_expected_events_are_rs():
    obs = cohort().obs
    codes = (obs["grp"] == "high").to_numpy().astype(int)
    columns = (obs[name].to_numpy(float) for name in ("time", "entry"))
    time, entry = columns
    event = obs["event"].to_numpy() == 1
    _, expected = observed_expected(time, event, codes, 2, entry)
    assert expected == pytest.approx([21.4104651157, 8.58953488428], abs=1e-8)
    first = [0, 0.139285714286, 0.489413919414, 0.3916925904, 0.908589990385, 1.58441971622, 0.0666666666667]
    assert (event - martingale_residuals(time, event, entry))[:7] == pytest.approx(first, abs=1e-8)


def test_cut_and_strata_count_from_entry_on():
    samples = cohort()
    cut = sfm.tl.cut_point(samples, "x", entry_key="entry", n_permutations=199, copy=True)
    at = np.where(samples.obs["x"] > cut["cut"], "high", "low")
    samples.obs["at"] = at
    same = sfm.tl.logrank(samples, "at", entry_key="entry", method="chi-squared", on_selected="mark", copy=True)
    assert cut["naive_p_value"] == pytest.approx(same["p_value"])
    row = sfm.tl.logrank(samples, "grp", entry_key="entry", copy=True)
    assert row["p_value_chi_squared"] == pytest.approx(chi2.sf(8.97563821324, 1), abs=1e-9)

    fractions = np.column_stack([samples.obs["grp"] == "high", samples.obs["grp"] == "low"]) * 0.8 + 0.1
    table = AnnData(fractions, obs=samples.obs)
    sfm.tl.stratify(table, 2, time_key="time", event_key="event", entry_key="entry", n_permutations=50)
    groups = table.uns["risk_group"]["groups"]
    assert sorted(groups["expected"]) == pytest.approx([8.58953488428, 21.4104651157], abs=1e-8)
    z = table.uns["risk_group"]["test"]["statistic"]
    assert z**2 == pytest.approx(8.97563821324, abs=1e-6)


def test_entry_of_an_earlier_result_is_not_forgotten_in_silence():
    samples = cohort()
    sfm.tl.cox(samples, "x", entry_key="entry")
    with pytest.warns(SpatialfmWarning, match=r"uns\['cox'\] counts patients from obs\['entry'\] on.*32 patients came"):
        sfm.tl.concordance(samples, "x", copy=True)
    with pytest.raises(SurvivalError, match=r"coxnet .*does not handle late entry.*sfm.tl.cox"):
        sfm.tl.coxnet(samples, use_rep=None, covariates=["x", "z"], n_folds=3)
    samples.obs["entry"] = 0.0  # nobody came late
    assert sfm.tl.concordance(samples, "x", copy=True)["n_pairs"] > 0


def test_validation_of_late_patients_is_refused_not_wrong():
    source, target = cohort(), cohort()
    target.obs_names = "other_" + target.obs_names
    target.obs[["x", "z"]] += 0.001  # the order of risks stays
    sfm.tl.cox(source, ["x", "z"], entry_key="entry")
    with pytest.raises(SurvivalError, match=r"score=False.*calibration slope"):
        sfm.tl.predict_survival(source, target, n_bootstrap=100)
    assert "cox_predicted" not in target.uns
    sfm.tl.predict_survival(source, target, score=False, n_bootstrap=100)
    result = sfm.tl.concordance(target, "cox_predicted", entry_key="entry", copy=True)
    assert result["c_index"] == pytest.approx(0.785714285714, abs=1e-9)


@pytest.mark.parametrize("function", ["concordance", "compare_concordance", "added_value", "cut_point", "fine_gray"])
def test_entry_after_the_end_is_refused(function):
    samples = cohort()
    samples.obs["entry"] = samples.obs["time"] + 1
    arguments = {"compare_concordance": (["x", "z"],), "added_value": ("x", "z")}.get(function, ("x",))
    more = {"event_value": 1} if function == "fine_gray" else {}
    with pytest.raises(SurvivalError, match="never observed"):
        getattr(sfm.tl, function)(samples, *arguments, entry_key="entry", **more)
