"""A type is left out of the labels and is proposed; where none is left out, hardly anything is."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError


def cohort(seed, n_patients=6, **options):
    options = {"latent_noise": 0.2, "batch_effect": 0.5} | options
    return sfm.datasets.simulate_cells(n_patients, cells_per_patient=250, random_state=seed, **options)


def label(cells, held_out=None, n=10, key="type", seed=0):
    """Labels of at most `n` cells of each type but one, at random, and of half of the cells of rare ones."""
    rng, known = np.random.default_rng(seed), pd.Series(index=cells.obs_names, dtype=object)
    for name, members in cells.obs.groupby(key, observed=True).groups.items():
        if name != held_out and len(members) > 3:
            known[rng.choice(members, min(n, len(members) // 2), replace=False)] = name
    cells.obs["known"] = known


def found(cells, held_out, key="type"):
    """Share of the held-out type in the proposals that are mostly of it, and share of the type that is there."""
    own = (cells.obs[key] == held_out).to_numpy()
    parts = [(cells.obs["proposed_types"] == name).to_numpy() for name in cells.uns["proposed_types"]["table"].index]
    of_it = np.any([part for part in parts if own[part].mean() > 0.5] or [np.zeros(len(own), bool)], axis=0)
    return (of_it & own).sum() / max(of_it.sum(), 1), (of_it & own).sum() / own.sum()


@pytest.mark.parametrize("held_out", ["Macrophage", "Fibroblast", "B", "CD8 T"])
def test_a_type_without_labels_is_proposed(held_out):
    cells = cohort(0)
    label(cells, held_out)
    sfm.tl.propose_types(cells, "known", use_rep="X_latent")
    purity, recall = found(cells, held_out)
    assert purity > 0.8
    assert recall > 0.6
    assert cells.obs["proposed_types"].notna().sum() < 1.5 * (cells.obs["type"] == held_out).sum()


@pytest.mark.slow
def test_where_nothing_is_held_out_hardly_any_cell_is_new():
    """In ten cohorts with ten labels per type: the share of novel cells is below alpha, and two proposals are many."""
    novel, proposals = [], 0
    for seed in range(10):
        cells = cohort(seed, n_patients=4)
        label(cells, seed=seed)
        sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=0.1, resolution=2.0)
        novel.append(cells.uns["proposed_types"]["params"]["novel"])
        proposals += len(cells.uns["proposed_types"]["table"])
    assert np.mean(novel) < 0.1
    assert proposals <= 2


def test_markers_are_those_of_the_type():
    cells = cohort(1)
    label(cells, "B")
    sfm.tl.propose_types(cells, "known", use_rep="X_latent")
    record = cells.uns["proposed_types"]
    table = record["table"]
    own = (cells.obs["proposed_types"] == "new 1").to_numpy()
    assert table.loc["new 1", "markers"].split(", ")[0] == "CD20"
    assert table.loc["new 1", "n_cells"] == own.sum()
    assert table.loc["new 1", "n_patients"] == cells.obs["patient"][own].nunique()
    assert table.loc["new 1", "largest_patient"] == pytest.approx(
        cells.obs["patient"][own].value_counts(normalize=True).iloc[0]
    )
    # differences of z-scores of logarithms, by hand
    logs = np.log1p(np.clip(cells.X - np.percentile(cells.X, 1, axis=0), 0, None)).astype(float)
    z = (logs - logs.mean(axis=0)) / logs.std(axis=0)
    markers = record["markers"].query("proposed == 'new 1'").set_index("marker")["difference"]
    expected = pd.Series(z[own].mean(axis=0) - z[~own].mean(axis=0), index=cells.var_names)
    np.testing.assert_allclose(markers[cells.var_names], expected, atol=1e-3)


def test_copy_is_what_is_written_and_a_sketch_finds_the_same_type():
    cells = cohort(0)
    label(cells, "Macrophage", n=20)
    before = list(cells.obs)
    table = sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=0.1, copy=True)
    assert list(cells.obs) == before
    sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=0.1)
    assert table["novelty"].tolist() == cells.obs["proposed_types_novelty"].tolist()
    assert table["proposed"].equals(cells.obs["proposed_types"].rename("proposed"))
    sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=0.1, sketch=800, min_cells=10)
    assert cells.uns["proposed_types"]["params"]["n_looked_at"] < 1100
    assert cells.obs["proposed_types_novelty"].notna().all()
    purity, recall = found(cells, "Macrophage")
    assert purity > 0.7
    assert recall > 0.5


def test_a_proposal_of_one_patient_is_told():
    cells = cohort(0, batch_effect=0.0)
    label(cells, n=20)
    one = (cells.obs["patient"] == "P003").to_numpy() & (cells.obs["type"] == "Tumor").to_numpy()
    cells.obsm["X_latent"][one] = -cells.obsm["X_latent"][one].mean(axis=0) + 0.1 * cells.obsm["X_latent"][one]
    cells.obs.loc[one, "known"] = None
    with pytest.warns(SpatialfmWarning, match="Nine in ten cells of 'new 1' are of one patient"):
        sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=0.1)


def stained_apart(shift, seed=0):
    """Four types by eight columns on eight slides whose stains differ; 120 cells have a label."""
    rng = np.random.default_rng(seed)
    slide, types = np.repeat(np.arange(8), 120), np.array(["B", "T", "tumor", "vessel"])
    codes = rng.integers(0, 4, len(slide))
    values = np.kron(np.eye(4), [1.0, 1.0])[codes] + rng.normal(0, 0.35, (len(slide), 8))
    values += shift * rng.normal(size=(8, 8))[slide]
    obs = pd.DataFrame({"type": types[codes], "sample": [f"s{one}" for one in slide]})
    obs["patient"], obs.index = obs["sample"], [f"c{number:04d}" for number in range(len(obs))]
    cells = ad.AnnData(np.zeros((len(obs), 0), np.float32), obs=obs)
    cells.obsm["X_model"] = values.astype(np.float32)
    some = np.isin(np.arange(len(obs)), rng.permutation(len(obs))[:120])
    cells.obs["known"] = cells.obs["type"].where(some & (cells.obs["type"] != "vessel"))
    return cells


@pytest.mark.parametrize(("shift", "by_sample"), [(0.0, False), (1.5, True)])
def test_a_type_is_found_on_slides_that_were_stained_apart(shift, by_sample):
    cells = stained_apart(shift)
    sfm.tl.propose_types(cells, "known", use_rep="X_model")
    purity, recall = found(cells, "vessel")
    params = cells.uns["proposed_types"]["params"]
    assert params["by_sample"] is by_sample
    assert "labelled cells, held out in turn" in params["by_sample_why"]
    assert params["preparation"].endswith("within each sample") is by_sample
    assert purity > 0.95
    assert recall > 0.9
    again = stained_apart(shift)[::-1].copy()  # the order of the rows decides nothing
    sfm.tl.propose_types(again, "known", use_rep="X_model")
    assert again.obs["proposed_types"].eq(cells.obs["proposed_types"][again.obs_names]).sum() == (
        cells.obs["proposed_types"].notna().sum()
    )


def test_on_one_scale_slides_that_were_stained_apart_hide_it():
    cells = stained_apart(1.5)
    sfm.tl.propose_types(cells, "known", use_rep="X_model", by_sample=False)
    assert found(cells, "vessel")[1] < 0.2
    assert cells.uns["proposed_types"]["params"]["by_sample_why"] == ""


def test_the_scale_of_a_sample_needs_samples():
    cells = stained_apart(0.0)
    with pytest.raises(TableError, match="Pass library_key="):
        sfm.tl.propose_types(cells, "known", use_rep="X_model", by_sample=True, library_key=None)
    with pytest.raises(TableError, match="library_key"):
        sfm.tl.propose_types(cells, "known", use_rep="X_model", by_sample=True, library_key="slide")
    assert "proposed_types" not in cells.uns


@pytest.mark.parametrize("labels", [{}, {"B": 3}, {"B": 1, "Tumor": 1}])
def test_too_few_labels(labels):
    cells = cohort(0, n_patients=1)
    cells.obs["known"] = None
    for name, n in labels.items():
        cells.obs.loc[cells.obs_names[cells.obs["type"] == name][:n], "known"] = name
    with pytest.raises(TableError, match=f"holds {len(labels)} type"):
        sfm.tl.propose_types(cells, "known", use_rep="X_latent")
    assert "proposed_types" not in cells.uns


@pytest.mark.real_data
def test_a_type_of_a_published_table_is_found(real_data):
    """Means of 22 markers of breast DCIS (Risom et al. 2022), whose types were clustered from these very means."""
    path = real_data / "dcis_mibi" / "cells_fusesom_risom_dat_inferred_fov.parquet"
    if not path.is_file():
        pytest.skip("no table of DCIS")
    table = pd.read_parquet(path)
    table = table[table["fov_inferred"].isin(table["fov_inferred"].unique()[:12])].iloc[::2].reset_index(drop=True)
    markers = [name for name in table if name not in ("fov_inferred", "CellType")]
    obs = pd.DataFrame({"type": table["CellType"].astype(str).to_numpy()}, index=[f"c{i}" for i in range(len(table))])
    cells = ad.AnnData(table[markers].to_numpy(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    label(cells)
    sfm.tl.propose_types(cells, "known", use_rep="X", C=0.1)
    assert cells.uns["proposed_types"]["params"]["novel"] < 0.05
    nothing_held_out = len(cells.uns["proposed_types"]["table"])
    label(cells, "FIBRO_VIMonly")
    sfm.tl.propose_types(cells, "known", use_rep="X", C=0.1)
    purity, recall = found(cells, "FIBRO_VIMonly")
    assert nothing_held_out == 0
    assert purity > 0.8
    assert recall > 0.3
