"""Encoders: windows of pixels in, vectors out.

Every model is a `ModelCard` and an `Encoder`; `list_models` shows them, `load` gives one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

# eagerly: importing the file card.py would otherwise put the module where the function `card` belongs
from .registry import card, list_models, load, register

if TYPE_CHECKING:
    from .card import ModelCard
    from .encoder import Encoder, EncoderOutput, MarkerEntry, Weights

__getattr__, _, _ = _lazy.attach(
    __name__,
    submod_attrs={"card": ["ModelCard"], "encoder": ["Encoder", "EncoderOutput", "MarkerEntry", "Weights"]},
)
__all__ = [
    "Encoder",
    "EncoderOutput",
    "MarkerEntry",
    "ModelCard",
    "Weights",
    "card",
    "list_models",
    "load",
    "register",
]


def __dir__() -> list[str]:
    return sorted(__all__)
