"""Groups that were made from the very thing that they would be compared by: effects are shown, no p-values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import warn
from .._origin import Origin, patient_names, remember
from ._selected import columns_of, origins, said

if TYPE_CHECKING:
    from anndata import AnnData

MOST_VARIED = 64  # columns of obsm that groups are held against


def remember_groups(
    table: AnnData, function: str, use_rep: str | None, groups: pd.Series, written: bool, place: str | None = None
) -> None:
    """Keep that groups of cells were made from who neighbours whom, where their representation says that."""
    rep = use_rep or _rep_of_graph(table)
    if is_neighborhood(table, rep):
        origin = Origin(function, "neighborhood", of=f"who neighbours whom (obsm[{rep!r}])")
        remember(table if written else None, origin, groups, patients=patient_names(table), place=place)


def is_neighborhood(table: AnnData, rep: str | None) -> bool:
    """Whether a key of ``obsm`` holds the types of each cell's neighbours."""
    if rep is None or rep not in table.obsm:
        return False
    record = table.uns.get(rep)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return rep == "neighborhood_composition" or {"cluster_key", "include_self"} <= set(params)


def made_of_neighbours(table: AnnData, within: str) -> str:
    """What says that groups of cells were made from their neighbours; empty where nothing does."""
    columns = columns_of(table, [within]) | _in_obsm(table, within)
    if found := _named(table, columns, ("neighborhood",)):
        return found
    if within in table.obs and _by_scanpy(table, within) and is_neighborhood(table, rep := _rep_of_graph(table)):
        return f"obs[{within!r}]: clusters of a graph of obsm[{rep!r}], who neighbours whom"
    for rep in table.obsm:
        if is_neighborhood(table, rep) and within in table.obs and _nearest_means(table, rep, table.obs[within]) == 1.0:
            return f"obs[{within!r}]: groups around means of obsm[{rep!r}], who neighbours whom, as k-means makes them"
    return ""


def holds_own_type(table: AnnData) -> bool:
    """Whether neighborhoods may count the cell itself, so that groups of them differ in types as well."""
    records = [table.uns.get(rep) for rep in table.obsm if is_neighborhood(table, rep)]
    params = [record.get("params", {}) if isinstance(record, Mapping) else {} for record in records]
    return not params or any(bool(one.get("include_self", True)) for one in params)


def made_of_fractions(table: AnnData, group_key: str) -> str:
    """What says that groups of patients were made from their composition; empty where nothing does."""
    if found := _named(table, columns_of(table, [group_key]), ("composition", "neighborhood")):
        return found
    if group_key in table.obs and _by_scanpy(table, group_key):
        return f"obs[{group_key!r}]: clusters of a graph of this table (uns[{group_key!r}])"
    return ""


def fractions_of(table: AnnData, key: str | None = None) -> str:
    """What a table of patients holds the fractions of, in words; of a column of ``obs`` nothing."""
    if key is not None and key in table.obs:
        return ""
    kind = table.uns.get("composition", {}).get("params", {}).get("cluster_key", "")
    return f"the fractions of {kind!r}" if kind else "the composition"


def say(text: str, compared: str) -> None:
    """Warn that there are no p-values, and why."""
    if text:
        warn(
            f"Circular: {text}. Such groups differ by {compared} whatever the truth is, so that there are no p-values; "
            "shares and effects stand. Groups that were made otherwise can be tested."
        )


def without_p(table: pd.DataFrame) -> pd.DataFrame:
    """The table with no p-value, corrected p-value, statistic of a test, or significance."""
    table = table.copy()
    for name in table.columns:
        if name == "z" or str(name).startswith(("p_", "q_")):
            table[name] = np.nan
        elif str(name).startswith(("significant", "only_share")):
            table[name] = False
    return table


def _named(table: AnnData, columns: Mapping[str, pd.Series], hows: tuple[str, ...]) -> str:
    found = origins(table, columns)
    return said((place, one) for place, some in found.items() for one in some if one.origin.how in hows)


def _in_obsm(table: AnnData, within: str) -> dict[str, pd.Series]:
    if within in table.obs:
        return {}
    frames = {key: frame for key, frame in table.obsm.items() if isinstance(frame, pd.DataFrame) and within in frame}
    return {f"obsm/{key}:{within}": frame[within] for key, frame in frames.items()}


def _by_scanpy(table: AnnData, key: str) -> bool:
    """Whether ``uns`` says that scanpy made the clusters of a column."""
    record = table.uns.get(key)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return isinstance(params, Mapping) and {"resolution", "random_state"} <= set(params)


def _rep_of_graph(table: AnnData) -> str | None:
    record = table.uns.get("neighbors")
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    rep = params.get("use_rep") if isinstance(params, Mapping) else None
    return None if rep is None else str(rep)


def _nearest_means(table: AnnData, rep: str, groups: pd.Series) -> float:
    """Share of rows that lie nearest to the mean of their own group, of three groups or more."""
    values = np.asarray(table.obsm[rep])
    codes, names = pd.factorize(groups)
    known = codes >= 0
    if values.ndim != 2 or values.shape[1] > MOST_VARIED or not 3 <= len(names) <= 100 or known.sum() < 20 * len(names):
        return 0.0
    values, codes = values[known].astype(float), codes[known]
    means = np.stack([values[codes == i].mean(axis=0) for i in range(len(names))])
    distance = (means**2).sum(axis=1) - 2 * values @ means.T
    own = distance[np.arange(len(codes)), codes]
    return float((own <= distance.min(axis=1) + 1e-6).mean())
