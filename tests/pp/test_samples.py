"""Samples, patients and clinical columns of objects that other packages made."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from anndata import AnnData
from elsewhere import codex_like, image_element, middles, outlines, sopa_like, steinbock_like, xenium_like
from spatialdata.models import Image2DModel, Labels2DModel, TableModel
from spatialdata.transformations import Identity

import spatialfm as sfm
from spatialfm._errors import ClinicalError, SpatialfmWarning, TableError


def contents(sdata: sd.SpatialData) -> dict[str, pd.DataFrame]:
    return {name: table.obs.copy() for name, table in sdata.tables.items()}


def unchanged(sdata: sd.SpatialData, before: dict[str, pd.DataFrame]) -> bool:
    return set(sdata.tables) == set(before) and all(before[name].equals(sdata[name].obs) for name in before)


FRAME = pd.DataFrame({"name": ["lung_image"], "patient": ["p7"], "grade": ["high"], "months": [12.5]})


@pytest.mark.parametrize(
    ("on", "value"), [("name", "lung_image"), ("slide", "lung_image"), ("name", "cellpose_boundaries")]
)
def test_a_slide_of_sopa_gets_its_patient(on, value):
    sdata = sopa_like()
    before = list(sdata["table"].obs)
    sfm.pp.add_samples(sdata, FRAME.rename(columns={"name": on}).assign(**{on: value}), on=on)
    samples, cells = sdata["samples"].obs, sdata["table"].obs
    assert samples.to_dict("index") == {"lung_image": {"patient": "p7", "grade": "high", "months": 12.5}}
    assert list(cells) == [*before, "patient", "grade", "months", "sample"]
    assert (cells["sample"] == "lung_image").all()
    assert (cells["patient"] == "p7").all()
    assert (cells["months"] == 12.5).all()


def test_samples_of_a_column_of_the_cells_and_text_that_stays_text(tmp_path):
    sdata = steinbock_like()
    file = tmp_path / "clinical.csv"
    file.write_text("image,case,age,junk\nPatient1_002.tiff,007,61,x\nPatient1_001.tiff,7,48,y\n", encoding="utf-8")
    sfm.pp.add_samples(sdata, file, on="image", patient_key="case", clinical_keys=["case", "age"])
    assert sdata["samples"].obs["patient"].to_dict() == {"Patient1_001_image": "7", "Patient1_002_image": "007"}
    cells = sdata["table"].obs
    second = cells["region"] == "Patient1_002_deepcell_labels"
    assert set(cells.loc[second, "patient"]) == {"007"}
    assert set(cells.loc[~second, "patient"]) == {"7"}
    assert set(cells.loc[second, "sample"]) == {"Patient1_002_image"}
    assert set(cells.loc[second, "age"]) == {61}
    assert "junk" not in cells


def test_what_follows_finds_the_columns(tmp_path):
    """A cell table, tiles and a store have them too."""
    sdata = xenium_like()
    sfm.pp.add_samples(sdata, pd.DataFrame({"sample": ["morphology_focus"], "patient": ["a"], "stage": [3]}))
    with pytest.warns(SpatialfmWarning):
        table = sfm.pp.cell_table(sdata, copy=True)
    assert table.obs["stage"].eq(3).all()
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32)
    assert sdata["tiles"].obs["patient"].eq("a").all()
    sdata.write(tmp_path / "s.zarr")
    assert sd.read_zarr(tmp_path / "s.zarr")["samples"].obs["patient"].tolist() == ["a"]


@pytest.fixture
def foreign():
    """Images, labels and a table with positions in µm, without samples or patients."""
    ours = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=128, difficulty="easy")
    sfm.pp.cell_table(ours)
    table = ours["table"]
    table.obs = table.obs[["region", "cell_id"]]
    names = [name for name in ours.images if name.startswith("image_")]
    frame = pd.DataFrame({"sample": [name.removeprefix("image_") for name in names], "patient": ["a", "b"]})
    labels = {name: ours.labels[name] for name in table.obs["region"].unique()}
    return sd.SpatialData({name: ours.images[name] for name in names}, labels, tables={"table": table}), frame


def test_positions_in_another_unit_than_the_labels_are_told(foreign):
    sdata, frame = foreign
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.pp.add_samples(sdata, frame)
    sdata["table"].obsm["spatial"] = sdata["table"].obsm["spatial"] * 2
    with pytest.warns(SpatialfmWarning, match="most cells of 2 samples are not where their labels or.*another unit"):
        sfm.pp.add_samples(sdata, frame.assign(stage=[1, 2]))
    assert sdata["table"].obs["stage"].notna().all()


def test_positions_with_y_before_x_are_refused_before_anything_is_written(foreign):
    sdata, frame = foreign
    table = sdata["table"]
    table.obs["x_centroid"], table.obs["y_centroid"] = table.obsm["spatial"].T
    table.obsm["spatial"] = np.asarray(table.obsm["spatial"])[:, ::-1]
    before = contents(sdata)
    with pytest.raises(TableError, match="holds y before x: its first column is .*'y_centroid'.*Exchange them"):
        sfm.pp.add_samples(sdata, frame)
    assert unchanged(sdata, before)


def test_a_second_call_adds_to_the_first_and_other_values_are_refused():
    sdata = sopa_like()
    sfm.pp.add_samples(sdata, FRAME, on="name")
    sfm.pp.add_samples(sdata, FRAME.assign(arm="B"), on="name")
    assert sdata["samples"].obs["arm"].tolist() == ["B"]
    before = contents(sdata)
    with pytest.raises(ClinicalError, match="already has a column 'grade' with other values"):
        sfm.pp.add_samples(sdata, FRAME.assign(grade="low"), on="name")
    assert unchanged(sdata, before)
    sfm.pp.add_samples(sdata, FRAME.assign(grade="low"), on="name", overwrite=True)
    assert sdata["table"].obs["grade"].eq("low").all()
    assert sdata["samples"].obs["grade"].tolist() == ["low"]


def test_columns_that_their_table_has_are_seen_before_anything_is_written():
    sdata = sopa_like()
    before = contents(sdata)
    with pytest.raises(ClinicalError, match=r"sdata\['table'\].obs already has a column 'area' with other values"):
        sfm.pp.add_samples(sdata, FRAME.assign(area=5.0), on="name")
    assert unchanged(sdata, before)
    sdata["table"].obs["sample"] = "lung"
    before = contents(sdata)
    with pytest.raises(ClinicalError, match="already has a column 'sample' with other values"):
        sfm.pp.add_samples(sdata, FRAME, on="name")
    assert unchanged(sdata, before)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (
            FRAME.assign(name="liver"),
            {},
            r"no row for 1 sample: 'lung_image'. Column 'name' holds 'liver', and may hold",
        ),
        (pd.concat([FRAME, FRAME.assign(grade="low")]), {}, "more than one row for 1 key"),
        (
            pd.concat([FRAME, FRAME.assign(name="other"), FRAME.assign(name="lung_image ")]).iloc[[0, 1, 0]],
            {},
            "more than one row",
        ),
        (FRAME.drop(columns="name"), {}, "has no column 'name'"),
        (FRAME, {"patient_key": "case"}, r"has no column 'case' \(patient_key=\)"),
        (FRAME.assign(case="x"), {"patient_key": "case"}, "has columns 'patient' and 'case'"),
        (FRAME.assign(patient=None), {}, "1 row of the table without patient in column 'patient': 'lung_image'"),
        (FRAME.assign(sample="x"), {}, "a column 'sample' next to on='name'"),
        (FRAME.assign(region="x"), {}, "'region' of the clinical table has a reserved name"),
        (FRAME.assign(day=pd.Timestamp("2020-01-01")), {}, "holds dates"),
    ],
)
def test_refusals_write_nothing(frame, options, message):
    sdata = sopa_like()
    before = contents(sdata)
    with pytest.raises(ClinicalError, match=message):
        sfm.pp.add_samples(sdata, frame, on="name", **options)
    assert unchanged(sdata, before)


def test_rows_of_no_sample_are_named():
    more = pd.concat([FRAME, FRAME.assign(name="liver_image")])
    sdata = sopa_like()
    with pytest.warns(SpatialfmWarning, match=r"1 row of the table are of no sample and not used: 'liver_image'"):
        sfm.pp.add_samples(sdata, more, on="name")
    assert list(sdata["samples"].obs_names) == ["lung_image"]


def test_cells_of_no_sample_are_refused_and_a_part_of_the_samples_can_be_named():
    sdata = steinbock_like()
    one = pd.DataFrame({"sample": ["Patient1_001_image"], "patient": ["p"]})
    with pytest.raises(ClinicalError, match="no row for 1 sample: 'Patient1_002_image'"):
        sfm.pp.add_samples(sdata, one)
    sfm.pp.add_samples(sdata, one, samples="Patient1_001_image")
    assert sdata["table"].obs["patient"].isna().sum() == 16
    sfm.pp.add_samples(sdata, one.assign(sample="Patient1_002_image", patient="q"), samples="Patient1_002_image")
    assert sdata["table"].obs["patient"].value_counts().to_dict() == {"p": 16, "q": 16}
    del sdata.labels["Patient1_002_deepcell_labels"]
    both = pd.DataFrame({"sample": ["Patient1_001_image", "Patient1_002_image"], "patient": ["p", "q"]})
    with pytest.raises(TableError, match=r"16 rows are of no sample: table 'table' annotates .*_002_deepcell_labels"):
        sfm.pp.add_samples(sdata, both)


def test_points_of_one_image_and_of_several():
    sdata = codex_like()
    sfm.pp.add_samples(sdata, pd.DataFrame({"sample": ["images"], "patient": ["p"]}))
    assert sdata["table"].obs["patient"].eq("p").all()
    del sdata.tables["samples"]
    sdata["other"] = image_element(Identity(), "other")
    sdata["table"].obs.drop(columns=["sample", "patient"], inplace=True)
    both = pd.DataFrame({"sample": ["images", "other"], "patient": ["p", "q"]})
    with pytest.raises(TableError, match=r"of which each row is must be in a column: sdata\['table'\].obs\['sample'\]"):
        sfm.pp.add_samples(sdata, both)
    sdata["table"].obs["sample"] = ["images"] * 9 + ["other"] * 7
    sfm.pp.add_samples(sdata, both)
    assert sdata["table"].obs["patient"].tolist() == ["p"] * 9 + ["q"] * 7
    assert len(middles(outlines())) == 16


def test_without_cells_the_samples_alone_are_written():
    sdata = sd.SpatialData(
        images={"image_a": image_element(Identity(), "a"), "image_b": image_element(Identity(), "b")}
    )
    sfm.pp.add_samples(sdata, pd.DataFrame({"sample": ["b", "a"], "patient": [2, 1]}))
    assert sdata["samples"].obs["patient"].to_dict() == {"a": "1", "b": "2"}
    with pytest.raises(TableError, match="No table 'cells' in sdata"):
        sfm.pp.add_samples(sdata, pd.DataFrame({"sample": ["b", "a"]}), table_name="cells")


def test_from_an_object_of_others_to_a_survival_curve():
    """Twelve samples; the outcome is said once."""
    sdata, parts = sd.SpatialData(), []
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((6, 6), int), 1)).astype(np.uint16)
    for k in range(12):
        system = {f"roi{k}": Identity()}
        sdata.images[f"roi{k}"] = Image2DModel.parse(
            rng.integers(1, 99, (2, 24, 24)).astype(np.uint16), c_coords=["DNA1", "CD3"], transformations=system
        )
        sdata.labels[f"roi{k}_mask"] = Labels2DModel.parse(labels, dims=("y", "x"), transformations=system)
        parts.append(
            pd.DataFrame(
                {"region": f"roi{k}_mask", "cell_id": range(1, 10), "type": ["a"] * (1 + k % 9) + ["b"] * (8 - k % 9)}
            )
        )
    obs = pd.concat(parts, ignore_index=True).astype({"region": "category", "type": "category"})
    obs.index = obs.index.astype(str)
    adata = AnnData(np.zeros((len(obs), 1), np.float32), obs=obs)
    sdata["table"] = TableModel.parse(
        adata, region=list(obs["region"].cat.categories), region_key="region", instance_key="cell_id"
    )
    frame = pd.DataFrame(
        {
            "roi": [f"roi{k}" for k in range(12)],
            "patient": [f"p{k}" for k in range(12)],
            "os": np.arange(12) + 1.0,
            "status": ["dead", "alive"] * 6,
            "arm": ["x", "y"] * 6,
        }
    )
    sfm.pp.add_samples(sdata, frame, on="roi", time_key="os", event_key="status", event_value="dead")
    patients = sfm.tl.composition(sdata["table"], "type")
    curve = sfm.tl.kaplan_meier(patients, copy=True)
    survived = np.cumprod([1 - 1 / (13 - t) for t in range(1, 12, 2)])  # of 13 - t at risk, one dies at each odd t
    assert np.allclose(curve["table"].query("events == 1")["survival"], survived)
    assert curve["params"]["outcome_from"] == "remembered from sfm.pp.add_samples"


def test_rows_that_mean_other_samples_by_a_column_of_the_cells_are_refused():
    labels = {f"cells_{one}": Labels2DModel.parse(np.eye(2, dtype=int), dims=("y", "x")) for one in "12"}
    images = {f"image_{one}": Image2DModel.parse(np.zeros((1, 2, 2)), dims=("c", "y", "x")) for one in "12"}
    obs = pd.DataFrame({"region": ["cells_1", "cells_2"], "cell_id": 1, "fov": ["2", "1"]}, index=["a", "b"])
    table = AnnData(np.ones((2, 1), np.float32), obs=obs.astype({"region": "category"}))
    table = TableModel.parse(table, region=list(labels), region_key="region", instance_key="cell_id")
    sdata = sd.SpatialData(images=images, labels=labels, tables={"table": table})
    frame = pd.DataFrame({"fov": ["1", "2"], "patient": ["p1", "p2"]})
    with pytest.raises(ClinicalError, match="in two ways: '1' is sample '1' by samples, and '2' by 'fov' of the cells"):
        sfm.pp.add_samples(sdata, frame, on="fov")
    sfm.pp.add_samples(sdata, frame.rename(columns={"fov": "image"}), on="image")
    assert sdata["table"].obs["patient"].tolist() == ["p1", "p2"]
