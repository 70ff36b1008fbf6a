"""The figure of many regressions."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from spatialfm.cli._figures import forest_of_many


@pytest.fixture
def hazards():
    return pd.DataFrame(
        {
            "term": ["T cells", "no fit", "wide"],
            "hazard_ratio": [2.0, np.nan, 1.0],
            "ci_low": [1.5, np.nan, 1e-9],
            "ci_high": [4.0, np.nan, np.inf],
            "p_holm": [0.01, np.nan, 1.0],
        }
    )


@pytest.mark.parametrize(
    ("rows", "ends"),
    [
        ([0], (0.9 / 1.1, 4 * 1.1)),  # 1 is always seen
        ([0, 1, 2], (1 / 1100, 1100)),  # beyond a thousandfold, an interval is no more than wide
    ],
)
def test_the_axis_ends_where_the_intervals_do(hazards, rows, ends):
    figure = forest_of_many(hazards.iloc[rows], 0.1)
    (ax,) = figure.axes
    np.testing.assert_allclose(ax.get_xlim(), ends, rtol=1e-6)
    assert "no fit" not in [label.get_text() for label in ax.get_yticklabels()]
    assert ax.get_xlabel() == "Hazard ratio per SD (90 % interval)"
    assert any("2.00 (1.50 to 4.00), corrected p = 0.01" in text.get_text() for text in ax.texts)
    plt.close(figure)
