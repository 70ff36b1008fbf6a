"""Sections on the cohort, its panel, and which channel became which marker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .._errors import PanelError, counted, listed
from .._keys import ATTRS, TABLE, UNS
from ..pp.arrays import channel_names, image_array
from ..pp.elements import pixel_size
from ..pp.panel import match_markers
from ..pp.units import intensity_factors
from .elements import Html, Section, facts, note, table, tag
from .source import Source

MOST_COLUMNS = 8  # clinical columns beside a sample


def cohort_section(source: Source) -> Section:
    """Samples, patients, cells, pixel sizes, clinical columns."""
    frame = sample_table(source)
    sizes = sorted(set(frame["µm per pixel"].dropna())) if "µm per pixel" in frame else []
    patients = patients_of(source)
    counts: dict[str, Any] = {
        "samples": len(frame),
        "patients": len(patients) if patients is not None else None,
        "cells": None if source.cells is None else source.cells.n_obs,
        "images": len(source.pairs) if source.sdata is not None else None,
        "µm per pixel": ", ".join(f"{size:.6g}" for size in sizes) or None,
    }
    body = [facts(counts)]
    if patients is None:
        body.append(note(f"No column {source.keys.patient!r} says which patient a sample is of.", kind="absent"))
    if origins := _origins(source):
        body.append(tag("p", f"Pixel sizes come from: {listed(origins, quoted=False)}."))
    if len(sizes) > 1:
        body.append(note(f"Images have {counted(len(sizes), 'pixel size')}: see the table.", kind="caution"))
    if source.sdata is None:
        body.append(note("A table of cells was passed, without images.", kind="absent"))
    if source.cells is None:
        body.append(note("No table of cells: no cell was measured.", kind="absent"))
    elif source.keys.library not in source.cells.obs:
        body.append(note(f"No column {source.keys.library!r} says which sample a cell is of.", kind="absent"))
    body.append(table(frame, "Samples.", index="sample") if len(frame) else note("No sample is named.", kind="absent"))
    return Section("cohort", "Cohort", body)


def _origins(source: Source) -> list[str]:
    """Where pixel sizes come from, as far as the reader said so."""
    attrs = {} if source.sdata is None else source.sdata.attrs.get(ATTRS, {})
    samples = attrs.get("samples", {}) if isinstance(attrs, Mapping) else {}
    return sorted({str(one.get("mpp_source") or "") for one in samples.values() if isinstance(one, Mapping)} - {""})


def sample_table(source: Source) -> pd.DataFrame:
    """One row per sample: patient, size of image and pixel, cells, and clinical columns."""
    names = list(dict.fromkeys([*source.samples.index.astype(str), *(pair.sample for pair in source.pairs)]))
    frame = pd.DataFrame(index=pd.Index(names, name="sample"))
    clinical = source.samples.set_axis(source.samples.index.astype(str), axis=0)
    clinical = clinical[~clinical.index.duplicated()].reindex(names)
    if source.keys.patient in clinical:
        frame["patient"] = clinical[source.keys.patient]
    if source.sdata is not None and source.pairs:
        shapes, sizes = {}, {}
        for pair in source.pairs:
            shape = image_array(source.sdata, pair.image).sizes
            shapes[pair.sample] = f"{shape['x']:,}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{shape['y']:,}"
            sizes[pair.sample] = pixel_size(source.sdata, pair)
        frame["pixels"] = pd.Series(shapes).reindex(names)
        frame["µm per pixel"] = pd.to_numeric(pd.Series(sizes, dtype=object).reindex(names))
    if source.cells is not None and source.keys.library in source.cells.obs:
        counts = source.cells.obs[source.keys.library].astype(str).value_counts()
        frame["cells"] = counts.reindex(names, fill_value=0).astype(int)
    others = [name for name in clinical if name not in (source.keys.patient, source.keys.library)]
    return frame.join(clinical[others[:MOST_COLUMNS]], rsuffix=" (clinical)")


def patients_of(source: Source) -> list[str] | None:
    """Names of the patients, or None where no column has them."""
    for frame in (source.samples, None if source.cells is None else source.cells.obs):
        if frame is not None and source.keys.patient in frame:
            return list(pd.unique(frame[source.keys.patient].dropna().astype(str)))
    return None


def panel_section(source: Source) -> Section:
    """Union of the markers, who lacks what, and what each channel was read as."""
    panels = panels_of(source)
    if not panels:
        return Section("panel", "Panel and markers", [note("No image and no marker is there.", kind="absent")])
    union = list(dict.fromkeys(name for names in panels.values() for name in names))
    body: list[Html] = [tag("p", f"{counted(len(union), 'channel')} over {counted(len(panels), 'sample')}.")]
    body += _lacking(union, panels)
    body += _resolved(union)
    body += _measured(source)
    return Section("panel", "Panel and markers", body)


def panels_of(source: Source) -> dict[str, list[str]]:
    """Channels of each sample: of its image, or the markers that its cells were measured in."""
    if source.sdata is not None and source.pairs:
        return {pair.sample: channel_names(source.sdata, pair.image) for pair in source.pairs}
    if source.cells is None or not source.cells.n_vars:
        return {}
    record = source.cells.uns.get(UNS, {})
    record = record.get(TABLE, {}) if isinstance(record, Mapping) else {}
    missing = _missing_markers(record)
    markers = [str(name) for name in source.cells.var_names]
    return {
        str(name): [marker for marker in markers if marker not in missing.get(str(name), ())]
        for name in source.samples.index
    } or {"all cells": markers}


def _missing_markers(record: Mapping[str, Any]) -> dict[str, list[str]]:
    import json

    try:
        markers_of = json.loads(str(record.get("markers_missing", "{}")))
    except ValueError:
        return {}
    return markers_of if isinstance(markers_of, dict) else {}


def _lacking(union: list[str], panels: dict[str, list[str]]) -> list[Html]:
    """Channels that some samples lack."""
    lacking = {name: [sample for sample, names in panels.items() if name not in set(names)] for name in union}
    lacking = {name: samples for name, samples in lacking.items() if samples}
    if not lacking:
        return [tag("p", "All samples have all of them.")]
    frame = pd.DataFrame(
        {
            "samples without it": [len(samples) for samples in lacking.values()],
            "which": [listed(samples, 12, quoted=False) for samples in lacking.values()],
        },
        index=list(lacking),
    )
    return [
        note(f"Panels differ: {counted(len(lacking), 'channel')} of {len(union)} not in all samples.", kind="caution"),
        table(frame, "Channels that some samples lack.", index="channel"),
    ]


def _resolved(union: list[str]) -> list[Html]:
    """Which protein each channel was read as, and what decided."""
    try:
        matched = match_markers(union)
    except PanelError as error:
        return [note(f"Channels were not read as markers: {error}", kind="caution")]
    frame = pd.DataFrame(matched).set_index("channel")
    shown = ("status", "marker", "gene", "uniprot", "compartment", "duplicate_of", "via", "stripped", "suggestions")
    frame = frame[[name for name in shown if name in ("status", "marker") or (frame[name].astype(str) != "").any()]]
    body = [
        tag("h3", "Channels read as markers"),
        tag("p", matched.summary + ". Names are compared as sfm.pp.match_markers does without a mapping. What was "
            "decided by a mapping at embedding is in the record of the embedding."),
    ]  # fmt: skip
    open_ones = frame.index[frame["status"].isin(["ambiguous", "unknown"])]
    if len(open_ones):
        text = f"Not resolved: {listed(open_ones, 20, quoted=False)}. Models that know markers by name leave them out."
        body.append(note(text, kind="caution"))
    body.append(table(frame, "Channels, and the protein that each one was read as.", index="channel"))
    return body


def _measured(source: Source) -> list[Html]:
    """What the values of the cell table are."""
    record = {} if source.cells is None else source.cells.uns.get(UNS, {})
    record = record.get(TABLE, {}) if isinstance(record, Mapping) else {}
    if not isinstance(record, Mapping) or "statistic" not in record:
        return []
    text = f"Cells were measured as the {record['statistic']} of each marker over the pixels of the cell"
    factors = {sample: factor for sample, factor in intensity_factors(record).items() if factor != 1}
    if not factors:
        return [tag("p", text, ", in the units of the image.")]
    times = ", ".join(f"{sample} × {factor:g}" for sample, factor in factors.items())
    return [tag("p", text, f", brought to one unit: {times}; the others as in the image.")]
