"""A label of the tissue, learned by channel-summary tokens: what is written, where it looks, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, TableError
from spatialfm.train.tuning import FineTuning

MARKERS = ["CD3", "CD20", "CD68"]
CALL = {"markers": MARKERS, "recipe": {"window": 32}, "batch_size": 8, "check_every": 2, "workers": 0}


@pytest.fixture(scope="module")
def attention():
    """The module ``benchmarks/attention.py``."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("benchmark_attention", folder / "attention.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    yield module
    sys.modules.pop("_harness", None)


@pytest.fixture(scope="module")
def sdata(attention):
    return attention.planted_cohort(4, side=24)[0]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    encoder = sfm.models.new_encoder("virtues", dim=24, depth=4, heads=2, decoder_depth=1)
    sfm.models.save_trained(encoder, folder, {"license": "MIT"})
    return folder


@pytest.fixture(scope="module")
def run(sdata, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "group"
    return out, sfm.train.finetune(
        sdata, "virtues", weights=base, out=out, label_key="group", level="tissue", steps=4, **CALL
    )


def test_attention_of_each_marker_is_written_for_each_cell(sdata, base, run):
    out, encoder = run
    assert encoder.card.outputs == ("patch", "marker", "token", "summary")
    options = {k: CALL[k] for k in ("markers", "recipe")}
    sfm.tl.embed_cells(sdata, "virtues", weights=base, adapter=out, outputs=["patch", "marker"], **options)
    table = sdata["table"]
    assert table.obsm["X_virtues_group_patch"].shape == (table.n_obs, 1)
    assert table.obsm["X_virtues_group_marker"].shape == (table.n_obs, 3)
    of_marker = sfm.get.marker_embedding(table, "X_virtues_group_marker", "CD20")
    np.testing.assert_array_equal(np.asarray(of_marker)[:, 0], table.obsm["X_virtues_group_marker"][:, 1])
    record = sfm.get.record(table, "X_virtues_group_patch")
    assert (record["adapter"], record["output"], int(record["embedding_dim"])) == ("group", "patch", 1)
    assert table.obsm["X_virtues_group_patch"].min() >= 0
    ax = sfm.pl.attention(
        table, str(table.obs["sample"].iloc[0]), key="X_virtues_group_marker", output="CD20", show=False
    )
    assert "CD20" in ax.get_figure().axes[-1].get_ylabel()


def test_the_card_says_what_was_learned(run):
    card = json.loads((run[0] / "card.json").read_text())
    assert (card["level"], card["cells"]["classes"]) == ("tissue", ["plain", "planted"])
    assert card["parameters"]["level"] == "tissue"
    checks = (run[0] / "checks.csv").read_text().splitlines()
    assert "balanced_accuracy" in checks[0]


def test_what_cannot_be_learned_is_refused(sdata, base, tmp_path):
    def refused(error, match, model="virtues", **how):
        with pytest.raises(error, match=match):
            sfm.train.finetune(
                sdata, model, weights=base if model == "virtues" else "random", out=tmp_path / "no",
                **{"label_key": "group", "level": "tissue", "steps": 2} | CALL | how,
            )  # fmt: skip
        assert not (tmp_path / "no").exists()

    sdata["table"].obs["of cells"] = np.where(np.arange(sdata["table"].n_obs) % 2, "a", "b")
    refused(
        TableError,
        "'of cells' differs within sample .* level='tissue' reads what a whole sample has",
        label_key="of cells",
    )
    refused(ArgumentError, "level='tissue' with method='full'", method="full")
    refused(ArgumentError, "Leave outputs= out", outputs="summary")
    refused(
        ModelError, "no channel-summary tokens.*It is for VirTues|it is for VirTues", model="kronos", accept_terms=True
    )
    with pytest.raises(ArgumentError, match="gives cells no embedding of their own"):
        FineTuning(sdata, "virtues", weights=base, level="tissue").fit(sdata["table"], "group", "patient")


@pytest.mark.slow
def test_the_token_of_the_planted_marker_looks_at_the_planted_place(attention, tmp_path):
    accuracy, auroc = attention.measured(tmp_path, 36, 150)
    assert accuracy > 0.85
    values = auroc["CD20"]
    low = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))[0]
    assert (len(values), low > 0.8) == (6, True)
    assert auroc[["CD3", "CD68"]].mean().max() < values.mean() - 0.2
