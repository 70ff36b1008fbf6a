"""How a model was published to be used: all that decides the numbers, in one frozen record on its card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np

from .._described import Described
from .._errors import ModelError, PanelError
from .._ranges import at_least
from .preparation import Pixels, Preparation, PreparedPixels, TissueMask

if TYPE_CHECKING:
    import pandas as pd

# Of tiles, in model pixels (VirTues, Methods, Aggregation): the one published recipe of them, taken by models without
# a separate one when a user asks them for tiles.
TILES = {"window": 128, "stride": 42, "padding": None, "background": "keep", "centers": None}
PADDING = 120
CROPS = {"stride": None, "padding": None}

Tissue: TypeAlias = str | np.ndarray | Mapping[str, Any]
# in quotes: pandas is not imported for it
Statistics: TypeAlias = "str | PathLike | pd.DataFrame | Mapping[str, Any] | Sequence[str | PathLike]"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Recipe(Described):
    """All that decides the numbers of an embedding, besides the model, the images and the panel.

    ``sfm.models.card("kronos").recipe`` is the published one, ``card.recipe.replace(background="keep")`` departs from
    it, and ``recipe={"background": "keep"}`` in a call does the same.

    Attributes
    ----------
    mode
        ``"crop"``: one window around each cell; ``"tile"``: overlapping tiles over the whole image, whose tokens are
        shared out to the cells below by the pixels that they have in common. `replace` with another mode also takes
        its window, stride, padding and background, unless these are given with it.
    window
        Side of a window in model pixels. None: crops as large as the largest cell.
    stride
        Of tiles: distance of one to the next in model pixels.
    padding
        Of tiles: how far they reach beyond the image, where all is zero before normalising, in model pixels. None: 120,
        or 0 where the model's card says that it cannot pad.
    centers
        Of crops: columns of ``obs`` (x, y) that hold the centres of the windows as pixel indices of the image, taken
        as they are (fractions are rounded; indices of an image that is resampled are scaled with it). None: the
        centroid of each cell in pixel indices, rounded (halves up); a window of 64 then spans rows ``i - 32`` to
        ``i + 31`` around pixel ``i``.
    background
        Pixels outside of the cell: ``"zero"`` after normalising, or ``"keep"``.
    pixel_size
        µm per pixel that all images are brought to. None: as on the model's card, see ``mpp``, ``mpp_range`` and
        ``mpp_reference`` there: images more than 10 % off what it was trained on are resampled to that, and images of
        different sizes to one, the coarsest of them.
    resampling
        How: ``"triangle"``, an antialiased linear filter; ``"area"``, where a larger pixel is the mean of those that
        it covers; ``"none"``: not at all. None: by area for models without their own pixel size.
    scaling
        ``"range"``: pixels are divided by `intensity_max`; ``"raw"``: they stay as they are, or, where `intensity_max`
        is a mapping, go to the unit of the sample with the largest.
    intensity_max
        Pixel value that becomes 1, or ``{sample: value}``. None: the range of 8- and 16-bit images; 1 for others. Has
        to be given where the pixel types of the images differ. Negative pixels count as 0, with a warning.
    on_nan
        Pixels that are NaN or infinite: ``"raise"``, an error that names image, channel and number, or ``"zero"``,
        with a warning.
    preparation
        What is done to a whole image before windows are cut; None: nothing. A name denotes a variant that the
        model's own has.
    tissue
        Where statistics of the cohort are taken. ``"auto"``: the element ``tissue_<sample>``, if there is one (see
        `spatialfm.pp.tissue`); otherwise all of an image, less empty glass: regions that are large, dark in most
        channels, without segmented cells, and whose smoothed intensities are a separate mode; ``"all"``:
        everything. A labels element (0: none) or shapes, ``"{sample}"`` in the name is replaced by the sample; a 2-D
        array of bool or integers of the image's size; or ``{sample: any of these}``.
    normalization
        ``"marker statistics"``: mean and standard deviation of each marker; ``"scale"``: division by the standard
        deviation; ``"none"``.
    statistics
        Where these come from. ``"published"``: shipped with the weights; ``"cohort"``: over the tissue of all samples
        given; ``"auto"``: published ones where there are any, those of the cohort for the rest. Or given:
        ``{marker: (mean, std)}``; the table of `spatialfm.pp.marker_statistics`; the record of an earlier run
        (`spatialfm.get.record`); for models whose preparation has published ones, a folder in spora's layout
        (``<modality>/1_0mpp/standardization/quantile_clipping_log1p/uq_0.99_image`` or one above it), its parquet
        files, or ``{"means": table, "stds": table, "quantiles": table}``, whose channels are matched by name; a sample
        whose name is that of an image of the data set is also clipped at its quantiles.
    epsilon
        What is added to a standard deviation before it divides.
    standardize
        Whether features are brought to mean 0 and standard deviation 1 over all cells, because they come in different
        units.
    n_components
        Principal components that the paper keeps; None: all columns are kept unless ``reduce=`` says otherwise.
    token_window
        Where every position of an image is described (`spatialfm.tl.segment_regions`): side of the windows whose
        tokens are taken.
    point_window
        The same for models without tokens: side of the small windows that represent positions.
    point_stride
        Distance of one of these to the next.
    """

    mode: Literal["crop", "tile"] = "crop"
    window: int | None = None
    stride: int | None = None
    padding: int | None = None
    centers: tuple[str, str] | None = None
    background: Literal["zero", "keep"] = "zero"
    pixel_size: Annotated[float, at_least(0.01)] | None = None
    resampling: Literal["triangle", "area", "none"] | None = None
    scaling: Literal["range", "raw"] = "range"
    intensity_max: float | Mapping[str, float] | None = None
    on_nan: Literal["raise", "zero"] = "raise"
    preparation: Preparation | str | None = None
    tissue: Tissue = "auto"
    normalization: Literal["marker statistics", "scale", "none"] = "none"
    statistics: Statistics = "auto"
    epsilon: Annotated[float, at_least(0)] = 0.0
    standardize: bool = False
    n_components: int | None = None
    token_window: Annotated[int, at_least(1)] = 256  # KRONOS, Region classification
    point_window: Annotated[int, at_least(1)] = 32  # KRONOS, Patch-level segmentation-free phenotyping
    point_stride: Annotated[int, at_least(1)] = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "tile":
            for name in ("window", "stride"):
                if getattr(self, name) is None:
                    object.__setattr__(self, name, TILES[name])  # frozen
            if self.centers is not None:
                raise ModelError(
                    "Recipe: 'centers' belongs to mode 'crop'; in mode 'tile' all pixels of a cell count. Leave it out."
                )
            if self.background == "zero":
                raise ModelError(
                    "Recipe: background 'zero' masks one cell's window; tiles hold many cells. Take mode 'crop'."
                )
        for name in ("stride", "padding"):
            if self.mode == "crop" and getattr(self, name) is not None:
                raise ModelError(f"Recipe: {name!r} belongs to mode 'tile', and the mode is 'crop'. Leave it out.")
        source = self.statistics_from
        if self.normalization == "none" and source in ("published", "given"):
            raise (ModelError if source == "published" else PanelError)(
                f"Recipe: statistics are {source}, and normalization is 'none': pixels are taken without statistics of "
                "markers. Leave 'statistics' out."
            )

    def replace(self, **changes: object) -> Recipe:
        """The same with other values of some fields; another mode also takes the windows of that mode.

        Parameters
        ----------
        changes
            Values by the names of their fields.

        Raises
        ------
        ArgumentError, ModelError
            If there is no such field, it cannot have that value, or fields contradict each other.

        Examples
        --------
        >>> import spatialfm as sfm
        >>> recipe = sfm.models.card("kronos").recipe
        >>> recipe.replace(background="keep").background
        'keep'
        >>> tiles = recipe.replace(mode="tile")
        >>> tiles.window, tiles.stride, tiles.background
        (128, 42, 'keep')
        """
        if changes.get("mode", self.mode) != self.mode and changes["mode"] in ("crop", "tile"):
            changes = {**(TILES if changes["mode"] == "tile" else CROPS), **changes}
        return super().replace(**changes)

    @property
    def statistics_from(self) -> Literal["auto", "published", "cohort", "given"]:
        """Where statistics come from, in a word."""
        if not isinstance(self.statistics, str):
            return "given"
        match self.statistics:
            case "auto" | "published" | "cohort" as word:
                return word
        return "given"

    def prepare(self, reader: Pixels, tissue: TissueMask, known: np.ndarray | None = None) -> Pixels | PreparedPixels:
        """An image as the model takes it; itself where nothing is to be done.

        Parameters
        ----------
        reader
            Pixels of the image.
        tissue
            Where tissue is on it.
        known
            Clipping values of its channels, where they are known.
        """
        if not isinstance(self.preparation, Preparation):
            return reader
        return self.preparation.prepare(reader, tissue, known)

    def storable(self) -> dict[str, Any]:
        """The fields as a record keeps them: what is not text or numbers is named by its kind."""
        values = {name: getattr(self, name) for name in self.names()}
        if isinstance(self.preparation, Preparation):
            values["preparation"] = self.preparation.name
        values["statistics"] = self.statistics_from
        return {
            name: value if _fits_json(value) else {NOT_KEPT: type(value).__name__} for name, value in values.items()
        }


NOT_KEPT = "not kept"  # key under which the record of a recipe names what it could not hold


def _fits_json(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
