"""Samples of the rows of a cohort, opened; what is wrong with any of them is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import InputFileError, SpatialfmError
from .._progress import progress_bar
from ._cohort_table import Row, refuse_all
from ._elements import ReadSample, read_sample
from ._kinds import PLAIN, open_kind, sample_of

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
    read, errors = [], []
    opened: dict[
        tuple[str, Path, Path | None, float | None], SpatialData
    ] = {}  # what holds several samples is opened once
    taken: dict[tuple[str, Path, Path | None], dict[str, str]] = {}
    for row in progress_bar(rows, desc="files", unit="sample"):
        size = mpp if row.mpp is None else row.mpp
        try:
            if row.kind == PLAIN:
                how = {"channel_names": channel_names, "mpp": size, "needs_all_names": False} | options
                read.append(read_sample(row.sample, row.image, row.labels, **how))
                continue
            place = (row.kind, row.image.resolve(), row.labels, size)
            if place not in opened:
                opened[place] = open_kind(row.kind, row.image, row.labels, channel_names=channel_names, mpp=size)
            of_path = taken.setdefault(place[:3], {})
            read.append(sample_of(row.sample, row.kind, row.image, opened[place], of_path))
        except SpatialfmError as error:
            errors.append((row.sample, error))
    errors += _same_pixels(read, {row.sample: row.image for row in rows})
    kinds = {type(error) for _, error in errors}
    # one kind of error keeps its class, so that it can be caught as the error that it is
    refuse_all(
        [f"sample {sample!r}: {error}" for sample, error in errors], kinds.pop() if len(kinds) == 1 else SpatialfmError
    )
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
