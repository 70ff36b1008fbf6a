"""Cases separated by the clusters they are made of, from a handful of labelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import Origin
from ..._preparation import preparation
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import shuffling_blocks
from ...cohort.case_depth import CasesDepth, class_cases
from ...cohort.cases import Cases, Classes, OnMissing, in_order, read_cases, read_classes
from ...cohort.checks import as_names, check_anndata, codes_of, obs_column
from ...cohort.circular import made_of_tissue, repeated
from ...cohort.fitted import fitted_on_all
from ...cohort.records import ClassifiedRecord
from ...cohort.representation import prepared
from ...cohort.selected import OnSelected, check_cases, remember_cases, told_apart
from ...learn.case_scores import CLASS_SCORES, auroc, class_scores, summarize
from ...metrics import compare_representations
from ...stats.folds import support_draws
from ...stats.permutation import permutation_p, shuffled_order
from ..phenotypes.cell_states import cell_states
from .classify_samples import case_means
from .composition import cross_count

if TYPE_CHECKING:
    from anndata import AnnData

AVERAGE = 0  # encodes no clusters in tables, which cannot hold None
Metric = Literal["euclidean", "cityblock", "jensenshannon"]


@public
def few_shot_samples(
    adata: AnnData,
    *,
    label_key: str,
    use_rep: str | Sequence[str] | None = None,
    cluster_key: str | Sequence[str] | None = None,
    n_clusters: int | None | Sequence[int | None] = 8,
    n_support: int = 5,
    n_draws: int = 100,
    n_permutations: int = 0,
    block_key: str | None = None,
    metric: Metric = "euclidean",
    cells_per_patient: CasesDepth = "auto",
    positive: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    on_missing: OnMissing = "raise",
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "few_shot_samples",
    copy: bool = False,
) -> ClassifiedRecord | None:
    """Classify patients by their distribution over clusters, from a few labelled ones of each class.

    KRONOS's task (*Case-level stratification with KRONOS clustering*; Table S19): cells or tiles of all patients are
    clustered by k-means, without their labels; a patient is the share of its cells in each cluster; five patients of
    each class are drawn, and every other gets the class of the nearest of them, by Euclidean distance between shares.
    This is repeated 100 times, with the same draws for every representation, made in the order of the patients' names.
    Clusters are made of all patients, those to be classified among them, if not of their labels, as published.

    Parameters
    ----------
    adata
        Cells or tiles.
    label_key
        Column of ``obs`` with the class, one for all rows of a patient.
    use_rep
        Key of ``obsm`` or ``"X"`` to cluster, or several.
    cluster_key
        Column of ``obs`` with clusters that are there (cell types, niches), or several; next to or in place of
        `use_rep`.
    n_clusters
        Clusters of k-means, or several numbers (published: 4, 8, 16). None: no clusters, patients are compared by
        their average embedding, which with ``n_support=3`` is KRONOS's case retrieval (Table S23; 0 in tables).
    n_support
        Support patients of each class.
    n_draws
        Number of draws.
    n_permutations
        Shuffles of the labels between patients, each with as many draws, for the ``p_value`` of the AUROC.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which labels are shuffled: what a site has of
        both label and tissue then makes no small p-value. Scores stay as they are.
    metric
        Distance between distributions: ``"euclidean"`` as published, ``"cityblock"`` (twice the total variation), or
        ``"jensenshannon"``.
    cells_per_patient
        Cells of each patient that are drawn: ``"all"`` (published); ``"even"``, as many as all have; a number; or
        ``"auto"``: all, unless their numbers go with the label; then, with a warning, equally many are drawn.
    positive
        Of two classes, the one that ``f1`` and ``average_precision`` are of (default: the last, in the order of
        categories or of the alphabet).
    patient_key
        Column of ``obs`` with the patient. None: each sample is a case.
    library_key
        Column of ``obs`` with the sample.
    on_missing
        What becomes of patients without label: ``"raise"``, or ``"drop"``. Their cells are not clustered either.
    random_state
        Seed of clusters and draws.
    on_selected
        What becomes of clusters that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no score of them holds, or ``"mark"``: go on; the record states it.
    key_added
        Key of ``uns``.
    copy
        Return the record instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written into ``uns[key_added]``:

    - ``summary``: a row per representation, number of clusters and score (``auroc``, ``average_precision``, ``f1``,
      ``f1_macro``, ``balanced_accuracy``) with ``mean``, ``sd``, ``low`` and ``high`` (95 % interval for new patients:
      the variance allows for draws that share patients, after Nadeau and Bengio, 2003), ``p_value`` (of ``auroc``), and
      ``low_published`` and ``high_published`` (interval of the mean over draws, as published: it shrinks with the
      number of draws, and does not extend to other patients);
    - ``draws``: every score of every draw; ``comparison``: the representations against each other, from
      :func:`spatialfm.metrics.compare_representations`;
    - ``patients``: label, ``n`` (cells), and for each representation the mean score of each class over the draws that
      left the patient out (``<representation>_<n_clusters>:<class>``); ``params``.

    The score of a class is the inverse distance to its nearest support patient, over the sum for all classes: the
    highest belongs to the nearest of all. A tie goes to the first class.

    Raises
    ------
    TableError
        If a column is missing, there is one class, or one has no more patients than are drawn for support.
    ClinicalError
        If a patient has two labels, or a sample two patients.

    Warns
    -----
    SpatialfmWarning
        If what is predicted was made of the same cells, as groups of patients by composition were: scores then say how
        well it is repeated, and have no p-values (``params["circular"]``).

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=20, cells_per_patient=60, effect_size=3.0, random_state=0)
    >>> sfm.tl.few_shot_samples(
    ...     cells, label_key="response", use_rep="X_latent", cluster_key="niche", n_support=3, n_draws=10
    ... )
    >>> cells.uns["few_shot_samples"]["summary"].query("score == 'balanced_accuracy'")["representation"].tolist()
    ['X_latent', 'niche']
    """
    from scipy.spatial.distance import cdist

    check_anndata(adata, "few_shot_samples", None if copy else key_added)
    if n_draws < 2:
        raise TableError(f"n_draws={n_draws}: two draws are the least.")
    if metric == "jensenshannon" and (n_clusters is None or None in np.atleast_1d(np.array(n_clusters, dtype=object))):
        raise TableError("metric='jensenshannon' compares shares, and n_clusters=None has averages. Pass 'euclidean'.")
    common = {"patient_key": patient_key, "library_key": library_key, "on_missing": on_missing}
    cases = read_cases(adata, {label_key: "label_key"}, block_key=block_key, **common)
    classes = read_classes(cases, label_key, positive, need=n_support + 1, why=f"n_support={n_support} and one to test")
    blocks = shuffling_blocks(cases.table.get(block_key), block_key, cases.table[[label_key]], n_permutations)
    keys = as_names(cluster_key)
    selected = check_cases(adata, "few_shot_samples", use_rep, len(cases.names), on_selected, keys)
    names = classes.names
    cases, numbers = class_cases(adata, cases, classes.codes, names, label_key, cells_per_patient, random_state)
    shares = _all_shares(*in_order(adata, cases), use_rep, cluster_key, n_clusters, random_state)
    draws = list(support_draws(classes.codes, n_support, n_draws, np.random.default_rng(random_state)))
    runs, means, p_values = [], {}, []
    for (rep, k), matrix in progress_bar(
        shares.items(),
        desc="representations",
    ):
        distance = np.nan_to_num(cdist(matrix, matrix, metric))  # Jensen-Shannon: rounding below 0 under the root
        scored, mean = _run(distance, classes, draws)
        runs.append(scored.assign(representation=rep, n_clusters=k))
        means |= {f"{rep}_{k}:{name}": mean[:, code] for code, name in enumerate(classes.names)}
        null = _shuffled(distance, classes, blocks, n_support, n_draws, n_permutations, random_state)
        p_values.append(float(permutation_p(null, scored["auroc"].mean())))
    record = _record(pd.concat(runs, ignore_index=True), cases, classes, n_support)
    record["summary"]["p_value"] = np.nan
    record["summary"].loc[record["summary"]["score"] == "auroc", "p_value"] = p_values
    record["patients"] = record["patients"].assign(**means)
    record["params"] = {"label_key": label_key, "n_support": n_support, "n_draws": n_draws, "metric": metric}
    record["params"] |= {"n_permutations": n_permutations, "block_key": block_key or ""}
    record["params"] |= {"positive": classes.positive_name}
    record["params"] |= {"random_state": random_state, **numbers, **cases.params()}
    record["params"][DATA] = fingerprint(
        adata, [label_key, patient_key, library_key, block_key, *keys], obsm=as_names(use_rep)
    )
    record["params"]["preparation"] = {rep: preparation(adata, rep) for rep in as_names(use_rep)}
    for row in record["summary"].query("score == 'balanced_accuracy'").itertuples():
        logger.info("%s, %d clusters: balanced accuracy %.3f", row.representation, row.n_clusters, row.mean)
    states = [f"states of obsm[{rep!r}]" for rep in as_names(use_rep)]
    fitted = [text for text in (fitted_on_all(adata, use_rep, keys), *states) if text]
    circle = made_of_tissue(adata, [label_key], [patient_key, library_key])
    record = repeated(record, circle)
    record["params"] |= {"circular": circle, **selected.params(), "fitted_on_all": ", ".join(fitted)}
    origin = Origin("few_shot_samples", "held out", (label_key,), column=key_added)
    remember_cases(
        None if copy else adata,
        origin,
        record["patients"],
        told_apart(means, classes.names),
        ["label"],
        shares.values(),
    )
    if copy:
        return record
    write_uns(adata, key_added, record)
    return None


def nearest_support(distance: np.ndarray, codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Scores of the classes from distances to the support.

    Parameters
    ----------
    distance
        ``(test, support)``.
    codes
        ``(support,)`` class of each support case.

    Returns
    -------
    ``(test, classes)``; rows add up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_support(np.array([[3.0, 1.0, 2.0], [0.0, 1.0, 1.0]]), np.array([0, 0, 1]), 2).round(2).tolist()
    [[0.67, 0.33], [1.0, 0.0]]
    """
    nearest = np.stack([distance[:, codes == code].min(axis=1) for code in range(n_classes)], axis=1)
    inverse = 1 / np.maximum(nearest, 1e-12)
    return inverse / inverse.sum(axis=1, keepdims=True)


def _all_shares(
    part: AnnData,
    cases: Cases,
    use_rep: str | Sequence[str] | None,
    cluster_key: str | Sequence[str] | None,
    n_clusters: int | None | Sequence[int | None],
    random_state: int,
) -> dict[tuple[str, int], np.ndarray]:
    """Shares ``(cases, clusters)`` by representation and number of clusters."""
    reps, keys = (as_names(value) for value in (use_rep, cluster_key))
    if not reps and not keys:
        raise TableError(
            "Nothing to compare cases by. Pass use_rep= (a key of obsm) or cluster_key= (a column of obs)."
        )
    if twice := set(reps) & set(keys):
        raise TableError(f"{twice.pop()!r} is in use_rep= and in cluster_key=. Rename the column of obs.")
    shares = {}
    for rep in reps:
        for k in [n_clusters] if n_clusters is None or np.isscalar(n_clusters) else n_clusters:
            if k is None:
                shares[rep, AVERAGE] = case_means(prepared(part, rep)[0], cases.codes, len(cases.names))
                continue
            who = cases.key if cases.unit == "patient" else None
            states = cell_states(part, k, use_rep=rep, patient_key=who, random_state=random_state, copy=True)
            shares[rep, k] = _shares(cases, states)
    for key in keys:
        column = obs_column(part, key, "cluster_key", rows="rows")
        shares[key, int(column.nunique())] = _shares(cases, column)
    return shares


def _shares(cases: Cases, column: pd.Series) -> np.ndarray:
    codes, names = codes_of(column)
    counts = cross_count(cases.codes, codes, (len(cases.names), len(names)))
    return counts / counts.sum(axis=1, keepdims=True)


def _run(
    distance: np.ndarray, classes: Classes, draws: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores of each draw, and of each case its mean score of each class where it was not support."""
    k = len(classes.names)
    rows, total, times = [], np.zeros((len(distance), k)), np.zeros((len(distance), 1))
    for draw, (support, test) in enumerate(draws):
        scores = nearest_support(distance[np.ix_(test, support)], classes.codes[support], k)
        rows.append({"draw": draw} | class_scores(classes.codes[test], scores, classes.positive))
        total[test] += scores
        times[test] += 1
    return pd.DataFrame(rows), np.divide(total, times, out=np.full(total.shape, np.nan), where=times > 0)


def _shuffled(
    distance: np.ndarray,
    classes: Classes,
    blocks: np.ndarray | None,
    n_support: int,
    n_draws: int,
    n_permutations: int,
    random_state: int,
) -> np.ndarray:
    """Mean AUROC over draws for each shuffle of the labels."""
    k, null = len(classes.names), []
    for shuffle in range(n_permutations):
        rng = np.random.default_rng((random_state, 1, shuffle))
        codes = classes.codes[shuffled_order(len(classes.codes), rng, blocks)]
        scores = [
            auroc(codes[test], nearest_support(distance[np.ix_(test, support)], codes[support], k), classes.positive)
            for support, test in support_draws(codes, n_support, n_draws, rng)
        ]
        null.append(np.mean(scores))
    return np.array(null)


def _record(runs: pd.DataFrame, cases: Cases, classes: Classes, n_support: int) -> dict[str, Any]:
    n_train = n_support * len(classes.names)
    ratio = (len(classes.codes) - n_train) / n_train
    named = runs.assign(compared=runs["representation"] + " (" + runs["n_clusters"].astype(str) + ")")
    table = pd.DataFrame(
        {"label": np.array(classes.names)[classes.codes]}, index=pd.Index(cases.names, name=cases.unit)
    )
    return {
        "summary": summarize(runs, ["representation", "n_clusters"], CLASS_SCORES, ratio),
        "draws": runs,
        "comparison": compare_representations(
            named, CLASS_SCORES, by="compared", ratio=ratio, n_cases=len(classes.codes)
        ),
        "patients": table.assign(n=np.bincount(cases.codes, minlength=len(cases.names))),
    }
