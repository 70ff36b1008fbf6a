"""Which cells are positive for which marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pandas as pd

from ..._dense import dense
from ..._errors import PanelError, TableError, counted, warn
from ..._identity import fingerprint
from ..._keys import SAMPLE_KEY
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import at_least, between
from ..._storable import write_uns
from ...cohort.checks import as_names, check_anndata, listed, obs_column
from ...cohort.representation import marker_values
from ...learn.arcsinh import find_cofactor
from ...learn.positivity import NOT_MEASURED, UNCLEAR, Call, Sample, call_gate, call_mixture, call_otsu, reference_of

if TYPE_CHECKING:
    from anndata import AnnData

Method = Literal["mixture", "otsu", "gates"]
WHOLE = 0.99  # share of positive cells above which somebody's calls split nothing


@public
def marker_positivity(
    adata: AnnData,
    *,
    markers: str | Sequence[str] | None = None,
    layer: str | None = None,
    method: Method = "mixture",
    gates: pd.DataFrame | Mapping[str, float] | None = None,
    library_key: str | None = SAMPLE_KEY,
    min_cells: Annotated[int, at_least(2)] = 100,
    min_share: Annotated[float, between(0.0, 0.5)] = 0.005,
    compare_with: str | Mapping[str, str] | None = None,
    random_state: int = 0,
    key_added: str = "positive",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Probability that each cell is positive for each marker, found in each sample by itself.

    Intensities ``x`` become ``arcsinh(x / cofactor)``, with a cofactor for each marker that is found from its cells. In
    each sample two normal distributions are fitted to them. They are populations of negative and positive cells where
    they lie apart (Ashman's D of 2 or more) and each has `min_share` of the cells. A sample whose cells are all of one
    kind is not split at random: its cells are called by the threshold of all samples, so that the few that are
    otherwise are found, and its status says so (``"shared"``; ``"no positives"`` or ``"no negatives"`` where less than
    `min_share` are on that side). So is a sample whose own threshold lies outside of the populations of all samples.
    Where populations lie apart in hardly any sample, a marker is ``"unclear"`` and its cells are not called: set a
    gate.

    Samples with another staining intensity need thresholds of their own, which they get if both populations are there.
    If only one is, a difference in staining cannot be told from one in the tissue: compare thresholds and medians of
    these samples in `spatialfm.pl.positivity`.

    Parameters
    ----------
    adata
        Table of cells with markers as variables.
    markers
        Markers that are called (default: all).
    layer
        Layer of the intensities (default: ``X``); neither logged nor standardised.
    method
        ``"mixture"``: as above. ``"otsu"``: Otsu's threshold where a mixture finds two populations, with probabilities
        of 0 and 1. ``"gates"``: thresholds of your own.
    gates
        Thresholds in the units of the intensities, a cell above one is positive: a DataFrame of samples by markers, or
        one number per marker for all samples. NaN: not called. They are kept in the record, with a digest that changes
        with them.
    library_key
        Column of ``obs`` with the sample (or slide, or staining run) in which thresholds are found; None: all together.
    min_cells
        Samples with fewer cells are called by the populations of all samples.
    min_share
        Share of cells that each population of a sample has at least.
    compare_with
        Calls of somebody else (0 and 1, or booleans): a layer, or columns of ``obs`` by marker.
    random_state
        Seed of the mixtures.
    key_added
        Layer and key of ``uns``.
    copy
        Return the probabilities instead of writing.

    Returns
    -------
    None, or with `copy` the probabilities, cells by markers. Writes ``layers[key_added]``, float32, of cells
    by markers, NaN where a marker is not called; and ``uns[key_added]``: ``thresholds`` (in the units of the
    intensities), ``status`` and ``share`` (of positive cells), samples by markers each; ``agreement`` with
    `compare_with`: of each sample and marker the shares of positive cells by both, Cohen's kappa, and what is striking
    about the others' (all or no cells positive; a split at the median); and ``params``, with the cofactors.

    Raises
    ------
    PanelError
        If a marker is not in the table, or gates name one that is not.
    TableError
        If a column, layer, sample or gate is missing, or intensities are negative infinite or all NaN.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=400, random_state=0)
    >>> sfm.tl.marker_positivity(cells, markers=["CD20", "Cytokeratin"])
    >>> sorted(set(cells.uns["positive"]["status"]["CD20"]))
    ['shared', 'split']
    """
    check_anndata(adata, "marker_positivity", key_added)
    names = _markers(adata, markers)
    samples = _samples(adata, library_key)
    thresholds = _gates(gates, method, names, list(samples.cat.categories))
    values = _intensities(adata, names, layer)
    others = None if compare_with is None else _others(adata, names, compare_with)

    if thresholds is None:
        cofactors = _cofactors(values, names)
        calls = _found(values, samples, cofactors, method, min_cells, min_share, random_state)
    else:
        calls = _gated(values, samples, thresholds)
    _tell(calls, names)

    probability = _probabilities(calls, samples, len(names))
    frame = pd.DataFrame(probability, index=adata.obs_names, columns=names)
    if copy:
        return frame
    full = np.full(adata.shape, np.nan, np.float32)
    full[:, adata.var_names.get_indexer(names)] = probability
    adata.layers[key_added] = full
    params: dict[str, object] = {"method": method, "layer": layer or "X", "library_key": library_key or ""}
    params |= {"markers": names, "min_cells": min_cells, "min_share": min_share, "random_state": random_state}
    if thresholds is None:
        params["cofactors"] = pd.DataFrame({"cofactor": cofactors}, index=names)
    else:
        params["gates"] = gates_digest(thresholds)
    result = {**tables(calls, list(samples.cat.categories), names), "params": params}
    if others is not None:
        result["agreement"] = agreement(frame, others, samples)
    write_uns(adata, key_added, result)
    return None


Calls = dict[tuple[int, int], Call]  # by number of the sample and of the marker


def _found(
    values: np.ndarray,
    samples: pd.Series,
    cofactors: np.ndarray,
    method: Method,
    min_cells: int,
    min_share: float,
    random_state: int,
) -> Calls:
    """Each marker in each sample; thresholds in the units of the intensities."""
    call = call_mixture if method == "mixture" else call_otsu
    codes, n_samples = samples.cat.codes.to_numpy(), len(samples.cat.categories)
    calls: Calls = {}
    for j in progress_bar(range(values.shape[1]), desc="markers", unit="marker"):
        column = np.arcsinh(values[:, j] / cofactors[j])
        parts = [column[codes == i] for i in range(n_samples)]
        measured = [Sample(part[~np.isnan(part)], random_state) for part in parts]
        reference = reference_of(measured, min_share, random_state)
        for i, (part, known) in enumerate(zip(parts, measured, strict=True)):
            if not len(known):
                calls[i, j] = Call(NOT_MEASURED, np.nan, np.full(len(part), np.nan), np.nan)
                continue
            one = call(known, reference, min_cells=min_cells, min_share=min_share)
            probability = np.full(len(part), np.nan)
            probability[~np.isnan(part)] = one.probability
            calls[i, j] = replace(one, threshold=float(np.sinh(one.threshold) * cofactors[j]), probability=probability)
    return calls


def _gated(values: np.ndarray, samples: pd.Series, thresholds: pd.DataFrame) -> Calls:
    codes = samples.cat.codes.to_numpy()
    calls: Calls = {}
    for i, row in enumerate(thresholds.to_numpy(dtype=float)):
        for j, threshold in enumerate(row):
            part = values[codes == i, j]
            one = call_gate(part, threshold)
            probability = np.where(np.isnan(part), np.nan, one.probability)
            status = NOT_MEASURED if np.isnan(part).all() else one.status
            calls[i, j] = replace(one, status=status, probability=probability)
    return calls


def _probabilities(calls: Calls, samples: pd.Series, n_markers: int) -> np.ndarray:
    codes = samples.cat.codes.to_numpy()
    result = np.full((len(codes), n_markers), np.nan, np.float32)
    for (i, j), one in calls.items():
        result[codes == i, j] = one.probability
    return result


def tables(calls: Calls, samples: list[str], names: list[str]) -> dict[str, pd.DataFrame]:
    """Thresholds, states and shares of positive cells, samples by markers."""
    thresholds = pd.DataFrame(np.nan, index=samples, columns=names)
    share = thresholds.copy()
    status = pd.DataFrame("", index=samples, columns=names)
    for (i, j), one in calls.items():
        known = one.probability[~np.isnan(one.probability)]
        thresholds.iat[i, j], status.iat[i, j] = one.threshold, one.status
        share.iat[i, j] = float((known > 0.5).mean()) if len(known) else np.nan
    return {"thresholds": thresholds, "status": status, "share": share}


def agreement(probability: pd.DataFrame, others: pd.DataFrame, samples: pd.Series) -> pd.DataFrame:
    """Shares of positive cells by ours and by others' calls, Cohen's kappa, and what is striking about theirs."""
    rows = []
    for sample, cells in samples.groupby(samples, observed=True).groups.items():
        for marker in others:
            theirs, ours = others.loc[cells, marker], probability.loc[cells, marker]
            known = (theirs.notna() & ours.notna()).to_numpy()
            a, b = (ours[known] > 0.5).to_numpy(), theirs[known].to_numpy() > 0.5
            p, q = (a.mean(), b.mean()) if known.any() else (np.nan, np.nan)
            alike = (a == b).mean() if known.any() else np.nan
            chance = p * q + (1 - p) * (1 - q)
            kappa = (alike - chance) / (1 - chance) if chance < 1 else np.nan
            whole = theirs.dropna().to_numpy()
            note = ""
            if len(whole):
                share = float((whole > 0.5).mean())
                note = "nearly all positive" if share >= WHOLE else "no cell positive" if share == 0 else ""
            rows.append([str(sample), marker, p, q, alike, kappa, note])
    columns = ["sample", "marker", "share", "share_others", "agreement", "kappa", "note"]
    return pd.DataFrame(rows, columns=columns)


def gates_digest(gates: pd.DataFrame) -> str:
    """A digest of gates, which changes with every number, sample and marker."""
    rows = {str(sample): {str(k): repr(float(v)) for k, v in row.items()} for sample, row in gates.iterrows()}
    return fingerprint({"gates": rows})


def _markers(adata: AnnData, markers: str | Sequence[str] | None) -> list[str]:
    names = list(map(str, adata.var_names)) if markers is None else as_names(markers)
    if lacking := [name for name in names if name not in adata.var_names]:
        raise PanelError(f"No marker {lacking[0]!r} in the table (markers=); found {listed(adata.var_names, 60)}.")
    if not names:
        raise PanelError("There is no marker to call (markers=).")
    if not adata.var_names.is_unique:
        raise PanelError("Two variables of the table have one name. Make them unique: adata.var_names_make_unique().")
    return names


def _samples(adata: AnnData, library_key: str | None) -> pd.Series:
    if library_key is None:
        return pd.Series(pd.Categorical(["all"] * adata.n_obs), index=adata.obs_names)
    column = obs_column(adata, library_key, "library_key")
    return column.astype(str).astype("category")


def _intensities(adata: AnnData, names: list[str], layer: str | None) -> np.ndarray:
    values = marker_values(adata, names, layer)
    if np.isinf(values).any():
        marker = names[int(np.flatnonzero(np.isinf(values).any(axis=0))[0])]
        raise TableError(
            f"Intensities of {marker!r} are infinite in some cells. Correct them, or leave the marker out."
        )
    if np.isnan(values).all():
        raise TableError("All intensities are NaN: nothing was measured of these markers.")
    return values


def _cofactors(values: np.ndarray, names: list[str]) -> np.ndarray:
    cofactors = np.array([find_cofactor(column) for column in values.T])
    if centred := [name for name, cofactor in zip(names, cofactors, strict=True) if np.isnan(cofactor)]:
        raise TableError(
            f"{counted(len(centred), 'marker was', 'markers were')} centred or standardised, first {centred[0]!r}: "
            "positive cells are found in intensities. Pass layer=<where they are>."
        )
    return cofactors


def _gates(
    gates: pd.DataFrame | Mapping[str, float] | None, method: Method, names: list[str], samples: list[str]
) -> pd.DataFrame | None:
    """Gates, samples by the markers that are called."""
    if (method == "gates") != (gates is not None):
        raise TableError('Thresholds of your own are passed together: method="gates", gates=<samples by markers>.')
    if gates is None:
        return None
    if not isinstance(gates, pd.DataFrame):
        one = {str(name): float(value) for name, value in gates.items()}
        gates = pd.DataFrame([one] * len(samples), index=samples)
    gates = gates.set_axis(gates.index.astype(str)).set_axis(gates.columns.astype(str), axis=1)
    if unknown := [name for name in gates.columns if name not in names]:
        raise PanelError(f"gates= has {unknown[0]!r}, which is not among the markers {listed(names, 60)}.")
    if lacking := [sample for sample in samples if sample not in gates.index]:
        raise TableError(
            f"gates= has no row for {counted(len(lacking), 'sample')}, first {lacking[0]!r}. Add it, with NaN where a "
            "marker is not called."
        )
    if gates.index.has_duplicates or gates.columns.has_duplicates:
        raise TableError("gates= has a sample or a marker twice.")
    return gates.reindex(index=samples, columns=names).astype(float)


def _others(adata: AnnData, names: list[str], compare_with: str | Mapping[str, str]) -> pd.DataFrame:
    """Calls of somebody else, cells by markers."""
    if isinstance(compare_with, str):
        if compare_with not in adata.layers:
            raise TableError(f"No layer {compare_with!r} (compare_with=); found {listed(adata.layers)}.")
        values = np.asarray(dense(adata[:, names].layers[compare_with]), dtype=float)
        return pd.DataFrame(values, index=adata.obs_names, columns=names)
    columns = {}
    for marker, column in compare_with.items():
        if marker not in names:
            raise PanelError(f"compare_with= has {marker!r}, which is not among the markers {listed(names, 60)}.")
        columns[marker] = obs_column(adata, column, "compare_with", allow_missing=True).astype(float)
    return pd.DataFrame(columns, index=adata.obs_names)


def _tell(calls: Calls, names: list[str]) -> None:
    """Markers of which no sample, or not every one, was called."""
    lost = {j: sum(one.status == UNCLEAR for (_, k), one in calls.items() if k == j) for j in range(len(names))}
    unclear = [names[j] for j, n in lost.items() if n]
    if unclear:
        warn(
            f"{counted(len(unclear), 'marker was', 'markers were')} not called in some or all samples, as positive and "
            f"negative cells do not lie apart: {listed(unclear, 12)}. Look at sfm.pl.positivity(adata), and set gates "
            'with method="gates".'
        )
