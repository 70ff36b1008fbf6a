"""Reading what the package wrote: the same from numpy and from dask arrays, and refusals that say what to do."""

from __future__ import annotations

import contextlib
import copy
import json
import logging

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ElementError, ModelError, PanelError, SpatialfmError, TableError

MARKERS, DIM = ["DAPI", "CD3", "CD20"], 4


class Watched:
    """An array that remembers which columns and rows were read."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.rows = values, values.shape, values.dtype, 2, set()

    def __getitem__(self, place):
        part = self.values[place]
        self.rows |= set(np.arange(len(self.values))[place[0]])
        return part


@pytest.fixture
def values():
    return np.random.default_rng(0).random((50, len(MARKERS) * DIM)).astype(np.float32)


@pytest.fixture
def make_table(values):
    def make(embedding=None, **fields):
        record = {"output": "marker", "markers": MARKERS, "embedding_dim": DIM, "n_components": "", "feature_names": ""}
        record |= fields
        record = {name: json.dumps(value) if isinstance(value, list) else value for name, value in record.items()}
        obs = pd.DataFrame(index=[f"a_{label}" for label in range(len(values))])
        table = ad.AnnData(obs=obs, obsm={"X_model": values if embedding is None else embedding})
        table.uns["spatialfm"] = {"X_model": record}
        return table

    return make


def test_one_marker_is_cut_out_where_it_stands(make_table, values):
    found = sfm.get.marker_embedding(make_table(), "X_model", "CD3")
    np.testing.assert_array_equal(found, values[:, 4:8])


def test_one_marker_of_rows_on_disk_is_not_read_before_it_is_used(make_table, values):
    source = Watched(values)
    table = make_table(da.from_array(source, chunks=(10, -1), meta=np.empty((0, 0), np.float32)))
    source.rows.clear()
    found = sfm.get.marker_embedding(table, "X_model", "CD20")
    assert isinstance(found, da.Array)
    assert found.shape == (50, DIM)
    assert not source.rows
    np.testing.assert_array_equal(found[20:30].compute(), values[20:30, 8:])
    assert source.rows == set(range(20, 30))


def test_features_have_names_and_say_what_they_bring_into_memory(make_table, values, caplog):
    names = [f"feature {number}" for number in range(values.shape[1])]
    for embedding, said in ((values, 0), (da.from_array(values, chunks=(10, -1)), 1)):
        caplog.clear()
        with caplog.at_level(logging.INFO, "spatialfm"):
            found = sfm.get.features(make_table(embedding, output="patch", feature_names=names), "X_model")
        assert sum("brought into memory" in record.message for record in caplog.records) == said
        np.testing.assert_array_equal(found, values)
        assert list(found.columns) == names
        assert found.index[3] == "a_3"


def test_a_basis_is_read(make_table):
    table = make_table()
    table.uns["spatialfm"]["X_model_basis"] = {"mean": [1.0, 2.0], "components": np.eye(2)}
    found = sfm.get.basis(table, "X_model")
    np.testing.assert_array_equal(found["mean"], [1, 2])
    np.testing.assert_array_equal(found["components"], np.eye(2))


@pytest.mark.parametrize(
    ("fields", "call", "error", "message"),
    [
        ({}, lambda t: sfm.get.record(t, "X_other"), ElementError, r"No record of 'X_other'.*X_model.*embed_cells"),
        ({}, lambda t: sfm.get.basis(t, "X_model"), ElementError, r"'X_model' was not reduced.*reduce='pca'"),
        ({}, lambda t: sfm.get.features(t, "X_model"), ModelError, r"columns of 'X_model' have no names"),
        ({}, lambda t: sfm.get.marker_embedding(t, "X_model", "CD8"), PanelError, r"No marker 'CD8'.*DAPI, CD3, CD20"),
        (
            {"output": "patch"},
            lambda t: sfm.get.marker_embedding(t, "X_model", "CD3"),
            ModelError,
            r"holds output 'patch'.*outputs='marker'",
        ),
        (
            {"n_components": 5},
            lambda t: sfm.get.marker_embedding(t, "X_model", "CD3"),
            ModelError,
            r"reduced to principal components.*without a reduction",
        ),
    ],
)
def test_what_is_not_there_is_refused(make_table, fields, call, error, message):
    with pytest.raises(error, match=message):
        call(make_table(**fields))


@pytest.mark.parametrize("cut", [slice(0, 8), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], ids=["whole markers", "a part"])
def test_an_embedding_of_another_width_than_its_record_is_refused(make_table, values, cut):
    names = [f"feature {number}" for number in range(values.shape[1])]
    table = make_table(values[:, cut], model="kronos", feature_names=names)
    width = values[:, cut].shape[1]
    for call in (
        lambda: sfm.get.marker_embedding(table, "X_model", "DAPI"),
        lambda: sfm.get.features(table, "X_model"),
    ):
        with pytest.raises(ModelError, match=rf"has {width} columns, its record has 12 \(kronos, .* 3 markers\)"):
            call()
    del table.obsm["X_model"]
    with pytest.raises(ElementError, match=r"No obsm\['X_model'\], only its record"):
        sfm.get.marker_embedding(table, "X_model", "DAPI")


def test_an_embedding_as_a_data_frame_is_cut_all_the_same(make_table, values):
    table = make_table()
    table.obsm["X_model"] = pd.DataFrame(values, index=table.obs_names)
    np.testing.assert_array_equal(sfm.get.marker_embedding(table, "X_model", "CD3"), values[:, 4:8])


def test_a_basis_of_another_embedding_is_refused(make_table):
    table = make_table(n_components=3, n_columns=12)
    table.uns["spatialfm"]["X_model_basis"] = {"mean": np.zeros(8), "components": np.zeros((3, 8))}
    with pytest.raises(ModelError, match="3 components of 8 columns, its record has 3 of 12"):
        sfm.get.basis(table, "X_model")


def test_the_basis_of_an_earlier_embedding_goes_with_it():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.tl.embed_cells(sdata, "classical", reduce={"n_components": 4}, key_added="X")
    assert sfm.get.basis(sdata["table"], "X")["components"].shape[0] == 4
    sfm.tl.embed_cells(sdata, "mean-intensity", key_added="X")
    assert "X_basis" not in sdata["table"].uns["spatialfm"]
    with pytest.raises(ElementError, match="'X' was not reduced"):
        sfm.get.basis(sdata["table"], "X")


@pytest.mark.parametrize("key", ["X/a", "", " ", "X_classical_basis"])
def test_keys_that_no_file_takes_are_refused_before_any_work(key):
    from spatialfm._errors import TableError

    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    with pytest.raises(TableError, match="key_added=|is a key"):
        sfm.tl.embed_cells(sdata, "classical", key_added=key)
    assert "table" not in sdata.tables or key not in sdata["table"].obsm


@pytest.mark.parametrize("wrong", [None, "x", 3, [], {}, "[1", float("nan")])
def test_records_that_were_edited_are_refused_in_our_words(wrong):
    """Each entry of the notes of an embedding, gone or of another kind: an answer, or a sentence."""
    notes = {
        "model": "own", "output": "marker", "n_components": "", "embedding_dim": 2, "markers": '["CD3", "CD8"]',
        "feature_names": '["a", "b", "c", "d"]',
    }  # fmt: skip
    parts = {"mean": np.zeros(4), "components": np.zeros((2, 4)), "explained": np.zeros(2)}
    adata = ad.AnnData(np.zeros((3, 1)), obsm={"X_own": np.arange(12.0).reshape(3, 4)})
    adata.uns["spatialfm"] = {"X_own": notes, "X_own_basis": parts}
    calls = (
        lambda a: sfm.get.record(a, "X_own"),
        lambda a: sfm.get.marker_embedding(a, "X_own", "CD8"),
        lambda a: sfm.get.features(a, "X_own"),
        lambda a: sfm.get.basis(a, "X_own"),
        lambda a: sfm.get.table(a, "X_own"),
    )
    assert calls[1](adata)[0].tolist() == [2.0, 3.0]
    assert list(calls[2](adata)) == ["a", "b", "c", "d"]
    places = [(), ("X_own",), ("X_own_basis",)]
    places += [("X_own", name) for name in notes] + [("X_own_basis", name) for name in parts]
    for place in places:
        for gone in (True, False):
            uns = {"spatialfm": copy.deepcopy(adata.uns["spatialfm"])}
            inside, name = uns, "spatialfm"
            for step in place:
                inside, name = inside[name], step
            inside.pop(name) if gone else inside.__setitem__(name, wrong)
            other = adata.copy()
            other.uns = uns
            for call in calls:
                with contextlib.suppress(SpatialfmError):
                    call(other)


def _imputed_table(space="intensity"):
    x = np.arange(12.0).reshape(6, 2) + [[0.0, 0.5]]
    x[3:, 1] = np.nan
    adata = ad.AnnData(x, var=pd.DataFrame(index=["CD3", "PD-1/L"]))
    sfm.tl.impute_markers(adata, markers=["PD-1/L"], method="linear", space=space)
    return adata, x


def test_imputed_markers_are_told_from_measured_ones():
    adata, x = _imputed_table()
    frame = sfm.get.imputed(adata)
    assert list(frame.columns) == ["PD-1/L"]  # a store holds it by another name
    assert frame["PD-1/L"].isna().tolist() == [True] * 3 + [False] * 3
    with pytest.raises(PanelError, match=r"'CD3' was not imputed, and was measured: adata\[:, 'CD3'\]"):
        sfm.get.imputed(adata, markers=["CD3"])
    with pytest.raises(ElementError, match="No record of 'X_other'"):
        sfm.get.imputed(adata, "X_other")
    adata.obsm["X_imputed"] = adata.obsm["X_imputed"].assign(more=1.0)
    with pytest.raises(ElementError, match="it was replaced"):
        sfm.get.imputed(adata)


def test_a_table_with_both_keeps_what_was_measured():
    adata, x = _imputed_table()
    both = sfm.get.with_imputed(adata)
    np.testing.assert_array_equal(both.X[:3], x[:3])
    np.testing.assert_allclose(both.X[3:, 1], x[3:, 0] + 1.5, rtol=1e-4)  # the line through the measured cells
    assert both.var["imputed"].tolist() == [False, True]
    assert np.isnan(adata.X[3:, 1]).all()
    with pytest.raises(ModelError, match="space='intensity'"):
        sfm.get.with_imputed(_imputed_table("standardised")[0])


def test_predictions_in_x_are_marked_and_are_never_taken_for_measured():
    x = np.random.default_rng(0).gamma(2, size=(60, 3))
    x[:20, 1], x[40:, 2], x[20, 1] = np.nan, np.nan, np.inf
    obs = pd.DataFrame({"patient": np.repeat(["a", "b", "c"], 20)}, index=[f"cell {i}" for i in range(60)])
    adata = ad.AnnData(x, obs=obs, var=pd.DataFrame(index=["CD3", "CD4", "CD8"]), layers={"log": np.log1p(x)})
    told = {"method": "linear", "space": "intensity"}
    for name in ("CD4", "CD8"):
        cells = adata[:, ["CD3", name]].copy()
        sfm.tl.impute_markers(cells, markers=[name], key_added=name, **told)
        adata.obsm[f"X_{name}"] = cells.obsm[f"X_{name}"]
        adata.uns.setdefault("spatialfm", {})[f"X_{name}"] = cells.uns["spatialfm"][f"X_{name}"]
    both = sfm.get.with_imputed(sfm.get.with_imputed(adata, "X_CD4"), "X_CD8")
    assert both.var["imputed"].tolist() == [False, True, True]  # of both calls
    assert np.isfinite(both.X).all()
    refused = "X of the table holds predictions of 'CD4'"
    with pytest.raises(TableError, match=refused):
        sfm.tl.calibrate_imputation(both, key="X_CD4")
    with pytest.raises(TableError, match=refused):
        sfm.tl.impute_markers(both, markers=["CD4"], **told)
    with pytest.raises(TableError, match=refused):
        sfm.tl.evaluate_reconstruction(both, markers=["CD4"], n_bootstrap=0)
    whole = sfm.get.with_imputed(adata[21:40], "X_CD4")  # measured in all of these
    assert not whole.var["imputed"].any()
    cells = adata[:, :2].copy()
    sfm.tl.impute_markers(cells, markers=["CD4"], layer="log", **told)
    with pytest.raises(ModelError, match="in the units of layer 'log', and not of X"):
        sfm.get.with_imputed(cells)
    cells.var_names = ["CD4", "CD4"]
    with pytest.raises(TableError, match=r"Names of var repeat \('CD4'\)"):
        sfm.tl.impute_markers(cells, markers=["CD4"], method="linear")


def test_a_report_takes_imputed_markers_for_no_embedding(tmp_path, caplog):
    adata, _ = _imputed_table()
    adata.obs["sample"], adata.obs["patient"] = "a", "P1"
    sfm.report(adata, tmp_path / "report.html")
    assert "could not be made" not in caplog.text
