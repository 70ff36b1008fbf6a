"""Contributions as figures: what is drawn is what was written, and adds up."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError

OWN = {"CD8 T": "CD8", "CD4 T": "CD4", "Treg": "FOXP3", "B": "CD20", "Macrophage": "CD68", "Fibroblast": "aSMA"}


@pytest.fixture(scope="module")
def cells():
    made = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=100, random_state=0)
    made.obs["known"] = made.obs["type"].where(np.arange(made.n_obs) % 3 == 0)
    sfm.tl.annotate(made, "known", use_rep="X", method="bcos")
    return made


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_types_by_markers(cells):
    ax = sfm.pl.contributions(cells, "known_predicted", sort=False, show=False)
    table = cells.uns["known_predicted"]["contributions"]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(cells.var_names)
    assert ax.get_yticklabels()[0].get_text() == f"{table.index[0]} ({int(table['n'].iloc[0]):,})"
    drawn = ax.collections[0].get_array().reshape(len(table), -1)
    np.testing.assert_allclose(drawn, table[list(cells.var_names)])
    for name, marker in OWN.items():  # what the simulator gives these types
        assert table.loc[name, list(cells.var_names)].idxmax() == marker
    fewer = sfm.pl.contributions(cells, "known_predicted", limit=2.0, show=False)
    assert fewer.collections[0].get_clim() == (-2.0, 2.0)


def test_a_cell_from_its_intercept_to_its_logit(cells):
    cell = cells.obs_names[10]
    ax = sfm.pl.contributions(cells, "known_predicted", cell=cell, n_markers=4, show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    shares = cells.obsm["known_predicted_contribution"].loc[cell]
    largest = shares.drop("intercept").abs().nlargest(4).index.tolist()
    assert names == ["intercept", *largest, "8 others", "logit"]
    bars = ax.patches
    assert bars[-1].get_width() == pytest.approx(cells.obs["known_predicted_logit"][cell], abs=1e-6)
    ends = [bar.get_x() + bar.get_width() for bar in bars[:-1]]
    np.testing.assert_allclose([bar.get_x() for bar in bars[1:-1]], ends[:-1], atol=1e-9)
    assert bars[1].get_width() == pytest.approx(shares[largest[0]])
    assert ax.get_title(loc="left") == f"{cell}: {cells.obs['known_predicted'][cell]}"
    written = [float(text.get_text().replace("−", "-")) for text in ax.texts]
    np.testing.assert_allclose(written, [bar.get_width() for bar in bars], atol=0.006)


def test_patients_of_a_network(cells):
    table = pd.DataFrame(
        {
            "patient": ["P1", "P1", "P2", "P2"],
            "output": ["no", "yes"] * 2,
            "CD3": [1.0, -1.0, 0.5, 2.0],
            "CD8": [0.0, 0.5, -0.5, 1.0],
            "intercept": [0.1, -0.1] * 2,
            "total": [1.1, -0.6, 0.1, 2.9],
        }
    )
    other = cells.copy()
    other.uns["mil"] = {"contributions": table, "params": {"positive": "yes"}}
    ax = sfm.pl.contributions(other, "mil", sort=False, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["P2", "P1"]  # the highest first
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(2, 2), [[2.0, 1.0], [-1.0, 0.5]])
    other.uns["mil"]["params"]["positive"] = "no"
    ax = sfm.pl.contributions(other, "mil", sort=False, show=False)
    np.testing.assert_allclose(ax.collections[0].get_array().reshape(2, 2), [[1.0, 0.0], [0.5, -0.5]])
    ax = sfm.pl.contributions(other, "mil", patient="P1", output="no", show=False)
    assert ax.patches[-1].get_width() == pytest.approx(1.1)
    with pytest.raises(TableError, match="answers are of patients. Pass patient= instead of cell="):
        sfm.pl.contributions(other, "mil", cell="x")
    with pytest.raises(TableError, match="output='maybe' is not one of 'no', 'yes'"):
        sfm.pl.contributions(other, "mil", output="maybe")
    with pytest.raises(TableError, match="patient='P9' is not one of"):
        sfm.pl.contributions(other, "mil", patient="P9")


def test_refusals(cells):
    with pytest.raises(TableError, match=r"No contributions in uns\['known'\].*method='bcos'"):
        sfm.pl.contributions(cells, "known")
    with pytest.raises(TableError, match="cell='nobody' is not among obs_names"):
        sfm.pl.contributions(cells, "known_predicted", cell="nobody")
    with pytest.raises(TableError, match="answers are of cells. Pass cell= alone"):
        sfm.pl.contributions(cells, "known_predicted", patient="P1")


def test_a_name_of_two_cells_is_refused(cells):
    twice = cells[:20].copy()
    twice.obs_names = ["c"] * 2 + [f"c{i}" for i in range(18)]
    with pytest.raises(TableError, match="'c' is the name of 2 cells"):
        sfm.pl.contributions(twice, "known_predicted", cell="c", show=False)
