"""What every reader keeps to, on a small folder of each layout; a new reader has its cases in `reading_<format>.py`."""

from __future__ import annotations

import importlib
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from reading import Case, Refusal, Sample, files_of
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import SpatialfmError

# one list: the cases of all files `reading_<format>.py`
CASES: list[Case] = [
    case
    for file in sorted(Path(__file__).resolve().parents[1].glob("reading_*.py"))
    for case in importlib.import_module(file.stem).CASES
]
REFUSALS = [
    pytest.param(case, refusal, id=f"{case.name}-{refusal.name}") for case in CASES for refusal in case.refusals
]

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")


@pytest.fixture
def pixel_reads(monkeypatch):
    """Called with the readers of a case: gives the list that grows by one with every call of any of them."""
    calls: list[str] = []

    def watch(case: Case) -> list[str]:
        for place in case.pixel_readers:
            module, _, name = place.partition(":")
            holder = importlib.import_module(module)
            *owners, name = name.split(".")
            for owner in owners:
                holder = getattr(holder, owner)
            inner = getattr(holder, name)

            def counting(*args, _inner=inner, _place=place, **options):
                calls.append(_place)
                return _inner(*args, **options)

            monkeypatch.setattr(holder, name, counting)
        return calls

    return watch


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


def written(case: Case, folder: Path) -> list[Sample]:
    folder.mkdir()
    return case.write(folder)


def scale_of(element, sample: str) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal, and what is off it, of the transformation of an element from pixels to µm."""
    matrix = get_transformation(element, to_coordinate_system=sample).to_affine_matrix(("x", "y"), ("x", "y"))
    return np.diag(matrix), matrix - np.diag(np.diag(matrix))


def largest(element):
    """The element, or the largest scale of it."""
    return next(iter(element["scale0"].data_vars.values())) if hasattr(element, "keys") else element


def test_pixels_channels_and_places(case, tmp_path):
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    assert [name for name in sdata.labels if name.startswith("cells_")] == [
        f"cells_{sample.name}" for sample in samples if sample.labels is not None
    ]
    for sample in samples:
        elements = {
            "image": sdata.images.get(f"image_{sample.name}"),
            "cells": sdata.labels.get(f"cells_{sample.name}"),
        }
        assert (elements["image"] is None) == (sample.pixels is None)
        for element in [element for element in elements.values() if element is not None]:
            diagonal, rest = scale_of(element, sample.name)
            np.testing.assert_allclose(diagonal, [sample.mpp, sample.mpp, 1], rtol=1e-6)
            np.testing.assert_array_equal(rest, 0)  # the first pixel begins at 0 µm, rows are rows
        if sample.pixels is not None:
            image = largest(elements["image"])
            assert image.dims == ("c", "y", "x")
            assert image.coords["c"].values.tolist() == list(sample.channels)
            np.testing.assert_array_equal(image.values, sample.pixels)
        if sample.labels is not None:
            labels = largest(elements["cells"])
            assert labels.dtype.kind in "ui"
            np.testing.assert_array_equal(labels.values, sample.labels)


def test_the_call_and_one_more_to_the_survival_curve(case, tmp_path):
    """Each sample is of a patient of its own, and all die, one a month: the curve falls by one over their number."""
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    if "table" not in sdata.tables:
        if not all(sample.labels is not None and sample.pixels is not None for sample in samples):
            pytest.skip("nothing in it says where cells are")
        sfm.pp.cell_table(sdata)
    names = list(pd.unique(sdata["table"].obs["sample"].astype(str)))
    assert set(names) <= {sample.name for sample in samples}
    clinic = pd.DataFrame({"sample": names, "who": names, "months": np.arange(1.0, len(names) + 1), "dead": 1})
    sfm.pp.add_samples(sdata, clinic, on="sample")
    sdata["table"].obs["kind"] = "cell"
    patients = sfm.tl.composition(sdata["table"], "kind", library_key="sample", patient_key="who")
    sfm.tl.kaplan_meier(patients, time_key="months", event_key="dead", event_value=1)
    curve = patients.uns["kaplan_meier"]["table"]["survival"].to_numpy()
    np.testing.assert_allclose(curve, 1 - np.arange(len(names) + 1) / len(names), atol=1e-12)


def test_record_and_samples(case, tmp_path):
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    record = sdata.attrs["spatialfm"]["samples"]
    assert list(record) == [sample.name for sample in samples]
    for sample in samples:
        if sample.pixels is not None or sample.labels is not None:
            assert record[sample.name]["mpp"] == pytest.approx(sample.mpp)
            assert record[sample.name]["mpp_source"] in ("metadata", "argument", "assumed", "format")
    assert ("samples" in sdata.tables) == case.has_samples
    if case.has_samples:
        obs = sdata["samples"].obs
        assert obs.index.tolist() == [sample.name for sample in samples]
        for sample in samples:
            if sample.patient is not None:
                assert obs.loc[sample.name, "patient"] == sample.patient


def test_no_pixel_is_read_before_it_is_asked_for(case, tmp_path, pixel_reads):
    samples = written(case, tmp_path / "in")
    calls = pixel_reads(case)
    sdata = case.read(tmp_path / "in")
    assert case.measures or calls == []
    if any(sample.pixels is not None for sample in samples):
        name = next(sample.name for sample in samples if sample.pixels is not None)
        largest(sdata.images[f"image_{name}"])[0, :1, :1].values  # noqa: B018
        assert calls, "pixels came by another way than those that were watched"


def test_pixels_travel_to_another_process(case, tmp_path):
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    for sample in samples:
        if sample.pixels is not None:
            array = largest(sdata.images[f"image_{sample.name}"]).data
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)).compute(), sample.pixels)
        if sample.labels is not None:
            array = largest(sdata.labels[f"cells_{sample.name}"]).data
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)).compute(), sample.labels)


def test_table_of_cells(case, tmp_path):
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    assert ("table" in sdata.tables) == (case.cells is not None)
    if case.cells is None:
        return
    truth, table = case.cells(samples), sdata["table"]
    names = [f"{sample}_{label}" for sample, label in zip(truth["sample"], truth["id"], strict=True)]
    assert sorted(table.obs_names) == sorted(names)
    table = table[names]
    np.testing.assert_allclose(table.obsm["spatial"], truth[["x", "y"]], rtol=1e-5)
    markers = [name for name in truth.columns if name not in ("sample", "id", "x", "y")]
    assert sorted(table.var_names) == sorted(markers)
    np.testing.assert_allclose(table[:, markers].X, truth[markers], rtol=1e-5)
    attrs = table.uns["spatialdata_attrs"]
    assert table.obs[attrs["instance_key"]].tolist() == truth["id"].tolist()
    if any(sample.labels is not None for sample in samples):
        assert table.obs[attrs["region_key"]].tolist() == [f"cells_{sample}" for sample in truth["sample"]]


# a store takes most of the time: in the default run once for each reader
FIRST = {case.name.partition("-")[0]: case.name for case in reversed(CASES)}
STORED = [
    pytest.param(case, id=case.name, marks=() if case.name in FIRST.values() else pytest.mark.slow) for case in CASES
]


@pytest.mark.parametrize("case", STORED)
def test_written_and_read_again(case, tmp_path):
    samples = written(case, tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    again = sd.read_zarr(sfm.io.write(sdata, tmp_path / "out.zarr"))
    assert again.attrs["spatialfm"] == sdata.attrs["spatialfm"]
    assert sorted(again.tables) == sorted(sdata.tables)
    for name in sdata.tables:
        pd.testing.assert_index_equal(again[name].obs_names, sdata[name].obs_names, exact=False)
        assert list(again[name].obs.columns) == list(sdata[name].obs.columns)
    for sample in samples:
        if sample.pixels is not None:
            image = largest(again.images[f"image_{sample.name}"])
            assert image.coords["c"].values.tolist() == list(sample.channels)
            np.testing.assert_array_equal(image.values, sample.pixels)
            np.testing.assert_allclose(scale_of(image, sample.name)[0], [sample.mpp, sample.mpp, 1], rtol=1e-6)
        if sample.labels is not None:
            np.testing.assert_array_equal(largest(again.labels[f"cells_{sample.name}"]).values, sample.labels)


def test_users_files_are_left_as_they_are(case, tmp_path):
    samples = written(case, tmp_path / "in")
    before = files_of(tmp_path / "in")
    sdata = case.read(tmp_path / "in")
    for sample in samples:
        if sample.pixels is not None:
            largest(sdata.images[f"image_{sample.name}"]).values  # noqa: B018
    assert files_of(tmp_path / "in") == before


@pytest.mark.parametrize(("case", "refusal"), REFUSALS)
def test_refusal(case: Case, refusal: Refusal, tmp_path, monkeypatch):
    """The message says what is wrong; nothing was built, nothing was written, and no pixel was read for it."""
    written(case, tmp_path / "in")
    refusal.damage(tmp_path / "in")
    before = files_of(tmp_path / "in")
    built = []
    make = sd.SpatialData.__init__

    def count(self, *args, **options):
        built.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(sd.SpatialData, "__init__", count)
    with pytest.raises(SpatialfmError) as error:
        (refusal.read or case.read)(tmp_path / "in")
    assert re.search(refusal.message, str(error.value)), str(error.value)
    assert built == []
    assert files_of(tmp_path / "in") == before
