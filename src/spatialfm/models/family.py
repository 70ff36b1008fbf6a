"""Families of encoders that can be trained: which shapes they may have, and the weights that they start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from .._errors import ModelError
from .._public import meant, taken
from .._signatures import rules_of
from .card import ModelCard
from .encoder import Encoder

OWN_LICENSE = "that of the data it is trained on"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Encoders of one design.

    Attributes
    ----------
    configs
        Published shape of each model, a frozen dataclass.
    build
        Called as ``build(card, config, **options)``, it gives the encoder on the meta device, without weights.
    initialise
        Called as ``initialise(encoder, seed)``, it fills the encoder with the weights that training starts from.
    fits
        What is wrong with a shape, in words; None: nothing.
    shorthands
        Words for a shape that decide several fields, with what makes these of them; a field that is given itself wins.
    options
        Options of the model that belong to its weights: what is trained with one is not used with another.
    training
        Values of options in training, where these are not a choice.
    objective
        Name of the objective in `spatialfm.train` that it was published with; None: it is trained here by none of them.
    """

    configs: Mapping[str, Any]
    build: Callable[..., Encoder]
    initialise: Callable[[Encoder, int], None]
    fits: Callable[[Any], str | None] = lambda config: None
    shorthands: Mapping[str, Callable[[Any], dict[str, Any]]] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    objective: str | None = None

    def config(self, name: str, shape: Mapping[str, Any]) -> Any:
        """The published shape of a model, changed as asked.

        Raises
        ------
        ModelError
            If the model has no such word for its shape, or cannot have that shape.
        ArgumentError
            If a value is of another type or range.
        """
        published = self.configs[name]
        names = [one.name for one in fields(published)]
        known = [*names, *self.shorthands, *(one for one in self.options if one not in self.training)]
        if unknown := [word for word in shape if word not in known]:
            raise ModelError(f"The shape of model {name!r} has no {unknown[0]!r}. {meant(unknown[0], known)}")
        changes: dict[str, Any] = {}
        for word, value in shape.items():
            if word in self.shorthands:
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ModelError(f"{word} must be a whole number, at least 1, got {value!r}.")
                changes |= self.shorthands[word](value)
        changes |= {word: value for word, value in shape.items() if word in names and word not in self.shorthands}
        rules = {word: rule for word, rule in rules_of(type(published)).items() if word in changes}
        config = replace(published, **taken(name, changes, rules))
        if wrong := self.fits(config):
            raise ModelError(f"Model {name!r} cannot have that shape: {wrong}.")
        return config


_FAMILIES: dict[str, Family] = {}


def add_family(family: Family) -> None:
    """Make the models of a family trainable."""
    _FAMILIES.update(dict.fromkeys(family.configs, family))


def family_of(name: str) -> Family:
    """Family of a model.

    Raises
    ------
    ModelError
        If it belongs to none: the model cannot be trained.
    """
    if name not in _FAMILIES:
        raise ModelError(f"Model {name!r} cannot be trained anew. {meant(name, sorted(_FAMILIES))}")
    return _FAMILIES[name]


def published_objective(card: ModelCard) -> str | None:
    """Name of the objective that a model was published with; None: none of ours."""
    family = _FAMILIES.get(card.name)
    return None if family is None else family.objective


def shaped_card(card: ModelCard, encoder: Encoder, **changes: Any) -> ModelCard:
    """The card of an encoder that has another shape, or other weights, than the published one."""
    config = getattr(encoder, "config", None)
    shape: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "embedding_dim": getattr(config, "dim", card.embedding_dim),
        "patch_size": getattr(config, "patch_size", card.patch_size),
    }
    return replace(card, **shape | changes)


def shape_of(encoder: Encoder) -> dict[str, Any]:
    """Shape of an encoder as it goes into a file; empty where it has but one."""
    config = getattr(encoder, "config", None)
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
