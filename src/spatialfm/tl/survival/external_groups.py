"""Groups that a cut or clusters of one cohort make in another, and how they fare there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..._errors import SurvivalError, warn
from ..._fingerprint import DATA, changes
from ...cohort.checks import listed
from ...stats.cox import fit_cox
from .logrank import logrank

if TYPE_CHECKING:
    from anndata import AnnData


def risk_cut(source: AnnData, key: str, source_risk: np.ndarray, cut: str | float) -> float:
    """Risk above which a patient is ``high``: of the source, never of the target."""
    if not isinstance(cut, str):
        if not np.isfinite(cut):
            raise SurvivalError(f"cut={cut!r} is not a number.")
        return float(cut)
    if cut == "median" and "median" not in source.uns:
        return float(np.median(source_risk))
    record = source.uns.get(cut)
    if not isinstance(record, Mapping) or "cut" not in record or "candidates" not in record:
        raise SurvivalError(
            f'cut={cut!r} is neither "median" nor a result of sfm.tl.cut_point in uns of the source; uns has '
            f'{listed(source.uns)}. Pass "median", a number, or the key of a cut of the source\'s risk.'
        )
    score_key = str(record["params"]["score_key"])
    if score_key != key:
        raise SurvivalError(
            f"uns[{cut!r}] of the source is a cut of {score_key!r}, and the risk is {key!r}: its threshold means "
            f'nothing for the risk. Cut the risk itself: sfm.tl.cut_point(source, "{key}").'
        )
    made_of = str(record["params"].get(DATA, ""))
    if made_of and key in source.obs and f"obs[{key!r}]" in changes(source, made_of):
        raise SurvivalError(
            f"uns[{cut!r}] of the source cuts what obs[{key!r}] held before it was computed again: its threshold is of "
            f'another risk. Cut it again: sfm.tl.cut_point(source, "{key}").'
        )
    return float(record["cut"])


def group_scores(
    groups: pd.Series, time: np.ndarray, event: np.ndarray, alpha: float, random_state: int
) -> dict[str, Any]:
    """Table ``groups`` with hazard ratios to the first, and the log-rank ``p_value`` with its ``test``."""
    from anndata import AnnData

    names = [name for name in groups.cat.categories if (groups == name).any()]
    codes = pd.Categorical(groups, categories=names).codes
    table = pd.DataFrame(
        {"n": np.bincount(codes, minlength=len(names)), "events": np.bincount(codes, event, len(names)).astype(int)},
        index=pd.Index(names, name="group", dtype=object),
    )
    table[["hazard_ratio", "ci_low", "ci_high"]] = np.nan
    if len(names) < 2:
        warn(f"All patients of the target are in group {names[0]!r}: there is nothing to compare.")
        return {"group_table": table, "p_value": np.nan, "test": "none"}
    design = (codes[:, None] == np.arange(1, len(names))).astype(np.float64)
    try:
        fit = fit_cox(design, time, event)
        reach = norm.isf(alpha / 2) * np.sqrt(np.diag(fit.variance))
        ratios = np.exp(np.stack([fit.coef, fit.coef - reach, fit.coef + reach], axis=1))
        table.iloc[1:, 2:] = ratios
    except SurvivalError:
        warn("A group has no event, or all of them: its hazard ratio is not finite.")
    obs = pd.DataFrame({"time": time, "event": event, "group": pd.Categorical(groups, categories=names)})
    rows = AnnData(obs=obs.set_axis([f"row {i}" for i in range(len(obs))]))
    test = logrank(rows, "group", patient_key=None, random_state=random_state, on_selected="mark", copy=True)
    return {"group_table": table, "p_value": float(test["p_value"]), "test": str(test["test"])}
