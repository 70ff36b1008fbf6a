"""What to pass instead of an object of another kind: one sentence, for the messages of all public functions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_IMAGES = (".tif", ".tiff", ".qptiff", ".btf", ".png", ".jpg", ".jpeg")
_TEXTS = (".csv", ".tsv", ".tab", ".txt", ".xlsx")


def instead_of(value: Any, wanted: str) -> str:
    """What to pass where an object of the class `wanted` is wanted and `value` was given; empty where nothing is known.

    Examples
    --------
    >>> instead_of("cells.h5ad", "AnnData")
    "Read it first: anndata.read_h5ad('cells.h5ad')."
    >>> instead_of(["kronos", "virtues"], "Encoder")
    'A call takes one model: call it once for each of them.'
    """
    if wanted not in _ANSWERS:
        return ""
    return _ANSWERS[wanted](value)


def _spatialdata(value: Any) -> str:
    if _is(value, "AnnData", "anndata") or _several(value, "AnnData", "anndata"):
        return "Images and labels are needed, and a table has none: pass the SpatialData that holds it."
    if isinstance(value, str | os.PathLike):
        return _read(os.fspath(value), table=False)
    if several := _several(value, "SpatialData", "spatialdata"):
        return f"Pass one of them, or one of all: spatialdata.concatenate({several}, attrs_merge='unique')."
    if _is(value, "DataFrame", "pandas"):
        return "A data frame has no images: sfm.io.read_cohort(table) opens the files that one names."
    if _is(value, "DataArray", "xarray") or _is(value, "DataTree", "xarray"):
        return (
            "Pass the SpatialData that holds it, or make one: spatialdata.SpatialData(images={'image_<name>': image})."
        )
    if _is(value, "ndarray", "numpy") or _is(value, "Array", "dask"):
        return (
            "Make one of an array (c, y, x): spatialdata.SpatialData(images={'image_<sample>': "
            "spatialdata.models.Image2DModel.parse(array, dims=('c', 'y', 'x'), c_coords=[<channels>])})."
        )
    return _one_alone(value) or _model_first(value, "SpatialData")


def _anndata(value: Any) -> str:
    if _is(value, "SpatialData", "spatialdata"):
        tables = sorted(map(str, value.tables))
        if not tables:
            return "It has no table: sfm.pp.cell_table(sdata) makes one, and sdata['table'] is it."
        return f"Pass one of its tables, for example sdata[{'table' if 'table' in tables else tables[-1]!r}]."
    if isinstance(value, str | os.PathLike):
        return _read(os.fspath(value), table=True)
    if several := _several(value, "AnnData", "anndata"):
        return f"Pass one of them, or one of all: anndata.concat({several}, label='sample')."
    if _is(value, "DataFrame", "pandas"):
        return "Pass the AnnData whose obs it is, or make one: anndata.AnnData(obs=frame)."
    if _is(value, "ndarray", "numpy"):
        return "Make one of an array, a row per cell: anndata.AnnData(array)."
    return _one_alone(value) or _model_first(value, "AnnData")


def _encoder(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return "A call takes one model: call it once for each of them."
    if isinstance(value, os.PathLike):
        return f"Pass the model's name, and the file as its weights: sfm.models.load(<name>, weights={str(value)!r})."
    if isinstance(value, type):
        return "Pass an encoder, not its class: sfm.models.load(<name>) gives one."
    if _is(value, "SpatialData", "spatialdata") or _is(value, "AnnData", "anndata"):
        return "The data goes first, then the model."
    if _is(value, "Module", "torch"):
        return "A network alone does not state its pixels and markers: wrap it in a class of sfm.models.Encoder."
    return ""


_ANSWERS = {"SpatialData": _spatialdata, "AnnData": _anndata, "Encoder": _encoder}


def _read(path: str | bytes, *, table: bool) -> str:
    """How a file of this name is opened."""
    name = os.fsdecode(path)
    ending = os.path.splitext(name.rstrip("/\\"))[1].lower()
    if ending == ".h5ad":
        return f"Read it first: anndata.read_h5ad({name!r})." if table else _spatialdata_of_table(name)
    if ending in _IMAGES or ending in _TEXTS:
        call = f"sfm.io.read_tiff({name!r})" if ending in _IMAGES else f"sfm.io.read_cohort({name!r})"
        return f"Read it first: sdata = {call}" + (
            "; then sfm.pp.cell_table(sdata), and pass sdata['table']." if table else "."
        )
    return f"Read it first: spatialdata.read_zarr({name!r})" + ("['table']." if table else ".")


def _spatialdata_of_table(name: str) -> str:
    return f"{name!r} is a table without images: pass the SpatialData that has them, spatialdata.read_zarr(<path>)."


def _several(value: Any, name: str, package: str) -> str:
    """Code for a list of objects, if it is one."""
    if isinstance(value, Mapping):
        items = list(value.values())
        text = "{<name>: ...}"
    elif isinstance(value, list | tuple):
        items, text = list(value), "[...]"
    else:
        return ""
    return text if items and all(_is(one, name, package) for one in items) else ""


def _one_alone(value: Any) -> str:
    is_list = isinstance(value, list | tuple | set | frozenset | Mapping)
    return "A call takes one object: pass one of them." if is_list and value else ""


def _model_first(value: Any, wanted: str) -> str:
    return f"The {wanted} goes first, then the model." if _is(value, "Encoder", "spatialfm") else ""


def _is(value: object, name: str, package: str) -> bool:
    return any(one.__name__ == name and one.__module__.partition(".")[0] == package for one in type(value).__mro__)
