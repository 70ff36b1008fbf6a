"""What a call that embeds may set besides the recipe: which channels, which elements, how to run, how to reduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from .._arguments import shown
from .._described import Described
from .._errors import ElementError, ModelError, PanelError
from ..models.recipe import Recipe

if TYPE_CHECKING:
    from dask.distributed import Client

    from ..models.encoder import Encoder

Embeddings: TypeAlias = str | PathLike | Mapping[str, Any] | Sequence[object]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Panel(Described):
    """Which channels are which markers.

    Attributes
    ----------
    markers
        Markers to use, in this order. None: all that every sample has.
    mapping
        Channel → marker for names that `spatialfm.pp.match_markers` does not recognise; None leaves a channel out.
    on_unknown
        What becomes of channels that are not resolved: an error, a marker that the model has never seen, or left out.
        None: ``"raise"`` for models that take markers by name, ``"keep"`` for those that ignore names.
    nuisance
        What becomes of channels that hold no marker by their names, and that neither `markers` nor `mapping` names:
        autofluorescence, blanks, background, secondary antibodies, a dye alone (``"Cy5"``, ``"Opal 690"``), the number
        of a channel (``"Channel 0"``). ``"drop"``: left out of what is embedded, and named in one warning; the cell
        table keeps them. ``"keep"``: embedded by their own names. Dyes and numbers are kept as unknown where no
        channel of a panel has a marker's name.
    embeddings
        Protein embeddings of the markers for models that take markers by them: a folder of ``<UniProt>.pt`` or
        ``.npy``, a FASTA file to compute them from, ``{marker: vector}``, or a list of these. Behind them, and by
        default, come those of common markers that come with the package.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.Panel(mapping={"Target 7": "CD3"}, on_unknown="drop")
    Panel(mapping={'Target 7': 'CD3'}, on_unknown='drop')
    """

    markers: Sequence[str] | None = None
    mapping: Mapping[str, str | None] | None = None
    on_unknown: Literal["raise", "keep", "drop"] | None = None
    nuisance: Literal["drop", "keep"] = "drop"
    embeddings: Embeddings | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Elements(Described):
    """Which elements of the SpatialData are used, and what they do not state themselves.

    Attributes
    ----------
    image
        Images to use; None: every ``image_<sample>`` with its ``cells_<sample>``, or the only image and labels of a
        coordinate system. A mapping is read as ``{sample: element}``.
    labels
        Labels, shapes or points to use, in the same ways; see `spatialfm.pp.cell_table` on shapes. None: also what the
        table annotates over an image. Cells of points are embedded around their coordinates, unmasked.
    mpp
        µm per pixel of the images, or ``{sample: µm}``. None: from their transformations. Either all sizes are known
        or none is.
    on_pieces
        Numbers of labels that are used for several cells (see `spatialfm.pp.check_labels`): an error, or all pieces of
        a number are one cell. Kept, too, where `spatialfm.pp.cell_table` was told so; with ``"split"`` it makes each
        piece a cell.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.Elements(image="he_like", labels="nuclei", mpp=0.5)
    Elements(image='he_like', labels='nuclei', mpp=0.5)
    """

    image: str | Sequence[str] | Mapping[str, str] | None = None
    labels: str | Sequence[str] | Mapping[str, str] | None = None
    mpp: float | Mapping[str, float] | None = None
    on_pieces: Literal["raise", "keep"] = "raise"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Run(Described):
    """How a run is done: what must not change the numbers beyond rounding.

    Attributes
    ----------
    devices
        Torch device; None: ``settings.device``. A list, such as ``["cuda:0", "cuda:1"]``, shares the blocks out to
        several devices of this machine.
    client
        A `dask.distributed.Client`: its workers encode the blocks (each on its device) and write them to
        ``settings.cache_dir``, which they and this process must share.
    batch_size
        Windows of a batch. None: what fits into ``settings.batch_memory``. Halved where memory does not suffice.
    precision
        ``"float32"``: exact. ``"float16"``: computed in float32 and stored in half the space. ``"bfloat16"``: computed
        in bfloat16 (autocast) where that is safe, and stored in float32; faster where the processor has it.
    compile
        Whether the encoder is compiled (`torch.compile`) first: a minute spent, then faster on GPUs. Numbers may differ
        in the last digits.
    resume
        Whether blocks that an interrupted run of the same call has finished are used.
    keep
        Folder in which finished blocks stay, for a cohort that grows: a later call with the same folder encodes only
        images that were added or changed. Taken is what would be the same bit for bit: of the same pixels, cells,
        model and versions, in batches of the same size, with the same statistics of the markers; the log says how much
        of it there was. Blocks that a call does not use are removed at its end. None: blocks are removed once the rows
        are there. Not for pixels that a model predicts, nor for `spatialfm.tl.marker_positivity`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.Run(devices="cpu", batch_size=64)
    Run(devices='cpu', batch_size=64)
    """

    devices: str | Sequence[str] | None = None
    client: Client | None = None
    batch_size: int | None = None
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    compile: bool = False
    resume: bool = True
    keep: str | PathLike | None = None

    @property
    def device(self) -> str | None:
        """The one device, of each worker where there is a client; None: that of the settings."""
        return self.devices if self.devices is None or isinstance(self.devices, str) else ", ".join(self.devices)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Reduce(Described):
    """Fewer columns, fitted on the rows of a run or as in an earlier one.

    Attributes
    ----------
    method
        ``"pca"``: the leading principal components. Their mean and components are written too.
    n_components
        How many. None: as many as in the model's recipe, otherwise 50.
    basis
        Mean and components of an earlier run (`spatialfm.get.basis`), instead of fitting them here; with several
        outputs, ``{output: basis}``.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.Reduce(n_components=20)
    Reduce(n_components=20)
    """

    method: Literal["pca"] = "pca"
    n_components: int | None = None
    basis: Mapping[str, Mapping[str, np.ndarray] | np.ndarray] | None = None


@dataclass(frozen=True)
class Request:
    """All that was asked of one run, settled.

    Attributes
    ----------
    recipe, panel, elements, run
        As the user or the model's card has them.
    reduce
        None: nothing is reduced unless the recipe does.
    outputs
        Outputs asked for; None: those of the card.
    """

    recipe: Recipe
    panel: Panel = Panel()
    elements: Elements = Elements()
    run: Run = Run()
    reduce: Reduce | None = None
    outputs: str | Sequence[str] | None = None


def request_of(
    encoder: Encoder,
    *,
    markers: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    cells: bool = True,
) -> Request:
    """The arguments of a public function, each a record or a dict of its fields, checked against the model.

    `cells`: rows are cells, so that the mode of the recipe must be one that the model can be used in.

    Raises
    ------
    PanelError
        If markers are named twice.
    ArgumentError, ModelError
        If a field does not exist or cannot have its value, or the model cannot be used in that way.
    """
    from ..models.encoder import takes_recipe

    named = Panel.of(panel)
    if markers is not None:
        if named.markers is not None and list(named.markers) != list(markers):
            raise PanelError("markers= and panel={'markers': ...} name different markers. Pass one of them.")
        named = named.replace(markers=markers)
    card = encoder.card
    used = card.settle(Recipe.of(recipe, card.recipe), cells=cells)
    if not takes_recipe(encoder):
        for name in ("normalization", "epsilon"):
            if getattr(used, name) != getattr(card.recipe, name):
                raise ModelError(f"{card.name} normalises pixels in its own way. Leave {name}= as on its card.")
    return Request(
        recipe=used,
        panel=named,
        elements=Elements.of(elements),
        run=Run.of(run),
        reduce=None if reduce is None else Reduce.of(reduce),
        outputs=outputs,
    )


def image_elements(
    elements: Elements | Mapping[str, Any] | None, recipe: Recipe | Mapping[str, Any] | None
) -> Elements:
    """The elements of a function that needs no labels; refuses what it could only ignore.

    Raises
    ------
    ElementError, ModelError
        If labels are named, or fields of the recipe that are about cells.
    """
    meant = Elements.of(elements)
    if meant.labels is not None or meant.on_pieces != "raise":
        field = "on_pieces" if meant.labels is None else "labels"
        raise ElementError(f"elements={{{field!r}: ...}}: no labels are used here. Leave {field!r} out.")
    if isinstance(recipe, Mapping):
        if of_cells := [name for name in recipe if name in OF_CELLS]:
            raise ModelError(
                f"recipe={{{of_cells[0]!r}: ...}} is about cells, and rows are not cells here. Leave {of_cells[0]!r} "
                "out of it."
            )
    return meant


OF_CELLS = ("mode", "stride", "padding", "centers", "background")  # fields of a recipe
RECORDS: dict[str, type[Described]] = {
    "recipe": Recipe,
    "panel": Panel,
    "reduce": Reduce,
    "run": Run,
    "elements": Elements,
}
OLD = {  # names that arguments had before they became fields
    "normalization": ("recipe", "statistics"),
    "stats": ("recipe", "statistics"),
    "resample": ("recipe", "resampling"),
    "marker_embeddings": ("panel", "embeddings"),
    "device": ("run", "devices"),
    "dtype": ("run", "precision"),
}


class CallFields:
    """Where the functions that embed have what was a separate argument, for messages."""

    def of(self, arguments: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Argument and field of each name, of a function with these arguments."""
        here = {argument: kind for argument, kind in RECORDS.items() if argument in arguments}
        fields = {name: (argument, name) for argument, kind in here.items() for name in kind.names()}
        return fields | {name: place for name, place in OLD.items() if place[0] in arguments}

    def hint(self, name: str, value: object, given: Mapping[str, Any], arguments: Sequence[str]) -> str | None:
        """What a keyword that there is not must have meant; None: nothing that is known here."""
        from ..models.registry import options_of

        model, fields = given.get("model", "classical"), self.of(arguments)
        options = options_of(model) if isinstance(model, str) else ()
        if name in options:
            return (
                f"It is an option of the model: encoder = sfm.models.load({model!r}, {name}={shown(value)}), and pass "
                "the encoder as model=."
            )
        close = [name] if name in fields else get_close_matches(name, [*arguments, *options, *fields], n=1, cutoff=0.6)
        if not close or close[0] in arguments:
            return None
        if close[0] in options:
            return f"Did you mean {close[0]!r}? It is an option of the model: sfm.models.load({model!r}, ...)."
        argument, field = fields[close[0]]
        where = f"a field of {argument}=: {argument}={{{field!r}: {shown(value)}}}"
        if name == close[0]:
            return f"It is {where}." if name == field else f"It is {field!r} now, {where}."
        return f"Did you mean {field!r}, {where}?"


CALL_FIELDS = CallFields()
