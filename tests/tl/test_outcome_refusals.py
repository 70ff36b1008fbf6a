"""Every tool that takes an outcome refuses the same bad cohorts, says who and what, and writes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmError

N = 16  # patients, half of them responders
BAD = "P03"


def cells() -> AnnData:
    """Sixteen patients of two samples, one before and one after treatment, each of 24 cells."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(N), 48)
    sample = np.tile(np.repeat([1, 2], 24), N)
    time, event = rng.exponential(10, N) + 1, np.arange(N) % 4 > 0
    obs = pd.DataFrame(
        {
            "patient": [f"P{i:02d}" for i in patient],
            "sample": [f"P{i:02d}_{j}" for i, j in zip(patient, sample, strict=True)],
            "when": np.where(sample == 1, "before", "after"),
            "type": rng.choice(["T", "B", "tumor"], len(patient)),
            "response": np.where(patient % 2, "yes", "no"),
            "score": (patient * 1.5 + 2)[: len(patient)],
            "time": time[patient],
            "event": event[patient].astype(float),
        },
        index=[f"c{i}" for i in range(len(patient))],
    )
    values = rng.normal(size=(len(obs), 3)) + 3 * rng.integers(0, 3, len(obs))[:, None]
    return AnnData(
        X=values.astype(np.float32), obs=obs, obsm={"X_e": values, "spatial": rng.uniform(0, 100, (len(obs), 2))}
    )


def patients() -> AnnData:
    """The same patients, one row each."""
    adata = cells()
    counts = pd.crosstab(adata.obs["patient"], adata.obs["type"])
    obs = adata.obs.groupby("patient", sort=True).first().drop(columns=["when", "type"])
    obs["patient"] = obs.index.astype(str)
    obs["follicle"] = (np.arange(N) % 3 == 0).astype(float)
    obs.index = obs.index.astype(str)
    fractions = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    return AnnData(X=fractions, obs=obs, var=pd.DataFrame(index=list(counts.columns)))


@dataclass(frozen=True)
class Call:
    """A tool, and what it needs to know here."""

    run: Callable[..., object]
    arguments: dict = field(default_factory=dict)
    make: Callable[[], AnnData] = patients
    outcome: str = "time"  # column that is broken
    key: str | None = None  # of uns; the tool's name
    n_used: Callable[[dict], int] = lambda record: N - record["params"]["n_dropped"]
    folds: dict | None = None  # arguments that ask for more than there are patients
    splits: tuple = ()  # values of patient_key that would put a patient on both sides

    def __call__(self, adata: AnnData, **more: object) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.run(adata, **(self.arguments | more))


SURVIVAL = {"time_key": "time", "event_key": "event"}
QUICK = {"n_folds": 3, "n_inner_folds": 2, "n_bootstrap": 100}
NETWORK = {"use_rep": "X_e", "n_folds": 2, "n_seeds": 1, "n_heads": 1, "hidden": 2, "max_epochs": 1}
SIGNATURES = {"use_rep": "X_e", "resolutions": [1.0], "max_cells": None, "n_permutations": 0, "n_folds": 2}
SIGNATURES |= {"n_repeats": 1, "n_repeats_model": 1, "min_patients": 2}
BOTH = (None, "sample")
CALLS = {
    "kaplan_meier": Call(sfm.tl.kaplan_meier),
    "logrank": Call(sfm.tl.logrank, {"group_key": "response"}),
    "cox": Call(sfm.tl.cox, {"covariates": "follicle"}),
    "concordance": Call(sfm.tl.concordance, {"score_key": "score", "n_bootstrap": 100}),
    "cut_point": Call(sfm.tl.cut_point, {"score_key": "score", "n_permutations": 100}, key="score_group"),
    "coxnet": Call(sfm.tl.coxnet, QUICK, folds={"n_folds": N + 1}, splits=(None,)),
    "survival_forest": Call(
        sfm.tl.survival_forest, QUICK | {"n_trees": 5, "min_samples_leaf": 2}, folds={"n_folds": N + 1}, splits=(None,)
    ),
    "stratify": Call(
        sfm.tl.stratify,
        {"n_groups": 2, **SURVIVAL},
        key="risk_group",
        n_used=lambda record: int(record["groups"]["n"].sum()) - 1,  # all are grouped; see its own test for the order
    ),
    "stratify cross-fitted": Call(
        sfm.tl.stratify,
        {"n_groups": 3, "merge_into": 2, "cross_fit": 4, **SURVIVAL},
        key="risk_group",
        n_used=lambda record: int(record["groups"]["n"].sum()) - 1,
        folds={"cross_fit": N + 1},
        splits=(None,),
    ),
    "risk_ratio": Call(
        sfm.tl.risk_ratio,
        {"group_key": "response", "features": "follicle", "group": "yes"},
        outcome="response",
        n_used=lambda record: int(record["table"].loc["follicle", ["n_with", "n_without"]].sum()),
    ),
    "compare_composition": Call(
        sfm.tl.compare_composition,
        {"group_key": "response"},
        outcome="response",
        n_used=lambda record: record["params"]["n_patients"],
    ),
    "compare_enrichment": Call(
        sfm.tl.compare_enrichment,
        {"cluster_key": "type", "group_key": "response", "n_neighbors": 4},
        make=cells,
        outcome="response",
        n_used=lambda record: record["samples"]["patient"].nunique(),
    ),
    "distribution_shift": Call(
        sfm.tl.distribution_shift,
        {"use_rep": "X_e", "time_key": "when", "group_key": "response", "min_cells": 8, "n_cells": 4, "n_repeats": 2,
         "epsilon": 0.2},
        make=cells,
        outcome="response",
        n_used=lambda record: record["table"]["patient"].nunique(),
    ),
    "discover_signatures": Call(
        sfm.tl.discover_signatures,
        SIGNATURES | {"outcome": "response", "positive": "yes"},
        make=cells,
        outcome="response",
        key="signatures",
        folds={"n_folds": N + 1},
        splits=("sample",),
    ),
    "discover_signatures of survival": Call(
        sfm.tl.discover_signatures,
        SIGNATURES | {"outcome": ("time", "event")},
        make=cells,
        key="signatures",
        folds={"n_folds": N + 1},
        splits=("sample",),
    ),
    "classify_samples": Call(
        sfm.tl.classify_samples,
        {"label_key": "response", "use_rep": "X_e", "n_components": None, "n_draws": 2},
        make=cells,
        outcome="response",
        splits=BOTH,
    ),
    "few_shot_samples": Call(
        sfm.tl.few_shot_samples,
        {"label_key": "response", "cluster_key": "type", "n_support": 2, "n_draws": 2},
        make=cells,
        outcome="response",
        folds={"n_support": N + 1},
        splits=BOTH,
    ),
    "mil of classes": Call(
        sfm.tl.mil,
        NETWORK | {"label_key": "response"},
        make=cells,
        outcome="response",
        key="mil",
        folds={"n_folds": N + 1},
        splits=BOTH,
    ),
    "mil of numbers": Call(
        sfm.tl.mil,
        NETWORK | {"target_key": "score"},
        make=cells,
        outcome="score",
        key="mil",
        folds={"n_folds": N + 1},
        splits=BOTH,
    ),
    "mil of survival": Call(
        sfm.tl.mil, NETWORK | SURVIVAL, make=cells, key="mil", folds={"n_folds": N + 1}, splits=BOTH
    ),
}  # fmt: skip
ALL = list(CALLS)
OF_CELLS = [name for name in ALL if CALLS[name].make is cells]
OF_PATIENTS = [name for name in ALL if CALLS[name].make is patients]
OF_SURVIVAL = [name for name in ALL if CALLS[name].outcome == "time"]
WITH_FOLDS = [name for name in ALL if CALLS[name].folds]


def refused(call: Call, adata: AnnData, *parts: str, **more: object) -> None:
    """The message holds all parts, and the table is as it was."""
    before = adata.copy()
    with pytest.raises(SpatialfmError) as caught:
        call(adata, **more)
    message = str(caught.value)
    for part in parts:
        assert part in message, message
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert (list(adata.uns), list(adata.obsm), list(adata.layers)) == (
        list(before.uns),
        list(before.obsm),
        list(before.layers),
    )


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "discover_signatures" else one for one in ALL]
)
def test_the_cohort_itself_is_taken(name):
    """What follows is refused for what was changed, and not for another reason."""
    call, adata = CALLS[name], CALLS[name].make()
    call(adata)
    assert (call.key or name) in adata.uns


@pytest.mark.parametrize("name", OF_CELLS)
def test_a_patient_with_two_outcomes(name):
    call, adata = CALLS[name], CALLS[name].make()
    last = adata.obs.index[adata.obs["patient"] == BAD][-1]
    adata.obs.loc[last, call.outcome] = "no" if call.outcome == "response" else 99.0
    refused(call, adata, repr(BAD), call.outcome)


@pytest.mark.parametrize("name", OF_PATIENTS)
def test_a_patient_in_two_rows(name):
    call, adata = CALLS[name], CALLS[name].make()
    adata.obs["patient"] = adata.obs["patient"].replace("P04", BAD)
    refused(call, adata, f"{N} rows hold {N - 1} patients (obs['patient'])", repr(BAD), "sfm.tl.composition")


def test_rows_of_a_patient_that_are_kept_together_have_one_outcome():
    """Cox regression takes several rows per patient, but not several outcomes."""
    adata = patients()
    adata.obs["patient"] = adata.obs["patient"].replace("P04", BAD)
    parts = ["1 patient has", repr(BAD), "obs['time']", "patient_key=None"]
    refused(CALLS["cox"], adata, *parts, se_cluster_key="patient")
    for key in ("time", "event"):
        adata.obs.loc["P04", key] = adata.obs.loc[BAD, key]
    CALLS["cox"](adata, se_cluster_key="patient")
    assert adata.uns["cox"]["n_clusters"] == N - 1


@pytest.mark.parametrize("name", [name for name in ALL if CALLS[name].splits])
def test_patients_on_both_sides_of_a_split(name):
    call = CALLS[name]
    for key in call.splits:
        adata = call.make()
        if call.make is patients:
            adata.obs["patient"] = adata.obs["patient"].replace("P04", BAD)
        parts = ("on both sides of a split", f"patient_key={key!r}", "Pass patient_key='patient'")
        refused(call, adata, *parts, patient_key=key)


@pytest.mark.parametrize("name", ALL)
def test_a_missing_outcome_is_refused_or_left_out_when_told(name):
    call, adata = CALLS[name], CALLS[name].make()
    adata.obs.loc[adata.obs["patient"] == BAD, call.outcome] = None
    refused(call, adata, repr(BAD), repr(call.outcome), 'on_missing="drop"')
    call(adata, on_missing="drop")
    assert call.n_used(adata.uns[call.key or name]) == N - 1
    refused(call, adata, "on_missing='ignore'): on_missing must be 'raise' or 'drop'.", on_missing="ignore")


@pytest.mark.parametrize("name", OF_SURVIVAL)
def test_negative_times(name):
    call, adata = CALLS[name], CALLS[name].make()
    adata.obs.loc[adata.obs["patient"] == BAD, "time"] = -2.0
    refused(call, adata, "negative", "obs['time']", BAD, "(-2)")


@pytest.mark.parametrize("name", OF_SURVIVAL)
def test_no_events(name):
    call, adata = CALLS[name], CALLS[name].make()
    adata.obs["event"] = 0.0
    with pytest.raises(SpatialfmError, match=r"([Nn]o event|0 patients have an event).*event"):
        call(adata)
    refused(call, adata, "event")


def numbers_of(record: object) -> list[float]:
    """All numbers of a result, in order."""
    if isinstance(record, dict):
        return [n for key in sorted(record) if key != "params" for n in numbers_of(record[key])]
    if isinstance(record, pd.DataFrame):
        record = record.drop(columns="event", errors="ignore").select_dtypes("number").to_numpy()  # as it was coded
    values = np.asarray(record)
    return values.astype(float).ravel().tolist() if values.dtype.kind in "fiub" else []


SLOWEST = {"coxnet", "discover_signatures of survival", "mil of survival", "stratify cross-fitted", "survival_forest"}


@pytest.mark.parametrize("name", OF_SURVIVAL)
def test_what_text_means_is_asked_and_then_taken_as_said(name):
    """Survival is the same whether the event is 1, "dead", or one of two causes; and is never turned upside down."""
    call, coded = CALLS[name], CALLS[name].make()
    call(coded)
    expected = numbers_of(coded.uns[call.key or name])
    dead = coded.obs["event"] == 1
    codings = [
        (np.where(dead, "dead", "alive"), "dead"),
        (np.where(dead, 2, 1), 2),  # R's habit
        (np.where(dead, np.where(coded.obs["score"] > 15, "cancer", "other"), "none"), ["cancer", "other"]),
        (np.where(dead, 0, 1), 0),
    ]
    for column, value in codings[2:] if name in SLOWEST else codings:
        adata = call.make()
        adata.obs["event"] = column
        if value != 0:  # 0 and 1 are understood as they are
            refused(call, adata, "event_value=", *(f"{v!r} (" for v in pd.unique(adata.obs["event"]).tolist()))
        call(adata, event_value=value)
        np.testing.assert_array_equal(numbers_of(adata.uns[call.key or name]), expected)
        refused(call, adata, "event_value='gone' is not a value", event_value="gone")


@pytest.mark.parametrize("name", [name for name in ALL if CALLS[name].outcome != "time"] + ["logrank"])
def test_one_class(name):
    call, adata = CALLS[name], CALLS[name].make()
    column = "response" if name == "logrank" else call.outcome
    adata.obs[column] = 5.0 if column == "score" else "yes"
    refused(call, adata, f"obs[{column!r}]")
    with pytest.raises(SpatialfmError, match=r"[Oo]ne group|one class|1 values among|throughout"):
        call(adata)


@pytest.mark.parametrize("name", WITH_FOLDS)
def test_fewer_patients_than_folds(name):
    call, adata = CALLS[name], CALLS[name].make()
    (argument, number), *_ = call.folds.items()
    refused(call, adata, "patients", str(number), **call.folds)
    with pytest.raises(SpatialfmError, match=rf"{argument}=|{number} folds"):
        call(adata, **call.folds)


def test_a_class_of_one_patient_cannot_be_split():
    adata = cells()
    adata.obs["response"] = np.where(adata.obs["patient"] == BAD, "yes", "no")
    refused(CALLS["classify_samples"], adata, "'yes (1)'", "obs['response']", "fewer than 2 patients")


@pytest.mark.parametrize("name", ALL)
def test_a_sample_of_two_patients(name):
    call, adata = CALLS[name], CALLS[name].make()
    if call.make is patients:
        adata.obs["sample"] = adata.obs["patient"] + "_1"
        adata.obs.loc["P05", "sample"] = f"{BAD}_1"
    else:
        mine = adata.obs["sample"] == f"{BAD}_1"
        other = adata.obs.loc[adata.obs["patient"] == "P05"].iloc[0]
        rows = adata.obs.index[mine][::2]
        adata.obs.loc[rows, ["patient", "response", "score", "time", "event"]] = other[
            ["patient", "response", "score", "time", "event"]
        ].to_numpy()
    refused(call, adata, repr(f"{BAD}_1"), "patient", repr(BAD), "'P05'")


@pytest.mark.parametrize("name", ALL)
def test_a_patient_column_that_is_not_there(name):
    """A slip of the pen must not switch off the check of who is who."""
    call = CALLS[name]
    refused(call, call.make(), "No column 'Patient_ID' in obs", "patient_key=", patient_key="Patient_ID")


@pytest.mark.parametrize("name", ALL)
def test_a_row_without_patient(name):
    call, adata = CALLS[name], CALLS[name].make()
    adata.obs.loc[adata.obs.index[7], "patient"] = None
    refused(call, adata, "patient", str(adata.obs.index[7]))
