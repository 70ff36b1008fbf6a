"""Leiden clustering at many resolutions of one graph, and how stable each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_obsm, write_uns
from ...cohort.batches import STANDARDIZE, of_cells, tell_batches
from ...cohort.checks import by_name, check_anndata
from ...cohort.circular import remember_groups
from ...cohort.depth import tell_dominant
from ...cohort.replaced import remove_earlier
from ...cohort.representation import prepared
from ...cohort.sketch import BLOCK, N_VOTES, SKETCH_FROM, Nearest, Size, Sketch, drawn_evenly, groups_of, sketch_size
from ...learn.leiden import leiden, neighbour_graph, resolution_profile, widest_middles

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

PROFILE = (0.1, 2.0)  # resolutions between which leidenalg looks
N_RANGES = 8  # widest ranges of a profile that are clustered


@public
def leiden_sweep(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    resolutions: Sequence[float] | Literal["profile"] = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0),
    n_neighbors: int = 15,
    neighbors_key: str | None = None,
    n_subsamples: int = 5,
    share: float = 0.8,
    sketch: int | Literal["auto"] | None = "auto",
    n_jobs: int = 1,
    random_state: int = 0,
    key_added: str = "leiden_sweep",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Cluster one graph at a range of resolutions, and report which clusterings are stable.

    Stability of a resolution is the mean adjusted Rand index between its clusters and those of random subsets of the
    cells (clustered again on their part of the graph), on the cells that both have: a clustering that falls apart when
    a fifth of the cells is missing should not be interpreted. The suggestion is the finest resolution among those whose
    stability is within one standard error of the best, as in the one-standard-error rule.

    Parameters
    ----------
    adata
        Cells.
    use_rep
        Key of ``obsm`` or ``"X"`` to make the graph from. Default: scanpy's graph in ``obsp``, if there is one.
    resolutions
        Resolutions, in any order; for a range write ``numpy.arange(4, 5.01, 0.05)``. ``"profile"``: leidenalg looks for
        the ranges between 0.1 and 2 over which the number of clusters stays (Traag, Krings and Van Dooren, Scientific
        Reports 2013), and the middles of the eight widest are taken. That costs some 60 clusterings more: minutes where
        there are tens of thousands of cells.
    n_neighbors
        Of the graph, where it is made here.
    neighbors_key
        Graph of `scanpy.pp.neighbors` in ``uns`` to take (default ``"neighbors"``), without `use_rep`.
    n_subsamples
        Number of subsets; with 0 there is no stability, and no suggestion.
    share
        Share of the cells in each subset.
    sketch
        Cells that are clustered where there are more, drawn evenly of patients (without the usual column: of samples),
        as the graph of millions takes hours; ``"auto"``: 50,000 of more than 200,000, None: all. The other cells take
        the cluster of most of their 15 nearest sketched ones, subsets are of the sketch, and a second sketch of other
        cells is clustered to measure the cost. Clusters of a few dozen sketched cells are easily missed. A graph
        that is there is clustered whole.
    n_jobs
        Processes; -1 for all cores.
    random_state
        Seed.
    key_added
        Key that is written.
    copy
        Return the clusters of all resolutions alone, a table of cells. The table of resolutions, the tree and the
        suggestion are only written.

    Returns
    -------
    None, or with `copy` the clusters, cells by resolutions. Written: ``obsm[key_added]`` (that table, clusters numbered
    from the largest), ``obs[key_added]`` (the clusters of the suggested resolution), ``uns[key_added]`` with
    ``table`` (one row per resolution: ``n_clusters``, ``ari_next`` with the next finer one, ``stability``, its standard
    error ``stability_se``), ``edges`` (the cluster tree: ``from``, ``to``, ``n`` cells, ``share`` of the finer cluster
    that comes from the coarser), ``suggested``, ``reason``, ``params``. Of a sketch also ``sketch``, a row a
    resolution: ``own_cluster`` (share of sketched cells that are given their own cluster by their neighbours) and
    ``ari_sketches`` (adjusted Rand index, on the cells of the second sketch, of the clusters found among them and those
    that they were given). Of a profile also ``profile``, a row per range: ``resolution_from``, ``resolution_to``,
    ``n_clusters``.

    Raises
    ------
    TableError
        If there is neither a graph nor `use_rep`, fewer than 10 cells, or a sketch is asked for without `use_rep`.

    Warns
    -----
    SpatialfmWarning
        If one of three or more patients has more than half of the cells: most clusters will be its own. If a sketch is
        clustered, with its errors.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=150, random_state=0)
    >>> sfm.tl.leiden_sweep(cells, use_rep="X_latent", resolutions=[0.2, 1.0], n_subsamples=2)
    >>> cells.uns["leiden_sweep"]["table"].index.tolist()
    [0.2, 1.0]
    """
    check_anndata(adata, "leiden_sweep", None if copy else key_added)
    wanted = _checked(adata, resolutions, share)
    ordered, place = by_name(adata)  # Leiden goes through rows, and subsets are drawn, by their place
    drawn = _drawn(ordered, use_rep, sketch, random_state)
    tell_dominant(adata if drawn is None else ordered[drawn.rows])

    plan = SweepPlan(wanted, n_neighbors, share, n_subsamples, n_jobs, random_state)
    if drawn is None:
        graph, how = _graph(ordered, use_rep, n_neighbors, neighbors_key, random_state)
        sweep = whole_sweep(graph, plan)
    else:
        values, how = prepared(ordered, use_rep)
        sweep = sketched_sweep(values, drawn, plan)
        _tell(drawn, adata.n_obs, sweep.errors)
    sweep = replace(sweep, codes=[codes[place] for codes in sweep.codes])
    clusters = sweep.clusters(adata.obs_names)
    for name in clusters:
        where = f"obsm/{key_added}:{name}"
        remember_groups(adata, "leiden_sweep", use_rep, clusters[name], not copy, where, neighbors_key)
    record = _record(sweep, drawn)
    chosen = clusters[f"{record['suggested']:g}"]
    tell_batches(f"Clusters at resolution {record['suggested']:g}", *of_cells(adata, chosen), STANDARDIZE)
    if copy:
        return clusters

    record["params"] |= {"use_rep": use_rep or "", DATA: fingerprint(adata, obsm=[use_rep]), "preparation": how}
    record["params"] |= {"n_neighbors": n_neighbors, "n_subsamples": n_subsamples, "share": share}
    record["params"] |= {"random_state": random_state}
    logger.info("resolution %g: %s", record["suggested"], record["reason"])
    remove_earlier(adata, key_added, chosen)
    write_obsm(adata, key_added, pd.DataFrame(dict(zip(clusters, sweep.codes, strict=True)), index=adata.obs_names))
    adata.obs[key_added] = chosen
    remember_groups(adata, "leiden_sweep", use_rep, adata.obs[key_added], True, None, neighbors_key)
    write_uns(adata, key_added, record)
    return None


@dataclass(frozen=True)
class SweepPlan:
    """What is clustered how often."""

    resolutions: np.ndarray | None  # None: those of the profile
    n_neighbors: int
    share: float
    n_subsamples: int
    n_jobs: int
    random_state: int


@dataclass(frozen=True)
class Sweep:
    """Clusters of the cells at each resolution."""

    resolutions: np.ndarray  # (m,) rising
    codes: Sequence[np.ndarray]  # m times (cells,), numbered from the largest
    stability: np.ndarray  # (m, subsets)
    profile: pd.DataFrame | None
    errors: pd.DataFrame | None = None  # of a sketch

    @property
    def names(self) -> list[str]:
        """Resolutions as columns are called."""
        return [f"{resolution:g}" for resolution in self.resolutions]

    def clusters(self, index: pd.Index) -> pd.DataFrame:
        """A categorical column a resolution."""
        columns = {
            name: pd.Categorical.from_codes(column, [str(i) for i in range(column.max() + 1)])
            for name, column in zip(self.names, self.codes, strict=True)
        }
        return pd.DataFrame(columns, index=index)


def _checked(adata: AnnData, resolutions: Sequence[float] | str, share: float) -> np.ndarray | None:
    """Resolutions rising, each once; None for those of the profile."""
    if adata.n_obs < 10:
        raise TableError(f"{counted(adata.n_obs, 'cell is', 'cells are')} too few to cluster; pass 10 or more.")
    if share == 1:
        raise TableError("share=1 compares clusters with themselves. Pass a share below 1, for example 0.8.")
    if isinstance(resolutions, str):
        return None
    levels = np.unique(np.round(np.asarray(resolutions, dtype=float), 6))
    if not len(levels) or levels.min() <= 0:
        raise TableError(f"resolutions={list(levels)} must be positive numbers.")
    return levels


def _record(sweep: Sweep, drawn: Sketch | None) -> dict:
    table = _table(sweep.resolutions, sweep.codes, sweep.stability)
    suggested, reason = suggest(table)
    record = {"table": table, "edges": cluster_edges(sweep.names, sweep.codes), "suggested": float(suggested)}
    record |= {"reason": reason, "params": {}}
    if drawn is not None:
        record["sketch"] = sweep.errors
        record["params"] |= {"sketch": len(drawn.rows), "sketch_drawn": drawn.how}
    return record if sweep.profile is None else record | {"profile": sweep.profile}


def _drawn(adata: AnnData, use_rep: str | None, sketch: Size, random_state: int) -> Sketch | None:
    """The cells that are clustered, where these are not all."""
    if use_rep is None:
        if sketch not in ("auto", None):
            raise TableError(
                f"sketch={sketch!r} of a graph that is there: few of its edges would be left. Pass "
                "use_rep=<key of obsm>."
            )
        if adata.n_obs > SKETCH_FROM:
            logger.info("the graph of %d cells is clustered whole; use_rep= clusters a sketch", adata.n_obs)
        return None
    size = sketch_size(sketch, adata.n_obs)
    if size is None:
        return None
    return drawn_evenly(np.arange(adata.n_obs), *groups_of(adata), size, random_state)


def whole_sweep(graph: csr_matrix, plan: SweepPlan) -> Sweep:
    """Clusters of the rows of a graph, and the agreement of each clustering with those of subsets."""
    resolutions, profile = plan.resolutions, None
    if resolutions is None:
        profile = resolution_profile(graph, *PROFILE, plan.random_state)
        resolutions = widest_middles(profile, N_RANGES)
    return Sweep(resolutions, *_cluster(graph, resolutions, plan), profile)


def sketched_sweep(values: np.ndarray, drawn: Sketch, plan: SweepPlan) -> Sweep:
    """Clusters of all cells from those of a sketch, its stability, and a table of what the sketch costs."""
    from sklearn.metrics import adjusted_rand_score

    part = values[drawn.rows]
    sweep = whole_sweep(neighbour_graph(part, plan.n_neighbors, plan.random_state), plan)
    clusterings, nearest = np.stack(sweep.codes), Nearest(part, N_VOTES, plan.random_state)
    codes = np.empty((len(clusterings), len(values)), clusterings.dtype)
    codes[:, drawn.rows] = clusterings
    rest = np.delete(np.arange(len(values)), drawn.rows)
    for part_of_rest in np.split(rest, np.arange(BLOCK, len(rest), BLOCK)):  # all others at once would be a second copy
        codes[:, part_of_rest] = nearest.votes(values[part_of_rest], clusterings, N_VOTES)
    again = nearest.votes(part, clusterings, N_VOTES, itself=np.arange(len(part)))
    table = {"own_cluster": (again == clusterings).mean(axis=1), "ari_sketches": np.nan}
    if drawn.comparable:
        graph = neighbour_graph(values[drawn.others], plan.n_neighbors, plan.random_state)
        second, _ = _cluster(graph, sweep.resolutions, replace(plan, n_subsamples=0))
        table["ari_sketches"] = [
            adjusted_rand_score(one, two) for one, two in zip(second, codes[:, drawn.others], strict=True)
        ]
    errors = pd.DataFrame(table, index=pd.Index(sweep.resolutions, name="resolution"))
    return replace(sweep, codes=[_from_largest(column) for column in codes], errors=errors)


def _from_largest(codes: np.ndarray) -> np.ndarray:
    """Clusters numbered from the largest, as those of a graph are."""
    counts = np.bincount(codes)
    rank = np.empty(len(counts), int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank[codes]


def _tell(drawn: Sketch, n_cells: int, errors: pd.DataFrame) -> None:
    own, ari = errors["own_cluster"], errors["ari_sketches"]
    second = f"adjusted Rand index to a second sketch {ari.min():.2f} to {ari.max():.2f}" if ari.notna().all() else ""
    warn(
        f"Clusters were found in a sketch of {len(drawn.rows):,} of {n_cells:,} cells ({drawn.how}); others took the "
        f"cluster of most of their {N_VOTES} nearest. By these, {100 * own.min():.0f} to {100 * own.max():.0f} % of "
        f"sketched cells get their own cluster; {second or 'there are too few other cells for a second sketch'}. Pass "
        "sketch=None to cluster all cells."
    )


def _graph(
    adata: AnnData, use_rep: str | None, n_neighbors: int, neighbors_key: str | None, random_state: int
) -> tuple[csr_matrix, str]:
    """The graph, and what was done to the columns that it was made of."""
    if use_rep is not None:
        values, how = prepared(adata, use_rep)
        return neighbour_graph(values, n_neighbors, random_state), how
    record = adata.uns.get(neighbors_key or "neighbors")
    if record is None or record.get("connectivities_key", "connectivities") not in adata.obsp:
        raise TableError(
            f"No graph {neighbors_key or 'neighbors'!r} in uns. Pass use_rep=<key of obsm>, or make one with "
            "scanpy.pp.neighbors(adata, use_rep=...)."
        )
    return adata.obsp[record.get("connectivities_key", "connectivities")].tocsr(), "a graph that was there"


def _cluster(graph: csr_matrix, resolutions: np.ndarray, plan: SweepPlan) -> tuple[list[np.ndarray], np.ndarray]:
    """Clusters of each resolution, and the agreement of each with its subsets ``(resolutions, subsets)``."""
    from joblib import Parallel, delayed
    from sklearn.metrics import adjusted_rand_score

    rng, n = np.random.default_rng(plan.random_state), graph.shape[0]
    subsets = [np.sort(rng.choice(n, int(plan.share * n), replace=False)) for _ in range(plan.n_subsamples)]
    tasks = [(resolution, None) for resolution in resolutions]
    tasks += [(resolution, subset) for resolution in resolutions for subset in subsets]
    run = Parallel(n_jobs=plan.n_jobs, return_as="generator")(
        delayed(leiden)(graph if subset is None else graph[subset][:, subset], resolution, plan.random_state)
        for resolution, subset in tasks
    )
    clusterings = list(
        progress_bar(
            run,
            total=len(tasks),
            desc="Leiden",
            unit="clustering",
        )
    )
    whole, parts = clusterings[: len(resolutions)], clusterings[len(resolutions) :]
    agreement = [
        [adjusted_rand_score(whole[i][subset], parts[i * len(subsets) + j]) for j, subset in enumerate(subsets)]
        for i in range(len(resolutions))
    ]
    return whole, np.array(agreement).reshape(len(resolutions), len(subsets))


def _table(resolutions: np.ndarray, codes: Sequence[np.ndarray], stability: np.ndarray) -> pd.DataFrame:
    from sklearn.metrics import adjusted_rand_score

    following = [adjusted_rand_score(one, two) for one, two in zip(codes, codes[1:], strict=False)]
    n = stability.shape[1]
    return pd.DataFrame(
        {
            "n_clusters": [int(column.max()) + 1 for column in codes],
            "ari_next": [*following, np.nan],
            "stability": stability.mean(axis=1) if n else np.nan,
            "stability_se": stability.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.nan,
        },
        index=pd.Index(resolutions, name="resolution"),
    )


def suggest(table: pd.DataFrame) -> tuple[float, str]:
    """The finest resolution that is as stable as the best, give or take its standard error; and why."""
    several = table[table["n_clusters"] > 1]
    if several.empty:
        return float(table.index[0]), "every resolution gives one cluster; pass larger resolutions="
    if several["stability"].isna().all():
        return float(several.index[0]), "no subsets were clustered, so this is only the coarsest with two clusters"
    best = several["stability"].idxmax()
    limit = several.loc[best, "stability"] - np.nan_to_num(several.loc[best, "stability_se"])
    chosen = several.index[several["stability"] >= limit].max()
    row = several.loc[chosen]
    reason = (
        f"{counted(int(row['n_clusters']), 'cluster')} that agree with those of random subsets of the cells (adjusted "
        f"Rand index {row['stability']:.2f}); the finest within one standard error of the best ("
        f"{several['stability'].max():.2f} at {best:g})"
    )
    return float(chosen), reason


def cluster_edges(names: Sequence[str], codes: Sequence[np.ndarray]) -> pd.DataFrame:
    """Which cluster of a resolution becomes which of the next finer one, and with how many cells."""
    parts = []
    for (name, one), (following, two) in zip(
        zip(names, codes, strict=True), list(zip(names, codes, strict=True))[1:], strict=False
    ):
        counts = pd.crosstab(one, two)
        flat = counts.stack()
        flat = flat[flat > 0]
        parts.append(
            pd.DataFrame(
                {
                    "resolution": name,
                    "next": following,
                    "from": flat.index.get_level_values(0).astype(int),
                    "to": flat.index.get_level_values(1).astype(int),
                    "n": flat.to_numpy(),
                    "share": flat.to_numpy() / counts.sum(axis=0).loc[flat.index.get_level_values(1)].to_numpy(),
                }
            )
        )
    # one resolution: numbers stay numbers, also in what a store gives back
    types = {"resolution": object, "next": object, "from": int, "to": int, "n": int, "share": float}
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(types)).astype(types)
