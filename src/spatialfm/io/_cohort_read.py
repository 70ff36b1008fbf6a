"""Samples of the rows of a cohort, opened; what is wrong with any of them is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import InputFileError, SpatialfmError
from ._cohort_table import Row
from ._each import open_each, refuse_each
from ._elements import ReadSample, read_sample
from ._kinds import PLAIN, QUPATH, open_kind, sample_of
from ._qupath_row import QuPathTables, read_qupath_row

if TYPE_CHECKING:
    from spatialdata import SpatialData


def read_rows(rows: Sequence[Row], channel_names: Any, mpp: float | None, **options: Any) -> list[ReadSample]:
    """All samples, opened, in the order of the rows.

    Parameters
    ----------
    channel_names, mpp
        For all rows; the pixel size of a row goes before.
    **options
        Of `read_sample`, for rows of files and masks.
    """
    # what holds several samples is opened once, and what is wrong with it is found once
    opened: dict[tuple[str, Path, Path | None, float | None], SpatialData | SpatialfmError] = {}
    taken: dict[tuple[str, Path, Path | None], dict[str, str]] = {}
    tables = QuPathTables()

    def read_row(row: Row) -> ReadSample:
        size = mpp if row.mpp is None else row.mpp
        if row.kind == PLAIN:
            how = {"channel_names": channel_names, "mpp": size, "needs_all_names": False} | options
            return read_sample(row.sample, row.image, row.labels, **how)
        if row.kind == QUPATH:
            return read_qupath_row(row, tables, channel_names, size)
        place = (row.kind, row.image.resolve(), row.labels, size)
        if place not in opened:
            try:
                opened[place] = open_kind(row.kind, row.image, row.labels, channel_names=channel_names, mpp=size)
            except SpatialfmError as error:
                opened[place] = error
        image_or_error = opened[place]
        if isinstance(image_or_error, SpatialfmError):
            raise image_or_error
        return sample_of(row.sample, row.kind, row.image, image_or_error, taken.setdefault(place[:3], {}))

    read, errors = open_each([(row.sample, partial(read_row, row)) for row in rows])
    refuse_each([*errors, *_same_pixels(read, {row.sample: row.image for row in rows})])
    return read


def _same_pixels(read: Sequence[ReadSample], images: Mapping[str, Path]) -> list[tuple[str, SpatialfmError]]:
    """Samples whose files differ but lead to the same pixels: members of one image that is split over files."""
    owners: dict[tuple[str, int], str] = {}
    errors = []
    for sample in read:
        paths = {owners[place] for place in sample.identity if place in owners}
        for other in sorted(paths):
            if images[other].resolve() != images[sample.sample].resolve():  # otherwise the user was warned already
                errors.append(
                    (
                        sample.sample,
                        InputFileError(
                            f"'{images[sample.sample]}' leads to the same pixels as '{images[other]}' of sample "
                            f"{other!r}: by their OME-XML both are parts of one image. Keep one row for it, or export "
                            "every sample as a separate image."
                        ),
                    )
                )
        owners.update(dict.fromkeys(sample.identity, sample.sample))
    return errors
