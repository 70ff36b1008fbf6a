"""Rows of a cohort that other readers open: the same elements as by these, under the names of the rows."""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest
import tifffile
from spatialdata.transformations import get_transformation

import spatialfm as sfm
from spatialfm._errors import InputFileError
from spatialfm.io._kinds import KINDS, READERS

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")


def written(kind, folder):
    """A small folder as the program writes it, and what is in it."""
    module = importlib.import_module(f"reading_{kind}")
    case = next(case for case in module.CASES if case.name.startswith(f"read_{kind}"))
    folder.mkdir(parents=True)
    return case.write(folder)


def values_of(element):
    return element["scale0"]["image"].values if hasattr(element, "keys") else element.values


def test_every_kind_is_a_reader_of_this_room():
    assert set(KINDS) == {"tiff", "qupath", *READERS}
    assert all(callable(getattr(sfm.io, name)) for name, _ in READERS.values())


def test_a_cohort_of_several_kinds(tmp_path, pixels, mask):
    steinbock = written("steinbock", tmp_path / "imc")
    tifffile.imwrite(tmp_path / "core.tif", pixels)
    tifffile.imwrite(tmp_path / "core_mask.tif", mask)
    rows = [
        {"sample": one.name, "image": "imc", "kind": "steinbock", "patient": f"p{i}"} for i, one in enumerate(steinbock)
    ]
    rows.append({"sample": "core", "image": "core.tif", "labels": "core_mask.tif", "kind": "", "patient": "q"})
    sdata = sfm.io.read_cohort(pd.DataFrame(rows), base_path=tmp_path, mpp=2.0, cell_table=False, intensity_max=100)
    assert sdata["samples"].obs["patient"].tolist() == [*(f"p{i}" for i in range(len(steinbock))), "q"]
    for one in steinbock:
        np.testing.assert_allclose(sdata[f"image_{one.name}"].values, one.pixels / 100, rtol=1e-6)
        assert sdata[f"image_{one.name}"].coords["c"].values.tolist() == list(one.channels)
        record = sdata.attrs["spatialfm"]["samples"][one.name]
        assert (record["kind"], record["mpp"]) == ("steinbock", 2.0)
    np.testing.assert_array_equal(sdata["cells_core"].values, mask)
    assert "kind" not in sdata["samples"].obs


@pytest.mark.parametrize("kind", ["steinbock", "mcmicro", "mcd", "inform", "cellprofiler", "spora"])
def test_several_samples_of_one_path_are_told_apart_by_name(kind, tmp_path):
    truth = [one for one in written(kind, tmp_path / "all") if one.pixels is not None]
    rows = pd.DataFrame({"sample": [f"x{i}" for i in range(2)], "image": "all", "patient": ["p", "q"]})
    if len(truth) == 1:
        sdata = sfm.io.read_cohort(rows[:1], base_path=tmp_path, kind=kind, cell_table=False)
        element = sdata["image_x0"]  # the only one takes the name of the row
        np.testing.assert_array_equal(values_of(element), truth[0].pixels)
        assert list(get_transformation(element, get_all=True)) == ["x0"]
        return
    with pytest.raises(
        InputFileError, match=f"{kind}.*holds {len(truth)} samples: '{truth[0].name}'.*Name the sample of"
    ):
        sfm.io.read_cohort(rows, base_path=tmp_path, kind=kind, cell_table=False)


def test_a_folder_is_opened_once_for_all_of_its_rows(tmp_path, monkeypatch):
    truth = written("steinbock", tmp_path / "all")
    calls, reader = [], sfm.io.read_steinbock
    monkeypatch.setattr(
        sfm.io, "read_steinbock", lambda *args, **options: calls.append(args) or reader(*args, **options)
    )
    rows = pd.DataFrame({"sample": [one.name for one in truth], "image": "all", "patient": "p"})
    sfm.io.read_cohort(rows, base_path=tmp_path, kind="steinbock", cell_table=False)
    assert len(calls) == 1 < len(truth)


def test_a_folder_that_is_refused_is_opened_once_and_said_for_all_of_its_rows(tmp_path, monkeypatch):
    truth = written("steinbock", tmp_path / "all")
    calls, reader = [], sfm.io.read_steinbock
    monkeypatch.setattr(
        sfm.io, "read_steinbock", lambda *args, **options: calls.append(args) or reader(*args, **options)
    )
    for file in (tmp_path / "all" / "img").iterdir():
        file.write_bytes(b"no TIFF")
    rows = pd.DataFrame({"sample": [one.name for one in truth], "image": "all", "patient": "p"})
    with pytest.raises(InputFileError, match=f"The cohort has {len(truth)} problems") as caught:
        sfm.io.read_cohort(rows, base_path=tmp_path, kind="steinbock", cell_table=False)
    assert all(f"  - sample {one.name!r}: The cohort has" in str(caught.value) for one in truth)
    assert len(calls) == 1 < len(truth)


def test_kinds_and_masks_that_cannot_be_meant(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "m.tif").touch()
    rows = pd.DataFrame(
        {"sample": ["a"], "image": ["all"], "patient": ["p"], "kind": ["Steinbok"], "labels": ["m.tif"]}
    )
    with pytest.raises(
        InputFileError, match=r"'Steinbok' in column 'kind' is not one of 'tiff'.*did you mean 'steinbock'"
    ):
        sfm.io.read_cohort(rows, base_path=tmp_path)
    with pytest.raises(InputFileError, match="or pass kind_column=None if this column means something else"):
        sfm.io.read_cohort(rows.assign(kind="ductal"), base_path=tmp_path)
    with pytest.raises(InputFileError, match=r"'Steinbok' \(kind=\) is not one of 'tiff'"):
        sfm.io.read_cohort(rows.drop(columns="kind"), base_path=tmp_path, kind="Steinbok")
    with pytest.raises(InputFileError, match="masks of kind 'steinbock' are found in"):
        sfm.io.read_cohort(rows.assign(kind="steinbock"), base_path=tmp_path)


def test_a_store_brings_its_own_cells(tmp_path):
    (truth,) = written("ome_zarr", tmp_path / "stores")
    store = next((tmp_path / "stores").iterdir())
    rows = pd.DataFrame({"sample": ["a"], "image": [str(store)], "patient": ["p"]})
    sdata = sfm.io.read_cohort(rows, kind="ome_zarr", cell_table=False)
    np.testing.assert_array_equal(values_of(sdata["image_a"]), truth.pixels)
    np.testing.assert_array_equal(values_of(sdata["cells_a"]), truth.labels)


@pytest.mark.parametrize("kind", ["mcmicro", "mcd", "inform", "cellprofiler", "spora"])
def test_samples_by_name_are_those_of_the_reader(kind, tmp_path):
    truth = [one for one in written(kind, tmp_path / "all") if one.pixels is not None]
    path = "all" if kind != "mcd" else next(iter((tmp_path / "all").glob("*.mcd"))).relative_to(tmp_path)
    rows = pd.DataFrame({"sample": [one.name for one in truth], "image": str(path), "patient": "p"})
    sdata = sfm.io.read_cohort(rows, base_path=tmp_path, kind=kind, mpp=truth[0].mpp, cell_table=False)
    for one in truth:
        np.testing.assert_array_equal(values_of(sdata[f"image_{one.name}"]), one.pixels)
        if one.labels is not None and f"cells_{one.name}" in sdata.labels:
            np.testing.assert_array_equal(values_of(sdata[f"cells_{one.name}"]), one.labels)


def test_polygons_are_measured_where_a_mask_would_be(tmp_path):
    (truth,) = written_geojson(tmp_path / "all")
    rows = pd.DataFrame(
        {"sample": ["a"], "image": ["all/core 1.ome.tif"], "labels": ["all/core 1.geojson"], "patient": ["p"]}
    )
    sdata = sfm.io.read_cohort(rows, base_path=tmp_path, kind="geojson")
    assert list(sdata.shapes) == ["cells_a"]
    assert sdata["table"].n_obs == len(sdata["cells_a"])
    with pytest.raises(InputFileError, match="has no polygons: write the path of the .geojson"):
        sfm.io.read_cohort(rows.drop(columns="labels"), base_path=tmp_path, kind="geojson")


def written_geojson(folder):
    from reading_qupath import write_geojson

    folder.mkdir()
    return write_geojson(folder)


def test_one_sample_is_not_given_to_two_rows(tmp_path):
    steinbock = written("steinbock", tmp_path / "imc")
    for file in (tmp_path / "imc").rglob("*"):
        if file.is_file() and steinbock[1].name.split("_")[-1] in file.name:
            file.unlink()
    names = [steinbock[0].name, "other"]
    for order in (names, names[::-1]):
        rows = pd.DataFrame({"sample": order, "image": "imc", "kind": "steinbock", "patient": ["p", "q"]})
        with pytest.raises(
            InputFileError, match=f"sample {order[1]!r}: .* holds sample .* row {order[0]!r} has already"
        ):
            sfm.io.read_cohort(rows, base_path=tmp_path, mpp=1.0)
