"""What a survival model leaves behind so that it can be applied elsewhere as it is: columns, coefficients, baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .._fingerprint import digest
from .._outcome import numbers_of
from ..stats.cox import baseline_hazard

MODEL = "model"  # in uns[key]


def describe_columns(columns: pd.DataFrame, reference: Mapping[str, str], standardize: bool = False) -> str:
    """JSON of what :func:`spatialfm.cohort.design.design_matrix` made of each covariate."""
    described: dict[str, dict[str, Any]] = {}
    for name, given in columns.items():
        column = given if name in reference else numbers_of(given)
        truth = pd.api.types.is_bool_dtype(column.dtype)
        if (pd.api.types.is_numeric_dtype(column.dtype) or truth) and name not in reference:
            values = column.to_numpy(dtype=np.float64)
            scaled = standardize and not truth and values.std() > 0
            described[str(name)] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                "low": float(values.min()),
                "high": float(values.max()),
                "scaled": bool(scaled),
            }
            continue
        column = column.astype("category").cat.remove_unused_categories()
        levels = [str(level) for level in column.cat.categories]
        described[str(name)] = {"levels": levels, "reference": str(reference.get(name, levels[0]))}
    return json.dumps(described)


def cox_record(
    design: np.ndarray,
    coef: np.ndarray,
    columns: str,
    time: np.ndarray,
    event: np.ndarray,
    entry: np.ndarray | None,
    strata: np.ndarray | None,
    levels: pd.DataFrame | None,
) -> dict[str, Any]:
    """Coefficients of a Cox regression, their centre, and Breslow's baseline of each stratum.

    Parameters
    ----------
    design
        ``(n, n_terms)``.
    strata
        Codes ``(n,)`` of the strata.
    levels
        ``(n, n_strata)`` levels behind the codes.
    """
    center = float(design.mean(axis=0) @ coef)
    risk = design @ coef - center
    codes = np.zeros(len(time), int) if strata is None else strata
    parts, names = [], []
    for code in np.unique(codes):
        in_stratum = codes == code
        steps, hazard = baseline_hazard(
            risk[in_stratum], time[in_stratum], event[in_stratum], None if entry is None else entry[in_stratum]
        )
        parts.append(pd.DataFrame({"stratum": int(code), "time": steps, "hazard": hazard}))
        names.append(
            [] if levels is None else [str(value) for value in levels.iloc[int(np.flatnonzero(in_stratum)[0])]]
        )
    return {
        "kind": "cox",
        "columns": columns,
        "coef": np.asarray(coef, dtype=np.float64),
        "center": center,
        "strata": json.dumps(names),
        "baseline": pd.concat(parts, ignore_index=True),
        "risk": risk,
        "time": np.asarray(time, dtype=np.float64),
    }


def features_record(features: list[str], n_covariates: int, x: np.ndarray, columns: str) -> dict[str, Any]:
    """Features of a model of many: names, scale and range; the last `n_covariates` come from `columns`."""
    sd = x.std(axis=0)
    table = pd.DataFrame(
        {"mean": x.mean(axis=0), "sd": np.where(sd > 0, sd, 1.0), "low": x.min(axis=0), "high": x.max(axis=0)}
    )
    return {
        "columns": columns,
        "features": json.dumps([str(name) for name in features]),
        "n_covariates": n_covariates,
        "scale": table,
    }


def cohort_digest(names: list[str], x: np.ndarray, time: np.ndarray, event: np.ndarray) -> str:
    """Hash of patients, features and outcomes, in any order of patients."""
    return digest(names, *x.T, time, event)


def groups_record(
    values: np.ndarray, clusters: np.ndarray, groups: np.ndarray, names: list[str], features: list[str]
) -> dict[str, Any]:
    """Centres of the clusters ``(n_clusters, n_features)``, and the group that each went to."""
    codes = np.unique(clusters)
    return {
        "kind": "stratify",
        "features": json.dumps([str(name) for name in features]),
        "centers": np.stack([values[clusters == code].mean(axis=0) for code in codes]),
        "group": np.array([int(groups[np.argmax(clusters == code)]) for code in codes]),
        "names": json.dumps(names),
    }
