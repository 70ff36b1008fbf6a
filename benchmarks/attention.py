"""Where the attention of channel-summary tokens lies, if one marker is bright in one known place.

    python benchmarks/attention.py [--steps 150] [--samples 36] [--write docs/training.md]

Simulated samples of which every second has a square of CD20, and background of CD20 everywhere else. A small VirTues
without pretraining learns on two thirds of the patients whether a sample has one; in the others the attention of each
token is asked which cells lie in the square (AUROC of each positive sample; t interval over samples).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import _harness
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from _harness import head, interval, row
from scipy import stats
from sklearn.metrics import roc_auc_score
from spatialdata import SpatialData

import spatialfm as sfm

MARKERS = ["CD3", "CD20", "CD68"]
BACKGROUND, BRIGHT = 20, 400  # counts a pixel
MPP = 0.5  # µm per pixel
IMAGE, SIDE, WINDOW = 96, 36, 48  # pixels


def planted_cohort(n_patients: int, image_size: int = IMAGE, side: int = SIDE) -> tuple[SpatialData, np.ndarray]:
    """Samples of which every second has a bright square of CD20, and which cells have their centre in it."""
    sdata = sfm.datasets.simulate_cohort(
        n_patients=n_patients, n_samples=1, image_size=image_size, mpp=MPP, difficulty="easy", random_state=0
    )
    rng, corners = np.random.default_rng(0), {}
    for number, sample in enumerate(sorted(sdata["samples"].obs_names)):
        image = sdata[f"image_{sample}"]
        values = image.to_numpy().astype(np.float32)
        channel = list(image.coords["c"].values).index("CD20")
        values[channel] = rng.poisson(BACKGROUND, values[channel].shape)
        if number % 2:
            y, x = rng.integers(0, image_size - side, 2)
            values[channel, y : y + side, x : x + side] = rng.poisson(BRIGHT, (side, side))
            corners[sample] = (y, x)
        sdata[f"image_{sample}"] = xr.DataArray(
            da.from_array(values.astype(image.dtype)), dims=image.dims, coords=image.coords, attrs=image.attrs
        )
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    samples = table.obs["sample"].astype(str)
    table.obs["group"] = np.where(samples.isin(list(corners)), "planted", "plain")
    yx, inside = table.obsm["spatial"][:, ::-1] / MPP, np.zeros(table.n_obs, bool)
    for sample, corner in corners.items():
        near = (yx >= corner) & (yx < np.add(corner, side))
        inside |= near.all(axis=1) & (samples == sample).to_numpy()
    return sdata, inside


def measured(folder: Path, n_samples: int, steps: int) -> tuple[float, pd.DataFrame]:
    """Balanced accuracy of cells of held-out patients, and an AUROC by positive sample of new patients and token."""
    sdata, inside = planted_cohort(n_samples)
    names = sorted(sdata["samples"].obs_names)
    learning = names[: 2 * n_samples // 3]
    encoder = sfm.models.new_encoder("virtues", dim=32, depth=6, heads=2, hidden=64, decoder_depth=1)
    sfm.models.save_trained(encoder, folder / "base", {"license": "MIT"})
    call = {"markers": MARKERS, "recipe": {"window": WINDOW}, "weights": folder / "base"}
    sfm.train.finetune(
        sdata, "virtues", out=folder / "group", label_key="group", level="tissue", samples=learning,
        validation=0.34, steps=steps, learning_rate=3e-3, batch_size=16, patience=20, workers=0, **call,
    )  # fmt: skip
    sfm.tl.embed_cells(sdata, "virtues", adapter=folder / "group", outputs=["patch", "marker"], **call)
    table, found = sdata["table"], {}
    by_token = {"the patch summaries, as in the paper": table.obsm["X_virtues_group_patch"]}
    by_token |= {name: sfm.get.marker_embedding(table, "X_virtues_group_marker", name) for name in MARKERS}
    for sample in names[2 * n_samples // 3 :]:
        rows = (table.obs["sample"] == sample).to_numpy()
        if inside[rows].any():
            found[sample] = {
                token: roc_auc_score(inside[rows], np.asarray(heat)[rows].ravel()) for token, heat in by_token.items()
            }
    checks = pd.read_csv(folder / "group" / "checks.csv")
    return checks["validation_balanced_accuracy"].iloc[-1], pd.DataFrame(found).T


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--samples", type=int, default=36)
    args = parser.parse_args()
    _harness.quiet()
    with tempfile.TemporaryDirectory() as folder:
        accuracy, auroc = measured(Path(folder), args.samples, args.steps)
    print(f"Balanced accuracy of held-out patients {accuracy:.2f}; {len(auroc)} positive samples of new patients")
    head("attention of the token of", "AUROC")
    for token in auroc.mean().sort_values(ascending=False).index:
        values = auroc[token]
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        row(token, f"{values.mean():.2f} ({interval(low, min(high, 1))})")
    _harness.finish(args)


if __name__ == "__main__":
    main()
