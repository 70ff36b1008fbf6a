"""Figures of the search for signatures."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture(scope="module")
def cells():
    cells = sfm.datasets.simulate_cells(30, cells_per_patient=60, effect_size=2.0, random_state=0)
    arguments = {"outcome": "response", "positive": "responder", "resolutions": [1.0, 2.0], "n_permutations": 12}
    sfm.tl.discover_signatures(cells, use_rep="X_latent", max_cells=None, **arguments)
    return cells


def test_every_candidate_is_a_dot(cells):
    ax = sfm.pl.signatures(cells, show=False)
    table = cells.uns["signatures"]["clusters"]
    drawn = np.concatenate([c.get_offsets() for c in ax.collections])
    assert len(drawn) == len(table)
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(table["score"]))
    assert ax.get_legend().get_title().get_text().replace("\n", " ") == "response: response = responder"
    names = {text.get_text().strip() for text in ax.texts}
    assert names == set(cells.uns["signatures"]["signatures"].index)
    ax.figure.canvas.draw()
    for text in ax.texts:  # outwards of the dot that is named, which is the outermost or next to it
        assert text.get_ha() == ("left" if text.xy[0] > 0 else "right")
    plt.close("all")


def test_scores_and_shuffles(cells):
    ax = sfm.pl.signature_scores(cells, show=False)
    scores, null = cells.uns["signatures"]["scores"], cells.uns["signatures"]["null"]
    dots = [c.get_offsets() for c in ax.collections]
    assert [len(d) for d in dots] == [12, 1, 12, 1]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["12 shuffles of the outcome", "their mean", "95 % interval over patients"]
    np.testing.assert_allclose([dots[1][0, 0], dots[3][0, 0]], scores["score"])
    np.testing.assert_allclose(dots[2][:, 0], null["nested"])
    plt.close("all")


def test_nothing_there():
    for draw in (sfm.pl.signatures, sfm.pl.signature_scores):
        with pytest.raises(TableError, match="No search for signatures in uns"):
            draw(AnnData(np.zeros((2, 2))), show=False)


def test_filled_dots_are_those_that_stand_after_correction(cells):
    """Every p-value is small; one half of the q-values is not."""
    drawn = cells.copy()
    table = drawn.uns["signatures"]["clusters"]
    table["p_value"], table["q_value"] = 0.001, np.where(np.arange(len(table)) % 2 == 0, 0.01, 0.5)
    ax = sfm.pl.signatures(drawn, alpha=0.05, show=False)
    filled = np.concatenate([dots.get_offsets() for dots in ax.collections if len(dots.get_facecolors())])
    np.testing.assert_allclose(np.sort(filled[:, 1]), np.sort(table["score"][table["q_value"] < 0.05]))
    assert 0 < len(filled) < len(table)
    plt.close("all")
