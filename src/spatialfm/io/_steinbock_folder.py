"""What is where in a folder of steinbock: panel, information on images, images and masks by name.

The layout is that of https://bodenmillergroup.github.io/steinbock/latest/file-types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .._errors import InputFileError, PanelError, counted, listed, warn
from ..pp.tables import read_table, read_text_cells
from ._cohort_table import refuse_all
from ._names import is_tiff_name, natural_key, sample_name, sample_name_or_empty, stem
from ._pixel_size import PixelSize

IMAGES_FILE, PANEL_FILE = "images.csv", "panel.csv"
_DRAWN = 0.005
_SIZE_COLUMNS = ("num_channels", "height_px", "width_px")


@dataclass(frozen=True)
class SteinbockSample:
    """Files of one image, and what ``images.csv`` states of it."""

    sample: str
    image: Path
    mask: Path | None
    stated_shape: tuple[int | None, int | None, int | None]  # (c, y, x); None where it is not stated
    pixel_size: PixelSize | None

    @property
    def table_name(self) -> str:
        """Name of the files of its cells: ``.csv`` in place of ``.tiff`` or ``.ome.tiff``."""
        return f"{stem(self.image)}.csv"


@dataclass(frozen=True)
class SteinbockPanel:
    """Channels that the panel keeps, in the order of the images."""

    names: tuple[str, ...]
    ids: tuple[str, ...]  # metals or other channel ids
    n_rows: int


def find_samples(folder: Path, images: str, masks: str | bool) -> tuple[list[SteinbockSample], pd.DataFrame]:
    """Samples of a folder, and the rows of ``images.csv`` indexed by sample (no columns where there is no such file).

    Raises
    ------
    InputFileError
        With all that is wrong: no images, two of one name, two folders of masks between which only the user can choose.
    """
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "is not there"
        raise InputFileError(f"Folder '{folder}' {what}. Pass the folder in which steinbock ran.")
    files = _tiffs(folder / images)
    if not files:
        raise InputFileError(
            f"'{folder / images}' contains no TIFF file. The folder of steinbock holds {PANEL_FILE}, img/ and masks/; "
            "images in another folder of it are read with images=<its name>."
        )
    mask_of: dict[str, Path] = {}
    info = _image_info(folder / IMAGES_FILE)
    names = [sample_name_or_empty(stem(file)) or sample_name(file.name) for file in files]
    seen: dict[str, Path] = {}
    problems = []
    for file in _tiffs(_mask_folder(folder, masks)):
        if (other := mask_of.setdefault(stem(file).casefold(), file)) is not file:
            problems.append(f"masks '{other}' and '{file}' would be of one image; move one away")
    for name, file in zip(names, files, strict=True):
        if name.casefold() in seen:
            problems.append(f"images '{seen[name.casefold()]}' and '{file}' would both be sample {name!r}; rename one")
        seen[name.casefold()] = file
    if mask_of and not any(stem(file).casefold() in mask_of for file in files):
        problems.append(
            f"no image has a mask of its name: images {listed([file.name for file in files], 3)}, masks "
            f"{listed([file.name for file in mask_of.values()], 3)}"
        )
    refuse_all(problems)
    samples = []
    for name, file in zip(names, files, strict=True):
        row = info.loc[file.name] if file.name in info.index else pd.Series(dtype=object)
        shape = tuple(_whole(row.get(column)) for column in _SIZE_COLUMNS)
        mask = mask_of.pop(stem(file).casefold(), None)
        samples.append(SteinbockSample(name, file, mask, shape, _pixel_size(row)))
    _warn_of_the_rest(files, info, list(mask_of.values()), samples, has_masks=masks is not False)
    rows = info.reindex([file.name for file in files]).set_axis(pd.Index(names, dtype=object), axis=0)
    return samples, rows.drop(columns=[name for name in _SIZE_COLUMNS if name in rows])


def read_panel(path: Path) -> SteinbockPanel:
    """Channels of ``panel.csv`` that are in the images: those with ``keep`` 1, or all where it has no such column.

    Raises
    ------
    InputFileError
        If there is no file.
    PanelError
        If it lacks a column, a kept channel has no name, or names or channels occur twice.
    """
    if not path.is_file():
        raise InputFileError(
            f"No panel '{path}'; without it the channels have no names. Put it there, or pass channel_names=[...] "
            "with one name for each channel of the images."
        )
    header, rows, _ = read_text_cells(path)
    if lacking := [name for name in ("channel", "name") if name not in header]:
        raise PanelError(
            f"'{path}' has no column {lacking[0]!r}; it has {listed(header)}. It is not a panel of steinbock."
        )
    columns = {name: [row[header.index(name)] for row in rows] for name in header if name}
    keep = [_truth(value) for value in columns.get("keep", ["1"] * len(rows))]
    problems = [
        f"row {i + 1} ({columns['channel'][i]!r}) has {columns['keep'][i]!r} in column 'keep', which is neither 1 nor 0"
        for i, one in enumerate(keep)
        if one is None
    ]
    ids = [text for text, kept in zip(columns["channel"], keep, strict=True) if kept]
    names = [text for text, kept in zip(columns["name"], keep, strict=True) if kept]
    problems += [f"channel {i!r} is kept, but has no name" for i, name in zip(ids, names, strict=True) if not name]
    for what, values in (("name", names), ("channel", ids)):
        times = sorted(Counter(filter(None, values)).items())
        problems += [f"{what} {value!r} occurs {n} times" for value, n in times if n > 1]
    if not names:
        problems.append("it keeps no channel")
    if problems:
        raise PanelError(f"'{path}' cannot be used: {'; '.join(problems)}. Correct the panel.")
    return SteinbockPanel(tuple(names), tuple(ids), len(rows))


def check_panel(panel: SteinbockPanel, n_channels: int, image: Path, path: Path) -> None:
    """Refuse an image that has another number of channels than the panel keeps."""
    if n_channels == len(panel.names):
        return
    all_rows = (
        " It has as many as the panel has rows: they were extracted before 'keep' was edited. Extract the images again"
        if n_channels == panel.n_rows
        else " Take the panel that they were extracted with"
    )
    raise PanelError(
        f"'{image}' has {counted(n_channels, 'channel')}, but '{path}' keeps {len(panel.names)} of "
        f"{counted(panel.n_rows, 'row')}.{all_rows}, or pass channel_names=[...] with one for each channel."
    )


def check_stated_shape(sample: SteinbockSample, shape: Sequence[int], path: Path) -> None:
    """Refuse an image of another shape than ``images.csv`` states: one of the two is of another extraction."""
    words = ("channels", "rows", "columns")
    wrong = [
        f"{counted_of} {word} instead of {stated}"
        for word, stated, counted_of in zip(words, sample.stated_shape, shape, strict=True)
        if stated is not None and stated != counted_of
    ]
    if wrong:
        raise InputFileError(
            f"'{sample.image}' has {', '.join(wrong)} that '{path}' states. Images and table are of different "
            "extractions: extract the images again, or remove the table."
        )


def _mask_folder(folder: Path, masks: str | bool) -> Path | None:
    if masks is False:
        return None
    if isinstance(masks, str):
        if not _tiffs(folder / masks):
            raise InputFileError(f"masks={masks!r}: '{folder / masks}' contains no TIFF file. Pass another folder.")
        return folder / masks
    folders = [one for one in sorted(folder.glob("masks*")) if one.is_dir() and _tiffs(one)]
    if len(folders) > 1:
        names = [one.name for one in folders]
        raise InputFileError(
            f"'{folder}' has {len(folders)} folders of masks: {listed(names)}. Say which holds the cells: "
            f"masks={names[0]!r}."
        )
    return folders[0] if folders else None


def _tiffs(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return sorted((one for one in folder.rglob("*") if is_tiff_name(one)), key=lambda one: natural_key(one.name))


def _image_info(path: Path) -> pd.DataFrame:
    """Rows of ``images.csv``, indexed by the names of files."""
    if not path.is_file():
        return pd.DataFrame(index=pd.Index([], dtype=object))
    frame = read_table(path, ["image", "source_file", "recovery_file", "acquisition_description"])
    if "image" not in frame:
        raise InputFileError(f"'{path}' has no column 'image'; it has {listed(frame.columns)}.")
    if twice := frame["image"][frame["image"].duplicated()].tolist():
        raise InputFileError(f"'{path}' has more than one row for {listed(twice)}. Keep one for each image.")
    return frame.set_index("image")


def _pixel_size(row: pd.Series) -> PixelSize | None:
    """µm per pixel, from the size of the acquisition in µm and in pixels."""
    sides = []
    for axis in ("width", "height"):
        um = pd.to_numeric(row.get(f"acquisition_{axis}_um"), errors="coerce")
        n_pixels = _whole(row.get(f"{axis}_px"))
        if n_pixels is None or not n_pixels or pd.isna(um) or um <= 0:
            return None
        size = float(um) / n_pixels
        # sides in µm may be those of the region as it was drawn, a few µm off: 1.003 is 1
        sides.append(round(size, 2) if abs(round(size, 2) - size) < _DRAWN * size else size)
    return PixelSize(sides[0], sides[1], IMAGES_FILE)


def _whole(value: object) -> int | None:
    number = pd.to_numeric(value, errors="coerce") if value is not None else None
    return None if number is None or pd.isna(number) or number != int(number) else int(number)


def _truth(text: str) -> bool | None:
    return {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}.get(text.strip().lower())


def _warn_of_the_rest(
    files: Sequence[Path],
    info: pd.DataFrame,
    masks: Sequence[Path],
    samples: Sequence[SteinbockSample],
    has_masks: bool,
) -> None:
    """What has no counterpart: usual where images were sorted out, so that it is told and not refused."""
    if len(info.index) and (gone := [name for name in info.index if name not in {file.name for file in files}]):
        what = counted(len(gone), "row without an image, which is", "rows without an image, which are")
        warn(f"{IMAGES_FILE} has {what} left out: {listed(gone, 3)}.")
    if len(info.index) and (new := [file.name for file in files if file.name not in info.index]):
        warn(f"{counted(len(new), 'image has', 'images have')} no row in {IMAGES_FILE}: {listed(new, 3)}.")
    if masks:
        names = listed([file.name for file in masks], 3)
        warn(f"{counted(len(masks), 'mask has no image and is', 'masks have no image and are')} left out: {names}.")
    bare = [sample.sample for sample in samples if sample.mask is None]
    if has_masks and bare and len(bare) < len(samples):
        warn(f"{counted(len(bare), 'image has', 'images have')} no mask, and so no cells: {listed(bare, 3)}.")
