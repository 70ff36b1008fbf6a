"""Encoders of slides: the features of all tiles of a slide in, one vector out.

They are run by the code in their own repositories (`remote_code`); here is what each takes and gives. TITAN: Ding et
al., Nature Medicine 2025, and the page of MahmoodLab/TITAN. FEATHER: Shao et al., ICML 2025, and the page of
mahmoodlab/MIL-Lab. THREADS: Vaidya et al., arXiv:2501.16652; its weights were announced, and nobody has published them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from .._errors import ModelError, listed, warn
from .encoder import Weights
from .remote_code import ask_for_consent, checksum_of, model_in, repository

MPP = 0.5  # µm per pixel at 20x, which the units of coordinates are of
OFF = 0.1  # share by which tiles may differ from those that a model was trained on without a word


@dataclass(frozen=True)
class SlideCard:
    """What an encoder of slides takes and gives.

    Attributes
    ----------
    name, title, license, reference
        For messages and records.
    tiles
        The encoder of tiles whose features it takes.
    n_features
        Their columns.
    tile_size
        Side of a tile in µm.
    embedding_dim
        Columns of its vector; None: as its weights are.
    call
        How its code is called: ``"grid"`` takes features and places, ``"bag"`` features alone.
    hub
        Repository; None: nobody has published it.
    """

    name: str
    title: str
    license: str
    reference: str
    tiles: str
    n_features: int
    tile_size: float
    embedding_dim: int | None
    call: Literal["grid", "bag"]
    hub: str | None
    weights_file: str = "config.json"


_ND = "CC-BY-NC-ND-4.0"
_FEATHER = "Shao et al. 2025, Do multiple instance learning models transfer?, ICML, arXiv:2506.09022"
SLIDE_CARDS = {
    card.name: card
    for card in (
        SlideCard("titan", "TITAN", _ND, "Ding et al. 2025, A multimodal whole-slide foundation model for pathology, "
                  "Nature Medicine, arXiv:2411.19666", "CONCH v1.5", 768, 256.0, 768, "grid", "MahmoodLab/TITAN"),
        SlideCard("feather", "FEATHER-24K of CONCH v1.5", _ND, _FEATHER, "CONCH v1.5", 768, 256.0, None, "bag",
                  "MahmoodLab/abmil.base.conch_v15.pc108-24k"),
        SlideCard("feather-uni2", "FEATHER-24K of UNI 2", _ND, _FEATHER, "UNI 2", 1536, 128.0, None, "bag",
                  "MahmoodLab/abmil.base.uni_v2.pc108-24k"),
        SlideCard("feather-uni", "FEATHER-24K of UNI", _ND, _FEATHER, "UNI", 1024, 128.0, None, "bag",
                  "MahmoodLab/abmil.base.uni.pc108-24k"),
        SlideCard("threads", "THREADS", "not published", "Vaidya et al. 2025, arXiv:2501.16652", "CONCH v1.5", 768,
                  256.0, 1024, "bag", None),
    )
}  # fmt: skip


@dataclass(frozen=True)
class SlideEncoder:
    """A slide encoder with its weights.

    Attributes
    ----------
    card
        What it takes and gives.
    model
        The model of its own code.
    weights
        For the record.
    device
        Where it runs.
    """

    card: SlideCard
    model: Any
    weights: Weights
    device: torch.device

    def encode(self, features: np.ndarray, places: np.ndarray | None, tile_size: float | None) -> np.ndarray:
        """Vector of a slide ``(embedding_dim,)``, float32.

        Parameters
        ----------
        features
            ``(tiles, n_features)``.
        places
            Centres of the tiles in µm ``(tiles, 2)``, x and y; needed by ``"grid"``.
        tile_size
            Distance of neighbouring tiles in µm.

        Raises
        ------
        ModelError
            If the features have another width, tiles are not on a grid, or the code gives something else.
        """
        check_width(self.card, features.shape[1])
        tiles = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(self.device)
        size = round(self.card.tile_size / MPP)
        corners = grid_corners(places, tile_size, size) if self.card.call == "grid" else None
        try:
            with torch.inference_mode():
                output = self._call(tiles, corners, size)
        except (KeyError, TypeError, IndexError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"The code of model {self.card.name!r} refused {len(features)} tiles of {features.shape[1]} columns: "
                f"{type(error).__name__}: {error}."
            ) from error
        vector = np.asarray(output.float().cpu() if isinstance(output, torch.Tensor) else output, np.float32).squeeze()
        width = self.card.embedding_dim
        if vector.ndim != 1 or (width is not None and len(vector) != width) or not np.isfinite(vector).all():
            raise ModelError(
                f"The code of model {self.card.name!r} gave {vector.shape} instead of {width or 'a vector of'} finite "
                f"numbers: the weights are of another model. Pass the repository {self.card.hub}."
            )
        return vector

    def _call(self, tiles: torch.Tensor, corners: np.ndarray | None, size: int) -> Any:
        if corners is not None:
            return self.model.encode_slide_from_patch_features(tiles, torch.from_numpy(corners).to(self.device), size)
        output = self.model(tiles[None], return_slide_feats=True)
        # the authors' library gives a pair, the code in their repositories on the hub the same by name
        log = output["log"] if isinstance(output, Mapping) else output[1]
        return log["slide_feats"]


def slide_card(name: str) -> SlideCard:
    """Card of a slide encoder; of one that nobody has published, the refusal says so.

    Raises
    ------
    ModelError
        If there is none of that name, or it is not published.
    """
    if name not in SLIDE_CARDS:
        raise ModelError(f"No slide encoder {name!r}; there are {listed(SLIDE_CARDS)}.")
    card = SLIDE_CARDS[name]
    if card.hub is None:
        raise ModelError(
            f"{card.title} ({card.reference}) takes features of {card.tiles} ({card.n_features} columns, tiles of "
            f"{card.tile_size:g} µm) and gives {card.embedding_dim}, but nobody has published its weights. Whoever has "
            "them passes a function of features and places as model=."
        )
    return card


def load_slide_encoder(
    name: str, weights: str | os.PathLike | None, *, trust_remote_code: bool, device: torch.device
) -> SlideEncoder:
    """A slide encoder by name, run by the code in its repository.

    Raises
    ------
    ModelError
        If there is none, `trust_remote_code` is not True, or its code has another interface.
    WeightsError
        If the repository is nowhere.
    """
    card = slide_card(name)
    ask_for_consent(card, trust_remote_code)
    folder, source = repository(card, weights)
    methods = {"grid": ["encode_slide_from_patch_features"], "bag": ["forward"]}[card.call]
    model: nn.Module = model_in(folder, card, methods, f"{methods[0]}(...)").to(device).eval().requires_grad_(False)
    return SlideEncoder(card, model, Weights(source, checksum_of(folder)), device)


def check_width(card: SlideCard, n_features: int) -> None:
    """Refuse features of another encoder of tiles."""
    if n_features != card.n_features:
        raise ModelError(
            f"Model {card.name!r} takes features of {card.tiles} ({card.n_features} columns); the representation has "
            f"{n_features}. Embed the tiles with {card.tiles} first."
        )


def check_tiles(card: SlideCard, tile_size: float) -> None:
    """Say where tiles are of another size than those that the model was trained on."""
    if abs(tile_size - card.tile_size) > OFF * card.tile_size:
        warn(
            f"{card.title} was trained on tiles of {card.tile_size:g} µm, and these are {tile_size:g} µm apart "
            "(tile_size=)."
        )


def grid_corners(places: np.ndarray | None, tile_size: float | None, size: int) -> np.ndarray:
    """Upper left corners in pixels of level 0 ``(tiles, 2)``, int64, on a grid of `size` pixels that begins at 0.

    Raises
    ------
    ModelError
        If two tiles are in one place of the grid.

    Examples
    --------
    >>> grid_corners(np.array([[128.0, 128.0], [384.0, 128.0]]), 256.0, 512).tolist()
    [[0, 0], [512, 0]]
    """
    if places is None or tile_size is None:
        raise ModelError("Places of the tiles are needed: obsm['spatial'], centres in µm.")
    steps = np.rint((places[:, :2] - places[:, :2].min(axis=0)) / tile_size).astype(np.int64)
    if len(np.unique(steps, axis=0)) < len(steps):
        raise ModelError(
            f"Two tiles are in one place of a grid of {tile_size:g} µm: the model takes tiles that do not overlap. "
            "Embed them with stride= equal to size=, or state their distance with tile_size=."
        )
    return steps * size


def record_of(encoder: SlideEncoder) -> Mapping[str, str]:
    """What a record holds of an encoder."""
    card = encoder.card
    return {
        "title": card.title, "license": card.license, "reference": card.reference, "tiles": card.tiles,
        "weights": encoder.weights.source, "weights_sha256": str(encoder.weights.sha256),
    }  # fmt: skip
