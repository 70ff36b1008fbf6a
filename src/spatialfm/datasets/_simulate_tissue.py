"""Cells of a simulated sample: where they sit, of what type and state they are, and how they are built."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from ._simulate_crowding import INDIVIDUAL, made_rare, size_field
from ._simulate_difficulty import Biology
from ._simulate_fields import AGGREGATE, STEP, TUMOR, VESSEL, NicheFields, draw_fields, smooth_noise
from ._simulate_panel import TYPES
from ._simulate_patients import Patient, niche_shares

_SPACING = np.array([7.0, 6.8, 5.5, 6.4])  # µm, hard core between cells of a niche
_TRIES = 3.0  # candidates a cell that is kept: packs close to jamming
_SWEEPS = 3
NEIGHBOR_RADIUS = 14.0  # µm within which cells see their neighbours' types

_T = {name: i for i, name in enumerate(TYPES)}
# share of each type in each niche (rows: NICHES; columns: TYPES), before preferences
_SHARE = np.array(
    [
        # Tumor CD8  CD4   Treg  B     Mac   DC    Neu   Fib   Endo
        [0.86, 0.060, 0.02, 0.010, 0.002, 0.025, 0.008, 0.010, 0.004, 0.001],
        [0.008, 0.10, 0.08, 0.030, 0.012, 0.075, 0.020, 0.030, 0.64, 0.005],
        [0.002, 0.12, 0.23, 0.045, 0.52, 0.020, 0.045, 0.004, 0.015, 0.001],
        [0.006, 0.08, 0.07, 0.015, 0.015, 0.070, 0.015, 0.050, 0.66, 0.02],
    ]
)
# log-odds that a cell gains per unit share of a type among its neighbours: (neighbour, cell) -> strength
PREFERENCES = {
    ("CD8 T", "Treg"): 5.0,
    ("CD4 T", "Dendritic"): 5.0,
    ("Neutrophil", "Neutrophil"): 5.0,
    ("Macrophage", "Macrophage"): 1.5,
    ("B", "B"): 1.5,
    ("CD8 T", "CD8 T"): 2.5,
    ("Fibroblast", "Fibroblast"): 0.8,
}
# semi-axes in µm, and how lobed the outline is
_AXES = np.array(
    [
        [5.6, 5.0, 0.05],
        [3.9, 3.6, 0.05],
        [3.9, 3.6, 0.05],
        [4.0, 3.7, 0.05],
        [3.9, 3.7, 0.04],
        [5.9, 4.8, 0.15],
        [6.2, 4.2, 0.25],
        [4.5, 4.2, 0.08],
        [9.5, 2.4, 0.05],
        [5.6, 1.7, 0.04],
    ]
)
_STATE_CENTRE = np.array([-1.1, -0.5, -0.8, 0.0, -1.0, 0.0, -0.3, 0.0, 0.0, -0.5])


@dataclass(frozen=True)
class Tissue:
    """Cells of one sample.

    Attributes
    ----------
    xy
        ``(n, 2)`` centres in µm.
    niche, type, state
        ``(n,)`` indices into NICHES and TYPES; state from 0 to 1.
    axes, angle, lobes, phase
        ``(n, 2)`` semi-axes in µm, orientation of the longer one, depth and phase of the lobes of the outline.
    """

    xy: np.ndarray
    niche: np.ndarray
    type: np.ndarray
    state: np.ndarray
    axes: np.ndarray
    angle: np.ndarray
    lobes: np.ndarray
    phase: np.ndarray

    def keep(self, cells: np.ndarray) -> Tissue:
        """Only some cells."""
        return Tissue(*(getattr(self, field.name)[cells] for field in fields(self)))


def draw_tissue(
    side: float,
    patient: Patient,
    rng: np.random.Generator,
    biology: Biology = Biology(),  # noqa: B008  frozen
    size_rng: np.random.Generator | None = None,
) -> tuple[Tissue, NicheFields]:
    """Grow a square of `side` µm of a patient's tissue: its cells, and their niches.

    `size_rng` draws where cells are large, for tissue whose cells differ in size by more than from cell to cell.
    """
    layout = draw_fields(side, niche_shares(patient, rng), rng)
    room = size_field(layout, biology.cell_size_spread, size_rng) if size_rng is not None else None
    xy, wall_angle = _place(layout, side, rng, room)
    niche = layout.at(layout.niche, xy).astype(np.int64)
    on_wall = np.isfinite(wall_angle)
    niche[on_wall] = VESSEL
    types = _draw_types(layout, xy, niche, on_wall, patient, rng, biology.rare_share)
    state = _draw_states(layout, side, xy, niche, types, patient, rng)
    angle = _orientation(layout, xy, types, wall_angle, rng)
    size = np.exp(np.clip(INDIVIDUAL * rng.standard_normal(len(xy)), -0.2, 0.2))
    if room is not None:
        size *= layout.at(room, xy)
    axes = _AXES[types, :2] * size[:, None]
    phase = rng.uniform(0, 2 * np.pi, len(xy))
    return Tissue(xy, niche, types, state, axes, angle, _AXES[types, 2], phase), layout


def pack(xy: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Which points of a queue stay when each keeps its distance from those before it.

    Parameters
    ----------
    xy
        ``(n, 2)`` candidates, first come first served.
    spacing
        ``(n,)``; two points need the mean of theirs between them.

    Returns
    -------
    Boolean mask ``(n,)``.

    Notes
    -----
    Random sequential adsorption, done in rounds: a candidate whose every rival comes later stays, its rivals go.
    """
    n = len(xy)
    pairs = cKDTree(xy).query_pairs(float(spacing.max()), output_type="ndarray")
    first, second = pairs.T  # query_pairs gives the earlier one first
    apart = xy[first] - xy[second]
    close = apart[:, 0] ** 2 + apart[:, 1] ** 2 < (0.5 * (spacing[first] + spacing[second])) ** 2
    first, second = first[close], second[close]
    stays, alive = np.zeros(n, bool), np.ones(n, bool)
    while alive.any():
        has_earlier = np.zeros(n, bool)
        has_earlier[second] = True
        stays |= alive & ~has_earlier
        gone = np.zeros(n, bool)
        gone[second[stays[first]]] = True
        alive &= ~stays & ~gone
        open_ = alive[first] & alive[second]
        first, second = first[open_], second[open_]
    return stays


def _place(
    layout: NicheFields, side: float, rng: np.random.Generator, room: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Centres ``(n, 2)``, and the angle of the vessel for those that line one (NaN for the others)."""
    densest = _SPACING.min() * (1 if room is None else float(room.min()))
    xy = rng.uniform(0, side, (int(_TRIES * 0.7 * side**2 / densest**2), 2))
    niche = layout.at(layout.niche, xy)
    wanted = _SPACING[niche] if room is None else _SPACING[niche] * layout.at(room, xy)
    xy = xy[rng.random(len(xy)) < (densest / wanted) ** 2]
    near = np.flatnonzero(layout.at(layout.to_wall, xy) < 3.0 + 2 * STEP)
    distance, nearest = cKDTree(layout.lumen[:, :2]).query(xy[near])
    taken = near[distance < layout.lumen[nearest, 2] + 3.0]  # lumen and wall belong to the vessel
    xy = np.delete(xy, taken, axis=0)
    wall = layout.wall
    queue = np.concatenate([wall[:, :2], xy])
    angle = np.concatenate([wall[:, 2], np.full(len(xy), np.nan)])
    spacing = _SPACING[layout.at(layout.niche, queue)]
    if room is not None:
        spacing = spacing * layout.at(room, queue)
    spacing[: len(wall)] = 5.5  # thin cells, end to end
    stays = pack(queue, spacing)
    return queue[stays], angle[stays]


def _draw_types(
    layout, xy, niche, on_wall, patient: Patient, rng: np.random.Generator, rare_share: float | None
) -> np.ndarray:
    """Types from niche, place within it, patient, and the types of neighbours (a few sweeps of Gibbs sampling)."""
    field = np.log(_SHARE)[niche] + patient.type_shift
    tumor_depth, aggregate_depth = layout.at(layout.tumor_depth, xy), layout.at(layout.aggregate_depth, xy)
    field[:, _T["Macrophage"]] += 1.3 * np.exp(-np.abs(tumor_depth) / 6)  # the tumor border
    for name in ("CD8 T", "CD4 T", "Treg"):
        field[:, _T[name]] -= np.clip(tumor_depth, 0, 30) / 15  # few lymphocytes reach the core of a nest
    # B cells in the middle of an aggregate, T cells around them
    middle = np.where(niche == AGGREGATE, np.clip(aggregate_depth, 0, 20) / 10 - 0.6, 0.0)
    field[:, _T["B"]] += middle
    field[:, _T["CD4 T"]] -= 0.8 * middle
    field[:, _T["CD8 T"]] -= 0.8 * middle
    field[on_wall] = -50.0
    field[on_wall, _T["Endothelial"]] = 0.0

    n = len(xy)
    pairs = cKDTree(xy).query_pairs(NEIGHBOR_RADIUS, output_type="ndarray")
    rows, columns = np.concatenate([pairs, pairs[:, ::-1]]).T
    graph = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(n, n))
    degree = np.maximum(np.bincount(rows, minlength=n), 1)[:, None]
    strength = np.zeros((len(TYPES), len(TYPES)))
    for (neighbor, cell), value in PREFERENCES.items():
        strength[_T[neighbor], _T[cell]] = value
    types = _categorical(made_rare(field, rare_share, patient.type_shift), rng)
    for _ in range(_SWEEPS):
        half = rng.random(n) < 0.5
        for turn in (half, ~half):  # neighbours that change together would chase each other
            around = (graph @ np.eye(len(TYPES), dtype=np.float32)[types])[turn] / degree[turn]
            logits = made_rare(field[turn] + around @ strength, rare_share, patient.type_shift)
            types[turn] = _categorical(logits, rng)
    return types


def _draw_states(layout, side, xy, niche, types, patient: Patient, rng: np.random.Generator) -> np.ndarray:
    """States from 0 to 1: the type's and the patient's, alike among neighbours, with exhausted T cells in tumor."""
    g = layout.niche.shape[0]
    logit = _STATE_CENTRE[types] + patient.state_shift[types]
    logit += 0.9 * layout.at(smooth_noise((g, g), 6.0, rng), xy) + 0.7 * rng.standard_normal(len(xy))
    logit += np.where(np.isin(types, [_T["CD8 T"], _T["CD4 T"]]) & (niche == TUMOR), 1.2, 0.0)
    # germinal centres: B cells divide in the middle of an aggregate
    logit += np.where(types == _T["B"], np.clip(layout.at(layout.aggregate_depth, xy), -5, 15) / 8, 0.0)
    return 1 / (1 + np.exp(-logit))


def _orientation(layout, xy, types, wall_angle, rng: np.random.Generator) -> np.ndarray:
    """Fibroblasts run around tumor nests, endothelial cells along their vessel, all others anyhow."""
    angle = rng.uniform(0, np.pi, len(xy))
    gradient = layout.at(layout.tumor_gradient, xy)
    along = np.arctan2(gradient[1], gradient[0]) + np.pi / 2 + 0.25 * rng.standard_normal(len(xy))
    angle = np.where(types == _T["Fibroblast"], along, angle)
    return np.where(np.isfinite(wall_angle), wall_angle, angle)


def _categorical(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One draw a row (Gumbel-max)."""
    return np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
