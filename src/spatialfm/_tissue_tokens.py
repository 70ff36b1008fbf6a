"""What models of cells in context and those who feed them agree on: types of tokens, and numbers with a meaning.

As SToFM was published (Zhao et al. 2025, arXiv:2507.11588).
"""

from __future__ import annotations

CELL, FIRST, VIRTUAL, PADDING = 0, 1, 2, 3  # types of tokens
FAR = 100.0  # the distance of two cells that are not neighbours: it is not known
HIDDEN = -100.0  # every entry of a cell that is masked; what is not to be predicted
