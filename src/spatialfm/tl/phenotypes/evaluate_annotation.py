"""How well a simple classifier reads labels from embeddings, on cells that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._preparation import BY_TRAINING, BY_TRAINING_CELLS, TRANSDUCTIVE
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed, named, obs_column, order_of_names
from ...cohort.patient_names import like_patients
from ...cohort.representation import each_representation, finite_rows
from ...learn.probe import away_from, calibrated, check_head, column_scaler, draw_per_class, fit_probe, quadrants
from ...learn.temperature import calibration_error
from ...metrics import classification
from ...stats.fold_scores import paired_p, t_interval

if TYPE_CHECKING:
    from anndata import AnnData

SCORES = ["f1", "recall", "average_precision", "auroc", "calibration_error"]


@public
def evaluate_annotation(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str | Sequence[str],
    patient_key: str = PATIENT_KEY,
    n_folds: int = 4,
    n_repeats: int = 1,
    n_train: int | Sequence[int] | None = None,
    head: Literal["linear", "forest", "knn"] = "linear",
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    calibrate: bool = True,
    published: bool = False,
    transductive: bool = False,
    min_cells: int = 10,
    dominance: tuple[str, float] | None = None,
    margin: float = 16.0,
    library_key: str = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    random_state: int = 0,
    key_added: str = "annotation",
) -> pd.DataFrame:
    """Score the annotation of cells by cross-validation over patients, images, or quadrants of images.

    KRONOS's protocol (Online Methods, *Evaluation*, *Few-shot cell phenotyping*): 4 folds, of which one is the test
    set; a fifth of the rest tunes the penalty; optionally 100, 200, 500 or 1,000 training cells a class. In three
    things it is ours unless `published` is set, as `spatialfm.tl.annotate` does it: classes weigh alike, C is one of a
    grid (of trials with C = 1 among them if it is searched), and the tuned classifier is fitted again on all training
    cells. Columns are standardised either way, which the paper does not state: with `published` on the cells that the
    classifier is fitted to, otherwise on all cells of the training patients, those without label and those that were
    not drawn too, as a user has them.

    What an embedding was made with (statistics, components) has seen the cells of all folds.

    Parameters
    ----------
    adata
        Cells; those without label are neither trained on nor tested. Columns are scaled by them too where they are of
        training patients.
    label_key
        Column of ``obs`` with the labels.
    use_rep
        Key of ``obsm`` or ``"X"``, or several, which are scored on the same folds.
    patient_key
        Column of ``obs`` whose values stay on one side of a split: patients or images. ``"quadrant"``: the quadrants of
        every image take turns, for a single annotated image; state it when you report it, as it is not a new patient.
    n_folds
        Folds.
    n_repeats
        Partitions into folds (published: one); scores are means over them, their spread is in the intervals.
    n_train
        Training cells a class (drawn again in each fold), or several numbers; default all.
    head
        Classifier, as in `spatialfm.tl.annotate`.
    C
        Inverse strength of its regularisation, as in `spatialfm.tl.annotate`. With `published`, ``"grid"`` is
        ``"search"``.
    n_trials
        Trials that choose it, as in `spatialfm.tl.annotate`.
    calibrate
        Probabilities as in `spatialfm.tl.annotate`, unless `published`; F1 and recall are the same either way.
    published
        Classes weigh as they occur, C is chosen by the trials alone, and the classifier that was fitted without the
        tuning cells is the one that is scored.
    transductive
        Scale columns on the cells of test patients too, without their labels, as `spatialfm.tl.annotate` does where
        new patients are in its table. Scores say so: they are not those of a classifier that patients come to later.
    min_cells
        Classes with fewer labelled cells are left out, and named.
    dominance
        Tiles only: column of ``obs`` and least value, such as ``("pixel_label_share", 0.6)``: tiles whose label is
        less dominant are left out of training and test (KRONOS, *Patch-level segmentation-free phenotyping*).
    margin
        Quadrants only: training cells closer to a test cell are left out, in the units of ``obsm[spatial_key]`` (µm).
        The default is half a window of KRONOS.
    library_key
        Quadrants only: column of ``obs`` with the image of each cell.
    spatial_key
        Quadrants only: key of ``obsm`` with the place of each cell.
    random_state
        Seed of folds and classifiers.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row an embedding, training size and score (means over classes; ``recall`` is the balanced accuracy,
    ``calibration_error`` the expected one over 15 bins, of all test cells, lower is better) with ``preparation`` (what
    columns were standardised on), ``mean``, ``sd`` (over folds, the published error) and ``low`` and ``high``, a 95 %
    interval for other patients (Student's t, with the variance that folds have which share training cells: 1 / K + 1 /
    (K - 1), Nadeau and Bengio, 2003). Written into ``uns[key_added]``: ``folds`` (every score of every class and fold),
    ``summary``, ``differences`` (between embeddings, paired by fold, with interval and p-value of a paired t-test with
    the same variance) and ``params``. With ``patient_key="quadrant"`` they are of other parts of the same images.

    Raises
    ------
    TableError
        If there are fewer groups than folds, fewer than two classes are left, or `published` and `transductive` are
        both asked for.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=60, random_state=0)
    >>> scores = sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, min_cells=5)
    >>> scores.query("score == 'recall'")[["use_rep", "n_folds"]].values.tolist()
    [['X_latent', 4]]
    """
    check_anndata(adata, "evaluate_annotation", key_added)
    C = "search" if published and C == "grid" else C
    check_head(head, C)
    if published and transductive:
        raise TableError("published=True scales columns on training cells. Pass it without transductive=True.")
    preparation = BY_TRAINING if published else TRANSDUCTIVE if transductive else BY_TRAINING_CELLS
    labels = obs_column(adata, label_key, "label_key", allow_missing=True)
    pure = np.ones(adata.n_obs, bool)
    if dominance is not None:
        pure = (obs_column(adata, dominance[0], "dominance", allow_missing=True) >= dominance[1]).to_numpy()
    kept = np.flatnonzero(_kept(labels.where(pure), label_key, min_cells))
    # in the order of their names: the drawn cells are independent of the order of rows
    kept = kept[order_of_names(adata.obs_names[kept])]
    cells, others = adata[kept], adata[np.setdiff1d(np.arange(adata.n_obs), kept)]
    labels = named(cells.obs[label_key], "label_key", whole=True)
    names, classes = np.asarray(labels, dtype=str), [*labels.cat.categories.astype(str), "macro"]
    values = each_representation(cells, use_rep)
    sizes = [None] if n_train is None else np.atleast_1d(n_train).tolist()
    if n_repeats < 1:
        raise TableError(f"n_repeats={n_repeats}: one partition into folds is the least.")
    if patient_key != "quadrant":
        obs_column(adata, patient_key, "patient_key", allow_missing=True)
        obs_column(cells, patient_key, "patient_key")
        _tell_shared_patients(cells, patient_key)
    splits = []
    for seed in [random_state + 1000 * repeat for repeat in range(n_repeats)]:
        groups, folds = _splits(cells, names, patient_key, n_folds, margin, library_key, spatial_key, seed)
        splits += folds
    unlabelled = {rep: finite_rows(others, rep) for rep in values}
    rows = []
    for fold, split in enumerate(progress_bar(splits, desc="folds", unit="fold")):
        train, test = split.train, split.test
        seen, also = np.arange(len(names)), np.arange(others.n_obs)
        if not transductive:
            seen, also = train, _seen(cells, others, groups, split, patient_key, margin, library_key, spatial_key)
        scalers = {rep: column_scaler(values[rep][seen], more[also]) for rep, more in unlabelled.items()}
        for size in sizes:
            part = train if size is None else draw_per_class(names, train, size, random_state + fold)
            for rep, matrix in values.items():
                model, used = fit_probe(
                    matrix[part],
                    names[part],
                    head=head,
                    C=C,
                    groups=None if patient_key == "quadrant" else groups[part],
                    scaler=None if published else scalers[rep],
                    n_trials=n_trials,
                    published=published,
                    random_state=random_state,
                )
                if calibrate and head == "linear" and not published:
                    together = None if patient_key == "quadrant" else groups[part]
                    model = calibrated(model, matrix[part], names[part], together, random_state)
                probability = model.predict_proba(matrix[test])
                scores = classification(names[test], probability, model.classes)
                truth = np.searchsorted(model.classes, names[test])
                scores.loc["macro", "calibration_error"] = calibration_error(probability, truth)
                scores = scores.loc[[name for name in classes if name in scores.index]]
                rows.append(scores.reset_index().assign(use_rep=rep, n_train=size or len(part), fold=fold, C=used))
                rows[-1]["asked"], rows[-1]["preparation"] = "all" if size is None else str(size), preparation
    folds = pd.concat(rows, ignore_index=True)
    folds["partition"], folds["fold"] = np.divmod(folds["fold"].to_numpy(), len(splits) // n_repeats)
    summary = _summary(folds[folds["class"] == "macro"])
    record = {
        "folds": folds,
        "summary": summary,
        "differences": _differences(folds[folds["class"] == "macro"]),
        "params": {
            "label_key": label_key,
            "use_rep": list(values),
            "preparation": preparation,
            "patient_key": patient_key,
            "n_folds": n_folds,
            "n_repeats": n_repeats,
            "head": head,
            "C": str(C),
            "calibrate": calibrate and head == "linear" and not published,
            "published": published,
            "transductive": transductive,
            "dominance": "" if dominance is None else f"{dominance[0]} >= {dominance[1]:g}",
            "margin": margin if patient_key == "quadrant" else 0.0,
            "random_state": random_state,
        },
    }
    write_uns(adata, key_added, record)
    return summary


def _kept(labels: pd.Series, label_key: str, min_cells: int) -> np.ndarray:
    counts = labels.astype(object).value_counts()
    rare = counts.index[counts < min_cells]
    if len(rare):
        logger.info("classes with fewer than %d cells are left out: %s", min_cells, listed(rare))
    if (counts >= min_cells).sum() < 2:
        raise TableError(
            f"obs[{label_key!r}] holds {counted(int((counts >= min_cells).sum()), 'class', 'classes')} with "
            f"{min_cells} or more cells. Pass a smaller min_cells=, or label more."
        )
    return (labels.notna() & ~labels.isin(rare)).to_numpy()


@dataclass(frozen=True)
class _Fold:
    """Rows to train on and to score; `held_out` are all cells of the test part, those that cannot be scored too."""

    train: np.ndarray
    test: np.ndarray
    held_out: np.ndarray


def _splits(
    cells: AnnData,
    names: np.ndarray,
    patient_key: str,
    n_folds: int,
    margin: float,
    library_key: str,
    spatial_key: str,
    random_state: int,
) -> tuple[np.ndarray, list[_Fold]]:
    """Group of each cell, and the folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    if patient_key == "quadrant":
        samples = obs_column(cells, library_key, "library_key").astype(str).to_numpy()
        if spatial_key not in cells.obsm:
            raise TableError(f"No {spatial_key!r} in obsm (spatial_key=); quadrants need the places of cells.")
        positions = coordinates(cells, spatial_key)
        groups, n_folds = quadrants(positions, samples), min(n_folds, 4)
    else:
        groups = obs_column(cells, patient_key, "patient_key").astype(str).to_numpy()
    n_groups = len(np.unique(groups))
    if not 2 <= n_folds <= n_groups:
        raise TableError(
            f"{n_groups} different values of obs[{patient_key!r}] (patient_key=) cannot make {n_folds} folds. Pass "
            "n_folds= of 2 or more, at most their number, or patient_key='quadrant' for a single image."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    splits = []
    for train, test in splitter.split(names, names, groups):
        if patient_key == "quadrant":
            train = away_from(train, test, positions, samples, margin)
        # a class that no training cell has cannot be predicted, and would only be scored as always wrong
        held_out, test = test, test[np.isin(names[test], names[train])]
        if len(np.unique(names[train])) < 2 or not len(test):
            raise TableError("A fold has fewer than two classes to train on. Pass fewer folds or a larger min_cells=.")
        splits.append(_Fold(train, test, held_out))
    return groups, splits


def _seen(
    cells: AnnData,
    others: AnnData,
    groups: np.ndarray,
    fold: _Fold,
    patient_key: str,
    margin: float,
    library_key: str,
    spatial_key: str,
) -> np.ndarray:
    """Rows of `others`, cells without a label that counts, that are no part of what is held out.

    Cells without patient may be of a test patient, and are not seen, nor are those in a held-out quadrant or near its
    cells.
    """
    test_groups = np.unique(groups[fold.held_out])
    if patient_key != "quadrant":
        of = others.obs[patient_key]
        return np.flatnonzero(of.notna().to_numpy() & ~np.isin(of.astype(str).to_numpy(), test_groups))
    both = [cells, others]
    samples = np.concatenate([part.obs[library_key].astype(object) for part in both])
    places = np.concatenate([coordinates(part, spatial_key, finite=False) for part in both])
    own = np.arange(len(samples)) < cells.n_obs
    placed = np.flatnonzero(pd.notna(samples) & np.isfinite(places).all(axis=1))
    samples, places, own = samples[placed].astype(str), places[placed], own[placed]
    rows = np.flatnonzero(~own & ~np.isin(quadrants(places, samples, own), test_groups))
    # labelled cells all have a place, and come first
    return placed[away_from(rows, fold.held_out, places, samples, margin)] - cells.n_obs


def _summary(macro: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (rep, size), part in macro.groupby(["use_rep", "asked"], sort=False):
        for score in SCORES:
            values = part[score].to_numpy()
            low, high = np.clip(t_interval(values, part["partition"].to_numpy()), 0, 1)  # all scores are in between
            rows.append(
                {
                    "use_rep": rep,
                    "n_train": size,
                    "score": score,
                    "preparation": part["preparation"].iloc[0],
                    "mean": values.mean(),
                    "sd": values.std(ddof=1),
                    "low": low,
                    "high": high,
                    "n_folds": len(values),
                }
            )
    return pd.DataFrame(rows)


def _differences(macro: pd.DataFrame) -> pd.DataFrame:
    """Of every two embeddings, the first minus the second, fold by fold."""
    rows = []
    for size, part in macro.groupby("asked", sort=False):
        for one, two in combinations(part["use_rep"].unique(), 2):
            runs_of = {rep: part[part["use_rep"] == rep].sort_values(["partition", "fold"]) for rep in (one, two)}
            partition = runs_of[one]["partition"].to_numpy()
            for score in SCORES:
                a, b = (runs_of[rep][score].to_numpy() for rep in (one, two))
                low, high = t_interval(a - b, partition)
                p = paired_p(a - b, partition)
                rows.append(
                    {
                        "first": one,
                        "second": two,
                        "n_train": size,
                        "score": score,
                        "difference": (a - b).mean(),
                        "low": low,
                        "high": high,
                        "p_value": p,
                    }
                )
    columns = ["first", "second", "n_train", "score", "difference", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def _tell_shared_patients(cells: AnnData, patient_key: str) -> None:
    """Warn where cells of one patient are in several groups, so that folds share patients."""
    for key in dict.fromkeys([PATIENT_KEY, *like_patients(cells.obs, [patient_key])]):
        if key == patient_key or key not in cells.obs:
            continue
        pairs = cells.obs[[key, patient_key]].dropna().astype(str).drop_duplicates()
        if several := int((pairs[key].value_counts() > 1).sum()):
            who = counted(several, f"value of obs[{key!r}] has", f"values of obs[{key!r}] have")
            warn(
                f"{who} cells in several of obs[{patient_key!r}] (patient_key=): cells of one patient are trained on "
                f"and tested, and scores and intervals are those of known patients. Pass patient_key={key!r}."
            )
            return
