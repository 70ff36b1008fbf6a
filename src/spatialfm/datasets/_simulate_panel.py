"""What simulated cells are and what they express: niches, cell types, states, markers.

Every marker is one of the 175 of the KRONOS paper (Table S2), in a spelling that users have in their files.
Expression is relative: 1 is a bright cell of the type that defines the marker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NICHES = ("tumor nest", "stroma", "lymphoid aggregate", "vessel")
TYPES = (
    "Tumor",
    "CD8 T",
    "CD4 T",
    "Treg",
    "B",
    "Macrophage",
    "Dendritic",
    "Neutrophil",
    "Fibroblast",
    "Endothelial",
)
# the continuous state of each type: 0 to 1, one number per cell
STATES = {
    "Tumor": "proliferation",
    "CD8 T": "exhaustion",
    "CD4 T": "exhaustion",
    "Treg": "suppression",
    "B": "proliferation",
    "Macrophage": "polarization",
    "Dendritic": "maturation",
    "Neutrophil": "activation",
    "Fibroblast": "activation",
    "Endothelial": "activation",
}

# marker: compartment, photons a pixel at expression 1, background photons a pixel. The first 12 are the small panel.
MARKERS: dict[str, tuple[str, float, float]] = {
    "DAPI": ("nuclear", 800, 10),
    "CD3": ("membrane", 400, 12),
    "CD8": ("membrane", 450, 12),
    "CD4": ("membrane", 300, 15),
    "FOXP3": ("nuclear", 220, 12),
    "CD20": ("membrane", 500, 10),
    "CD68": ("cytoplasm", 350, 15),
    "Cytokeratin": ("cytoplasm", 700, 8),
    "aSMA": ("cytoplasm", 600, 10),
    "CD31": ("membrane", 500, 12),
    "Ki67": ("nuclear", 450, 8),
    "PD1": ("membrane", 180, 15),
    "CD45": ("membrane", 450, 10),
    "CD45RO": ("membrane", 350, 12),
    "CD45RA": ("membrane", 350, 12),
    "CD11c": ("membrane", 300, 12),
    "CD14": ("membrane", 300, 15),
    "CD15": ("membrane", 450, 10),
    "CD16": ("membrane", 300, 12),
    "CD163": ("membrane", 350, 12),
    "CD206": ("membrane", 300, 12),
    "CD21": ("membrane", 350, 10),
    "CD25": ("membrane", 180, 15),
    "CD34": ("membrane", 450, 10),
    "CD38": ("membrane", 300, 12),
    "CD44": ("membrane", 400, 15),
    "CD69": ("membrane", 200, 12),
    "CTLA4": ("membrane", 160, 15),
    "E-cadherin": ("membrane", 600, 8),
    "EpCAM": ("membrane", 550, 8),
    "Vimentin": ("cytoplasm", 600, 12),
    "GZMB": ("cytoplasm", 300, 10),
    "HLA-DR": ("membrane", 500, 12),
    "ICOS": ("membrane", 170, 15),
    "LAG3": ("membrane", 160, 15),
    "TIM3": ("membrane", 170, 15),
    "PD-L1": ("membrane", 180, 15),
    "MPO": ("cytoplasm", 400, 10),
    "Podoplanin": ("membrane", 350, 10),
    "TCF1": ("nuclear", 250, 12),
}
PANEL_SIZES = (12, 40)

# level at state 0, by type
_LEVEL = {
    "Tumor": "DAPI .9 Cytokeratin 1 Ki67 .04 E-cadherin .9 EpCAM .9 CD44 .3 PD-L1 .1",
    "CD8 T": "DAPI 1 CD3 1 CD8 1 Ki67 .06 PD1 .08 CD45 1 CD45RO .5 CD45RA .3 CD69 .4 CTLA4 .05 GZMB .7 LAG3 .05 "
    "TIM3 .05 TCF1 .6 CD44 .4 Vimentin .25 CTLA4 .05",
    "CD4 T": "DAPI 1 CD3 1 CD4 .9 Ki67 .05 PD1 .12 CD45 1 CD45RO .6 CD45RA .3 CD25 .1 CD69 .2 ICOS .2 TCF1 .6 "
    "CD44 .4 Vimentin .25 CTLA4 .05",
    "Treg": "DAPI 1 CD3 .9 CD4 .8 FOXP3 1 Ki67 .08 PD1 .25 CD45 1 CD45RO .7 CD25 .9 CTLA4 .4 ICOS .5 CD44 .4 "
    "Vimentin .25 TCF1 .2",
    "B": "DAPI 1 CD20 1 Ki67 .04 CD45 1 CD45RA .7 CD21 .5 CD38 .2 HLA-DR .8 CD44 .3 TCF1 .15 Vimentin .2",
    "Macrophage": "DAPI .85 CD68 1 CD4 .2 CD45 .7 CD11c .4 CD14 .8 CD16 .4 CD163 .1 CD206 .05 HLA-DR .8 PD-L1 .3 "
    "TIM3 .15 CD44 .4 Vimentin .5 CD31 .05 CD45RO .2",
    "Dendritic": "DAPI .9 CD68 .2 CD4 .15 CD45 .8 CD11c 1 HLA-DR .7 CD14 .1 PD-L1 .2 Vimentin .4 CD44 .3",
    "Neutrophil": "DAPI 1.1 CD68 .1 CD45 .6 CD15 1 CD16 .7 MPO .7 CD31 .1 CD44 .3 Vimentin .2",
    "Fibroblast": "DAPI .9 aSMA .25 Vimentin 1 CD44 .4 Podoplanin .1 CD34 .08",
    "Endothelial": "DAPI .9 CD31 1 CD34 .9 aSMA .08 Vimentin .8 CD44 .2 HLA-DR .1",
}
# what a state of 1 adds
_LOAD = {
    "Tumor": "Ki67 .9 PD-L1 .2 DAPI .15",
    "CD8 T": "PD1 .95 LAG3 .8 TIM3 .8 CTLA4 .25 GZMB -.5 TCF1 -.5 Ki67 .15",
    "CD4 T": "PD1 .75 LAG3 .3 TIM3 .3 CTLA4 .2 ICOS .3 TCF1 -.3",
    "Treg": "CTLA4 .6 ICOS .4 PD1 .2 FOXP3 .2",
    "B": "Ki67 .85 CD38 .6 CD21 .3",
    "Macrophage": "CD163 .9 CD206 .8 HLA-DR -.4 CD11c -.2 PD-L1 .1",
    "Dendritic": "HLA-DR .4 PD-L1 .4",
    "Neutrophil": "MPO .5 PD-L1 .15",
    "Fibroblast": "aSMA .8 Podoplanin .5",
    "Endothelial": "HLA-DR .3 CD34 -.2 Ki67 .1",
}
SPREAD_LIMIT = 2.5  # standard deviations after which random gains are cut


@dataclass(frozen=True)
class SimulatedPanel:
    """Markers of one panel.

    Attributes
    ----------
    names, compartments
        ``M`` marker names; ``"nuclear"``, ``"membrane"`` or ``"cytoplasm"``.
    photons, background
        ``(M,)`` photons a pixel at expression 1, and of the background.
    level, load
        ``(T, M)`` expression of a type at state 0, and what a state of 1 adds.
    """

    names: tuple[str, ...]
    compartments: tuple[str, ...]
    photons: np.ndarray
    background: np.ndarray
    level: np.ndarray
    load: np.ndarray


def panel(n_markers: int) -> SimulatedPanel:
    """The panel of 12 or 40 markers; the small one is the head of the large one."""
    names = tuple(MARKERS)[:n_markers]
    rows = [MARKERS[name] for name in names]
    return SimulatedPanel(
        names,
        tuple(row[0] for row in rows),
        np.array([row[1] for row in rows], float),
        np.array([row[2] for row in rows], float),
        _matrix(_LEVEL)[:, :n_markers],
        _matrix(_LOAD)[:, :n_markers],
    )


def _matrix(levels: dict[str, str]) -> np.ndarray:
    columns = {name: i for i, name in enumerate(MARKERS)}
    out = np.zeros((len(TYPES), len(MARKERS)))
    for row, name in enumerate(TYPES):
        words = levels[name].split()
        for marker, value in zip(words[::2], words[1::2], strict=True):
            out[row, columns[marker]] = float(value)
    return out
