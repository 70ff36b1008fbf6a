"""Labels of one cohort on another, and what is refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import roc_auc_score

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.stats.novelty import novelty


@pytest.fixture(scope="module")
def cohort():
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=150, random_state=1)


@pytest.fixture
def two(cohort):
    first = cohort.obs["patient"].isin(cohort.obs["patient"].unique()[:3])
    return cohort[first].copy(), cohort[~first].copy()


def record(**changes):
    base = {"model": "m", "weights_sha256": "s", "model_options": "{}", "normalization": "n", "output": "marker"}
    base |= {"mode": "crop", "window": 64, "background": "zero", "embedding_dim": 2, "n_components": ""}
    return {**base, "markers": json.dumps(["A", "B"]), **changes}


def marker_table(markers, means, n=60, seed=0, **changes):
    """Two classes that differ in the columns of marker B alone."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["x", "y"], n // 2)
    parts = [rng.normal(size=(n, 2)) * 0.1 + (means[name] * (labels == "y"))[:, None] for name in markers]
    obs = pd.DataFrame({"type": labels}, index=[f"c{i}" for i in range(n)])
    table = AnnData(obs=obs, obsm={"X_m": np.concatenate(parts, axis=1)})
    table.uns["spatialfm"] = {"X_m": record(markers=json.dumps(markers), **changes)}
    return table


@pytest.mark.parametrize("head", ["forest", "linear", "knn"])
def test_the_planted_types_are_found_in_other_patients(two, head):
    reference, query = two
    sfm.tl.transfer_labels(reference, query, "type", use_rep="X_latent", method=head)
    assert (query.obs["type_transferred"].astype(str) == query.obs["type"].astype(str)).mean() > 0.75
    assert query.uns["type_transferred"]["params"]["method"] == head


def test_a_type_that_the_reference_lacks_is_novel(two):
    reference, query = two
    kept = reference[~reference.obs["type"].isin(["Tumor"])].copy()
    table = sfm.tl.transfer_labels(kept, query, "type", use_rep="X_latent", copy=True)
    of_tumor = (query.obs["type"] == "Tumor").to_numpy()
    assert roc_auc_score(of_tumor, table["novelty"]) > 0.75
    with_it = sfm.tl.transfer_labels(reference, query, "type", use_rep="X_latent", copy=True)
    assert table["novelty"][of_tumor].median() > with_it["novelty"][of_tumor].median() + 0.2


def test_marker_wise_embeddings_are_cut_to_the_markers_of_both():
    means = {"A": 0.0, "B": 3.0, "C": -3.0}
    reference, query = marker_table(["A", "B"], means), marker_table(["C", "B", "A"], means, seed=1)
    table = sfm.tl.transfer_labels(reference, query, "type", use_rep="X_m", method="linear", copy=True)
    assert (table["label"].astype(str) == query.obs["type"]).all()
    with pytest.raises(TableError, match=r"share no marker"):
        sfm.tl.transfer_labels(reference, marker_table(["C"], means), "type", use_rep="X_m")


@pytest.mark.parametrize(
    "changes",
    [{"model": "other"}, {"weights_sha256": "t"}, {"normalization": "x"}, {"window": 32}, {"output": "patch"}],
)
def test_embeddings_made_differently_are_refused(changes):
    means = {"A": 0.0, "B": 3.0}
    reference, query = marker_table(["A", "B"], means), marker_table(["A", "B"], means, **changes)
    with pytest.raises(TableError, match=f"made differently in the two tables: {next(iter(changes))}"):
        sfm.tl.transfer_labels(reference, query, "type", use_rep="X_m")


def test_panels_and_bases_that_do_not_fit_are_refused():
    means = {"A": 0.0, "B": 3.0, "C": 1.0}
    patch = {"output": "patch"}
    with pytest.raises(TableError, match=r"different panels \(they differ in 'B', 'C'\)"):
        sfm.tl.transfer_labels(
            marker_table(["A", "B"], means, **patch), marker_table(["A", "C"], means, **patch), "type", use_rep="X_m"
        )
    reduced = [marker_table(["A", "B"], means, n_components=4) for _ in range(2)]
    with pytest.raises(TableError, match="reduced on each cohort separately"):
        sfm.tl.transfer_labels(*reduced, "type", use_rep="X_m")
    for table in reduced:
        table.uns["spatialfm"]["X_m_basis"] = {"mean": np.zeros(4), "components": np.eye(4)}
    assert len(sfm.tl.transfer_labels(*reduced, "type", use_rep="X_m", copy=True)) == 60
    bare = marker_table(["A", "B"], means)
    del bare.uns["spatialfm"]
    with pytest.raises(TableError, match="target has no record"):
        sfm.tl.transfer_labels(marker_table(["A", "B"], means), bare, "type", use_rep="X_m")


def named_table(sdata_of, seed, channels, side, mpp, model):
    """Two kinds of cells of `side` pixels, of which one has CD3 and the other CD20."""
    rng = np.random.default_rng(seed)
    labels = np.kron(np.arange(1, 37, dtype=np.int32).reshape(6, 6), np.pad(np.ones((side, side), np.int32), side // 2))
    image = rng.poisson(20, (len(channels), *labels.shape)).astype(np.uint8)
    kinds = np.array(["none", *np.where(np.arange(36) % 2, "T", "B")])
    for kind, marker in (("T", "CD3"), ("B", "CD20")):
        inside = kinds[labels] == kind
        image[channels.index(marker), inside] += rng.poisson(60, inside.sum()).astype(np.uint8)
    sdata = sdata_of({f"s{seed}": (image, labels)}, channels, mpp=mpp)
    sfm.pp.cell_table(sdata)
    sfm.tl.embed_cells(sdata, model)
    table = sdata["table"]
    table.obs["type"] = kinds[table.obs["cell_id"]]
    return table


@pytest.mark.parametrize("model", ["mean-intensity", "classical"])
def test_named_columns_are_joined_by_name_whatever_panel_and_window(make_sdata, model):
    """Channels in another order, one more of them, and larger cells, that is a larger window."""
    key = f"X_{model.replace('-', '_')}"
    reference = named_table(make_sdata, 0, ["DAPI", "CD3", "CD20"], 4, 0.5, model)
    query = named_table(make_sdata, 1, ["CD20", "CD8", "CD3", "DAPI"], 16, 0.5, model)
    assert sfm.get.record(reference, key)["window"] != sfm.get.record(query, key)["window"]
    sfm.tl.transfer_labels(reference, query, "type", use_rep=key, method="linear")
    shared = 3 if model == "mean-intensity" else 7 + 3 * 8
    assert query.uns["type_transferred"]["params"]["n_columns"] == shared
    if model == "mean-intensity":  # sizes differ, as the warning of the next test says
        assert (query.obs["type_transferred"].astype(str) == query.obs["type"]).all()


def test_pixels_of_another_size_are_warned_of(make_sdata):
    panel = ["DAPI", "CD3", "CD20"]
    tables = [named_table(make_sdata, seed, panel, 4, mpp, "classical") for seed, mpp in ((0, 0.5), (1, 1.0))]
    with pytest.raises(TableError, match=r"model_options .*coarser pixel size.*recipe=.'pixel_size': 1"):
        sfm.tl.transfer_labels(*tables, "type", use_rep="X_classical")
    encoder = sfm.models.load("classical", mpp=1)
    tables = [named_table(make_sdata, seed, panel, 4, mpp, encoder) for seed, mpp in ((0, 0.5), (1, 1.0))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sfm.tl.transfer_labels(*tables, "type", use_rep="X_classical", patient_key=None)


def test_columns_of_x_are_joined_by_name(two):
    reference, query = two
    shuffled = query[:, ::-1].copy()
    one, other = (
        sfm.tl.transfer_labels(reference, table, "type", use_rep="X", copy=True) for table in (query, shuffled)
    )
    pd.testing.assert_frame_equal(one, other)


def test_novelty_is_a_share_of_the_reference():
    reference = np.arange(100.0)[:, None]
    found = novelty(reference, np.array([[50.0], [50.5], [1000.0]]), 2)
    assert found[2] == 1
    assert found[0] <= found[1] < 0.05


def test_cells_of_patients_that_differ_are_not_novel():
    """Patients differ by 0.6 of a cell's spread: about one in twenty ordinary cells of new ones is above 0.95."""

    def cohort(n_patients, rng, prefix):
        who = np.repeat(np.arange(n_patients), 150)
        kind = rng.integers(0, 3, len(who))
        values = rng.normal(size=(len(who), 6)) + rng.normal(0, 0.6, (n_patients, 6))[who]
        values[np.arange(len(who)), kind] += 4
        obs = pd.DataFrame({"patient": [f"{prefix}{i}" for i in who], "type": np.array(list("abc"))[kind]})
        return AnnData(obs=obs.set_index(obs.index.astype(str)), obsm={"X_m": values})

    found = {"between": [], "within": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        reference, query = cohort(6, rng, "P"), cohort(6, rng, "Q")
        common = {"use_rep": "X_m", "n_per_class": 150, "method": "linear", "copy": True}
        for name, key in (("between", "patient"), ("within", None)):
            table = sfm.tl.transfer_labels(reference, query, "type", **common, patient_key=key)
            found[name].append((table["novelty"] > 0.95).mean())
    assert np.mean(found["within"]) > 0.09
    assert 0.02 < np.mean(found["between"]) < 0.075
    query.obsm["X_m"] = query.obsm["X_m"] - 8  # nothing like the reference
    table = sfm.tl.transfer_labels(reference, query, "type", **common)
    assert (table["novelty"] > 0.95).all()
    del reference.obs["patient"]
    with pytest.warns(SpatialfmWarning, match=r"has no column 'patient' in obs \(patient_key=\).*look new"):
        sfm.tl.transfer_labels(reference, query, "type", **common)


def test_one_class_is_refused(two):
    reference, query = two
    reference.obs["one"] = "a"
    with pytest.raises(TableError, match=r"holds 1 class\."):
        sfm.tl.transfer_labels(reference, query, "one", use_rep="X_latent")


def test_the_order_of_reference_cells_changes_no_label():
    cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=120, random_state=0)
    first = cells.obs["patient"].isin(["P001", "P002"]).to_numpy()
    reference, query = cells[first].copy(), cells[~first].copy()
    turned = reference[np.random.default_rng(0).permutation(reference.n_obs)].copy()
    one, two = (
        sfm.tl.transfer_labels(table, query, "type", use_rep="X_latent", method="linear", n_per_class=30, copy=True)
        for table in (reference, turned)
    )
    assert one["label"].equals(two["label"])
    np.testing.assert_allclose(one["novelty"], two["novelty"])
