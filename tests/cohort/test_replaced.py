"""Under one key stands what one call has written: nothing of an earlier one is left to be read as the new one's."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm


@pytest.fixture
def cells():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=120, random_state=0)
    cells.obs["few"] = cells.obs["type"].astype(object)
    cells.obs.loc[cells.obs_names[::2], "few"] = None
    return cells


def beside(table, key):
    return {name for part in (table.obs, table.obsm, table.uns) for name in part if name.startswith(f"{key}_")}


def test_transferred_labels_leave_no_probability_of_annotated_ones(cells):
    sfm.tl.annotate(cells, "few", use_rep="X_latent", key_added="kind")
    assert "kind_probability" in beside(cells, "kind")
    sfm.tl.transfer_labels(cells[::2].copy(), cells, "type", use_rep="X_latent", key_added="kind")
    assert beside(cells, "kind") == {f"kind_{name}" for name in ("confidence", "margin", "entropy", "novelty")}
    sfm.tl.annotate(cells, "few", use_rep="X_latent", key_added="kind")
    assert beside(cells, "kind") == {f"kind_{name}" for name in ("confidence", "margin", "entropy", "probability")}


def test_colours_of_other_categories_go_and_those_of_the_same_stay(cells):
    sfm.tl.cell_states(cells, use_rep="X_latent", key_added="cluster", n_states=4)
    cells.uns["cluster_colors"] = ["#000000", "#111111", "#222222", "#333333"]
    sfm.tl.cell_states(cells, use_rep="X_latent", key_added="cluster", n_states=4, random_state=1)
    assert len(cells.uns["cluster_colors"]) == 4
    sfm.tl.cell_states(cells, use_rep="X_latent", key_added="cluster", n_states=5)
    assert "cluster_colors" not in cells.uns


def test_columns_of_the_user_stay(cells):
    cells.obs["cluster_confidence"] = np.arange(cells.n_obs)
    sfm.tl.cell_states(
        cells, use_rep="X_latent", key_added="cluster", n_states=4
    )  # nothing of this package stood under the key
    np.testing.assert_array_equal(cells.obs["cluster_confidence"], np.arange(cells.n_obs))


def test_tiles_of_another_table_have_squares_of_their_own(make_sdata, blobs):
    sdata = make_sdata({name: blobs(seed) for seed, name in enumerate("ab")}, ["DAPI", "CD3", "CD20"])
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, min_tissue=0)
    small = sdata.shapes["tiles_a"].area.iloc[0]
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=64, min_tissue=0, table_name="big")
    assert sdata.shapes["tiles_a"].area.iloc[0] == small
    assert sdata.shapes["big_a"].area.iloc[0] == pytest.approx(4 * small)
    assert set(sdata["big"].obs["region"]) == {"big_a", "big_b"}
    sfm.tl.embed_tiles(sdata, "mean-intensity", size=64, min_tissue=0, samples=["b"])
    assert "tiles_a" not in sdata.shapes  # the table that told of it is gone
    assert set(sdata.shapes) == {"tiles_b", "big_a", "big_b"}


def test_tiles_do_not_take_the_name_of_an_image(make_sdata, blobs):
    from spatialfm._errors import ElementError

    sdata = make_sdata({"a": blobs(0)}, ["DAPI", "CD3", "CD20"])
    with pytest.raises(ElementError, match=r"shapes 'image_a': sdata.images holds one of that name"):
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, table_name="image")
