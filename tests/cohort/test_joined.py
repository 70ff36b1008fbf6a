"""Embeddings of tables that were joined."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.cohort.joined import say_joined
from spatialfm.cohort.representation import representation

APART = "its rows were not made alike"


def embedded(seed: int, model: str, **options: object) -> ad.AnnData:
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy", random_state=seed)
    sfm.pp.cell_table(sdata)
    sfm.tl.embed_cells(sdata, model=model, **options)
    return sdata["table"]


@pytest.fixture(scope="module")
def tables() -> list[ad.AnnData]:
    return [embedded(seed, "classical") for seed in (0, 1)]


def joined(tables: list[ad.AnnData], **how: str) -> ad.AnnData:
    return ad.concat(tables, keys=["one", "two"], index_unique="_", **how)


def test_parts_that_were_standardized_apart_are_told(tables):
    """Their columns have mean 0 and deviation 1 in each part, whatever the cells are."""
    both = joined(tables, uns_merge="same")
    for part in tables:
        np.testing.assert_allclose(part.obsm["X_classical"].mean(axis=0), 0, atol=1e-4)
    with pytest.warns(SpatialfmWarning, match=f"lacks .*'feature_mean'.*{APART}.* Embed all samples in one call"):
        representation(both, "X_classical")


def test_a_lost_record_of_columns_in_several_units_is_told(tables):
    with pytest.warns(SpatialfmWarning, match="no record of how 'X_classical' was made.* uns_merge='same'"):
        representation(joined(tables), "X_classical")


def test_fractions_of_types_that_nothing_names_are_told():
    """Columns B, T and B, tumor would be one table of two columns."""
    tables = []
    for types in (("B", "T"), ("B", "tumor")):
        cells = sfm.datasets.simulate_cells(n_patients=1, cells_per_patient=60, random_state=len(tables))
        cells.obs["kind"] = np.where(np.arange(60) % 2, *types)
        sfm.tl.neighborhood_composition(cells, "kind", n_neighbors=5)
        representation(cells, "neighborhood_composition")
        tables.append(cells)
    for how in ({}, {"uns_merge": "same"}):
        both = joined(tables, **how)
        assert both.obsm["neighborhood_composition"].shape == (120, 2)
        with pytest.warns(SpatialfmWarning, match="no record of the types that columns of 'neighborhood_composition'"):
            sfm.tl.niches(both, 2, copy=True)


def test_components_of_two_calls_are_told():
    reduced = [embedded(seed, "classical", reduce={"n_components": 3}) for seed in (0, 1)]
    with pytest.warns(SpatialfmWarning, match=f"'basis'.*{APART}"):
        representation(joined(reduced, uns_merge="same"), "X_classical")


@pytest.mark.parametrize("key", ["X_classical", "spatial"])
def test_parts_of_one_call_are_not(tables, key, recwarn):
    whole = tables[0]
    halves = [whole[: whole.n_obs // 2].copy(), whole[whole.n_obs // 2 :].copy()]
    for table in (whole, joined(halves, uns_merge="same")):
        representation(table, key)
    assert not recwarn.list


def test_means_without_statistics_are_alike_in_two_calls(recwarn):
    """Nothing of the cohort is in them: they may be joined where the record is kept."""
    means = [embedded(seed, "mean-intensity") for seed in (0, 1)]
    recwarn.clear()
    say_joined(joined(means, uns_merge="same"), "X_mean_intensity")
    assert not recwarn.list


def test_records_of_other_makers_are_not_asked_for_more(recwarn):
    table = ad.AnnData(obsm={"X_of_mine": np.eye(3)}, uns={"spatialfm": {"X_of_mine": {"model": "mine"}}})
    representation(table, "X_of_mine")
    assert not recwarn.list
