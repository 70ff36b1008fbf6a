"""Tables that no tool can take are refused by what is odd in them, before any work; what is only unusual is taken."""

from __future__ import annotations

from functools import cache

import anndata as ad
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.text import Text
from scipy import sparse

import spatialfm as sfm
from spatialfm._errors import SpatialfmError, TableError

TAKE_NUMBERS = {  # every tool that reads a representation
    "annotate": {"label_key": "type", "C": 1.0},
    "build_index": {},
    "cell_states": {"n_states": 3},
    "classify_samples": {"label_key": "response", "n_draws": 2, "n_components": None},
    "cluster_agreement": {"label_key": "type", "n_seeds": 1, "methods": ["kmeans"]},
    "discover_signatures": {
        "outcome": "response",
        "positive": "yes",
        "n_permutations": 0,
        "n_repeats": 1,
        "n_repeats_model": 1,
    },
    "evaluate_annotation": {"label_key": "type", "C": 1.0},
    "few_shot_samples": {"label_key": "response", "n_clusters": 2, "n_draws": 2},
    "leiden_sweep": {"resolutions": [1.0], "n_subsamples": 0},
    "mil": {"label_key": "response", "max_epochs": 1, "n_seeds": 1, "n_folds": 2, "hidden": 4},
    "niches": {"n_niches": 3},
    "tissue_clusters": {"n_clusters": 3},
}


def cells() -> AnnData:
    return _cells().copy()


@cache
def _cells() -> AnnData:
    adata = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=10, random_state=0)
    adata.obs["response"] = adata.obs["patient"].cat.codes.mod(2).map({0: "yes", 1: "no"}).astype(str)
    return adata


ODD = {
    "text": (lambda n: np.full((n, 2), "x"), "holds <U1, not numbers"),
    "objects": (lambda n: np.full((n, 2), "x", dtype=object), "holds object, not numbers"),
    "complex numbers": (lambda n: np.ones((n, 2), complex), "holds complex128, not numbers"),
    "three dimensions": (lambda n: np.ones((n, 2, 2)), r"has the shape \(\d+, 2, 2\)"),
    "no columns": (lambda n: np.ones((n, 0)), r"has the shape \(\d+, 0\)"),
    "NaN": (lambda n: np.full((n, 2), np.nan), "rows of 'X_odd' hold NaN"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", TAKE_NUMBERS)
def test_what_is_no_table_of_numbers_is_named(name, odd):
    adata = cells()
    make, message = ODD[odd]
    adata.obsm["X_odd"] = make(adata.n_obs)
    before = (list(adata.obs), list(adata.obsm), list(adata.uns))
    with pytest.raises(TableError, match=message):
        getattr(sfm.tl, name)(adata, use_rep="X_odd", **TAKE_NUMBERS[name])
    assert (list(adata.obs), list(adata.obsm), list(adata.uns)) == before


@pytest.mark.parametrize("name", TAKE_NUMBERS)
def test_a_table_without_rows_is_refused(name):
    with pytest.raises(TableError, match="a table without rows"):
        getattr(sfm.tl, name)(cells()[:0].copy(), use_rep="X_latent", **TAKE_NUMBERS[name])


def test_a_table_without_rows_has_no_neighbors_and_no_scores():
    empty = cells()[:0].copy()
    with pytest.raises(TableError, match="a table without rows"):
        sfm.tl.neighborhood_composition(empty, "type", library_key="sample", n_neighbors=3)
    with pytest.raises(TableError, match="a table without rows"):
        sfm.tl.score_signatures(empty)


def test_two_columns_of_one_name_are_named():
    adata = cells()
    adata.obs = pd.concat([adata.obs, adata.obs[["type"]]], axis=1)
    with pytest.raises(SpatialfmError, match=r"2 columns of obs are named 'type' \(label_key=\)"):
        sfm.tl.annotate(adata, "type", use_rep="X_latent")


FORMS = {
    "float64": lambda x: x.astype(np.float64),
    "objects that are numbers": lambda x: x.astype(object),
    "a sparse matrix": sparse.csr_matrix,
    "a sparse array": sparse.csc_array,
    "a frame": None,
    "a dask array": None,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_representation_changes_no_label(form):
    adata = cells()
    values = adata.obsm["X_latent"]
    if form == "a frame":
        adata.obsm["X_form"] = pd.DataFrame(values, index=adata.obs_names).rename(columns=str)
    else:
        adata.obsm["X_form"] = da.from_array(values, chunks=(50, 4)) if form == "a dask array" else FORMS[form](values)
    plain = sfm.tl.cell_states(adata, 4, use_rep="X_latent", standardize=False, copy=True)
    formed = sfm.tl.cell_states(adata, 4, use_rep="X_form", standardize=False, copy=True)
    pd.testing.assert_series_equal(plain, formed, check_names=False)


PLACES = {
    "one column": (lambda xy: xy[:, :1], r"has the shape \(240, 1\); coordinates have two columns"),
    "no columns": (lambda xy: xy[:, :0], r"has the shape \(240, 0\)"),
    "text": (lambda xy: xy.astype(str), r"obsm\['spatial'\] holds <U\d+, not coordinates"),
    "NaN": (lambda xy: np.where(np.arange(240)[:, None] == 7, np.nan, xy), "1 of 240 cells have no finite coordinate"),
}
NEED_PLACES = {
    "compare_enrichment": {"cluster_key": "type", "group_key": "response", "n_neighbors": 3},
    "neighborhood_composition": {"cluster_key": "type", "library_key": "sample", "n_neighbors": 3},
    "neighborhood_contrast": {"cluster_key": "type", "cell_type": "T", "within": "inside", "n_neighbors": 3},
}


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", NEED_PLACES)
def test_what_are_no_places_is_named(name, places):
    adata = cells()[:240].copy()
    adata.obs["inside"] = adata.obsm["spatial"][:, 0] > np.median(adata.obsm["spatial"][:, 0])
    arguments = NEED_PLACES[name]
    if "cell_type" in arguments:
        arguments = arguments | {"cell_type": adata.obs["type"].iloc[0]}
    make, message = PLACES[places]
    adata.obsm["spatial"] = make(adata.obsm["spatial"])
    with pytest.raises(TableError, match=message):
        getattr(sfm.tl, name)(adata, **arguments)


@pytest.mark.parametrize("form", ["a frame", "a sparse matrix"])
def test_the_form_of_places_changes_no_neighbor(form):
    adata = cells()
    plain = sfm.tl.neighborhood_composition(adata, "type", library_key="sample", n_neighbors=3, copy=True)
    xy = adata.obsm["spatial"]
    frame = pd.DataFrame(xy, index=adata.obs_names, columns=["x", "y"])
    adata.obsm["spatial"] = frame if form == "a frame" else sparse.csr_matrix(xy)
    formed = sfm.tl.neighborhood_composition(adata, "type", library_key="sample", n_neighbors=3, copy=True)
    np.testing.assert_array_equal(plain, formed)


# ------------------------------------------------------------------- every cheap function with tables of every odd kind


def in_order() -> AnnData:
    """Cells whose types are in the order of the alphabet, as they are read from text."""
    adata = cells()
    adata.obs["type"] = pd.Categorical(adata.obs["type"].astype(str))
    return adata


def _with(adata: AnnData, **parts) -> AnnData:
    for name, value in parts.items():
        setattr(adata, name, value)
    return adata


def _obs(adata: AnnData, names: list[str], change) -> AnnData:
    for name in names:
        adata.obs[name] = change(adata.obs[name])
    return adata


def _view(adata: AnnData) -> AnnData:
    more = ad.concat([adata[:5], adata], merge="same", uns_merge="same")
    more.obs_names = [*(f"more {i}" for i in range(5)), *adata.obs_names]
    for name in adata.obs:
        more.obs[name] = more.obs[name].astype(adata.obs[name].dtype)
    return more[5:]


def _backed(adata: AnnData, folder) -> AnnData:
    adata.write_h5ad(folder / "backed.h5ad")
    return ad.read_h5ad(folder / "backed.h5ad", backed="r")


def _holes(column: pd.Series) -> pd.Series:
    column = column.astype(object)
    column.iloc[[3, 11]] = [None, np.nan]
    return column


TEXT, NUMBERS = ["type", "sample", "patient", "response"], ["time", "event", "age"]
AS_BEFORE = {  # what such a table holds is what it held before
    "sparse": lambda a, folder: _with(a, X=sparse.csr_matrix(a.X)),
    "by columns": lambda a, folder: _with(a, X=sparse.csc_array(a.X)),
    "lazy": lambda a, folder: _with(a, X=da.from_array(a.X, chunks=(50, 3))),
    "big endian": lambda a, folder: _with(a, X=a.X.astype(">f4")),
    "a view": lambda a, folder: _view(a),
    "on disk": _backed,
    "objects": lambda a, folder: _obs(a, TEXT, lambda column: column.astype(object)),
    "strings": lambda a, folder: _obs(a, TEXT, lambda column: column.astype("string")),
    "nullable": lambda a, folder: _obs(a, NUMBERS, lambda column: column.astype("Float64")),
}
OTHERWISE = {
    "no rows": lambda a, folder: a[:0].copy(),
    "one cell": lambda a, folder: a[:1].copy(),
    "one patient": lambda a, folder: a[a.obs["patient"] == a.obs["patient"].iloc[0]].copy(),
    "one type": lambda a, folder: _obs(a, ["type"], lambda column: column.astype(str).iloc[0]),
    "holes": lambda a, folder: _obs(a, TEXT + NUMBERS, _holes),
    "names that repeat": lambda a, folder: _with(a, obs_names=["cell"] * a.n_obs),
    "no X": lambda a, folder: _with(a, X=None),
    "whole numbers": lambda a, folder: _with(a, X=(100 * a.X).astype(np.int32)),
    "half precision": lambda a, folder: _with(a, X=a.X.astype(np.float16)),
    "NaN": lambda a, folder: _with(a, X=np.where(np.arange(a.n_vars) == 0, np.nan, a.X)),
    "infinity": lambda a, folder: _with(a, X=np.where(np.arange(a.n_vars) == 0, np.inf, a.X)),
    "truth": lambda a, folder: _obs(a, TEXT, lambda column: column == column.iloc[0]),
    "text for numbers": lambda a, folder: _obs(a, NUMBERS, lambda column: column.astype(str)),
    "long names": lambda a, folder: _obs(a, TEXT, lambda column: column.astype(str) + "/" + 200 * "ü"),
    "60 types": lambda a, folder: _obs(a, ["type"], lambda column: [f"t {i % 60}" for i in range(len(column))]),
}


def _clinical(a: AnnData) -> pd.DataFrame:
    table = pd.DataFrame({"patient": [f"P{i:03d}" for i in range(1, 25)], "weight": np.arange(24.0)})
    sfm.pp.add_clinical(a, table, "patient")
    return a.obs[["weight"]]


def _labelled(a: AnnData) -> pd.DataFrame:
    table = pd.DataFrame({"cell": [*in_order().obs_names[:40]], "label": ["T", "B"] * 20})
    sfm.pp.add_cell_labels(a, table, "by_hand")
    return a.obs[["by_hand"]].astype(object)


def _two(a: AnnData) -> AnnData:
    """A second representation, as wide as the first."""
    a.obsm["X_other"] = a.obsm["X_latent"] + np.random.default_rng(0).normal(0, 0.5, a.obsm["X_latent"].shape)
    return a


def _hits(a: AnnData) -> pd.DataFrame:
    hits = sfm.tl.search(sfm.tl.build_index(a, "X"), a[:3].to_memory(), k=2)
    return hits[["query", "rank", "hit", "distance"]]


def drawn(figure) -> pd.DataFrame:
    """All texts of a figure, and the numbers of its bars, lines and points."""
    rows = [("text", one.get_text(), 0.0) for one in figure.findobj(Text) if one.get_text()]
    for ax in figure.axes:
        rows += [("bar", "", float(value)) for bar in ax.patches for value in np.ravel(bar.get_extents().get_points())]
        rows += [("line", "", float(value)) for line in ax.lines for value in np.ravel(line.get_xydata())]
        rows += [("points", "", float(value)) for one in ax.collections for value in np.ravel(one.get_offsets())]
        rows += [("image", "", float(value)) for one in ax.images for value in np.ravel(one.get_array())[:500]]
    plt.close(figure)
    return pd.DataFrame(rows, columns=["kind", "text", "number"])


def _positive(a: AnnData) -> AnnData:
    sfm.tl.marker_positivity(a, markers=[a.var_names[0]], library_key="response")
    return a


def _imputed(a: AnnData) -> AnnData:
    """The first marker is predicted where a half was not stained for it."""
    a.X = np.where((np.arange(a.n_obs) % 2 == 0)[:, None] & (np.arange(a.n_vars) == 0), np.nan, a.X)
    sfm.tl.impute_markers(a, markers=[a.var_names[0]], method="linear", space="intensity", patient_key=None)
    return a


def _embedded(a: AnnData) -> AnnData:
    """An embedding of two markers, three columns each, as its record says."""
    a.obsm["X_made"] = np.random.default_rng(0).random((a.n_obs, 6)).astype(np.float32)
    a.uns["spatialfm"] = {
        "X_made": {"model": "made", "output": "marker", "markers": '["one", "two"]', "embedding_dim": 3}
        | {"n_components": "", "feature_names": '["a", "b", "c", "d", "e", "f"]'},
        "X_made_basis": {"mean": np.zeros(6), "components": np.eye(6)},
    }
    return a


def _shifted(a: AnnData) -> AnnData:
    a.obs["when"] = np.where(np.arange(a.n_obs) % 2, "after", "before")
    sfm.tl.distribution_shift(
        a, use_rep="X_latent", time_key="when", time_points=("before", "after"), library_key=None, n_cells=5,
        n_repeats=2, min_cells=4,
    )  # fmt: skip
    a.obsm["X_umap"] = a.obsm["X_latent"][:, :2]
    return a


BEFORE = {  # what is in the table before it is made odd, of functions that read what others wrote
    "get.imputed": _imputed,
    "get.with_imputed": _imputed,
    "get.marker_embedding": _embedded,
    "get.features": _embedded,
    "get.basis": _embedded,
    "pl.positivity": _positive,
    "pl.shift": _shifted,
    "cross_modal": _two,
}
BARE = {"show": False, "return_fig": True}
CHEAP = {
    "get.imputed": sfm.get.imputed,
    "get.with_imputed": lambda a: sfm.get.with_imputed(a).to_df(),
    "get.marker_embedding": lambda a: pd.DataFrame(sfm.get.marker_embedding(a, "X_made", "two")),
    "get.features": lambda a: sfm.get.features(a, "X_made"),
    "get.basis": lambda a: pd.DataFrame(sfm.get.basis(a, "X_made")["components"]),
    "pl.positivity": lambda a: drawn(sfm.pl.positivity(a, a.var_names[0], **BARE)),
    "pl.shift": lambda a: drawn(sfm.pl.shift(a, **BARE)),
    "pl.composition": lambda a: drawn(sfm.pl.composition(sfm.tl.composition(a, "type"), group_key="response", **BARE)),
    "add_clinical": _clinical,
    "add_cell_labels": _labelled,
    "embed_samples": lambda a: sfm.tl.embed_samples(a, use_rep="X_latent", model="statistics").to_df().sort_index(),
    "predict_expression": lambda a: sfm.tl.predict_expression(
        a, "X_latent", [a.var_names[0], a.var_names[1]], copy=True
    )["targets"],
    "cross_modal": lambda a: sfm.metrics.cross_modal(a, "X_latent", "X_other", k=[1, 5])[["measure", "value", "low"]],
    "set_outcome": lambda a: sfm.pp.set_outcome(a, time_key="time", event_key="event"),
    "standardize": lambda a: pd.DataFrame(sfm.pp.standardize(a, batch_key="sample", copy=True)),
    "composition": lambda a: sfm.tl.composition(a, "type", patient_key="patient").to_df(),
    "neighborhood_composition": lambda a: pd.DataFrame(
        np.asarray(sfm.tl.neighborhood_composition(a, "type", library_key="sample", n_neighbors=3, copy=True))
    ),
    "search": _hits,
    "batch_effect": lambda a: sfm.metrics.batch_effect(a, "response", use_rep="X"),
}


def kept(adata: AnnData) -> tuple:
    return list(adata.obs), list(adata.obsm), list(adata.layers), list(adata.uns), adata.obs.astype(str).to_csv()


DRAWN_TWICE = {"pl.composition", "pl.shift"}  # 25 figures each, of tables that the functions before them have read


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow if one in DRAWN_TWICE else ()) for one in CHEAP]
)
def test_odd_tables_give_the_same_or_are_refused_untouched(name, tmp_path):
    ready = BEFORE.get(name, lambda a: a)(in_order())
    plain = CHEAP[name](ready.copy())
    n_refused = 0
    for odd, change in (AS_BEFORE | OTHERWISE).items():
        table = change(ready.copy(), tmp_path)
        before = kept(table)
        try:
            result = CHEAP[name](table)
        except SpatialfmError:
            assert odd not in AS_BEFORE, f"{odd} is refused"
            assert kept(table) == before, odd
            n_refused += 1
            continue
        if odd in AS_BEFORE and plain is not None:
            pd.testing.assert_frame_equal(result, plain, check_dtype=False, check_index_type=False, obj=odd, rtol=1e-5)
    assert n_refused or name.startswith("get.")  # a table without rows at least
