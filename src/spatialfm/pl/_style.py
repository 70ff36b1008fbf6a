"""One typeface and one size for all figures of an analysis."""

from __future__ import annotations

from contextlib import AbstractContextManager

from .._errors import TableError
from .._public import public


@public
def style(font_size: float = 9.0) -> AbstractContextManager[None]:
    """Settings of matplotlib under which figures of this package, scanpy and squidpy look alike.

    One typeface and one size for titles, axes and legends; titles on the left; legends without frames; text that stays
    text in PDF and SVG; files at 200 dots per inch. Settings end with the block.

    Parameters
    ----------
    font_size
        Points. Journals print 5 to 8; 9 reads well on a screen.

    Returns
    -------
    Context manager.

    Raises
    ------
    TableError
        If the size is not positive.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import spatialfm as sfm
    >>> with sfm.pl.style(font_size=7):
    ...     figure, ax = plt.subplots()
    ...     size = ax.set_title("survival").get_fontsize()
    >>> size
    7.0
    """
    import matplotlib as mpl

    if font_size <= 0:
        raise TableError(f"font_size={font_size!r} is not a size of text. Pass points, for example font_size=8.")
    same = ("axes.titlesize", "axes.labelsize", "figure.titlesize", "legend.fontsize", "legend.title_fontsize")
    same += ("xtick.labelsize", "ytick.labelsize")
    return mpl.rc_context(
        {
            "font.size": font_size,
            **dict.fromkeys(same, font_size),
            "font.family": "sans-serif",
            # the one that comes with matplotlib first: the same on every machine
            "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
            "axes.titlelocation": "left",
            "axes.grid": False,
            "figure.facecolor": "white",
            "legend.frameon": False,
            "savefig.dpi": 200,
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
            "svg.fonttype": "none",
        }
    )
