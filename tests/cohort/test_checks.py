"""Refusals that several tools share, and codes of names."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.cohort.checks import (
    check_anndata,
    check_samples,
    check_split,
    codes_by_appearance,
    codes_of,
    named,
    obs_column,
    order_of_names,
    states_order,
    tell_split,
)
from spatialfm.cohort.design import design_matrix
from spatialfm.cohort.outcome import read_strata


def table(**columns) -> AnnData:
    n = len(next(iter(columns.values())))
    return AnnData(obs=pd.DataFrame(columns, index=[f"c{i}" for i in range(n)]))


def test_what_is_no_table_is_refused():
    check_anndata(table(x=[1]), "tool")
    with pytest.raises(TableError, match="without rows"):
        check_anndata(table(x=[1])[:0], "tool")
    with pytest.raises(TableError, match="takes an AnnData, not DataFrame"):
        check_anndata(pd.DataFrame(), "tool")


def test_a_column_with_gaps_names_them():
    adata = table(x=["a", None, "b"])
    assert obs_column(adata, "x", "key", allow_missing=True).isna().sum() == 1
    with pytest.raises(TableError, match=r"1 of 3 cells have no value in obs\['x'\] \(key=\), first 'c1'"):
        obs_column(adata, "x", "key")
    with pytest.raises(TableError, match="No column 'y'"):
        obs_column(adata, "y", "key")


def test_a_sample_of_two_patients():
    check_samples(pd.Series(["s", "s", None, None]), pd.Series(["a", "a", "b", "c"], name="p"), TableError)
    with pytest.raises(TableError, match="1 sample belongs to more than one patient; 's' to 'a', 'b'"):
        check_samples(pd.Series(["s", "s"], name="sample"), pd.Series(["a", "b"], name="p"), TableError)


def test_samples_of_one_patient_on_both_sides_of_a_split():
    adata = table(patient=["a", "a", "b"], sample=["1", "2", "3"])
    check_split(adata, "patient")
    for key in ("sample", None):
        with pytest.raises(TableError, match="1 patient has several samples"):
            check_split(adata, key)
    check_split(table(patient=["a", "a"], sample=["1", "1"]), "sample")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a"], ["a", "b"]),
        ([10, 9], ["9", "10"]),
        (pd.Categorical(["b", "a"], ["b", "x", "a"]), ["b", "a"]),
        ([2.0, 1.0], ["1.0", "2.0"]),
        ([True, False], ["False", "True"]),
    ],
)
def test_names_in_their_order(values, expected):
    assert list(named(pd.Series(values, name="x"), "key").cat.categories) == expected


def test_whole_numbers_of_a_column_with_gaps_and_values_that_read_alike():
    found = named(pd.Series([2.0, np.nan, 1.0], name="x"), "key", whole=True)
    assert found.astype(object).tolist()[::2] == ["2", "1"]
    assert pd.isna(found.iloc[1])
    with pytest.raises(TableError, match="which read alike"):
        named(pd.Series([1, "1"], name="x", dtype=object), "key")


def test_codes():
    assert codes_of(pd.Series(["b", "a", "b"]))[1] == ["a", "b"]
    codes, names = codes_of(pd.Series(pd.Categorical(["b", "b"], ["c", "b"])))
    assert (codes.tolist(), names) == ([1, 1], ["c", "b"])  # unused ones are kept
    codes, names = codes_by_appearance(pd.Series(pd.Categorical(["b", "a", "b"], ["a", "b", "c"])))
    assert (codes.tolist(), names) == ([0, 1, 0], ["b", "a"])
    assert order_of_names(["b", "a", "b"]).tolist() == [1, 0, 2]


def test_patients_that_are_several_by_another_column_are_told():
    cells = table(patient=["a", "a", "b"], sample=["a1", "a2", "b1"], region=["a1", "a1", "b1"])
    with pytest.warns(SpatialfmWarning, match=r"patient_key='sample', but 1 patient has several .*, first 'a'"):
        tell_split(cells, "sample")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for key in ("patient", "region", "absent", None):
            tell_split(cells, key)
        tell_split(cells[:2].copy(), "sample")  # one patient: there is nothing else to hold out


def readers(cells: AnnData, key: str) -> dict:
    """Each function that reads labels of cells, ready to be called."""
    options = {"use_rep": "X"}
    return {
        "annotate": lambda: sfm.tl.annotate(cells, key, **options),
        "evaluate_annotation": lambda: sfm.tl.evaluate_annotation(cells, key, **options),
        "label_report": lambda: sfm.tl.label_report(cells, key, **options),
        "suggest_labels": lambda: sfm.tl.suggest_labels(cells, key, n=2, **options),
        "propose_types": lambda: sfm.tl.propose_types(cells, key, **options),
        "transfer_labels": lambda: sfm.tl.transfer_labels(cells, cells.copy(), key, **options),
        "cluster_agreement": lambda: sfm.tl.cluster_agreement(cells, key, **options),
        "select_panel": lambda: sfm.tl.select_panel(cells, n_markers=2, target="label", label_key=key),
    }


@pytest.mark.parametrize("name", list(readers(None, "")))
def test_who_reads_labels_refuses_missing_ones_that_became_text(name):
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=20, random_state=0)
    cells.obs["known"] = cells.obs["type"].astype(object).where(np.arange(cells.n_obs) % 2 == 0).astype(str)
    with pytest.raises(TableError, match="reads 'nan' in 20 of 40 cells, which would be a type"):
        readers(cells, "known")[name]()


VALUES = {
    "groups": lambda column: named(column, "group_key"),
    "clusters": codes_of,
    "covariates": lambda column: design_matrix(pd.DataFrame({"arm": column}), {}),
    "strata": lambda column: read_strata(AnnData(obs=pd.DataFrame({"arm": column})), ["arm"]),
}


@pytest.mark.parametrize("read", VALUES.values(), ids=VALUES)
def test_missing_values_that_became_text_are_no_group(read):
    column = pd.Series(["treated", None, "control", "treated"], index=list("abcd"), name="arm")
    for text in ("nan", "<NA>", ""):
        with pytest.raises(TableError, match=f"holds '{text}', which is what a missing value becomes as text"):
            read(column.fillna(text))
    with pytest.warns(SpatialfmWarning, match="holds 'None', which counts as a value"):
        read(column.astype(str))  # no treatment, or a missing one


def test_clusters_of_cells_are_not_missing_ones_as_text():
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=20, random_state=0)
    cells.obs["gap"] = cells.obs["type"].astype(object).where(np.arange(cells.n_obs) % 2 == 0).astype(str)
    calls = {
        "composition": lambda: sfm.tl.composition(cells, "gap"),
        "name_clusters": lambda: sfm.tl.name_clusters(cells, "gap", {"T": ["CD3"]}),
        "neighborhood_composition": lambda: sfm.tl.neighborhood_composition(cells, "gap", n_neighbors=3),
    }
    for call in calls.values():
        with pytest.raises(TableError, match=r"obs\['gap'\] \(cluster_key=\) holds 'nan'"):
            call()


@pytest.mark.parametrize("read", VALUES.values(), ids=VALUES)
def test_values_that_differ_in_case_or_blanks_alone_are_said(read, recwarn):
    column = pd.Series(["treated", "Treated ", "control", "treated"], index=list("abcd"), name="arm")
    with pytest.warns(
        SpatialfmWarning, match=r"holds ('Treated ' and 'treated'|'treated' and 'Treated '), which count"
    ):
        read(column)
    recwarn.clear()
    read(column.str.strip().str.lower())
    assert not recwarn.list


@pytest.mark.parametrize("read", [VALUES[name] for name in ("groups", "covariates", "strata")])
@pytest.mark.parametrize("text", ["NA", "Unknown", "not reported"])
def test_what_may_stand_for_missing_values_of_patients_is_said(read, text):
    column = pd.Series(["treated", None, "control", "treated"], index=list("abcd"), name="arm")
    with pytest.warns(SpatialfmWarning, match=f"holds '{text}', which counts as a value"):
        read(column.fillna(text))


def test_a_type_of_cells_may_be_called_unknown(recwarn):
    codes_of(pd.Series(["T cell", "Unknown"], name="type"))
    named(pd.Series(["T cell", "Unknown"], name="type"), "cluster_key")
    design_matrix(pd.DataFrame({"arm": ["treated", "NA", "NA"]}), {"arm": "treated"})  # who names a level means levels
    assert not recwarn


@pytest.mark.parametrize(
    ("values", "stated"),
    [(["post", "pre"], False), (pd.Categorical(["pre", "post"]), False), (["week 12", "week 4"], False),
     (["C1D1", "C2D1"], True), (["1", "2"], True), ([14, 0], True), (pd.Categorical([0, 14]), True),
     (pd.Categorical(["pre", "post"], ["pre", "post"]), True),
     (pd.Categorical(["after", "before"], ["after", "before"], ordered=True), True)],
)  # fmt: skip
def test_which_time_points_have_an_order(values, stated):
    column = pd.Series(values, name="when")
    names = list(named(column, "time_key").cat.categories)
    assert states_order(column, names) == stated
