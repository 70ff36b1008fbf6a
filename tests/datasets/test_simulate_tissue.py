"""Tissue: distances, niches, neighbour preferences, states."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from spatialfm.datasets._simulate_fields import AGGREGATE, STEP, STROMA, TUMOR, VESSEL, draw_fields
from spatialfm.datasets._simulate_options import generator
from spatialfm.datasets._simulate_panel import TYPES
from spatialfm.datasets._simulate_patients import draw_patient
from spatialfm.datasets._simulate_tissue import NEIGHBOR_RADIUS, draw_tissue, pack

T = {name: i for i, name in enumerate(TYPES)}


@pytest.fixture(scope="module")
def tissues():
    """Ten patients, 350 µm each."""
    return [draw_tissue(350.0, draw_patient(i, 11, 8), generator(11, "tissue", i, 0)) for i in range(10)]


def _neighbor_counts(tissue, types, name):
    """Neighbours of a type of each cell."""
    tree = cKDTree(tissue.xy)
    balls = tree.query_ball_point(tissue.xy, NEIGHBOR_RADIUS)
    return np.array([(types[near] == T[name]).sum() - (types[i] == T[name]) for i, near in enumerate(balls)])


def _join_excess(tissues, cell, neighbor, permutations=30):
    """Joins of two types over what permuting types within niches gives: (observed, mean, standard deviation)."""
    rng = np.random.default_rng(0)
    observed, permuted = 0, np.zeros(permutations)
    for tissue, _ in tissues:
        pairs = cKDTree(tissue.xy).query_pairs(NEIGHBOR_RADIUS, output_type="ndarray")

        def joins(types, pairs=pairs):
            a, b = types[pairs[:, 0]], types[pairs[:, 1]]
            return (((a == T[cell]) & (b == T[neighbor])) | ((b == T[cell]) & (a == T[neighbor]))).sum()

        observed += joins(tissue.type)
        movable = tissue.type != T["Endothelial"]  # they line vessels by construction
        for p in range(permutations):
            types = tissue.type.copy()
            for niche in range(4):
                cells = np.flatnonzero((tissue.niche == niche) & movable)
                types[cells] = types[rng.permutation(cells)]
            permuted[p] += joins(types)
    return observed, permuted.mean(), permuted.std()


def test_pack_is_first_come_first_served():
    rng = np.random.default_rng(0)
    xy, spacing = rng.uniform(0, 50, (400, 2)), rng.choice([4.0, 7.0], 400)
    stays = np.zeros(400, bool)
    for i in range(400):  # the plain loop
        kept = np.flatnonzero(stays)
        gap = np.hypot(*(xy[kept] - xy[i]).T)
        stays[i] = (gap >= 0.5 * (spacing[kept] + spacing[i])).all()
    np.testing.assert_array_equal(pack(xy, spacing), stays)


def test_cells_keep_their_distance(tissues):
    for tissue, _ in tissues:
        nearest = cKDTree(tissue.xy).query(tissue.xy, k=2)[0][:, 1]
        assert nearest.min() >= 5.5 - 1e-9
        assert np.median(nearest) < 9


def test_niches_take_the_area_they_are_given():
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    for seed in range(5):
        layout = draw_fields(300.0, shares, np.random.default_rng(seed))
        area = np.bincount(layout.niche.ravel(), minlength=4) / layout.niche.size
        np.testing.assert_allclose(area[[TUMOR, AGGREGATE]], shares[[TUMOR, AGGREGATE]], atol=0.005)
        assert abs(area[VESSEL] - shares[VESSEL]) < 0.05  # a wall has a least thickness
        assert abs(area[STROMA] - shares[STROMA]) < 0.05


def test_depth_is_the_distance_to_the_border():
    layout = draw_fields(200.0, np.array([0.4, 0.3, 0.2, 0.1]), np.random.default_rng(1))
    inside = layout.niche == TUMOR
    assert (layout.tumor_depth[inside] > 0).all()
    assert (layout.tumor_depth[~inside] < 0).all()
    centre = (np.argwhere(np.ones_like(inside)) + 0.5) * STEP
    gap = cKDTree(centre[inside.ravel()]).query(centre[~inside.ravel()])[0]
    np.testing.assert_allclose(-layout.tumor_depth[~inside], gap - STEP / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "neighbor"),
    [("Treg", "CD8 T"), ("Dendritic", "CD4 T"), ("Neutrophil", "Neutrophil"), ("B", "B"), ("CD8 T", "CD8 T")],
)
def test_neighbour_preferences(tissues, cell, neighbor):
    observed, mean, sd = _join_excess(tissues, cell, neighbor)
    assert observed > mean + 3.5 * sd
    assert observed > 1.1 * mean


def test_no_preference_no_excess(tissues):
    observed, mean, sd = _join_excess(tissues, "Neutrophil", "B")
    assert observed < mean + 3 * sd


def test_regulatory_cells_sit_near_cd8(tissues):
    treg, others = [], []
    for tissue, _ in tissues:
        counts = _neighbor_counts(tissue, tissue.type, "CD8 T")
        stroma = tissue.niche == STROMA
        treg.append(counts[stroma & (tissue.type == T["Treg"])])
        others.append(counts[stroma & (tissue.type == T["Fibroblast"])])
    assert np.concatenate(treg).mean() > 1.5 * np.concatenate(others).mean()


def test_types_belong_to_their_niches(tissues):
    niche = np.concatenate([tissue.niche for tissue, _ in tissues])
    types = np.concatenate([tissue.type for tissue, _ in tissues])
    home = {"Tumor": TUMOR, "B": AGGREGATE, "Fibroblast": STROMA, "Endothelial": VESSEL}
    for name, index in home.items():
        share = np.array([(types[niche == n] == T[name]).mean() for n in range(4)])
        assert share.argmax() == index or (name == "Fibroblast" and share.argmax() in (STROMA, VESSEL))
        assert share[index] > 0.2


@pytest.mark.parametrize("niche", [TUMOR, STROMA])
def test_macrophages_are_at_the_tumor_border(tissues, niche):
    """Within a niche: that stroma has more of them than tumor would not be a preference for the border."""
    near, far = [], []
    for tissue, layout in tissues:
        depth = np.abs(layout.at(layout.tumor_depth, tissue.xy))
        macrophage, inside = tissue.type == T["Macrophage"], tissue.niche == niche
        near.append(macrophage[inside & (depth < 4)])
        far.append(macrophage[inside & (depth > 10)])
    near, far = np.concatenate(near), np.concatenate(far)
    assert len(far) > 200
    assert near.mean() > 1.4 * far.mean()


def test_b_cells_are_inside_and_t_cells_around(tissues):
    depth, types = [], []
    for tissue, layout in tissues:
        inside = tissue.niche == AGGREGATE
        depth.append(layout.at(layout.aggregate_depth, tissue.xy)[inside])
        types.append(tissue.type[inside])
    depth, types = np.concatenate(depth), np.concatenate(types)
    assert depth[types == T["B"]].mean() > 1.2 * depth[np.isin(types, [T["CD4 T"], T["CD8 T"]])].mean()


def test_endothelial_cells_line_vessels_that_are_open(tissues):
    for tissue, layout in tissues:
        x, y = tissue.xy.T[:, :, None]
        gap = (np.hypot(x - layout.lumen[:, 0], y - layout.lumen[:, 1]) - layout.lumen[:, 2]).min(axis=1)
        assert gap.min() > 0  # no cell in a lumen
        lining = gap < 2.5
        assert lining.any()
        assert (tissue.type[lining] == T["Endothelial"]).mean() > 0.95
        assert np.median(gap[tissue.type == T["Endothelial"]]) < 3


def test_endothelial_cells_run_along_their_vessel(tissues):
    for tissue, _ in tissues[:3]:
        cells = np.flatnonzero((tissue.type == T["Endothelial"]) & (tissue.niche == VESSEL))
        _, near = cKDTree(tissue.xy[cells]).query(tissue.xy[cells], k=2)
        step = tissue.xy[cells[near[:, 1]]] - tissue.xy[cells]
        along = np.arctan2(step[:, 1], step[:, 0])
        # cos of twice the difference: 1 along, -1 across, 0 at random
        assert np.cos(2 * (along - tissue.angle[cells])).mean() > 0.4


def test_fibroblasts_run_around_nests(tissues):
    cosine = []
    for tissue, layout in tissues:
        cells = (tissue.type == T["Fibroblast"]) & (np.abs(layout.at(layout.tumor_depth, tissue.xy)) < 8)
        gradient = layout.at(layout.tumor_gradient, tissue.xy[cells])
        cosine.append(np.cos(2 * (tissue.angle[cells] - np.arctan2(gradient[1], gradient[0]))))
    assert np.concatenate(cosine).mean() < -0.7


def test_states(tissues):
    for tissue, _ in tissues:
        assert (tissue.state > 0).all()
        assert (tissue.state < 1).all()
    state = np.concatenate([tissue.state for tissue, _ in tissues])
    types = np.concatenate([tissue.type for tissue, _ in tissues])
    niche = np.concatenate([tissue.niche for tissue, _ in tissues])
    cd8 = types == T["CD8 T"]
    assert state[cd8 & (niche == TUMOR)].mean() > state[cd8 & (niche == STROMA)].mean() + 0.1
    assert state.std() > 0.1
    assert len(np.unique(state)) == len(state)  # continuous


def test_states_are_alike_among_neighbours(tissues):
    correlations = []
    for tissue, _ in tissues:
        cells = np.flatnonzero(tissue.type == T["Tumor"])
        _, near = cKDTree(tissue.xy[cells]).query(tissue.xy[cells], k=2)
        correlations.append(np.corrcoef(tissue.state[cells], tissue.state[cells[near[:, 1]]])[0, 1])
    assert np.mean(correlations) > 0.3
