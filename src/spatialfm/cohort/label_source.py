"""Labels that were made from mean intensities: whoever reads them from these again has shown nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from .._errors import warn
from .circular import _by_scanpy, _rep_of_graph
from .intensities import intensities

if TYPE_CHECKING:
    from anndata import AnnData

LabelsFrom = Literal["intensities", "elsewhere"]


def made_of_intensities(table: AnnData, label_key: str) -> str:
    """How a column of labels was made from mean intensities, by what functions wrote into ``uns``; empty if unknown.

    Clusters of a graph of intensities, clusters that were named by their markers, and labels that were predicted from
    intensities are known; labels that another program made are not.
    """
    record = table.uns.get(label_key)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    if not isinstance(record, Mapping) or not isinstance(params, Mapping):
        return ""
    if "profiles" in record and "cluster_key" in params:
        return f"clusters {str(params['cluster_key'])!r} were named by their mean intensities"
    if "use_rep" in params and "method" in params:  # of sfm.tl.annotate
        if "signature_weight" in params:
            return "they were found by markers of types"
        reps = params["use_rep"]
        held = [rep for rep in ([reps] if isinstance(reps, str) else list(reps)) if _holds(table, str(rep))]
        return f"they were predicted from {held[0]!r}" if held else ""
    if _by_scanpy(table, label_key):
        rep = _rep_of_graph(table) or "X"
        return f"they are clusters of a graph of {rep!r}" if _holds(table, rep) else ""
    return ""


def _holds(table: AnnData, rep: str) -> bool:
    return (rep == "X" or rep in table.obsm) and intensities(table, rep) is not None


def circular_representations(
    table: AnnData, label_key: str, reps: list[str], labels_from: LabelsFrom | None
) -> list[str]:
    """Representations that hold the means which labels were made from; they are told of.

    Parameters
    ----------
    reps
        Keys of ``obsm``, or ``"X"``.
    labels_from
        What is known of the labels; None: what ``uns`` tells.
    """
    if labels_from == "elsewhere":
        return []
    how = "labels_from='intensities'" if labels_from else made_of_intensities(table, label_key)
    held = [rep for rep in reps if _holds(table, rep)] if how else []
    if held:
        names = " and ".join(map(repr, held))
        warn(
            f"Circular: labels of obs[{label_key!r}] were made from mean intensities ({how}), and {names} "
            f"{'holds' if len(held) == 1 else 'hold'} these. The score says how well they are repeated, not whether "
            "they are right; representations that lack them compare unfairly. Pass labels_from='elsewhere' if not."
        )
    return held
