"""`plan_embedding` hands on what it was asked, and what it gives is what `embed_cells` then does."""

from __future__ import annotations

import inspect

import numpy as np

import spatialfm as sfm


def test_a_plan_says_the_cells_columns_and_channels_and_writes_nothing(make_sdata, blobs):
    image, labels = blobs(1, side=48, n_cells=5)
    sdata = make_sdata({"a": (image, labels), "b": (image, labels)}, ["CD3", "CD8", "CD20"])
    plan = sfm.tl.plan_embedding(
        *(sdata, "mean-intensity"), markers=["CD8", "CD3"], samples=["b"], run={"batch_size": 3}, key_added="mine"
    )
    n = len(np.unique(labels)) - 1
    assert [one.sample for one in plan.pairs] == ["b"]
    assert len(plan.cells.rows) == n
    assert (plan.keys, plan.columns) == ({"patch": "mine"}, {"mine": 2})
    assert list(plan.run.panel.markers) == ["CD8", "CD3"]
    assert plan.batch_size == 3
    assert plan.cost is not None
    assert plan.cost.disk == 4 * 2 * n
    assert not sdata.tables
    table = sfm.tl.embed_cells(sdata, plan=plan, copy=True)
    assert table.obsm["mine"].shape == (n, 2)


def test_each_argument_is_one_of_embed_cells_with_the_same_default():
    """A plan that is made with the defaults is of the run that is made with them."""
    own, other = (inspect.signature(one).parameters for one in (sfm.tl.plan_embedding, sfm.tl.embed_cells))
    assert [name for name in own if name not in other] == []
    assert {name: one.default for name, one in own.items()} == {name: other[name].default for name in own}


def test_each_argument_is_handed_on_under_its_own_name(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "spatialfm.embed.planned.plan_embedding_of", lambda sdata, model, **told: asked.update(told) or (sdata, model)
    )
    plain = inspect.unwrap(sfm.tl.plan_embedding)
    names = list(inspect.signature(plain).parameters)[2:]
    assert plain("data", "model", **{name: f"of {name}" for name in names}) == ("data", "model")
    assert asked == {"kept": True, **{name: f"of {name}" for name in names}}
