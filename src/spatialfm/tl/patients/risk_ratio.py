"""How much more often something occurs in one group of patients than in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._dense import column_of_x
from ..._errors import TableError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._missing_codes import tell_missing_code
from ..._origin import FEW
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import Adjustment, check_adjustment
from ...cohort.checks import as_names, check_anndata, listed, named, obs_column, order_of_names
from ...cohort.circular import made_of_fractions, say
from ...cohort.known_origins import origins
from ...cohort.one_value import leave_out
from ...cohort.outcome import OnMissing, check_patients
from ...cohort.selected import OnSelected, Selected, check_selected, columns_of
from ...stats.linear import shuffled_within
from ...stats.patient_groups import SHUFFLES, benjamini_hochberg
from ...stats.stratified_ratio import exact_p, mantel_haenszel, poisson_ratio

if TYPE_CHECKING:
    from anndata import AnnData

RISKS = ("low", "medium", "high")
COUNTS = ["n_group", "n_others", "with_group", "with_others"]
COUNTS += ["n_with", "in_group_with", "n_without", "in_group_without"]


@public
def risk_ratio(
    patients: AnnData,
    group_key: str,
    features: str | Sequence[str],
    *,
    group: str | None = None,
    given: Literal["group", "structure"] = "group",
    threshold: float = 0.0,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
    alpha: float = 0.05,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "risk_ratio",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Ratio of how often a structure occurs in a group of patients and in the others.

    VirTues (Methods, *Tissue structure-based risk stratification*): the risk ratio "for the occurrence of each
    structure in the high-risk group", P(structure | group) over P(structure | others): 30 of 265 patients against 6 of
    276 are 5.2. With ``given="structure"`` the other question is answered: how often patients that have the structure
    are in the group, over those that have not.

    The paper gives ratios with 95 % intervals, of which it does not name the method, and no test. They are drawn by
    :func:`spatialfm.pl.forest` with ``key="risk_ratio"``.

    Parameters
    ----------
    patients
        One row per patient.
    group_key
        Column of ``obs`` with the groups, as from :func:`spatialfm.tl.stratify`.
    features
        Structures: columns of ``obs`` (true or false, or numbers) or names in ``var``.
    group
        Group that is looked at (default: ``"high"`` if groups are named low, medium and high, otherwise the last of
        numbers, of true and false, or of categories in an order; groups in the alphabet's order have no default).
    given
        What the compared shares are shares of: of patients in the group and of the others, or of patients with the
        structure and of those without.
    threshold
        A number above it counts as presence.
    covariates
        Columns of ``obs`` that are adjusted for (age, stage): a Poisson regression with robust errors gives ratio and
        interval (Zou, American Journal of Epidemiology 2004), residuals shuffled in a linear model the p-value
        (Freedman and Lane 1983).
    block_key
        Column of ``obs`` with the site, batch or stratum within which patients are compared: ratio of Mantel and
        Haenszel with the interval of Greenland and Robins (Biometrics 1985), exact conditional test. With `covariates`
        it has its own effect, and residuals are shuffled within it.
    alpha
        1 - confidence level.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of patients without group, structure, covariate or block: ``"raise"``, or ``"drop"``, which leaves
        them out of the rows of the table that they lack something for.
    on_selected
        What becomes of structures that an outcome of these same patients made, as of signatures, and of an outcome in
        groups that it made: ``"raise"``, or ``"mark"``: go on; ``params`` record it. Other structures may be compared
        in groups that an outcome made.
    key_added
        Key of ``uns``.
    copy
        Return ``table`` alone; ``params`` are only written.

    Returns
    -------
    None, or with `copy` the table, otherwise written to ``uns[key_added]["table"]``: a row per structure with
    ``n_group`` and ``n_others`` patients, ``with_group`` and ``with_others`` of them that have the structure (and
    so ``n_with``, ``in_group_with``, ``n_without``, ``in_group_without``), ``risk_ratio``, ``ci_low``, ``ci_high``,
    ``p_value`` (Fisher's exact test, the same in either direction), ``q_value`` (Benjamini-Hochberg). Intervals are
    on the scale of logarithms (Katz et al. 1978). Where a count is 0 the ratio is 0 or infinite, as it was
    observed, and the interval is one-sided: that of the score test (Miettinen and Nurminen 1985), open to the side
    of the ratio; with `covariates` or `block_key` it is not known then (NaN). Counts are those of all patients,
    whatever is adjusted for.

    Raises
    ------
    TableError
        If a column is missing or incomplete, a structure is unknown, all or no patients have it, there is one group, or
        a covariate or block determines the group or is the same in all.
    SurvivalError
        If a patient has several rows.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = pd.DataFrame({"risk": ["high"] * 6 + ["low"] * 6, "follicle": [0] * 5 + [1] * 5 + [0] * 2})
    >>> patients = ad.AnnData(obs=obs.set_index(obs.index.astype(str)))
    >>> table = sfm.tl.risk_ratio(patients, "risk", "follicle", group="high", copy=True)
    >>> float(table.loc["follicle", "risk_ratio"].round(2))  # 1 of 6 in the group, 4 of the 6 others
    0.25
    """
    from scipy import stats

    check_anndata(patients, "risk_ratio", None if copy else key_added)
    check_patients(patients, patient_key)
    groups, group = _groups(patients, group_key, group, on_missing == "drop")
    names = [features] if isinstance(features, str) else list(features)
    if not names:
        raise TableError(f"features= names no structure. Pass columns of obs, or of var: {listed(patients.var_names)}.")
    selected = _check_selected(patients, group_key, names, on_selected)
    adjusting = {key: _column(patients, key, "covariates", on_missing == "drop") for key in as_names(covariates)}
    block = None if block_key is None else _column(patients, block_key, "block_key", on_missing == "drop")
    complete = (
        pd.DataFrame({**adjusting, **({} if block is None else {block_key: block}), "": groups}).notna().all(axis=1)
    )
    rows = {}
    for name in names:
        present, known = _present(patients, name, threshold, complete.to_numpy(), on_missing == "drop")
        inside = (groups == group).to_numpy()[known]
        table = [[int((x & y).sum()) for y in (present, ~present)] for x in (inside, ~inside)]
        rows[name] = _row(np.array(table), given, alpha)
        rows[name]["p_value"] = stats.fisher_exact(table).pvalue
        if adjusting or block is not None:
            order = order_of_names(patients.obs_names[known])  # shuffles do not depend on the order of the table
            adjustment = Adjustment(
                pd.DataFrame(adjusting, index=patients.obs_names)[known].iloc[order],
                block if block is None else block[known].iloc[order],
            )
            present, inside = present[order], inside[order]
            outcome, side = (present, inside) if given == "group" else (inside, present)
            check_adjustment(adjustment, side.astype(int), group_key if given == "group" else name, block_key, least=1)
            rows[name] |= adjusted_row(outcome, side, adjustment, alpha)
    table = pd.DataFrame(rows).T
    of_fractions = table.index.isin(patients.var_names)
    circle = made_of_fractions(patients, group_key) if of_fractions.any() else ""
    if circle:
        table.loc[of_fractions, "p_value"] = np.nan
        say(circle, "these fractions")
    table["q_value"] = benjamini_hochberg(table["p_value"])
    table = table.astype(dict.fromkeys(COUNTS, int))
    if copy:
        return table
    params = {"group_key": group_key, "group": group, "given": given, "threshold": threshold, "alpha": alpha}
    params |= {"circular": circle, "covariates": np.array(list(adjusting), dtype=object), "block_key": block_key or ""}
    used = [group_key, *(name for name in names if name in patients.obs), *adjusting, block_key]
    params |= {**selected.params(), DATA: fingerprint(patients, used, x=not set(names) <= set(patients.obs))}
    write_uns(patients, key_added, {"table": table, "params": params})
    return None


def _check_selected(patients: AnnData, group_key: str, features: list[str], on_selected: OnSelected) -> Selected:
    """Refuse structures that an outcome made, and an outcome that made the groups."""
    selected = check_selected(patients, "risk_ratio", columns_of(patients, features), on_selected, error=TableError)
    groups = columns_of(patients, [group_key])
    keys = {key for made in origins(patients, groups).values() for one in made for key in one.origin.outcome}
    outcomes = [patients.obs[key] for key in keys if key in patients.obs and patients.obs[key].nunique() <= FEW]
    parts = [patients.obs[name] for name in features if name in patients.obs]
    repeats = any(part.groupby(outcome, observed=True).nunique().max() == 1 for part in parts for outcome in outcomes)
    of_groups = check_selected(patients, "risk_ratio", groups, on_selected if repeats else "mark", error=TableError)
    if not repeats:
        return selected
    return of_groups if of_groups.by_outcome != "no" else selected


def adjusted_row(outcome: np.ndarray, side: np.ndarray, adjustment: Adjustment, alpha: float) -> dict[str, float]:
    """Ratio of the outcome on one side over the other, its interval and p-value, at equal covariates and in blocks."""
    rows = adjustment.rows(side.astype(int))
    blocks = np.zeros(len(side), int) if rows.blocks is None else rows.blocks
    if not rows.covariates.shape[1]:
        tables = np.array(
            [
                [
                    [(outcome & (side == x) & (blocks == i)).sum(), (~outcome & (side == x) & (blocks == i)).sum()]
                    for x in (1, 0)
                ]
                for i in np.unique(blocks)
            ]
        )
        ratio = (*mantel_haenszel(tables, alpha), exact_p(tables))
    else:
        design, tested = rows.design()
        rng = np.random.default_rng(0)
        p = shuffled_within(outcome.astype(float)[:, None], design, tested, blocks, SHUFFLES, rng)[0]
        ratio = (*poisson_ratio(outcome, design, design.shape[1] - 1, alpha), float(p))
    return dict(zip(("risk_ratio", "ci_low", "ci_high", "p_value"), ratio, strict=True))


def _row(table: np.ndarray, given: str, alpha: float) -> dict[str, float]:
    """Counts, ratio and interval of a table of (in the group, not) by (with the structure, without)."""
    (a, b), (c, d) = table
    counts = dict(zip(COUNTS, (a + b, c + d, a, c, a + c, a, b + d, b), strict=True))
    compared = (a, a + b, c, c + d) if given == "group" else (a, a + c, b, b + d)
    return counts | dict(zip(("risk_ratio", "ci_low", "ci_high"), ratio_interval(*compared, alpha), strict=True))


def ratio_interval(a: int, n1: int, c: int, n0: int, alpha: float) -> tuple[float, float, float]:
    """Ratio of ``a / n1`` over ``c / n0`` and its interval: Katz's, or where a count is 0 that of the score test.

    Examples
    --------
    >>> [round(float(value), 2) for value in ratio_interval(30, 265, 6, 276, 0.05)]
    [5.21, 2.2, 12.31]
    """
    from scipy import stats

    if a and c:
        ratio = (a / n1) / (c / n0)
        half = stats.norm.isf(alpha / 2) * np.sqrt(1 / a - 1 / n1 + 1 / c - 1 / n0)
        return ratio, ratio * np.exp(-half), ratio * np.exp(half)
    if c:
        return 0.0, 0.0, _upper_of_none(n1, c, n0, alpha)
    return (np.inf, 1 / _upper_of_none(n0, a, n1, alpha), np.inf) if a else (np.nan, 0.0, np.inf)


def _upper_of_none(n1: int, c: int, n0: int, alpha: float) -> float:
    """Largest ratio that the score test does not refuse after 0 of `n1` against `c` of `n0`."""
    from scipy import stats
    from scipy.optimize import brentq
    from statsmodels.stats.proportion import test_proportions_2indep

    def excess(log_ratio: float) -> float:
        test = test_proportions_2indep(
            0, n1, c, n0, value=float(np.exp(log_ratio)), compare="ratio", method="score", correction=False
        )
        return test.statistic + stats.norm.isf(alpha / 2)

    return float(np.exp(brentq(excess, -20, 20)))


def _column(patients: AnnData, key: str, argument: str, drop: bool) -> pd.Series:
    column = obs_column(patients, key, argument, rows="rows", allow_missing=True)
    where = f"obs[{key!r}] ({argument}=)"
    leave_out(column.isna().to_numpy(), column.index.to_numpy(), where, "drop" if drop else "raise")
    return column


def _groups(patients: AnnData, group_key: str, group: str | None, drop: bool) -> tuple[pd.Series, str]:
    """Group of each row as text, missing where it is, and the one that is looked at."""
    groups = named(_column(patients, group_key, "group_key", drop), "group_key")
    levels = list(groups.cat.categories)
    group = _default(patients.obs[group_key], group_key, levels) if group is None and len(levels) > 1 else group
    group = levels[-1] if group is None and levels else str(group)
    if group not in levels:
        raise TableError(f"No group {group!r} in obs[{group_key!r}] (group=); found {listed(levels)}.")
    if len(levels) < 2:
        raise TableError(
            f"obs[{group_key!r}] (group_key=) holds one group, {listed(levels)}: there is nothing to "
            "compare. Pass a column with two groups or more."
        )
    return groups.astype(object), group


def _default(column: pd.Series, group_key: str, levels: list[str]) -> str:
    """The group that a ratio above 1 refers to without further choice; the order of the alphabet is arbitrary."""
    if set(levels) <= set(RISKS):
        return max(levels, key=RISKS.index)
    ordered = bool(getattr(column.dtype, "ordered", False)) or levels != sorted(levels)
    if not ordered and not pd.api.types.is_numeric_dtype(getattr(column.dtype, "categories", column).dtype):
        raise TableError(
            f"Which group of obs[{group_key!r}] is looked at? {listed(levels)} are in no order but the alphabet's. "
            f"Pass group={levels[0]!r}, or another of them."
        )
    return levels[-1]


def _present(
    patients: AnnData, name: str, threshold: float, known: np.ndarray, drop: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Who has the structure, of the rows that are known (a mask), and those."""
    if name in patients.obs:
        values = _column(patients, name, "features", drop)
    elif name in patients.var_names:
        values = pd.Series(np.asarray(column_of_x(patients, name), float), index=patients.obs_names)
        if values.isna().any() and not drop:
            raise TableError(
                f"{int(values.isna().sum())} of {len(values)} patients have no value of {name!r} in X (features=): "
                f'{listed(values.index[values.isna()])}. Pass on_missing="drop" to leave them out.'
            )
    else:
        raise TableError(
            f"No column {name!r} in obs and no such name in var (features=); obs has "
            f"{listed(patients.obs.columns, 12)}, var has {listed(patients.var_names, 12)}."
        )
    if not (pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values)):
        raise TableError(f"obs[{name!r}] is neither true or false nor a number. Make a column of who has it.")
    if name in patients.obs:
        tell_missing_code(values, f"obs[{name!r}] (features=)")
    known = known & values.notna().to_numpy()
    present = values[known].to_numpy(float) > threshold
    if present.all() or not present.any():
        raise TableError(
            f"{'All' if present.all() else 'No'} patients have {name!r} (above threshold={threshold:g}): there is "
            "nothing to compare. Pass another threshold=."
        )
    return present, known
