"""The list of channels of an MCMICRO project: ``markers.csv``, one row per channel in the order of the image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from .._errors import InputFileError, PanelError, counted, listed, repeated_names
from ..pp.table_columns import is_missing
from ..pp.tables import read_text_cells
from ._panel_file import FALSE_WORDS, TRUE_WORDS

MARKERS_FILE = "markers.csv"
SUBTRACTED_FILE = "markers_bs.csv"
_NAME = "marker_name"


@dataclass(frozen=True)
class MarkerSheet:
    """Channels of an image, in its order.

    Attributes
    ----------
    path
        Of the file.
    names
        Unique: a name that occurs twice gets ``_1``, ``_2``, as MCMICRO's quantification does it.
    remove
        Which channels are to be left out.
    background
        Name of the channel that is to be subtracted from each; empty for none.
    cycles
        Number of the staining cycle; empty where it is not stated.
    repeated
        Names that occurred more than once.
    """

    path: Path
    names: tuple[str, ...]
    remove: tuple[bool, ...]
    background: tuple[str, ...]
    cycles: tuple[str, ...]
    repeated: tuple[str, ...] = ()

    @property
    def kept(self) -> list[int]:
        """Positions of the channels that stay."""
        return [i for i, removed in enumerate(self.remove) if not removed]


def read_markers(path: Path, *, is_subtracted: bool = False) -> MarkerSheet:
    """Read ``markers.csv``, or a file of one name per line as older versions have it.

    Where background `is_subtracted`, the channels that it was may have been removed.

    Raises
    ------
    InputFileError
        If there is no such file.
    PanelError
        If a name is missing, the rows are not in the order of ``channel_number``, a background is not a channel, or all
        channels are to be removed.
    """
    if not path.is_file():
        raise InputFileError(f"No file '{path}', which names the channels. Put it back, or pass channel_names=[...].")
    header, rows, _ = read_text_cells(path)
    lower = [name.strip().lower() for name in header]
    if _NAME not in lower:
        if len(header) > 1:
            raise PanelError(
                f"'{path}' has no column {_NAME!r}; it has {listed(header, 12)}. Name the column of the markers so."
            )
        rows, lower = [[header[0]], *rows], [_NAME]
    if twice := repeated_names(filter(None, lower)):
        raise PanelError(f"'{path}' has two columns called {twice[0]!r}. Rename one.")
    columns = {name: [row[i].strip() for row in rows] for i, name in enumerate(lower)}
    names = columns[_NAME]
    if empty := [i for i, name in enumerate(names) if is_missing(name)]:
        raise PanelError(f"'{path}' has no marker_name for channel {listed(empty, quoted=False)} (counted from 0).")
    _check_order(columns.get("channel_number"), path)
    blank = [""] * len(names)
    background = ["" if is_missing(text) else text for text in columns.get("background", blank)]
    unknown = [text for text in dict.fromkeys(background) if text and text not in names]
    if unknown and not is_subtracted:
        raise PanelError(
            f"'{path}' names the background {unknown[0]!r}, which is not a marker_name; these are "
            f"{listed(names, 12)}. Correct the column 'background'."
        )
    remove = [_is_true(text, path) for text in columns.get("remove", blank)]
    if all(remove):
        raise PanelError(f"'{path}' removes all of its channels. Correct the column 'remove'.")
    cycles = columns.get("cycle_number") or columns.get("cycle") or blank
    return MarkerSheet(
        path=path,
        names=tuple(_unique(names)),
        remove=tuple(remove),
        background=tuple(background),
        cycles=tuple("" if is_missing(text) else text for text in cycles),
        repeated=tuple(repeated_names(names)),
    )


def _unique(names: list[str]) -> list[str]:
    numbers = {name: count(1) for name in repeated_names(names)}
    return [f"{name}_{next(numbers[name])}" if name in numbers else name for name in names]


def _is_true(text: str, path: Path) -> bool:
    if text.lower() in TRUE_WORDS:
        return True
    if is_missing(text) or text.lower() in FALSE_WORDS:
        return False
    raise PanelError(
        f"'{path}' has {text!r} in the column 'remove', which is neither TRUE, FALSE nor empty. Correct it."
    )


def _check_order(numbers: list[str] | None, path: Path) -> None:
    """Refuse rows that are in another order than that of the image's channels."""
    if numbers is None or not all(numbers):
        return
    try:
        values = [int(float(text)) for text in numbers]
    except ValueError:
        return
    if any(later <= earlier for earlier, later in zip(values, values[1:], strict=False)):
        raise PanelError(
            f"The rows of '{path}' are not in the order of their channel_number ({listed(values[:6], quoted=False)} "
            "...), and MCMICRO reads them in the order of the rows. Sort the rows, or correct the numbers."
        )


def wrong_number(sheet: MarkerSheet, n_channels: int, image: Path) -> PanelError:
    """Error of a sheet that does not describe an image."""
    without = len(sheet.names) - len(sheet.kept)
    less = f" ({len(sheet.kept)} without the {without} to be removed)" if without else ""
    return PanelError(
        f"'{sheet.path}' has {counted(len(sheet.names), 'channel')}{less}, but image '{image}' has {n_channels}. Use "
        "the list of this image, or pass channel_names=[...]."
    )
