"""Which axis of a file is the channel."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import InputFileError
from ._layout import Dim

_CHANNEL_LETTERS = "CSI"  # channels, samples of a pixel, pages without further metadata
_STACK_WORDS = {"Z": "a Z stack", "T": "a time series"}


def assign_axes(dims: Sequence[Dim], axes: str | None, n_names: int | None, file: str) -> dict[str, str | None]:
    """Source of ``c``, ``y`` and ``x`` in the file: pages, samples, rows or columns; None for the absent ``c``.

    What the file says of its axes decides; pages without metadata are channels. A plain 3-D array has its channels
    first or last, whichever has as many as there are names; without names, whichever is less than half as long as
    both other axes.

    Parameters
    ----------
    dims
        Axes in the file's order.
    axes
        The user's word, for example ``"cyx"``; goes before everything else.
    n_names
        Number of channel names that the user gave.
    file
        File, for messages.

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
        return _by_word(dims, axes, file)
    if len(dims) == 2:
        return {"c": None, "y": dims[0].source, "x": dims[1].source}
    by_letter = {dim.letter: dim.source for dim in dims}
    others = [dim for dim in dims if dim.letter not in "YX"]
    if len(by_letter) == 3 and len(others) == 1:
        letter = others[0].letter
        if letter in _CHANNEL_LETTERS:
            return {"c": by_letter[letter], "y": by_letter["Y"], "x": by_letter["X"]}
        if letter in _STACK_WORDS:
            raise InputFileError(
                f"{file} is {_STACK_WORDS[letter]} of {others[0].length} planes ({letters} {lengths}). If they are "
                'channels, pass axes="cyx"; otherwise save one plane or a projection.'
            )
    return _by_word(dims, _guess(lengths, n_names, letters, file), file)


def _by_word(dims: Sequence[Dim], axes: str, file: str) -> dict[str, str | None]:
    allowed = {2: ("yx",), 3: ("cyx", "yxc")}[len(dims)]
    if axes not in allowed:
        raise InputFileError(
            f"axes={axes!r} does not fit {file}, which has shape {tuple(dim.length for dim in dims)}. "
            f"Pass axes={' or axes='.join(repr(word) for word in allowed)}."
        )
    sources: dict[str, str | None] = {"c": None}
    sources.update({letter: dim.source for letter, dim in zip(axes, dims, strict=True)})
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
        f"Which axis of {file} holds the channels? Its shape is {lengths} and its axes ({letters}) do not say. "
        'Pass axes="cyx" or axes="yxc".'
    )
