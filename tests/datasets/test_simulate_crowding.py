"""Sizes of cells by place, and types that are rare."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.datasets._simulate_crowding import INDIVIDUAL, RARE, made_rare, size_field
from spatialfm.datasets._simulate_difficulty import Biology
from spatialfm.datasets._simulate_fields import draw_fields
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_panel import TYPES
from spatialfm.datasets._simulate_patients import draw_patient
from spatialfm.datasets._simulate_tissue import draw_tissue


def softmax(field):
    odds = np.exp(field - field.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def test_rare_types_get_their_share_and_no_more():
    rng = np.random.default_rng(0)
    field = rng.normal(0, 0.5, (4000, len(TYPES)))
    shift = np.zeros(len(TYPES))
    share = softmax(made_rare(field, 0.002, shift)).mean(axis=0)
    for name, times in RARE.items():
        assert share[TYPES.index(name)] == pytest.approx(0.002 * times, rel=0.03)
    shift[TYPES.index("Treg")] = np.log(3)  # a patient with many of them
    more = softmax(made_rare(field, 0.002, shift)).mean(axis=0)
    assert more[TYPES.index("Treg")] == pytest.approx(3 * share[TYPES.index("Treg")], rel=0.1)
    np.testing.assert_array_equal(made_rare(field, None, shift), field)
    np.testing.assert_allclose(made_rare(field, 0.2, np.zeros(len(TYPES))), field)  # they have about 0.1 already


@pytest.mark.parametrize("spread", [0.09, 0.3])
def test_logs_of_sizes_have_the_spread_that_was_asked_for(spread):
    layout = draw_fields(700.0, np.array([0.4, 0.4, 0.1, 0.1]), np.random.default_rng(0))
    room = size_field(layout, spread, np.random.default_rng(1))
    if spread == INDIVIDUAL:
        assert room is None
        return
    total = np.sqrt(np.log(room).std() ** 2 + INDIVIDUAL**2)
    assert total == pytest.approx(spread, rel=0.1)  # cut at two standard deviations
    near = np.corrcoef(room[:, :-2].ravel(), room[:, 2:].ravel())[0, 1]
    assert near > 0.9  # neighbours are alike


def test_large_cells_have_the_room_that_they_need():
    patient = draw_patient(0, 0, 8)
    tissue, layout = draw_tissue(
        300.0, patient, generator(0, "tissue", 0, 0), Biology(cell_size_spread=0.35), generator(0, "size", 0, 0)
    )
    room = layout.at(size_field(layout, 0.35, generator(0, "size", 0, 0)), tissue.xy)
    lymphocytes = np.isin(tissue.type, [TYPES.index(name) for name in ("CD8 T", "CD4 T", "B")])
    assert np.corrcoef(np.log(room[lymphocytes]), np.log(tissue.axes[lymphocytes, 0]))[0, 1] > 0.9
    field = size_field(layout, 0.35, generator(0, "size", 0, 0))
    density, area = ([(sizes > 1.3).sum(), (sizes < 0.75).sum()] for sizes in (room, field))
    assert density[1] / area[1] > 2 * density[0] / area[0]


def test_a_real_cohort_has_rare_types_and_cells_from_small_to_large():
    sdata = sfm.datasets.simulate_cohort(
        2, n_samples=1, image_size=320, mpp=1.0, n_markers=12, difficulty="real", detector="ions"
    )
    share = sdata["truth"].obs["type"].value_counts(normalize=True)
    assert 0.0005 < share["Dendritic"] < 0.006
    assert share["Treg"] < 0.03
    for sample in sdata["samples"].obs_names:
        area = np.bincount(sdata[f"true_cells_{sample}"].values.ravel())[1:]
        diameter = 2 * np.sqrt(area / np.pi)
        assert np.quantile(diameter, 0.02) < 5.5
        assert diameter.max() > 17
