"""What figures read of results in ``uns``, checked before anything is drawn.

A result that was edited, cut, or written by another function or an earlier version lacks what a figure needs. What each
figure needs is listed here by the function that writes it: names of parts, and of the columns of tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .._errors import TableError, listed

Fields = dict[str, Any]
FINITE, NAMES = "finite", "names"  # kinds of columns, as `TableWith` says
SOME, TEXTS = "some", "texts"  # kinds of lists: not empty, of text


@dataclass(frozen=True)
class TableWith:
    """A table with these columns.

    ``float`` are numbers, `FINITE` and ``int`` numbers without gaps, ``str`` text and `NAMES` names of any kind without
    gaps, ``object`` anything. A name that ends in "?" may be missing. `others` is the kind of all other columns,
    named after markers, types or patients. No two rows have the same values in the columns `row_of`.
    """

    columns: Fields = field(default_factory=dict)
    may_be_empty: bool = False
    others: Any = object
    row_of: tuple[str, ...] = ()


CURVE = {"time": FINITE, "at_risk": int, "events": int, "censored": int, "ci_low": float, "ci_high": float}
SCORED = {"score": NAMES, "p_value?": float} | dict.fromkeys(("mean", "low", "high"), float)
CLASSIFIED: Fields = {
    "patients": TableWith({"label": NAMES}), "params": {"label_key": str, "circular?": str},
}  # fmt: skip
CLUSTERS = {"side": str, "ratio": float, "score": float, "q_value": float, "signature": str}
# of every result that has it: figures share the helpers that read these, so that no figure lists them
SHARED: Fields = {
    "alpha?": float, "optimistic?": bool, "doubts?": TEXTS,
    "together?": {"p_column": str, "alpha": float, "n_tests": int},
    "params?": {"alpha?": float, "columns?": TEXTS, "covariates?": TEXTS, "time_points?": list}
    | dict.fromkeys(("block_key?", "pair_key?", "patient_key?", "time_key?", "event_key?", "entry_key?"), str)
    | dict.fromkeys(("model?", "weights?", "digest?", "circular?", "selected?", "by_outcome?", "positive?"), str),
}  # fmt: skip
PARTS: dict[str, Fields] = {  # a name that ends in "?" may be missing
    "annotate": {"contributions": TableWith({"n": int, "intercept": float}, others=float)},  # of method="bcos"
    "evaluate_annotation": {
        "summary": TableWith(
            dict.fromkeys(("use_rep", "head"), str) | dict.fromkeys(("n_train", "score"), NAMES)
            | dict.fromkeys(("mean", "low", "high", "circular"), float),
            row_of=("use_rep", "head", "n_train", "score"),
        ),
    },
    "compare_composition": {
        "table": TableWith(dict.fromkeys(("effect", "p_value", "q_value", "significant"), float)),
        "params": {"group_key": str, "groups": SOME, "method": str, "alpha": float, "rows": SOME},
    },
    "compare_enrichment": {
        "table": TableWith(
            dict.fromkeys(("cell_type", "neighbour", "group_1", "group_2"), NAMES)
            | dict.fromkeys(("difference", "p_value", "significant"), float)
            | {"n_1": int, "n_2": int},
            row_of=("cell_type", "neighbour", "group_1", "group_2"),
        ),
        "params": {"alpha": float},
    },
    "compare_concordance": {
        "table": TableWith(
            {"score_1": NAMES, "score_2": NAMES}
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
    "classify_samples": CLASSIFIED | {
        "summary": TableWith(SCORED | {"use_rep": NAMES, "n_components": float}),
        "draws": TableWith({"use_rep": NAMES, "n_components": float}),
    },
    "few_shot_samples": CLASSIFIED | {
        "summary": TableWith(SCORED | {"representation": NAMES, "n_clusters": float}),
        "draws": TableWith({"representation": NAMES, "n_clusters": float}),
    },
    "cumulative_incidence": {
        "table": TableWith(CURVE | {"event": NAMES, "group": NAMES, "incidence": float, "other_events": int}),
        "groups": TableWith({"event": NAMES, "group": NAMES, "n": int, "events": int}, row_of=("event", "group")),
        "tests?": TableWith(
            {"event": NAMES, "p_value": float, "permuted?": float, "p_value_unadjusted?": float}, row_of=("event",)
        ),
        "params": {"group_key": str, "time_key": str, "strata": list},
    },
    "cox": {
        "table": TableWith(
            {"covariate": object, "level": object, "reference": object}
            | dict.fromkeys(("hazard_ratio", "ci_low", "ci_high", "p_value"), float)
        ),
        "n": int, "events": int, "params": {"standardize": bool, "alpha": float},
        "n_clusters?": int, "other_events?": int,
    },
    "cut_point": {"p_value": float, "p_value_unadjusted?": float, "params": {"covariates?": list}},
    "discover_signatures": {
        "clusters": TableWith(CLUSTERS),
        "scores": TableWith({"score": float, "ci_low": float, "ci_high": float, "p_value": float}),
        "null": TableWith(may_be_empty=True, others=float),
        "params": {"score": str, "n_patients": int},
    },
    "distribution_shift": {
        "table": TableWith(
            dict.fromkeys(("patient", "group?", "time_1", "time_2"), NAMES)
            | dict.fromkeys(("distance", "null_distance", "shift"), FINITE)
            | dict.fromkeys(("distance_se", "shift_se"), float),
            row_of=("patient", "time_1", "time_2"),
        ),
        "comparison?": TableWith(
            dict.fromkeys(("measure", "time_1", "time_2"), NAMES) | {"p_value": float, "effect": float},
            may_be_empty=True,
        ),
        "params": {"time_key": str, "patient_key": str, "group_key": str, "time_points": SOME, "groups": list},
    },
    "kaplan_meier": {
        "table": TableWith(CURVE | {"group": NAMES, "survival": float}),
        "groups": TableWith({"n": int, "events": int}),
        "params": {"group_key": str, "time_key": str},
    },
    "label_report": {
        "cells": TableWith({"label": object, "likelier": object}),
        "types": TableWith({"n_labelled": int, "n_likely_wrong": int, "n_conflicts": int}),
        "counts": TableWith(others=int),
    },
    "leiden_sweep": {
        "table": TableWith({"stability": float}),
        "edges": TableWith(
            {"resolution": NAMES, "next": NAMES, "from": int, "to": int, "share": float}, may_be_empty=True
        ),
        "suggested": float,
    },
    "logrank": {"p_value": float, "permuted?": bool, "p_value_unadjusted?": float, "params": {"strata?": list}},
    "marker_attention": {"mean": TableWith(others=float), "n": TableWith({"n": int}), "params": {"model": str}},
    "marker_positivity": {
        "thresholds": TableWith(), "status": TableWith(),
        "between_samples?": TableWith(
            dict.fromkeys(("sample", "marker"), NAMES) | dict.fromkeys(("own", "others", "overruled"), float)
        ),
        "params": {"layer": str, "library_key": str},
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
            dict.fromkeys(("marker", "mode", "unit", "method", "score"), NAMES)
            | dict.fromkeys(("mean", "low", "high"), float),
            row_of=("marker", "mode", "unit", "method", "score"),
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
    "stratify": {"test?": {"p_value": float, "p_value_unadjusted?": float}, "params": {"covariates?": list}},
    "surprise": {
        "samples": TableWith(others=float), "far": TableWith(),
        "params": {"method": str, "library_key": str, "reference": str},
    },
    "power": {
        "table": TableWith({"n_cells": int, "n_patients": int, "power": float, "ci_low": float, "ci_high": float}),
        "params": {
            "question": str, "effect": float, "target_power": float, "alpha": float, "n_tests": int, "share?": float,
        },
    },
    "predict_survival": {
        "calibration": TableWith(
            {"time": FINITE, "n": int} | dict.fromkeys(("predicted", "observed", "ci_low", "ci_high"), float)
        ),
        "calibration_smooth": TableWith({"time": FINITE, "predicted": float, "observed": float}, may_be_empty=True),
        "decision_curve": TableWith(
            {"threshold": FINITE, "n_above": int}
            | dict.fromkeys(("net_benefit", "ci_low", "ci_high", "treat_all"), float)
        ),
        "scores": TableWith({"value": float, "ci_low": float, "ci_high": float}),
        "params": {"horizon": float, "n_scored": int, "events": int},
    },
    "rmst": {
        "horizon": float, "groups": TableWith({"rmst": float}), "params": {"alpha": float},
        "differences?": TableWith(
            {"group_a": NAMES, "group_b": NAMES}
            | dict.fromkeys(("difference", "ci_low", "ci_high", "p_value"), float)
        ),
    },
    "coxnet": {
        "curves": TableWith(
            {"time": FINITE, "at_risk": int, "events": int} | dict.fromkeys(("auc", "auc_ci_low", "auc_ci_high"), float)
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
    if wrong := _lacks(record, PARTS[function], "") or _lacks(record, SHARED, ""):
        raise TableError(
            f"{where} is not as sfm.tl.{function} writes it: {wrong}. It was changed, or made by another function or "
            f"version: run sfm.tl.{function} again."
        )
    return record


def check_columns(table: pd.DataFrame, columns: Fields, where: str, function: str, *, others: Any = object) -> None:
    """Refuse a table whose columns are not named after their content."""
    if wrong := _lacks_columns(table, TableWith(columns, others=others), where):
        raise TableError(f"{wrong}: it is not as sfm.tl.{function} writes it. Run sfm.tl.{function} again.")


def check_known(values: Iterable[object], known: Collection[object], where: str, function: str) -> None:
    """Refuse names that another part of the result does not have, as nothing can be drawn of them."""
    if unknown := [value for value in dict.fromkeys(values) if value not in known]:
        raise TableError(
            f"{where} names {listed(unknown, 5)}, which is not among {listed(known, 12)}: it is not as "
            f"sfm.tl.{function} writes it. Run sfm.tl.{function} again."
        )


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
    named = {name.removesuffix("?"): kind for name, kind in rows.columns.items()}
    for name, kind in (dict.fromkeys(table, rows.others) | named).items():
        if name not in table:
            continue
        column = table[name]
        number = pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)
        if kind in (float, int, FINITE) and not number:
            return f"{where}[{name!r}] holds {column.dtype}, not numbers"
        if kind in (int, FINITE) and not np.isfinite(column.to_numpy(dtype=float, na_value=np.nan)).all():
            return f"{where}[{name!r}] has gaps"
        if kind in (str, NAMES) and column.isna().any():
            return f"{where}[{name!r}] has gaps"
        if kind is str and not all(isinstance(value, str) for value in column):
            return f"{where}[{name!r}] holds {column.dtype}, not text"
    if rows.row_of and table.duplicated(list(rows.row_of)).any():
        return f"{where} has several rows of one {listed(rows.row_of, quoted=False)}"
    return ""


_NAMES = {
    float: ((float, int, np.floating, np.integer), "not a number"),
    int: ((int, np.integer), "not a whole number"),
    bool: ((bool, np.bool_), "neither True nor False"),
    str: ((str,), "not text"),
    list: ((list, tuple, np.ndarray, pd.Index), "not a list"),
    SOME: ((list, tuple, np.ndarray, pd.Index), "no list, or an empty one"),
    TEXTS: ((list, tuple, np.ndarray, pd.Index), "not a list of text"),
}


def _is(value: object, kind: object) -> bool:
    classes, _ = _NAMES[kind]
    if isinstance(value, np.ndarray) and value.ndim == 0:  # as some stores give numbers back
        value = value.item()
    if not isinstance(value, classes) or (kind is not bool and isinstance(value, bool | np.bool_)):
        return False
    return len(value) > 0 if kind is SOME else kind is not TEXTS or all(isinstance(one, str) for one in value)
