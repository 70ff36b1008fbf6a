"""The record of an embedding or of imputed markers, as it was before it was stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._errors import ElementError, listed
from ._keys import UNS
from ._public import public

if TYPE_CHECKING:
    from anndata import AnnData


@public
def record(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """The record of an embedding, with its JSON texts read.

    Parameters
    ----------
    adata
        Table with an embedding.
    use_rep
        Key in ``obsm``.

    Raises
    ------
    ElementError
        If there is no record of that embedding.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata, "classical")
    >>> sfm.get.record(sdata["table"], "X_classical")["model"]
    'classical'
    """
    records = adata.uns.get(UNS, {})
    records = records if isinstance(records, Mapping) else {}
    if not isinstance(records.get(use_rep), Mapping):
        known = [name for name, value in records.items() if name in adata.obsm and isinstance(value, Mapping)]
        raise ElementError(
            f"No record of {use_rep!r}; embeddings with a record: {listed(known)}. Make one with sfm.tl.embed_cells."
        )
    try:
        return {name: _read(value) for name, value in records[use_rep].items()}
    except ValueError as error:
        raise ElementError(
            f"The record of {use_rep!r} holds text that is not JSON ({error}): it was changed. Embed again."
        ) from error


def first_difference(earlier: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str | None, str | None] | None:
    """The first thing in which two embeddings were not made alike: its name, what it was and what it is; None if alike.

    Both as `spatialfm.cohort.comparability.how_made` tells it.

    Examples
    --------
    >>> first_difference({"model": "kronos", "mode": "crop"}, {"model": "kronos", "mode": "tile"})
    ('mode', 'crop', 'tile')
    """
    for name in {**earlier, **now}:
        if earlier.get(name) != now.get(name):
            return name, earlier.get(name), now.get(name)
    return None


def _read(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return value
