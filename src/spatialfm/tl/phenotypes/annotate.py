"""Labels of a few cells carried to all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from ..._errors import TableError, counted
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._preparation import ARCSINH, BY_ALL, BY_SAMPLE
from ..._public import public
from ..._storable import default_key, write_obsm, write_uns
from ...cohort.checks import as_names, check_anndata, label_column, listed, named, order_of_names
from ...cohort.circular import remember_groups
from ...cohort.column_names import column_names
from ...cohort.patient_names import patients_of_rows
from ...cohort.replaced import remove_earlier
from ...cohort.signature_matrix import intensities_of
from ...learn.conformal import check_coverage
from ...learn.heads.answer import Answer, Prior, answer, cofactor_rows
from ...learn.heads.auto import AUTO
from ...learn.heads.bcos import mean_shares, shares_of
from ...learn.heads.blocks import ColumnBlock, scaler_of
from ...learn.heads.by_sample import on_scale
from ...learn.heads.cells import VisibleCells
from ...learn.heads.methods import check_method
from ...learn.heads.options import Options
from ...learn.heads.signature import fit_signatures
from ...learn.probe import certainty
from .annotation_inputs import neighbors_of, samples_of, side_by_side, tell_one_patient, tell_units

if TYPE_CHECKING:
    from anndata import AnnData

    from ...learn.heads.fitted import RuleFitted

OF_TYPES = ("sets", "smoothing", "contributions")  # tables of the record with a row for each type


@public
def annotate(
    adata: AnnData,
    label_key: str | None = None,
    *,
    use_rep: str | Sequence[str],
    combine: Literal["concatenate", "stack"] = "concatenate",
    method: Literal[
        "linear",
        "forest",
        "knn",
        "lda",
        "nearest_mean",
        "spreading",
        "self_training",
        "trees",
        "bcos",
        "ensemble",
        "auto",
    ] = "ensemble",
    signatures: Mapping[str, Any] | pd.DataFrame | None = None,
    layer: str | None = None,
    smoothing: float | Literal["auto"] | None = None,
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    calibrate: bool = True,
    arcsinh: bool = True,
    by_sample: bool | Literal["auto"] = "auto",
    min_probability: float = 0.0,
    coverage: float | None = None,
    coverage_of: Literal["types", "cells"] = "types",
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    random_state: int = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> pd.DataFrame | None:
    """Annotate all cells from those that have a label.

    By default discriminant analysis and extremely randomised trees are pooled, whose errors differ: of all methods
    tried on eight sets of real cells, the pair that gained most with five and with twenty labels of a type, and lost on
    none. A part that is too sure on labelled cells which are held out is damped first. A wide output of a network (more
    than 64 columns) has the linear probe in place of the discriminant, as has what 500 or more labels say it of; with
    one label of each type it is alone. Where means of markers are some of the columns, as in `classical`, both see the
    means by themselves, and the trees all columns too. ``method="linear"`` is the probe alone, as in KRONOS (Online
    Methods, *Cell phenotyping*): L2 logistic regression by L-BFGS on standardised columns, classes alike. In two things
    it is ours. Columns are standardised on all cells, those without label too, as the scale of a few labelled cells is
    mostly noise. The penalty is one of a grid of five, fitted to at most 4,000 cells: less work than the fit itself;
    the published search is ``C="search"``. One labelled cell per class is enough to run.

    Parameters
    ----------
    adata
        Cells; those without label have none in ``obs[label_key]`` (NaN).
    label_key
        Column of ``obs`` with the labels; None where there are `signatures` and no labelled cell.
    use_rep
        Key of ``obsm``, or ``"X"``, or several: they show different things of a cell (markers, shape, texture).
    combine
        Several representations: ``"concatenate"`` puts their columns side by side, all of a representation weighing
        together what those of another do; ``"stack"`` has a classifier for each, whose probabilities are pooled with
        weights found on labelled cells that were held out.
    method
        ``"linear"``: the probe above; ``"forest"``: 100 trees of depth 16; ``"knn"``: 15 neighbours weighted by
        distance; ``"lda"``: discriminant analysis with one covariance, shrunk (Ledoit and Wolf 2004);
        ``"nearest_mean"``: nearest class mean in up to 50 principal components of all cells; ``"spreading"``: labels
        spread on the graph of neighbours in these components (Zhou et al. 2003); ``"self_training"``: the probe is
        fitted again to the cells that it is sure of, by calibrated confidence; ``"trees"``: 100 extremely randomised
        trees; ``"bcos"``: B-cos units (Böhle et al., CVPR 2022), whose answer is a sum of what each column contributes,
        see below; ``"ensemble"``: the default above; ``"auto"``: ``"ensemble"``, unless another is better
        by more than its standard error on labelled cells that are held out in turn (whole patients, where five or more
        have labels). Classes weigh alike in all of them.
    signatures
        Markers that types have and lack, as a weak prior that no label goes into: a table of types by markers (1, -1,
        0), or names with markers (``{"B": ["CD20", "CD3-"]}``); forms of Astir and scimap are read. Cells of each
        marker are divided into those that have it and those that lack it. With labels, the prior counts as much as
        suits labelled cells that are held out; a type that has markers and no labelled cell is found by these.
    layer
        Layer of the intensities that `signatures` are compared with (default: ``X``), not yet logged.
    smoothing
        Move the probabilities of a cell towards the mean of those of its 10 nearest cells of the sample: the weight, 0
        to 1, or ``"auto"``, that of least cross-entropy on labelled cells which are held out (each class weighing
        alike). Types that live alone among others are lost first; ``uns`` has what it costs each class.
    C
        Inverse strength of the penalty of the linear probe. ``"grid"``: 0.01 to 100 times ``min(1, 10 / columns)``, by
        the cross-entropy of a fifth of the labelled cells, each class weighing alike; that number itself where there
        are fewer than 15 labelled cells per class or 5 of one. ``"search"``, as published (needs Optuna): 1e-10 to 1e5,
        by macro F1; C is 1 where a class has fewer than 5 labelled cells.
    n_trials
        Trials of ``C="search"``.
    calibrate
        Divide the logits by the temperature (Guo et al. 2017) that suits labelled cells which were held out, in five
        folds (of 500 or more, a fifth once), so that of the cells with a confidence of 0.8 about 80 % are right; not
        those of ``"forest"`` and ``"knn"``. No label changes. Held-out cells of a type weigh together what the type
        does among all cells, by what the method calls them: labels are often as many of each type, and tissue is
        mostly of a few. Where five or more patients are held out, those with a type weigh alike in it. ``"linear"``
        alone holds in the proportions of the labelled cells. With fewer than 10 held-out cells the temperature is 1;
        with few it has a prior, as ten right ones do not make all others certain. In ``"ensemble"`` and
        ``combine="stack"`` a share of each probability is even, which is found on the same cells: of some cells nothing
        can be known, however sure the answer looks.
    arcsinh
        Bring columns that are mean intensities of markers to a scale where a step is a ratio, before they are
        standardised: ``arcsinh(mean / cofactor)``, with the cofactor of a marker where its signal begins, so that
        units do not matter: the 0.05 quantile of its values above 0, of all cells, and where background was cut at 0
        at least where its noise ends. Such columns are those of ``"X"`` and of ``mean-intensity``, and the means of
        ``classical``; not those of ``X`` of which scanpy has taken logarithms, that were centred, or that hold
        fractions, and none of a network's output. ``X`` that was transformed by hand (more than two, and a quarter, of
        its columns would be more skewed) stays as it is; pass False where it is known.
    by_sample
        Then bring each sample to the means and standard deviations of all cells: slides that were stained or scanned
        apart differ in every marker. It also removes what is different in their cells, so that labels decide:
        ``"auto"`` does it where discriminant analysis names held-out labelled cells better by more than the standard
        error (balanced accuracy, whole patients where five or more have labels, 15 labelled cells at least, up to
        2,048 columns); ``uns`` says why. A sample of few cells is held by those of all.
    min_probability
        Cells whose highest probability is lower get no label (NaN); their confidence, margin, entropy and
        probabilities are written.
    coverage
        Also give each cell a set of types that holds the true one with this probability, such as 0.9: conformal
        prediction, from labelled cells whose patients were held out. It is promised for the cells of patients without
        labels (each patient weighs the same, and is like those with labels), and refused where too few patients have
        labels: 9 for 0.9, 19 for 0.95. A cell with one type in its set is sure; of the others the set says between
        what it is undecided.
    coverage_of
        ``"types"``: the promise holds for the cells of each type, also if labels were picked by type; a type that is
        labelled in too few patients is in every set. ``"cells"``: for all cells together, which is right if the
        labelled ones were drawn at random; sets are smaller, and rare types are often missed.
    patient_key
        Column of ``obs``: patients stay together when C is tuned and probabilities are calibrated, where five or more
        have labels.
    library_key
        Column of ``obs`` with the sample, for `by_sample` and `smoothing`.
    spatial_key
        `smoothing` only: key of ``obsm`` with the place of each cell.
    random_state
        Seed.
    key_added
        Key that is written; default ``<label_key>_predicted``.
    copy
        Return the columns that are otherwise written to ``obs``, as one table of cells. Probabilities, sets and what
        was compared and chosen are only written.

    Returns
    -------
    None, or with `copy` a table of cells with ``label``, ``confidence``, ``margin``, ``entropy``. Written:

    ``obs[key_added]``
        Label of every cell: the given one is not kept but predicted too, so that errors in it can be seen.
    ``obs[key_added + "_confidence"]``, ``"_margin"``, ``"_entropy"``
        Highest probability; its distance to the second; entropy of the probabilities over its largest value, 0 to 1.
    ``obsm[key_added + "_probability"]``
        A table of cells by classes.
    ``obsm[key_added + "_contribution"]``, ``obs[key_added + "_logit"]``
        With ``method="bcos"``: what each column contributed to the label of the cell, and the ``intercept``; they add
        up to the logit, and the softmax of the logits of all classes is the probability. Of a marker-wise embedding
        the columns of a marker are one; more than 200 columns without names are one together.
    ``obsm[key_added + "_set"]``, ``obs[key_added + "_set_size"]``
        With `coverage`: cells by classes, True where the class is in the set of the cell, and their number.
    ``uns[key_added]``
        ``contributions``, with ``method="bcos"``: a table of types by columns, the means over the cells that are called
        so (``n``); :func:`spatialfm.pl.contributions` draws it. ``cofactors``, of means that went through arcsinh.
        ``sets``, with `coverage`: the least probability with which a class is in a set, 0 where it is in all, and in
        how many patients it is labelled. ``params``, with what the method chose (of the linear probe, C), the number of
        labelled cells, the ``temperature``, the share that is even (``lapse``), on how many held-out cells they were
        found (``n_held_out``), the expected calibration error of these (``calibration_error``, over 15 bins; a little
        low, as both were found on the same cells), and how many cells got no label (``n_unlabelled``).
        With ``"auto"``, ``chosen``, ``why`` in words, and ``methods``, the table of what was compared (of too few
        labels nothing, and it has no row): balanced accuracy (``recall``), ``gain`` over the first and its standard
        error. With `signatures`, ``signature_weight``. With `smoothing`, ``smoothing_weight``, and ``smoothing``, a
        table of classes with recall and F1 on held-out cells before and after.

    Raises
    ------
    TableError
        If there are fewer than two classes among the labels, two of them read alike or one is a missing label as text
        (``"nan"``), the embedding is missing or holds NaN, or `coverage` is asked for with too few patients.

    Warns
    -----
    SpatialfmWarning
        If all labelled cells are of one of several patients: probabilities of the others' cells are then too high; or
        if samples without labels (patients, where samples are not known) are in another unit than those with labels.

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
    check_anndata(adata, "annotate", None if copy else key_added)
    check_method(method, C, more=(AUTO,))
    known, labels = _labelled(adata, label_key, signatures)
    values, blocks = side_by_side(adata, use_rep, arcsinh)
    groups = patients_of_rows(adata, patient_key, used=known)
    if calibrate:
        tell_one_patient(groups, known, patient_key)
    options = Options(C, n_trials, calibrate, False, random_state, coverage, coverage_of == "types")
    if method == "bcos":
        _check_adds_up(signatures, smoothing, combine, len(blocks))
    if coverage is not None:
        check_alone(signatures, smoothing)
        check_coverage(coverage, None if groups is None else groups[known])
    prior = _prior(adata, signatures, layer, random_state)
    neighbors = neighbors_of(adata, smoothing, library_key, spatial_key)
    order = order_of_names(adata.obs_names)
    cells = VisibleCells(values, scaler_of(blocks, values), groups, known, random_state, order)
    samples = samples_of(adata, library_key, by_sample)
    cells, scale = on_scale(cells, samples, known, labels, options, always=by_sample is True)
    if not scale.get("by_sample"):
        tell_units(adata, values, blocks, known, _apart(adata, library_key, groups))
    answered = answer(method, combine == "stack", blocks, cells, known, labels, options, prior, neighbors)
    types = [*labels.categories, *(name for name in answered.classes if name not in labels.categories)]
    table = certainty(answered.probability, answered.classes, adata.obs_names, types, ordered=labels.ordered)
    _tell(answered, len(known))
    unsure = (table["confidence"] < min_probability).to_numpy()
    table["label"] = table["label"].where(~unsure)
    if unsure.any():
        logger.info("%d cells have no label: none of their classes reaches %g", unsure.sum(), min_probability)
    if answered.sets is not None:
        table["set_size"] = answered.sets.sum(axis=1)
    shares = None if method != "bcos" else _shares(adata, answered, blocks)
    if shares is not None:
        table["logit"] = shares.pop("logit")
        called = answered.probability.argmax(axis=1)[~unsure]
        answered.tables["contributions"] = mean_shares(shares[~unsure], called, answered.classes)
    key = key_added or default_key(f"{label_key or 'signature'}_predicted")
    for block in blocks:
        remember_groups(
            adata, "annotate", block.name, table["label"], written=not copy, place=f"obs:{key}", labels=label_key
        )
    if copy:
        return table if shares is None else table.join(shares.add_prefix("contribution "))
    cofactors = cofactor_rows(blocks, cells)
    params = {
        "label_key": label_key or "",
        "use_rep": [block.name for block in blocks] if len(blocks) > 1 else blocks[0].name,
        "combine": combine if len(blocks) > 1 else "",
        "method": method if len(known) else "signatures",
        "preparation": ("" if cofactors.empty else ARCSINH) + BY_ALL + (BY_SAMPLE if scale.get("by_sample") else ""),
        "by_sample": False,
        "by_sample_why": "",
        **scale,
        **answered.notes,
        "n_labelled": len(known),
        "temperature": answered.calibration.temperature,
        "lapse": answered.calibration.lapse,
        "n_held_out": answered.calibration.n_held_out,
        "calibration_error": answered.calibration.error,
        "min_probability": min_probability,
        "n_unlabelled": int(unsure.sum()),
        "coverage": np.nan if coverage is None else coverage,
        "coverage_of": "" if coverage is None else coverage_of,
        "random_state": random_state,
    }
    tables = {
        name: frame.loc[[one for one in types if one in frame.index]] if name in OF_TYPES else frame
        for name, frame in answered.tables.items()
    }
    tables |= {} if cofactors.empty else {"cofactors": cofactors}
    _write(adata, key, table, answered, types, params, tables)
    if shares is not None:
        adata.obs[f"{key}_logit"] = table["logit"]
        write_obsm(adata, f"{key}_contribution", shares)
    return None


def _apart(adata: AnnData, library_key: str | None, patients: np.ndarray | None) -> np.ndarray | None:
    """What each cell shares its unit with: the sample, or the patient where samples are not known."""
    if library_key is None or library_key not in adata.obs or adata.obs[library_key].isna().any():
        return patients
    return adata.obs[library_key].astype(str).to_numpy()


def _check_adds_up(signatures: object, smoothing: object, combine: str, n_blocks: int) -> None:
    """Refuse what would change an answer after it was taken apart."""
    name = "signatures" if signatures is not None else "smoothing" if smoothing is not None else ""
    if name:
        raise TableError(f"method='bcos' says what its own answer is a sum of. Pass it without {name}=.")
    if combine == "stack" and n_blocks > 1:
        raise TableError(
            "combine='stack' pools several answers, and method='bcos' takes one apart. Pass 'concatenate'."
        )


def _shares(adata: AnnData, answered: Answer, blocks: Sequence[ColumnBlock]) -> pd.DataFrame:
    """What each column contributes to the label of each cell."""
    names = [
        f"{block.name}: {name}" if len(blocks) > 1 else name
        for block in blocks
        for name in column_names(adata, block.name, block.width)
    ]
    shares = shares_of(cast("RuleFitted", answered.fitted), answered.probability.argmax(axis=1), names)
    return shares.set_axis(adata.obs_names, axis=0)


def check_alone(signatures: object, smoothing: object) -> None:
    """Refuse sets of what is more than a method: labelled cells were held out of the method alone."""
    name = "signatures" if signatures is not None else "smoothing" if smoothing is not None else ""
    if name:
        raise TableError(f"coverage= makes sets of what a method says alone. Pass it without {name}=.")


def _tell(answered: Answer, n_labelled: int) -> None:
    """Say what was chosen, and what it costs."""
    logger.info(
        "annotated %d cells from %d labels of %d classes", len(answered.probability), n_labelled, len(answered.classes)
    )
    if "why" in answered.notes:
        logger.info("method: %s", answered.notes["why"])
    table = answered.tables.get("smoothing")
    if table is None or not answered.notes["smoothing_weight"]:
        return
    lost = table[table["recall_smoothed"] < table["recall"]]
    costs = ", ".join(f"{name} {row.recall:.2f} to {row.recall_smoothed:.2f}" for name, row in lost.iterrows())
    weight = answered.notes["smoothing_weight"]
    logger.info("smoothing, weight %.2g; lower recall of held-out cells: %s", weight, costs or "of no class")


def _prior(
    adata: AnnData, signatures: Mapping[str, Any] | pd.DataFrame | None, layer: str | None, random_state: int
) -> Prior | None:
    """What the markers of types say of all cells."""
    if signatures is None:
        return None
    matrix, intensity = intensities_of(adata, signatures, layer)
    types = list(matrix.index)
    fitted = fit_signatures(intensity, types, matrix.to_numpy(), random_state)
    return Prior(types, fitted.predict_proba(intensity))


def _labelled(adata: AnnData, label_key: str | None, signatures: object) -> tuple[np.ndarray, pd.Categorical]:
    """Rows with a label in the order of their names, and their labels; with signatures there may be none."""
    if label_key is None:
        if signatures is None:
            raise TableError("There are neither labels nor signatures. Pass label_key=, signatures=, or both.")
        return np.zeros(0, int), pd.Categorical([])
    column = label_column(adata, label_key)
    known = np.flatnonzero(column.notna().to_numpy())
    known = known[order_of_names(adata.obs_names[known])]  # folds and trees do not depend on the order of the table
    labels = named(column.iloc[known], "label_key", whole=True).array
    classes = list(labels.categories)
    if len(classes) < 2:
        raise TableError(
            f"obs[{label_key!r}] holds {counted(len(classes), 'class', 'classes')} in {len(known)} labelled "
            f"cells ({listed(classes)}). Label cells of two or more."
        )
    return known, labels


def _write(
    adata: AnnData,
    key: str,
    table: pd.DataFrame,
    answered: Answer,
    types: list[str],
    params: dict[str, Any],
    tables: Mapping[str, pd.DataFrame],
) -> None:
    remove_earlier(adata, key, table["label"])
    adata.obs[key] = table["label"]
    for name in ("confidence", "margin", "entropy"):
        adata.obs[f"{key}_{name}"] = table[name]
    probability = pd.DataFrame(answered.probability, index=adata.obs_names, columns=answered.classes)
    write_obsm(adata, f"{key}_probability", probability[types])
    if answered.sets is not None:
        sets = pd.DataFrame(answered.sets, index=adata.obs_names, columns=answered.classes)
        write_obsm(adata, f"{key}_set", sets[types])
        adata.obs[f"{key}_set_size"] = table["set_size"]
    if "contributions" in tables:  # means by label, which a figure draws
        params[DATA] = fingerprint(adata, [key], obsm=as_names(params["use_rep"]))
    write_uns(adata, key, {"params": params, **tables})
