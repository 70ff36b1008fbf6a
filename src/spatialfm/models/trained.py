"""Encoders that are trained here: new ones of any shape, and folders that `load` reads as those published."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .._disk import write_bytes
from .._errors import ArgumentError, ModelError
from .._public import public
from .encoder import Encoder, MarkerEntry, Weights
from .family import OWN_LICENSE, family_of, shape_of, shaped_card
from .recipe import NOT_KEPT, Recipe
from .registry import card as card_of
from .saved import CARD_FILE, CELLS, FORMAT, KEPT, PIXELS, TILES, WEIGHTS_FILE, tupled

METADATA_FILE = "marker_metadata.csv"
INITIAL = "initial (untrained)"


@public
def new_encoder(model: str, *, random_state: int = 0, **shape: Any) -> Encoder:
    """An encoder with the weights that its training starts from.

    Unlike ``load(model, weights="random")``, a stand-in whose outputs depend on the image, these are the initial
    weights of the publication: those of VirTues as released (Glorot's normal rule), those of vision transformers as in
    DINOv2 (truncated normal, LayerScale at 1e-5). The encoder wants gradients, and KRONOS runs all of its blocks.

    Parameters
    ----------
    model
        Name of a model of VirTues, KRONOS, DINOv2 or OpenPhenom.
    random_state
        Seed of the weights.
    shape
        What departs from the published shape: `dim`, `depth`, `heads`, `patch_size`; `hidden`, `decoder_depth` and
        `marker_dim` of VirTues; `registers`, `grid` (side in tokens of the largest window) and `mlp_ratio` of vision
        transformers; see the configuration of the model. Options that belong to weights, such as `nuclear` of VirTues,
        are given here, too.

    Returns
    -------
    The encoder, in training mode, on the CPU.

    Raises
    ------
    ModelError
        If the model cannot be trained, or cannot have that shape.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.new_encoder("virtues", dim=64, depth=4, heads=2, decoder_depth=1)
    >>> encoder.card.embedding_dim, len(encoder.backbone.encoder.blocks())
    (64, 4)
    """
    published = card_of(model)
    family = family_of(model)
    config = family.config(model, shape)
    options = {name: value for name, value in shape.items() if name in family.options} | dict(family.training)
    encoder = family.build(published, config, **options)
    family.initialise(encoder, random_state)
    encoder.weights = Weights(INITIAL)
    encoder.card = shaped_card(
        encoder.card,
        encoder,
        title=f"{published.title.split(',')[0]}, trained anew",
        license=OWN_LICENSE,
        commercial=True,
        gated=False,
        trained_on="nothing yet",
        hub=None,
        weights_file=WEIGHTS_FILE,
    )
    return encoder.train().requires_grad_(True)


@public
def save_trained(
    encoder: Encoder,
    folder: str | os.PathLike,
    card: Mapping[str, Any] | None = None,
    *,
    recipe: Recipe | None = None,
) -> Path:
    """Write an encoder into a folder that `load` reads.

    The weights are written as safetensors in the published layout, then the table of markers (of models with marker
    ids), then the card; each under another name, and renamed. Other files of the folder stay.

    Parameters
    ----------
    encoder
        The encoder.
    folder
        Where to write.
    card
        What is to be said of it in ``card.json``, in types of JSON. Of these, `license`, `commercial`, `title`,
        `trained_on`, `domains`, `mpp` and `mpp_range` become those of the encoder's `ModelCard`; where its weights come
        from published ones, `license`, `commercial` and `gated` stay theirs.

    recipe
        How images were read in training. What it says of pixels (their scaling, largest value, size, preparation and
        normalisation), and in mode ``"tile"`` how large tiles are, becomes the recipe of the encoder that is loaded.
        Default: that of the encoder's card.

    Returns
    -------
    The file of the weights.

    Raises
    ------
    ArgumentError
        If the card names the key ``encoder``, or holds what JSON cannot.
    ModelError
        If the encoder is not of a model in the registry.

    Examples
    --------
    >>> import tempfile
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.new_encoder("kronos", dim=24, depth=2, heads=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = sfm.models.save_trained(encoder, folder, {"license": "CC-BY-4.0"})
    ...     loaded = sfm.models.load("kronos", weights=folder)
    >>> loaded.card.license, loaded.options["blocks"]
    ('CC-BY-4.0', 'all')
    """
    return _write(encoder, folder, card, _pixels(encoder.card.recipe if recipe is None else recipe))


def save_tuned(encoder: Encoder, folder: str | os.PathLike, card: Mapping[str, Any], recipe: Recipe) -> Path:
    """`save_trained` of an encoder that was trained on cells: it goes on to read them as it did, crops and tiles."""
    reading = {name: value for name, value in recipe.storable().items() if name in CELLS}
    return _write(encoder, folder, card, _pixels(recipe) | reading)


def _write(
    encoder: Encoder, folder: str | os.PathLike, card: Mapping[str, Any] | None, recipe: Mapping[str, Any]
) -> Path:
    from safetensors.torch import save

    given = dict(card or {})
    if "encoder" in given:
        raise ArgumentError("The key 'encoder' of a card is written by save_trained(). Leave it out of card=.")
    card_of(encoder.card.name)
    stated = _stated(encoder, given) | {"recipe": recipe}
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"card= must hold texts, numbers, lists and dicts alone: {error}.") from error
    place = Path(folder).expanduser()
    module = getattr(encoder, "backbone", encoder)
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in module.state_dict().items()}
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise ModelError(f"The weights {bad[0]!r} are not finite, so that the encoder was not saved.")
    content = save({name: tensor.clone() for name, tensor in tensors.items()})
    write_bytes(place / WEIGHTS_FILE, content)
    if encoder.card.marker_vocabulary == "ids" and encoder.vocabulary:
        write_bytes(place / METADATA_FILE, marker_metadata(encoder.vocabulary).encode())
    stated |= {"file": WEIGHTS_FILE, "sha256": _checksum(content)}
    text = json.dumps(given | {"encoder": stated}, indent=2, allow_nan=False)
    write_bytes(place / CARD_FILE, (text + "\n").encode())
    return place / WEIGHTS_FILE


def marker_metadata(vocabulary: Sequence[MarkerEntry]) -> str:
    """Table of marker ids and statistics, as KRONOS publishes it.

    Examples
    --------
    >>> print(marker_metadata([MarkerEntry("DAPI", 0, 0.25, 0.5)]))
    marker_name,marker_id,marker_mean,marker_std
    DAPI,0,0.25,0.5
    <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["marker_name", "marker_id", "marker_mean", "marker_std"])
    writer.writerows([entry.name, entry.id, repr(float(entry.mean)), repr(float(entry.std))] for entry in vocabulary)
    return text.getvalue()


def _stated(encoder: Encoder, given: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: getattr(encoder.card, name) for name in KEPT}
    terms = () if encoder.card.license == OWN_LICENSE else ("license", "commercial", "gated")
    own |= {name: given[name] for name in KEPT if name in given and name not in terms}
    if "mpp" in given and "mpp_range" not in given:  # the published range is around another size
        own["mpp_range"] = None
    replace(encoder.card, **tupled(own))  # refuses what is not a card
    return {
        "format": FORMAT,
        "model": encoder.card.name,
        "shape": shape_of(encoder),
        "options": dict(getattr(encoder, "options", {})),
        "card": own,
    }


def _pixels(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of pixels and tiles, in types of JSON."""
    names = [*PIXELS, *(TILES if recipe.mode == "tile" else ())]
    told = {name: value for name, value in recipe.storable().items() if name in names}
    if told["resampling"] is None:  # as the model has it
        del told["resampling"]
    return {name: value for name, value in told.items() if not (isinstance(value, Mapping) and NOT_KEPT in value)}


def _checksum(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()
