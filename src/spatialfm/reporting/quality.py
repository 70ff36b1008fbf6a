"""Section on the quality of images and masks, as `pp.channel_quality` and `pp.check_labels` find it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import SpatialfmError, counted, listed
from .._keys import ATTRS, SEGMENTATION
from ..pl import segmentation as draw_segmentation
from ..pp.arrays import channel_names, image_array
from ..pp.channels import channel_quality, nuclear_channel
from ..pp.elements import image_to_system, labels_to_system, pixel_size
from ..pp.labels import check_labels
from ..pp.segment_quality import segmentation_quality
from ..pp.units import kinds_of_pixels
from .elements import Html, Section, note, table, tag
from .figures import drawn
from .source import Source

if TYPE_CHECKING:
    from ..pp.elements import SampleElements

SHOWN = ("mean", "snr", "dynamic_range", "saturated", "sharpness", "nuclear_correlation")
MIDDLE = 120.0  # µm of an image that outlines are shown of
FLAG = "segmentation_"  # before the name of a flag, in obs
FLAGS = ("at_border", "cut", "no_nucleus", "several_nuclei", "shared_nucleus")
_NOTES = {
    "constant": "all pixels have one value",
    "negative": "pixels below 0",
    "saturated": "many pixels at the largest value",
    "blank": "bright pixels hardly differ from dark ones: nothing was stained, or nothing was found",
}


def quality_section(source: Source) -> Section:
    """Channels and masks of the images that are looked at."""
    if source.sdata is None or not source.pairs:
        return Section("quality", "Image and segmentation quality", [note("There are no images.", kind="absent")])
    samples = [pair.sample for pair in source.looked_at]
    body: list[Html] = []
    if not samples:
        text = f"Nothing is said of quality: of {counted(len(source.pairs), 'image')} none was looked at (samples=)."
        return Section("quality", "Image and segmentation quality", [note(text, kind="absent")])
    if len(samples) < len(source.pairs):
        body.append(
            note(
                f"Looked at: {listed(samples, 12, quoted=False)}, which is {counted(len(samples), 'image')} of "
                f"{len(source.pairs)}; samples= chooses others. Nothing is said of the rest.",
                kind="caution",
            )
        )
    body += [tag("h3", "Channels"), *_channels(source, samples), tag("h3", "Masks"), *_masks(source, samples)]
    if any(pair.labels is not None for pair in source.looked_at):
        body += [tag("h3", "Cells and nuclei"), *_segmentation(source)]
    return Section("quality", "Image and segmentation quality", body)


def segmentations(source: Source) -> pd.DataFrame:
    """How masks were made, one row per element, as far as sfm.pp.segment_cells made them."""
    attrs = {} if source.sdata is None else source.sdata.attrs.get(ATTRS, {})
    records = attrs.get(SEGMENTATION, {}) if isinstance(attrs, Mapping) else {}
    rows = {}
    for name, record in records.items():
        if name not in source.sdata or not isinstance(record, Mapping):
            continue
        channels = record.get("channels", ())
        rows[str(name)] = {
            "method": record.get("method"),
            "channels": channels if isinstance(channels, str) else ", ".join(map(str, channels)),
            "diameter in µm": record.get("diameter_um"),
            "cells": record.get("n_cells"),
            "weights": record.get("weights", ""),
            "SHA-256": record.get("sha256", ""),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _segmentation(source: Source) -> list[Html]:
    """How masks were made, and how many cells are cut, or have no nucleus or several."""
    segmented, body = segmentations(source), []
    if len(segmented):
        segmented = segmented[
            [name for name in segmented if name not in ("weights", "SHA-256") or (segmented[name] != "").any()]
        ]
        body.append(table(segmented, "Masks that sfm.pp.segment_cells made, and how.", index="element"))
    try:
        frame, whose = _flagged(source)
    except SpatialfmError as error:
        return [*body, note(f"Cells and nuclei were not compared: {error}", kind="caution")]
    text = (
        f"Cells with a flag, {whose}. at border: may be cut by the border of the image; cut: ends at a seam; no "
        "nucleus, several nuclei and shared nucleus rest on nuclei that are themselves an estimate: compare samples."
    )
    return [*body, table(frame, text, index="sample"), *_outlines(source)]


def _outlines(source: Source) -> list[Html]:
    """Outlines of cells in the middle of the first image with a mask and a known nuclear stain."""
    for pair in source.looked_at:
        names = channel_names(source.sdata, pair.image)
        stain = nuclear_channel(names, None, pair.image)
        if pair.labels is None or stain is None or pixel_size(source.sdata, pair) is None:
            continue
        shape, to_um = image_array(source.sdata, pair.image).sizes, image_to_system(source.sdata, pair)
        y, x = to_um(shape["y"] / 2, shape["x"] / 2)
        crop = (x - MIDDLE / 2, y - MIDDLE / 2, x + MIDDLE / 2, y + MIDDLE / 2)
        figure = drawn(
            lambda sample=pair.sample, name=names[stain], crop=crop: draw_segmentation(
                source.sdata, sample, nuclear=name, crop=crop, show=False, return_fig=True
            ),
            alt=f"Outlines of cells over {names[stain]} in the middle of sample {pair.sample}.",
            caption=f"Outlines of cells over {names[stain]}, in the middle {MIDDLE:g} µm of sample {pair.sample}, the "
            "first with a mask.",
        )
        return [figure]
    return []


def _flagged(source: Source) -> tuple[pd.DataFrame, str]:
    """Cells with each flag, by sample: as they are in the table, or of the images that are looked at."""
    cells = source.cells
    flags = [] if cells is None else [name for name in cells.obs if str(name).startswith(FLAG)]
    if flags and source.keys.library in cells.obs:
        sample = cells.obs[source.keys.library].dropna().astype(str)  # as text, what is missing would be a sample "nan"
        judged = cells.obs.loc[cells.obs[source.keys.library].notna().to_numpy(), flags].astype("boolean")
        counts = judged.groupby(sample.to_numpy()).sum(min_count=1).rename_axis("sample")
        counts.columns = [name.removeprefix(FLAG) for name in flags]
        counts.insert(0, "cells", sample.value_counts().reindex(counts.index))
        said = "as sfm.pp.segmentation_quality wrote them into the table"
        nowhere = cells.n_obs - len(sample)
        return counts, said + (f"; {counted(nowhere, 'cell')} of no sample left out" if nowhere else "")
    samples = [pair.sample for pair in source.looked_at if pair.labels is not None]
    quality = segmentation_quality(source.sdata, samples=samples).set_index("sample")
    names = ("n_cells", *FLAGS, "n_seams", "n_nuclei", "nuclei_outside")
    return quality[[name for name in names if name in quality]], "as sfm.pp.segmentation_quality finds them"


def _channels(source: Source, samples: list[str]) -> list[Html]:
    try:
        quality = channel_quality(source.sdata, samples=samples)
    except SpatialfmError as error:
        return [note(f"Channels were not measured: {error}", kind="caution")]
    flagged = quality.loc[quality["note"].astype(str) != "", "note"].reset_index()
    body = []
    if len(flagged):
        worst = flagged.groupby(["note", "channel"], sort=False)["sample"].agg(["size", list]).reset_index()
        worst["meaning"] = worst["note"].map(_NOTES).fillna("")
        worst["which"] = [listed(names, 8, quoted=False) for names in worst.pop("list")]
        worst = worst.rename(columns={"size": "samples"}).set_index("channel")
        body.append(table(worst[["note", "meaning", "samples", "which"]], "Channels to look at.", index="channel"))
    else:
        body.append(tag("p", "No channel is constant, blank, negative or saturated in any of these images."))
    kinds, by = _kinds_of_images(source), [quality.index.get_level_values("channel")]
    if len(set(kinds.values())) > 1:
        text = "Images differ in type or size of their pixels: means and sharpness of the kinds cannot be compared."
        body.append(note(text, kind="caution"))
        by.append(quality.index.get_level_values("sample").map(kinds).rename("pixels"))
    groups = quality.groupby(by, sort=False)
    median = groups[list(SHOWN)].median()
    median.insert(0, "images", groups.size())
    if "pixels" in median.index.names:
        median = median.reset_index("pixels")
    body.append(
        table(
            median,
            "Median of each channel over the images, on tissue: mean in units of the image; snr: brightest 5 % over "
            "darkest 50 % of pixels, at most 1,000; dynamic range and saturated as shares; sharpness is to be compared "
            "between images of one channel, not between channels.",
            index="channel",
        )
    )
    return body


def _kinds_of_images(source: Source) -> dict[str, str]:
    """Type and size of the pixels of each sample: of another type is another unit, and sharpness goes with the size."""
    pairs = {pair.sample: pair for pair in source.looked_at}
    types = kinds_of_pixels({name: image_array(source.sdata, pair.image).dtype for name, pair in pairs.items()})
    sizes = {name: _size(source, pair) for name, pair in pairs.items()}
    return {
        name: kind if sizes[name] is None else f"{kind}, {sizes[name]:.6g} µm"
        for kind, names in types.items()
        for name in names
    }


def _size(source: Source, pair: SampleElements) -> float | None:
    try:
        return pixel_size(source.sdata, pair)
    except SpatialfmError:  # pixels that are not square
        return None


def median_areas(source: Source, checked: pd.DataFrame) -> tuple[pd.Series, str]:
    """Median area of a cell of each mask, and its unit: µm² where the pixel sizes of all masks are known."""
    pairs = {pair.sample: pair for pair in source.looked_at}
    areas = checked.drop_duplicates("labels").set_index("sample")["median_area"]
    if any(_size(source, pairs[str(sample)]) is None for sample in areas.index):
        return areas, "pixels"
    scales = [labels_to_system(source.sdata, pairs[str(sample)]) for sample in areas.index]
    return areas * [abs(one.scale_y * one.scale_x) for one in scales], "µm²"


def _masks(source: Source, samples: list[str]) -> list[Html]:
    with_labels = [pair.sample for pair in source.looked_at if pair.labels is not None]
    body = []
    if without := [name for name in samples if name not in with_labels]:
        body.append(note(f"Without a mask of cells: {listed(without, 12, quoted=False)}.", kind="absent"))
    if not with_labels:
        return body
    try:
        checked = check_labels(source.sdata, samples=with_labels)
    except SpatialfmError as error:
        return [*body, note(f"Masks were not checked: {error}", kind="caution")]
    cells = checked.drop_duplicates("labels")
    areas, unit = median_areas(source, checked)
    body.append(
        tag("p", f"{counted(int(cells['n_cells'].sum()), 'cell')} in {counted(len(cells), 'mask')}; median area of a ",
            f"cell {areas.median():.4g} {unit} (median over masks).")
    )  # fmt: skip
    odd = checked[~checked["severity"].isin(["ok", "note"])]
    if not len(odd):
        body.append(tag("p", "No mask has cells that are doubled, cut, joined or not cells."))
    frame = pd.DataFrame(checked[checked["severity"] != "ok"]).set_index("sample")
    if len(frame):
        columns = ["finding", "severity", "n", "share", "message"]
        body.append(table(frame[columns], "What was found in masks, the worst of a sample first.", index="sample"))
    return body
