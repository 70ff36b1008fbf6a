"""How far imputed markers are off, and intervals that hold for patients who were not stained for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd

from ..._errors import PanelError, TableError, counted, warn
from ..._fingerprint import DATA, fingerprint, say_changed
from ..._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import at_least, inside
from ..._storable import named_table, write_obsm, write_uns
from ...cohort.checks import listed, obs_column
from ...cohort.given_table import given_table
from ...cohort.imputed import INTENSITY, MODEL, Imputed, Side, check_fitted, imputed_values, markers_of, measured_side
from ...cohort.patient_names import check_across
from ...learn.conformal import check_coverage, patients_needed
from ...learn.imputation_error import Calibrated, CheckedCells, IntervalRequest, PatientRanks, calibrated, tables_of
from ...learn.imputers import METHODS, predict_left_out
from ...learn.intervals import LEAST
from ...pp.panel import match_markers
from ...stats.new_patients import mean_ranks
from .floors import tell_few
from .image_error import image_scores, summary_of_images

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

SHIFTED = 0.05  # p-value below which new patients are said to differ


@public
def calibrate_imputation(
    data: AnnData | SpatialData,
    source: AnnData | SpatialData | None = None,
    *,
    markers: str | Sequence[str] | None = None,
    key: str = "X_imputed",
    layer: str | None = None,
    coverage: Annotated[float, inside(0, 1)] = 0.9,
    n_levels: Annotated[int, at_least(1)] = 1,
    guarantee: bool = False,
    positive_key: str | None = None,
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    table_name: str = TABLE,
    n_bootstrap: int = 1000,
    n_permutations: int = 999,
    random_state: int = 0,
    key_added: str = "imputation_calibration",
) -> pd.DataFrame:
    """Score imputed markers on patients who were stained for them, and give all others intervals.

    Each imputed marker is compared with the measured one, in patients of whom it is known. Values of a model are taken
    as they are, as it did not see the marker. Those of the floors (``"linear"``, ``"knn"``) were fitted to these
    patients, so that they are predicted again here, each patient by a fit to others. Intervals are split-conformal: the
    predicted value, and a quantile of the absolute residuals to both sides, in which each patient weighs alike. Cells
    of a patient resemble each other, and do not count as independent: what varies from patient to patient is what an
    interval for the next one has to hold.

    Intervals hold for patients who are like those calibrated on. This is tested, and said if it is not so, and nothing
    repairs it: a new staining protocol needs patients of its own.

    Parameters
    ----------
    data
        Table with imputed markers, or the SpatialData that holds it. Cells without a measured value get intervals.
    source
        Where the markers were stained, if not in some patients of `data`: the one that floors were imputed from; of a
        model, with its values imputed too.
    markers
        Imputed markers (default: all).
    key
        Key of ``obsm`` with the imputed values.
    layer
        Of values of a model: layer of the measured ones (default: ``X``), in the same units.
    coverage
        Share of the cells of a new patient whose measured value would be inside, on average over patients.
    n_levels
        Levels of the predicted value with a width of their own, such as 4: bright cells are off by more. Coverage then
        holds within each level.
    guarantee
        Whether `coverage` is promised for whatever distribution of patients, which takes wider intervals (by up to 1 /
        K of the coverage with K patients) and 9 patients or more for 0.9. By default it is what patients who are held
        out in turn reach on average.
    positive_key
        Key of ``uns`` with thresholds of `spatialfm.tl.marker_positivity`, for F1. By default a cell is positive above
        the mean of the marker (VirTues, *Masked reconstructions*).
    patient_key
        Column of ``obs`` with the patient.
    library_key
        Column of ``obs`` with the sample, for thresholds by sample.
    table_name
        Table of the SpatialData.
    n_bootstrap
        Draws of patients for intervals of scores; 0: none.
    n_permutations
        Permutations of the test of shift.
    random_state
        Seed of folds, draws and permutations.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row per marker: ``n_patients``, ``n_cells``; ``r`` (Pearson), ``spearman``, ``mse``, ``f1`` (of positive cells),
    means over patients with 10 cells or more, each with a 95 % interval for other patients (``_low``, ``_high``);
    ``coverage``, that of each patient by intervals of the others, likewise; ``n_new_patients``, and ``shift_p`` and
    ``shift_in``: whether these differ, and in which of the markers that were seen. Where images were imputed in
    intensities also ``ssim`` (structural similarity, windows of 7 pixels), ``r_pixel``, ``spearman_pixel``,
    ``mse_pixel`` and ``f1_pixel`` (above the mean of the image), likewise.

    Writes ``obsm[key + "_lower"]`` and ``obsm[key + "_upper"]``, cells by imputed markers, NaN where the marker was
    measured; and ``uns[key_added]``: ``summary`` (as returned), ``patients`` (scores and coverage of each), ``levels``
    (half widths of intervals), ``shift`` (each new patient: ``p_value``, and ``furthest``, a marker), ``images``
    (scores of each) and ``params``. Intervals of intensities end at 0.

    The test of shift: of each patient the mean rank of its cells in each marker that was seen. ``shift_p`` is of the
    largest difference between new and known patients over markers, labels of patients permuted; ``p_value`` the share
    of patients who are as far from the others as this one. It tells of the markers that were seen, and not of how the
    imputed one depends on them.

    Raises
    ------
    PanelError
        If a marker was not imputed, was among those that were seen, or was stained in no patient.
    TableError
        If there are no imputed values, markers are in other units than they, measured values are not those that floors
        were fitted to, fewer than two patients were stained, or too few for a `guarantee`.

    Warns
    -----
    SpatialfmWarning
        If new patients differ from those calibrated on, or these are too few for a promise.

    Examples
    --------
    Every sixth patient was not stained for a marker:

    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=60, random_state=0)
    >>> cells.X[cells.obs["patient"].cat.codes % 6 == 0, cells.var_names.get_loc("CD8")] = np.nan
    >>> sfm.tl.impute_markers(cells, markers=["CD8"], method="linear", space="intensity")
    >>> scores = sfm.tl.calibrate_imputation(cells)
    >>> int(scores["n_patients"]["CD8"]), float(scores["coverage"]["CD8"].round(1))
    (20, 0.9)
    """
    here = given_table(data, table_name, "calibrate_imputation", key_added)
    there = here if source is None else given_table(source, table_name, "calibrate_imputation")
    imputed = imputed_values(here, key)
    names = markers_of(imputed, markers, key)
    layer = _check_units(imputed, key, layer)
    new = measured_side(here, imputed, names, layer, patient_key, _called(here, imputed))
    old = new
    if there is not here:
        old = measured_side(there, imputed, names, layer, patient_key, _called(there, imputed))
    check_across(new.patients, old.patients, "source=")
    options = IntervalRequest(coverage, n_levels, guarantee, n_bootstrap, n_permutations, random_state)
    _check_patients(old, options)
    check_fitted(imputed, old, "the table" if source is None else "source=")
    thresholds = _thresholds(there, old, positive_key, library_key)

    predicted = _predicted(there, key, imputed, old, random_state)
    new, old, predicted, thresholds = _in_units(imputed, new, old, predicted, thresholds)
    ranks = _ranks(new, old, imputed.seen)
    by_marker = {}
    for name in progress_bar(names, desc="markers", unit="marker"):
        known = _known(old, name, predicted, thresholds)
        unstained = (~np.isfinite(new.measured[name]) & np.isfinite(imputed.values[name])).to_numpy()
        by_marker[name] = calibrated(known, new.patients[unstained], ranks, options)

    result = tables_of(by_marker)
    images = image_scores(data if source is None else source, key, names, _patients(there, library_key, patient_key))
    if images is not None:
        result |= {"summary": result["summary"].join(summary_of_images(images, names, options)), "images": images}
    for end, values in _intervals(imputed, new, old, by_marker).items():
        write_obsm(here, f"{key}_{end}", values)
    params = {"key": key, "layer": layer or "X", "coverage": coverage, "n_levels": n_levels, "guarantee": guarantee}
    params |= {"positive_key": positive_key or "", "patient_key": patient_key, "method": imputed.method}
    params |= {"seen": list(imputed.seen), "n_bootstrap": n_bootstrap, "n_permutations": n_permutations}
    params[DATA] = fingerprint(here, [patient_key], obsm=[key])
    write_uns(here, key_added, {**result, "params": {**params, "random_state": random_state}})
    _say(result, options)
    return result["summary"]


def _called(table: AnnData, imputed: Imputed) -> dict[str, str]:
    """Variables of markers that the table knows by another name."""
    names = [*map(str, imputed.values.columns), *imputed.seen]
    unknown = {name for name in names if name not in table.var_names}
    if not unknown:
        return {}
    variables = list(map(str, table.var_names))
    known = zip(variables, match_markers(variables)["marker"], strict=True)
    return {marker: name for name, marker in known if marker in unknown}


def _patients(table: AnnData, library_key: str, patient_key: str) -> dict[str, str]:
    """Patient of each sample."""
    if library_key not in table.obs:
        return {}
    pairs = table.obs[[library_key, patient_key]].astype(str).drop_duplicates()
    return dict(pairs.itertuples(index=False, name=None))


def _check_units(imputed: Imputed, key: str, layer: str | None) -> str | None:
    """Layer with the measured values: of floors the one that they were fitted to.

    Raises
    ------
    TableError
        If imputed values cannot be compared with those.
    """
    if imputed.method not in (MODEL, *METHODS):
        raise TableError(f"obsm[{key!r}] was made by {imputed.method!r}; known are {listed((MODEL, *METHODS))}.")
    if imputed.method != MODEL:
        if imputed.of_pixels:
            raise TableError(
                f"obsm[{key!r}] holds means of pixels that a regression of pixels predicted, which is not fitted to "
                "others patient by patient here. Impute the table instead: "
                'sfm.tl.impute_markers(sdata["table"], markers=[...], method="linear").'
            )
        if layer is not None and layer != imputed.layer:
            raise TableError(
                f"obsm[{key!r}] was imputed from {imputed.layer or 'X'!r}, not from layer {layer!r}. Leave layer= out."
            )
        return imputed.layer
    if imputed.space != INTENSITY and layer is None:
        raise TableError(
            f"obsm[{key!r}] is {imputed.space}, and X is in intensities: residuals would mean nothing. Impute "
            f"intensities, or pass layer=<where measured values are {imputed.space}>."
        )
    return layer


def _check_patients(old: Side, options: IntervalRequest) -> None:
    """Refuse, before any work, what cannot be calibrated."""
    for name in old.measured:
        patients = old.patients[np.isfinite(old.measured[name]).to_numpy()]
        n = len(np.unique(patients))
        if not n:
            raise PanelError(
                f"No patient was stained for {name!r}: how far its imputed values are off cannot be known, and no "
                "interval can be given. Pass source=<a table in which it was>, or leave it out of markers=."
            )
        if n < LEAST:
            raise TableError(
                f"One patient ({patients[0]!r}) was stained for {name!r}: how far predictions are off in another one "
                f"cannot be told from fewer than {LEAST}. Calibrate on more patients."
            )
        if options.guarantee:
            check_coverage(options.coverage, patients)


def _thresholds(there: AnnData, old: Side, positive_key: str | None, library_key: str) -> pd.DataFrame:
    """Intensity above which each cell is positive, cells by markers."""
    if positive_key is None:
        means = old.measured.mean()
        return pd.DataFrame(np.tile(means, (there.n_obs, 1)), index=there.obs_names, columns=old.measured.columns)
    table = named_table(there, positive_key, "thresholds")
    say_changed(there, there.uns[positive_key], f"uns[{positive_key!r}] (positive_key=)", "marker_positivity")
    if lacking := [name for name in old.measured if name not in table]:
        raise PanelError(
            f"uns[{positive_key!r}] (positive_key=) has no thresholds of {lacking[0]!r}; found "
            f"{listed(table.columns, 60)}. Call sfm.tl.marker_positivity with that marker."
        )
    samples = obs_column(there, library_key, "library_key").astype(str)
    if strange := sorted(set(samples) - set(map(str, table.index))):
        raise TableError(
            f"uns[{positive_key!r}] (positive_key=) has no thresholds of sample {strange[0]!r}; found "
            f"{listed(table.index, 12)}."
        )
    by_sample = table.set_axis(table.index.astype(str))[list(old.measured.columns)]
    return by_sample.loc[samples].set_axis(there.obs_names).astype(float)


def _predicted(there: AnnData, key: str, imputed: Imputed, old: Side, random_state: int) -> pd.DataFrame:
    """Values of each marker in cells that were stained for it, by what was not fitted to their patient."""
    names = list(old.measured.columns)
    if imputed.method == MODEL:
        other = imputed_values(there, key, "source")
        if other.seen != imputed.seen or other.method != MODEL or other.space != imputed.space:
            raise TableError(
                f"obsm[{key!r}] of source= was imputed otherwise than that of the data (markers that were seen: "
                f"{listed(other.seen, 60)}). Impute both with the same call."
            )
        return other.values.reindex(columns=names)
    predicted = pd.DataFrame(np.nan, index=there.obs_names, columns=names)
    stained = np.isfinite(old.measured.to_numpy())
    for pattern in np.unique(stained.T, axis=0):  # markers that were stained in the same cells are fitted together
        columns = np.flatnonzero((stained.T == pattern).all(axis=1))
        rows = np.flatnonzero(pattern)
        targets = old.measured.to_numpy()[np.ix_(rows, columns)]
        values = predict_left_out(imputed.method, old.seen[rows], targets, old.patients[rows], random_state)
        lowest = np.where(targets.min(axis=0) >= 0, 0.0, -np.inf)  # as impute_markers has it
        predicted.iloc[rows, columns] = np.maximum(values, lowest)
    return predicted


def _in_units(
    imputed: Imputed, new: Side, old: Side, predicted: pd.DataFrame, thresholds: pd.DataFrame
) -> tuple[Side, Side, pd.DataFrame, pd.DataFrame]:
    """All in the units of the imputed values: standardised floors, by what they were fitted to."""
    if imputed.method == MODEL or imputed.space == INTENSITY:
        return new, old, predicted, thresholds
    mean, sd = old.measured.mean(), old.measured.std(ddof=0)
    sd = sd.where(sd > 0, 1.0)
    sides = [replace(one, measured=(one.measured - mean) / sd) for one in (new, old)]
    return sides[0], sides[1], (predicted - mean) / sd, (thresholds - mean) / sd


def _ranks(new: Side, old: Side, seen: Sequence[str]) -> PatientRanks:
    """Of what was seen in all cells of both."""
    sides = [old] if new.seen is old.seen else [old, new]
    values = np.concatenate([one.seen for one in sides])
    complete = np.isfinite(values).all(axis=0)
    patients, means = mean_ranks(values[:, complete], np.concatenate([one.patients for one in sides]))
    return PatientRanks(patients, means, tuple(name for name, kept in zip(seen, complete, strict=True) if kept))


def _known(old: Side, name: str, predicted: pd.DataFrame, thresholds: pd.DataFrame) -> CheckedCells:
    measured, values = old.measured[name].to_numpy(float), predicted[name].to_numpy(float)
    rows = np.isfinite(measured) & np.isfinite(values)
    if not rows.any():
        raise TableError(
            f"{name!r} was stained in some patients and imputed in none of them. Impute it for these too, hidden from "
            "the model."
        )
    return CheckedCells(measured[rows], values[rows], old.patients[rows], thresholds[name].to_numpy(float)[rows])


def _intervals(imputed: Imputed, new: Side, old: Side, by_marker: Mapping[str, Calibrated]) -> dict[str, pd.DataFrame]:
    """Lower and upper ends, cells by markers; NaN where a marker was measured."""
    ends = {end: pd.DataFrame(np.nan, index=new.measured.index, columns=list(by_marker)) for end in ("lower", "upper")}
    for name, one in by_marker.items():
        values = imputed.values[name].where(~np.isfinite(new.measured[name])).to_numpy(float)
        half = one.widths.of(values)
        lower = values - half
        if imputed.space == INTENSITY and not (old.measured[name] < 0).any():
            lower = np.maximum(lower, 0.0)
        ends["lower"][name], ends["upper"][name] = lower, values + half
    return ends


def _say(result: Mapping[str, pd.DataFrame], options: IntervalRequest) -> None:
    """Where intervals may not hold."""
    summary, each = result["summary"], result["shift"]
    tell_few(result["patients"].groupby("patient", sort=False)["n_cells"].max(), "measured cells of any marker")
    shifted = summary[summary["shift_p"].astype(float) < SHIFTED]
    if len(shifted):
        first = shifted.index[0]
        alone = each[(each["marker"] == first) & (each["p_value"] < SHIFTED)]["patient"]
        warn(
            f"New patients differ from those that intervals of {listed(shifted.index, 12)} were calibrated on "
            f"(patients permuted, p = {float(shifted['shift_p'].iloc[0]):.2g}; furthest apart in "
            f"{shifted['shift_in'].iloc[0]!r}). Their intervals may hold less than {options.coverage:.0%} of cells. "
            + (f"Unlike all others by themselves: {listed(alone)}. " if len(alone) else "")
            + "Calibrate on patients who were stained alike."
        )
    few = summary[summary["n_patients"] < patients_needed(options.coverage)]
    if len(few):
        warn(
            f"Intervals of {listed(few.index, 12)} rest on {counted(int(few['n_patients'].min()), 'patient')}: that "
            f"they hold {options.coverage:.0%} of the cells of another one can be promised from "
            f"{patients_needed(options.coverage)} patients on. The column 'coverage' has what was reached."
        )
