"""Classifiers on frozen embeddings, and the splits that they are judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import TableError
from .._logging import logger
from .._optional import need
from .._threads import one_thread
from .penalty import enough_to_search, grid_C, prior_C
from .temperature import MIN_HELD_OUT, Calibration, calibration_of, predicted_without, tempered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from ..cohort.intensities import Intensities
    from .arcsinh import IntensityScaler

Head = Literal["linear", "forest", "knn"]
C_RANGE = (1e-10, 1e5)  # KRONOS, Online Methods, Cell phenotyping
N_TRIALS = 25
MIN_TO_TUNE = 5  # labelled cells of the rarest class below which C is not tuned but 1 (ibid., few-shot)


def check_head(head: str, C: float | str) -> None:
    """Refuse what is not a classifier."""
    if head not in ("linear", "forest", "knn"):
        raise TableError(f"method={head!r} is not one of 'linear', 'forest', 'knn'.")
    if C not in ("grid", "search") and not (isinstance(C, int | float) and C > 0):
        raise TableError(f"C={C!r} is neither a positive number nor 'grid' nor 'search'.")
    if head == "linear" and C == "search":
        need("optuna", 'C="search"', "Or pass C='grid', or a penalty of your own, such as C=1.0.")


@dataclass(frozen=True)
class Probe:
    """A fitted classifier and the names of its classes, in their order.

    It was fitted to codes: scikit-learn's forest takes labels that are digits, as Leiden's are, for numbers.
    """

    model: Pipeline
    classes: list[str]
    calibration: Calibration = Calibration()

    @one_thread()
    def predict_proba(self, values: np.ndarray) -> np.ndarray:
        """Probabilities ``(n, classes)``."""
        return tempered(self.model.predict_proba(values), self.calibration.temperature)

    @property
    def scaler(self) -> StandardScaler | IntensityScaler:
        """What the columns were standardised with."""
        return self.model[0]


def coded(labels: np.ndarray | pd.Categorical) -> tuple[np.ndarray, list[str]]:
    """Codes and names of the labels that occur, in the order of the names.

    Not in that of categories: folds, trees and equal probabilities would be others where a table has its labels in
    another order, or as text.

    Raises
    ------
    TableError
        If a label is missing: it would be that of the last category, or a class of its own.
    """
    if n_missing := int(pd.isna(labels).sum()):
        raise TableError(f"{n_missing} of {len(labels)} labels are missing. A classifier is fitted to labelled cells.")
    if isinstance(labels, pd.Categorical):
        names = np.array([str(name) for name in labels.categories], dtype=object)
        labels = names[labels.codes]
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return codes, names.tolist()


def column_scaler(
    values: np.ndarray, more: np.ndarray | None = None, intensities: Intensities | None = None
) -> StandardScaler | IntensityScaler:
    """Means and standard deviations of the columns over all rows that a classifier may see, labelled or not.

    Parameters
    ----------
    values, more
        ``(n, columns)``; more of the same columns, which are counted as if they were rows of `values`.
    intensities
        Columns that are means of markers and go through arcsinh first, with a cofactor by marker that is found on the
        same rows.
    """
    from sklearn.preprocessing import StandardScaler

    if intensities is not None:
        from .arcsinh import IntensityScaler

        both = values if more is None or not len(more) else np.concatenate([values, more])
        return IntensityScaler(intensities).fit(both)
    scaler = StandardScaler().fit(values)
    return scaler if more is None or not len(more) else scaler.partial_fit(more)


def cofactors_of(scaler: object) -> list[dict[str, float]]:
    """Cofactors of the columns that went through arcsinh, by their names; of each representation side by side."""
    by_rep = []
    for one in getattr(scaler, "scalers", [scaler]):
        cofactors = getattr(one, "cofactors_", ())
        names = one.intensities.names if len(cofactors) else ()
        pairs = zip(names, cofactors, strict=True)
        by_rep.append({name: float(value) for name, value in pairs if np.isfinite(value)})
    return by_rep


def make_head(
    head: Head, C: float = 1.0, *, n_train: int = 10**9, class_weight: str | None = "balanced", random_state: int = 0
) -> Pipeline:
    """A classifier on standardised columns."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if head == "linear":
        model = LogisticRegression(C=C, class_weight=class_weight, max_iter=1000, random_state=random_state)
    elif head == "forest":  # as VirTues transfers signatures: Methods, Biomarker discovery
        model = RandomForestClassifier(
            100, max_depth=16, class_weight=class_weight, random_state=random_state, n_jobs=-1
        )
    else:
        model = KNeighborsClassifier(min(15, n_train), weights="distance")
    if head == "linear":
        return make_pipeline(StandardScaler(), model)
    from .column_order import OrderedColumns  # scikit-learn is imported where it is needed

    # a forest draws columns, and which of two neighbours is as near as the other is a matter of rounding
    return make_pipeline(StandardScaler(), OrderedColumns(), model)


@one_thread()
def fit_head(
    values: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    head: Head,
    C: float = 1.0,
    random_state: int = 0,
    class_weight: str | None = "balanced",
    scaler: StandardScaler | IntensityScaler | None = None,
) -> Probe:
    """Fit a classifier whose penalty is given; columns are scaled by `scaler`, or on `values`."""
    codes, names = coded(labels)
    model = make_head(head, C, n_train=len(codes), class_weight=class_weight, random_state=random_state)
    fitted = _fit(model, values, codes, scaler)
    if head == "forest":  # asked in parallel, its trees are added in the order in which they are done
        fitted[-1].n_jobs = 1
    return Probe(fitted, names)


def _fit(
    model: Pipeline, values: np.ndarray, codes: np.ndarray, scaler: StandardScaler | IntensityScaler | None
) -> Pipeline:
    from sklearn.pipeline import make_pipeline

    if scaler is None:
        return model.fit(values, codes)
    fitted = model[1:].fit(scaler.transform(values), codes)
    return make_pipeline(scaler, *(step for _, step in fitted.steps))


@one_thread()
def fit_probe(
    values: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    *,
    head: Head,
    C: float | str,
    groups: np.ndarray | None = None,
    scaler: StandardScaler | IntensityScaler | None = None,
    n_trials: int = N_TRIALS,
    published: bool = False,
    random_state: int = 0,
) -> tuple[Probe, float]:
    """Fit a classifier, whose penalty is chosen on a fifth of the rows unless it is given.

    ``C="grid"``: one of five by cross-entropy, on fits that start where the last ended; with fewer than 15 rows a
    class, or 5 of one, a prior. ``C="search"``: by macro F1, in trials; with fewer than 5 rows of a class, 1.

    Parameters
    ----------
    values, labels
        ``(n, columns)`` and ``(n,)``.
    head, C
        Kind of classifier; penalty of the linear one.
    groups
        Patient of each row, which stays on one side where there are at least five.
    scaler
        Scale of the columns, by all rows that may be seen (`column_scaler`); default: that of the rows that are fitted.
    n_trials, random_state
        Of the search.
    published
        As KRONOS: classes weigh as they occur, C = 1 is not among the trials, and the classifier is the one that was
        fitted without the fifth. Else classes weigh alike, C = 1 is tried first, and it is fitted again on all rows.

    Returns
    -------
    The classifier and the C it has.
    """
    weight, rows = None if published else "balanced", slice(None)
    if head == "linear" and C == "grid":
        C = chosen_C(values, coded(labels)[0], groups, scaler, random_state)
    if head == "linear" and C == "search":
        smallest = np.bincount(coded(labels)[0]).min()
        if smallest < MIN_TO_TUNE:
            logger.info("the rarest class has %d labelled cells: C is 1, not tuned", smallest)
            C = 1.0
        else:
            codes, options = coded(labels)[0], {"n_trials": n_trials, "random_state": random_state, "scaler": scaler}
            C = search_C(values, codes, groups, **options, published=published)
            rows = validation_split(codes, groups, random_state)[0] if published else rows
    used = 1.0 if isinstance(C, str) else float(C)
    return fit_head(values[rows], labels[rows], head, used, random_state, weight, scaler), used


def calibrated(
    probe: Probe,
    values: np.ndarray,
    labels: np.ndarray | pd.Categorical,
    groups: np.ndarray | None = None,
    random_state: int = 0,
) -> Probe:
    """The same linear probe with the temperature that suits cells which were held out of fits with the same penalty.

    Parameters
    ----------
    probe
        As `fit_probe` gives it for `values` and `labels`.
    groups
        Patient of each row; whole ones are held out where there are at least five.
    """
    from sklearn.base import clone

    codes, scaled = coded(labels)[0], probe.scaler.transform(values)

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return clone(probe.model[-1]).fit(scaled[train], codes[train]).predict_proba(scaled[test])

    probability, places = predicted_without(predict, codes, groups, random_state)
    if len(places) < MIN_HELD_OUT:
        return probe
    patients = None if groups is None else groups[places]
    return replace(probe, calibration=calibration_of(probability, codes[places], groups=patients))


def chosen_C(
    values: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray | None,
    scaler: StandardScaler | IntensityScaler | None,
    random_state: int,
) -> float:
    """Penalty by the grid, or by the number of columns where labels are too few for it."""
    if not enough_to_search(codes):
        C = prior_C(values.shape[1])
        logger.info("labels of some class are too few to tune C: it is %.3g, by the number of columns", C)
        return C
    train, test = validation_split(codes, groups, random_state)
    scaler = column_scaler(values) if scaler is None else scaler
    return grid_C(scaler.transform(values), codes, train, test, random_state=random_state)[0]


def search_C(
    values: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    *,
    n_trials: int,
    random_state: int,
    published: bool = False,
    scaler: StandardScaler | IntensityScaler | None = None,
) -> float:
    """Penalty of highest macro F1 on held-out rows, by Bayesian optimisation over 1e-10 to 1e5."""
    import optuna
    from sklearn.metrics import f1_score

    train, test = validation_split(labels, groups, random_state)
    weight = None if published else "balanced"

    def score(trial: optuna.Trial) -> float:
        C = trial.suggest_float("C", *C_RANGE, log=True)
        model = make_head("linear", C, class_weight=weight, random_state=random_state)
        fitted = _fit(model, values[train], labels[train], scaler)
        return f1_score(labels[test], fitted.predict(values[test]), average="macro")

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=random_state))
        if not published:
            study.enqueue_trial({"C": 1.0})
        study.optimize(score, n_trials=n_trials)
    finally:
        optuna.logging.set_verbosity(level)
    return float(study.best_params["C"])


def validation_split(labels: np.ndarray, groups: np.ndarray | None, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """A fifth of the rows to tune on, with every class in both parts; whole groups where five or more allow it."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

    if groups is not None and len(np.unique(groups)) >= 5:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=random_state)
        for train, test in splitter.split(labels, labels, groups):
            if len(np.unique(labels[train])) == len(np.unique(labels)):
                return train, test
    return next(StratifiedShuffleSplit(1, test_size=0.2, random_state=random_state).split(labels, labels))


def quadrants(positions: np.ndarray, samples: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
    """Quadrant 0 to 3 of each cell in its image, cut at the medians so that each holds as many cells as it can.

    With `reference`, ``(n,)`` bool, medians are those of these cells in images that have any.
    """
    out = np.empty(len(positions), int)
    for sample in np.unique(samples):
        in_sample = samples == sample
        of = in_sample if reference is None or not (in_sample & reference).any() else in_sample & reference
        low = positions[in_sample] <= np.median(positions[of], axis=0)
        out[in_sample] = 2 * low[:, 0] + low[:, 1]
    return out


def away_from(
    train: np.ndarray, test: np.ndarray, positions: np.ndarray, samples: np.ndarray, margin: float
) -> np.ndarray:
    """Training rows that are further than `margin` from every test row of their image."""
    from scipy.spatial import cKDTree

    is_away = np.ones(len(train), bool)
    for sample in np.unique(samples[test]):
        of_test, of_train = test[samples[test] == sample], np.flatnonzero(samples[train] == sample)
        if len(of_train):
            near, _ = cKDTree(positions[of_test]).query(positions[train[of_train]])
            is_away[of_train] = near > margin
    return train[is_away]


def draw_per_class(labels: np.ndarray, rows: np.ndarray, n: int, random_state: int) -> np.ndarray:
    """At most `n` of `rows` of each class."""
    rng = np.random.default_rng(random_state)
    parts = []
    for name in np.unique(labels[rows]):
        members = rows[labels[rows] == name]
        parts.append(members if len(members) <= n else rng.choice(members, n, replace=False))
    return np.sort(np.concatenate(parts))


def certainty(
    probability: np.ndarray,
    classes: list[str],
    index: pd.Index,
    categories: Sequence[str] | None = None,
    ordered: bool = False,
) -> pd.DataFrame:
    """Label, highest probability, distance to the second, and relative entropy of each row.

    Categories of the labels stand in the order of `categories`, or of `classes`.
    """
    labels = pd.Categorical.from_codes(probability.argmax(axis=1), classes)
    by_size = np.sort(probability, axis=1)
    logs = np.log(probability, out=np.zeros_like(probability), where=probability > 0)
    return pd.DataFrame(
        {
            "label": labels.reorder_categories(categories or classes, ordered=ordered),
            "confidence": by_size[:, -1],
            "margin": by_size[:, -1] - by_size[:, -2],
            "entropy": -(probability * logs).sum(axis=1) / np.log(len(classes)),
        },
        index=index,
    )
