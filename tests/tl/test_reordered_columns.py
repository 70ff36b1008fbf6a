"""Columns of a table in ``obsm`` that stand in another order in the table to which something fitted is applied."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture(scope="module")
def tables():
    """One cohort, and others whose columns are those of the same names: as they were, and from back to front."""
    source, target = (
        sfm.datasets.simulate_cells(n_patients=5, cells_per_patient=40, random_state=seed) for seed in (0, 1)
    )
    for name in ("patient", "sample"):
        target.obs[name] = "T" + target.obs[name].astype(str)
    names = [f"f{i}" for i in range(source.obsm["X_latent"].shape[1])]
    for table in (source, target):
        table.obsm["X_f"] = pd.DataFrame(table.obsm["X_latent"], index=table.obs_names, columns=names)
    turned = target.copy()
    turned.obsm["X_f"] = turned.obsm["X_f"][names[::-1]]
    return source, target, turned


def test_labels_and_states_are_carried_by_names(tables):
    source, target, turned = tables
    options = {"label_key": "type", "use_rep": "X_f", "copy": True}
    labels = [sfm.tl.transfer_labels(source, one, **options) for one in (target, turned)]
    pd.testing.assert_frame_equal(*(pd.DataFrame(one) for one in labels))
    sfm.tl.cell_states(source, 5, use_rep="X_f")
    states = [sfm.tl.cell_states(one, use_rep="X_f", source=source, copy=True) for one in (target, turned)]
    pd.testing.assert_series_equal(*states)


def test_what_takes_columns_by_their_place_refuses_another_order(tables):
    source, target, turned = tables
    index = sfm.tl.build_index(source, "X_f")
    assert len(sfm.tl.search(index, target[:3], k=1)) == 3
    with pytest.raises(TableError, match="columns is 'f.*Bring both to the same columns"):
        sfm.tl.search(index, turned[:3], k=1)
    pytest.importorskip("ot")
    options = {"use_rep": "X_f", "model": "transport", "n_points": 3}
    points = sfm.tl.embed_samples(source, **options)
    assert np.isfinite(sfm.tl.embed_samples(target, reference=points, **options).X).all()
    with pytest.raises(TableError, match="not in the same order. Bring both to the same columns"):
        sfm.tl.embed_samples(turned, reference=points, **options)


def test_aligned_heads_refuse_another_order(tables):
    source, target, turned = (table.copy() for table in tables)
    sfm.tl.align(source, "X_f", "X", n_components=4, max_epochs=2, patience=2)
    sfm.tl.align(target, "X_f", "X", source=source)
    with pytest.raises(TableError, match="not in the same order. Bring both to the same columns"):
        sfm.tl.align(turned, "X_f", "X", source=source)
