"""Cards of models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spatialfm._errors import ModelError
from spatialfm.models.card import ModelCard
from spatialfm.models.recipe import PADDING, Recipe

TILE = Recipe(mode="tile", background="keep")
CARD = ModelCard(
    name="small",
    family="small",
    title="A small one",
    license="MIT",
    commercial=True,
    gated=False,
    reference="none",
    trained_on="nothing",
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": " "}, "title is empty"),
        ({"outputs": ("patch", "cell")}, "unknown output 'cell'"),
        ({"outputs": ("patch", "patch")}, "outputs names one twice"),
        ({"default_output": "token"}, "default output 'token' is not among"),
        ({"mpp": 0.5, "mpp_range": (1.0, 0.25)}, "the smaller size comes first"),
        ({"mpp": 2.0, "mpp_range": (0.25, 1.0)}, r"mpp is 2\.0; it must be in"),
        ({"mpp_range": (0.25, 1.0)}, "mpp is None"),
    ],
)
def test_a_card_that_cannot_be(change, message):
    with pytest.raises(ModelError, match=f"Card 'small': .*{message}"):
        replace(CARD, **change)


def test_the_ends_of_the_range_belong_to_it():
    assert replace(CARD, mpp=0.25, mpp_range=(0.25, 1.0)).mpp == 0.25


def test_pixels_are_averaged_where_there_is_no_native_size():
    assert CARD.settle(Recipe()).resampling == "area"
    assert replace(CARD, mpp=0.5).settle(Recipe()).resampling == "triangle"
    assert CARD.settle(Recipe(resampling="triangle")).resampling == "triangle"


def test_tiles_reach_beyond_the_image_where_the_model_may():
    tokens = replace(CARD, outputs=("patch", "token"))
    assert tokens.settle(TILE).padding == PADDING
    assert replace(tokens, pads=False).settle(TILE).padding == 0
    assert tokens.settle(TILE.replace(padding=3)).padding == 3


def test_tiles_need_tokens_that_cells_share():
    with pytest.raises(ModelError, match="offers no tokens to share out to cells"):
        CARD.settle(TILE)
    assert CARD.settle(TILE, cells=False).mode == "tile"
    assert replace(CARD, outputs=("patch", "summary")).settle(TILE).mode == "tile"


def test_a_preparation_by_name_must_be_one_of_its_own():
    with pytest.raises(ModelError, match="small has no preparation 'log'"):
        CARD.settle(Recipe(preparation="log"))
