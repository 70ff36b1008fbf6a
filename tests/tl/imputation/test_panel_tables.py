"""Tables of a search for panels, laid out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spatialfm.learn.panel_curve import HeldOutPanels
from spatialfm.learn.panel_search import BestPanel
from spatialfm.tl.imputation.panel_tables import curve_of

NAMES = ["CD3", "CD8", "CD20", "CD68"]


@pytest.fixture
def judged():
    chosen = np.array([[0.5, 0.7], [0.8, 0.8]])
    return HeldOutPanels(chosen, chosen - 0.1, np.stack([chosen - 0.2]), np.ones(2), np.ones((2, 4)))


PANELS = {1: BestPanel((1,), 0.9, 2.0), 2: BestPanel((2, 0), 0.95, 3.0)}
SEARCH = SimpleNamespace(sizes=[1, 2])


def test_what_enters_and_leaves_is_named(judged):
    curve = curve_of(judged, PANELS, SEARCH, NAMES, "label")
    assert curve["markers"].tolist() == ["CD8", "CD20, CD3"]
    assert curve["enters"].tolist() == ["CD8", "CD20, CD3"]
    assert curve["leaves"].tolist() == ["", "CD8"]
    assert curve["score"].tolist() == pytest.approx([0.6, 0.8])
    assert curve["optimistic"].tolist() == [0.9, 0.95]
    assert curve["cost"].tolist() == [2, 3]
    assert "others" not in curve


def test_markers_that_are_known_are_taken_out_of_the_mean(judged):
    """Of four markers one is known with 1: a mean of 0.6 leaves (4 * 0.6 - 1) / 3 for the others."""
    curve = curve_of(judged, PANELS, SEARCH, NAMES, "markers")
    assert curve["others"].tolist() == pytest.approx([(4 * 0.6 - 1) / 3, (4 * 0.8 - 2) / 2])
    whole = curve_of(judged, {1: PANELS[1], 4: PANELS[2]}, SimpleNamespace(sizes=[1, 4]), NAMES, "markers")
    assert np.isnan(whole["others"].iloc[1])


def test_a_model_stands_beside_regression_on_the_same_patients(judged):
    linear = np.array([[0.4, 0.4], [0.7, 0.9]])
    curve = curve_of(judged, PANELS, SEARCH, NAMES, "label", (linear, linear - 0.1))
    assert curve["linear"].tolist() == pytest.approx([0.4, 0.8])
    assert curve["chosen_by_linear"].tolist() == pytest.approx([0.3, 0.7])
    assert curve["gain_over_linear"].tolist() == pytest.approx([0.2, 0.0])
