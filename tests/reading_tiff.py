"""Cases of `read_tiff` and `read_cohort` for `io/test_contract.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from reading import Case, Refusal, Sample, blobs, counts, measured

import spatialfm as sfm

NAMES = ("DAPI", "CD3", "CD8")


def _image(path: Path, pixels: np.ndarray, mpp: float = 0.5) -> None:
    sizes = {f"PhysicalSize{axis}": mpp for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX", "Channel": {"Name": list(NAMES)}, **sizes})


def write_one(folder: Path) -> list[Sample]:
    """An OME-TIFF and its mask."""
    sample = Sample("core_1", 0.5, NAMES, counts(3, 20, 28), blobs(20, 28))
    _image(folder / "core 1.ome.tif", sample.pixels)
    tifffile.imwrite(folder / "mask.tif", sample.labels)
    return [sample]


def write_cohort(folder: Path) -> list[Sample]:
    """Two OME-TIFFs of different sizes, their masks, and the table."""
    samples = [
        Sample("a", 0.5, NAMES, counts(3, 20, 28), blobs(20, 28), patient="001"),
        Sample("b", 0.5, NAMES, counts(3, 28, 20, start=7), blobs(28, 20, first=3), patient="002"),
    ]
    for sample in samples:
        _image(folder / f"{sample.name}.ome.tif", sample.pixels)
        tifffile.imwrite(folder / f"{sample.name}_mask.tif", sample.labels)
    names = [sample.name for sample in samples]
    frame = pd.DataFrame({"sample": names, "patient": [sample.patient for sample in samples], "grade": [1, 2]})
    frame["image"] = [f"{name}.ome.tif" for name in names]
    frame["labels"] = [f"{name}_mask.tif" for name in names]
    frame.to_csv(folder / "cohort.csv", index=False)
    return samples


def _truncate(folder: Path) -> None:
    path = next(folder.glob("*.ome.tif"))
    path.write_bytes(path.read_bytes()[:200])


def _edit(old: str, new: str):
    def damage(folder: Path) -> None:
        path = folder / "cohort.csv"
        path.write_text(path.read_text().replace(old, new))

    return damage


def _mask_of_another(name: str):
    return lambda folder: tifffile.imwrite(folder / name, blobs(28, 30))


def _read_one(folder: Path, **options):
    return sfm.io.read_tiff(folder / "core 1.ome.tif", folder / "mask.tif", **options)


CASES = [
    Case(
        "read_tiff",
        write_one,
        _read_one,
        has_samples=False,
        refusals=(
            Refusal("truncated", _truncate, "core 1.ome.tif"),
            Refusal("mask-of-another-image", _mask_of_another("mask.tif"), "28 x 30 pixels .* 20 x 28"),
            Refusal("no-mask", lambda folder: (folder / "mask.tif").unlink(), "mask.tif"),
            Refusal(
                "names-too-few",
                lambda folder: None,
                "2 .* 3",
                lambda folder: _read_one(folder, channel_names=["DAPI", "CD3"]),
            ),
        ),
    ),
    Case(
        "read_cohort",
        write_cohort,
        lambda folder: sfm.io.read_cohort(folder / "cohort.csv", cell_table=False),
        refusals=(
            Refusal("no-image", lambda folder: (folder / "b.ome.tif").unlink(), "b.ome.tif"),
            Refusal("mask-of-another-image", _mask_of_another("a_mask.tif"), "'a': .* 28 x 30 pixels .* 20 x 28"),
            Refusal("sample-twice", _edit("\nb,", "\na,"), "'a'"),
            Refusal("no-patient", _edit("002", ""), "patient"),
        ),
    ),
    Case(
        "read_cohort-cells",
        write_cohort,
        lambda folder: sfm.io.read_cohort(folder / "cohort.csv"),
        cells=measured,
        measures=True,
    ),
]
