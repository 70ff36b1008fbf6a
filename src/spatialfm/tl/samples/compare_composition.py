"""Which cell types or niches are more frequent in one group of patients than in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed
from ...cohort.circular import made_of_fractions, say, tell_divided, without_p
from ...cohort.composition_rows import least_p, read_rows
from ...cohort.selected import OnSelected, check_selected, matrix_of
from ...stats.composition_groups import REFERENCE, ComparedRows, clr_t, compare, rank_test
from ...stats.patient_groups import benjamini_hochberg

if TYPE_CHECKING:
    from anndata import AnnData

CARRIERS = 3  # patients who carry a mean share below which a difference is attributed to them
Method = Literal["robust", "clr-t", "mannwhitney", "kruskal"]
NOTE = (
    "Shares of a patient add up to 1: where one type grows, the shares of all others fall. p_value and effect are of "
    "shares; p_reference and log2_fold_change are against the types that change least."
)


@public
def compare_composition(
    patients: AnnData,
    group_key: str,
    *,
    method: Method | None = None,
    groups: Sequence[str] | None = None,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
    pair_key: str | None = None,
    time_key: str | None = None,
    model: Literal["mixed"] | None = None,
    reference: str | Sequence[str] | None = None,
    patient_key: str | None = PATIENT_KEY,
    pseudocount: float = 0.5,
    alpha: float = 0.05,
    n_permutations: int = 4999,
    on_missing: Literal["raise", "drop"] = "raise",
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "compare_composition",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Compare compositions between groups of patients, one cell type (cluster, niche) at a time.

    Two questions are answered side by side. *Is the share of this type in the tissue different?* (``p_value``). Shares
    add up to 1, so that where one type grows the shares of all others fall, and this test calls them too. *Which types
    changed, so that the shares became what they are?* (``p_reference``) is answered against a frame: the half of the
    frequent types that changes least, or those that `reference` names. It holds as long as most types did not change,
    which data of shares alone cannot show.

    Both tests are made so that they hold in cohorts as they are. Numbers of cells differ between patients: pairs of
    patients are compared at the same number of cells (the larger sample is thinned in expectation), and means of
    shares do not depend on it. Groups scatter differently: neither test assumes that they do not. Groups are small:
    below 15 patients labels are shuffled, all ways where they are few.

    Parameters
    ----------
    patients
        Compositions from :func:`spatialfm.tl.composition`: of patients (``patient_key=``), or of samples for `model`,
        `pair_key` and `time_key`.
    group_key
        Column of ``obs``.
    method
        ``"robust"`` (default): Brunner and Munzel's test of ranks and Welch's test of the logits of mean shares (their
        errors do not fall where a mean misses the few patients who have much); ``p_value`` is the larger of both,
        because of skewed shares that scatter differently ranks differ where means do not, and the other way round. Of
        several groups Wald's test of relative effects (Konietschke et al. 2012) and Welch's analysis of
        variance. ``"clr-t"``: Welch's test of centred log-ratios at equally many cells, whose median difference over
        all types is taken away (as in LinDA, Zhou et al. 2022); types with fewer than five cells at that number are
        not tested. ``"mannwhitney"`` and ``"kruskal"``: the rank tests of shares, for comparison with published
        numbers: they take unequal spread and unequal numbers of cells for a difference. ANCOM-BC is not offered: it
        calls up to 29 % of unchanged types where numbers of cells differ.
    groups
        Two or more groups to compare, in this order (default: all, in the order of the categories or sorted).
    covariates
        Columns of ``obs`` that are adjusted for (age, stage): ranks and shares are modelled by group and covariates,
        with errors that do not assume equal spread (CR2, Satterthwaite's degrees of freedom).
    block_key
        Column of ``obs`` with the site, batch or slide: it has its own effect in the model, and labels are
        shuffled within it only.
    pair_key
        Column of ``obs`` with the patient where groups are within patients, as before and after treatment: samples of
        a patient and group are pooled, and labels are shuffled within patients.
    time_key
        Column of ``obs`` with two time points: changes within patients (later minus earlier, in the order of the
        categories) are compared between groups of patients. Of text the alphabet decides, with a warning: ``"post"``
        is before ``"pre"`` there.
    model
        ``"mixed"``: several samples of a patient, one row each. A random intercept of the patient (restricted
        likelihood) weighs them; errors are robust and count patients.
    reference
        Types that are known not to change (default: the half of the frequent types whose log-ratios change least).
    patient_key
        Column of ``obs`` with the patient; None if rows are patients.
    pseudocount
        Cells added to every count before the logarithms of ``"clr-t"``.
    alpha
        Level below which corrected p-values count as significant.
    n_permutations
        Shuffles, where they cannot all be gone through.
    on_missing
        ``"raise"`` or ``"drop"``: what to do with patients without group (covariate, block).
    random_state
        Seed.
    on_selected
        What becomes of fractions that an outcome of these same patients chose, as of signatures: ``"raise"``, or
        ``"mark"``: go on; ``params`` record it.
    key_added
        Key of ``uns``.
    copy
        Return ``table`` alone; ``params`` are only written.

    Returns
    -------
    None, or with `copy` the table; written into ``uns[key_added]["table"]``, with ``params``. One row per type, in the
    order of ``var``.

    For two groups: ``group_1``, ``group_2``, ``n_1``, ``n_2``, ``median_1``, ``median_2`` (of shares), their
    ``difference`` (2 minus 1); ``effect`` (rank-biserial correlation of the shares, from -1 to 1, positive where group
    2 has more) with its 95 % interval ``effect_low`` to ``effect_high``; ``mean_difference`` of shares with
    ``mean_low`` and ``mean_high``; ``log2_fold_change`` (2 over 1) against the frame with ``log2_low`` and
    ``log2_high`` (infinite where a group has none); for more groups ``n_<group>``, ``median_<group>``, ``effect``
    (epsilon squared: share of the variance of ranks, 0 to 1).

    For all: ``carriers``, how many patients carry the mean share in the group where they are fewest (all of them, if
    they have the same; 1, if one has all: the square of the sum over the sum of squares); ``p_ranks``, ``p_means``,
    ``p_value``, ``q_value`` (Benjamini-Hochberg over types) and ``significant`` of the shares; ``p_reference``,
    ``q_reference`` and ``significant_reference`` within the frame; ``in_reference``; ``only_share``: significant as a
    share, not within the frame, so that it may have changed because others did. Types that no compared patient has are
    not tested (NaN), nor is anything against a frame where there are two types only.

    Raises
    ------
    TableError
        If columns, counts or groups are missing, a group has fewer than three patients, a block or covariate determines
        the group, or a choice is unknown.
    ClinicalError
        If a patient has several rows of unknown meaning.

    Warns
    -----
    SpatialfmWarning
        If shares differ that do not within the frame, groups are so small that no p-value can reach `alpha`, or a
        difference rests on a mean that fewer than three patients carry; if nothing but the alphabet orders time points.

    Notes
    -----
    Skewed shares: where few patients of a group have most of a type, its mean share is theirs. Errors and degrees of
    freedom allow for that, so that such a group needs a larger difference; ``carriers`` is how many there are.

    See Also
    --------
    compare_enrichment : the same for who neighbours whom.
    correct_together : q-values over several comparisons.
    spatialfm.pl.compare_composition : the figure.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(24, cells_per_patient=300, effect_of="CD8 T", effect_size=-4.0)
    >>> patients = sfm.tl.composition(cells, "type", patient_key="patient")
    >>> sfm.tl.compare_composition(patients, "response")
    >>> table = patients.uns["compare_composition"]["table"]
    >>> table["p_value"].idxmin(), bool(table.loc["CD8 T", "effect"] > 0)  # responders have more
    ('CD8 T', True)
    """
    check_anndata(patients, "compare_composition", None if copy else key_added)
    _check_numbers(pseudocount, n_permutations)
    rows = read_rows(
        patients, group_key, groups, covariates, patient_key, pair_key, time_key, block_key, model, on_missing
    )
    selected = check_selected(patients, "compare_composition", matrix_of(patients), on_selected, error=TableError)
    method = _choose(method, rows)
    frame = _reference(patients, reference)
    _warn_small(rows, alpha)
    table, frame = compare(rows, frame, n_permutations, np.random.default_rng(random_state))
    table.index = pd.Index([str(name) for name in patients.var_names], name="type")
    _by_method(table, rows, method, pseudocount, random_state)
    table = finished(table, alpha)
    if circle := made_of_fractions(patients, group_key):
        table = without_p(table)
    say(circle, "these fractions")
    if not circle:
        tell_divided(patients, group_key)
    _say(table, listed(rows.names), alpha)
    if copy:
        return table
    keys = {"block_key": block_key, "pair_key": pair_key, "time_key": time_key}
    names = [covariates] if isinstance(covariates, str) else list(covariates or ())
    params = {"group_key": group_key, "method": method, "groups": np.array(rows.names), "alpha": float(alpha)}
    params |= {DATA: fingerprint(patients, [group_key, *names, *(v for v in keys.values() if v)], x=True), "note": NOTE}
    params |= {"model": rows.model, "covariates": np.array(names, dtype=object)} | {k: v or "" for k, v in keys.items()}
    params |= {"reference": table.index[frame].to_numpy(dtype=object), "reference_given": reference is not None}
    params |= {"patient_key": patient_key or "", "time_points": np.array(rows.time_names, dtype=object)}
    params |= {"pseudocount": float(pseudocount), "n_permutations": int(n_permutations)}
    params |= {"n_rows": len(rows.codes), "counts_known": rows.known, "random_state": random_state}
    params["rows"] = np.array(sorted(map(str, patients.obs_names[rows.places])), dtype=object)
    units = rows.units if rows.units is not None else rows.codes
    params["n_patients"] = int(len(np.unique(units)) if rows.units is not None else len(units))
    params |= {"circular": circle, **selected.params()}
    write_uns(patients, key_added, {"table": table, "params": params})
    return None


def finished(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Corrected p-values of both questions, and which shares may only follow others; in the order they are read."""
    table["q_value"] = benjamini_hochberg(table["p_value"])
    table["significant"] = (table["q_value"] < alpha).to_numpy()
    table[f"q_{REFERENCE}"] = benjamini_hochberg(table[f"p_{REFERENCE}"])
    table[f"significant_{REFERENCE}"] = (table[f"q_{REFERENCE}"] < alpha).to_numpy()
    table["only_share"] = (table["significant"] & (table[f"p_{REFERENCE}"] >= alpha)).to_numpy()
    last = ["p_ranks", "p_means", "p_value", "q_value", "significant", "in_reference"]
    last += [f"{name}_{REFERENCE}" for name in ("p", "q", "significant")] + ["only_share"]
    return table[[*(name for name in table if name not in last), *(name for name in last if name in table)]]


def _by_method(table: pd.DataFrame, rows: ComparedRows, method: str, pseudocount: float, random_state: int) -> None:
    """p-values of the other methods in place of those of ``"robust"``."""
    present = rows.counts.any(axis=0)
    if method in ("mannwhitney", "kruskal"):
        table.loc[present, "p_value"] = rank_test(method, rows.shares[:, present], rows.codes)
        table.drop(columns=["p_ranks", "p_means"], inplace=True)
    elif method == "clr-t":
        tested = clr_t(rows.counts[:, present], rows.codes, pseudocount, np.random.default_rng(random_state))
        for name, values in tested.items():
            table.loc[present, name] = values
        table.drop(columns=["p_ranks", "p_means"], inplace=True)


def _choose(method: str | None, rows: ComparedRows) -> str:
    if method is None:
        return "robust"
    if method == "robust":
        return method
    if rows.linear or rows.model != "groups":
        raise TableError(
            f'method="{method}" compares groups of patients without covariates, blocks, pairs or models. Leave method= '
            "out."
        )
    if method != "kruskal" and len(rows.names) > 2:
        raise TableError(
            f'method="{method}" compares two groups, and there are {len(rows.names)}: {listed(rows.names)}. Pass two '
            "of them as groups=, or leave method= out."
        )
    if method == "clr-t" and not rows.known:
        raise TableError(
            'method="clr-t" needs numbers of cells in layers["counts"] that X are the shares of. '
            "sfm.tl.composition writes them."
        )
    return method


def _reference(patients: AnnData, reference: str | Sequence[str] | None) -> np.ndarray | None:
    if reference is None:
        return None
    wanted = [reference] if isinstance(reference, str) else [str(name) for name in reference]
    names = [str(name) for name in patients.var_names]
    if absent := [name for name in wanted if name not in names]:
        raise TableError(f"No type {absent[0]!r} in var (reference=); found {listed(names, 20)}.")
    if not wanted or len(set(wanted)) == len(names):
        raise TableError("reference= names no type, or all: a frame is some of the types. Leave it out, or name some.")
    return np.isin(names, wanted)


def _check_numbers(pseudocount: float, n_permutations: int) -> None:
    if not pseudocount > 0:
        raise TableError(f"pseudocount={pseudocount} leaves no logarithm of an absent type. Pass for example 0.5.")
    if n_permutations < 99:
        raise TableError(f"n_permutations={n_permutations} leaves no p-value below 0.01. Pass for example 4999.")


def _warn_small(rows: ComparedRows, alpha: float) -> None:
    if (least := least_p(rows)) > alpha:
        warn(
            f"The groups are so small that no p-value below {least:.2g} is possible (all ways to form them are "
            f"counted), and alpha is {alpha:g}: nothing will be significant, for any difference. Look at effect "
            "and its interval."
        )


def _say(table: pd.DataFrame, names: str, alpha: float) -> None:
    logger.info(
        "%d of %d types differ in share between %s, %d within the frame of types that change least",
        table["significant"].sum(), len(table), names, table[f"significant_{REFERENCE}"].sum(),
    )  # fmt: skip
    if table["only_share"].any():
        warn(
            f"The shares of {listed(table.index[table['only_share']])} differ, but not against the types that change "
            "least (p_reference): shares add up to 1, and these may differ only because others changed. The column "
            "only_share marks them."
        )
    called = (table[["p_value", f"p_{REFERENCE}"]].min(axis=1) < alpha) & (table["carriers"] < CARRIERS)
    if called.any():
        some = [f"{name} ({n:.1f})" for name, n in table.loc[called, "carriers"].items()]
        warn(
            f"The difference of {listed(some)} rests on a group whose mean share fewer than {CARRIERS} patients carry "
            "(column carriers; 1: one patient has all): look at the patients with sfm.pl.composition before it is "
            "believed."
        )
