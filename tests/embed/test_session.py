"""What the functions that embed share: keys, devices, components, bases, a second try, rows of a grid."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from spatialdata import SpatialData

import spatialfm as sfm
from spatialfm._errors import ModelError, TableError
from spatialfm.embed.call import Reduce, Run
from spatialfm.embed.run.store import BlockLost
from spatialfm.embed.session import (
    _basis_of,
    check_embedding_key,
    check_run,
    choose_components,
    embedding_record,
    grid_obs,
    load_encoder,
    output_keys,
    run_blocks,
    spread_over,
    try_compiled,
    where_of,
)

BASIS = {"components": np.eye(2), "mean": np.zeros(2)}


def test_an_encoder_is_taken_as_it_is_and_weights_belong_to_a_name():
    encoder = SimpleNamespace()
    assert load_encoder(encoder, None) is encoder
    for said in ({"weights": "w"}, {"weights": None, "adapter": "a"}):
        with pytest.raises(TableError, match="belongs to sfm.models.load"):
            load_encoder(encoder, **said)


@pytest.mark.parametrize("key", ["X_a_basis", "X_a_columns"])
def test_keys_of_other_results_are_refused(key):
    with pytest.raises(TableError, match="of 'X_a' would be kept"):
        check_embedding_key(key)
    check_embedding_key("X_a")
    check_embedding_key(None)


def test_devices_are_one_a_list_or_those_of_workers():
    assert check_run(Run(devices="cpu")) == [torch.device("cpu")]
    assert check_run(Run(devices=["cpu", "cpu"])) == [torch.device("cpu")] * 2
    with pytest.raises(ModelError, match="empty list"):
        check_run(Run(devices=[]))
    assert where_of(Run(), [torch.device("cpu"), torch.device("meta")]) == "cpu, meta"
    assert spread_over(Run(), 4) is None


def request(reduce=None, of_recipe=None):
    return SimpleNamespace(reduce=reduce, recipe=SimpleNamespace(n_components=of_recipe))


def test_components_are_those_asked_for_then_those_of_the_recipe_then_fifty():
    assert choose_components(request(), 100, "cells") is None
    assert choose_components(request(of_recipe=20), 100, "cells") == 20
    assert choose_components(request(Reduce(n_components=7), 20), 100, "cells") == 7
    assert choose_components(request(Reduce(), 20), 100, "cells") == 20
    assert choose_components(request(Reduce()), 50, "cells") == 50
    with pytest.raises(ModelError, match="n_components=50, but there are only 49 tiles"):
        choose_components(request(Reduce()), 49, "tiles")
    assert choose_components(request(Reduce(basis=BASIS), 20), 3, "cells") == 20  # a basis is not fitted on the rows


def test_a_basis_is_for_one_output_or_named_for_each():
    assert _basis_of(["patch", "marker"], None) == {"patch": None, "marker": None}
    assert _basis_of(["patch"], BASIS)["patch"] is BASIS
    with pytest.raises(ModelError, match="one basis for outputs"):
        _basis_of(["patch", "marker"], BASIS)
    with pytest.raises(ModelError, match="none for output 'marker'"):
        _basis_of(["patch", "marker"], {"patch": BASIS})
    assert _basis_of(["marker"], {"patch": None, "marker": BASIS}) == {"marker": BASIS}


@pytest.mark.parametrize(
    ("adapter", "outputs", "key_added", "expected"),
    [
        ("", ["patch"], None, {"patch": "X_kronos_large"}),
        ("", ["patch", "marker"], None, {"patch": "X_kronos_large_patch", "marker": "X_kronos_large_marker"}),
        ("my kinds.v2", ["patch"], None, {"patch": "X_kronos_large_my_kinds_v2"}),
        ("kinds", ["patch"], "mine", {"patch": "mine"}),
        ("", ["patch", "cls"], "mine", {"patch": "mine_patch", "cls": "mine_cls"}),
    ],
)
def test_keys_name_model_adapter_and_output(adapter, outputs, key_added, expected):
    encoder = SimpleNamespace(card=SimpleNamespace(name="kronos-large"), weights=SimpleNamespace(adapter=adapter))
    assert output_keys(encoder, outputs, key_added) == expected


@pytest.fixture
def runs(monkeypatch):
    """Each run takes two seconds, and is told of."""
    told = []

    def run(jobs, blocks, store, *, batch_size, spread):
        told.append((jobs, batch_size, spread))
        return 2.0

    monkeypatch.setattr("spatialfm.embed.run.engine.run", run)
    return told


def blocks_run(use, devices=("cpu",)):
    job = SimpleNamespace(to=lambda device: f"on {device}")
    return job, run_blocks(job, [], "identity", Run(), list(devices), 3, use)


def test_a_block_that_was_lost_is_encoded_again_and_all_seconds_count(runs):
    stores = []

    def use(store):
        stores.append(store)
        if len(stores) < 3:
            raise BlockLost("Block 1 is gone.")
        assert store.path.is_dir()
        return "rows"

    job, found = blocks_run(use, ["cpu", "cuda:1"])
    assert found == ("rows", 6.0)
    assert runs == [([job, "on cuda:1"], 3, None)] * 3
    assert not stores[0].path.exists()  # finished blocks are taken away at the end alone


def test_it_is_not_tried_for_ever(runs):
    def use(store):
        raise BlockLost("Block 1 is gone.")

    with pytest.raises(BlockLost):
        blocks_run(use)
    assert len(runs) == 3


def test_what_cannot_be_compiled_is_said_in_the_first_line(monkeypatch):
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)  # which takes seconds to load

    def encode():
        raise RuntimeError("\nno compiler\nmany lines more")

    job = SimpleNamespace(encoder=SimpleNamespace(card=SimpleNamespace(name="kronos")))
    with pytest.raises(ModelError, match=r"kronos cannot be compiled here: no compiler Pass compile=False"):
        try_compiled(job, encode)
    assert try_compiled(job, lambda: None) is None


def test_rows_of_a_grid_are_named_by_sample_and_number_and_have_its_clinical_columns():
    clinical = pd.DataFrame({"stage": [3, 1], "patient": ["P2", "P1"]}, index=["b", "a"])
    sdata = SpatialData(tables={"samples": AnnData(obs=clinical)})
    obs = grid_obs(
        *(sdata, np.array(["a", "a", "b"]), np.array([0, 2, 0]), np.array([1.0, 0.5, 0.25])),
        prefix="tiles_", instance_key="tile_id", kind="tile",
    )  # fmt: skip
    assert list(obs.index) == ["a_tile_0", "a_tile_2", "b_tile_0"]
    assert obs["region"].tolist() == ["tiles_a", "tiles_a", "tiles_b"]
    assert obs["tile_id"].tolist() == [0, 2, 0]
    assert obs["tissue"].tolist() == [1.0, 0.5, 0.25]
    assert obs["stage"].tolist() == [1, 1, 3]
    assert obs["patient"].tolist() == ["P1", "P1", "P2"]


@pytest.mark.parametrize(
    ("output", "n_components", "width", "named"),
    [("patch", None, 6, True), ("patch", 2, 6, False), ("marker", None, 2, False), ("attention", None, 2, False)],
)
def test_the_record_counts_columns_of_one_marker_and_names_those_that_have_a_meaning(
    output, n_components, width, named
):
    encoder = sfm.models.load("mean-intensity")
    job = SimpleNamespace(encoder=encoder, recipe=None)
    plan = SimpleNamespace(job=job, panel=SimpleNamespace(markers=["CD3", "CD8", "CD20"]), notes={})
    told = {} if n_components is None else {"n_components": n_components}
    record = embedding_record(plan, output, 6, **told)
    assert (record["embedding_dim"], record["n_columns"]) == (width, 6)
    names = record["feature_names"]
    assert (names is not None and "CD3" in str(names)) == named
