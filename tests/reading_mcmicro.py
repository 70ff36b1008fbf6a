"""Folders as MCMICRO writes them, and the cases of `read_mcmicro` for `io/test_contract.py`.

Tables are made as its quantification makes them (mcquant, with skimage.measure.regionprops).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from reading import Case, Refusal, Sample, blobs, counts, measured
from skimage.measure import regionprops_table

import spatialfm as sfm

# exemplar-like: a channel to be removed, a name that occurs twice
SHEET = pd.DataFrame(
    {
        "channel_number": [1, 2, 3, 4, 5],
        "cycle_number": [1, 1, 1, 2, 2],
        "marker_name": ["DNA", "A488", "CD3", "DNA", "CD20"],
        "background": ["", "", "A488", "", ""],
        "exposure": [10, 100, 50, 10, 80],
        "remove": ["", "TRUE", "", "", ""],
    }
)
ALL = ("DNA_1", "A488", "CD3", "DNA_2", "CD20")
KEPT = ("DNA_1", "CD3", "DNA_2", "CD20")
ROWS = [0, 2, 3, 4]
NAMES = {"centroid-1": "X_centroid", "centroid-0": "Y_centroid", "area": "Area", "major_axis_length": "MajorAxisLength"}
NAMES |= {"minor_axis_length": "MinorAxisLength", "eccentricity": "Eccentricity", "solidity": "Solidity"}
NAMES |= {"extent": "Extent", "orientation": "Orientation"}


def quantified(pixels: np.ndarray, labels: np.ndarray, channels=ALL) -> pd.DataFrame:
    """What mcquant writes."""
    properties = ["label", "centroid", *[name for name in NAMES if not name.startswith("centroid")]]
    shapes = pd.DataFrame(regionprops_table(labels, properties=properties)).rename(columns=NAMES)
    frame = pd.DataFrame({"CellID": shapes.pop("label")})
    for name, plane in zip(channels, pixels, strict=True):
        frame[name] = regionprops_table(labels, plane, properties=["intensity_mean"])["intensity_mean"]
    return pd.concat([frame, shapes], axis=1)


def write_image(path: Path, pixels: np.ndarray, mpp: float | None = 0.65) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {f"PhysicalSize{axis}": mpp for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    if mpp is None:
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None)
    else:
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX", **sizes})


def write_mask(project: Path, method: str, image: str, labels: np.ndarray, name: str = "cell.ome.tif") -> None:
    folder = project / "segmentation" / f"{method}-{image}"
    folder.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / name, labels)


def write_table(project: Path, name: str, frame: pd.DataFrame) -> None:
    folder = project / "quantification"
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / name, index=False)


def write_slide(project: Path, start: int = 0, *, table: str = "{image}--{method}_{mask}.csv") -> Sample:
    """A whole slide, segmented by one method into cells and nuclei, and quantified."""
    name = project.name
    pixels, labels = counts(5, 26, 34, start), blobs(26, 34)
    write_image(project / "registration" / f"{name}.ome.tif", pixels)
    SHEET.to_csv(project / "markers.csv", index=False)
    write_mask(project, "unmicst", name, labels)
    nuclei = blobs(26, 34, side=3)
    write_mask(project, "unmicst", name, nuclei, "nuclei.ome.tif")
    if table:
        for mask in ("cell", "nuclei"):
            frame = quantified(pixels, labels if mask == "cell" else nuclei)
            write_table(project, table.format(image=name, method="unmicst", mask=mask), frame)
    return Sample(name, 0.65, KEPT, pixels[ROWS], labels)


def write_array(project: Path, n: int = 2, mpp: float | None = None) -> list[Sample]:
    """Cores of a tissue array, without pixel size of their own, and the image of the whole array, which has it."""
    samples = []
    write_image(project / "registration" / f"{project.name}.ome.tif", counts(5, 30, 40), 0.5)
    SHEET.to_csv(project / "markers.csv", index=False)
    for i in range(1, n + 1):
        pixels, labels = counts(5, 18 + 2 * i, 26, start=i), blobs(18 + 2 * i, 26, first=i)
        write_image(project / "dearray" / f"{i}.tif", pixels, mpp)
        write_image(project / "dearray" / "masks" / f"{i}_mask.tif", (labels > 0).astype("uint8"), None)
        write_mask(project, "unmicst", str(i), labels)
        samples.append(Sample(f"{project.name}_{i}", 0.5, KEPT, pixels[ROWS], labels))
    return samples


def _slides(folder: Path) -> list[Sample]:
    samples = [write_slide(folder / f"slide-{i}", start=i) for i in (1, 2)]
    patients = pd.DataFrame({"sample": ["slide-1", "slide-2"], "patient": ["001", "002"], "age": [61, 48]})
    patients.to_csv(folder / "clinical.csv", index=False)
    return [Sample(**{**vars(sample), "patient": f"00{i}"}) for i, sample in enumerate(samples, 1)]


def _read_slides(folder: Path, **options):
    return sfm.io.read_mcmicro(folder, clinical=folder / "clinical.csv", **options)


def _read_array(folder: Path, **options):
    return sfm.io.read_mcmicro(folder / "TMA1", **{"cell_table": False, **options})


def _edit(name: str, old: str, new: str):
    def damage(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return damage


def _second_method(folder: Path) -> None:
    write_mask(folder / "TMA1", "mesmer", "1", blobs(20, 26))


def _other_mask(folder: Path) -> None:
    """The mask was made anew after the table."""
    labels = blobs(26, 34)
    write_mask(folder / "slide-2", "unmicst", "slide-2", np.where(labels, labels + 40, 0).astype("uint16"))


def _gone(*names: str):
    def damage(folder: Path) -> None:
        for path in (folder / name for name in names):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _nothing(folder: Path) -> None:
    """The call is the mistake."""


CELLS = "slide-{0}/quantification/slide-{0}--unmicst_cell.csv"
CASES = [
    Case(
        "read_mcmicro-slides",
        _slides,
        _read_slides,
        cells=measured,
        measures=True,  # all cells are looked up in the mask
        refusals=(
            Refusal("no-panel", _gone("slide-1/markers.csv"), "No file '.*slide-1/markers.csv'"),
            Refusal(
                "panel-of-another-image",
                _edit("slide-2/markers.csv", "5,2,CD20", "5,2,CD4,,,\n6,2,CD20"),
                r"has 6 channels \(5 without the 1 to be removed\), but image '.*slide-2.ome.tif' has 5",
            ),
            Refusal("another-mask", _other_mask, "was measured with another mask: of 12 cells, 0 are"),
            Refusal("one-table-missing", _gone(CELLS.format(2)), "quantification/ for 1 sample of 2 .'slide-2'."),
            Refusal("channel-missing", _edit(CELLS.format(1), "CD20", "CD2"), "no column for 1 channel .*: 'CD20'"),
            Refusal("no-patient", _edit("clinical.csv", "slide-2", "slide-3"), "no row for 1 sample: 'slide-2'"),
            Refusal("id-twice", _edit(CELLS.format(1), "\n3,", "\n1,"), "1 id occurs more than once: 1"),
        ),
    ),
    Case(
        "read_mcmicro-array",
        lambda folder: write_array(folder / "TMA1"),
        _read_array,
        refusals=(
            Refusal("two-methods", _second_method, "segmented by 'mesmer', 'unmicst'. Which .* segmentation='mesmer'"),
            Refusal(
                "no-such-mask",
                _nothing,
                "no mask 'nuclei' of 'unmicst': 'cell'. Pass mask=",
                lambda folder: _read_array(folder, mask="nuclei"),
            ),
            Refusal(
                "no-such-method",
                _nothing,
                "No folder 'segmentation/ilastik-<image>'.* 'unmicst'",
                lambda folder: _read_array(folder, segmentation="ilastik"),
            ),
            Refusal(
                "mask-of-another-core",
                lambda folder: write_mask(folder / "TMA1", "unmicst", "2", blobs(20, 27)),
                "'TMA1_2': Labels .* 20 x 27 pixels .* 22 x 26",
            ),
            Refusal("no-image", _gone("TMA1/dearray", "TMA1/registration"), "No image in .*registration"),
            Refusal(
                "rows-in-disorder", _edit("TMA1/markers.csv", "3,1,CD3", "9,1,CD3"), "order of their channel_number"
            ),
            Refusal("odd-remove", _edit("TMA1/markers.csv", "TRUE", "maybe"), "'maybe' in the column 'remove'"),
            Refusal(
                "odd-background", _edit("TMA1/markers.csv", "CD3,A488", "CD3,A555"), "background 'A555', which is not"
            ),
            Refusal(
                "tables-wanted",
                _nothing,
                "no table in quantification/ for 2 samples of 2",
                lambda folder: _read_array(folder, quantification=True),
            ),
        ),
    ),
]
