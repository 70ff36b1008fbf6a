"""Data sets in spora's layout, and the cases of `read_spora` for `io/test_contract.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from reading import Case, Refusal, Sample, blobs, measured
from reading_ome_zarr import edit, write_store

import spatialfm as sfm

CHANNELS = ("CD3", "CD20", "DNA", "Empty", "CD68")
PASSED = ("CD3", "CD20", "DNA", "CD68")
STATISTICS = "imc/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image"


def write_data_set(folder: Path, side: int = 40) -> list[Sample]:
    """Two images by IMC: one of all channels, one without CD20; one channel did not pass quality control."""
    rng = np.random.default_rng(0)
    samples = []
    for i, (name, lacks) in enumerate((("demo_p1_0001", ()), ("demo_p2_0001", ("CD20",)))):
        names = [one for one in CHANNELS if one not in lacks]
        pixels = rng.poisson(5, (len(names), side, side + 8 * i)).astype("float32")
        labels = blobs(side, side + 8 * i, first=1 + i)
        store = folder / "imc/1_0mpp/images" / f"{name}.ome.zarr"
        write_store(store, pixels, names=tuple(names), mpp=1.0, factors=())
        for kind, mask in (("cell_masks/instances", labels), ("tissue_masks", labels > 0)):
            path = folder / "segmentations/1_0mpp" / kind / f"{name}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, mask=mask)
        kept = [one for one in names if one in PASSED]
        keep = [names.index(one) for one in kept]
        samples.append(Sample(name, 1.0, tuple(kept), pixels[keep], labels, f"p{i + 1}"))
    _tables(folder, samples)
    return samples


def _tables(folder: Path, samples: list[Sample]) -> None:
    names = [sample.name for sample in samples]
    channels = pd.DataFrame({"channel_name": CHANNELS, "qc_pass": [one in PASSED for one in CHANNELS]})
    channels["uniprot_id"] = ["P07766", "P11836", None, None, "P34810"]
    channels.to_parquet(folder / "imc/channels.parquet")
    has = [[True] * 5, [one != "CD20" for one in CHANNELS]]
    table = pd.DataFrame(has, index=pd.Index(names, name="tissue_id"), columns=list(CHANNELS))
    table.to_parquet(folder / "imc/channels_per_tissue.parquet")
    (folder / "metadata").mkdir()
    tissues = pd.DataFrame({"index": [7, 9], "tissue_id": names, "patient_id": [sample.patient for sample in samples]})
    tissues = tissues.assign(modality="imc", split=["train", "test"], overall_survival=[31.5, 60.0])
    tissues.to_parquet(folder / "metadata/tissues.parquet")
    ids = [np.unique(sample.labels)[1:] for sample in samples]
    cells = pd.DataFrame({"tissue_id": np.repeat(names, [one.size for one in ids]), "cell_id": np.concatenate(ids)})
    cells["cell_type_atlas"] = np.where(cells["cell_id"] % 3 == 0, "T cell", "Tumor")
    cells.to_parquet(folder / "metadata/cells.parquet")
    published = folder / STATISTICS
    published.mkdir(parents=True)
    for i, name in enumerate(("global_level_means", "global_level_stds")):
        pd.DataFrame([np.arange(1, 6) / (2 + i)], columns=list(CHANNELS)).to_parquet(published / f"{name}.parquet")
    quantiles = pd.DataFrame(np.arange(10).reshape(2, 5) + 6.0, index=names, columns=list(CHANNELS))
    quantiles.to_parquet(published / "image_level_upper_quantiles.parquet")


def _rows(name: str, change):
    def damage(folder: Path) -> None:
        change(pd.read_parquet(folder / name)).to_parquet(folder / name)

    return damage


def _other_order(folder: Path) -> None:
    store = folder / "imc/1_0mpp/images/demo_p1_0001.ome.zarr"

    def swap(ome: dict) -> dict:
        first, second, *rest = ome["omero"]["channels"]
        return ome | {"omero": {"channels": [second, first, *rest]}}

    edit(store, swap)


def _no_pixels(folder: Path) -> None:
    shutil.rmtree(folder / "imc/1_0mpp/images/demo_p2_0001.ome.zarr/s0/c")


def _another_mask(kind: str):
    def damage(folder: Path) -> None:
        path = folder / "segmentations/1_0mpp" / kind / "demo_p1_0001.npz"
        np.savez_compressed(path, mask=blobs(41, 40) > 0 if kind == "tissue_masks" else blobs(41, 40))

    return damage


def _second_modality(folder: Path) -> None:
    (folder / "codex").mkdir()
    shutil.copy(folder / "imc/channels.parquet", folder / "codex/channels.parquet")


def _truncated(folder: Path) -> None:
    path = folder / "metadata/tissues.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def _read(folder: Path, **options):
    return sfm.io.read_spora(folder, **{"cell_table": False, **options})


READERS = (f"{zarr.__name__}:Array.__getitem__",)
CASES = [
    Case(
        "read_spora",
        write_data_set,
        _read,
        READERS,
        refusals=(
            Refusal("no-pixels", _no_pixels, "'demo_p2_0001': .* has metadata but no pixels"),
            Refusal("names-in-other-order", _other_order, "names of their own in another order"),
            Refusal(
                "channel-too-few",
                _rows("imc/channels_per_tissue.parquet", lambda frame: frame.assign(CD68=[True, False])),
                "has 3 channels of image '.*demo_p2_0001.ome.zarr' as measured",
            ),
            Refusal(
                "channel-unknown",
                _rows("imc/channels.parquet", lambda frame: frame[frame["channel_name"] != "CD3"]),
                "has channels that channels.parquet lacks: 'CD3'",
            ),
            Refusal(
                "image-without-row",
                _rows("metadata/tissues.parquet", lambda frame: frame.iloc[:1]),
                "tissues.parquet' has no row of 'imc' for 'demo_p2_0001'",
            ),
            Refusal(
                "row-twice",
                _rows("metadata/tissues.parquet", lambda frame: pd.concat([frame, frame.iloc[:1]])),
                "several rows of 'imc' for 'demo_p1_0001'",
            ),
            Refusal(
                "image-without-channels",
                _rows("imc/channels_per_tissue.parquet", lambda frame: frame.iloc[1:]),
                "no row for 1 image: 'demo_p1_0001'",
            ),
            Refusal(
                "no-patient",
                _rows("metadata/tissues.parquet", lambda frame: frame.assign(patient_id=["p1", None])),
                "1 sample has no patient in column 'patient_id': 'demo_p2_0001'",
            ),
            Refusal("mask-of-another-image", _another_mask("cell_masks/instances"), "41 x 40 pixels .* 40 x 40"),
            Refusal("tissue-of-another-image", _another_mask("tissue_masks"), "Tissue .* 41 x 40 pixels .* 40 x 40"),
            Refusal("two-modalities", _second_modality, "has images of 'codex', 'imc'. Pass modality='codex'"),
            Refusal("damaged-table", _truncated, "tissues.parquet' cannot be read as parquet"),
            Refusal(
                "no-such-sample",
                lambda folder: None,
                "samples= names 'demo_p9', of which there is no image; there is 'demo_p1_0001', 'demo_p2_0001'",
                lambda folder: _read(folder, samples=["demo_p9"]),
            ),
        ),
    ),
    Case(
        "read_spora-cells",
        write_data_set,
        lambda folder: sfm.io.read_spora(folder, "imc"),
        READERS,
        cells=measured,
        measures=True,
    ),
]
