"""How good the hits of a search are, beside what chance would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._errors import TableError, listed
from .._public import public


@public
def retrieval(
    hits: pd.DataFrame,
    *,
    labels: pd.Series | None = None,
    query_labels: pd.Series | None = None,
    compositions: pd.DataFrame | None = None,
    query_compositions: pd.DataFrame | None = None,
    k: Sequence[int] = (1, 3, 5),
    n_chance: int = 100,
    random_state: int = 0,
) -> pd.DataFrame:
    """Score hits by labels, by compositions, or both.

    KRONOS's measures (*Image retrieval*): ``accuracy@k``, the share of queries of which one of the first `k` hits has
    the query's label, and ``rmse@k``, the root mean squared error between the composition of the query and that of the
    best of the first `k` hits. ``precision@k`` is the mean share of the first `k` hits with the query's label.

    Parameters
    ----------
    hits
        From `spatialfm.tl.search`.
    labels, query_labels
        Label of each row of the index and of the query, by name; `query_labels` defaults to `labels`.
    compositions, query_compositions
        Fractions of cell types of the rows of the index and of the query, likewise.
    k
        Numbers of hits.
    n_chance, random_state
        Random searches that the chance level is the mean of (hits drawn from all rows of `labels` or `compositions`,
        leaving out the query itself), and their seed.

    Returns
    -------
    One row a measure and `k`: ``value``, ``chance``, ``low``, ``high`` (95 % interval of the mean over queries, from
    1,000 bootstrap draws), ``n`` queries. Queries with fewer than `k` hits are scored on those that they have.

    Raises
    ------
    TableError
        If there are neither labels nor compositions, or names are missing from them or have no value there.

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
    rng, rows = np.random.default_rng(random_state), []
    for what, of_index, of_query in (
        ("labels", labels, labels if query_labels is None else query_labels),
        ("compositions", compositions, compositions if query_compositions is None else query_compositions),
    ):
        if of_index is None:
            continue
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
        mine, theirs = of_query.loc[hits["query"]].to_numpy(), of_index.loc[hits["hit"]].to_numpy()
        draws = [_random(hits, of_index, rng) for _ in range(n_chance)]
        for n in k:
            for name, score in _scores(what).items():
                found = score(hits, mine, theirs, n)
                chance = np.mean([score(hits, mine, of_index.to_numpy()[draw], n).mean() for draw in draws])
                low, high = _bootstrap(found, rng)
                row = {"measure": f"{name}@{n}", "value": found.mean(), "chance": chance, "low": low, "high": high}
                rows.append(row | {"n": len(found)})
    return pd.DataFrame(rows)


def _check_kinds(of_index: pd.Series, of_query: pd.Series) -> None:
    """Refuse the label 1 of one table and "1" of the other, which would never be equal."""
    one, two = set(of_index.dropna()), set(of_query.dropna())
    if not one & two and (alike := {str(label) for label in one} & {str(label) for label in two}):
        raise TableError(
            f"labels= and query_labels= write {sorted(alike)[0]!r} in two ways, as number and as text: none of them is "
            "the same. Convert both: labels.astype(str), query_labels.astype(str)."
        )


def _scores(what: str) -> dict:
    if what == "labels":
        return {"accuracy": _accuracy, "precision": _precision}
    return {"rmse": _rmse}


def _accuracy(hits: pd.DataFrame, mine: np.ndarray, theirs: np.ndarray, k: int) -> np.ndarray:
    return _of_queries(hits, mine == theirs, k).any()


def _precision(hits: pd.DataFrame, mine: np.ndarray, theirs: np.ndarray, k: int) -> np.ndarray:
    return _of_queries(hits, mine == theirs, k).mean()


def _rmse(hits: pd.DataFrame, mine: np.ndarray, theirs: np.ndarray, k: int) -> np.ndarray:
    return _of_queries(hits, np.sqrt(((mine - theirs) ** 2).mean(axis=1)), k).min()


def _of_queries(hits: pd.DataFrame, values: np.ndarray, k: int):
    first = (hits["rank"] <= k).to_numpy()
    return pd.Series(values[first]).groupby(hits["query"].to_numpy()[first])


def _random(hits: pd.DataFrame, of_index: pd.Series | pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """A row of the index for each hit, never the query itself."""
    own = of_index.index.get_indexer(hits["query"])
    drawn = rng.integers(0, len(of_index) - (own >= 0))
    return drawn + ((own >= 0) & (drawn >= own))


def _bootstrap(values: pd.Series, rng: np.random.Generator, n: int = 1000) -> tuple[float, float]:
    values = values.to_numpy(float)
    means = values[rng.integers(0, len(values), (n, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
