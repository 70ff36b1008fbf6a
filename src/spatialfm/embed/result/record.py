"""The record of an embedding: everything a reader needs to know whether to trust and how to repeat it.

Values are strings, numbers or JSON text: lists come back from zarr as string arrays, and empty ones as floats.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._keys import UNS
from ..._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData

PACKAGES = ("torch", "numpy", "spatialdata", "anndata")


def as_text(value: object) -> str:
    """JSON text of a list, mapping or array."""
    return json.dumps(value, default=lambda other: other.tolist() if hasattr(other, "tolist") else str(other))


def make_record(**fields: object) -> dict[str, str | int | float]:
    """Fields as the record stores them: None becomes an empty string, lists and mappings JSON text."""
    record: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, bool | np.bool_):
            record[name] = int(value)
        elif isinstance(value, int | float | str | np.integer | np.floating):
            record[name] = value
        else:
            record[name] = "" if value is None else as_text(value)
    record["versions"] = as_text(
        {"spatialfm": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    )
    return record


def basis_key(key: str) -> str:
    """Where the mean and components of a reduced embedding are in ``uns["spatialfm"]``."""
    return f"{key}_basis"


def write_record(adata: AnnData, key: str, record: dict[str, str | int | float]) -> None:
    """Put the record of ``obsm[key]`` into ``uns["spatialfm"][key]``; what belonged to an earlier one goes."""
    records = adata.uns.setdefault(UNS, {})
    records.pop(basis_key(key), None)
    records[key] = record
