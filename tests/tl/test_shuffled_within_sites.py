"""Sites that differ in tissue and in outcome, and nothing within them: shuffles within sites find nothing.

Without the site such cohorts have small p-values, so that a shuffle over all patients would be seen.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SurvivalError, TableError

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")
N = 40
FOREST = {"n_trees": 10, "min_samples_leaf": 3, "n_importance": 0}
MODELS = {"n_folds": 2, "n_inner_folds": 2, "n_repeats": 1, "n_bootstrap": 100, "n_permutations": 19}


def cohort(seed: int) -> AnnData:
    """Two sites of 20 patients: in the second more respond, live longer, and have more of the first type."""
    rng = np.random.default_rng(seed)
    site = np.repeat([0, 1], N // 2)
    respond = np.concatenate([rng.permutation(N // 2) < n for n in (4, 16)])
    first = np.clip(0.3 + 0.3 * site + 0.1 * rng.standard_normal(N), 0.05, 0.95)
    time = rng.exponential(np.where(site == 1, 6.0, 1.0))
    obs = pd.DataFrame({"site": np.array(["s", "t"])[site], "response": np.where(respond, "R", "N")})
    obs["time"], obs["event"], obs["first"] = time, 1, first
    obs["patient"] = [f"P{seed}_{i:02d}" for i in range(N)]
    obs.index = pd.Index(obs["patient"].tolist())
    return AnnData(np.stack([first, 1 - first], axis=1), obs=obs, var=pd.DataFrame(index=["A", "B"]))


def classified(name: str, patients: AnnData, **options: object) -> float:
    """p-value of the AUROC."""
    record = getattr(sfm.tl, name)(patients, label_key="response", use_rep="X", copy=True, **options)
    return float(record["summary"]["p_value"].iloc[0])


def stratified(patients: AnnData, **options: object) -> float:
    sfm.tl.stratify(patients, 2, time_key="time", event_key="event", **options)
    return patients.uns["risk_group"]["test"]["p_value"]


def modelled(name: str, patients: AnnData, **options: object) -> float:
    return float(getattr(sfm.tl, name)(patients, copy=True, **MODELS, **options)["p_value"])


SMALL = {"n_draws": 6, "n_permutations": 19}
NETWORK = {"n_folds": 2, "n_seeds": 1, "n_heads": 1, "hidden": 4, "max_epochs": 12, "learning_rate": 0.05}
TESTS = {
    "classify_samples": partial(classified, "classify_samples", n_components=None, **SMALL),
    "few_shot_samples": partial(classified, "few_shot_samples", n_clusters=None, **SMALL),
    "mil": partial(classified, "mil", n_permutations=19, **NETWORK),
    "stratify": partial(stratified, n_permutations=99),
    "cut_point": lambda patients, **options: sfm.tl.cut_point(
        patients, "first", n_permutations=199, copy=True, **options
    )["p_value"],
    "coxnet": partial(modelled, "coxnet", n_alphas=6),
    "survival_forest": partial(modelled, "survival_forest", **FOREST),
}


@pytest.mark.parametrize("name", list(TESTS))
def test_what_sites_tell_is_no_finding_within_them(name):
    """Labels that are exchanged within sites tell as much as the real ones, those of all patients far less."""
    assert TESTS[name](cohort(3), block_key=None) <= 0.1 + 1e-9
    assert TESTS[name](cohort(3), block_key="site") >= 0.3


@pytest.mark.parametrize("name", list(TESTS))
def test_a_site_that_is_the_outcome_leaves_nothing_to_shuffle(name):
    patients = cohort(0)
    patients.obs["response"] = np.where(patients.obs["site"] == "s", "R", "N")
    patients.obs["time"] = np.where(patients.obs["site"] == "s", 1.0, 2.0)
    with pytest.raises((TableError, SurvivalError), match=r"obs\['site'\] \(block_key=\) determines the outcome"):
        TESTS[name](patients, block_key="site")


def test_a_site_without_shuffles_is_refused():
    with pytest.raises(TableError, match="n_permutations=0 shuffles none"):
        sfm.tl.classify_samples(cohort(0), label_key="response", use_rep="X", n_components=None, block_key="site")
    with pytest.raises(SurvivalError, match="n_permutations=0 shuffles none"):
        sfm.tl.coxnet(cohort(0), block_key="site", **MODELS | {"n_permutations": 0})
    with pytest.raises(SurvivalError, match="block_key='site' needs time_key= and event_key="):
        sfm.tl.stratify(cohort(0), 2, block_key="site")


def test_patients_without_a_site_are_refused_or_left_out():
    patients = cohort(0)
    patients.obs.loc[patients.obs_names[3], "site"] = None
    options = {"n_components": None, "n_draws": 4, "n_permutations": 9, "block_key": "site"}
    with pytest.raises(TableError, match="site"):
        sfm.tl.classify_samples(patients, label_key="response", use_rep="X", copy=True, **options)
    record = sfm.tl.classify_samples(
        patients, label_key="response", use_rep="X", on_missing="drop", copy=True, **options
    )
    assert record["params"]["n_dropped"] == 1
    assert record["params"]["block_key"] == "site"
    patients = cohort(2)
    patients.obs.loc[patients.obs_names[3], "site"] = None
    with pytest.raises(SurvivalError, match="rows have no value in 'site'"):
        sfm.tl.cut_point(patients, "first", block_key="site", copy=True)
