"""``spatialfm phenotype``: clusters of cells, named by their markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._demo import SIGNATURES, marker_scores
from .._errors import TableError, counted, listed
from .._imputed import is_imputed
from .._keys import TABLE
from ._analysis import Analysis, EarlierNames
from ._config import Draft, marker_names, named_markers, stored_names
from ._stage import Done, Stage
from ._without_images import GIVEN, MARKERS, PHENOTYPE, complete, is_table_only, scaled_markers
from .read import channels_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

RESOLUTION = 1.5  # as in the first tutorial: a few clusters too many, which their names bring together
CLUSTER = "cluster"
UNLABELLED = "unlabelled"


def phenotype(
    analysis: Analysis,
    *,
    use_rep: str | None = None,
    batch_key: str | None = None,
    batch_method: Literal["zscore", "robust", "rank", "combat", "harmony"] = "zscore",
    resolution: float | Literal["auto"] = RESOLUTION,
    n_neighbors: int = 15,
    signatures: Mapping[str, Sequence[str]] | None = None,
    names: Mapping[str, str] | None = None,
    label_key: str | None = None,
) -> Done:
    """Cluster the cells by their embedding, and name each cluster by the markers that stand out in it.

    Of a table of cells without images, the types that came with it are the phenotypes; where there are none, cells are
    clustered by their markers (arcsinh, each with a cofactor of its own, then standardised).

    Parameters
    ----------
    use_rep
        Embedding to cluster, a key of obsm. Default: the one that stage embed made, or the markers of a table.
    batch_key
        Column of the cohort table with slides or batches, which are brought to one scale. Where batches and outcome are
        tangled, this takes biology away as well.
    batch_method
        How, as in sfm.pp.standardize: "zscore", "robust", "rank", "combat" or "harmony" (an extra).
    resolution
        Resolution of the Leiden clusters; "auto": the finest that is as stable as the best of several.
    n_neighbors
        Neighbours of each cell in the graph.
    signatures
        Markers of each phenotype, such as {CD8 T: [CD3, CD8], B: [CD20, CD3-]}; a minus speaks against it. Default:
        common ones whose markers are all in the panel.
    names
        Names of clusters, such as {3: Tumor}, in place of those by markers.
    label_key
        Column of the cells with their types, which are then the phenotypes, in place of names of clusters:
        phenotype_given, where types came with the cells, or virtues_phenotype. Cells without one are "unlabelled".
        Default: phenotype_given for a table without images.
    """
    from ..pp import standardize
    from ..tl import leiden_sweep

    table = analysis.cells("embed")
    before = EarlierNames(table)
    key = use_rep or (MARKERS if is_table_only(analysis.images()) else _embedding(table))
    if key == MARKERS and label_key is None and use_rep is None and GIVEN in table.obs:
        label_key = GIVEN
    clustered = key != MARKERS or label_key is None
    if key == MARKERS and (clustered or complete(table).any()):
        table.obsm[MARKERS] = scaled_markers(table)
    if batch_key is not None:
        (batch_key,) = stored_names([batch_key], list(map(str, table.obs)))
        _check_batches(table, batch_key)
        added = f"{key}_in_{batch_key}"
        seed = analysis.random_state
        standardize(table, use_rep=key, batch_key=batch_key, method=batch_method, random_state=seed, key_added=added)
        key = added
    findings = []
    if clustered:
        wanted: dict[str, Any] = {} if resolution == "auto" else {"resolutions": [resolution]}
        leiden_sweep(table, use_rep=key, n_neighbors=n_neighbors, random_state=analysis.random_state, **wanted)
        table.obs[CLUSTER] = table.obs["leiden_sweep"]
        findings.append(_of_clusters(table))
    if label_key is not None:
        table.obs[PHENOTYPE] = _labels(table, label_key)
    profiles = _marker_profiles(table, CLUSTER if clustered else PHENOTYPE, batch_key)
    if label_key is None:
        table.obs[PHENOTYPE] = _named(table, profiles, signatures, names or {})
    elif profiles.n_vars:
        marker_scores(profiles)
    analysis.add_to_cells("phenotype", table, before)

    _write(analysis, table, profiles)
    counts = table.obs[PHENOTYPE].value_counts()
    said = "phenotypes" if label_key is None else f"phenotypes, as in column {label_key!r}"
    return Done([*findings, f"{said}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items())])


def _of_clusters(table: AnnData) -> str:
    sweep = table.uns["leiden_sweep"]
    resolution = float(sweep["suggested"])
    return (
        f"{counted(table.obs[CLUSTER].nunique(), 'cluster')} at resolution {resolution:g}; stability "
        f"{float(sweep['table']['stability'].loc[resolution]):.2f} (mean adjusted Rand index with those of random "
        "parts of the cells)"
    )


def _embedding(table: AnnData) -> str:
    names = [name for name in table.obsm if name.startswith("X_") and not is_imputed(table, name)]
    if not names:
        raise TableError(f"No embedding in obsm; found {listed(table.obsm)}. Pass phenotype.use_rep.")
    return names[0]


def _check_batches(table: AnnData, batch_key: str) -> None:
    if batch_key not in table.obs or table.obs[batch_key].isna().any():
        raise TableError(
            f"Column {batch_key!r} (phenotype.batch_key) is not there for every cell; found {listed(table.obs, 20)}."
        )


def _labels(table: AnnData, label_key: str) -> pd.Series:
    """The types that cells came with, as phenotypes."""
    (column,) = stored_names([label_key], list(map(str, table.obs)))
    if column not in table.obs or table.obs[column].isna().all():
        texts = [name for name in table.obs if not pd.api.types.is_numeric_dtype(table.obs[name].dtype)]
        raise TableError(f"The cells have no column {label_key!r} (phenotype.label_key); found {listed(texts, 20)}.")
    values = table.obs[column].astype("string").fillna(UNLABELLED)
    return pd.Series(pd.Categorical(values.astype(object)), index=table.obs_names)


def _marker_profiles(table: AnnData, by: str, batch_key: str | None) -> AnnData:
    """Cells by those markers that every sample has, named as the marker table names them; `by` is a column."""
    import anndata as ad

    measured = complete(table)
    channels = [str(name) for name in table.var_names[measured]]
    markers = marker_names(channels)
    unique = pd.Index([markers[name] for name in channels])
    unique = unique.where(~unique.duplicated(keep=False), channels)
    obs = pd.DataFrame(
        {by: table.obs[by], "slide": "all" if batch_key is None else table.obs[batch_key]},
        index=table.obs_names,
    )
    return ad.AnnData(np.asarray(table.X[:, measured]), obs=obs, var=pd.DataFrame(index=unique))


def _named(
    table: AnnData, profiles: AnnData, signatures: Mapping[str, Sequence[str]] | None, names: Mapping[str, str]
) -> pd.Series:
    """A phenotype for each cell: what the user calls its cluster, otherwise the nearest signature."""
    from ..tl import name_clusters
    from ..tl.phenotypes.name_clusters import OTHER

    marker_scores(profiles)
    usable = usable_signatures(signatures, list(profiles.var_names))
    clusters = table.obs[CLUSTER].astype(str)
    if unknown := [name for name in names if str(name) not in set(clusters)]:
        raise TableError(
            f"phenotype.names: there is no cluster {unknown[0]!r}; there are "
            f"{listed(table.obs[CLUSTER].cat.categories, 40)}."
        )
    if usable:
        phenotypes = name_clusters(profiles, CLUSTER, usable, batch_key="slide", copy=True).astype(str)
    else:
        phenotypes = "cluster " + clusters
    own = clusters.map({str(key): name for key, name in names.items()})
    phenotypes = own.where(own.notna(), phenotypes).astype(str)
    order = [name for name in [*usable, *names.values()] if name in set(phenotypes)]
    rest = sorted(set(phenotypes) - set(order) - {OTHER}) + ([OTHER] if OTHER in set(phenotypes) else [])
    return pd.Series(pd.Categorical(phenotypes, list(dict.fromkeys([*order, *rest]))), index=table.obs_names)


def usable_signatures(
    signatures: Mapping[str, Sequence[str]] | None, markers: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Signatures all of whose markers are measured, with the names that these have in the table."""
    asked = {name: [_sign(one) for one in said] for name, said in (signatures or SIGNATURES).items()}
    canonical = marker_names([*markers, *(one for said in asked.values() for one, _ in said)])
    measured = {canonical[name]: name for name in markers}
    usable = {}
    for name, said in asked.items():
        if all(canonical[one] in measured for one, _ in said):
            usable[name] = tuple(measured[canonical[one]] + sign for one, sign in said)
    return usable


def _sign(marker: str) -> tuple[str, str]:
    """``("CD20", "-")`` of a marker that speaks against a phenotype."""
    bare = marker.removesuffix("-").strip()
    return bare, marker[len(bare) :].strip()


def _write(analysis: Analysis, table: AnnData, profiles: AnnData) -> None:
    if CLUSTER in profiles.obs:
        of_cluster = table.obs.groupby(CLUSTER, observed=True)[PHENOTYPE].agg(["first", "size"])
        of_cluster.columns = [PHENOTYPE, "cells"]
        means = profiles.to_df("z").groupby(table.obs[CLUSTER], observed=True).mean().round(3)
        analysis.write_csv("clusters", of_cluster.join(means.add_prefix("z ")))
    counts = table.obs.groupby(["sample", PHENOTYPE], observed=False).size().unstack()
    analysis.write_csv("phenotypes_by_sample", counts)
    profiles.obs[PHENOTYPE] = table.obs[PHENOTYPE]
    if profiles.n_vars:
        analysis.write_figure("phenotypes_markers", lambda: _heatmap(profiles))
    analysis.write_figure("phenotypes_example", lambda: example(analysis, table, PHENOTYPE))


def _heatmap(profiles: AnnData) -> Figure:
    from .._demo_figures import phenotype_markers
    from ..pl._figure import category_colors

    names = list(profiles.obs[PHENOTYPE].cat.categories)
    return phenotype_markers(profiles, PHENOTYPE, dict(zip(names, category_colors(names), strict=True)))


def example(analysis: Analysis, table: AnnData, column: str) -> Figure:
    """The sample with most cells, coloured by a column of the cells."""
    from ..pl import cells
    from ..pl._points import points

    sdata = analysis.images()
    sample = str(table.obs["sample"].value_counts().idxmax())
    if is_table_only(sdata):
        return points(table, sample, column, title=f"{sample}: {column}")
    sdata["table"] = table
    return cells(sdata, sample, color=column, fill=True, title=f"{sample}: {column}", show=False, return_fig=True)


def _check(draft: Draft) -> None:
    settings = draft.settings("phenotype")
    if settings["batch_key"] is not None:
        draft.check_columns(("phenotype", "batch_key"), [settings["batch_key"]], built=["patient", "sample"])
    for name, markers in (settings["signatures"] or {}).items():
        if not markers:
            draft.problem(("phenotype", "signatures"), f"{name!r} names no marker. Write for example [CD3, CD8].")


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    problems, channels = [], channels_of(sdata)
    if is_table_only(sdata):
        problems += _of_table(settings, sdata[TABLE])
    for name, markers in (settings["signatures"] or {}).items():
        problems += named_markers(f"phenotype.signatures.{name}", [_sign(one)[0] for one in markers], channels)
    return problems


def _of_table(settings: Mapping[str, Any], table: AnnData) -> list[str]:
    """What a table of cells lacks."""
    if not table.n_vars and PHENOTYPE not in table.obs and settings["label_key"] is None:
        return [
            "phenotype: the table of cells has neither types nor markers. Name their columns: read.phenotype, or "
            "read.markers."
        ]
    if not table.n_vars and settings["batch_key"] is not None:
        return ["phenotype.batch_key: the table of cells has no markers to bring to one scale. Leave it out."]
    return []


STAGE = Stage(
    name="phenotype",
    summary="clusters of cells, named by their markers",
    example="spatialfm phenotype results --resolution 1.0 --batch-key slide",
    run=phenotype,
    clinical=lambda settings: settings["batch_key"] is not None,
    needs=("segment", "embed"),
    patients=True,
    seeded=True,
    check=_check,
    before=_before,
)
