"""Risk ratios, against SciPy."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import fisher_exact
from scipy.stats.contingency import relative_risk
from statsmodels.stats.proportion import confint_proportions_2indep

import spatialfm as sfm
from spatialfm._errors import SurvivalError, TableError
from spatialfm.tl.patients.risk_ratio import ratio_interval


def patients():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": [f"P{i}" for i in range(40)]}, index=[f"P{i}" for i in range(40)])
    obs["group"] = pd.Categorical(np.where(np.arange(40) < 18, "high", "low"), ["low", "high"])
    obs["nest"] = rng.random(40) < 0.4
    obs["follicle"] = (np.arange(40) >= 30).astype(float)
    return AnnData(X=rng.random((40, 1)), obs=obs, var=pd.DataFrame(index=["B"]))


@pytest.mark.parametrize("given", ["group", "structure"])
def test_against_scipy(given):
    samples = patients()
    sfm.tl.risk_ratio(samples, "group", ["nest", "B"], threshold=0.5, given=given)
    table = samples.uns["risk_ratio"]["table"]
    for name, present in (("nest", samples.obs["nest"].to_numpy()), ("B", samples.X[:, 0] > 0.5)):
        high = (samples.obs["group"] == "high").to_numpy()
        one, two = (high, present) if given == "group" else (present, high)
        expected = relative_risk(int(two[one].sum()), int(one.sum()), int(two[~one].sum()), int((~one).sum()))
        interval = expected.confidence_interval(0.95)
        row = table.loc[name, ["risk_ratio", "ci_low", "ci_high"]].to_numpy(float)
        np.testing.assert_allclose(row, [expected.relative_risk, interval.low, interval.high], rtol=1e-9)
        counts = [high.sum(), (~high).sum(), present[high].sum(), present[~high].sum(), present.sum()]
        assert table.loc[name, ["n_group", "n_others", "with_group", "with_others", "n_with"]].tolist() == counts
        fisher = fisher_exact(pd.crosstab(high, present)).pvalue
        assert table.loc[name, "p_value"] == pytest.approx(fisher)


def test_ratio_is_of_the_occurrence_of_the_structure_as_in_the_paper():
    """30 of 265 patients of high risk and 6 of 276 of low risk; the other way round it would be 1.79."""
    high = np.repeat([True, False], [265, 276])
    obs = pd.DataFrame({"group": np.where(high, "high", "low"), "tls": False}, index=np.arange(541).astype(str))
    obs.iloc[[*range(30), *range(265, 271)], 1] = True
    obs["group"] = pd.Categorical(obs["group"], ["low", "high"])
    samples = AnnData(obs=obs)
    assert sfm.tl.risk_ratio(samples, "group", "tls", copy=True)["risk_ratio"].item() == pytest.approx(
        30 / 265 / 6 * 276
    )
    other = sfm.tl.risk_ratio(samples, "group", "tls", given="structure", copy=True)["risk_ratio"].item()
    assert other == pytest.approx((30 / 36) / (235 / 505))


def test_nobody_in_the_group_has_it():
    """The interval ends where the score test of statsmodels does."""
    table = sfm.tl.risk_ratio(patients(), "group", "follicle", copy=True)
    assert table.loc["follicle", "in_group_with"] == 0
    assert table.loc["follicle", "risk_ratio"] == 0
    low, high = table.loc["follicle", ["ci_low", "ci_high"]]
    expected = confint_proportions_2indep(0, 18, 10, 22, compare="ratio", method="score", correction=False)
    assert (low, high) == (0, pytest.approx(expected[1], rel=1e-6))
    turned = sfm.tl.risk_ratio(patients(), "group", "follicle", group="low", copy=True).loc["follicle"]
    assert turned["risk_ratio"] == np.inf
    assert (turned["ci_low"], turned["ci_high"]) == (pytest.approx(1 / high), np.inf)


@pytest.mark.parametrize("counts", [(0, 1, 1, 1), (0, 5, 3, 500), (1, 1, 0, 30), (0, 3, 3, 3), (2, 400, 0, 4)])
def test_rare_structures_invent_nothing(counts):
    """Of none of 5 and 3 of 500 a half added to each count makes a ratio of 12; the interval holds what was seen."""
    ratio, low, high = ratio_interval(*counts, 0.05)
    assert ratio == (0 if counts[0] == 0 else np.inf)
    assert low <= ratio <= high
    assert not np.isnan([low, high]).any()


def test_refusals():
    samples = patients()
    for arguments, message in [
        (("group", "none"), "No column 'none' in obs and no such name in var"),
        (("group", "group"), "neither true or false nor a number"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.risk_ratio(samples, *arguments)
    with pytest.raises(TableError, match="No patients have 'B'"):
        sfm.tl.risk_ratio(samples, "group", "B", threshold=2)
    with pytest.raises(TableError, match="No group 'middle'"):
        sfm.tl.risk_ratio(samples, "group", "B", group="middle")
    samples.obs["patient"] = "P0"
    with pytest.raises(SurvivalError, match="several times"):
        sfm.tl.risk_ratio(samples, "group", "B")


def published(risk):
    obs = pd.DataFrame({"risk": risk, "tls": [True] * 30 + [False] * 235 + [True] * 6 + [False] * 270})
    return AnnData(obs=obs.set_index(obs.index.astype(str)))


@pytest.mark.parametrize(
    "risk",
    [
        np.repeat(["high", "low"], [265, 276]),
        pd.Categorical(np.repeat(["high", "low"], [265, 276])),
        pd.Categorical(np.repeat(["high", "low"], [265, 276]), ["low", "medium", "high"], ordered=True),
        np.repeat([True, False], [265, 276]),
        np.repeat([1, 0], [265, 276]),
    ],
)
def test_the_ratio_is_that_of_high_risk_whatever_the_order_of_its_letters(risk):
    """30 of 265 against 6 of 276, as in the paper: "high" comes first in the alphabet, and last in risk."""
    table = sfm.tl.risk_ratio(published(risk), "risk", "tls", copy=True)
    assert table.loc["tls", "risk_ratio"] == pytest.approx((30 / 265) / (6 / 276))


def test_a_group_without_an_order_is_asked_for():
    samples = published(np.repeat(["responder", "other"], [265, 276]))
    with pytest.raises(TableError, match=r"Which group of obs\['risk'\] is looked at.*Pass group='other'"):
        sfm.tl.risk_ratio(samples, "risk", "tls")
    table = sfm.tl.risk_ratio(samples, "risk", "tls", group="responder", copy=True)
    assert table.loc["tls", "risk_ratio"] == pytest.approx((30 / 265) / (6 / 276))


def test_nothing_asked_and_values_that_are_missing():
    samples = patients()
    with pytest.raises(TableError, match="names no structure"):
        sfm.tl.risk_ratio(samples, "group", [])
    samples.X[3, 0] = np.nan
    with pytest.raises(TableError, match="1 of 40 patients have no value of 'B' in X"):
        sfm.tl.risk_ratio(samples, "group", "B")
    table = sfm.tl.risk_ratio(samples, "group", "B", threshold=0.5, on_missing="drop", copy=True)
    assert table.loc["B", ["n_group", "n_others"]].sum() == 39


def of_outcome(seed: int) -> AnnData:
    """Compositions and an outcome that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    time, censored = rng.exponential(size=60), rng.exponential(2, 60)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": time <= censored, "nest": rng.random(60) < 0.4})
    obs["died"] = np.where(obs["event"], "yes", "no")
    obs["relapse"] = obs["event"].astype(int)
    obs.index = [f"R{seed}_{i}" for i in range(60)]
    return AnnData(rng.dirichlet(np.full(4, 2.0), 60), obs=obs, var=pd.DataFrame(index=list("ABCD")))


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize(("name", "event"), [("event", "event"), ("relapse", "event"), ("event", "died")])
def test_an_outcome_is_not_compared_in_groups_that_it_made(name, event):
    samples = of_outcome(0)
    samples.obs["died"] = samples.obs["died"].astype("category")
    options = {"event_value": "yes"} if event == "died" else {}
    sfm.tl.stratify(samples, 4, merge_into=2, time_key="time", event_key=event, **options)
    with pytest.raises(TableError, match=r"obs\['risk_group'\] was made by sfm\.tl\.stratify.*risk_ratio would take"):
        sfm.tl.risk_ratio(samples, "risk_group", name, copy=True)
    sfm.tl.risk_ratio(samples, "risk_group", name, on_selected="mark")
    assert samples.uns["risk_ratio"]["params"]["by_outcome"] == "yes"
    sfm.tl.risk_ratio(samples, "risk_group", "nest")  # another structure, as published
    assert samples.uns["risk_ratio"]["params"]["by_outcome"] == "no"


def test_structures_that_an_outcome_made_are_refused():
    samples = of_outcome(1)
    sfm.tl.cut_point(samples, "A", n_permutations=100)
    samples.obs["many"] = samples.obs["A_group"] == "high"
    with pytest.raises(TableError, match=r"obs\['many'\] was made by sfm\.tl\.cut_point"):
        sfm.tl.risk_ratio(samples, "died", "many", group="yes", copy=True)
