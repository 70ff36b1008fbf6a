"""How many patients and cells a study needs, by simulation with the variability of a pilot cohort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from ..._dense import dense
from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed, obs_column
from ...cohort.outcome import EventValue, OnMissing, Outcome, check_patients, outcome_keys, read_outcome
from ...cohort.records import PowerRecord
from ...stats.power import FollowUp, Spread, auroc_p, composition_p, spread_of, survival_p

if TYPE_CHECKING:
    from anndata import AnnData

Question = Literal["composition", "survival", "auroc"]
FEWEST = 3  # patients in a group: below, no test is made
PILOT = 5  # patients, below which the spread between them cannot be estimated


@public
def power(
    patients: AnnData,
    question: Question,
    effect: float,
    *,
    cell_type: str | None = None,
    group_key: str | None = None,
    n_patients: Sequence[int] = (10, 20, 30, 40, 60, 80, 120),
    n_cells: int | Sequence[int] | None = None,
    share: float | None = None,
    target_power: float = 0.8,
    alpha: float = 0.05,
    n_tests: int = 1,
    n_simulations: int = 300,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    random_state: int = 0,
    key_added: str = "power",
    copy: bool = False,
) -> PowerRecord | None:
    """Estimate the power of a study of more patients or cells, from the patients of a pilot.

    Cohorts are simulated in which the effect is there, and tested as the package tests: the power is the share in which
    it is found. What differs between patients is taken from the pilot, which formulas for the number of cells ignore:
    cells of one patient are alike, so that ten times the cells are not ten times the evidence.

    Parameters
    ----------
    patients
        The pilot, one row per patient, as from :func:`spatialfm.tl.composition` with `patient_key`.
    question
        ``"composition"``: a cell type is more frequent in one of two groups
        (:func:`spatialfm.tl.compare_composition`; `effect` is the ratio of the mean shares). The share of the type and
        its spread between patients, without what counting adds, are the pilot's (beta-binomial, by moments).
        ``"survival"``: a feature goes with survival (Cox's score test, of two groups the log-rank test; `effect` is the
        hazard ratio of a standard deviation, or with `share` of two groups). Survival and censoring are the pilot's.
        ``"auroc"``: a score separates two groups (Brunner and Munzel's test; `effect` is the AUROC). Only the numbers
        of patients count.
    effect
        Size of the effect to be detected.
    cell_type
        Name in ``var`` of the cell type, for ``"composition"``.
    group_key
        Column of ``obs`` with groups of the pilot that differ already, for ``"composition"``: the spread is that within
        them.
    n_patients
        Numbers of patients, both groups together.
    n_cells
        Cells of each patient, one number or several (default: the pilot's median), for ``"composition"``.
    share
        Share of the patients in the second group (default: a half; for ``"survival"``, a feature that is continuous).
    target_power
        Power that is wanted.
    alpha
        Level of the test.
    n_tests
        Number of cell types (features) tested in the study: the level is divided by it (Bonferroni), which is a little
        less than what corrected q-values find.
    n_simulations
        Cohorts for each number of patients and cells.
    time_key
        Column of ``obs`` of the pilot with the time, for ``"survival"``
        (default: as the table remembers, see :func:`spatialfm.pp.set_outcome`; otherwise ``"time"``).
    event_key
        Column of ``obs`` of the pilot with the event, for ``"survival"``
        (default: as the table remembers, otherwise ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    patient_key
        Column of ``obs`` that must not repeat, where there is one.
    on_missing
        What becomes of rows of the pilot without outcome or group: ``"raise"``, or ``"drop"``.
    random_state
        Seed.
    key_added
        Key of ``uns`` that is written.
    copy
        Whether to return the result instead of writing it.

    Returns
    -------
    None, or with `copy` the dictionary that is otherwise written to ``uns[key_added]``: ``table``, a row per number of
    patients and cells, with ``n_patients``, ``n_1``, ``n_2`` (0 for a continuous feature, which has no groups),
    ``n_cells`` (0 where it does not matter), ``events`` (the mean; NaN likewise), ``power`` and its 95 % interval
    ``ci_low``, ``ci_high`` (Wilson's, of the number of simulations); ``needed``, a row per number of cells with
    ``n_patients``, the least of those tried from which on `target_power` is reached (0 if none); ``params``, with the
    pilot's ``mean_share`` and ``correlation`` (share of the variance that is between patients) where they were used.

    Raises
    ------
    TableError
        If the pilot has too few patients, counts or columns are missing, or an effect cannot be.
    SurvivalError
        If the pilot's outcomes cannot be used.

    Warns
    -----
    SpatialfmWarning
        If the pilot has fewer than 10 patients (events), so that its spread (survival) is uncertain.

    See Also
    --------
    spatialfm.pl.power : the figure.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(20, cells_per_patient=200)
    >>> pilot = sfm.tl.composition(cells, "type", patient_key="patient")
    >>> options = {"n_patients": [10, 40], "n_simulations": 50}
    >>> sfm.tl.power(pilot, "composition", 2.0, cell_type="CD8 T", **options)
    >>> table = pilot.uns["power"]["table"]
    >>> bool(table["power"].iloc[1] > table["power"].iloc[0])
    True
    """
    check_anndata(patients, "power", None if copy else key_added)
    check_patients(patients, patient_key)
    numbers = _numbers(n_patients, share)
    _check_effect(question, effect, cell_type, n_cells, group_key)
    rng = np.random.default_rng(random_state)
    if question == "composition":
        plan = _of_composition(patients, effect, cell_type, group_key, n_cells, on_missing, rng)
    elif question == "survival":
        keys = outcome_keys(patients, time_key, event_key, event_value)
        outcome = read_outcome(patients, "power", **keys.arguments(), patient_key=patient_key, on_missing=on_missing)
        plan = _of_survival(outcome, effect, share, rng)
        plan.params.update(keys.params())
        plan.columns.extend([keys.time, keys.event])
    else:
        plan = StudyPlan(lambda sizes, depth: (auroc_p(effect, sizes, rng), np.nan))

    table = _simulated(plan, numbers, n_simulations, alpha / n_tests)
    needed = _needed(table, target_power)
    params: dict[str, Any] = {
        "question": question,
        "effect": float(effect),
        "target_power": float(target_power),
    } | plan.params
    params |= {"share": 0.0 if share is None else float(share), "alpha": float(alpha), "n_tests": int(n_tests)}
    params |= {"group_key": group_key or "", "n_simulations": int(n_simulations), "random_state": random_state}
    params |= {"n_pilot": patients.n_obs, DATA: fingerprint(patients, plan.columns, x=question == "composition")}
    _log(needed, target_power)
    result = {"table": table, "needed": needed, "params": params}
    if copy:
        return result
    write_uns(patients, key_added, result)
    return None


@dataclass(frozen=True)
class StudyPlan:
    """How a cohort is drawn and tested, over which numbers of cells, and what the pilot gave for it."""

    draw: Callable[[tuple[int, int], int], tuple[float, float]]  # sizes, cells -> p-value, number of events
    depths: list[int] = field(default_factory=lambda: [0])
    params: dict[str, Any] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    two_groups: bool = True  # False: a continuous feature


def _of_composition(
    patients: AnnData, effect: float, cell_type: str | None, group_key: str | None, n_cells: object, on_missing: str,
    rng: np.random.Generator,
) -> StudyPlan:  # fmt: skip
    spread, depths = _pilot_spread(patients, cell_type, group_key, n_cells, on_missing)
    if not spread.mean * effect < 1:
        raise TableError(
            f"effect={effect:g} times a mean share of {spread.mean:.2f} is above 1. Pass a smaller effect=, or its "
            "inverse."
        )
    return StudyPlan(
        lambda sizes, depth: (composition_p(spread, effect, sizes, depth, rng), np.nan),
        depths,
        {"cell_type": str(cell_type), "mean_share": spread.mean, "correlation": spread.correlation},
        [group_key] if group_key else [],
    )


def _of_survival(outcome: Outcome, effect: float, share: float | None, rng: np.random.Generator) -> StudyPlan:
    _warn_small(int(outcome.event.sum()), "event", "survival")
    follow_up = FollowUp.of(outcome.time, outcome.event)
    return StudyPlan(
        lambda sizes, depth: survival_p(follow_up, effect, sum(sizes) if share is None else sizes, rng),
        two_groups=share is not None,
    )


def _log(needed: pd.DataFrame, target_power: float) -> None:
    for cells, n in zip(needed["n_cells"], needed["n_patients"], strict=True):
        of_cells = f" of {cells:,} cells" if cells else ""
        logger.info("Power of %g: %s", target_power, f"{n} patients{of_cells}" if n else f"not reached{of_cells}")


def _numbers(n_patients: Sequence[int], share: float | None) -> list[tuple[int, int]]:
    """Sizes of both groups for each number of patients."""
    if share is not None and not 0 < share < 1:
        raise TableError(f"share={share} is not a share of the patients in the second group. Pass one between 0 and 1.")
    numbers = sorted({int(n) for n in n_patients})
    sizes = [(n - round(n * (0.5 if share is None else share)), round(n * (share or 0.5))) for n in numbers]
    small = [n for n, pair in zip(numbers, sizes, strict=True) if min(pair) < FEWEST]
    if small or not numbers:
        raise TableError(
            f"n_patients={small or numbers} leaves fewer than {FEWEST} patients to a group. Pass larger numbers."
        )
    return sizes


def _check_effect(question: str, effect: float, cell_type: str | None, n_cells: object, group_key: str | None) -> None:
    if question == "auroc" and not 0 < effect < 1:
        raise TableError(f"effect={effect:g} is not an AUROC. Pass one between 0 and 1, such as 0.7.")
    if question != "auroc" and not (np.isfinite(effect) and effect > 0):
        what = "ratio of shares" if question == "composition" else "hazard ratio"
        raise TableError(f"effect={effect:g} is not a {what}. Pass a number above 0, such as 1.5.")
    if (question == "composition") != (cell_type is not None):
        raise TableError(
            "question='composition' asks about one cell type: pass cell_type=<name in var>."
            if question == "composition"
            else f"cell_type={cell_type!r} is for question='composition' only. Leave it out."
        )
    if n_cells is not None and question != "composition":
        raise TableError(f"n_cells={n_cells} is for question='composition' only. Leave it out.")
    if group_key is not None and question != "composition":
        instead = "Pass share= for a feature of two groups" if question == "survival" else "Leave it out"
        raise TableError(f"group_key={group_key!r} is for question='composition' only. {instead}.")


def _pilot_spread(
    patients: AnnData, cell_type: str | None, group_key: str | None, n_cells: object, on_missing: str
) -> tuple[Spread, list[int]]:
    """Share of the type over the patients of the pilot, and the numbers of cells to simulate."""
    if cell_type not in patients.var_names:
        raise TableError(f"No cell type {cell_type!r} in var (cell_type=); found {listed(patients.var_names)}.")
    if "counts" not in patients.layers:
        raise TableError(
            "The pilot has no layer 'counts' with numbers of cells. Make it with sfm.tl.composition(cells, <types>, "
            "patient_key=...)."
        )
    counts = dense(patients.layers["counts"]).astype(np.float64)
    codes = np.zeros(len(counts), int)
    keep = counts.sum(axis=1) > 0
    if group_key is not None:
        group = obs_column(patients, group_key, "group_key", rows="patients", allow_missing=on_missing == "drop")
        codes, keep = pd.factorize(group)[0], keep & group.notna().to_numpy()
    counts, codes = counts[keep], codes[keep]
    freedom = len(counts) - len(np.unique(codes))
    if len(counts) < PILOT or freedom < 2:
        raise TableError(
            f"The pilot has {counted(len(counts), 'patient')} with cells: too few to see how patients differ. "
            f"{PILOT} are the least, and three more than there are groups."
        )
    _warn_small(len(counts), "patient", "spread between patients")
    totals = counts.sum(axis=1)
    hits = counts[:, patients.var_names.get_loc(cell_type)]
    if not hits.any():
        raise TableError(f"No patient of the pilot has a cell of type {cell_type!r}: its share is not known.")
    depths = [int(np.median(totals))] if n_cells is None else sorted({int(n) for n in np.atleast_1d(n_cells)})
    if depths[0] < 1:
        raise TableError(f"n_cells={n_cells}: cells of a patient, 1 or more.")
    return spread_of(hits, totals, codes), depths


def _warn_small(n: int, unit: str, what: str) -> None:
    if n < 10:
        warn(f"The {what} comes from {counted(n, unit)}: the power is as uncertain as that.")


def _simulated(plan: StudyPlan, numbers: list[tuple[int, int]], n_simulations: int, level: float) -> pd.DataFrame:
    """Share of simulated cohorts with a p-value below the level."""
    cohorts = [(sizes, depth) for depth in plan.depths for sizes in numbers]
    rows = []
    for sizes, depth in progress_bar(cohorts, desc="power", unit="cohort size"):
        simulated = [plan.draw(sizes, depth) for _ in range(n_simulations)]
        hits = sum(p < level for p, _ in simulated)
        interval = stats.binomtest(hits, n_simulations).proportion_ci(method="wilson")
        events = float(np.mean([events for _, events in simulated]))
        groups = sizes if plan.two_groups else (0, 0)
        rows.append((sum(sizes), *groups, depth, events, hits / n_simulations, interval.low, interval.high))
    names = ["n_patients", "n_1", "n_2", "n_cells", "events", "power", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


def _needed(table: pd.DataFrame, target_power: float) -> pd.DataFrame:
    """Least number of patients from which on the power stays at the target, for each number of cells; 0 for none."""
    rows = []
    for cells, part in table.groupby("n_cells", sort=True):
        reached = part["power"].to_numpy() >= target_power
        stays = np.logical_and.accumulate(reached[::-1])[::-1]
        rows.append((int(cells), int(part["n_patients"].to_numpy()[stays][0]) if stays.any() else 0))
    return pd.DataFrame(rows, columns=["n_cells", "n_patients"])
