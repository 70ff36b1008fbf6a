"""Folders with an encoder that was trained here: weights in the published layout, and a card with its shape."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .._errors import SpatialfmError, WeightsError, warn
from .._public import meant
from .card import ModelCard
from .encoder import Encoder
from .family import family_of

CARD_FILE = "card.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT = "spatialfm encoder 1"
# of the model's card, what training may change
KEPT = ("title", "license", "commercial", "gated", "trained_on", "domains", "mpp", "mpp_range")
_TUPLES = ("domains", "mpp_range")
# of the recipe, how pixels are made of images; the statistics of markers hold for pixels that are made so
PIXELS = ("scaling", "intensity_max", "resampling", "pixel_size", "preparation", "normalization", "epsilon")
TILES = ("window", "stride", "padding")  # of models that see tiles: their positions are learned in windows of one size
CELLS = ("mode", "background", *TILES)  # of encoders that were trained on cells: how these are read


@dataclass(frozen=True)
class Saved:
    """What the card of a folder states of its encoder.

    Attributes
    ----------
    folder
        The folder.
    model
        Name of the model in the registry.
    shape
        Fields of its configuration.
    options
        Options it was trained with.
    file, sha256
        Its weights, and their checksum.
    card
        Fields of the `ModelCard` that are its own.
    recipe
        How pixels were made of images in training, and how large its tiles were, as far as it is known; of encoders
        that were trained on cells, how these were read.
    """

    folder: Path
    model: str
    shape: Mapping[str, Any]
    options: Mapping[str, Any]
    file: str
    sha256: str
    card: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def config(self, published: Any) -> Any:
        """The configuration, of the same class as the published one.

        Raises
        ------
        WeightsError
            If the card lacks a field, or has another, or the fields are not a shape of that model.
        """
        names = [one.name for one in fields(published)]
        missing = [name for name in names if name not in self.shape]
        unknown = [name for name in self.shape if name not in names]
        if missing or unknown:
            wrong = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which the model does not have"
            raise WeightsError(f"{self.folder / CARD_FILE}: the shape of the encoder {wrong}. {_AGAIN}")
        try:
            return family_of(self.model).config(self.model, self.shape)
        except SpatialfmError as error:
            raise WeightsError(f"{self.folder / CARD_FILE}: {error} {_AGAIN}") from error

    def model_card(self, published: ModelCard) -> ModelCard:
        """The card of the model with what is this encoder's own; the hub has none of it.

        Its recipe makes pixels as they were made in training. What was said of single samples, such as a largest value
        of each, is not taken over: others have other names.

        Raises
        ------
        WeightsError
            If the recipe is not one of the model's.
        """
        own = {name: value for name, value in self.recipe.items() if not isinstance(value, Mapping)}
        if own.get("preparation") == getattr(published.recipe.preparation, "name", None):
            own.pop("preparation", None)
        try:
            recipe = published.recipe.replace(**own)
            if isinstance(recipe.preparation, str):
                recipe = recipe.replace(preparation=published.settle(recipe, cells=False).preparation)
        except SpatialfmError as error:
            raise WeightsError(f"{self.folder / CARD_FILE}: {error} {_AGAIN}") from error
        return replace(published, weights_file=self.file, hub=None, recipe=recipe, **tupled(self.card))

    def option(self, name: str, given: Any, default: Any) -> Any:
        """An option: as given, or that of the training where None is given."""
        return self.options.get(name, default) if given is None else given

    def compare(self, encoder: Encoder) -> None:
        """Whether the weights read are those that were saved, and are used as they were trained.

        Raises
        ------
        WeightsError
            If the file is not the one that the card was written with.

        Warns
        -----
        SpatialfmWarning
            If an option differs from the training's.
        """
        if encoder.weights.sha256 != self.sha256:
            raise WeightsError(
                f"{self.folder / self.file} is not the file that {CARD_FILE} beside it was written with (SHA-256 "
                f"{encoder.weights.sha256[:12]} instead of {self.sha256[:12]}): it was changed, or the saving was "
                f"interrupted. {_AGAIN}"
            )
        for name in family_of(self.model).options:
            trained, used = self.options.get(name), encoder.options.get(name)
            if name in self.options and trained != used:
                warn(
                    f"The encoder in {self.folder} was trained with {name}={trained!r} and is used with "
                    f"{name}={used!r}: its embeddings are not those that were trained. Leave out {name}=, or pass "
                    f"{name}={trained!r}."
                )
        encoder.trained_recipe = self.recipe or None


_AGAIN = "Save the encoder again, or load another folder."


def tupled(card: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a card as it takes them, where JSON has but lists."""
    return {name: tuple(value) if name in _TUPLES and value is not None else value for name, value in card.items()}


def saved_in(card: ModelCard, weights: str | os.PathLike | None) -> Saved | None:
    """What is stated of the encoder in a folder, or of that whose weights file is given; None: nothing of ours there.

    Raises
    ------
    WeightsError
        If the card cannot be read, is incomplete, belongs to another model, or its weights are not there.
    """
    if weights is None:
        return None
    path = Path(weights).expanduser()
    folder = path if path.is_dir() else path.parent
    if not path.exists() or not (folder / CARD_FILE).is_file():
        return None
    stated = _read(folder / CARD_FILE)
    if stated is None:
        return None
    saved = Saved(folder=folder, **stated)
    if path.is_file() and path.name != saved.file:
        return None
    if saved.model != card.name:
        raise WeightsError(
            f"{folder} holds an encoder {saved.model!r}, not {card.name!r}. "
            f"Pass sfm.models.load({saved.model!r}, weights={str(folder)!r})."
        )
    if not (folder / saved.file).is_file():
        raise WeightsError(f"{folder} has {CARD_FILE}, but not the weights {saved.file!r} that it names. {_AGAIN}")
    return saved


def _read(path: Path) -> dict[str, Any] | None:
    """What is stated under ``encoder``; None where the file is not one of ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({type(error).__name__}: {error}). {_AGAIN}") from error
    stated = content.get("encoder") if isinstance(content, dict) else None
    if not isinstance(stated, dict) or "format" not in stated:
        return None
    if stated["format"] != FORMAT:
        raise WeightsError(
            f"{path} has the format {stated['format']!r}; this version reads {FORMAT!r}. Install the version of "
            "spatialfm that wrote it, or save the encoder again."
        )
    kinds: dict[str, type] = {"model": str, "shape": dict, "options": dict, "file": str, "sha256": str, "card": dict}
    for name, kind in kinds.items():
        if not isinstance(stated.get(name), kind):
            raise WeightsError(f"{path} does not state the {name} of the encoder. {_AGAIN}")
    if unknown := [name for name in stated["card"] if name not in KEPT]:
        raise WeightsError(f"{path} states {unknown[0]!r} of the encoder. {meant(unknown[0], KEPT)} {_AGAIN}")
    if Path(stated["file"]).name != stated["file"]:
        raise WeightsError(f"{path} names the weights {stated['file']!r}, which is not in its folder. {_AGAIN}")
    recipe = stated.get("recipe", {})  # which folders of earlier versions do not state
    if not isinstance(recipe, dict) or not set(recipe) <= {*PIXELS, *CELLS}:
        raise WeightsError(f"{path} states a recipe of the encoder that this version does not know. {_AGAIN}")
    return {name: stated[name] for name in kinds} | {"recipe": recipe}
