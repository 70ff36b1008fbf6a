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
