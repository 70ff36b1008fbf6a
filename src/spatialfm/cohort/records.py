"""Results in ``uns``, as they are written and as ``copy=True`` returns them: their keys and what each holds."""

# Without postponed annotations: with them every key would count as required.
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

Params = dict[str, Any]  # arguments that decided the result, as a store gives them back


class OutcomeRecord(TypedDict):
    """What every result has whose groups or scores may have been made with the outcome that is tested."""

    optimistic: bool
    params: Params


class KaplanMeierRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.kaplan_meier`."""

    table: pd.DataFrame
    groups: pd.DataFrame


class LogrankTrend(TypedDict):
    """Test of a trend over ordered groups."""

    statistic: float
    p_value: float
    p_value_chi_squared: float
    test: str
    direction: int  # 1 where hazard rises with the group, -1 where it falls


class LogrankRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.logrank`."""

    statistic: float
    p_value: float
    p_value_chi_squared: float
    dof: int
    test: str
    permuted: bool
    n: int
    events: int
    groups: pd.DataFrame
    p_value_unadjusted: NotRequired[float]  # with covariates=
    trend: NotRequired[LogrankTrend]  # with trend=True
    pairwise: NotRequired[pd.DataFrame]  # with pairwise=True


class CoxRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.cox`."""

    table: pd.DataFrame
    n: int
    events: int
    events_per_term: float
    log_likelihood: float
    lr_statistic: float
    lr_dof: float
    lr_p_value: float
    score_statistic: float
    score_dof: float
    score_p_value: float
    wald_statistic: float
    wald_dof: float
    wald_p_value: float
    concordance: float
    se_method: str
    distribution: str
    degrees_of_freedom: float
    model: dict[str, Any]  # what predicts other patients
    doubts: list[str]
    n_clusters: NotRequired[int]  # with se_cluster_key=
    ph_global_p_value: NotRequired[float]  # with test_proportional_hazards=True


class FineGrayRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.fine_gray`."""

    table: pd.DataFrame
    n: int
    events: int
    other_events: int
    events_per_term: float
    log_likelihood: float
    wald_statistic: float
    wald_dof: int
    wald_p_value: float
    se_method: str
    degrees_of_freedom: float
    doubts: list[str]


class IncidenceRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.cumulative_incidence`."""

    table: pd.DataFrame
    groups: pd.DataFrame
    tests: NotRequired[pd.DataFrame]  # of several groups


class RmstRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.rmst`."""

    horizon: float
    groups: pd.DataFrame
    differences: NotRequired[pd.DataFrame]  # of several groups


class ConcordanceRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.concordance`."""

    c_index: float
    ci_low: float
    ci_high: float
    n: int
    events: int
    n_pairs: int


class ConcordancesRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.compare_concordance`."""

    scores: pd.DataFrame
    table: pd.DataFrame
    n: int
    events: int
    n_pairs: int


class AddedValueRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.added_value`."""

    lr_statistic: float
    lr_dof: int
    p_value: float
    table: pd.DataFrame
    explained: float
    n: int
    events: int
    events_per_term: float


class CutPointRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.cut_point`; ``groups`` are written to ``obs``."""

    cut: float
    statistic: float
    p_value: float
    p_value_lausen_schumacher: float
    naive_p_value: float
    higher_risk: str
    n_low: int
    n_high: int
    n: int
    events: int
    candidates: pd.DataFrame
    p_value_unadjusted: NotRequired[float]  # with covariates=
    groups: NotRequired[pd.Series]  # with copy=True


class SurvivalModelRecord(TypedDict):
    """Of :func:`spatialfm.tl.coxnet` and :func:`spatialfm.tl.survival_forest`; ``predictions`` go to ``obs``."""

    scores: pd.DataFrame
    curves: pd.DataFrame
    model: dict[str, Any]  # what predicts other patients
    optimistic_harrell: float
    folds: pd.DataFrame
    params: Params
    predictions: NotRequired[pd.DataFrame]  # with copy=True
    p_value: NotRequired[float]  # with n_permutations=
    coefficients: NotRequired[pd.DataFrame]  # of coxnet
    importance: NotRequired[pd.DataFrame]  # of survival_forest, with n_importance=


class PredictionRecord(OutcomeRecord):
    """Of :func:`spatialfm.tl.predict_survival`; ``predictions`` are written to ``obs`` and ``obsm``."""

    kind: str
    doubts: list[str]
    predictions: NotRequired[pd.DataFrame]  # with copy=True
    # of a model, where the target has an outcome
    scores: NotRequired[pd.DataFrame]
    curves: NotRequired[pd.DataFrame]
    calibration: NotRequired[pd.DataFrame]
    calibration_large: NotRequired[pd.DataFrame]
    calibration_smooth: NotRequired[pd.DataFrame]
    decision_curve: NotRequired[pd.DataFrame]
    # of groups, where the target has an outcome
    group_table: NotRequired[pd.DataFrame]
    p_value: NotRequired[float]
    test: NotRequired[str]


class PowerRecord(TypedDict):
    """Of :func:`spatialfm.tl.power`."""

    table: pd.DataFrame
    needed: pd.DataFrame
    params: Params


class ClassifiedRecord(TypedDict):
    """Of :func:`spatialfm.tl.classify_samples` and :func:`spatialfm.tl.few_shot_samples`."""

    summary: pd.DataFrame
    draws: pd.DataFrame
    comparison: pd.DataFrame
    patients: pd.DataFrame
    params: Params


class MilRecord(TypedDict):
    """Of :func:`spatialfm.tl.mil`; ``attention`` is written to ``obs``, other tables of cells to ``obsm``."""

    patients: pd.DataFrame
    summary: pd.DataFrame
    folds: pd.DataFrame
    statistics: pd.DataFrame
    statistics_folds: pd.DataFrame
    params: Params
    classes: NotRequired[pd.DataFrame]  # of classes
    contributions: NotRequired[pd.DataFrame]  # with head="bcos"
    attention: NotRequired[pd.Series]  # with copy=True
    gradient: NotRequired[pd.DataFrame]  # with copy=True and gradients=True
    contribution: NotRequired[pd.DataFrame]  # with copy=True and head="bcos"


class BagsRecord(TypedDict):
    """Of :func:`spatialfm.tl.predict_bags`; ``attention`` is written to ``obs``, ``gradient`` to ``obsm``."""

    patients: pd.DataFrame
    params: Params
    attention: NotRequired[pd.Series]  # with copy=True
    gradient: NotRequired[pd.DataFrame]  # with copy=True and gradients=True


class AlignedRecord(TypedDict):
    """Of :func:`spatialfm.tl.align`; ``a`` and ``b`` are written to ``obsm``, ``split`` to ``obs``."""

    scores: NotRequired[pd.DataFrame]  # of patients that were never seen, where there are any, with both sides
    training: NotRequired[pd.DataFrame]  # without source=, as heads
    heads: NotRequired[dict[str, np.ndarray]]
    params: Params
    batch_effect: NotRequired[pd.DataFrame]  # with batch_key=
    a: NotRequired[np.ndarray]  # with copy=True, as all below
    b: NotRequired[np.ndarray]
    split: NotRequired[pd.Series]


class ExpressionRecord(TypedDict):
    """Of :func:`spatialfm.tl.predict_expression`; ``predictions`` are written to ``obsm``."""

    summary: pd.DataFrame
    targets: pd.DataFrame
    folds: pd.DataFrame
    params: Params
    predictions: NotRequired[pd.DataFrame]  # with copy=True


class ShiftRecord(TypedDict):
    """Of :func:`spatialfm.tl.distribution_shift`."""

    table: pd.DataFrame
    params: Params
    comparison: NotRequired[pd.DataFrame]  # with group_key=


class SignaturesRecord(TypedDict):
    """Of :func:`spatialfm.tl.discover_signatures`; ``cells`` are written to ``obsm``."""

    scores: pd.DataFrame
    clusters: pd.DataFrame
    signatures: pd.DataFrame
    patients: pd.DataFrame
    null: pd.DataFrame
    params: Params
    sketch: NotRequired[pd.DataFrame]  # where a sketch was clustered
    cells: NotRequired[pd.DataFrame]  # with copy=True
