"""Labels of a few cells carried to all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd

from ..._errors import TableError, counted
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._preparation import BY_ALL
from ..._public import public
from ..._storable import default_key, write_obsm, write_uns
from ...cohort.checks import check_anndata, listed, named, obs_column
from ...cohort.circular import remember_groups
from ...cohort.patient_names import patients_of_rows
from ...cohort.replaced import remove_earlier
from ...cohort.representation import representation
from ...learn.probe import calibrated, certainty, check_head, column_scaler, fit_probe

if TYPE_CHECKING:
    from anndata import AnnData


@public
def annotate(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str,
    head: Literal["linear", "forest", "knn"] = "linear",
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    calibrate: bool = True,
    min_probability: float = 0.0,
    patient_key: str | None = PATIENT_KEY,
    random_state: int = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | None:
    """Annotate all cells from those that have a label.

    A linear probe as in KRONOS (Online Methods, *Cell phenotyping*): L2 logistic regression by L-BFGS on standardised
    columns, classes weighing alike. In two things it is ours. Columns are standardised on all cells, those without
    label too, as the scale of a few labelled cells is mostly noise. The penalty is one of a grid of five, fitted to at
    most 4,000 cells: less work than the fit itself where there are many, fractions of a second where there are few; the
    published search is ``C="search"``. One labelled cell a class is enough to run.

    Parameters
    ----------
    adata
        Cells; those without label have none in ``obs[label_key]`` (NaN).
    label_key
        Column of ``obs`` with the labels.
    use_rep
        Key of ``obsm``, or ``"X"``.
    head
        ``"linear"``; ``"forest"``: 100 trees of depth 16; ``"knn"``: 15 neighbours weighted by distance.
    C
        Inverse strength of the penalty of the linear probe. ``"grid"``: 0.01 to 100 times ``min(1, 10 / columns)``, by
        the cross-entropy of a fifth of the labelled cells, each class weighing alike; that number itself where there
        are fewer than 15 labelled cells a class or 5 of one. ``"search"``, as published (needs Optuna): 1e-10 to 1e5,
        by macro F1; C is 1 where a class has fewer than 5 labelled cells.
    n_trials
        Trials of ``C="search"``.
    calibrate
        Divide the logits of the linear probe by the temperature (Guo et al. 2017) that suits labelled cells which were
        held out, in five folds (of 500 or more, a fifth once), so that of the cells with a confidence of 0.8 about 80 %
        are right. No label changes. It holds for types in the proportions of the labelled cells: if as many of each
        type were labelled, rare types are rarer than their probabilities say. With fewer than 10 held-out cells
        it is 1.
    min_probability
        Cells whose highest probability is lower get no label (NaN); their confidence, margin, entropy and
        probabilities are written.
    patient_key
        Column of ``obs``: patients stay together when C is tuned and probabilities are calibrated, where five or more
        have labels.
    random_state
        Seed.
    key_added
        Key that is written; default ``<label_key>_predicted``.
    copy
        Return a table instead of writing.

    Returns
    -------
    None, or with `copy` a table of cells with ``label``, ``confidence``, ``margin``, ``entropy``. Written:

    ``obs[key_added]``
        Label of every cell: the given one is not kept but predicted too, so that errors in it can be seen.
    ``obs[key_added + "_confidence"]``, ``"_margin"``, ``"_entropy"``
        Highest probability; its distance to the second; entropy of the probabilities over its largest value, 0 to 1.
    ``obsm[key_added + "_probability"]``
        A table of cells by classes.
    ``uns[key_added]``
        ``params``, with the C used, the number of labelled cells, the ``temperature``, on how many held-out cells it
        was found (``n_held_out``), their expected calibration error (``calibration_error``, over 15 bins; a little low,
        as the temperature was found on the same cells), and how many cells got no label (``n_unlabelled``).

    Raises
    ------
    TableError
        If there are fewer than two classes among the labels, or the embedding is missing or holds NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=100, random_state=0)
    >>> cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 4 == 0)
    >>> sfm.tl.annotate(cells, "known", use_rep="X_latent", C=1.0)
    >>> bool((cells.obs["known_predicted"] == cells.obs["type"]).mean() > 0.8)
    True
    """
    check_anndata(adata, "annotate", key_added)
    check_head(head, C)
    column = obs_column(adata, label_key, "label_key", allow_missing=True)
    known = column.notna().to_numpy()
    labels = named(column[known], "label_key", whole=True).array
    classes = list(labels.categories)
    if len(classes) < 2:
        raise TableError(
            f"obs[{label_key!r}] holds {counted(len(classes), 'class', 'classes')} in {int(known.sum())} labelled "
            f"cells ({listed(classes)}). Label cells of two or more."
        )
    values = representation(adata, use_rep)
    groups = patients_of_rows(adata, patient_key)
    groups = None if groups is None else groups[known]
    model, used = fit_probe(
        values[known],
        labels,
        head=head,
        C=C,
        groups=groups,
        scaler=column_scaler(values),
        n_trials=n_trials,
        random_state=random_state,
    )
    if calibrate and head == "linear":
        model = calibrated(model, values[known], labels, groups, random_state)
    probability = model.predict_proba(values)
    table = certainty(probability, classes, adata.obs_names, ordered=labels.ordered)
    logger.info("annotated %d cells from %d labels of %d classes (C=%.3g)", len(table), known.sum(), len(classes), used)
    unsure = (table["confidence"] < min_probability).to_numpy()
    table["label"] = table["label"].where(~unsure)
    if unsure.any():
        logger.info("%d cells have no label: none of their classes reaches %g", unsure.sum(), min_probability)
    key = key_added or default_key(f"{label_key}_predicted")
    remember_groups(adata, "annotate", use_rep, table["label"], written=not copy, place=f"obs:{key}")
    if copy:
        return table
    remove_earlier(adata, key, table["label"])
    adata.obs[key] = table["label"]
    for name in ("confidence", "margin", "entropy"):
        adata.obs[f"{key}_{name}"] = table[name]
    write_obsm(adata, f"{key}_probability", pd.DataFrame(probability, index=adata.obs_names, columns=classes))
    record = {
        "params": {
            "label_key": label_key,
            "use_rep": use_rep,
            "head": head,
            "preparation": BY_ALL,
            "C": used,
            "n_labelled": int(known.sum()),
            "temperature": model.calibration.temperature,
            "n_held_out": model.calibration.n_held_out,
            "calibration_error": model.calibration.error,
            "min_probability": min_probability,
            "n_unlabelled": int(unsure.sum()),
            "random_state": random_state,
        }
    }
    write_uns(adata, key, record)
    return None
