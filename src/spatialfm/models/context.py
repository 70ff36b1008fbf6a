"""Models of cells in context: files that are published, and folders that were trained here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._disk import write_bytes
from .._errors import ArgumentError, ModelError, WeightsError
from .._public import meant
from .._record import first_difference
from .._settings import settings
from . import stofm
from .card import ModelCard
from .encoder import Weights
from .family import OWN_LICENSE
from .hub import RANDOM, WeightsFile, file_of, fill, locate, read_tensors
from .saved import CARD_FILE, WEIGHTS_FILE

FORMAT = "spatialfm context encoder 1"
STATED = "context_encoder"  # in the card of a folder
CARDS = {stofm.CARD.name: stofm.CARD}
NOTHING = "nothing yet"
INITIAL = "initial (untrained)"


@dataclass(frozen=True)
class Columns:
    """Mean and standard deviation ``(d,)`` of the columns of the embeddings that a model was trained on."""

    mean: np.ndarray
    std: np.ndarray

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Standardised columns over the root of their number, float32.

        Rows then have a length of about 1, as those of the published cell encoder have.
        """
        return ((values - self.mean) / (self.std * np.sqrt(len(self.std)))).astype(np.float32)


@dataclass
class ContextEncoder:
    """A model of cells in context.

    Attributes
    ----------
    card, weights
        What it is, and where its weights came from.
    network
        The transformer.
    heads
        Tensors of the heads of pretraining, where the file has them.
    columns
        How embeddings are standardised before they are taken; None: they are taken as they are.
    slicing
        How slices were cut when it was trained; empty: as published.
    use_rep
        The embedding that it was trained on, by name; ``""``: not known.
    made
        How that was made, as far as its columns mean something else otherwise; empty: not known.
    spacing
        Median distance of a cell to the nearest other one in the slices that it was trained on, in units; None: not
        known, or a unit is a share of the slice.
    """

    card: ModelCard
    weights: Weights
    network: stofm.Stofm
    heads: dict[str, Tensor] = field(default_factory=dict)
    columns: Columns | None = None
    slicing: Mapping[str, Any] = field(default_factory=dict)
    use_rep: str = ""
    made: Mapping[str, str] = field(default_factory=dict)
    spacing: float | None = None

    @property
    def in_dim(self) -> int:
        """Columns of the embeddings that it takes."""
        return self.network.config.in_dim

    def check_width(self, width: int, use_rep: str) -> None:
        """Refuse an embedding of another width than it was made for.

        Raises
        ------
        ModelError
            If it is.
        """
        if width != self.in_dim:
            known = f" They were trained on {self.use_rep!r}." if self.use_rep else ""
            raise ModelError(
                f"{use_rep!r} (use_rep=) has {width:,} columns, and the weights {self.weights.source!r} take "
                f"{self.in_dim:,}.{known} Pass the embedding that they were trained on, or train others on this one "
                f"with sfm.train.pretrain_context(adata, use_rep={use_rep!r}, out='context')."
            )

    def check_made(self, made: Mapping[str, str], use_rep: str) -> None:
        """Refuse an embedding of the name that it was trained on whose columns mean something else.

        Raises
        ------
        ModelError
            If it was made in another way, as far as that is known of both.
        """
        if not made or not self.made or use_rep != self.use_rep:
            return
        if (differs := first_difference(self.made, made)) is None:
            return
        name, then, now = differs
        if name == "columns":
            raise ModelError(
                f"The columns of {use_rep!r} are not those that the weights were trained on, or not in that order: "
                f"these are {then}. Bring them to the same ones."
            )
        raise ModelError(
            f"{use_rep!r} was made differently than the one that the weights were trained on: {name} is {now!r}, and "
            f"was {then!r}. Embed in the same way, or train others on this one."
        )

    def prepare(self, values: np.ndarray, use_rep: str) -> np.ndarray:
        """Embeddings ``(n, d)`` as the network takes them, float32.

        Raises
        ------
        ModelError
            If it was made for embeddings of another width.
        """
        self.check_width(values.shape[1], use_rep)
        return np.asarray(values, np.float32) if self.columns is None else self.columns.scale(values)

    def encode(self, tokens: np.ndarray, types: np.ndarray, distances: np.ndarray, device: torch.device) -> np.ndarray:
        """Vectors ``(N, dim)`` of the tokens of one piece."""
        parts = (torch.from_numpy(one).to(device)[None] for one in (tokens, types, distances))
        with torch.inference_mode():
            return self.network(*parts)[0][0].float().cpu().numpy()

    def record(self, use_rep: str) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "model": self.card.name,
            "weights": self.weights.source,
            "weights_sha256": self.weights.sha256,
            "license": self.card.license,
            "reference": self.card.reference,
            "trained_on": self.card.trained_on,
            "use_rep": use_rep,
            "standardised": self.columns is not None,
            **{f"shape_{name}": value for name, value in vars(self.network.config).items()},
        }


def context_card(model: str) -> ModelCard:
    """The card of a model.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    if model not in CARDS:
        raise ModelError(f"No model of cells in context {model!r}. {meant(model, CARDS)}")
    return CARDS[model]


def load_context(model: str, weights: str | os.PathLike | None) -> ContextEncoder:
    """A model with its weights: the published file, or a folder that was trained here.

    The sizes of the network are read from the file; a checkpoint of pretraining, whose names have the prefix
    ``model.``, is taken too.

    Raises
    ------
    ModelError, WeightsError
        If there is no such model or file, or tensors are missing, unknown or of another shape.
    """
    card = context_card(model)
    if weights is None and not (settings.cache_dir / card.name / file_of(card)).is_file() or weights == RANDOM:
        raise WeightsError(_without(card))
    stated = _stated(card, weights)
    if stated is None:
        file = locate(card, weights)
    else:
        folder, content = stated
        file = WeightsFile(folder / WEIGHTS_FILE, str(folder.name))
        card = _own(card, content)
    body, heads = stofm.split(read_tensors(file.path))
    with torch.device("meta"):
        network = stofm.Stofm(stofm.config_of(body))
    of_file = fill(network, file, card, body)
    if heads:
        out = len(heads["lm_head.2.bias"]) if "lm_head.2.bias" in heads else None
        with torch.device("meta"):
            head_module = stofm.Heads(network.config, out)
        fill(head_module, file, card, heads)
        heads = dict(head_module.state_dict())
    encoder = ContextEncoder(card, of_file, network.eval().requires_grad_(False), heads)
    if stated is not None:
        _settle(encoder, *stated)
    return encoder


def new_context(model: str, shape: Mapping[str, Any], random_state: int, reach: float) -> ContextEncoder:
    """A model with the weights that training starts from.

    Raises
    ------
    ModelError, ArgumentError
        If there is no such model, or it cannot have that shape.
    """
    card = context_card(model)
    names = list(stofm.StofmConfig.__dataclass_fields__)
    if unknown := [name for name in shape if name not in names]:
        raise ArgumentError(f"shape= has {unknown[0]!r}. {meant(unknown[0], names)}")
    network = stofm.Stofm(stofm.StofmConfig(**shape))
    stofm.initialise(network, random_state, reach)
    return ContextEncoder(_own(card, {}), Weights(INITIAL), network)


def save_context(encoder: ContextEncoder, folder: Path, card: Mapping[str, Any]) -> Path:
    """Write a model into a folder that `load_context` reads: weights with the published names, then the card.

    `card` is what is to be said of it, in types of JSON; where its weights come from published ones, their licence
    stays.
    """
    from safetensors.torch import save

    tensors = {f"{stofm.PREFIX}{name}": one for name, one in encoder.network.state_dict().items()} | encoder.heads
    tensors = {name: one.detach().float().cpu().contiguous().clone() for name, one in tensors.items()}
    if bad := [name for name, one in tensors.items() if not torch.isfinite(one).all()]:
        raise ModelError(f"The weights {bad[0]!r} are not finite, so that the model was not saved.")
    content = save(tensors)
    columns = encoder.columns
    stated: dict[str, Any] = {
        "format": FORMAT,
        "model": encoder.card.name,
        "use_rep": encoder.use_rep,
        "made": dict(encoder.made),
        "slicing": dict(encoder.slicing),
        "spacing": encoder.spacing,
        "columns": None if columns is None else {"mean": columns.mean.tolist(), "std": columns.std.tolist()},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_bytes(folder / WEIGHTS_FILE, content)
    published = CARDS[encoder.card.name].license
    terms = {"license": published} if encoder.card.license == published else {}
    write_bytes(folder / CARD_FILE, (json.dumps({**card, **terms, STATED: stated}, indent=2) + "\n").encode())
    return folder / WEIGHTS_FILE


def _own(card: ModelCard, content: Mapping[str, Any]) -> ModelCard:
    """The card of a model with what is a trained one's own."""
    return replace(
        card,
        title="Cells in their context, trained here",
        license=str(content.get("license") or OWN_LICENSE),
        trained_on=str(content.get("trained_on") or NOTHING),
        weights_file=WEIGHTS_FILE,
    )


def _stated(card: ModelCard, weights: str | os.PathLike | None) -> tuple[Path, Mapping[str, Any]] | None:
    """Folder and card of a model that was trained here; None: the weights are a file of others."""
    path = None if weights is None else Path(weights).expanduser()
    folder = path if path is None or path.is_dir() else path.parent
    if path is None or folder is None or not (folder / CARD_FILE).is_file():
        return None
    if path.is_file() and path.name != WEIGHTS_FILE:
        return None
    try:
        content = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        stated = content[STATED]
        known = stated["format"] == FORMAT and stated["model"] == card.name
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise WeightsError(
            f"{folder / CARD_FILE} is not the card of a model {card.name!r} of cells in context. Pass the folder that "
            "sfm.train.pretrain_context wrote, or the published file."
        )
    if not (folder / WEIGHTS_FILE).is_file():
        raise WeightsError(f"{folder} has {CARD_FILE}, but not {WEIGHTS_FILE}. Train again, or pass another folder.")
    return folder, content


def _settle(encoder: ContextEncoder, folder: Path, content: Mapping[str, Any]) -> None:
    """What the card of a folder says of its model."""
    stated = content[STATED]
    if stated["sha256"] != encoder.weights.sha256:
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} is not the file that {CARD_FILE} beside it was written with: it was changed, or "
            "the saving was interrupted. Train again, or pass another folder."
        )
    encoder.slicing, encoder.use_rep = dict(stated["slicing"]), str(stated["use_rep"])
    encoder.made, encoder.spacing = dict(stated.get("made") or {}), stated.get("spacing")
    if stated["columns"] is not None:
        encoder.columns = Columns(*(np.asarray(stated["columns"][name], float) for name in ("mean", "std")))


def _without(card: ModelCard) -> str:
    return (
        f"No weights for model {card.name!r}, and random ones say nothing. Train it on your own slices with "
        "sfm.train.pretrain_context(adata, use_rep='X_pca', out='context'), and pass weights='context'. Or pass "
        f"weights=<file>: {file_of(card)} of the folder that its authors publish (github.com/PharMolix/SToFM), which "
        "takes the 256 columns of their RNA cell encoder from obsm."
    )
