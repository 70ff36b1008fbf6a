"""Groups that were made from the very thing that they would be compared by: effects are shown, no p-values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import warn
from .._origin import Origin, patient_names, remember
from .._origin_chance import is_function, of_numbers
from .._origin_match import BY_CHANCE, KnownColumn
from .known_origins import origins
from .selected import at, columns_of, columns_of_cells, inherited, said

if TYPE_CHECKING:
    from anndata import AnnData

NEIGHBOURS = "who neighbours whom"
MOST_ROWS_FITTED = 2000  # on which it is seen that one representation was calculated from another
MOST_VARIED = 64  # columns of obsm that groups are compared with


def remember_groups(
    table: AnnData,
    function: str,
    use_rep: str | None,
    groups: pd.Series,
    written: bool,
    place: str | None = None,
    neighbors_key: str | None = None,
    labels: str | None = None,
) -> None:
    """Record what groups of cells were made of: who neighbours whom, or what an outcome has made.

    Their representation shows it, or the column of labels that they were learned from.
    """
    rep = use_rep or _rep_of_graph(table, neighbors_key)
    made_of = inherited(table, columns_of_cells(table, rep) | columns_of(table, [labels]))
    if is_neighborhood(table, rep) or spanned(table, rep):
        made_of.append(Origin(function, "neighborhood", of=f"{NEIGHBOURS} (obsm[{rep!r}])"))
    for origin in made_of:
        remember(table if written else None, origin, groups, patients=patient_names(table), place=place)


def is_neighborhood(table: AnnData, rep: str | None) -> bool:
    """Whether a key of ``obsm`` holds the types of each cell's neighbours."""
    if rep is None or rep not in table.obsm:
        return False
    record = table.uns.get(rep)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return rep == "neighborhood_composition" or {"cluster_key", "include_self"} <= set(params)


def spanned(table: AnnData, rep: str | None) -> bool:
    """Whether columns of a key of ``obsm`` are sums of neighborhoods: a copy, components, or among others."""
    if rep is None or rep not in table.obsm:
        return False
    rows = np.linspace(0, table.n_obs - 1, min(table.n_obs, MOST_ROWS_FITTED)).astype(int)
    values = _columns(table.obsm[rep], rows)
    for other in table.obsm:
        if other == rep or not is_neighborhood(table, other):
            continue
        design = np.column_stack([np.ones(len(rows)), _columns(table.obsm[other], rows)])
        spread = values.std(axis=0)
        if len(rows) < design.shape[1] + 8 or not (spread > 0).any() or not np.isfinite(design).all():
            continue
        values, spread = values[:, (spread > 0) & np.isfinite(spread)], spread[(spread > 0) & np.isfinite(spread)]
        rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        if (np.abs(rest).max(axis=0) <= 1e-4 * spread).any():
            return True
    return False


def _columns(values: Any, rows: np.ndarray) -> np.ndarray:
    """Some columns of a representation ``(rows, .)``: of wide ones those at both ends."""
    values = values.iloc[rows] if isinstance(values, pd.DataFrame) else values[rows]
    values = np.asarray(values.todense() if hasattr(values, "todense") else values, dtype=float)
    values = values.reshape(len(rows), -1)
    wide = values.shape[1] > 2 * MOST_VARIED
    return np.hstack([values[:, :MOST_VARIED], values[:, -MOST_VARIED:]]) if wide else values


def made_of_neighbours(table: AnnData, within: str) -> str:
    """Evidence that groups of cells were made from their neighbours; empty if there is none."""
    columns = columns_of(table, [within]) | _in_obsm(table, within)
    if evidence := _named(table, columns, ("neighborhood",)):
        return evidence
    if not columns:
        return ""
    rep = _rep_of_graph(table)
    if within in table.obs and _by_scanpy(table, within) and (is_neighborhood(table, rep) or spanned(table, rep)):
        return f"obs[{within!r}]: clusters of a graph of obsm[{rep!r}], {NEIGHBOURS}"
    place, groups = next(iter(columns.items()))
    for rep in table.obsm:
        if is_neighborhood(table, rep) and (how := _by_hand(table, rep, groups)):
            return f"{at(place)}: {how.format(rep=f'obsm[{rep!r}], {NEIGHBOURS}')}"
    return ""


def _by_hand(table: AnnData, rep: str, groups: pd.Series) -> str:
    """How groups follow from neighborhoods that were divided without a function of this package."""
    if _nearest_means(table, rep, groups) == 1.0:
        return "groups around means of {rep}, as k-means makes them"
    codes, values = pd.factorize(groups)[0].astype(float), np.asarray(table.obsm[rep])
    if values.ndim != 2 or not 2 <= values.shape[1] <= MOST_VARIED or len(codes) < 20:
        return ""
    if is_function(values.argmax(axis=1).astype(float), codes) and len(np.unique(codes)) > 1:
        return "the type that is most frequent in {rep}"
    guard = BY_CHANCE + np.log(values.shape[1])
    few = len(np.unique(codes)) <= 4
    if few and any(of_numbers(column.astype(float), codes, 4) >= guard for column in values.T):
        return "a cut of a column of {rep}"
    return ""


def divides_fractions(patients: AnnData, group_key: str) -> str:
    """The column of ``X`` by which groups of patients are divided without exception; empty where there is none."""
    if patients.X is None or patients.n_vars > MOST_VARIED:
        return ""
    codes = pd.factorize(patients.obs[group_key])[0].astype(float)
    known, guard = codes >= 0, BY_CHANCE + np.log(max(patients.n_vars, 1))
    if not 2 <= len(np.unique(codes[known])) <= 4:
        return ""
    for name, values in zip(patients.var_names, dense(patients.X).T.astype(float), strict=True):
        rows = known & np.isfinite(values)
        if of_numbers(values[rows], codes[rows], 4) >= guard:
            return str(name)
    return ""


def tell_divided(patients: AnnData, group_key: str) -> None:
    """Warn that groups may have been cut from what they are compared by."""
    if name := divides_fractions(patients, group_key):
        warn(
            f"obs[{group_key!r}] divides the patients exactly by their share of {name!r}. If the groups were cut from "
            "this share, they differ in it, and in all that goes with it, for any truth: the test is circular. "
            "If not, nothing is wrong."
        )


def made_of_niches(table: AnnData, group_key: str, unit_keys: Iterable[str | None] = ()) -> str:
    """Evidence that groups of patients (`unit_keys`) were made from who neighbours whom; empty if there is none."""
    known_origins = origins(table, columns_of(table, [group_key]), unit_keys)
    by_neighbours = [
        (place, one) for place, some in known_origins.items() for one in some if NEIGHBOURS in one.origin.of
    ]
    return _sure(by_neighbours)


def holds_own_type(table: AnnData) -> bool:
    """Whether neighborhoods may count the cell itself, so that groups of them differ in types as well."""
    records = [table.uns.get(rep) for rep in table.obsm if is_neighborhood(table, rep)]
    params = [record.get("params", {}) if isinstance(record, Mapping) else {} for record in records]
    return not params or any(bool(one.get("include_self", True)) for one in params)


def made_of_fractions(table: AnnData, group_key: str) -> str:
    """Evidence that groups of patients were made from their composition; empty if there is none."""
    known_origins = origins(table, columns_of(table, [group_key]))
    if evidence := said(
        (place, one) for place, some in known_origins.items() for one in some if one.origin.of and one.sure
    ):
        return evidence
    if group_key in table.obs and _by_scanpy(table, group_key):
        return f"obs[{group_key!r}]: clusters of a graph of this table (uns[{group_key!r}])"
    return ""


def made_of_tissue(table: AnnData, keys: Iterable[str], unit_keys: Iterable[str | None] = ()) -> str:
    """Evidence that what is to be predicted of patients (`unit_keys`) from cells was made from them; empty if none."""
    known_origins = origins(table, columns_of(table, keys), unit_keys)
    of_this_table = [
        (place, one) for place, some in known_origins.items() for one in some if one.origin.how != "elsewhere"
    ]
    return _sure(of_this_table)


def _sure(known_origins: list[tuple[str, KnownColumn]]) -> str:
    """What is certain, in words; where nothing is, what may be is told."""
    certain = said((place, one) for place, one in known_origins if one.sure)
    if not certain and known_origins:
        warn(
            f"{said(known_origins)}. Too few patients to decide: if it was, the test is circular; if it was not, "
            "nothing is wrong."
        )
    return certain


def repeated(record: dict[str, Any], text: str) -> dict[str, Any]:
    """The record of a classifier whose labels were made of what it reads: told, and without p-values."""
    if not text:
        return record
    warn(
        f"Circular: {text}. Such labels follow from the cells for any truth: scores show how well they are repeated, "
        "and there are no p-values."
    )
    tables = ("summary", "comparison", "statistics", "statistics_folds")
    return record | {name: without_p(record[name]) for name in tables if isinstance(record.get(name), pd.DataFrame)}


def fractions_of(table: AnnData, key: str | None = None) -> str:
    """What a table of patients holds the fractions of, in words; of a column of ``obs`` nothing."""
    if key is not None and key in table.obs:
        return ""
    params = table.uns.get("composition", {}).get("params", {})
    kind, neighbours = params.get("cluster_key", ""), f", {NEIGHBOURS}" if params.get("circular") else ""
    return (f"the fractions of {kind!r}" if kind else "the composition") + neighbours


def say(text: str, compared: str) -> None:
    """Warn that there are no p-values, and why."""
    if text:
        warn(
            f"Circular: {text}. Such groups differ by {compared} for any truth, so that there are no p-values; "
            "shares and effects remain. Groups that were made otherwise can be tested."
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
    known_origins = origins(table, columns)
    return said((place, one) for place, some in known_origins.items() for one in some if one.origin.how in hows)


def _in_obsm(table: AnnData, within: str) -> dict[str, pd.Series]:
    if within in table.obs:
        return {}
    frames = {key: frame for key, frame in table.obsm.items() if isinstance(frame, pd.DataFrame) and within in frame}
    return {f"obsm/{key}:{within}": frame[within] for key, frame in frames.items()}


def _by_scanpy(table: AnnData, key: str) -> bool:
    """Whether scanpy made the clusters of a column, by ``uns``."""
    record = table.uns.get(key)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return isinstance(params, Mapping) and {"resolution", "random_state"} <= set(params)


def _rep_of_graph(table: AnnData, neighbors_key: str | None = None) -> str | None:
    record = table.uns.get(neighbors_key or "neighbors")
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    rep = params.get("use_rep") if isinstance(params, Mapping) else None
    return None if rep is None else str(rep)


def _nearest_means(table: AnnData, rep: str, groups: pd.Series) -> float:
    """Share of rows that are nearest to the mean of their own group, of three groups or more."""
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
