"""Channel names that nobody gave: those that SpatialData writes where an image came without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._errors import counted, listed, warn
from .arrays import channel_names

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from .elements import SampleElements

COLOURS = (("r", "g", "b"), ("r", "g", "b", "a"))


def are_default(names: Sequence[str]) -> bool:
    """Whether names are those that `spatialdata.models.Image2DModel` gives: colours of three or four, or 0, 1, 2, ...

    Examples
    --------
    >>> are_default(["r", "g", "b"]), are_default(["0", "1"]), are_default(["DAPI", "CD3"])
    (True, True, False)
    """
    return tuple(names) in COLOURS or list(names) == [str(number) for number in range(len(names))]


def say_default_names(sdata: SpatialData, pairs: Sequence[SampleElements], table: AnnData | None = None) -> None:
    """Warn of images whose channels have no names of their own, which are taken for markers all the same.

    Parameters
    ----------
    table
        Table of the cells, whose columns may be the channels.

    Warns
    -----
    SpatialfmWarning
        If there are such images.
    """
    panels = {pair.image: channel_names(sdata, pair.image) for pair in pairs}
    unnamed = [image for image, names in panels.items() if are_default(names)]
    if not unnamed:
        return
    names = panels[unnamed[0]]
    markers = [] if table is None else [str(name) for name in table.var_names]
    told = "[...]"
    perhaps = ""
    if len(markers) == len(names) and not are_default(markers):
        told = str(markers)
        perhaps = ", if the columns of the table are these channels in this order"
    warn(
        f"Channels of {counted(len(unnamed), 'image')} ({listed(unnamed, 5)}) are named {listed(names, 4)}, as "
        "SpatialData names channels that came without names: they are taken for markers of these names. Name them: "
        f"sdata.set_channel_names({unnamed[0]!r}, {told}){perhaps}."
    )
