"""What an expert's labels hold, and which of them to look at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._preparation import preparation
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, label_column, listed, named, order_of_names, patients_asked_for
from ...cohort.intensities import intensities
from ...cohort.representation import representation
from ...learn.heads.options import Options
from ...learn.label_noise import Doubts, doubts, held_out_probability, near_pairs, usual_distance
from ...learn.probe import coded, column_scaler
from .annotation_inputs import on_own_scale, samples_of

if TYPE_CHECKING:
    from anndata import AnnData

MOST_WRONG, MIN_JUDGED = 0.5, 20  # share of labels, of so many, that are not doubted because they are wrong


@public
def label_report(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str,
    by_sample: bool | Literal["auto"] = "auto",
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    C: float | Literal["grid", "search"] = "grid",
    n_folds: int = 5,
    random_state: int = 0,
    key_added: str = "label_report",
) -> pd.DataFrame:
    """Report which labels are likely wrong, which contradict each other, and how many there are of each patient.

    A label is doubted by confident learning (Northcutt et al. 2021, section 3.1): a linear probe, as that of
    `spatialfm.tl.annotate`, is fitted without the cell, and another type is more probable for it, and at least as
    probable as that type is, on average, for cells that bear its name. It is a reason to look at the cell again, with
    `spatialfm.pl.cell_gallery`, not to change the label: at the border of two types the expert may be right.

    Two labels contradict each other where their cells are closer in the representation than half of the cells are to
    their nearest one.

    Parameters
    ----------
    adata
        Cells; those without label are missing in ``obs[label_key]`` (NaN). Columns are scaled by them too.
    label_key
        Column of ``obs`` with the labels.
    use_rep
        Key of ``obsm``, or ``"X"``.
    by_sample
        Bring each sample to the means and standard deviations of all cells first, as `spatialfm.tl.annotate` does: of
        slides that were stained apart, right labels are doubted. ``"auto"``: where labelled cells that are held out say
        that it helps.
    patient_key
        Column of ``obs``: whole patients are held out where five or more have labels and each type is in several. None,
        or no column of that name: cells are.
    library_key
        Column of ``obs`` with the sample, for `by_sample`.
    C
        Inverse strength of the penalty of the probe, as in `spatialfm.tl.annotate`.
    n_folds
        Parts that are held out in turn.
    random_state
        Seed.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row per labelled cell, the most doubtful first: ``label``, ``likelier`` (the type it confidently looks like
    instead; missing where it is its own), ``score`` (0 to 1, by how much the most probable other type is ahead of its
    own, 0.5 where they are equal; NaN where it is the only cell of its type), ``likely_wrong``, ``n_conflicts`` and,
    where there is one, ``patient``. Written into ``uns[key_added]``: this table as ``cells``; ``types``, one row per
    type with ``n_labelled``, ``n_patients``, ``n_likely_wrong``, ``n_conflicts`` and ``mean_probability`` of their own
    type; ``counts``, patients by types; ``conflicts``, one row per pair with both cells, their labels and ``distance``;
    and ``params``.

    Raises
    ------
    TableError
        If there are fewer than two types, or no type has two labels.

    Warns
    -----
    SpatialfmWarning
        If more than half of the labels are doubted: the classifier, not the expert, is then likely wrong.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=150, latent_noise=0.1, random_state=0)
    >>> cells.obs["known"] = cells.obs["type"].astype(str)
    >>> wrong = cells.obs_names[cells.obs["type"] == "Tumor"][0]
    >>> cells.obs.loc[wrong, "known"] = "B"
    >>> table = sfm.tl.label_report(cells, "known", use_rep="X_latent", C=1.0)
    >>> table.index[0] == wrong, table["likelier"].iloc[0]
    (True, 'Tumor')
    """
    check_anndata(adata, "label_report", key_added)
    rows, labels = _labelled(adata, label_key)
    patients = patients_asked_for(adata, patient_key, "labels are judged by those of the same patient")
    samples = samples_of(adata, library_key, by_sample)
    values = representation(adata, use_rep)
    scaler = column_scaler(values, None, intensities(adata, use_rep))
    values, scaler, scaled, scale = on_own_scale(
        adata, values, scaler, preparation(adata, use_rep), rows, labels.array, patients, samples,
        Options(C, random_state=random_state), always=by_sample is True,
    )  # fmt: skip
    patients = None if patients is None else patients[rows]
    codes, names = labels.cat.codes.to_numpy().astype(int), list(labels.cat.categories)

    by_name, sorted_names = coded(labels.array)  # folds are the same in any order of types
    probability = held_out_probability(
        values[rows], by_name, patients, scaler=scaler, C=C, n_folds=n_folds, random_state=random_state,
    )[:, [sorted_names.index(name) for name in names]]  # fmt: skip
    labelled = _Labelled(adata.obs_names[rows], names, codes, doubts(probability, codes), patients)
    nearer_than = usual_distance(scaled, order_of_names(adata.obs_names), random_state)
    pairs, distance = near_pairs(scaled[rows], codes, nearer_than)

    table = _cells(labelled, pairs, patient_key)
    types = _types(labelled, table)
    params = {"label_key": label_key, "use_rep": use_rep, "patient_key": patient_key, "C": str(C), "n_folds": n_folds}
    params |= scale | {"n_labelled": len(rows), "n_likely_wrong": int(table["likely_wrong"].sum())}
    params |= {"conflict_distance": nearer_than, "random_state": random_state}
    params[DATA] = fingerprint(adata, [label_key, patient_key, library_key], obsm=[use_rep])
    record = {"cells": table, "types": types, "counts": _counts(labelled), "params": params}
    write_uns(adata, key_added, record | {"conflicts": _conflicts(labelled, pairs, distance)})
    _tell(table, types, len(pairs), use_rep)
    return table


@dataclass(frozen=True)
class _Labelled:
    cells: pd.Index
    names: list[str]
    codes: np.ndarray
    doubts: Doubts
    patients: np.ndarray | None

    @property
    def labels(self) -> pd.Categorical:
        """Names of types."""
        return pd.Categorical.from_codes(self.codes, self.names)


def _labelled(adata: AnnData, label_key: str) -> tuple[np.ndarray, pd.Series]:
    """Rows with a label in the order of their names, and the labels."""
    column = label_column(adata, label_key)
    rows = np.flatnonzero(column.notna().to_numpy())
    rows = rows[order_of_names(adata.obs_names[rows])]
    labels = named(column.iloc[rows], "label_key", whole=True) if len(rows) else pd.Series(dtype="category")
    counts = labels.value_counts()
    if len(counts) < 2 or counts.max() < 2:
        raise TableError(
            f"obs[{label_key!r}] holds {counted(len(counts), 'type')} in {len(rows)} labelled cells "
            f"({listed(counts.index)}). Label cells of two types or more, several of one."
        )
    return rows, labels


def _cells(labelled: _Labelled, pairs: np.ndarray, patient_key: str | None) -> pd.DataFrame:
    wrong = labelled.doubts.likelier != labelled.codes
    table = pd.DataFrame({"label": labelled.labels}, index=pd.Index(labelled.cells, name="cell"))
    table["likelier"] = pd.Categorical.from_codes(np.where(wrong, labelled.doubts.likelier, -1), labelled.names)
    table["score"], table["likely_wrong"] = labelled.doubts.score, wrong
    table["n_conflicts"] = np.bincount(pairs.ravel(), minlength=len(labelled.codes))
    if labelled.patients is not None:
        table[patient_key] = labelled.patients
    # doubted ones first, of these the most doubtful; rows are in the order of names
    order = np.lexsort((-np.nan_to_num(labelled.doubts.score, nan=-1.0), ~wrong))
    return table.iloc[order]


def _types(labelled: _Labelled, table: pd.DataFrame) -> pd.DataFrame:
    own = labelled.doubts.probability[np.arange(len(labelled.codes)), labelled.codes]
    by_type = table.groupby("label", observed=False)
    types = pd.DataFrame(index=pd.Index(labelled.names, name="type"))
    types["n_labelled"] = by_type.size().reindex(labelled.names)
    patients = labelled.patients if labelled.patients is not None else np.full(len(labelled.codes), "")
    types["n_patients"] = [len(np.unique(patients[labelled.codes == code])) for code in range(len(labelled.names))]
    types["n_likely_wrong"] = by_type["likely_wrong"].sum().reindex(labelled.names).astype(int)
    types["n_conflicts"] = by_type["n_conflicts"].sum().reindex(labelled.names).astype(int)
    types["mean_probability"] = [_mean(own[labelled.codes == code]) for code in range(len(labelled.names))]
    return types


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def _counts(labelled: _Labelled) -> pd.DataFrame:
    patients = labelled.patients if labelled.patients is not None else np.full(len(labelled.codes), "all")
    return pd.crosstab(pd.Series(patients, name="patient"), pd.Series(labelled.labels, name="type")).astype(int)


def _conflicts(labelled: _Labelled, pairs: np.ndarray, distance: np.ndarray) -> pd.DataFrame:
    cells, labels = labelled.cells.to_numpy(dtype=object), np.array(labelled.names, dtype=object)[labelled.codes]
    columns = {"first": 0, "second": 1}
    table = {name: cells[pairs[:, side]] for name, side in columns.items()}
    table |= {f"{name}_label": labels[pairs[:, side]] for name, side in columns.items()}
    return pd.DataFrame(table | {"distance": distance})


def _tell(table: pd.DataFrame, types: pd.DataFrame, n_pairs: int, use_rep: str) -> None:
    logger.info(
        "%d of %d labels are likely wrong, %s of near-identical cells differ",
        *(table["likely_wrong"].sum(), len(table), counted(n_pairs, "pair")),
    )
    doubted = table.loc[table["score"].notna(), "likely_wrong"]
    if len(doubted) >= MIN_JUDGED and doubted.mean() > MOST_WRONG:
        warn(
            f"{doubted.sum()} of {counted(len(doubted), 'label')} are doubted: more likely {use_rep!r} (use_rep=) does "
            "not tell these types apart, or few labels do not show how, than so many are wrong. Look at cells with "
            "sfm.pl.cell_gallery before you change a label; label more, or try another representation."
        )
    if table["score"].isna().any():
        single = types.index[types["mean_probability"].isna()]
        logger.info("not judged, as they are the only cell of their type: %s", listed(single))
