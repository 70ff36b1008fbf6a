"""Which cells are positive for which marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd

from ..._dense import dense
from ..._errors import ElementError, PanelError, TableError, counted, listed, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import SAMPLE_KEY, TABLE, layer_names
from ..._public import public
from ..._ranges import above, at_least, between
from ..._storable import named_table, storable_names, write_uns
from ...cohort.checks import as_names, check_anndata, obs_column
from ...cohort.representation import check_measured, marker_values
from ...embed.call import CALL_FIELDS
from ...embed.positivity.asked import check_images
from ...learn.arcsinh import find_cofactor
from ...learn.positivity_calls import (
    agreement,
    between_samples,
    fitted_calls,
    from_images,
    gated,
    gates_digest,
    next_version,
    probabilities,
    tables,
    unclear,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Run
    from ...learn.positivity_calls import Calls

Method = Literal["mixture", "otsu", "gates", "nimbus"]


@public(fields=CALL_FIELDS)
def marker_positivity(
    adata: AnnData | SpatialData,
    *,
    markers: str | Sequence[str] | None = None,
    layer: str | None = None,
    method: Method = "mixture",
    gates: pd.DataFrame | Mapping[str, float] | None = None,
    library_key: str | None = SAMPLE_KEY,
    min_cells: Annotated[int, at_least(2)] = 100,
    min_share: Annotated[float, between(0.0, 0.5)] = 0.005,
    compare_with: str | Mapping[str, str] | None = None,
    weights: str | PathLike | None = None,
    augmentation: Literal["released", "corrected", "none"] = "released",
    magnification: Annotated[float | None, above(0)] = None,
    normalizers: Mapping[str, float] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    random_state: int = 0,
    key_added: str = "positive",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Probability that each cell is positive for each marker, estimated in each sample by itself.

    Intensities ``x`` become ``arcsinh(x / cofactor)``, with a cofactor for each marker that is found from its cells. In
    each sample two normal distributions are fitted to them. They are populations of negative and positive cells where
    they lie apart (Ashman's D of 2 or more) and each has `min_share` of the cells. A sample whose cells are all of one
    kind is not split at random: its cells are called by the threshold of all samples, so that the few that are
    otherwise are found, and its status says so (``"shared"``; ``"no positives"`` or ``"no negatives"`` where less than
    `min_share` are on that side). So is a sample whose own threshold lies outside of the populations of all samples;
    these are named in a warning. Where populations lie apart in hardly any sample, a marker is ``"unclear"`` and its
    cells are not called: set a gate.

    Samples with another staining intensity need thresholds of their own, which they get if both populations are there.
    If only one is, a difference in staining cannot be told from one in the tissue: compare thresholds and medians of
    these samples in `spatialfm.pl.positivity`.

    ``method="nimbus"`` looks at the images instead (Rumberger et al., Nature Methods 2025): a U-Net sees one marker at
    a time, divided by its normaliser, with the interiors of the cells, and gives a probability for each pixel, of
    which a cell has the mean. Images are seen whole up to 1024 pixels and in tiles above. Memory does not grow with
    the image, and a run that was stopped goes on where it stopped. It depends on neighbours and patterns, not on a
    threshold: a sample without positive cells needs no other samples.

    Parameters
    ----------
    adata
        Table of cells with markers as variables, or a SpatialData that holds it (which ``"nimbus"`` needs).
    markers
        Markers that are called (default: all).
    layer
        Layer of the intensities (default: ``X``); neither logged nor standardised.
    method
        ``"mixture"``: as above. ``"otsu"``: Otsu's threshold where a mixture finds two populations, with probabilities
        of 0 and 1. ``"gates"``: thresholds of your own. ``"nimbus"``: a network on the images.
    gates
        Thresholds in the units of the intensities, a cell above one is positive: a DataFrame of samples by markers
        (such as ``uns[key]["thresholds"]`` of another call), or one number per marker for all samples. NaN: not
        called. They are kept in the record, with a digest that changes with them; a second call under the same key
        adds a version, with how many calls it has changed.
    library_key
        Column of ``obs`` with the sample (or slide, or staining run) in which thresholds are found; None: all together.
    min_cells
        Samples with fewer cells are called by the populations of all samples.
    min_share
        Share of cells that each population of a sample has at least.
    compare_with
        Calls of somebody else (0 and 1, booleans, or probabilities): a layer, or columns of ``obs`` by marker. Not with
        `copy`: the comparison is in the record.
    weights
        Of the network: file, folder or hub id, of which the newest version is taken; None: the published ones
        (``JLrumberger/Nimbus-Inference``).
    augmentation
        Maps of each image that are averaged. ``"released"``: those that the published code makes, which turns an image
        by 270° four times where four rotations were meant, and mirrors it twice; ``"corrected"``: four rotations and
        two mirror images, and tiles without an odd side; ``"none"``: one map.
    magnification
        Of the images; the network sees them at 10. Default: by their µm per pixel, of which it sees 1.
    normalizers
        What pixels of a marker are divided by. Default: the mean, over ten images, of the 99.9 % quantile of pixels
        above 0. Those of another cohort are ``uns[key]["params"]["normalizers"]["normalizer"].to_dict()``.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    run
        Devices, cluster and resuming: `spatialfm.Run`, or a dict of its fields.
    table_name
        Table of a SpatialData.
    random_state
        Seed of the mixtures, and of the draw of images for normalisers.
    key_added
        Layer and key of ``uns``.
    copy
        Return the probabilities alone, a table of cells by markers. Thresholds, shares and comparisons are only
        written.

    Returns
    -------
    None, or with `copy` the probabilities, cells by markers. Writes ``layers[key_added]``, float32, of cells
    by markers, NaN where a marker is not called; and ``uns[key_added]``: ``thresholds`` (in the units of the
    intensities), ``status`` and ``share`` (of positive cells), samples by markers each; ``between_samples``: of each
    sample and marker the threshold of its own, the median of those of the others, and the share of its cells that both
    call alike; ``agreement`` with `compare_with`: of each sample and marker the shares of positive cells by both,
    Cohen's kappa, and what is striking about the others' (all or no cells positive); ``gates_history``, versions of
    gates, and calls of other methods since the first; and ``params``, with the cofactors or what the network was given.

    Raises
    ------
    PanelError
        If a marker is not in the table or the images, or gates or normalisers name one that is not.
    TableError
        If a column, layer, sample or gate is missing, intensities are negative infinite or all NaN, or an argument
        belongs to another method, or is for the record, which `copy` does not write.
    ElementError
        If images and labels do not belong together, or cells are points.
    WeightsError
        If weights are missing, or do not fit the network.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=400, random_state=0)
    >>> sfm.tl.marker_positivity(cells, markers=["CD20", "Cytokeratin"])
    >>> sorted(set(cells.uns["positive"]["status"]["CD20"]))
    ['shared', 'split']
    """
    if copy and compare_with is not None:
        raise TableError("compare_with= is for the record, and copy=True writes nothing. Leave one of them out.")
    on_images = {"weights": weights, "augmentation": augmentation, "magnification": magnification}
    on_images |= {"normalizers": normalizers, "elements": elements, "run": run}
    table = _table(adata, table_name, None if copy else key_added, method, on_images)
    names, samples = _markers(table, markers), _samples(table, library_key)
    thresholds = _gates(gates, method, names, list(samples.cat.categories))
    others = None if compare_with is None else _others(table, names, compare_with)
    values = None if method == "nimbus" else _intensities(table, names, layer)

    params: dict[str, Any] = {"method": method, "layer": layer or "X", "library_key": library_key or ""}
    params[DATA] = fingerprint(table, [library_key], markers=() if values is None else names, layer=layer)
    params |= {"markers": names, "min_cells": min_cells, "min_share": min_share, "random_state": random_state}
    if values is None:
        calls, notes = _seen(adata, table, table_name, names, samples, on_images | {"random_state": random_state})
        params |= notes
    elif thresholds is None:
        cofactors = _cofactors(values, names)
        calls = fitted_calls(values, samples, cofactors, method, min_cells, min_share, random_state)
        params["cofactors"] = pd.DataFrame({"cofactor": cofactors}, index=names)
    else:
        calls = gated(values, samples, thresholds)
        params["gates"] = gates_digest(thresholds)

    frame = pd.DataFrame(probabilities(calls, samples, len(names)), index=table.obs_names, columns=names)
    result: dict[str, Any] = {**tables(calls, list(samples.cat.categories), names), "params": params}
    if values is not None:
        result["between_samples"] = between_samples(calls, values, samples, names)
    _tell(calls, names, result.get("between_samples"))
    if copy:
        return frame
    if others is not None:
        result["agreement"] = agreement(frame, others, samples)
    _write(table, key_added, frame, result)
    return None


def _table(
    adata: AnnData | SpatialData, table_name: str, key_added: str | None, method: Method, on_images: Mapping[str, Any]
) -> AnnData:
    """The table of cells; what the method needs is there, and nothing is said that it would ignore."""
    check_images(adata, on_images, method, on_images=method == "nimbus")
    if not hasattr(adata, "tables"):
        check_anndata(adata, "marker_positivity", key_added)
        return adata
    if table_name not in adata.tables:
        raise ElementError(
            f"No table {table_name!r} (table_name=); found {listed(adata.tables, 6)}. Make one with "
            "sfm.pp.cell_table(sdata)."
        )
    check_anndata(adata.tables[table_name], "marker_positivity", key_added)
    return adata.tables[table_name]


def _seen(
    sdata: SpatialData,
    table: AnnData,
    table_name: str,
    names: list[str],
    samples: pd.Series,
    asked: Mapping[str, Any],
) -> tuple[Calls, dict[str, Any]]:
    """Calls of the network, and what it was given."""
    from ...embed.positivity.call import image_probabilities

    probability, notes = image_probabilities(sdata, table, table_name, names, **asked)
    return from_images(probability, samples), notes


def _write(table: AnnData, key: str, frame: pd.DataFrame, result: dict[str, Any]) -> None:
    """Layer and record; the versions of gates go on from those that are there, whatever was called between."""
    before, history = None, None
    if key in table.uns and key in table.layers and "gates_history" in table.uns[key]:
        history = named_table(table, key, "gates_history")
        before = pd.DataFrame(np.asarray(dense(table.layers[key])), index=table.obs_names, columns=table.var_names)
    digest = result["params"].get("gates")
    if digest is not None or history is not None:
        now = frame.reindex(columns=table.var_names)
        result["gates_history"] = next_version(history, digest or str(result["params"]["method"]), before, now)
    if digest is not None:
        result["params"]["gates_version"] = len(result["gates_history"])
    full = np.full(table.shape, np.nan, np.float32)
    full[:, table.var_names.get_indexer(frame.columns)] = frame.to_numpy()
    table.layers[key] = full
    write_uns(table, key, result)


def _markers(adata: AnnData, markers: str | Sequence[str] | None) -> list[str]:
    names = list(map(str, adata.var_names)) if markers is None else as_names(markers)
    check_measured(adata, names)
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
    stored = dict(zip(storable_names(names), names, strict=True))  # thresholds of another call have names without "/"
    gates = gates.rename(columns={name: stored[name] for name in gates.columns if name not in names and name in stored})
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
            raise TableError(f"No layer {compare_with!r} (compare_with=); found {listed(layer_names(adata), 6)}.")
        values = np.asarray(dense(adata[:, names].layers[compare_with]), dtype=float)
        return _as_calls(pd.DataFrame(values, index=adata.obs_names, columns=names))
    columns = {}
    for marker, column in compare_with.items():
        if marker not in names:
            raise PanelError(f"compare_with= has {marker!r}, which is not among the markers {listed(names, 60)}.")
        calls = obs_column(adata, column, "compare_with", allow_missing=True)
        try:
            columns[marker] = calls.astype(float)
        except (TypeError, ValueError):
            raise TableError(
                f"obs[{column!r}] (compare_with=) holds {listed(calls.dropna().unique(), 3)}, not 0 and 1, True and "
                "False, or probabilities."
            ) from None
    return _as_calls(pd.DataFrame(columns, index=adata.obs_names))


def _as_calls(others: pd.DataFrame) -> pd.DataFrame:
    """The same, of numbers from 0 to 1: intensities would all be above one half."""
    outside = ((others < 0) | (others > 1)).any()
    if outside.any():
        raise TableError(
            f"Calls of {listed(others.columns[outside], 6)} (compare_with=) are not between 0 and 1. Pass 0 and 1, "
            "booleans or probabilities."
        )
    return others


def _tell(calls: Calls, names: list[str], between: pd.DataFrame | None) -> None:
    """Markers of which no sample, or not every one, was called; samples that were called against their own split."""
    if lost := unclear(calls, names):
        warn(
            f"{counted(len(lost), 'marker was', 'markers were')} not called in some or all samples, as positive and "
            f"negative cells do not lie apart: {listed(lost, 12)}. Look at sfm.pl.positivity(adata), and set gates "
            'with method="gates".'
        )
    if between is None or not between["overruled"].any():
        return
    rows = between[between["overruled"]]
    text = [f"{one.marker} in {one.sample}" for one in rows.itertuples()]
    warn(
        f"{counted(len(rows), 'sample has', 'samples have')} a threshold of their own outside of the populations of "
        f"all samples, and cells are called by that of all: {listed(text, 8, quoted=False)}. Either the staining or "
        'the tissue is another one: look at sfm.pl.positivity(adata), and set gates with method="gates".'
    )
