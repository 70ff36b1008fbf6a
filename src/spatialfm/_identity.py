"""What decides the numbers of a run, as one digest: stored results are kept under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

# Of the numbers that this package computes from given pixels, weights and options. To be raised by whoever changes any
# of them: blocks, embeddings and statistics of another version are never taken from the cache.
RECIPE = 6


def fingerprint(identity: Mapping[str, object]) -> str:
    """SHA-256 of what decides the numbers of a run, and of the version of the recipe."""
    digest = hashlib.sha256(f"recipe {RECIPE}".encode())
    for key in sorted(identity):
        digest.update(f"\0{key}\0".encode())
        digest.update(json.dumps(_canonical(identity[key]), sort_keys=True).encode())
    return digest.hexdigest()


def _canonical(value: Any) -> object:
    """What JSON can hold, without loss: arrays by all their bytes, of which their text would show a few."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {f"{type(key).__name__} {key}": _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    if hasattr(value, "detach"):  # a tensor; its own bytes, as numpy has no bfloat16
        value = value.detach().cpu()
        return [str(value.dtype), *_of_array(value.double().numpy())]
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return _of_array(value)
    if isinstance(value, np.ndarray | np.generic):
        return _canonical(value.tolist() if isinstance(value, np.ndarray) else value.item())
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return f"{type(value).__name__} {value}"


def _of_array(values: np.ndarray) -> list[object]:
    content = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return [str(values.dtype), list(values.shape), content]
