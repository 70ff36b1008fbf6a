"""``sfm.pp.add_samples``: which sample and patient each cell is of, for objects that no reader of this package made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from .._errors import ClinicalError, TableError, counted, listed, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY, SAMPLES, SPATIAL, TABLE
from .._public import public
from .annotated import is_of_points
from .clinical import Target, check_columns, join_rows, read_clinical
from .drawn_cells import rows_of_sample
from .elements import SampleElements, match_elements, table_regions
from .joins import text_keys
from .off_labels import say_off_labels
from .plain_names import make_plain

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .._outcome import EventValue


@dataclass(frozen=True)
class _Names:
    """One way to name samples: what it is called, and the sample of each name."""

    what: str
    sample_of: Mapping[str, str]


@public
def add_samples(
    sdata: SpatialData,
    table: pd.DataFrame | str | PathLike,
    on: str = SAMPLE_KEY,
    *,
    patient_key: str = PATIENT_KEY,
    clinical_keys: str | Sequence[str] | None = None,
    samples: str | Sequence[str] | None = None,
    table_name: str = TABLE,
    overwrite: bool = False,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
) -> None:
    """Add samples, patients and clinical columns to an object that another package made.

    The readers of this package do so; objects of spatialdata-io, sopa or squidpy have images and cells alone.
    Everything is checked before anything is written.

    Parameters
    ----------
    sdata
        Images, and the table of cells if there is one.
    table
        One row per sample, as a frame or a file (``.csv``, ``.tsv``, ``.tab``, ``.txt``, ``.parquet``).
    on
        Column of `table` that names the sample of each row: by the sample (the name of its image without ``image_``),
        the name of its image or of its labels or shapes, or, where the table of cells has a column of this name too, by
        the value of that.
    patient_key
        Column of `table` that names patients; it is written as ``"patient"``.
    clinical_keys
        Columns to write (default: all but `on`).
    samples
        Samples that `table` is of (default: all, each of which must have a row).
    table_name
        Table of cells.
    overwrite
        Whether columns of `obs` with other values may be replaced.
    time_key
        Column with times to event or censoring, which survival functions then need not be told.
    event_key
        Column that says whether there was an event, likewise.
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.

    Returns
    -------
    None. Writes

    - ``sdata["samples"]``, one row per sample, with its columns: a new table, or more columns of the one that is there.
    - to ``sdata[table_name].obs`` ``sample`` and the columns of the sample of each cell, where that table exists.

    Raises
    ------
    ClinicalError
        If a sample has no row or two, a column is there already with other values, is reserved, or holds dates.
    TableError
        If rows of the table of cells are of no sample, or its positions hold y before x by its own columns.
    ElementError, CoordinateError
        If images and cells cannot be paired.

    Warns
    -----
    SpatialfmWarning
        If rows of `table` are of no sample, or positions of cells are not on their labels or in their shapes, as in
        another unit.

    See Also
    --------
    add_clinical : Joins columns to what has samples already.

    Examples
    --------
    >>> import numpy as np, pandas as pd, spatialdata as sd, spatialfm as sfm
    >>> from spatialdata.models import Image2DModel
    >>> image = Image2DModel.parse(np.zeros((1, 4, 4)), dims=("c", "y", "x"))
    >>> sdata = sd.SpatialData(images={"lung_image": image})
    >>> frame = pd.DataFrame({"slide": ["lung_image"], "case": ["p1"], "grade": [2]})
    >>> sfm.pp.add_samples(sdata, frame, on="slide", patient_key="case")
    >>> sdata["samples"].obs
               patient  grade
    lung_image      p1      2
    """
    make_plain(sdata)
    pairs = match_elements(sdata, samples=samples, need_labels=False, table_name=table_name)
    cells = _cell_table(sdata, table_name)
    of_cells = None if cells is None else _sample_of_cells(sdata, cells, table_name, pairs, partly=samples is not None)
    if cells is not None and of_cells is not None and SPATIAL in cells.obsm:
        say_off_labels(sdata, pairs, cells, table_name, of_cells)
    rows, keys = _rows(table, on, patient_key, clinical_keys)
    rows = _by_sample(rows, keys, on, pairs, cells, of_cells)
    targets = [_target_of_samples(sdata, pairs)]
    if cells is not None and of_cells is not None:
        targets.append(Target(cells, pd.Series(of_cells, index=cells.obs_names), False, f"sdata[{table_name!r}]"))
    for target in targets:
        check_columns(target, rows, SAMPLE_KEY)
    named = [rows, rows.assign(**{SAMPLE_KEY: pd.Categorical(rows.index)})][: len(targets)]
    join_rows(
        targets,
        named,
        pd.Series(rows.index, dtype=object),
        SAMPLE_KEY,
        on_missing="keep",  # rows of samples that were not asked for, or that have no image
        overwrite=overwrite,
        told=(time_key, event_key, event_value),
        said_to="sfm.pp.add_samples",
    )
    if SAMPLES not in sdata.tables:
        sdata.tables[SAMPLES] = targets[0].adata


def _cell_table(sdata: SpatialData, table_name: str) -> AnnData | None:
    if table_name in sdata.tables:
        return sdata.tables[table_name]
    if table_name != TABLE:
        raise TableError(f"No table {table_name!r} in sdata (table_name=); found {listed(sdata.tables)}.")
    return None


def _sample_of_cells(
    sdata: SpatialData, cells: AnnData, table_name: str, pairs: Sequence[SampleElements], *, partly: bool
) -> np.ndarray:
    """Sample of each row, None where it is of none of these and need not be."""
    out = np.full(cells.n_obs, None, dtype=object)
    if is_of_points(sdata, cells):
        if len(pairs) > 1 and SAMPLE_KEY not in cells.obs:
            raise TableError(
                f"Table {table_name!r} annotates no element, and sdata has {counted(len(pairs), 'image')}: of which "
                f"each row is must be in a column: sdata[{table_name!r}].obs[{SAMPLE_KEY!r}] = [...]."
            )
        for pair in pairs:
            out[rows_of_sample(cells.obs, pair.sample)] = pair.sample
    else:
        regions = cells.obs[cells.uns["spatialdata_attrs"]["region_key"]].astype(str).to_numpy()
        for pair in pairs:
            out[regions == pair.labels] = pair.sample
    without = pd.isna(out)
    if without.any() and not partly:
        named = table_regions(cells) or ["nothing"]
        raise TableError(
            f"{counted(int(without.sum()), 'row is', 'rows are')} of no sample: table {table_name!r} "
            f"annotates {listed(named, 5)}, and the cells of the images are "
            f"{listed([pair.labels or 'none' for pair in pairs], 5)}. Correct the regions, or name samples=."
        )
    return out


def _rows(
    table: pd.DataFrame | str | PathLike, on: str, patient_key: str, clinical_keys: str | Sequence[str] | None
) -> tuple[pd.DataFrame, pd.Series]:
    """Columns to write, and the name of each row."""
    rows, keys, _ = read_clinical(table, on, clinical_keys, [patient_key], "on")
    if patient_key not in rows and patient_key != PATIENT_KEY:
        raise ClinicalError(
            f"The table has no column {patient_key!r} (patient_key=); it has {listed(rows.columns, 12)}. Pass the "
            "column that names patients."
        )
    if patient_key in rows and patient_key != PATIENT_KEY:
        if PATIENT_KEY in rows:
            raise ClinicalError(
                f"The table has columns {PATIENT_KEY!r} and {patient_key!r} (patient_key=), and the second would be "
                "written as the first. Leave one out with clinical_keys=."
            )
        rows = rows.rename(columns={patient_key: PATIENT_KEY})
    if PATIENT_KEY in rows:
        names, _ = text_keys(rows[PATIENT_KEY], f"{patient_key!r} of the table", ClinicalError)
        if names.isna().any():
            raise ClinicalError(
                f"{counted(int(names.isna().sum()), 'row')} of the table without patient in column {patient_key!r}: "
                f"{listed(keys[names.isna().to_numpy()], 5)}. Fill them in, or leave these rows out."
            )
        rows = rows.assign(**{PATIENT_KEY: names.astype("category")})
    if SAMPLE_KEY in rows:
        raise ClinicalError(
            f"The table has a column {SAMPLE_KEY!r} next to on={on!r}: samples have the names of their images. Rename "
            "it in the table, or leave it out with clinical_keys=."
        )
    return rows, keys


def _by_sample(
    rows: pd.DataFrame,
    keys: pd.Series,
    on: str,
    pairs: Sequence[SampleElements],
    cells: AnnData | None,
    of_cells: np.ndarray | None,
) -> pd.DataFrame:
    """One row per sample, under its name."""
    ways = list(_ways(on, pairs, cells, of_cells))
    best = max(ways, key=lambda way: sum(key in way.sample_of for key in keys))  # the first of equals
    sample_of = keys.map(best.sample_of)
    n_best = int(sample_of.notna().sum())
    for way in ways:
        theirs = keys.map(way.sample_of)
        if n_best and theirs.notna().sum() == n_best and not theirs.equals(sample_of):
            key = keys[(theirs != sample_of) & (theirs.notna() | sample_of.notna())].iloc[0]
            raise ClinicalError(
                f"Column {on!r} can be read in two ways: {key!r} is sample {best.sample_of.get(key)!r} by {best.what}, "
                f"and {way.sample_of.get(key)!r} by {way.what}. Rename the column, so that it holds names of samples "
                "alone, or write the names of the images into it."
            )
    samples = [pair.sample for pair in pairs]
    if missing := [sample for sample in samples if sample not in set(sample_of)]:
        there = "; ".join(f"{way.what}: {listed(way.sample_of, 3)}" for way in ways)
        raise ClinicalError(
            f"The table has no row for {counted(len(missing), 'sample')}: {listed(missing, 5)}. Column {on!r} holds "
            f"{listed(keys, 3)}, and may hold ({there}). Correct it, pass on=<column>, or name the samples that the "
            "table is of with samples=."
        )
    if sample_of.isna().any():
        warn(
            f"{counted(int(sample_of.isna().sum()), 'row')} of the table are of no sample and not used: "
            f"{listed(keys[sample_of.isna()], 5)}."
        )
    twice = sample_of.dropna()[sample_of.dropna().duplicated()]
    if len(twice):
        raise ClinicalError(f"The table has several rows for {listed(twice.unique(), 5)}. Keep one row per sample.")
    return rows.set_axis(sample_of.to_numpy(), axis=0).loc[samples]


def _ways(
    on: str, pairs: Sequence[SampleElements], cells: AnnData | None, of_cells: np.ndarray | None
) -> Iterator[_Names]:
    """How the rows of a table may name samples; a column of the cells counts where it has one value per sample."""
    yield _Names("samples", {pair.sample: pair.sample for pair in pairs})
    if cells is not None and of_cells is not None and on in cells.obs:
        values, _ = text_keys(cells.obs[on], f"{on!r} of the table of cells", ClinicalError)
        seen = pd.DataFrame({"value": values.to_numpy(), "sample": of_cells}).dropna().drop_duplicates()
        if seen["value"].is_unique and seen["sample"].is_unique:
            yield _Names(f"{on!r} of the cells", dict(zip(seen["value"], seen["sample"], strict=True)))
    yield _Names("images", {pair.image: pair.sample for pair in pairs})
    yield _Names("labels", {str(pair.labels): pair.sample for pair in pairs if pair.labels is not None})


def _target_of_samples(sdata: SpatialData, pairs: Sequence[SampleElements]) -> Target:
    """The table of samples that is there, or a new one, which is not in `sdata` yet."""
    name = f"sdata[{SAMPLES!r}]"
    if SAMPLES in sdata.tables:
        table = sdata.tables[SAMPLES]
        keys, numeric = text_keys(table.obs.index.to_series(), f"index of {name}.obs", ClinicalError)
        return Target(table, keys, numeric, name)
    names = [pair.sample for pair in pairs]
    table = AnnData(np.zeros((len(names), 0), np.float32), obs=pd.DataFrame(index=pd.Index(names, dtype=object)))
    return Target(table, pd.Series(names, index=table.obs_names, dtype=object), False, name)
