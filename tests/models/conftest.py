"""Stand-in weights of KRONOS: every tensor from a generator that its own name seeds."""

from __future__ import annotations

import zlib
from types import SimpleNamespace

import numpy as np
import pytest


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith(".running_var"):
        return (1.0 + np.abs(noise)).astype(np.float32)
    if name.endswith(".gamma") or (name.endswith(".weight") and len(shape) == 1):
        return (1.0 + 0.1 * noise).astype(np.float32)
    return (0.05 * noise).astype(np.float32)


def synthetic_input(key: str, *shape: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="session")
def standin() -> SimpleNamespace:
    return SimpleNamespace(fill=fill, synthetic_input=synthetic_input)


@pytest.fixture(scope="session")
def kronos_file(tmp_path_factory):
    """A file as it is published: backbone and heads of the teacher, with stand-in weights."""
    import torch

    from spatialfm.models.kronos import _CONFIGS
    from spatialfm.models.vit import VisionTransformer

    with torch.device("meta"):
        layout = VisionTransformer(_CONFIGS["kronos"]).state_dict()
    tensors = {f"backbone.{name}": torch.from_numpy(fill(name, t.shape)) for name, t in layout.items()}
    path = tmp_path_factory.mktemp("weights") / "kronos_vits16_model.pt"
    torch.save({"teacher": tensors | {"dino_head.mlp.0.weight": torch.zeros(3, 3)}}, path)
    return path
