"""Arguments and functions that had another name: the error for the old one names the new one.

Only messages use this: an old name is never taken. `CHANGELOG.md` has the same table, and a test holds both together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RENAMED: dict[str, dict[str, str]] = {  # function: old name: new name
    "add_clinical": {"columns": "clinical_keys", "table_key": "table_on"},
    "annotate": {"head": "method"},
    "basis": {"key": "use_rep"},
    "cell_states": {"reference": "source"},
    "cell_table": {"cells_label_key": "instance_key", "cells_sample_key": "library_key"},
    "compare_representations": {"run": "run_key"},
    "composition": {"groupby": "group_key"},
    "cox": {"cluster_key": "se_cluster_key"},
    "cumulative_incidence": {"event": "event_value"},
    "cut_point": {"key": "score_key"},
    "detect_artifacts": {"head": "method"},
    "evaluate_annotation": {"group_key": "patient_key", "head": "heads"},
    "features": {"key": "use_rep"},
    "marker_attention": {"key": "use_rep"},
    "marker_embedding": {"key": "use_rep"},
    "mil": {"model": "head", "seeds": "n_seeds"},
    "paint_tiles": {"key": "cluster_key"},
    "power": {"target": "target_power"},
    "read_cohort": {
        "image_key": "image_column",
        "labels_key": "labels_column",
        "mpp_key": "mpp_column",
        "sample_key": "library_key",
    },
    "record": {"key": "use_rep"},
    "retrieval": {"same_patient": "exclude"},
    "risk_ratio": {"names": "features"},
    "score_signatures": {"type_key": "cluster_key"},
    "search_samples": {"same_patient": "exclude"},
    "segment_regions": {"head": "method"},
    "shift": {"basis": "use_rep"},
    "tissue_clusters": {"tiles": "adata"},
    "transfer_labels": {"head": "method", "query": "target", "reference": "source"},
}
FUNCTIONS = {"pp.mend_labels": "pp.fix_labels", "pp.tile_labels": "tl.tile_labels"}
TABLES = ("samples", "patients", "adata")  # tables were named after their rows: `patients`, if at all


def new_name(function: str, old: str, known: list[str]) -> str | None:
    """Name that an argument of this function has now; None where it never had another.

    Examples
    --------
    >>> new_name("score_signatures", "type_key", ["adata", "cluster_key"])
    'cluster_key'
    >>> new_name("cox", "samples", ["patients", "covariates"])
    'patients'
    """
    name = RENAMED.get(function, {}).get(old)
    if name is None and old in TABLES:
        name = next((one for one in TABLES if one in known), None)
    return name if name in known else None


def with_renamed(namespace: str, load: Callable[[str], Any]) -> Callable[[str], Any]:
    """What a namespace does for a name that it lacks: its own `load`, unless the name is one that a function had."""

    def get(name: str) -> Any:
        now = FUNCTIONS.get(f"{namespace}.{name}")
        if now is not None:
            raise AttributeError(f"sfm.{namespace}.{name} is now sfm.{now}.")
        return load(name)

    return get
