"""Which cell types or niches are more frequent in one group of patients than in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from .._errors import ClinicalError, TableError, warn
from .._fingerprint import DATA, fingerprint
from .._keys import PATIENT_KEY
from .._logging import logger
from .._public import public
from .._storable import write_uns
from ._check import check_anndata, listed, named, obs_column
from ._composition import centred_log_ratio
from ._group_test import LEAST, benjamini_hochberg, two_groups
from ._outcome import check_patients

if TYPE_CHECKING:
    from anndata import AnnData

Method = Literal["mannwhitney", "kruskal", "clr-t", "ancombc", "dirmult_ttest"]
METHODS = ("mannwhitney", "kruskal", "clr-t", "ancombc", "dirmult_ttest")
COMPOSITIONAL = ("clr-t", "ancombc", "dirmult_ttest")
DRAWS = 2000  # of patients, for the errors of log-ratios
INSTALL = 'pip install "spatialfm[composition]"'


@public
def compare_composition(
    samples: AnnData,
    group_key: str,
    *,
    method: Method | None = None,
    groups: Sequence[str] | None = None,
    patient_key: str | None = PATIENT_KEY,
    pseudocount: float = 0.5,
    alpha: float = 0.05,
    n_bootstrap: int = 2000,
    on_missing: Literal["raise", "drop"] = "raise",
    random_state: int = 0,
    key_added: str = "compare_composition",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Compare compositions between groups of patients, one cell type (cluster, niche) at a time.

    Fractions add up to 1: where one type grows, the fractions of all others fall, and a test of fractions calls them
    too. Whether that is an answer depends on the question. *Is the share of this type in the tissue different?* is
    what ``"mannwhitney"`` tests, with as few assumptions as there are. *Which types changed, so that the shares became
    what they are?* has an answer only with a further assumption, usually that most types did not change; it is
    what the compositional methods make.

    Parameters
    ----------
    samples
        Compositions of patients from :func:`spatialfm.tl.composition` with ``patient_key``.
    group_key
        Column of ``obs``.
    method
        ``"mannwhitney"`` (default for two groups): rank test of fractions. ``"kruskal"`` (default for more): the same
        for several groups. ``"clr-t"``: t-test of centred log-ratios, after the median difference over all types
        has been taken away. Centred log-ratios alone do not do: a type that grows *f*-fold lowers those of all `K`
        types by ``log(f) / K``. The median difference estimates that shift as long as fewer than half of the types
        change (LinDA, Zhou et al. 2022, takes the mode). Errors come from patients drawn again, with Welch's degrees of
        freedom, so that the error of the median counts: without, the test calls up to 9 % of unchanged types at the 5 %
        level. ``"ancombc"``: ANCOM-BC (Lin and Peddada 2020), which
        estimates it by a mixture; for 10 types or more. ``"dirmult_ttest"``: t-test of centred log-ratios over draws
        from a Dirichlet-multinomial, as ALDEx2 (Fernandes et al. 2014), which adds the error of counting few cells, but
        does not take the shift away. The last two are scikit-bio's; install it with
        ``pip install "spatialfm[composition]"``.
    groups
        Two or more groups to compare, in this order (default: all, in the order of the categories or sorted).
    patient_key
        Column of ``obs`` with the patient, to check that each has one row; None if rows are patients.
    pseudocount
        Cells added to every count before logarithms.
    alpha
        Level below which corrected p-values count as significant.
    n_bootstrap
        Draws of patients for the interval of the effect size; 0: none.
    on_missing
        ``"raise"`` or ``"drop"``: what to do with patients without group.
    random_state
        Seed.
    key_added
        Key of ``uns``.
    copy
        Return the table instead of writing.

    Returns
    -------
    None, or with `copy` the table; written into ``uns[key_added]["table"]``, with ``params``. One row a type, in the
    order of ``var``.

    For two groups: ``group_1``, ``group_2``, ``n_1``, ``n_2``, ``median_1``, ``median_2`` (of fractions), their
    ``difference`` (2 minus 1), ``effect`` (rank-biserial correlation of the fractions, from -1 to 1, positive where
    group 2 has more) with the bootstrap interval ``effect_low`` to ``effect_high`` (which has no width where the groups
    are fully apart), for compositional methods ``log2_fold_change`` (2 over 1) with ``log2_low`` and ``log2_high``
    (95 %), ``p_value``, ``q_value`` (Benjamini-Hochberg over types) and ``significant``.

    For more groups: ``n_<group>``, ``median_<group>``, ``effect`` (epsilon squared: share of the variance of ranks, 0
    to 1), ``p_value``, ``q_value``, ``significant``. Types that no compared patient has are not tested (NaN).

    Raises
    ------
    TableError
        If columns, counts or groups are missing, a group has fewer than three patients, or a method is unknown or not
        installed.
    ClinicalError
        If a patient has several rows.

    See Also
    --------
    compare_enrichment : the same for who neighbours whom.
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
    check_anndata(samples, "compare_composition", key_added)
    group, names = _read_groups(samples, group_key, groups, patient_key, on_missing)
    method = _choose(method, names)
    keep = group.notna().to_numpy()
    codes = group[keep].map({name: i for i, name in enumerate(names)}).to_numpy(int)
    fractions, counts = _read_values(samples, keep, method, pseudocount)
    rng = np.random.default_rng(random_state)
    if method == "kruskal":
        table = kruskal_table(fractions, codes, names)
    else:
        table = fraction_table(fractions, codes, names, n_bootstrap, rng)
        if method != "mannwhitney":
            present = fractions.any(axis=0)
            found = _TESTS[method](counts[:, present], codes, pseudocount, random_state)
            for column, values in found.items():
                table[column] = np.nan
                table.loc[present, column] = values
            table = table[[*(c for c in table if c != "p_value"), "p_value"]]
    table.index = pd.Index([str(name) for name in samples.var_names], name="type")
    table["q_value"] = benjamini_hochberg(table["p_value"])
    trusted = _trusted(method, int(table["p_value"].notna().sum()))
    table["significant"] = (table["q_value"] < alpha).to_numpy() & trusted
    logger.info("%d of %d types differ between %s", table["significant"].sum(), len(table), listed(names))
    if copy:
        return table
    params = {"group_key": group_key, "method": method, "groups": np.array(names), "alpha": float(alpha)}
    params |= {DATA: fingerprint(samples, [group_key], x=True), "trusted": trusted}
    params |= {"pseudocount": float(pseudocount), "n_bootstrap": int(n_bootstrap), "n_patients": int(keep.sum())}
    write_uns(samples, key_added, {"table": table, "params": params})
    return None


def fraction_table(
    fractions: np.ndarray, codes: np.ndarray, names: list[str], n_bootstrap: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Mann-Whitney test of each column between codes 0 and 1; columns of zeros are not tested."""
    rows = []
    for column in fractions.T:
        row = {"group_1": names[0], "group_2": names[1]}
        row |= two_groups(column[codes == 0], column[codes == 1], n_bootstrap, rng)
        if not column.any():
            row |= dict.fromkeys(("effect", "effect_low", "effect_high", "p_value"), np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def kruskal_table(fractions: np.ndarray, codes: np.ndarray, names: list[str]) -> pd.DataFrame:
    """Kruskal-Wallis test of each column, with epsilon squared."""
    from scipy import stats

    rows = []
    for column in fractions.T:
        parts = [column[codes == i] for i in range(len(names))]
        row: dict[str, float] = {f"n_{name}": len(part) for name, part in zip(names, parts, strict=True)}
        row |= {f"median_{name}": float(np.median(part)) for name, part in zip(names, parts, strict=True)}
        if not column.any():
            row |= {"effect": np.nan, "p_value": np.nan}
        elif np.ptp(column) == 0:
            row |= {"effect": 0.0, "p_value": 1.0}
        else:
            found = stats.kruskal(*parts)
            row |= {"effect": float(found.statistic / (len(column) - 1)), "p_value": float(found.pvalue)}
        rows.append(row)
    return pd.DataFrame(rows)


def clr_t(counts: np.ndarray, codes: np.ndarray, pseudocount: float, random_state: int = 0) -> dict[str, np.ndarray]:
    """t-test of centred log-ratios whose median difference over types is taken away.

    Examples
    --------
    One of five types doubles; nothing else changes but fractions:

    >>> counts = np.random.default_rng(0).poisson(1000, (40, 5)).astype(float)
    >>> counts[20:, 0] *= 2
    >>> found = clr_t(counts, np.repeat([0, 1], 20), 0.5)
    >>> found["log2_fold_change"].round(1) + 0.0, (found["p_value"] < 0.01).tolist()
    (array([1., 0., 0., 0., 0.]), [True, False, False, False, False])
    """
    from scipy import stats

    values, rng = centred_log_ratio(counts, pseudocount), np.random.default_rng(random_state)
    one, two = values[codes == 0], values[codes == 1]
    change = two.mean(axis=0) - one.mean(axis=0)
    change = change - np.median(change)
    # means of patients drawn again: the median is taken from the same patients, and its error counts
    weights = [rng.multinomial(len(part), np.full(len(part), 1 / len(part)), DRAWS) / len(part) for part in (one, two)]
    drawn = weights[1] @ two - weights[0] @ one
    smaller = min(len(one), len(two))
    error = (drawn - np.median(drawn, axis=1, keepdims=True)).std(axis=0) * np.sqrt(smaller / (smaller - 1))
    error[(one == one[0]).all(axis=0) & (two == two[0]).all(axis=0)] = 0.0  # not what is left of rounding
    parts = one.var(axis=0, ddof=1) / len(one), two.var(axis=0, ddof=1) / len(two)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / (len(one) - 1) + parts[1] ** 2 / (len(two) - 1))
        freedom = np.where(np.isfinite(freedom), freedom, smaller - 1)
        p = 2 * stats.t.sf(np.abs(change) / error, freedom)
    exact = error == 0  # all patients of a group alike
    p[exact] = np.where(change[exact] == 0, 1.0, 0.0)
    reach = stats.t.ppf(0.975, freedom) * error
    return _in_log2(change, change - reach, change + reach) | {"p_value": p}


def _ancombc(counts: np.ndarray, codes: np.ndarray, pseudocount: float, random_state: int) -> dict[str, np.ndarray]:
    ancombc = _from_skbio("ancombc")
    index = [f"row {i}" for i in range(len(counts))]
    metadata = pd.DataFrame({"second": codes.astype(float)}, index=index)
    table = pd.DataFrame(counts + pseudocount, index=index, columns=[f"type {i}" for i in range(counts.shape[1])])
    found = ancombc(table, metadata, "second", p_adjust=None).result
    found = found.xs("second", level="Covariate").loc[list(table.columns)]
    change, error = found["Log(FC)"].to_numpy(float), found["SE"].to_numpy(float)
    return _in_log2(change, change - 1.96 * error, change + 1.96 * error) | {"p_value": found["pvalue"].to_numpy(float)}


def _dirmult_ttest(
    counts: np.ndarray, codes: np.ndarray, pseudocount: float, random_state: int
) -> dict[str, np.ndarray]:
    dirmult_ttest = _from_skbio("dirmult_ttest")
    grouping = np.where(codes == 1, "second", "first")
    found = dirmult_ttest(
        counts, grouping, treatment="second", reference="first", pseudocount=pseudocount, p_adjust=None,
        seed=random_state,
    )  # fmt: skip
    columns = {"log2_fold_change": "Log2(FC)", "log2_low": "CI(2.5)", "log2_high": "CI(97.5)", "p_value": "pvalue"}
    return {ours: found[theirs].to_numpy(float) for ours, theirs in columns.items()}


_TESTS = {"clr-t": clr_t, "ancombc": _ancombc, "dirmult_ttest": _dirmult_ttest}


def _from_skbio(name: str):
    try:
        import skbio.stats.composition as library
    except ImportError as error:
        raise TableError(
            f'method="{name}" needs scikit-bio, which is not installed. Install it with {INSTALL}, or pass '
            'method="clr-t", which does not need it.'
        ) from error
    return getattr(library, name)


def _in_log2(change: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    names = ("log2_fold_change", "log2_low", "log2_high")
    return {name: values / np.log(2) for name, values in zip(names, (change, low, high), strict=True)}


def _choose(method: str | None, names: list[str]) -> str:
    if method is None:
        return "mannwhitney" if len(names) == 2 else "kruskal"
    if method not in METHODS:
        raise TableError(f"method={method!r} is not known. Pass one of {listed(METHODS, 8)}.")
    if method != "kruskal" and len(names) > 2:
        raise TableError(
            f'method="{method}" compares two groups, and there are {len(names)}: {listed(names)}. Pass two of them as '
            'groups=, or method="kruskal".'
        )
    return method


def _read_groups(
    samples: AnnData, group_key: str, groups: Sequence[str] | None, patient_key: str | None, on_missing: str
) -> tuple[pd.Series, list[str]]:
    """Group of each row (None: not compared), and the groups in their order."""
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    if group_key not in samples.obs:
        raise TableError(
            f"No column {group_key!r} in obs (group_key=); found {listed(samples.obs.columns, 12)}. A column of the "
            "cell table comes along with sfm.tl.composition only if each patient has one value of it."
        )
    check_patients(samples, patient_key, error=ClinicalError, unit="compared, not samples")
    column = obs_column(samples, group_key, "group_key", allow_missing=True)
    missing = column.isna()
    if missing.any() and on_missing == "raise":
        raise TableError(
            f"{int(missing.sum())} of {len(column)} patients have no value in obs[{group_key!r}] (group_key=): "
            f'{listed(column.index[missing])}. Fill them, or pass on_missing="drop" to leave them out.'
        )
    values = named(column, "group_key")
    text, present = values.astype(object).where(~missing, None), list(values.cat.categories)
    if groups is not None:
        wanted = list(dict.fromkeys(str(name) for name in groups))
        if absent := [name for name in wanted if name not in present]:
            raise TableError(f"No patient is in {absent[0]!r} (groups=); obs[{group_key!r}] has {listed(present, 12)}.")
        present, text = wanted, text.where(text.isin(wanted), None)
    if len(present) < 2:
        raise TableError(
            f"One group to compare, {listed(present)} of obs[{group_key!r}] (group_key=); two are the least."
        )
    sizes = text.value_counts()
    if few := [f"{name}: {sizes[name]}" for name in present if sizes[name] < LEAST]:
        raise TableError(
            f"Groups of obs[{group_key!r}] with fewer than {LEAST} patients cannot be compared: {listed(few, 12)}. "
            "Leave them out with groups=, or merge them."
        )
    return text, present


def _read_values(
    samples: AnnData, keep: np.ndarray, method: str, pseudocount: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Fractions and, where the method needs them, counts of the compared rows."""
    values = samples.X
    values = None if values is None else np.asarray(values.toarray() if hasattr(values, "toarray") else values, float)
    if values is None or not np.isfinite(values).all() or (values < 0).any() or not np.allclose(values.sum(axis=1), 1):
        raise TableError(
            "The rows of X do not add up to 1: these are no compositions. Make them with sfm.tl.composition(cells, "
            '"<column>", patient_key="patient").'
        )
    if samples.n_vars < 2:
        raise TableError("A composition of one type is 1 everywhere. Pass one of two types or more.")
    if method not in COMPOSITIONAL:
        return values[keep], None
    if not pseudocount > 0:
        raise TableError(f"pseudocount={pseudocount} leaves no logarithm of an absent type. Pass for example 0.5.")
    if "counts" not in samples.layers:
        raise TableError(
            f'method="{method}" needs numbers of cells in layers["counts"]; found {listed(samples.layers)}. '
            "sfm.tl.composition writes them."
        )
    counts = samples.layers["counts"]
    return values[keep], np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts, float)[keep]


def _trusted(method: str, n_types: int) -> bool:
    """Whether the test can be trusted on so many types; a warning says why not, and nothing counts as significant."""
    few = method == "ancombc" and n_types < 10
    if few:
        warn(
            f"ANCOM-BC estimates its correction from the changes of all types, and there are {n_types}; with fewer "
            'than 10 it is unreliable: no type is called significant. Compare with method="clr-t".'
        )
    return not few
