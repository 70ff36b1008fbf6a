"""Which cells to label next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._public import public
from ..._storable import default_key, write_uns
from ...cohort.checks import check_anndata, label_column, listed, order_of_names, patients_asked_for
from ...cohort.representation import prepared
from ...cohort.sketch import Size, drawn_evenly, sketch_size
from ...learn.label_choice import Coreset, Margin, Quota, Strategy, TypiClust, choose

if TYPE_CHECKING:
    from anndata import AnnData


@public
def suggest_labels(
    adata: AnnData,
    label_key: str | None = None,
    *,
    use_rep: str,
    n: int = 20,
    strategy: Literal["mixed", "typiclust", "coreset", "margin"] = "mixed",
    annotation_key: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    sketch: int | Literal["auto"] | None = "auto",
    random_state: int = 0,
    key_added: str = "suggested_labels",
) -> pd.DataFrame:
    """Suggest which cells an expert labels next.

    With no or few labels, typical cells of parts of the embedding without a label teach most; with many, cells between
    two types do (Hacohen et al. 2022, section 4). Look at them with `spatialfm.pl.cell_gallery`, write them into a file
    with `spatialfm.io.write_cell_labels`, and read it back with `spatialfm.pp.add_cell_labels`.

    Parameters
    ----------
    adata
        Cells.
    label_key
        Column of ``obs`` with the labels there are, missing (NaN) in cells without; default: no cell has one yet.
    use_rep
        Key of ``obsm``, or ``"X"``.
    n
        Cells to suggest.
    strategy
        ``"typiclust"`` (Hacohen, Dekel and Weinshall, ICML 2022, section 3): k-means into as many clusters as there
        will be labels, at most 500; of the largest of those with the fewest labels the most typical cell, by its mean
        distance to 20 neighbours in the cluster. ``"coreset"`` (Sener and Savarese, ICLR 2018, algorithm 1): the cell
        that is farthest from its nearest labelled or suggested one; it reaches rare types soonest, and cells that
        segmentation has cut badly. ``"margin"``: cells whose two most probable types are closest; of the ``10 n``
        closest ones those that differ most. ``"mixed"``: one of each in turn, margin only where cells are annotated.
    annotation_key
        Key that `spatialfm.tl.annotate` wrote; default ``<label_key>_predicted``, where it is there.
    patient_key
        Column of ``obs``: suggestions are shared out evenly over patients, as labels of one patient teach little about
        the others. None, or no column of that name: whatever patient they are of.
    sketch
        Cells that are looked at where there are more, drawn evenly of patients; ``"auto"``: 50,000 of more than
        200,000, None: all. Labelled cells are among them, up to as many again.
    random_state
        Seed of k-means and of the sketch.
    key_added
        Key of ``uns``.

    Returns
    -------
    One row per cell, in the order in which they are best labelled: ``strategy``, ``score`` (typicality, distance or
    margin), and where there are such, ``predicted`` and ``margin``, ``sample``, ``patient``, ``x`` and ``y`` (µm).
    Written: ``uns[key_added]`` with this ``table`` and ``params``.

    Raises
    ------
    TableError
        If a column or the embedding is missing, no cell is left to label, or margins are asked for where nothing was
        annotated.

    Warns
    -----
    SpatialfmWarning
        If fewer than `n` cells are left without label.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=200, random_state=0)
    >>> cells.obs["known"] = None
    >>> table = sfm.tl.suggest_labels(cells, "known", use_rep="X_latent", n=8)
    >>> table["patient"].value_counts().tolist(), table["strategy"].tolist()[:2]
    ([2, 2, 2, 2], ['typiclust', 'coreset'])
    """
    check_anndata(adata, "suggest_labels", key_added)
    known, patients = _known(adata, label_key, n), _patients(adata, patient_key)
    annotation = _annotation(adata, label_key, annotation_key, strategy)
    rows = _looked_at(adata, known, patients, sketch, random_state)

    values, how = prepared(adata[rows], use_rep)
    plan = _Plan(values, np.flatnonzero(known[rows]), n, strategy, random_state)
    margin = None if annotation is None else adata.obs[f"{annotation}_margin"].to_numpy(dtype=float)[rows]
    quota = Quota(None if patients is None else patients[rows], plan.labelled, len(rows), n)
    chosen = choose(_strategies(plan, margin), quota, n)

    table = _table(adata, rows[[row for row, _, _ in chosen]], annotation, patient_key)
    table.insert(0, "strategy", pd.Categorical([name for _, name, _ in chosen]))
    table.insert(1, "score", [score for _, _, score in chosen])
    logger.info("suggested %d of %d cells without label", len(table), int((~known).sum()))
    params = {"label_key": label_key, "use_rep": use_rep, "n": n, "strategy": strategy, "preparation": how}
    params |= {"annotation_key": annotation, "patient_key": patient_key, "n_labelled": int(known.sum())}
    params |= {"n_looked_at": len(rows), "random_state": random_state}
    write_uns(adata, key_added, {"table": table, "params": params})
    return table


@dataclass(frozen=True)
class _Plan:
    values: np.ndarray
    labelled: np.ndarray  # rows of them
    n: int
    strategy: str
    random_state: int


def _known(adata: AnnData, label_key: str | None, n: int) -> np.ndarray:
    known = np.zeros(adata.n_obs, bool)
    if label_key is not None:
        known = label_column(adata, label_key).notna().to_numpy()
    left = int((~known).sum())
    if not left:
        raise TableError(f"Every cell has a label in obs[{label_key!r}] (label_key=): there is none to suggest.")
    if left < n:
        warn(f"{counted(left, 'cell has', 'cells have')} no label, fewer than n={n}: all of them are suggested.")
    return known


def _patients(adata: AnnData, patient_key: str | None) -> np.ndarray | None:
    """Number of the patient of each cell; those without one share a number."""
    if patients_asked_for(adata, patient_key, "cells are not shared out over patients") is None:
        return None
    return adata.obs[patient_key].astype("category").cat.codes.to_numpy().astype(int) + 1


def _annotation(adata: AnnData, label_key: str | None, annotation_key: str | None, strategy: str) -> str | None:
    """Key of the annotation whose margins are taken; None where there is none and none is needed."""
    key = annotation_key or (None if label_key is None else default_key(f"{label_key}_predicted"))
    there = key is not None and f"{key}_margin" in adata.obs
    if there and strategy in ("margin", "mixed"):
        return key
    if annotation_key is not None or strategy == "margin":
        margins = [name.removesuffix("_margin") for name in map(str, adata.obs) if name.endswith("_margin")]
        if not there:
            raise TableError(
                f"No margins of an annotation in obs (annotation_key={key!r}); found {listed(margins)}. Make them with "
                'sfm.tl.annotate(adata, label_key, use_rep=...), or pass strategy="typiclust", which needs none.'
            )
    return None


def _looked_at(
    adata: AnnData, known: np.ndarray, patients: np.ndarray | None, sketch: Size, random_state: int
) -> np.ndarray:
    """Rows that are looked at, in the order of their names: what is suggested does not depend on the table's order."""
    order = order_of_names(adata.obs_names)
    size = sketch_size(sketch, adata.n_obs)
    if size is None:
        return order
    drawn = []
    for part in (order[~known[order]], order[known[order]]):
        if len(part) > size:
            groups = None if patients is None or len(np.unique(patients[part])) > size else patients[part]
            unit = "" if groups is None else "patient"
            part = part[drawn_evenly(np.arange(len(part)), groups, unit, size, random_state).rows]
        drawn.append(part)
    chosen = np.zeros(adata.n_obs, bool)
    chosen[np.concatenate(drawn)] = True
    return order[chosen[order]]


def _strategies(plan: _Plan, margin: np.ndarray | None) -> list[Strategy]:
    strategies: list[Strategy] = []
    if plan.strategy in ("typiclust", "mixed"):
        strategies.append(TypiClust(plan.values, plan.labelled, plan.n, plan.random_state))
    if plan.strategy in ("coreset", "mixed"):
        strategies.append(Coreset(plan.values, plan.labelled))
    if margin is not None:
        strategies.append(Margin(plan.values, margin, plan.n))
    return strategies


def _table(adata: AnnData, rows: np.ndarray, annotation: str | None, patient_key: str | None) -> pd.DataFrame:
    """What an expert needs to know of the cells."""
    obs = adata.obs.iloc[rows]
    table = pd.DataFrame(index=pd.Index(obs.index, name="cell"))
    if annotation is not None:
        table["predicted"] = obs[annotation].to_numpy() if annotation in obs else None
        table["margin"] = obs[f"{annotation}_margin"].to_numpy()
    for name in dict.fromkeys([SAMPLE_KEY, patient_key]):
        if name in obs:
            table[name] = obs[name].astype(object).to_numpy()
    if SPATIAL in adata.obsm:
        table[["x", "y"]] = coordinates(adata, finite=False)[rows, :2]
    return table
