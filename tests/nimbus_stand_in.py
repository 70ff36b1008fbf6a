"""Stand-in weights for the network of positivity, by numpy alone: any version of torch has the same."""

from __future__ import annotations

import numpy as np
import torch

from spatialfm.models.nimbus_tiles import VIEWS, kept_of, reflected, windows_of

BLOCK = ("conv2d_0", "conv2d_1", "bn_1", "conv2d_2", "bn_2")


def shapes(width: int = 4) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published layout, from its description."""

    def block(name: str, before: int, here: int) -> dict[str, tuple[int, ...]]:
        found = {}
        for part in BLOCK:
            if part.startswith("bn"):
                names = ("weight", "bias", "running_mean", "running_var")
                found |= {f"{name}.{part}.{one}": (here,) for one in names}
                found[f"{name}.{part}.num_batches_tracked"] = ()
            else:
                side = 1 if part == "conv2d_0" else 3
                found[f"{name}.{part}.weight"] = (here, before if part == "conv2d_0" else here, side, side)
                found[f"{name}.{part}.bias"] = (here,)
        return found

    widths = [width * 2**level for level in range(5)]
    all_of = {}
    for level in range(4):
        all_of |= block(f"contracting_layers.{2 * level}", 2 if level == 0 else widths[level - 1], widths[level])
    all_of |= block("bottle_neck", widths[3], widths[4])
    for place, level in enumerate((4, 3, 2, 1)):
        all_of[f"expanding_layers.{3 * place}.upconv.weight"] = (widths[level], widths[level] // 2, 2, 2)
        all_of[f"expanding_layers.{3 * place}.upconv.bias"] = (widths[level] // 2,)
        all_of |= block(f"expanding_layers.{3 * place + 2}", widths[level], widths[level - 1])
    return all_of | {"final_conv.weight": (1, width, 1, 1), "final_conv.bias": (1,)}


def stand_in(width: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights whose maps vary over an image."""
    rng, state = np.random.default_rng(seed), {}
    for name, shape in sorted(shapes(width).items()):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
            continue
        values = rng.standard_normal(shape)
        if name.endswith("running_var"):
            values = 1 + 0.5 * np.abs(values)
        elif len(shape) > 1:
            values = values * np.sqrt(1.5 / np.prod(shape[1:]))
        else:
            values = 0.1 * values + (".bn_" in name and name.endswith("weight"))
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def noise(shape: tuple[int, int]) -> np.ndarray:
    """A marker and a mask ``(2, H, W)``, float32."""
    rng = np.random.default_rng(1)
    return np.stack([rng.random(shape), rng.random(shape) < 0.6]).astype(np.float32)


def mean_map(network, image: np.ndarray, augmentation: str) -> np.ndarray:
    """Mean over the views; every pixel is kept once by each."""
    shape = image.shape[-2:]
    total, times = np.zeros(shape), np.zeros(shape, int)
    for window in (one for unit in windows_of(shape, augmentation) for one in unit):
        rows, columns = (
            reflected(*ends, side) for ends, side in zip((window.read[:2], window.read[2:]), shape, strict=True)
        )
        seen = window.view.of(torch.from_numpy(image[:, rows][:, :, columns][None]))
        with torch.inference_mode():
            found = window.view.back(kept_of(network, seen, whole=window.whole)).numpy()
        y0, y1, x0, x1 = window.kept
        inside = slice(max(y0, 0), max(y1, 0)), slice(max(x0, 0), max(x1, 0))
        cut = found[max(-y0, 0) : shape[0] - y0, max(-x0, 0) : shape[1] - x0]
        total[inside] += window.view.weight * cut
        times[inside] += window.view.weight
    assert (times == times[0, 0]).all()
    assert times[0, 0] == sum(view.weight for view in VIEWS[augmentation])
    return total / times
