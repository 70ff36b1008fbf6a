"""Stand-in encoders as KRONOS and VirTues take their pixels and markers, without a network."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import torch
from stand_in import StandIn, card_of

import spatialfm as sfm

PANEL = ["DAPI", "CD3", "CD8", "CD20", "CD68"]


class ById(StandIn):
    """Markers by id, pixels as KRONOS has them."""

    card = card_of(
        "by-id",
        marker_vocabulary="ids",
        mpp=0.5,
        mpp_range=(0.37, 0.5),
        patch_size=8,
        recipe=sfm.models.card("kronos").recipe,
    )
    n_marker_ids = 512

    def look(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"patch": pixels.mean((1, 2, 3))[:, None]}


class ByProtein(ById):
    """Markers by protein embedding, pixels as VirTues has them."""

    card = card_of(
        "by-protein",
        marker_vocabulary="protein embedding",
        mpp=0.5,
        patch_size=8,
        recipe=sfm.models.card("virtues").recipe.replace(mode="crop", window=64),
    )
    n_marker_ids = 0
    marker_dim = 4


EMBEDDINGS = {name: np.full(4, place, np.float32) for place, name in enumerate(PANEL) if name != "DAPI"}
PROTEINS = {"embeddings": EMBEDDINGS, "on_unknown": "drop"}


def pictures(seed: int, side: int = 96, n: int = len(PANEL)) -> np.ndarray:
    """Pixels ``(n, side, side)``, uint16, each channel with a level of its own."""
    rng = np.random.default_rng(seed)
    return (rng.gamma(2.0, 300.0, (n, side, side)) * np.arange(1, n + 1)[:, None, None]).astype(np.uint16)


def described(sdata, **columns: list):
    """The object with a table of samples."""
    names = [name.removeprefix("image_") for name in sdata.images]
    obs = pd.DataFrame({key: pd.Categorical(values) for key, values in columns.items()}, index=names)
    sdata.tables["samples"] = ad.AnnData(np.zeros((len(names), 0), np.float32), obs=obs)
    return sdata
