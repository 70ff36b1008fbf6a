"""One correction for the tests of several tables: resolutions, niches, cell types, questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..._logging import logger
from ..._public import public
from ..._storable import storable
from ...cohort.checks import listed

if TYPE_CHECKING:
    from anndata import AnnData

CORRECTIONS = {"fdr_bh": "Benjamini-Hochberg", "fdr_by": "Benjamini-Yekutieli", "holm": "Holm"}


@public
def correct_together(
    results: Mapping[str, AnnData | pd.DataFrame],
    *,
    key: str = "compare_composition",
    p_column: str = "p_value",
    method: Literal["fdr_bh", "fdr_by", "holm"] = "fdr_bh",
    alpha: float = 0.05,
    copy: bool = False,
) -> pd.DataFrame | None:
    """Correct the p-values of several result tables as one family of tests.

    Who compares compositions at five resolutions, or within each of ten niches, and reports what is significant
    anywhere, has made all these tests. Each table corrects its own only. Here all of them are corrected together.

    Parameters
    ----------
    results
        Name of each analysis (a resolution, a niche), and where its table is: an AnnData with ``uns[key]["table"]``, or
        the table.
    key
        Key of ``uns``.
    p_column
        Column with p-values: ``"p_value"``, ``"p_reference"``, ``"p_patients"``.
    method
        ``"fdr_bh"`` (Benjamini and Hochberg 1995: false discovery rate of independent tests, or such that depend
        positively, as those of nested clusterings do), ``"fdr_by"`` (Benjamini and Yekutieli 2001: for any
        dependence) or ``"holm"`` (family-wise error).
    alpha
        Level below which corrected p-values count as significant.
    copy
        Whether the tables stay as they are. One table of all tests is returned either way.

    Returns
    -------
    One table of all tests, by corrected p-value: ``analysis``, ``name`` (the row), ``p_value``, ``q_together``,
    ``significant_together``. Without `copy` the last two columns are also written into each table; tests without
    p-value are NaN and do not count. Figures of comparisons then mark by ``q_together``.

    Raises
    ------
    TableError
        If a table or its column of p-values is missing, or values are not p-values.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(12, cells_per_patient=200, random_state=0)
    >>> results = {}
    >>> for column in ("type", "niche"):
    ...     results[column] = sfm.tl.composition(cells, column, patient_key="patient")
    ...     sfm.tl.compare_composition(results[column], "response")
    >>> table = sfm.tl.correct_together(results)
    >>> len(table) == results["type"].n_vars + results["niche"].n_vars
    True
    """
    if not results:
        raise TableError('results= is empty. Pass {"<name of the analysis>": <samples with a comparison>, ...}.')
    tables = {str(name): _table_of(str(name), one, key, p_column) for name, one in results.items()}
    parts = [
        pd.DataFrame({"analysis": name, "name": _names(table), "p_value": table[p_column].to_numpy(dtype=float)})
        for name, table in tables.items()
    ]
    joined = pd.concat(parts, ignore_index=True)
    joined["q_together"] = corrected(joined["p_value"].to_numpy(), method)
    joined["significant_together"] = (joined["q_together"] < alpha).to_numpy()
    logger.info(
        "%d of %d tests of %s are significant together (%s)",
        joined["significant_together"].sum(), joined["p_value"].notna().sum(), listed(tables), CORRECTIONS[method],
    )  # fmt: skip
    if not copy:
        for name, one in results.items():
            of_analysis = joined[joined["analysis"] == str(name)]
            target = one if isinstance(one, pd.DataFrame) else one.uns[key]["table"]
            for column in ("q_together", "significant_together"):
                target[column] = of_analysis[column].to_numpy()
            if not isinstance(one, pd.DataFrame):
                how = {"p_column": p_column, "method": method, "alpha": alpha, "analyses": np.array(list(tables))}
                one.uns[key]["together"] = storable(how | {"n_tests": int(joined["p_value"].notna().sum())})
    return joined.sort_values(["q_together", "p_value"], kind="stable", ignore_index=True)


def corrected(p: np.ndarray, method: str) -> np.ndarray:
    """Corrected p-values; NaN where there was no test.

    Examples
    --------
    >>> corrected(np.array([0.01, np.nan, 0.04]), "holm")
    array([0.02,  nan, 0.04])
    """
    from statsmodels.stats.multitest import multipletests

    q_values, tested = np.full(len(p), np.nan), np.isfinite(p)
    if tested.any():
        q_values[tested] = multipletests(p[tested], method=method)[1]
    return q_values


def _table_of(name: str, one: AnnData | pd.DataFrame, key: str, p_column: str) -> pd.DataFrame:
    table = one
    if not isinstance(one, pd.DataFrame):
        record = getattr(one, "uns", {}).get(key)
        table = record.get("table") if isinstance(record, Mapping) else None
        if not isinstance(table, pd.DataFrame):
            raise TableError(
                f"No table in uns[{key!r}] of {name!r} (results=); found {listed(getattr(one, 'uns', ()))}. Make one "
                "first, as with sfm.tl.compare_composition, or pass key=."
            )
    if p_column not in table:
        raise TableError(
            f"No column {p_column!r} in the table of {name!r} (p_column=); found {listed(table.columns, 20)}."
        )
    values = table[p_column].to_numpy(dtype=float)
    if ((values < 0) | (values > 1)).any():
        raise TableError(f"Column {p_column!r} in the table of {name!r} holds values outside of 0 to 1: no p-values.")
    return table


def _names(table: pd.DataFrame) -> list[str]:
    """Rows by their index; by their first columns of text where the index is only numbers."""
    if isinstance(table.index, pd.RangeIndex) or pd.api.types.is_integer_dtype(table.index.dtype):
        texts = [c for c in table if not pd.api.types.is_numeric_dtype(table[c]) and not str(c).startswith("signif")]
        if texts:
            return [" | ".join(map(str, row)) for row in table[texts].itertuples(index=False)]
    return [str(name) for name in table.index]
