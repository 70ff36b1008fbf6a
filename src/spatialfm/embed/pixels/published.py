"""Statistics that come with a run: of an earlier record, of the user, or published with a data set.

Published ones lie as spora (https://spora.epfl.ch) lays them out, beside the images of a data set:
``<modality>/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image/`` with ``global_level_means.parquet`` and
``global_level_stds.parquet`` (one column per channel) and ``image_level_upper_quantiles.parquet`` (one row per image).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import PanelError, counted, listed
from ...models.preparation import Preparation
from ...pp.panel import match_markers

if TYPE_CHECKING:
    from ...models.recipe import Recipe

METHOD = ("quantile_clipping_log1p", "uq_0.99_image")
FILES = {
    "means": "global_level_means",
    "stds": "global_level_stds",
    "quantiles": "image_level_upper_quantiles",
}
_PLACES = (".", METHOD[1], "/".join(METHOD), *(f"{up}standardization/{'/'.join(METHOD)}" for up in ("", "*/", "*/*/")))
_RESOLUTION = re.compile(r"\d+_\d+mpp")


@dataclass(frozen=True)
class GivenStatistics:
    """Statistics of named markers or channels.

    Attributes
    ----------
    mean, std
        By the names that the source has.
    where
        What they are, for the record.
    by_channel
        Whether names are those of channels rather than of markers.
    clip
        Clipping values by image and channel, or None.
    intensity_max
        Pixel values that were divided by, where that is known.
    """

    mean: dict[str, float]
    std: dict[str, float]
    where: str
    by_channel: bool = False
    clip: pd.DataFrame | None = None
    intensity_max: dict[str, float] = field(default_factory=dict)


def read_statistics(source: object, model: str, recipe: Recipe) -> GivenStatistics:
    """What `statistics=` holds, checked against what the model takes.

    Raises
    ------
    PanelError
        If it contains no statistics, or they are of pixels on another scale than the model's.
    """
    if isinstance(source, Mapping) and "normalization_mean" in source:
        return _of_record(source, model, recipe)
    if isinstance(source, Mapping) and source and not set(source) & {*FILES, *FILES.values()}:
        return _of_pairs(source)
    if isinstance(source, pd.DataFrame):
        return _of_table(source, model, recipe)
    return _of_data_set(source, model, recipe)


def of_markers(
    statistics: GivenStatistics, markers: Sequence[str], channels: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Mean and standard deviation ``(M,)`` of each marker, and their names there.

    Parameters
    ----------
    markers
        Markers of the run.
    channels
        For each sample, the channel of each marker.

    Raises
    ------
    PanelError
        If a marker has none, or several without one being named like it (all such are named), or no numbers.
    """
    names = list(statistics.mean)
    table = match_markers(names)
    meant = {row.channel: row.marker for row in table.itertuples() if row.status in ("exact", "alias")}
    chosen, missing, several = [], [], []
    for place, marker in enumerate(markers):
        own = {sample[place] for sample in channels}
        straight = [*own, marker] if statistics.by_channel else [marker, *own]
        # a channel's own name, then the marker's, then other names of the same marker
        same = [name for name in straight if name in statistics.mean and (name == marker or len(own) == 1)][:1]
        same = same or [name for name in names if meant.get(name) == marker]
        if len(same) > 1:
            several.append(f"{marker} ({', '.join(same)})")
        elif not same:
            missing.append(marker)
        else:
            chosen.append(same[0])
    if missing:
        raise PanelError(
            f"statistics= contains no statistics for {', '.join(missing)}; it has {listed(names, 60, quoted=False)}. "
            "Pass markers= without them."
        )
    if several:
        raise PanelError(
            f"statistics= holds several statistics for {'; '.join(several)}. Leave the one that is meant, or name the "
            "channel like it."
        )
    mean, std = (np.array([values[name] for name in chosen], float) for values in (statistics.mean, statistics.std))
    wrong = ~(np.isfinite(mean) & np.isfinite(std) & (std >= 0))
    if wrong.any():
        place = int(wrong.argmax())
        raise PanelError(
            f"statistics= has mean {mean[place]:g} and standard deviation {std[place]:g} for {chosen[place]}; both "
            "must be numbers, the second not below zero. Correct them, or pass markers= without it."
        )
    return mean, std, chosen


def clip_of(statistics: GivenStatistics | None, names: Sequence[str], columns: Sequence[str]) -> np.ndarray | None:
    """Published clipping values of an image that the data set itself has, ``(M,)``; NaN where one is not published."""
    if statistics is None or statistics.clip is None:
        return None
    known = [name for name in names if name in statistics.clip.index]
    if not known:
        return None
    return statistics.clip.loc[known[0]].reindex(list(columns)).to_numpy(dtype=float)


def preparation_name(recipe: Recipe) -> str:
    """Name of a recipe's preparation; empty where there is none."""
    return recipe.preparation.name if isinstance(recipe.preparation, Preparation) else ""


def _of_record(record: Mapping[str, Any], model: str, recipe: Recipe) -> GivenStatistics:
    names = ("markers", "normalization_mean", "normalization_std")
    values: dict[str, Any] = {name: _parsed(record.get(name)) for name in names}
    of_model, kind = record.get("model", "?"), record.get("normalization")
    if kind not in (None, recipe.normalization):
        raise PanelError(
            f"statistics= is the record of {of_model}, whose pixels were normalised by {kind!r}; {model} takes "
            f"{recipe.normalization!r}. Pass the record of an embedding by {model}."
        )
    then, now = str(record.get("preparation") or ""), preparation_name(recipe)
    if kind is not None and then != now:
        before, here = (repr(name) if name else "nothing" for name in (then, now))
        raise PanelError(
            f"statistics= is the record of {of_model}, whose pixels were prepared by {before}, and here they are "
            f"prepared by {here}: statistics are on another scale. Pass the same preparation in recipe=, or embed the "
            "first cohort again."
        )
    columns = (values["markers"], values["normalization_mean"], values["normalization_std"])
    if any(column is None for column in columns) or len({len(column) for column in columns}) > 1:
        raise PanelError(
            "statistics= is a record without markers, means or standard deviations. Pass sfm.get.record(...)."
        )
    mean, std = (dict(zip(values["markers"], map(float, column), strict=True)) for column in columns[1:])
    ranges = _parsed(record.get("intensity_max"))
    return GivenStatistics(
        mean, std, f"record of {of_model}", intensity_max=dict(ranges) if isinstance(ranges, Mapping) else {}
    )


def _of_pairs(source: Mapping[str, Any]) -> GivenStatistics:
    mean, std = {}, {}
    for name, pair in source.items():
        try:
            mean[name], std[name] = (float(value) for value in pair)
        except (TypeError, ValueError) as error:
            raise PanelError(f"statistics[{name!r}] = {pair!r} is not (mean, standard deviation).") from error
    return GivenStatistics(mean, std, "given values")


def _of_table(table: pd.DataFrame, model: str, recipe: Recipe) -> GivenStatistics:
    """A table of `spatialfm.pp.marker_statistics`."""
    if lacking := [name for name in ("mean", "std") if name not in table]:
        raise PanelError(
            f"statistics= is a table without the column {lacking[0]!r}; found {listed(table.columns, 12)}. Pass that "
            "of sfm.pp.marker_statistics(sdata)."
        )
    if table.index.nlevels > 1:
        raise PanelError(
            "statistics= is a table of each sample separately. Pass that of all together: "
            "sfm.pp.marker_statistics(sdata)."
        )
    if twice := table.index[table.index.duplicated()].tolist():
        raise PanelError(f"statistics= has several rows for {listed(twice, 8)}. Keep one of each marker.")
    if isinstance(recipe.preparation, Preparation):
        raise PanelError(
            f"statistics= is a table of pixels as they are; {model} takes those of {recipe.preparation.words} ones. "
            "Pass the record of an embedding by it, or leave statistics= out."
        )
    try:
        mean, std = ({str(name): float(value) for name, value in table[column].items()} for column in ("mean", "std"))
    except (TypeError, ValueError) as error:
        raise PanelError(
            f"statistics= is a table with a mean or standard deviation that is not a number: {error}."
        ) from error
    return GivenStatistics(mean, std, "given table", intensity_max=dict(table.attrs.get("intensity_max", {})))


def _of_data_set(source: object, model: str, recipe: Recipe) -> GivenStatistics:
    layout = recipe.preparation.layout if isinstance(recipe.preparation, Preparation) else ""
    if layout != "/".join(METHOD):
        how = f"prepared by {preparation_name(recipe)!r}" if preparation_name(recipe) else "as they are"
        raise PanelError(
            f"statistics= of a data set in spora's layout are of clipped, log-transformed pixels before any blur; "
            f"{model} takes those of pixels {how}. Pass {{marker: (mean, standard deviation)}} of such pixels, or "
            "leave statistics= out."
        )
    parts, where = _parts(source)
    if absent := [name for name in ("means", "stds") if name not in parts]:
        raise PanelError(
            f"statistics= has no {FILES[absent[0]]}.parquet. Pass the folder that holds it, or both tables."
        )
    mean, std = (_one_row(parts[name], name) for name in ("means", "stds"))
    if set(mean) != set(std):
        apart = ", ".join(sorted(set(mean) ^ set(std)))
        raise PanelError(f"statistics= has channels with a mean or a standard deviation alone: {apart}.")
    return GivenStatistics(mean, std, where, by_channel=True, clip=parts.get("quantiles"))


def _parts(source: object) -> tuple[dict[str, pd.DataFrame], str]:
    """Tables by their short name, and where they come from."""
    if isinstance(source, str | os.PathLike):
        folder = _folder(Path(source).expanduser())
        paths = {name: folder / f"{stem}.parquet" for name, stem in FILES.items()}
        return {name: _table(path) for name, path in paths.items() if path.is_file()}, str(folder)
    if isinstance(source, Sequence):
        source = {Path(path).stem: path for path in source}
    if not isinstance(source, Mapping) or not source:
        raise PanelError(
            f"statistics= is {type(source).__name__}; expected 'auto', 'published', 'cohort', {{marker: (mean, "
            "standard deviation)}, sfm.get.record(...), a folder of published statistics in spora's layout, or its "
            "tables."
        )
    short = {stem: name for name, stem in FILES.items()}
    if unknown := [key for key in source if key not in (*FILES, *short)]:
        raise PanelError(f"statistics= has the table {unknown[0]!r}; expected {', '.join(FILES.values())}.")
    where = [str(value) for value in source.values() if isinstance(value, str | os.PathLike)]
    return {short.get(key) or key: _table(value) for key, value in source.items()}, ", ".join(where) or "given tables"


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise PanelError(
            f"statistics={str(path)!r} is not one of 'auto', 'published' and 'cohort', and not a folder. Pass the "
            f"folder that holds {FILES['means']}.parquet."
        )
    files = [file for place in _PLACES for file in path.glob(f"{place}/{FILES['means']}.parquet")]
    folders = sorted({file.parent.resolve() for file in files})
    if len(folders) > 1:
        raise PanelError(f"statistics={str(path)!r} holds several: {', '.join(map(str, folders))}. Pass one of them.")
    if not folders:
        raise PanelError(
            f"statistics={str(path)!r} contains no {FILES['means']}.parquet, nor does "
            f"standardization/{'/'.join(METHOD)} below it. Pass the folder that does."
        )
    folder = folders[0]
    if folder.name.startswith("uq_") and (folder.parent.name, folder.name) != METHOD:
        raise PanelError(
            f"statistics= are of the standardization {folder.parent.name}/{folder.name}; those of {'/'.join(METHOD)} "
            "are taken: clipping at the 99th percentile of each image, then log(1 + x)."
        )
    other = [part for part in folder.parts if _RESOLUTION.fullmatch(part) and part != "1_0mpp"]
    if other:
        raise PanelError(f"statistics= are of images at {other[-1]}; those at 1 µm per pixel (1_0mpp) are taken.")
    return folder


def _table(value: object) -> pd.DataFrame:
    if isinstance(value, pd.Series):
        return value.to_frame().T
    if isinstance(value, pd.DataFrame):
        return value
    try:
        return pd.read_parquet(value)
    except (OSError, ValueError, TypeError) as error:  # pyarrow's errors are ValueErrors
        raise PanelError(f"statistics= table {value!r} cannot be read as parquet: {error}") from error


def _one_row(table: pd.DataFrame, name: str) -> dict[str, float]:
    if len(table) != 1:
        raise PanelError(
            f"statistics= has {counted(len(table), 'row')} of {name}; one is expected, of the whole data set."
        )
    return {str(channel): float(value) for channel, value in table.iloc[0].items()}


def _parsed(value: object) -> object:
    if isinstance(value, str) and value:
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return None
    return value
