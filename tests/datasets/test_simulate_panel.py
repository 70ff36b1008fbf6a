"""The panels of simulated cohorts: what a type expresses at each state; the small one is the large one's head."""

from __future__ import annotations

import numpy as np
import pytest

from spatialfm.datasets._simulate_panel import MARKERS, PANEL_SIZES, STATES, TYPES, panel
from spatialfm.pp import match_markers

LARGE = panel(40)
# what defines a type in immunology
LINEAGES = {
    "Cytokeratin": "Tumor", "CD8": "CD8 T", "CD4": "CD4 T", "FOXP3": "Treg", "CD20": "B", "CD68": "Macrophage",
    "CD11c": "Dendritic", "CD15": "Neutrophil", "Vimentin": "Fibroblast", "CD31": "Endothelial",
}  # fmt: skip


def value(of, name, marker):
    return of[TYPES.index(name), LARGE.names.index(marker)]


def test_the_small_panel_is_the_head_of_the_large_one():
    small = panel(12)
    assert PANEL_SIZES == (12, len(MARKERS))
    assert small.names == LARGE.names[:12]
    assert small.compartments == LARGE.compartments[:12]
    for name in ("photons", "background"):
        assert getattr(small, name).tolist() == getattr(LARGE, name)[:12].tolist()
    for name in ("level", "load"):
        assert getattr(small, name).shape == (len(TYPES), 12)
        np.testing.assert_array_equal(getattr(small, name), getattr(LARGE, name)[:, :12])


def test_light_and_background_are_not_swapped():
    assert dict(zip(LARGE.names, LARGE.photons, strict=True))["CD8"] == 450
    assert dict(zip(LARGE.names, LARGE.background, strict=True))["CD8"] == 12
    assert (LARGE.photons > 5 * LARGE.background).all()
    assert set(LARGE.compartments) == {"nuclear", "membrane", "cytoplasm"}


@pytest.mark.parametrize(("marker", "name"), LINEAGES.items())
def test_a_marker_of_a_lineage_is_brightest_in_it(marker, name):
    column = LARGE.level[:, LARGE.names.index(marker)]
    assert TYPES[int(column.argmax())] == name
    assert (np.sort(column)[:-1] < column.max()).all()


def test_states_change_what_they_are_named_after():
    assert set(STATES) == set(TYPES)
    told = {"Tumor": "Ki67", "B": "Ki67", "CD8 T": "PD1", "Treg": "CTLA4", "Macrophage": "CD163", "Fibroblast": "aSMA"}
    for name, marker in told.items():
        load = LARGE.load[TYPES.index(name)]
        assert LARGE.names[int(load.argmax())] == marker
        assert load.max() >= 0.6
    assert value(LARGE.load, "CD8 T", "GZMB") < 0  # an exhausted cell kills less


def test_no_state_takes_more_than_there_is():
    assert (LARGE.level >= 0).all()
    assert (LARGE.level + LARGE.load >= 0).all()
    assert value(LARGE.level, "Fibroblast", "CD3") == 0


def test_names_are_those_of_proteins_that_users_have():
    assert set(match_markers(list(LARGE.names))["status"]) == {"exact"}
