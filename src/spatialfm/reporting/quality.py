"""Section on the quality of images and masks, as `pp.channel_quality` and `pp.check_labels` find it."""

from __future__ import annotations

import pandas as pd

from .._errors import SpatialfmError, counted, listed
from ..pp.channels import channel_quality
from ..pp.labels import check_labels
from .elements import Html, Section, note, table, tag
from .source import Source

SHOWN = ("mean", "snr", "dynamic_range", "saturated", "sharpness", "nuclear_correlation")
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
    return Section("quality", "Image and segmentation quality", body)


def _channels(source: Source, samples: list[str]) -> list[Html]:
    try:
        found = channel_quality(source.sdata, samples=samples)
    except SpatialfmError as error:
        return [note(f"Channels were not measured: {error}", kind="caution")]
    flagged = found.loc[found["note"].astype(str) != "", "note"].reset_index()
    body = []
    if len(flagged):
        worst = flagged.groupby(["note", "channel"], sort=False)["sample"].agg(["size", list]).reset_index()
        worst["meaning"] = worst["note"].map(_NOTES).fillna("")
        worst["which"] = [listed(names, 8, quoted=False) for names in worst.pop("list")]
        worst = worst.rename(columns={"size": "samples"}).set_index("channel")
        body.append(table(worst[["note", "meaning", "samples", "which"]], "Channels to look at.", index="channel"))
    else:
        body.append(tag("p", "No channel is constant, blank, negative or saturated in any of these images."))
    median = found.groupby(level="channel", sort=False)[list(SHOWN)].median()
    median.insert(0, "images", found.groupby(level="channel", sort=False).size())
    body.append(
        table(
            median,
            "Median of each channel over the images, on tissue: mean in units of the image; snr: brightest 5 % over "
            "darkest 50 % of pixels; dynamic range and saturated as shares; sharpness is to be compared between images "
            "of one channel, not between channels.",
            index="channel",
        )
    )
    return body


def _masks(source: Source, samples: list[str]) -> list[Html]:
    with_labels = [pair.sample for pair in source.looked_at if pair.labels is not None]
    body = []
    if without := [name for name in samples if name not in with_labels]:
        body.append(note(f"Without a mask of cells: {listed(without, 12, quoted=False)}.", kind="absent"))
    if not with_labels:
        return body
    try:
        found = check_labels(source.sdata, samples=with_labels)
    except SpatialfmError as error:
        return [*body, note(f"Masks were not checked: {error}", kind="caution")]
    cells = found.drop_duplicates("labels")
    body.append(
        tag("p", f"{counted(int(cells['n_cells'].sum()), 'cell')} in {counted(len(cells), 'mask')}; median area of a ",
            f"cell {cells['median_area'].median():.4g} pixels (median over masks).")
    )  # fmt: skip
    odd = found[~found["severity"].isin(["ok", "note"])]
    if not len(odd):
        body.append(tag("p", "No mask has cells that are doubled, cut, joined or not cells."))
    frame = pd.DataFrame(found[found["severity"] != "ok"]).set_index("sample")
    if len(frame):
        columns = ["finding", "severity", "n", "share", "message"]
        body.append(table(frame[columns], "What was found in masks, the worst of a sample first.", index="sample"))
    return body
