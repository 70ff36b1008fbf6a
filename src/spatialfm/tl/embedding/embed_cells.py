"""One embedding a cell, from the images of a SpatialData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..._errors import ElementError, TableError, counted
from ..._keys import TABLE
from ..._logging import logger
from ..._public import public
from ..._settings import settings
from ...embed.session import (
    check_embedding_key,
    check_run,
    choose_components,
    load_encoder,
    output_keys,
    run_plan,
    write_result,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from dask.distributed import Client
    from spatialdata import SpatialData

    from ...embed.plan import Plan
    from ...embed.result.finish import Result
    from ...models.encoder import Encoder
    from ...pp.tissue_sources import Tissue


@public
def embed_cells(
    sdata: SpatialData,
    model: str | Encoder | None = None,
    *,
    weights: str | None = None,
    image: str | Sequence[str] | Mapping[str, str] | None = None,
    labels: str | Sequence[str] | Mapping[str, str] | None = None,
    samples: Sequence[str] | None = None,
    table_name: str = TABLE,
    markers: Sequence[str] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    on_unknown: Literal["raise", "keep", "drop"] | None = None,
    outputs: str | Sequence[str] | None = None,
    normalization: Literal["auto", "published", "cohort"] = "auto",
    intensity_max: float | Mapping[str, float] | None = None,
    tissue: Tissue = "auto",
    background: Literal["zero", "keep"] | None = None,
    mpp: float | Mapping[str, float] | None = None,
    resample: bool = True,
    mode: Literal["auto", "crop", "tile"] = "auto",
    window: int | None = None,
    centers: tuple[str, str] | None = None,
    stride: int | None = None,
    padding: int | None = None,
    stats: pd.DataFrame | Mapping[str, object] | str | PathLike | Sequence[str | PathLike] | None = None,
    marker_embeddings: object = None,
    reduce: Literal["pca"] | None = None,
    n_components: int | None = None,
    basis: Mapping[str, object] | None = None,
    on_missing: Literal["raise", "drop"] = "raise",
    on_pieces: Literal["raise", "keep"] = "raise",
    on_nan: Literal["raise", "zero"] = "raise",
    batch_size: int | None = None,
    device: str | Sequence[str] | None = None,
    client: Client | None = None,
    compile: bool = False,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    resume: bool = True,
    key_added: str | None = None,
    copy: bool = False,
    **model_options: object,
) -> AnnData | None:
    """Embed every cell of every sample with an encoder.

    ``mode="crop"``: one window is cut around the centroid of each cell, scaled to 0..1, normalised marker by marker,
    masked to the cell and encoded. For KRONOS this is the published cell recipe (Online Methods, *Cell phenotyping*):
    64 x 64 pixels, ``(x - mean) / std`` of each marker, pixels of other cells set to zero, one vector a marker
    concatenated.

    ``mode="tile"``: overlapping tiles are laid over the whole image, and every token is shared out to the cells below
    it by the pixels that they have in common. This is VirTues' recipe (Methods, *Aggregation*): tiles of 128 pixels at
    stride 42. One pass over the image instead of one window a cell.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)`` and label images ``(y, x)`` that share a coordinate system. Offsets and scales between
        them are applied.
    model
        Name of a model (`spatialfm.models.list_models`) or a loaded encoder. Default: ``"classical"``, which needs no
        weights.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    image, labels
        Elements to use; by default every ``image_<sample>`` with its ``cells_<sample>``, or the only image and labels
        of a coordinate system. A mapping is read as ``{sample: element}``.
    samples
        Samples to embed (default: all).
    table_name
        Cell table; made with `spatialfm.pp.cell_table` where it does not exist.
    markers
        Markers to use, in this order (default: all that every sample has).
    mapping
        Channel → marker for names that `spatialfm.pp.match_markers` does not know; None leaves a channel out.
    on_unknown
        What becomes of channels that are not resolved: an error, a marker that the model has never seen, or left out.
        Default: ``"raise"`` for models that know markers by name, ``"keep"`` for those to which names mean nothing.
    outputs
        ``"marker"``: one vector a marker, concatenated to ``M * D`` columns; ``"patch"``: one vector a cell of ``D``
        columns (in tiles: the summary tokens, or the mean of the tokens of all markers); ``"attention"``, of models
        that have it and in crops: how much each attention head looks at each marker, ``M * heads`` columns, to be read
        with `spatialfm.tl.marker_attention`; or several, from one pass: ``("marker", "patch")``. Default: what the
        model's card says.
    normalization
        ``"published"``: the statistics shipped with the weights; ``"cohort"``: mean and standard deviation over the
        tissue of all samples given; ``"auto"``: published ones where there are any, those of the cohort for the rest.
    intensity_max
        Pixel value that becomes 1, or ``{sample: value}``. Default: the range of 8- and 16-bit images; 1 for others.
        Has to be given where the pixel types of the images differ. VirTues takes raw values; with a mapping, in the
        unit of the sample with the largest. Negative pixels count as 0, with a warning.
    tissue
        Where statistics of the cohort are taken. ``"auto"``: the element ``tissue_<sample>``, if there is one (see
        `spatialfm.pp.tissue`); otherwise all of an image, less empty glass: regions that are large, dark in most
        channels, without segmented cells, and whose smoothed intensities are a mode of their own (docs: *Choosing a
        model*, *Tissue*). ``"all"``: everything. A labels element (0: none) or shapes, ``"{sample}"`` in
        the name stands for the sample; a 2-D array of bool or integers of the image's size; or ``{sample: any of
        these}``.
    background
        Pixels outside of the cell: ``"zero"`` after normalising, or ``"keep"``. Default: what the card says.
    mpp
        µm per pixel of the images, or ``{sample: µm}``. Default: from their transformations. Either all sizes are known
        or none is.
    resample
        Whether images more than 10 % off the pixel size that the model was trained on are resampled to it, and images
        of different sizes to one: the coarsest of them, or what the model was trained on. ``"classical"`` measures at
        0.5 µm, or at the coarsest where that is coarser.
    mode
        ``"crop"``, ``"tile"``, or what the paper does (``"auto"``).
    window
        Side of the window in model pixels. Default: what the card says; 128 for tiles.
    centers
        Crops only: where windows are centred. Default: the centroid of each cell in pixel indices, rounded (halves
        up); a window of 64 then spans rows ``i - 32`` to ``i + 31`` around pixel ``i``, as in the official pipeline of
        KRONOS. ``("x", "y")``: columns of ``obs`` that hold the centres as pixel indices of the image, taken as they
        are (fractions are rounded; indices of an image that is resampled are scaled with it).
    stride, padding
        Tiles only, in model pixels: distance of one tile to the next (default 42), and how far tiles reach beyond the
        image, where all is zero before normalising (default 120).
    stats
        Mean and standard deviation of the markers, instead of those of this cohort: ``{marker: (mean, std)}``; the
        table of `spatialfm.pp.marker_statistics`; the record of an earlier run (`spatialfm.get.record`), so that a new
        cohort is normalised like the old one; or, for
        VirTues, those published with a data set: a folder in spora's layout (``<modality>/1_0mpp/standardization/
        quantile_clipping_log1p/uq_0.99_image`` or one above it), its parquet files, or ``{"means": table, "stds":
        table, "quantiles": table}``. Its channels are matched by name. A sample whose name is that of an image of the
        data set is also clipped where its quantiles say so.
    marker_embeddings
        Protein embeddings of the markers for models that know markers by them (VirTues): a folder of
        ``<UniProt>.pt`` or ``.npy``, a FASTA file to compute them from, ``{marker: vector}``, or a list of these.
        Behind them, and by default, stand those of common markers that come with the package.
    reduce, n_components
        ``"pca"``: keep the `n_components` leading principal components (default 50) of this run's cells. Their mean and
        components are written too. ``resnet50`` is always reduced, to 9, as the paper has it.
    basis
        Mean and components of an earlier run (`spatialfm.get.basis`), instead of fitting them here; with several
        outputs, ``{output: basis}``.
    on_missing
        Rows without label, labels without row, cells outside of their image: an error, or left out (such rows then
        leave the table).
    on_pieces
        Numbers of labels that are used for several cells (see `spatialfm.pp.check_labels`): an error, or all pieces of
        a number are one cell. Kept, too, where `spatialfm.pp.cell_table` was told so; with ``"split"`` it makes each
        piece a cell.
    on_nan
        Pixels that are NaN or infinite: an error that names image, channel and number, or zero with a warning.
    batch_size
        Windows a batch. Default: what fits into ``settings.batch_memory``. Halved where memory does not suffice.
    device
        Torch device; default ``settings.device``. A list, such as ``["cuda:0", "cuda:1"]``, shares the blocks out to
        several devices of this machine.
    client
        A `dask.distributed.Client`: its workers encode the blocks (each on its `device`) and write them to
        ``settings.cache_dir``, which they and this process must share.
    compile
        Whether the encoder is compiled (`torch.compile`) first: a minute spent, then faster on GPUs. Numbers may differ
        in the last digits.
    dtype
        ``"float32"``: exact. ``"float16"``: computed in float32 and stored in half the space. ``"bfloat16"``: computed
        in bfloat16 (autocast) where that is safe, and stored in float32; faster where the processor has it.
    resume
        Whether blocks that an interrupted run of the same call has finished are used.
    key_added
        Key in ``obsm``; default ``X_<model>``.
    copy
        Return an AnnData of the embedded cells instead of writing into `sdata`.
    **model_options
        Passed to `spatialfm.models.load`, for example ``token_overlap=True``.

    Returns
    -------
    None, or the AnnData if `copy`. Written into ``sdata[table_name]``:

    ``.obsm[key_added]``
        ``(n_cells, columns)``, never NaN. A numpy array, or, above ``settings.result_memory``, a dask array that is
        read from ``settings.cache_dir`` when it is needed. Several outputs: ``key_added + "_" + output`` each.
    ``.uns["spatialfm"][key_added + "_basis"]``
        If reduced: ``mean (columns,)``, ``components (n_components, columns)``, ``explained`` share of the variance.
    ``.uns["spatialfm"][key_added]``
        Record: model, weights and their SHA-256, licence, markers used and dropped, normalisation, pixel sizes, window,
        package versions, seconds. Strings, numbers and JSON text.

    Raises
    ------
    ElementError, CoordinateError, PixelSizeError, PanelError, TableError, ModelError
        Before any window is encoded; the message says what to pass.
    RunError
        If reading, encoding or writing fails on the way. Finished blocks are kept: the same call goes on from there.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0)
    >>> sfm.tl.embed_cells(sdata, "classical")
    >>> adata = sdata["table"]
    >>> adata.obsm["X_classical"].shape[0] == adata.n_obs
    True
    """
    from ...embed.inputs import Options, prepare_inputs
    from ...embed.plan import check_options, plan_cells
    from ...embed.windows.cells import find_cells
    from ...pp.elements import match_elements
    from ...pp.missing_chunks import report_missing_chunks

    if on_missing not in ("raise", "drop"):
        raise TableError(f"on_missing={on_missing!r} is neither 'raise' nor 'drop'.")
    if on_pieces not in ("raise", "keep"):
        raise TableError(
            f"on_pieces={on_pieces!r} is neither 'raise' nor 'keep'. With 'split' make the table first: "
            "sfm.pp.cell_table(sdata, on_pieces='split')."
        )
    pairs = match_elements(sdata, image, labels, samples=samples)
    check_embedding_key(key_added)
    devices = check_run(dtype, device, client, reduce)
    encoder = load_encoder(model, weights, model_options, embed_cells).to(devices[0])
    options = Options(
        markers=markers,
        mapping=mapping,
        on_unknown=on_unknown,
        outputs=outputs,
        normalization=normalization,
        intensity_max=intensity_max,
        tissue=tissue,
        background=background,
        mpp=mpp,
        resample=resample,
        mode=mode,
        window=window,
        centers=centers,
        stride=stride,
        padding=padding,
        stats=stats,
        marker_embeddings=marker_embeddings,
        arguments=embed_cells.arguments,
        on_nan=on_nan,
        autocast=dtype == "bfloat16",
        compile=compile,
        workers=None if client is None else str(device or settings.device),
    )
    check_options(encoder, options)
    pairs = report_missing_chunks(sdata, pairs)
    table = _table(sdata, table_name, pairs, on_missing, on_pieces)
    cells = find_cells(sdata, pairs, table, table_name, on_missing, centers, on_pieces)
    _check_rows(table, cells.rows, pairs, table_name, copy=copy)
    n_components = choose_components(encoder, reduce, n_components, basis, len(cells.rows), "cells")
    plan = plan_cells(prepare_inputs(sdata, pairs, encoder, options), cells)

    results, seconds = run_plan(
        plan,
        devices=devices,
        device=device,
        client=client,
        batch_size=batch_size,
        n_components=n_components,
        basis=basis,
        dtype=dtype,
        resume=resume,
    )
    keys = output_keys(encoder, plan.job.outputs, key_added)
    adata = _write(table, cells.rows, results, keys, plan, copy=copy, dtype=dtype, seconds=seconds)
    if not copy:
        sdata.tables[table_name] = adata
    rate = f" ({len(cells.rows) / seconds:.0f} cells/s)" if seconds else ""  # nothing was encoded
    logger.info(f"{', '.join(keys.values())}: {counted(len(cells.rows), 'cell')} in {seconds:.1f} s{rate}")
    return adata if copy else None


def _table(sdata: SpatialData, table_name: str, pairs: Sequence, on_missing: str, on_pieces: str) -> AnnData:
    if table_name in sdata.tables:
        return sdata.tables[table_name]
    from ...pp.cells import measured_table

    if sdata.tables and table_name != TABLE:
        raise ElementError(f"No table {table_name!r} in sdata; found {', '.join(map(repr, sdata.tables))}.")
    logger.info("no table %r: making it with sfm.pp.cell_table", table_name)
    return measured_table(sdata, pairs, drop=on_missing == "drop", on_pieces=on_pieces)


def _check_rows(table: AnnData, rows: np.ndarray, pairs: Sequence, table_name: str, *, copy: bool) -> None:
    """Refuse to leave rows of other samples without embedding: `obsm` covers all rows, and NaN is never written."""
    regions = table.obs[table.uns["spatialdata_attrs"]["region_key"]].astype(str)
    others = sorted(set(regions) - {pair.labels for pair in pairs})
    if others and not copy:
        raise TableError(
            f"Table {table_name!r} also holds cells of {', '.join(others[:5])}, which are not to be embedded. Embed "
            "all "
            "samples, or pass copy=True to get the AnnData of those chosen."
        )


def _write(
    table: AnnData,
    rows: np.ndarray,
    results: Mapping[str, Result],
    keys: Mapping[str, str],
    plan: Plan,
    *,
    copy: bool,
    dtype: str,
    seconds: float,
) -> AnnData:
    order = np.argsort(rows, kind="stable")
    whole, sorted_already = len(rows) == table.n_obs, bool((np.diff(order) == 1).all())
    adata = table.copy() if copy and whole else table if whole else table[rows[order]].copy()
    for output, result in results.items():
        values = result.values if sorted_already else result.values[order]
        write_result(adata, keys[output], result, values, plan, output, dtype=dtype, n_cells=len(rows), seconds=seconds)
    return adata
