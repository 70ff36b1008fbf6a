"""Who lives around cells of one type, inside against outside of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, counted, warn
from .._fingerprint import DATA, fingerprint
from .._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from .._public import public
from .._storable import named_table, write_uns
from ._check import check_anndata, codes_of, listed, obs_column
from ._group_test import benjamini_hochberg
from ._neighborhood_composition import _coordinates, _libraries, _spatial_graph

if TYPE_CHECKING:
    from anndata import AnnData


@public
def neighborhood_contrast(
    adata: AnnData,
    cluster_key: str,
    *,
    cell_type: str,
    within: str,
    inside: str | None = None,
    n_neighbors: int = 10,
    library_key: str = SAMPLE_KEY,
    patient_key: str | None = PATIENT_KEY,
    spatial_key: str = SPATIAL,
    alpha: float = 0.05,
    key_added: str = "neighborhood_contrast",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Compare the neighbours of cells of one type inside and outside of a signature, niche or group.

    For every type of neighbour: its share among all neighbours of the cells inside and outside, the relative change,
    and a two-proportions z-test (VirTues, Fig. 5g, drawn as trees). Neighbours of one cell are neighbours of each
    other, and cells of one patient are alike, so that test takes far more for independent than is: its p-values
    (``p_cells``) are the published recipe, not evidence. ``p_patients`` is: shares are made per patient, and patients
    that have cells of the type both inside and outside are compared by Wilcoxon's signed-rank test.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs`` with the cell types.
    cell_type
        Type whose neighbours are looked at.
    within
        Column of ``obs`` that says who is inside: true or false, or a category with `inside`; or a signature, a column
        of a table in ``obsm``, as from :func:`spatialfm.tl.discover_signatures`.
    inside
        Category of `within`.
    n_neighbors
        Nearest cells of each cell that count, of the same sample.
    library_key, spatial_key
        Sample of each cell, and where it lies.
    patient_key
        Column of ``obs``; None leaves the test over patients out.
    alpha
        Level below which corrected p-values count as significant.
    key_added
        Key of ``uns``.
    copy
        Return the table instead of writing.

    Returns
    -------
    None, or with `copy` the table; written into ``uns[key_added]["table"]`` with ``params``. One row a type of
    neighbour: ``inside`` and ``outside`` (shares), ``relative_change`` (inside over outside, minus 1), ``z``,
    ``p_cells``, ``q_cells``, ``n_patients``, ``p_patients``, ``q_patients`` (q: Benjamini-Hochberg over the types),
    ``significant`` (by patients, so that nothing is where they are too few to be tested; with ``patient_key=None`` by
    cells).

    Raises
    ------
    TableError
        If the type, the group or cells on one side are missing.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> cells.obs["nest"] = cells.obs["niche"] == "tumor nest"
    >>> table = sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", copy=True)
    >>> bool(table.loc["Tumor", "relative_change"] > 0)
    True
    """
    check_anndata(adata, "neighborhood_contrast", key_added)
    codes, names = codes_of(obs_column(adata, cluster_key, "cluster_key"))
    cell_type = str(cell_type)
    if cell_type not in names:
        raise TableError(f"No cell type {cell_type!r} in obs[{cluster_key!r}]; found {listed(names, 20)}.")
    is_inside = _inside(adata, within, inside)
    of_type = codes == names.index(cell_type)
    for side, rows in (("inside", of_type & is_inside), ("outside", of_type & ~is_inside)):
        if not rows.any():
            raise TableError(f"No cell of type {cell_type!r} is {side} of {within!r}. Nothing can be compared.")
    counts = neighbour_counts(adata, codes, len(names), of_type, n_neighbors, library_key, spatial_key)
    side = is_inside[of_type]
    patients = None
    if patient_key is not None:
        patients = obs_column(adata, patient_key, "patient_key").astype(str).to_numpy()[of_type]
    table = contrast_table(counts, side, patients, names, alpha)
    tested = table["p_patients"].notna()
    if patients is not None and not tested.any():
        warn(
            f"{counted(table['n_patients'].iloc[0], 'patient has', 'patients have')} cells both inside and outside; "
            "five are the least for a test "
            "over patients. Only the test over cells is there, which is far too good."
        )
    if copy:
        return table
    record = {
        "table": table,
        "params": {
            "cluster_key": cluster_key,
            "cell_type": cell_type,
            "within": within,
            "inside": inside or "",
            "n_neighbors": n_neighbors,
            "n_inside": int(side.sum()),
            "n_outside": int((~side).sum()),
            "tested": "patients" if tested.any() else "cells" if patients is None else "nothing",
            DATA: fingerprint(adata, [cluster_key, within, patient_key]),
            "alpha": alpha,
        },
    }
    write_uns(adata, key_added, record)
    return None


def contrast_table(
    counts: np.ndarray, side: np.ndarray, patients: np.ndarray | None, names: list[str], alpha: float
) -> pd.DataFrame:
    """Neighbours of each type ``(cells, types)`` of the cells of one side against those of the other."""
    from scipy import stats

    one, two = counts[side].sum(axis=0), counts[~side].sum(axis=0)
    shares = one / one.sum(), two / two.sum()
    pooled = (one + two) / (one.sum() + two.sum())
    spread = np.sqrt(pooled * (1 - pooled) * (1 / one.sum() + 1 / two.sum()))
    z = np.divide(shares[0] - shares[1], spread, out=np.zeros(len(names)), where=spread > 0)
    change = np.divide(shares[0], shares[1], out=np.full(len(names), np.inf), where=shares[1] > 0) - 1
    change[(one == 0) & (two == 0)] = 0.0
    columns = {"inside": shares[0], "outside": shares[1], "relative_change": change, "z": z}
    table = pd.DataFrame(columns | {"p_cells": 2 * stats.norm.sf(np.abs(z))}, index=pd.Index(names, name="neighbour"))
    table["q_cells"] = stats.false_discovery_control(table["p_cells"])
    table["n_patients"], table["p_patients"] = 0, np.nan
    if patients is not None:
        table["n_patients"], table["p_patients"] = _over_patients(counts, side, patients)
    table["q_patients"] = benjamini_hochberg(table["p_patients"])
    # by cells, which are far from independent, only where that was asked for, not where patients are too few
    table["significant"] = (table["q_cells"] if patients is None else table["q_patients"]) < alpha
    return table


def _inside(adata: AnnData, within: str, inside: str | None) -> np.ndarray:
    tables = {} if within in adata.obs else _tables_with(adata, within)
    if len(tables) > 1:
        raise TableError(
            f"{within!r} (within=) is a column of several tables of obsm, {listed(tables)}. Copy the one that is "
            f'meant: adata.obs["{within}"] = adata.obsm["{next(iter(tables))}"]["{within}"].'
        )
    column = next(iter(tables.values())) if tables else obs_column(adata, within, "within", allow_missing=True)
    if inside is None:
        if not pd.api.types.is_bool_dtype(column):
            raise TableError(f"obs[{within!r}] is not true or false. Pass inside= with one of its categories.")
        return column.to_numpy()
    names, inside = column.astype(str), str(inside)
    if inside not in set(names):
        raise TableError(
            f"No category {inside!r} in obs[{within!r}] (inside=); found {listed(sorted(set(names)), 20)}."
        )
    return (names == inside).to_numpy()


def _tables_with(adata: AnnData, column: str) -> dict[str, pd.Series]:
    """That column of all tables of obsm that have it and hold true and false."""
    tables = {key: named_table(adata, key) for key, values in adata.obsm.items() if isinstance(values, pd.DataFrame)}
    return {
        key: table[column]
        for key, table in tables.items()
        if column in table and pd.api.types.is_bool_dtype(table[column])
    }


def neighbour_counts(
    adata: AnnData,
    codes: np.ndarray,
    n_types: int,
    of_type: np.ndarray,
    n_neighbors: int,
    library_key: str,
    spatial_key: str,
) -> np.ndarray:
    """Neighbours of each type around every cell of the type ``(cells, types)``."""
    from scipy.sparse import csr_matrix

    libraries = _libraries(adata, library_key, n_neighbors, takes_radius=False)
    graph = _spatial_graph(_coordinates(adata, spatial_key), libraries, None, n_neighbors)
    one_hot = csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), n_types))
    return np.asarray(((graph[of_type] > 0).astype(float) @ one_hot).todense())


def _over_patients(counts: np.ndarray, side: np.ndarray, patients: np.ndarray) -> tuple[int, np.ndarray]:
    """Patients with cells on both sides, and the p-value of each type over them; NaN with fewer than five."""
    from scipy import stats

    differences = []
    for patient in np.unique(patients):
        mine = patients == patient
        one, two = counts[mine & side].sum(axis=0), counts[mine & ~side].sum(axis=0)
        if one.sum() and two.sum():
            differences.append(one / one.sum() - two / two.sum())
    p = np.full(counts.shape[1], np.nan)
    if len(differences) < 5:
        return len(differences), p
    for column, values in enumerate(np.array(differences).T):
        p[column] = 1.0 if not values.any() else stats.wilcoxon(values).pvalue
    return len(differences), p
