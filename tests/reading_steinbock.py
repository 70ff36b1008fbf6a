"""A folder as steinbock leaves it, and the cases of `read_steinbock` for `io/test_contract.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from reading import Case, Refusal, Sample, blobs, counts, measured
from skimage.measure import regionprops_table

import spatialfm as sfm

KEPT = ("DNA1", "CD3 (ε)", "CD8a")
PANEL = "channel,name,keep,ilastik,deepcell\nIr191,DNA1,1,1,1\nNd142,CD19,0,,\nEr170,CD3 (ε),1,2,2\nDy162,CD8a,1,,\n"


def write(folder: Path, *, mpp: float = 1.0, second: bool = True) -> list[Sample]:
    """Two images: panel, images.csv, img, masks, intensities, regionprops and neighbors."""
    samples = [Sample("slide_1_001", mpp, KEPT, counts(3, 20, 28).astype(np.float32), varied(blobs(20, 28)))]
    if second:
        pixels = counts(3, 28, 21, start=9).astype(np.float32)
        samples.append(Sample("slide_1_002", mpp, KEPT, pixels, varied(blobs(28, 21, first=5))))
    files = {"slide_1_001": "slide 1_001", "slide_1_002": "slide 1_002"}
    (folder / "panel.csv").write_text(PANEL, encoding="utf-8")
    for name in ("img", "masks", "intensities", "regionprops", "neighbors"):
        (folder / name).mkdir()
    rows = []
    for number, sample in enumerate(samples, 1):
        file = files[sample.name]
        _write_stack(folder / "img" / f"{file}.tiff", sample.pixels)
        _write_stack(folder / "masks" / f"{file}.tiff", sample.labels[None])
        _write_tables(folder, file, sample)
        _, height, width = sample.pixels.shape
        rows.append(
            {
                "image": f"{file}.tiff",
                "width_px": width,
                "height_px": height,
                "num_channels": 3,
                "source_file": "slide 1.mcd",
                "recovery_file": None,
                "recovered": False,
                "acquisition_id": number,
                "acquisition_description": f"tumour {number}",
                "acquisition_width_um": width * mpp,
                "acquisition_height_um": height * mpp,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)
    return samples


def varied(labels: np.ndarray) -> np.ndarray:
    """Cells of three widths, so that no two neighbours in the table have the same shape."""
    for i, label in enumerate(np.unique(labels)[1:]):
        columns = np.flatnonzero((labels == label).any(axis=0))
        for column in columns[: i % 3]:
            labels[labels[:, column] == label, column] = 0
    return labels


def _write_stack(path: Path, pixels: np.ndarray) -> None:
    """A stack TZCYXS, as steinbock writes images and masks."""
    tifffile.imwrite(path, pixels[None, None, :, :, :, None], imagej=True)


def _write_tables(folder: Path, file: str, sample: Sample) -> None:
    props = regionprops_table(
        sample.labels,
        np.moveaxis(sample.pixels, 0, -1),
        properties=["label", "area", "centroid", "axis_major_length", "eccentricity", "intensity_mean"],
    )
    props = pd.DataFrame(props).rename(columns={"label": "Object"})
    means = [f"intensity_mean-{i}" for i in range(3)]
    intensities = props[["Object", *means]].set_axis(["Object", *KEPT], axis=1)
    intensities.to_csv(folder / "intensities" / f"{file}.csv", index=False)
    props.drop(columns=means).to_csv(folder / "regionprops" / f"{file}.csv", index=False)
    edges(sample).to_csv(folder / "neighbors" / f"{file}.csv", index=False)


def edges(sample: Sample) -> pd.DataFrame:
    """Each cell and the one with the next id, in both directions, with the distance of their centroids in pixels."""
    ids = np.unique(sample.labels)[1:]
    centre = {label: np.argwhere(sample.labels == label).mean(axis=0) for label in ids}
    pairs = [pair for a, b in zip(ids[:-1], ids[1:], strict=True) for pair in ((a, b), (b, a))]
    distance = [np.linalg.norm(centre[a] - centre[b]) for a, b in pairs]
    return pd.DataFrame(pairs, columns=["Object", "Neighbor"]).assign(Distance=distance)


def edited(name: str, old: str, new: str):
    """Text of a file changed."""

    def damage(folder: Path) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


def _mask_of_another(folder: Path) -> None:
    _write_stack(folder / "masks" / "slide 1_001.tiff", blobs(30, 31)[None])


def _second_masks(folder: Path) -> None:
    (folder / "masks_cellpose").mkdir()
    _write_stack(folder / "masks_cellpose" / "slide 1_001.tiff", blobs(20, 28)[None])


def _doubled(folder: Path) -> None:
    path = folder / "intensities" / "slide 1_001.csv"
    frame = pd.read_csv(path)
    pd.concat([frame, frame.iloc[:1]]).to_csv(path, index=False)


def read_plain(folder: Path):
    return sfm.io.read_steinbock(folder, cell_table=False)


def read_measured(folder: Path):
    return sfm.io.read_steinbock(folder, intensities=True, regionprops=True, neighbors=True)


_OF_TABLES = (
    Refusal("duplicate-ids", _doubled, "slide 1_001.csv' has 1 id more than once: 1", read_measured),
    Refusal(
        "tables-of-other-masks",
        edited("intensities/slide 1_002.csv", "\n5,", "\n4,"),
        "not of the same cells: 2 ids .*4, 5",
        read_measured,
    ),
    Refusal(
        "masks-of-another-run",
        lambda folder: _write_stack(folder / "masks" / "slide 1_001.tiff", np.roll(blobs(20, 28), 2, axis=1)[None]),
        "have another centroid in the region properties .* measured with other masks",
        read_measured,
    ),
    Refusal(
        "neighbour-unknown",
        edited("neighbors/slide 1_001.csv", "\n1,3,", "\n1,99,"),
        "slide_1_001.*1 cell that the table lacks: 99",
        read_measured,
    ),
    Refusal(
        "no-intensities",
        lambda folder: (folder / "intensities" / "slide 1_002.csv").unlink(),
        "No table .*intensities/slide 1_002.csv",
        read_measured,
    ),
    Refusal(
        "another-panels-intensities",
        edited("intensities/slide 1_001.csv", "DNA1", "DNA9"),
        "columns that are not in the panel: 'DNA9'",
        read_measured,
    ),
)

CASES = [
    Case(
        "read_steinbock",
        write,
        read_plain,
        refusals=(
            Refusal("no-panel", lambda folder: (folder / "panel.csv").unlink(), "No panel .*panel.csv.*channel_names="),
            Refusal(
                "panel-of-more-channels",
                edited("panel.csv", "CD19,0", "CD19,1"),
                "slide 1_001.tiff' has 3 channels, but '.*panel.csv' keeps 4 of 4 rows",
            ),
            Refusal(
                "panel-edited-after-extraction",
                edited("panel.csv", PANEL, PANEL.replace("Nd142,CD19,0,,\n", "").replace("CD8a,1", "CD8a,0")),
                "keeps 2 of 3 rows. It has as many as the panel has rows",
            ),
            Refusal("name-twice", edited("panel.csv", "CD8a", "DNA1"), "name 'DNA1' occurs 2 times"),
            Refusal("no-name", edited("panel.csv", "CD8a", ""), "channel 'Dy162' is kept, but has no name"),
            Refusal("keep-unclear", edited("panel.csv", "CD19,0", "CD19,no"), "'no' in column 'keep'"),
            Refusal("mask-of-another-image", _mask_of_another, "slide_1_001.*30 x 31 pixels .* 20 x 28"),
            Refusal("two-folders-of-masks", _second_masks, "2 folders of masks: 'masks', 'masks_cellpose'.*masks="),
            Refusal(
                "images-csv-of-another-extraction",
                edited("images.csv", "slide 1_002.tiff,21", "slide 1_002.tiff,30"),
                "21 columns instead of 30",
            ),
            Refusal("not-a-folder", lambda folder: None, "is not there", lambda folder: read_plain(folder / "none")),
            Refusal("no-images", lambda folder: (folder / "img").rename(folder / "images"), "no TIFF file.*images="),
        ),
    ),
    Case("read_steinbock-cells", write, sfm.io.read_steinbock, cells=measured, measures=True),
    Case("read_steinbock-tables", write, read_measured, cells=measured, measures=True, refusals=_OF_TABLES),
]
