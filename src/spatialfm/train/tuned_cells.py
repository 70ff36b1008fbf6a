"""The cells that a model is fine-tuned on: labels or numbers, and patients to train on and to stop on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import ArgumentError, ClinicalError, TableError, counted, listed, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._spelling import check_label_names
from .augment import Augment
from .cell_objective import CellTargets
from .cells import CellWindows
from .split import check_patients, held_out_patients

if TYPE_CHECKING:
    from anndata import AnnData

    from ..embed.planned import EmbeddingPlan
    from ..models.encoder import Encoder

MOST_HELD_OUT = 256  # cells of held-out patients that are looked at, of each class alike
TRIES = 50  # draws of the patients that are held out, until others have every class


@dataclass(frozen=True)
class Sought:
    """What is to be read from the cells.

    Attributes
    ----------
    label_key
        Column of labels, or None.
    targets
        Columns or markers of numbers, or None.
    patient_key
        Column of patients.
    """

    label_key: str | None
    targets: tuple[str, ...] | None
    patient_key: str

    def check(self) -> None:
        """Refuse both and neither.

        Raises
        ------
        ArgumentError
            If not one of labels and targets is asked for.
        """
        if (self.label_key is None) == (not self.targets):
            raise ArgumentError(
                "Pass one of label_key=, a column of obs with labels, and targets=, columns or markers with numbers."
            )


@dataclass(frozen=True)
class TunedCells:
    """Cells to train on, cells of other patients to stop on, and what is known of all.

    Attributes
    ----------
    training, held_out
        Windows; their numbers are those of `targets`.
    targets
        Classes or numbers.
    """

    training: CellWindows
    held_out: CellWindows
    targets: CellTargets

    def record(self) -> dict[str, Any]:
        """For the card: counts, no names of patients."""
        tables = {"training": self.training.table, "held_out": self.held_out.table}
        counts = {
            f"{part}_{what}": n
            for part, table in tables.items()
            for what, n in (("cells", len(table)), ("patients", table[PATIENT_KEY].nunique()))
        }
        known = {"classes": list(self.targets.classes), "targets": list(self.targets.columns)}
        if self.targets.classes:
            known["cells_by_class"] = self.training.table["stratum"].value_counts().sort_index().to_dict()
        return counts | known

    def described(self, encoder: Encoder) -> str:
        """In a sentence, for the card of an encoder."""
        n = counted(len(self.training), "cell")
        patients = counted(self.training.table[PATIENT_KEY].nunique(), "patient")
        return f"{encoder.card.trained_on}; then labels of {n} of {patients}"


def cells_of(
    plan: EmbeddingPlan,
    sought: Sought,
    adata: AnnData | None,
    validation: float | Sequence[str],
    batch_size: int,
    random_state: int,
    augment: Augment | None = None,
    *,
    tissue: bool = False,
) -> TunedCells:
    """Cells with what is known of them, split by patient.

    Raises
    ------
    TableError
        If columns are missing, cells are not in the table, or there are fewer than two classes.
    ClinicalError
        If there are fewer than two patients, or one is spelled in two ways.
    """
    source = plan.table if adata is None else adata
    rows = _rows(plan, source)
    frame = _frame(source, sought, rows >= 0)
    values, rows = frame.drop(columns=PATIENT_KEY), rows[frame.index.to_numpy()]
    patients = frame[PATIENT_KEY].to_numpy(str)
    check_patients(np.unique(patients), sought.patient_key, "adata.obs")
    if len(np.unique(patients)) < 2:
        raise ClinicalError(
            f"Labelled cells are of one patient by obs[{sought.patient_key!r}], and some patients have to be held out "
            "to stop on. Label cells of another one."
        )
    labels = values.iloc[:, 0].to_numpy(str) if sought.label_key else None
    windows = CellWindows(plan, rows, patients, labels, augment, tissue=tissue)
    if tissue:
        _check_of_samples(windows, values, sought)
    is_held_out = _held_out(windows, labels, sought.patient_key, validation, random_state)
    if labels is not None and (lost := sorted(set(labels) - set(labels[~is_held_out]))):
        warn(
            f"Only held-out patients have cells of {listed(lost, 5)}: nothing is learned of them. Pass other patients "
            "as validation=, or label cells of others."
        )
        usable = ~np.isin(labels, lost)
        if not (is_held_out & usable).any() or len(set(labels[usable])) < 2:
            raise ClinicalError(
                f"Without cells of {listed(lost, 5)} there are no held-out patients to stop on, or no second class to "
                "learn. Pass other patients as validation=, or label cells of others."
            )
        is_held_out, labels, values = is_held_out[usable], labels[usable], values[usable]
        windows = CellWindows(plan, rows[usable], patients[usable], labels, augment, tissue=tissue)
    targets = _targets(values, labels, ~is_held_out, sought)
    training, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    if len(training) < batch_size:
        raise TableError(
            f"batch_size={batch_size}, and {counted(len(training), 'labelled cell')} to train on. Pass a smaller "
            "batch_size=, or label more."
        )
    chosen = evenly(windows.table["stratum"].to_numpy()[held_out], MOST_HELD_OUT, random_state)
    return TunedCells(windows.part(training), windows.part(held_out[chosen]), targets)


def _check_of_samples(windows: CellWindows, values: pd.DataFrame, sought: Sought) -> None:
    """Refuse labels or numbers of the tissue that differ within a sample."""
    for name in values:
        known = pd.DataFrame({SAMPLE_KEY: windows.table[SAMPLE_KEY], "value": values[name].to_numpy()})
        several = known.groupby(SAMPLE_KEY)["value"].nunique()
        if (several > 1).any():
            raise TableError(
                f"{name!r} differs within sample {several.index[several > 1][0]!r}, and level='tissue' reads what a "
                "whole sample has. Pass a column of samples, or level='cells'."
            )


def _rows(plan: EmbeddingPlan, source: AnnData) -> np.ndarray:
    """Row of the plan's table of each cell; -1: it has no pixels in these images."""
    if not source.obs_names.is_unique:  # with another patient the second time, a cell would be on both sides
        twice = source.obs_names[source.obs_names.duplicated()]
        raise TableError(
            f"{counted(len(twice), 'cell')} of adata= more than once: {listed(twice, 5)}. Keep one of each."
        )
    rows = plan.table.obs_names.get_indexer(source.obs_names)
    if (rows < 0).all():
        raise TableError(
            f"No cell of adata= is in the table {plan.table_name!r} of the images: names are {source.obs_names[0]!r} "
            f"there and {plan.table.obs_names[0]!r} here. Pass rows of sdata[{plan.table_name!r}]."
        )
    return np.where(np.isin(rows, plan.cells.rows), rows, -1)


def _frame(source: AnnData, sought: Sought, there: np.ndarray) -> pd.DataFrame:
    """What is known of each cell that has all of it; its index is the place in `source`."""
    names = [sought.label_key] if sought.label_key else list(sought.targets or ())
    columns: dict[str, np.ndarray] = {}
    for name in [*names, sought.patient_key]:
        if name in source.obs:
            columns[name] = source.obs[name].to_numpy()
        elif name != sought.patient_key and not sought.label_key and name in source.var_names:
            values = source[:, name].X
            columns[name] = np.asarray(values.todense() if hasattr(values, "todense") else values).ravel()
        else:
            raise TableError(f"No column {name!r} in obs; found {listed(source.obs, 20)}.")
    patients = columns.pop(sought.patient_key)
    frame = pd.DataFrame(columns)
    if not sought.label_key:
        wrong = [name for name in frame if frame[name].dtype.kind not in "biuf"]
        if wrong:
            raise TableError(f"Column {wrong[0]!r} (targets=) holds no numbers. Pass labels as label_key=.")
    known = frame.notna().any(axis=1).to_numpy() & there
    missing = pd.isna(patients) & known
    if missing.any():
        raise ClinicalError(
            f"{counted(int(missing.sum()), 'labelled cell has', 'labelled cells have')} no patient in "
            f"obs[{sought.patient_key!r}]. State their patients, or leave them without label."
        )
    frame[PATIENT_KEY] = pd.Series(patients).astype(object)
    frame = frame[known]
    if sought.label_key:
        check_label_names(frame[sought.label_key])
        frame[sought.label_key] = frame[sought.label_key].astype(str)
        if frame[sought.label_key].nunique() < 2:
            raise TableError(
                f"obs[{sought.label_key!r}] has {counted(frame[sought.label_key].nunique(), 'class', 'classes')} in "
                f"{counted(len(frame), 'labelled cell')} of these images, and two are needed. Label cells of others."
            )
    frame[PATIENT_KEY] = frame[PATIENT_KEY].astype(str)
    return frame


def _held_out(
    windows: CellWindows,
    labels: np.ndarray | None,
    patient_key: str,
    validation: float | Sequence[str],
    random_state: int,
) -> np.ndarray:
    """Which windows are of patients to stop on; of a share, one that leaves every class to train on if there is one."""
    patients = windows.table[PATIENT_KEY].to_numpy()
    named = not isinstance(validation, int | float)
    first = None
    for attempt in range(1 if named or labels is None else TRIES):
        chosen = held_out_patients(windows.table, patient_key, validation, random_state + attempt)
        is_held_out = np.isin(patients, list(chosen))
        first = is_held_out if first is None else first
        if labels is None or set(labels[~is_held_out]) == set(labels):
            return is_held_out
    return first if first is not None else np.zeros(len(patients), bool)


def _targets(values: pd.DataFrame, labels: np.ndarray | None, training: np.ndarray, sought: Sought) -> CellTargets:
    if labels is not None:
        classes, numbers = np.unique(labels, return_inverse=True)
        return CellTargets(numbers, classes=tuple(map(str, classes)))
    matrix = values.to_numpy(np.float64)
    matrix[~np.isfinite(matrix)] = np.nan
    mean, std = np.nanmean(matrix[training], axis=0), np.nanstd(matrix[training], axis=0)
    if (flat := np.flatnonzero(~(std > 0))).size:
        raise TableError(
            f"{values.columns[flat[0]]!r} (targets=) has one value in all cells that are trained on. Leave it out."
        )
    return CellTargets((matrix - mean) / std, columns=tuple(map(str, values.columns)))


def evenly(groups: np.ndarray, most: int, random_state: int) -> np.ndarray:
    """Places of at most so many, of each group as many as of the others where it has them, in order.

    Examples
    --------
    >>> groups = np.array(["a"] * 90 + ["b"] * 3)
    >>> chosen = evenly(groups, 10, 0)
    >>> (groups[chosen] == "b").sum(), len(chosen)
    (np.int64(3), 10)
    """
    rng = np.random.default_rng(random_state)
    order = rng.permutation(len(groups))
    turn = pd.Series(groups[order]).groupby(groups[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])
