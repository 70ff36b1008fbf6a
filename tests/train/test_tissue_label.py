"""A label of the tissue, learned by channel-summary tokens: what is written, where it looks, and what is refused."""

from __future__ import annotations

import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sklearn.metrics import roc_auc_score

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError, TableError
from spatialfm.train.tuning import FineTuning

MARKERS = ["CD3", "CD20", "CD68"]
CALL = {"markers": MARKERS, "recipe": {"window": 32}, "batch_size": 8, "check_every": 2, "workers": 0}
SIDE = 24  # pixels of what is planted


def cohort(n_patients: int, image_size: int, seed: int = 0, *, side: int = SIDE, alone: bool = False):
    """Images of which every second patient's has a bright square of CD20 somewhere, and True for cells in it.

    `alone`: there is no other CD20 than background, so that the label is easy to learn.
    """
    sdata = sfm.datasets.simulate_cohort(
        n_patients=n_patients, n_samples=1, image_size=image_size, difficulty="easy", random_state=seed
    )
    rng, places = np.random.default_rng(seed), {}
    samples = sorted(sdata["samples"].obs_names)
    for number, sample in enumerate(samples):
        image = sdata[f"image_{sample}"]
        values = image.to_numpy().astype(np.float32).copy()
        channel = list(image.coords["c"].values).index("CD20")
        if alone:
            values[channel] = rng.poisson(20, values[channel].shape)
        if number % 2:
            y, x = rng.integers(0, image_size - side, 2)
            bright = np.quantile(values[channel], 0.999)
            values[channel, y : y + side, x : x + side] = (
                rng.poisson(400, (side, side)) if alone else bright * rng.uniform(0.7, 1, (side, side))
            )
            places[sample] = (y, x)
        sdata[f"image_{sample}"] = xr.DataArray(
            da.from_array(values.astype(image.dtype)), dims=image.dims, coords=image.coords, attrs=image.attrs
        )
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["group"] = np.where(table.obs["sample"].astype(str).isin(places), "planted", "plain")
    inside = np.zeros(table.n_obs, bool)
    xy = table.obsm["spatial"] / _mpp(sdata)
    for sample, (y, x) in places.items():
        near = (xy[:, 1] >= y) & (xy[:, 1] < y + side) & (xy[:, 0] >= x) & (xy[:, 0] < x + side)
        inside |= near & (table.obs["sample"].astype(str) == sample).to_numpy()
    return sdata, inside


def _mpp(sdata) -> float:
    from spatialdata.transformations import get_transformation

    name = next(iter(sdata.images))
    found = get_transformation(sdata[name], get_all=True)
    return float(next(iter(found.values())).to_affine_matrix(("x", "y"), ("x", "y"))[0, 0])


@pytest.fixture(scope="module")
def sdata():
    return cohort(4, 96)[0]


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
def test_the_token_of_the_planted_marker_looks_at_the_planted_place(tmp_path):
    sdata, inside = cohort(36, 96, side=36, alone=True)
    names = sorted(sdata["samples"].obs_names)
    encoder = sfm.models.new_encoder("virtues", dim=32, depth=6, heads=2, hidden=64, decoder_depth=1)
    sfm.models.save_trained(encoder, tmp_path / "base", {"license": "MIT"})
    call = {"markers": MARKERS, "recipe": {"window": 48}}
    sfm.train.finetune(
        sdata, "virtues", weights=tmp_path / "base", out=tmp_path / "group", label_key="group", level="tissue",
        samples=names[:24], validation=0.34, steps=150, lr=3e-3, batch_size=16, patience=20, workers=0, **call,
    )  # fmt: skip
    assert pd.read_csv(tmp_path / "group" / "checks.csv")["validation_balanced_accuracy"].iloc[-1] > 0.85
    sfm.tl.embed_cells(
        sdata, "virtues", weights=tmp_path / "base", adapter=tmp_path / "group", outputs=["patch", "marker"], **call
    )
    table, found = sdata["table"], []
    heat = np.hstack([table.obsm["X_virtues_group_patch"], table.obsm["X_virtues_group_marker"]])
    for sample in names[24:]:  # of patients who took no part
        rows = (table.obs["sample"] == sample).to_numpy()
        if inside[rows].any():
            found.append([roc_auc_score(inside[rows], heat[rows, column]) for column in range(4)])
    _, cd3, cd20, cd68 = np.mean(found, axis=0)
    low = stats.t.interval(0.95, len(found) - 1, cd20, stats.sem(np.array(found)[:, 2]))[0]
    assert (len(found), low > 0.8) == (6, True)
    assert max(cd3, cd68) < cd20 - 0.2
