"""What an outcome made, tested as if it were new, and the permutation of the whole procedure next to it.

Rows of ``on_selected="mark"`` are what the default refuses: they say why. Groups that are compared by what they were
made of have no p-value, so that nothing is measured of them (NaN).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

import spatialfm as sfm

from .case import Case

REFUSED = 'refused by default; measured with on_selected="mark"'
KEYS = {"time_key": "time", "event_key": "event"}


def patients(seed: int, n: int = 60, effect: float = 0.0) -> AnnData:
    """Compositions of four types; with an effect, the hazard rises with the log-share of the first."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet(np.full(4, 2.0), n)
    logs = np.log(fractions[:, 0])
    time = rng.exponential(np.exp(-effect * (logs - logs.mean()) / logs.std()))
    censored = rng.exponential(2.0, n)
    obs = pd.DataFrame({"time": np.minimum(time, censored), "event": (time <= censored).astype(int)})
    obs.index = [f"P{seed}_{i}" for i in range(n)]
    return AnnData(fractions, obs=obs, var=pd.DataFrame(index=["A", "B", "C", "D"]))


def merged(seed: int, what: str, *, cross_fit: int | None = None, effect: float = 0.0) -> float:
    samples = patients(seed, effect=effect)
    n = 99 if what == "permutations" else 0
    sfm.tl.stratify(samples, 4, merge_into=2, cross_fit=cross_fit, n_permutations=n, random_state=seed, **KEYS)
    if what == "permutations":
        return samples.uns["risk_group"]["test"]["p_value"]
    if samples.obs["risk_group"].nunique() < 2:
        return np.nan
    if what == "cox":
        fit = sfm.tl.cox(samples, "risk_group", on_selected="mark", test_proportional_hazards=False, copy=True)
        return float(fit["table"]["p_value"].iloc[0])
    return sfm.tl.logrank(samples, "risk_group", on_selected="mark", copy=True)["p_value"]


def cut(seed: int, what: str, effect: float = 0.0) -> float:
    samples = patients(seed, effect=effect)
    sfm.tl.cut_point(samples, "A", n_permutations=199, random_state=seed)
    if what == "permutations":
        return samples.uns["A_group"]["p_value"]
    return sfm.tl.logrank(samples, "A_group", on_selected="mark", copy=True)["p_value"]


def risk(seed: int, what: str, effect: float = 0.0) -> float:
    samples = patients(seed, effect=effect)
    # every shuffle repeats the whole procedure: p is 0.05 or less where none of 19 scores as high
    plan = {"n_folds": 4, "n_inner_folds": 3, "n_alphas": 10}
    if what == "permutations":
        plan = {"n_folds": 3, "n_inner_folds": 2, "n_alphas": 6, "n_repeats": 2, "n_permutations": 19}
    sfm.tl.coxnet(samples, **plan, n_bootstrap=100, random_state=seed)
    if what == "permutations":
        return samples.uns["coxnet"]["p_value"]
    if samples.obs["coxnet"].std() < 1e-9:
        return np.nan
    if what == "cox":
        fit = sfm.tl.cox(samples, "coxnet", on_selected="mark", test_proportional_hazards=False, copy=True)
        return float(fit["table"]["p_value"].iloc[0])
    samples.obs["high"] = (samples.obs["coxnet"] > samples.obs["coxnet"].median()).map({True: "high", False: "low"})
    if samples.obs["high"].nunique() < 2:
        return np.nan
    return sfm.tl.logrank(samples, "high", on_selected="mark", copy=True)["p_value"]


def types(seed: int) -> np.ndarray:
    samples = patients(seed)
    samples.layers["counts"] = np.random.default_rng(seed).multinomial(500, samples.X).astype(float)
    samples.X = samples.layers["counts"] / 500
    sfm.tl.stratify(samples, 2, random_state=seed)
    return sfm.tl.compare_composition(samples, "risk_group", n_permutations=99, copy=True)["p_value"].to_numpy()


def samples_of_patients(seed: int) -> float:
    """Two samples of each of 20 patients, in a column that is called otherwise: the call asks which."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame({"PatientID": np.repeat([f"P{i}" for i in range(20)], 2)})
    obs["time"], obs["event"] = np.repeat(rng.exponential(size=20), 2), 1
    obs["arm"] = np.repeat(rng.permutation(np.repeat(["a", "b"], 10)), 2)
    table = AnnData(obs=obs.set_index(np.array([f"r{i}" for i in range(40)])))
    try:
        return sfm.tl.logrank(table, "arm", copy=True)["p_value"]
    except ValueError:  # as every user would then do
        return sfm.tl.logrank(table[::2].copy(), "arm", copy=True)["p_value"]


CASES = [
    Case("tl.logrank", "groups merged by outcome", "p_value", lambda s: merged(s, "logrank"), 200, note=REFUSED),
    Case("tl.cox", "groups merged by outcome", "p_value", lambda s: merged(s, "cox"), 200, note=REFUSED),
    Case(
        "tl.logrank", "groups merged by the outcome of others (cross_fit)", "p_value",
        lambda s: merged(s, "logrank", cross_fit=5), 200, note=REFUSED,
    ),
    Case("tl.stratify", "n_permutations, merged", "p_value", lambda s: merged(s, "permutations"), 200, cheap=True),
    Case(
        "tl.stratify", "n_permutations, cross_fit", "p_value", lambda s: merged(s, "permutations", cross_fit=5), 200
    ),
    Case(
        "tl.stratify", "n_permutations, planted hazard", "power", lambda s: merged(s, "permutations", effect=0.7), 100
    ),
    Case("tl.logrank", "groups of a cut searched for", "p_value", lambda s: cut(s, "logrank"), 400, note=REFUSED),
    Case("tl.cut_point", "60 patients", "p_value", lambda s: cut(s, "permutations"), 400, cheap=True),
    Case("tl.cut_point", "planted hazard", "power", lambda s: cut(s, "permutations", effect=0.7), 200),
    Case("tl.cox", "risk of coxnet in cross-validation", "p_value", lambda s: risk(s, "cox"), 100, note=REFUSED),
    Case(
        "tl.logrank", "median split of risk in cross-validation", "p_value", lambda s: risk(s, "logrank"), 100,
        note=REFUSED,
    ),
    Case("tl.coxnet", "n_permutations, 60 patients", "p_value", lambda s: risk(s, "permutations"), 200),
    Case(
        "tl.compare_composition", "groups made from these fractions", "p_value", types, 20,
        note="circular: no p-value is given",
    ),
    Case("tl.logrank", "patients in a column PatientID", "p_value", samples_of_patients, 400, note="the call asks"),
]  # fmt: skip
