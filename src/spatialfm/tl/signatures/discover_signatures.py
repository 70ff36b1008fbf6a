"""Signatures: phenotypes of the embedding that distinguish patients who do well from those who do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import Origin, remember
from ..._public import public
from ..._storable import write_obsm, write_uns
from ...cohort.adjusted import lacking, read_adjustment, shuffling_blocks
from ...cohort.batches import TANGLED, batches_of, tell_batches
from ...cohort.checks import by_name, check_anndata, order_of_names
from ...cohort.circular import remember_groups
from ...cohort.depth import Depth
from ...cohort.fitted import fitted_on_all
from ...cohort.outcome import EventValue, event_text
from ...cohort.records import SignaturesRecord
from ...cohort.replaced import remove_earlier
from ...cohort.representation import prepared
from ...cohort.selected import remember_signatures
from ...cohort.signature_patients import Draw, SignaturePatients, drawn, read_patients, remembered_value
from ...cohort.sketch import Nearest, Size, Sketch, drawn_evenly, sketch_size
from ...learn import signature_clusters as clustering
from ...learn.signature_record import CandidateClusters, search_record
from ...learn.signature_search import (
    NESTED,
    SearchPlan,
    chosen_clusters,
    nested_folds,
    nested_predictions,
    published_score,
    shuffled,
    usable_clusters,
)
from ...learn.signature_sketch import members as members_of
from ...learn.signature_sketch import sketch_errors, tell

if TYPE_CHECKING:
    from anndata import AnnData


@public
def discover_signatures(
    adata: AnnData,
    *,
    use_rep: str,
    outcome: str | tuple[str, str],
    positive: str | None = None,
    event_value: EventValue = None,
    patient_key: str = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    resolutions: Sequence[float] = tuple(np.arange(4, 5.01, 0.05).round(2).tolist()),
    max_cells: int | None = 2000,
    n_neighbors: int = 15,
    n_signatures: int = 2,
    merge_overlap: float | None = 0.8,
    min_patients: int = 5,
    cells_per_patient: Depth = "even",
    sketch: Size = "auto",
    n_folds: int = 4,
    n_repeats: int = 10,
    n_repeats_model: int = 25,
    nested: bool = True,
    n_repeats_nested: int = 1,
    n_assign: int = 15,
    n_permutations: int = 200,
    block_key: str | None = None,
    on_missing: Literal["raise", "drop"] = "raise",
    n_jobs: int = 1,
    random_state: int = 0,
    key_added: str = "signatures",
    copy: bool = False,
) -> SignaturesRecord | None:
    """Find clusters of cells whose frequency predicts the outcome, and estimate what that prediction is worth.

    VirTues' procedure (Methods, *Identification of FM-based biomarkers predictive of therapy response*): Leiden
    clusters at many resolutions; of each small enough cluster the share of a patient's cells, as rank 0 (absent) or 1
    to 3 (tertiles of the positive shares); how well the rank alone predicts the outcome in cross-validated logistic
    regression; the best clusters on either side (risk ratio above and below 1) together in one model.

    The published score of that model is optimistic: its clusters were chosen, among hundreds, on the patients that it
    is tested on, and so it is far above one half where there is nothing to find. It is given, under that name. Next to
    it stands the ``nested`` score, for which everything (clusters, tertiles, choice, model) is done again without the
    patients of each fold, whose cells go to the cluster of their nearest cells in the training patients. That is the
    number to report; its p-value comes from shuffling outcomes between patients and repeating the procedure.

    Signatures, candidates and the nested score differ from the published procedure in three things, each with its
    argument: equally many cells are drawn of each patient (`cells_per_patient`), as few cells make absences and give a
    cluster to whoever has many; clusters that are nearly the same at several resolutions count once (`merge_overlap`),
    as two of them would otherwise be two signatures; and some patients must have a cluster (`min_patients`). The row
    ``as published (optimistic)`` is made without these: of all cells (or a sketch of them) and all clusters. Where
    numbers of cells go with the outcome, which is tested first and warned of, that row reflects numbers of cells too.

    Parameters
    ----------
    adata
        Cells with ``obsm[use_rep]``. Outcomes are columns of ``obs``, one value per patient.
    use_rep
        Key of ``obsm``, or ``"X"``.
    outcome
        Column with two values (responder or not), or ``(time, event)`` columns: then Cox regression replaces logistic,
        the concordance the AUROC, and observed over expected events the risk.
    positive
        Value of `outcome` that counts as response, whose signatures :func:`spatialfm.tl.score_signatures` takes for
        favorable; not needed for 0/1 and true/false, unless the column reads as adverse (``relapse``, ``died``).
    event_value
        Value of the event's column that means the event, or several, where it does not hold 0 and 1 (default: as the
        table remembers).
    patient_key
        Column of ``obs`` with the patient, who is the unit of every split and every shuffle.
    library_key
        Column of ``obs`` with the sample, to check that none belongs to two patients; None skips that, and the usual
        name need not be there.
    resolutions
        Of Leiden.
    max_cells
        Clusters with fewer cells are candidates (None: all). In the folds of the nested score, and where part of the
        cells is drawn, it shrinks with the number of cells.
    n_neighbors
        Of scanpy's graph.
    n_signatures
        Signatures on either side.
    merge_overlap
        Clusters of different resolutions that share this part of the cells that either has count once (None: each
        counts, as published).
    min_patients
        Patients that must have the cluster, and must lack it or differ in rank, for it to be a candidate (as published:
        0).
    cells_per_patient
        Cells of each patient that clusters and ranks are made of, drawn at random: ``"even"``, as many as the patient
        with the fewest has (one patient in ten, where it has far fewer, keeps what it has, unless such patients have
        another outcome than the rest); a number; or ``"all"``, as published. Cells that are not drawn go to the cluster
        of their nearest drawn cells.
    sketch
        Cells that are clustered where there are more, drawn evenly of patients (of ``"all"``, and for the score as
        published, in proportion): 21 clusterings of millions in each fold take days. ``"auto"``: 50,000 of more than
        200,000, None: all. Shares and ranks are of these cells; a second sketch of other cells is clustered to show
        what that costs. Signatures of a few dozen sketched cells are easily missed.
    n_folds
        Folds of the cross-validation.
    n_repeats
        Repeats of it for one cluster.
    n_repeats_model
        Repeats of it for the model.
    nested
        Whether to compute the nested score. It clusters the cells `n_folds` times `n_repeats_nested` more.
    n_repeats_nested
        Partitions of the patients into folds that the nested score is a mean over.
    n_assign
        Nearest training cells that vote on the cluster of a held-out cell.
    n_permutations
        Shuffles of the outcome; 0 for no p-values of the scores.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both outcome and cells then makes no small p-value. Scores stay as they are.
    on_missing
        What becomes of patients without outcome: ``"raise"``, or ``"drop"``. Their cells take no part.
    n_jobs
        Processes for the clusterings, threads for the shuffles.
    random_state
        Seed.
    key_added
        Key that is written.
    copy
        Return the record, with the table of cells as ``cells``, instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``obsm[key_added]``, a table of true and false with one column per
    signature (``RS1``, ... for response, ``NRS1``, ... for non-response; with survival ``FS1`` favorable, ``AS1``
    adverse), and ``uns[key_added]``:

    - ``scores``: two rows, optimistic and nested, with ``score``, ``sd`` over folds, ``ci_low`` and ``ci_high`` (of the
      nested one: 95 %, patients resampled within folds), ``null_mean`` (of the shuffles) and ``p_value``;
    - ``clusters``: all candidates with ``score`` (cross-validated, alone), ``ratio`` with interval, ``side``,
      ``p_value`` (score test), ``q_value`` (Benjamini-Hochberg over candidates), ``p_max`` (share of shuffles in which
      any candidate scores as high), ``n_cells``, ``n_patients``, ``resolution``, ``n_merged``, ``signature``;
    - ``signatures``: those that were chosen, with ``cut_1`` and ``cut_2`` of their ranks;
    - ``patients``: ranks, fractions (of the drawn cells), numbers of cells, outcome, and the ``nested`` prediction that
      was made without the patient (ordered within a fold; log-odds or log-hazard);
    - ``null``: scores of the shuffles; ``params``, with ``depth_p_value`` of numbers of cells against the outcome;
    - ``sketch``, where one was searched, one row per signature: ``found`` (share of its sketched cells that go to it by
      their neighbours), ``right`` (share of those going to it that are its own) and ``overlap`` (Jaccard, on the cells
      of the second sketch, with the most similar cluster there).

    Raises
    ------
    TableError
        If the representation or a column is missing, patients would be split, there are fewer patients (of either
        outcome) than folds, or no cluster is small enough.
    ClinicalError
        If a patient has two outcomes, or a sample two patients.
    SurvivalError
        If times and events cannot be used.

    Warns
    -----
    SpatialfmWarning
        If numbers of cells go with the outcome, a sketch was searched, with its errors, or `positive` reads as adverse.

    Notes
    -----
    Clusterings do not depend on the outcome and are made once. Folds of the nested score are drawn without regard to
    the outcome, which is what makes its permutation test exact. Clusterings of 20,000 cells and more are kept in
    ``sfm.settings.cache_dir``: a call that was stopped goes on where it was.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, random_state=0)
    >>> sfm.tl.discover_signatures(
    ...     cells, use_rep="X_latent", outcome="response", positive="responder", resolutions=[1.0], n_permutations=0
    ... )
    >>> list(cells.uns["signatures"]["scores"].index)
    ['as published (optimistic)', 'nested']
    """
    check_anndata(adata, "discover_signatures", None if copy else key_added)
    plan = SearchPlan(n_signatures, n_folds, n_repeats, n_repeats_model, min_patients)
    event_value = remembered_value(adata, outcome, event_value)
    ordered, place = by_name(adata)  # cells are drawn and clustered by their place
    everyone = read_patients(ordered, patient_key, library_key, outcome, positive, event_value, n_folds, on_missing)
    blocks = _blocks(ordered, everyone, block_key)
    _tell_batches(ordered, everyone, outcome, block_key)
    whole, how = prepared(ordered[everyone.rows] if everyone.n_dropped else ordered, use_rep)
    resolutions = _checked(resolutions, merge_overlap)
    keys = [outcome] if isinstance(outcome, str) else list(outcome)
    size = sketch_size(sketch, len(whole))
    draw = drawn(everyone, cells_per_patient, keys, random_state, size, ordered.obs_names)
    patients, part = draw.patients, draw.part
    values, limit = whole[part], np.inf if max_cells is None else max_cells
    limit_of_part = limit * len(part) / len(whole)

    graph = (resolutions, n_neighbors, random_state, n_jobs)
    codes = clustering.cluster_cells(values, *graph)
    candidates = _candidates(codes, patients, limit_of_part, merge_overlap)
    _check_candidates(candidates.ranks, plan, max_cells, resolutions)
    published, n_published = _published(whole, everyone, draw, codes, limit, size, ordered.obs_names, graph)
    options = (values, patients, resolutions, limit_of_part, merge_overlap, n_neighbors, n_assign, plan.n_folds)
    folds = list(nested_folds(*options, n_repeats_nested, n_jobs, random_state)) if nested else []

    observed = chosen_clusters(candidates.ranks, patients.outcome, plan, random_state)
    model = published_score(published, patients.outcome, plan, random_state)
    held_out = nested_predictions(folds, patients.outcome, plan, random_state)
    ranks = (candidates.ranks, published)
    null = shuffled(*ranks, folds, patients.outcome, plan, n_permutations, n_jobs, random_state, blocks)
    record = search_record(patients, candidates, observed, model, held_out, folds, null, resolutions, random_state)
    record["params"] = {
        "use_rep": use_rep, "preparation": how,
        "fitted_on_all": fitted_on_all(adata, use_rep),
        "outcome": outcome if isinstance(outcome, str) else keys,
        "positive": patients.positive, "event_value": event_text(event_value), "patient_key": patient_key,
        "resolutions": np.asarray(resolutions), "max_cells": max_cells or 0, "n_neighbors": n_neighbors,
        "merge_overlap": merge_overlap or 0.0, "min_patients": min_patients,
        "cells_per_patient": _most_cells(draw, len(whole)),
        "n_folds": n_folds, "n_repeats": n_repeats, "n_repeats_model": n_repeats_model,
        "n_permutations": n_permutations, "block_key": block_key or "", "random_state": random_state,
        "score": patients.outcome.score_name, "n_patients": len(patients.names), "n_dropped": patients.n_dropped,
    } | draw.depth  # fmt: skip
    _tell(record)
    nearest = Nearest(values, n_assign, random_state) if len(part) < len(whole) else None
    _tell_published(record, n_published, len(whole), draw.sketch is None)
    if draw.sketch is not None:
        _say_sketch(record, draw.sketch, candidates.clusters, observed.chosen, whole, nearest, n_assign, graph)
    origin = Origin("discover_signatures", "selected", tuple(keys), column=key_added)
    remember_signatures(None if copy else adata, origin, record["patients"], keys)
    members = np.zeros((adata.n_obs, len(record["signatures"])), bool)
    members[everyone.rows] = members_of(candidates.clusters, observed.chosen, whole, part, n_assign, nearest)
    of_cells = pd.DataFrame(members[place], index=adata.obs_names, columns=list(record["signatures"].index))
    if copy:
        record["params"][DATA] = fingerprint(adata, [patient_key, block_key, *keys], obsm=[use_rep])
        return record | {"cells": of_cells}
    remove_earlier(adata, key_added)
    write_obsm(adata, key_added, of_cells)
    record["params"][DATA] = fingerprint(adata, [patient_key, block_key, *keys], obsm=[use_rep, key_added])
    write_uns(adata, key_added, record)
    for name in of_cells:
        remember(adata, origin, of_cells[name], place=f"obsm/{key_added}:{name}")
        remember_groups(adata, "discover_signatures", use_rep, of_cells[name], True, f"obsm/{key_added}:{name}")
    return None


def _blocks(adata: AnnData, patients: SignaturePatients, block_key: str | None) -> np.ndarray | None:
    """Site of each patient (codes); refused where no site has patients of two outcomes to exchange."""
    if block_key is None:
        return None
    cells = adata[patients.rows]
    adjustment = read_adjustment(cells, np.array(patients.names, dtype=object)[patients.codes], None, block_key)
    lacking(adjustment, block_key, "raise")
    return shuffling_blocks(adjustment.blocks.loc[patients.names], block_key, patients.table, 1)


def _tell_batches(
    adata: AnnData, patients: SignaturePatients, outcome: str | tuple[str, str], block_key: str | None
) -> None:
    """Say where the outcome follows a batch."""
    batches = batches_of(adata.obs.iloc[patients.rows], patients.codes)
    excess = patients.outcome.residuals(np.ones((1, len(patients.names)), bool))[0]  # response or events over the mean
    tell_batches(f"The values of {outcome!r}", pd.Series(excess), batches, TANGLED, [block_key])


def _candidates(
    codes: np.ndarray, patients: SignaturePatients, limit: float, overlap: float | None
) -> CandidateClusters:
    clusters = clustering.candidates(codes, limit, overlap)
    shares = clustering.fractions(clusters, patients.codes, len(patients.names))
    cuts = clustering.cut_points(shares)
    return CandidateClusters(clusters, shares, cuts, clustering.ranks_of(shares, cuts))


def _published(
    whole: np.ndarray,
    everyone: SignaturePatients,
    draw: Draw,
    codes: np.ndarray,
    limit: float,
    size: int | None,
    names: pd.Index,
    graph: tuple,
) -> tuple[np.ndarray, int]:
    """Ranks by all clusters of all cells or, where these are too many, of a sketch in proportion; and of how many."""
    rows = np.arange(len(whole))
    if draw.in_proportion or len(draw.part) == len(whole):
        rows = draw.part
    elif size is not None:
        rows = drawn_evenly(order_of_names(names[everyone.rows]), None, "", size, graph[2]).rows
        codes = clustering.cluster_cells(whole[rows], *graph)
    else:
        codes = clustering.cluster_cells(whole, *graph)
    of_rows = replace(everyone, rows=everyone.rows[rows], codes=everyone.codes[rows])
    return _candidates(codes, of_rows, limit * len(rows) / len(whole), None).ranks, len(rows)


def _most_cells(draw: Draw, n_cells: int) -> int | str:
    """Cells of a patient in the search; all, where it was of all cells or of a sketch in proportion."""
    if len(draw.part) == n_cells or draw.in_proportion:
        return "all"
    return int(np.bincount(draw.patients.codes).max())


def _tell_published(record: dict, n_published: int, n_cells: int, unasked: bool) -> None:
    """Write on how many cells the score as published rests, and warn where nobody asked for a sketch."""
    if n_published == n_cells:
        return
    record["params"]["sketch_published"] = n_published
    if unasked:
        warn(
            f"The score as published was made of a sketch of {n_published:,} of {n_cells:,} cells, in proportion. "
            "Pass sketch=None to cluster all cells."
        )


def _say_sketch(
    record: dict,
    sketch: Sketch,
    candidates: clustering.Clusters,
    chosen: list[int],
    whole: np.ndarray,
    nearest: Nearest,
    n_assign: int,
    graph: tuple,
) -> None:
    """Write what the sketch costs into the record, and warn."""
    record["params"] |= {"sketch": len(sketch.rows), "sketch_drawn": sketch.how}
    if chosen:
        second = clustering.cluster_cells(whole[sketch.others], *graph) if sketch.comparable else None
        names = list(record["signatures"].index)
        record["sketch"] = sketch_errors(candidates, chosen, names, whole, sketch, second, n_assign, nearest)
        tell(sketch, len(whole), record["sketch"])


def _checked(resolutions: Sequence[float], overlap: float | None) -> list[float]:
    levels = [float(r) for r in np.unique(np.round(np.asarray(resolutions, float), 6))]
    if not levels or levels[0] <= 0:
        raise TableError(f"resolutions={list(resolutions)} must be positive numbers.")
    if overlap is not None and not 0 < overlap <= 1:
        raise TableError(f"merge_overlap={overlap} is not a share between 0 and 1.")
    return levels


def _check_candidates(ranks: np.ndarray, plan: SearchPlan, max_cells: int | None, resolutions: Sequence[float]) -> None:
    usable = int(usable_clusters(ranks, plan.min_patients).sum())
    if not usable:
        raise TableError(
            f"No cluster of resolutions {resolutions[0]:g} to {resolutions[-1]:g} has fewer than {max_cells} cells and "
            f"is found in {plan.min_patients} patients. Pass a larger max_cells= (None: any size), other resolutions=, "
            "or a smaller min_patients=."
        )
    if usable < 2 * plan.n_signatures:
        warn(f"Only {counted(usable, 'cluster is', 'clusters are')} candidates for {2 * plan.n_signatures} signatures.")


def _tell(record: dict) -> None:
    scores, kind = record["scores"], record["params"]["score"]
    n = len(record["clusters"])
    logger.info("%d candidate clusters, %d signatures", n, len(record["signatures"]))
    logger.info("%s %.2f as published, optimistic: chosen on the same patients", kind, scores["score"].iloc[0])
    if NESTED in scores.index:
        row = scores.loc[NESTED]
        logger.info(
            "%s %.2f nested (95 %% interval %.2f to %.2f), p = %.3g",
            kind,
            *row[["score", "ci_low", "ci_high", "p_value"]],
        )
