"""OME-Zarr stores as ome-zarr-py writes them, and the cases of `read_ome_zarr` for `io/test_contract.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image, write_labels
from reading import Case, Refusal, Sample, blobs, counts

import spatialfm as sfm

NAMES = ("DAPI", "CD3", "CD8")
FORMATS = {"0.4": FormatV04(), "0.5": FormatV05()}


def axes_of(word: str, unit: str | None = "micrometer") -> list[dict]:
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": axis, "type": kinds.get(axis, "space")} for axis in word]
    return [axis | ({"unit": unit} if unit and axis["type"] == "space" else {}) for axis in axes]


def steps(word: str, mpp: float, factor: int = 1, origin: tuple[float, float] | None = None) -> list[dict]:
    scale = [{"type": "scale", "scale": [mpp * factor if axis in "yx" else 1.0 for axis in word]}]
    if origin is None:
        return scale
    place = dict(zip("yx", origin, strict=True))
    return [*scale, {"type": "translation", "translation": [place.get(axis, 0.0) for axis in word]}]


def write_store(
    path: Path,
    pixels: np.ndarray,
    labels: dict[str, np.ndarray] | None = None,
    *,
    version: str = "0.5",
    word: str = "cyx",
    names: tuple[str, ...] | None = NAMES,
    mpp: float = 0.5,
    unit: str | None = "micrometer",
    factors: tuple[int, ...] = (2,),
    chunks: tuple[int, ...] | None = None,
    compressor: object | None = None,
    origin: tuple[float, float] | None = None,
) -> Path:
    """An image with a pyramid, and label images beside it."""
    fmt = FORMATS[version]
    group = zarr.open_group(str(path), mode="w", zarr_format=fmt.zarr_format)
    placed = [steps(word, mpp, factor, origin) for factor in (1, *factors)]
    write_image(
        pixels,
        group,
        scale_factors=list(factors),
        fmt=fmt,
        axes=axes_of(word, unit),
        storage_options={k: v for k, v in {"chunks": chunks, "compressor": compressor}.items() if v is not None}
        or None,
    )
    edit(path, lambda ome: described(ome, axes_of(word, unit), placed))
    if names:
        window = {"start": 0, "end": 1, "min": 0, "max": 1}
        omero = {"channels": [{"label": name, "color": "FFFFFF", "window": window} for name in names]}
        edit(path, lambda ome: ome | {"omero": omero})
    for name, mask in (labels or {}).items():
        write_labels(
            mask,
            group,
            name=name,
            scaler=None,
            scale_factors=[2],
            fmt=fmt,
            axes=axes_of("yx", unit),
        )
        halves = [steps("yx", mpp, factor, origin) for factor in (1, 2)]
        edit(path / "labels" / name, lambda ome, halves=halves: described(ome, axes_of("yx", unit), halves))
    return path


def described(ome: dict, axes: list[dict], placed: list[list[dict]]) -> dict:
    """The metadata of one image with these axes and places: versions of ome-zarr-py differ in what they take."""
    (image,) = ome["multiscales"]
    datasets = [
        one | {"coordinateTransformations": place} for one, place in zip(image["datasets"], placed, strict=True)
    ]
    return ome | {"multiscales": [image | {"axes": axes, "datasets": datasets}]}


def edit(group: Path, change: Callable[[dict], dict]) -> None:
    """Change what the metadata of a group say of its image."""
    file = group / "zarr.json" if (group / "zarr.json").exists() else group / ".zattrs"
    content = json.loads(file.read_text())
    if file.name == "zarr.json":
        content["attributes"]["ome"] = change(content["attributes"]["ome"])
    else:
        content = change(content)
    file.write_text(json.dumps(content))


def edit_image(group: Path, **changes: object) -> None:
    """The same for entries of its one multiscale image."""
    edit(group, lambda ome: ome | {"multiscales": [ome["multiscales"][0] | changes]})


def _write(version: str):
    def write(folder: Path) -> list[Sample]:
        sample = Sample("core_1", 0.5, NAMES, counts(3, 40, 48), blobs(40, 48))
        write_store(folder / "core 1.ome.zarr", sample.pixels, {"cells": sample.labels}, version=version)
        return [sample]

    return write


def _write_cohort(folder: Path) -> list[Sample]:
    """One store of each version; the labels are named by the store or by their group."""
    samples = [
        Sample("a", 0.5, NAMES, counts(3, 40, 48), blobs(40, 48), patient="001"),
        Sample("b", 0.25, NAMES, counts(3, 48, 40, start=5), blobs(48, 40, first=3), patient="002"),
    ]
    for sample, version in zip(samples, FORMATS, strict=True):
        write_store(
            folder / f"{sample.name}.zarr", sample.pixels, {"cells": sample.labels}, version=version, mpp=sample.mpp
        )
    pd.DataFrame(
        {
            "sample": ["a", "b"],
            "patient": ["001", "002"],
            "image": ["a.zarr", "b.zarr"],
            "labels": ["a.zarr", "b.zarr/labels/cells"],
        }
    ).to_csv(folder / "cohort.csv", index=False)
    return samples


def _read(folder: Path, *args, **options):
    return sfm.io.read_ome_zarr(folder / "core 1.ome.zarr", *args, **options)


def _no_chunks(folder: Path) -> None:
    for level in ("s0", "s1"):
        shutil.rmtree(folder / "core 1.ome.zarr" / level / "c")


def _another_mask(folder: Path) -> None:
    store = folder / "core 1.ome.zarr"
    shutil.rmtree(store / "labels")
    group = zarr.open_group(str(store), mode="r+", zarr_format=3)
    options = {"scaler": None, "scale_factors": [], "fmt": FORMATS["0.5"], "axes": axes_of("yx")}
    write_labels(blobs(48, 40), group, name="cells", **options)


def _cut_metadata(folder: Path) -> None:
    file = folder / "core 1.ome.zarr" / "zarr.json"
    file.write_text(file.read_text()[:-40])


READERS = ("zarr:Array.__getitem__",)
CASES = [
    Case("read_ome_zarr-0.4", _write("0.4"), _read, READERS, has_samples=False),
    Case(
        "read_ome_zarr-0.5",
        _write("0.5"),
        _read,
        READERS,
        has_samples=False,
        refusals=(
            Refusal("no-pixels", _no_chunks, "metadata but no pixels"),
            Refusal("mask-of-another-image", _another_mask, "48 x 40 pixels .* 40 x 48.* look transposed"),
            Refusal("cut-metadata", _cut_metadata, "cannot be read as JSON"),
            Refusal(
                "no-such-labels",
                lambda folder: None,
                "no label image 'nuclei'; it has label images 'cells'",
                lambda folder: _read(folder, "nuclei"),
            ),
            Refusal(
                "names-too-few",
                lambda folder: None,
                "2 .* 3",
                lambda folder: _read(folder, channel_names=["DAPI", "CD3"]),
            ),
            Refusal(
                "half-of-the-levels",
                lambda folder: shutil.rmtree(folder / "core 1.ome.zarr" / "s1"),
                "lists the array 's1', which cannot be opened",
            ),
        ),
    ),
    Case(
        "read_cohort-ome-zarr",
        _write_cohort,
        lambda folder: sfm.io.read_cohort(folder / "cohort.csv", cell_table=False),
        READERS,
    ),
]
