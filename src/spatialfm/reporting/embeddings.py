"""Section on embeddings: what a reader must know of each, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from .._errors import SpatialfmError, counted, listed
from .._keys import UNTRAINED
from ..get import record
from .elements import Html, Section, facts, note, table, tag
from .source import Source
from .summaries import texts

MOST_NAMES = 60


def embeddings_section(source: Source) -> Section:
    """One part for each embedding."""
    if source.cells is None or not source.keys.embeddings:
        return Section("embeddings", "Embeddings", [note("No embedding with a record is there.", kind="absent")])
    body: list[Html] = []
    for key in source.keys.embeddings:
        body.append(tag("h3", key))
        body += _embedding(source, key)
    return Section("embeddings", "Embeddings", body)


def records_of(source: Source) -> dict[str, dict[str, Any]]:
    """Record of each embedding that has one."""
    records = {}
    for key in source.keys.embeddings:
        try:
            records[key] = record(source.cells, key)
        except SpatialfmError:
            continue  # the section says so
    return records


def _embedding(source: Source, key: str) -> list[Html]:
    try:
        notes = record(source.cells, key)
    except SpatialfmError as error:
        return [note(str(error), kind="caution")]
    body = [facts(described(notes, source.cells.obsm[key].shape))]
    if int(notes.get("n_cells", source.cells.n_obs) or 0) not in (0, source.cells.n_obs):
        text = f"The record is of {notes['n_cells']:,} cells; the table has {source.cells.n_obs:,}."
        body.append(note(text, kind="caution"))
    if str(notes.get("weights", "")) == UNTRAINED:
        body.append(
            note("Weights are random: this embedding is of an untrained model and means nothing.", kind="caution")
        )
    if not int(notes.get("commercial_use", 1) or 0):
        body.append(note("The licence of the weights excludes commercial use.", kind="caution"))
    body += [note(text, kind="caution") for text in texts(notes.get("domain_warnings"))]
    return body + _markers(notes)


def described(notes: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, object]:
    """Names and values of a record, in the order in which a reader asks for them."""
    digest, adapter = str(notes.get("weights_sha256", "")), str(notes.get("adapter_sha256") or "")
    return {
        "model": notes.get("model"),
        "cells": shape[0],
        "columns": shape[1],
        "weights": PurePath(str(notes.get("weights", "")).replace("\\", "/")).name,
        "SHA-256 of the weights": tag("span", digest, class_="code") if digest else None,
        "adapter": notes.get("adapter") or None,
        "SHA-256 of the adapter": tag("span", adapter, class_="code") if adapter else None,
        "licence": notes.get("license"),
        "output": notes.get("output"),
        "mode": notes.get("mode"),
        "window (pixels)": notes.get("window"),
        "background": notes.get("background"),
        "normalisation": notes.get("normalization"),
        "statistics from": ", ".join(sorted(set(texts(notes.get("normalization_source"))))),
        "µm per pixel, images": spread(notes.get("mpp_image")),
        "µm per pixel, as embedded": spread(notes.get("mpp_used")),
        "largest intensity": spread(notes.get("intensity_max")),
        "principal components": notes.get("n_components"),
        "device": notes.get("device"),
        "precision": notes.get("computed_in"),
        "seconds": _float(notes.get("seconds")),
        "markers": len(texts(notes.get("markers"))),
    }


def spread(value: object) -> str:
    """The one value of all samples, or what there is and for how many.

    Examples
    --------
    >>> spread({"a": 0.5, "b": 0.5}), spread({"a": 0.5, "b": 1.0})
    ('0.5', '0.5 (1 sample), 1 (1 sample)')
    """
    if not isinstance(value, Mapping):
        return "" if value is None else str(value)
    counts = pd.Series([f"{one:.6g}" if isinstance(one, float) else str(one) for one in value.values()]).value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return listed((f"{one} ({counted(int(n), 'sample')})" for one, n in counts.items()), quoted=False)


def _markers(notes: Mapping[str, Any]) -> list[Html]:
    """Markers used, and those that were left out with the reason."""
    used = texts(notes.get("markers"))
    body = [tag("p", f"Markers used: {listed(used, MOST_NAMES, quoted=False)}.")] if used else []
    dropped = notes.get("markers_dropped")
    if not isinstance(dropped, Mapping) or not dropped:
        return [*body, tag("p", "No marker was left out.")]
    frame = pd.DataFrame({"reason": [str(why) for why in dropped.values()]}, index=[str(name) for name in dropped])
    return [*body, table(frame, "Channels left out of the embedding, and why.", index="channel")]


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
