"""One embedding a cell, from the images of a SpatialData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..._errors import counted
from ..._keys import TABLE
from ..._logging import logger
from ..._public import public
from ...embed.call import CALL_FIELDS
from ...embed.session import run_plan, write_result

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Reduce, Run
    from ...embed.planned import EmbeddingPlan
    from ...embed.result.finish import FinishedEmbedding
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe


@public(fields=CALL_FIELDS)
def embed_cells(
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
    plan: EmbeddingPlan | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Embed every cell of every sample with an encoder.

    Mode ``"crop"`` of a recipe: one window is cut around the centroid of each cell, scaled to 0..1, normalised marker
    by marker, masked to the cell and encoded. For KRONOS this is the published cell recipe (Online Methods, *Cell
    phenotyping*): 64 x 64 pixels, ``(x - mean) / std`` of each marker, pixels of other cells set to zero, one vector a
    marker concatenated.

    Mode ``"tile"``: overlapping tiles are laid over the whole image, and every token is shared out to the cells below
    it by the pixels that they have in common. This is VirTues' recipe (Methods, *Aggregation*): tiles of 128 pixels at
    stride 42. One pass over the image instead of one window per cell.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)`` and label images ``(y, x)`` that share a coordinate system; polygons, circles or points in
        place of these. Offsets and scales between them are applied.
    model
        Name of a model (`spatialfm.models.list_models`) or a loaded encoder; options of a model go to
        `spatialfm.models.load`. ``"classical"`` needs no weights: intensities, shape and texture.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    adapter
        Folder that `spatialfm.train.finetune` wrote: the model is used with what it learned there.
    markers
        Markers to use, in this order (default: all that every sample has); short for the field of `panel`.
    samples
        Samples to embed (default: all).
    outputs
        ``"marker"``: one vector per marker, concatenated to ``M * D`` columns; ``"patch"``: one vector per cell of
        ``D`` columns (in tiles: the summary tokens, or the mean of the tokens of all markers); ``"attention"``, of
        models that have it and in crops: how much each attention head looks at each marker, ``M * heads`` columns, to
        be read with `spatialfm.tl.marker_attention`; or several, from one pass: ``("marker", "patch")``. Default: what
        the model's card says.
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields.
    recipe
        All that decides the numbers: `spatialfm.Recipe`, or a dict of fields to depart in from the one on the model's
        card. ``sfm.get.recipe(adata, key)`` is that of an earlier embedding, with its statistics.
    reduce
        Principal components instead of all columns: `spatialfm.Reduce`, or a dict of its fields.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    table_name
        Cell table; made with `spatialfm.pp.cell_table` where it does not exist.
    on_missing
        Rows without label, labels without row, cells outside of their image: an error, or left out (such rows then
        leave the table).
    plan
        What `spatialfm.tl.plan_embedding` made of the same `sdata`: is run as planned. Nothing else but `copy` may be
        said with it.
    key_added
        Key in ``obsm``; default ``X_<model>``, with an adapter ``X_<model>_<adapter>``.
    copy
        Return an AnnData of the embedded cells instead of writing into `sdata`.

    Returns
    -------
    None, or the AnnData if `copy`. Written into ``sdata[table_name]``:

    ``.obsm[key_added]``
        ``(n_cells, columns)``, never NaN. A numpy array, or, above ``settings.result_memory``, a dask array that is
        read from ``settings.cache_dir`` when it is needed. Several outputs: ``key_added + "_" + output`` each.
    ``.uns["spatialfm"][key_added + "_basis"]``
        If reduced: ``mean (columns,)``, ``components (n_components, columns)``, ``explained`` share of the variance.
    ``.uns["spatialfm"][key_added]``
        Record: model, weights and their SHA-256, adapter and its SHA-256, licence, the whole recipe, markers used and
        dropped, statistics, pixel sizes, window, package versions, seconds. Strings, numbers and JSON text.

    Raises
    ------
    ElementError, CoordinateError, PixelSizeError, PanelError, TableError, ModelError
        Before any window is encoded; the message names what to pass.
    RunError
        If reading, encoding or writing fails on the way. Finished blocks are kept: the same call goes on from there.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata)
    >>> adata = sdata["table"]
    >>> adata.obsm["X_classical"].shape[0] == adata.n_obs
    True
    """
    from ...embed.planned import check_alone, check_rows, plan_embedding_of

    arguments: dict[str, Any] = {
        "weights": weights,
        "adapter": adapter,
        "markers": markers,
        "samples": samples,
        "outputs": outputs,
        "panel": panel,
        "recipe": recipe,
        "reduce": reduce,
        "run": run,
        "elements": elements,
        "table_name": table_name,
        "on_missing": on_missing,
        "key_added": key_added,
    }
    if plan is None:
        plan = plan_embedding_of(sdata, model, **arguments, copy=copy)
    else:
        check_alone({"model": model, **arguments})
        plan.check(sdata)
        check_rows(plan.table, plan.pairs, plan.table_name, copy=copy)
    results, seconds = run_plan(plan.run, plan.request, plan.devices, plan.n_components)
    adata = _write(plan, results, seconds, copy=copy)
    if not copy:
        sdata.tables[plan.table_name] = adata
    n = len(plan.cells.rows)
    rate = f" ({n / seconds:.0f} cells/s)" if seconds else ""  # nothing was encoded
    logger.info(f"{', '.join(plan.keys.values())}: {counted(n, 'cell')} in {seconds:.1f} s{rate}")
    return adata if copy else None


def _write(plan: EmbeddingPlan, results: Mapping[str, FinishedEmbedding], seconds: float, *, copy: bool) -> AnnData:
    table, rows = plan.table, plan.cells.rows
    order = np.argsort(rows, kind="stable")
    whole, sorted_already = len(rows) == table.n_obs, bool((np.diff(order) == 1).all())
    adata = table.copy() if copy and whole else table if whole else table[rows[order]].copy()
    notes = {"dtype": plan.request.run.precision, "n_cells": len(rows), "seconds": seconds}
    for output, result in results.items():
        values = result.values if sorted_already else result.values[order]
        write_result(adata, plan.keys[output], result, values, plan.run, output, **notes)
    return adata
