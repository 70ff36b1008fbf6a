"""What embedding would do and take, without doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from ..._keys import TABLE
from ..._public import public
from ...embed.call import CALL_FIELDS

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Reduce, Run
    from ...embed.planned import EmbeddingPlan
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe


@public(fields=CALL_FIELDS)
def plan_embedding(
    sdata: SpatialData,
    model: str | Encoder = "classical",
    *,
    weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    outputs: str | Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    reduce: Reduce | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    on_missing: Literal["raise", "drop"] = "raise",
    key_added: str | None = None,
) -> EmbeddingPlan:
    """Plan a run of `spatialfm.tl.embed_cells` without starting it, and estimate its memory and time.

    Images are read once, for the statistics of the markers and to identify them; both are kept for the
    run. Time is estimated from a few empty windows and one block. The arguments are those of
    `spatialfm.tl.embed_cells`.

    Parameters
    ----------
    sdata
        Images and label images, as in `spatialfm.tl.embed_cells`; nothing is written into it.
    model
        Name of a model or a loaded encoder.
    weights
        Weights of the model.
    adapter
        Folder that `spatialfm.train.finetune` wrote.
    markers
        Markers to use, in this order.
    samples
        Samples to embed (default: all).
    outputs
        Outputs of the model.
    panel
        Which channels are which markers.
    recipe
        All that decides the numbers.
    reduce
        Principal components instead of all columns.
    run
        Devices, cluster, batches, precision and the like.
    elements
        Which images and labels, and their pixel size.
    table_name
        Cell table.
    on_missing
        Rows without label, labels without row, cells outside of their image: an error, or left out.
    key_added
        Key in ``obsm``.

    Returns
    -------
    The plan: prints itself, in a notebook as tables, with elements, cells, what becomes of each channel, recipe,
    blocks, batch, expected columns, memory, disk and time. ``sfm.tl.embed_cells(sdata, plan=plan)`` runs it.

    Raises
    ------
    ElementError, CoordinateError, PixelSizeError, PanelError, TableError, ModelError
        Whatever `spatialfm.tl.embed_cells` would refuse.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> plan = sfm.tl.plan_embedding(sdata, "mean-intensity")
    >>> plan.columns
    {'X_mean_intensity': 12}
    >>> sfm.tl.embed_cells(sdata, plan=plan)
    >>> sdata["table"].obsm["X_mean_intensity"].shape[1]
    12
    """
    from ...embed.planned import plan_embedding_of

    return plan_embedding_of(
        sdata,
        model,
        weights=weights,
        adapter=adapter,
        markers=markers,
        samples=samples,
        outputs=outputs,
        panel=panel,
        recipe=recipe,
        reduce=reduce,
        run=run,
        elements=elements,
        table_name=table_name,
        on_missing=on_missing,
        key_added=key_added,
        kept=True,
    )
