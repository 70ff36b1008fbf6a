"""What an outcome made is known wherever it goes: under other names, in other tables, in files, in a session."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning, SurvivalError

N = 60
KEYS = {"time_key": "time", "event_key": "event"}
MADE = r"made by sfm\.tl\.{}.*outcome.*same patients"
HELD_OUT = r"predicted by sfm\.tl\.{} in cross-validation.*n_permutations="


def cohort(seed: int = 0, n: int = N, prefix: str = "P") -> AnnData:
    """Patients without any effect."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame({"time": rng.exponential(10, n), "event": rng.uniform(size=n) < 0.7})
    obs["event"] = obs["event"].astype(int)
    obs["age"], obs["sex"] = rng.normal(60, 10, n), rng.choice(["f", "m"], n)
    obs["patient"] = [f"{prefix}{i}" for i in range(n)]
    var = pd.DataFrame(index=["B", "T", "NK", "tumor"])
    return AnnData(rng.dirichlet(np.ones(4), n), obs=obs.set_index("patient", drop=False).rename_axis(None), var=var)


def merged(samples: AnnData, **options) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sfm.tl.stratify(samples, 6, merge_into=2, **KEYS, **options)


def coxnet(samples: AnnData, **options):
    return sfm.tl.coxnet(samples, n_folds=3, n_inner_folds=3, n_bootstrap=100, n_alphas=5, **options)


def refused(samples: AnnData, key: str, match: str, tests=("logrank", "cox")) -> None:
    calls = {
        "logrank": lambda: sfm.tl.logrank(samples, key),
        "cox": lambda: sfm.tl.cox(samples, ["age", key]),
        "concordance": lambda: sfm.tl.concordance(samples, key, n_bootstrap=100),
        "cut_point": lambda: sfm.tl.cut_point(samples, key, n_permutations=100),
        "coxnet": lambda: coxnet(samples, use_rep=None, covariates=["age", key]),
    }
    before = set(samples.uns)
    for name in tests:
        with pytest.raises(SurvivalError, match=match):
            calls[name]()
    assert set(samples.uns) == before


def test_groups_that_the_outcome_merged_are_refused_and_marked_on_request():
    samples = cohort()
    merged(samples)
    refused(samples, "risk_group", MADE.format("stratify"), ("logrank", "cox", "concordance"))
    test = sfm.tl.logrank(samples, "risk_group", on_selected="mark", copy=True)
    assert test["optimistic"]
    assert "stratify" in test["params"]["selected"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sfm.tl.cox(samples, "risk_group", on_selected="mark", copy=True)
    assert fit["optimistic"]
    assert any("stratify" in doubt for doubt in fit["doubts"])
    with pytest.warns(SpatialfmWarning, match="optimistic"):
        assert sfm.tl.kaplan_meier(samples, "risk_group", copy=True)["optimistic"]


@pytest.mark.parametrize(
    "way", ["copy=True", "renamed", "recoded", "dropped", "cohorts joined", "csv", "order", "part"]
)
def test_groups_are_known_wherever_they_go(way, tmp_path):
    samples, key = cohort(), "g"
    if way == "copy=True":
        samples.obs["g"] = sfm.tl.cut_point(samples, "tumor", n_permutations=100, copy=True)["groups"]
    else:
        sfm.tl.cut_point(samples, "tumor", n_permutations=100)
        if way == "renamed":
            samples.obs = samples.obs.rename(columns={"tumor_group": "g"})
        elif way == "recoded":
            samples.obs["g"] = (samples.obs["tumor_group"] == "high").astype(int)
        elif way == "dropped":
            samples.obs["g"] = samples.obs.pop("tumor_group").astype(str)
            samples.uns.clear()
        elif way == "cohorts joined":
            other = cohort(1, prefix="Q")
            other.obs["tumor_group"] = np.random.default_rng(0).choice(["low", "high"], N)
            samples, key = ad.concat([samples, other]), "tumor_group"
            assert not samples.uns
        elif way == "csv":
            samples.obs.to_csv(tmp_path / "obs.csv", index=False)
            samples, key = AnnData(obs=pd.read_csv(tmp_path / "obs.csv")), "tumor_group"
            samples.obs.index = [f"row {i}" for i in range(N)]
            del samples.obs["patient"]
        elif way == "order":
            samples, key = samples[np.random.default_rng(0).permutation(N)].copy(), "tumor_group"
            samples.uns.clear()
        elif way == "part":
            samples, key = samples[:40].copy(), "tumor_group"
            samples.uns.clear()
    refused(samples, key, MADE.format("cut_point"))


def test_groups_are_known_in_another_session(tmp_path):
    samples = cohort()
    sfm.tl.cut_point(samples, "tumor", n_permutations=100)
    samples.obs["high"] = samples.obs["tumor_group"] == "high"
    for suffix in ("h5ad", "zarr"):
        getattr(samples, f"write_{suffix}")(tmp_path / f"p.{suffix}")
        _origin.forget()
        back = getattr(ad, f"read_{suffix}")(tmp_path / f"p.{suffix}")
        refused(back, "tumor_group", MADE.format("cut_point"))
        refused(back, "high", MADE.format("cut_point"))
        refused(back[:50].copy(), "high", MADE.format("cut_point"))


@pytest.mark.parametrize("how", ["as it is", "above the median", "thirds", "ranks", "rounded", "float32"])
def test_cross_validated_risk_is_known(how):
    samples = cohort(3)
    coxnet(samples)
    risk = samples.obs["coxnet"]
    samples.obs["r"] = {
        "as it is": risk, "above the median": risk > risk.median(), "ranks": risk.rank(),
        "thirds": pd.cut(risk, [-9, risk.quantile(0.3), risk.quantile(0.8), 9], labels=["a", "b", "c"]),
        "rounded": risk.round(2),
        "float32": risk.astype("float32"),
    }[how]  # fmt: skip
    assert risk.nunique() > N / 2
    tests = (
        ("logrank", "cox") if how in ("above the median", "thirds") else ("cox", "concordance", "cut_point", "coxnet")
    )
    refused(samples, "r", HELD_OUT.format("coxnet"), tests)


def test_copy_of_a_survival_forest_is_known():
    samples = cohort(4)
    found = sfm.tl.survival_forest(samples, n_folds=2, n_bootstrap=100, n_trees=10, n_importance=0, copy=True)
    samples.obs["mine"] = found["predictions"]["risk"]
    refused(samples, "mine", HELD_OUT.format("survival_forest"), ("cox", "concordance"))


def test_features_of_a_model_of_few_are_not_taken_for_its_risk():
    """A model of one feature may put patients in its order: the feature is as it was."""
    samples = cohort(5)
    samples.obs["time"] = np.exp(-samples.obs["age"] / 3)
    samples.obs["event"] = 1
    samples.obs["old"] = samples.obs["age"] > 60
    coxnet(samples, use_rep=None, covariates="age")
    assert abs(samples.obs["coxnet"].corr(samples.obs["age"], method="spearman")) > 0.99
    for key in ("age", "old"):
        sfm.tl.concordance(samples, key, n_bootstrap=100, copy=True)
    sfm.tl.logrank(samples, "old")


def test_clinical_columns_are_none_of_it():
    samples = cohort(6)
    merged(samples)
    sfm.tl.cut_point(samples, "tumor", n_permutations=100)
    coxnet(samples)
    for key in ("age", "tumor", "T"):
        result = sfm.tl.concordance(samples, key, n_bootstrap=100, copy=True)
        assert not result["optimistic"]
        assert not result["params"]["selected"]
    assert not sfm.tl.logrank(samples, "sex", copy=True)["optimistic"]


def test_a_column_that_was_written_anew_is_not_held_to_its_name():
    samples = cohort(7)
    merged(samples)
    samples.obs["risk_group"] = np.random.default_rng(1).permutation(np.repeat(["low", "high"], N // 2))
    assert not sfm.tl.logrank(samples, "risk_group", copy=True)["optimistic"]


def test_other_patients_of_the_same_names_are_others():
    one, two = cohort(8), cohort(9)
    sfm.tl.cut_point(one, "tumor", n_permutations=100)
    two.obs["tumor_group"] = np.where(two.to_df()["tumor"] > one.uns["tumor_group"]["cut"], "high", "low")
    assert not sfm.tl.logrank(two, "tumor_group", copy=True)["optimistic"]


def test_groups_that_were_only_named_may_be_compared_but_not_ordered():
    samples = cohort(10)
    sfm.tl.stratify(samples, 3, **KEYS)
    assert not sfm.tl.logrank(samples, "risk_group", copy=True)["optimistic"]
    for call in (
        lambda: sfm.tl.logrank(samples, "risk_group", trend=True),
        lambda: sfm.tl.concordance(samples, "risk_group", n_bootstrap=100),
        lambda: sfm.tl.cox(samples, "risk_group"),
    ):
        with pytest.raises(SurvivalError, match="named in order of risk by sfm.tl.stratify"):
            call()
    sfm.tl.stratify(samples, 2, **KEYS, key_added="two")
    sfm.tl.cox(samples, "two", copy=True)


def test_groups_of_groups_keep_their_origin():
    """Groups made without outcome, of what an outcome has made."""
    samples = cohort(3)
    coxnet(samples)
    scores = AnnData(samples.obs[["coxnet"]].assign(other=samples.obs["age"]).to_numpy(), obs=samples.obs.copy())
    del scores.obs["coxnet"], scores.obs["age"]
    scores.obs["age"] = np.random.default_rng(0).normal(size=N)
    scores.var_names = ["risk", "years"]
    sfm.tl.stratify(scores, 2, key_added="g")
    refused(scores, "g", HELD_OUT.format("coxnet"))
    with pytest.raises(SurvivalError, match="predicted by"):
        sfm.tl.stratify(scores, 2, **KEYS)


def test_an_unknown_choice_is_refused():
    with pytest.raises(SurvivalError, match='Pass "raise" or "mark"'):
        sfm.tl.logrank(cohort(), "sex", on_selected="ignore")
