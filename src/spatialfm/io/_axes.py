"""Which axis of a file is the channel, and how pages along several axes become channels."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

from .._errors import InputFileError
from ._layout import Dim
from ._names import default_channel_names

_CHANNEL_LETTERS = "CSI"  # channels, samples of a pixel, pages without further metadata
_STACK_WORDS = {"Z": "Z planes", "T": "time points or cycles"}
_PREFIXES = {"Z": "z", "T": "cyc"}  # prefix of the name of a plane along T or Z: cyc1_DAPI, z3_DAPI

Stacks = Sequence[tuple[str, int]]


def assign_axes(
    dims: Sequence[Dim], axes: str | None, n_names: int | None, file: str, stacks: Stacks = ()
) -> dict[str, str | None]:
    """Source of ``c``, ``y`` and ``x`` in the file: pages, samples, rows or columns; None for the absent ``c``.

    The axes that the file states decide; pages without metadata are channels. A plain 3-D array has its channels
    first or last, whichever has as many as there are names; without names, whichever is less than half as long as
    both other axes. Pages along Z, T, or several axes become channels only if `axes` names them.

    Parameters
    ----------
    dims
        Axes in the file's order.
    axes
        The user's word, for example ``"cyx"`` or ``"tcyx"``; takes precedence over everything else.
    n_names
        Number of channel names that the user gave.
    file
        File, for messages.
    stacks
        Axes along which the pages are arranged, with their lengths.

    Raises
    ------
    InputFileError
        If the image has more than three axes, is a Z stack or time series, or the channel axis is not evident.
    """
    lengths = tuple(dim.length for dim in dims)
    letters = "".join(dim.letter for dim in dims)
    if len(dims) > 3:
        raise InputFileError(
            f"{file} has {len(dims)} axes ({letters} {lengths}), but an image has channels, y and x. "
            "Save each colour image on its own, or channels as pages."
        )
    if axes is not None:
        return _by_word(dims, axes, file, stacks)
    if len(dims) == 2:
        return {"c": None, "y": dims[0].source, "x": dims[1].source}
    if len(stacks) > 1 or (stacks and stacks[0][0] in _STACK_WORDS):
        raise InputFileError(_stack_message(dims, file, stacks))
    by_letter = {dim.letter: dim.source for dim in dims}
    others = [dim for dim in dims if dim.letter not in ("Y", "X")]
    if len(by_letter) == 3 and len(others) == 1 and others[0].letter in _CHANNEL_LETTERS:
        return {"c": by_letter[others[0].letter], "y": by_letter["Y"], "x": by_letter["X"]}
    return _by_word(dims, _guess(lengths, n_names, letters, file), file, ())


def plane_names(names: Sequence[str] | None, stacks: Stacks, axes: str | None) -> list[str] | None:
    """Names of all planes along several axes, from those of the channels: ``cyc1_DAPI``, ``z3_CD8``.

    Parameters
    ----------
    names
        One name per channel; None where there are none, for which `axes` with ``t`` or ``z`` numbers them.
    stacks
        Axes along which the pages are arranged, with their lengths; the last runs fastest.
    axes
        What the user calls them.

    Returns
    -------
    None where there are not as many names as channels.

    Examples
    --------
    >>> plane_names(["DAPI", "CD3"], [("T", 2), ("C", 2)], "tcyx")
    ['cyc1_DAPI', 'cyc1_CD3', 'cyc2_DAPI', 'cyc2_CD3']
    """
    letters = _letters(stacks, axes)
    n_channels = math.prod(length for letter, (_, length) in zip(letters, stacks, strict=True) if letter == "C")
    if names is None and set(axes or "") & set("tz"):
        names = default_channel_names(n_channels)
    if names is None or len(names) != n_channels or all(letter == "C" for letter in letters):
        return None
    planes = []
    for at in itertools.product(*(range(length) for _, length in stacks)):
        place = dict(zip(letters, at, strict=True))
        prefix = [f"{_PREFIXES[letter]}{place[letter] + 1}" for letter in "TZ" if letter in place]
        planes.append("_".join([*prefix, names[place.get("C", 0)]]))
    return planes


def is_plane_of(plane: str, channel: str) -> bool:
    """Whether `plane_names` calls a plane of this channel so.

    Examples
    --------
    >>> is_plane_of("cyc1_z2_Actin", "Actin"), is_plane_of("cyc1_SM_Actin", "Actin")
    (True, False)
    """
    prefix = "".join(rf"({_PREFIXES[letter]}\d+_)?" for letter in "TZ")
    return re.fullmatch(prefix + re.escape(channel), plane) is not None


def names_of_planes(
    in_metadata: Sequence[str] | None, given: list[str] | dict[str | int, str] | None, stacks: Stacks, axes: str | None
) -> tuple[Sequence[str] | None, list[str] | dict[str | int, str] | None]:
    """Names in the metadata and names that are given, those of channels as those of planes (see `plane_names`)."""
    if isinstance(given, list):
        given = plane_names(given, stacks, axes) or given
    return plane_names(in_metadata, stacks, axes) or in_metadata, given


def _letters(stacks: Stacks, axes: str | None) -> list[str]:
    """What the pages' axes are: the user's word, where it has one for each."""
    word = (axes or "").upper().removesuffix("YX")
    if len(word) == len(stacks) and set(word) <= {"T", "Z", "C"} and (len(stacks) > 1 or stacks[0][0] not in "TZ"):
        return list(word)
    return [letter if letter in _STACK_WORDS else "C" for letter, _ in stacks]


def plane_words(stacks: Stacks) -> list[str]:
    """Words that name the axes of the pages; several if the file does not tell them apart."""
    known = [letter if letter in "TZC" else None for letter, _ in stacks]
    free = [letter for letter in "TCZ" if letter not in known]
    options = itertools.permutations(free, known.count(None))
    words = []
    for option in options:
        rest = iter(option)
        words.append("".join(letter or next(rest) for letter in known).lower() + "yx")
    return [word for word in words if "c" in word or len(stacks) == 1] or words


def _stack_message(dims: Sequence[Dim], file: str, stacks: Stacks) -> str:
    sizes = " x ".join(f"{n} {_STACK_WORDS.get(letter, f'along {letter}')}" for letter, n in stacks)
    sizes = sizes.replace("along C", "channels")
    words = plane_words(stacks)
    keep = " or ".join(f'axes="{word}"' for word in words[:4])
    n = math.prod(length for _, length in stacks)
    letters = _letters(stacks, words[0])
    shown = "_".join([*(f"{_PREFIXES[letter]}1" for letter in "TZ" if letter in letters), "<channel>"])
    cycles_hint = (
        "Staining cycles are often stored as time points. " if any(letter == "T" for letter, _ in stacks) else ""
    )
    return (
        f"{file} is a stack of {sizes} ({n} planes of {dims[-2].length} x {dims[-1].length}), but an image here has "
        f"channels, y and x. {cycles_hint}Pass {keep} to keep all {n} planes as channels, named {shown} and so on; "
        "or, if its planes show the same thing, save a projection and read that."
    )


def _by_word(dims: Sequence[Dim], axes: str, file: str, stacks: Stacks) -> dict[str, str | None]:
    allowed = ["yx"] if len(dims) == 2 else ["cyx", "yxc"]
    if len(stacks) > 1:
        allowed = plane_words(stacks)
    elif stacks and dims[0].source == "n":
        allowed += ["tyx", "zyx"] if stacks[0][0] not in "TZC" else plane_words(stacks)
    if axes not in dict.fromkeys(allowed):
        raise InputFileError(
            f"axes={axes!r} does not fit {file}, which has shape {tuple(dim.length for dim in dims)}. "
            f"Pass axes={' or axes='.join(repr(word) for word in dict.fromkeys(allowed))}."
        )
    order = axes if len(axes) == len(dims) and "c" in axes else "cyx" if len(dims) == 3 else "yx"
    sources: dict[str, str | None] = {"c": None}
    sources.update({letter: dim.source for letter, dim in zip(order, dims, strict=True)})
    return sources


def _guess(lengths: tuple[int, ...], n_names: int | None, letters: str, file: str) -> str:
    first, middle, last = lengths
    if n_names is not None and (first == n_names) != (last == n_names):
        return "cyx" if first == n_names else "yxc"
    if 2 * first < min(middle, last):
        return "cyx"
    if 2 * last < min(first, middle):
        return "yxc"
    raise InputFileError(
        f"Which axis of {file} holds the channels? Its shape is {lengths} and its axes ({letters}) do not tell. "
        'Pass axes="cyx" or axes="yxc".'
    )
