"""Cases of `read_cellprofiler` for `io/test_contract.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from reading import Case, Refusal, Sample, blobs, counts, measured

import spatialfm as sfm

NAMES = ("CD3", "CD8", "DNA")  # as Image.csv sorts them
CORES = {1: ("A1", "p1", 20, 28), 3: ("A2", "p2", 28, 20)}  # numbers have gaps where images failed


def tables_of(samples: list[Sample]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``Image.csv`` and ``Cells.csv`` of a pipeline that ran on another computer."""
    rows = []
    for number, sample in zip(CORES, samples, strict=True):
        row = {"Count_Cells": len(np.unique(sample.labels)) - 1}
        for name in NAMES:
            row |= {f"FileName_{name}": f"{sample.name}_{name}.tiff", f"PathName_{name}": "C:\\run 1\\img"}
        row |= {"ImageNumber": number, "Metadata_Core": sample.name, "Metadata_Patient": sample.patient}
        row |= {"ObjectsFileName_Cells": f"{sample.name}_cells.tiff", "ObjectsPathName_Cells": "C:\\run 1\\masks"}
        rows.append(row)
    truth = measured(samples)
    cells = pd.DataFrame({"ImageNumber": truth["sample"].map({core: n for n, (core, *_) in CORES.items()})})
    cells["ObjectNumber"] = truth["id"]
    cells["AreaShape_Area"] = 25
    for name in NAMES:
        cells[f"Intensity_MeanIntensity_{name}"] = truth[name]
        cells[f"Intensity_MaxIntensity_{name}"] = -1.0
    for axis in "XY":
        cells[f"Location_Center_{axis}"] = truth[axis.lower()] / 0.5 - 0.5  # index of the pixel
    cells["Number_Object_Number"] = truth["id"]
    return pd.DataFrame(rows), cells


def write_cellprofiler(folder: Path) -> list[Sample]:
    """Two cores with one TIFF per channel, label images and tables."""
    for name in ("img", "masks"):
        (folder / name).mkdir()
    samples = []
    for i, (core, patient, height, width) in enumerate(CORES.values()):
        sample = Sample(core, 0.5, NAMES, counts(3, height, width, start=9 * i), blobs(height, width), patient)
        for name, plane in zip(NAMES, sample.pixels, strict=True):
            tifffile.imwrite(folder / "img" / f"{core}_{name}.tiff", plane)
        tifffile.imwrite(folder / "masks" / f"{core}_cells.tiff", sample.labels)
        samples.append(sample)
    images, cells = tables_of(samples)
    images.to_csv(folder / "MyExpt_Image.csv", index=False)
    cells.to_csv(folder / "MyExpt_Cells.csv", index=False)
    cells.assign(ObjectNumber=1).to_csv(folder / "MyExpt_Nuclei.csv", index=False)
    (folder / "MyExpt_Experiment.csv").write_text("Key,Value\nVersion,5\n")
    frame = pd.DataFrame({"patient": ["p1", "p2"], "time": [10.0, 20.0], "event": [1, 0]})
    frame.rename(columns={"patient": "Metadata_Patient"}).to_csv(folder / "patients.csv", index=False)
    return samples


def read_cellprofiler(folder: Path, **options):
    given = {"patient_key": "Metadata_Patient", "clinical": folder / "patients.csv", "mpp": 0.5}
    return sfm.io.read_cellprofiler(folder, **(given | options))


def in_table(change, name: str = "Cells"):
    def damage(folder: Path) -> None:
        path = folder / f"MyExpt_{name}.csv"
        change(pd.read_csv(path)).to_csv(path, index=False)

    return damage


def _moved(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(Location_Center_X=table["Location_Center_X"] + 30)


def _shuffled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(ObjectNumber=np.r_[table["ObjectNumber"][:6][::-1], table["ObjectNumber"][6:]])


CASES = [
    Case(
        "read_cellprofiler",
        write_cellprofiler,
        read_cellprofiler,
        cells=measured,
        measures=True,  # label images are compared with the tables
        refusals=(
            Refusal("no-image", lambda f: (f / "img" / "A2_CD8.tiff").unlink(), "'A2': no file 'A2_CD8.tiff'"),
            Refusal("no-mask", lambda f: (f / "masks" / "A1_cells.tiff").unlink(), "'A1': no file 'A1_cells.tiff'"),
            Refusal("id-twice", in_table(lambda t: pd.concat([t, t[:1]])), "'A1': 1 id occurs more than once: 1"),
            Refusal("id-not-in-mask", in_table(lambda t: t.replace({"ObjectNumber": {3: 4}})), "not in the labels: 4"),
            Refusal("outside", in_table(_moved), "'A1': 6 cells of 6 outside of the image, which is 14.0 x 10.0 µm"),
            Refusal("numbered-anew", in_table(_shuffled), "'A1': 6 cells of 6 are not where the mask has them"),
            Refusal(
                "image-unknown", in_table(lambda t: t.assign(ImageNumber=7)), "objects of 1 image that .* lacks: 7"
            ),
            Refusal(
                "mask-of-another",
                lambda f: tifffile.imwrite(f / "masks" / "A1_cells.tiff", blobs(28, 30)),
                "28 x 30 pixels .* 20 x 28",
            ),
        ),
    ),
]
