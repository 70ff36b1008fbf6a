"""Groups made from what they are compared by: niches by neighbours, groups of patients by their fractions."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning


@pytest.fixture
def random_cells() -> AnnData:
    """Labels at random: nobody lives next to anybody."""
    cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    cells.obs["type"] = np.random.default_rng(0).permutation(cells.obs["type"].astype(str))
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    return cells


def contrast(cells: AnnData, within: str, inside: str | None = "1") -> pd.DataFrame:
    return sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within=within, inside=inside, copy=True)


def is_circular(cells: AnnData, within: str, inside: str | None = "1") -> None:
    with pytest.warns(SpatialfmWarning, match=r"Circular: obs\['.*neighbours.*no p-values"):
        table = contrast(cells, within, inside)
    assert table[["p_patients", "q_patients", "p_cells", "q_cells"]].isna().all(axis=None)
    assert not table["significant"].any()
    assert table[["inside", "outside", "relative_change"]].notna().all(axis=None)


WAYS = ["niches", "copied", "copy=True", "merged", "part", "cell_states", "leiden_sweep", "scanpy", "by hand", "read"]
WAYS += ["annotate", "annotate beside markers", "transfer_labels", "by the most frequent"]


@pytest.mark.parametrize("way", WAYS)
def test_niches_are_not_tested_by_neighbours(random_cells, way, tmp_path) -> None:
    cells = random_cells
    if way == "copy=True":
        cells.obs["n"] = sfm.tl.niches(cells, 4, copy=True)
    elif way == "cell_states":
        sfm.tl.cell_states(cells, 4, use_rep="neighborhood_composition", key_added="n")
    elif way == "leiden_sweep":
        sfm.tl.leiden_sweep(cells, use_rep="neighborhood_composition", resolutions=[0.5], n_subsamples=0, key_added="n")
    elif way == "scanpy":
        import scanpy as sc

        sc.pp.neighbors(cells, use_rep="neighborhood_composition")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.tl.leiden(cells, key_added="n", flavor="igraph", n_iterations=2)
    elif way == "by hand":
        from sklearn.cluster import KMeans

        model = KMeans(4, n_init=3, random_state=0, tol=0, max_iter=1000)
        codes = model.fit_predict(cells.obsm["neighborhood_composition"])
        cells.obs["n"] = pd.Categorical(codes.astype(str))
    elif way.startswith("annotate") or way == "transfer_labels":  # a few cells are named by hand, the others learned
        share = cells.obsm["neighborhood_composition"]
        share = np.asarray(share, float) @ np.arange(share.shape[1])
        named = pd.qcut(pd.Series(share, index=cells.obs_names).rank(method="first"), 4, labels=list("0123"))
        cells.obs["known"] = named.where(np.arange(cells.n_obs) % 5 == 0)
        options = {"use_rep": "neighborhood_composition", "method": "linear", "key_added": "n"}
        if way == "transfer_labels":
            sfm.tl.transfer_labels(cells[::5].copy(), cells, "known", **options)
        else:
            reps = ["X_latent", "neighborhood_composition"] if "markers" in way else "neighborhood_composition"
            sfm.tl.annotate(cells, "known", C=1.0, **options | {"use_rep": reps})
    elif way == "by the most frequent":
        cells.obs["n"] = np.asarray(cells.obsm["neighborhood_composition"]).argmax(axis=1).astype(str)
    else:
        sfm.tl.niches(cells, 4, key_added="n")
        if way == "copied":
            cells.obs["mine"] = cells.obs["n"].astype(str)
            del cells.obs["n"], cells.uns["n"]
            return is_circular(cells, "mine")
        if way == "part":
            cells = cells[cells.obs["patient"] != cells.obs["patient"].iloc[0]].copy()
        if way == "read":
            cells.write_h5ad(tmp_path / "cells.h5ad")
            _origin.forget()
            cells = ad.read_h5ad(tmp_path / "cells.h5ad")
    if way == "merged":
        cells.obs["m"] = cells.obs["n"].isin(["1", "2"])
        return is_circular(cells, "m", None)
    return is_circular(cells, "n", "0" if way in ("leiden_sweep", "scanpy", "by hand") else "1")


def test_other_groups_of_cells_are_tested(random_cells):
    rng = np.random.default_rng(1)
    random_cells.obs["pen"] = rng.choice(["a", "b", "c"], random_cells.n_obs)
    sfm.tl.cell_states(random_cells, 4, use_rep="X_latent", key_added="state")
    for within, inside in (("pen", "a"), ("state", "1")):
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpatialfmWarning)
            table = contrast(random_cells, within, inside)
        assert table["p_patients"].notna().any()


def patients(seed: int = 0, n: int = 40) -> AnnData:
    cells = sfm.datasets.simulate_cells(n_patients=n, cells_per_patient=60, random_state=seed)
    return sfm.tl.composition(cells, "type", patient_key="patient")


@pytest.mark.parametrize("copied", [False, True])
def test_groups_of_patients_are_not_tested_by_their_fractions(copied):
    samples = patients()
    if copied:
        samples.obs["g"] = sfm.tl.stratify(samples, 2, copy=True)
    else:
        sfm.tl.stratify(samples, 2, key_added="g")
    with pytest.warns(
        SpatialfmWarning, match=r"Circular: obs\['g'\]: made by sfm.tl.stratify from the fractions of 'type'"
    ):
        sfm.tl.compare_composition(samples, "g")
    record = samples.uns["compare_composition"]
    assert record["table"][["p_value", "q_value"]].isna().all(axis=None)
    assert not record["table"]["significant"].any()
    assert record["table"]["effect"].notna().any()
    assert "stratify" in record["params"]["circular"]
    sfm.pl.compare_composition(samples, show=False)
    with pytest.warns(SpatialfmWarning, match="Circular"):
        ratio = sfm.tl.risk_ratio(
            samples, "g", list(samples.var_names[:1]), group="2", threshold=samples.X[:, 0].mean(), copy=True
        )
    assert ratio["p_value"].isna().all()
    assert ratio["risk_ratio"].notna().all()


def test_groups_that_an_outcome_merged_are_not_tested_by_their_fractions_under_any_name():
    samples = patients()
    rng = np.random.default_rng(1)
    outcome = {"time": rng.exponential(10, samples.n_obs), "event": 1}
    groups = sfm.tl.stratify(
        AnnData(samples.X, obs=samples.obs.assign(**outcome), var=samples.var),
        4, merge_into=2, time_key="time", event_key="event", copy=True,
    )  # fmt: skip
    samples.obs["arm"] = np.where(groups == "high", "B", "A")
    with pytest.warns(SpatialfmWarning, match=r"Circular: obs\['arm'\]: made by sfm.tl.stratify from the composition"):
        table = sfm.tl.compare_composition(samples, "arm", copy=True)
    assert table[["p_value", "q_value"]].isna().all(axis=None)


def test_signatures_of_neighbours_are_not_tested_by_neighbours(random_cells):
    """Types are at random, so that nobody lives next to anybody and no niche has a type."""
    cells = random_cells
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    sfm.tl.niches(cells, 4)
    chance = np.random.default_rng(0).random(cells.n_obs) < 0.3
    cells.obsm["signatures"] = pd.DataFrame(
        {"N": (cells.obs["niche"] == "1").to_numpy(), "random": chance}, index=cells.obs_names
    )
    with pytest.warns(SpatialfmWarning, match="Circular: 'N' in obsm"):
        found = sfm.tl.score_signatures(cells, favorable=["N"], cluster_key="type")
    for name in ("neighborhood", "enrichment"):
        table = found.uns[name]
        of = table["signature"] == "N"
        p = [column for column in table if column.startswith("p_") and column != "p_cells"]
        assert of.any()
        assert table.loc[of, p].isna().all(axis=None)
        assert table.loc[~of, p].notna().any(axis=None)
    table = found.uns["neighborhood"]
    assert not table.loc[table["signature"] == "N", "significant"].any()


def test_signatures_that_were_searched_for_among_neighbours_are_known():
    cells = sfm.datasets.simulate_cells(n_patients=12, cells_per_patient=80, random_state=0)
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    sfm.tl.discover_signatures(
        cells, use_rep="neighborhood_composition", outcome="response", positive="responder", resolutions=[0.5],
        max_cells=None, min_patients=2, nested=False, n_permutations=0, n_repeats=1, n_repeats_model=1,
    )  # fmt: skip
    name = cells.obsm["signatures"].columns[0]
    with pytest.warns(SpatialfmWarning, match="made by sfm.tl.discover_signatures from who neighbours whom"):
        table = contrast(cells, name, None)
    assert table["p_patients"].isna().all()


def test_a_response_that_goes_along_with_clusters_is_tested():
    """Clusters may find a group that is there: that they agree makes the group no cluster."""
    samples = patients(1)
    sfm.tl.stratify(samples, 2, key_added="g")
    samples.obs["arm"] = samples.obs["g"].astype(str).map({"1": "treated", "2": "control"})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Circular")
        table = sfm.tl.compare_composition(samples, "arm", copy=True)
    assert table["p_value"].notna().all()
