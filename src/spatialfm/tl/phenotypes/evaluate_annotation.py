"""How well a simple classifier reads labels from embeddings, on cells that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL, UNS
from ..._logging import logger
from ..._preparation import BY_TRAINING, BY_TRAINING_CELLS, TRANSDUCTIVE
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import as_names, check_anndata, label_column, listed, named, obs_column, order_of_names
from ...cohort.fitted import fitted_on_all
from ...cohort.intensities import intensities
from ...cohort.label_source import circular_representations
from ...cohort.patient_names import like_patients
from ...cohort.representation import finite_rows, representation
from ...cohort.signature_matrix import intensities_of
from ...learn.heads.auto import AUTO
from ...learn.heads.blocks import ColumnBlock
from ...learn.heads.folds import Fold, Groups, Places, groups_of_quadrants, make_folds, seen_by_patient, seen_by_place
from ...learn.heads.judge import Judged, Markers, judge
from ...learn.heads.methods import PROBES, check_method
from ...learn.heads.options import Options
from ...learn.heads.scores import abstention, by_class, differences, mean_times, summarise
from ...learn.heads.trained import split_representations, trainers
from ...pp.units import say_unit
from .annotation_inputs import samples_of_parts

if TYPE_CHECKING:
    from anndata import AnnData

    from ...learn.heads.trained import TrainedRepresentation


@public
def evaluate_annotation(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str | Sequence[str] | Mapping[str, Any],
    combine: Literal["concatenate", "stack"] | None = None,
    patient_key: str = PATIENT_KEY,
    n_folds: int = 4,
    n_repeats: int = 1,
    n_train: int | Sequence[int] | None = None,
    n_draws: int = 1,
    heads: str | Sequence[str] = "linear",
    signatures: Mapping[str, Any] | pd.DataFrame | None = None,
    layer: str | None = None,
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    calibrate: bool = True,
    arcsinh: bool = True,
    by_sample: bool | Literal["auto"] = "auto",
    coverage: float | None = None,
    coverage_of: Literal["types", "cells"] = "types",
    published: bool = False,
    transductive: bool = False,
    labels_from: Literal["intensities", "elsewhere"] | None = None,
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
    set; a fifth of the rest tunes the penalty; optionally 100, 200, 500 or 1,000 training cells per class. In three
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
        Key of ``obsm`` or ``"X"``, or several, which are scored on the same folds; or ``{name: key}``. Instead of a
        key, a mapping may hold a `spatialfm.train.FineTuning`: it is trained anew on the training cells of each fold
        (and of each draw), sees no label of the others, and its embeddings are scored like those of the model as it is.
    combine
        Of several representations, score all of them together too, as `spatialfm.tl.annotate` combines them.
    patient_key
        Column of ``obs`` whose values stay on one side of a split: patients or images. ``"quadrant"``: the quadrants of
        every image take turns, for a single annotated image; state it when you report it, as it is not a new patient.
    n_folds
        Folds.
    n_repeats
        Partitions into folds (published: one); scores are means over them, their spread is in the intervals.
    n_train
        Training cells per class (drawn again in each fold), or several numbers; default all.
    n_draws
        Draws of `n_train` cells in each fold; a fold counts with the mean over them.
    heads
        Method of `spatialfm.tl.annotate`, or several, which are scored on the same folds and the same drawn cells.
    signatures
        Markers that types have and lack, as in `spatialfm.tl.annotate`: what they say without any label is scored too
        (``head`` is ``"signatures"``), on the same cells.
    layer
        Layer of the intensities that `signatures` are compared with (default: ``X``), not yet logged.
    C
        Penalty of the linear probe, as in `spatialfm.tl.annotate`. With `published`, ``"grid"`` is ``"search"``.
    n_trials
        Trials that choose it, as in `spatialfm.tl.annotate`.
    calibrate
        Probabilities as in `spatialfm.tl.annotate`, unless `published`; F1 and recall are the same either way.
    arcsinh
        Columns that are mean intensities of markers as in `spatialfm.tl.annotate`, with cofactors from the cells that
        columns are scaled on, unless `published`.
    by_sample
        Each sample on its own scale as in `spatialfm.tl.annotate`, with `transductive` only: a sample of test patients
        has a scale of its own where its cells are seen.
    coverage
        Also make sets of types as `spatialfm.tl.annotate` does, from the patients of the training part, and score them.
    coverage_of
        ``"types"`` or ``"cells"``, as in `spatialfm.tl.annotate`.
    published
        Classes weigh as they occur, C is chosen by the trials alone, and the classifier that was fitted without the
        tuning cells is the one that is scored.
    transductive
        Scale columns on the cells of test patients too, without their labels, as `spatialfm.tl.annotate` does where
        new patients are in its table. Scores say so: they are not those of a classifier that patients come to later.
    labels_from
        Whether labels were made from mean intensities (by clustering or gating them): scores of representations that
        hold these are then marked as circular, and told of. None: what ``uns`` tells of labels that this package or
        scanpy made; of other programs it tells nothing.
    min_cells
        Classes with fewer labelled cells are left out, and named.
    dominance
        Tiles only: column of ``obs`` and least value, such as ``("pixel_label_share", 0.6)``: tiles whose label is
        less dominant are left out of training and test (KRONOS, *Patch-level segmentation-free phenotyping*).
    margin
        Quadrants only: training cells closer to a test cell are left out, in the units of ``obsm[spatial_key]`` (µm).
        The default is half a window of KRONOS.
    library_key
        Column of ``obs`` with the image of each cell, for quadrants and `by_sample`.
    spatial_key
        Quadrants only: key of ``obsm`` with the place of each cell.
    random_state
        Seed of folds and classifiers.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row per embedding, method, training size and score (means over the classes that tested cells of the fold have,
    as one without any would be 0 for every method; ``recall`` is the balanced accuracy,
    ``calibration_error`` the expected one over 15 bins, of all test cells, lower is better, and
    ``calibration_error_debiased`` the same without what chance adds where bins hold few cells: near 0 in the mean, and
    below it by chance, where probabilities are right) with ``preparation`` (what columns were standardised on),
    ``circular`` (see `labels_from`), ``mean``, ``sd`` (over folds, the published error) and ``low`` and ``high``, a
    95 % interval for other patients (Student's t, with the variance that folds have which share training cells:
    1 / K + 1 / (K - 1), Nadeau and Bengio, 2003). The last rows are two floors, scored on the
    same folds and draws: the linear probe on 16 random numbers per cell (``use_rep`` is ``"16 random numbers"``), and
    ``head`` ``"majority"``, which gives every cell the shares of the classes in the training part, and so calls all of
    them by the commonest.

    Written into ``uns[key_added]``: ``summary``; ``folds`` (every score of every class, fold and draw); ``classes``
    (means of each class, with ``support``, the number of its cells that were tested); ``abstention`` (``surest_90``:
    share of right labels among the 90 % of tested cells with the highest probability, and so on; with `coverage`, the
    share of tested cells whose set holds the true type, the mean of that over types, the mean size of sets, the share
    of ``single`` ones, and how many of these are right, means over folds and draws); ``differences`` (between
    embeddings with one method and between methods on one embedding, paired by fold, with interval and p-value of a
    paired t-test with the same variance); ``times`` (seconds to fit a method and predict the tested cells, mean over
    folds and draws); and ``params``. With ``patient_key="quadrant"`` they are of other parts of the same images.

    Raises
    ------
    TableError
        If there are fewer groups than folds, fewer than two classes are left, or `published` and `transductive` are
        both asked for.

    Warns
    -----
    SpatialfmWarning
        If an embedding has learned from labels already (``adapter=`` of `spatialfm.tl.embed_cells`), or patients have
        cells in several groups.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=60, random_state=0)
    >>> scores = sfm.tl.evaluate_annotation(cells, "type", use_rep="X_latent", C=1.0, min_cells=5)
    >>> recall = scores.query("score == 'recall'").set_index("use_rep")["mean"]
    >>> recall.index.tolist(), bool(recall["X_latent"] > 0.8), bool(recall["16 random numbers"] < 0.4)
    (['X_latent', '16 random numbers', 'none'], True, True)
    """
    check_anndata(adata, "evaluate_annotation", key_added)
    C = "search" if published and C == "grid" else C
    methods = _check_heads(heads, C, published, transductive)
    if by_sample is True and not transductive:
        raise TableError("by_sample=True scales by the cells of test patients too. Pass transductive=True with it.")
    cells, others = _cells(adata, label_key, min_cells, dominance)
    labels = named(cells.obs[label_key], "label_key", whole=True)
    names = np.asarray(labels, dtype=str)
    keys, trained = _asked(adata, use_rep, patient_key, combine)
    circular = circular_representations(adata, label_key, list(keys.values()), labels_from)
    values, unlabelled, blocks = _representations(cells, others, keys, combine, arcsinh and not published)
    groups = _groups(cells, patient_key, library_key, spatial_key, margin)
    seeds = [random_state + 1000 * repeat for repeat in range(n_repeats)]
    folds = [fold for seed in seeds for fold in make_folds(groups, names, n_folds, seed)]
    task = Judged(
        names,
        list(labels.cat.categories.astype(str)),
        values,
        blocks,
        unlabelled,
        None if groups.places is not None else groups.of,
        _seen(others, groups, patient_key, library_key, spatial_key),
        methods,
        [None] if n_train is None else np.atleast_1d(n_train).tolist(),
        n_draws,
        transductive,
        BY_TRAINING if published else TRANSDUCTIVE if transductive else BY_TRAINING_CELLS,
        combine == "stack",
        trainers(trained, cells, others, label_key, patient_key),
        None if signatures is None else _markers(cells, others, signatures, layer),
        samples_of_parts(adata, (cells, others), library_key, by_sample) if transductive else None,
        by_sample is True,
    )
    by_type, calibrate = coverage_of == "types", calibrate and not published
    options = Options(C, n_trials, calibrate, published, random_state, coverage, by_type)
    table = judge(task, progress_bar(folds, desc="folds", unit="fold"), options)
    held = [rep for rep in values if any(block.name in circular for block in blocks[rep])]
    table["circular"] = table["use_rep"].isin(held)
    table["partition"], table["fold"] = np.divmod(table["fold"].to_numpy(), len(folds) // n_repeats)
    params = {
        "label_key": label_key,
        "use_rep": [*keys, *trained],
        "combine": combine or "",
        "preparation": task.preparation,
        "patient_key": patient_key,
        "n_folds": n_folds,
        "n_repeats": n_repeats,
        "n_draws": n_draws,
        "heads": [*methods, "signatures"] if signatures is not None else methods,
        **_told(options),
        "arcsinh": arcsinh and not published,
        "transductive": transductive,
        "by_sample": str(by_sample) if transductive else "False",
        "labels_from": labels_from or "",
        "fitted_on_all": fitted_on_all(adata, keys.values()),
        "dominance": "" if dominance is None else f"{dominance[0]} >= {dominance[1]:g}",
        "margin": margin if patient_key == "quadrant" else 0.0,
        DATA: fingerprint(adata, [label_key, patient_key, library_key], obsm=keys.values()),
    }
    return _write(adata, key_added, table, params)


def _told(options: Options) -> dict[str, object]:
    """What methods were told, for the record."""
    covered = options.coverage is not None
    return {
        "C": str(options.C),
        "calibrate": options.calibrate,
        "coverage": options.coverage if covered else np.nan,
        "coverage_of": ("types" if options.by_type else "cells") if covered else "",
        "published": options.published,
        "random_state": options.random_state,
    }


def _markers(
    cells: AnnData, others: AnnData, signatures: Mapping[str, Any] | pd.DataFrame, layer: str | None
) -> Markers:
    matrix, own = intensities_of(cells, signatures, layer)
    _, unlabelled = intensities_of(others, signatures, layer)
    return Markers(layer or "X", list(matrix.index), matrix.to_numpy(), own, unlabelled)


def _representations(
    cells: AnnData, others: AnnData, keys: Mapping[str, str], combine: str | None, arcsinh: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, list[ColumnBlock]]]:
    """Columns of labelled cells and of the others by name, and what they are; all side by side comes last."""
    values = {name: representation(cells, key) for name, key in keys.items()}
    others_too = {name: finite_rows(others, key) for name, key in keys.items()}
    blocks = {
        name: [ColumnBlock(key, values[name].shape[1], intensities(cells, key) if arcsinh else None)]
        for name, key in keys.items()
    }
    if combine and len(values) > 1:
        together = " + ".join(values)
        blocks[together] = [block for one in list(blocks.values()) for block in one]
        values[together], others_too[together] = (np.hstack(list(one.values())) for one in (values, others_too))
    return values, others_too, blocks


def _write(adata: AnnData, key: str, folds: pd.DataFrame, params: dict[str, object]) -> pd.DataFrame:
    times = mean_times(folds)
    folds = folds.drop(columns="seconds")  # the same seed gives the same table
    macro = folds[folds["class"] == "macro"]
    record: dict[str, Any] = {
        "folds": folds,
        "summary": summarise(macro),
        "classes": by_class(folds),
        "abstention": abstention(macro),
        "differences": differences(macro),
        "times": times,
        "params": params,
    }
    write_uns(adata, key, record)
    return record["summary"]


def _check_heads(heads: str | Sequence[str], C: float | str, published: bool, transductive: bool) -> list[str]:
    methods = as_names(heads)
    if not methods:
        raise TableError("heads= is empty. Pass a method of sfm.tl.annotate, or several.")
    for name in methods:
        check_method(name, C, "heads", (AUTO,))
    if published and transductive:
        raise TableError("published=True scales columns on training cells. Pass it without transductive=True.")
    if published and (others := [name for name in methods if name not in PROBES]):
        raise TableError(f"published=True is KRONOS's probe, and heads= has {others[0]!r}. Pass heads='linear'.")
    return methods


def _cells(
    adata: AnnData, label_key: str, min_cells: int, dominance: tuple[str, float] | None
) -> tuple[AnnData, AnnData]:
    """Cells whose label counts, and all others."""
    labels = label_column(adata, label_key)
    pure = np.ones(adata.n_obs, bool)
    if dominance is not None:
        pure = (obs_column(adata, dominance[0], "dominance", allow_missing=True) >= dominance[1]).to_numpy()
    kept = np.flatnonzero(_kept(labels.where(pure), label_key, min_cells))
    # in the order of their names: the drawn cells are independent of the order of rows
    order = order_of_names(adata.obs_names)
    counts = np.isin(order, kept)
    return adata[order[counts]], adata[order[~counts]]


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


def _groups(cells: AnnData, patient_key: str, library_key: str, spatial_key: str, margin: float) -> Groups:
    if patient_key == "quadrant":
        samples = obs_column(cells, library_key, "library_key").astype(str).to_numpy()
        places = coordinates(cells, spatial_key)
        say_unit(cells.uns, places, samples, f"margin={margin:g}")
        return groups_of_quadrants(Places(places, samples, margin))
    patients = obs_column(cells, patient_key, "patient_key")
    _tell_shared_patients(cells, patient_key)
    return Groups(patients.astype(str).to_numpy(), patient_key)


def _seen(
    others: AnnData, groups: Groups, patient_key: str, library_key: str, spatial_key: str
) -> Callable[[Fold], np.ndarray]:
    """Which rows of `others`, cells without a label that counts, are not part of what a fold holds out."""
    if groups.places is None:
        return partial(seen_by_patient, others.obs[patient_key].to_numpy(dtype=object), groups)
    samples = others.obs[library_key].astype(object).to_numpy()
    places = Places(coordinates(others, spatial_key, finite=False), samples, groups.places.margin)
    return partial(seen_by_place, places, groups)


def _asked(
    adata: AnnData, use_rep: str | Sequence[str] | Mapping[str, Any], patient_key: str, combine: str | None
) -> tuple[dict[str, str], dict[str, TrainedRepresentation]]:
    """Keys of ``obsm``, and what is trained in each fold, by name; says which of the former have seen labels."""
    keys, trained = split_representations(use_rep)
    if trained and (patient_key == "quadrant" or combine):
        why = "stops on patients of its own" if patient_key == "quadrant" else "is scored by itself"
        remedy = "patient_key=<a column of patients>" if patient_key == "quadrant" else "combine=None"
        raise TableError(f"What is trained in each fold {why}. Pass {remedy}.")
    records = adata.uns.get(UNS, {})
    for key in keys.values():
        if adapter := (records.get(key) or {}).get("adapter"):
            warn(
                f"{key!r} was made with adapter {adapter!r}, which has learned from labelled cells: where patients who "
                "are tested here were among them, its scores are too good. Pass use_rep={'fine-tuned': "
                "sfm.train.FineTuning(sdata, model)}, which is trained anew in each fold."
            )
    return keys, trained


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
