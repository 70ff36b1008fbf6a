"""How far the cells of a patient move between time points, and in whom they move further."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ..._errors import TableError, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._optional import need
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import Adjustment, compared, welch
from ...cohort.checks import check_anndata, listed
from ...cohort.circular import made_of_fractions, say, without_p
from ...cohort.records import ShiftRecord
from ...cohort.representation import prepared
from ...cohort.time_points import TimePoints, read_time_points
from ...stats.patient_groups import benjamini_hochberg, two_groups
from ...stats.transport import squared_distance

if TYPE_CHECKING:
    from anndata import AnnData

MEASURES = ("distance", "null_distance", "shift")


@public
def distribution_shift(
    adata: AnnData,
    *,
    use_rep: str,
    time_key: str,
    patient_key: str = PATIENT_KEY,
    group_key: str | None = None,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
    library_key: str | None = SAMPLE_KEY,
    time_points: Sequence[str] | None = None,
    reference: str | None = None,
    epsilon: float = 1e-3,
    scale_cost: bool = True,
    debiased: bool = False,
    n_cells: int = 300,
    n_repeats: int = 5,
    min_cells: int = 100,
    max_iter: int = 10_000,
    tol: float = 1e-3,
    on_missing: Literal["raise", "drop"] = "raise",
    random_state: int = 0,
    key_added: str = "distribution_shift",
    copy: bool = False,
) -> ShiftRecord | None:
    r"""Measure how far each patient's cells move between time points, and compare groups of patients.

    The measure is the entropic 2-Wasserstein distance between the embeddings of a patient's cells at two time points
    (VirTues, Methods, *Quantifying treatment responses*), all cells of a time point weighing alike, whichever sample
    they come from. It is computed on random cells, several times, and is given with the distance expected without any
    shift: that between two halves of the cells of *one* time point.

    That null matters. Between two draws of `n` cells from the same tissue the distance is not 0, but often most of what
    is measured: the more columns an embedding has, the more. ``shift`` takes it away:
    :math:`\mathrm{shift}^2 = d^2 - (d_{11}^2 + d_{22}^2) / 2`, which for a pure translation of all cells by
    :math:`\delta` is :math:`|\delta|^2` up to the error of the draws. All patients are compared on the same number of
    cells, since the distance of draws depends on it. What the null does *not* hold is that two biopsies differ without
    any treatment, and that slides differ in staining: both are in ``shift``, and only the comparison of groups (or
    untreated patients) separates them from a response.

    Parameters
    ----------
    adata
        Cells of all patients and time points.
    use_rep
        Key of ``obsm`` or ``"X"``.
    time_key
        Column of ``obs`` with the time point.
    patient_key
        Column of ``obs`` with the patient.
    group_key
        Column of ``obs`` with the group of the patient (for example the response); None measures without comparing.
    covariates
        Columns of ``obs`` with one value per patient that the comparison of groups is adjusted for (age, stage). What
        is compared is one number per patient, the distance, so that a linear model of it (and of its ranks) by group
        and covariates does, with errors that do not assume equal spread (CR2, Satterthwaite), as in
        :func:`compare_composition`.
    block_key
        Column of ``obs`` with the site or batch of each patient: it has its own effect, and residuals are
        shuffled within it only (Freedman and Lane 1983).
    library_key
        Column of ``obs`` with the sample, to check that none belongs to two patients or time points; None skips that.
    time_points
        Time points in their order (default: categories in theirs; of text `reference` first, others by the alphabet,
        with a warning).
    reference
        Time point that all others are compared with (default: every pair of time points).
    epsilon
        Weight of the entropy. With `scale_cost` in units of the mean squared distance between two cells of the
        cohort, so that the same value means the same blur for any units of the embedding: at 1e-3 the plan is all
        but exact, at 1 cells are matched almost at random. Without, in squared units of the embedding, as published.
    scale_cost
        See `epsilon`. Distances are in the units of the embedding either way.
    debiased
        Report the Sinkhorn divergence (Feydy et al. 2019), which is 0 between equal sets at any `epsilon`; use it with
        an `epsilon` of about 0.01 or more. It takes the bias of the entropy away, not that of drawing few cells.
    n_cells
        Cells drawn from each time point for one distance, or half of the cells of the smallest time point, if less:
        the null needs two draws without a cell in common.
    n_repeats
        Draws; the standard error comes from them.
    min_cells
        Cells that a patient must have at a time point; fewer count as missing.
    max_iter
        Most iterations of Sinkhorn's algorithm.
    tol
        Sum of absolute errors of the marginals (which add up to 1) at which they end.
    on_missing
        ``"raise"`` or ``"drop"``: what to do with patients without group (covariate, block), and pairs of time points
        at which a patient has too few cells.
    random_state
        Seed of the draws.
    key_added
        Key of ``uns``.
    copy
        Return the tables instead of writing.

    Returns
    -------
    None, or with `copy` the record that is otherwise written into ``uns[key_added]``, with the keys ``table``,
    ``comparison`` (with `group_key`) and ``params``.

    ``table`` has one row per patient and pair of time points: ``patient``, ``group``, ``time_1``, ``time_2``,
    ``n_cells_1``, ``n_cells_2`` (there are), ``n_drawn``, ``distance``, ``null_distance`` and ``shift`` (negative
    where cells of two time points are nearer than those of one) in the units of the embedding, each with a standard
    error ``<name>_se`` (of the mean over the draws: how far other draws would move it; it is not an interval over
    biopsies), and ``converged``.

    ``comparison`` has one row per measure (``distance``, ``null_distance``, ``shift``), pair of time points and pair of
    groups, with patients as the unit: ``n_1``, ``n_2``, ``median_1``, ``median_2``, ``difference`` (2 minus 1),
    ``effect`` (rank-biserial correlation, positive where group 2 moves further) with its 95 % interval
    ``effect_low`` to ``effect_high``, ``p_value`` (the larger of Brunner and Munzel's test of ranks and Welch's of
    means, which do not assume equal spread; labels shuffled below 15 patients), ``mean_difference`` (2 minus 1) with
    ``mean_low`` and ``mean_high`` (95 %), ``q_value`` (Benjamini-Hochberg over the rows of a measure). With
    `covariates` or `block_key` effect, mean difference and p-value are those of the model, medians are as observed. A
    difference in ``null_distance`` means that one group's tissue is more diverse at each time point, which raises
    ``distance`` without any shift.

    Raises
    ------
    TableError
        If columns, time points, cells, patients or groups are missing or too few, or the embedding holds NaN.
    ClinicalError
        If a sample belongs to two patients or time points, or a patient to two groups or values of a covariate.

    Warns
    -----
    SpatialfmWarning
        If the algorithm did not converge for a patient, or nothing but the alphabet orders time points.

    Notes
    -----
    Published is the distance of all cells of both time points; here equally many of each are drawn, since the distance
    depends on their number, and columns are all that the embedding has (no components). The distance is the root of
    the cost :math:`\langle \pi, C \rangle` of the entropic plan. The published formula adds
    the entropy of the plan to it, a term of at most :math:`\varepsilon \log(n_1 n_2)` that depends on the number of
    cells. The algorithm is POT's log-stabilised Sinkhorn, begun at the potentials of the exact plan.

    See Also
    --------
    spatialfm.pl.shift : the figure.
    search_samples : the same distance between samples.

    Examples
    --------
    >>> import anndata as ad
    >>> import numpy as np
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> rng = np.random.default_rng(0)
    >>> names = [f"P{i}" for i in range(6)]
    >>> obs = pd.DataFrame([(p, t) for p in names for t in ("before", "after")], columns=["patient", "time_point"])
    >>> obs["arm"] = np.where(obs["patient"] < "P3", "placebo", "drug")
    >>> obs["sample"] = obs["patient"] + obs["time_point"]
    >>> obs = obs.loc[obs.index.repeat(120)].reset_index(drop=True)
    >>> obs.index = obs.index.astype(str)
    >>> latent = rng.normal(size=(len(obs), 3))
    >>> latent[(obs["arm"] == "drug") & (obs["time_point"] == "after"), 0] += 2  # two units further, in one arm
    >>> cells = ad.AnnData(obs=obs, obsm={"X_model": latent})
    >>> points = ["before", "after"]
    >>> sfm.tl.distribution_shift(
    ...     cells, use_rep="X_model", time_key="time_point", group_key="arm", time_points=points, n_repeats=2
    ... )
    >>> cells.uns["distribution_shift"]["table"].groupby("group")["shift"].median().round().to_dict()
    {'drug': 2.0, 'placebo': 0.0}
    """
    check_anndata(adata, "distribution_shift", None if copy else key_added)
    need("ot", "distribution_shift")
    _check_numbers(n_cells, n_repeats, min_cells)
    cohort = read_time_points(
        adata, time_key=time_key, patient_key=patient_key, group_key=group_key, library_key=library_key,
        time_points=time_points, reference=reference, min_cells=min_cells, on_missing=on_missing,
        covariates=covariates, block_key=block_key,
    )  # fmt: skip
    values, how = prepared(adata, use_rep)
    used = _used(cohort)
    n = min(n_cells, min(len(cohort.rows[key]) for key in used) // 2)
    if n < n_cells:
        logger.info("%d instead of %d cells are drawn: half of the cells of the smallest time point.", n, n_cells)
    scale = mean_squared_distance(values[np.concatenate([cohort.rows[key] for key in used])]) if scale_cost else 1.0
    if not scale > 0:
        raise TableError(f"All rows of {use_rep!r} are equal: there is nothing that could shift.")
    with threadpool_limits(1):  # the products of an iteration are too small to share: more threads only wait
        table = _measure(values, cohort, n, n_repeats, random_state, epsilon * scale, debiased, max_iter, tol)
    _warn_unconverged(table, epsilon, max_iter, tol)
    record: ShiftRecord = {"table": table}
    if group_key is not None:
        record["comparison"] = compare_shifts(table, cohort.groups, cohort.adjustment)
        if circle := made_of_fractions(adata, group_key):
            record["comparison"] = without_p(record["comparison"])
        say(circle, "the states of their cells")
    names = [covariates] if isinstance(covariates, str) else list(covariates or ())
    record["params"] = {
        "use_rep": use_rep, "preparation": how,
        DATA: fingerprint(adata, [time_key, patient_key, group_key, *names, block_key], obsm=[use_rep]),
        "time_key": time_key, "patient_key": patient_key, "group_key": group_key or "",
        "covariates": np.array(names, dtype=object), "block_key": block_key or "",
        "time_points": np.array(cohort.times), "groups": np.array(cohort.groups, dtype=str),
        "circular": "" if group_key is None else circle,
        "reference": reference or "", "epsilon": float(epsilon), "cost_scale": float(scale), "debiased": bool(debiased),
        "n_cells": int(n), "n_repeats": int(n_repeats), "max_iter": int(max_iter), "tol": float(tol),
        "random_state": int(random_state),
    }  # fmt: skip
    logger.info("Shifts of %d patients over %d pairs of time points", table["patient"].nunique(), len(cohort.pairs))
    if copy:
        return record
    write_uns(adata, key_added, record)
    return None


def mean_squared_distance(values: np.ndarray) -> float:
    """Mean squared distance between two rows drawn at random: twice the summed variance of the columns.

    Examples
    --------
    >>> mean_squared_distance(np.array([[0.0], [1.0]]))  # half of the draws are 1 apart, half the same row
    0.5
    """
    return float(2 * values.astype(np.float64).var(axis=0).sum())


def halves(rows: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two draws of `n` rows without a row in common."""
    drawn = rng.choice(rows, 2 * n, replace=False)
    return drawn[:n], drawn[n:]


def summarise(cost: np.ndarray, null: np.ndarray) -> dict[str, float]:
    """Distance, null distance and shift with their standard errors.

    Parameters
    ----------
    cost, null
        Squared distances of the draws ``(repeats,)``: between the time points, and within them (their mean).
    """
    excess, excess_se = float((cost - null).mean()), _se(cost - null)
    shift = float(np.sign(excess) * np.sqrt(abs(excess)))
    # the root's slope has no bound at 0; there the error of the root is the root of the error
    floor = np.sqrt(excess_se) if excess_se > 0 else 1.0
    return {
        "distance": float(np.sqrt(cost).mean()),
        "distance_se": _se(np.sqrt(cost)),
        "null_distance": float(np.sqrt(null).mean()),
        "null_distance_se": _se(np.sqrt(null)),
        "shift": shift,
        "shift_se": float(excess_se / (2 * max(abs(shift), floor / 2))),
    }


def compare_shifts(table: pd.DataFrame, groups: list[str], adjustment: Adjustment | None = None) -> pd.DataFrame:
    """One row per measure, pair of time points and pair of groups."""
    rows, effect = [], ("effect", "effect_low", "effect_high", "p_value")
    for measure in MEASURES:
        for (time_1, time_2), part in table.groupby(["time_1", "time_2"], sort=False):
            shifts_of = {group: part[part["group"] == group].set_index("patient")[measure] for group in groups}
            for group_1, group_2 in combinations(groups, 2):
                row = {"measure": measure, "time_1": time_1, "time_2": time_2, "group_1": group_1, "group_2": group_2}
                one, two = shifts_of[group_1], shifts_of[group_2]
                row |= two_groups(one.to_numpy(), two.to_numpy())
                mean = welch(one.to_numpy(), two.to_numpy())
                if adjustment is not None:
                    both, codes = pd.concat([one, two]), np.repeat([0, 1], [len(one), len(two)])
                    tested = compared(both.to_numpy(), adjustment.of(list(both.index)).rows(codes))
                    row |= {name: tested[name] for name in effect}
                    mean = tuple(tested[name] for name in ("difference", "low", "high"))
                rows.append(row | dict(zip(("mean_difference", "mean_low", "mean_high"), mean, strict=True)))
    result = pd.DataFrame(rows)
    result["q_value"] = np.nan
    for measure in MEASURES:
        of_measure = (result["measure"] == measure).to_numpy()
        result.loc[of_measure, "q_value"] = benjamini_hochberg(result.loc[of_measure, "p_value"])
    return result


def _used(cohort: TimePoints) -> list[tuple[str, str]]:
    """Every (patient, time point) that is compared."""
    return [
        (name, time)
        for name, pairs in cohort.pairs_of.items()
        for time in cohort.times
        if any(time in pair for pair in pairs)
    ]


def _measure(
    values: np.ndarray,
    cohort: TimePoints,
    n: int,
    n_repeats: int,
    random_state: int,
    reg: float,
    debiased: bool,
    max_iter: int,
    tol: float,
) -> pd.DataFrame:
    def squared(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
        x, y = values[one].astype(np.float64), values[two].astype(np.float64)
        return squared_distance(x, y, reg, debiased=debiased, max_iter=max_iter, tol=tol)

    rows, used = [], _used(cohort)
    names = list(cohort.pairs_of)
    for number, name in enumerate(
        progress_bar(
            names,
            desc="patients",
            unit="patient",
        )
    ):
        rng = np.random.default_rng([random_state, number])
        times = [time for who, time in used if who == name]
        drawn = {time: [halves(cohort.rows[name, time], n, rng) for _ in range(n_repeats)] for time in times}
        null = {time: np.array([squared(*pair) for pair in drawn[time]]) for time in times}
        for time_1, time_2 in cohort.pairs_of[name]:
            draws = zip(drawn[time_1], drawn[time_2], strict=True)
            between = np.array([squared(one[0], two[0]) for one, two in draws])
            worst = max(part[:, 1].max() for part in (between, null[time_1], null[time_2]))
            row: dict[str, Any] = {"patient": name}
            if cohort.group_of:
                row["group"] = cohort.group_of[name]
            row |= {"time_1": time_1, "time_2": time_2}
            row |= {"n_cells_1": len(cohort.rows[name, time_1]), "n_cells_2": len(cohort.rows[name, time_2])}
            row |= {"n_drawn": n} | summarise(between[:, 0], (null[time_1][:, 0] + null[time_2][:, 0]) / 2)
            rows.append(row | {"marginal_error": float(worst), "converged": bool(worst <= 2 * tol)})
    return pd.DataFrame(rows)


def _se(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _warn_unconverged(table: pd.DataFrame, epsilon: float, max_iter: int, tol: float) -> None:
    wrong = table[~table["converged"]]
    if len(wrong):
        texts = (
            f"{row.patient} ({row.time_1} to {row.time_2}: {row.marginal_error:.2g})" for row in wrong.itertuples()
        )
        warn(
            f"Sinkhorn's algorithm did not converge for {wrong['patient'].nunique()} of {table['patient'].nunique()} "
            f"patients in max_iter={max_iter} iterations: the marginals are off by more than tol={tol:g} for "
            f"{listed(texts, 5)}. Pass a larger epsilon (now {epsilon:g}), for example epsilon={10 * epsilon:g}, or a "
            "larger max_iter."
        )


def _check_numbers(n_cells: int, n_repeats: int, min_cells: int) -> None:
    if n_repeats < 2:
        raise TableError(f"n_repeats={n_repeats} leaves no standard error. Pass 2 or more, for example 5.")
    if min_cells < 4:
        raise TableError(f"min_cells={min_cells} leaves no two halves to compare. Pass 4 or more, for example 100.")
    if n_cells < 2:
        raise TableError(f"n_cells={n_cells} is too few for a distribution. Pass 2 or more, for example 300.")
