"""Models by name: register, list, load."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .._errors import ModelError
from .._logging import logger
from .._public import meant, public, taken
from .._signatures import rules_of
from .card import ModelCard

if TYPE_CHECKING:
    import pandas as pd

    from .encoder import Encoder

_Builder = TypeVar("_Builder", bound=Callable[..., "Encoder"])

_BUILTIN = (  # register our own models
    "kronos", "kronos2", "virtues", "virtues_m2", "dinov2", "openphenom", "morphem", "eva", "subcell", "resnet50",
    "classical", "mean_intensity",
)  # fmt: skip
_COLUMNS = (
    "family",
    "parameters",
    "license",
    "commercial",
    "gated",
    "outputs",
    "mpp",
    "window",
    "marker_vocabulary",
    "reference",
)


@dataclass(frozen=True)
class _Entry:
    card: ModelCard
    build: Callable[..., Encoder]

    @property
    def options(self) -> list[str]:
        """What the builder takes beyond card and weights."""
        return [
            name
            for name, parameter in list(inspect.signature(self.build).parameters.items())[2:]
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]


_ENTRIES: dict[str, _Entry] = {}
_TERMS_SHOWN: set[str] = set()


@public
def register(card: ModelCard) -> Callable[[_Builder], _Builder]:
    """Register a model under the name on its card.

    Parameters
    ----------
    card
        The model's card.

    Returns
    -------
    A decorator for an `Encoder` subclass or a function: called as ``build(card, weights, **options)``, it gives the
    encoder. `weights` is what the user passed to `load`; the names of `options` are read from the signature.

    Raises
    ------
    ModelError
        If another model has that name.

    Examples
    --------
    An encoder of one's own, then known to `load` and to ``sfm.tl.embed_cells(sdata, model="brightest-pixel")``:

    >>> from spatialfm.models import Encoder, EncoderOutput, ModelCard, Weights, load, register
    >>> card = ModelCard(
    ...     name="brightest-pixel",
    ...     family="example",
    ...     title="Largest intensity of each marker in the window",
    ...     license="BSD-3-Clause",
    ...     commercial=True,
    ...     gated=False,
    ...     reference="-",
    ...     trained_on="nothing",
    ...     needs_weights=False,
    ... )
    >>> @register(card)
    ... class BrightestPixel(Encoder):
    ...     def __init__(self, card, weights, *, power=1.0):
    ...         super().__init__()
    ...         self.card, self.weights, self.options = card, Weights("none"), {"power": power}
    ...
    ...     def forward(self, pixels, markers=None, *, mask=None):
    ...         return EncoderOutput(patch=pixels.amax((-2, -1)) ** self.options["power"])
    >>> import torch
    >>> load("brightest-pixel", power=2)(torch.full((1, 3, 8, 8), 3.0)).patch
    tensor([[9., 9., 9.]])
    """

    def decorator(build: _Builder) -> _Builder:
        known = _ENTRIES.get(card.name)
        # the same definition may come again: a notebook cell that is run twice
        if known is not None and _identity(known.build) != _identity(build):
            raise ModelError(
                f"A model {card.name!r} is registered already, by {'.'.join(_identity(known.build))}. "
                "Give the card another name."
            )
        _ENTRIES[card.name] = _Entry(card, build)
        return build

    return decorator


@public
def list_models() -> pd.DataFrame:
    """All models as a table.

    Returns
    -------
    One row per model, indexed by name: family, number of parameters, licence of the weights, whether commercial use is
    allowed, whether the hub asks for consent, outputs, native µm per pixel, published window in pixels, how a marker is
    told to the model, reference.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> models = sfm.models.list_models()
    >>> models.loc[["kronos", "classical"], "license"].to_dict()
    {'kronos': 'CC-BY-NC-ND-4.0', 'classical': 'BSD-3-Clause'}
    """
    import pandas as pd

    cards = [entry.card for entry in _entries().values()]
    table = pd.DataFrame(
        [
            [card.recipe.window if column == "window" else getattr(card, column) for column in _COLUMNS]
            for card in cards
        ],
        index=pd.Index([card.name for card in cards], name="name"),
        columns=list(_COLUMNS),
    )
    table["outputs"] = [", ".join(outputs) for outputs in table["outputs"]]
    return table.astype({"parameters": "Int64", "window": "Int64", "mpp": "Float64"})


@public
def card(name: str) -> ModelCard:
    """Card of a model.

    Parameters
    ----------
    name
        Name in the registry.

    Raises
    ------
    ModelError
        If there is no such model.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sfm.models.card("kronos").outputs
    ('patch', 'marker', 'token', 'attention')
    """
    return _entry(name).card


@public
def load(
    name: str,
    *,
    weights: str | os.PathLike | None = None,
    adapter: str | os.PathLike | None = None,
    **options: Any,
) -> Encoder:
    """Load a model, ready for inference.

    Parameters
    ----------
    name
        Name in the registry; `list_models` shows them.
    weights
        A file, a folder that holds it, a hub repository (``"org/repo"`` or ``"hf://org/repo[@revision]/file"``), or
        ``"random"`` for untrained weights (for smoke tests, and as a floor in comparisons). None: the model's own
        repository, downloaded once into ``sfm.settings.cache_dir``.
    adapter
        Folder that `spatialfm.train.finetune` wrote: what it learned is added to the weights, which must be those that
        it was trained on. The record of an embedding then names the adapter and its SHA-256.
    options
        Options of the model, for example ``token_overlap=True`` of KRONOS.

    Returns
    -------
    The encoder, in evaluation mode and without gradients, on the CPU.

    Raises
    ------
    ModelError
        If there is no such model, it has no such option, or the adapter belongs to another model, other options or
        other weights.
    ArgumentError
        If an option is of another type or range than in the builder's signature.
    WeightsError
        If the weights or the adapter are missing, damaged, of another model, or would need code to be read.

    Examples
    --------
    >>> import torch
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.load("kronos", weights="random")
    >>> out = encoder(torch.zeros(2, 3, 64, 64), torch.tensor([0, 17, 42]))
    >>> out.patch.shape, out.marker.shape, out.token.shape
    (torch.Size([2, 384]), torch.Size([2, 3, 384]), torch.Size([2, 3, 4, 4, 384]))
    """
    from .adapter import check_model, merge, read_adapter
    from .encoder import Encoder, Weights

    entry = _entry(name)
    if unknown := [option for option in options if option not in entry.options]:
        raise ModelError(
            f"Model {name!r} has no option {unknown[0]!r}. {meant(unknown[0], [*entry.options, 'weights', 'adapter'])}"
        )
    rules = {option: rule for option, rule in rules_of(entry.build).items() if option in options}
    options = taken(name, options, rules)
    if weights is not None and not entry.card.needs_weights:
        raise ModelError(f"Model {name!r} has no weights. Leave out weights={os.fspath(weights)!r}.")
    added = None if adapter is None else read_adapter(adapter)
    if added is not None:  # before the weights are read, which may be large
        check_model(added, entry.card, options)
    encoder = entry.build(entry.card, weights, **options)
    if not isinstance(encoder, Encoder):
        raise ModelError(f"The builder of model {name!r} gave a {type(encoder).__name__}; it must give an sfm Encoder.")
    for attribute, default in (("card", entry.card), ("weights", Weights("none")), ("options", dict(options))):
        if not hasattr(encoder, attribute):
            setattr(encoder, attribute, default)
    if added is not None:
        merge(encoder, added)
    _show_terms(encoder.card)
    return encoder.eval().requires_grad_(False)


def options_of(name: str) -> tuple[str, ...]:
    """Names of the options that a model takes."""
    return tuple(_entry(name).options)


def _identity(build: Callable) -> tuple[str, str]:
    return build.__module__, build.__qualname__


def _entries() -> dict[str, _Entry]:
    for module in _BUILTIN:
        importlib.import_module(f".{module}", __package__)
    return dict(sorted(_ENTRIES.items()))


def _entry(name: str) -> _Entry:
    entries = _entries()
    if name not in entries:
        raise ModelError(f"No model {name!r}; there are: {', '.join(entries)}. See sfm.models.list_models().")
    return entries[name]


def _show_terms(card: ModelCard) -> None:
    shown = f"{card.name}: {card.license}"
    if shown in _TERMS_SHOWN or (card.commercial and not card.gated):
        return
    _TERMS_SHOWN.add(shown)
    logger.info(
        "%s: its weights are under %s%s%s. Cite: %s",
        card.name,
        card.license,
        "" if card.commercial else ", non-commercial use only",
        ", and given out on request" if card.gated else "",
        card.reference,
    )
