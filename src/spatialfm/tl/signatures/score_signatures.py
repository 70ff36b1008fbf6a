"""Signatures in patients: how much of each, where, and a risk score of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._origin import Origin, carry_origins, patient_names, remember
from ..._outcome import carry_outcome
from ..._public import public
from ..._storable import write_uns
from ...cohort.cases import patients_of_samples
from ...cohort.checks import check_anndata, codes_by_appearance, codes_of, listed, obs_column
from ...cohort.circular import holds_own_type, made_of_neighbours, say, without_p
from ...cohort.members import signature_members
from ...cohort.selected import hand_on, inherited, matrix_of
from ...learn.signature_clusters import cut_points, ranks_of
from ...pp.units import coordinate_unit
from ...stats.excess import LEAST, hypergeometric, pooled_excess
from ...stats.patient_groups import benjamini_hochberg
from ..neighborhoods.neighborhood_contrast import contrast_table, neighbour_counts
from ..samples.composition import constant_columns, cross_count

if TYPE_CHECKING:
    from anndata import AnnData

CUTS = (-1.0, 2.0)  # VirTues, Methods: low below -1, high above 2, medium between
STRATA = ("low", "medium", "high")
_MIN_CELLS = 20  # of a type, inside and outside of a signature, for its neighborhoods to be compared


@public
def score_signatures(
    adata: AnnData,
    key: str = "signatures",
    *,
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    favorable: list[str] | None = None,
    cut_points_from: Literal["cohort", "discovery"] = "cohort",
    cuts: tuple[float, float] = CUTS,
    area: Mapping[str, float] | None = None,
    cluster_key: str | None = None,
    n_neighbors: int = 10,
    alpha: float = 0.05,
) -> AnnData:
    """Presence of signatures in each patient, and the risk score that they make together.

    VirTues (Methods, *Transferring predictive virtual spatial biomarkers*): the share of a patient's cells in each
    signature becomes rank 0 (absent) or 1 to 3 (tertiles of the positive shares); the score is the sum of the ranks of
    the response (favorable) signatures minus that of the others, and cut points make three groups.

    The score is thus high where patients should do *well*. The paper calls patients of high score "high-risk", against
    its own formula; here ``risk_group`` gives the meaning of the score: ``"low"`` risk above the upper cut point,
    ``"high"`` risk below the lower one.

    Parameters
    ----------
    adata
        Cells with ``obsm[key]``, true and false for each signature, as written by
        :func:`spatialfm.tl.discover_signatures` or :func:`spatialfm.tl.transfer_signatures`.
    key
        Key of ``obsm`` and ``uns``.
    patient_key
        Column of ``obs`` with the patient.
    library_key
        Column of ``obs`` with the sample.
    favorable
        Signatures that count as favorable (default: those that were found so).
    cut_points_from
        Tertiles of this cohort, as published, or those of the discovery: needed for a single new patient, and to be
        preferred where shares mean the same in both cohorts.
    cuts
        Lower and upper cut point of the score; scores equal to one are in the middle.
    area
        Tissue of each sample in mm², for densities; default: the convex hull of the cells' positions x and y, in µm.
    cluster_key
        Column of ``obs`` with cell types, for ``uns["enrichment"]`` and ``uns["neighborhood"]``.
    n_neighbors
        Nearest cells of the same sample that are a cell's neighborhood.
    alpha
        Level of significance of the neighborhoods.

    Returns
    -------
    AnnData of patients by signatures: ``X`` the share of cells, ``layers["rank"]``, ``layers["density"]`` (cells a mm²,
    where there are positions in µm); ``obs`` the columns that are constant in each patient, ``n_cells``, ``area``
    (mm²), ``signature_score`` and ``risk_group`` (ordered from low to high risk); ``uns["enrichment"]`` (with
    `cluster_key`: of each signature and type, cells ``observed`` inside and ``expected`` of as many random cells of the
    same patients; ``log2_enrichment`` of their ratio, in which patients weigh alike from 20 cells inside (half a cell
    is added on both sides, so that it is near 0 where next to nothing is expected); ``n_patients`` that have the
    signature; a ``p_value`` of the differences over patients (from five patients on) with Benjamini-Hochberg's
    ``q_value``);
    ``uns["neighborhood"]`` (with `cluster_key` and positions: who lives around the cells of each type inside the
    signature against outside, for types with 20 cells on both sides; columns as
    :func:`spatialfm.tl.neighborhood_contrast`'s, and as there no p-value and nothing significant with fewer than five
    patients, or where the signature was made of neighbours; nor has ``enrichment`` one where these count the cell
    itself); ``uns["cut_points"]`` of the ranks.

    Raises
    ------
    TableError
        If there are no signatures, which are favorable is not known, or positions are in µm and in pixels.

    Warns
    -----
    SpatialfmWarning
        If positions are in pixels, or those of a sample span no area, so that there are no densities.

    See Also
    --------
    spatialfm.tl.neighborhood_contrast : who lives around the cells of a signature.

    Examples
    --------
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=9, cells_per_patient=50, random_state=0)
    >>> types = cells.obs["type"]
    >>> cells.obsm["signatures"] = pd.DataFrame({"RS1": types == "CD8 T", "NRS1": types == "Tumor"})
    >>> patients = sfm.tl.score_signatures(cells, favorable=["RS1"])
    >>> patients.shape, list(patients.obs["risk_group"].cat.categories)
    ((9, 2), ['low', 'medium', 'high'])
    """
    check_anndata(adata, "score_signatures")
    members, signs = _signatures(adata, key, favorable)
    if not cuts[0] <= cuts[1]:
        raise TableError(f"cuts={cuts} must rise.")
    samples = obs_column(adata, library_key, "library_key")
    codes, names = codes_by_appearance(patients_of_samples(adata, samples, patient_key))
    n_cells = np.bincount(codes)
    counts = np.stack([np.bincount(codes, weights=column) for column in members.to_numpy().T], axis=1)
    shares = counts / n_cells[:, None]
    tertiles = _tertiles(adata, key, shares, list(members), cut_points_from)
    ranks = ranks_of(shares, tertiles)
    score = ranks @ signs

    from anndata import AnnData

    obs = constant_columns(adata.obs, codes, names)
    obs[patient_key] = names
    obs["n_cells"] = n_cells
    layers = {"rank": ranks.astype(float)}
    mm2 = _areas(adata, samples, codes, len(names), area)
    if mm2 is not None:
        obs["area"] = mm2
        layers["density"] = counts / mm2[:, None]
    obs["signature_score"] = score
    obs["risk_group"] = strata(score, cuts)
    table = AnnData(shares, obs=obs, var=pd.DataFrame({"favorable": signs > 0}, index=list(members)), layers=layers)
    write_uns(table, "cut_points", pd.DataFrame(tertiles.T, index=list(members), columns=["cut_1", "cut_2"]))
    write_uns(table, "params", {"key": key, "cuts": list(cuts), "cut_points_from": cut_points_from})
    if cluster_key is not None:
        types, type_names = codes_of(obs_column(adata, cluster_key, "cluster_key"))
        circles = {name: text for name in members if (text := made_of_neighbours(adata, name))}
        of_types = set(circles) if holds_own_type(adata) else set()
        write_uns(table, "enrichment", _enrichment(members, codes, types, type_names, of_types))
        say("; ".join(dict.fromkeys(circles.values())), "their neighbours")
        if SPATIAL in adata.obsm:
            counts = neighbour_counts(
                adata, types, len(type_names), np.ones(adata.n_obs, bool), n_neighbors, library_key, SPATIAL
            )
            patients = np.array(names)[codes]
            neighborhoods = _neighborhoods(members, counts, patients, types, type_names, alpha, set(circles))
            write_uns(table, "neighborhood", neighborhoods)
            _tell_untested(neighborhoods[~neighborhoods["signature"].isin(list(circles))])
    origin = Origin("score_signatures", "composition", of="the shares of signatures")
    remember(table, origin, table.obs["risk_group"], patients=patient_names(table))
    hand_on(table, inherited(adata, matrix_of(adata, key)), ["signature_score", "risk_group"])
    carry_origins(adata, table)
    carry_outcome(adata, table)
    sizes = ", ".join(f"{name} {count}" for name, count in obs["risk_group"].value_counts(sort=False).items())
    logger.info("%d patients by risk: %s", len(names), sizes)
    return table


def strata(score: np.ndarray, cuts: tuple[float, float]) -> pd.Categorical:
    """Low risk above the upper cut point, high below the lower one."""
    codes = np.where(score > cuts[1], 0, np.where(score < cuts[0], 2, 1))
    return pd.Categorical.from_codes(codes, list(STRATA), ordered=True)


def _signatures(adata: AnnData, key: str, favorable: list[str] | None) -> tuple[pd.DataFrame, np.ndarray]:
    if key not in adata.obsm or not isinstance(adata.obsm[key], pd.DataFrame):
        raise TableError(
            f"No signatures {key!r} in obsm (key=); found {listed(adata.obsm)}. Make them with "
            "sfm.tl.discover_signatures or sfm.tl.transfer_signatures, or as a table of true and false."
        )
    members = signature_members(adata, key)
    if favorable is None:
        stored = adata.uns.get(key, {}).get("signatures")
        if stored is None:
            raise TableError(f"Which of {listed(members)} are favorable? Pass favorable=[...].")
        favorable = list(stored.index[stored["side"].isin(["response", "favorable"])])
    if unknown := sorted(set(favorable) - set(members)):
        raise TableError(f"favorable= names {listed(unknown)}, but the signatures are {listed(members)}.")
    return members, np.where(members.columns.isin(favorable), 1, -1)


def _tertiles(adata: AnnData, key: str, shares: np.ndarray, names: list[str], source: str) -> np.ndarray:
    if source == "cohort":
        return cut_points(shares)
    if source != "discovery":
        raise TableError(f'cut_points_from={source!r} is not known. Pass "cohort" or "discovery".')
    stored = adata.uns.get(key, {}).get("signatures")
    if stored is None or not set(names) <= set(stored.index):
        raise TableError(f"uns[{key!r}] has no cut points of {listed(names)}. Pass cut_points_from='cohort'.")
    return stored.loc[names, ["cut_1", "cut_2"]].to_numpy(float).T


def _areas(
    adata: AnnData, samples: pd.Series, patients: np.ndarray, n_patients: int, area: Mapping[str, float] | None
) -> np.ndarray | None:
    """Tissue of each patient in mm², None where it cannot be known."""
    from scipy.spatial import ConvexHull, QhullError

    codes, names = codes_by_appearance(samples)
    if area is not None:
        if missing := [name for name in names if name not in area]:
            raise TableError(f"area= lacks samples {listed(missing)}.")
        if void := [name for name in names if not area[name] > 0]:
            raise TableError(f"area= of {listed(void)} is 0, in which no density can be. Pass mm² above 0.")
        sizes = [float(area[name]) for name in names]
    elif SPATIAL not in adata.obsm:
        return None
    else:
        if (unit := coordinate_unit(adata.uns)) == "pixel":
            warn(
                "Cells' positions are in pixels, so that areas and densities are not known. Pass area= (mm² by sample)."
            )
            return None
        if not unit:
            logger.info("The unit of cells' positions is not recorded: areas and densities are right if it is µm.")
        positions, sizes = coordinates(adata, finite=False)[:, :2], []  # the hull of three is a volume
        known = np.isfinite(positions).all(axis=1)
        for i, name in enumerate(names):
            try:
                sizes.append(ConvexHull(positions[known & (codes == i)]).volume / 1e6)
            except (QhullError, ValueError):
                warn(
                    f"Cells of sample {name!r} are fewer than three with a position, or on a line: areas and densities "
                    "are not known. Pass area= (mm² by sample)."
                )
                return None
    _, first = np.unique(codes, return_index=True)
    return np.bincount(patients[first], weights=sizes, minlength=n_patients)


def _enrichment(
    members: pd.DataFrame, patients: np.ndarray, types: np.ndarray, names: list[str], circular: set[str]
) -> pd.DataFrame:
    n, width = int(patients.max()) + 1, len(names)
    whole = cross_count(patients, types, (n, width))
    tables = []
    for signature, column in members.items():
        mask = column.to_numpy()
        inside = cross_count(patients[mask], types[mask], (n, width))
        sizes = inside.sum(axis=1)
        pooled = pooled_excess(inside, *hypergeometric(inside, whole), sizes)
        columns = {"signature": signature, "type": names}
        columns["log2_enrichment"] = pooled.log2 if sizes.any() else np.nan
        columns |= {"observed": pooled.observed.astype(int), "expected": pooled.expected}
        tables.append(pd.DataFrame(columns | {"n_patients": int((sizes > 0).sum()), "p_value": pooled.p_value}))
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["signature"].isin(list(circular)), "p_value"] = np.nan
    table["q_value"] = benjamini_hochberg(table["p_value"])
    return table


def _tell_untested(table: pd.DataFrame) -> None:
    """One sentence on all neighborhoods that too few patients have on both sides."""
    pairs = table.drop_duplicates(["signature", "type"])
    untested = pairs[pairs["n_patients"] < LEAST] if len(pairs) else pairs
    if len(untested):
        names = listed(f"{row.type} of {row.signature}" for row in untested.itertuples())
        warn(
            f"{len(untested)} of {counted(len(pairs), 'neighborhood')} in uns['neighborhood'] ({names}) have cells "
            f"inside and outside in fewer than {LEAST} patients: shares are given, without p-value."
        )


def _neighborhoods(
    members: pd.DataFrame,
    counts: np.ndarray,
    patients: np.ndarray,
    types: np.ndarray,
    names: list[str],
    alpha: float,
    circular: set[str],
) -> pd.DataFrame:
    tables = []
    for signature, column in members.items():
        inside = column.to_numpy()
        for i, name in enumerate(names):
            of_type = types == i
            if min((of_type & inside).sum(), (of_type & ~inside).sum()) < _MIN_CELLS:
                continue
            table = contrast_table(counts[of_type], inside[of_type], patients[of_type], names, i, alpha).reset_index()
            table = without_p(table) if signature in circular else table
            table.insert(0, "type", name)
            table.insert(0, "signature", signature)
            tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["signature", "type", "neighbour"])
