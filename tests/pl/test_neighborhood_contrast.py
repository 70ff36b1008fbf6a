"""The tree of neighbours says what the table says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError
from spatialfm.pl._neighborhood_contrast import FEWER, MORE, OUTSIDE, WIDEST


@pytest.fixture
def cells() -> AnnData:
    table = pd.DataFrame(
        {
            "inside": [0.50, 0.20, 0.30, 0.0, 0.0],
            "outside": [0.25, 0.40, 0.30, 0.05, 0.0],
            "relative_change": [1.0, -0.5, 0.0, -1.0, 0.0],
            "n_patients": 12,
            "significant": [True, True, False, False, False],
        },
        index=["B", "T", "Macrophage, M2-like", "NK", "never"],
    )
    params = {
        "cell_type": "CD8 T", "within": "signature", "inside": "RS1", "n_neighbors": 10, "n_inside": 1234,
        "n_outside": 5678, "tested": "patients", "alpha": 0.05,
    }  # fmt: skip
    return AnnData(obs=pd.DataFrame(index=["a"]), uns={"neighborhood_contrast": {"table": table, "params": params}})


def lines_of(ax):
    return [
        (patch.get_linewidth(), to_hex(patch.get_edgecolor())) for patch in ax.patches if isinstance(patch, PathPatch)
    ]


def test_draws_the_table(cells):
    ax = sfm.pl.neighborhood_contrast(cells, show=False)
    grey = to_hex(OUTSIDE)
    # order of the mean share: B .375, T .3, macrophages .3, NK .025; outside below inside
    expected = [(0.25, grey), (0.5, MORE), (0.4, grey), (0.2, FEWER), (0.3, grey), (0.3, to_hex("0.35")), (0.05, grey)]
    widths, colors = zip(*lines_of(ax), strict=True)
    np.testing.assert_allclose(widths, [WIDEST * share / 0.5 for share, _ in expected])
    assert [color.lower() for color in colors] == [color.lower() for _, color in expected]
    texts = [text.get_text() for text in ax.texts]
    assert texts[:2] == ["CD8 T", "1,234 cells inside\n5,678 outside"]
    assert texts[2:5] == ["B", "+100 % *", "50.0 % inside, 25.0 % outside"]
    assert "−50 % *" in texts
    assert "±0 %" in texts
    assert "never" not in texts
    assert texts[-1] == "* q < 0.05, tested over 12 patients; 10 nearest cells"
    assert ax.get_title(loc="left") == "Neighbours inside and outside of signature = RS1"


def test_the_most_frequent_are_shown(cells):
    ax = sfm.pl.neighborhood_contrast(cells, n_types=1, show=False)
    assert len(lines_of(ax)) == 2
    cells.uns["neighborhood_contrast"]["table"].loc["NK", ["inside", "outside", "relative_change"]] = 0.9, 0.0, np.inf
    ax = sfm.pl.neighborhood_contrast(cells, n_types=1, show=False)
    assert ax.texts[2].get_text() == "NK"
    assert ax.texts[3].get_text() == "only inside"
    assert len(lines_of(ax)) == 1


def test_a_test_over_cells_says_so():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=200, random_state=0)
    cells.obs["nest"] = cells.obs["niche"] == "tumor nest"
    with pytest.warns(SpatialfmWarning, match="five are the least"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest")
    ax = sfm.pl.neighborhood_contrast(cells, show=False)
    assert ax.texts[-1].get_text().startswith("not tested: 1 patient has cells inside and outside, 5 are the least")
    assert not any("*" in text.get_text() for text in ax.texts)
    with pytest.warns(SpatialfmWarning, match="nothing is called significant"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", patient_key=None)
    ax = sfm.pl.neighborhood_contrast(cells, show=False)
    assert not any("*" in text.get_text() for text in ax.texts)
    n = int((cells.obs["type"] == "Tumor").sum())
    assert ax.texts[-1].get_text().startswith(f"no stars: {n:,} cells are not independent")
    assert ax.get_title(loc="left") == "Neighbours inside and outside of nest"


def test_nothing_overlaps(cells, check_boxes):
    figure = sfm.pl.neighborhood_contrast(cells, return_fig=True)
    figure.canvas.draw()
    (ax,) = figure.axes
    texts = [*ax.texts, *ax.get_legend().get_texts()]
    check_boxes(figure, [text.get_window_extent() for text in texts])


def test_refusals(cells):
    with pytest.raises(TableError, match=r"No contrast in uns\['x'\]; uns has 'neighborhood_contrast'.*sfm.tl"):
        sfm.pl.neighborhood_contrast(cells, key="x")
    with pytest.raises(ArgumentError, match="n_types=0.*at least 1"):
        sfm.pl.neighborhood_contrast(cells, n_types=0)
    cells.uns["neighborhood_contrast"]["table"][["inside", "outside"]] = 0.0
    with pytest.raises(TableError, match="every share is 0"):
        sfm.pl.neighborhood_contrast(cells)
