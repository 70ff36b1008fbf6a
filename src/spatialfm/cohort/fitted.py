"""What a cross-validated score rests on that was fitted on all patients, before any fold was drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .._keys import UNS

if TYPE_CHECKING:
    from anndata import AnnData

CLUSTERED = {"n_niches", "n_states", "n_clusters", "n_groups", "resolution", "n_subsamples"}
OTHERS = {"pca": "principal components", "umap": "UMAP", "tsne": "t-SNE", "harmony": "Harmony", "scvi": "scVI"}


def fitted_on_all(table: AnnData, reps: str | Iterable[str] | None, columns: Iterable[str] = ()) -> str:
    """Words for a record: bases, states and statistics that held-out patients had a part in; empty without any.

    None of them has seen an outcome, so that a score is not biased by it as by selection; but it is a score of
    patients that belong to the cohort, not of the next one that comes in.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, random_state=0)
    >>> sfm.tl.cell_states(cells, 5, use_rep="X_latent", key_added="state")
    >>> patients = sfm.tl.composition(cells, "state", patient_key="patient")
    >>> fitted_on_all(patients, "X")
    "clusters obs['state']"
    """
    sentences = [
        words for rep in ([reps] if isinstance(reps, str) else list(reps or ())) for words in _of_rep(table, rep)
    ]
    sentences += [f"clusters obs[{key!r}]" for key in columns if clustered(table, key)]
    return ", ".join(dict.fromkeys(sentences))


def clustered(table: AnnData, key: str) -> bool:
    """Whether a column was made by clustering the rows of this table, by ``uns``."""
    record = table.uns.get(key)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    return isinstance(params, Mapping) and bool(CLUSTERED & set(params))


def _of_rep(table: AnnData, rep: str) -> list[str]:
    if rep == "X":
        params = table.uns.get("composition", {}).get("params", {})
        return [words] if (words := str(params.get("fitted_on_all", ""))) else []
    notes = table.uns.get(UNS, {}).get(rep)
    if isinstance(notes, Mapping):
        sentences = [f"principal components of obsm[{rep!r}]"] if notes.get("n_components") else []
        sentences += [f"scales of the batches of obsm[{rep!r}]"] * bool(notes.get("standardized_by"))
        sentences += [f"alignment of obsm[{rep!r}]"] * bool(notes.get("split_key"))
        of_cohort = "cohort" in str(notes.get("normalization_source", ""))
        return sentences + [f"intensity statistics of obsm[{rep!r}]"] * of_cohort
    name = rep.casefold().removeprefix("x_")
    return [f"{words} of obsm[{rep!r}]" for kind, words in OTHERS.items() if name.startswith(kind)]
