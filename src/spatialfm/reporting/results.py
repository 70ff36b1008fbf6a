"""Section on every result that the tools left: n, p-values, how they are corrected, and what they do not show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import pl
from .._errors import TableError, counted, listed
from .._fingerprint import DATA, changed_since
from .._storable import named_table
from ..cohort.batches import STANDARDIZE, batch_sentences
from .elements import Html, Section, cell, facts, items, note, p_value, table, tag
from .figures import drawn
from .kinds import Kind, Record, counts_of, kind_of
from .source import Source
from .summaries import texts

if TYPE_CHECKING:
    from anndata import AnnData

DRAWN = {  # results whose figure is not in another section
    "cox": ((pl.forest, "Hazard ratios with their intervals."),),
    "fine_gray": ((pl.forest, "Subdistribution hazard ratios with their intervals."),),
    "compare_composition": ((pl.compare_composition, "Shares of each type in the groups, one point per patient."),),
    "compare_concordance": ((pl.concordance, "Concordances with their intervals."),),
    "cumulative_incidence": ((pl.cumulative_incidence, "Cumulative incidence, with numbers at risk."),),
    "discover_signatures": (
        (pl.signature_scores, "Scores of the model, with those of shuffled outcomes."),
        (pl.signatures, "Candidates and the signatures that were chosen."),
    ),
    "leiden_sweep": ((pl.cluster_tree, "Tree of clusters over the resolutions."),),
    "power": ((pl.power, "Power by number of patients."),),
}
# what other packages need for their own steps, and compositions, which have a section
ELSEWHERE = ("spatialdata_attrs", "neighbors", "spatial_neighbors", "umap", "pca", "leiden", "composition")
IN_SECTIONS = {
    "kaplan_meier": ("Curves and numbers at risk", "Survival", "survival"),
    "niches": ("Numbers of cells and compositions", "Niches", "niches"),
}
SMALL = 20  # patients below which a result is called small
FEW_EVENTS = 10


@dataclass(frozen=True)
class Result:
    """One result: where it is, what it is, and the name of its part of the page."""

    table_name: str
    table: AnnData
    key: str
    record: Record
    kind: Kind
    anchor: str

    @property
    def title(self) -> str:
        """What it is, its key, and its table."""
        return f"{self.kind.title}: {self.key} ({self.table_name})"

    @property
    def where(self) -> str:
        """Where a reader finds it."""
        return f"{self.table_name}.uns[{self.key!r}]"


def results_of(source: Source) -> list[Result]:
    """All results that are recognised."""
    results: list[Result] = []
    taken: Counter[str] = Counter()
    for name, adata, key, record in source.records():
        kind = kind_of(record)
        if kind is not None:
            letters = (one if one.isalnum() and one.isascii() else "-" for one in f"{name}-{key}")
            anchor = "result-" + "".join(letters)
            taken[anchor] += 1
            number = f"-{taken[anchor]}" if taken[anchor] > 1 else ""
            results.append(Result(name, adata, key, record, kind, anchor + number))
    return results


def results_section(source: Source) -> Section:
    """An overview of all tests, then each result."""
    results, title = results_of(source), "Tests and other results"
    if not results:
        text = "No result of a test, a regression or a clustering is in uns of the tables."
        return Section("results", title, [note(text, kind="absent")])
    body = [*_overview(results)]
    for one in results:
        body += [tag("h3", one.title, id=one.anchor), *_details(one)]
    known = {id(one.record) for one in results}
    others = [
        f"{name}.uns[{key!r}]"
        for name, _, key, record in source.records()
        if id(record) not in known and key not in ELSEWHERE
    ]
    if others:
        body.append(note(f"Not described here: {listed(others, 40, quoted=False)}."))
    return Section("results", title, body)


def p_values_of(one: Result) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Its p-values, each family with the corrected ones, where there are such."""
    families = []
    for name, column, corrected in one.kind.p_values:
        holder = one.record if not name else one.record.get(name)
        if isinstance(holder, Mapping) and name == "":
            value = holder.get(column)
            if isinstance(value, int | float | np.number) and not isinstance(value, bool):
                families.append((np.array([float(value)]), None))
        elif isinstance(holder, pd.DataFrame) and column in holder:
            values = holder[column].to_numpy(dtype=float, na_value=np.nan)
            other = holder[corrected].to_numpy(dtype=float, na_value=np.nan) if corrected in holder else None
            families.append((values, other))
    return families


def caveats_of(one: Result) -> list[str]:
    """What a reader must know besides the numbers: of this kind of result, then of this one."""
    record, params = one.record, one.record.get("params", {})
    params = params if isinstance(params, Mapping) else {}
    lines = [one.kind.caveat]
    if bool(record.get("optimistic", False)):
        lines.append("Optimistic: the outcome itself made the groups or scores that are tested here.")
    lines += [f"{text[0].upper()}{text[1:]}." for text in texts(record.get("doubts"))]
    made = _MADE.get(str(params.get("by_outcome")), _MADE["perhaps"])
    lines += [f"{made}: {text}" for text in texts(params.get("selected"))]
    lines += [f"Circular: {text}" for text in texts(params.get("circular"))]
    lines += texts(params.get("note"))
    if one.kind.function == "stratify":
        lines.append(_DECIDES.get(str(params.get("outcome_decides", "")), ""))
    column = one.key if one.kind.function == "stratify" else str(params.get("group_key", ""))
    if one.kind.function in ("stratify", "logrank", "kaplan_meier") and column in one.table.obs:
        groups = one.table.obs[column]
        lines += batch_sentences(f"Groups of {column!r}", groups, one.table.obs.drop(columns=column), STANDARDIZE)
    if dropped := int(params.get("n_dropped", 0) or 0):
        lines.append(f"{counted(dropped, 'row')} without the needed values took no part.")
    n = counts_of(record)
    patients = n.get("n", n.get("n_patients"))
    if one.kind.p_values and patients is not None and patients < SMALL:
        lines.append(f"Few patients ({patients}): only large effects can be seen, and those seen are exaggerated.")
    if one.kind.p_values and n.get("events", FEW_EVENTS) < FEW_EVENTS:
        lines.append(f"Few events ({n['events']}).")
    if (change := changed_since(one.table, one.record, one.key, one.kind.function)) is not None:
        lines.append(f"Out of date: {change}")
    return [line for line in lines if line]


_MADE = {
    "yes": "Made with the outcome",
    "perhaps": "Perhaps made with the outcome",
    "no": "Not made with the outcome of these patients, as far as is known",
}
_DECIDES = {
    "nothing": "The outcome had no part in the groups: a test on them holds.",
    "order": "The outcome ordered and named the groups, and did not make them: a test on them holds. That the group "
    "called high does worse holds by construction, and is not a finding.",
    "partition": "The outcome merged clusters into groups: curves and tests of them on these patients are optimistic.",
    "others' partition": "Each patient's group was made with the outcomes of other patients.",
}


def _overview(results: list[Result]) -> list[Html]:
    """A table of all results with p-values, and of how many those are."""
    rows, n_tests = [], 0
    for one in results:
        families = p_values_of(one)
        values = [family[np.isfinite(family)] for family, _ in families]
        n_tests += sum(len(family) for family in values)
        if not any(len(family) for family in values):
            continue
        corrected = [other[np.isfinite(other)] for _, other in families if other is not None]
        corrected = [other for other in corrected if len(other)]
        rows.append(
            {
                "analysis": tag("a", one.title, href=f"#{one.anchor}"),
                "n": _n_text(one.record),
                "tests": sum(len(family) for family in values),
                "smallest p": p_value(min(family.min() for family in values if len(family))),
                "smallest corrected": p_value(min(other.min() for other in corrected)) if corrected else None,
                "correction": one.kind.correction,
            }
        )
    if not rows:
        return [tag("p", "No result here has a p-value.")]
    text = (
        f"{counted(n_tests, 'p-value')} in {counted(len(rows), 'analysis', 'analyses')}. Each is corrected within its "
        f"own analysis at most: if nothing were there, about {0.05 * n_tests:.2g} would be below 0.05 by chance. "
        "sfm.tl.correct_together corrects several analyses as one. Analyses that were tried and are not in these "
        "tables are not counted."
    )
    return [note(text), table(pd.DataFrame(rows), "All analyses with p-values.", index=None)]


def _details(one: Result) -> list[Html]:
    record, kind = one.record, one.kind
    values = {name.replace("_", " "): cell(record[name], name) for name in kind.values if _shown(record.get(name))}
    counts = {_NAMES[name]: count for name, count in counts_of(record).items()}
    body: list[Html] = [
        tag("p", f"Written by {kind.written_by}, in ", tag("code", one.where), "."),
        facts({**counts, **values}),
    ]
    for part in ("trend", "test"):
        if isinstance(test := record.get(part), Mapping):
            body.append(facts({f"{part}, {name.replace('_', ' ')}": cell(value, name) for name, value in test.items()}))
    one_only = kind.function == "leiden_sweep" and len(record["table"]) < 2  # one resolution has no tree
    for draw, caption in () if one_only else DRAWN.get(kind.function, ()):
        body.append(
            drawn(
                lambda draw=draw: draw(one.table, key=one.key, show=False, return_fig=True),
                alt=f"Figure of {kind.title.lower()} in {one.where}.",
                caption=caption,
            )
        )
    if kind.function in IN_SECTIONS:
        what, title, anchor = IN_SECTIONS[kind.function]
        body.append(tag("p", f"{what} are in ", tag("a", title, href=f"#{anchor}"), "."))
    for name, caption in kind.tables:
        frame = _table_of(one, name)
        if frame is not None and len(frame):
            frame = frame.loc[:, [not (frame.iloc[:, i].astype(str) == "").all() for i in range(frame.shape[1])]]
            body.append(table(frame, caption, index=str(frame.index.name or "") or ("" if _named(frame) else None)))
    body.append(tag("p", tag("strong", "Correction. "), kind.correction))
    body.append(tag("p", tag("strong", "What it does not show.")))
    body.append(items(caveats_of(one)))
    if params := _parameters(record.get("params", {})):
        body.append(tag("p", tag("strong", "Parameters. "), tag("span", params, class_="code")))
    return body


def _table_of(one: Result, name: str) -> pd.DataFrame | None:
    if not isinstance(one.record.get(name), pd.DataFrame):
        return None
    try:
        return named_table(one.table, one.key, name)
    except TableError:  # a table of its own in uns
        return one.record[name]


def _named(frame: pd.DataFrame) -> bool:
    """Whether the index has names of rows, instead of counting them."""
    return not pd.api.types.is_integer_dtype(frame.index.dtype) and not isinstance(frame.index, pd.RangeIndex)


def _n_text(record: Record) -> str:
    return ", ".join(f"{count:,} {_NAMES[name]}" for name, count in counts_of(record).items())


_NAMES = {"n": "rows", "n_patients": "patients", "n_cells": "cells", "events": "events"}


def _parameters(params: object) -> str:
    """Arguments that decided the result, in one line."""
    if not isinstance(params, Mapping):
        return ""
    left_out = (DATA, "digest", "note", "selected", "by_outcome", "circular")
    shown = {name: value for name, value in params.items() if name not in left_out and _shown(value)}
    return ", ".join(f"{name}={_short(value)}" for name, value in shown.items())


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple):
        return f"[{listed(value, 12, quoted=False)}]" if len(value) else "[]"
    if isinstance(value, Mapping):
        return json.dumps({str(key): str(item) for key, item in value.items()})
    return str(value)


def _shown(value: object) -> bool:
    if value is None or isinstance(value, Mapping | pd.DataFrame):
        return False
    return not (isinstance(value, str | list | tuple | np.ndarray) and len(value) == 0)
