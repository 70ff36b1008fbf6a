"""``spatialfm read``: files of a cohort become one SpatialData store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import SpatialfmError, counted, listed
from .._keys import ATTRS, IMAGE_PREFIX, PATIENT_KEY, SAMPLES, TABLE, cells_name, image_name
from ._analysis import STORE, Analysis
from ._config import Draft, one_of
from ._kept import Ledger, elements_of
from ._stage import Done, Stage
from ._without_images import READER, cohort_of, in_words, is_table_only

if TYPE_CHECKING:
    from spatialdata import SpatialData

FILES = ("image", "labels", "shapes", "measurements")  # of the record of a sample, paths
# what other stages do, or are told
ELSEWHERE = ("cell_table", "on_pieces", "time_key", "event_key", "event_value", "table_name")
NOT_HERE = ("features_h5",)  # readers of features that others computed, at which no stage can begin
FOLDERS = {"steinbock": ("panel.csv", "img"), "mcmicro": ("markers.csv",)}  # what the folder of a program holds
COLUMNS = ("library_key", "patient_key", "image_column", "labels_column", "mpp_column")


def read(analysis: Analysis, *, reader: str = "cohort", **settings: Any) -> Done:
    """Read images and masks, or a table of cells, and clinical columns into one SpatialData store, results/cohort.zarr.

    Pixels are copied into it once; the files of the cohort are read only, and not needed after this. Settings are
    those of the reader: of sfm.io.read_cohort, unless another is named.

    Parameters
    ----------
    reader
        What the cohort is: "cohort", a table with one row per sample; "cells", a table with one row per cell, without
        images; or the name of another reader of sfm.io without "read_", for the folder of an instrument's software.
        Its settings are options too: 'spatialfm read --reader cells --help' lists them.
    """
    sdata = open_cohort(analysis, {"reader": reader, **settings}, with_types=True)
    kept = _write(analysis, sdata)
    channels = channels_of(sdata)
    samples = sdata[SAMPLES].obs if SAMPLES in sdata else {}
    patients = f" of {counted(samples[PATIENT_KEY].nunique(), 'patient')}" if PATIENT_KEY in samples else ""
    named = f": {listed(channels, 40, quoted=False)}" if channels else ""
    if is_table_only(sdata):
        return Done(
            [
                f"{counted(len(samples), 'sample')}{patients}, {in_words(sdata)}",
                f"{counted(len(channels), 'marker')}{named}",
            ]
        )
    return Done(
        [
            f"{counted(len(samples_of(sdata)), 'sample')}{patients}, "
            f"{sum(has_cells(sdata, one) for one in samples_of(sdata))} with a mask",
            f"{counted(len(channels), 'channel')}{named}",
            *kept,
        ]
    )


def _write(analysis: Analysis, sdata: SpatialData) -> list[str]:
    """Write the store, but for images and masks that it holds already; how many of them these were."""
    from ..io import write
    from ..io._write import write_around

    ledger, target = Ledger(analysis, "read", STORE), analysis.place(STORE)
    files = ledger.files | analysis.stamps
    elements = {} if TABLE in sdata.tables else elements_of(sdata, files)  # cells that came along are read as a whole
    same = ledger.same(elements) if "read" not in analysis.redo else set()
    ledger.only(same)
    if same:
        write_around(sdata, target, same)
    else:
        write(sdata, target, overwrite=True)
    ledger.write(elements, files)
    if not same:
        return []
    n_images, n_masks = (sum(name in kind for name in same) for kind in (sdata.images, sdata.labels))
    return [
        f"read before, and left as they were: {n_images} of {counted(len(sdata.images), 'image')}, {n_masks} of "
        f"{counted(len(sdata.labels), 'mask')}"
    ]


def open_cohort(analysis: Analysis, settings: Mapping[str, Any], *, with_types: bool = False) -> SpatialData:
    """The cohort as its files are, lazily; everything that a reader refuses, it refuses here.

    `with_types`: where the files state types of the cells beside masks or polygons, cells are measured, which the stage
    'segment' does otherwise: the reader knows which type is of which cell.
    """
    said = dict(settings)
    function = _reader(name := said.pop("reader"))
    if name == READER:
        return cohort_of(function(analysis.config.cohort, **said))
    if "cell_table" not in function.arguments:  # type: ignore[attr-defined]
        return function(analysis.config.cohort, **said)
    sdata = function(analysis.config.cohort, **said, cell_table=False)
    if with_types and brings_cells(name, sdata):
        if all(has_cells(sdata, sample) for sample in samples_of(sdata)):
            return function(analysis.config.cohort, **said, cell_table=True)
    return sdata


def brings_cells(reader: str, sdata: SpatialData) -> bool:
    """Whether the files state types of the cells beside masks or polygons."""
    records = sdata.attrs.get(ATTRS, {}).get("samples", {}).values()
    return reader == "spora" or any(one.get("kind") == "qupath" for one in records)


def samples_of(sdata: SpatialData) -> list[str]:
    """Samples that have an image."""
    return [name.removeprefix(IMAGE_PREFIX) for name in sdata.images if name.startswith(IMAGE_PREFIX)]


def has_cells(sdata: SpatialData, sample: str) -> bool:
    """Whether the cells of a sample are there, as a mask or as polygons."""
    return cells_name(sample) in sdata.labels or cells_name(sample) in sdata.shapes


def channels_of(sdata: SpatialData) -> list[str]:
    """Names of the channels of all samples, in the order first seen; panoramas are not samples.

    Without images, of the markers of the cells.
    """
    from ..pp.arrays import channel_names

    if is_table_only(sdata):
        return [str(name) for name in sdata[TABLE].var_names]
    images = map(image_name, samples_of(sdata))
    return list(dict.fromkeys(name for image in images for name in channel_names(sdata, image)))


def sources(sdata: SpatialData, kinds: Sequence[str] = FILES) -> list[str]:
    """Files that the reader read, or those of some kinds."""
    samples = sdata.attrs.get(ATTRS, {}).get("samples", {})
    return [str(one[kind]) for one in samples.values() for kind in kinds if one.get(kind)]


def readers() -> dict[str, Callable]:
    """Readers of `spatialfm.io` by their short names, of those at which an analysis can begin."""
    from .. import io

    names = [name.removeprefix("read_") for name in io.__all__ if name.startswith("read_")]
    return {name: getattr(io, f"read_{name}") for name in names if name not in NOT_HERE}


def reader_of_folder(folder: Path) -> str | None:
    """The reader that a folder is probably for, by the files in it."""
    from ..io._ngff import is_zarr

    if is_zarr(folder):
        return "ome_zarr"
    hits = [name for name, files in FOLDERS.items() if all((folder / file).exists() for file in files)]
    return hits[0] if len(hits) == 1 else None


def _reader(name: str) -> Callable:
    return readers().get(name) or readers()["cohort"]


def _borrowed(given: Mapping[str, Any]) -> tuple[Callable, tuple[str, ...]]:
    return _reader(str(given.get("reader", "cohort"))), ELSEWHERE


def _check(draft: Draft) -> None:
    settings = draft.settings("read")
    if settings["reader"] in NOT_HERE:
        draft.problem(
            ("read", "reader"),
            f"{settings['reader']!r} reads features that another program computed, at which the command line cannot "
            f"begin. They are read in Python, by sfm.io.read_{settings['reader']}.",
        )
        return
    one_of(draft, ("read", "reader"), settings["reader"], list(readers()))
    if settings["reader"] != "cohort":
        return
    _refuse_folder(draft)
    defaults = draft.stages["read"].options(draft.section("read"))
    for key in COLUMNS:
        if settings[key] != defaults[key].default and isinstance(settings[key], str):
            draft.check_columns(("read", key), [settings[key]])
    draft.check_columns(("read", "clinical_keys"), settings["clinical_keys"] or ())


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    """Patients whose names are spelled in two ways, by any reader, found before hours are spent on their cells."""
    from ..cohort.patient_names import check_spelling

    if SAMPLES not in sdata or PATIENT_KEY not in sdata[SAMPLES].obs:
        return []
    try:
        check_spelling(sdata[SAMPLES].obs[PATIENT_KEY], "patient_key")
    except SpatialfmError as error:
        return [f"read: {error}"]
    return []


def _refuse_folder(draft: Draft) -> None:
    """Note a folder where a table is meant, with the reader that it seems to need."""
    cohort = str(draft.content.get("cohort"))
    if not Path(cohort).is_dir():
        return
    seems = reader_of_folder(Path(cohort))
    draft.problem(
        ("cohort",),
        f"{cohort!r} is a folder, not a table with one row per sample. Name a table, or write into the section 'read' "
        f"of the settings which program made the folder, {'as it seems' if seems else 'such as'} 'reader: "
        f"{seems or 'steinbock'}' ('spatialfm init FOLDER > config.yaml' prints settings).",
    )


STAGE = Stage(
    name="read",
    summary="images, masks, or a table of cells, and clinical columns into one store",
    example="spatialfm read cohort.csv --mpp 0.5",
    run=read,
    needs=(),
    check=_check,
    before=_before,
    borrowed=_borrowed,
)
