"""k-means of few or millions of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    return MiniBatchKMeans(n_clusters, n_init=n_init, batch_size=BATCH, max_iter=rounds, random_state=random_state)
