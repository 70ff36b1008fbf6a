"""How often types are neighbours, by chance: labels shuffled within areas, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def expected_pairs(
    edges: sparse.spmatrix, codes: np.ndarray, areas: np.ndarray, library_of_area: np.ndarray, n_types: int
) -> np.ndarray:
    """Mean number of neighbours of each pair of types ``(libraries, types, types)`` over all shuffles within areas.

    Parameters
    ----------
    edges
        ``(cells, cells)``, nonzero where the column is a neighbour of the row; no cell is its own.
    codes, areas
        ``(cells,)`` type and area of each; labels are exchanged within an area.
    library_of_area
        ``(areas,)``. Neighbours are of one library.

    Examples
    --------
    Of three cells of one area, two a and one b, each with one neighbour: a third of the neighbours is expected to be a
    of a.

    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> graph = csr_matrix(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    >>> expected_pairs(graph, np.array([0, 0, 1]), np.zeros(3, int), np.zeros(1, int), 2)
    array([[[1., 1.],
            [1., 0.]]])
    """
    edges = edges.tocoo()
    is_edge = edges.data != 0
    n_areas = len(library_of_area)
    between = sparse.coo_array(
        (np.ones(is_edge.sum()), (areas[edges.row[is_edge]], areas[edges.col[is_edge]])), shape=(n_areas, n_areas)
    ).tocsr()
    within = between.diagonal()
    between.setdiag(0)
    sizes = np.bincount(areas * n_types + codes, minlength=n_areas * n_types).reshape(n_areas, n_types).astype(float)
    total = sizes.sum(axis=1, keepdims=True)
    shares = sizes / np.maximum(total, 1)
    around = between @ shares  # neighbours of each type of the cells of an area, those in other areas
    per_pair = within / np.maximum(total * (total - 1), 1)[:, 0]
    n_libraries = int(library_of_area.max(initial=-1)) + 1
    out = np.zeros((n_libraries, n_types, n_types))
    for library in range(n_libraries):
        in_library = library_of_area == library
        own = per_pair[in_library, None] * sizes[in_library]
        out[library] = shares[in_library].T @ around[in_library] + own.T @ sizes[in_library] - np.diag(own.sum(axis=0))
    return out


def blocks(positions: np.ndarray, most: int) -> np.ndarray:
    """Blocks of at most `most` neighbouring points, by halving the longer side at the median ``(points,)``.

    Examples
    --------
    >>> import numpy as np
    >>> blocks(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [8.0, 0.0]]), 2)
    array([0, 0, 1, 1])
    """
    out, number, stack = np.zeros(len(positions), int), 0, [np.arange(len(positions))]
    while stack:
        rows = stack.pop()
        if len(rows) <= most:
            out[rows], number = number, number + 1
            continue
        axis = int(np.argmax(np.ptp(positions[rows], axis=0)))
        order = rows[np.argsort(positions[rows, axis], kind="stable")]
        stack += [order[len(order) // 2 :], order[: len(order) // 2]]
    return out
