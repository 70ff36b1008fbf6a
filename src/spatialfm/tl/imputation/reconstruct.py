"""Whole images as a masked model, or regression, sees them: some tokens hidden, their pixels predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from ..._errors import ArgumentError, counted
from ..._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ..._logging import logger
from ..._public import public
from ...embed.call import CALL_FIELDS, Run
from ...embed.session import check_run, load_encoder

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe


@public(fields=CALL_FIELDS)
def reconstruct(
    sdata: SpatialData,
    model: str | Encoder | None = None,
    *,
    method: Literal["model", "linear"] = "model",
    mode: Literal["independent", "marker", "niche"] = "independent",
    ratio: tuple[float, float] = (0.6, 1.0),
    markers: Sequence[str] | None = None,
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
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    table_name: str = TABLE,
    key_added: str = "reconstructed",
    random_state: int = 0,
) -> None:
    """Hide tokens of every image and let a masked model, or regression, predict their pixels, over whole images.

    VirTues, *Masked reconstructions*: tiles of 128 pixels beside each other, the last row and column of them flush with
    the border. How well this works, beside floors that need no weights, is what
    `spatialfm.tl.evaluate_reconstruction` measures.

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``.
    model
        With method ``"model"``: name of a model with a decoder (``"virtues"`` and its kin) or a loaded encoder.
    method
        ``"model"``; or, without any weights, ``"linear"``: ridge regression of each pixel on the other channels at its
        place and the mean of the seen pixels of its own around it, weighted by their distance; a channel that is hidden
        there, too, counts by its mean around. Where a marker is hidden as a whole it is fitted to other patients, each
        in turn; in the other modes to tokens of the same images that are seen, of which a few more are hidden to learn
        from. It takes intensities as they are, of tokens of 8 pixels.
    mode
        What is hidden. ``"independent"``: of each channel a share of its tokens, drawn for each channel and tile.
        ``"niche"``: one share, and the same positions in all channels. ``"marker"``: one whole channel, once for each
        marker, all others seen.
    ratio
        Smallest and largest share of hidden tokens, uniform between them, of the first two modes.
    markers
        Markers that are predicted (default: all of the panel). Which are seen is said with `panel`.
    overlap
        Where tiles overlap: their mean, or ``"feather"``, weights that fall towards a tile's edges.
    space
        ``"standardised"``: pixels as the model takes and predicts them. ``"intensity"``: turned back to intensities of
        the image, as far as the model's preparation can be undone; VirTues' clipping and blur stay.
    stride
        Distance of one tile to the next in model pixels. Default: the side of a tile.
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
        Which images, and their pixel size: `spatialfm.Elements`, or a dict of its fields. Labels are not used.
    patient_key
        With ``"linear"`` and ``mode="marker"``: column with the patient, of ``sdata["samples"]`` or, where that has
        none, of the cell table; without either, each sample is a patient.
    library_key
        Column of the cell table with the sample.
    table_name
        The cell table.
    key_added
        Ending of the names of the images.
    random_state
        Seed of what is hidden. A tile is hidden alike in any run: it draws by its image and place.

    Returns
    -------
    None. Written into `sdata`:

    ``.images["image_<sample>_<key_added>"]``
        Predicted pixels ``(markers, y, x)`` in model pixels, lazy, with a pyramid where they are large; placed where
        the image is. Stays in ``settings.cache_dir`` until ``sdata.write`` copies it.
    ``.images["image_<sample>_<key_added>_hidden"]``
        1 where a pixel was hidden, 0 where it was seen, of the first two modes. Where tiles overlap, a pixel that was
        hidden in one of them has the value that this one predicts.
    ``.attrs["spatialfm"]["imputed"]``
        A record of each: to other functions they are not samples.

    Raises
    ------
    ModelError
        If the model has no decoder, or pixels cannot be turned back to intensities.
    PanelError
        If a marker is neither in the panel nor has a protein embedding, or nothing is left to predict from.
    TableError
        If regression is to predict whole markers of one patient, or of samples whose patient is not known.
    ArgumentError, ElementError, CoordinateError, PixelSizeError
        Before any tile is predicted.
    RunError
        If reading, predicting or writing fails on the way. Finished blocks are kept: the same call goes on from there,
        and ends with the same bytes.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=128, difficulty="easy")
    >>> tiny = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    >>> sfm.tl.reconstruct(sdata, tiny, panel={"markers": ["CD3", "CD20", "CD68"]}, markers=["CD20"])
    >>> sdata["image_P001_1_reconstructed"].shape, sdata["image_P001_1_reconstructed_hidden"].shape
    ((1, 64, 64), (1, 64, 64))

    Without weights:

    >>> sfm.tl.reconstruct(sdata, method="linear", markers=["CD20"], key_added="regressed")
    >>> sdata["image_P001_1_regressed"].shape
    (1, 128, 128)
    """
    from ...embed.call import image_elements, request_of
    from ...embed.paint.elements import add_images, check_image_names
    from ...embed.paint.plan import check_decoder, check_masks
    from ...embed.paint.regression import Regression
    from ...embed.paint.run import paint_samples
    from ...pp.elements import match_elements
    from .reconstruct_linear import check_recipe, paint_by_regression, patients_of

    _check_method(model, method, {"weights": weights, "adapter": adapter})
    check_masks(mode, ratio)
    meant = image_elements(elements, recipe)
    pairs = match_elements(sdata, meant.image, {}, samples=samples, need_labels=False)
    check_image_names(sdata, [pair.sample for pair in pairs], key_added)
    how = Run.of(run)
    devices = check_run(how)
    told: dict[str, Any] = {"mode": mode, "space": space, "overlap": overlap, "stride": stride, "ratio": ratio}
    told["random_state"] = random_state
    arguments: dict[str, Any] = {"panel": panel, "recipe": recipe, "run": how, "elements": meant, "cells": False}
    if method == "linear":
        check_recipe(recipe)
        names = [pair.sample for pair in pairs]
        of_marker = mode == "marker"  # other modes learn from the images themselves
        of = patients_of(sdata, names, patient_key, library_key, table_name) if of_marker else names
        request = request_of(Regression(), **arguments)
        parts = list(paint_by_regression(sdata, pairs, request, devices, markers, of, **told))
    else:
        encoder = load_encoder(model, weights, adapter).to(devices[0])
        check_decoder(encoder)
        request = request_of(encoder, **arguments)
        parts = [(pairs, paint_samples(sdata, pairs, encoder, request, devices, markers, **told))]
    for own, painted in parts:
        add_images(sdata, own, painted.inputs.ratios, painted.folder, key_added, painted.record)
    what = f"{counted(sum(painted.n_tiles for _, painted in parts), 'tile')} of {counted(len(pairs), 'image')}"
    logger.info(f"{key_added}: {what} in {sum(painted.seconds for _, painted in parts):.1f} s")


def _check_method(model: object, method: str, of_model: Mapping[str, object]) -> None:
    if (method == "model") != (model is not None):
        raise ArgumentError(
            "method='model' needs a model with a decoder: pass model='virtues', or method='linear', which needs none."
            if model is None
            else f"method={method!r} takes no model. Leave model= out, or pass method='model'."
        )
    if method != "model" and (given := [name for name, value in of_model.items() if value is not None]):
        raise ArgumentError(f"{given[0]}= belongs to a model, and method={method!r} has none. Leave it out.")
