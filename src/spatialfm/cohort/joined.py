"""Embeddings of tables that were joined: what `anndata.concat` leaves of their records tells whether they are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .._errors import listed, warn
from .._fingerprint import say_changed
from .._keys import UNS
from .comparability import OF_IMAGES, of_own_pixels

if TYPE_CHECKING:
    from anndata import AnnData

# fields that every record of images has, and that decide what a column is: one that is absent was not the same in all
DECIDING = (*OF_IMAGES, "normalization_mean", "normalization_std", "markers", "feature_names")
KEPT = ("recipe", "normalization_source", "mpp_image", "mpp_used")  # one of these is left of a joined record
MEASURED = ("X_classical", "X_mean_intensity")  # columns in several units: their record says how they are compared
OF_TYPES = "neighborhood_composition"  # its columns are types, which uns names
ONE_CALL = "Embed all samples in one call, in one SpatialData: spatialdata.concatenate([...], attrs_merge='unique')."


def say_joined(adata: AnnData, use_rep: str) -> None:
    """Warn of an embedding whose record was lost in joining tables, or whose parts were made by calls that differ.

    `anndata.concat` drops ``uns``; with ``uns_merge="same"`` it keeps of two records what is the same in both.

    Warns
    -----
    SpatialfmWarning
        If columns of the parts do not mean the same, or it is not known how columns in several units are compared, or
        which types they are of; or if those types, or the places of cells, have changed since.
    """
    if use_rep == OF_TYPES and use_rep in adata.obsm and not hasattr(adata.obsm[use_rep], "columns"):
        _say_types(adata)
    made = adata.uns.get(use_rep)
    if use_rep in adata.obsm and isinstance(made, Mapping) and "categories" in made:
        say_changed(adata, made, f"obsm[{use_rep!r}]", OF_TYPES)
    records = adata.uns.get(UNS)
    records = records if isinstance(records, Mapping) else {}
    notes = records.get(use_rep)
    if not isinstance(notes, Mapping):
        if use_rep in MEASURED:
            warn(
                f"There is no record of how {use_rep!r} was made: its columns are taken as they are, in whatever unit. "
                f"anndata.concat drops it; join tables of one call with uns_merge='same'. {ONE_CALL}"
            )
        return
    if different := what_differs(records, use_rep):
        warn(
            f"The record of {use_rep!r} lacks {listed(different)}, as after joining tables in which these differ: its "
            f"rows were not made alike and cannot be compared. {ONE_CALL}"
        )


def _say_types(adata: AnnData) -> None:
    """Warn of fractions of neighbours of which nothing says any more what types they are of."""
    record = adata.uns.get(OF_TYPES)
    if not isinstance(record, Mapping) or "categories" not in record:
        warn(
            f"There is no record of the types that columns of {OF_TYPES!r} are of, as anndata.concat drops it: of "
            "tables with other types, columns are of one here and of another there. Make it of the joined table: "
            f"sfm.tl.{OF_TYPES}(adata, <types>, ...)."
        )


def what_differs(records: Mapping, use_rep: str) -> list[str]:
    """Fields that are gone from the record of an embedding of images."""
    notes = records[use_rep]
    if not any(name in notes for name in KEPT):
        return []
    different = [name for name in DECIDING if name not in notes and not (name == "window" and of_own_pixels(notes))]
    if "standardized_of" in notes:  # made of another, which is asked for these
        return different
    if notes.get("standardized") and "feature_mean" not in notes:
        different.append("feature_mean")
    basis = records.get(f"{use_rep}_basis")
    if notes.get("n_components") and not (isinstance(basis, Mapping) and "components" in basis):
        different.append("basis")
    return different
