"""Signatures: phenotypes of the embedding that tell patients who do well from those who do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, counted, warn
from .._fingerprint import DATA, fingerprint
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._logging import logger
from .._public import public
from .._storable import write_obsm, write_uns
from . import _signature_clusters as clustering
from ._check import check_anndata
from ._outcome import EventValue, event_text
from ._replaced import remove_earlier
from ._representation import prepared
from ._signature_outcome import Outcome
from ._signature_patients import Patients, read_patients
from ._signature_search import (
    NESTED,
    OPTIMISTIC,
    Fold,
    Plan,
    Published,
    fold_scores,
    interval_of,
    mean_of_folds,
    mean_score,
    nested_folds,
    nested_predictions,
    p_value,
    published,
    shuffled,
    usable_clusters,
)

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
    resolutions: Sequence[float] = tuple(np.arange(4, 5.01, 0.05).round(2)),
    max_cells: int | None = 2000,
    n_neighbors: int = 15,
    n_signatures: int = 2,
    merge_overlap: float = 0.8,
    min_patients: int = 5,
    n_folds: int = 4,
    n_repeats: int = 10,
    n_repeats_model: int = 25,
    nested: bool = True,
    n_repeats_nested: int = 1,
    n_assign: int = 15,
    n_permutations: int = 200,
    on_missing: Literal["raise", "drop"] = "raise",
    n_jobs: int = 1,
    random_state: int = 0,
    key_added: str = "signatures",
    copy: bool = False,
) -> dict[str, object] | None:
    """Find clusters of cells whose frequency predicts the outcome, and say what that prediction is worth.

    VirTues' procedure (Methods, *Identification of FM-based biomarkers predictive of therapy response*): Leiden
    clusters at many resolutions; of each small enough cluster the share of a patient's cells, as rank 0 (absent) or 1
    to 3 (tertiles of the positive shares); how well the rank alone predicts the outcome in cross-validated logistic
    regression; the best clusters on either side (risk ratio above and below 1) together in one model.

    The published score of that model is optimistic: its clusters were chosen, among hundreds, on the patients that it
    is tested on, and so it is far above one half where there is nothing to find. It is given, under that name. Beside
    it stands the ``nested`` score, for which everything (clusters, tertiles, choice, model) is done anew without the
    patients of each fold, whose cells go to the cluster of their nearest cells in the training patients. That is the
    number to report; its p-value comes from shuffling outcomes between patients and repeating the procedure.

    Parameters
    ----------
    adata
        Cells with ``obsm[use_rep]``. Outcomes are columns of ``obs``, one value a patient.
    use_rep
        Key of ``obsm``, or ``"X"``.
    outcome
        Column with two values (responder or not), or ``(time, event)`` columns: then Cox regression replaces logistic,
        the concordance the AUROC, and observed over expected events the risk.
    positive
        Value of `outcome` that counts as response; not needed for 0/1 and true/false.
    event_value
        Value of the event's column that means the event, or several, where it does not hold 0 and 1.
    patient_key
        Column of ``obs`` with the patient, who is the unit of every split and every shuffle.
    library_key
        Column of ``obs`` with the sample, to check that none belongs to two patients; None skips that, and the usual
        name need not be there.
    resolutions
        Of Leiden.
    max_cells
        Clusters with fewer cells are candidates (None: all). In the folds of the nested score it shrinks with the
        number of cells.
    n_neighbors
        Of scanpy's graph.
    n_signatures
        Signatures on either side.
    merge_overlap
        Clusters of different resolutions that share this part of the cells that either has count once.
    min_patients
        Patients that must have the cluster, and must lack it or differ in rank, for it to be a candidate.
    n_folds, n_repeats, n_repeats_model
        Folds; repeats of cross-validation for one cluster, and for the model.
    nested
        Whether to compute the nested score. It clusters the cells `n_folds` times `n_repeats_nested` more.
    n_repeats_nested
        Partitions of the patients into folds that the nested score is a mean over.
    n_assign
        Nearest training cells that vote on the cluster of a held-out cell.
    n_permutations
        Shuffles of the outcome; 0 for no p-values of the scores.
    on_missing
        What becomes of patients without outcome: ``"raise"``, or ``"drop"``. Their cells take no part.
    n_jobs
        Processes for the clusterings, threads for the shuffles.
    random_state
        Seed.
    key_added
        Key that is written.
    copy
        Return the record instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``obsm[key_added]``, a table of true and false with a column a signature
    (``RS1``, ... for response, ``NRS1``, ... for non-response; with survival ``FS1`` favorable, ``AS1`` adverse), and
    ``uns[key_added]``:

    - ``scores``: two rows, optimistic and nested, with ``score``, ``sd`` over folds, ``ci_low`` and ``ci_high`` (of the
      nested one: 95 %, patients resampled within folds), ``null_mean`` (of the shuffles) and ``p_value``;
    - ``clusters``: all candidates with ``score`` (cross-validated, alone), ``ratio`` with interval, ``side``,
      ``p_value`` (score test), ``q_value`` (Benjamini-Hochberg over candidates), ``p_max`` (share of shuffles in which
      any candidate scores as high), ``n_cells``, ``n_patients``, ``resolution``, ``n_merged``, ``signature``;
    - ``signatures``: those that were chosen, with ``cut_1`` and ``cut_2`` of their ranks;
    - ``patients``: ranks, fractions, outcome, and the ``nested`` prediction that was made without the patient (ordered
      within a fold; log-odds or log-hazard);
    - ``null``: scores of the shuffles; ``params``.

    Raises
    ------
    TableError
        If the representation or a column is missing, patients would be split, there are fewer patients (of either
        outcome) than folds, or no cluster is small enough.
    ClinicalError
        If a patient has two outcomes, or a sample two patients.
    SurvivalError
        If times and events cannot be used.

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
    check_anndata(adata, "discover_signatures", key_added)
    plan = Plan(n_signatures, n_folds, n_repeats, n_repeats_model, min_patients)
    patients = read_patients(adata, patient_key, library_key, outcome, positive, event_value, n_folds, on_missing)
    values, how = prepared(adata[patients.rows] if patients.n_dropped else adata, use_rep)
    resolutions = _checked(resolutions, merge_overlap, n_signatures)
    limit = np.inf if max_cells is None else max_cells

    codes = clustering.cluster_cells(values, resolutions, n_neighbors, random_state, n_jobs)
    found = clustering.candidates(codes, limit, merge_overlap)
    shares = clustering.fractions(found, patients.codes, len(patients.names))
    cuts = clustering.cut_points(shares)
    ranks = clustering.ranks_of(shares, cuts)
    _check_candidates(ranks, plan, max_cells, resolutions)
    folds: list[Fold] = []
    if nested:
        options = (values, patients, resolutions, limit, merge_overlap, n_neighbors, n_assign)
        folds = list(nested_folds(*options, plan.n_folds, n_repeats_nested, n_jobs, random_state))

    observed = published(ranks, patients.outcome, plan, random_state)
    held_out = nested_predictions(folds, patients.outcome, plan, random_state)
    null = shuffled(ranks, folds, patients.outcome, plan, n_permutations, n_jobs, random_state)
    record = _record(patients, found, shares, cuts, ranks, observed, held_out, folds, null, resolutions, random_state)
    record["params"] = {
        "use_rep": use_rep,
        DATA: fingerprint(adata, [patient_key, *([outcome] if isinstance(outcome, str) else outcome)]),
        "preparation": how,
        "outcome": outcome if isinstance(outcome, str) else list(outcome),
        "positive": patients.positive,
        "event_value": event_text(event_value),
        "patient_key": patient_key,
        "resolutions": np.asarray(resolutions),
        "max_cells": max_cells or 0,
        "n_neighbors": n_neighbors,
        "merge_overlap": merge_overlap,
        "n_folds": n_folds,
        "n_repeats": n_repeats,
        "n_repeats_model": n_repeats_model,
        "n_permutations": n_permutations,
        "random_state": random_state,
        "score": patients.outcome.score_name,
        "n_patients": len(patients.names),
        "n_dropped": patients.n_dropped,
    }
    _tell(record)
    if copy:
        return record
    members = np.zeros((adata.n_obs, len(record["signatures"])), bool)
    for column, cluster in enumerate(observed.chosen):
        members[patients.rows, column] = found.members(cluster)
    remove_earlier(adata, key_added)
    of_cells = pd.DataFrame(members, index=adata.obs_names, columns=list(record["signatures"].index))
    write_obsm(adata, key_added, of_cells)
    write_uns(adata, key_added, record)
    return None


def _record(
    patients: Patients,
    found: clustering.Clusters,
    shares: np.ndarray,
    cuts: np.ndarray,
    ranks: np.ndarray,
    observed: Published,
    held_out: np.ndarray,
    folds: list[Fold],
    null: dict[str, np.ndarray],
    resolutions: Sequence[float],
    random_state: int,
) -> dict[str, object]:
    from scipy import stats

    outcome = patients.outcome
    names = _names(observed, outcome)
    p = outcome.test(ranks)
    cells = patients.codes
    table = pd.DataFrame(
        {
            "resolution": np.asarray(resolutions, float)[found.resolution],
            "n_cells": [int(found.members(k).sum()) for k in range(len(found.code))],
            "n_patients": (shares > 0).sum(axis=0),
            "n_merged": found.n_merged,
            "score": observed.scores,
            "ratio": observed.ratio[0],
            "ratio_low": observed.ratio[1],
            "ratio_high": observed.ratio[2],
            "side": np.where(observed.ratio[0] > 1, *outcome.sides),
            "p_value": p,
            "q_value": stats.false_discovery_control(p),
            "p_max": [p_value(score, null["best cluster"]) for score in observed.scores],
            "signature": [names.get(k, "") for k in range(len(found.code))],
        },
        index=pd.Index([f"r{resolutions[r]:g}_c{c}" for r, c in zip(found.resolution, found.code, strict=True)]),
    )
    chosen = observed.chosen
    signatures = table.iloc[chosen].drop(columns="signature").assign(cut_1=cuts[0, chosen], cut_2=cuts[1, chosen])
    signatures.insert(0, "cluster", signatures.index)
    signatures.index = pd.Index([names[k] for k in chosen], name="signature")
    by_patient = patients.table.copy()
    by_patient["n_cells"] = np.bincount(cells, minlength=len(by_patient))
    for k in chosen:
        by_patient[f"fraction_{names[k]}"], by_patient[f"rank_{names[k]}"] = shares[:, k], ranks[:, k]
    rows = {OPTIMISTIC: _row(observed.model, null[OPTIMISTIC], (np.nan, np.nan))}
    if folds:
        interval = interval_of(held_out, outcome, np.random.default_rng((random_state, 6)))
        rows[NESTED] = _row(fold_scores(held_out, outcome), null[NESTED], interval)
        by_patient["nested"] = mean_of_folds(held_out)
        by_patient["fold"] = np.argmax([fold.test for fold in folds if fold.repeat == 0], axis=0)
    scores = pd.DataFrame(rows).T
    scores.index.name = outcome.score_name
    return {
        "scores": scores,
        "clusters": table.sort_values("score", ascending=False),
        "signatures": signatures,
        "patients": by_patient,
        "null": pd.DataFrame({k: v for k, v in null.items() if k != NESTED or folds}),
    }


def _row(scores: np.ndarray, null: np.ndarray, interval: tuple[float, float]) -> dict[str, float]:
    score = mean_score(scores)
    return {
        "score": score,
        "sd": float(np.nanstd(scores)) if np.isfinite(scores).any() else np.nan,
        "ci_low": interval[0],
        "ci_high": interval[1],
        "null_mean": mean_score(null) if len(null) else np.nan,
        "p_value": p_value(score, null),
    }


def _names(observed: Published, outcome: Outcome) -> dict[int, str]:
    letters = {"response": "RS", "non-response": "NRS", "favorable": "FS", "adverse": "AS"}
    names, counts = {}, {}
    for k in observed.chosen:
        side = outcome.sides[0] if observed.ratio[0][k] > 1 else outcome.sides[1]
        counts[side] = counts.get(side, 0) + 1
        names[k] = f"{letters[side]}{counts[side]}"
    return names


def _checked(resolutions: Sequence[float], overlap: float, n_signatures: int) -> list[float]:
    found = [float(r) for r in np.unique(np.round(np.asarray(resolutions, float), 6))]
    if not found or found[0] <= 0:
        raise TableError(f"resolutions={list(resolutions)} must be positive numbers.")
    if not 0 < overlap <= 1:
        raise TableError(f"merge_overlap={overlap} is no share between 0 and 1.")
    if n_signatures < 1:
        raise TableError(f"n_signatures={n_signatures} finds none. Pass 1 or more.")
    return found


def _check_candidates(ranks: np.ndarray, plan: Plan, max_cells: int | None, resolutions: Sequence[float]) -> None:
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
