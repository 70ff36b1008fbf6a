"""Cases of `read_geojson` and `read_qupath` for `io/test_contract.py`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from reading import Case, Refusal, Sample, blobs, counts, measured
from reading_tiff import NAMES, _image

import spatialfm as sfm

CLASSES = ("Tumor", "T cell: PD1+", None)


def outlines(labels: np.ndarray) -> dict[int, list[list[float]]]:
    """Ring around each cell of `blobs`, in pixels."""
    rings = {}
    for label in np.unique(labels)[1:]:
        y, x = np.nonzero(labels == label)
        y0, y1, x0, x1 = (float(v) for v in (y.min(), y.max() + 1, x.min(), x.max() + 1))
        rings[int(label)] = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    return rings


def feature(ring: list[list[float]], object_id: object, number: int, **properties) -> dict:
    name = CLASSES[number % 3]
    own = {"objectType": "cell"} | ({"classification": {"name": name}} if name else {}) | properties
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": object_id, "geometry": geometry, "properties": own}


def truth(samples: list[Sample]) -> pd.DataFrame:
    """As `measured`, with cells numbered from 1 in the order of the file."""
    frame = measured(samples)
    return frame.assign(id=frame.groupby("sample").cumcount() + 1)


def write_geojson(folder: Path) -> list[Sample]:
    """An image, and its cells with their measurements; an annotation is among them."""
    sample = Sample("core_1", 0.5, NAMES, counts(3, 20, 28))
    _image(folder / "core 1.ome.tif", sample.pixels)
    labels = blobs(20, 28)
    means = measured([Sample("core_1", 0.5, NAMES, sample.pixels, labels)])
    cells = [
        feature(ring, f"0a{i}-f", i, measurements={f"{name}: Cell: Mean": means[name][i] for name in NAMES})
        for i, ring in enumerate(outlines(labels).values())
    ]
    area = feature([[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]], "region", 0) | {
        "properties": {"objectType": "annotation"}
    }
    content = {"type": "FeatureCollection", "features": [area, *cells]}
    (folder / "core 1.geojson").write_text(json.dumps(content))
    return [sample]


def _geojson_truth(samples: list[Sample]) -> pd.DataFrame:
    sample = samples[0]
    return truth([Sample(sample.name, sample.mpp, sample.channels, sample.pixels, blobs(20, 28))])


QUPATH = {
    "core_1": (counts(3, 20, 28), blobs(20, 28), "p1"),
    "core_2": (counts(3, 28, 20, start=9), blobs(28, 20), "p2"),
}


def write_qupath(folder: Path) -> list[Sample]:
    """Two images, their polygons, one table of both and the patients."""
    for name in ("images", "cells"):
        (folder / name).mkdir()
    tables, samples = [], []
    for name, (pixels, labels, patient) in QUPATH.items():
        file = f"{name.replace('_', ' ')}.ome.tif"
        _image(folder / "images" / file, pixels)
        ids = [f"{name}-{i}" for i in range(len(np.unique(labels)) - 1)]
        cells = [feature(ring, ids[i], i) for i, ring in enumerate(outlines(labels).values())]
        (folder / "cells" / f"{name.replace('_', ' ')}.geojson").write_text(json.dumps(cells))
        means = measured([Sample(name, 0.5, NAMES, pixels, labels)])
        table = pd.DataFrame({"Image": file, "Object ID": ids, "Object type": "Cell"})
        table["Classification"] = [CLASSES[i % 3] or "" for i in range(len(ids))]
        table["Centroid X µm"], table["Centroid Y µm"] = means["x"], means["y"]
        table["Cell: Area µm^2"] = 25 * 0.25
        for marker in NAMES:
            table[f"Nucleus: {marker} mean"] = -1.0
            table[f"Cell: {marker} mean"] = means[marker]
        tables.append(table)
        samples.append(Sample(name, 0.5, NAMES, pixels, patient=patient))
    pd.concat(tables).to_csv(folder / "measurements.tsv", sep="\t", index=False)
    frame = pd.DataFrame({"sample": [f"{s.name.replace('_', ' ')}.ome.tif" for s in samples], "patient": ["p1", "p2"]})
    frame.assign(time=[10.0, 20.0], event=[1, 0]).to_csv(folder / "clinical.csv", index=False)
    return samples


def _qupath_truth(samples: list[Sample]) -> pd.DataFrame:
    return truth([Sample(s.name, 0.5, NAMES, s.pixels, QUPATH[s.name][1]) for s in samples])


def read_qupath(folder: Path, **options):
    given = {"cells": folder / "cells", "images": folder / "images", "clinical": folder / "clinical.csv"}
    return sfm.io.read_qupath(folder / "measurements.tsv", **(given | options))


def _in_geojson(name: str, old: str, new: str):
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return damage


def _in_table(change):
    def damage(folder: Path) -> None:
        path = folder / "measurements.tsv"
        change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)

    return damage


def _as_pixels(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{f"Centroid {axis} µm": table[f"Centroid {axis} µm"] / 0.5 for axis in "XY"})


CASES = [
    Case(
        "read_geojson",
        write_geojson,
        lambda folder: sfm.io.read_geojson(folder / "core 1.geojson", folder / "core 1.ome.tif"),
        cells=_geojson_truth,
        refusals=(
            Refusal(
                "id-twice", _in_geojson("core 1.geojson", '"0a1-f"', '"0a0-f"'), "1 id occurs more than once .*0a0-f"
            ),
            Refusal(
                "outside", _in_geojson("core 1.geojson", "[22.0, ", "[2200.0, "), "reach out of it: .* 28 x 20 pixels"
            ),
            Refusal(
                "truncated",
                _in_geojson("core 1.geojson", '"features": [', '"features": [['),
                "cannot be read as GeoJSON",
            ),
            Refusal(
                "no-cell", _in_geojson("core 1.geojson", '"cell"', '"tile"'), "only 6 tile, 1 annotation, and no cell"
            ),
            Refusal("points", _in_geojson("core 1.geojson", '"Polygon"', '"LineString"'), "not polygons: 6 LineString"),
        ),
    ),
    Case(
        "read_qupath",
        write_qupath,
        read_qupath,
        cells=_qupath_truth,
        refusals=(
            Refusal(
                "no-image", lambda folder: (folder / "images" / "core 2.ome.tif").unlink(), "sample 'core_2': no file"
            ),
            Refusal(
                "no-polygons", lambda folder: (folder / "cells" / "core 1.geojson").unlink(), "sample 'core_1': no file"
            ),
            Refusal(
                "pixels-said-to-be-µm",
                _in_table(_as_pixels),
                "'core_1': .* centroid elsewhere .* a pixel is 1 µm; here it is 0.5",
            ),
            Refusal("id-twice", _in_table(lambda t: pd.concat([t, t[:1]])), "'core_1': 1 id occurs more than once"),
            Refusal(
                "no-polygon",
                _in_geojson("cells/core 1.geojson", "core_1-0", "core_1-x"),
                "1 cell of 6 .* have no polygon",
            ),
            Refusal(
                "polygons-outside",
                _in_geojson("cells/core 2.geojson", "[14.0, ", "[1400.0, "),
                "'core_2': .* reach out of it",
            ),
            Refusal(
                "no-row-of-patients", _in_geojson("clinical.csv", "core 2", "core 3"), "no row for 1 sample: 'core_2'"
            ),
        ),
    ),
    Case(
        "read_qupath-points",
        write_qupath,
        lambda folder: read_qupath(folder, cells=None),
        cells=_qupath_truth,
        refusals=(
            Refusal(
                "pixels-said-to-be-µm",
                _in_table(_as_pixels),
                "outside of the image.*would be inside if they were pixels",
            ),
        ),
    ),
]
