"""k-means of few or millions of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.cluster import KMeans, MiniBatchKMeans

MINI_BATCH_FROM = 200_000  # cells from which k-means goes through random parts of them
BATCH = 10_240  # cells of a part; small parts cost more in being handed around than in being compared
MOST_PARTS = 200  # so many show the centres; without a bound, 2 million cells may take 10 times as long as 1 million


def k_means(n_clusters: int, n_cells: int, n_init: int, random_state: int) -> KMeans | MiniBatchKMeans:
    """scikit-learn's k-means, by random parts of the cells where there are many (Sculley 2010)."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if n_cells <= MINI_BATCH_FROM:
        return KMeans(n_clusters, n_init=n_init, random_state=random_state)
    rounds = max(1, MOST_PARTS * BATCH // n_cells)
    draws = Draws(random_state)
    return MiniBatchKMeans(n_clusters, n_init=n_init, batch_size=BATCH, max_iter=rounds, random_state=draws)


class Draws(np.random.RandomState):
    """The draws of numpy, to the last one; weights that are asked for again and again are added up once.

    scikit-learn draws each part by the weights of all cells. Of 2 million, adding them up took most of its time.
    """

    _weights: np.ndarray | None = None

    def choice(self, a: Any, size: Any = None, replace: bool = True, p: Any = None) -> Any:
        """As of numpy; with weights by their sums, which are kept."""
        if not (replace and isinstance(p, np.ndarray) and isinstance(a, int | np.integer)):
            return super().choice(a, size, replace, p)
        if p is not self._weights:
            sums = np.cumsum(p, dtype=np.float64)
            self._weights, self._sums = p, sums / sums[-1]
        return self._sums.searchsorted(self.random_sample(size), side="right")
