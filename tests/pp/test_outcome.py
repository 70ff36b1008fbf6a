"""Said once, the columns of time and event are known to every table that is made, and to every survival function."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SurvivalError, TableError
from spatialfm._outcome import remembered_outcome


@pytest.fixture(scope="module")
def cohort():
    sdata = sfm.datasets.simulate_cohort(n_patients=3, image_size=96, random_state=0, difficulty="easy")
    clinic = pd.DataFrame(
        {
            "patient": pd.unique(sdata["samples"].obs["patient"].astype(str)),
            "Overall survival (d)": [10, 20, 30],
            "status": ["dead", "alive", "dead"],
        }
    )
    sfm.pp.add_clinical(
        sdata, clinic, on="patient", time_key="Overall survival (d)", event_key="status", event_value="dead"
    )
    return sdata


def test_tables_that_are_made_remember_it(cohort):
    sfm.pp.cell_table(cohort)
    sfm.tl.embed_tiles(cohort, "classical", size=40)
    cells = cohort["table"]
    cells.obs["kind"] = pd.Categorical(np.where(np.arange(cells.n_obs) % 2, "a", "b"))
    patients = sfm.tl.composition(cells, "kind")
    for table in (
        cells,
        cohort["tiles"],
        patients,
        patients[:2].copy(),
        sfm.tl.composition(cells, "kind", patient_key=None),
    ):
        known = remembered_outcome(table)
        assert (known.time_key, known.event_key, known.event_value) == ("Overall_survival_d", "status", ["dead"])
        assert known.said_to == "sfm.pp.add_clinical"
    sfm.tl.kaplan_meier(patients)
    result = patients.uns["kaplan_meier"]
    # by hand: 3 at risk at 10, one of them dies; the last dies at 30
    assert result["table"]["survival"].round(6).tolist() == [1.0, 0.666667, 0.666667, 0.0]
    assert result["params"]["outcome_from"] == "remembered from sfm.pp.add_clinical"


def test_it_survives_a_store(cohort, tmp_path):
    sfm.io.write(cohort, tmp_path / "cohort.zarr")
    import spatialdata as sd

    known = remembered_outcome(sd.read_zarr(tmp_path / "cohort.zarr")["samples"])
    assert known == remembered_outcome(cohort["samples"])


def test_of_a_spatialdata_the_tables_with_the_columns_are_told(cohort):
    sfm.pp.set_outcome(cohort, time_key="Overall_survival_d", event_key="status", event_value="alive")
    assert remembered_outcome(cohort["samples"]).event_value == ["alive"]
    with pytest.raises(SurvivalError, match="No table of sdata has the columns 'pfs', 'status'"):
        sfm.pp.set_outcome(cohort, time_key="pfs", event_key="status")


def test_nothing_is_written_where_it_is_refused():
    table = ad.AnnData(obs=pd.DataFrame({"os": [1, -2], "dead": [0, 1], "patient": ["p", "q"]}, index=list("ab")))
    with pytest.raises(SurvivalError, match="negative or infinite"):
        sfm.pp.set_outcome(table, time_key="os", event_key="dead")
    assert "spatialfm" not in table.uns
    clinic = pd.DataFrame({"patient": ["p", "q"], "pfs": ["soon", "late"]})
    with pytest.raises(SurvivalError, match="not numbers"):
        sfm.pp.add_clinical(table, clinic, on="patient", time_key="pfs", event_key="dead")
    assert list(table.obs) == ["os", "dead", "patient"]


def patients(n=60, **columns) -> ad.AnnData:
    rng = np.random.default_rng(0)
    score = rng.normal(size=n)
    obs = {
        "os": rng.exponential(np.exp(-score)),
        "status": np.where(rng.random(n) < 0.7, "dead", "alive"),
        "score": score,
        "other": rng.normal(size=n),
        "arm": np.where(score > 0, "a", "b"),
    }
    values = rng.dirichlet(np.ones(3), n)
    return ad.AnnData(values, obs=pd.DataFrame(obs | columns, index=[f"p{i}" for i in range(n)]))


CALLS = {
    "kaplan_meier": (("arm",), {}),
    "logrank": (("arm",), {"n_permutations": 999}),
    "cox": (("score",), {}),
    "rmst": (("arm",), {"horizon": 0.5}),
    "concordance": (("score",), {}),
    "compare_concordance": ((["score", "other"],), {}),
    "added_value": (("score", "other"), {"n_bootstrap": 0}),
    "cut_point": (("score",), {"n_permutations": 100}),
    "stratify": ((4,), {"merge_into": 2}),
    "coxnet": (
        (),
        {"use_rep": "X", "n_folds": 2, "n_inner_folds": 2, "n_repeats": 1, "n_permutations": 0, "n_bootstrap": 100},
    ),
    "power": (("survival", 2.0), {"n_patients": [20], "n_simulations": 10}),
    "cumulative_incidence": (("arm",), {"censored_value": "alive", "n_permutations": 999}),
    "fine_gray": (("score",), {"censored_value": "alive", "event_value": "dead"}),
}
OWN_VALUE = ("cumulative_incidence", "fine_gray")  # which event is meant is asked, among several


@pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
@pytest.mark.parametrize("name", CALLS)
def test_what_is_remembered_gives_the_numbers_of_what_is_passed(name):
    args, options = CALLS[name]
    told, silent = patients(), patients()
    value = {} if name in OWN_VALUE else {"event_value": "dead"}
    getattr(sfm.tl, name)(told, *args, **options, **value, time_key="os", event_key="status", key_added="result")
    sfm.pp.set_outcome(silent, time_key="os", event_key="status", event_value="dead")
    getattr(sfm.tl, name)(silent, *args, **options, key_added="result")
    one, two = told.uns["result"], silent.uns["result"]
    assert one["params"].pop("outcome_from") == "arguments"
    assert two["params"].pop("outcome_from") == "remembered from sfm.pp.set_outcome"
    same(one, two)


def same(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert set(one) == set(two)
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two)
    else:
        np.testing.assert_array_equal(one, two)


def test_stratify_leaves_a_remembered_outcome_out_on_request():
    table = patients()
    by_size = sfm.tl.stratify(table, 3, copy=True)
    sfm.pp.set_outcome(table, time_key="os", event_key="status", event_value="dead")
    pd.testing.assert_series_equal(sfm.tl.stratify(table, 3, use_outcome=False, copy=True), by_size)
    assert list(sfm.tl.stratify(table, 3, copy=True).cat.categories) == ["risk 1", "risk 2", "risk 3"]
    with pytest.raises(SurvivalError, match="use_outcome=False leaves out"):
        sfm.tl.stratify(table, 3, use_outcome=False, time_key="os", event_key="status", event_value="dead")


def test_mil_takes_it_for_the_task_of_survival():
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=20, random_state=0)
    options = {"use_rep": "X_latent", "task": "survival", "n_folds": 2, "n_seeds": 1, "n_heads": 1, "hidden": 4}
    with pytest.raises(TableError, match="does not follow from no key"):
        sfm.tl.mil(cells, **options, max_epochs=1)
    sfm.pp.set_outcome(cells, time_key="time", event_key="event")
    record = sfm.tl.mil(cells, **options, max_epochs=1, copy=True)
    assert record["params"]["columns"] == ["time", "event"]
    assert record["params"]["outcome_from"] == "remembered from sfm.pp.set_outcome"


def test_a_prediction_takes_the_outcome_that_the_target_remembers():
    source, target = patients(), patients().copy()
    target.obs_names = "other_" + target.obs_names
    target.obs["score"] += np.random.default_rng(1).normal(scale=0.1, size=target.n_obs)
    sfm.pp.set_outcome(source, time_key="os", event_key="status", event_value="dead")
    sfm.tl.cox(source, "score")
    target.obs = target.obs.rename(columns={"os": "months", "status": "vital"})
    sfm.tl.predict_survival(source, target, key="cox")
    assert "scores" not in target.uns["cox_predicted"]  # nothing says what the outcome is
    sfm.pp.set_outcome(target, time_key="months", event_key="vital", event_value="dead")
    sfm.tl.predict_survival(source, target, key="cox")
    params = target.uns["cox_predicted"]["params"]
    assert (params["time_key"], params["event_key"], params["event_value"]) == ("months", "vital", '["dead"]')
    target.obs["os"], target.obs["status"] = target.obs["months"] + 1, target.obs["vital"]
    with pytest.raises(SurvivalError, match="has the source's outcome, 'os', 'status', and remembers another"):
        sfm.tl.predict_survival(source, target, key="cox")


def test_tables_joined_by_anndata_keep_the_outcome_only_if_asked():
    """What the documentation says of anndata.concat, which is not ours to change."""
    obs = pd.DataFrame({"os": [2.0, 4.0, 6.0, 8.0], "dead": [1, 1, 0, 1]}, index=list("abcd"))
    table = ad.AnnData(obs=obs)
    sfm.pp.set_outcome(table, time_key="os", event_key="dead")
    parts = [table[:2].copy(), table[2:].copy()]
    kept = ad.concat(parts, uns_merge="same")
    sfm.tl.kaplan_meier(kept)
    assert kept.uns["kaplan_meier"]["table"]["survival"].round(2).tolist() == [1.0, 0.75, 0.5, 0.5, 0.0]
    with pytest.raises(SurvivalError, match=r"No column 'time'.*anndata.concat forget it.*uns_merge is 'same'"):
        sfm.tl.kaplan_meier(ad.concat(parts))
