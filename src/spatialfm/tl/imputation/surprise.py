"""Markers of cells that are not what everything else says: artifacts, mistakes of segmentation, and real outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import ElementError, TableError, counted
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import as_names, listed, named, obs_column, order_of_names
from ...cohort.given_table import given_table, measured_markers, varying_markers
from ...cohort.representation import marker_values
from ...embed.call import CALL_FIELDS
from ...learn.arcsinh import compressed_by, find_cofactor
from ...learn.surprise import apart_from_others, deviation, expected_of_others
from ...learn.swapped import exchanges_of
from ...pp.predicted import remove_predicted
from .one_unit import say_groups_apart
from .surprise_maps import earlier_maps, map_names, paint_maps
from .surprise_parts import Parts, parts_of, samples_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Run
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe

FEWEST = 2  # patients of the reference: each is expected by the others
FAR = 3.0  # errors from which a marker of a cell counts as surprising in the table of samples


@public(fields=CALL_FIELDS)
def surprise(
    data: AnnData | SpatialData,
    model: str | Encoder | None = None,
    *,
    method: Literal["linear", "knn", "model"] = "linear",
    reference: str | Sequence[str] | AnnData | SpatialData | None = None,
    weights: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    layer: str | None = None,
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    n_folds: int = 5,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    maps: bool = False,
    table_name: str = TABLE,
    random_state: int = 0,
    key_added: str = "surprise",
) -> None:
    """Difference of each marker of each cell from what everything else predicts, in units of the error of prediction.

    What is expected is learned from reference patients, and so is the error: the difference is divided by what it is in
    reference cells of which as much was expected, half of the width that holds 68 % of them (one standard deviation if
    they are normal). A patient of the reference is expected by the other patients of it, who weigh alike from 50 cells
    on. Staining that differs between patients surprises, too: this is not a test, and there are no p-values.

    Parameters
    ----------
    data
        Cells with markers as variables, or a SpatialData with a table of them.
    model
        Of ``method="model"``: name of a model with a decoder, or a loaded encoder.
    method
        ``"linear"``: ridge regression of each marker on all others. ``"knn"``: the mean of the cells of reference
        patients that are nearest by all other markers. Both on ``arcsinh(intensity / cofactor)``, with cofactors of the
        reference. ``"model"``: from the pixels, with all tokens of the marker hidden and all other markers visible
        (VirTues, *Masked reconstructions*, marker-wise), and averaged over the cell, in the standardised space of the
        model; `data` is a SpatialData with images.
    reference
        Tissue that is as it should be: patients of `data`, or another table or SpatialData with the same markers. None:
        all patients, of whom most then have to be. A patient whose name both objects have is held to be one, and is
        expected by the others.
    weights
        Weights of a model that is given by its name, see `spatialfm.models.load`.
    markers
        Markers that are looked at, and expected from (default: all that were measured in every cell, and are not the
        same in all cells of the reference; of a model, its panel).
    layer
        Layer of the intensities (default: ``X``); not of a model.
    patient_key
        Column of ``obs`` with the patient.
    library_key
        Column of ``obs`` with the sample.
    n_folds
        Folds of the patients of the reference.
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields. Of a model, as the three
        that follow.
    recipe
        All that decides the numbers of a model: `spatialfm.Recipe`, or a dict of fields to depart in.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    maps
        Whether to write an image ``<key_added>_<sample>`` of every labels element, in which each cell has its surprise
        by each marker, and by all of them as channel ``"all"``; made when it is read, so that it takes no memory.
    table_name
        Table of the cells, of a SpatialData.
    random_state
        Seed of folds, and of the cells that are compared with ``"knn"``.
    key_added
        Key of ``layers``, ``obs`` and ``uns``.

    Returns
    -------
    None. Writes ``layers[key_added]``, float32, cells by markers: positive where a marker is brighter than expected,
    NaN where it was not looked at. Of each cell:

    ``obs[key_added + "_rms"]``
        The root mean square over its markers, which a single one drives, as where it is saturated.
    ``obs[key_added + "_shift"]``
        How much brighter all markers are than in the middle of the sample: the mean over markers of the distance from
        the median, in the spread of the marker in the sample, cut at 3. Large in a fold, where markers expect each
        other, so that none is a surprise; it looks at no reference.
    ``obs[key_added]``
        The larger of both, each over what 95 % of reference cells stay below: 1 is as much as one reference cell in 20
        has. Cells whose markers are all darker count by the first alone.
    ``obs[key_added + "_marker"]``
        The marker that is farthest off.

    And ``uns[key_added]``: ``samples``, the median of each marker in each sample; ``apart``, how far it is from the
    middle of all samples, in their spread (median absolute deviation; NaN of fewer than three samples); ``far``, the
    share of its cells that are 3 errors or more off; ``errors``, the error of each marker on the reference and the
    share of its variance that is explained; and ``params``. Of cells, not of a model, also ``swapped``: by how much the
    cells of a sample would be nearer to what regression expects if the marker and another one were exchanged (squared
    errors, each cut at 3, around the median of the sample, added over markers), which finds swapped channels; and
    ``exchanges``, of each sample the exchange that brings most.

    Raises
    ------
    TableError
        If the reference has fewer than two patients, or lacks a marker or column.
    PanelError
        If a marker is missing, was not measured in some cells, or is the same in all cells of the reference.
    ModelError
        If the model has no decoder.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=300, random_state=0)
    >>> cells.X[5, cells.var_names.get_loc("CD20")] = 5000
    >>> sfm.tl.surprise(cells)
    >>> bool(cells.layers["surprise"][5, cells.var_names.get_loc("CD20")] > 3), bool(cells.obs["surprise"].iloc[5] > 1)
    (True, True)
    """
    _check_method(data, model, method, layer)
    if hasattr(data, "obs") or table_name in data.tables:  # refused before the work; a model may make the table first
        _places(data, table_name, library_key, key_added, maps)
    if method == "model":
        told = {"panel": panel, "recipe": recipe, "run": run, "elements": elements, "table_name": table_name}
        parts = _by_model(data, model, weights, reference, markers, patient_key, library_key, told)
    else:
        keys = (patient_key, library_key, table_name)
        parts = _by_cells(data, method, reference, markers, layer, keys, n_folds, random_state)
    adata, samples, targets = _places(data, table_name, library_key, key_added, maps)

    z = parts.errors.standardised(parts.residual, parts.expected).astype(np.float32)
    layer_of = np.full(adata.shape, np.nan, np.float32)
    layer_of[:, adata.var_names.get_indexer(parts.markers)] = z
    adata.layers[key_added] = layer_of
    rms, shift = deviation(z), parts.brightness
    adata.obs[key_added] = parts.usual.exceeded(rms, shift)
    adata.obs[f"{key_added}_rms"], adata.obs[f"{key_added}_shift"] = rms, shift
    adata.obs[f"{key_added}_marker"] = _farthest(z, parts.markers)
    frame = pd.DataFrame(z, columns=parts.markers).groupby(samples.to_numpy(), observed=True)
    far = frame.agg(lambda one: float((one.abs() >= FAR).sum() / max(one.notna().sum(), 1)))
    params = {"method": method, "model": parts.model, "markers": parts.markers, "layer": layer or "X"}
    params |= {"reference": parts.reference, "n_folds": n_folds, "patient_key": patient_key}
    params |= {"library_key": library_key, "random_state": random_state}
    params[DATA] = fingerprint(adata, [library_key], markers=() if method == "model" else parts.markers, layer=layer)
    params |= {"usual_rms": parts.usual.rms, "usual_shift": parts.usual.shift}
    params["maps"] = list(targets.values())
    if hasattr(data, "images"):  # of another call: they would be read as this one's
        remove_predicted(data, *earlier_maps(adata, key_added))
    medians = frame.median()
    tables = {"samples": medians, "apart": apart_from_others(medians), "far": far, "errors": parts.table()}
    if parts.inputs is not None:
        by_name = samples.iloc[order_of_names(adata.obs_names)]
        tables |= exchanges_of(*parts.inputs, by_name, parts.markers, n_folds=n_folds, random_state=random_state)
    write_uns(adata, key_added, tables | {"params": params})
    paint_maps(data, adata, targets, z, parts.markers, key_added)
    logger.info("%s: %s of %s", key_added, counted(len(parts.markers), "marker"), counted(adata.n_obs, "cell"))


def _check_method(data: object, model: object, method: str, layer: str | None) -> None:
    if (method == "model") != (model is not None):
        raise TableError(
            'A model and method="model" are passed together: sfm.tl.surprise(sdata, "virtues", method="model").'
        )
    if method == "model" and not hasattr(data, "images"):
        raise ElementError('method="model" reads images. Pass the SpatialData, or method="linear", which needs none.')
    if method == "model" and layer is not None:
        raise TableError('method="model" reads images, not layer=. Leave layer= out.')


def _places(
    data: AnnData | SpatialData, table_name: str, library_key: str, key_added: str, maps: bool
) -> tuple[AnnData, pd.Series, dict[str, str]]:
    """Where results go: the table, the sample of each cell, and names of maps."""
    adata = given_table(data, table_name, "surprise", key_added)
    samples = named(obs_column(adata, library_key, "library_key"), "library_key")
    return adata, samples, map_names(data, adata, key_added) if maps else {}


def _check_reference(data: Any, reference: Any, patient_key: str, table_name: str) -> None:
    """Refuse rows, columns and patients before images are read, as far as there are tables."""
    other = reference if _is_object(reference) else data
    for one in (data, other):
        if table_name in one.tables and not one.tables[table_name].obs_names.is_unique:
            raise TableError("Two rows of the table have one name. Make them unique: adata.obs_names_make_unique().")
    if table_name in other.tables:
        patient = _patients(other.tables[table_name], patient_key)
        among = slice(None) if _is_object(reference) else _among(patient, reference, patient_key)[0]
        _check_patients(len(np.unique(patient[among])), patient_key)


def _by_cells(
    data: AnnData | SpatialData,
    method: Literal["linear", "knn"],
    reference: str | Sequence[str] | AnnData | SpatialData | None,
    markers: Sequence[str] | None,
    layer: str | None,
    keys: tuple[str, str, str],
    n_folds: int,
    random_state: int,
) -> Parts:
    """Everything from intensities of cells, of the reference behind those of the table where it is another object."""
    patient_key, library_key, table_name = keys
    adata = given_table(data, table_name, "surprise")
    other = given_table(reference, table_name, "reference=") if _is_object(reference) else None
    names, values = measured_markers(adata, markers, layer, least=2)
    patient = _patients(adata, patient_key)
    if other is None:
        among, said = _among(patient, reference, patient_key)
    else:
        if lacking := [name for name in names if name not in other.var_names]:
            raise TableError(f"The reference has no marker {lacking[0]!r}. Leave it out of markers=.")
        theirs = marker_values(other, names, layer)
        if not np.isfinite(theirs).all():
            raise TableError("The reference holds NaN or infinite intensities. Leave these markers or cells out.")
        both = np.repeat(["the table", "the reference"], [len(values), len(theirs)])
        values = np.vstack([values, theirs])
        say_groups_apart(values, both, "Bring both to one unit before they are compared.")
        patient = np.concatenate([patient, _patients(other, patient_key)])
        among, said = np.arange(len(values)) >= adata.n_obs, "another table"
    _, codes = np.unique(patient.astype(str), return_inverse=True)
    _check_patients(len(np.unique(codes[among])), patient_key)

    names, values = varying_markers(names, values, among, asked=markers is not None, where="of the reference")

    cofactors = np.array([find_cofactor(column) for column in values[among].T])
    x = compressed_by(values, cofactors)
    bar = progress_bar(range(min(n_folds, len(np.unique(codes[among]))) + 1), desc="surprise", unit="part")
    order = order_of_names(adata.obs_names)  # nearest cells are looked for among drawn ones
    if other is not None:
        order = np.r_[order, adata.n_obs + order_of_names(other.obs_names)]
    expected, options = np.empty_like(x), {"n_folds": n_folds, "random_state": random_state}
    expected[order] = expected_of_others(method, x[order], codes[order], among[order], **options, over=bar)
    sample = samples_of(adata, other, library_key, patient)
    parts = parts_of(names, x, expected, codes, among, sample, adata.n_obs, said)
    return replace(parts, inputs=(values[order], cofactors, codes[order], among[order]))


def _by_model(
    data: Any,
    model: Any,
    weights: str | PathLike | None,
    reference: Any,
    markers: Sequence[str] | None,
    patient_key: str,
    library_key: str,
    told: dict[str, Any],
) -> Parts:
    """Everything from pixels, by the decoder of a model."""
    from ...embed.paint.expected import expected_means
    from ...embed.session import load_encoder

    if hasattr(reference, "obs"):
        raise TableError('method="model" reads images, and the reference is a table. Pass its SpatialData.')
    _check_reference(data, reference, patient_key, told["table_name"])
    encoder = load_encoder(model, weights)
    measured, expected = expected_means(data, encoder, markers=markers, on_missing="raise", **told)
    adata = given_table(data, told["table_name"], "surprise")
    patient = _patients(adata, patient_key)
    x, y = (_in_order(one, adata) for one in (measured, expected))
    names = [str(name) for name in measured.columns]
    if unknown := [name for name in names if name not in adata.var_names]:
        raise TableError(f"The table has no marker {unknown[0]!r}, which the model looks at. Pass markers=[...].")
    table = None
    if _is_object(reference):
        theirs = expected_means(reference, encoder, markers=names, **told)
        table = given_table(reference, told["table_name"], "surprise")
        x, y = (np.vstack([one, _in_order(other, table)]) for one, other in zip((x, y), theirs, strict=True))
        patient = np.concatenate([patient, _patients(table, patient_key)])
        among, said = np.arange(len(x)) >= adata.n_obs, "another SpatialData"
    else:
        among, said = _among(patient, reference, patient_key)
    _, codes = np.unique(patient.astype(str), return_inverse=True)
    _check_patients(len(np.unique(codes[among])), patient_key)
    sample = samples_of(adata, table, library_key, patient)
    return parts_of(names, x, y, codes, among, sample, adata.n_obs, said, encoder.card.name)


def _in_order(values: pd.DataFrame, table: AnnData) -> np.ndarray:
    """Rows of the table, of which images are read sample by sample."""
    return values.reindex(table.obs_names).to_numpy(dtype=float)


def _is_object(reference: object) -> bool:
    """Whether the reference is another table or SpatialData, not names of patients."""
    return hasattr(reference, "obs") or hasattr(reference, "tables")


def _patients(adata: AnnData, patient_key: str) -> np.ndarray:
    return obs_column(adata, patient_key, "patient_key").astype(str).to_numpy(dtype=object)


def _among(patient: np.ndarray, reference: str | Sequence[str] | None, patient_key: str) -> tuple[np.ndarray, str]:
    """Which cells are of the reference, and what it is."""
    if reference is None:
        return np.ones(len(patient), bool), "all patients"
    wanted = as_names(reference)
    if lacking := [name for name in wanted if name not in set(patient)]:
        raise TableError(
            f"No patient {lacking[0]!r} in obs[{patient_key!r}] (reference=); found {listed(np.unique(patient), 12)}."
        )
    return np.isin(patient, wanted), ", ".join(wanted)


def _check_patients(n: int, patient_key: str) -> None:
    if n < FEWEST:
        raise TableError(
            f"The reference has {counted(n, 'patient')} in obs[{patient_key!r}] (patient_key=): at least {FEWEST} are "
            "needed, of whom each is expected by the others."
        )


def _farthest(z: np.ndarray, markers: list[str]) -> pd.Categorical:
    """The marker of each cell that is farthest from what is expected; missing where none was looked at."""
    codes = np.argmax(np.nan_to_num(np.abs(z), nan=-1.0), axis=1)
    codes[~np.isfinite(z).any(axis=1)] = -1
    return pd.Categorical.from_codes(codes, markers)
