"""``spatialfm survival``: do patients with another tissue live longer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, SpatialfmWarning, counted, listed
from .._keys import PATIENT_KEY, SAMPLES
from .._storable import write_uns
from ._analysis import STAGES, Analysis
from ._config import Draft, stored_names
from ._figures import forest_of_many, survival_curves
from ._stage import Done, Stage
from .patients import KINDS, name_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

OUTCOME = ("time_key", "event_key", "event_value", "entry_key")
FROM_COX = ("hazard_ratio", "ci_low", "ci_high", "p_value", "ph_p_value")
CAVEATS = (
    "Groups of patients are made from their tissue without the outcome, which only names them low and high: the "
    "log-rank test holds, but that 'high' does worse is true by construction.",
    "Fractions of one patient add up to 1: where one raises the hazard, another seems to lower it.",
    "p-values are corrected for all tests of their table (Holm). What has the smallest p here looks better than it is: "
    "a claim needs patients that took no part in the choice.",
)


def survival(
    analysis: Analysis,
    *,
    time_key: str = "time",
    event_key: str = "event",
    event_value: str | int | bool | Sequence[str | int] | None = None,
    entry_key: str | None = None,
    n_groups: int = 2,
    covariates: Sequence[str] = (),
    time_unit: str | None = None,
    alpha: float = 0.05,
    on_missing: Literal["raise", "drop"] = "raise",
) -> Done:
    """Group patients by their tissue and compare survival; one Cox regression for each phenotype and niche.

    Parameters
    ----------
    time_key
        Column of the cohort table: time to event or censoring, from 0 on.
    event_key
        Column of the cohort table: whether the event was seen (1) or not (0).
    event_value
        Value of event_key that means the event, where it does not hold 0 and 1.
    entry_key
        Column with the time at which a patient came under observation (late entry).
    n_groups
        Groups of patients.
    covariates
        Columns that each phenotype and niche is adjusted for in a second regression, such as [age, stage].
    time_unit
        Unit that the times are in, for the axis. Nothing is converted.
    alpha
        1 - confidence level.
    on_missing
        What becomes of patients without outcome or covariate: "raise" or "drop".
    """
    tables = {kind: _read(analysis, kind) for kind in KINDS}
    columns = list(map(str, next(iter(tables.values())).obs))
    settings = outcome_of(analysis.settings("survival"), columns)
    if absent := _no_outcome(analysis, columns, settings):
        return Done([absent])
    findings, tests, curves = [], [], []
    for kind, patients in tables.items():
        test, text = group_and_compare(patients, kind, settings, analysis.random_state)
        findings.append(text)
        if test is not None:
            tests.append(test)
            curves.append(patients.uns["kaplan_meier"]["table"].assign(by=kind))
            analysis.write_figure(f"survival_{kind}", partial(survival_curves, patients, kind, time_unit))
    alone = regressions(tables, settings, ())
    written = {"cox": alone}
    if covariates:
        written["cox_adjusted"] = regressions(tables, settings, stored_names(covariates, columns))
    if alone["p_value"].notna().any():
        analysis.write_figure("hazard_ratios", lambda: forest_of_many(alone, alpha))
    if tests:
        written["logrank"] = with_holm(pd.DataFrame(tests))
        written["kaplan_meier"] = pd.concat(curves)
    for name, table in written.items():
        analysis.write_csv(f"survival_{name}", table, index=False)
    for name in (one for one in ("cox", "cox_adjusted") if one in written and written[one]["p_value"].notna().any()):
        # whole, as all of it is corrected together; the report shows it with the results of the first kind
        write_uns(next(iter(tables.values())), f"{name}_of_each", {"regressions": written[name]})
    for kind, patients in tables.items():
        analysis.write_table(analysis.place(STAGES, f"survival_{kind}.h5ad"), patients)
    findings += _in_words(alone, alpha)
    return Done([*findings, *CAVEATS])


def _read(analysis: Analysis, kind: str) -> AnnData:
    """Compositions, whose columns bear names that say what they are: niches have numbers."""
    import anndata as ad

    patients = ad.read_h5ad(analysis.out / name_of(kind))
    if kind == "niches":
        patients.var_names = [f"niche {name}" for name in patients.var_names]
    return patients


def outcome_of(settings: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Settings whose columns bear the names that they have in tables."""
    keys = ("time_key", "event_key", "entry_key")
    return settings | {key: stored_names([settings[key]], columns)[0] for key in keys if settings[key] is not None}


def _no_outcome(analysis: Analysis, columns: Sequence[str], settings: dict[str, Any]) -> str | None:
    """Why there is nothing to do: columns of the default names that are not there, and that nobody asked for."""
    asked = {"time_key", "event_key"} & set(analysis.config.given.get("survival", {}))
    keys = [settings["time_key"], settings["event_key"]]
    if asked or set(keys) <= set(columns):
        return None
    return (
        f"skipped: the cohort has no columns {keys[0]!r} and {keys[1]!r} with one value per patient. Name yours: "
        "survival.time_key and survival.event_key."
    )


def group_and_compare(
    patients: AnnData, kind: str, settings: dict[str, Any], random_state: int
) -> tuple[dict[str, Any] | None, str]:
    """Groups by k-means, curves and log-rank test; or the sentence that says why there are none."""
    from ..tl import kaplan_meier, logrank, stratify

    outcome = {name: settings[name] for name in OUTCOME} | {"on_missing": settings["on_missing"]}
    kaplan_meier(patients, alpha=settings["alpha"], **outcome)  # an outcome that cannot be used is refused here
    try:
        stratify(patients, settings["n_groups"], random_state=random_state, **outcome)
        kaplan_meier(patients, "risk_group", alpha=settings["alpha"], **outcome)
        logrank(patients, "risk_group", random_state=random_state, **outcome)
    except SpatialfmError as error:  # too few different patients, or a group without any
        return None, f"by {kind}: no groups were compared. {error}"
    record = patients.uns["logrank"]
    sizes = {str(name): int(n) for name, n in record["groups"]["n"].items()}
    test = {
        "by": kind,
        "groups": "; ".join(f"{name}: {n}" for name, n in sizes.items()),
        "n": int(record["n"]),
        "events": int(record["events"]),
        "statistic": float(record["statistic"]),
        "p_value": float(record["p_value"]),
        "test": str(record["test"]),
        "outcome_decides": patients.uns["risk_group"]["params"]["outcome_decides"],
    }
    return test, (
        f"by {kind}: {test['n']} patients, {test['events']} events, groups {test['groups']}; log-rank "
        f"p = {test['p_value']:.3g}"
    )


def regressions(tables: dict[str, AnnData], settings: dict[str, Any], covariates: Sequence[str]) -> pd.DataFrame:
    """One Cox regression for each column of each table, alone or with covariates; a row for each."""
    import warnings

    from ..tl import cox

    outcome = {name: settings[name] for name in OUTCOME} | {"on_missing": settings["on_missing"]}
    rows = []
    for kind, patients in tables.items():
        for name in map(str, patients.var_names):
            row: dict[str, Any] = {"by": kind, "term": name, "per": "standard deviation"}
            row["adjusted_for"] = ", ".join(covariates)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SpatialfmWarning)  # each is in the column of caveats
                try:
                    fit = cox(
                        patients, [name, *covariates], standardize=True, alpha=settings["alpha"], copy=True, **outcome
                    )
                except SpatialfmError as error:
                    rows.append(row | {"caveats": f"not fitted: {error}"})
                    continue
            row |= {column: float(fit["table"].loc[name].get(column, np.nan)) for column in FROM_COX}
            row |= {"n": fit["n"], "events": fit["events"], "events_per_term": float(fit["events_per_term"])}
            rows.append(row | {"caveats": "; ".join(fit["doubts"])})
    frame = pd.DataFrame(rows)
    for name in (*FROM_COX, "n", "events", "events_per_term"):
        if name not in frame:  # none could be fitted
            frame[name] = np.nan
    return with_holm(frame)


def with_holm(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with p-values corrected for all tests in it that were made, after Holm."""
    from ..tl.survival.logrank import holm

    tested = frame["p_value"].notna()
    frame.insert(list(frame).index("p_value") + 1, "p_holm", np.nan)
    if tested.any():
        frame.loc[tested, "p_holm"] = holm(frame.loc[tested, "p_value"].to_numpy(float))
    return frame


def _in_words(alone: pd.DataFrame, alpha: float) -> list[str]:
    fitted = alone.dropna(subset="p_value")
    if fitted.empty:
        return [f"no Cox regression could be fitted ({alone['by'].iloc[0]}: {alone['caveats'].iloc[0]})"]
    best = fitted.loc[fitted["p_value"].idxmin()]
    findings = [
        f"of {counted(len(fitted), 'Cox regression')}, {best['term']!r} has the smallest p: hazard ratio "
        f"{best['hazard_ratio']:.2f} ({best['ci_low']:.2f} to {best['ci_high']:.2f}) per standard deviation, "
        f"p = {best['p_value']:.2g}, corrected {best['p_holm']:.2g}"
        + (" (not below " + f"{alpha:g})" if best["p_holm"] >= alpha else "")
    ]
    if missing := len(alone) - len(fitted):
        findings.append(f"{counted(missing, 'regression')} could not be fitted: see the column caveats")
    if doubtful := int((fitted["caveats"] != "").sum()):
        findings.append(f"{doubtful} of {len(fitted)} regressions have caveats: see the column of that name")
    return findings


def _check(draft: Draft) -> None:
    section, settings = draft.section("survival"), draft.settings("survival")
    for key in ("time_key", "event_key", "entry_key"):
        if isinstance(section.get(key), str):
            draft.check_columns(("survival", key), [settings[key]])
    draft.check_columns(("survival", "covariates"), settings["covariates"] or ())


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    """Outcomes and covariates that cannot be used, found before cells are segmented and embedded."""
    return read_before(settings, sdata[SAMPLES].obs if SAMPLES in sdata else pd.DataFrame())[1]


def read_before(settings: Mapping[str, Any], samples: pd.DataFrame) -> tuple[dict[str, Any] | None, list[str]]:
    """Patients and events that the stage will find, and what is in its way, from the table of samples.

    Columns that differ within a patient do not get as far as the table of patients.
    """
    from anndata import AnnData

    from ..tl import kaplan_meier

    said = outcome_of(dict(settings), list(map(str, samples)))
    if said["time_key"] not in samples or said["event_key"] not in samples:
        return None, []  # not asked for by the usual names; by others, the columns of the table were looked at
    covariates = stored_names(settings["covariates"] or (), list(map(str, samples)))
    keys = dict.fromkeys(key for key in (said["time_key"], said["event_key"], said["entry_key"], *covariates) if key)
    rows, problems = _one_of_each(samples, [key for key in keys if key in samples])
    if problems:
        return None, problems
    outcome = {name: said[name] for name in OUTCOME} | {"on_missing": said["on_missing"]}
    try:
        groups = kaplan_meier(AnnData(obs=rows), copy=True, **outcome)["groups"]
    except SpatialfmError as error:
        return None, [f"survival: {error}"]
    if said["on_missing"] == "raise":
        for key in (one for one in covariates if rows[one].isna().any()):
            without = rows.index[rows[key].isna()]
            problems.append(
                f"survival.covariates: {counted(len(without), 'patient has', 'patients have')} no value in {key!r}: "
                f"{listed(without, 5)}. Fill it in, or set on_missing: drop, which leaves them out."
            )
    sizes = {"patients": int(groups["n"].sum()), "events": int(groups["events"].sum())}
    return {"time_key": said["time_key"], "event_key": said["event_key"], **sizes}, problems


def _one_of_each(samples: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """One row per patient, and a problem for each column that has several values in one of them."""
    from ..cohort.one_value import differs

    unit = PATIENT_KEY if PATIENT_KEY in samples else None
    of_row = samples.index.astype(str) if unit is None else samples[unit].astype(str)
    codes, names = pd.factorize(np.asarray(of_row, dtype=object))
    problems = []
    for key in keys:
        wrong = np.flatnonzero(differs(samples[key], codes))
        if wrong.size:
            of_patient = samples[key][codes == codes[wrong[0]]]
            values = ["missing" if pd.isna(value) else value for value in pd.unique(of_patient)]
            n = len(np.unique(codes[wrong]))
            samples_shown = listed(of_patient.index, 4, quoted=False)
            problems.append(
                f"survival: {counted(n, 'patient has', 'patients have')} several values in column {key!r}, first "
                f"{names[codes[wrong[0]]]!r}: {listed(values, 4, quoted=False)} (samples {samples_shown}). "
                "What belongs to the patient is the same in all rows of the patient: correct the cohort table."
            )
    first = np.unique(codes, return_index=True)[1]
    return samples.iloc[first].set_axis(pd.Index(names, dtype=object), axis=0), problems


STAGE = Stage(
    name="survival",
    summary="survival of groups of patients, and hazard ratios",
    example="spatialfm survival results --time-key os_months --event-key died --covariates age",
    run=survival,
    clinical=lambda _: True,
    needs=("patients",),
    seeded=True,
    check=_check,
    before=_before,
)
