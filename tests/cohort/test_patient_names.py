"""Patients under other names: columns and spellings are found, in every function that takes patients apart."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmError, SpatialfmWarning, TableError
from spatialfm.cohort.patient_names import check_spelling, like_patients, patients_of_rows


def two_samples_each(column: str, names=None) -> AnnData:
    """40 samples of 20 patients, whose outcome is theirs: rows are not independent."""
    rng = np.random.default_rng(0)
    patients = [f"P{i}" for i in range(20)] if names is None else names
    time = rng.exponential(size=20)
    obs = pd.DataFrame({column: np.repeat(patients, 2) if names is None else names})
    obs["time"], obs["event"] = np.repeat(time, 2), 1
    obs["arm"] = np.repeat(rng.permutation(np.repeat(["a", "b"], 10)), 2)
    obs["value"] = rng.normal(size=40)
    fractions = rng.dirichlet([2.0, 2.0, 2.0], 40)
    return AnnData(fractions, obs=obs.set_index(np.array([f"r{i}" for i in range(40)])))


CALLS = {
    "predict_expression": lambda s, **kw: sfm.tl.predict_expression(_with_places(s), "spatial", "X", **kw),
    "align": lambda s, **kw: sfm.tl.align(_with_places(s), "X", "spatial", max_epochs=1, **kw),
    "logrank": lambda s, **kw: sfm.tl.logrank(s, "arm", **kw),
    "cox": lambda s, **kw: sfm.tl.cox(s, "value", **kw),
    "concordance": lambda s, **kw: sfm.tl.concordance(s, "value", n_bootstrap=100, **kw),
    "kaplan_meier": lambda s, **kw: sfm.tl.kaplan_meier(s, "arm", **kw),
    "cut_point": lambda s, **kw: sfm.tl.cut_point(s, "value", n_permutations=100, **kw),
    "stratify": lambda s, **kw: sfm.tl.stratify(s, 2, time_key="time", event_key="event", **kw),
    "coxnet": lambda s, **kw: sfm.tl.coxnet(s, n_folds=2, n_inner_folds=2, n_bootstrap=100, **kw),
    "survival_forest": lambda s, **kw: sfm.tl.survival_forest(s, n_folds=2, n_bootstrap=100, **kw),
    "compare_composition": lambda s, **kw: sfm.tl.compare_composition(s, "arm", **kw),
    "risk_ratio": lambda s, **kw: sfm.tl.risk_ratio(s, "arm", "0", group="a", **kw),
    "classify_samples": lambda s, **kw: sfm.tl.classify_samples(
        s, label_key="arm", use_rep="X", n_components=None, n_draws=2, **kw
    ),
    "few_shot_samples": lambda s, **kw: sfm.tl.few_shot_samples(
        s, label_key="arm", use_rep="X", n_clusters=2, n_support=2, n_draws=2, **kw
    ),
    "discover_signatures": lambda s, **kw: sfm.tl.discover_signatures(
        s, use_rep="X", outcome="arm", positive="a", n_permutations=0, **kw
    ),
    "score_signatures": lambda s, **kw: sfm.tl.score_signatures(_with_signature(s), favorable=["RS1"], **kw),
    "compare_enrichment": lambda s, **kw: sfm.tl.compare_enrichment(_with_places(s), "kind", group_key="arm", **kw),
    "neighborhood_contrast": lambda s, **kw: sfm.tl.neighborhood_contrast(
        _with_places(s), "kind", cell_type="x", within="inside", n_neighbors=2, **kw
    ),
    "distribution_shift": lambda s, **kw: sfm.tl.distribution_shift(
        _with_places(s), use_rep="X", time_key="kind", **kw
    ),
    "transfer_signatures": lambda s, **kw: sfm.tl.transfer_signatures(
        _with_signature(s), s.copy(), use_rep="X", n_trees=2, **kw
    ),
    "annotate": lambda s, **kw: sfm.tl.annotate(s, "arm", use_rep="X", **kw),
    "suggest_labels": lambda s, **kw: sfm.tl.suggest_labels(s, use_rep="X", n=4, **kw),
    "label_report": lambda s, **kw: sfm.tl.label_report(s, "arm", use_rep="X", **kw),
    "propose_types": lambda s, **kw: sfm.tl.propose_types(s, "arm", use_rep="X", **kw),
    "evaluate_annotation": lambda s, **kw: sfm.tl.evaluate_annotation(s, "arm", use_rep="X", n_folds=2, C=1.0, **kw),
    "composition": lambda s, **kw: sfm.tl.composition(_with_places(s), "arm", **kw),
    "added_value": lambda s, **kw: sfm.tl.added_value(s, "value", _second_score(s), n_bootstrap=0, **kw),
    "compare_concordance": lambda s, **kw: sfm.tl.compare_concordance(s, ["value", *_second_score(s)], **kw),
    "cumulative_incidence": lambda s, **kw: sfm.tl.cumulative_incidence(s, "arm", censored_value=[], **kw),
    "fine_gray": lambda s, **kw: sfm.tl.fine_gray(s, "value", event_value=1, censored_value=[], **kw),
    "rmst": lambda s, **kw: sfm.tl.rmst(s, "arm", horizon=0.5, **kw),
    "surprise": lambda s, **kw: sfm.tl.surprise(_with_places(s), **kw),
    "select_panel": lambda s, **kw: sfm.tl.select_panel(s, 2, n_random=2, **kw),
    "evaluate_reconstruction": lambda s, **kw: sfm.tl.evaluate_reconstruction(s, methods=["linear"], **kw),
    "calibrate_imputation": lambda s, **kw: sfm.tl.calibrate_imputation(_imputed(s), **kw),
    "impute_markers": lambda s, **kw: sfm.tl.impute_markers(_unstained(s), markers=["a"], method="linear", **kw),
    "power": lambda s, **kw: sfm.tl.power(s, "survival", 2.0, n_patients=[10], n_simulations=10, **kw),
}
WEIGH = {  # a fit in which patients count alike, or neighbours in others
    "niches": lambda s: sfm.tl.niches(s, 2, use_rep="X"),
    "cell_states": lambda s: sfm.tl.cell_states(s, 2, use_rep="X"),
    "tissue_clusters": lambda s: sfm.tl.tissue_clusters(s, 2, use_rep="X", library_key="arm"),
    "build_index": lambda s: sfm.tl.build_index(s, use_rep="X"),
    "transfer_labels": lambda s: sfm.tl.transfer_labels(s, s.copy(), "arm", use_rep="X"),
}
SEARCH = {"search", "search_samples", "predict_survival"}  # of two tables: in their own tests
# of images, long to train, or in need of a file; they read patients alike
NO_TABLE = {"detect_artifacts", "segment_regions", "mil", "predict_bags", "reconstruct"}


def _second_score(samples: AnnData) -> list[str]:
    samples.obs["other"] = np.random.default_rng(1).normal(size=40)
    return ["other"]


def _imputed(samples: AnnData) -> AnnData:
    samples = samples.copy()
    samples.obsm["X_imputed"] = samples[:, ["2"]].to_df()
    samples.uns["spatialfm"] = {"X_imputed": {"method": "linear", "seen": ["0", "1"], "space": "intensity"}}
    return samples


def _unstained(samples: AnnData) -> AnnData:
    cells = AnnData(np.random.default_rng(0).gamma(2, size=(40, 3)), obs=samples.obs, uns=samples.uns)
    cells.var_names = list("abc")
    cells.X[:4, 0] = np.nan
    return cells


def _with_signature(samples: AnnData) -> AnnData:
    samples.obsm["signatures"] = pd.DataFrame({"RS1": samples.obs["value"] > 0}, index=samples.obs_names)
    samples.obs["sample"] = samples.obs_names.to_numpy()
    return samples


def _with_places(samples: AnnData) -> AnnData:
    samples.obs["kind"] = np.tile(["x", "y"], 20)
    samples.obs["inside"] = np.repeat([True, False], 20)
    samples.obs["sample"] = np.repeat(np.arange(4), 10).astype(str)
    samples.obsm["spatial"] = np.random.default_rng(0).uniform(size=(40, 2))
    return samples


def test_every_function_that_takes_patients_is_tried():
    takes = {name for name in sfm.tl.__all__ if "patient_key" in inspect.signature(getattr(sfm.tl, name)).parameters}
    assert takes - NO_TABLE == set(CALLS) | set(WEIGH) | SEARCH


@pytest.mark.parametrize("function", sorted(WEIGH))
def test_who_weighs_patients_or_leaves_them_out_says_which_column_may_hold_them(function):
    with pytest.warns(SpatialfmWarning, match='patient_key="PatientID"'):
        WEIGH[function](two_samples_each("PatientID"))
    with pytest.raises(SpatialfmError, match="several ways"):
        WEIGH[function](two_samples_each("patient", ["P0", " p0", *(f"Q{i}" for i in range(38))]))


@pytest.mark.parametrize("column", ["PatientID", "patient_id", "Patient", "case", "Subject ID", "donor"])
@pytest.mark.parametrize("function", ["logrank", "coxnet"])
def test_a_column_called_as_patients_are_is_asked_about(column, function):
    samples = two_samples_each(column)
    with pytest.raises(SpatialfmError, match=rf'{column}.*patient_key="{column}".*patient_key=None'):
        CALLS[function](samples)


@pytest.mark.parametrize("function", sorted(CALLS))
def test_no_function_takes_rows_for_patients_unasked(function):
    samples = two_samples_each("PatientID")
    before = samples.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        with pytest.raises((SpatialfmError, SpatialfmWarning), match="PatientID"):
            CALLS[function](samples)
    assert set(samples.uns) == set(before.uns)


@pytest.mark.parametrize(
    ("one", "other"), [("P0", " p0"), ("P0", "P0 "), (1, "1"), ("1.0", 1), (1.0, "1"), ("P0", "\ufeffP0")]
)
def test_two_spellings_are_refused(one, other):
    names = [one, other, *(f"Q{i // 2}" for i in range(38))]
    samples = two_samples_each("patient", [*names[:2], *(f"Q{i}" for i in range(38))])
    with pytest.raises(SpatialfmError, match=r"1 patient in several ways.*write them alike"):
        sfm.tl.logrank(samples, "arm")


@pytest.mark.parametrize("function", sorted(CALLS))
def test_two_spellings_are_refused_everywhere(function):
    samples = two_samples_each("patient", ["P0", " p0", *(f"Q{i}" for i in range(38))])
    with pytest.raises(SpatialfmError, match="several ways"):
        CALLS[function](samples)


def test_the_proposed_code_fixes_it():
    samples = two_samples_each("patient", ["P0", " p0", 1, "1", *(f"Q{i}" for i in range(36))])
    with pytest.raises(SpatialfmError) as error:
        sfm.tl.logrank(samples, "arm")
    code = str(error.value).split("write them alike: ")[1].rsplit("; otherwise", 1)[0]
    exec(code, {"adata": samples})
    assert samples.obs["patient"].tolist()[:4] == ["P0", "P0", "1", "1"]


def test_missing_values_that_became_text_are_no_patient():
    samples = two_samples_each("patient", ["nan", "nan", *(f"Q{i}" for i in range(38))])
    with pytest.raises(SpatialfmError, match="reads 'nan' where it has no patient"):
        sfm.tl.logrank(samples, "arm")


def test_one_row_a_patient_is_taken_as_it_is():
    samples = two_samples_each("PatientID")[::2].copy()
    assert sfm.tl.logrank(samples, "arm", copy=True)["n"] == 20


def test_who_says_that_rows_are_patients_is_believed_with_a_warning():
    samples = two_samples_each("PatientID")
    with pytest.warns(SpatialfmWarning, match="PatientID"):
        sfm.tl.coxnet(samples, patient_key=None, n_folds=2, n_inner_folds=2, n_bootstrap=100)
    with pytest.warns(SpatialfmWarning, match="PatientID"):
        sfm.tl.classify_samples(samples, label_key="arm", use_rep="X", n_components=None, n_draws=2, patient_key=None)


def test_separators_and_zeros_are_warned_of():
    with pytest.warns(SpatialfmWarning, match="'P-1' and 'P01'"):
        check_spelling(pd.Series(["P-1", "P01", "P2"], name="patient"), "patient_key")


@pytest.mark.parametrize("names", [["1-11", "11-1", "1-1"], ["P1", "P10", "P100"], ["TCGA-A1-01", "TCGA-A1-10"]])
def test_other_names_are_other_patients(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_spelling(pd.Series(names, name="patient"), "patient_key")


def test_groups_are_no_patients():
    obs = pd.DataFrame({"case": ["case", "control"] * 4, "Case_ID": range(8), "subject": np.linspace(0.1, 1, 8)})
    assert like_patients(obs) == ["Case_ID"]


def test_rows_without_patient_are_not_one_patient():
    table = AnnData(obs=pd.DataFrame({"patient": ["P1", None, "P2", None]}, index=list("abcd")))
    with pytest.raises(TableError, match=r"2 of 4 rows have no value in obs\['patient'\].*first 'b', 'd'"):
        patients_of_rows(table, "patient")
    assert patients_of_rows(table, "patient", used=np.array([0, 2]))[[0, 2]].tolist() == ["P1", "P2"]
    with pytest.raises(TableError, match="1 of 2 rows"):
        patients_of_rows(table, "patient", used=np.array([True, True, False, False]))
