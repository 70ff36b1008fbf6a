"""Logistic regression on what patients are on average, over many splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import Origin
from ..._preparation import BY_TRAINING
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import shuffling_blocks
from ...cohort.batches import STANDARDIZE, TANGLED, batches_of, tell_batches
from ...cohort.case_depth import CasesDepth, class_cases
from ...cohort.cases import Cases, Classes, OnMissing, read_cases, read_classes, shuffled_rows
from ...cohort.checks import as_names, check_anndata
from ...cohort.circular import made_of_tissue, repeated
from ...cohort.fitted import fitted_on_all
from ...cohort.records import ClassifiedRecord
from ...cohort.representation import each_representation
from ...cohort.selected import OnSelected, check_cases, remember_cases, told_apart
from ...learn.case_scores import CLASS_SCORES, auroc, class_scores, summarize
from ...metrics import compare_representations
from ...stats.folds import stratified_draws
from ...stats.permutation import permutation_p, shuffled_order

if TYPE_CHECKING:
    from anndata import AnnData
    from tqdm.auto import tqdm

ALL = 0  # encodes all columns in tables, which cannot hold None


@public
def classify_samples(
    adata: AnnData,
    *,
    label_key: str,
    use_rep: str | Sequence[str],
    n_components: int | None | Sequence[int | None] = 64,
    n_draws: int = 100,
    test_size: float = 0.2,
    n_permutations: int = 0,
    block_key: str | None = None,
    C: float = 1.0,
    scale_components: bool = False,
    class_weight: Literal["balanced"] | None = None,
    cells_per_patient: CasesDepth = "auto",
    max_rows: int = 10_000,
    positive: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    on_missing: OnMissing = "raise",
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "classify_samples",
    copy: bool = False,
) -> ClassifiedRecord | None:
    """Classify patients by logistic regression on their average embedding.

    KRONOS's protocol (*Patient stratification with KRONOS*; Table S20): the embeddings of a patient's cells or tiles
    are reduced to 64 or 256 principal components and averaged; 100 stratified splits take 80 % of the patients for
    training. What the paper does not state is decided here: columns are standardised before components are taken (the
    penalty is then in no unit); means, standard deviations and components are those of the training patients of each
    split; the same splits serve all representations; they are drawn in the order of the patients' names, so that the
    order of rows changes nothing. Also for tables with one row per sample or patient, such as compositions
    (``use_rep="X"`` or a layer put into ``obsm``).

    Whatever was fitted to all patients before (an embedding's statistics or components, types, niches, states) has seen
    those that are held out, if not their labels.

    Parameters
    ----------
    adata
        Cells, tiles, samples or patients. The rows of a patient are averaged.
    label_key
        Column of ``obs`` with the class, one for all rows of a patient.
    use_rep
        Key of ``obsm`` or ``"X"``, or several.
    n_components
        Principal components of the standardised rows, or several numbers; None: columns as they are. Fewer, where
        there are fewer columns or training rows.
    n_draws
        Number of splits.
    test_size
        Share of each class (at least one patient) that is held out.
    n_permutations
        Shuffles of the labels between patients, each with as many splits, for the ``p_value`` of the AUROC.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which labels are shuffled: what a site has of
        both label and tissue then makes no small p-value. Scores stay as they are.
    C
        Inverse strength of the penalty: on components as they are, or on columns with standard deviation 1 over
        training patients where `n_components` is None.
    scale_components
        Bring components to standard deviation 1 over training patients, too: the last of them, mostly noise, then
        count like the first.
    class_weight
        ``"balanced"``: classes weigh alike, however many patients they have. Not published; None: as they occur.
    cells_per_patient
        Cells of each patient that are drawn: ``"all"`` (published); ``"even"``, as many as all have; a number; or
        ``"auto"``: all, unless their numbers go with the label; then, with a warning, equally many are drawn.
    max_rows
        Rows that components are computed from, evenly over patients; of more, a random part.
    positive
        Of two classes, the one that ``f1`` and ``average_precision`` are of (default: the last, in the order of
        categories or of the alphabet).
    patient_key
        Column of ``obs`` with the patient. None: each sample (or row) is a case.
    library_key
        Column of ``obs`` with the sample.
    on_missing
        What becomes of patients without label: ``"raise"``, or ``"drop"``.
    random_state
        Seed of splits and of the random part.
    on_selected
        What becomes of rows of patients that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no score of them holds, or ``"mark"``: go on; the record states it.
    key_added
        Key of ``uns``.
    copy
        Return the record instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written into ``uns[key_added]``:

    - ``summary``: a row per representation, number of components asked for (0: all columns) and score (``auroc``,
      ``average_precision``, ``f1``, ``f1_macro``, ``balanced_accuracy``) with ``mean``, ``sd``, ``low`` and ``high``
      (95 % interval for new patients: the variance allows for draws that share them, after Nadeau and Bengio, 2003),
      ``p_value`` (of ``auroc``), and ``low_published`` and ``high_published`` (interval of the mean over draws, as
      published: it shrinks with the number of draws, and does not extend to other patients);
    - ``draws``: every score of every draw, and ``n_used`` components; ``comparison``: the representations against each
      other, from :func:`spatialfm.metrics.compare_representations`;
    - ``patients``: label, ``n`` (rows), and for each representation the mean probability of each class over the draws
      that held the patient out (``<representation>_<n_components>:<class>``; NaN if none did); ``params``.

    Raises
    ------
    TableError
        If a column is missing, a representation holds NaN, or there is one class, or one with a single patient.
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
    >>> sfm.tl.classify_samples(cells, label_key="response", use_rep=["X", "X_latent"], n_components=8, n_draws=10)
    >>> cells.uns["classify_samples"]["summary"].query("score == 'auroc'")["use_rep"].tolist()
    ['X', 'X_latent']

    The same from compositions, one row per patient:

    >>> patients = sfm.tl.composition(cells, "niche", patient_key="patient")
    >>> sfm.tl.classify_samples(patients, label_key="response", use_rep="X", n_components=None, n_draws=10)
    """
    check_anndata(adata, "classify_samples", None if copy else key_added)
    sizes = [n_components] if n_components is None or isinstance(n_components, int) else list(n_components)
    _check(sizes, n_draws, max_rows)
    common = {"patient_key": patient_key, "library_key": library_key, "on_missing": on_missing}
    cases = read_cases(adata, {label_key: "label_key"}, block_key=block_key, **common)
    classes = read_classes(cases, label_key, positive, need=2, why="a split into training and test")
    blocks = shuffling_blocks(cases.table.get(block_key), block_key, cases.table[[label_key]], n_permutations)
    selected = check_cases(adata, "classify_samples", use_rep, len(cases.names), on_selected)
    names = classes.names
    cases, numbers = class_cases(adata, cases, classes.codes, names, label_key, cells_per_patient, random_state)
    batches = batches_of(adata.obs.iloc[cases.rows], cases.codes)
    labels = pd.Series(np.array(names, dtype=object)[classes.codes])
    tell_batches(f"The values of obs[{label_key!r}]", labels, batches, TANGLED, as_names(block_key))
    values, how = each_representation(cases.part(adata), use_rep), ClassifierOptions(C, scale_components, class_weight)
    rng = np.random.default_rng(random_state)
    draws = list(stratified_draws(classes.codes, test_size, n_draws, rng))
    part = even_part(cases.codes, adata.obs_names[cases.rows], max_rows, rng)
    runs, means, null, averages = [], {}, {}, []
    with progress_bar(
        total=len(values) * n_draws * (1 + n_permutations),
        desc="draws",
    ) as bar:
        for rep, matrix in values.items():
            averages.append(average := case_means(matrix, cases.codes, len(cases.names)))
            matrices = average, matrix[part], cases.codes[part]
            scored, held_out = _run(*matrices, classes, draws, sizes, how, bar)
            runs.append(scored.assign(use_rep=rep))
            for size, probability in held_out.items():
                means |= {f"{rep}_{size}:{name}": probability[:, i] for i, name in enumerate(classes.names)}
            shuffles = (np.random.default_rng((random_state, 1, shuffle)) for shuffle in range(n_permutations))
            plan = classes, blocks, test_size, n_draws, sizes, how, bar
            null[rep] = [_shuffled(*matrices, *plan, rng) for rng in shuffles]
    record = _record(pd.concat(runs, ignore_index=True), cases, classes, len(draws[0][1]))
    record["patients"] = record["patients"].assign(**means)
    record["summary"]["p_value"] = [
        float(permutation_p(np.array([scores[row.n_components] for scores in null[row.use_rep]]), row.mean))
        if row.score == "auroc"
        else np.nan
        for row in record["summary"].itertuples()
    ]
    scores = pd.DataFrame(means)
    tell_batches("The scores", scores, batches, STANDARDIZE)
    record["params"] = {"label_key": label_key, "use_rep": list(values), "n_draws": n_draws, "test_size": test_size}
    record["params"] |= {"n_permutations": n_permutations, "block_key": block_key or "", "preparation": BY_TRAINING}
    record["params"] |= {"C": float(C), "max_rows": max_rows, "positive": classes.positive_name}
    record["params"] |= {"scale_components": scale_components, "class_weight": class_weight or "", **numbers}
    record["params"] |= {"random_state": random_state, **cases.params()}
    record["params"][DATA] = fingerprint(adata, [label_key, patient_key, library_key, block_key], obsm=values)
    for row in record["summary"].query("score == 'auroc'").itertuples():
        what = row.use_rep, row.n_components or "no", row.mean, row.low, row.high
        logger.info("%s, %s components: AUROC %.3f (%.3f to %.3f)", *what)
    circle = made_of_tissue(adata, [label_key], [patient_key, library_key])
    record = repeated(record, circle)
    record["params"] |= {"circular": circle, **selected.params(), "fitted_on_all": fitted_on_all(adata, use_rep)}
    origin = Origin("classify_samples", "held out", (label_key,), column=key_added)
    remember_cases(
        None if copy else adata, origin, record["patients"], told_apart(means, classes.names), ["label"], averages
    )
    if copy:
        return record
    write_uns(adata, key_added, record)
    return None


@dataclass(frozen=True)
class ClassifierOptions:
    """How the classifier is fitted."""

    C: float = 1.0
    scale_components: bool = False
    class_weight: str | None = None


def case_means(values: np.ndarray, codes: np.ndarray, n_cases: int) -> np.ndarray:
    """Mean of the rows of each case ``(cases, columns)``."""
    from scipy.sparse import csr_array

    ones = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_cases, len(codes)))
    return (ones @ values.astype(np.float64)) / np.bincount(codes, minlength=n_cases)[:, None]


def even_part(codes: np.ndarray, names: Sequence[str], max_rows: int, rng: np.random.Generator) -> np.ndarray:
    """At most `max_rows` rows, as many of each case as can be, in order; all if they are fewer."""
    if len(codes) <= max_rows:
        return np.arange(len(codes))
    order = shuffled_rows(names, rng)
    place = pd.Series(codes[order]).groupby(codes[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(place, kind="stable")[:max_rows]])


def fit_predict(
    average: np.ndarray,
    rows: np.ndarray,
    codes: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    sizes: Sequence[int | None],
    how: ClassifierOptions,
) -> dict[int, tuple[np.ndarray, int]]:
    """Probabilities ``(test, classes)`` and features used, for each number of components.

    Parameters
    ----------
    average
        ``(cases, columns)``.
    rows
        Rows of the training cases; all that is fitted but the classifier is fitted on these.
    codes
        ``(cases,)``.
    train, test
        Cases.
    sizes
        Numbers of components; None for the columns as they are.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    varies = np.ptp(rows, axis=0) > 0
    rows, average = rows[:, varies], average[:, varies]
    scale = StandardScaler().fit(rows) if varies.any() else None
    centred = np.zeros((len(average), 1)) if scale is None else scale.transform(average)
    components = centred
    # one row is needed for the mean
    largest = min(max((size for size in sizes if size is not None), default=0), rows.shape[1], len(rows) - 1)
    if largest:
        pca = PCA(largest, random_state=0).fit(scale.transform(rows))
        components = pca.transform(centred)
    predictions = {}
    for size in sizes:
        features = centred if size is None else components[:, :size]
        if size is None or how.scale_components:
            features = StandardScaler().fit(features[train]).transform(features)
        model = LogisticRegression(C=how.C, class_weight=how.class_weight, max_iter=2000)
        predictions[size or ALL] = (
            model.fit(features[train], codes[train]).predict_proba(features[test]),
            features.shape[1],
        )
    return predictions


def _run(
    average: np.ndarray,
    rows: np.ndarray,
    case_of_row: np.ndarray,
    classes: Classes,
    draws: list[tuple[np.ndarray, np.ndarray]],
    sizes: Sequence[int | None],
    how: ClassifierOptions,
    bar: tqdm,
) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:
    """Scores of each draw, and for each number of components the mean probabilities of held-out cases."""
    n, k = len(average), len(classes.names)
    total = {size or ALL: np.zeros((n, k)) for size in sizes}
    times, scored = np.zeros((n, 1)), []
    for draw, (train, test) in enumerate(draws):
        train_rows = rows[np.isin(case_of_row, train)]
        predictions = fit_predict(average, train_rows, classes.codes, train, test, sizes, how)
        for size, (probability, n_used) in predictions.items():
            row = {"draw": draw, "n_components": size, "n_used": n_used}
            scored.append(row | class_scores(classes.codes[test], probability, classes.positive))
            total[size][test] += probability
        times[test] += 1
        bar.update()
    never = np.where(times > 0, times, np.nan)
    return pd.DataFrame(scored), {size: sums / never for size, sums in total.items()}


def _shuffled(
    average: np.ndarray,
    rows: np.ndarray,
    case_of_row: np.ndarray,
    classes: Classes,
    blocks: np.ndarray | None,
    test_size: float,
    n_draws: int,
    sizes: Sequence[int | None],
    how: ClassifierOptions,
    bar: tqdm,
    rng: np.random.Generator,
) -> dict[int, float]:
    """Mean AUROC over draws with shuffled labels, for each number of components."""
    codes = classes.codes[shuffled_order(len(classes.codes), rng, blocks)]
    scores: dict[int, list[float]] = {size or ALL: [] for size in sizes}
    for train, test in stratified_draws(codes, test_size, n_draws, rng):
        predictions = fit_predict(average, rows[np.isin(case_of_row, train)], codes, train, test, sizes, how)
        for size, (probability, _) in predictions.items():
            scores[size].append(auroc(codes[test], probability, classes.positive))
        bar.update()
    return {size: float(np.mean(values)) for size, values in scores.items()}


def _record(runs: pd.DataFrame, cases: Cases, classes: Classes, n_test: int) -> dict[str, Any]:
    ratio = n_test / (len(classes.codes) - n_test)
    several = runs["n_components"].nunique() > 1
    named = runs["use_rep"] + (" (" + runs["n_components"].astype(str) + ")" if several else "")
    table = pd.DataFrame(
        {"label": np.array(classes.names)[classes.codes]}, index=pd.Index(cases.names, name=cases.unit)
    )
    return {
        "summary": summarize(runs, ["use_rep", "n_components"], CLASS_SCORES, ratio),
        "draws": runs,
        "comparison": compare_representations(
            runs.assign(compared=named), CLASS_SCORES, by="compared", ratio=ratio, n_cases=len(classes.codes)
        ),
        "patients": table.assign(n=np.bincount(cases.codes, minlength=len(cases.names))),
    }


def _check(sizes: Sequence[int | None], n_draws: int, max_rows: int) -> None:
    if not sizes or any(size is not None and size < 1 for size in sizes):
        raise TableError(f"n_components={sizes} must be numbers of 1 or more, or None for all columns.")
    if n_draws < 2:
        raise TableError(f"n_draws={n_draws}: two draws are the least.")
    if max_rows < 2:
        raise TableError(f"max_rows={max_rows} leaves nothing to compute components from. Pass 2 or more.")
