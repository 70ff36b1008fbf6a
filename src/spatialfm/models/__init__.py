"""Encoders: windows of pixels in, vectors out.

Every model is a `ModelCard` and an `Encoder`; `list_models` shows them, `load` gives one.
"""

from __future__ import annotations

import sys as _sys
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

import lazy_loader as _lazy

from .registry import card, list_models, load, register

if TYPE_CHECKING:
    from .card import ModelCard
    from .checks import check_encoder
    from .encoder import Encoder, EncoderOutput, MarkerEntry, Weights
    from .trained import new_encoder, save_trained

__getattr__, _, _ = _lazy.attach(
    __name__,
    submod_attrs={
        "card": ["ModelCard"],
        "checks": ["check_encoder"],
        "encoder": ["Encoder", "EncoderOutput", "MarkerEntry", "Weights"],
        "trained": ["new_encoder", "save_trained"],
    },
)
__all__ = [
    "Encoder",
    "EncoderOutput",
    "MarkerEntry",
    "ModelCard",
    "Weights",
    "card",
    "check_encoder",
    "list_models",
    "load",
    "new_encoder",
    "register",
    "save_trained",
]


class _Package(_ModuleType):
    """Keeps the function `card`: whoever imports the file card.py would put the module in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name == "card" and isinstance(value, _ModuleType)):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
