from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ClinicalError, SpatialfmError, SpatialfmWarning, TableError


def closed_form_clr(counts: pd.DataFrame, pseudocount: float) -> pd.DataFrame:
    """Logarithm of each part over the geometric mean of all."""
    closed = (counts + pseudocount).div((counts + pseudocount).sum(axis=1), axis=0)
    return np.log(closed.div(np.exp(np.log(closed).mean(axis=1)), axis=0))


@pytest.mark.parametrize("patient_key", [None, "patient"])
def test_equals_crosstab(cells, patient_key):
    rows = patient_key or "sample"
    samples = sfm.tl.composition(cells, "type", patient_key=patient_key)
    expected = pd.crosstab(cells.obs[rows], cells.obs["type"], dropna=False).loc[samples.obs_names]
    assert list(samples.var_names) == ["tumor", "T", "B", "NK"]
    np.testing.assert_array_equal(samples.layers["counts"], expected[list(samples.var_names)])
    fractions = pd.crosstab(cells.obs[rows], cells.obs["type"], normalize="index", dropna=False)
    np.testing.assert_allclose(samples.X, fractions.loc[samples.obs_names, samples.var_names])
    np.testing.assert_allclose(samples.layers["clr"], closed_form_clr(expected, 0.5)[list(samples.var_names)])
    np.testing.assert_allclose(samples.layers["clr"].sum(axis=1), 0, atol=1e-12)
    assert list(samples.obs_names) == list(dict.fromkeys(cells.obs[rows]))  # order of appearance


def test_clinical_columns_come_along(cells):
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    assert set(patients.obs.columns) == {"patient", "stage", "sex", "n_cells", "n_samples"}
    obs = patients.obs.loc[["A", "B", "C"]]
    assert obs["stage"].tolist()[:2] == [1.0, 2.0]
    assert np.isnan(obs["stage"]["C"])
    assert obs["sex"].tolist() == ["f", "m", "f"]
    assert obs["n_samples"].tolist() == [2, 1, 1]
    assert obs["n_cells"].tolist() == cells.obs["patient"].value_counts().loc[["A", "B", "C"]].tolist()
    assert obs["patient"].tolist() == ["A", "B", "C"]
    by_sample = sfm.tl.composition(cells, "type", patient_key=None).obs
    assert set(by_sample.columns) == {"sample", "patient", "stage", "sex", "n_cells", "n_samples"}
    assert by_sample.loc["s2", "patient"] == "A"


def test_pooling_weighs_samples_by_cells(cells):
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    samples = sfm.tl.composition(cells, "type", patient_key=None)
    weights = samples.obs.loc[["s1", "s2"], "n_cells"]
    expected = np.average(samples[["s1", "s2"]].X, axis=0, weights=weights)
    np.testing.assert_allclose(patients["A"].X[0], expected)


def test_pseudocount_and_colours(cells):
    cells.uns["type_colors"] = ["#000000", "#111111", "#222222", "#333333"]
    samples = sfm.tl.composition(cells, "type", patient_key=None, pseudocount=2)
    counts = pd.DataFrame(samples.layers["counts"])
    np.testing.assert_allclose(samples.layers["clr"], closed_form_clr(counts, 2))
    assert samples.uns["composition"]["params"]["pseudocount"] == 2
    assert list(samples.uns["type_colors"]) == cells.uns["type_colors"]


def test_partly_missing_clinical_column_is_named(cells):
    cells.obs.loc[cells.obs["sample"] == "s2", "stage"] = np.nan  # patient A: known in s1, missing in s2
    with pytest.warns(SpatialfmWarning, match=r"'stage'.*missing for some but not all cells.*'A'.*add_clinical"):
        patients = sfm.tl.composition(cells, "type", patient_key="patient")
    assert "stage" not in patients.obs
    assert "stage" in sfm.tl.composition(cells, "type", patient_key=None).obs


def test_types_of_columns_survive(cells):
    cells.obs["responder"] = (cells.obs["patient"] == "A").to_numpy()
    cells.obs["visit"] = pd.Categorical(["first"] * 300, categories=["first", "second"], ordered=True)
    obs = sfm.tl.composition(cells, "type", patient_key="patient").obs
    assert obs["responder"].dtype == bool
    assert obs["visit"].cat.ordered
    assert list(obs["visit"].cat.categories) == ["first"]


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (
            {"patient": ["A", "B"] * 150},
            {"patient_key": "patient"},
            ClinicalError,
            r"4 samples belong to more than one patient; 's\d' to .*sample_id.*astype",
        ),
        ({"patient": [None] + ["A"] * 299}, {"patient_key": "patient"}, ClinicalError, r"1 of 300 cells have no value"),
        ({}, {"patient_key": "person"}, ClinicalError, r"No column 'person' in obs \(patient_key=\)"),
        ({}, {"library_key": "slide"}, TableError, r"No column 'slide' in obs \(library_key=\)"),
        ({}, {"cluster_key": "kind"}, TableError, r"No column 'kind' in obs \(cluster_key=\)"),
        ({"type": [np.nan] + ["T"] * 299}, {}, TableError, r"1 of 300 cells .*obs\['type'\].*notna"),
        ({}, {"pseudocount": 0}, TableError, r"pseudocount=0"),
    ],
)
def test_refusals(cells, change, arguments, error, message):
    for key, value in change.items():
        cells.obs[key] = value
    with pytest.raises(error, match=message):
        sfm.tl.composition(cells, **{"cluster_key": "type", "patient_key": None, **arguments})


def test_input_is_not_touched_and_result_is_written(cells, tmp_path):
    from anndata import read_h5ad, read_zarr

    before = cells.copy()
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    pd.testing.assert_frame_equal(cells.obs, before.obs)
    assert not cells.uns
    patients.write_h5ad(tmp_path / "p.h5ad")
    patients.write_zarr(tmp_path / "p.zarr")
    for back in (read_h5ad(tmp_path / "p.h5ad"), read_zarr(tmp_path / "p.zarr")):
        np.testing.assert_array_equal(back.layers["clr"], patients.layers["clr"])
        assert list(back.obs_names) == list(patients.obs_names)


def test_rows_of_equally_many_cells():
    """The absences of a patient of few cells are those of one of many, once as many cells are drawn."""
    rng = np.random.default_rng(0)
    sizes = [60] * 20 + [3000] * 20
    types = np.concatenate([rng.choice(list("abcd"), n, p=[0.6, 0.35, 0.04, 0.01]) for n in sizes])
    patients = np.repeat([f"P{i:02d}" for i in range(40)], sizes)
    obs = pd.DataFrame(
        {"type": types, "patient": patients, "sample": patients}, index=np.arange(len(types)).astype(str)
    )
    cells = ad.AnnData(obs=obs)
    even = sfm.tl.composition(cells, "type", patient_key="patient", cells_per_row="even")
    assert (even.layers["counts"].sum(axis=1) == 60).all()
    assert (even.obs["n_cells"] == 60).all()
    assert even.obs["n_cells_measured"].tolist() == sizes
    assert even.uns["composition"]["params"]["cells_per_row"] == 60
    absent = even.to_df()["d"] == 0
    few, many = absent[:20].mean(), absent[20:].mean()
    assert abs(few - many) < 0.45  # of all cells: 0.55 against 0
    assert many > 0.2
    whole = sfm.tl.composition(cells, "type", patient_key="patient")
    assert (whole.to_df()["d"][20:] > 0).all()
    np.testing.assert_allclose(even.layers["clr"].sum(axis=1), 0, atol=1e-9)
    with pytest.raises(SpatialfmError, match="cells_per_row='few'"):
        sfm.tl.composition(cells, "type", cells_per_row="few")


def test_the_order_of_cells_has_no_say_in_what_is_drawn():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": np.repeat(["P2", "P0", "P1"], 90), "type": rng.choice(list("ABC"), 270)})
    obs["sample"], obs.index = obs["patient"], obs.index.astype(str)
    one = sfm.tl.composition(ad.AnnData(obs=obs), "type", patient_key="patient", cells_per_row=30)
    shuffled = ad.AnnData(obs=obs.sample(frac=1, random_state=1))
    two = sfm.tl.composition(shuffled, "type", patient_key="patient", cells_per_row=30)
    assert list(one.obs_names) != list(two.obs_names)
    pd.testing.assert_frame_equal(one.to_df("counts"), two.to_df("counts").loc[one.obs_names])


def test_a_column_that_differs_within_a_patient_is_explained_where_it_is_missed():
    obs = {
        "sample": list("abc"),
        "patient": list("112"),
        "type": list("TBT"),
        "arm": ["x", "y", "x"],
        "sex": list("mmf"),
    }
    patients = sfm.tl.composition(ad.AnnData(obs=pd.DataFrame(obs, index=list("123"))), "type")
    assert patients.uns["composition"]["columns_left_out"].tolist() == ["sample", "arm"]
    patients.obs["time"], patients.obs["event"] = [1.0, 2.0], 1
    with pytest.raises(SpatialfmError, match="No column 'arm' .* The cells have it, with different or missing values"):
        sfm.tl.logrank(patients, "arm")
    with pytest.raises(SpatialfmError, match="No column 'age'") as other:
        sfm.tl.logrank(patients, "age")
    assert "The cells have it" not in str(other.value)
