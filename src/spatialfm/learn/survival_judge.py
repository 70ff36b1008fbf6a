"""A survival model judged by several partitions into folds, and the model of all patients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cohort.survival_record import MODEL, cohort_digest, features_record
from ..metrics._survival import survival as survival_scores
from ..stats.permutation import permutation_p
from ..stats.survival_scores import decile_times
from .survival_learners import CoxnetFit
from .survival_nested import (
    FittedSurvival,
    Model,
    SurvivalCases,
    event_folds,
    log_scores,
    nested,
    partition_seeds,
    permutation_scores,
    within_folds,
)

if TYPE_CHECKING:
    from anndata import AnnData


def judge(
    what: str,
    model: Model,
    cohort: SurvivalCases,
    patients: AnnData,
    n_permutations: int,
    n_bootstrap: int,
    options: dict[str, int],
) -> tuple[dict[str, Any], FittedSurvival]:
    """Nested score, optimistic score and p-value; and the model of all patients."""
    times = decile_times(cohort.time, cohort.event)
    plan = {name: value for name, value in options.items() if name not in ("n_repeats", "random_state")}
    seeds = partition_seeds(options["random_state"], options["n_repeats"])
    outs = [nested(model, cohort, times, explain=True, **plan, random_state=seed) for seed in seeds]
    scores = survival_scores(
        cohort.time, cohort.event, np.stack([out.risk for out in outs], axis=1), times=times,
        survival=np.stack([out.survival for out in outs], axis=2), folds=np.stack([out.fold for out in outs], axis=1),
        n_bootstrap=n_bootstrap, random_state=options["random_state"],
    )  # fmt: skip
    rng = np.random.default_rng(options["random_state"])
    best = model.choose(cohort, event_folds(cohort.event, options["n_inner_folds"], rng))
    final = model.fit(cohort, best)
    result: dict[str, Any] = dict(scores)
    result[MODEL] = final_record(cohort, final, best, patients.obs_names)
    result["optimistic_harrell"] = within_folds(cohort, final.risk(cohort.x), np.zeros(len(cohort.time), int))
    if n_permutations:
        null = permutation_scores(model, cohort, n_permutations=n_permutations, **options)
        observed = scores["scores"].loc["harrell", "value"]
        result["p_value"] = float(permutation_p(null, observed))
    chosen = [{"partition": i} | fold for i, out in enumerate(outs) for fold in out.chosen]
    result["folds"] = pd.DataFrame(chosen, index=pd.Index(np.tile(np.arange(plan["n_folds"]), len(outs)), name="fold"))
    result["explained"] = [part for out in outs for part in out.explained]
    risk, fold = np.full(patients.n_obs, np.nan), np.full(patients.n_obs, -1)  # of patients that are left out
    risk[cohort.rows], fold[cohort.rows] = np.mean([out.risk for out in outs], axis=0), outs[0].fold
    result["predictions"] = pd.DataFrame({"risk": risk, "fold": fold}, index=patients.obs_names)
    log_scores(what, scores["scores"], result["optimistic_harrell"], cohort)
    return result, final


def final_record(
    cohort: SurvivalCases, final: FittedSurvival, chosen: dict[str, float], names: pd.Index
) -> dict[str, Any]:
    """The model of all patients, for other cohorts; a forest is grown again from these arguments."""
    record = features_record(cohort.features, cohort.n_covariates, cohort.x, cohort.columns)
    record |= {"risk": final.risk(cohort.x), "time": cohort.time, "chosen": json.dumps(chosen)}
    record["digest"] = cohort_digest(list(names[cohort.rows]), cohort.x, cohort.time, cohort.event)
    if isinstance(final, CoxnetFit):
        baseline = pd.DataFrame({"stratum": 0, "time": final.steps, "hazard": final.hazard})
        return record | {"kind": "coxnet", "coef": final.explain(None), "baseline": baseline}
    return record | {"kind": "survival_forest", "names": np.array(names[cohort.rows], dtype=object)}
