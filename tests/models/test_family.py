from __future__ import annotations

import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models.family import family_of, published_objective


def config(model: str, **shape):
    sfm.models.list_models()  # registers them
    return family_of(model).config(model, shape)


def test_words_for_a_shape():
    virtues = config("virtues", dim=64, depth=5, heads=4, decoder_depth=2)
    assert (virtues.dim, virtues.hidden, virtues.encoder, virtues.decoder) == (64, 128, "hvhvh", "ff")
    assert config("virtues", dim=64, hidden=80, heads=2).hidden == 80
    assert config("virtues", encoder="vvh").encoder == "vvh"
    assert [config("kronos", depth=depth).chunks for depth in (12, 6, 5, 2)] == [4, 3, 1, 2]
    assert config("kronos", depth=6, chunks=1).chunks == 1
    assert config("kronos-large").dim == 1024


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ("kronos", {"widht": 3}, r"of model 'kronos' has no 'widht'"),
        ("kronos", {"dim": 50, "heads": 6}, r"dim 50 must be even, and a multiple of heads 6"),
        ("kronos", {"depth": 6, "chunks": 4}, r"depth 6 must be a multiple of chunks 4"),
        ("kronos", {"patch_size": 12}, r"patch_size 12 must divide 64"),
        ("kronos", {"in_channels": 3}, r"one channel"),
        ("kronos", {"blocks": "all"}, r"has no 'blocks'"),
        ("virtues", {"dim": 36, "heads": 6}, r"a multiple of four times heads 6"),
        ("virtues", {"encoder": "hx"}, r"encoder 'hx'"),
        ("virtues", {"patch_size": 10}, r"patch_size 10 must divide 128"),
        ("virtues", {"depth": 0}, r"depth must be a whole number, at least 1, got 0"),
        ("dinov2-s", {"chunks": 2}, r"named without chunks"),
        ("dinov2-s", {"dim": 10, "heads": 3}, r"a multiple of heads 3"),
        ("openphenom", {"dim": 30, "heads": 2}, r"a multiple of 4"),
        ("openphenom", {"patch_size": 10}, r"must divide 64"),
        ("classical", {}, r"'classical' cannot be trained anew"),
    ],
)
def test_shapes_that_cannot_be(model, shape, message):
    with pytest.raises(ModelError, match=message):
        config(model, **shape)


def test_a_value_of_another_type_is_refused():
    with pytest.raises(ArgumentError, match="heads must be"):
        config("kronos", heads="six")
    with pytest.raises(ArgumentError, match="hidden must be a whole number of at least 1"):
        config("virtues", hidden=0)


@pytest.mark.parametrize(
    ("name", "objective"),
    [("virtues", "masked"), ("kronos", "distill"), ("dinov2-s", "distill"), ("openphenom", None), ("classical", None)],
)
def test_a_model_knows_the_objective_that_it_was_published_with(name, objective):
    assert published_objective(sfm.models.card(name)) == objective
