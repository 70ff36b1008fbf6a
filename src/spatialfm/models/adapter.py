"""Adapters: what fine-tuning adds to the weights of a model, kept apart from them, and added when the model is loaded.

A file holds two thin matrices for each matrix of weights that was adapted (LoRA, Hu et al. 2022, arXiv:2106.09685), and
a card says which weights they belong to: ``weight + alpha / rank * up @ down``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .._disk import write_bytes
from .._errors import ModelError, WeightsError
from .encoder import Encoder, digest_of
from .family import shape_of

if TYPE_CHECKING:
    from .card import ModelCard

FILE, CARD = "adapter.safetensors", "card.json"
FORMAT = "spatialfm adapter 1"
DOWN, UP = ".down", ".up"  # endings of the names of the two matrices, after the name of the parameter
HEAD = "head."  # beginning of the names of what was trained beside the encoder
WHOLE = "whole."  # beginning of the names of parameters that are kept as a whole, of parts that the weights do not have


@dataclass(frozen=True)
class Adapter:
    """What was added to a model.

    Attributes
    ----------
    tensors
        ``(rank, inputs)`` under ``<parameter>.down``, ``(outputs, rank)`` under ``<parameter>.up``, and what was
        trained on top under ``head.…``.
    card
        Model, digest of its weights, options, licence and terms, labels, and all parameters of the training.
    source, sha256
        Name of the folder, and SHA-256 of the tensors' file.
    """

    tensors: Mapping[str, Tensor]
    card: Mapping[str, Any]
    source: str
    sha256: str

    @property
    def scale(self) -> float:
        """Factor on the product of the two matrices."""
        return float(self.card["alpha"]) / int(self.card["rank"])


def base_digest(encoder: Encoder) -> str:
    """SHA-256 of the parameters of an encoder, whatever file they came from."""
    return digest_of(dict(encoder.named_parameters()))


def write_adapter(folder: str | os.PathLike, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write tensors and card of an adapter into a folder, each beside its place first; gives the folder."""
    from safetensors.torch import save

    folder = Path(folder)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    whole = {"format": FORMAT, **card, "file_sha256": _sha256(content)}
    write_bytes(folder / FILE, content)
    write_bytes(folder / CARD, json.dumps(whole, indent=2, default=_plain).encode())
    return folder


def read_adapter(path: str | os.PathLike) -> Adapter:
    """Read an adapter: its folder, or the file of its tensors with the card next to it.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or the card is of other tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    given = Path(path).expanduser()
    folder = given if given.is_dir() else given.parent
    file, card_file = folder / FILE if given.is_dir() else given, folder / CARD
    for one in (file, card_file):
        if not one.is_file():
            raise WeightsError(
                f"No adapter in {given}: there is no {one.name}. Pass adapter=<the folder that sfm.train.finetune "
                "wrote>."
            )
    content = file.read_bytes()
    try:
        card = json.loads(card_file.read_bytes())
        tensors = load(content)
        if card["format"] != FORMAT:
            raise WeightsError(f"Adapter {given} is of format {card['format']!r}, not {FORMAT!r}.")
        missing = [name for name in ("model", "base", "options", "rank", "alpha") if name not in card]
        if missing or not isinstance(card["base"], dict):
            raise KeyError(missing[0] if missing else "base")
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Adapter {given} is damaged or not an adapter ({type(error).__name__}: {error}). Make it again with "
            "sfm.train.finetune."
        ) from error
    sha256 = _sha256(content)
    if card.get("file_sha256") != sha256:
        raise WeightsError(
            f"Adapter {given}: {card_file.name} is not the card of {file.name}, whose SHA-256 is another. Copy the "
            "folder again as a whole."
        )
    return Adapter(tensors, card, folder.resolve().name, sha256)


def check_model(adapter: Adapter, card: ModelCard, options: Mapping[str, Any]) -> None:
    """Refuse another model or other options than the adapter was made for, before any weights are read.

    Raises
    ------
    ModelError
        Names the model or the option.
    """
    made_for = adapter.card["model"]
    if made_for != card.name:
        raise ModelError(
            f"Adapter {adapter.source!r} belongs to model {made_for!r}, not to {card.name!r}. Pass {made_for!r} as "
            "the model, or leave adapter= out."
        )
    for name, value in adapter.card["options"].items():
        if name in options and as_json(options[name]) != value:
            raise ModelError(
                f"Adapter {adapter.source!r} was trained with {name}={value!r}, and model {card.name!r} is loaded with "
                f"{name}={options[name]!r}. Load both in the same way: {name}={value!r}."
            )


def merge(encoder: Encoder, adapter: Adapter) -> None:
    """Add an adapter to the weights of the encoder that it was made for, in place.

    Raises
    ------
    ModelError
        If model, options or weights are others than those that it was trained on.
    WeightsError
        If a matrix has no place in the model.
    """
    check_model(adapter, encoder.card, encoder.options)
    if encoder.weights.adapter_sha256:
        raise ModelError(
            f"{encoder.card.name} holds adapter {encoder.weights.adapter!r} already. Load it without adapter= first."
        )
    base, shape = adapter.card["base"], as_json(shape_of(encoder))
    if base.get("shape", shape) != shape:  # equal weights of another number of heads, say
        raise ModelError(
            f"Adapter {adapter.source!r} belongs to an encoder of another shape: {base['shape']}, and this one has "
            f"{shape}. Load the encoder that it was trained on."
        )
    if (digest := base_digest(encoder)) != base["parameters_sha256"]:
        raise ModelError(
            f"Adapter {adapter.source!r} belongs to other weights of {encoder.card.name}: it was trained on "
            f"{base['weights']!r} (SHA-256 of its parameters {base['parameters_sha256'][:12]}…), and these are "
            f"{encoder.weights.source!r} ({digest[:12]}…). Pass the weights that it was trained on as weights=."
        )
    extend(encoder, adapter)
    add(encoder, adapter.tensors, adapter.scale, adapter.source)
    encoder.adapted = dict(adapter.card)
    encoder.weights = replace(encoder.weights, adapter=adapter.source, adapter_sha256=adapter.sha256)


def add(encoder: Encoder, tensors: Mapping[str, Tensor], scale: float, source: str = "adapter") -> None:
    """Add ``scale * up @ down`` to each parameter that tensors name, in place.

    Raises
    ------
    WeightsError
        If a matrix has no place in the model; nothing is changed then.
    """
    places, model = dict(encoder.named_parameters()), encoder.card.name
    changed = [name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN)]
    pairs = {name: (tensors[name + DOWN], tensors.get(name + UP)) for name in changed}
    for name, (down, up) in pairs.items():
        if name not in places or up is None:
            raise WeightsError(f"Adapter {source!r} changes {name!r}, which {model} does not have.")
        if (up.shape[0], down.shape[1]) != tuple(places[name].shape) or up.shape[1] != down.shape[0]:
            raise WeightsError(
                f"Adapter {source!r}: {name} is {tuple(places[name].shape)} in {model}, and the adapter is made for "
                f"({up.shape[0]}, {down.shape[1]})."
            )
    with torch.no_grad():
        for name, (down, up) in pairs.items():
            if up is not None:
                places[name].add_(up.to(places[name]) @ down.to(places[name]), alpha=scale)


def beyond(encoder: Encoder) -> dict[str, Tensor]:
    """Parameters of parts that the published weights do not have: B-cos blocks, and channel-summary tokens."""
    tops = [name for name, one in encoder.named_modules() if getattr(one, "is_bcos", False)]
    tops += ["channel_summaries"] if getattr(encoder, "channel_summaries", None) is not None else []
    own = {name: one for name, one in encoder.named_parameters() if any(name.startswith(f"{top}.") for top in tops)}
    return {WHOLE + name: one.detach().clone() for name, one in own.items()}


def extend(encoder: Encoder, adapter: Adapter) -> None:
    """Give an encoder the parts that an adapter brings along as a whole, in place.

    Raises
    ------
    WeightsError
        If they are not those that its card speaks of.
    """
    if blocks := int(adapter.card.get("bcos_blocks", 0)):
        from .bcos_blocks import convert

        convert(encoder, blocks)
    if adapter.card.get("level") == "tissue":
        encoder.add_channel_summaries()  # type: ignore[operator]  # checked when it was trained
    there = {name.removeprefix(WHOLE): one for name, one in adapter.tensors.items() if name.startswith(WHOLE)}
    expected = {name.removeprefix(WHOLE): one for name, one in beyond(encoder).items()}
    wrong = [name for name in {**there, **expected} if name not in there or name not in expected]
    wrong += [name for name in there if name not in wrong and there[name].shape != expected[name].shape]
    if wrong:
        raise WeightsError(f"Adapter {adapter.source!r}: {wrong[0]!r} is missing, unknown, or of another shape.")
    places = dict(encoder.named_parameters())
    with torch.no_grad():
        for name, one in there.items():
            places[name].copy_(one)


def as_json(value: Any) -> Any:
    """A value as it comes back from a card; numbers and arrays of numpy are those of Python."""
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
