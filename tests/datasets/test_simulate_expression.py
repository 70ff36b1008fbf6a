"""Expression: what types share, cells between types, and how expression spreads within a type."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import spatialfm as sfm
from spatialfm.datasets._simulate_difficulty import Biology
from spatialfm.datasets._simulate_expression import RELATED, TELLING, draw_mixture, expression, shared
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_panel import MARKERS, TYPES, panel

T = {name: i for i, name in enumerate(TYPES)}
M = {name: i for i, name in enumerate(MARKERS)}
GAIN = np.ones(len(MARKERS))


def streams(stream):
    return generator(0, stream, 0, 0)


def expressed(n=20_000, kind="CD8 T", **numbers):
    types = np.full(n, T[kind])
    biology = Biology(**{"expression_spread": 0.0, "nonspecific": 0.0} | numbers)
    return expression(types, np.zeros(n), GAIN, streams("expression"), 40, biology, streams)


def test_related_types_are_types_and_telling_markers_are_markers():
    assert set(RELATED) == set(TYPES)
    assert all(set(others) < set(TYPES) - {own} for own, others in RELATED.items())
    assert set(TELLING) < set(MARKERS)


def test_without_any_spread_a_cell_is_its_type():
    level, mixture = expressed(3)
    np.testing.assert_allclose(level, np.tile(panel(40).level[T["CD8 T"]], (3, 1)), rtol=1e-6)
    assert mixture is None
    level, _ = expressed(3, nonspecific=0.1)
    np.testing.assert_allclose(level, np.tile(panel(40).level[T["CD8 T"]] + 0.1, (3, 1)), rtol=1e-6)


def test_related_types_share_a_part_of_their_markers():
    level = panel(40).level
    half = shared(level, 0.5)
    assert half[T["CD8 T"], M["CD4"]] == 0.5 * level[T["CD4 T"], M["CD4"]]
    assert half[T["Macrophage"], M["CD15"]] == 0.5 * level[T["Neutrophil"], M["CD15"]]
    assert half[T["Tumor"], M["CD3"]] == level[T["Tumor"], M["CD3"]] == 0  # not related to T cells
    assert (half >= level).all()  # nothing is lost
    np.testing.assert_array_equal(shared(level, 0.0), level)


def test_cells_between_types_are_their_sum():
    types = np.repeat(np.arange(len(TYPES)), 2000)
    mixture = draw_mixture(types, 0.3, np.random.default_rng(0))
    assert mixture.share.max() <= 0.5
    assert (mixture.share > 0).mean() == pytest.approx(0.3, abs=0.015)
    assert mixture.share[mixture.share > 0].mean() == pytest.approx(0.25, abs=0.01)
    assert all(TYPES[o] in RELATED[TYPES[t]] for t, o in zip(types, mixture.other, strict=True))
    level, found = expressed(5000, "Dendritic", continuum=0.5)
    share = found.share[:, None]
    expected = (1 - share) * panel(40).level[T["Dendritic"]] + share * panel(40).level[T["Macrophage"]]
    np.testing.assert_allclose(level, expected, rtol=1e-5)


def test_logs_spread_as_they_were_told():
    logs = np.log(expressed(expression_spread=0.5)[0][:, M["CD3"]])
    # a normal cut at 2.5 standard deviations, whose ends lie at the cut
    cut = 2.5
    tails = 2 * stats.norm.sf(cut)
    variance = 1 - tails - 2 * cut * stats.norm.pdf(cut) + cut**2 * tails
    assert logs.std() == pytest.approx(0.5 * np.sqrt(variance), rel=0.02)


def test_tails_are_those_of_students_t():
    plain, heavy = (
        np.log(expressed(expression_spread=0.3, expression_tail=tail)[0][:, M["CD3"]]) for tail in (0.0, 0.25)
    )
    for share in (0.9, 0.97):
        assert np.quantile(heavy, share) == pytest.approx(0.3 * stats.t.ppf(share, 4), rel=0.06)
    assert stats.kurtosis(heavy) > 2 > 0.5 > stats.kurtosis(plain)


def test_a_section_dims_all_markers_of_a_cell_alike():
    level, _ = expressed(5000, section_spread=0.4)
    logs = np.log(level[:, [M["DAPI"], M["CD3"], M["CD8"]]] / panel(40).level[T["CD8 T"], [0, 1, 2]])
    np.testing.assert_allclose(logs - logs[:, :1], 0, atol=1e-5)
    assert logs[:, 0].std() == pytest.approx(0.4, rel=0.04)


def test_the_truth_says_what_a_cell_is_between():
    sdata = sfm.datasets.simulate_cohort(
        2, n_samples=1, image_size=96, difficulty="real", expression_spread=0, expression_tail=0, section_spread=0,
        continuum=0.6, nonspecific=0.05, marker_sharing=0.2,
    )  # fmt: skip
    truth = sdata["truth"]
    between = truth.obs["other_share"] > 0
    assert 0.3 < between.mean() < 0.8
    own, other = (truth.obs[name].cat.codes.to_numpy() for name in ("type", "other_type"))
    assert (own != other).all()
    assert list(truth.obs["other_type"].cat.categories) == list(TYPES)
    share = truth.obs["other_share"].to_numpy()
    markers = panel(12)
    base, state = shared(markers.level, 0.2), truth.obs["state"].to_numpy()[:, None]
    parts = [np.clip(base[kind] + state * markers.load[kind], 0, None) for kind in (own, other)]
    level = (1 - share[:, None]) * parts[0] + share[:, None] * parts[1] + 0.05
    ratio = np.asarray(truth.X) / level  # the factor of each patient and marker
    for patient in ("P001", "P002"):
        mine = ratio[(truth.obs["patient"] == patient).to_numpy()]
        np.testing.assert_allclose(mine, np.tile(mine[0], (len(mine), 1)), rtol=1e-5)
    easy = sfm.datasets.simulate_cohort(1, n_samples=1, image_size=64, difficulty="easy")
    assert "other_type" not in easy["truth"].obs
