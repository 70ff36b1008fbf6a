"""Objectives by name: register, make."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..._errors import ArgumentError, ModelError
from ..._public import meant, public, taken
from ..._signatures import rules_of
from ...models.encoder import Encoder
from .objective import Objective

_Builder = TypeVar("_Builder", bound=Callable[..., Objective])

_BUILTIN = ("distill", "masked", "supervised")  # register our own
_BUILDERS: dict[str, Callable[..., Objective]] = {}


@public
def register_objective(name: str) -> Callable[[_Builder], _Builder]:
    """Register an objective under a name.

    Parameters
    ----------
    name
        Name that `new_objective` and `pretrain` take.

    Returns
    -------
    A decorator for an `Objective` subclass or a function: called as ``build(encoder, **options)``, it gives the
    objective. The names of `options` are read from its signature.

    Raises
    ------
    ArgumentError
        If another objective has that name.

    Examples
    --------
    Embeddings of windows that are to be of length one:

    >>> import torch
    >>> import spatialfm as sfm
    >>> from spatialfm.train import Group, Objective, Schedule, Term, new_objective, register_objective
    >>> @register_objective("unit-length")
    ... class UnitLength(Objective):
    ...     def __init__(self, encoder, *, learning_rate=1e-3):
    ...         super().__init__()
    ...         self.encoder, self.learning_rate = encoder, learning_rate
    ...
    ...     def views(self):
    ...         return lambda window, rng: window
    ...
    ...     def forward(self, views):
    ...         patches = [self.encoder(view.pixels[None], view.markers).patch for view in views]
    ...         return {"length": Term((torch.cat(patches).norm(dim=-1) - 1).square().sum(), len(views))}
    ...
    ...     def groups(self):
    ...         return [Group(dict(self.named_parameters()))]
    ...
    ...     def schedule(self, step, n_steps):
    ...         return Schedule(self.learning_rate, 0.0, self.learning_rate)
    >>> objective = new_objective("unit-length", sfm.models.load("kronos", weights="random"), learning_rate=1e-4)
    >>> objective.name, objective.schedule(0, 10).lr
    ('unit-length', 0.0001)
    """

    def decorator(build: _Builder) -> _Builder:
        known = _BUILDERS.get(name)
        # the same definition may come again: a notebook cell that is run twice
        if known is not None and _identity(known) != _identity(build):
            raise ArgumentError(
                f"An objective {name!r} is registered already, by {'.'.join(_identity(known))}. Give it another name."
            )
        _BUILDERS[name] = build
        return build

    return decorator


@public
def new_objective(name: str | Objective, encoder: Encoder | None = None, **options: Any) -> Objective:
    """An objective that trains an encoder.

    Parameters
    ----------
    name
        Name in the registry; an `Objective` is given back as it is.
    encoder
        Encoder whose parameters are trained; all of them are set to want gradients.
    options
        Options of the objective.

    Raises
    ------
    ArgumentError
        If there is no such objective or option, or an option has a value that it cannot have.
    ModelError
        If the encoder cannot be trained by it.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.new_encoder("virtues", dim=64, depth=4, heads=2)
    >>> sfm.train.new_objective("masked", encoder, mode="niche").schedule(10, 100).lr
    0.0002
    """
    if isinstance(name, Objective):
        if options:
            raise ArgumentError(f"Options of an objective go to its own class, not here: {', '.join(options)}.")
        return name
    builders = objectives()
    if name not in builders:
        raise ArgumentError(f"No objective {name!r}. {meant(name, builders)}")
    if not isinstance(encoder, Encoder):
        raise ModelError(f"Objective {name!r} trains an encoder, got a {type(encoder).__name__}.")
    build = builders[name]
    known = _options(build)
    if unknown := [option for option in options if option not in known]:
        raise ArgumentError(f"Objective {name!r} has no option {unknown[0]!r}. {meant(unknown[0], known)}")
    rules = {option: rule for option, rule in rules_of(build).items() if option in options}
    objective = build(encoder.requires_grad_(True), **taken(name, options, rules))
    if not isinstance(objective, Objective):
        raise ArgumentError(f"The builder of objective {name!r} gave a {type(objective).__name__}, no Objective.")
    objective.name = name
    return objective


def objectives() -> dict[str, Callable[..., Objective]]:
    """All objectives by name."""
    for module in _BUILTIN:
        importlib.import_module(f".{module}", __package__)
    return dict(sorted(_BUILDERS.items()))


def _options(build: Callable[..., Objective]) -> list[str]:
    keyword = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, one in list(inspect.signature(build).parameters.items())[1:] if one.kind in keyword]


def _identity(build: Callable) -> tuple[str, str]:
    return build.__module__, build.__qualname__
