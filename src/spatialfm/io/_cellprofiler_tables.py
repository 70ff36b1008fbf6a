"""Tables of CellProfiler: images by number, and the objects in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import ArgumentError, InputFileError, TableError, counted, listed, repeated_names
from ..pp.joins import whole_numbers
from ..pp.tables import read_table
from ._cell_columns import number_columns
from ._cell_frame import CellFrame
from ._named_files import bare
from ._names import sample_name_or_empty

_IMAGE, _OBJECT = "ImageNumber", "ObjectNumber"
_FILE, _FOLDER = "FileName_", "PathName_"
_OBJECTS_FILE, _OBJECTS_FOLDER = "ObjectsFileName_", "ObjectsPathName_"
_MEAN = "Intensity_MeanIntensity_"
_SUFFIXES = (".csv", ".txt", ".tsv")
_PLACES = (("Location_Center_X", "Location_Center_Y"), ("AreaShape_Center_X", "AreaShape_Center_Y"))
_OTHER_TABLES = ("image", "experiment", "object relationships", "objectrelationships")


@dataclass(frozen=True)
class CellProfilerTables:
    """What a pipeline exported.

    Attributes
    ----------
    images
        One row per image, indexed by its number.
    cells
        One row per object, of all images.
    objects
        Name of the objects.
    folder
        Of the tables.
    sources
        Paths of both tables, for messages.
    """

    images: pd.DataFrame
    cells: pd.DataFrame
    objects: str
    folder: Path
    sources: tuple[str, str]

    @property
    def image_names(self) -> list[str]:
        """Names of the images that the pipeline loaded or saved."""
        return [str(name)[len(_FILE) :] for name in self.images if str(name).startswith(_FILE)]


def read_tables(folder: Path, objects: str | None) -> CellProfilerTables:
    """Tables of a folder, as ExportToSpreadsheet writes them.

    Raises
    ------
    InputFileError
        If there is no table of images or of these objects, or several and none is chosen.
    TableError
        If images have no number, one occurs twice, or objects are of images that the table lacks.
    """
    if not folder.is_dir():
        raise InputFileError(f"'{folder}' is not a folder. Pass the one to which CellProfiler exported its tables.")
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES and path.name[0] != "."]
    images = [path for path in tables if path.stem == "Image" or path.stem.endswith("_Image")]
    if len(images) != 1:
        problem = f"has {listed(one.name for one in images)}" if images else "has no table Image.csv"
        raise InputFileError(f"Folder '{folder}' {problem}. Pass a folder with the tables of one run of CellProfiler.")
    prefix = images[0].stem.removesuffix("Image")
    others = {path.stem.removeprefix(prefix): path for path in tables if path.stem.startswith(prefix)}
    others = {name: path for name, path in others.items() if name.lower() not in _OTHER_TABLES}
    path = others[_chosen(list(others), objects, folder)]
    frame, cells = read_table(images[0]), read_table(path)
    _need(frame, [_IMAGE], images[0])
    _need(cells, [_IMAGE, _OBJECT], path)
    numbers = whole_numbers(frame[_IMAGE], f"{_IMAGE!r} of '{images[0]}'", "Export the tables again.")
    if len(np.unique(numbers)) < len(numbers):
        raise TableError(f"'{images[0]}' has an {_IMAGE} more than once. Export the tables again, of one run.")
    own = whole_numbers(cells[_IMAGE], f"{_IMAGE!r} of '{path}'", "Export the tables again.")
    if (foreign := np.setdiff1d(own, numbers)).size:
        raise TableError(
            f"'{path}' has objects of {counted(foreign.size, 'image')} that '{images[0]}' lacks: "
            f"{listed(foreign, 5, quoted=False)}. Are both of one run?"
        )
    frame = frame.set_axis(numbers, axis=0)
    names = path.stem.removeprefix(prefix)
    return CellProfilerTables(frame, cells.assign(**{_IMAGE: own}), names, folder, (str(images[0]), str(path)))


def _need(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    if absent := [name for name in columns if name not in frame]:
        raise TableError(
            f"'{path}' has no column {absent[0]!r}; it has {listed(frame.columns, 8)}. Pass the tables of "
            "ExportToSpreadsheet."
        )


def _chosen(there: list[str], objects: str | None, folder: Path) -> str:
    if objects is not None:
        if objects not in there:
            raise InputFileError(
                f"Folder '{folder}' has no table of {objects!r}, but of {listed(there)}. Correct objects=."
            )
        return objects
    for name in ("Cells", "Cell", "Nuclei"):
        if name in there:
            return name
    if len(there) != 1:
        raise InputFileError(
            f"Folder '{folder}' has tables of {listed(there)}. Say which are the cells: objects=<name>."
        )
    return there[0]


def sample_of_image(tables: CellProfilerTables, names: Sequence[str], library_key: str) -> dict[int, str]:
    """Sample of each image: by a column, what the names of its files share, or its number.

    Raises
    ------
    InputFileError
        If a column does not name each image in its own way.
    """
    frame = tables.images
    if library_key in frame:
        samples = ["" if pd.isna(value) else sample_name_or_empty(str(value)) for value in frame[library_key]]
        if len({one.casefold() for one in samples}) < len(samples) or "" in samples:
            raise InputFileError(
                f"Column {library_key!r} of '{tables.sources[0]}' does not name each image in its own way: "
                f"{listed(frame[library_key], 5)}. Pass another library_key=."
            )
        return dict(zip(frame.index, samples, strict=True))
    columns = [f"{_FILE}{name}" for name in names]
    shared = [os.path.commonprefix([bare(str(one)) for one in row]).rstrip("_-. ") for row in frame[columns].to_numpy()]
    samples = [sample_name_or_empty(one) for one in shared]
    if "" in samples or len({one.casefold() for one in samples}) < len(samples):
        samples = [str(number) for number in frame.index]
    return dict(zip(frame.index, samples, strict=True))


def file_of(
    tables: CellProfilerTables, number: int, name: str, base: Path | None, *, is_objects: bool
) -> tuple[Path | None, str]:
    """Where a file of an image is, and what is wrong: the folder in the table is that of the computer that ran it."""
    first, second = (_OBJECTS_FILE, _OBJECTS_FOLDER) if is_objects else (_FILE, _FOLDER)
    row = tables.images.loc[number]
    file = row.get(f"{first}{name}")
    if file is None or pd.isna(file):
        return None, f"no file in column '{first}{name}'"
    file, folder = str(file), row.get(f"{second}{name}")
    parts = [] if folder is None or pd.isna(folder) else [one for one in re.split(r"[\\/]+", str(folder)) if one]
    roots = [base] if base is not None else [tables.folder, tables.folder.parent]
    there = [Path(str(folder)) / file] if parts else []
    there += [root.joinpath(*parts[i:], file) for root in roots for i in range(len(parts) + 1)]
    place = next((path for path in there if path.is_file()), None)
    if place is None:
        where = f"'{roots[0]}'" + (f", nor where it was, '{folder}'" if parts else "")
        return None, f"no file '{file}' in {where}; pass base_path=<its folder>"
    return place, ""


def same_files(
    tables: CellProfilerTables, samples: Mapping[int, str], names: Sequence[str], files: Mapping[int, tuple]
) -> list[str]:
    """Images that the table has in different folders and that are one file here: a copy without the folders."""
    problems = []
    for i, name in enumerate(names):
        columns = [one for one in (f"{_FILE}{name}", f"{_FOLDER}{name}") if one in tables.images]
        seen: dict[Path, int] = {}
        for number, (images, _) in files.items():
            if images[i] is None:
                continue
            first = seen.setdefault(images[i].resolve(), number)
            if tuple(tables.images.loc[first, columns]) != tuple(tables.images.loc[number, columns]):
                problems.append(
                    f"{name!r} of samples {samples[first]!r} and {samples[number]!r} is '{images[i]}' for both, and in "
                    "different folders by the table; keep these below base_path="
                )
    return problems


def file_by_template(
    tables: CellProfilerTables, number: int, template: str, base: Path | None
) -> tuple[Path | None, str]:
    """A file whose name is made of columns of the image's row: ``"masks/{Metadata_Core}.tiff"``.

    Raises
    ------
    ArgumentError
        If there is no such column.
    """
    row = tables.images.loc[number].to_dict() | {_IMAGE: number}
    try:
        name = template.format_map(row)
    except (KeyError, ValueError, IndexError) as error:
        raise ArgumentError(
            f"labels={template!r} cannot be filled in: {error}. '{tables.sources[0]}' has the columns "
            f"{listed(row, 12)}."
        ) from error
    path = (base or tables.folder) / name
    return (path, "") if path.is_file() else (None, f"no file '{path}'")


def frame_of_image(
    tables: CellProfilerTables, number: int, sample: str, mpp: float, channels: Mapping[str, str | None]
) -> CellFrame:
    """Cells of one image.

    Parameters
    ----------
    channels
        Name of each channel by what the columns of intensities call it; those of None are not markers.

    Raises
    ------
    TableError
        If positions are absent, or two markers get one name.
    """
    rows = tables.cells[tables.cells[_IMAGE] == number].reset_index(drop=True)
    ids = whole_numbers(rows[_OBJECT], f"{_OBJECT!r} of '{tables.sources[1]}'", "Export the tables again.")
    places = next((pair for pair in _PLACES if set(pair) <= set(rows)), None)
    if places is None:
        raise TableError(
            f"'{tables.sources[1]}' has no columns {listed(_PLACES[0])}. Export the location of the objects too."
        )
    # indices of pixels, whose centres are half a pixel further
    xy = (number_columns(rows, places, f"'{tables.sources[1]}'") + 0.5) * mpp
    means = {name[len(_MEAN) :]: name for name in map(str, rows) if name.startswith(_MEAN)}
    named = [(channels.get(called, called), name) for called, name in means.items()]
    chosen = {marker: name for marker, name in named if marker is not None}
    if len(chosen) < sum(marker is not None for marker, _ in named):
        alike = set(repeated_names(marker for marker, _ in named if marker is not None))
        twice = [name for marker, name in named if marker in alike]
        raise TableError(f"Columns {listed(twice)} would be one marker by channel_names=. Give each a name of its own.")
    values = pd.DataFrame(number_columns(rows, list(chosen.values()), f"'{tables.sources[1]}'"), columns=list(chosen))
    dropped = {_IMAGE, _OBJECT, "Number_Object_Number", *chosen.values(), *_PLACES[0]}
    obs = rows.drop(
        columns=[name for name in rows if name in dropped or str(name).startswith(("FileName_", "PathName_"))]
    )
    return CellFrame(sample, ids, xy, values, obs)
