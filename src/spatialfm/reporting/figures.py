"""Figures inside of the page: drawn, encoded, closed; one that cannot be drawn says why in its place."""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from .._errors import SpatialfmError
from .._logging import logger
from ..pl import style
from ..pl._heatmap import draw_heatmap
from .elements import Html, note, tag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SVG = 200_000  # bytes of a drawing; one with more parts is smaller as pixels
DPI = 150
SCALE = 90  # pixels of the page for an inch of a figure
# the same figure is the same file; letters are shapes, so that no font of the reader's machine is needed
_SVG = {"svg.hashsalt": "spatialfm", "svg.fonttype": "path"}


def drawn(draw: Callable[[], Figure], alt: str, caption: object) -> Html:
    """A figure with its caption, or a remark with the reason why it cannot be drawn.

    Parameters
    ----------
    draw
        Draws and returns a figure.
    alt
        What is to be seen, for those who cannot see it.
    """
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    try:
        with style():
            source, width, height = encoded(draw())
    except Exception as error:  # the rest of a report is not lost with one figure
        reason = str(error) if isinstance(error, SpatialfmError) else f"{type(error).__name__}: {error}"
        logger.warning("A figure of the report is not drawn: %s", reason)
        return note(f"This figure is not drawn: {reason}", kind="caution")
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
    image = tag("img", src=source, alt=alt, width=width, height=height)
    return tag("figure", image, tag("figcaption", caption))


def encoded(figure: Figure) -> tuple[str, int, int]:
    """A figure as a data URI, a drawing or pixels where those take less; its width and height on the page."""
    import matplotlib as mpl

    content = io.BytesIO()
    if not any(ax.images or ax.collections for ax in figure.axes):  # curves and bars
        with mpl.rc_context(_SVG):
            figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
        if content.tell() <= MOST_SVG:
            size = dict(re.findall(rb' (width|height)="([\d.]+)pt"', content.getvalue()))
            width, height = (float(size[name]) / 72 for name in (b"width", b"height"))
            return _uri("svg+xml", content), round(width * SCALE), round(height * SCALE)
        content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight", dpi=DPI, metadata={"Software": None})
    width, height = struct.unpack(">II", content.getvalue()[16:24])
    return _uri("png", content), round(width / DPI * SCALE), round(height / DPI * SCALE)


def heatmap(values: pd.DataFrame, label: str, limit: float) -> Figure:
    """A heatmap around 0, rows and columns named, gaps in grey; a bar with an arrow where colours are cut off."""
    import matplotlib.pyplot as plt

    rows, columns = values.shape
    size = (min(2.2 + 0.32 * columns, 14.0), min(1.4 + 0.28 * rows, 18.0))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.set_facecolor("#dddddd")
    draw_heatmap(ax, values, label=label, limit=limit, size=min(1.0, 2.0 / size[1]))
    return figure


def _uri(kind: str, content: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
