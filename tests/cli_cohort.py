"""A small cohort in files whose cells and outcome are known: what commands are run on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

CHANNELS = ["DAPI", "CD3", "CD20", "Cytokeratin"]
TYPES = {"CD3": "T", "CD20": "B", "Cytokeratin": "Tumor"}
SIGNATURES = {"T": ["CD3"], "B": ["CD20"], "Tumor": ["Cytokeratin"]}
SIDE, CELL, GAP = 6, 5, 2  # cells in a row, pixels of a cell, pixels to the border
PIXELS = SIDE * (CELL + GAP) + GAP


def write_cohort(folder: Path, n_patients: int = 8, *, masks: bool = True) -> pd.DataFrame:
    """Write images, masks and ``cohort.csv``; the true type of each cell is returned.

    Cells are squares of which one marker is bright. Patients of even number have mostly tumor, and die early.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows, truth = [], []
    for number in range(n_patients):
        sample, much = f"S{number}", number % 2 == 0
        share = (0.15, 0.15, 0.7) if much else (0.45, 0.4, 0.15)
        image = rng.normal(20, 1, (len(CHANNELS), PIXELS, PIXELS))
        mask = np.zeros((PIXELS, PIXELS), np.uint16)
        for cell in range(SIDE * SIDE):
            y, x = (GAP + (CELL + GAP) * place for place in divmod(cell, SIDE))
            marker = rng.choice(3, p=share) + 1
            here = np.s_[y : y + CELL, x : x + CELL]
            image[(0, *here)] += 100
            image[(marker, *here)] += rng.normal(200, 10)
            mask[here] = cell + 1
            truth.append((sample, cell + 1, TYPES[CHANNELS[marker]]))
        metadata = {"axes": "CYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "Channel": {"Name": CHANNELS}}
        tifffile.imwrite(
            folder / f"{sample}.ome.tif", image.astype(np.float32), photometric="minisblack", metadata=metadata
        )
        row = {"sample": sample, "patient": f"P{number}", "image": f"{sample}.ome.tif"}
        if masks:
            tifffile.imwrite(folder / f"{sample}_mask.tif", mask)
            row["labels"] = f"{sample}_mask.tif"
        rows.append(
            row | {"age": 50 + number, "months": (3 if much else 30) + number, "died": "yes" if number < 6 else "no"}
        )
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return pd.DataFrame(truth, columns=["sample", "cell_id", "type"])


def write_cells(folder: Path, n_patients: int = 8, *, types: bool = True, markers: bool = True) -> pd.DataFrame:
    """Write ``cells.csv`` and ``patients.csv``, a cohort without images; the true type of each cell is returned.

    Two samples per patient, numbered within patients, in µm. Shares of types and outcomes are those of `write_cohort`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows, patients = [], []
    for number in range(n_patients):
        much = number % 2 == 0
        share = (0.15, 0.15, 0.7) if much else (0.45, 0.4, 0.15)
        patients.append({"case": f"P{number}", "age": 50 + number, "os_months": (3 if much else 30) + number,
                         "died": int(number < 6)})  # fmt: skip
        for core in (1, 2):
            for cell in range(SIDE * SIDE):
                y, x = (10.0 * place + rng.uniform(0, 2) for place in divmod(cell, SIDE))
                kind = rng.choice(3, p=share)
                row = {"case": f"P{number}", "core": core, "object": cell + 1, "X_um": x, "Y_um": y}
                values = rng.normal(20, 1, 3) + 200 * (np.arange(3) == kind)
                row |= dict(zip(TYPES, values.round(3), strict=True)) if markers else {}
                rows.append(row | {"cell type": list(TYPES.values())[kind]})
    cells = pd.DataFrame(rows)
    (cells if types else cells.drop(columns="cell type")).to_csv(folder / "cells.csv", index=False)
    pd.DataFrame(patients).to_csv(folder / "patients.csv", index=False)
    return cells


def as_steinbock(folder: Path) -> str:
    """The same cohort as the folder of steinbock, beside a clinical table; its settings are returned."""
    rows = pd.read_csv(folder / "cohort.csv")
    for name in ("img", "masks"):
        (folder / "steinbock" / name).mkdir(parents=True)
    for row in rows.itertuples():
        for name, file in (("img", row.image), ("masks", row.labels)):
            pixels = np.atleast_3d(tifffile.imread(folder / file).T).T
            stack = pixels[None, None, :, :, :, None]  # TZCYXS
            tifffile.imwrite(folder / "steinbock" / name / f"{row.sample}.tiff", stack, imagej=True)
    panel = pd.DataFrame({"channel": [f"Ir{i}" for i in range(len(CHANNELS))], "name": CHANNELS, "keep": 1})
    panel.to_csv(folder / "steinbock" / "panel.csv", index=False)
    rows.drop(columns=["image", "labels"]).to_csv(folder / "clinical.csv", index=False)
    reading = "read:\n  reader: steinbock\n  clinical: clinical.csv\n"
    return SETTINGS.replace("cohort: cohort.csv\n", f"cohort: steinbock\n{reading}")


def as_ome_zarr(folder: Path) -> str:
    """The same cohort with stores that hold image and mask."""
    from reading_ome_zarr import write_store

    rows = pd.read_csv(folder / "cohort.csv")
    for row in rows.itertuples():
        mask = tifffile.imread(folder / row.labels)
        pixels = tifffile.imread(folder / row.image)
        write_store(folder / f"{row.sample}.zarr", pixels, {"cells": mask}, names=tuple(CHANNELS), mpp=1.0)
    stores = [f"{sample}.zarr" for sample in rows["sample"]]
    rows.assign(image=stores, labels=stores, kind="ome_zarr").to_csv(folder / "cohort.csv", index=False)
    return SETTINGS


SETTINGS = """\
cohort: cohort.csv
out: results
embed:
  model: mean-intensity
phenotype:
  signatures: {T: [CD3], B: [CD20], Tumor: [Cytokeratin]}
niches:
  n_niches: 2
survival:
  time_key: months
  event_key: died
  event_value: yes
"""
