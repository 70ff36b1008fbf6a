"""Every real image set, from file to embedding, Leiden clusters and neighborhood enrichment."""

from __future__ import annotations

import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import squidpy as sq
import torch

import spatialfm as sfm

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def kronos(tmp_path_factory):
    """KRONOS with stand-in weights in the published file layout, and marker statistics next to it."""
    folder = tmp_path_factory.mktemp("kronos")
    layout = {name: tensor.shape for name, tensor in sfm.models.load("kronos", weights="random").state_dict().items()}
    state = {}
    for key, shape in layout.items():
        name = key.removeprefix("backbone.")
        noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
        scale = name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1)
        state[f"backbone.{name}"] = torch.from_numpy(np.atleast_1d(1 + 0.1 * noise if scale else 0.05 * noise))
    torch.save({"teacher": state}, folder / "kronos_vits16_model.pt")
    return sfm.models.load("kronos", weights=folder / "kronos_vits16_model.pt")


def dcis(folder):
    sdata = sfm.io.read_tiff(
        folder / "dcis_mibi/images/Point2203_pt1072_31606.ome.tif",
        folder / "dcis_mibi/masks/Point2203_pt1072_31606_cellmask.tif",
        sample="Point2203",
        mpp=0.5,
    )
    return sdata, 602, ["HH3", "CD45", "PanKRT"], {}


def bnhl_56(folder):
    sdata = sfm.io.read_tiff(
        folder / "bnhl_codex/images/crop501_56ch.ome.tif", folder / "bnhl_codex/masks/crop501_cellmask.tif", mpp=0.377
    )
    return sdata, 554, ["DAPI", "CD3", "PAX5"], {}


def bnhl_5(folder):
    sdata = sfm.io.read_tiff(
        folder / "bnhl_codex/images/crop101_5ch.ome.tif", folder / "bnhl_codex/masks/crop101_cellmask.tif", mpp=0.377
    )
    return sdata, 56, None, {}


def opal(folder):
    sdata = sfm.io.read_tiff(
        folder / "opal_mif/images/FIHC4_2.ome.tif", folder / "opal_mif/masks/FIHC4_2_cell(nuc+cyto).tif"
    )
    # channels are named by dye: which antibody a dye carried is the user's to say
    dyes = {"Alexa 594": None, "Cy3": None, "Cy5": "CD20", "DAPI": "DAPI", "FITC": None}
    return sdata, 270, None, {"panel": {"mapping": dyes}}


def spleen(folder):
    sdata = sfm.io.read_tiff(
        folder / "spleen_imc/images/spleen315_r20.ome.tif",
        folder / "spleen_imc/masks/spleen315_r20_cellmask.tif",
        mpp=1.0,
    )
    box = {"min_coordinate": [100, 100], "max_coordinate": [300, 300], "axes": ("x", "y")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdata = sdata.query.bounding_box(**box, target_coordinate_system="spleen315_r20")
    return sdata, None, ["DNA1", "CD3", "CD20"], {"on_missing": "drop"}


def pancreas(folder):
    table = pd.DataFrame({"sample": ["E34", "G01", "J02"], "patient": ["1", "2", "3"]})
    for column, part in (("image", "imc"), ("labels", "mask")):
        table[column] = [folder / f"pancreas_imc/{name}_{part}.tiff" for name in table["sample"]]
    names = ["H3", "CD99", "PIN", "CD8a", "CDH"]  # cytomapper's pancreasImages, in the order of its channelNames
    return (
        sfm.io.read_cohort(table, channel_names=names, mpp=1.0, **CAST),
        362,
        None,
        {"panel": {"mapping": {"PIN": "Proinsulin"}}},
    )


CAST: dict = {}
SETS = {"dcis": dcis, "bnhl_56": bnhl_56, "bnhl_5": bnhl_5, "opal": opal, "spleen": spleen, "pancreas": pancreas}


LONG = ("bnhl_56", "dcis", "opal", "pancreas", "spleen")  # what is their own is in the tests of readers and panels too


@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in SETS])
def test_from_file_to_neighborhood_enrichment(name, real_data, kronos):
    sdata, n_cells, markers, options = SETS[name](real_data)
    if "table" not in sdata.tables:
        sfm.pp.cell_table(sdata, on_missing=options.get("on_missing", "raise"))
    for model, key in (("classical", "X_classical"), (kronos, "X_kronos")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sfm._errors.SpatialfmWarning)
            sfm.tl.embed_cells(
                sdata,
                model,
                markers=markers if model is kronos else None,
                **options | {"panel": {"on_unknown": "drop"} | options.get("panel", {})},
            )
        adata = sdata["table"]
        assert n_cells is None or adata.n_obs == n_cells
        values = adata.obsm[key]
        assert np.isfinite(values).all()
        assert len(np.unique(values, axis=0)) == adata.n_obs  # no two cells look alike
        sc.pp.neighbors(adata, use_rep=key, n_neighbors=min(15, adata.n_obs - 1), key_added=key)
        sc.tl.leiden(
            adata, neighbors_key=key, key_added=f"leiden_{key}", flavor="igraph", n_iterations=2, directed=False
        )
        assert adata.obs[f"leiden_{key}"].nunique() > 1
        record = sfm.get.record(adata, key)
        assert set(record["markers"]).isdisjoint(record["markers_dropped"])
    if name != "dcis":  # squidpy compiles its loop anew for each number of clusters
        return
    sq.gr.spatial_neighbors(adata, library_key="sample", coord_type="generic", n_neighs=6)
    sq.gr.nhood_enrichment(
        adata, cluster_key=f"leiden_{key}", library_key="sample", n_perms=20, seed=0, show_progress_bar=False
    )
    scores = adata.uns[f"leiden_{key}_nhood_enrichment"]["zscore"]
    assert scores.shape == (adata.obs[f"leiden_{key}"].nunique(),) * 2


@pytest.mark.slow
@pytest.mark.real_data
def test_niches_of_the_colorectal_cohort(real_data):
    """Published types and neighborhoods of Schürch et al. 2020: agreement, and the follicles of one group."""
    from anndata import AnnData
    from scipy.spatial import cKDTree
    from scipy.stats import false_discovery_control, mannwhitneyu
    from sklearn.metrics import adjusted_rand_score

    folder = real_data / "crc_codex_table"
    table = pd.read_parquet(folder / "cells.parquet")
    columns = {"sample": "imageID", "patient": "ID", "group": "Group", "type": "cellType"}
    obs = pd.DataFrame({name: table[column].astype(str).astype("category") for name, column in columns.items()})
    obs.index = obs.index.astype(str)
    cells = AnnData(obs=obs, obsm={"spatial": table[["x", "y"]].to_numpy(float)})
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10, include_self=True)
    sfm.tl.niches(cells, 10)
    core = pd.read_csv(folder / "reg009_A_58markers_CELESTA.csv")
    mine = (cells.obs["sample"] == "reg009_A").to_numpy()
    places = min(
        (
            cKDTree(core[list(axes)].to_numpy(float)).query(cells.obsm["spatial"][mine])
            for axes in (("X_withinTile:X_withinTile", "Y_withinTile:Y_withinTile"), ("X", "Y"), ("X.1", "Y.1"))
        ),
        key=lambda found: found[0].mean(),
    )
    assert places[0].max() <= 1
    assert adjusted_rand_score(core["neighborhood name"].iloc[places[1]], cells.obs["niche"][mine]) > 0.3
    patients = sfm.tl.composition(cells, "niche", library_key="sample", patient_key="patient")
    group = cells.obs.drop_duplicates("patient").set_index("patient")["group"].loc[patients.obs_names.astype(str)]
    one = (group == group.iloc[0]).to_numpy()
    q = pd.Series(false_discovery_control(mannwhitneyu(patients.X[one], patients.X[~one]).pvalue, axis=0))
    of_b_cells = cells.uns["niche"]["enrichment"]["b_cells"].idxmax()
    assert patients.var_names[int(q.idxmin())] == of_b_cells
    assert q.min() < 0.05
