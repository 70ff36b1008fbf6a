"""Under one key stands what one call has written: nothing of an earlier one is left to be read as the new one's."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm._storable import write_uns
from spatialfm.cohort.replaced import remove_earlier


@pytest.fixture
def cells():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=120, random_state=0)
    cells.obs["few"] = cells.obs["type"].astype(object)
    cells.obs.loc[cells.obs_names[::2], "few"] = None
    return cells


def beside(table, key):
    return {name for part in (table.obs, table.obsm, table.uns) for name in part if name.startswith(f"{key}_")}


def test_transferred_labels_leave_no_probability_of_annotated_ones(cells):
    sfm.tl.annotate(cells, "few", use_rep="X_latent", method="lda", key_added="kind")
    assert "kind_probability" in beside(cells, "kind")
    sfm.tl.transfer_labels(cells[::2].copy(), cells, "type", use_rep="X_latent", key_added="kind")
    assert beside(cells, "kind") == {f"kind_{name}" for name in ("confidence", "margin", "entropy", "novelty")}
    sfm.tl.annotate(cells, "few", use_rep="X_latent", method="lda", key_added="kind")
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


def test_what_somebody_else_has_under_a_key_is_not_lost(cells):
    """Refused before any work where the key is asked for; beside it, nothing of theirs is removed."""
    cells.uns["bags"], cells.uns["mine"] = {"slides": [1, 2]}, {"slides": [1, 2]}
    cells.obs["bags_attention"] = 1.0
    for call in (
        lambda: sfm.tl.predict_bags(cells, "/nowhere.ckpt", use_rep="X_latent"),
        lambda: sfm.tl.cell_states(cells, 3, use_rep="X_latent", key_added="mine"),
    ):
        with pytest.raises(TableError, match=r"uns\['\w+'\] holds what no function of spatialfm wrote"):
            call()
    assert cells.uns["bags"] == {"slides": [1, 2]} == cells.uns["mine"]
    assert (cells.obs["bags_attention"] == 1).all()
    assert len(sfm.tl.cell_states(cells, 3, use_rep="X_latent", key_added="mine", copy=True)) == cells.n_obs
    remove_earlier(cells, "bags")
    assert "bags_attention" in cells.obs
    with pytest.warns(SpatialfmWarning, match="it is replaced"):
        write_uns(cells, "mine", {"params": {}})
    sfm.tl.cell_states(cells, 3, use_rep="X_latent", key_added="mine")
    sfm.tl.cell_states(cells, 4, use_rep="X_latent", key_added="mine")
    assert cells.obs["mine"].nunique() == 4
