"""The scale of each sample: against sums by hand, and taken where slides were stained apart, not where cells differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.learn.heads.auto import split
from spatialfm.learn.heads.blocks import AppliedScaler, ColumnBlock, scaler_of
from spatialfm.learn.heads.by_sample import on_scale, within_samples
from spatialfm.learn.heads.cells import VisibleCells
from spatialfm.learn.heads.options import Options

TYPES = np.array(["B", "T", "tumor"])


def stained(shift: float, mixed: bool = True, n_samples: int = 8, of_each: int = 90, seed: int = 0) -> AnnData:
    """Three types by six markers on slides whose stains differ by `shift`; else a slide is mostly of one type."""
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(n_samples), of_each)
    codes = rng.integers(0, 3, len(sample))
    if not mixed:
        codes = np.where(rng.random(len(sample)) < 0.85, sample % 3, codes)
    profile = np.kron(np.eye(3), [1.0, 1.0])
    values = profile[codes] + rng.normal(0, 0.5, (len(sample), 6)) + shift * rng.normal(size=(n_samples, 6))[sample]
    obs = pd.DataFrame({"type": TYPES[codes], "sample": [f"s{one}" for one in sample]})
    obs["patient"], obs.index = obs["sample"], [f"c{number:04d}" for number in range(len(obs))]
    cells = AnnData(np.zeros((len(obs), 0), np.float32), obs=obs)
    cells.obsm["X_model"] = values.astype(np.float32)
    some = rng.permutation(len(obs))[:72]
    cells.obs["known"] = cells.obs["type"].where(np.isin(np.arange(len(obs)), some))
    return cells


def test_the_scale_of_a_sample_is_that_by_hand():
    rng = np.random.default_rng(0)
    values = rng.normal(2, 3, (400, 3))
    values[:, 2] = 5.0  # a column that is one number
    samples = np.repeat([0, 1, 2], [5, 195, 200])
    found = within_samples(values, samples)(np.arange(400))
    mean, variance = values.mean(axis=0), values.var(axis=0)
    for code, n in enumerate([5, 195, 200]):
        own = values[samples == code]
        center = (n * own.mean(axis=0) + 30 * mean) / (n + 30)
        spread = (n * ((own - center) ** 2).mean(axis=0) + 30 * variance) / (n + 30)
        expected = (own - center) / np.sqrt(np.where(spread > 0, spread, 1)) * np.sqrt(variance) + mean
        np.testing.assert_allclose(found[samples == code], expected, atol=1e-9)
    assert abs(found[:5, 0].mean() - mean[0]) > abs(found[200:, 0].mean() - mean[0])  # five cells move little
    np.testing.assert_array_equal(found[:, 2], 5.0)
    gaps = within_samples(values, 2 * samples + 1)(np.arange(400))  # codes 0, 2 and 4 have no rows
    np.testing.assert_array_equal(gaps, found)


def right(cells: AnnData, **options) -> float:
    table = sfm.tl.annotate(cells, "known", use_rep="X_model", copy=True, **options)
    new = cells.obs["known"].isna()
    return float((table["label"][new].astype(str) == cells.obs["type"][new]).mean())


@pytest.mark.parametrize("method", ["lda", "linear"])
def test_slides_that_were_stained_apart_are_read_on_their_own_scale(method):
    cells = stained(2.5)
    found = {one: right(cells, by_sample=one, method=method) for one in ("auto", True, False)}
    assert found["auto"] == found[True] > 0.85
    assert found[False] < found[True] - 0.1
    cells.obs["sample"] = "one"
    assert right(cells, by_sample="auto", method=method) == found[False]


def test_slides_whose_cells_differ_are_not():
    cells = stained(0.0, mixed=False)
    found = {one: right(cells, by_sample=one, method="lda") for one in ("auto", True, False)}
    assert found["auto"] == found[False] > found[True] + 0.1


def test_what_was_chosen_is_recorded_with_its_reason():
    for shift, chosen in ((1.5, True), (0.0, False)):
        cells = stained(shift)
        sfm.tl.annotate(cells, "known", use_rep="X_model", method="lda")
        params = cells.uns["known_predicted"]["params"]
        assert params["by_sample"] is chosen
        assert params["by_sample_why"].startswith("balanced accuracy on 72 labelled cells")
        assert ("within each sample" in params["preparation"]) is chosen
    del cells.obs["sample"]
    sfm.tl.annotate(cells, "known", use_rep="X_model", method="lda")
    assert cells.uns["known_predicted"]["params"]["by_sample"] is False
    with pytest.raises(TableError, match="library_key"):
        sfm.tl.annotate(cells, "known", use_rep="X_model", by_sample=True)


def test_only_labels_that_were_held_out_decide():
    """Labels drawn at random favour no scale; that which suits its own labels best would be taken every time."""
    taken = 0
    for seed in range(12):
        cells = stained(0.7, seed=seed)
        values = cells.obsm["X_model"].astype(float)
        scaler = scaler_of([ColumnBlock("X_model", 6)], values)
        rows = np.flatnonzero(cells.obs["known"].notna())
        labels = np.random.default_rng(seed).permutation(cells.obs["known"].to_numpy(str)[rows])
        samples = pd.factorize(cells.obs["sample"])[0]
        own, notes = on_scale(VisibleCells(values, scaler), samples, rows, labels, Options())
        taken += notes["by_sample"]
        assert isinstance(own.scaler, AppliedScaler) is notes["by_sample"]
    assert taken <= 5


def test_several_representations_keep_their_weights_side_by_side_or_stacked():
    cells = stained(1.5)
    cells.obsm["X_noise"] = np.random.default_rng(1).normal(size=(cells.n_obs, 40)).astype(np.float32)
    for combine in ("concatenate", "stack"):
        options = {"use_rep": ["X_model", "X_noise"], "combine": combine, "method": "lda", "copy": True}
        table = sfm.tl.annotate(cells, "known", by_sample=True, **options)
        assert (table["label"].astype(str) == cells.obs["type"]).mean() > 0.8


def test_scores_are_of_the_scale_of_each_sample_where_test_cells_are_seen():
    cells = stained(1.5)
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 3 > 0)
    options = {"use_rep": "X_model", "heads": "lda", "n_folds": 4, "n_train": 10}
    seen = sfm.tl.evaluate_annotation(cells, "known", transductive=True, **options)
    alone = sfm.tl.evaluate_annotation(cells, "known", transductive=True, by_sample=False, **options)
    unseen = sfm.tl.evaluate_annotation(cells, "known", **options)
    f1 = [table.query("score == 'f1' and head == 'lda'")["mean"].item() for table in (seen, alone, unseen)]
    assert f1[0] > 0.85 > f1[1] + 0.1
    assert f1[2] < 0.75
    with pytest.raises(TableError, match="transductive=True"):
        sfm.tl.evaluate_annotation(cells, "known", by_sample=True, **options)


def test_rows_are_scaled_once_whole_and_by_representation():
    cells = stained(1.5)
    values = np.hstack([10 * cells.obsm["X_model"] + 5, np.exp(cells.obsm["X_model"])]).astype(float)
    blocks, samples = [ColumnBlock("one", 6), ColumnBlock("two", 6)], pd.factorize(cells.obs["sample"])[0]
    base = VisibleCells(values, scaler_of(blocks, values))
    rows = np.flatnonzero(cells.obs["known"].notna())
    labels = cells.obs["known"].to_numpy(str)[rows]
    own, notes = on_scale(base, samples, rows, labels, Options(), always=True)
    expected = within_samples(base.scaled, samples)(np.arange(len(values)))
    assert notes["by_sample"]
    np.testing.assert_allclose(own.scaled, expected)
    np.testing.assert_allclose(np.hstack([part.scaled for part in split(own, blocks)]), expected)
    assert own.scaler.widths == base.scaler.widths
    unmoved, notes = on_scale(base, np.zeros(len(values), int), rows, labels, Options(), always=True)
    assert unmoved is base
    assert not notes["by_sample"]
