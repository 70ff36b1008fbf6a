"""Markers predicted without weights: by regression on stained pixels or cells, or by nearest cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import ArgumentError, ElementError, PanelError, counted, listed, repeated_names, warn
from ..._identity import fingerprint
from ..._settings import settings
from ..._storable import check_key
from ...cohort.patient_names import patients_of_rows
from ...cohort.representation import marker_values, refuse_predicted
from ...learn.imputers import Imputer, fit_imputer
from ...pp.panel import known_as
from ...pp.units import say_apart
from ...stats.reconstruction import MIN_ROWS
from .one_name import check_one_name, say_spelled_otherwise
from .one_unit import REMEDY, check_kinds, say_groups_apart

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel
    from ...pp.elements import SampleElements

MAX_PIXELS = 200_000  # that a regression is fitted on: more of them do not move its coefficients
STANDARDISED = "standardised"
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class FittedMarker:
    """What was fitted for one marker, with mean, standard deviation and lowest of the values it was fitted on."""

    imputer: Imputer
    mean: float
    std: float
    lowest: float

    def predict(self, x: np.ndarray, space: str) -> np.ndarray:
        """Values ``(n,)`` of rows ``(n, M)`` in the space that was asked for."""
        values = self.imputer.predict(x)[:, 0]
        if self.lowest >= 0:  # an intensity is never negative
            values = np.maximum(values, 0)
        if space != STANDARDISED:
            return values
        return (values - self.mean) / (self.std or 1.0)


def fit_one(
    method: str, x: np.ndarray, target: np.ndarray, groups: np.ndarray | None, random_state: int
) -> FittedMarker:
    """Fit one marker ``(n,)`` on the others ``(n, M)``."""
    imputer = fit_imputer(method, x, target[:, None], groups, random_state)
    return FittedMarker(imputer, float(target.mean()), float(target.std()), float(target.min()))


def check_markers(markers: Sequence[str]) -> list[str]:
    """Names, each once.

    Raises
    ------
    PanelError
        If there is none, or one is named twice.
    """
    names = [str(marker) for marker in markers]
    if not names:
        raise PanelError("markers= is empty. Name the markers that are to be predicted.")
    if twice := repeated_names(names):
        raise PanelError(f"Marker {twice[0]!r} is asked for twice in markers=.")
    return names


def tell_few(n: pd.Series, what: str) -> None:
    """Warn of patients who have too few of something for a score: `n` ``(patients,)``, by their names."""
    few = n.index[n < MIN_ROWS]
    if len(few):
        none = "there is no score" if len(few) == len(n) else "they have no score"
        warn(
            f"{len(few)} of {counted(len(n), 'patient')} {'has' if len(few) == 1 else 'have'} fewer than {MIN_ROWS} "
            f"{what}, first {few[0]!r}: {none}."
        )


# ------------------------------------------------------------------------------------------------------------- cells


def impute_cells(
    adata: AnnData,
    markers: Sequence[str],
    source: Any,
    method: str,
    *,
    key: str,
    layer: str | None,
    patient_key: str | None,
    space: str,
    random_state: int,
    asked: np.ndarray | None = None,
) -> None:
    """Predict markers of cells from the other markers, and write them as `spatialfm.tl.impute_markers` says.

    `asked`: rows of the samples that are to be written (default: all), see `write_means`.

    Raises
    ------
    PanelError, TableError
        If a marker was measured nowhere, or everywhere, or there is no other that all of these cells have.
    """
    from ...embed.paint.table import write_means

    names = check_markers(markers)
    check_key(adata, key)
    if source is not None and not hasattr(source, "obs"):
        raise ArgumentError("source= must be a table of cells, as the data are. Pass an AnnData.")
    known = adata if source is None or source is adata else source
    where = "the table" if known is adata else "source="
    targets = {}
    for name in names:
        if name not in known.var_names:
            raise PanelError(
                f"Marker {name!r} is not among the markers of {where} ({listed(known.var_names, 12)}), so that nothing "
                "can be learned of it. Pass source=<a table in which it was stained>."
            )
        targets[name] = marker_values(known, [name], layer)[:, 0]
    check_one_name(list(map(str, known.var_names)), names)
    refuse_predicted(known, names, layer, where)
    rows = {name: _rows_to_predict(adata, known, name, layer) for name in names}
    learned = {name: np.isfinite(values) for name, values in targets.items()}
    patients = patients_of_rows(known, patient_key, used=np.any(list(learned.values()), axis=0))
    if empty := [name for name in names if learned[name].sum() < 2]:
        raise PanelError(
            f"Marker {empty[0]!r} was measured in fewer than two cells of {where}. Pass source=<a table in which it "
            "was stained>."
        )
    inputs = [name for name in adata.var_names if name in known.var_names and name not in names]
    x_known, x = marker_values(known, inputs, layer), marker_values(adata, inputs, layer)
    if known is not adata:
        say_spelled_otherwise(list(map(str, adata.var_names)), list(map(str, known.var_names)))
    used = np.isfinite(x_known[np.any(list(learned.values()), axis=0)]).all(axis=0)
    used &= np.isfinite(x[np.any(list(rows.values()), axis=0)]).all(axis=0)
    if not used.any():
        raise PanelError(
            "No other marker was measured in all cells that are learned from and predicted, so that nothing is left to "
            f"predict {listed(names, 4)} from. Leave samples of other panels out."
        )
    seen = [name for name, one in zip(inputs, used, strict=True) if one]
    if known is not adata:
        both = np.repeat(["the table", "source="], [len(x), len(x_known)])
        say_groups_apart(np.vstack([x, x_known])[:, used], both, "Bring both to one unit before markers are imputed.")
    else:
        whose = np.where(np.all(list(learned.values()), axis=0), "cells that have them", "cells that lack markers")
        say_groups_apart(x[:, used], whose if patients is None else patients)
    values = np.full((adata.n_obs, len(names)), np.nan)
    for place, name in enumerate(names):
        cells, members = rows[name], learned[name]
        groups = None if patients is None else np.asarray(patients).astype(str)[members]
        fitted = fit_one(method, x_known[members][:, used], targets[name][members], groups, random_state)
        values[cells, place] = fitted.predict(x[cells][:, used], space)
    record = {
        "method": method,
        "model": "",
        "seen": seen,
        "imputed": names,
        "space": space,
        "layer": layer,
        "fitted_on": {name: int(members.sum()) for name, members in learned.items()},
        "fitted_mean": {name: float(targets[name][members].mean()) for name, members in learned.items()},
        "random_state": random_state,
    }
    write_means(adata, key, pd.DataFrame(values, adata.obs_names, pd.Index(names, dtype=object)), record, asked)


def _rows_to_predict(adata: AnnData, known: AnnData, name: str, layer: str | None) -> np.ndarray:
    """All cells that nothing is learned from: with another table all, otherwise those without the marker."""
    if known is not adata:
        return np.ones(adata.n_obs, bool)
    rows = ~np.isfinite(marker_values(adata, [name], layer)[:, 0])
    if not rows.any():
        raise PanelError(
            f"Marker {name!r} was measured in all cells: there is nothing to impute. To learn from other patients and "
            "compare with what was measured, pass source=<a table without these patients>."
        )
    return rows


# ------------------------------------------------------------------------------------------------------------ pixels


@dataclass(frozen=True)
class _Sample:
    """One image: its pixels, and the channel of each marker."""

    pair: SampleElements
    image: Any  # dask array (c, y, x)
    channels: Mapping[str, int]

    def of(self, markers: Sequence[str]) -> list[int]:
        return [self.channels[name] for name in markers]


def impute_pixels(
    sdata: SpatialData,
    markers: Sequence[str],
    source: Any,
    method: str,
    *,
    samples: Sequence[str] | None,
    panel: Panel | Mapping[str, Any] | None,
    elements: Elements,
    table_name: str,
    space: str,
    key_added: str,
    random_state: int,
) -> None:
    """Predict markers of pixels by regression on the other channels, and write images and means of cells.

    Raises
    ------
    ArgumentError, PanelError, ElementError, TableError
        Before any image is written.
    """
    from ...embed.paint.elements import add_images, check_image_names
    from ...embed.paint.run import FOLDER, read_written
    from ...embed.paint.table import cells_of, table_means, write_means

    if source is not None and not hasattr(source, "images"):
        raise ArgumentError("source= must hold images, as the data do. Pass a SpatialData.")
    names = [known_as([marker])[marker] for marker in check_markers(markers)]
    own = _samples(sdata, names, elements, samples, panel, table_name)
    others = own if source is None or source is sdata else _samples(source, names, None, None, panel, table_name)
    learned, lacking = _parts(own, others, names)
    check_kinds([(one.pair.image, one.image.dtype) for one in learned + lacking])
    check_image_names(sdata, [one.pair.sample for one in lacking], key_added)
    every = [one.pair for one in own]
    table_and_cells = cells_of(sdata, [one.pair for one in lacking], table_name, elements.on_pieces, None, every)
    seen = [
        name for name in lacking[0].channels if name not in names and all(name in o.channels for o in learned + lacking)
    ]
    if not seen:
        raise PanelError(f"No other marker is in all images, so that nothing is left to predict {listed(names)} from.")
    _say_units(learned, lacking, seen)
    fits = _fit_pixels(learned, seen, names, random_state)
    digest = fingerprint(
        {
            "fits": [
                [fit.imputer.predict(np.eye(len(seen) + 1, len(seen))), fit.mean, fit.std, fit.lowest] for fit in fits
            ],
            "images": [_digest(one, seen) for one in lacking],
            "space": space,
        }
    )
    folder = settings.cache_dir / FOLDER / digest[:24]
    for number, one in enumerate(lacking):
        _write_pixels(folder / f"{number:05d}", one, seen, fits, space)
    record = {
        "method": method,
        "model": "",
        "seen": seen,
        "imputed": names,
        "space": space,
        "fitted_on": [one.pair.sample for one in learned],
        "random_state": random_state,
    }
    pairs = [one.pair for one in lacking]
    if table_and_cells is not None:
        table, cells = table_and_cells
        readers = [_reader(one) for one in lacking]
        means = table_means(sdata, pairs, readers, table, cells, partial(read_written, folder), names)
        called = _called(sdata, own, table, [*seen, *names], dict(zip(names, markers, strict=True)))
        notes = {part: [called[name] for name in record[part]] for part in ("seen", "imputed")}
        write_means(table, f"X_{key_added}", means.rename(columns=called), record | notes, cells.rows)
        sdata.tables[table_name] = table
    add_images(sdata, pairs, [1.0] * len(pairs), folder, key_added, record)


def _called(
    sdata: SpatialData, own: list[_Sample], table: AnnData, names: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """How the table names each marker, which has the names of channels; the marker's own where it has none."""
    from ...embed.paint.table import names_in_table
    from ...pp.arrays import channel_names

    channels = []
    for one in own:
        every = channel_names(sdata, one.pair.image)
        channels.append([every[one.channels[name]] if name in one.channels else name for name in names])
    return names_in_table(table, channels, names, given)


def _samples(
    sdata: SpatialData,
    names: Sequence[str],
    elements: Elements | None,
    samples: Sequence[str] | None,
    panel: Panel | Mapping[str, Any] | None,
    table_name: str,
) -> list[_Sample]:
    from ...embed.call import Panel as PanelOf
    from ...embed.markers.panel import resolve_panel
    from ...pp.arrays import channel_names, image_array
    from ...pp.elements import match_elements

    meant = PanelOf.of(panel)
    image, labels = (None, {}) if elements is None else (elements.image, elements.labels)
    pairs = match_elements(sdata, image, labels, samples=samples, need_labels=False, table_name=table_name)
    wanted = None if meant.markers is None else {*(known_as([marker])[marker] for marker in meant.markers), *names}
    opened = []
    for pair in pairs:
        every = channel_names(sdata, pair.image)
        mapping = {name: to for name, to in (meant.mapping or {}).items() if name in every}
        one = resolve_panel([every], mapping=mapping, on_unknown=meant.on_unknown or "keep", nuisance=meant.nuisance)
        channels = dict(zip(one.markers, one.channels[0], strict=True))
        channels = {name: at for name, at in channels.items() if wanted is None or name in wanted}
        opened.append(_Sample(pair, image_array(sdata, pair.image).data, channels))
    return opened


def _parts(own: list[_Sample], others: list[_Sample], names: Sequence[str]) -> tuple[list[_Sample], list[_Sample]]:
    """Samples that have all markers, and samples to predict."""
    learned = [one for one in others if all(name in one.channels for name in names)]
    if not learned:
        raise PanelError(
            f"No image has {listed(names)}, so that nothing can be learned of them. Pass source=<a SpatialData in "
            "which they were stained>."
        )
    if others is not own:
        return learned, own
    lacking = [one for one in own if not any(name in one.channels for name in names)]
    if len(learned) + len(lacking) < len(own):
        raise PanelError(
            f"Some images have only a part of {listed(names)}. Impute each marker by its own call, with its own "
            "key_added=."
        )
    if not lacking:
        raise PanelError(f"All images have {listed(names)}: there is nothing to impute.")
    return learned, lacking


def _say_units(learned: list[_Sample], lacking: list[_Sample], seen: Sequence[str]) -> None:
    """Warn of images of one type of pixels that are not in one unit, by the means of some of their pixels."""
    levels, names = [], []
    for one in learned + lacking:
        pixels = _spread(one, seen, len(learned + lacking))
        levels.append(np.where(np.isfinite(pixels), pixels, 0).mean(axis=(1, 2)))
        names.append(one.pair.sample)
    if np.min(levels, initial=0) >= 0:
        say_apart(names, np.stack(levels), REMEDY)


def _spread(one: _Sample, markers: Sequence[str], n_images: int) -> np.ndarray:
    """Pixels ``(markers, y, x)`` on a grid over an image, of which `n_images` have `MAX_PIXELS` together."""
    from ...pp.measure import loaded

    height, width = one.image.shape[-2:]
    step = max(1, int(np.ceil(np.sqrt(height * width * n_images / MAX_PIXELS))))
    return loaded(one.image[one.of(markers), ::step, ::step]).astype(np.float64)


def _fit_pixels(
    learned: list[_Sample], seen: Sequence[str], names: Sequence[str], random_state: int
) -> list[FittedMarker]:
    """One regression for each marker, on pixels spread evenly over the images that have it."""
    parts, groups = [], []
    for number, one in enumerate(learned):
        pixels = _finite(one, _spread(one, [*seen, *names], len(learned)))
        pixels = pixels.reshape(len(seen) + len(names), -1)
        parts.append(pixels.T)
        groups.append(np.full(pixels.shape[1], number))
    values, group = np.concatenate(parts), np.concatenate(groups)
    inputs = values[:, : len(seen)]
    return [fit_one("linear", inputs, values[:, len(seen) + place], group, random_state) for place in range(len(names))]


def _finite(one: _Sample, pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ElementError(
            f"Image {one.pair.image!r} holds pixels that are NaN or infinite in channels that others are learned or "
            "predicted from. Set them to 0, or crop the image."
        )
    return pixels


def _write_pixels(path: Any, one: _Sample, seen: Sequence[str], fits: Sequence[FittedMarker], space: str) -> None:
    from ...embed.paint.pyramid import write_pyramid
    from ...pp.measure import loaded

    if path.is_dir():
        return
    channels = one.of(seen)

    def read(target: int, box: Box) -> np.ndarray:
        y0, y1, x0, x1 = box
        pixels = _finite(one, loaded(one.image[channels, y0:y1, x0:x1])).astype(np.float64)
        return fits[target].predict(pixels.reshape(len(channels), -1).T, space).reshape(y1 - y0, x1 - x0)

    write_pyramid(path, (len(fits), *one.image.shape[-2:]), "float32", read)


def _digest(one: _Sample, seen: Sequence[str]) -> str:
    from ...embed.pixels.content import content_digest

    return content_digest(one.image, one.of(seen), name=one.pair.image)


def _reader(one: _Sample) -> Any:
    """What knows the grid of pixels of an image as it is."""
    from ...embed.pixels.reader import SampleReader
    from ...pp.arrays import AxisAffine

    return SampleReader(one.pair.image, "", one.image, one.image[0], (0,), ("",), 1.0, 1.0, AxisAffine())
