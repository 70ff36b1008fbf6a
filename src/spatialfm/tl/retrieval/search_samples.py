"""Samples with similar niches: distances between distributions of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ..._errors import ClinicalError, TableError
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._optional import need
from ..._progress import progress_bar
from ..._public import public
from ...cohort.checks import check_anndata, check_samples, listed, obs_column, order_of_names
from ...cohort.patient_names import ask_for_patients
from ...cohort.representation import prepared
from ...stats.transport import lower_bound, on_axes, wasserstein

if TYPE_CHECKING:
    from anndata import AnnData


@public(all_threads=True)
def search_samples(
    adata: AnnData,
    query: str,
    k: int = 10,
    *,
    use_rep: str,
    library_key: str = SAMPLE_KEY,
    patient_key: str | None = PATIENT_KEY,
    exclude: Literal["patient"] | None = "patient",
    max_rows: int = 500,
    n_components: int | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Samples of other patients whose niches or cells are distributed like those of a query sample.

    The distance of two samples is the 2-Wasserstein distance between their embeddings (tiles or cells, all weighing
    alike): what it costs to turn one tissue into the other (VirTues, *Retrieval via the Virtual Tissues database*, with
    POT's exact solver). A lower bound is computed first, which costs next to nothing: the distances along each
    principal axis separately. Samples are then taken in the order of their bound, and the search
    stops as soon as no bound can still beat the `k` best: the result is that of comparing all. VirTues takes the
    central 16 tiles of each image; here it is all rows of a sample, or a random part.

    Parameters
    ----------
    adata
        Tiles or cells of all samples.
    query
        Sample to compare with.
    k
        Samples to find.
    use_rep
        Key of ``obsm`` or ``"X"``. Measured features are standardised, embeddings are used as their model's card
        states.
    library_key
        Column of ``obs`` with the sample.
    patient_key
        Column of ``obs`` with the patient (the usual one need not be there).
    exclude
        ``"patient"``: samples of the query's own patient are left out, since a patient's samples are most like each
        other; None: all are searched.
    max_rows
        Rows of a sample that are compared; of more, a random part. More is slower and steadier.
    n_components
        Principal components that are kept for the distances, which are then smaller than published. None: all columns,
        as published.
    random_state
        Seed of the random parts.

    Returns
    -------
    One row per sample, the nearest first: ``sample``, ``rank``, ``distance`` (in the units of the embedding),
    ``lower_bound`` and, where patients are known, ``patient``; ``attrs["n_compared"]`` is how many distances had to
    be computed, ``attrs["preparation"]`` what was done to the columns.

    Raises
    ------
    TableError
        If the sample is unknown, or there is no other, or another column than `patient_key` looks like the patient.
    ClinicalError
        If a sample has two patients.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=60, random_state=0)
    >>> hits = sfm.tl.search_samples(cells, cells.obs["sample"].iloc[0], k=2, use_rep="X_latent")
    >>> hits["rank"].tolist()
    [1, 2]
    """
    check_anndata(adata, "search_samples")
    need("ot", "search_samples")
    samples = obs_column(adata, library_key, "library_key").astype(str).to_numpy()
    names = np.unique(samples)
    if query not in names:
        raise TableError(f"No sample {query!r} in obs[{library_key!r}]; found {listed(names, 8)}.")
    if len(names) < 2:
        raise TableError(f"{query!r} is the only sample; there is nothing to search in.")
    if exclude is not None:
        ask_for_patients(adata, patient_key, TableError, library_key)
    patient_of = _patient_of(adata, library_key, patient_key)
    others = [name for name in names if name != query]
    if patient_of is not None and exclude is not None:
        others = [name for name in others if patient_of[name] != patient_of[query]]
        if not others:
            raise TableError(
                f"All samples are of {patient_of[query]!r}, the patient of {query!r}. Pass exclude=None to search "
                "among them."
            )
    values, how = prepared(adata, use_rep)
    values = on_axes(values, n_components)
    rng = np.random.default_rng(random_state)
    order = order_of_names(adata.obs_names)  # the drawn rows are independent of theirs
    parts = dict(iter(pd.Series(order).groupby(samples[order], sort=True)))
    clouds = {name: values[_part(parts[name].to_numpy(), max_rows, rng)] for name in names if name in {query, *others}}
    query_cloud = clouds.pop(query)
    bounds = pd.Series({name: lower_bound(query_cloud, cloud) for name, cloud in clouds.items()}).sort_values(
        kind="stable"
    )
    distances: dict[str, float] = {}
    for name in progress_bar(
        bounds.index,
        desc="samples",
        unit="sample",
    ):
        if len(distances) >= k and bounds[name] > sorted(distances.values())[k - 1]:
            break  # bounds only grow from here
        distances[name] = wasserstein(query_cloud, clouds[name])
    logger.info("%d of %d samples compared", len(distances), len(bounds))
    best = pd.Series(distances).sort_values(kind="stable").head(k)
    table = pd.DataFrame(
        {"sample": best.index, "rank": np.arange(1, len(best) + 1), "distance": best.to_numpy()}
    ).assign(lower_bound=bounds[best.index].to_numpy())
    if patient_of is not None:
        table["patient"] = patient_of[best.index].to_numpy()
    table.attrs |= {"n_compared": len(distances), "preparation": how}
    return table


def _patient_of(adata: AnnData, library_key: str, patient_key: str | None) -> pd.Series | None:
    """Patient of each sample; None where there is no column of the usual name."""
    if patient_key is None or (patient_key == PATIENT_KEY and PATIENT_KEY not in adata.obs):
        return None
    patients = obs_column(adata, patient_key, "patient_key")
    check_samples(adata.obs[library_key], patients, ClinicalError)
    pairs = pd.DataFrame({"sample": adata.obs[library_key].astype(str), "patient": patients.astype(str)})
    return pairs.drop_duplicates("sample").set_index("sample")["patient"]


def _part(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= n else rows[np.sort(rng.choice(len(rows), n, replace=False))]
