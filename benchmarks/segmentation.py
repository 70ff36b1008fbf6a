"""Networks of InstanSeg and Cellpose in tiles, beside the same networks on whole images.

    python benchmarks/segmentation.py [--libraries instanseg cellpose] [--images 6] [--size 1000] [--tiles 512 256]
        [--folder NETWORKS] [--write docs/segmentation.md]

Needs the packages ``instanseg-torch`` with ``edt``, and ``cellpose``. No published weights: a small network is trained
on simulated images, and read by the library as a published one is. For InstanSeg it is a U-Net of the library's own
class, trained by the library's own loss and exported by its own class, once for pixels of 0.5 µm, which are those of
the images, and once for 0.65 µm, to which images are brought. For Cellpose it is a network of convolutions in the place
of the published transformer, with the library's own flows, loss, windows and dynamics.

*whole* is the F1 of objects at an intersection over union of 0.5 with the truth, of images in one tile, *tiled* that in
tiles, *difference* the largest of an image, and *agreement* the F1 of the tiled cells with those of the whole image.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import _harness
import numpy as np
import torch
from _harness import head, row

import spatialfm as sfm

MEMBRANE = ["CD3", "CD8", "CD4", "CD20", "CD68", "Cytokeratin"]
MPP = 0.5  # of the simulator
DIAMETER = 8.0  # µm
PERCENTILES = (0.1, 99.9)
CROP = 128


def cohort(n: int, size: int, seed: int):
    return sfm.datasets.simulate_cohort(n, n_samples=1, image_size=size, random_state=seed)


def training_set(mpp: float, planes: bool, seed: int = 100) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels ``(c, y, x)`` and cells ``(y, x)`` of images with pixels of this size."""
    from skimage.transform import resize

    made = cohort(4, 256, seed)
    out = []
    for sample in made["samples"].obs_names:
        image = made[f"image_{sample}"].sel(c=["DAPI", *MEMBRANE]).values.astype(np.float32)
        low, high = np.percentile(image.reshape(len(image), -1), PERCENTILES, axis=1)[..., None, None]
        image, cells = (image - low) / (high - low), made[f"true_cells_{sample}"].values
        if planes:  # as Cellpose is given them
            image = np.stack([image[1:].clip(0, 2).mean(axis=0), image[0].clip(0, 2), image[0] * 0])
        side = round(image.shape[1] * MPP / mpp)
        if side != image.shape[1]:
            image = resize(image, (len(image), side, side), order=1, anti_aliasing=False)
            cells = resize(cells, (side, side), order=0, preserve_range=True, anti_aliasing=False)
        out.append((image.astype(np.float32), cells.astype(np.int64)))
    return out


def batches(images, steps: int, seed: int = 0, size: int = 4):
    """Random squares, turned and mirrored, and their targets."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        pixels, targets = [], []
        for _ in range(size):
            image, target = images[rng.integers(len(images))]
            y, x = rng.integers(0, np.array(image.shape[-2:]) - CROP + 1)
            place = (..., slice(y, y + CROP), slice(x, x + CROP))
            pixels.append(image[place] * rng.uniform(0.8, 1.25, (len(image), 1, 1)))
            targets.append(target[place])
        yield torch.from_numpy(np.stack(pixels).astype(np.float32)), torch.from_numpy(np.stack(targets))


def train_instanseg(folder: Path, mpp: float, steps: int) -> Path:
    """A small network of the library's class, as the TorchScript file that it reads."""
    if (path := folder / f"instanseg-{mpp:g}.pt").is_file():
        return path
    from instanseg.utils.loss.instanseg_loss import InstanSeg, InstanSeg_Torchscript
    from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet

    torch.manual_seed(0)
    net = InstanSeg_UNet(in_channels=1 + len(MEMBRANE), out_channels=[[2], [2], [1]], layers=[32, 16, 8])
    loss = InstanSeg(n_sigma=2, device="cpu", seed_loss_fn="l1_distance", window_size=64)
    net = loss.initialize_pixel_classifier(net)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for step, (pixels, cells) in enumerate(batches(training_set(mpp, planes=False), steps)):
        loss.instance_weight = 1.5 if step > steps // 3 else 0  # seeds first, as the library does it
        optimiser.zero_grad()
        value = loss(net(pixels), cells[:, None].float())
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rates.step()
    made = InstanSeg_Torchscript(net.eval(), pixel_size=mpp, n_sigma=2, backbone_dim_in=1 + len(MEMBRANE))
    torch.jit.script(made).save(str(path))
    return path


class Convolutions(torch.nn.Module):
    """Flows and probability of cells by a small U-Net, called and loaded as Cellpose calls and loads its own."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, **kwargs):
        super().__init__()
        from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet

        self.net = InstanSeg_UNet(in_channels=3, out_channels=[[3]], layers=[32, 16, 8])

    def forward(self, pixels):
        return self.net(pixels), torch.zeros(len(pixels), 256)

    def load_model(self, path, device=None, strict=False):
        self.load_state_dict(torch.load(path, weights_only=True))


def train_cellpose(folder: Path, steps: int) -> Path:
    """Weights of `Convolutions`, which stands where the library's own network would."""
    import cellpose.models
    from cellpose.dynamics import labels_to_flows
    from cellpose.train import _loss_fn_seg

    cellpose.models.CPSAM = Convolutions
    if (path := folder / "cellpose").is_file():
        return path
    torch.manual_seed(0)
    images = [
        (image, labels_to_flows([cells.astype(np.int32)], device=torch.device("cpu"))[0][1:])
        for image, cells in training_set(DIAMETER / 30, planes=True)  # 30 pixels are a diameter
    ]
    net = Convolutions()
    optimiser = torch.optim.Adam(net.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for pixels, flows in batches(images, steps):
        optimiser.zero_grad()
        _loss_fn_seg(flows, net(pixels)[0], "cpu").backward()
        optimiser.step()
        rates.step()
    torch.save(net.state_dict(), path)
    return path


def measure(sdata, name: str, method: str, weights: Path, tiles: list[int]) -> None:
    """One row per size of tiles."""
    samples = list(sdata["samples"].obs_names)
    options = {"nuclear": "DAPI", "membrane": MEMBRANE, "weights": weights, "diameter": DIAMETER}
    scores: dict[object, list[float]] = {}
    for side in [None, *tiles]:
        key = f"tiles{side}" if side else "whole"
        start = time.perf_counter()
        size = side or 2 * max(sdata[f"image_{samples[0]}"].shape[1:])
        sfm.pp.segment_cells(sdata, method, key_added=key, tile_size=size, **options)
        seconds = time.perf_counter() - start
        scores[side] = [score(sdata, f"{key}_{one}", f"true_cells_{one}") for one in samples]
        if side is None:
            continue
        same = [score(sdata, f"{key}_{one}", f"whole_{one}") for one in samples]
        differences = np.abs(np.subtract(scores[side], scores[None]))
        row(
            name, side, f"{np.mean(scores[None]):.3f}", f"{np.mean(scores[side]):.3f}",
            f"{abs(np.mean(scores[side]) - np.mean(scores[None])):.4f}", f"{differences.max():.4f}",
            f"{np.mean(same):.4f}", f"{seconds / len(samples):.0f} s",
        )  # fmt: skip


def score(sdata, found: str, truth: str) -> float:
    """F1 of objects at an intersection over union of 0.5."""
    found, truth = (sdata[name].values.ravel().astype(np.int64) for name in (found, truth))
    width = int(truth.max()) + 1
    pairs, shared = np.unique(found * width + truth, return_counts=True)
    one, other = pairs // width, pairs % width
    areas, others = np.bincount(found), np.bincount(truth)
    hit = (one > 0) & (other > 0) & (shared > 0.5 * (areas[one] + others[other] - shared))
    return 2 * hit.sum() / (np.count_nonzero(areas[1:]) + np.count_nonzero(others[1:]))


def main() -> None:
    parser = _harness.parser(__doc__)
    parser.add_argument("--libraries", nargs="+", default=["instanseg", "cellpose"])
    parser.add_argument("--pixels", type=float, nargs="+", default=[MPP, 0.65], help="µm, of the networks of InstanSeg")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 256])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where trained networks are kept, and taken from if they are there")
    arguments = parser.parse_args()
    _harness.quiet()
    sfm.settings.device = "cpu"
    sdata = cohort(arguments.images, arguments.size, seed=7)
    head("network", "tiles", "F1 whole", "F1 tiled", "difference", "largest of an image", "agreement", "per image")
    with tempfile.TemporaryDirectory() as temporary:
        sfm.settings.cache_dir = Path(temporary) / "cache"
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)  # before networks are trained that could not be kept
        runs = []
        if "instanseg" in arguments.libraries:
            for mpp in arguments.pixels:
                name = f"InstanSeg, {mpp:g} µm"
                runs.append((name, "instanseg", train_instanseg(folder, mpp, arguments.steps)))
        if "cellpose" in arguments.libraries:
            runs.append(("Cellpose", "cellpose", train_cellpose(folder, arguments.steps)))
        for name, method, weights in runs:
            for key in [key for key in sdata.labels if key.startswith(("tiles", "whole"))]:
                del sdata.labels[key]
            measure(sdata, name, method, weights, arguments.tiles)
    _harness.finish(arguments)


if __name__ == "__main__":
    main()
