"""Checkpoints of vision transformers as others publish them, translated to the names of `vit.VisionTransformer`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .vit import ViTConfig

_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..+)")
_TRANSFORMERS = (
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.", ""),
    ("encoder.layer.", "blocks."),
    ("attention.output.dense", "attn.proj"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.weights_in", "mlp.w12"),
    ("mlp.weights_out", "mlp.w3"),
    ("layernorm.", "norm."),
)
_PARTS = ("query", "key", "value")


def translate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of DINOv2's own release for a checkpoint of it, of its training code, of `timm` or of `transformers`.

    - training code: blocks in chunks (``blocks.<chunk>.<block>``) become ``blocks.<block>``
    - `timm`: ``reg_token``, gated layers named ``fc1`` and ``fc2``, a classifier ``head`` (dropped), and position
      tables without a row for CLS
    - `transformers`: all names; queries, keys and values apart

    Names that belong to none of these stay as they are, for `hub.fill` to refuse.
    """
    out = {name.removeprefix("dinov2."): tensor for name, tensor in tensors.items()}
    if "embeddings.cls_token" in out:
        out = _from_transformers(out)
    return _from_timm({_flat(name): tensor for name, tensor in out.items()})


def fit(config: ViTConfig, tensors: Mapping[str, Tensor]) -> ViTConfig:
    """The configuration that `tensors` were made with, if they reveal it.

    Read off: the side of the position table, the patch size, the number of registers, and whether there are a mask
    token and LayerScale. What does not fit then is for `hub.fill` to refuse.
    """
    changes: dict[str, Any] = {
        "mask_token": "mask_token" in tensors,
        "layer_scale": "blocks.0.ls1.gamma" in tensors,
        "registers": tensors["register_tokens"].shape[1] if "register_tokens" in tensors else 0,
    }
    if "pos_embed" in tensors and (side := math.isqrt(tensors["pos_embed"].shape[1] - 1)) > 0:
        changes["grid"] = side
    if "patch_embed.proj.weight" in tensors:
        changes["patch_size"] = tensors["patch_embed.proj.weight"].shape[-1]
    if changes["registers"]:
        # DINOv2's checkpoints with registers were released with another resizing than those without (hub/backbones.py)
        changes |= {"resize_offset": 0.0, "resize_antialias": True}
    return replace(config, **changes)


def _flat(name: str) -> str:
    match = _CHUNKED.fullmatch(name)
    return f"blocks.{match[1]}" if match else name


def _from_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for name, tensor in tensors.items():
        if name.startswith(("head.", "fc_norm.")):
            continue
        prefix, _, part = name.partition(".mlp.")
        wide = tensors.get(f"{prefix}.mlp.fc1.bias")
        narrow = tensors.get(f"{prefix}.mlp.fc2.weight")
        if part and wide is not None and narrow is not None and len(wide) == 2 * narrow.shape[-1]:
            name = f"{prefix}.mlp.{part.replace('fc1', 'w12').replace('fc2', 'w3')}"
        out["register_tokens" if name == "reg_token" else name] = tensor
    table = out.get("pos_embed")
    if table is not None and "cls_token" in out and math.isqrt(table.shape[1]) ** 2 == table.shape[1]:
        # the position of CLS was added to CLS itself
        out["pos_embed"] = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)
    return out


def _from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    apart: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        for theirs, ours in _TRANSFORMERS:
            name = name.replace(theirs, ours)
        match = re.fullmatch(r"(blocks\.\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)", name)
        if match:
            apart.setdefault(f"{match[1]}.attn.qkv.{match[3]}", {})[match[2]] = tensor
        else:
            out[name] = tensor
    for name, parts in apart.items():
        if len(parts) == len(_PARTS):
            out[name] = torch.cat([parts[part] for part in _PARTS])
    return out
