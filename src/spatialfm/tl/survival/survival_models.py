"""Survival models of many features: elastic-net Cox regression and random survival forest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import SurvivalError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._origin import Origin, patient_names, remember
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata
from ...cohort.circular import fractions_of
from ...cohort.fitted import fitted_on_all
from ...cohort.outcome import OutcomeKeys, outcome_keys
from ...cohort.records import SurvivalModelRecord
from ...cohort.replaced import remove_earlier
from ...cohort.selected import MOST_EXEMPT, OnSelected
from ...learn.survival_judge import judge
from ...learn.survival_learners import CoxnetModel, ForestModel
from ...learn.survival_nested import SurvivalCases, check_plan, read_survival_cases

if TYPE_CHECKING:
    from anndata import AnnData

    from ...cohort.outcome import EventValue, OnMissing


@public
def coxnet(
    patients: AnnData,
    *,
    use_rep: str | None = "X",
    layer: str | None = None,
    covariates: str | Sequence[str] | None = None,
    n_components: int | None = None,
    l1_ratio: float | Sequence[float] = 0.5,
    n_alphas: int = 50,
    n_folds: int = 5,
    n_inner_folds: int = 5,
    n_repeats: int = 5,
    n_permutations: int = 0,
    block_key: str | None = None,
    n_bootstrap: int = 1000,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    n_jobs: int = 1,
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "coxnet",
    copy: bool = False,
) -> SurvivalModelRecord | None:
    """Cox regression with elastic-net penalty on many features, judged on patients that it has not seen.

    Nested cross-validation (Varma and Simon, BMC Bioinformatics 2006): each outer fold is predicted by a model whose
    penalty was chosen, and which was fitted, on the other folds alone. Standardising and principal components are
    fitted there too. The penalty is the one of highest cross-validated partial likelihood (Verweij and Van Houwelingen,
    Statistics in Medicine 1993) in inner folds; the strongest penalty tried leaves no feature. The path of penalties is
    scikit-survival's (Simon et al., Journal of Statistical Software 2011).

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    use_rep
        ``"X"`` (a composition), a key of ``obsm`` (an embedding of patients), or None for `covariates` alone.
    layer
        Layer that is read in place of ``X``.
    covariates
        Columns of ``obs``, or names in ``var``, that are features as well; categories become one for each level but
        the first.
    n_components
        Number of principal components that stand in for the features (default: the features themselves).
    l1_ratio
        Share of the lasso in the penalty, above 0 and up to 1; of several, the best is chosen in the inner folds.
    n_alphas
        Number of strengths of the penalty, from the one that leaves no feature to a hundredth of it (a twentieth with
        more features than patients).
    n_folds
        Number of outer folds; events are dealt out evenly, in the order of the patients' names.
    n_inner_folds
        Number of inner folds, likewise.
    n_repeats
        Partitions into outer folds. One alone moves the score of the same patients by as much as 0.1: scores are means
        over them, risks too, and their spread is in the intervals.
    n_permutations
        Number of times that the whole procedure is repeated with outcomes shuffled between patients, for a p-value; 0
        for none.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both survival and tissue then makes no small p-value. Scores stay as they are.
    n_bootstrap
        Number of resamplings of patients for the intervals.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or covariate: ``"raise"``, or ``"drop"`` with their number in the record.
    n_jobs
        Number of processes; the result does not depend on it.
    random_state
        Seed of folds, permutations and bootstrap.
    on_selected
        What becomes of features that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on; the record states it.
    key_added
        Key of ``uns`` and column of ``obs`` that are written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``, with ``predictions`` (a row a
    patient). ``obs[key_added]`` is the risk, predicted while the patient was held out (mean over partitions): the
    logarithm of the hazard ratio to the average training patient; ``obs[key_added + "_fold"]`` the outer fold of the
    first partition (-1 for rows left out). The dictionary holds ``scores`` and ``curves`` of
    :func:`spatialfm.metrics.survival`, where patients are compared within their fold; ``optimistic_harrell``, the
    concordance of a model of all patients on these same ones; with `n_permutations`, ``p_value``; ``folds``, a row a
    partition and fold with its size, events, chosen ``alpha`` and ``l1_ratio`` and concordance; ``coefficients`` of the
    model of all patients, one row per feature, with ``coef`` (for one standard deviation), ``hazard_ratio`` and
    ``n_folds``, in how many of the outer folds' models, over all partitions, it is not 0; ``model``, that of all
    patients, from which :func:`spatialfm.tl.predict_survival` predicts another cohort; ``params``.

    Raises
    ------
    SurvivalError
        If outcomes or features cannot be used, or there are too few patients or events for the folds.
    TableError
        If there is no such representation, or it holds NaN.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 4))
    >>> obs = pd.DataFrame({"time": rng.exponential(np.exp(-X[:, 1])), "event": 1}, index=[f"P{i}" for i in range(60)])
    >>> patients = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=["B", "T", "NK", "tumor"]))
    >>> sfm.tl.coxnet(patients, n_folds=3, n_inner_folds=3, n_bootstrap=100)
    >>> result = patients.uns["coxnet"]
    >>> result["coefficients"]["coef"].abs().idxmax(), bool(result["scores"].loc["harrell", "ci_low"] > 0.5)
    ('T', True)
    """
    check_anndata(patients, "coxnet", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    ratios = np.atleast_1d(np.asarray(l1_ratio, dtype=np.float64))
    if not ((ratios > 0) & (ratios <= 1)).all() or n_alphas < 2:
        raise SurvivalError(
            f"l1_ratio={l1_ratio} and n_alphas={n_alphas}: the first must be above 0 and up to 1, the second 2 or more."
            " Ridge alone is sfm.tl.cox(..., penalizer=0.1)."
        )
    cohort = read_survival_cases(
        patients, "coxnet", use_rep=use_rep, layer=layer, covariates=covariates, **keys.arguments(),
        patient_key=patient_key, on_missing=on_missing,
        on_selected=on_selected, block_key=block_key, n_permutations=n_permutations,
    )  # fmt: skip
    check_plan(cohort, n_folds, n_inner_folds, n_repeats, n_components, n_bootstrap)
    model = CoxnetModel(n_components, ratios, n_alphas)
    options = {"n_folds": n_folds, "n_inner_folds": n_inner_folds, "n_repeats": n_repeats}
    options |= {"n_jobs": n_jobs, "random_state": random_state}
    result, final = judge("coxnet", model, cohort, patients, n_permutations, n_bootstrap, options)

    coef = final.explain(None)
    table = pd.DataFrame({"coef": coef, "hazard_ratio": np.exp(coef)}, index=pd.Index(cohort.features, name="feature"))
    if n_components is None:
        table["n_folds"] = (np.array(result.pop("explained")) != 0).sum(axis=0)
    result.pop("explained", None)
    result["coefficients"] = table
    result["params"] = {
        **_params(patients, use_rep, layer, covariates, n_components, keys, cohort),
        **{name: value for name, value in options.items() if name != "n_jobs"},
        "l1_ratio": ratios,
        "n_alphas": n_alphas,
        "n_permutations": n_permutations,
        "block_key": block_key or "",
        "n_bootstrap": n_bootstrap,
    }
    return _write(patients, key_added, result, copy, cohort, "coxnet")


@public
def survival_forest(
    patients: AnnData,
    *,
    use_rep: str | None = "X",
    layer: str | None = None,
    covariates: str | Sequence[str] | None = None,
    n_components: int | None = None,
    n_trees: int = 200,
    min_samples_leaf: int | Sequence[int] = (3, 6, 12),
    n_importance: int = 5,
    n_folds: int = 5,
    n_inner_folds: int = 3,
    n_repeats: int = 3,
    n_permutations: int = 0,
    block_key: str | None = None,
    n_bootstrap: int = 1000,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    n_jobs: int = 1,
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "survival_forest",
    copy: bool = False,
) -> SurvivalModelRecord | None:
    """Random survival forest on many features, judged on patients that it has not seen.

    Trees split by the log-rank statistic (Ishwaran et al., Annals of Applied Statistics 2008; scikit-survival), and so
    find effects that are not linear, and features that matter only together. Nested cross-validation as in
    :func:`spatialfm.tl.coxnet`: the size of the leaves is chosen by Harrell's concordance in inner folds.

    Parameters
    ----------
    patients
        One row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    use_rep
        ``"X"`` (a composition), a key of ``obsm`` (an embedding of patients), or None for `covariates` alone.
    layer
        Layer that is read in place of ``X``.
    covariates
        Columns of ``obs``, or names in ``var``, that are features as well; categories become one for each level but
        the first.
    n_components
        Number of principal components that stand in for the features (default: the features themselves).
    n_trees
        Number of trees.
    min_samples_leaf
        Least patients in a leaf; of several, the best is chosen in the inner folds.
    n_importance
        Number of times that each feature is shuffled between held-out patients; 0 for no importance.
    n_folds
        Number of outer folds; events are dealt out evenly, in the order of the patients' names.
    n_inner_folds
        Number of inner folds, likewise.
    n_repeats
        Partitions into outer folds. One alone moves the score of the same patients by as much as 0.1: scores are means
        over them, risks too, and their spread is in the intervals.
    n_permutations
        Number of times that the whole procedure is repeated with outcomes shuffled between patients, for a p-value; 0
        for none.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both survival and tissue then makes no small p-value. Scores stay as they are.
    n_bootstrap
        Number of resamplings of patients for the intervals.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0)
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows without outcome or covariate: ``"raise"``, or ``"drop"`` with their number in the record.
    n_jobs
        Number of processes; the result does not depend on it.
    random_state
        Seed of folds, trees, permutations and bootstrap.
    on_selected
        What becomes of features that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on; the record states it.
    key_added
        Key of ``uns`` and column of ``obs`` that are written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``, as :func:`spatialfm.tl.coxnet`
    writes it. The risk in ``obs[key_added]`` is the number of events expected of patients like this one, relative to
    the average training patient (1); ``folds`` has the chosen ``min_samples_leaf``; and instead of coefficients there
    is ``importance``, one row per feature, with the mean and standard deviation (``importance``, ``sd``), over
    shuffles, of what the concordance of held-out patients loses when the feature is shuffled between them. Features
    with the same share their importance.

    Raises
    ------
    SurvivalError
        If outcomes or features cannot be used, or there are too few patients or events for the folds.
    TableError
        If there is no such representation, or it holds NaN.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> hazard = np.where(np.abs(X[:, 1]) > 0.7, 4, 0.5)  # both few and many T cells are bad
    >>> obs = pd.DataFrame({"time": rng.exponential(1 / hazard), "event": 1}, index=[f"P{i}" for i in range(60)])
    >>> patients = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=["B", "T", "tumor"]))
    >>> options = {"n_folds": 3, "n_inner_folds": 3, "n_trees": 30, "min_samples_leaf": 5, "n_bootstrap": 100}
    >>> sfm.tl.survival_forest(patients, **options)
    >>> patients.uns["survival_forest"]["importance"]["importance"].idxmax()
    'T'
    """
    check_anndata(patients, "survival_forest", None if copy else key_added)
    keys = outcome_keys(patients, time_key, event_key, event_value)
    leaves = [min_samples_leaf] if np.isscalar(min_samples_leaf) else list(min_samples_leaf)
    if not leaves or min(leaves) < 1 or n_trees < 1 or n_importance < 0:
        raise SurvivalError(
            f"min_samples_leaf={min_samples_leaf}, n_trees={n_trees}, n_importance={n_importance}: the first two must "
            "be 1 or more, the last 0 or more."
        )
    cohort = read_survival_cases(
        patients, "survival_forest", use_rep=use_rep, layer=layer, covariates=covariates, **keys.arguments(),
        patient_key=patient_key, on_missing=on_missing,
        on_selected=on_selected, block_key=block_key, n_permutations=n_permutations,
    )  # fmt: skip
    check_plan(cohort, n_folds, n_inner_folds, n_repeats, n_components, n_bootstrap)
    model = ForestModel(n_components, [int(leaf) for leaf in leaves], n_trees, n_importance, random_state)
    options = {"n_folds": n_folds, "n_inner_folds": n_inner_folds, "n_repeats": n_repeats}
    options |= {"n_jobs": n_jobs, "random_state": random_state}
    result, _ = judge("survival_forest", model, cohort, patients, n_permutations, n_bootstrap, options)

    shuffled = np.sum(result.pop("explained"), axis=0)  # lost pairs (n_features, n_importance); the last row: all pairs
    if n_importance:
        lost = shuffled[:-1] / shuffled[-1]
        result["importance"] = pd.DataFrame(
            {"importance": lost.mean(axis=1), "sd": lost.std(axis=1)}, index=pd.Index(cohort.features, name="feature")
        )
    result["params"] = {
        **_params(patients, use_rep, layer, covariates, n_components, keys, cohort),
        **{name: value for name, value in options.items() if name != "n_jobs"},
        "n_trees": n_trees,
        "min_samples_leaf": np.array(leaves),
        "n_importance": n_importance,
        "n_permutations": n_permutations,
        "block_key": block_key or "",
        "n_bootstrap": n_bootstrap,
    }
    return _write(patients, key_added, result, copy, cohort, "survival_forest")


def _params(
    patients: AnnData,
    use_rep: str | None,
    layer: str | None,
    covariates: str | Sequence[str] | None,
    n_components: int | None,
    keys: OutcomeKeys,
    cohort: SurvivalCases,
) -> dict[str, Any]:
    names = [covariates] if isinstance(covariates, str) else list(covariates or ())
    return {
        "use_rep": use_rep or "",
        "layer": layer or "",
        "covariates": np.array(names, dtype=object),
        "n_components": n_components or 0,
        **keys.params(),
        "n": len(cohort.time),
        "events": int(cohort.event.sum()),
        "n_features": cohort.x.shape[1],
        "n_dropped": cohort.n_dropped,
        **cohort.selected.params(),
        "fitted_on_all": fitted_on_all(patients, use_rep, names),
        DATA: fingerprint(patients, [*names, keys.time, keys.event]),
    }


def _write(
    patients: AnnData, key: str, result: dict[str, Any], copy: bool, cohort: SurvivalCases, function: str
) -> SurvivalModelRecord | None:
    params = result["params"]
    source = fractions_of(patients) if params["use_rep"] == "X" else ""
    origin = Origin(function, "held out", (params["time_key"], params["event_key"]), of=source, column=key)
    features = cohort.x if cohort.x.shape[1] <= MOST_EXEMPT else cohort.x[:, :0]
    exempt = np.full((patients.n_obs, features.shape[1] + 2), np.nan)
    exempt[cohort.rows] = np.column_stack([features, cohort.time, cohort.event])
    names = patient_names(patients)
    remember(
        None if copy else patients,
        origin,
        result["predictions"]["risk"],
        patients=names,
        exempt=exempt,
        place=f"obs:{key}",
    )
    if copy:
        return result
    predictions = result.pop("predictions")
    remove_earlier(patients, key)
    patients.obs[key] = predictions["risk"].to_numpy()
    patients.obs[f"{key}_fold"] = predictions["fold"].to_numpy()
    write_uns(patients, key, result)
    return None
