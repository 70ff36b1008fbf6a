"""Checkpoints of PyTorch Lightning, read without running code that is in them.

Such a file holds settings of the training beside the tensors, as Python objects of the package that trained. torch
reads them only by running that package's code, or what pretends to be it. Here every object that is neither a tensor
nor plain data becomes an empty stand-in: nothing is imported, and nothing is called.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .._errors import WeightsError
from .hub import damaged, read_tensors

_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
}


class Unknown:
    """What stands for an object of another package: takes any state, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> Unknown:
        """Made of anything."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None:
        """Like a list, and forgets it."""

    def extend(self, values: object) -> None:
        """Like a list, and forgets them."""

    def add(self, value: object) -> None:
        """Like a set, and forgets it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What a name of a file is taken for."""
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return getattr(torch.storage if module == "torch.storage" else torch, name)
        return Unknown


def _module() -> ModuleType:
    """What torch takes for the module `pickle`."""
    module = ModuleType("tensors_only")
    module.Unpickler = _Unpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: _Unpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def read_lightning(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors of a file by name, and its settings as far as they are plain data.

    Parameters
    ----------
    path
        A file of Lightning (``.ckpt``, ``.pth``), of ``torch.save`` of a state dict, or ``.safetensors``.

    Raises
    ------
    WeightsError
        If there is no file, or it holds no tensors.
    """
    if path.suffix == ".safetensors":
        return dict(read_tensors(path)), {}
    if not path.is_file():
        raise WeightsError(f"No weights file {str(path)!r}. Pass weights=<file>.")
    if _is_program(path):
        raise WeightsError(f"Weights file {path} is a TorchScript program, not a state dict. Pass the checkpoint.")
    try:
        with path.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=False, pickle_module=_module())
    # a damaged zip, a truncated pickle and a missing record each surface as another exception of torch or pickle
    except Exception as error:
        raise WeightsError(damaged(path, error)) from error
    settings = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(damaged(path, ValueError("it holds no tensors by name")))
    plain = settings if isinstance(settings, Mapping) else {}
    return tensors, {str(name): value for name, value in plain.items() if not isinstance(value, Unknown)}


def _is_program(path: Path) -> bool:
    """Whether a file is one of TorchScript, which holds a table of constants beside its code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())
