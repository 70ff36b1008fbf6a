"""Names of samples and channels: made from file names, checked, and refused where they would collide."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .._errors import InputFileError, PanelError, counted, listed, repeated_names
from .._public import public

TIFF_SUFFIXES = (".tif", ".tiff", ".qptiff", ".btf", ".tf8", ".tf2")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".zarr")


@public
def sample_name(text: str | int) -> str:
    """Turn a text into a name that SpatialData takes.

    Letters, digits, ``_``, ``-`` and ``.`` are kept, every other run of characters becomes one ``_``; ``_`` and ``.``
    at the ends go.

    Parameters
    ----------
    text
        File stem or identifier.

    Raises
    ------
    InputFileError
        If nothing is left.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.io.sample_name("TMA 3 / core A-1 (repeat)")
    'TMA_3_core_A-1_repeat'
    """
    name = "".join(char if char.isalnum() or char in "_-." else " " for char in str(text))
    name = re.sub(r"\s+", "_", name.strip()).strip("_.")
    if not name:
        raise InputFileError(
            f"No sample name can be made from {str(text)!r}: it has no letter and no digit. Name the sample yourself."
        )
    return name


def is_sample_name(text: str) -> bool:
    """Whether a name can be used for elements as it is."""
    return bool(text) and sample_name_or_empty(text) == text


def sample_name_or_empty(text: object) -> str:
    """`sample_name`, or an empty text where none can be made."""
    try:
        return sample_name(str(text))
    except InputFileError:
        return ""


def default_sample(path: Path, given: str | None) -> str:
    """Name of the one sample of a file or folder: what is given, or made from the name on disk.

    Raises
    ------
    InputFileError
        If what is given cannot name elements.
    """
    if given is None:
        resolved = path.resolve()
        is_plain_folder = resolved.is_dir() and not resolved.name.lower().endswith(".zarr")
        return sample_name(resolved.name if is_plain_folder else stem(resolved))
    if not is_sample_name(str(given)):
        raise InputFileError(
            f"sample={given!r} cannot name elements: letters, digits, '_', '-' and '.' only, none of '_.' at the ends. "
            f"Pass for example sample={sample_name_or_empty(given) or 'sample_1'!r}."
        )
    return str(given)


def stem(path: Path) -> str:
    """Name of a file or store without its suffix and ``.ome``."""
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return name[:-4] if name.lower().endswith(".ome") else name


def is_tiff_name(path: Path) -> bool:
    """Whether a file is named like a TIFF (and is not one of the hidden files that archives leave)."""
    return path.name.lower().endswith(TIFF_SUFFIXES) and not path.name.startswith(".")


def natural_key(text: str) -> tuple:
    """Sort key by which ``ch2`` comes before ``ch10``, and numbers before letters."""
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part.lower()) for part in parts)


def default_channel_names(n: int) -> list[str]:
    """Names for channels that no one named."""
    return [f"channel_{i}" for i in range(n)]


def resolve_channel_names(
    file_names: Sequence[str] | None,
    given: list[str] | dict[str | int, str] | None,
    n_channels: int,
    file: str,
    needs_all: bool = True,
) -> list[str]:
    """Names of all channels, checked.

    Parameters
    ----------
    file_names
        Names in the file's metadata; None where it has none.
    given
        Names for all channels, or new names by old name or position.
    n_channels
        Number of channels in the image.
    file
        File, for messages.
    needs_all
        Whether every name that is to be replaced must be there.

    Raises
    ------
    PanelError
        If names are too few, too many, empty or duplicated.
    """
    if isinstance(given, list):
        names = given
        if len(names) != n_channels:
            raise PanelError(
                f"channel_names has {counted(len(names), 'name')}, but {file} has {counted(n_channels, 'channel')}. "
                "Pass one name for each channel, in the file's order."
            )
    else:
        names = default_channel_names(n_channels) if file_names is None else [str(name).strip() for name in file_names]
        if len(names) != n_channels:
            raise PanelError(
                f"The metadata of {file} names {counted(len(names), 'channel')}, but the image has {n_channels}. "
                "Pass channel_names=[...], one for each channel, in the file's order."
            )
        if given:
            names = _renamed(names, given, file, needs_all)
    if empty := [i for i, name in enumerate(names) if not name]:
        raise PanelError(f"Channel {empty[0]} of {file} has an empty name. Pass channel_names=[...] with one for each.")
    _refuse_duplicates(names, file, given)
    return list(names)


def resolved_names(
    file_names: Sequence[str] | None,
    given: list[str] | dict[str | int, str] | None,
    n_channels: int,
    file: str,
    needs_all: bool = True,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of all channels by `resolve_channel_names`, and those that they had before: the file's, or numbers."""
    names = resolve_channel_names(file_names, given, n_channels, file, needs_all)
    if file_names is None or len(file_names) != n_channels:
        file_names = default_channel_names(n_channels)
    return tuple(names), tuple(file_names)


def _renamed(names: list[str], mapping: dict[str | int, str], file: str, needs_all: bool) -> list[str]:
    names = list(names)
    before = list(names)
    for key, new in mapping.items():
        if isinstance(key, str):
            positions = [i for i, name in enumerate(before) if name == key]
            if len(positions) > 1:
                raise PanelError(
                    f"channel_names renames {key!r}, but {file} has it at positions {positions}. "
                    f"Rename by position: channel_names={{{positions[-1]}: {new!r}}}."
                )
        else:
            positions = [int(key)] if 0 <= int(key) < len(names) else []
        if not positions and isinstance(key, str) and not needs_all:
            continue
        if not positions:
            raise PanelError(f"channel_names renames {key!r}, but {file} has no such channel; it has {listed(before)}.")
        names[positions[0]] = new
    return names


def _refuse_duplicates(names: Sequence[str], file: str, given: list[str] | dict[str | int, str] | None) -> None:
    duplicates = repeated_names(names)
    if not duplicates:
        return
    places: dict[str, list[int]] = {name: [] for name in duplicates}
    for i, name in enumerate(names):
        places.get(name, []).append(i)
    where = "; ".join(f"{name!r} at positions {at}" for name, at in places.items())
    if isinstance(given, list):
        raise PanelError(f"channel_names has duplicates: {where}. Give each channel of {file} a unique name.")
    seen: Counter[str] = Counter()
    taken = set(names)
    renamed = {}
    for i, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            number = seen[name]
            while f"{name}_{number}" in taken:
                number += 1
            renamed[i] = f"{name}_{number}"
            taken.add(renamed[i])
    earlier = given or {}  # new names that the user gave already stay
    raise PanelError(
        f"Duplicate channel names in {file}: {where}. Rename by position, for example "
        f"channel_names={ ({**earlier, **renamed})!r}."
    )
