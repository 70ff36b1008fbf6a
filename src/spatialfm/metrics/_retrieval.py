"""How good the hits of a search are, compared with chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from .._errors import TableError, listed, warn
from .._public import public
from ..stats.jackknife import jackknife_variance, t_limits
from ..stats.random_hits import chance_of_any, draw_rows

UNKNOWN = -1  # code of a row whose patient is not known
OTHER_UNIT = 10.0  # ratio of sums of compositions from which they are in two units


@public
def retrieval(
    hits: pd.DataFrame,
    *,
    labels: pd.Series | None = None,
    query_labels: pd.Series | None = None,
    compositions: pd.DataFrame | None = None,
    query_compositions: pd.DataFrame | None = None,
    patients: pd.Series | None = None,
    query_patients: pd.Series | None = None,
    exclude: Literal["patient"] | None = "patient",
    k: Sequence[int] = (1, 3, 5),
    n_chance: int = 100,
    random_state: int = 0,
) -> pd.DataFrame:
    """Score hits by labels, by compositions, or both.

    Measures of KRONOS (*Image retrieval*): ``accuracy@k``, the share of queries of which one of the first `k` hits has
    the query's label, and ``rmse@k``, the root mean squared error between the composition of the query and that of the
    best of the first `k` hits. Measures of VirTues (Methods, *Information retrieval*): ``precision@k``, the mean share
    of the first `k` hits with the query's label, and ``l1@k``, the sum of the absolute differences of compositions, of
    the best of the first `k` hits (published for the first hit). VirTues' sliced Wasserstein distance between the
    pixels of images is not among them.

    A patient's tissue is most like itself. Hits of the query's own patient are therefore left out, the next ones move
    up, and chance is that of a search in the other patients.

    Parameters
    ----------
    hits
        From `spatialfm.tl.search`.
    labels
        Label of each row of the index, by name.
    query_labels
        Label of each row of the query, by name (default: `labels`).
    compositions
        Fractions of cell types of the rows of the index, by name.
    query_compositions
        Fractions of cell types of the rows of the query, by name (default: `compositions`).
    patients
        Patient of each row of the index, by name (default: what the column ``hit_patient`` of `hits` gives).
    query_patients
        Patient of each row of the query, by name (default: `patients`, or what the column ``query_patient`` of `hits`
        gives).
    exclude
        ``"patient"``: hits of the query's own patient are left out; None: they count.
    k
        Numbers of hits.
    n_chance
        Random searches that the chance of ``rmse`` and ``l1`` is the mean of.
    random_state
        Seed of these searches.

    Returns
    -------
    One row per measure and `k`: ``value`` (mean over queries), ``chance`` (of hits drawn without replacement from the
    rows of `labels` or `compositions`, without the query itself and, unless they count, the rows of its patient; exact
    for labels), ``low``, ``high`` (95 % interval), ``n`` queries, ``n_patients``, ``unit`` and ``p_mcnemar``. Queries
    with fewer than `k` hits are scored on those that they have, and so is chance. Hits of one query often come from
    one patient and are right or wrong together: if an embedding is uninformative, ``accuracy@k`` is then below its
    chance (``precision@k`` is not).

    The interval has patients as the unit: a jackknife that leaves each patient out of queries and hits, with Student's
    t. Where patients are not known (``unit`` is ``"query"``) it takes queries for independent of each other, which
    cells of one tissue are not. ``p_mcnemar`` is VirTues' test, of ``precision@k`` alone: hits that are right against
    those of one random search, each separately. It treats hits as independent and is too small where queries share
    patients: compare ``low`` with ``chance`` instead.

    Raises
    ------
    TableError
        If there are neither labels nor compositions, or names are missing from them or have no value there, or two
        compositions are of different types or units.

    Warns
    -----
    SpatialfmWarning
        If hits are of the query's own patient, or `hits` has columns of patients that `patients` lacks for some rows.

    Examples
    --------
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> hits = pd.DataFrame({"query": ["a", "a"], "rank": [1, 2], "hit": ["b", "c"]})
    >>> labels = pd.Series({"a": "T", "b": "B", "c": "T"})
    >>> sfm.metrics.retrieval(hits, labels=labels, k=[1, 2])["value"].tolist()
    [0.0, 0.0, 1.0, 0.5]
    """
    if labels is None and compositions is None:
        raise TableError("Pass labels=, compositions=, or both: there is nothing to score hits by.")
    if not len(hits):
        raise TableError("There are no hits to score.")
    hits = hits.sort_values(["query", "rank"], kind="stable")
    rng, tables = np.random.default_rng(random_state), []
    for what, of_index, of_query in (
        ("labels", labels, query_labels),
        ("compositions", compositions, query_compositions),
    ):
        if of_index is not None:
            _check(hits, what, of_index, of_index if of_query is None else of_query)
            if what == "compositions" and of_query is not None:
                of_query = _same_types(of_index, of_query)
            # in the order of names: random draws are independent of the order of rows
            tables.append((what, of_index.iloc[np.argsort(of_index.index.to_numpy(str), kind="stable")], of_query))
    index_names = tables[0][1].index
    if not all(of_index.index.is_unique for _, of_index, _ in tables):
        raise TableError("Names of labels= or compositions= repeat: hits could not be distinguished. Make them unique.")
    who = _patients(hits, index_names, patients, query_patients, exclude is None)
    rows = []
    for what, of_index, of_query in tables:
        ranked = _ranked(hits, of_index.index, who, itself=of_query is None, same_patient=exclude is None)
        query_truth = (of_index if of_query is None else of_query).loc[ranked.queries].to_numpy()
        rows += _score(what, ranked, query_truth, of_index.to_numpy(), k, n_chance, rng)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Ranked:
    """Hits as a matrix, one row per query."""

    queries: pd.Index
    rows: np.ndarray  # (queries, ranks) row of the index, -1 where there is no hit
    of_query: np.ndarray  # (queries,) patient, as a code
    of_index: np.ndarray  # (index,) likewise
    itself: np.ndarray  # (queries,) row of the index that is the query, -1 if none
    same_patient: bool
    unit: str

    def excluded(self, code: int) -> np.ndarray:
        """Rows of the index ``(index,)`` that queries of a patient may not find."""
        return (self.of_index == code) & (code != UNKNOWN) & (not self.same_patient)


def _ranked(
    hits: pd.DataFrame, names: pd.Index, who: tuple[pd.Series, pd.Series] | None, *, itself: bool, same_patient: bool
) -> _Ranked:
    queries, code = np.unique(hits["query"].to_numpy(), return_inverse=True)
    queries = pd.Index(queries)
    own = names.get_indexer(queries) if itself else np.full(len(queries), -1)
    of_index, of_query = np.full(len(names), UNKNOWN), np.full(len(queries), UNKNOWN)
    if who is not None:
        known = pd.Index(pd.unique(pd.concat([who[0].dropna(), who[1].dropna()])))
        of_index, of_query = (known.get_indexer(one.reindex(at)) for one, at in ((who[0], names), (who[1], queries)))
        of_index, of_query = np.asarray(of_index), np.asarray(of_query)
    hit_rows = names.get_indexer(hits["hit"])
    allowed = hit_rows != own[code]
    if not same_patient:
        allowed &= (of_index[hit_rows] != of_query[code]) | (of_query[code] == UNKNOWN)
    place = pd.Series(code[allowed]).groupby(code[allowed]).cumcount().to_numpy()
    rows = np.full((len(queries), int(place.max(initial=0)) + 1), -1)
    rows[code[allowed], place] = hit_rows[allowed]
    some = (rows >= 0).any(axis=1)
    if not some.any():
        raise TableError("No hit is of another patient than its query: there is nothing to score. Search with more k=.")
    unit = "query" if who is None or (of_query[some] == UNKNOWN).any() else "patient"
    return _Ranked(queries[some], rows[some], of_query[some], of_index, own[some], same_patient, unit)


def _score(
    what: str, ranked: _Ranked, query_truth: np.ndarray, index_truth: np.ndarray, ks: Sequence[int], n_chance: int,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:  # fmt: skip
    score = _same_label if what == "labels" else _differences
    values = score(query_truth[:, None], index_truth[ranked.rows])  # {measure: (queries, ranks)}
    is_hit = ranked.rows >= 0
    exact = _label_chance(ranked, query_truth, index_truth) if what == "labels" else None
    drawn = _random_rows(ranked, max(ks), 1 if what == "labels" else n_chance, rng)
    rows = []
    for n in ks:
        having = np.minimum(n, is_hit.sum(axis=1))  # chance, too, is given no more hits than there are
        for measure, value in values.items():
            best = {"accuracy": np.nanmax, "precision": np.nanmean}.get(measure, np.nanmin)
            observed = _mean_of_first(value, is_hit, n, best)
            if exact is None:
                chance = float(np.mean([_random_mean(query_truth, index_truth, one, having, measure) for one in drawn]))
            else:
                n_rows, n_right = exact
                each = chance_of_any(n_rows, n_right, having) if measure == "accuracy" else n_right / n_rows
                chance = float(np.nanmean(each))
            low, high = np.clip(_interval(value, is_hit, n, best, ranked), 0, 1 if exact is not None else np.inf)
            row = {"measure": f"{measure}@{n}", "value": observed, "chance": chance, "low": low, "high": high}
            row |= {"n": len(is_hit), "n_patients": _n_patients(ranked), "unit": ranked.unit, "p_mcnemar": np.nan}
            if measure == "precision":
                row["p_mcnemar"] = _mcnemar(value[:, :n], is_hit[:, :n], index_truth, query_truth, drawn[0][:, :n])
            rows.append(row)
    return rows


def _same_label(query_truth: np.ndarray, theirs: np.ndarray) -> dict[str, np.ndarray]:
    same = (query_truth == theirs).astype(float)
    return {"accuracy": same, "precision": same}


def _differences(query_truth: np.ndarray, theirs: np.ndarray) -> dict[str, np.ndarray]:
    apart = np.asarray(query_truth, dtype=float) - np.asarray(theirs, dtype=float)
    return {"rmse": np.sqrt((apart**2).mean(axis=-1)), "l1": np.abs(apart).sum(axis=-1)}


def _mean_of_first(value: np.ndarray, is_hit: np.ndarray, n: int, best: Callable) -> float:
    """Mean over queries of the best, or the mean, of the first `n` hits that are there."""
    first = is_hit & (is_hit.cumsum(axis=1) <= n)
    some = first.any(axis=1)
    return float(best(np.where(first[some], value[some], np.nan), axis=1).mean()) if some.any() else np.nan


def _interval(value: np.ndarray, is_hit: np.ndarray, n: int, best: Callable, ranked: _Ranked) -> tuple[float, float]:
    mean = _mean_of_first(value, is_hit, n, best)
    if ranked.unit == "query":
        first = is_hit & (is_hit.cumsum(axis=1) <= n)
        each = best(np.where(first, value, np.nan), axis=1)
        return t_limits(mean, each.var(ddof=1) / len(each) if len(each) > 1 else np.nan, len(each) - 1)
    of_hit = np.where(ranked.rows >= 0, ranked.of_index[ranked.rows], UNKNOWN)
    asking, hit_patients = np.unique(ranked.of_query), np.setdiff1d(of_hit, [UNKNOWN])
    # patients of both sides leave both at once; those of a second cohort are a second sample
    groups = [np.union1d(asking, hit_patients)] if np.intersect1d(asking, hit_patients).size else [asking, hit_patients]
    variance = 0.0
    for codes in groups:
        without = [
            _mean_of_first(
                value[ranked.of_query != code], (is_hit & (of_hit != code))[ranked.of_query != code], n, best
            )
            for code in codes
        ]
        variance += jackknife_variance(without)
    return t_limits(mean, variance, len(asking) - 1)


def _n_patients(ranked: _Ranked) -> int:
    return len(np.unique(ranked.of_query[ranked.of_query != UNKNOWN]))


def _label_chance(ranked: _Ranked, query_truth: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that each query may find, and those among them that have its label."""
    counts = pd.Series(theirs).value_counts()
    n = np.full(len(query_truth), float(len(theirs)))
    right = counts.reindex(query_truth).fillna(0).to_numpy(float)
    for code in np.unique(ranked.of_query):
        out = ranked.excluded(code)
        if out.any():
            of_label = ranked.of_query == code
            n[of_label] -= out.sum()
            right[of_label] -= (
                pd.Series(theirs[out]).value_counts().reindex(query_truth[of_label]).fillna(0).to_numpy(float)
            )
    still = ranked.itself >= 0
    if not ranked.same_patient:  # its patient's rows are gone already, and it with them
        still &= (ranked.of_index[ranked.itself] != ranked.of_query) | (ranked.of_query == UNKNOWN)
    n[still] -= 1
    right[still] -= theirs[ranked.itself[still]] == query_truth[still]
    return np.where(n > 0, n, np.nan), right


def _random_rows(ranked: _Ranked, k: int, n_draws: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of the index ``(queries, k)`` for each draw: -1 where a query may find no more."""
    drawn = [np.full((len(ranked.queries), k), -1) for _ in range(n_draws)]
    for code in np.unique(ranked.of_query):
        queries, free = np.flatnonzero(ranked.of_query == code), np.flatnonzero(~ranked.excluded(code))
        own = np.full(len(queries), -1)
        place = np.searchsorted(free, ranked.itself[queries])
        inside = (ranked.itself[queries] >= 0) & (place < len(free))
        inside[inside] = free[place[inside]] == ranked.itself[queries][inside]
        own[inside] = place[inside]
        for one in drawn:
            for mine, less in ((own < 0, 0), (own >= 0, 1)):  # of those that are in the index, one row less is free
                if mine.any() and len(free) > less:
                    rows = draw_rows(len(free) - less, int(mine.sum()), k, rng)
                    rows = rows + ((own[mine, None] >= 0) & (rows >= own[mine, None]))
                    one[queries[mine], : rows.shape[1]] = free[rows]
    return drawn


def _random_mean(
    query_truth: np.ndarray, theirs: np.ndarray, drawn: np.ndarray, having: np.ndarray, measure: str
) -> float:
    is_hit = (drawn >= 0) & (np.arange(drawn.shape[1]) < having[:, None])
    return _mean_of_first(_differences(query_truth[:, None], theirs[drawn])[measure], is_hit, drawn.shape[1], np.nanmin)


def _mcnemar(
    value: np.ndarray, is_hit: np.ndarray, theirs: np.ndarray, query_truth: np.ndarray, drawn: np.ndarray
) -> float:
    """VirTues' test: chi-squared of hits that only one of the two searches has right."""
    from scipy import stats

    width = min(value.shape[1], drawn.shape[1])
    both = is_hit[:, :width] & (drawn[:, :width] >= 0)
    search_right, random_right = (value[:, :width] == 1)[both], (theirs[drawn] == query_truth[:, None])[:, :width][both]
    one, two = int((search_right & ~random_right).sum()), int((random_right & ~search_right).sum())
    return float(stats.chi2.sf((one - two) ** 2 / (one + two), 1)) if one + two else 1.0


def _patients(
    hits: pd.DataFrame, names: pd.Index, patients: pd.Series | None, of_queries: pd.Series | None, same_patient: bool
) -> tuple[pd.Series, pd.Series] | None:
    """Patient of the rows of the index and of the queries, by name; None where they are not known."""
    in_hits = {"hit_patient", "query_patient"} <= set(hits.columns)
    if patients is None and not in_hits:
        return None
    queries = pd.Index(pd.unique(hits["query"]))
    of_hits = _by_name(hits, "hit") if in_hits else None
    if patients is None:
        of_index = of_hits
        if not same_patient and not names.isin(of_hits.dropna().index).all():
            warn(
                "Which patient the rows of the index are of is known of the hits alone: chance does not leave out all "
                "rows of the query's patient. Pass patients=, such as adata.obs['patient']."
            )
    else:
        of_index = _named(patients, names, "patients")
    if of_queries is not None:
        of_query = _named(of_queries, queries, "query_patients")
    elif in_hits:
        of_query = _by_name(hits, "query")
    else:
        of_query = _named(patients, queries, "query_patients")
    if not same_patient:
        own = of_index.reindex(hits["hit"]).to_numpy() == of_query.reindex(hits["query"]).to_numpy()
        own &= (hits["hit"] != hits["query"]).to_numpy()
        if n := int(own.sum()):
            warn(
                f"{n} of {len(hits)} hits are of the query's own patient and are left out. Search without them "
                "(the default), or pass exclude=None to count them."
            )
    return of_index, of_query


def _by_name(hits: pd.DataFrame, side: str) -> pd.Series:
    once = hits.drop_duplicates(side)
    column = once[f"{side}_patient"].astype(object)
    return pd.Series(column.where(column.isna(), column.astype(str)).to_numpy(), index=once[side].to_numpy())


def _named(series: pd.Series, names: pd.Index, argument: str) -> pd.Series:
    if missing := list(names[~names.isin(series.index)]):
        raise TableError(f"{argument}= lacks {len(missing)} of the names: {listed(missing, 3)}.")
    values = series[~series.index.duplicated()].reindex(names)
    if values.isna().any():
        raise TableError(
            f"{argument}= has no value for {int(values.isna().sum())} of the names: {listed(names[values.isna()], 3)}."
        )
    return _texts(values)


def _texts(series: pd.Series) -> pd.Series:
    """As text; the number 1.0 is that of an integer."""
    whole = pd.api.types.is_float_dtype(series.dtype) and bool((series % 1 == 0).all())
    return (series.astype("int64") if whole else series).astype(str)


def _check(
    hits: pd.DataFrame, what: str, of_index: pd.Series | pd.DataFrame, of_query: pd.Series | pd.DataFrame
) -> None:
    for column, known in (("hit", of_index), ("query", of_query)):
        if missing := list(pd.unique(hits.loc[~hits[column].isin(known.index), column])):
            raise TableError(f"{what}= lacks {len(missing)} of the names in {column!r}: {listed(missing, 3)}.")
    for names, known in ((hits["hit"], of_index), (hits["query"], of_query)):
        empty = known.isna() if isinstance(known, pd.Series) else known.isna().any(axis=1)
        if missing := list(known.index[empty & known.index.isin(names)]):
            raise TableError(
                f"{what}= has no value for {len(missing)} of the names: {listed(missing, 3)}. Leave their rows out "
                "of the index and of the queries."
            )
    if what == "labels":
        _check_kinds(of_index, of_query)


def _same_types(of_index: pd.DataFrame, of_query: pd.DataFrame) -> pd.DataFrame:
    """Compositions of the queries with their types in the order of those of the index."""
    if different := sorted(map(str, set(of_index.columns) ^ set(of_query.columns))):
        raise TableError(
            f"compositions= and query_compositions= are not of the same types: {listed(different)} is in one alone. "
            "Make both with the same categories; of a type that is in one alone the other has 0."
        )
    sums = [float(np.median(table.sum(axis=1))) for table in (of_index, of_query)]
    if min(sums) > 0 and max(sums) > OTHER_UNIT * min(sums):
        raise TableError(
            f"Rows of compositions= add up to {sums[0]:.3g}, of query_compositions= to {sums[1]:.3g}: they are not in "
            "one unit (fractions, percent, counts). Divide the rows of both by their sums."
        )
    return of_query[of_index.columns]


def _check_kinds(of_index: pd.Series, of_query: pd.Series) -> None:
    """Refuse the label 1 of one table and "1" of the other, which would never be equal."""
    index_labels, query_labels = set(of_index.dropna()), set(of_query.dropna())
    if not index_labels & query_labels and (
        alike := {str(label) for label in index_labels} & {str(label) for label in query_labels}
    ):
        raise TableError(
            f"labels= and query_labels= write {sorted(alike)[0]!r} in two ways, as number and as text: none would be "
            "the same. Convert both: labels.astype(str), query_labels.astype(str)."
        )
