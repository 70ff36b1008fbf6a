"""Whole images cut into regions, from a few that were drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._keys import PATIENT_KEY, REGIONS, TOKENS
from ..._logging import logger
from ..._public import public
from ...embed.call import CALL_FIELDS, Run
from ...embed.session import check_run, load_encoder
from ...learn.probe import check_head
from ...pp.square_annotations import annotate_tokens, annotation_elements, check_classes
from .token_table import check_dense, classify, draw_maps, embed_table, plan_table, write_maps, write_predictions

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe


@public(fields=CALL_FIELDS)
def segment_regions(
    sdata: SpatialData,
    model: str | Encoder = "classical",
    *,
    annotations: str | Mapping[str, str],
    label_key: str = "class",
    opening: float | None = None,
    closing: float | None = None,
    method: Literal["linear", "forest", "knn"] = "linear",
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    n_train: int | None = 2000,
    min_cover: float = 0.5,
    min_tokens: int = 10,
    size: int | None = None,
    stride: int | None = None,
    min_tissue: float = 0.0,
    weights: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    outputs: str | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    patient_key: str | None = PATIENT_KEY,
    table_name: str = TOKENS,
    key_added: str = REGIONS,
    random_state: int = 0,
) -> None:
    """Classify every position of whole images from annotated regions.

    KRONOS (Online Methods, *Region classification and artifact detection*): at each position the tokens of all markers,
    side by side, are what a linear probe reads; predictions are opened and closed. Annotated there were regions of 256
    pixels, tumor or not, and three markers were used; pass ``markers=`` for that. Models without tokens (``classical``,
    ``mean-intensity``) see a small window around each position instead.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``, and shapes with a class each (polygons, or circles) on some of them.
    model
        Name of a model or a loaded encoder, as in `spatialfm.tl.embed_cells`.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    markers
        Markers to use, in this order (default: all that every sample has).
    panel
        Which channels are which markers: `spatialfm.Panel`, or a dict of its fields.
    recipe
        All that decides the numbers: `spatialfm.Recipe`, or a dict of fields to depart in. What is about cells (mode,
        stride, padding, centers, background) means nothing here and is refused in a dict.
    run
        Devices, cluster, batches, precision and the like: `spatialfm.Run`, or a dict of its fields.
    elements
        Which images, and their pixel size: `spatialfm.Elements`, or a dict of its fields. Labels are not used.
    annotations
        ``{sample: shapes element}``, a pattern such as ``"annotation_{sample}"``, or one element for all samples in
        whose coordinate system it is. Samples without are predicted alone.
    label_key
        Column of the shapes with the class; shapes without one are left out.
    opening
        Radius, in the units of the coordinate system (µm): what is narrower than twice as much goes. 0: not done.
        Default: the distance of two tokens.
    closing
        Radius of what is narrow and is filled, in the same units. 0: not done. Default: the distance of two tokens.
    method
        What is fitted, as in `spatialfm.tl.annotate`.
    C
        Inverse of the penalty, as there.
    n_trials
        Values that ``C="search"`` tries, as there.
    n_train
        Tokens of each class to learn from, drawn at random; None: all. Neighbours are much alike.
    min_cover
        A token has the class that covers at least this share of it.
    min_tokens
        Tokens that every class must have.
    size
        Models with tokens: side of the windows in model pixels (default 256). Others: side of a token (default 32).
    stride
        Distance of one window to the next (defaults: `size`, without overlap; 16).
    min_tissue
        Tokens with a smaller share of tissue are left out of table and map.
    samples
        Samples to use (default: all).
    outputs
        ``"summary"`` or ``"token"`` (default: the first the model has), otherwise ``"patch"`` or ``"marker"``.
    patient_key
        Column of the table: patients stay together when C is tuned, where five or more are annotated.
    table_name
        Table to write.
    key_added
        Name of the maps, and of the predictions in the table.
    random_state
        Seed.

    Returns
    -------
    None. Written into `sdata`:

    ``.labels["<key_added>_<sample>"]``
        Regions: 0 nothing, ``i + 1`` class ``i`` in sorted order, after opening and closing; on the image, with a
        scale. ``attrs["spatialfm"]["maps"]`` names the classes.
    ``[table_name]``
        One row per token: ``obs`` with `sample`, `patient` and other columns of ``sdata["samples"]``, `tissue`,
        ``annotation`` (missing outside of annotated regions), ``<key_added>`` (predicted, neither opened nor closed)
        and its ``_confidence``, ``_margin``, ``_entropy``; ``obsm["X_<model>"]`` with its record,
        ``obsm["<key_added>_probability"]``, ``obsm["spatial"]``; ``uns["<key_added>"]["params"]``.
    ``.labels["<table_name>_<sample>"]``
        The row that each pixel of the map comes from (`token_id`); the table annotates it.

    Raises
    ------
    ElementError, CoordinateError, TableError
        Before any token is encoded: elements are missing, share no coordinate system or are outside of the image; there
        are fewer than two classes, or too few tokens of one.
    PixelSizeError, PanelError, ModelError
        As in `spatialfm.tl.embed_tiles`.

    Notes
    -----
    Tokens in the annotated regions were learned from: how good the map is elsewhere is to be judged on patients that
    were held out, ``sfm.tl.evaluate_annotation(sdata["tokens"], "annotation", use_rep="X_<model>")``.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> from geopandas import GeoDataFrame
    >>> from shapely import box
    >>> from spatialdata.models import ShapesModel
    >>> from spatialdata.transformations import Identity
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> drawn = GeoDataFrame({"class": ["left", "right"], "geometry": [box(0, 0, 20, 64), box(44, 0, 64, 64)]})  # µm
    >>> sdata["drawn"] = ShapesModel.parse(drawn, transformations={"P001_1": Identity()})
    >>> sfm.tl.segment_regions(sdata, "mean-intensity", annotations="drawn", C=1.0)
    >>> sdata["regions_P001_1"].shape, sdata.attrs["spatialfm"]["maps"]["regions_P001_1"]["categories"]
    ((16, 16), ['left', 'right'])
    """
    from ...embed.call import image_elements, request_of
    from ...embed.inputs import prepare_inputs
    from ...embed.result.record import as_text
    from ...pp.elements import match_elements

    check_head(method, C)
    meant = image_elements(elements, recipe)
    pairs = match_elements(sdata, meant.image, {}, samples=samples, need_labels=False)
    limits = {"min_cover": min_cover, "min_tokens": min_tokens, "n_train": n_train}
    check_dense(sdata, pairs, table_name, key_added, **limits, opening=opening, closing=closing)
    annotated = annotation_elements(sdata, pairs, annotations)
    devices = check_run(Run.of(run))
    encoder = load_encoder(model, weights).to(devices[0])
    request = request_of(
        encoder, markers=markers, outputs=outputs, panel=panel, recipe=recipe, run=run, elements=meant, cells=False
    )
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    tokens = plan_table(sdata, pairs, inputs, size, stride, min_tissue, table_name)
    known = np.full(tokens.table.n_obs, None, dtype=object)
    for number, pair in enumerate(pairs):
        if pair.sample in annotated:
            own = tokens.of(number)
            known[own] = annotate_tokens(sdata, pair, annotated[pair.sample], label_key, tokens.boxes[own], min_cover)
    check_classes(pd.Series(known), min_tokens)
    use_rep = embed_table(tokens, request, devices)
    assigned, probability, used = classify(
        tokens,
        use_rep,
        known,
        head=method,
        C=C,
        n_trials=n_trials,
        n_train=n_train,
        patient_key=patient_key,
        random_state=random_state,
    )
    classes = list(assigned["label"].cat.categories)
    maps = draw_maps(sdata, tokens, assigned["label"].cat.codes.to_numpy(), len(classes), opening, closing)
    params = {
        "annotations": as_text(annotations),
        "label_key": label_key,
        "use_rep": use_rep,
        "method": method,
        "C": used,
        "n_train": as_text(n_train),
        "min_cover": min_cover,
        "opening": as_text(opening),
        "closing": as_text(closing),
        "random_state": random_state,
    }
    write_predictions(tokens.table, known, assigned, probability, classes, key_added, params)
    write_maps(sdata, tokens, maps, classes, table_name, key_added)
    logger.info("%d tokens of %d images in %d regions (C=%.3g)", len(assigned), len(pairs), len(classes), used)
