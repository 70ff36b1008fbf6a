"""Cohorts that are tables only."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, SurvivalError, TableError

pytestmark = pytest.mark.filterwarnings("ignore:Parameters of:UserWarning")


def cohort(n_patients: int = 8, n_cells: int = 40) -> pd.DataFrame:
    """Two images per patient; more T cells in patients of higher number."""
    rng = np.random.default_rng(0)
    parts = []
    for patient in range(n_patients):
        for image in (1, 2):
            is_t = np.arange(n_cells) < n_cells * (patient + 1) // (n_patients + 2)
            parts.append(
                pd.DataFrame(
                    {
                        "patient_id": patient,
                        "image_id": image,
                        "cell": rng.permutation(n_cells) + 1,
                        "x": rng.uniform(0, 300, n_cells),
                        "y": rng.uniform(0, 200, n_cells),
                        "phenotype_t": is_t,
                        "phenotype_pd1": is_t & (np.arange(n_cells) % 2 == 0),
                        "CD3 (Opal 520)": np.where(is_t, 9.0, 1.0),
                        "compartment": "stroma",
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def clinical(n_patients: int = 8) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient_id": np.arange(n_patients),
            "time": 10.0 + 7 * np.arange(n_patients),
            "event": np.arange(n_patients) % 3 > 0,
        }
    )


KEYS = {
    "library_key": ["patient_id", "image_id"],
    "patient_key": "patient_id",
    "instance_key": "cell",
    "phenotype": ["phenotype_t", "phenotype_pd1"],
    "mpp": 0.5,
}


def test_columns_go_where_they_belong():
    frame = cohort()
    adata = sfm.io.read_cells(frame, markers={"CD3 (Opal 520)": "CD3"}, **KEYS)
    assert adata.obs_names.tolist() == [f"{p}_{i}_{c}" for p, i, c in frame[["patient_id", "image_id", "cell"]].values]
    assert list(adata.var_names) == ["CD3"]
    np.testing.assert_array_equal(adata.X[:, 0], frame["CD3 (Opal 520)"])
    np.testing.assert_allclose(adata.obsm["spatial"], frame[["x", "y"]] * 0.5)
    assert adata.obs["patient"].tolist() == [str(p) for p in frame["patient_id"]]
    expected = np.select([frame["phenotype_pd1"], frame["phenotype_t"]], ["t + pd1", "t"], "none")
    assert adata.obs["phenotype"].tolist() == expected.tolist()
    assert adata.obs["compartment"].tolist() == frame["compartment"].tolist()
    assert "region" not in adata.obs
    record = adata.uns["spatialfm"]["table"]
    assert record["mpp"] == 0.5
    assert record["unit"] == "µm"
    assert json.loads(record["phenotype"]) == ["phenotype_t", "phenotype_pd1"]


def test_an_outcome_is_said_once():
    adata = sfm.io.read_cells(
        cohort(),
        clinical=clinical()
        .rename(columns={"time": "OS (d)"})
        .assign(event=lambda t: np.where(t.event, "dead", "alive")),
        time_key="OS (d)",
        event_key="event",
        event_value="dead",
        **KEYS,
    )
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    patients.obs["arm"] = ["a", "b"] * 4
    sfm.tl.kaplan_meier(patients, "arm")
    events = patients.uns["kaplan_meier"]["groups"]["events"]
    truth = clinical()["event"].to_numpy()
    assert events.tolist() == [truth[::2].sum(), truth[1::2].sum()]
    with pytest.raises(SurvivalError, match="No column 'months' in obs"):
        sfm.io.read_cells(cohort(), clinical=clinical(), time_key="months", event_key="event", **KEYS)


@pytest.mark.parametrize("as_file", [False, True])
def test_one_call_to_the_survival_curve(tmp_path, as_file):
    frame, table = cohort(), clinical()
    if as_file:
        frame.to_csv(tmp_path / "cells.tsv", sep="\t", index=False)
        table.astype(float).to_csv(tmp_path / "clinical.csv", index=False)  # patients as 1.0, as pandas writes them
        frame, table = tmp_path / "cells.tsv", tmp_path / "clinical.csv"
    adata = sfm.io.read_cells(frame, clinical=table, **KEYS)
    truth = clinical().set_index("patient_id")["time"]
    np.testing.assert_array_equal(adata.obs["time"], truth[adata.obs["patient"].astype(int)])
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    assert patients.n_obs == 8
    expected = [1 - 40 * (p + 1) // 10 / 40 for p in range(8)]
    np.testing.assert_allclose(patients[[str(p) for p in range(8)], "none"].X[:, 0], expected)
    patients.obs["many"] = np.where(np.asarray(patients[:, "none"].X).ravel() > 0.5, "few T", "many T")
    sfm.tl.kaplan_meier(patients, "many")
    assert "kaplan_meier" in patients.uns


def test_clinical_columns_by_sample():
    frame = cohort()
    table = frame[["patient_id", "image_id"]].drop_duplicates()
    table["site"] = np.where(table["image_id"] == 1, "a", "b")
    adata = sfm.io.read_cells(frame, clinical=table, library_key=KEYS["library_key"], patient_key=None, mpp=1)
    assert adata.obs["site"].tolist() == np.where(frame["image_id"] == 1, "a", "b").tolist()
    assert "patient" not in adata.obs


def test_cells_without_ids_are_numbered_and_names_stay():
    frame = cohort(2, 3).assign(sample=lambda t: "0" + t.patient_id.astype(str) + "/" + t.image_id.astype(str))
    adata = sfm.io.read_cells(frame, mpp=1)
    assert adata.obs["sample"].unique().tolist() == ["00/1", "00/2", "01/1", "01/2"]
    assert adata.obs["cell_id"].tolist() == [1, 2, 3] * 4
    assert adata.shape == (12, 0)


def test_the_unit_of_positions():
    frame = cohort(1).rename(columns={"x": "Centroid X µm", "y": "Centroid Y µm"}).assign(sample="a")
    with pytest.warns(SpatialfmWarning, match="unit of columns 'x' and 'y' is not known: µm are assumed"):
        sfm.io.read_cells(cohort(1).assign(sample="a"))
    with pytest.warns(SpatialfmWarning, match="µm apart .*another unit.*Pass mpp="):
        sfm.io.read_cells(cohort(1).assign(sample="a"), mpp=0.001)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.io.read_cells(frame, x="Centroid X µm", y="Centroid Y µm")


@pytest.mark.parametrize(
    ("options", "change", "error", "message"),
    [
        ({"x": "X"}, {}, TableError, "no column 'X'.*Correct x="),
        ({"y": "x"}, {}, ArgumentError, "x and y are both 'x'"),
        ({"library_key": "slide"}, {}, TableError, "no column 'slide'.*Correct library_key="),
        ({"library_key": "image_id"}, {}, TableError, r"2 samples of .* several patients.*library_key=\["),
        ({"patient_key": "case"}, {}, TableError, "no column 'case'.*patient_key="),
        ({"markers": ["CD8"]}, {}, TableError, "no column 'CD8'.*markers="),
        ({"markers": ["compartment"]}, {}, TableError, "should be numbers.*'compartment'"),
        ({"phenotype": ["compartment", "phenotype_t"]}, {}, TableError, "not yes and no"),
        ({}, {"cell": 1}, TableError, "occurs more than once: 1"),
        ({}, {"x": np.nan}, TableError, "have no position"),
        ({}, {"patient_id": None}, TableError, "'patient_id' .* is empty in 640 rows"),
        ({}, {"phenotype": "T"}, TableError, "column 'phenotype' that phenotype= does not name"),
    ],
)
def test_refusals(options, change, error, message):
    with pytest.raises(error, match=message):
        sfm.io.read_cells(cohort().assign(**change), **(KEYS | options))


def test_patients_without_a_row_are_asked_for():
    table = clinical().iloc[1:]
    with pytest.raises(ClinicalError, match="80 rows .* no match in the clinical table .*'0'"):
        sfm.io.read_cells(cohort(), clinical=table, **KEYS)
    assert sfm.io.read_cells(cohort(), clinical=table, on_missing="drop", **KEYS).n_obs == 7 * 80
    with pytest.raises(ClinicalError, match="clinical table has no column 'patient_id'"):
        sfm.io.read_cells(cohort(), clinical=table.rename(columns={"patient_id": "case"}), **KEYS)
    with pytest.raises(ClinicalError, match="No patient of the clinical table is in the table of cells: '101'"):
        sfm.io.read_cells(cohort(), clinical=table.assign(patient_id=table["patient_id"] + 100), **KEYS)
    with pytest.raises(ClinicalError, match="1 column is in both .*: 'compartment'"):
        sfm.io.read_cells(cohort(), clinical=table.assign(compartment="x"), **KEYS)


@pytest.mark.real_data
def test_lung_cancer_of_153_patients(real_data):
    folder = real_data / "nsclc_table"
    cells = pd.read_parquet(folder / "cells.parquet")
    cells = cells[cells["patient_id"] % 10 == 0]
    flags = [name for name in cells if name.startswith("phenotype_")]
    keys = {"library_key": ["patient_id", "image_id"], "patient_key": "patient_id", "instance_key": "cell_id"}
    table = pd.read_csv(folder / "patients.csv")
    with pytest.warns(SpatialfmWarning, match="fit no 'patient'"):  # those that were left out
        adata = sfm.io.read_cells(cells, phenotype=flags, mpp=0.5, clinical=folder / "patients.csv", **keys)
    assert adata.n_obs == len(cells)
    assert adata.obs["phenotype"].value_counts()["ck"] == cells["phenotype_ck"].sum()
    assert adata.obs["phenotype"].value_counts()["none"] == (~cells[flags].any(axis=1)).sum()
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    assert patients.n_obs == cells["patient_id"].nunique()
    times = table.set_index("patient_id")["survival_days"][patients.obs_names.astype(int)]
    np.testing.assert_array_equal(patients.obs["survival_days"], times)
    share = np.asarray(patients[:, "cd8"].X).ravel()
    patients.obs["half"] = np.where(share > np.median(share), "more", "less")
    sfm.tl.kaplan_meier(patients, "half", time_key="survival_days", event_key="survival_status")
    assert "kaplan_meier" in patients.uns


@pytest.mark.real_data
def test_colorectal_cancer_of_35_patients(real_data):
    cells = pd.read_parquet(real_data / "crc_codex_table" / "cells.parquet").iloc[::5]
    adata = sfm.io.read_cells(cells, library_key="imageID", patient_key="ID", phenotype="cellType", mpp=0.377)
    assert adata.n_obs == len(cells)
    assert adata.obs["sample"].nunique() == 140
    assert adata.obs["phenotype"].value_counts().to_dict() == cells["cellType"].value_counts().to_dict()
    patients = sfm.tl.composition(adata, "phenotype", library_key="sample", patient_key="patient")
    assert patients.obs["Group"].value_counts().to_dict() == {1.0: 17, 2.0: 18}


@pytest.mark.real_data
def test_melanoma_of_30_patients(real_data):
    folder = real_data / "melanoma_imc_table"
    samples = pd.read_csv(folder / "samples.tsv", sep="\t").rename(columns={"Sample ID": "sample_id"})
    markers = pd.read_csv(folder / "elementary_phenotypes.csv")["Name"].tolist()
    cells = pd.read_parquet(folder / "cells.parquet")
    adata = sfm.io.read_cells(
        cells,
        library_key="sample_id",
        patient_key=None,
        markers=markers,
        phenotype=["SOX10+", "CD20+", "CD3+", "CD8A+"],
        mpp=1,
        clinical=samples[["sample_id", "Source subject", "Assessment"]],
    )
    assert adata.shape == (112_497, 35)
    assert list(adata.var_names) == markers
    assert (adata.obs["phenotype"] == "CD3 + CD8A").sum() == (
        cells["CD3+"] & cells["CD8A+"] & ~cells["CD20+"] & ~cells["SOX10+"]
    ).sum()
    assert adata.obs.drop_duplicates("sample")["Assessment"].value_counts().to_dict() == {
        "Non-responder": 16,
        "Responder": 14,
    }


def test_a_column_whose_place_the_patients_would_take_is_refused():
    frame = cohort(2, 3).assign(patient="other")
    with pytest.raises(TableError, match="column 'patient' that patient_key= does not name"):
        sfm.io.read_cells(frame, library_key=["patient_id", "image_id"], patient_key="patient_id", mpp=1)
