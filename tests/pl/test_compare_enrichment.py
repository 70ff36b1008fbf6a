"""Figures of neighbours compared between groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")


def compared(groups=("a", "b"), **options):
    cells = sfm.datasets.simulate_cells(n_patients=9, cells_per_patient=120, random_state=0)
    names = list(cells.obs["patient"].unique())
    cells.obs["arm"] = [groups[names.index(one) % len(groups)] for one in cells.obs["patient"]]
    cells.obs["age"] = [float(names.index(one) ** 2 % 7) for one in cells.obs["patient"]]
    sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6, **options)
    return cells


def test_squares_are_the_differences_of_the_table():
    cells = compared(covariates="age")
    table = cells.uns["compare_enrichment"]["table"]
    table.loc[0, "significant"] = True
    ax = sfm.pl.compare_enrichment(cells, show=False)
    image = ax.images[0].get_array()
    types = [text.get_text() for text in ax.get_yticklabels()]
    for row in table.itertuples():
        shown = image[types.index(row.cell_type), types.index(row.neighbour)]
        assert np.ma.is_masked(shown) if np.isnan(row.p_value) else shown == pytest.approx(row.difference)
    assert [text.get_text() for text in ax.texts] == ["*"]
    assert "at equal age" in ax.get_title(loc="left")


def test_of_three_groups_two_are_asked_for():
    cells = compared(("a", "b", "c"))
    with pytest.raises(TableError, match=r"groups=\('a', 'b'\)"):
        sfm.pl.compare_enrichment(cells, show=False)
    ax = sfm.pl.compare_enrichment(cells, groups=("b", "c"), show=False)
    assert ax.get_title(loc="left").startswith("b (3) and c (3 patients)")
    with pytest.raises(TableError, match="No comparison of neighbours"):
        sfm.pl.compare_enrichment(cells, key="niches", show=False)


def patients():
    rng = np.random.default_rng(0)
    risk, age = rng.normal(size=(2, 70))
    obs = pd.DataFrame({"time": rng.exponential(np.exp(-risk - age)), "event": 1, "age": age})
    obs["good"], obs["poor"] = risk + 0.2 * rng.normal(size=70), risk + 3 * rng.normal(size=70)
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(70)]))
