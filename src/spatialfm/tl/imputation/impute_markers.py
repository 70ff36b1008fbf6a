"""Markers that were not stained, predicted from those that were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from ..._errors import ArgumentError, counted
from ..._keys import PATIENT_KEY, TABLE
from ..._logging import logger
from ..._public import public
from ...embed.call import CALL_FIELDS, Elements, Run, image_elements
from ...embed.session import check_embedding_key, check_run, load_encoder

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Panel
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe


@public(fields=CALL_FIELDS)
def impute_markers(
    data: SpatialData | AnnData,
    model: str | Encoder | None = None,
    *,
    markers: Sequence[str],
    method: Literal["model", "linear", "knn"] = "model",
    source: SpatialData | AnnData | None = None,
    overlap: Literal["mean", "feather"] = "mean",
    space: Literal["standardised", "intensity"] = "standardised",
    stride: int | None = None,
    weights: str | PathLike | None = None,
    adapter: str | PathLike | None = None,
    samples: Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    layer: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    key_added: str = "imputed",
    random_state: int = 0,
) -> None:
    """Predict markers that were not stained: over whole images, and as means of cells.

    VirTues, *Zero-shot inference*: the model is given a channel of zeros with the protein embedding of the marker, all
    of whose tokens are hidden, over tiles of 128 pixels beside each other. Markers that were stained are hidden in the
    same way, so that what is predicted can be compared with what was measured. A prediction is not a measurement: it is
    kept apart from ``X``, and `spatialfm.tl.calibrate_imputation` says how far it can be trusted.

    Parameters
    ----------
    data
        Images ``(c, y, x)`` and their cells; or a table of cells, with method ``"linear"`` or ``"knn"``.
    model
        With method ``"model"``: name of a model with a decoder (``"virtues"`` and its kin), or a loaded encoder.
    markers
        Markers to predict, all at once: none of them is seen.
    method
        ``"model"``; or, without any weights, ``"linear"``: ridge regression on the other markers, of pixels in images
        and of cells in a table; ``"knn"``: the mean of the ten nearest cells, which is of cells alone: of images the
        cell table is used, and each cell is painted with its number. These are fitted where the marker was stained,
        and predict where it was not; values below 0 become 0 where none was measured.
    source
        With ``"linear"`` and ``"knn"``: data of the same kind in which the markers were stained. Default: the samples
        or cells of `data` in which they were.
    overlap
        Where tiles overlap: their mean, or ``"feather"``, weights that fall towards a tile's edges.
    stride
        Distance of one tile to the next in model pixels. Default: the side of a tile.
    space
        ``"standardised"``: as the model predicts; of the other methods, less the mean of what was fitted on and
        divided by its standard deviation. ``"intensity"``: in the units of the image or the table. The mean and
        standard deviation of a marker that some samples lack are of those that have it; of one that none has they
        must be given, ``recipe={"statistics": ...}``.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    adapter
        Folder that `spatialfm.train.finetune` wrote: the model is used with what it learned there.
    samples
        Samples to use (default: all).
    panel
        Which channels are which markers, and which of them are seen: `spatialfm.Panel`, or a dict of its fields.
    recipe
        All that decides the numbers: `spatialfm.Recipe`, or a dict of fields to depart in. What is about cells (mode,
        stride, padding, centers, background) means nothing here and is refused in a dict.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields. With a precision of
        ``"float16"`` images are stored so.
    elements
        Which images and labels, and their pixel size: `spatialfm.Elements`, or a dict of its fields.
    table_name
        Cell table; made with `spatialfm.pp.cell_table` where it does not exist and samples have cells.
    layer
        Of a table: layer with the values of markers (default: ``X``).
    patient_key
        Of a table: column of ``obs``; patients are left out as a whole when the penalty of ``"linear"`` is chosen.
        None: cells are left out one by one.
    key_added
        Ending of the names of images, and of the key in ``obsm``.
    random_state
        Of the pixels or cells that ``"linear"`` and ``"knn"`` draw from many.

    Returns
    -------
    None. Written:

    ``sdata.images["image_<sample>_<key_added>"]``
        Predicted pixels ``(markers, y, x)``, lazy, with a pyramid where they are large, as `spatialfm.tl.reconstruct`
        writes them. With ``"knn"``, one number per cell, NaN between cells and in cells that were measured: an image to
        look at, whose pixels are compared with none.
    ``.obsm["X_<key_added>"]``
        Of the table: one column per marker, named as the table names it where it was measured, the mean over the
        pixels of each cell; NaN where nothing was predicted. With `samples`, cells of other samples keep what an
        earlier call gave them in the same way (by the record); what was made otherwise becomes NaN, with a warning.
        Tools take it for no marker of the table unless its key is named; `spatialfm.get.imputed` reads it. Intervals
        that `spatialfm.tl.calibrate_imputation` gave to earlier values of this key are removed.
    ``.uns["spatialfm"]["X_<key_added>"]``
        Record: method, model, markers that were seen and that were imputed, space.

    Raises
    ------
    ModelError
        If the model has no decoder, or pixels cannot be turned back to intensities.
    PanelError
        If a marker is neither in the panel nor has a protein embedding, nothing is left to predict from, or a marker
        was stained nowhere that ``"linear"`` and ``"knn"`` could learn from, or is in two columns of a table.
    ArgumentError, ElementError, CoordinateError, PixelSizeError, TableError
        Before any tile is predicted.
    RunError
        If reading, predicting or writing fails on the way. Finished blocks are kept: the same call goes on from there,
        and ends with the same bytes.

    Warns
    -----
    SpatialfmWarning
        If patients, images, or the table and `source` seem to be in another unit than the others.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> tiny = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    >>> sfm.tl.impute_markers(sdata, tiny, markers=["FOXP3"], panel={"markers": ["CD3", "CD20", "CD68"]})
    >>> list(sdata["table"].obsm["X_imputed"]), sdata["image_P001_1_imputed"].shape
    (['FOXP3'], (1, 64, 64))
    """
    from .floors import impute_cells, impute_pixels
    from .nearest_of_images import impute_cells_of_images

    check_embedding_key(f"X_{key_added}")
    if (method == "model") != (model is not None):
        raise ArgumentError(
            "method='model' needs a model with a decoder: pass model='virtues', or method='linear', which needs none."
            if model is None
            else f"method={method!r} takes no model. Leave model= out, or pass method='model'."
        )
    if not hasattr(data, "images"):
        if method == "model":
            raise ArgumentError("A model predicts from images. Pass a SpatialData, or method='linear' for a table.")
        options = {"layer": layer, "patient_key": patient_key, "space": space, "random_state": random_state}
        impute_cells(data, list(markers), source, method, key=f"X_{key_added}", **options)
        return
    if method == "knn":
        impute_cells_of_images(
            data, list(markers), source, samples=samples, panel=panel, elements=Elements.of(elements),
            table_name=table_name, key_added=key_added, space=space, layer=layer, patient_key=patient_key,
            random_state=random_state,
        )  # fmt: skip
        return
    if method != "model":
        impute_pixels(
            data, list(markers), source, method, samples=samples, panel=panel, elements=Elements.of(elements),
            table_name=table_name, space=space, key_added=key_added, random_state=random_state,
        )  # fmt: skip
        return
    if source is not None:
        raise ArgumentError("source= belongs to method='linear' and 'knn'. Leave it out: a model has been trained.")
    image_elements(None, recipe)
    _with_model(
        data, load_encoder(model, weights, adapter), markers, Elements.of(elements), Run.of(run), overlap=overlap,
        space=space, stride=stride, samples=samples, panel=panel, recipe=recipe, table_name=table_name,
        key_added=key_added,
    )  # fmt: skip


def _with_model(
    sdata: SpatialData,
    encoder: Encoder,
    markers: Sequence[str],
    elements: Elements,
    how: Run,
    *,
    overlap: Literal["mean", "feather"],
    space: str,
    stride: int | None,
    samples: Sequence[str] | None,
    panel: Panel | Mapping[str, Any] | None,
    recipe: Recipe | Mapping[str, Any] | None,
    table_name: str,
    key_added: str,
) -> None:
    from ...embed.call import request_of
    from ...embed.paint.elements import add_images, check_image_names
    from ...embed.paint.job import TOGETHER
    from ...embed.paint.plan import check_decoder
    from ...embed.paint.run import paint_samples, read_written
    from ...embed.paint.table import cells_of, names_in_table, table_means, without_labels, write_means
    from ...pp.elements import match_elements

    check_decoder(encoder)
    pairs = match_elements(
        sdata, elements.image, elements.labels, samples=samples, need_labels=False, table_name=table_name
    )
    check_image_names(sdata, [pair.sample for pair in pairs], key_added)
    devices = check_run(how)
    encoder = encoder.to(devices[0])
    request = request_of(encoder, panel=panel, recipe=recipe, run=how, elements=elements, cells=False)
    table_and_cells = cells_of(sdata, pairs, table_name, elements.on_pieces, request.recipe.intensity_max)
    painted = paint_samples(
        sdata, without_labels(pairs), encoder, request, devices, markers, mode=TOGETHER, space=space, overlap=overlap,
        stride=stride,
    )  # fmt: skip
    inputs = painted.inputs
    if table_and_cells is not None:
        table, cells = table_and_cells
        read = partial(read_written, painted.folder)
        means = table_means(sdata, pairs, inputs.raw, table, cells, read, painted.markers)
        given = dict(zip(painted.markers, markers, strict=True))
        names = names_in_table(table, inputs.panel.names, inputs.panel.markers, given)
        called = {part: [names.get(name, name) for name in painted.record[part]] for part in ("seen", "imputed")}
        write_means(table, f"X_{key_added}", means.rename(columns=names), painted.record | called, cells.rows)
        sdata.tables[table_name] = table
    add_images(sdata, pairs, inputs.ratios, painted.folder, key_added, painted.record)
    what = f"{counted(len(painted.markers), 'marker')} of {counted(len(pairs), 'image')}"
    logger.info(f"{key_added}: {what} in {painted.seconds:.1f} s")
