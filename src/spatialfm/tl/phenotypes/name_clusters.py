"""Clusters named by the markers that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import PanelError, TableError
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, listed, obs_column
from ...cohort.replaced import remove_earlier
from ...cohort.representation import marker_values
from ...pp.batches import log_scores

if TYPE_CHECKING:
    from anndata import AnnData

OTHER = "Other"


@public
def name_clusters(
    adata: AnnData,
    cluster_key: str,
    signatures: Mapping[str, str | Sequence[str]] | Sequence[str],
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    min_match: float = 0.6,
    min_strength: float = 0.5,
    other: str = OTHER,
    key_added: str = "phenotype",
    copy: bool = False,
) -> pd.Series | None:
    """Name each cluster by the signature that its mean marker profile resembles most.

    Intensities above the first percentile of their marker are logged and brought to z-scores (within each batch, with
    `batch_key`), and averaged over the cells of a cluster. What of the mean profile is above 0 is compared with each
    signature by its cosine, as markers of other types are low in every cluster. A marker with a minus (``"CD20-"``)
    speaks against a name: it counts as -1 where the cluster has it.

    This is a way of reading clusters, not a classifier: nothing is trained, and each name should be looked at beside
    the profile, which ``uns`` holds. Markers of a state (Ki67, PD1) name no type.

    Parameters
    ----------
    adata
        Table of cells with markers as variables.
    cluster_key
        Column of ``obs`` with clusters.
    signatures
        Names with their markers, such as ``{"CD8 T": ["CD3", "CD8"], "B": ["CD20", "CD3-"]}``; or markers alone, such
        as ``["CD3", "CD8", "CD20"]``: each cluster is then named after those that it has (``"CD3+ CD8+"``).
    layer
        Layer of the intensities (default: ``X``); not yet logged.
    batch_key
        Column of ``obs`` (slide, staining run) within which intensities are standardised.
    min_match
        Smallest cosine with the best signature that gives a name.
    min_strength
        Smallest length of the profile above 0, in standard deviations; with markers alone, the smallest mean z-score
        that counts as having one.
    other
        Name of clusters without one.
    key_added
        Column of ``obs``, and key of ``uns``.
    copy
        Return the names alone, a series of cells. The table of matches and the profiles are only written.

    Returns
    -------
    None, or with `copy` the names, a categorical of cells. Writes ``obs[key_added]`` and ``uns[key_added]``: ``table``,
    one row per cluster with ``name``, ``match`` (cosine), ``second`` and ``second_match``, ``strength``, ``n_cells``;
    ``profiles``, mean z-scores of clusters by markers; and ``params``.

    Raises
    ------
    PanelError
        If a signature has a marker that the table lacks.
    TableError
        If a column is missing, there is no signature, or one is called `other`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=200, random_state=0)
    >>> signatures = {"Tumor": "Cytokeratin", "B": "CD20", "T": ["CD3", "CD20-"]}
    >>> sfm.tl.name_clusters(cells, "type", signatures, batch_key="slide")
    >>> cells.uns["phenotype"]["table"].loc[["Tumor", "B", "CD4 T"], "name"].tolist()
    ['Tumor', 'B', 'T']
    """
    check_anndata(adata, "name_clusters", None if copy else key_added)
    clusters = obs_column(adata, cluster_key, "cluster_key").astype("category").cat.remove_unused_categories()
    batches = None if batch_key is None else obs_column(adata, batch_key, "batch_key")
    wanted = _wanted(adata, signatures)
    if isinstance(signatures, Mapping) and other in wanted.index:
        raise TableError(
            f"A signature is called {other!r}, and so are clusters without a name (other=): the two could not be told "
            'apart. Pass another other=, for example other="unnamed".'
        )
    scores = _scores(adata, list(wanted.columns), layer, batches)
    profiles = scores.groupby(clusters, observed=True).mean()
    if isinstance(signatures, Mapping):
        table = named_profiles(profiles, wanted, min_match, min_strength, other)
    else:
        table = pd.DataFrame({"name": _positive(profiles, min_strength, other)}, index=profiles.index)
    table["n_cells"] = clusters.value_counts().reindex(table.index)
    order = [*dict.fromkeys([*(wanted.index if isinstance(signatures, Mapping) else table["name"]), other])]
    names = pd.Categorical(clusters.map(table["name"]).astype(str), order).remove_unused_categories()
    result = pd.Series(names, index=adata.obs_names, name=key_added)
    if unnamed := list(table.index[table["name"] == other]):
        logger.info(f"{len(unnamed)} of {len(table)} clusters have no name: {listed(unnamed)}")
    if copy:
        return result
    remove_earlier(adata, key_added, result)
    adata.obs[key_added] = result
    params = {"cluster_key": cluster_key, "layer": layer or "X", "batch_key": batch_key or "", "min_match": min_match}
    params |= {"min_strength": min_strength}
    table.index, profiles.index = table.index.astype(str), profiles.index.astype(str)
    write_uns(adata, key_added, {"table": table, "profiles": profiles, "params": params})
    return None


def named_profiles(
    profiles: pd.DataFrame, wanted: pd.DataFrame, min_match: float, min_strength: float, other: str
) -> pd.DataFrame:
    """Best and second signature of each profile, by the cosine of what is above 0.

    Parameters
    ----------
    profiles
        Clusters by markers, z-scores.
    wanted
        Signatures by markers: 1, -1, or 0.
    """
    above = profiles.to_numpy(dtype=float).clip(0)
    strength = np.linalg.norm(above, axis=1)
    positive = np.linalg.norm(wanted.clip(lower=0), axis=1)  # markers against a name do not make it harder to reach
    cosine = above @ wanted.to_numpy().T / np.maximum(strength[:, None] * positive[None], 1e-9)
    order = np.argsort(-cosine, axis=1, kind="stable")
    rows = np.arange(len(profiles))
    best = wanted.index.to_numpy(dtype=object)[order[:, 0]]
    match = cosine[rows, order[:, 0]]
    table = pd.DataFrame(index=profiles.index)
    table["name"] = np.where((match >= min_match) & (strength >= min_strength), best, other)
    table["match"] = match
    if len(wanted) > 1:
        table["second"] = wanted.index.to_numpy(dtype=object)[order[:, 1]]
        table["second_match"] = cosine[rows, order[:, 1]]
    table["strength"] = strength
    return table


def _wanted(adata: AnnData, signatures: Mapping[str, str | Sequence[str]] | Sequence[str]) -> pd.DataFrame:
    """Signatures by markers; of markers alone, one row for each."""
    if isinstance(signatures, str) or not len(signatures):
        raise TableError(
            "signatures= has no names with markers. Pass for example {'B': ['CD20'], 'CD8 T': ['CD3', 'CD8']}."
        )
    named = signatures if isinstance(signatures, Mapping) else {name: name for name in signatures}
    lists = {str(name): [one] if isinstance(one, str) else list(one) for name, one in named.items()}
    known = set(map(str, adata.var_names))
    signs: dict[str, dict[str, float]] = {}
    for name, markers in lists.items():
        if not markers:
            raise TableError(f"The signature {name!r} has no marker. Leave it out, or name its markers.")
        signs[name] = {}
        for marker in map(str, markers):
            against = marker not in known and marker.endswith("-")
            signs[name][marker[:-1] if against else marker] = -1.0 if against else 1.0
    used = list(dict.fromkeys(marker for one in signs.values() for marker in one))
    if lacking := [marker for marker in used if marker not in known]:
        raise PanelError(f"No marker {lacking[0]!r} in the table (signatures=); found {listed(adata.var_names, 60)}.")
    if isinstance(signatures, Mapping) and (void := [name for name, one in signs.items() if max(one.values()) < 0]):
        raise TableError(f"The signature {void[0]!r} has markers against it only. Add one that its cells have.")
    return pd.DataFrame(signs, index=used).T.fillna(0.0)


def _scores(adata: AnnData, markers: list[str], layer: str | None, batches: pd.Series | None) -> pd.DataFrame:
    """z-scores of the logarithm of intensities above the floor of their marker, within batches."""
    values = marker_values(adata, markers, layer)
    codes = np.zeros(adata.n_obs, int) if batches is None else pd.factorize(batches.astype(str))[0]
    scores = log_scores(values, codes)
    return pd.DataFrame(scores, index=adata.obs_names, columns=markers)


def _positive(profiles: pd.DataFrame, least: float, other: str) -> list[str]:
    """Markers that each cluster has; clusters of the same are numbered."""
    names = [
        " ".join(f"{marker}+" for marker, value in row.items() if value >= least) or other
        for _, row in profiles.iterrows()
    ]
    same = pd.Series(names)
    number = same.groupby(same).cumcount() + 1
    several = same.map(same.value_counts()) > 1
    numbered = (names[i] != other and bool(several[i]) for i in range(len(names)))
    return [f"{names[i]} ({number[i]})" if own else names[i] for i, own in enumerate(numbered)]
