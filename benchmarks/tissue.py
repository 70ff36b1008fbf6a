"""Tissue and glass where the truth is known, and on real fields that are full of tissue.

    python benchmarks/tissue.py [--data <folder with the image sets>]

Simulated samples of 256 µm, of which a share is empty glass (`sfm.datasets.simulate_cohort(glass=)`): fluorescence,
with an offset of the camera, autofluorescence and vignetting; and ions, which are photons without camera, thinned to
a twentieth or a two-hundredth (a binomial share of Poisson counts is Poisson). Without the masks of the cells, which
would help: intersection over union of the tissue found and the true one, and the share of the true cells whose
centroid is on tissue, and on a tile of 32 pixels that `sfm.tl.embed_tiles` keeps by default (30 % tissue); the
worst sample of each kind. Next to it Otsu's threshold on the mean of all channels, holes filled, which was used
before. Real fields: the share kept, cells unknown.
"""

from __future__ import annotations

from pathlib import Path

import _harness
import numpy as np
import tifffile
from _harness import head, row
from _labelled import BNHL_500_MPP
from scipy.ndimage import binary_fill_holes
from skimage.filters import threshold_otsu

import spatialfm as sfm
from spatialfm.embed.pixels.tissue import share_of_tissue
from spatialfm.pp.tissue_masks import SIDE, averaged, found_tissue, squares

SHARES = (0.0, 0.1, 0.3, 0.7)
TILE = 32
FIELDS = {
    "spleen, IMC": ("spleen_imc/images/*.ome.tif", 1.0),
    "lymph node, CODEX, 501 pixels": ("bnhl_codex/images/crop501*.ome.tif", 0.377),
    "lymph node, CODEX, 500 pixels": ("bnhl_codex/images/crop500*.ome.tif", BNHL_500_MPP),
    "pancreas, IMC": ("pancreas_imc/*_imc.tiff", 1.0),
    "lymphoma, Opal mIF": ("opal_mif/images/*.ome.tif", 0.497),
    "breast DCIS, MIBI": ("dcis_mibi/images/*.ome.tif", 0.5),
}


def simulated(glass: float, light: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Image, true tissue, pixels of the cells' centroids (y, x), and µm per pixel."""
    ions = light != "fluorescence"
    mpp = 1.0 if ions else 0.5
    options = {"camera_gain": 1, "camera_offset": 0, "read_noise": 0} if ions else {}
    side = round(256 / mpp)
    sdata = sfm.datasets.simulate_cohort(
        1, n_samples=1, image_size=side, mpp=mpp, glass=glass, random_state=seed, **options, difficulty="easy"
    )
    image = sdata["image_P001_1"].values
    if ions:
        image = np.random.default_rng(seed).binomial(image, 1 / 20 if light == "ions" else 1 / 200)
    truth = sdata["true_tissue_P001_1"].values > 0 if glass else np.ones(image.shape[1:], bool)
    cells = (sdata["truth"].obsm["spatial"][:, ::-1] / mpp).astype(int)
    return image, truth, cells, mpp


def found(image: np.ndarray, mpp: float) -> tuple[np.ndarray, int]:
    return found_tissue(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], len(image), image.shape[1:], mpp)


def otsu(image: np.ndarray) -> tuple[np.ndarray, int]:
    step = squares(image.shape[1:], SIDE)
    small = averaged(lambda y0, y1, x0, x1: image[:, y0:y1, x0:x1], len(image), image.shape[1:], step)
    scale = small.mean(axis=(1, 2))
    signal = np.log1p(small[scale > 0] / scale[scale > 0, None, None]).mean(axis=0)
    return binary_fill_holes(signal > threshold_otsu(signal)), step


def on_tiles(mask: np.ndarray, step: int, shape: tuple[int, int], cells: np.ndarray) -> float:
    corners = cells // TILE * TILE
    return (share_of_tissue(mask, step, shape, corners, TILE) >= 0.3).mean()


def scores(mask: np.ndarray, step: int, truth: np.ndarray, cells: np.ndarray) -> list[float]:
    full = mask.repeat(step, axis=0).repeat(step, axis=1)[: truth.shape[0], : truth.shape[1]]
    union = (full | truth).sum()
    return [(full & truth).sum() / union, full[tuple(cells.T)].mean(), on_tiles(mask, step, truth.shape, cells)]


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--samples", type=int, default=4, help="of each kind")
    arguments = parser.parse_args()
    _harness.quiet()
    head(
        "light", "glass", "overlap", "cells on tissue", "cells on tiles", "the same of the true tissue", "Otsu: overlap"
    )
    for light in ("fluorescence", "ions", "few ions"):
        for glass in SHARES:
            rows = []
            for seed in range(arguments.samples):
                image, truth, cells, mpp = simulated(glass, light, seed)
                best = on_tiles(truth, 1, truth.shape, cells)
                rows.append([*scores(*found(image, mpp), truth, cells), best, scores(*otsu(image), truth, cells)[0]])
            worst = np.min(rows, axis=0)
            row(light, f"{glass:.0%}", *(f"{value:.3f}" for value in worst))
    if arguments.data is not None:
        _harness.part("fields")
        of_fields(arguments.data)
    _harness.finish(arguments)


def of_fields(folder: Path) -> None:
    """What is kept of fields that lie in tissue, all of which are tissue."""
    head("field", "images", "kept, least", "kept, mean", "Otsu, least", "Otsu, mean")
    for name, (pattern, mpp) in FIELDS.items():
        kept = []
        for path in sorted(folder.glob(pattern)):
            image = tifffile.imread(path)
            kept.append((found(image, mpp)[0].mean(), otsu(image)[0].mean()))
        (least, old_least), (mean, old_mean) = np.min(kept, axis=0), np.mean(kept, axis=0)
        row(name, len(kept), *(f"{value:.3f}" for value in (least, mean, old_least, old_mean)))


if __name__ == "__main__":
    main()
