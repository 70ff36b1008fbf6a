"""Labels of one cohort carried to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, warn
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._origin import remember
from ..._preparation import BY_TRAINING
from ..._public import public
from ..._storable import default_key, write_uns
from ...cohort.checks import check_anndata, label_column, named, obs_column, order_of_names
from ...cohort.circular import remember_groups
from ...cohort.comparability import same_rows, shared_columns, tell_another_unit
from ...cohort.patient_names import patients_of_rows, suggestion
from ...cohort.replaced import remove_earlier
from ...cohort.representation import representation
from ...cohort.selected import columns_of, inherited, of_source
from ...learn.probe import certainty, check_head, draw_per_class, fit_head
from ...stats.novelty import novelty

if TYPE_CHECKING:
    from anndata import AnnData


@public
def transfer_labels(
    source: AnnData,
    target: AnnData,
    label_key: str,
    *,
    use_rep: str,
    method: Literal["forest", "linear", "knn"] = "forest",
    C: float = 1.0,
    n_per_class: int | None = None,
    n_neighbors: int = 15,
    patient_key: str | None = PATIENT_KEY,
    random_state: int = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | None:
    """Annotate the cells of a cohort from those of another one.

    VirTues' transfer between lung cancer cohorts (Methods, *Cell phenotyping*, *Biomarker discovery*): the markers that
    both have, classes of equal size in training, a random forest of 100 trees of depth 16.

    The records of both embeddings are read first: other models, weights, normalisation or windows are refused, as their
    columns do not mean the same. Marker-wise embeddings and named columns (``classical``, ``mean-intensity``) are cut
    to the markers that both panels hold; other embeddings of one vector per cell must come from the same panel. Pixels
    of different size are warned of.

    Parameters
    ----------
    source
        Cells with labels; those without are left out.
    target
        Cells to annotate.
    label_key
        Column of ``source.obs``.
    use_rep
        Key of ``obsm`` in both, or ``"X"``: then columns are joined by ``var_names``.
    method
        Classifier, as in `spatialfm.tl.annotate`.
    C
        Inverse strength of its regularisation, as in `spatialfm.tl.annotate`.
    n_per_class
        Training cells per class (default: the size of the smallest class, but at least 50; smaller classes keep all).
    n_neighbors
        Neighbours in the source that novelty is measured by.
    patient_key
        Column of ``source.obs`` with the patient, by whom novelty is calibrated. None, or a source of one
        patient: cells of the target are then judged by how near cells of one and the same patient are, and many
        ordinary ones look new.
    random_state
        Seed.
    key_added
        Key written into `target`; default ``<label_key>_transferred``.
    copy
        Return the columns that are otherwise written to ``obs``, as one table of the target's cells. ``params`` are
        only written.

    Returns
    -------
    None, or with `copy` a table of the target's cells with ``label``, ``confidence``, ``margin``, ``entropy`` and
    ``novelty``: the share of source cells that are closer to their neighbours in *other* patients of the source
    (patients weighing alike) than this cell is to its neighbours in the source. Above 0.95 it resembles nothing that
    the classifier was trained on, more than patients differ: of ordinary cells of new patients about one in twenty
    gets there. ``params["novelty"]`` records what it was calibrated by. Written as
    ``obs[key_added]``, ``obs[key_added + "_confidence"]``, ... and ``uns[key_added]["params"]``.

    Raises
    ------
    TableError
        If the representations cannot be compared, or there are fewer than two classes.

    Warns
    -----
    SpatialfmWarning
        If the source does not have two patients, so that novelty cannot be calibrated between patients, or the
        columns of the target are in another unit.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=100, random_state=0)
    >>> first = cells.obs["patient"].isin(["P001", "P002"])
    >>> target = cells[~first].copy()
    >>> sfm.tl.transfer_labels(cells[first].copy(), target, "type", use_rep="X_latent")
    >>> bool((target.obs["type_transferred"] == target.obs["type"]).mean() > 0.7)
    True
    """
    check_anndata(source, "transfer_labels")
    check_anndata(target, "transfer_labels", None if copy else key_added)
    check_head(method, C)
    known = np.flatnonzero(label_column(source, label_key).notna().to_numpy())
    # in the order of their names: the drawn cells are independent of the order of rows
    known = known[order_of_names(source.obs_names[known])]
    labels = named(source.obs[label_key].iloc[known], "label_key", whole=True).array
    classes, sizes = list(labels.categories), np.bincount(labels.codes)
    if len(classes) < 2:
        raise TableError(
            f"obs[{label_key!r}] of the source holds {counted(len(classes), 'class', 'classes')}. Two are needed."
        )
    patients = reference_patients(source, patient_key, known)
    shared = shared_columns(source, target, use_rep)
    trained = representation(source[known], use_rep)[:, shared[0]]
    values = representation(target, use_rep)[:, shared[1]]
    tell_another_unit(values, trained, f"{use_rep!r} (use_rep=) of the target")
    rows = draw_per_class(
        np.asarray(labels, dtype=str), np.arange(len(labels)), n_per_class or max(50, int(sizes.min())), random_state
    )
    probe = fit_head(trained[rows], labels[rows], method, C, random_state)
    probability = probe.predict_proba(values)
    table = certainty(probability, probe.classes, target.obs_names, classes, ordered=labels.ordered)
    scaled, of_query = probe.scaler.transform(trained[rows]), probe.scaler.transform(values)
    table["novelty"] = novelty(scaled, of_query, n_neighbors, None if patients is None else patients[rows])
    n_novel = int((table["novelty"] > 0.95).sum())
    logger.info(
        "%d cells annotated from %d of %d classes, %d columns; %d (%.0f %%) resemble nothing in the source",
        *(len(table), len(rows), len(classes), trained.shape[1], n_novel, 100 * n_novel / max(len(table), 1)),
    )
    key = key_added or default_key(f"{label_key}_transferred")
    remember_groups(target, "transfer_labels", use_rep, table["label"], written=not copy, place=f"obs:{key}")
    if outcome_made := inherited(source, columns_of(source, [label_key])):
        for origin in of_source(outcome_made, same_rows(trained, values)):
            remember(None if copy else target, origin, table["label"], place=f"obs:{key}")
    if copy:
        return table
    remove_earlier(target, key, table["label"])
    target.obs[key] = table["label"]
    for name in ("confidence", "margin", "entropy", "novelty"):
        target.obs[f"{key}_{name}"] = table[name]
    record = {
        "params": {
            "label_key": label_key,
            "use_rep": use_rep,
            "method": method,
            "preparation": BY_TRAINING,
            "n_train": len(rows),
            "n_columns": trained.shape[1],
            "novelty": "within patients" if patients is None else "between patients",
            "random_state": random_state,
        }
    }
    write_uns(target, key, record)
    return None


def reference_patients(source: AnnData, patient_key: str | None, rows: np.ndarray) -> np.ndarray | None:
    """Patient of some rows, by whom novelty is calibrated; None, with a warning, if there are not two."""
    patients = None
    if patient_key is not None and (patient_key != PATIENT_KEY or PATIENT_KEY in source.obs):
        obs_column(source, patient_key, "patient_key", allow_missing=True)
        patients = patients_of_rows(source, patient_key, used=rows)
        patients = None if patients is None else patients[rows]
    if patients is not None and len(np.unique(patients)) > 1:
        return patients
    if patient_key is not None:
        what = "is of one patient" if patients is not None else f"has no column {patient_key!r} in obs (patient_key=)"
        warn(
            f"The source {what}: novelty is judged by how near cells of one patient are, so that many ordinary "
            f"cells of other patients look new.{suggestion(source, patient_key, 'patient_key')}"
        )
    return None
