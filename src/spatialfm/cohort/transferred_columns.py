"""Covariates and features of a second cohort, as a model of a first one wants them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import SurvivalError, counted, listed, warn
from .._keys import layer_names
from .comparability import shared_columns
from .outcome import value_column
from .representation import representation

if TYPE_CHECKING:
    from anndata import AnnData

OUTSIDE = 0.25  # share of patients outside of the source's range, from which it is reported
APART = 3.0  # standard deviations between the means, likewise


def target_covariates(target: AnnData, columns: str, layer: str | None) -> pd.DataFrame:
    """Columns of the target that the source's model has, by name; absent ones are refused together."""
    names = list(json.loads(columns))
    if absent := [name for name in names if name not in target.obs and name not in target.var_names]:
        raise SurvivalError(
            f"The target has no {listed(absent)}, which the model of the source is made of; obs has "
            f"{listed(target.obs.columns, 12)}, var has {listed(target.var_names, 12)}. A model is not applied without "
            "what it was made of: add the column, or fit one without it to the source."
        )
    return pd.DataFrame({name: value_column(target, name, "target", layer) for name in names}, index=target.obs_names)


def covariate_design(columns: pd.DataFrame, described: str) -> np.ndarray:
    """Design ``(n, n_terms)`` with the source's levels and scale; rows with a missing value are NaN."""
    parts = []
    for name, what in json.loads(described).items():
        column = columns[name]
        number = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        if "levels" in what:
            parts.append(_level_design(column, name, what))
            continue
        if not number:
            raise SurvivalError(
                f"{name!r} holds numbers in the source and {column.dtype} values in the target. Convert it: "
                f'target.obs["{name}"] = pandas.to_numeric(target.obs["{name}"].astype(object)).'
            )
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise SurvivalError(f"{name!r} holds infinite values in the target. Correct them first.")
        parts.append(((values - what["mean"]) / what["sd"] if what["scaled"] else values)[:, None])
    return np.concatenate(parts, axis=1) if parts else np.empty((len(columns), 0))


def _level_design(column: pd.Series, name: str, what: Mapping[str, Any]) -> np.ndarray:
    codes = level_codes(column, list(what["levels"]), name)
    others = [code for code, level in enumerate(what["levels"]) if level != what["reference"]]
    values = (codes[:, None] == np.array(others, dtype=int)).astype(np.float64)
    values[codes < 0] = np.nan
    return values


def level_codes(column: pd.Series, levels: list[str], name: str) -> np.ndarray:
    """Code ``(n,)`` of each row among the source's levels, -1 where it is missing; unknown ones are refused."""
    place = {_plain(level): code for code, level in enumerate(levels)}
    texts = [None if pd.isna(value) else _plain(str(value)) for value in column.astype(object)]
    unknown = pd.Series([text for text in texts if text is not None and text not in place], dtype=object)
    if len(unknown):
        raise SurvivalError(
            f"{name!r} of the target holds {listed(unknown.unique())} ({counted(len(unknown), 'patient')}), and the "
            f"source's levels are {listed(levels)}: the model has no others. Write levels that mean the same "
            "alike, or leave these patients out."
        )
    return np.array([-1 if text is None else place[text] for text in texts], dtype=int)


def _plain(text: str) -> str:
    """1.0 in one table is 1 in another."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", text)


def target_features(source: AnnData, target: AnnData, model: Mapping[str, Any], params: Mapping) -> np.ndarray:
    """Features ``(n, n_features)`` in the order of the source's model; rows with a missing covariate are NaN."""
    names, n_covariates = list(json.loads(model["features"])), int(model["n_covariates"])
    of_rep = names[: len(names) - n_covariates]
    parts = []
    if use_rep := str(params["use_rep"]):
        layer = str(params["layer"]) or None
        parts.append(
            named_values(source, target, of_rep, layer) if use_rep == "X" else _embedding(source, target, use_rep)
        )
        if parts[0].shape[1] != len(of_rep):
            raise SurvivalError(
                f"{use_rep!r} of the target shares {parts[0].shape[1]} columns with the source's, whose model has "
                f"{len(of_rep)}. Embed both in the same way."
            )
    if n_covariates:
        columns = target_covariates(target, model["columns"], None)
        parts.append(covariate_design(columns, model["columns"]))
    return np.concatenate(parts, axis=1)


def named_values(source: AnnData, target: AnnData, names: list[str], layer: str | None) -> np.ndarray:
    """``X`` or a layer of the target, in the order of names in the source's var; absent ones are refused."""
    if layer is not None and layer not in target.layers:
        raise SurvivalError(
            f"The target has no layer {layer!r}, which the source's result is made of; "
            f"found {listed(layer_names(target))}."
        )
    if absent := [name for name in names if name not in target.var_names]:
        raise SurvivalError(
            f"The target has no {listed(absent)} in var, which the source's result is made of; found "
            f"{listed(target.var_names, 12)}. A type that no cell of the target has is a column of zeros: pass a "
            "categorical that has it to sfm.tl.composition(cells, ...)."
        )
    if not target.var_names.is_unique:
        raise SurvivalError("target.var_names holds names twice. Make them unique: target.var_names_make_unique().")
    check_compositions(source, target, names, layer)
    table = target
    if layer is not None:
        table = type(target)(target.layers[layer], obs=target.obs[[]], var=target.var[[]])
    return representation(table, "X").astype(np.float64)[:, target.var_names.get_indexer(names)]


def check_compositions(source: AnnData, target: AnnData, names: list[str], layer: str | None) -> None:
    """Refuse or report what makes fractions of two tables mean different things."""
    records = [table.uns.get("composition", {}).get("params") for table in (source, target)]
    if records[0] is None:
        return
    if records[1] is None:
        warn("The source holds compositions, and nothing shows that the target does: that its columns are fractions of "
             "all cells is taken for given. Make both with sfm.tl.composition.")  # fmt: skip
        return
    if layer is not None and records[0].get("pseudocount") != records[1].get("pseudocount"):
        raise SurvivalError(
            f"Layer {layer!r} was made with a pseudocount of {records[0].get('pseudocount')} in the source and of "
            f"{records[1].get('pseudocount')} in the target. Make both with the same: sfm.tl.composition(cells, ..., "
            f"pseudocount={records[0].get('pseudocount')})."
        )
    others = [name for name in target.var_names if name not in source.var_names]
    if others:
        warn(
            f"The target counts {listed(others)}, which the source does not: fractions of the others are smaller there "
            "for that alone. Name types alike, or leave these cells out of both."
        )
    if str(records[0].get("cells_per_row", "all")) != str(records[1].get("cells_per_row", "all")):
        warn(
            f"Fractions rest on {records[0].get('cells_per_row', 'all')} cells a row in the source and "
            f"{records[1].get('cells_per_row', 'all')} in the target: rare types vary more with fewer."
        )


def _embedding(source: AnnData, target: AnnData, use_rep: str) -> np.ndarray:
    one, two = source.obsm.get(use_rep), target.obsm.get(use_rep)
    if isinstance(one, pd.DataFrame) and isinstance(two, pd.DataFrame):
        if absent := [name for name in one if name not in two]:
            raise SurvivalError(f"obsm[{use_rep!r}] of the target has no {listed(absent)}, which the source's has.")
        return two[list(one)].to_numpy(dtype=np.float64)
    places = shared_columns(source, target, use_rep)
    recorded = use_rep in source.uns.get("spatialfm", {})
    if not recorded:
        warn(
            f"No record of how obsm[{use_rep!r}] was made, in either table: that its columns mean the same in both is "
            "taken for given."
        )
    width = representation(source[:1], use_rep).shape[1]
    if len(places[0]) < width or (places[0] != np.arange(width)).any():
        raise SurvivalError(
            f"obsm[{use_rep!r}] of the target has {len(places[0])} of the {width} columns that the source's model is "
            "made of. Embed both of the same markers: sfm.tl.embed_cells(..., markers=<those of both>)."
        )
    return representation(target, use_rep).astype(np.float64)[:, places[1]]


def tell_shift(names: list[str], values: np.ndarray, scale: pd.DataFrame) -> list[str]:
    """Warn if the target differs from the patients that the model was made of; and in short."""
    known = np.isfinite(values)
    n = np.maximum(known.sum(axis=0), 1)
    low, high, mean, sd = (scale[name].to_numpy(dtype=np.float64) for name in ("low", "high", "mean", "sd"))
    reach = 1e-9 * np.maximum(np.abs(low), np.abs(high))
    outside = (known & ((values < low - reach) | (values > high + reach))).sum(axis=0) / n
    shift = np.where(known, values, 0).sum(axis=0) / n - mean
    far = (outside > OUTSIDE) | (np.abs(shift) > APART * np.where(sd > 0, sd, np.inf))
    if not far.any():
        return []
    worst = [
        f"{names[i]} (mean {mean[i] + shift[i]:.3g}, source {mean[i]:.3g}; {outside[i]:.0%} outside of its range)"
        for i in np.flatnonzero(far)[:5]
    ]
    warn(
        f"{counted(int(far.sum()), 'feature is', 'features are')} elsewhere in the target than in the source: "
        f"{listed(worst, quoted=False)}. Check units and how they were made; the model is used outside of what it has "
        "seen."
    )
    return [f"{counted(int(far.sum()), 'feature')} outside of the source's range"]
