"""From compositions in an AnnData to the rows that are compared: groups, covariates, pairs, blocks; all refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import comb, prod
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._dense import dense
from .._errors import ClinicalError, TableError, counted, warn
from .._keys import PATIENT_KEY
from .._missing_codes import tell_missing_code
from .._outcome import numbers_of, tell_numbers_as_text
from ..stats.composition_groups import ComparedRows, pooled
from ..stats.patient_groups import LEAST
from .checks import listed, named, obs_column, order_of_names, tell_time_order, tells_group
from .outcome import check_patients, patient_column

if TYPE_CHECKING:
    from anndata import AnnData


def read_rows(
    patients: AnnData,
    group_key: str,
    groups: Sequence[str] | None,
    covariates: str | Sequence[str] | None,
    patient_key: str | None,
    pair_key: str | None,
    time_key: str | None,
    block_key: str | None,
    model: str | None,
    on_missing: str,
) -> ComparedRows:
    """Rows with a value in all columns that are asked for."""
    _check_choices(model, pair_key, time_key, block_key)
    if group_key not in patients.obs:
        raise TableError(
            f"No column {group_key!r} in obs (group_key=); found {listed(patients.obs.columns, 12)}. A column of the "
            "cell table comes along with sfm.tl.composition only if each patient has one value of it."
        )
    units = _units(patients, patient_key, pair_key, time_key, model)
    wanted = [covariates] if isinstance(covariates, str) else list(covariates or ())
    keys: dict[str, list[str | None]] = {
        "group_key": [group_key],
        "covariates": list(wanted),
        "block_key": [block_key],
        "time_key": [time_key],
    }
    columns = {
        key: obs_column(patients, key, argument, allow_missing=True)
        for argument, of_argument in keys.items()
        for key in of_argument
        if key is not None
    }
    keep = _complete(columns, on_missing)
    codes, names = _groups(columns[group_key], group_key, groups, keep)
    if time_key is not None:
        tell_time_order(columns[time_key], list(_time(columns[time_key], time_key).categories), "time_key")
    # in the order of their names: the shuffled labels are independent of the order of rows
    kept = np.flatnonzero(keep & (codes >= 0))
    kept = kept[order_of_names(patients.obs_names[kept])]
    columns = {key: column.iloc[kept] for key, column in columns.items()}
    counts, known = _counts(patients)
    rows = ComparedRows(
        counts=counts[kept],
        known=known,
        codes=codes[kept],
        names=names,
        covariates=terms_of({key: columns[key] for key in wanted}, len(kept)),
        units=None if units is None else pd.factorize(units[kept])[0],
        blocks=None if block_key is None else pd.factorize(columns[block_key])[0],
        time=None if time_key is None else _time(columns[time_key], time_key).codes,
        time_names=() if time_key is None else tuple(_time(columns[time_key], time_key).categories),
        model="changes" if time_key else "pairs" if pair_key else model or "groups",
        places=kept,
    )
    if rows.model == "changes":
        _check_of_patients(rows, wanted, block_key)
    rows = _paired(rows, group_key) if rows.model in ("pairs", "changes") else rows
    _check_design(rows, group_key, wanted, block_key)
    return rows


def _check_choices(model: str | None, pair_key: str | None, time_key: str | None, block_key: str | None) -> None:
    choices = {"model": model, "pair_key": pair_key, "time_key": time_key, "block_key": block_key}
    choices = {name: value for name, value in choices.items() if value is not None}
    of_changes = "time_key" in choices and "model" not in choices  # whose patients may have a site
    if len(choices) > 1 and not of_changes:
        texts = [f"{name}={value!r}" for name, value in choices.items()]
        raise TableError(
            f"{' and '.join(texts)} cannot be combined: each alone defines how rows belong together. Pass one."
        )


def _units(
    patients: AnnData, patient_key: str | None, pair_key: str | None, time_key: str | None, model: str | None
) -> np.ndarray | None:
    """Patient of each row where patients have several; refused if these are unknown."""
    if pair_key is None and time_key is None and model is None:
        try:
            check_patients(patients, patient_key, error=ClinicalError, unit="compared, not samples")
        except ClinicalError as error:
            if "several times" not in str(error):
                raise
            raise ClinicalError(
                f'{error} Or compare the samples as they are with model="mixed" (several samples of a patient), '
                f"pair_key={patient_key!r} (groups within patients, as before and after treatment) or time_key= "
                "(changes within patients, compared between groups)."
            ) from None
        return None
    key = pair_key if pair_key is not None else patient_key
    patient_of = patient_column(patients, key, ClinicalError)
    if patient_of is None:
        raise TableError(
            f"No column {PATIENT_KEY!r} in obs assigns rows to patients; found "
            f"{listed(patients.obs.columns, 12)}. Pass patient_key= (or pair_key=)."
        )
    return patient_of.astype(str).to_numpy()


def _complete(columns: dict[str, pd.Series], on_missing: str) -> np.ndarray:
    missing = pd.DataFrame({key: column.isna() for key, column in columns.items()})
    lacking = missing.any(axis=1).to_numpy()
    if lacking.any() and on_missing == "raise":
        key = next(name for name in missing if missing[name].any())
        rows = missing.index[missing[key]]
        raise TableError(
            f"{len(rows)} of {len(missing)} patients have no value in obs[{key!r}]: {listed(rows)}. Fill them, or pass "
            'on_missing="drop" to leave them out.'
        )
    return ~lacking


def _groups(
    column: pd.Series, group_key: str, groups: Sequence[str] | None, keep: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Code of each row (-1: not compared), and the groups in their order."""
    values = named(column, "group_key")
    present = [name for name in values.cat.categories if (values[keep] == name).any()]
    if groups is not None:
        wanted = list(dict.fromkeys(str(name) for name in ([groups] if isinstance(groups, str) else groups)))
        if absent := [name for name in wanted if name not in present]:
            raise TableError(f"No patient is in {absent[0]!r} (groups=); obs[{group_key!r}] has {listed(present, 12)}.")
        present = wanted
    if len(present) < 2:
        raise TableError(
            f"One group to compare, {listed(present)} of obs[{group_key!r}] (group_key=); two are the least."
        )
    place = {name: i for i, name in enumerate(present)}
    return np.array([place.get(name, -1) for name in values.astype(object)]), present


def terms_of(columns: dict[str, pd.Series], n: int) -> np.ndarray:
    """Covariates as terms of a design: numbers standardised, categories against their first."""
    terms = []
    for key, given in columns.items():
        column = numbers_of(given)
        if column.nunique() < 2:
            raise TableError(
                f"obs[{key!r}] (covariates=) is the same in all rows that are compared: nothing can be adjusted for. "
                "Leave it out."
            )
        if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
            values = column.to_numpy(dtype=float)
            if not np.isfinite(values).all():
                raise TableError(f"obs[{key!r}] (covariates=) holds infinite values. Correct them.")
            tell_missing_code(values, f"obs[{key!r}] (covariates=)")
            spread = values.std()
            terms.append(((values - values.mean()) / (spread if spread > 0 else 1.0))[:, None])
        else:
            tell_numbers_as_text(column, f"obs[{key!r}] (covariates=)")
            levels = named(column, "covariates")
            terms.append(pd.get_dummies(levels, drop_first=True).to_numpy(dtype=float))
    return np.column_stack(terms) if terms else np.zeros((n, 0))


def _time(column: pd.Series, time_key: str) -> pd.Categorical:
    values = named(column, "time_key")
    if len(values.cat.categories) != 2:
        raise TableError(
            f"obs[{time_key!r}] (time_key=) has {counted(len(values.cat.categories), 'time point')}: "
            f"{listed(values.cat.categories)}. A change is between two; keep these rows and compare them alone."
        )
    return values.array


def _paired(rows: ComparedRows, group_key: str) -> ComparedRows:
    """One row per patient and level, of the patients that have both."""
    patient_of_place = rows.patients
    rows = pooled(rows)
    second = rows.codes if rows.time is None else rows.time
    if rows.time is not None:
        several = pd.Series(rows.codes).groupby(rows.units).nunique()
        if (several > 1).any():
            raise ClinicalError(
                f"{counted(int((several > 1).sum()), 'patient is', 'patients are')} in several groups of "
                f"obs[{group_key!r}]: changes of patients are compared between groups of patients. To compare the "
                f"groups within patients leave time_key= out and pass pair_key=."
            )
    if rows.time is None and len(rows.names) != 2:
        raise TableError(
            f"Pairs are of two groups, and there are {len(rows.names)}: {listed(rows.names)}. Pass two as groups=."
        )
    whole = pd.Series(second).groupby(rows.patients).transform("nunique").to_numpy() == 2
    lost = len(np.unique(rows.patients[~whole]))
    if lost:
        warn(f"{counted(lost, 'patient has', 'patients have')} one of the two and cannot be paired: left out.")
    columns = {name: getattr(rows, name)[whole] for name in ("counts", "codes", "covariates")}
    time = None if rows.time is None else rows.time[whole]
    blocks = None if rows.blocks is None else pd.factorize(rows.blocks[whole])[0]
    units = pd.factorize(rows.patients[whole])[0]
    places = None if rows.places is None else rows.places[np.isin(patient_of_place, rows.patients[whole])]
    return replace(rows, **columns, units=units, time=time, blocks=blocks, places=places)


def _check_of_patients(rows: ComparedRows, covariates: list[str], block_key: str | None) -> None:
    """Changes are of patients: what they are adjusted for is, too."""
    parts = [*rows.covariates.T, *([] if rows.blocks is None else [rows.blocks])]
    if any(pd.Series(part).groupby(rows.units).nunique().max() > 1 for part in parts):
        names = [*covariates, *([block_key] if block_key else [])]
        raise ClinicalError(
            f"A patient has more than one value in {' or '.join(f'obs[{name!r}]' for name in names)}: changes of "
            "patients are compared, so that covariates= and block_key= are columns with one value per patient."
        )


def _check_design(rows: ComparedRows, group_key: str, covariates: list[str], block_key: str | None) -> None:
    """Enough patients in each group, and an effect of the group that can be separated from all else."""
    units = np.arange(len(rows.codes)) if rows.units is None else rows.units
    sizes = {name: len(np.unique(units[rows.codes == i])) for i, name in enumerate(rows.names)}
    if few := [f"{name}: {size}" for name, size in sizes.items() if size < LEAST]:
        raise TableError(
            f"Groups of obs[{group_key!r}] with fewer than {LEAST} patients cannot be compared: {listed(few, 12)}. "
            "Leave them out with groups=, or merge them."
        )
    if rows.model == "pairs" and rows.covariates.shape[1]:
        raise TableError(
            "covariates= cannot be combined with pairs: a patient is its own comparison, and what does not change "
            "within patients is taken out already."
        )
    if rows.model == "mixed" and len(rows.names) != 2:
        raise TableError(
            f'model="mixed" compares two groups, and there are {len(rows.names)}: {listed(rows.names)}. Pass two of '
            "them as groups=."
        )
    check_terms(rows, group_key, covariates, block_key)


def check_terms(rows: ComparedRows, group_key: str, covariates: list[str], block_key: str | None) -> None:
    """Refuse covariates and blocks that determine the group, repeat each other, or are too many.

    Raises
    ------
    TableError
        With their names.
    """
    units = np.arange(len(rows.codes)) if rows.units is None else rows.units
    design, tested = rows.design()
    others = [*(f"obs[{key!r}]" for key in covariates), *([f"obs[{block_key!r}]"] if block_key else [])]
    rank = np.linalg.matrix_rank
    if rank(design) < rank(design[:, ~tested]) + tested.sum():
        raise TableError(tells_group(others or ["The patient"], group_key))
    if rank(design) < design.shape[1]:
        raise TableError(f"{' and '.join(others)} (covariates=) are the same in other words. Name fewer.")
    if rows.model != "pairs" and len(np.unique(units)) - design.shape[1] < LEAST:
        raise TableError(
            f"{counted(len(np.unique(units)), 'patient')} for {design.shape[1]} terms ({', '.join(others)} and the "
            "group) leave too few to judge an error by. Name fewer covariates or blocks."
        )


def least_p(rows: ComparedRows) -> float:
    """Smallest p-value that shuffling labels can give."""
    if rows.model == "mixed" or (rows.blocks is None and rows.linear and rows.model != "pairs"):
        return 0.0
    if len(rows.names) > 2:
        return 0.0
    if rows.model == "pairs":
        return 2.0 ** (1 - len(np.unique(rows.patients)))
    codes = rows.codes if rows.time is None else rows.codes[rows.time == 0]
    blocks = rows.blocks if rows.time is None or rows.blocks is None else rows.blocks[rows.time == 0]
    blocks = np.zeros(len(codes), dtype=int) if blocks is None else blocks
    ways = prod(comb(int((blocks == b).sum()), int(codes[blocks == b].sum())) for b in np.unique(blocks))
    return 2 / ways


def _counts(patients: AnnData) -> tuple[np.ndarray, bool]:
    """Numbers of cells (True), or shares where these are not known."""
    values = patients.X
    values = None if values is None else np.asarray(dense(values), float)
    if values is None or not np.isfinite(values).all() or (values < 0).any() or not np.allclose(values.sum(axis=1), 1):
        raise TableError(
            "The rows of X do not add up to 1: these are not compositions. Make them with sfm.tl.composition(cells, "
            '"<column>", patient_key="patient").'
        )
    if patients.n_vars < 2:
        raise TableError("A composition of one type is 1 everywhere. Pass one of two types or more.")
    counts = patients.layers.get("counts")
    if counts is None:
        _say_unknown("are not known: there is no layers['counts']")
        return values, False
    counts = np.asarray(dense(counts), float)
    total = counts.sum(axis=1, keepdims=True)
    whole = np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.round(counts)).all()
    if whole and (total > 0).all() and np.allclose(counts / np.where(total > 0, total, 1), values, atol=1e-6):
        return counts, True
    _say_unknown("are not known: layers['counts'] does not hold whole numbers that the rows of X are the shares of")
    return values, False


def _say_unknown(what: str) -> None:
    warn(
        f"Numbers of cells {what}. Shares are compared as they are: where patients have unequal numbers of cells, "
        "ranks of rare types may differ through these alone. sfm.tl.composition writes both."
    )
