"""Columns that were calculated, split or merged from what an outcome made; and honest ones, which are left alone."""

from __future__ import annotations

import warnings
from itertools import product

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning, SurvivalError
from spatialfm._origin import Origin, remember
from spatialfm._origin_chance import log_maps, log_separable, of_groups, of_numbers
from spatialfm._origin_match import recognise
from spatialfm.cohort.known_origins import origins
from spatialfm.cohort.selected import columns_of

KEYS = {"time_key": "time", "event_key": "event"}
RNG = np.random.default_rng


def cohort(n: int = 60, seed: int = 0) -> AnnData:
    """Patients without effect; groups that an outcome merged, a cut, and two risks, as functions remember them."""
    _origin.forget()
    rng = RNG(seed)
    obs = pd.DataFrame({"time": rng.exponential(10, n), "event": 1}, index=[f"P{i}" for i in range(n)])
    obs["age"], obs["sex"] = rng.normal(60, 10, n), rng.choice(["f", "m"], n)
    table = AnnData(obs=obs)
    clusters = rng.integers(0, 6, n)
    low = pd.Categorical(np.where(np.isin(clusters, [0, 2, 4]), "low", "high"), ["low", "high"])
    share = rng.random(n)
    cut = pd.Categorical(np.where(share > np.quantile(share, 0.6), "high", "low"), ["low", "high"])
    outcome = ("time", "event")
    _write(table, Origin("stratify", "selected", outcome), "risk_group", low, finer=clusters)
    _write(table, Origin("cut_point", "selected", outcome), "cut_group", cut, finer=share)
    _write(table, Origin("coxnet", "held out", outcome), "risk", rng.normal(size=n))
    _write(table, Origin("survival_forest", "held out", outcome), "forest", rng.normal(size=n))
    table.obs["share"], table.obs["cluster"] = share, clusters.astype(str)
    return table


def _write(table: AnnData, origin: Origin, name: str, values, **more) -> None:
    column = pd.Series(values, index=table.obs_names, name=name)
    remember(table, origin, column, **more)
    table.obs[name] = column


def makers(table: AnnData, values) -> tuple[set[str], bool]:
    """Who is reported to have made a column, and whether that is sure."""
    table = table.copy()
    table.obs["mine"] = np.asarray(values)
    found = origins(table, columns_of(table, ["mine"])).get("obs:mine", [])
    return {one.origin.function for one in found}, all(one.sure for one in found)


def test_the_number_of_maps_and_of_planes_is_that_of_all_that_are_counted():
    for n, k in ((2, 2), (4, 2), (4, 3), (5, 5)):
        onto = sum(len(set(names)) == k for names in product(range(k), repeat=n))
        assert np.exp(log_maps(n, k)) == pytest.approx(onto)
    points = RNG(0).normal(size=(5, 2))
    from spatialfm._origin_mixed import _by_a_plane

    divided = sum(_by_a_plane(points, np.array(side)) for side in product([False, True], repeat=5))
    assert np.exp(log_separable(5, 2)) == pytest.approx(divided)


def test_evidence_is_the_share_of_orders_that_follow():
    """All ways to deal two labels out to eight rows: how many are a function of two groups, or a cut of numbers."""
    made = np.repeat([0.0, 1.0], 4)
    ways = [np.array(way, float) for way in product([0, 1], repeat=8) if sum(way) == 4]
    follow = sum(of_groups(made, way) > -np.inf for way in ways)
    assert of_groups(made, made) == pytest.approx(np.log(len(ways) / follow))
    cut = [of_numbers(np.arange(8.0), way, 10) for way in ways]
    assert max(cut) == pytest.approx(np.log(len(ways) / sum(value == max(cut) for value in cut)))


GROUPS = {
    "recoded": lambda obs: obs["risk_group"].map({"low": "A", "high": "B"}),
    "numbers": lambda obs: (obs["risk_group"] == "high").astype(int),
    "with sex": lambda obs: obs["risk_group"].astype(str) + "_" + obs["sex"],
    "split by age": lambda obs: (obs["risk_group"] == "high").astype(int) * 2 + (obs["age"] > 60),
    "missing as a group": lambda obs: obs["risk_group"].astype(object).where(np.arange(60) % 7 != 0, "unknown"),
    "of men": lambda obs: np.where(obs["sex"] == "m", obs["risk_group"].map({"low": "a", "high": "b"}), "woman"),
}


@pytest.mark.parametrize("way", list(GROUPS))
def test_groups_that_are_split_or_merged_are_known(way):
    table = cohort()
    values = GROUPS[way](table.obs)
    assert makers(table, values) == ({"stratify"}, True)
    table.obs["mine"] = np.asarray(values)
    for test in (lambda: sfm.tl.logrank(table, "mine"), lambda: sfm.tl.cox(table, "mine")):
        with pytest.raises(SurvivalError, match=r"made by sfm\.tl\.stratify.* with the outcome"):
            test()


def test_two_that_an_outcome_made_together_are_known():
    table = cohort(80)
    both = (table.obs["risk_group"] == "high") & (table.obs["cut_group"] == "high")
    found, sure = makers(table, both)
    assert found & {"stratify", "cut_point"}
    assert sure


def test_what_groups_were_merged_from_is_as_it_was():
    table = cohort(120)
    assert makers(table, table.obs["cluster"])[0] == set()
    assert makers(table, pd.qcut(table.obs["share"], 4).astype(str))[0] == set()
    # of six clusters three were merged as the outcome says
    some = table.obs["cluster"].replace({"2": "0"})
    assert makers(table, some) == ({"stratify"}, False)
    # quintiles, one of whose bounds is the cut: so by chance, or by the outcome
    assert makers(table, pd.qcut(table.obs["share"], 5).astype(str)) == ({"cut_point"}, False)


def _z(values: pd.Series) -> pd.Series:
    return (values - values.mean()) / values.std()


NUMBERS = {
    "z-score": (lambda obs: _z(obs["risk"]), {"coxnet"}),
    "exponential": (lambda obs: np.exp(obs["risk"]), {"coxnet"}),
    "distance to the mean": (lambda obs: (obs["risk"] - obs["risk"].mean()).abs(), {"coxnet"}),
    "bins": (lambda obs: pd.cut(obs["risk"], 4).astype(str), {"coxnet"}),
    "whole numbers": (lambda obs: (3 * obs["risk"]).astype(int), {"coxnet"}),
    "between": (lambda obs: obs["risk"].between(-0.5, 0.5), {"coxnet"}),
    "above the median of the sex": (
        lambda obs: obs["risk"] > obs.groupby("sex")["risk"].transform("median"), {"coxnet"},
    ),
    "mean": (lambda obs: (obs["risk"] + obs["forest"]) / 2, {"coxnet", "survival_forest"}),
    "difference": (lambda obs: obs["risk"] - obs["forest"], {"coxnet", "survival_forest"}),
    "ratio": (lambda obs: obs["risk"] / obs["forest"], {"coxnet", "survival_forest"}),
    "with age": (lambda obs: 10 * obs["risk"] + obs["age"], {"coxnet"}),
    "with age and points for the sex": (
        lambda obs: 5 * obs["risk"] + obs["age"] + 3 * (obs["sex"] == "m"), {"coxnet"},
    ),
    "points for a risk group, and age": (lambda obs: 5 * (obs["risk_group"] == "high") + obs["age"], {"stratify"}),
    "times age": (lambda obs: obs["risk"] * obs["age"], {"coxnet"}),
    "shifted, times age": (lambda obs: (obs["risk"] + 1) * obs["age"], {"coxnet"}),
    "product of shifted": (lambda obs: (obs["risk"] + 1) * (obs["forest"] - 2), {"coxnet", "survival_forest"}),
    "the larger": (lambda obs: obs[["risk", "forest"]].max(axis=1), {"coxnet", "survival_forest"}),
}  # fmt: skip


def test_points_for_what_no_outcome_made_are_not_taken_for_it():
    table = cohort()
    table.obs["site"] = np.where(np.arange(60) % 3 == 0, "a", "b")
    score = table.obs["age"] + 4 * (table.obs["sex"] == "m") + 2 * (table.obs["site"] == "a")
    assert makers(table, score) == (set(), True)


@pytest.mark.parametrize("way", list(NUMBERS))
def test_numbers_that_were_calculated_are_known(way):
    table, (make, expected) = cohort(), NUMBERS[way]
    assert makers(table, make(table.obs)) == (expected, True)


def test_a_cut_of_a_sum_is_known_with_the_sum_and_perhaps_without():
    table = cohort()
    table.obs["sum"] = table.obs["risk"] + table.obs["forest"]
    high = table.obs["sum"] > table.obs["sum"].median()
    assert makers(table, high) == ({"coxnet", "survival_forest"}, True)
    other = cohort()
    assert makers(other, high) == ({"coxnet", "survival_forest"}, False)
    other.obs["mine"] = high.to_numpy()
    with pytest.warns(SpatialfmWarning, match=r"obs\['mine'\]: perhaps predicted by sfm\.tl\.\w+ in cross-validation"):
        result = sfm.tl.logrank(other, "mine", copy=True)
    assert not result["optimistic"]
    assert "perhaps" in result["params"]["selected"]
    assert result["params"]["by_outcome"] == "perhaps"


def test_few_rows_are_said_to_be_perhaps_so():
    table = cohort(14)
    renamed = table.obs["risk_group"].map({"low": "A", "high": "B"})
    found, sure = makers(table, renamed)
    assert (found, sure) == ({"stratify"}, False)


def test_a_patient_that_was_moved_makes_it_perhaps_so():
    table = cohort(60)
    moved = (table.obs["risk_group"] == "high").to_numpy().copy()
    moved[3] = not moved[3]
    assert makers(table, moved) == ({"stratify"}, False)


def test_few_rows_that_are_divided_alike_are_said_to_be_perhaps_so():
    table = cohort(8)
    table.obs["risk_group"] = pd.Categorical(["low", "high"] * 4)
    _write(table, Origin("cut_point", "selected", ("time", "event")), "risk_group", table.obs["risk_group"].array)
    assert makers(table, ["A", "B"] * 4) == ({"cut_point"}, False)
    assert makers(table, ["A", "B"] * 3 + ["B", "A"]) == (set(), True)


def test_numbers_with_noise_are_said_to_be_perhaps_so():
    table = cohort(60)
    del table.obs["cluster"]  # in parts of ten rows even such numbers rise and fall with the risk
    noise = RNG(5).normal(size=60)
    assert makers(table, table.obs["risk"] + 0.1 * noise) == ({"coxnet"}, False)
    assert makers(table, table.obs["risk"] + 2 * noise) == (set(), True)
    # what is as near to a feature of the model is taken for the feature
    feature = table.obs["risk"] + 0.001 * RNG(6).normal(size=60)
    _write(
        table,
        Origin("coxnet", "held out", ("time", "event")),
        "risk",
        table.obs["risk"],
        exempt=feature.to_numpy()[:, None],
    )
    one = [reference for reference in _origin.known(table) if reference.exempt is not None]
    values = pd.Series(feature + 0.0005 * noise, index=table.obs_names)
    assert recognise(values, [], one, "obs:mine") == []


@pytest.mark.parametrize("end", ["-", "_"])
def test_rows_of_joined_tables_are_known_by_their_names_before(end):
    table, other = cohort(60), cohort(60, seed=1)
    other.obs_names = [f"Q{i}" for i in range(60)]
    _origin.forget()
    for one in _origin.read_origins(table):
        _origin.keep([one])
    joined = ad.concat([table, other], keys=["a", "b"], index_unique=end)
    del joined.obs["time"]
    assert makers(joined[::-1].copy(), joined.obs["risk_group"].map({"low": "A", "high": "B"})[::-1]) == (
        {"stratify"},
        True,
    )


def test_what_a_sum_was_made_with_is_as_it_was():
    """The age of a sum with the age, and other columns that follow from one another, are nobody's."""
    table = cohort()
    table.obs["sum"] = 10 * table.obs["risk"] + table.obs["age"]
    table.obs["months"] = 12 * table.obs["age"]
    assert set(origins(table, columns_of(table, ["age", "months", "sum", "share"]))) == {"obs:sum"}


def clinical(rng: np.random.Generator, names: list[str]) -> pd.DataFrame:
    n, obs = len(names), pd.DataFrame(index=names)
    obs["age"], obs["bmi"], obs["sex"] = rng.normal(60, 10, n).round(), rng.normal(25, 4, n), rng.choice(["f", "m"], n)
    obs["stage"] = rng.choice(["I", "II", "III", "IV"], n, p=[0.3, 0.3, 0.3, 0.1])
    obs["late"], obs["old"] = obs["stage"].isin(["III", "IV"]), obs["age"] > 60
    obs["site"], obs["grade"] = rng.choice(["A", "B", "C"], n), rng.integers(1, 4, n)
    obs["rare"], obs["stage_sex"] = rng.random(n) < 0.1, obs["stage"] + "_" + obs["sex"]
    return obs


def left_alone(n: int, n_cohorts: int) -> None:
    rng, refused, perhaps, tried = RNG(n), 0, 0, 0
    for seed in range(n_cohorts):
        table = cohort(n, seed)
        table = table[:, :].copy()
        table.obs = pd.concat([table.obs.drop(columns=["age", "sex"]), clinical(rng, list(table.obs_names))], axis=1)
        honest = list(clinical(rng, list(table.obs_names)))
        found = origins(table, columns_of(table, honest))
        tried += len(honest)
        refused += sum(any(one.sure for one in some) for some in found.values())
        perhaps += sum(not any(one.sure for one in some) for some in found.values())
    assert refused == 0
    assert perhaps <= 0.02 * tried + 1


@pytest.mark.parametrize("n", [12, 20, 40])
def test_clinical_columns_are_left_alone(n):
    left_alone(n, 4)


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 20, 40, 100])
def test_clinical_columns_of_many_cohorts_are_left_alone(n):
    left_alone(n, 60)


@pytest.mark.parametrize("name", ["risk_group", "signature_score", "coxnet", "age_group"])
def test_a_column_of_a_written_file_that_is_called_as_ours_is_said(name, tmp_path):
    table = cohort()
    table.obs[name] = RNG(4).integers(0, 2, 60) if name.endswith("group") else RNG(4).normal(size=60)
    table.obs[["time", "event", "age", name]].to_csv(tmp_path / "obs.csv")
    _origin.forget()
    back = AnnData(obs=pd.read_csv(tmp_path / "obs.csv", index_col=0))
    call = sfm.tl.logrank if name.endswith("group") else sfm.tl.cox
    message = rf"obs\['{name}'\]: of unknown origin, with a name that sfm\.tl\.\w+ writes"
    with pytest.warns(SpatialfmWarning, match=message):
        result = call(back, name, copy=True)
    assert "unknown origin" in result["params"]["selected"]
    assert result["params"]["by_outcome"] == "no"
    back.obs["other"] = back.obs[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*unknown origin")
        assert call(back, "other", copy=True)["params"]["selected"] == ""
