"""A plan: its costs as sums that are written out, what it refuses, what it is known by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from torch import nn

import spatialfm as sfm
from spatialfm._errors import ElementError, TableError
from spatialfm.embed import planned as module
from spatialfm.embed.planned import (
    EmbeddingPlan,
    _duration,
    _size,
    check_alone,
    check_rows,
    cost_of,
    data_of,
    table_of,
)
from spatialfm.pp.elements import match_elements


class Network(nn.Module):
    """Ten weights of four bytes and a buffer of three numbers of eight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Parameter(torch.zeros(2, 5))
        self.register_buffer("known", torch.zeros(3, dtype=torch.float64))


def block(y0, y1, x0, x1, n_windows):
    return SimpleNamespace(y0=y0, y1=y1, x0=x0, x1=x1, n_windows=n_windows)


def plan(devices=1, n_rows=100):
    job = SimpleNamespace(encoder=Network(), window=16, outputs=["patch", "marker"])
    run = SimpleNamespace(
        job=job,
        blocks=[block(0, 10, 0, 20, 30), block(10, 40, 0, 20, 70)],
        panel=SimpleNamespace(markers=["CD3", "CD8", "CD20"]),
        batch_size=lambda asked: 4,
    )
    request = SimpleNamespace(run=SimpleNamespace(batch_size=None))
    cells = SimpleNamespace(rows=np.arange(n_rows))
    return EmbeddingPlan(request, [], None, "table", cells, run, ["cpu"] * devices, None, {}, {})


@pytest.fixture
def known(monkeypatch):
    """Five columns of one output and seven of the other; 1,000 bytes a window; seconds that were timed."""
    monkeypatch.setattr("spatialfm.embed.plan.n_columns", lambda job, output: {"patch": 5, "marker": 7}[output])
    monkeypatch.setattr("spatialfm.embed.run.engine.window_bytes", lambda encoder, n_markers, window: 1000.0)
    monkeypatch.setattr(module, "_timed", lambda plan: (0.5, 2.0))


def test_memory_and_disk_are_the_sum_of_their_parts(known):
    cost = cost_of(plan())
    rows = 4 * 100 * (5 + 7)
    weights, largest = 10 * 4 + 3 * 8, 30 * 20 * (4 * 3 + 8)
    assert cost.memory == weights + 4 * 1000 + 2 * largest + rows
    assert cost.disk == rows
    sfm.settings.result_memory = 1000  # the result stays on the disk, beside the blocks
    cost = cost_of(plan())
    assert cost.memory == weights + 4 * 1000 + 2 * largest + 1000
    assert cost.disk == 2 * rows


def test_the_slower_of_reading_and_encoding_decides(known, monkeypatch):
    assert cost_of(plan()).seconds == 100 * 0.5
    assert cost_of(plan(devices=2)).seconds == 100 * 0.5 / 2
    monkeypatch.setattr(module, "_timed", lambda plan: (0.01, 2.0))
    assert cost_of(plan()).seconds == 2 * 2.0


def test_columns_are_those_of_the_output_or_its_components(known):
    one = plan()
    of_outputs = {"patch": "X_a", "marker": "X_b"}
    whole = EmbeddingPlan(*(one.request, [], None, "table", one.cells, one.run, ["cpu"], None, of_outputs, {}))
    assert whole.columns == {"X_a": 5, "X_b": 7}
    reduced = EmbeddingPlan(*(one.request, [], None, "table", one.cells, one.run, ["cpu"], 2, of_outputs, {}))
    assert reduced.columns == {"X_a": 2, "X_b": 2}


@pytest.mark.parametrize(
    ("n", "text"),
    [(999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_600, "1 MB"), (5e9, "5 GB"), (7e13, "70 TB")],
)
def test_sizes(n, text):
    assert _size(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.001, "0.1 s"), (89.9, "89.9 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_a_plan_is_run_without_repeating_what_it_holds():
    defaults = {"model": "classical", "table_name": "table", "on_missing": "raise", "markers": None}
    check_alone(defaults)
    for name, value in {"model": "kronos", "markers": ["CD3"], "on_missing": "drop"}.items():
        with pytest.raises(TableError, match=f"{name}= repeats it"):
            check_alone(defaults | {name: value})


def test_rows_of_others_are_refused_unless_a_copy_is_made():
    obs = pd.DataFrame({"region": pd.Categorical(["cells_a", "cells_b"]), "cell_id": [1, 1]}, index=["1", "2"])
    table = AnnData(obs=obs)
    table.uns["spatialdata_attrs"] = {
        "region": ["cells_a", "cells_b"],
        "region_key": "region",
        "instance_key": "cell_id",
    }
    both = [SimpleNamespace(labels="cells_a"), SimpleNamespace(labels="cells_b")]
    check_rows(table, both, "table", copy=False)
    check_rows(table, both[:1], "table", copy=True)
    with pytest.raises(TableError, match="also holds cells of cells_b"):
        check_rows(table, both[:1], "table", copy=False)


@pytest.fixture
def sdata(make_sdata):
    labels = np.zeros((8, 8), np.int32)
    labels[1:4, 1:4], labels[5:8, 5:8] = 1, 2
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    return make_sdata({"a": (image, labels), "b": (image + 1, labels)}, ["CD3"])


def plan_of(sdata):
    pairs = match_elements(sdata)
    return EmbeddingPlan(*(None, pairs, None, "table", None, None, [], None, {}, data_of(sdata, pairs, "table")))


def test_a_plan_is_known_by_its_images_labels_and_table(sdata, make_sdata):
    made = plan_of(sdata)
    assert list(made.data) == ["image 'image_a'", "labels 'cells_a'", "image 'image_b'", "labels 'cells_b'"]
    made.check(sdata)
    sdata.images["image_b"] = sdata.images["image_b"] + 1
    with pytest.raises(ElementError, match="image 'image_b' is another one here"):
        made.check(sdata)
    del sdata.images["image_b"]
    with pytest.raises(ElementError, match="image 'image_b' is not in sdata"):
        made.check(sdata)


def test_a_table_that_came_later_or_has_other_rows_is_another_one(sdata):
    before = plan_of(sdata)
    sfm.pp.cell_table(sdata)
    with pytest.raises(ElementError, match="made before there was table 'table'"):
        before.check(sdata)
    made = plan_of(sdata)
    made.check(sdata)
    sdata["table"].obs["kind"] = "any"  # decides nothing
    made.check(sdata)
    sdata["table"].obs["cell_id"] = sdata["table"].obs["cell_id"].to_numpy()[::-1].copy()
    with pytest.raises(ElementError, match="table 'table' is another one here"):
        made.check(sdata)


def test_the_table_is_the_one_named_or_made_where_there_is_none(sdata):
    pairs = match_elements(sdata)
    made = table_of(sdata, "table", pairs, "raise", "raise", None)
    means = [np.arange(64).reshape(8, 8)[cell].mean() for cell in ((slice(1, 4),) * 2, (slice(5, 8),) * 2)]
    np.testing.assert_allclose(made.X.ravel(), [*means, *(mean + 1 for mean in means)])
    assert "table" not in sdata.tables
    sdata.tables["other"] = made
    assert table_of(sdata, "other", pairs, "raise", "raise", None) is sdata.tables["other"]
    with pytest.raises(ElementError, match="No table 'third' in sdata; found 'other'"):
        table_of(sdata, "third", pairs, "raise", "raise", None)
