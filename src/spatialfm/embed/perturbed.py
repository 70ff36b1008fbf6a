"""Images in which a marker of chosen cells has a value that was not measured: what a model is asked "what if" with.

Nothing is copied: the reader of a run gets an image whose chunks are changed as they are read. Statistics, clipping
values, tissue and units stay those of the images as they are, so that all that differs is the pixels of the cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import PanelError, listed
from ..models.preparation import PreparedPixels
from ..pp.measure import LabelGrid
from .pixels.decoded import Decoded
from .pixels.reader import SampleReader

if TYPE_CHECKING:
    from .inputs import Inputs
    from .markers.panel import ResolvedPanel
    from .windows.cells import Cells


@dataclass(frozen=True)
class Perturbation:
    """Values that markers of chosen cells are set to.

    Attributes
    ----------
    values
        Marker (or channel) → value, in the units of the image.
    chosen
        ``(rows,)`` which rows of the cell table.
    """

    values: Mapping[str, float]
    chosen: np.ndarray

    def __call__(self, inputs: Inputs, cells: Cells) -> Inputs:
        """The inputs of a run with the images of the readers changed.

        Raises
        ------
        PanelError
            If a marker is not in the panel, or a value does not fit into the pixels of an image.
        """
        places = {place_of(inputs.panel, marker): value for marker, value in self.values.items()}
        if len(places) < len(self.values):
            raise PanelError(f"values= names one marker twice: {listed(self.values)}. Pass one name of it.")
        raw = []
        for number, reader in enumerate(inputs.raw):
            own = (cells.sample == number) & self.chosen[cells.rows]
            values = {reader.channels[place]: value for place, value in places.items()}
            raw.append(changed_reader(reader, np.unique(cells.labels[own]), values))
        readers: list[Any] = [
            replace(old, reader=new) if isinstance(old, PreparedPixels) else new
            for old, new in zip(inputs.readers, raw, strict=True)
        ]
        return replace(inputs, raw=raw, readers=readers)


def place_of(panel: ResolvedPanel, marker: str) -> int:
    """Place of a marker among those of the run, by its name or that of its channel."""
    if marker in panel.markers:
        return list(panel.markers).index(marker)
    for names in panel.names:
        if marker in names:
            return list(names).index(marker)
    raise PanelError(f"No marker {marker!r} among those that the model is given; found {listed(panel.markers, 60)}.")


def changed_reader(reader: SampleReader, labels: np.ndarray, values: Mapping[int, float]) -> SampleReader:
    """The reader of an image in which channels have a value below some labels; itself where there are none.

    Raises
    ------
    PanelError
        If a value does not fit into the pixels.
    """
    import dask.array as da

    image = da.asarray(reader.image)
    for value in values.values():
        if image.dtype.kind in "iu" and abs(round(value) - value) > 0.01 * abs(value):
            raise PanelError(
                f"Image {reader.name!r} holds whole numbers ({image.dtype}), and a value of {value:g} would become "
                f"{round(value)}. Pass a value in the units of the image."
            )
        if image.dtype.kind in "iu" and not np.iinfo(image.dtype).min <= round(value) <= np.iinfo(image.dtype).max:
            raise PanelError(
                f"Image {reader.name!r} holds {image.dtype} pixels, into which a value of {value:g} does not fit. Pass "
                f"at most {np.iinfo(image.dtype).max}."
            )
    if not len(labels):
        return reader
    below = LabelGrid(reader.labels, reader.image_to_labels)
    changed = da.map_blocks(partial(_set, below=below, labels=labels, values=dict(values)), image, dtype=image.dtype)
    return replace(reader, image=changed, decoded=Decoded())


def _set(
    block: np.ndarray,
    *,
    below: LabelGrid,
    labels: np.ndarray,
    values: Mapping[int, float],
    block_info: Any = None,
) -> np.ndarray:
    """One chunk of an image with its channels set; chunks of other channels as they are."""
    (c0, c1), (y0, y1), (x0, x1) = block_info[0]["array-location"]
    own = {channel - c0: value for channel, value in values.items() if c0 <= channel < c1}
    if not own:
        return block
    inside = np.isin(below((y0, y1, x0, x1)), labels)
    out = np.array(block)
    for channel, value in own.items():
        out[channel][inside] = round(value) if out.dtype.kind in "iu" else value
    return out
