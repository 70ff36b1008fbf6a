"""An image or a mask that was opened: lazy arrays, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dask.array as da
import numpy as np

from ._pixel_size import PixelSize

# pixel sizes closer than this are the same, written with fewer digits
_SAME_SIZE = 0.01


@dataclass(frozen=True)
class LazyImage:
    """An image before it becomes an element: levels ``(c, y, x)`` from large to small."""

    levels: tuple[da.Array, ...]
    channel_names: tuple[str, ...]
    is_named: bool  # by the file or by the user, not by us
    pixel_size: PixelSize | None
    other_size: PixelSize | None
    ignored_size: str
    path: str
    notes: tuple[tuple[str, str], ...] = ()  # kind and text
    identity: frozenset[tuple[str, int]] = frozenset()
    found_names: tuple[str, ...] = ()  # before any is renamed
    unread_size: str = ""
    left_out: tuple[str, ...] = ()  # channels of the file that a panel leaves out, as the file calls them
    origin: tuple[float, float] | None = None  # (y, x) in µm of the first pixel, where metadata place the image

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the largest level."""
        return self.levels[0].shape

    def of_channels(self, places: Sequence[int]) -> LazyImage:
        """The image with the channels at some positions; as it is where these are all of them, in their order."""
        if list(places) == list(range(len(self.channel_names))):
            return self
        return replace(
            self,
            levels=tuple(level[list(places)] for level in self.levels),
            channel_names=tuple(self.channel_names[i] for i in places),
            found_names=tuple(self.found_names[i] for i in places),
        )


def moved_names(file_names: Sequence[str], given: object) -> Iterator[tuple[str, str]]:
    """Names that the file has elsewhere: most likely a list in another order."""
    if not isinstance(given, list):
        return
    moved = [i for i, name in enumerate(given) if name in file_names and file_names[i] != name]
    if moved:
        i = moved[0]
        yield (
            "names_moved",
            f"{given[i]!r} is channel {list(file_names).index(given[i])} there and {i} in channel_names",
        )


def is_same_size(a: float, b: float) -> bool:
    """Whether two pixel sizes are the same, written with more or fewer digits."""
    return bool(np.isclose(a, b, rtol=_SAME_SIZE, atol=0))
