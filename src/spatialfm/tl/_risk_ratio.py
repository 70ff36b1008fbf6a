"""How much more often something occurs in one group of patients than in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError
from .._keys import PATIENT_KEY
from .._public import public
from .._storable import write_uns
from ._check import check_anndata, listed, named, obs_column
from ._outcome import OnMissing, check_patients

if TYPE_CHECKING:
    from anndata import AnnData


@public
def risk_ratio(
    samples: AnnData,
    group_key: str,
    names: str | Sequence[str],
    *,
    group: str | None = None,
    threshold: float = 0.0,
    alpha: float = 0.05,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    key_added: str = "risk_ratio",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Risk ratio of being in a group for patients that have a structure, over those that have not.

    VirTues (Methods, *Tissue structure-based risk stratification*): known structures of the tumor microenvironment in
    the high-risk group.

    Parameters
    ----------
    samples
        One row a patient.
    group_key
        Column of ``obs`` with the groups, as from :func:`spatialfm.tl.stratify`.
    names
        Structures: columns of ``obs`` (true or false, or numbers) or names in ``var``.
    group
        Group that is looked at (default: the last category, ``"high"`` after :func:`spatialfm.tl.stratify`).
    threshold
        A number above it counts as presence.
    alpha
        1 - confidence level.
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of patients without group or structure: ``"raise"``, or ``"drop"``, which leaves them out of the
        rows of the table that they lack something for.
    key_added
        Key of ``uns``.
    copy
        Return the table instead of writing.

    Returns
    -------
    None, or with `copy` the table, else written to ``uns[key_added]["table"]``: a row a structure with ``n_with``,
    ``in_group_with``, ``n_without``, ``in_group_without``, ``risk_ratio``, ``ci_low``, ``ci_high`` (log method of Katz
    et al. 1978; half a patient is added to each count where one is 0), ``p_value`` (Fisher's exact test), ``q_value``
    (Benjamini-Hochberg).

    Raises
    ------
    TableError
        If a column is missing or incomplete, a structure is unknown, all or no patients have it, or there is one group.
    SurvivalError
        If a patient has several rows.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = pd.DataFrame({"risk": ["high"] * 6 + ["low"] * 6, "follicle": [0] * 5 + [1] * 5 + [0] * 2})
    >>> patients = ad.AnnData(obs=obs.set_index(obs.index.astype(str)))
    >>> table = sfm.tl.risk_ratio(patients, "risk", "follicle", group="high", copy=True)
    >>> float(table.loc["follicle", "risk_ratio"].round(2))
    0.28
    """
    from scipy import stats

    check_anndata(samples, "risk_ratio", key_added)
    check_patients(samples, patient_key)
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    groups, group = _groups(samples, group_key, group, on_missing == "drop")
    rows = {}
    for name in [names] if isinstance(names, str) else names:
        present, known = _present(samples, name, threshold, groups.notna().to_numpy(), on_missing == "drop")
        inside = (groups == group).to_numpy()[known]
        a, n1, c, n0 = inside[present].sum(), present.sum(), inside[~present].sum(), (~present).sum()
        rows[name] = {"n_with": n1, "in_group_with": a, "n_without": n0, "in_group_without": c}
        rows[name] |= dict(zip(("risk_ratio", "ci_low", "ci_high"), ratio_interval(a, n1, c, n0, alpha), strict=True))
        rows[name]["p_value"] = stats.fisher_exact([[a, n1 - a], [c, n0 - c]]).pvalue
    table = pd.DataFrame(rows).T
    table["q_value"] = stats.false_discovery_control(table["p_value"])
    counts = ["n_with", "in_group_with", "n_without", "in_group_without"]
    table = table.astype(dict.fromkeys(counts, int))
    if copy:
        return table
    params = {"group_key": group_key, "group": group, "threshold": threshold, "alpha": alpha}
    write_uns(samples, key_added, {"table": table, "params": params})
    return None


def ratio_interval(a: float, n1: float, c: float, n0: float, alpha: float) -> tuple[float, float, float]:
    """Ratio of ``a / n1`` over ``c / n0`` and its interval on the scale of logarithms."""
    from scipy import stats

    if 0 in (a, c):
        a, c, n1, n0 = a + 0.5, c + 0.5, n1 + 1, n0 + 1
    ratio = (a / n1) / (c / n0)
    half = stats.norm.isf(alpha / 2) * np.sqrt(1 / a - 1 / n1 + 1 / c - 1 / n0)
    return ratio, ratio * np.exp(-half), ratio * np.exp(half)


def _column(samples: AnnData, key: str, argument: str, drop: bool) -> pd.Series:
    column = obs_column(samples, key, argument, rows="rows", allow_missing=True)
    missing = column.isna()
    if missing.any() and not drop:
        raise TableError(
            f"{int(missing.sum())} of {len(column)} patients have no value in obs[{key!r}] ({argument}=): "
            f'{listed(column.index[missing])}. Fill them, or pass on_missing="drop" to leave them out.'
        )
    return column


def _groups(samples: AnnData, group_key: str, group: str | None, drop: bool) -> tuple[pd.Series, str]:
    """Group of each row as text, missing where it is, and the one that is looked at."""
    groups = named(_column(samples, group_key, "group_key", drop), "group_key")
    levels = list(groups.cat.categories)
    group = levels[-1] if group is None and levels else group
    group = str(group)
    if group not in levels:
        raise TableError(f"No group {group!r} in obs[{group_key!r}] (group=); found {listed(levels)}.")
    if len(levels) < 2:
        raise TableError(
            f"obs[{group_key!r}] (group_key=) holds one group, {listed(levels)}: there is nothing to "
            "compare. Pass a column with two groups or more."
        )
    return groups.astype(object), group


def _present(
    samples: AnnData, name: str, threshold: float, known: np.ndarray, drop: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Who has the structure, of the rows that are known (a mask), and those."""
    if name in samples.obs:
        values = _column(samples, name, "names", drop)
    elif name in samples.var_names:
        values = pd.Series(np.asarray(samples.obs_vector(name), float), index=samples.obs_names)
    else:
        raise TableError(
            f"No column {name!r} in obs and no such name in var (names=); obs has {listed(samples.obs.columns, 12)}, "
            "var "
            f"has {listed(samples.var_names, 12)}."
        )
    if not (pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values)):
        raise TableError(f"obs[{name!r}] is neither true or false nor a number. Make a column that says who has it.")
    known = known & values.notna().to_numpy()
    present = values[known].to_numpy(float) > threshold
    if present.all() or not present.any():
        raise TableError(
            f"{'All' if present.all() else 'No'} patients have {name!r} (above threshold={threshold:g}): there is "
            "nothing to compare. Pass another threshold=."
        )
    return present, known
