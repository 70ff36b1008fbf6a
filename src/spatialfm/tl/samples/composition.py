"""From a table of cells to a table of samples or patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import carry_origins
from ..._outcome import carry_outcome
from ..._public import public
from ..._storable import write_uns
from ...cohort.cases import patients_of_samples
from ...cohort.checks import check_anndata, codes_by_appearance, codes_of, listed, obs_column, order_of_names
from ...cohort.depth import Depth, depth_of
from ...cohort.doubled import say_doubled
from ...cohort.fitted import fitted_on_all
from ...cohort.one_value import differs
from ...cohort.selected import circular, columns_of, hand_on, inherited
from ...stats.depth import rarefied

if TYPE_CHECKING:
    from anndata import AnnData


@public
def composition(
    adata: AnnData,
    cluster_key: str,
    *,
    library_key: str = SAMPLE_KEY,
    patient_key: str | None = PATIENT_KEY,
    pseudocount: float = 0.5,
    cells_per_row: Depth = "all",
    random_state: int = 0,
) -> AnnData:
    """Cellular composition of each patient, or of each sample.

    The fingerprint that VirTues stratifies patients by (Methods, "Tissue structure-based risk stratification"):
    the proportions of phenotypes, or of clusters of the embedding, in a tissue.

    Parameters
    ----------
    adata
        Cell table, one row per cell.
    cluster_key
        Column of ``obs`` with the phenotype or cluster of each cell. Categories that no cell has stay as columns, so
        that two cohorts with the same categories have the same columns.
    library_key
        Column of ``obs`` with the sample.
    patient_key
        Column of ``obs`` with the patient: rows are patients, and the cells of a patient's samples are pooled, so that
        a sample weighs as much as it has cells. Patients, not samples, are what tests and survival analysis count.
        None: one row per sample.
    pseudocount
        Cells that are added to every category before the logarithm of ``layers["clr"]``, so that an absent phenotype
        has one.
    cells_per_row
        Cells of each sample or patient that are counted, drawn at random: ``"all"``; ``"even"``, as many of each as
        those with the fewest have (one row in ten, where it has far fewer, keeps what it has); or a number. Logarithms
        and absences depend on how many cells there are. Where that goes with the outcome, a classifier separates by
        numbers of cells instead of tissue; of equally many it cannot.
    random_state
        Seed of the draw.

    Returns
    -------
    AnnData of samples or patients by clusters, in their order of appearance. ``X`` holds fractions (rows add up to
    1), ``layers["counts"]`` numbers of cells, ``layers["clr"]`` centred log-ratios
    ``log(count + pseudocount) - mean(log(count + pseudocount))`` (Aitchison 1982), on which distances and linear
    models of compositions are meaningful. ``obs`` holds every column of ``adata.obs`` that is constant within all
    rows (the clinical ones), ``n_cells`` and ``n_samples`` (and ``n_cells_measured``, where fewer were drawn).
    ``uns["composition"]["params"]`` records the call; colours of the clusters come along, in the order of
    ``uns["composition"]["categories"]``.

    Raises
    ------
    TableError
        If a column is missing or incomplete.
    ClinicalError
        If a sample belongs to more than one patient.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> import spatialfm as sfm
    >>> obs = {"sample": ["s1", "s1", "s2", "s3"], "patient": ["A", "A", "A", "B"], "type": ["T", "B", "T", "B"]}
    >>> cells = ad.AnnData(obs=pd.DataFrame(obs, index=list("1234")))
    >>> patients = sfm.tl.composition(cells, "type")
    >>> patients.to_df().round(2)
          B     T
    A  0.33  0.67
    B  1.00  0.00
    """
    check_anndata(adata, "composition")
    if not pseudocount > 0:
        raise TableError(f"pseudocount={pseudocount} leaves no logarithm of an absent phenotype. Pass for example 0.5.")
    codes, categories = codes_of(obs_column(adata, cluster_key, "cluster_key"))
    samples = obs_column(adata, library_key, "library_key")
    rows = samples if patient_key is None else patients_of_samples(adata, samples, patient_key)
    row_codes, row_names = codes_by_appearance(rows)

    counts = cross_count(row_codes, codes, (len(row_names), len(categories)))
    obs = constant_columns(adata.obs.drop(columns=[cluster_key]), row_codes, row_names)
    measured = counts.sum(axis=1).astype(int)
    unit = "sample" if patient_key is None else "patient"
    if (depth := depth_of(cells_per_row, measured, "cells_per_row", unit=unit)) is not None:
        by_name = order_of_names(row_names)  # the order of cells decides nothing
        counts[by_name] = rarefied(counts[by_name], depth, np.random.default_rng(random_state))
        obs["n_cells_measured"] = measured
    obs["n_cells"] = counts.sum(axis=1).astype(int)
    sample_codes, sample_names = codes_by_appearance(samples)
    say_doubled(adata, sample_codes, sample_names, library_key)
    per_row = pd.DataFrame({"row": row_codes, "sample": sample_codes}).groupby("row")["sample"].nunique()
    obs["n_samples"] = per_row.sort_index().to_numpy()

    from anndata import AnnData

    row_key = patient_key or library_key
    result = AnnData(
        X=counts / counts.sum(axis=1, keepdims=True),
        obs=obs.drop(columns=row_key, errors="ignore"),
        var=pd.DataFrame(index=categories),
        layers={"counts": counts, "clr": centred_log_ratio(counts, pseudocount)},
    )
    # the name of a row is also a column, which is where the other tools look for it
    result.obs.insert(0, row_key, row_names)
    lost = [str(name) for name in adata.obs if name not in obs and name not in (cluster_key, row_key)]
    record = {
        "columns_left_out": np.array(lost, dtype=object),
        "categories": np.array(categories, dtype=object),  # in the order of their colours
        "params": {
            "circular": circular(adata, columns_of(adata, [cluster_key]), ("neighborhood",)),
            "cluster_key": cluster_key,
            "library_key": library_key,
            "patient_key": patient_key or "",
            "pseudocount": float(pseudocount),
            "fitted_on_all": fitted_on_all(adata, None, [cluster_key]),
            "cells_per_row": depth or "all",
            "random_state": random_state,
        },
    }
    write_uns(result, "composition", record)
    hand_on(result, inherited(adata, columns_of(adata, [cluster_key])))
    carry_origins(adata, result)
    carry_outcome(adata, result)
    if len(adata.uns.get(f"{cluster_key}_colors", ())) == len(categories):
        result.uns[f"{cluster_key}_colors"] = list(adata.uns[f"{cluster_key}_colors"])
    logger.info("Composition of %d rows by %d clusters from %d cells.", *result.shape, counts.sum())
    return result


def cross_count(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Contingency table of two vectors of codes."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def centred_log_ratio(counts: np.ndarray, pseudocount: float) -> np.ndarray:
    """Centred log-ratio of each row of counts."""
    logs = np.log(counts + pseudocount)
    return logs - logs.mean(axis=1, keepdims=True)


def constant_columns(obs: pd.DataFrame, row_codes: np.ndarray, row_names: list[str]) -> pd.DataFrame:
    """The columns that have one value in each row, as a table of rows.

    A column that would be constant but for missing values is left out with a warning: whether the value holds for the
    cells that lack it is undecidable here.
    """
    _, first = np.unique(row_codes, return_index=True)
    constant, incomplete = {}, {}
    for name in obs:
        if not differs(obs[name], row_codes).any():
            constant[name] = obs[name].array[first]
            continue
        codes = pd.factorize(obs[name])[0]  # -1: missing
        has_value = codes >= 0
        of_row = pd.Series(codes[has_value]).groupby(row_codes[has_value])
        if not has_value.all() and (of_row.nunique() <= 1).all():
            some = set(row_codes[~has_value]) & set(row_codes[has_value])
            incomplete[name] = [row_names[row] for row in sorted(some)]
    if incomplete:
        name, where = next(iter(incomplete.items()))
        warn(
            f"Columns {listed(incomplete)} of obs are missing for some but not all cells of a row ({name!r}: in "
            f"{listed(where)}) and were left out. Fill them with sfm.pp.add_clinical(adata, table, on=...)."
        )
    result = pd.DataFrame(constant, index=pd.Index(row_names))
    for name in result.select_dtypes("category"):
        result[name] = result[name].cat.remove_unused_categories()
    return result
