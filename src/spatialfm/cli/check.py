"""``spatialfm check``: whether a cohort can be analysed, and what that takes, before an hour is spent."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, counted, listed
from .._keys import ATTRS, SAMPLES, image_name
from ._analysis import Analysis
from ._commands import add_source, analysis_of
from ._config import OUT
from ._outcome_columns import candidates, in_words
from ._parser import add_command, folder
from ._run import check_before, images_of, in_settings
from ._screen import Screen
from ._without_images import NEED_IMAGES, described_cells, is_table_only
from .embed import arguments
from .read import channels_of, has_cells, samples_of
from .segment import MEASUREMENT, samples_without_mask
from .survival import outcome_of, read_before

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..embed.planned import Cost, EmbeddingPlan

LOOKED_AT = 5  # samples whose masks are laid on their images
SHOWN = 40  # samples in text; JSON has all
COPIES = 3  # of an embedding: of its stage, in the complete table, and while that is written
WARM = 30.0  # seconds below which a sample is measured again, without what the first call of all takes


def add(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        "check",
        run,
        summary="whether a cohort can be analysed, and what that takes",
        description="Opens every file without reading its pixels and reports images, channels and markers, pixel "
        "sizes, masks and clinical columns. One image is read whole, to estimate time and disk, and parts of five, to "
        "see whether masks lie on them. Nothing is written.",
        example="spatialfm check cohort.csv",
    )
    add_source(parser, default=None)
    parser.add_argument("--out", type=folder, metavar="DIR", help=f"folder of results; default: {OUT}")
    parser.add_argument(
        "--no-estimate", action="store_true", help="read no image: no estimates, and no look at how masks lie"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, for programs")


def run(args: argparse.Namespace, screen: Screen) -> int:
    """Everything that can be known; 1 if something has to be corrected."""
    analysis = analysis_of(args, screen, {})
    with screen.noting():
        sdata = images_of(analysis, from_files=True)
        description = described(analysis, sdata)
        problems = [*description.pop("problems"), *check_before(analysis, list(analysis.stages), sdata)]
        if not (args.no_estimate or problems or is_table_only(sdata)):
            try:
                description["cost"] = estimated(analysis, sdata)
                description["turned"] = turned_masks(sdata)
            except SpatialfmError as error:  # of a mask that the stage 'segment' refuses
                problems.append(f"segment: {error}{in_settings(str(error), analysis.stages['segment'])}")
    _show(description, problems, screen)
    status = "refused" if problems else "fine"
    screen.document({"command": "check", "status": status, **description, "problems": problems, "notes": screen.notes})
    return 1 if problems else 0


def described(analysis: Analysis, sdata: SpatialData) -> dict[str, Any]:
    """Samples, channels and clinical columns, as JSON holds them."""
    if is_table_only(sdata):
        seen = described_cells(sdata)
        names = {one["sample"]: channels_of(sdata) for one in seen["samples"]}
    else:
        seen = {"samples": [_sample(sdata, name) for name in samples_of(sdata)]}
        seen["without_mask"] = samples_without_mask(sdata)
        names = {one["sample"]: one["channels"] for one in seen["samples"]}
    clinical = sdata[SAMPLES].obs if SAMPLES in sdata else pd.DataFrame()
    settings = outcome_of(analysis.settings("survival"), list(map(str, clinical)))
    outcome, _ = read_before(settings, clinical)  # problems are those that the stage finds before it begins
    problems = _absent(analysis, settings, clinical)
    is_named = bool(problems) or {settings["time_key"], settings["event_key"]} <= set(clinical)
    return {
        "cohort": str(analysis.config.cohort),
        **seen,
        "patients": int(clinical["patient"].nunique()) if "patient" in clinical else None,
        "channels": _channels(names),
        "columns": [_column(clinical[name]) for name in clinical],
        "outcome": outcome,
        "outcome_candidates": None if is_named else _candidates(clinical),
        "problems": problems,
    }


def _sample(sdata: SpatialData, sample: str) -> dict[str, Any]:
    from ..pp.arrays import channel_names, image_array

    array = image_array(sdata, image_name(sample))
    known = sdata.attrs.get(ATTRS, {}).get("samples", {}).get(sample, {})
    return {
        "sample": sample,
        "pixels": [int(array.sizes["y"]), int(array.sizes["x"])],
        "channels": [str(name) for name in channel_names(sdata, image_name(sample))],
        "dtype": str(array.dtype),
        "mpp": None if known.get("mpp") is None else float(known["mpp"]),
        "mpp_source": known.get("mpp_source"),
        "mask": has_cells(sdata, sample),
        "bytes": int(array.nbytes),
    }


def _channels(of_samples: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Each channel, the marker that it is, and how many samples have it."""
    from ..pp import match_markers

    names = list(dict.fromkeys(name for channels in of_samples.values() for name in channels))
    if not names:
        return []
    table = match_markers(names)
    return [
        {
            "channel": row.channel,
            "status": row.status,
            "marker": row.marker or None,
            "suggestions": row.suggestions or None,
            "samples": sum(row.channel in channels for channels in of_samples.values()),
        }
        for row in table.itertuples()
    ]


def _column(values: pd.Series) -> dict[str, Any]:
    there = values.dropna()
    numbers = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if numbers and len(there):
        shown = f"{there.min():g} to {there.max():g}"
    else:
        shown = listed(pd.unique(there.astype(str)), 5, quoted=False)
    return {
        "column": str(values.name),
        "kind": "numbers" if numbers else "categories",
        "different": int(there.nunique()),
        "missing": int(values.isna().sum()),
        "values": shown,
    }


def _candidates(clinical: pd.DataFrame) -> dict[str, Any]:
    times, events = candidates(clinical)
    return {"time": times, "event": events, "words": in_words(clinical, times, events)}


def _absent(analysis: Analysis, settings: Mapping[str, Any], clinical: pd.DataFrame) -> list[str]:
    """Columns of time and event that were named, and that no reader made."""
    said = {"time_key", "event_key"} & set(analysis.config.given.get("survival", {}))
    absent = [settings[name] for name in ("time_key", "event_key") if settings[name] not in clinical]
    return [f"survival: the cohort table has no column {absent[0]!r}"] if said and absent else []


def estimated(analysis: Analysis, sdata: SpatialData) -> dict[str, Any]:
    """Time, memory and disk, from the sample of middling size."""
    samples = {name: _sample(sdata, name) for name in samples_of(sdata)}
    n_pixels = {name: int(np.prod(one["pixels"])) for name, one in samples.items()}
    sample = sorted(n_pixels, key=n_pixels.__getitem__)[len(n_pixels) // 2]
    areas = {name: n * (samples[name]["mpp"] or 1.0) ** 2 for name, n in n_pixels.items()}
    factor, of_cells = (sum(sizes.values()) / sizes[sample] for sizes in (n_pixels, areas))
    seconds, plan, cost = _planned(analysis, sdata, sample)
    if seconds < WARM:
        seconds, plan, cost = _planned(analysis, sdata, sample)
    n_cells = len(plan.cells.rows) * of_cells
    rows = 4 * n_cells * sum(plan.columns.values())
    return {
        "from_sample": sample,
        "cells": int(n_cells),
        "seconds_measuring": round(seconds * factor, 1),
        "seconds_embedding": round(cost.seconds * of_cells, 1),
        "memory_bytes": int(cost.memory + COPIES * rows),
        "disk_bytes": int(sum(one["bytes"] for one in samples.values()) + COPIES * rows),
        "disk_free_bytes": _free(analysis.out),
    }


def turned_masks(sdata: SpatialData) -> dict[str, str]:
    """What has to be done to masks that fit their image only then, of samples evenly spread; warned of, too."""
    from ..pp.elements import match_elements
    from ..pp.labels import inspect_labels
    from ..pp.orientation import say_orientation

    without = set(samples_without_mask(sdata))
    names = [name for name in samples_of(sdata) if name not in without]
    if not names:
        return {}
    places = np.unique(np.linspace(0, len(names) - 1, min(len(names), LOOKED_AT)).astype(int))
    pairs = match_elements(sdata, samples=[names[place] for place in places])
    scans = [inspect_labels(sdata, pair.sample, str(pair.labels), pair).pieces.by_label() for pair in pairs]
    return say_orientation(sdata, pairs, scans, in_passing=True)


def _planned(analysis: Analysis, sdata: SpatialData, sample: str) -> tuple[float, EmbeddingPlan, Cost]:
    """Seconds to segment and measure one sample, the plan to embed it, and what that takes."""
    from spatialdata import SpatialData

    from ..embed.planned import Cost
    from ..pp import segment_cells
    from ..tl import plan_embedding

    began = time.perf_counter()
    one = SpatialData(
        images=dict(sdata.images.items()),
        labels=dict(sdata.labels.items()),
        shapes=dict(sdata.shapes.items()),
        attrs=sdata.attrs,
    )
    if sample in samples_without_mask(sdata):
        said = analysis.settings("segment")
        segment_cells(one, samples=[sample], **{name: said[name] for name in said if name not in MEASUREMENT})
    plan = plan_embedding(one, samples=[sample], **arguments(analysis.settings("embed")))
    return time.perf_counter() - began, plan, plan.cost or Cost(0, 0, 0.0)


def _free(out: Path) -> int:
    import shutil

    place = out.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _show(description: dict[str, Any], problems: list[str], screen: Screen) -> None:
    from ..embed.planned import _duration, _size

    samples = description["samples"]
    patients = "" if description["patients"] is None else f" of {counted(description['patients'], 'patient')}"
    screen.show(f"{counted(len(samples), 'sample')}{patients}")
    if "types" in description:
        _show_cells(description, screen)
    else:
        _show_images(samples, screen)
    if description["channels"]:
        channels = pd.DataFrame(description["channels"])
        channels["samples"] = [f"{n} of {len(samples)}" for n in channels["samples"]]
        heading = "markers" if "types" in description else "channels"
        screen.show(f"\n{heading}\n" + channels.fillna("-").to_string(index=False))
    if description["columns"]:
        screen.show("\nclinical columns\n" + pd.DataFrame(description["columns"]).to_string(index=False))
    if description["outcome"] is not None:
        screen.show(
            "\nsurvival: {n_patients}, {n_events} (time {time_key!r}, event {event_key!r})".format(
                n_patients=counted(description["outcome"]["patients"], "patient"),
                n_events=counted(description["outcome"]["events"], "event"),
                **description["outcome"],
            )
        )
    elif description["outcome_candidates"]:
        screen.show("\n" + description["outcome_candidates"]["words"])
    if cost := description.get("cost"):
        screen.show(
            f"\nestimates from sample {cost['from_sample']!r}: about {cost['cells']:,} cells; "
            f"{_duration(cost['seconds_measuring'])} to measure and "
            f"{_duration(cost['seconds_embedding'])} to embed them; memory {_size(cost['memory_bytes'])}, disk "
            f"{_size(cost['disk_bytes'])} of {_size(cost['disk_free_bytes'])} free"
        )
        if cost["disk_bytes"] > cost["disk_free_bytes"]:
            screen.note("The results may not fit on the disk. Pass --out with a folder on another one.")
    if problems:
        screen.show(f"\n{counted(len(problems), 'problem')}")
        for one in problems:
            screen.show(f"  - {one}")
    else:
        screen.show("\nNothing has to be corrected.")


def _show_images(samples: list[dict[str, Any]], screen: Screen) -> None:
    rows = pd.DataFrame(
        {
            "sample": one["sample"],
            "pixels (y, x)": "{} x {}".format(*one["pixels"]),
            "channels": len(one["channels"]),
            "type": one["dtype"],
            "µm per pixel": "unknown" if one["mpp"] is None else f"{one['mpp']:g} ({one['mpp_source']})",
            "mask": "yes" if one["mask"] else "no",
        }
        for one in samples
    )
    screen.show(rows.head(SHOWN).to_string(index=False))
    if len(samples) > SHOWN:
        screen.show(f"... and {len(samples) - SHOWN} more")
    if several := of_several_sizes(samples):
        screen.note(several)


def of_several_sizes(samples: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on images whose pixels are of several sizes; empty if they are of one."""
    names_of: dict[float, list[str]] = {}
    for one in samples:
        if one["mpp"] is not None:
            names_of.setdefault(float(f"{one['mpp']:.6g}"), []).append(one["sample"])
    if len(names_of) < 2:
        return ""
    sizes = "; ".join(f"{size:g} µm: {listed(names, 4, quoted=False)}" for size, names in sorted(names_of.items()))
    return (
        f"Images have {len(names_of)} sizes of pixels ({sizes}). They are kept: areas and distances are in µm, and an "
        "encoder is shown windows of one size. If a size is wrong, correct it in the table (mpp_column=)."
    )


def _show_cells(description: dict[str, Any], screen: Screen) -> None:
    """The cells of a table without images."""
    samples, types = description["samples"], description["types"]
    width, height = description["extent"]
    screen.show(
        f"{counted(sum(one['cells'] for one in samples), 'cell')} in an area of {width:g} x {height:g} µm: if samples "
        "are not that large, set read.mpp"
    )
    screen.show(pd.DataFrame(samples).head(SHOWN).to_string(index=False))
    if len(samples) > SHOWN:
        screen.show(f"... and {len(samples) - SHOWN} more")
    named = ", ".join(f"{name} {n:,}" for name, n in list(types.items())[:SHOWN])
    screen.show(f"\ntypes: {named}" if types else "\nno types: cells will be clustered by their markers")
    screen.show(f"left out, as there are no images: {listed(NEED_IMAGES, quoted=False)}")
