"""What figures read of results in ``uns``, checked before anything is drawn.

A result that was edited, cut, or written by another function or an earlier version lacks what a figure needs. What each
figure needs is listed here by the function that writes it: names of parts, and of the columns of tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed

Fields = dict[str, Any]


@dataclass(frozen=True)
class TableWith:
    """A table with these columns: ``float`` numbers, ``int`` whole numbers without gaps, ``object`` anything.

    A name that ends in "?" may be missing.
    """

    columns: Fields = field(default_factory=dict)
    may_be_empty: bool = False


CURVE = {"time": float, "at_risk": int, "events": int, "censored": int, "ci_low": float, "ci_high": float}
SCORED = {"score": object, "p_value?": float} | dict.fromkeys(("mean", "low", "high"), float)
CLASSIFIED: Fields = {
    "draws": TableWith(), "patients": TableWith({"label": object}), "params": {"label_key": str, "circular?": str},
}  # fmt: skip
CLUSTERS = {"side": object, "ratio": float, "score": float, "q_value": float, "signature": object}
PARTS: dict[str, Fields] = {  # a name that ends in "?" may be missing
    "annotate": {"contributions": TableWith({"n": float, "intercept": float})},  # of method="bcos"
    "evaluate_annotation": {
        "summary": TableWith(
            dict.fromkeys(("use_rep", "head", "n_train", "score"), object)
            | dict.fromkeys(("mean", "low", "high", "circular"), float)
        ),
    },
    "compare_composition": {
        "table": TableWith({"effect": float, "p_value": float, "q_value": float, "significant": float}),
        "params": {"group_key": str, "groups": list, "method": str, "alpha": float},
    },
    "compare_enrichment": {
        "table": TableWith(
            dict.fromkeys(("cell_type", "neighbour", "group_1", "group_2"), object)
            | dict.fromkeys(("difference", "p_value", "significant"), float)
            | {"n_1": int, "n_2": int}
        ),
        "params": {"alpha": float},
    },
    "compare_concordance": {
        "table": TableWith(
            {"score_1": object, "score_2": object}
            | dict.fromkeys(("difference", "ci_low", "ci_high", "p_value", "q_value"), float)
        ),
        "scores": TableWith(dict.fromkeys(("c_index", "ci_low", "ci_high"), float)),
        "n": int, "events": int, "optimistic": bool, "params": {"alpha": float},
    },
    "added_value": {
        "table": TableWith(dict.fromkeys(("c_index", "c_corrected", "ci_low", "ci_high"), float)),
        "n": int, "events": int, "p_value": float, "optimistic": bool,
        "params": {"alpha": float, "covariates": list, "features": list},
    },
    "classify_samples": CLASSIFIED | {"summary": TableWith(SCORED | {"use_rep": object, "n_components": float})},
    "few_shot_samples": CLASSIFIED | {"summary": TableWith(SCORED | {"representation": object, "n_clusters": float})},
    "cumulative_incidence": {
        "table": TableWith(CURVE | {"event": object, "group": object, "incidence": float}),
        "groups": TableWith({"event": object, "group": object, "n": int, "events": int}),
        "tests?": TableWith({"event": object, "p_value": float, "permuted?": float, "p_value_unadjusted?": float}),
        "params": {"group_key": str, "time_key": str, "strata": list, "covariates?": list},
    },
    "cox": {
        "table": TableWith(
            {"covariate": object, "level": object, "reference": object}
            | dict.fromkeys(("hazard_ratio", "ci_low", "ci_high", "p_value"), float)
        ),
        "n": int, "events": int, "doubts?": list, "params": {"standardize": bool, "alpha": float},
        "n_clusters?": int, "other_events?": int,
    },
    "discover_signatures": {
        "clusters": TableWith(CLUSTERS),
        "scores": TableWith({"score": float, "ci_low": float, "ci_high": float, "p_value": float}),
        "null": TableWith(may_be_empty=True),
        "params": {"score": str, "n_patients": int},
    },
    "distribution_shift": {
        "table": TableWith(
            dict.fromkeys(("patient", "group?", "time_1", "time_2"), object)
            | dict.fromkeys(("distance", "distance_se", "null_distance", "shift", "shift_se"), float)
        ),
        "comparison?": TableWith(
            {"measure": object, "time_1": object, "time_2": object, "p_value": float}, may_be_empty=True
        ),
        "params": {"time_key": str, "patient_key": str, "group_key": str, "time_points": list, "groups": list},
    },
    "kaplan_meier": {
        "table": TableWith(CURVE | {"group": object, "survival": float}),
        "groups": TableWith({"n": int, "events": int}),
        "params": {"group_key": str, "time_key": str},
    },
    "label_report": {
        "cells": TableWith({"label": object, "likelier": object}),
        "types": TableWith({"n_labelled": int, "n_likely_wrong": int, "n_conflicts": int}),
        "counts": TableWith(),
    },
    "leiden_sweep": {
        "table": TableWith({"stability": float}),
        "edges": TableWith(
            {"resolution": object, "next": object, "from": int, "to": int, "share": float}, may_be_empty=True
        ),
        "suggested": float,
    },
    "logrank": {
        "p_value": float, "permuted?": bool, "p_value_unadjusted?": float,
        "params": {"strata?": list, "covariates?": list},
    },
    "marker_attention": {"mean": TableWith(), "n": TableWith({"n": int}), "params": {"model": str}},
    "marker_positivity": {
        "thresholds": TableWith(), "status": TableWith(), "params": {"layer": str, "library_key": str},
    },
    "mil": {"patients": TableWith(), "params": {"case_key": str}},
    "neighborhood_contrast": {
        "table": TableWith(
            {"inside": float, "outside": float, "relative_change": float, "n_patients": int, "significant": float}
        ),
        "params": {
            "tested": str, "cell_type": str, "within": str, "inside": str, "n_inside": int, "n_outside": int,
            "alpha": float, "n_neighbors": int,
        },
    },
    "evaluate_reconstruction": {
        "summary": TableWith(
            dict.fromkeys(("marker", "mode", "unit", "method", "score"), object)
            | dict.fromkeys(("mean", "low", "high"), float)
        ),
    },
    "risk_ratio": {
        "table": TableWith(
            dict.fromkeys(("risk_ratio", "ci_low", "ci_high", "p_value"), float)
            | dict.fromkeys(("n_group", "n_others", "with_group", "with_others"), int)
            | dict.fromkeys(("n_with", "n_without", "in_group_with", "in_group_without"), int)
        ),
        "params": {
            "group_key": str, "group": str, "given": str, "alpha": float, "circular": str, "covariates": list,
            "block_key": str,
        },
    },
    "select_panel": {
        "curve": TableWith(
            {"size": int, "enters": object, "leaves": object}
            | dict.fromkeys(
                ("score", "ci_low", "ci_high", "random", "random_low", "random_high", "variance"), float
            )
        ),
        "whole": float,
        "params": {
            "method": str, "target": str, "score": str, "n_patients": int, "label_key": str, "use_rep": str,
        },
    },
    "surprise": {
        "samples": TableWith(), "far": TableWith(), "params": {"method": str, "library_key": str, "reference": str},
    },
    "power": {
        "table": TableWith({"n_cells": int, "n_patients": int, "power": float, "ci_low": float, "ci_high": float}),
        "params": {"question": str, "effect": float, "target_power": float, "alpha": float, "n_tests": int},
    },
    "predict_survival": {
        "calibration": TableWith(
            {"time": float, "n": int} | dict.fromkeys(("predicted", "observed", "ci_low", "ci_high"), float)
        ),
        "calibration_smooth": TableWith({"time": float, "predicted": float, "observed": float}, may_be_empty=True),
        "decision_curve": TableWith(
            {"n_above": int}
            | dict.fromkeys(("threshold", "net_benefit", "ci_low", "ci_high", "treat_all"), float)
        ),
        "scores": TableWith({"value": float, "ci_low": float, "ci_high": float}),
        "doubts?": list,
        "params": {"horizon": float, "n_scored": int, "events": int},
    },
    "rmst": {
        "horizon": float, "groups": TableWith({"rmst": float}), "params": {"alpha": float},
        "differences?": TableWith(
            {"group_a": object, "group_b": object}
            | dict.fromkeys(("difference", "ci_low", "ci_high", "p_value"), float)
        ),
    },
    "coxnet": {
        "curves": TableWith(
            {"time": float, "at_risk": int, "events": int} | dict.fromkeys(("auc", "auc_ci_low", "auc_ci_high"), float)
        ),
        "scores": TableWith({"value": float, "ci_low": float, "ci_high": float}),
    },
}  # fmt: skip
PARTS |= {"fine_gray": PARTS["cox"], "survival_forest": PARTS["coxnet"]}


def check_result(record: object, where: str, function: str) -> Mapping[str, Any]:
    """A result as `function` writes it.

    Parameters
    ----------
    where
        The result in a message: ``uns['cox']``.

    Raises
    ------
    TableError
        If a part that the figure reads is missing, or is of another kind.
    """
    if wrong := _lacks(record, PARTS[function], ""):
        raise TableError(
            f"{where} is not as sfm.tl.{function} writes it: {wrong}. It was changed, or made by another function or "
            f"version: run sfm.tl.{function} again."
        )
    return record


def check_columns(table: pd.DataFrame, columns: Fields, where: str, function: str) -> None:
    """Refuse a table whose columns are not named after their content."""
    if wrong := _lacks_columns(table, TableWith(columns), where):
        raise TableError(f"{wrong}: it is not as sfm.tl.{function} writes it. Run sfm.tl.{function} again.")


def by_outcome(params: object) -> str:
    """Whether an outcome of the same patients made what a result rests on: "no", "perhaps" or "yes".

    Examples
    --------
    >>> by_outcome({"by_outcome": "yes"}), by_outcome({}), by_outcome({"selected": "of a version that only had words"})
    ('yes', 'no', 'perhaps')
    """
    if not isinstance(params, Mapping):
        return "no"
    return str(params.get("by_outcome", "perhaps" if params.get("selected") else "no"))


def optimistic(params: object) -> str:
    """What figures say of it; empty where no outcome of the same patients did.

    Examples
    --------
    >>> optimistic({"by_outcome": "perhaps"}), optimistic({"by_outcome": "no"})
    ('perhaps optimistic: the outcome made a feature', '')
    """
    made = by_outcome(params)
    return "" if made == "no" else "perhaps " * (made == "perhaps") + "optimistic: the outcome made a feature"


def comparison(params: Mapping[str, Any]) -> str:
    """At what groups were compared, behind the name of a test.

    Examples
    --------
    >>> comparison({"covariates": ["age"], "strata": ["site"]}), comparison({"strata": []})
    (' at equal age within site', '')
    """
    parts = []
    for words, name in ((" at equal ", "covariates"), (" within ", "strata")):
        names = [str(one) for one in np.atleast_1d(params.get(name, []))]
        parts.append(words + listed(names, quoted=False) if names else "")
    return "".join(parts)


def corrected(record: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """The table with the q-values and marks that hold, and the level of its marks in words.

    After :func:`spatialfm.tl.correct_together` these are those of all its tests.

    Examples
    --------
    >>> table = pd.DataFrame({"q_value": [0.04], "significant": True, "q_together": 0.2, "significant_together": False})
    >>> how = {"p_column": "p_value", "alpha": 0.05, "n_tests": 85}
    >>> corrected({"table": table, "params": {"alpha": 0.05}, "together": how})[1]
    'q < 0.05 of 85 tests together'
    """
    table, how = record["table"], record.get("together")
    if not isinstance(how, Mapping) or not {"q_together", "significant_together"} <= set(table):
        return table, f"q < {float(record['params']['alpha']):g}"
    column = str(how["p_column"])
    mark = "significant_reference" if column == "p_reference" else "significant"
    held = {column.replace("p_", "q_", 1): table["q_together"]}
    if mark in table and column != "p_cells":  # which no figure marks by
        held[mark] = table["significant_together"].astype(bool)
    return table.assign(**held), f"q < {float(how['alpha']):g} of {int(how['n_tests'])} tests together"


def default_output(record: object, outputs: Sequence[str]) -> str:
    """The output of `spatialfm.tl.mil` that is drawn where none is asked for: the positive class of two, or the last.

    Examples
    --------
    >>> default_output({"params": {"positive": "no"}}, ["no", "yes"]), default_output({}, ["no", "yes"])
    ('no', 'yes')
    """
    params = record.get("params") if isinstance(record, Mapping) else None
    positive = str(params.get("positive", "")) if isinstance(params, Mapping) else ""
    return positive if positive in outputs else outputs[-1]


def _lacks(record: object, parts: Fields, inside: str) -> str:
    """What is wrong with the first part that is; empty where all is well."""
    if not isinstance(record, Mapping):
        return f"{inside or 'it'} is not a dictionary"
    for name, kind in parts.items():
        part = name.rstrip("?")
        where = f"{inside}[{part!r}]"
        if part not in record:
            if name != part:
                continue
            available = [one for one in record if isinstance(one, str)]
            return f"there is no {where}, but {listed(available)}"
        value = record[part]
        if isinstance(kind, TableWith):
            wrong = _lacks_columns(value, kind, where)
        elif isinstance(kind, dict):
            wrong = _lacks(value, kind, where)
        else:
            wrong = "" if _is(value, kind) else f"{where} is {_NAMES[kind][1]}"
        if wrong:
            return wrong
    return ""


def _lacks_columns(table: object, rows: TableWith, where: str) -> str:
    if not isinstance(table, pd.DataFrame):
        return f"{where} is not a table"
    if missing := [name for name in rows.columns if not name.endswith("?") and name not in table]:
        return f"{where} has no column {listed(missing)}"
    if not len(table) and not rows.may_be_empty:
        return f"{where} has no rows"
    if not table.columns.is_unique:
        return f"{where} has two columns of one name"
    for name, kind in rows.columns.items():
        if name.endswith("?"):
            continue
        column = table[name]
        number = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        if kind is not object and not number:
            return f"{where}[{name!r}] holds {column.dtype}, not numbers"
        if kind is int and not np.isfinite(column.to_numpy(dtype=float, na_value=np.nan)).all():
            return f"{where}[{name!r}] has gaps"
    return ""


_NAMES = {
    float: ((float, int, np.floating, np.integer), "not a number"),
    int: ((int, np.integer), "not a whole number"),
    bool: ((bool, np.bool_), "neither True nor False"),
    str: ((str,), "not text"),
    list: ((list, tuple, np.ndarray, pd.Index), "not a list"),
}


def _is(value: object, kind: object) -> bool:
    classes, _ = _NAMES[kind]
    if isinstance(value, np.ndarray) and value.ndim == 0:  # as some stores give numbers back
        value = value.item()
    return isinstance(value, classes) and (kind is bool or not isinstance(value, bool | np.bool_))
