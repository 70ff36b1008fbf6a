"""Types that nobody labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._dense import dense
from ..._errors import TableError, counted, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._preparation import preparation
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, label_column, listed, named, order_of_names, patients_asked_for
from ...cohort.circular import remember_groups
from ...cohort.intensities import intensities
from ...cohort.replaced import remove_earlier
from ...cohort.representation import representation
from ...cohort.sketch import N_VOTES, Nearest, Size, drawn_evenly, sketch_size
from ...learn.heads.options import Options
from ...learn.leiden import neighbour_graph
from ...learn.new_types import Doubt, components, doubt, doubted_clusters, novelty
from ...learn.probe import column_scaler
from ...pp.batches import log_scores
from .annotation_inputs import on_own_scale, samples_of

if TYPE_CHECKING:
    from anndata import AnnData

ONE_PATIENT = 0.9  # share of cells of one patient from which a proposal may be its staining


@public
def propose_types(
    adata: AnnData,
    label_key: str,
    *,
    use_rep: str,
    alpha: float = 0.05,
    min_share: float = 0.6,
    min_cells: int = 20,
    resolution: float = 2.0,
    n_neighbors: int = 15,
    n_markers: int = 5,
    by_sample: bool | Literal["auto"] = "auto",
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    C: float | Literal["grid", "search"] = "grid",
    sketch: int | Literal["auto"] | None = "auto",
    random_state: int = 0,
    key_added: str = "proposed_types",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Propose clusters of cells that are of none of the labelled types, each with its markers.

    A classifier gives every cell one of the types that it knows. Here a cell is doubted by one minus its highest
    probability, averaged over its neighbours in the embedding, and by how few labelled cells are near it on the graph
    of neighbours, each counting as many cells as it stands for. Both are ranked among all cells. Its novelty is the
    share of labelled cells that are doubted less when they are held out, up to eight times; those of the type that it
    would be given count as many as they are, and all types together, each as frequent as it is predicted, as 20 more.
    Clusters most of whose cells are more novel than ``1 - alpha`` are proposed, neighbouring ones as one.

    Where every type has labels, a share of about `alpha` of the cells is that novel, and hardly a cluster is: in ten
    simulated cohorts with ten labels per type, at most two of about 200. That holds as far as labelled cells are like
    the others of their type, and are spread over patients: choose them with `spatialfm.tl.suggest_labels` or at
    random, not among the brightest. A type that lies beyond a known one, where the classifier is sure, is missed. A
    proposal is a reason to look: with `spatialfm.pl.cell_gallery`.

    Parameters
    ----------
    adata
        Cells; those without label are missing in ``obs[label_key]`` (NaN).
    label_key
        Column of ``obs`` with the labels.
    use_rep
        Key of ``obsm``, or ``"X"``.
    alpha
        Share of held-out labelled cells that are doubted more than the threshold. A larger one finds more types, and
        proposes more clusters of known ones.
    min_share
        Share of cells above the threshold from which a cluster is proposed.
    min_cells
        Cells that a proposal has at least; of a sketch, sketched cells.
    resolution
        Of the Leiden clusters that are looked at: fine, as a rare type has to be one of its own.
    n_neighbors
        Neighbours of a cell, in the first 20 principal components of `use_rep`.
    n_markers
        Markers that are told of each proposal.
    by_sample
        Bring each sample to the means and standard deviations of all cells first, as `spatialfm.tl.annotate` does:
        cells of a slide that was stained apart are far from the labels of others. ``"auto"``: where labelled cells that
        are held out say that it helps. A type that fills a sample is then not proposed.
    patient_key
        Column of ``obs``: whole patients are held out where five or more have labels and each type is in several.
    library_key
        Column of ``obs`` with the sample, for `by_sample`.
    C
        Inverse strength of the penalty of the classifier, as in `spatialfm.tl.annotate`.
    sketch
        Cells that are looked at where there are more, labelled ones besides; ``"auto"``: 50,000 of more than 200,000,
        None: all. Others take the proposal of most of their 15 nearest.
    random_state
        Seed.
    key_added
        Key that is written.
    copy
        Return the columns that are otherwise written to ``obs``, as one table of cells. The tables of proposals and of
        their markers are only written.

    Returns
    -------
    None, or with `copy` a table of cells with ``proposed`` and ``novelty``. Written:

    ``obs[key_added]``
        ``new 1``, ``new 2``, ... from the largest; missing (NaN) in cells of no proposal.
    ``obs[key_added + "_novelty"]``
        0 to 1.
    ``uns[key_added]``
        ``table``, one row per proposal: ``n_cells``, ``n_labelled``, ``n_patients`` and ``largest_patient`` (share of
        its cells), mean ``novelty``, ``nearest`` (the type that most of its cells would be given) with ``share``, and
        ``markers``. ``markers``, one row per proposal and marker: ``difference`` of its mean from that of all other
        cells, and ``to_nearest`` from the cells of that type, in standard deviations of logarithms. ``params``, with
        the share of all cells that are ``novel``.

    Raises
    ------
    TableError
        If fewer than two types have labels, or none has two.

    Warns
    -----
    SpatialfmWarning
        If nine in ten cells of a proposal are of one of several patients: it may be its staining.

    Examples
    --------
    >>> import numpy as np
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=200, latent_noise=0.15, random_state=0)
    >>> some = (np.arange(cells.n_obs) % 4 == 0) & (cells.obs["type"] != "Macrophage")
    >>> cells.obs["known"] = cells.obs["type"].where(some)
    >>> sfm.tl.propose_types(cells, "known", use_rep="X_latent", C=1.0)
    >>> first = cells.obs["proposed_types"] == "new 1"
    >>> cells.obs.loc[first, "type"].value_counts().index[0]
    'Macrophage'
    """
    check_anndata(adata, "propose_types", None if copy else key_added)
    labels = _labels(adata, label_key)
    patients = patients_asked_for(adata, patient_key, "types of one patient are not told from those of several")
    rows = _looked_at(adata, labels.notna().to_numpy(), sketch, random_state)
    samples = samples_of(adata, library_key, by_sample)
    values = representation(adata, use_rep)
    scaler = column_scaler(values[rows], None, intensities(adata, use_rep))  # as annotate scales them
    known = order_of_names(adata.obs_names)
    known = known[labels.notna().to_numpy()[known]]
    values, scaler, scaled, scale = on_own_scale(
        adata, values, scaler, preparation(adata, use_rep), known, labels.array[known], patients, samples,
        Options(C, random_state=random_state), always=by_sample is True,
    )  # fmt: skip

    near = components(scaled[rows], random_state)
    graph = neighbour_graph(near, n_neighbors, random_state)
    codes = labels.cat.codes.to_numpy().astype(int)[rows]
    labelled = np.flatnonzero(codes >= 0)
    groups = None if patients is None else patients[rows][labelled]
    doubts = doubt(
        values[rows], labelled, codes[labelled], graph, groups=groups, scaler=scaler, C=C, random_state=random_state
    )
    novel = novelty(doubts, codes[labelled])
    proposed = doubted_clusters(
        graph, novel > 1 - alpha, resolution=resolution, min_cells=min_cells, min_share=min_share,
        random_state=random_state,
    )  # fmt: skip

    result = _Result(labels, patients, *_of_all(scaled, rows, proposed, novel, doubts, random_state))
    cells = pd.DataFrame({"proposed": result.names, "novelty": result.novelty}, index=adata.obs_names)
    remember_groups(adata, "propose_types", use_rep, cells["proposed"], written=not copy, place=f"obs:{key_added}")
    if copy:
        return cells
    params = {"label_key": label_key, "use_rep": use_rep, "alpha": alpha, "min_share": min_share}
    params |= scale | {"min_cells": min_cells, "resolution": resolution, "n_neighbors": n_neighbors, "C": doubts.C}
    params |= {"n_labelled": len(labelled), "novel": float((result.novelty > 1 - alpha).mean())}
    params |= {"n_looked_at": len(rows), "random_state": random_state}
    markers = _markers(adata, result)
    table = _table(result, markers, n_markers)
    _tell(table, patients)
    remove_earlier(adata, key_added, cells["proposed"])
    adata.obs[key_added], adata.obs[f"{key_added}_novelty"] = cells["proposed"], cells["novelty"]
    write_uns(adata, key_added, {"table": table, "markers": markers, "params": params})
    return None


@dataclass(frozen=True)
class _Result:
    labels: pd.Series
    patients: np.ndarray | None
    proposed: np.ndarray  # (cells,) number, -1: none
    novelty: np.ndarray
    predicted: np.ndarray  # (cells,) code of a type

    @property
    def n(self) -> int:
        """Number of proposals."""
        return int(self.proposed.max()) + 1

    @property
    def names(self) -> pd.Categorical:
        """Name of the proposal of each cell."""
        return pd.Categorical.from_codes(self.proposed, [f"new {i + 1}" for i in range(self.n)])


def _labels(adata: AnnData, label_key: str) -> pd.Series:
    column = label_column(adata, label_key)
    labels = named(column, "label_key", whole=True)
    counts = labels.value_counts()
    if len(counts) < 2 or (counts < 2).all():
        raise TableError(
            f"obs[{label_key!r}] holds {counted(len(counts), 'type')} in {int(counts.sum())} labelled cells. Label two "
            "types or more, several cells of one: what doubt is usual is read from labelled cells that are held out."
        )
    return labels.cat.reorder_categories(sorted(labels.cat.categories))  # folds are the same in any order of types


def _looked_at(adata: AnnData, known: np.ndarray, sketch: Size, random_state: int) -> np.ndarray:
    """Rows in the order of their names: all, or a sketch and the labelled ones."""
    order = order_of_names(adata.obs_names)
    size = sketch_size(sketch, adata.n_obs)
    if size is None:
        return order
    drawn = known.copy()
    drawn[drawn_evenly(order, None, "", size, random_state).rows] = True
    return order[drawn[order]]


def _of_all(
    scaled: np.ndarray, rows: np.ndarray, proposed: np.ndarray, novel: np.ndarray, doubts: Doubt, random_state: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Proposal, novelty and predicted type of all cells; of those that were not looked at, by their nearest."""
    n = len(scaled)
    codes, share, predicted = np.full(n, -1), np.full(n, np.nan), np.full(n, -1)
    codes[rows], share[rows], predicted[rows] = proposed, novel, doubts.predicted
    rest = np.setdiff1d(np.arange(n), rows)
    if len(rest):
        nearest = Nearest(scaled[rows], N_VOTES, random_state)
        codes[rest], predicted[rest] = nearest.votes(scaled[rest], np.stack([proposed, doubts.predicted]), N_VOTES)
        share[rest] = nearest.means(scaled[rest], novel, N_VOTES)
    return codes, share, predicted


def _markers(adata: AnnData, result: _Result) -> pd.DataFrame:
    """Difference of each proposal from all other cells, and from those of the nearest type, by marker."""
    columns = ["proposed", "marker", "difference", "to_nearest"]
    if adata.X is None or not adata.n_vars or not result.n:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
    scores = log_scores(np.asarray(dense(adata.X), dtype=np.float64), np.zeros(adata.n_obs, int))
    parts = []
    for number in range(result.n):
        own = result.proposed == number
        nearest = ~own & (result.predicted == np.bincount(result.predicted[own]).argmax())
        mean = _mean(scores[own])
        part = {"proposed": f"new {number + 1}", "marker": adata.var_names.astype(str)}
        part |= {"difference": mean - _mean(scores[~own]), "to_nearest": mean - _mean(scores[nearest])}
        parts.append(pd.DataFrame(part).sort_values("difference", ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True)[columns]


def _mean(scores: np.ndarray) -> np.ndarray:
    """Means over the cells that were stained; NaN without any."""
    n = np.isfinite(scores).sum(axis=0)
    return np.divide(np.nansum(scores, axis=0), n, out=np.full(scores.shape[1], np.nan), where=n > 0)


def _table(result: _Result, markers: pd.DataFrame, n_markers: int) -> pd.DataFrame:
    names, rows = list(result.labels.cat.categories), []
    known = result.labels.notna().to_numpy()
    for number in range(result.n):
        own = result.proposed == number
        types = np.bincount(result.predicted[own])
        of = pd.Series(np.full(own.sum(), "") if result.patients is None else result.patients[own]).value_counts()
        best = markers[(markers["proposed"] == f"new {number + 1}") & (markers["difference"] > 0)][:n_markers]
        row = {"n_cells": int(own.sum()), "n_labelled": int((own & known).sum()), "n_patients": len(of)}
        row |= {"largest_patient": of.iloc[0] / of.sum(), "novelty": float(result.novelty[own].mean())}
        row |= {"nearest": names[types.argmax()], "share": types.max() / types.sum()}
        rows.append(row | {"markers": ", ".join(best["marker"])})
    index = pd.Index([f"new {number + 1}" for number in range(result.n)], name="proposed")
    columns = ["n_cells", "n_labelled", "n_patients", "largest_patient", "novelty", "nearest", "share", "markers"]
    return pd.DataFrame(rows, index=index, columns=columns)


def _tell(table: pd.DataFrame, patients: np.ndarray | None) -> None:
    logger.info("%s proposed: %s", counted(len(table), "new type"), listed(table["markers"]))
    if patients is None or len(np.unique(patients)) < 3:
        return
    if own := list(table.index[table["largest_patient"] >= ONE_PATIENT]):
        warn(
            f"Nine in ten cells of {listed(own)} are of one patient: what is new may be the staining of its slide. "
            "Look at the images, or correct for it: sfm.pp.standardize(adata, batch_key)."
        )
