"""Who lives around cells of one type, inside against outside of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._outcome import numbers_of, tell_numbers_as_text
from ..._public import public
from ..._storable import named_table, write_uns
from ...cohort.checks import as_names, check_anndata, codes_of, listed, obs_column
from ...cohort.circular import made_of_neighbours, say, without_p
from ...cohort.overlaid import check_overlaid
from ...stats.excess import FULL, LEAST, hypergeometric, pooled_excess
from ...stats.patient_groups import benjamini_hochberg
from .neighborhood_composition import _libraries, _spatial_graph

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
    covariates: str | Sequence[str] | None = None,
    n_neighbors: int = 10,
    library_key: str = SAMPLE_KEY,
    patient_key: str | None = PATIENT_KEY,
    spatial_key: str = SPATIAL,
    alpha: float = 0.05,
    key_added: str = "neighborhood_contrast",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Compare the neighbours of cells of one type inside and outside of a signature, niche or group.

    For every type of neighbour: its share among all neighbours of the cells inside and outside, and the relative change
    (VirTues, Fig. 5g, drawn as trees). The paper's two-proportions z-test takes neighbours for independent draws. They
    are not: neighbours of one cell are neighbours of each other, and cells of one patient are alike. Its p-values
    (``p_cells``) are the published recipe, not evidence, and nothing is called significant by them.

    ``p_patients`` is evidence: in each patient that has cells of the type on both sides, neighbours inside minus what
    is expected from the patient's own share; these differences are tested over patients, which weigh alike from 20
    cells inside. ``change_patients`` is the change that this test sees. It may differ from ``relative_change``, in
    which patients weigh as they have cells; where it points the other way, that is warned of and nothing is starred.

    Niches that were made from neighbours differ in their neighbours: random labels would. Where `within` is known to be
    such a group (from :func:`spatialfm.tl.niches`, clusters of neighborhood compositions, copied or not), shares stand
    and there are no p-values.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs`` with the cell types.
    cell_type
        Type whose neighbours are looked at.
    within
        Column of ``obs`` of who is inside: true or false, or a category with `inside`; or a signature, a column
        of a table in ``obsm``, as from :func:`spatialfm.tl.discover_signatures`.
    inside
        Category of `within`.
    covariates
        Columns of ``obs`` in which cells inside and outside may differ besides (region, slide, distance to an edge): in
        each patient the two are compared among cells of the same levels, by what is expected from these together
        (Mantel and Haenszel). Numbers of more than ten values are cut at the quintiles of these cells, which takes away
        some 90 % of their part (Cochran, Biometrics 1968). What belongs to the patient (age, site) needs none of this:
        patients are compared with themselves. Shares, ``relative_change`` and ``p_cells`` stay as they are.
    n_neighbors
        Nearest cells of each cell that count, of the same sample.
    library_key
        Column of ``obs`` with the sample of each cell.
    spatial_key
        Key of ``obsm`` with the place of each cell.
    patient_key
        Column of ``obs``; None leaves the test over patients out, and nothing is significant.
    alpha
        Level below which corrected p-values count as significant.
    key_added
        Key of ``uns``.
    copy
        Return ``table`` alone; ``params`` are only written.

    Returns
    -------
    None, or with `copy` the table; written into ``uns[key_added]["table"]`` with ``params``. One row per type of
    neighbour: ``inside`` and ``outside`` (shares), ``relative_change`` (inside over outside, minus 1), ``z``,
    ``p_cells``, ``q_cells``, ``n_patients`` with cells on both sides, ``change_patients`` (ratio of Mantel and Haenszel
    over patients, minus 1), ``p_patients``, ``q_patients`` (q: Benjamini-Hochberg over the types), ``significant`` (by
    patients). With fewer than five patients on both sides there is no p-value of any kind, with a warning; with
    ``patient_key=None`` there is that of cells.

    Raises
    ------
    TableError
        If the type, the group or cells on one side are missing, or a covariate is the same in all cells of each
        patient, or determines who is inside.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> cells.obs["nest"] = cells.obs["niche"] == "tumor nest"
    >>> table = sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", copy=True)
    >>> bool(table.loc["Tumor", "relative_change"] > 0)
    True
    """
    check_anndata(adata, "neighborhood_contrast", None if copy else key_added)
    codes, names = codes_of(obs_column(adata, cluster_key, "cluster_key"))
    cell_type = str(cell_type)
    if cell_type not in names:
        raise TableError(f"No cell type {cell_type!r} in obs[{cluster_key!r}]; found {listed(names, 20)}.")
    is_inside, known = _inside(adata, within, inside)
    of_type = _of_type(codes == names.index(cell_type), is_inside, known, cell_type, within)
    counts = neighbour_counts(adata, codes, len(names), of_type, n_neighbors, library_key, spatial_key)
    side = is_inside[of_type]
    patients = None
    if patient_key is not None:
        without = "Pass the column with the patient, or patient_key=None for shares without a test over patients."
        patients = obs_column(adata, patient_key, "patient_key", without=without).astype(str).to_numpy()[of_type]
    strata = _strata(adata, covariates, of_type, side, patients)
    table = contrast_table(counts, side, patients, names, names.index(cell_type), alpha, strata)
    circle = made_of_neighbours(adata, within)
    table = without_p(table) if circle else table
    say(circle, "their neighbours")
    tested = bool(table["p_patients"].notna().any())
    _tell(table, tested or bool(circle), patients is not None)
    if copy:
        return table
    columns = [cluster_key, within, patient_key, library_key, *as_names(covariates)]
    tables = [] if within in adata.obs else _tables_with(adata, within)
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
            "tested": "patients" if tested else "cells" if patients is None and not circle else "nothing",
            "circular": circle,
            "covariates": np.array(as_names(covariates), dtype=object),
            DATA: fingerprint(adata, columns, obsm=[spatial_key, *tables]),
            "alpha": alpha,
        },
    }
    write_uns(adata, key_added, record)
    return None


def _of_type(of_type: np.ndarray, is_inside: np.ndarray, known: np.ndarray, cell_type: str, within: str) -> np.ndarray:
    """Cells of the type of which it is known whether they are inside; refused where one side has none."""
    if unknown := int((of_type & ~known).sum()):
        warn(
            f"{counted(unknown, 'cell')} of type {cell_type!r} without a value in {within!r} left out: it is not known "
            "whether inside or outside."
        )
    of_type = of_type & known
    for side, rows in (("inside", of_type & is_inside), ("outside", of_type & ~is_inside)):
        if not rows.any():
            raise TableError(f"No cell of type {cell_type!r} is {side} of {within!r}. Nothing can be compared.")
    return of_type


def _tell(table: pd.DataFrame, tested: bool, has_patients: bool) -> None:
    """Warn of what is not tested, and of types whose difference over patients has the other sign."""
    if not has_patients:
        warn(
            "patient_key=None: p_cells take neighbours for independent draws, so that they are far too small, and "
            'nothing is called significant. Pass patient_key="patient", or the column with the patient of each cell.'
        )
    elif not tested:
        warn(
            f"{counted(table['n_patients'].iloc[0], 'patient has', 'patients have')} cells both inside and outside; "
            "five are the least for a test over patients: shares are given, without p-value."
        )
    if against := [str(name) for name in table.index[_points_apart(table)]]:
        warn(
            f"{listed(against)} differ over patients, but the other way round over all cells, in which patients with "
            "many cells weigh most: change_patients is what was tested, relative_change what the figure shows. "
            "Neither is starred."
        )


def contrast_table(
    counts: np.ndarray,
    side: np.ndarray,
    patients: np.ndarray | None,
    names: list[str],
    own: int,
    alpha: float,
    strata: np.ndarray | None = None,
) -> pd.DataFrame:
    """Neighbours of each type ``(cells, types)`` of the cells of one side against those of the other; `own` type.

    Over patients cells of one of the `strata` (codes) are compared.
    """
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
    table["n_patients"], table["change_patients"], table["p_patients"] = 0, np.nan, np.nan
    if patients is not None:
        n, change_patients, p = _over_patients(counts, side, patients, own, strata)
        table["n_patients"], table["change_patients"], table["p_patients"] = n, change_patients, p
        if n < LEAST:
            table["p_cells"] = np.nan  # cells are not a substitute for patients
    table.loc[one + two == 0, ["p_cells", "p_patients"]] = np.nan  # nothing to test where a type has no cell
    table.insert(list(table.columns).index("p_cells") + 1, "q_cells", benjamini_hochberg(table["p_cells"]))
    table["q_patients"] = benjamini_hochberg(table["p_patients"])
    table["significant"] = (table["q_patients"] < alpha) & ~_points_apart(table)
    return table


def _points_apart(table: pd.DataFrame) -> pd.Series:
    """Where a difference over patients (p below 0.05) has another sign than that over all cells."""
    opposite = np.sign(table["change_patients"]) * np.sign(table["relative_change"]) < 0
    return opposite & (table["p_patients"] < 0.05)


def _inside(adata: AnnData, within: str, inside: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Which cells are inside, and of which that is known."""
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
        return column.fillna(False).to_numpy(dtype=bool), column.notna().to_numpy()
    known = column.notna().to_numpy()
    names, inside = column.astype(str), str(inside)
    if inside not in set(names[known]):
        raise TableError(
            f"No category {inside!r} in obs[{within!r}] (inside=); found {listed(sorted(set(names[known])), 20)}."
        )
    return (names == inside).to_numpy() & known, known


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
    places = coordinates(adata, spatial_key)
    check_overlaid(adata, places, np.asarray(libraries.codes), library_key)
    graph = _spatial_graph(places, libraries, None, n_neighbors, adata.obs_names)
    one_hot = csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), n_types))
    return np.asarray(((graph[of_type] > 0).astype(float) @ one_hot).todense())


def _strata(
    adata: AnnData,
    covariates: str | Sequence[str] | None,
    of_type: np.ndarray,
    side: np.ndarray,
    patients: np.ndarray | None,
) -> np.ndarray | None:
    """One code for each combination of levels of the covariates ``(cells of the type,)``."""
    if not (names := as_names(covariates)):
        return None
    if patients is None:
        raise TableError("covariates= are of the test over patients. Pass patient_key=.")
    levels = {}
    for name in names:
        column = numbers_of(obs_column(adata, name, "covariates")[of_type].reset_index(drop=True))
        if column.groupby(patients).nunique().max() < 2:
            raise TableError(
                f"obs[{name!r}] (covariates=) is the same in all these cells of each patient: patients are compared "
                "with themselves, which takes it out already. Leave it out."
            )
        number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
        if not number:
            tell_numbers_as_text(column, f"obs[{name!r}] (covariates=)")
        elif column.nunique() > 10:
            column = pd.qcut(column, 5, duplicates="drop")
        levels[name] = column
    codes = pd.DataFrame(levels).groupby(names, observed=True, sort=True).ngroup().to_numpy()
    seen = pd.DataFrame({"patient": patients, "stratum": codes, "side": side})
    if seen.groupby(["patient", "stratum"])["side"].nunique().max() < 2:
        raise TableError(
            f"{' and '.join(f'obs[{name!r}]' for name in names)} (covariates=) determine in each patient who is "
            "inside: no two cells inside and outside are alike in them. Name fewer, or coarser ones."
        )
    return codes


def _over_patients(
    counts: np.ndarray, side: np.ndarray, patients: np.ndarray, own: int, strata: np.ndarray | None = None
) -> tuple[int, np.ndarray, np.ndarray]:
    """Patients with cells on both sides (of a stratum); the change of each type's share over them, and its p-value."""
    keys = pd.DataFrame({"patient": pd.factorize(patients)[0], "stratum": 0 if strata is None else strata})
    place, parts = pd.factorize(pd.MultiIndex.from_frame(keys))
    sums = np.zeros((2, len(parts), counts.shape[1]))
    np.add.at(sums, (side.astype(int), place), counts)
    n_cells = np.stack([np.bincount(place[side == one], minlength=len(parts)) for one in (False, True)])
    both = (n_cells > 0).all(axis=0)
    who, names = pd.factorize(parts.get_level_values(0)[both])
    outside, inside, sizes = sums[0, both], sums[1, both], n_cells[1, both]
    expected, variance = hypergeometric(inside, outside + inside)

    def of_patients(values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(names), *values.shape[1:]))
        np.add.at(total, who, values)
        return total

    # a neighbour is counted once for each cell of the type around it, of which there are as many as around such a cell
    repeats = 1 + (counts.sum(axis=1).mean() - 1) * counts[:, own].sum() / counts.sum()
    of_them = of_patients(sizes.astype(float))
    pooled = pooled_excess(of_patients(inside), of_patients(expected), repeats * of_patients(variance), of_them)
    n = np.stack([outside.sum(axis=1), inside.sum(axis=1)])[..., None]
    weights = 1 / np.maximum(of_them[who], FULL)[:, None] / n.sum(axis=0)
    one, two = (weights * inside * n[0]).sum(axis=0), (weights * outside * n[1]).sum(axis=0)
    ratio = np.divide(one, two, out=np.where(one > 0, np.inf, 1.0), where=two > 0)
    return len(names), ratio - 1, pooled.p_value
