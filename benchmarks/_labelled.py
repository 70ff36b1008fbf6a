"""Sets of cells with published labels, read as a user would: who named the cells, and what is held out.

Not used, as there is nothing that a label could be read from: the tables of the lung (flags of phenotypes, positions)
and of the colorectal cohort (types, positions), but its one core with all markers; the pancreas (no labels); the crop
of 101 pixels of the lymph node (56 cells).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import spatialfm as sfm

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

# Not in the file. Its masks are 6.9 pixels wide (median, as circles), those of the 501-pixel crop of the same tissue,
# whose size is known (0.377 µm), 16.7 pixels or 6.3 µm; and its DNA stain loses correlation 2.3 times as fast by pixel.
# With 0.377 µm the cells would be 2.6 µm wide, smaller than any nucleus.
BNHL_500_MPP = 0.9


@dataclass
class Labelled:
    """Cells with ``obs["label"]``; `patient_key` as `sfm.tl.evaluate_annotation` takes it; images where there are."""

    name: str
    cells: AnnData
    patient_key: str
    held_out: str
    origin: str  # of the labels
    circular: bool  # whether labels were made from means of the same markers
    sdata: SpatialData | None = None


def of_image(
    name: str,
    sdata: SpatialData,
    labels: pd.Series,
    origin: str,
    *,
    circular: bool,
    patient_key: str = "quadrant",
    held_out: str = "a quadrant",
) -> Labelled:
    """Labels by cell name joined to the table of an image."""
    table = sdata["table"]
    table.obs["label"] = pd.Categorical(labels.reindex(table.obs_names).to_numpy(object))
    return Labelled(name, table, patient_key, held_out, origin, circular, sdata)


def dcis_image(data: Path) -> Labelled:
    folder = data / "dcis_mibi"
    sdata = sfm.io.read_tiff(
        folder / "images/Point2203_pt1072_31606.ome.tif",
        folder / "masks/Point2203_pt1072_31606_cellmask.tif",
        sample="Point2203",
        mpp=0.5,  # not in the file
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(folder / "cells_Point2203_matched_labels.csv")
    sure = cells[cells["best_match_is_assigned"] & (cells["match_cost"] < 0.05)]
    return of_image(
        "breast DCIS, MIBI (1 field)",
        sdata,
        pd.Series(sure["cell_type"].to_numpy(), index="Point2203_" + sure["label"].astype(str)),
        "clustering of means and hand-made rules, carried to cells by matching 22 means",
        circular=True,
    )


def opal(data: Path) -> Labelled:
    folder = data / "opal_mif"
    sdata = sfm.io.read_tiff(
        folder / "images/FIHC4_2.ome.tif", folder / "masks/FIHC4_2_cell(nuc+cyto).tif", sample="FIHC4"
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(next((folder / "original").glob("*cell_seg_data.txt")), sep="\t")
    labels = pd.Series(cells["Phenotype"].to_numpy(), index="FIHC4_" + cells["Cell ID"].astype(str))
    return of_image(
        "lymphoma, Opal mIF (1 field)",
        sdata,
        labels.replace("", np.nan),
        "inForm's classifier on intensities and shape, taught by an expert",
        circular=True,
    )


def bnhl(data: Path) -> Labelled:
    folder = data / "bnhl_codex"
    sdata = sfm.io.read_tiff(
        folder / "images/crop500_5ch_uint16.ome.tif",
        folder / "masks/crop500_cellmask.tif",
        sample="crop500",
        mpp=BNHL_500_MPP,
    )
    sfm.pp.cell_table(sdata)
    cells = pd.read_csv(folder / "cells_crop500_label_codes.csv")
    cells = cells[cells["label_code"].notna()]
    codes = "code " + cells["label_code"].astype(int).astype(str)
    return of_image(
        "lymph node, CODEX (1 crop)",
        sdata,
        pd.Series(codes.to_numpy(), index="crop500_" + cells["cell"].astype(int).astype(str)),
        "codes without names, made from a panel of which 5 markers are here",
        circular=True,
    )


def spleen(data: Path) -> Labelled:
    import tifffile

    folder = data / "spleen_imc"
    table = pd.DataFrame({"sample": ["r2", "r4", "r12", "r20"]})
    table["image"] = [folder / f"images/spleen315_{name}.ome.tif" for name in table["sample"]]
    table["labels"] = [folder / f"masks/spleen315_{name}_cellmask.tif" for name in table["sample"]]
    table["patient"] = "spleen315"
    sdata = sfm.io.read_cohort(table, mpp=1.0)
    names = {1: "white pulp", 2: "red pulp"}
    labels = {}
    cells = sdata["table"]
    for sample in table["sample"]:
        regions = tifffile.imread(folder / f"masks/spleen315_{sample}_region.tif")
        mine = cells[cells.obs["sample"] == sample]
        x, y = np.asarray(mine.obsm["spatial"]).T.astype(int)
        labels |= dict(zip(mine.obs_names, (names.get(value) for value in regions[y, x]), strict=True))
    return of_image(
        "spleen, IMC (4 images)",
        sdata,
        pd.Series(labels),
        "the region of the cell, by a classifier of pixels; not its type",
        circular=False,
        patient_key="sample",
        held_out="an image of the same spleen",
    )


def cords(data: Path) -> Labelled:
    """No pixels were published with the field: the shape of the masks is all that labels can be read from."""
    from anndata import AnnData
    from skimage.measure import regionprops_table

    folder = data / "cords_spora"
    name = "cords2024cancer_ocmzljpb_0001"
    stored = np.load(folder / f"segmentations/1_0mpp/cell_masks/instances/{name}.npz")
    mask = stored[stored.files[0]]
    wanted = ("label", "centroid", "area", "perimeter", "eccentricity", "major_axis_length", "minor_axis_length")
    shape = pd.DataFrame(regionprops_table(mask, properties=(*wanted, "extent", "solidity"))).set_index("label")
    types = pd.read_parquet(folder / "metadata/cells.parquet").set_index("cell_id")["cell_category"]
    shape = shape[shape.index.isin(types.index)]
    places = shape[["centroid-1", "centroid-0"]].to_numpy()
    cells = AnnData(
        shape.drop(columns=["centroid-0", "centroid-1"]).to_numpy(np.float32),
        obs=pd.DataFrame(
            {"label": pd.Categorical(types[shape.index].astype(str)), "sample": name},
            index=name + "_" + shape.index.astype(str),
        ),
        obsm={"spatial": places},
    )
    cells.var_names = shape.columns.drop(["centroid-0", "centroid-1"])
    return Labelled(
        "lung, IMC (masks of 1 field)",
        cells,
        "quadrant",
        "a quadrant",
        "clustering of means of markers, none of which is here",
        circular=False,
    )


def dcis_table(data: Path) -> Labelled:
    from anndata import AnnData

    table = pd.read_parquet(data / "dcis_mibi/cells_fusesom_risom_dat_inferred_fov.parquet")
    table = table[table["fov_inferred"].notna() & table["CellType"].notna()].reset_index(drop=True)
    field = table["fov_inferred"].astype(str)
    patient = field.str.extract(r"_(pt\d+)_")[0]
    means = table.drop(columns=["fov_inferred", "CellType"])
    obs = {"label": pd.Categorical(table["CellType"].astype(str)), "sample": field, "patient": patient.fillna(field)}
    cells = AnnData(means.to_numpy(np.float32), obs=pd.DataFrame(obs).set_index(table.index.astype(str)))
    cells.var_names = means.columns
    return Labelled(
        "breast DCIS, MIBI (table)",
        cells,
        "patient",
        f"a quarter of {cells.obs['patient'].nunique()} patients",
        "clustering of the same means and hand-made rules; the patient is inferred from the order of rows",
        circular=True,
    )


def melanoma_types(calls: pd.DataFrame, rules: pd.DataFrame) -> pd.Series:
    """The rule with most markers that a cell fulfils; none where two of one length do."""
    fulfilled, lengths = {}, {}
    for rule in rules.fillna("").itertuples(index=False):
        positive, negative = (list(filter(None, text.split(";"))) for text in rule[1:])
        yes = calls[[f"{name}+" for name in positive]].all(axis=1)
        no = calls[[f"{name}+" for name in negative]].any(axis=1)
        fulfilled[rule[0]], lengths[rule[0]] = yes & ~no, len(positive)
    score = pd.DataFrame(fulfilled) * pd.Series(lengths)
    best = score.max(axis=1)
    alone = (score.eq(best, axis=0).sum(axis=1) == 1) & (best > 0)
    return score.idxmax(axis=1).where(alone)


def melanoma(data: Path) -> Labelled:
    from anndata import AnnData

    folder = data / "melanoma_imc_table"
    table = pd.read_parquet(folder / "cells.parquet")
    markers = [name.removesuffix("+") for name in table.columns if name.endswith("+")]
    labels = melanoma_types(table, pd.read_csv(folder / "composite_phenotypes.csv"))
    obs = pd.DataFrame({"label": pd.Categorical(labels), "sample": table["sample_id"].astype(str)})
    samples = pd.read_csv(folder / "samples.tsv", sep="\t").set_index("Sample ID")["Source subject"]
    obs["patient"] = obs["sample"].map(samples).fillna(obs["sample"])
    cells = AnnData(table[markers].to_numpy(np.float32), obs=obs.set_index(table.index.astype(str)))
    cells.var_names = markers
    cells.obsm["spatial"] = table[["x", "y"]].to_numpy(float)
    return Labelled(
        "melanoma, IMC (table)",
        cells,
        "patient",
        f"a quarter of {cells.obs['patient'].nunique()} patients",
        "published rules on positive and negative markers, whose calls were made from the same means",
        circular=True,
    )


def crc_core(data: Path) -> Labelled:
    from anndata import AnnData

    table = pd.read_csv(data / "crc_codex_table/reg009_A_58markers_CELESTA.csv")
    markers = [name for name in table.columns if ":Cyc_" in name]
    obs = pd.DataFrame({"label": pd.Categorical(table["ClusterName"]), "sample": "reg009_A"})
    cells = AnnData(table[markers].to_numpy(np.float32), obs=obs.set_index("reg009_A_" + table.index.astype(str)))
    cells.var_names = [name.split(" - ")[0].split(":")[0] for name in markers]
    cells.obsm["spatial"] = table[["X", "Y"]].iloc[:, :2].to_numpy(float) * 0.377
    return Labelled(
        "colorectum, CODEX (table of 1 core)",
        cells,
        "quadrant",
        "a quadrant",
        "clustering of the same means, merged and named by experts",
        circular=True,
    )


SETS: dict[str, Callable[[Path], Labelled]] = {
    "dcis": dcis_image,
    "opal": opal,
    "bnhl": bnhl,
    "spleen": spleen,
    "cords": cords,
    "dcis_table": dcis_table,
    "melanoma": melanoma,
    "crc_core": crc_core,
}
