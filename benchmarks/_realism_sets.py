"""Real and simulated images with masks and, where there are any, labels; and representations of their cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _labelled
import numpy as np
import pandas as pd
from _realism import cell_means
from scipy import ndimage
from scipy.spatial import cKDTree

import spatialfm as sfm
from spatialfm._demo import true_rows

if TYPE_CHECKING:
    from _labelled import Labelled
    from anndata import AnnData
    from spatialdata import SpatialData

MAX_CELLS = 800  # cells of an image that are embedded and labelled
WINDOW = 16.0  # µm, side of the window of random features
REPRESENTATIONS = {
    "noise": "16 random numbers",
    "shape": "shape of the mask",
    "random": "random features of a window of pixels",
    "square": "arcsinh of means in a square of 8 µm",
    "neighbours": "arcsinh of means of the 10 nearest cells",
    "mean": "mean intensity",
    "arcsinh": "arcsinh of mean intensity",
    "classical": "classical",
}


@dataclass(frozen=True)
class Set:
    """An image, its masks, and labels of its cells by the masks' numbers (None: not known)."""

    name: str
    sdata: SpatialData
    mpp: float
    labels: pd.Series | None = None
    of_types: bool = True  # whether labels are types of cells, not the regions that these are in

    @property
    def image(self) -> np.ndarray:
        return np.asarray(next(iter(self.sdata.images.values())).values, np.float32)

    @property
    def masks(self) -> np.ndarray:
        name = next(name for name in self.sdata.labels if name.startswith("cells_"))
        return np.asarray(self.sdata.labels[name].values, np.int64)


def labelled(one: Labelled, mpp: float, sample: str | None = None) -> Set:
    """A set with labels of types, or one image of a set with labels of regions."""
    sdata = one.sdata
    if sample is not None:
        sdata = sdata.filter_by_coordinate_system(sample)
    obs = sdata["table"].obs
    labels = pd.Series(obs["label"].to_numpy(object), obs["cell_id"].astype(int)).dropna()
    return Set(one.name if sample is None else f"{one.name}, {sample}", sdata, mpp, labels, of_types=sample is None)


def dcis(data: Path) -> list[Set]:
    return [labelled(_labelled.dcis_image(data), 0.5)]


def opal(data: Path) -> list[Set]:
    return [labelled(_labelled.opal(data), 0.497)]


def bnhl(data: Path) -> list[Set]:
    folder = data / "bnhl_codex"
    many = folder / "images/crop501_56ch.ome.tif", folder / "masks/crop501_cellmask.tif"
    return [
        labelled(_labelled.bnhl(data), _labelled.BNHL_500_MPP),
        Set("lymph node, CODEX (56 channels)", sfm.io.read_tiff(*many, sample="s", mpp=0.377), 0.377),
    ]


def spleen(data: Path) -> list[Set]:
    one = _labelled.spleen(data)
    return [labelled(one, 1.0, sample) for sample in ("r2", "r20")]


def pancreas(data: Path) -> list[Set]:
    out = []
    for name in ("E34", "G01", "J02"):
        paths = data / "pancreas_imc" / f"{name}_imc.tiff", data / "pancreas_imc" / f"{name}_mask.tiff"
        out.append(Set(f"pancreas, IMC, {name}", sfm.io.read_tiff(*paths, sample="s", mpp=1.0), 1.0))
    return out


REAL: tuple[Callable[[Path], list[Set]], ...] = (dcis, bnhl, opal, spleen, pancreas)
# four platforms of realistic tissue, as different as the real sets are; each number can be set by hand
PLATFORMS: dict[str, dict[str, Any]] = {
    "camera": {"mpp": 0.5},
    "camera, background subtracted": {"detector": "subtracted", "mpp": 0.375},
    "ions at 1 µm (IMC)": {"detector": "ions", "mpp": 1.0},
    "ions at 0.5 µm (MIBI)": {
        "detector": "ions",
        "mpp": 0.5,
        "brightness": (0.05, 15.0),
        "background": 0.0001,
        "nonspecific": 0.005,
        "spillover": 0.1,
        "halo": 0.0,
    },
}
SIDE = 256.0  # µm of simulated images


def simulated(difficulty: str, seed: int, n_markers: int = 12) -> list[Set]:
    """A sample of each platform, or the easy cohort's; cells are labelled with the true type that they overlap most."""
    platforms = PLATFORMS if difficulty == "real" else {"easy": {"mpp": 0.5}}
    out = []
    for name, options in platforms.items():
        sdata = sfm.datasets.simulate_cohort(
            1,
            n_samples=1,
            image_size=round(SIDE / options["mpp"]),
            n_markers=n_markers,
            random_state=seed,
            difficulty=difficulty,
            **options,
        )
        out.append(Set(f"{name}, {seed}", sdata, options["mpp"], true_types(sdata)))
    return out


def true_types(sdata: SpatialData) -> pd.Series:
    """Type of the true cell that each mask overlaps most; masks on no cell have none."""
    sfm.pp.cell_table(sdata)
    cells = sdata["table"]
    types = true_rows(sdata, cells)["type"].to_numpy(object)
    return pd.Series(types, cells.obs["cell_id"].astype(int)).dropna()


def represented(one: Set) -> AnnData:
    """Labelled cells of a set, at most `MAX_CELLS`, with every representation in ``obsm``."""
    sdata = one.sdata
    if "table" not in sdata.tables:
        sfm.pp.cell_table(sdata, on_missing="drop")
    sfm.tl.embed_cells(sdata, "classical", on_missing="drop", panel={"on_unknown": "keep"})
    cells = sdata["table"]
    numbers = cells.obs["cell_id"].astype(int)
    cells.obs["label"] = one.labels.reindex(numbers).to_numpy(object)
    features = sfm.get.features(cells, "X_classical")
    image, masks = one.image, one.masks
    means = pd.DataFrame(cell_means(image, masks), np.unique(masks)[1:]).loc[numbers].to_numpy()
    scaled = np.arcsinh(means / np.maximum(means.mean(axis=0), 1e-12))
    xy = np.asarray(cells.obsm["spatial"]) / one.mpp
    nearest = cKDTree(xy).query(xy, min(11, len(xy)))[1][:, 1:]
    shape = features.columns[: next(i for i, name in enumerate(features.columns) if name.endswith("_mean"))]
    found = {
        "noise": np.random.default_rng(1).standard_normal((cells.n_obs, 16)),
        "shape": features[shape].to_numpy(),
        "random": random_features(image, xy, one.mpp),
        "square": squares(image, xy, one.mpp),
        "neighbours": scaled[nearest].mean(axis=1),
        "mean": means,
        "arcsinh": scaled,
        "classical": features.to_numpy(),
    }
    for name, values in found.items():
        cells.obsm[name] = values
    known = np.flatnonzero(cells.obs["label"].notna())
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(known, min(MAX_CELLS, len(known)), replace=False))
    return cells[kept].copy()


def squares(image: np.ndarray, xy: np.ndarray, mpp: float, side: float = 8.0) -> np.ndarray:
    """Arcsinh of means in a square around each cell's centroid: masks play no part."""
    column, row = np.clip(xy.astype(int), 0, np.array(image.shape[:0:-1]) - 1).T
    means = np.stack([ndimage.uniform_filter(channel, max(1, round(side / mpp)))[row, column] for channel in image], 1)
    return np.arcsinh(means / np.maximum(means.mean(axis=0), 1e-12))


def random_features(image: np.ndarray, xy: np.ndarray, mpp: float, width: int = 256) -> np.ndarray:
    """Rectified random projections of the window around each cell, every channel divided by its mean, in arcsinh."""
    half = max(2, round(WINDOW / mpp / 2))
    scale = np.maximum(image.reshape(len(image), -1).mean(axis=1), 1e-12)[:, None, None]
    padded = np.pad(np.arcsinh(image / scale), ((0, 0), (half, half), (half, half)))
    column, row = np.clip(xy.astype(int), 0, np.array(image.shape[:0:-1]) - 1).T
    places, rng, out = np.column_stack([row, column]), np.random.default_rng(2), 0.0
    for channel in padded:
        windows = np.stack([channel[r : r + 2 * half, c : c + 2 * half].ravel() for r, c in places])
        out = out + windows @ rng.standard_normal((windows.shape[1], width)).astype(np.float32)
    return np.maximum(out / np.sqrt(len(padded) * (2 * half) ** 2), 0)
