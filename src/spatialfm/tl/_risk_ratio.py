"""How much more often something occurs in one group of patients than in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError
from .._keys import PATIENT_KEY
from ._check import check_anndata, listed, obs_column
from ._outcome import check_patients

if TYPE_CHECKING:
    from anndata import AnnData


def risk_ratio(
    samples: AnnData,
    group_key: str,
    names: str | Sequence[str],
    *,
    group: str | None = None,
    threshold: float = 0.0,
    alpha: float = 0.05,
    patient_key: str | None = PATIENT_KEY,
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
        If a structure is unknown, or all or no patients have it.

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

    check_anndata(samples, "risk_ratio")
    check_patients(samples, patient_key)
    groups = obs_column(samples, group_key, "group_key", rows="rows").astype("category")
    levels = [str(level) for level in groups.cat.categories]
    group = levels[-1] if group is None else group
    if group not in levels:
        raise TableError(f"No group {group!r} in obs[{group_key!r}] (group=); found {listed(levels)}.")
    inside = (groups.astype(str) == group).to_numpy()
    rows = {}
    for name in [names] if isinstance(names, str) else names:
        present = _present(samples, name, threshold)
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
    samples.uns[key_added] = {"table": table, "params": params}
    return None


def ratio_interval(a: float, n1: float, c: float, n0: float, alpha: float) -> tuple[float, float, float]:
    """Ratio of ``a / n1`` over ``c / n0`` and its interval on the scale of logarithms."""
    from scipy import stats

    if 0 in (a, c):
        a, c, n1, n0 = a + 0.5, c + 0.5, n1 + 1, n0 + 1
    ratio = (a / n1) / (c / n0)
    half = stats.norm.isf(alpha / 2) * np.sqrt(1 / a - 1 / n1 + 1 / c - 1 / n0)
    return ratio, ratio * np.exp(-half), ratio * np.exp(half)


def _present(samples: AnnData, name: str, threshold: float) -> np.ndarray:
    if name in samples.obs:
        values = obs_column(samples, name, "names", rows="rows")
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
    present = values.to_numpy(float) > threshold
    if present.all() or not present.any():
        raise TableError(
            f"{'All' if present.all() else 'No'} patients have {name!r} (above threshold={threshold:g}): there is "
            "nothing to compare. Pass another threshold=."
        )
    return present
