"""Groups of patients with similar composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._dense import dense
from ..._errors import SurvivalError, TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, layer_names
from ..._logging import logger
from ..._origin import Origin, patient_names, remember
from ..._public import public
from ..._storable import write_uns
from ...cohort.adjusted import survival_blocks
from ...cohort.batches import STANDARDIZE, tell_batches
from ...cohort.checks import as_names, check_anndata, check_split, listed
from ...cohort.circular import fractions_of
from ...cohort.design import read_covariates
from ...cohort.outcome import (
    NO_OUTCOME,
    EventValue,
    OnMissing,
    Outcome,
    column_as,
    named_outcome,
    observed_expected,
    read_block,
    read_outcome,
)
from ...cohort.replaced import remove_earlier
from ...cohort.selected import OnSelected, Selected, check_selected, columns_of, inherited, matrix_of
from ...cohort.survival_record import MODEL, groups_record
from ...learn.risk_groups import GroupTest, kmeans_by_size, placement

if TYPE_CHECKING:
    from anndata import AnnData

_ROW = column_as("row", "position")


@public
def stratify(
    patients: AnnData,
    n_groups: int = 2,
    *,
    layer: str | None = None,
    merge_into: int | None = None,
    cross_fit: int | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    use_outcome: bool = True,
    entry_key: str | None = None,
    n_permutations: int = 0,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
    random_state: int = 0,
    patient_key: str | None = PATIENT_KEY,
    on_missing: OnMissing = "raise",
    on_selected: OnSelected = "raise",
    key_added: str = "risk_group",
    copy: bool = False,
) -> pd.Series | None:
    """Group patients by k-means on their compositions: VirTues' risk groups.

    Without outcome the groups are ``"1"``, ``"2"``, ... from the largest to the smallest. With `time_key` and
    `event_key`, or an outcome that the table remembers (:func:`spatialfm.pp.set_outcome`), it does one of two things,
    which must not be confused:

    - It *names* the groups: they are ordered by their ratio of observed to expected events and called ``"low"`` and
      ``"high"`` (two groups) or ``"risk 1"``, ``"risk 2"``, ... The partition is what it was without outcome, and a
      log-rank test on it is as valid as any: it does not depend on names. Only that "high" does worse than "low" is
      true by construction, so neither a one-sided test nor a hazard ratio above 1 is evidence for a direction.
    - With `merge_into` it *decides* who is together: `n_groups` clusters are merged, in the order of their risk, into
      fewer groups. This is VirTues' recipe (4 clusters into 2; Methods, "Tissue structure-based risk stratification").
      Then the log-rank p-value on the same patients is optimistic, and :func:`spatialfm.tl.logrank` refuses it.
    - With `merge_into` and `cross_fit` patients are spread over that many folds, and those of each fold go to the group
      of the nearest cluster that was made, ordered and merged without them. No patient's outcome influences that
      patient's group, and curves are not flattered. The p-value of a log-rank test still is: it takes groups as given,
      while the outcomes of each fold made the groups of the others (Simon et al., Briefings in Bioinformatics 2011); on
      shuffled outcomes it is below 0.05 some three times too often. `n_permutations` gives one that holds.

    Parameters
    ----------
    patients
        Compositions, one row per patient, as from :func:`spatialfm.tl.composition`.
    n_groups
        Number of clusters.
    layer
        ``"clr"`` for centred log-ratios, or another layer (default: ``X``, the fractions, as VirTues does).
    merge_into
        Number of groups after merging clusters of similar risk; needs the outcome.
    cross_fit
        Number of folds; needs `merge_into`.
    time_key
        Column of ``obs`` with the time to event or censoring (default: as the table remembers).
    event_key
        Column of ``obs`` with the event (default: as the table remembers).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    use_outcome
        Whether an outcome that the table remembers is used; False: groups are those of compositions alone.
    entry_key
        Column of ``obs`` with the time at which a patient came under observation (left truncation), before `time_key`:
        expected events, by which groups are ordered and merged, count from then on.
    n_permutations
        Number of times that outcomes are shuffled between patients and groups are ordered and merged again, for a
        p-value that holds for any use of the outcome; needs the outcome.
    covariates
        Columns of ``obs``, or names in ``var``, at which the groups are tested: age, where it drives both tissue and
        survival. Groups stay as they are. The trend is that of the score test in a Cox model of the covariates, and
        outcomes are drawn anew from that model, as in :func:`spatialfm.tl.cut_point`; needs `n_permutations`.
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both survival and tissue then makes no small p-value. Groups stay as they are.
    random_state
        Seed of k-means, which is started 20 times, of folds and of permutations.
    patient_key
        Column of ``obs`` that must not repeat when an outcome is used, where there is one.
    on_missing
        What becomes of patients without outcome, where it is used: ``"raise"``, or ``"drop"``: they are grouped all the
        same, but do not count in the order and the merging of groups.
    on_selected
        What becomes of compositions that an outcome of these same patients made, by whatever way (signatures,
        :func:`spatialfm.tl.stratify` with `merge_into`, :func:`spatialfm.tl.cut_point`, cross-validated risk):
        ``"raise"``, since no test that takes them as given holds, or ``"mark"``: go on; the record states it.
    key_added
        Key of ``obs`` and ``uns`` that is written.
    copy
        Return the groups alone, a series of patients. Their table, the test and the model are only written.

    Returns
    -------
    None, or with `copy` the groups. Writes ``obs[key_added]``, a categorical (ordered from low to high risk, where the
    outcome was used), and ``uns[key_added]`` with ``groups`` (``n``, with outcome also ``observed`` and ``expected``
    events), ``centers`` (mean composition of each group), with `n_permutations` ``test`` (``statistic``, the
    standardised log-rank statistic of a trend from low to high, positive where high does worse; ``null_mean`` and
    ``null_sd`` of the permutations; one-sided ``p_value``; with `covariates` all at equal covariates, and
    ``p_value_unadjusted``), ``model``, from which
    :func:`spatialfm.tl.predict_survival` groups another cohort, and ``params``, where ``uses_outcome`` is a bool and
    ``outcome_decides`` is ``"nothing"``, ``"order"``, ``"partition"`` or ``"others' partition"`` (cross-fitted).

    Raises
    ------
    TableError
        If there are fewer different compositions than groups, or values are missing.
    SurvivalError
        If the outcome or covariates cannot be used or are missing, patients would be split, a group has no patient with
        outcome, or covariates tell the group.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> import spatialfm as sfm
    >>> fractions = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.15, 0.85]])
    >>> obs = pd.DataFrame({"time": [3, 2, 9, 8, 7], "event": [1, 1, 0, 1, 0]}, index=[f"P{i}" for i in range(5)])
    >>> patients = ad.AnnData(X=fractions, obs=obs)
    >>> sfm.tl.stratify(patients, 2, time_key="time", event_key="event")
    >>> patients.obs["risk_group"].tolist()
    ['high', 'high', 'low', 'low', 'low']
    """
    check_anndata(patients, "stratify", None if copy else key_added)
    if not use_outcome and (time_key is not None or event_key is not None):
        raise SurvivalError("use_outcome=False leaves out what time_key= and event_key= name. Pass one of them.")
    keys = named_outcome(patients, time_key, event_key, event_value) if use_outcome else None
    time_key, event_key = (None, None) if keys is None else (keys.time, keys.event)
    values = _values(patients, layer)
    # by value: whoever sorts the table gets the same groups
    columns = np.lexsort(np.sort(values, axis=0)[::-1])  # whichever stands first in the table
    order = np.lexsort((patients.obs_names.to_numpy(dtype=str), *values.T[columns[::-1]]))
    values, at = values[order], np.argsort(order)
    _check_plan(values, n_groups, merge_into, time_key)
    _check_folds(values, n_groups, merge_into, cross_fit)
    names_of_x = as_names(covariates)
    _check_test(n_permutations, names_of_x, block_key, time_key)
    if cross_fit is not None:
        check_split(patients, patient_key, None, SurvivalError)
    rests_on = matrix_of(patients) | columns_of(patients, names_of_x)
    selected = None if time_key is None else check_selected(patients, "stratify", rests_on, on_selected)
    outcome = None
    if keys is not None:
        outcome = read_outcome(
            patients, "stratify (order of the groups)", **keys.arguments(),
            entry_key=entry_key, patient_key=patient_key, on_missing=on_missing,
            columns=pd.DataFrame(
                {_ROW: at, **read_block(patients, block_key), **read_covariates(patients, names_of_x)},
                patients.obs_names,
            ),
        )  # fmt: skip

    blocks = None if outcome is None else survival_blocks(outcome, block_key, n_permutations)
    test = GroupTest(n_permutations, names_of_x, blocks, random_state, key_added)
    grouping = _grouped(values, outcome, n_groups, merge_into, cross_fit, test)
    groups = pd.Series(
        pd.Categorical.from_codes(grouping.codes[at], grouping.names, ordered=outcome is not None),
        index=patients.obs_names,
        name=key_added,
    )
    _explain(grouping.decides, groups)
    tell_batches("The groups", groups, patients.obs, STANDARDIZE)
    for origin in _origins(patients, grouping.decides, time_key, event_key):
        finer = grouping.clusters[at] if origin.how == "selected" else None
        remember(None if copy else patients, origin, groups, patients=patient_names(patients), finer=finer)
    if copy:
        return groups

    record = _tables(grouping, values, outcome, list(patients.var_names))
    remove_earlier(patients, key_added, groups)
    patients.obs[key_added] = groups
    record["params"] = {
        "n_groups": n_groups,
        "merge_into": merge_into or n_groups,
        "cross_fit": cross_fit or 0,
        "layer": layer or "X",
        "n_permutations": n_permutations,
        "covariates": np.array(names_of_x, dtype=object),
        "block_key": block_key or "",
        "random_state": random_state,
        **(NO_OUTCOME if keys is None else keys.params()),
        "entry_key": entry_key or "",
        "uses_outcome": outcome is not None,
        "outcome_decides": grouping.decides,
        **(Selected() if selected is None else selected).params(),
        DATA: fingerprint(
            patients,
            [*names_of_x, time_key, event_key, entry_key, block_key],
            x=layer is None or any(name not in patients.obs for name in names_of_x),
        ),
    }
    write_uns(patients, key_added, record)
    return None


@dataclass(frozen=True)
class _Grouping:
    """Groups of patients (rows in the order of their values), and what made them."""

    clusters: np.ndarray  # of k-means, before the outcome orders or merges them
    codes: np.ndarray
    elsewhere: np.ndarray  # groups of the clusters for other patients: all patients here decide
    names: list[str]
    decides: str  # what the outcome decides
    test: dict[str, Any] | None


def _grouped(
    values: np.ndarray,
    outcome: Outcome | None,
    n_groups: int,
    merge_into: int | None,
    cross_fit: int | None,
    test: GroupTest,
) -> _Grouping:
    """K-means, whose clusters are ordered or merged by the outcome, if there is one."""
    clusters = kmeans_by_size(values, n_groups, test.random_state)
    if outcome is None:
        return _Grouping(clusters, clusters, clusters, [str(i + 1) for i in range(n_groups)], "nothing", None)
    rows = outcome.columns[_ROW].to_numpy()
    if cross_fit is None:
        _events(outcome, clusters)  # refuses clusters without follow-up
    place = placement(values, clusters, rows, n_groups, merge_into or n_groups, cross_fit, test.random_state)
    seen = (outcome.time, outcome.event, outcome.entry)
    codes = elsewhere = place(*seen)
    decides = "order" if merge_into is None else "partition"
    if cross_fit is not None:
        elsewhere = placement(values, clusters, rows, n_groups, merge_into or n_groups, None, 0)(*seen)
        decides = "others' partition"
    tested = test.of(place, codes[rows], rows, outcome)
    return _Grouping(clusters, codes, elsewhere, _risk_names(merge_into or n_groups), decides, tested)


def _tables(grouping: _Grouping, values: np.ndarray, outcome: Outcome | None, columns: list[str]) -> dict[str, Any]:
    """Sizes and events of the groups, their means, what places other patients, and the test."""
    sizes = np.bincount(grouping.codes, minlength=len(grouping.names))
    table = pd.DataFrame({"n": sizes}, index=pd.Index(grouping.names, name="group"))
    if outcome is not None and sizes.all():
        table["observed"], table["expected"] = _events(outcome, grouping.codes)
    missing = np.full(values.shape[1], np.nan)
    means = [values[grouping.codes == i].mean(axis=0) if n else missing for i, n in enumerate(sizes)]
    model = groups_record(values, grouping.clusters, grouping.elsewhere, grouping.names, columns)
    record = {"groups": table, "centers": np.stack(means), MODEL: model}
    return record if grouping.test is None else record | {"test": grouping.test}


def _values(patients: AnnData, layer: str | None) -> np.ndarray:
    if layer is not None and layer not in patients.layers:
        raise TableError(f"No layer {layer!r} (layer=); found {listed(layer_names(patients))}.")
    values = patients.X if layer is None else patients.layers[layer]
    if values is None:
        raise TableError("samples has no X. Make compositions with sfm.tl.composition(cells, ...).")
    values = np.asarray(dense(values), dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise TableError(
            f"{counted(int(bad.sum()), 'row has', 'rows have')} missing or infinite values in {layer or 'X'}: "
            f"{listed(patients.obs_names[bad])}. Leave them out before this call."
        )
    return values


def _check_plan(values: np.ndarray, n_groups: int, merge_into: int | None, time_key: str | None) -> None:
    if merge_into is not None and (time_key is None or not 2 <= merge_into < n_groups):
        raise SurvivalError(
            f"merge_into={merge_into} needs time_key= and event_key=, and is at least 2 and less than "
            f"n_groups={n_groups}."
        )
    different = len(np.unique(values, axis=0))
    if different < n_groups:
        raise TableError(
            f"{different} different compositions cannot make {counted(n_groups, 'group')}. Pass a smaller n_groups=, "
            "or more samples."
        )


def _check_test(n_permutations: int, covariates: list[str], block_key: str | None, time_key: str | None) -> None:
    if (n_permutations or block_key is not None or covariates) and time_key is None:
        others = f"block_key={block_key!r}" if block_key is not None else f"covariates={covariates}"
        what = f"n_permutations={n_permutations}" if n_permutations else others
        raise SurvivalError(f"{what} needs time_key= and event_key=. Pass both, or leave it out.")
    if covariates and not n_permutations:
        raise SurvivalError(
            f"covariates={covariates} are what groups are tested at, and n_permutations=0 tests none. Pass "
            "n_permutations=, for example 999, or leave covariates= out."
        )


def _check_folds(values: np.ndarray, n_groups: int, merge_into: int | None, cross_fit: int | None) -> None:
    if cross_fit is None:
        return
    if merge_into is None:
        raise SurvivalError(
            f"cross_fit={cross_fit} without merge_into=: the outcome then only names the groups, and there is nothing "
            "to cross-fit."
        )
    if not 2 <= cross_fit <= len(values):
        raise SurvivalError(
            f"cross_fit={cross_fit} folds of {counted(len(values), 'patient')}. Pass 2 or more, at most as many."
        )
    if len(values) - -(-len(values) // cross_fit) < 2 * n_groups:
        raise SurvivalError(
            f"Without a fold, {counted(len(values), 'patient leaves', 'patients leave')} too few for "
            f"n_groups={n_groups}. Pass more folds or fewer groups."
        )


def _events(outcome: Outcome, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Observed and expected events of each group, of the patients that have an outcome."""
    n_groups = int(codes.max()) + 1
    with_outcome = codes[outcome.columns[_ROW]]
    observed, expected = observed_expected(outcome.time, outcome.event, with_outcome, n_groups, outcome.entry)
    if (empty := np.flatnonzero(expected == 0)).size:
        raise SurvivalError(
            f"{empty.size} of {n_groups} groups have no follow-up that reaches an event, so that they cannot be "
            "ordered by risk. Pass a smaller n_groups=, or use_outcome=False."
        )
    return observed.astype(int), expected


def _origins(patients: AnnData, decides: str, time_key: str | None, event_key: str | None) -> list[Origin]:
    """What the groups were made of."""
    origins = [Origin("stratify", "composition", of=fractions_of(patients))]
    how = {"order": "order", "partition": "selected", "others' partition": "held out"}.get(decides)
    if how is not None:
        # groups by composition may be found twice and are known by their names; merged by an outcome, under any name
        origins.append(replace(origins[0], how=how, outcome=(str(time_key), str(event_key))))
    return origins + inherited(patients, matrix_of(patients))


def _risk_names(n: int) -> list[str]:
    return ["low", "high"] if n == 2 else [f"risk {i + 1}" for i in range(n)]


def _explain(decides: str, groups: pd.Series) -> None:
    sizes = ", ".join(f"{name}: {count}" for name, count in groups.value_counts(sort=False).items())
    logger.info("Groups by composition: %s.", sizes)
    if decides == "order":
        logger.info(
            "The outcome named the groups but did not make them: a log-rank test on %r is valid as it is; the "
            "direction (%r does worse) holds by construction and is not a finding.",
            groups.name,
            groups.cat.categories[-1],
        )
    elif decides == "others' partition":
        logger.info(
            "No patient's outcome decided on that patient's group %r. A log-rank test takes groups as given, which "
            "these are not: its p-value is too small. Pass n_permutations= for one that holds.",
            groups.name,
        )
    elif decides == "partition":
        warn(
            f"The outcome decided which clusters were merged into {groups.name!r}: the log-rank p-value on these same "
            "patients is optimistic. Report it as such, pass cross_fit= and n_permutations=, or test on others."
        )
