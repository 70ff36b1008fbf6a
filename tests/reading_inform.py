"""Cases of `read_inform` for `io/test_contract.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from reading import Case, Refusal, Sample, blobs, counts, measured

import spatialfm as sfm

NAMES = ("DAPI", "CD8 (Opal 520)", "CK (Opal 690)")
FIELDS = {"Set 1_[100,200]": ("p1", 20, 28), "Set 2_[900,700]": ("p2", 28, 20)}
UNIT = "(Normalized Counts, Total Weighting)"
TISSUE = (
    "<TissueClassMap>" + "".join(f"<Entry><Name>{n}</Name></Entry>" for n in ("Tumor", "Stroma")) + "</TissueClassMap>"
)
_XML = '<?xml version="1.0" encoding="utf-16"?>\r\n'
_RESOLUTION = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 µm


def write_pages(path: Path, pages: list[tuple[str, np.ndarray]]) -> None:
    """Pages, each with its own description and perhaps its own type, as inForm writes them."""
    with tifffile.TiffWriter(path) as tif:
        for text, pixels in pages:
            tif.write(pixels, description=_XML + text, metadata=None, photometric="minisblack", **_RESOLUTION)


def component(name: str) -> str:
    inner = f"<ImageType>FullResolution</ImageType><Name>{name}</Name>"
    return f"<PerkinElmer-QPI-ImageDescription>{inner}</PerkinElmer-QPI-ImageDescription>"


def segmentation(name: str) -> str:
    inner = f"<Version>1.0.2</Version>\r\n <CompartmentType>{name}</CompartmentType>"
    return f"<SegmentationImage>\r\n {inner}\r\n</SegmentationImage>"


def parts(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Nucleus, cytoplasm and membrane of squares of 5 x 5 pixels: centre, ring, outer ring."""
    padded = np.pad(labels, 2)
    depth = np.zeros(labels.shape, int)
    for k in (1, 2):
        window = [padded[2 + dy : 2 + dy + labels.shape[0], 2 + dx : 2 + dx + labels.shape[1]]
                  for dy in range(-k, k + 1) for dx in range(-k, k + 1)]  # fmt: skip
        depth += (np.stack(window) == labels).all(axis=0)
    names = {"Nucleus": depth == 2, "Cytoplasm": depth == 1, "Membrane": depth == 0}
    return {name: np.where(where, labels, 0).astype(np.uint32) for name, where in names.items()}


def tissue_of(shape: tuple[int, int]) -> np.ndarray:
    """Numbers of the categories, from 0 on: tumour on the left of x = 14, stroma on its right, none in the last row."""
    tissue = np.broadcast_to((np.arange(shape[1]) >= 14).astype(np.uint8), shape).copy()
    tissue[-1] = 255
    return tissue


def write_maps(path: Path, labels: np.ndarray, leave_out: tuple[str, ...] = ()) -> None:
    planes = [(segmentation(name), part) for name, part in parts(labels).items() if name not in leave_out]
    write_pages(path, [(TISSUE, tissue_of(labels.shape)), *planes])


def table_of(field: str, sample: Sample, *, microns: bool = False) -> pd.DataFrame:
    """Rows as inForm writes them; positions are whole pixels, or µm from the corner of the slide on."""
    means = measured([sample])
    table = pd.DataFrame({"Path": "C:\\data", "Sample Name": f"{field}.im3"}, index=means.index)
    table["Tissue Category"] = np.where(means["x"] < 7, "Tumor", "Stroma")
    table["Phenotype"] = ["CD8+", "CK+", "Other"] * 2
    table["Cell ID"] = means["id"]
    corner = np.zeros(2)
    if microns:
        at = np.array([float(v) for v in field.partition("[")[2].strip("]").split(",")])
        corner = at - np.array(sample.labels.shape[::-1]) * 0.25
    for i, axis in enumerate("XY"):
        table[f"Cell {axis} Position"] = means["xy"[i]] + corner[i] if microns else means["xy"[i]] / 0.5
    table["Category Region ID"] = "#N/A"
    table["Nucleus Area (square microns)" if microns else "Nucleus Area (pixels)"] = 1
    table["Nucleus Area (percent)"] = "0.17 %"
    for marker in NAMES:
        table[f"Nucleus {marker} Mean {UNIT}"] = -1.0
        table[f"Entire Cell {marker} Mean {UNIT}"] = means[marker]
    table["Confidence"] = "97.57 %"
    table["inForm 2.4.6781.17769"] = ""
    return table


def write_inform(folder: Path, *, microns: bool = False) -> list[Sample]:
    """Two fields with their images, maps and tables, and the table of patients."""
    samples = []
    for i, (field, (patient, height, width)) in enumerate(FIELDS.items()):
        name = sfm.io.sample_name(field)
        pixels, labels = counts(3, height, width, start=5 * i).astype(np.float32), blobs(height, width)
        sample = Sample(name, 0.5, NAMES, pixels, labels.astype(np.uint32), patient)
        write_pages(
            folder / f"{field}_component_data.tif", [(component(n), p) for n, p in zip(NAMES, pixels, strict=True)]
        )
        write_maps(folder / f"{field}_binary_seg_maps.tif", labels)
        table_of(field, sample, microns=microns).to_csv(folder / f"{field}_cell_seg_data.txt", sep="\t", index=False)
        samples.append(sample)
    (folder / "Set 1_[100,200]_cell_seg_data_summary.txt").write_text("Cell ID\tPhenotype\nall\tAll\n")
    frame = pd.DataFrame({"sample": list(FIELDS), "patient": ["p1", "p2"], "time": [10.0, 20.0], "event": [1, 0]})
    frame.to_csv(folder / "clinical.csv", index=False)
    return samples


def read_inform(folder: Path, **options):
    return sfm.io.read_inform(folder, clinical=folder / "clinical.csv", **options)


def _in_table(change, field: str = "Set 1_[100,200]"):
    def damage(folder: Path) -> None:
        path = folder / f"{field}_cell_seg_data.txt"
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)

    return damage


def _gone(name: str):
    return lambda folder: (folder / name).unlink()


def _maps_of_another(folder: Path) -> None:
    write_maps(folder / "Set 1_[100,200]_binary_seg_maps.tif", blobs(28, 20))


def _numbered_anew(folder: Path) -> None:
    labels = blobs(20, 28)
    write_maps(folder / "Set 1_[100,200]_binary_seg_maps.tif", np.where(labels, 12 - labels, 0))


def _wider(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{"Cell X Position": table["Cell X Position"] + 40})


CASES = [
    Case(
        "read_inform",
        write_inform,
        read_inform,
        cells=measured,
        measures=True,  # masks are compared with the tables
        refusals=(
            Refusal(
                "no-image", _gone("Set 2_[900,700]_component_data.tif"), "no file 'Set 2_.900,700._component_data.tif'"
            ),
            Refusal(
                "no-maps", _gone("Set 2_[900,700]_binary_seg_maps.tif"), "no file 'Set 2_.900,700._binary_seg_maps.tif'"
            ),
            Refusal("maps-of-another-field", _maps_of_another, "28 x 20 pixels .y, x., image .* is 20 x 28"),
            Refusal("maps-numbered-anew", _numbered_anew, "are not where the mask has them"),
            Refusal("id-twice", _in_table(lambda t: t.assign(**{"Cell ID": 1})), "1 id occurs more than once: 1"),
            Refusal(
                "id-not-in-mask",
                _in_table(lambda t: t.replace({"Cell ID": {3: 4}})),
                "1 cell of 6 not in the labels: 4",
            ),
            Refusal("outside", _in_table(_wider), "cells? of 6 outside of the image, which is 14.0 x 10.0 µm"),
            Refusal(
                "no-patient",
                lambda folder: None,
                "neither a column 'case'",
                lambda f: read_inform(f, library_key="case"),
            ),
        ),
    ),
    Case(
        "read_inform-microns",
        lambda folder: write_inform(folder, microns=True),
        read_inform,
        cells=measured,
        measures=True,
    ),
]
