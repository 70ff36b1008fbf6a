"""Survival models judged by nested cross-validation: features, folds, and the two loops. Nothing is written here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SurvivalError, counted, repeated_names
from .._keys import layer_names
from .._logging import logger
from ..cohort.adjusted import survival_blocks
from ..cohort.checks import check_anndata, check_split, listed, order_of_names
from ..cohort.depth import N_CELLS, survival_depth
from ..cohort.design import design_matrix
from ..cohort.outcome import EventValue, OnMissing, Outcome, column_as, read_block, read_outcome, value_column
from ..cohort.representation import representation
from ..cohort.selected import OnSelected, Selected, check_selected, columns_of, matrix_of
from ..cohort.survival_record import describe_columns
from ..stats.concordance import concordant_pairs
from ..stats.permutation import shuffled_order

if TYPE_CHECKING:
    from anndata import AnnData
    from sklearn.pipeline import Pipeline

_ROW = column_as("row", "position")


@dataclass(frozen=True)
class SurvivalCases:
    """What a survival model learns from."""

    x: np.ndarray  # (n, n_features)
    time: np.ndarray  # (n,)
    event: np.ndarray  # (n,) bool
    features: list[str]
    rows: np.ndarray  # (n,) positions in the table
    n_dropped: int
    selected: Selected = Selected()  # who made which of the features with an outcome of these patients
    columns: str = "{}"  # JSON, what the covariates among the features were made of
    n_covariates: int = 0  # features that come from them, the last ones
    blocks: np.ndarray | None = None  # (n,) sites within which outcomes are shuffled

    def part(self, rows: np.ndarray) -> SurvivalCases:
        """Some of the patients."""
        return SurvivalCases(self.x[rows], self.time[rows], self.event[rows], self.features, self.rows[rows], 0)

    def shuffled(self, rng: np.random.Generator) -> SurvivalCases:
        """Outcomes shuffled between patients, within blocks where there are any."""
        order = shuffled_order(len(self.time), rng, self.blocks)
        return SurvivalCases(self.x, self.time[order], self.event[order], self.features, self.rows, 0)


class FittedSurvival(ABC):
    """A fitted model."""

    @abstractmethod
    def risk(self, x: np.ndarray) -> np.ndarray:
        """Risk ``(n,)``, higher for an earlier event."""

    @abstractmethod
    def survival(self, x: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Probability ``(n, n_times)`` of being without event."""

    @abstractmethod
    def explain(self, test: SurvivalCases | None) -> np.ndarray:
        """All that the model reports of its features, learned without or with held-out patients."""


class Model(ABC):
    """A kind of model, and how its settings are chosen."""

    @abstractmethod
    def choose(self, train: SurvivalCases, folds: np.ndarray) -> dict[str, float]:
        """Settings that do best within the training patients, and ``inner_score``, by which they do."""

    @abstractmethod
    def fit(self, train: SurvivalCases, chosen: dict[str, float]) -> FittedSurvival:
        """Fit with given settings."""


@dataclass(frozen=True)
class Nested:
    """Out-of-fold predictions of all patients."""

    fold: np.ndarray  # (n,)
    risk: np.ndarray  # (n,)
    survival: np.ndarray  # (n, n_times)
    chosen: list[dict[str, float]]
    explained: list[np.ndarray]


def read_survival_cases(
    patients: AnnData,
    what: str,
    *,
    use_rep: str | None,
    layer: str | None,
    covariates: str | Sequence[str] | None,
    time_key: str,
    event_key: str,
    event_value: EventValue = None,
    patient_key: str | None,
    on_missing: OnMissing,
    on_selected: OnSelected = "raise",
    block_key: str | None = None,
    n_permutations: int = 0,
) -> SurvivalCases:
    """Features and outcomes of the patients, after all refusals."""
    check_anndata(patients, what)
    taken = [covariates] if isinstance(covariates, str) else list(covariates or ())
    if use_rep is None and not taken:
        raise SurvivalError("No features. Pass use_rep= ('X' or a key of obsm), covariates= (columns of obs), or both.")
    if layer is not None and use_rep != "X":
        raise SurvivalError(f"layer={layer!r} is read in place of X, but use_rep={use_rep!r}. Pass use_rep='X'.")
    if layer is not None and layer not in patients.layers:
        raise SurvivalError(f"No layer {layer!r} (layer=); found {listed(layer_names(patients))}.")
    if leaked := [name for name in taken if name in (time_key, event_key)]:
        raise SurvivalError(f"{listed(leaked)} is the outcome, not one of the covariates=.")
    check_split(patients, patient_key, None, SurvivalError)
    rests_on = columns_of(patients, taken) | matrix_of(patients, use_rep)
    selected = check_selected(patients, what, rests_on, on_selected)
    values = {name: value_column(patients, name, "covariates") for name in taken}
    columns = pd.DataFrame(values | read_block(patients, block_key), index=patients.obs_names)
    columns[_ROW] = np.arange(patients.n_obs)
    outcome: Outcome = read_outcome(
        patients,
        what,
        time_key=time_key,
        event_key=event_key,
        event_value=event_value,
        patient_key=patient_key,
        on_missing=on_missing,
        columns=columns,
    )
    rows = outcome.columns[_ROW].to_numpy()
    names = patients.obs[patient_key] if patient_key in patients.obs else patients.obs_names
    # in the order of the patients' names: whoever sorts the table gets the same folds, trees and scores
    order = order_of_names(np.asarray(names, dtype=str)[rows])
    rows, time, event = rows[order], outcome.time[order], outcome.event[order]
    outcome_columns = outcome.columns.iloc[order]
    parts, features, columns, n_covariates = [], [], "{}", 0
    if use_rep is not None:
        complete = patients[rows]
        if layer is not None:
            complete = type(patients)(complete.layers[layer], obs=complete.obs[[]], var=complete.var[[]])
        parts.append(representation(complete, use_rep).astype(np.float64))
        n = parts[0].shape[1]
        features += list(patients.var_names) if use_rep == "X" else [f"{use_rep}_{i}" for i in range(n)]
    if taken:
        design, _ = design_matrix(outcome_columns[taken], {})
        parts.append(design.to_numpy(dtype=np.float64))
        features += list(design.columns)
        columns, n_covariates = describe_columns(outcome_columns[taken], {}), design.shape[1]
    if twice := sorted(map(str, repeated_names(features))):
        raise SurvivalError(f"{listed(twice)} is among the features twice. Leave it out of covariates=, or rename it.")
    x = np.concatenate(parts, axis=1)
    if not x.size or (x.std(axis=0) <= 1e-12).all():
        raise SurvivalError(
            f"{counted(x.shape[1], 'feature is', 'features are')} constant over {counted(len(x), 'patient')}: "
            "nothing can be learned."
        )
    _tell_depth(patients, rows, time, event, (time_key, event_key))
    blocks = survival_blocks(outcome, block_key, n_permutations)
    blocks = None if blocks is None else blocks[order]
    return SurvivalCases(x, time, event, features, rows, outcome.n_dropped, selected, columns, n_covariates, blocks)


def _tell_depth(patients: AnnData, rows: np.ndarray, time: np.ndarray, event: np.ndarray, keys: Sequence[str]) -> None:
    """Warn where numbers of cells go with survival, of a table that has them."""
    if N_CELLS in patients.obs and pd.api.types.is_numeric_dtype(patients.obs[N_CELLS]):
        n_cells = patients.obs[N_CELLS].to_numpy(float, na_value=0.0)[rows]
        remedy = 'Make the table of equally many cells: sfm.tl.composition(..., cells_per_row="even").'
        survival_depth(n_cells, time, event, keys, remedy)


def check_plan(
    cohort: SurvivalCases, n_folds: int, n_inner_folds: int, n_repeats: int, n_components: int | None, n_bootstrap: int
) -> None:
    """Refuse what cannot be cross-validated."""
    if n_repeats < 1:
        raise SurvivalError(f"n_repeats={n_repeats}: one partition into folds is the least.")
    n, events = len(cohort.time), int(cohort.event.sum())
    if n_folds < 2 or n_inner_folds < 2:
        raise SurvivalError(f"n_folds={n_folds} and n_inner_folds={n_inner_folds}: both must be 2 or more.")
    if n < n_folds:
        raise SurvivalError(
            f"{counted(n, 'patient is', 'patients are')} fewer than the {n_folds} folds. Pass a smaller n_folds=."
        )
    if events < n_folds:
        raise SurvivalError(
            f"{counted(events, 'event')} for {n_folds} folds: at least one fold would have no event. Pass a smaller "
            "n_folds=."
        )
    least = events - -(-events // n_folds)
    if least < n_inner_folds:
        raise SurvivalError(
            f"{counted(events, 'event leaves', 'events leave')} {least} for the {n_inner_folds} inner folds of a "
            "training part: at least one would have no event. Pass smaller n_folds= or n_inner_folds=; models need "
            "some 10 events for each."
        )
    if n_bootstrap < 100:
        raise SurvivalError(f"n_bootstrap={n_bootstrap} gives no interval. Pass at least n_bootstrap=100.")
    if n_components is not None:
        n_train = n - -(-n // n_folds)
        smallest = min(n_train - -(-n_train // n_inner_folds), cohort.x.shape[1])
        if not 1 <= n_components <= smallest:
            raise SurvivalError(
                f"n_components={n_components}, but an inner training part has {smallest} patients or features. Pass a "
                f"number from 1 to {smallest}."
            )


def event_folds(event: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each patient at random, events and others dealt out evenly."""
    fold = np.empty(event.size, int)
    order = np.r_[rng.permutation(np.flatnonzero(event)), rng.permutation(np.flatnonzero(~event))]
    fold[order] = np.arange(event.size) % n_folds
    return fold


def preprocess(n_components: int | None, *, ordered: bool = False) -> Pipeline:
    """Standardising, and principal components where asked for; fitted on training patients only.

    `ordered`: columns come in an order of their own, for what draws them by their place.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from .column_order import OrderedColumns

    steps = [StandardScaler()]
    if n_components is not None:
        steps.append(PCA(n_components, svd_solver="full"))  # no chance in it
    if ordered:
        steps.append(OrderedColumns())
    return make_pipeline(*steps)


def nested(
    model: Model,
    cohort: SurvivalCases,
    times: np.ndarray,
    *,
    n_folds: int,
    n_inner_folds: int,
    explain: bool,
    n_jobs: int,
    random_state: int,
) -> Nested:
    """Predict each fold by a model whose settings were chosen, and which was fitted, on the others."""
    from joblib import Parallel, delayed

    rng = np.random.default_rng(random_state)
    fold = event_folds(cohort.event, n_folds, rng)
    seeds = rng.integers(2**31, size=n_folds)

    def one(k: int) -> tuple[dict[str, float], np.ndarray, np.ndarray, np.ndarray | None]:
        train, test = cohort.part(fold != k), cohort.part(fold == k)
        inner = event_folds(train.event, n_inner_folds, np.random.default_rng(seeds[k]))
        chosen = model.choose(train, inner)
        fitted = model.fit(train, chosen)
        right, pairs = concordant_pairs(test.time, test.event, risk := fitted.risk(test.x))
        chosen |= {"harrell": right / pairs if pairs else np.nan}
        return chosen, risk, fitted.survival(test.x, times), fitted.explain(test) if explain else None

    parts = Parallel(n_jobs=n_jobs)(delayed(one)(k) for k in range(n_folds))
    risk, survival = np.empty(len(fold)), np.empty((len(fold), times.size))
    for k, (_, of_fold, curves, _) in enumerate(parts):
        risk[fold == k], survival[fold == k] = of_fold, curves
    counts = [{"n": int((fold == k).sum()), "events": int(cohort.event[fold == k].sum())} for k in range(n_folds)]
    chosen = [count | part[0] for count, part in zip(counts, parts, strict=True)]
    return Nested(fold, risk, survival, chosen, [part[3] for part in parts])


def partition_seeds(random_state: int, n_repeats: int) -> list[int]:
    """Seeds of the partitions into folds; that of the first is the one that was given."""
    return [random_state, *np.random.default_rng((random_state, 11)).integers(2**31, size=n_repeats - 1).tolist()]


def within_folds(cohort: SurvivalCases, risk: np.ndarray, fold: np.ndarray) -> float:
    """Harrell's concordance over the pairs of patients of one fold."""
    counts = [concordant_pairs(cohort.time[m], cohort.event[m], risk[m]) for m in (fold == k for k in np.unique(fold))]
    right, pairs = np.sum(counts, axis=0)
    return float(right / pairs) if pairs else 0.5


def permutation_scores(
    model: Model,
    cohort: SurvivalCases,
    *,
    n_folds: int,
    n_inner_folds: int,
    n_repeats: int,
    n_permutations: int,
    n_jobs: int,
    random_state: int,
) -> np.ndarray:
    """Concordance ``(n_permutations,)`` of the whole procedure on outcomes shuffled between patients."""
    from joblib import Parallel, delayed

    from .._progress import progress_bar

    def one(seed: int) -> float:
        other = cohort.shuffled(np.random.default_rng([random_state, seed]))
        scores = []
        for of_partition in partition_seeds(seed, n_repeats):
            result = nested(
                model, other, np.array([np.median(other.time)]), n_folds=n_folds, n_inner_folds=n_inner_folds,
                explain=False, n_jobs=1, random_state=of_partition,
            )  # fmt: skip
            scores.append(within_folds(other, result.risk, result.fold))
        return float(np.mean(scores))

    runs = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(one)(seed) for seed in range(n_permutations))
    progress = progress_bar(
        runs,
        total=n_permutations,
        desc="permutations",
    )
    return np.array(list(progress))


def step_values(steps: np.ndarray, values: np.ndarray, times: np.ndarray, before: float) -> np.ndarray:
    """Values ``(n, n_times)`` of right-continuous step functions ``(n, n_steps)`` at times; `before` the first step."""
    padded = np.concatenate([np.full((len(values), 1), before), values], axis=1)
    return padded[:, np.searchsorted(steps, times, side="right")]


def log_scores(what: str, scores: pd.DataFrame, optimistic: float, cohort: SurvivalCases) -> None:
    """One line of the result."""
    row = scores.loc["harrell"]
    logger.info(
        "%s: concordance on held-out patients %.3f (%.3f to %.3f), on those it was fitted to %.3f (optimistic); %d "
        "patients, %d events.",
        *(what, row["value"], row["ci_low"], row["ci_high"], optimistic, len(cohort.time), cohort.event.sum()),
    )
