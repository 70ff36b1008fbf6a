"""Which cell types are neighbours more often than chance, and in which patients more than in others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, codes_of, obs_column
from ...cohort.circular import made_of_niches, say, without_p
from ...cohort.enrichment_patients import compare_patients, read_beside, read_units
from ...stats.neighbours import log2_ratio, pair_counts
from ...stats.pairs import blocks, expected_pairs
from ...stats.patient_groups import LEAST, benjamini_hochberg, rank_biserial
from .neighborhood_composition import _check_size, _libraries, _spatial_graph, say_radius

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import spmatrix


UNCONDITIONAL = "over the whole sample: do types share tissue more"
AREA = 100  # cells of an area that is large against a neighborhood


@public
def compare_enrichment(
    adata: AnnData,
    cluster_key: str,
    group_key: str,
    *,
    within: str | None = None,
    covariates: str | Sequence[str] | None = None,
    block_key: str | None = None,
    pair_key: str | None = None,
    n_neighbors: int | None = None,
    radius: float | None = None,
    library_key: str = SAMPLE_KEY,
    patient_key: str = PATIENT_KEY,
    spatial_key: str = SPATIAL,
    min_expected: float = 5.0,
    alpha: float = 0.05,
    on_missing: Literal["raise", "drop"] = "raise",
    key_added: str = "compare_enrichment",
    copy: bool = False,
) -> pd.DataFrame | None:
    """Compare which cell types are neighbours between groups of patients.

    In each sample, neighbours of each pair of types are counted and divided by the number expected by chance. The
    base-2 logarithm of the ratio is 0 as by chance, 1 where a pair is twice as frequent. Unlike the z-score of a
    permutation test it does not grow with the number of cells, so that samples of all sizes can be compared. It is
    averaged over the samples of each patient; patients, not cells, are compared.

    What chance is decides on the question. Without `within`, labels are shuffled over the whole sample (of all
    neighbours ``n_a * n_b / (n * (n - 1))`` are then a pair of types ``a`` and ``b``). The question is whether types
    *share tissue* more in one group, for any reason: a group with larger tumor nests differs in most pairs, though
    cells choose their neighbours by the same rules (simulated: p below 0.05 in half of the pairs). With `within`,
    labels are shuffled within each niche (or region) of a sample, and the question is whether types are neighbours more
    often than their niches explain. Where groups differ in how types are spread over areas of about 100 cells, a call
    without `within` warns.

    Ratios of few neighbours scatter more. Where a type is far rarer in one group than in the other, the rank test finds
    too many differences in pairs of which little more than `min_expected` are expected (simulated without any: 14 %
    below 0.05 at 6 expected, 4.5 % at 20); raise it then.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs`` with cell types (or niches).
    group_key
        Column of ``obs`` with the groups, one for all cells of a patient.
    within
        Column of ``obs`` with the niche, region or compartment of each cell, within which labels are shuffled.
    covariates
        Columns of ``obs`` with one value per patient that are adjusted for (age, stage): ranks and means of log-ratios
        are linear in group and covariates, with errors that do not assume equal spread (CR2, Satterthwaite), as in
        :func:`compare_composition`.
    block_key
        Column of ``obs`` with the site or batch of each patient: it has its own effect, and residuals are
        shuffled within it only (Freedman and Lane 1983).
    pair_key
        Column of ``obs`` with the patient where groups are within patients, as before and after treatment: in place of
        `patient_key`; groups change places within patients only, and patients with one of two are left out.
    n_neighbors
        Neighbours are so many nearest cells. Exactly one of `n_neighbors` and `radius` is given; with neither, 10
        nearest cells.
    radius
        Neighbours are all cells within this distance (units of ``obsm[spatial_key]``, µm where the readers made it).
    library_key
        Column of ``obs`` with the sample of each cell.
    patient_key
        Column of ``obs`` with the patient of each cell.
    spatial_key
        Key of ``obsm`` with the place of each cell.
    min_expected
        A pair is left out of samples in which fewer are expected: there the logarithm is mostly noise.
    alpha
        Level below which corrected p-values count as significant.
    on_missing
        ``"raise"`` or ``"drop"``: what to do with patients without group (covariate, block).
    key_added
        Key of ``uns``.
    copy
        Return ``table`` alone. The values of samples and patients, and ``params``, are only written.

    Returns
    -------
    None, or with `copy` the table. Written into ``uns[key_added]``: ``table``, ``samples`` (one row per sample and
    pair: ``observed``, ``expected``, ``log2_ratio``), ``patients`` (their means) and ``params``. The table has one row
    per pair of types and pair of groups: ``cell_type``, ``neighbour``, ``group_1``, ``group_2``, ``n_1``, ``n_2``
    (patients with a value), ``mean_1``, ``mean_2``, their ``difference`` (2 minus 1; at equal covariates, within blocks
    or pairs where these are given) with its 95 % interval ``low`` and ``high`` (Welch, CR2), ``effect`` (rank-biserial
    correlation, from -1 to 1, positive where group 2 has more; of ranks at equal covariates),
    ``p_value`` (ranks and means, without equal spread, as in :func:`compare_composition`), ``q_value``
    (Benjamini-Hochberg over the table) and ``significant``. With
    `radius` neighbours are mutual, and each pair of types is listed once.

    Raises
    ------
    TableError
        If columns are missing, a patient is in two groups or a sample of two patients, there are fewer than two groups,
        or a covariate or block determines the group or is the same in all.
    ClinicalError
        If a patient has several values of a covariate or block.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=200, random_state=0)
    >>> cells.obs["arm"] = cells.obs["patient"].isin(cells.obs["patient"].unique()[:3]).map({True: "a", False: "b"})
    >>> table = sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6, copy=True)
    >>> pair = table[(table["cell_type"] == "Tumor") & (table["neighbour"] == "Tumor")]
    >>> bool(pair["mean_1"].item() > 0)  # tumor cells are in nests
    True
    """
    check_anndata(adata, "compare_enrichment", None if copy else key_added)
    if n_neighbors is None and radius is None:
        n_neighbors = 10
    radius, n_neighbors = _check_size(radius, n_neighbors)
    paired = pair_key is not None
    _check_pairs(paired, covariates or block_key)
    units, rows = read_units(adata, library_key, pair_key or patient_key, group_key, on_missing, paired)
    adjustment, rows = read_beside(
        adata, units, rows, (covariates, block_key, group_key), library_key, on_missing, paired
    )
    cells = adata if rows.all() else adata[rows]
    codes, names = codes_of(obs_column(cells, cluster_key, "cluster_key"))
    libraries = _libraries(cells, library_key, n_neighbors)
    units = units.loc[list(libraries.categories)]
    places = coordinates(cells, spatial_key)
    unit = say_radius(cells, places, libraries, radius)
    graph = _spatial_graph(places, libraries, radius, n_neighbors, cells.obs_names)
    observed = pair_counts(graph, codes, libraries.codes, len(names), len(units))
    niche = np.zeros(cells.n_obs, int) if within is None else codes_of(obs_column(cells, within, "within"))[0]
    expected = _expected(graph, codes, niche, libraries.codes, len(names))
    ratio = log2_ratio(observed, expected, min_expected)
    pairs = [(a, b) for a, b in product(range(len(names)), repeat=2) if radius is None or a <= b]
    samples = _long(units, names, pairs, {"observed": observed, "expected": expected, "log2_ratio": ratio})
    keys = ["patient", "group", "unit", "cell_type", "neighbour"]
    patients = samples.groupby(keys, sort=False, observed=True)["log2_ratio"].mean().reset_index()
    table = compare_patients(patients, [(names[a], names[b]) for a, b in pairs], adjustment, alpha)
    if circle := made_of_niches(adata, group_key, [pair_key or patient_key, library_key]):
        table = without_p(table)
    say(circle, "their neighbours")
    if within is None:
        chance = {"n_types": len(names), "expected": expected, "min_expected": min_expected}
        _tell_areas(graph, codes, libraries.codes, places, units, chance, pairs)
    if not circle:
        _tell_power(table, units, alpha, min_expected, paired)
    logger.info(
        "%d patients, %d of %d pairs differ", units["patient"].nunique(), table["significant"].sum(), len(table)
    )
    if copy:
        return table
    unit_key = pair_key or patient_key
    params = {"cluster_key": cluster_key, "group_key": group_key, "library_key": library_key}
    params |= {"covariates": np.array(list(adjustment.covariates), dtype=object), "block_key": block_key or ""}
    params |= {"pair_key": pair_key or "", "patient_key": unit_key, "min_expected": min_expected, "alpha": alpha}
    columns = [cluster_key, group_key, library_key, unit_key, within, *adjustment.covariates, block_key]
    params |= {DATA: fingerprint(adata, columns, obsm=[spatial_key]), "circular": circle}
    params |= {"within": within or "", "question": UNCONDITIONAL if within is None else f"within obs[{within!r}]"}
    params |= {"radius": radius, **unit} if radius is not None else {"n_neighbors": n_neighbors}
    samples, patients = (part.drop(columns="unit") for part in (samples, patients))
    write_uns(adata, key_added, {"table": table, "samples": samples, "patients": patients, "params": params})
    return None


def _check_pairs(paired: bool, adjusted: object) -> None:
    if paired and adjusted:
        raise TableError(
            "covariates= and block_key= cannot be combined with pair_key=: a patient is its own comparison, and what "
            "does not change within patients is taken out already."
        )


def _tell_power(table: pd.DataFrame, units: pd.DataFrame, alpha: float, min_expected: float, paired: bool) -> None:
    """Warn where nothing can be significant, as there are too few patients."""
    with_both = int(units.groupby("patient")["group"].nunique().eq(2).sum())
    if paired and 2.0 ** (1 - with_both) > alpha:
        warn(
            f"{with_both} patients with both make no p-value below {2.0 ** (1 - with_both):.2g} possible, and alpha is "
            f"{alpha:g}: nothing will be significant, for any difference. Look at difference and its interval."
        )
    if table["p_value"].isna().all():
        warn(
            f"No pair of types has a value in {LEAST} patients of two groups, so nothing is tested. Lower "
            f"min_expected={min_expected:g}, merge rare types, or compare larger groups."
        )


def _expected(graph: spmatrix, codes: np.ndarray, niche: np.ndarray, libraries: np.ndarray, n_types: int) -> np.ndarray:
    """Mean of `pair_counts` over shuffles of labels within each niche of each library."""
    both, areas = np.unique(np.stack([libraries, niche]), axis=1, return_inverse=True)
    return expected_pairs(graph, codes, areas.ravel(), both[0], n_types)


def _tell_areas(
    graph: spmatrix,
    codes: np.ndarray,
    libraries: np.ndarray,
    positions: np.ndarray,
    units: pd.DataFrame,
    chance: dict,
    pairs: list[tuple[int, int]],
) -> None:
    """Warn where groups differ in how types are spread over areas that are large against a neighborhood."""
    area = np.zeros(len(codes), int)
    for library in range(len(units)):
        in_library = libraries == library
        area[in_library] = blocks(positions[in_library], AREA)
    of_areas = _expected(graph, codes, area, libraries, chance["n_types"])
    spread = log2_ratio(of_areas, chance["expected"], chance["min_expected"])
    groups, patients = units["group"].cat.categories, units["unit"]
    means = pd.DataFrame(spread.reshape(len(units), -1)).groupby(patients.to_numpy(), sort=False).mean()
    group = units.drop_duplicates("unit")["group"].to_numpy()
    p = []
    for a, b in pairs:
        values = means[a * chance["n_types"] + b].to_numpy()
        for first, second in combinations(groups, 2):
            parts = [values[(group == one) & np.isfinite(values)] for one in (first, second)]
            p.append(rank_biserial(*parts, 199)[1] if min(map(len, parts)) >= LEAST else np.nan)
    different = benjamini_hochberg(pd.Series(p, dtype=float)) < 0.05
    if different.any():
        warn(
            f"In {different.sum()} of {len(p)} comparisons groups differ already in how types are spread over areas of "
            f"about {AREA} cells: where one group has more of a tissue, its types are neighbours more often under the "
            'same rules. Pass within="niche", or the column with the tissue of each cell, to shuffle within it.'
        )


def _long(
    units: pd.DataFrame, names: list[str], pairs: list[tuple[int, int]], values: dict[str, np.ndarray]
) -> pd.DataFrame:
    """One row per sample and pair of types."""
    first, second = np.array(pairs).T
    repeated = units.loc[units.index.repeat(len(pairs))].reset_index()
    types = np.array(names, dtype=object)
    repeated["cell_type"], repeated["neighbour"] = np.tile(types[first], len(units)), np.tile(types[second], len(units))
    for name, array in values.items():
        repeated[name] = array[:, first, second].ravel()
    return repeated
