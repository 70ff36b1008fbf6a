"""Signatures of one cohort found again in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, counted
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._origin import remember
from ..._preparation import column_scale, preparation
from ..._public import public
from ..._storable import named_table, write_obsm, write_uns
from ...cohort.checks import check_anndata, listed, obs_column, order_of_names
from ...cohort.circular import remember_groups
from ...cohort.comparability import same_rows, shared_columns, tell_another_unit
from ...cohort.members import signature_members
from ...cohort.replaced import remove_earlier
from ...cohort.representation import representation
from ...cohort.selected import inherited, matrix_of, of_source
from ...stats.novelty import novelty
from ..phenotypes.transfer_labels import reference_patients

if TYPE_CHECKING:
    from anndata import AnnData


@public
def transfer_signatures(
    source: AnnData,
    target: AnnData,
    *,
    use_rep: str,
    key: str = "signatures",
    patient_key: str | None = PATIENT_KEY,
    n_trees: int = 200,
    max_depth: int = 16,
    test_size: float = 0.2,
    n_neighbors: int = 15,
    n_jobs: int = 1,
    random_state: int = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | None:
    """Find the cells of a second cohort that belong to signatures of a first one.

    VirTues (Methods, *Transferring predictive virtual spatial biomarkers*): one random forest a signature, of 200 trees
    of depth 16, on as many cells outside of the signature as inside. A fifth is held out to measure how well it works:
    a fifth of the cells, as published, and, which is what a second cohort asks, a fifth of the patients.

    Parameters
    ----------
    source
        Cells with signatures ``obsm[key]``.
    target
        Cells of the other cohort, embedded in the same way (the records are compared, and refused if not).
    use_rep
        Key of ``obsm`` in both, or ``"X"``: then columns are joined by ``var_names``.
    key
        Key of ``obsm`` and ``uns`` of `source`.
    patient_key
        Column of ``source.obs``; None leaves the accuracy on held-out patients out, and novelty is then not calibrated
        between patients.
    n_trees
        Trees of each forest.
    max_depth
        Greatest depth of each tree.
    test_size
        Part that is held out.
    n_neighbors
        Neighbours in the source that novelty is measured by.
    n_jobs
        Threads.
    random_state
        Seed.
    key_added
        Key written into `target` (default: `key`).
    copy
        Return the probabilities alone, a table of cells by signatures. Which cells are in a signature, their novelty
        and the accuracies are only written.

    Returns
    -------
    None, or with `copy` probabilities ``(cells, signatures)``. Written into `target`: ``obsm[key_added]`` (true where
    the probability is above one half; a cell may be in several), ``obsm[key_added + "_probability"]``,
    ``obs[key_added + "_novelty"]`` (see :func:`spatialfm.tl.transfer_labels`), and ``uns[key_added]``: ``signatures``
    (those of `source` with ``accuracy_cells``, ``accuracy_patients``, ``recall_patients``, ``precision_patients``;
    accuracies are balanced over cells inside and outside, 0.5 is chance; precision is at the true frequency),
    ``params``.

    Raises
    ------
    TableError
        If the representations cannot be compared, or a signature has fewer than 10 cells.

    Warns
    -----
    SpatialfmWarning
        If the columns of the target are in another unit.

    Examples
    --------
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=100, random_state=0)
    >>> cells.obsm["signatures"] = pd.DataFrame({"RS1": cells.obs["type"] == "B"})
    >>> other = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=100, random_state=1)
    >>> sfm.tl.transfer_signatures(cells, other, use_rep="X", n_trees=50)
    >>> other.obsm["signatures"].columns.tolist()
    ['RS1']
    """
    for table in (source, target):
        check_anndata(table, "transfer_signatures", None if copy else key_added)
    # in the order of the cells' names: cells, trees and splits are drawn by their place
    order = order_of_names(source.obs_names)
    members = _members(source, key).iloc[order]
    patients = None
    if patient_key is not None:
        without = "Pass the column with the patient, or patient_key=None, which holds cells out instead of patients."
        patients = obs_column(source, patient_key, "patient_key", without=without).astype(str).to_numpy()[order]
    columns = shared_columns(source, target, use_rep)
    values, others = representation(source, use_rep)[:, columns[0]], representation(target, use_rep)[:, columns[1]]
    values = values[order]
    tell_another_unit(others, values, f"{use_rep!r} (use_rep=) of the target")
    from ..._progress import progress_bar

    options = {"n_trees": n_trees, "max_depth": max_depth, "n_jobs": n_jobs, "random_state": random_state}
    probability, quality = {}, {}
    for name in progress_bar(
        members,
        desc="signatures",
    ):
        inside = members[name].to_numpy()
        quality[name] = _held_out(values, inside, patients, test_size, options)
        rows = _balanced(np.arange(len(inside)), inside, random_state)
        forest = _forest(values[rows], inside[rows], **options)
        probability[name] = forest.predict_proba(others)[:, 1]
        logger.info("%s: balanced accuracy on held-out patients %.2f", name, quality[name]["accuracy_patients"])
    probabilities = pd.DataFrame(probability, index=target.obs_names)
    if copy:
        return probabilities
    key_added = key_added or key
    rng = np.random.default_rng(random_state)
    some = rng.choice(len(values), min(len(values), 20_000), replace=False)
    remove_earlier(target, key_added)
    write_obsm(target, key_added, probabilities > 0.5)
    write_obsm(target, f"{key_added}_probability", probabilities)
    mean, sd = column_scale(values, preparation(source, use_rep))
    known = reference_patients(source, patient_key, order[some])
    target.obs[f"{key_added}_novelty"] = novelty((values[some] - mean) / sd, (others - mean) / sd, n_neighbors, known)
    known = source.uns.get(key, {}).get("signatures")
    table = pd.DataFrame(quality).T
    record = {
        "signatures": table if known is None else known.join(table),
        "params": {"use_rep": use_rep, "test_size": test_size, "n_columns": values.shape[1]} | options,
    }
    write_uns(target, key_added, record)
    _hand_over(source, target, key, key_added, same_rows(values, others))
    for name, column in named_table(target, key_added).items():
        remember_groups(target, "transfer_signatures", use_rep, column, True, f"obsm/{key_added}:{name}")
    return None


def _hand_over(source: AnnData, target: AnnData, key: str, key_added: str, same: np.ndarray) -> None:
    """Signatures of other patients may be tested on these; those of the same may not."""
    handed_over = named_table(target, key_added)
    for origin in of_source(inherited(source, matrix_of(source, key)), same):
        for name in handed_over:
            remember(target, origin, handed_over[name], place=f"obsm/{key_added}:{name}")


def _members(source: AnnData, key: str) -> pd.DataFrame:
    if key not in source.obsm or not isinstance(source.obsm[key], pd.DataFrame):
        raise TableError(
            f"No signatures {key!r} in obsm of the source (key=); found {listed(source.obsm)}. Make them with "
            "sfm.tl.discover_signatures, or as a table of true and false."
        )
    members = signature_members(source, key)
    for name, column in members.items():
        n = int(min(column.sum(), (~column).sum()))
        if n < 10:
            raise TableError(
                f"Signature {name!r} has {counted(n, 'cell')} inside or outside: too few to be learned. Leave it out."
            )
    return members


def _balanced(rows: np.ndarray, inside: np.ndarray, random_state: int) -> np.ndarray:
    """As many rows outside as inside: the more frequent side is sampled down."""
    rng = np.random.default_rng(random_state)
    parts = [rows[inside[rows]], rows[~inside[rows]]]
    n = min(len(part) for part in parts)
    return np.concatenate([rng.choice(part, n, replace=False) for part in parts])


def _forest(values: np.ndarray, inside: np.ndarray, *, n_trees: int, max_depth: int, n_jobs: int, random_state: int):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline

    from ...learn.column_order import OrderedColumns

    forest = RandomForestClassifier(n_trees, max_depth=max_depth, n_jobs=n_jobs, random_state=random_state)
    return make_pipeline(OrderedColumns(), forest).fit(values, inside)  # columns of a split are drawn by their place


def _held_out(
    values: np.ndarray, inside: np.ndarray, patients: np.ndarray | None, test_size: float, options: dict
) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score
    from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

    seed = options["random_state"]

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        rows = _balanced(train, inside, seed)
        return _forest(values[rows], inside[rows], **options).predict(values[test])

    n = len(inside)
    train, test = next(StratifiedShuffleSplit(1, test_size=test_size, random_state=seed).split(np.zeros(n), inside))
    out = {"accuracy_cells": balanced_accuracy_score(inside[test], predict(train, test))}
    out |= dict.fromkeys(("accuracy_patients", "recall_patients", "precision_patients"), np.nan)
    if patients is None or len(np.unique(patients)) < 5:
        return out
    splits = GroupShuffleSplit(20, test_size=test_size, random_state=seed).split(np.zeros(n), inside, patients)
    for train, test in splits:  # the first split that has cells of both sides on both sides
        if all(inside[part].any() and not inside[part].all() for part in (train, test)):
            predicted = predict(train, test)
            out["accuracy_patients"] = balanced_accuracy_score(inside[test], predicted)
            out["recall_patients"] = recall_score(inside[test], predicted)
            out["precision_patients"] = precision_score(inside[test], predicted, zero_division=0)
            break
    return out
