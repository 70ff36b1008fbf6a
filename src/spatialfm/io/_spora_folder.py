"""Tables and files of a data set in spora's layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .._errors import InputFileError, PanelError, counted, listed
from ._cohort_table import refuse_all
from ._names import is_sample_name, natural_key
from ._panel_file import FALSE_WORDS, TRUE_WORDS

CHANNELS_FILE = "channels.parquet"
MEASURED_FILE = "channels_per_tissue.parquet"
_STATISTICS = "standardization/quantile_clipping_log1p/uq_0.99_image"  # the one that encoders were trained with
_RESOLUTION = re.compile(r"(\d+)_(\d+)mpp")
_DEFAULT = "1_0mpp"
_LEFT_BEHIND = re.compile(r"index|level_\d+|Unnamed: ?\d+")  # columns that are an index which was written along
_ID = "tissue_id"


@dataclass(frozen=True)
class SporaPanel:
    """Channels of a modality.

    Attributes
    ----------
    measured
        ``(images, channels)`` whether an image has a channel: its channels are the ones that it has, in this order.
    passed
        Channels that passed quality control.
    accessions
        UniProt accession of each channel that has one.
    """

    measured: pd.DataFrame
    passed: frozenset[str]
    accessions: dict[str, str]

    def names(self, sample: str) -> list[str]:
        """Channels of an image, in its order."""
        row = self.measured.loc[sample]
        return [str(name) for name in self.measured.columns[row.to_numpy(dtype=bool)]]


@dataclass(frozen=True)
class SporaLayout:
    """Where the files of one modality are.

    Attributes
    ----------
    root, modality
        The data set's folder, and what its images were made by.
    images
        Image of each sample.
    cells, tissue
        Folders of masks.
    statistics, embeddings
        Published statistics and embeddings of markers; None where there are none.
    mpp
        µm per pixel, as the folder's name states it.
    """

    root: Path
    modality: str
    images: dict[str, Path]
    cells: Path
    tissue: Path
    statistics: Path | None
    embeddings: Path | None
    mpp: float


def find_layout(root: Path, modality: str | None, samples: Sequence[str] | None) -> SporaLayout:
    """Files of a modality.

    Raises
    ------
    InputFileError
        If it is not there, several are and none is chosen, or images are missing.
    """
    if not root.is_dir():
        raise InputFileError(f"No folder '{root}'. Pass that of the data set, with metadata/ in it.")
    there = sorted(one.name for one in root.iterdir() if (one / CHANNELS_FILE).is_file())
    if not there:
        raise InputFileError(
            f"'{root}' is not a data set in spora's layout: no folder in it has {CHANNELS_FILE}, as imc/ or codex/ do. "
            "Pass the folder that holds metadata/ and these."
        )
    if modality is None and len(there) > 1:
        raise InputFileError(f"'{root}' has images of {listed(there)}. Pass modality={there[0]!r}, or another of them.")
    if (name := modality or there[0]) not in there:
        raise InputFileError(f"'{root}' has no {CHANNELS_FILE} of {name!r}; it has {listed(there)}. Correct modality=.")
    resolution = _resolution(root / name)
    images = {
        path.name.removesuffix(".zarr").removesuffix(".ome"): path
        for path in sorted((root / name / resolution / "images").glob("*.zarr"), key=lambda one: natural_key(one.name))
    }
    if not images:
        raise InputFileError(f"No image in '{root / name / resolution / 'images'}'. Download them there.")
    if unknown := [one for one in samples or () if one not in images]:
        raise InputFileError(
            f"samples= names {listed(unknown)}, of which there is no image; there is {listed(images)}."
        )
    if odd := [one for one in images if not is_sample_name(one)]:
        raise InputFileError(f"Images {listed(odd)} have names that cannot name elements. Rename them everywhere.")
    masks = root / "segmentations" / resolution
    whole, part = _RESOLUTION.fullmatch(resolution).groups()  # type: ignore[union-attr]  # it was found by this
    statistics, embeddings = root / name / resolution / _STATISTICS, root / "marker_embeddings"
    return SporaLayout(
        root=root,
        modality=name,
        images={one: path for one, path in images.items() if samples is None or one in samples},
        cells=masks / "cell_masks" / "instances",
        tissue=masks / "tissue_masks",
        statistics=statistics if statistics.is_dir() else None,
        embeddings=embeddings if embeddings.is_dir() else None,
        mpp=float(f"{whole}.{part}"),
    )


def read_panel(layout: SporaLayout) -> SporaPanel:
    """Channels of a modality, and which image has which.

    Raises
    ------
    PanelError
        If the two tables do not name the same channels, one of them twice, or an image has no row.
    """
    folder = layout.root / layout.modality
    channels = read_parquet(folder / CHANNELS_FILE, ["channel_name"])
    measured = read_parquet(folder / MEASURED_FILE)
    measured = measured.set_index(_ID) if _ID in measured else measured
    measured = measured.drop(columns=[name for name in measured if _LEFT_BEHIND.fullmatch(str(name))])
    measured.columns, measured.index = measured.columns.map(str), measured.index.map(str)
    names = channels["channel_name"].astype(str)
    for column, file in ((names, CHANNELS_FILE), (measured.columns.to_series(), MEASURED_FILE)):
        if twice := column[column.duplicated()].tolist():
            raise PanelError(f"'{folder / file}' has the channel {twice[0]!r} twice. Name each once.")
    if unknown := [name for name in measured.columns if name not in set(names)]:
        raise PanelError(f"'{folder / MEASURED_FILE}' has channels that {CHANNELS_FILE} lacks: {listed(unknown)}.")
    if lacking := [one for one in layout.images if one not in measured.index]:
        raise PanelError(
            f"'{folder / MEASURED_FILE}' has no row for {counted(len(lacking), 'image')}: {listed(lacking)}. Without "
            "it the channels of an image have no names; download the table again."
        )
    if not measured.index.is_unique:
        raise PanelError(f"'{folder / MEASURED_FILE}' has an image twice. Keep one row of each.")
    passed = (
        names if "qc_pass" not in channels else names[_truths(channels[["qc_pass"]], folder / CHANNELS_FILE)["qc_pass"]]
    )
    accessions = channels["uniprot_id"] if "uniprot_id" in channels else pd.Series(dtype=object)
    return SporaPanel(
        measured=_truths(measured, folder / MEASURED_FILE),
        passed=frozenset(passed),
        accessions={name: str(one) for name, one in zip(names, accessions, strict=False) if pd.notna(one)},
    )


def _truths(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """True and false, as the file has them: as such, as numbers, or as words; missing is false.

    Raises
    ------
    PanelError
        If a value is neither, as the word False would otherwise be true.
    """

    def truth(value: object) -> bool | None:
        if value is None or value != value:
            return False
        word = str(value).strip().lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS | {""} else None

    truths = frame.astype(object).map(truth)
    if odd := [(name, frame[name][truths[name].isna()].iloc[0]) for name in frame if truths[name].isna().any()]:
        raise PanelError(
            f"'{path}' has {odd[0][1]!r} in column {odd[0][0]!r}, which is neither true nor false. Correct it."
        )
    return truths.astype(bool)


def read_tissues(layout: SporaLayout) -> tuple[pd.DataFrame, int]:
    """Row of each image in ``metadata/tissues.parquet``, and how many rows of this modality have no image.

    Raises
    ------
    InputFileError
        If an image has no row, or several.
    """
    path = layout.root / "metadata" / "tissues.parquet"
    frame = read_parquet(path, [_ID, "patient_id"])
    frame[_ID] = frame[_ID].astype(str)
    if "modality" in frame:
        frame = frame[frame["modality"].astype(str).str.lower() == layout.modality.lower()]
    problems = []
    if lacking := [one for one in layout.images if one not in set(frame[_ID])]:
        problems.append(f"'{path}' has no row of {layout.modality!r} for {listed(lacking)}")
    if twice := frame[_ID][frame[_ID].duplicated() & frame[_ID].isin(list(layout.images))].tolist():
        problems.append(f"'{path}' has several rows of {layout.modality!r} for {listed(dict.fromkeys(twice))}")
    refuse_all(problems)
    without = int((~frame[_ID].isin(list(layout.images))).sum())
    return _plain(frame.set_index(_ID).loc[list(layout.images)]).rename_axis(None), without


def read_annotations(layout: SporaLayout) -> pd.DataFrame | None:
    """Annotations of the cells of the images, ``sample`` and ``cell_id`` first; None where there are none."""
    path = layout.root / "metadata" / "cells.parquet"
    if not path.is_file():
        return None
    frame = read_parquet(path, [_ID, "cell_id"])
    frame = frame[frame[_ID].astype(str).isin(list(layout.images))]
    rest = _plain(frame.drop(columns=[_ID, "cell_id"]))
    rest.insert(0, "cell_id", frame["cell_id"])
    rest.insert(0, "sample", frame[_ID].astype(str))
    return rest.reset_index(drop=True) if len(rest) else None


def read_parquet(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A table of the data set.

    Raises
    ------
    InputFileError
        If it is missing, cannot be read, or lacks a column.
    """
    if not path.is_file():
        raise InputFileError(f"No file '{path}'. Download it to its place in the data set.")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputFileError(f"'{path}' cannot be read as parquet ({error}). Download it again.") from error
    if lacking := [name for name in columns if name not in frame]:
        raise InputFileError(f"'{path}' has no column {lacking[0]!r}; it has {listed(frame.columns, 12)}.")
    return frame


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in frame if _LEFT_BEHIND.fullmatch(str(name))])


def _resolution(folder: Path) -> str:
    there = sorted(one.name for one in folder.iterdir() if one.is_dir() and _RESOLUTION.fullmatch(one.name))
    if _DEFAULT in there:
        return _DEFAULT
    if len(there) != 1:
        raise InputFileError(f"'{folder}' has no folder {_DEFAULT}, but {listed(there)}. Images at 1 µm are read.")
    return there[0]
