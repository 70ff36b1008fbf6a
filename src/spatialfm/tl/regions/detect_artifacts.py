"""Where an image shows tissue, nothing, or an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._coordinates import coordinates
from ..._errors import TableError, counted, listed, warn
from ..._keys import ARTIFACT_MAP, ARTIFACT_TOKENS, PATIENT_KEY, SAMPLE_KEY, SAMPLES, SPATIAL, TABLE
from ..._logging import logger
from ..._public import public
from ..._storable import write_uns
from ...cohort.representation import representation
from ...embed.call import CALL_FIELDS, Run
from ...embed.session import check_run, load_encoder
from ...learn.probe import check_head
from ...pp.square_annotations import annotation_elements, check_classes
from ...pp.square_quality import token_quality
from .artifact_examples import ARTIFACT, CLASSES, example_tokens, meaning_of
from .token_table import check_dense, classify, draw_maps, embed_table, plan_table, write_maps, write_predictions

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.call import Elements, Panel, Request
    from ...embed.inputs import Inputs
    from ...models.encoder import Encoder
    from ...models.recipe import Recipe
    from ...pp.elements import SampleElements
    from .token_table import Tokens

SIZE, STRIDE = 16, 8  # of models without tokens: folds and clumps of stain are a few cells wide


@public(fields=CALL_FIELDS)
def detect_artifacts(
    sdata: SpatialData,
    model: str | Encoder = "classical",
    *,
    annotations: str | Mapping[str, str],
    label_key: str = "class",
    classes: Mapping[Any, str] | None = None,
    background: bool = True,
    opening: float | None = 0.0,
    closing: float | None = None,
    method: Literal["linear", "forest", "knn"] = "linear",
    C: float | Literal["grid", "search"] = "grid",
    n_trials: int = 25,
    n_train: int | None = 2000,
    min_cover: float = 0.5,
    min_tokens: int = 10,
    size: int | None = None,
    stride: int | None = None,
    weights: str | PathLike | None = None,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    outputs: str | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    run: Run | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    patient_key: str | None = PATIENT_KEY,
    table_name: str = ARTIFACT_TOKENS,
    key_added: str = ARTIFACT_MAP,
    cell_table_name: str = TABLE,
    random_state: int = 0,
) -> None:
    """Find folds, blur, saturation and the like, from examples on some of the images.

    KRONOS (Online Methods, *Region classification and artifact detection*; Fig. 3G to I): a linear probe on the tokens
    of each position separates foreground, background and artifact; the map is opened and closed. The paper annotated
    199 regions of 256 pixels of 45 cores and read the nuclear stain alone (``markers=["DAPI"]``).

    Parameters
    ----------
    sdata
        Images ``(c, y, x)``, and on some of them shapes with a class each, or labels elements with the artifacts.
    model
        Name of a model or a loaded encoder, as in `spatialfm.tl.embed_cells`.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    markers
        Markers to use, in this order. Default: all that every sample has, less channels that
        `spatialfm.pp.channel_quality` finds blank or constant on every image.
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
        As in `spatialfm.tl.segment_regions`; also labels elements.
    label_key
        Column of the shapes with the class.
    classes
        Which of ``"foreground"``, ``"background"`` and ``"artifact"`` each value of the annotations is, such as
        ``{"fold": "artifact", "tissue": "foreground"}``. Default: shapes have these names; labels are artifacts where
        they are not 0, and foreground (or background, as follows) where they are.
    background
        Whether dark tokens of annotated samples are examples of background, unless annotated otherwise: those on glass
        (less than half tissue, as for `spatialfm.tl.embed_tiles`) around which, within 32 model pixels, none is
        brighter than Otsu's threshold over the tokens that are not artifacts. An image without glass has none.
    opening
        As in `spatialfm.tl.segment_regions`. Not done by default: folds are narrow.
    closing
        As in `spatialfm.tl.segment_regions`.
    method
        As in `spatialfm.tl.segment_regions`.
    C
        As in `spatialfm.tl.segment_regions`.
    n_trials
        As in `spatialfm.tl.segment_regions`.
    n_train
        As in `spatialfm.tl.segment_regions`.
    min_cover
        As in `spatialfm.tl.segment_regions`.
    min_tokens
        As in `spatialfm.tl.segment_regions`.
    outputs
        As in `spatialfm.tl.segment_regions`.
    patient_key
        As in `spatialfm.tl.segment_regions`.
    random_state
        As in `spatialfm.tl.segment_regions`.
    size
        As there, but 16 pixels for models without tokens.
    stride
        As there, but 8 pixels for models without tokens.
    samples
        Samples to use (default: all).
    table_name
        Table to write.
    key_added
        Name of the maps, and of the predictions in the table.
    cell_table_name
        Table of the cells.

    Returns
    -------
    None. Written into `sdata`:

    ``.labels["<key_added>_<sample>"]``
        0 nothing, 1 foreground, 2 background, 3 artifact (``attrs["spatialfm"]["maps"]`` names them).
    ``[table_name]``, ``.labels["<table_name>_<sample>"]``
        The tokens, as `spatialfm.tl.segment_regions` writes them. ``obsm["X_<key_added>"]`` is what was learned from:
        the embedding, and behind it the share of saturated pixels (of the channel with most, of all) and the sharpness
        (mean over channels, least), as `spatialfm.pp.channel_quality` has them. ``uns["<key_added>"]`` has ``params``,
        ``samples`` (the next columns) and ``channels`` (that of the whole images).
    ``["samples"].obs``, where there is such a table
        ``artifact_share``, of the area that is not background; ``channels_flagged``, with the reason. Missing where all
        is background.
    ``[cell_table_name].obs["in_artifact"]``, where there is such a table
        Whether the cell's centroid is in an artifact; missing for cells of other samples, and for those without
        coordinates or outside of the image, which a warning counts.

    Raises
    ------
    ElementError, CoordinateError, TableError
        Before any token is encoded: elements are missing, share no coordinate system or are outside of the image; a
        value is not one of the three classes; there is no artifact among them, nothing else, or too few tokens of one.
    PixelSizeError, PanelError, ModelError
        As in `spatialfm.tl.embed_tiles`.

    Notes
    -----
    Score it on patients that were held out: ``sfm.tl.evaluate_annotation(sdata["artifact_tokens"], "annotation",
    use_rep="X_artifact_map")``.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(
    ...     n_patients=2, n_samples=1, image_size=128, artifacts="blur", artifact_rate=1.0, difficulty="easy"
    ... )
    >>> sfm.tl.detect_artifacts(sdata, annotations={"P001_1": "artifacts_P001_1"}, C=1.0)
    >>> bool(sdata["samples"].obs.loc["P002_1", "artifact_share"] > 0)
    True
    """
    from ...embed.call import image_elements, request_of
    from ...embed.inputs import prepare_inputs
    from ...embed.result.record import as_text
    from ...pp.channels import channel_quality
    from ...pp.elements import match_elements

    check_head(method, C)
    meant = image_elements(elements, recipe)
    pairs = match_elements(sdata, meant.image, {}, samples=samples, need_labels=False)
    limits = {"min_cover": min_cover, "min_tokens": min_tokens, "n_train": n_train}
    check_dense(sdata, pairs, table_name, key_added, **limits, opening=opening, closing=closing)
    cells = _cells_to_flag(sdata, pairs, cell_table_name)
    annotated = annotation_elements(sdata, pairs, annotations, kinds=("shapes", "labels"))
    meanings = {name: meaning_of(sdata, name, label_key, classes) for name in dict.fromkeys(annotated.values())}
    devices = check_run(Run.of(run))
    encoder = load_encoder(model, weights).to(devices[0])
    quality = channel_quality(sdata, image={pair.sample: pair.image for pair in pairs})
    request = request_of(
        encoder, markers=markers, outputs=outputs, panel=panel, recipe=recipe, run=run, elements=meant, cells=False
    )
    request = _without_empty(request, quality, given=markers is not None)
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    if not {"token", "summary"} & set(encoder.card.outputs):
        size = SIZE if size is None else size
        stride = min(STRIDE, size) if stride is None else stride
    tokens = plan_table(sdata, pairs, inputs, size, stride, 0.0, table_name)
    of_tokens, brightness = _quality(sdata, tokens, inputs, quality)
    of_before = ["artifact_share", "channels_flagged"]
    tokens.table.obs.drop(columns=of_before, errors="ignore", inplace=True)
    known = example_tokens(
        sdata, tokens, annotated, meanings, label_key, min_cover, min_tokens, brightness if background else None,
        classes is None,
    )  # fmt: skip
    _check_examples(known, min_tokens)
    use_rep = embed_table(tokens, request, devices)
    tokens.table.obsm[f"X_{key_added}"] = np.hstack([representation(tokens.table, use_rep), of_tokens])
    assigned, probability, used = classify(
        tokens, f"X_{key_added}", known, head=method, C=C, n_trials=n_trials, n_train=n_train, patient_key=patient_key,
        random_state=random_state,
    )  # fmt: skip
    probability = of_all_classes(assigned, probability)
    maps = draw_maps(sdata, tokens, assigned["label"].cat.codes.to_numpy(), len(CLASSES), opening, closing)
    said = None if classes is None else {str(value): name for value, name in classes.items()}
    params = {"annotations": as_text(annotations), "classes": as_text(said), "background": background}
    params |= {"use_rep": use_rep, "method": method, "C": used, "n_train": as_text(n_train), "min_cover": min_cover}
    params |= {"opening": as_text(opening), "closing": as_text(closing), "random_state": random_state}
    write_predictions(tokens.table, known, assigned, probability, CLASSES, key_added, params)
    report = sample_report(pairs, [classes_of for _, classes_of, _ in maps], quality)
    tables = {"samples": report, "channels": quality.reset_index()}
    write_uns(tokens.table, key_added, tokens.table.uns[key_added] | tables)
    write_maps(sdata, tokens, maps, CLASSES, table_name, key_added)
    _flag_samples(sdata, report)
    if cells is not None:
        _flag_cells(sdata, tokens, maps, cells, cell_table_name)
    logger.info("artifacts: %s", ", ".join(f"{name} {share:.1%}" for name, share in report["artifact_share"].items()))


def _without_empty(request: Request, quality: pd.DataFrame, *, given: bool) -> Request:
    """The request without channels that hold nothing, unless it names its markers."""
    if given or request.panel.markers is not None:
        return request
    mapping = {**dict.fromkeys(_empty(quality)), **(request.panel.mapping or {})}
    return replace(request, panel=request.panel.replace(mapping=mapping))


def _check_examples(known: np.ndarray, min_tokens: int) -> None:
    check_classes(pd.Series(known), min_tokens)
    if ARTIFACT not in known:
        raise TableError(f"The annotations contain no artifact, only {listed(pd.unique(known[pd.notna(known)]))}.")


def of_all_classes(assigned: pd.DataFrame, probability: np.ndarray) -> np.ndarray:
    """Probabilities ``(tokens, classes)`` as `CLASSES` are, 0 for one that nobody drew; labels get these classes."""
    learned = list(assigned["label"].cat.categories)
    columns = [probability[:, learned.index(c)] if c in learned else np.zeros(len(assigned)) for c in CLASSES]
    assigned["label"] = assigned["label"].cat.set_categories(list(CLASSES))
    return np.stack(columns, 1)


def _quality(
    sdata: SpatialData, tokens: Tokens, inputs: Inputs, quality: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """`token_quality` of all tokens."""
    from ...pp.arrays import channel_names, image_array
    from ...pp.channels import brightest

    parts = []
    for number, (pair, reader) in enumerate(zip(tokens.pairs, inputs.raw, strict=True)):
        image, own_tokens, ratio = image_array(sdata, pair.image).data, tokens.of(number), tokens.ratios[number]
        names = channel_names(sdata, pair.image)
        means = quality.loc[pair.sample, "mean"].loc[[names[channel] for channel in reader.channels]].to_numpy()
        corners = tokens.grid.starts[own_tokens] * ratio
        parts.append(token_quality(image, reader.channels, means, brightest(image), corners, tokens.grid.side * ratio))
    quality_of, brightness = zip(*parts, strict=True)
    return np.concatenate(quality_of), np.concatenate(brightness)


def _empty(quality: pd.DataFrame) -> list[str]:
    """Channels that hold nothing on any image; none if that were all."""
    bad = quality["note"].isin(["blank", "constant"]).groupby(level="channel").all()
    return [] if bad.all() else list(bad.index[bad])


def sample_report(pairs: Sequence[SampleElements], maps: Sequence[np.ndarray], quality: pd.DataFrame) -> pd.DataFrame:
    """Share of artifact, of what is not background, and the channels that look wrong, of each sample.

    Parameters
    ----------
    maps
        Classes of the pixels of each sample, from 1 on in the order of `CLASSES`.
    """
    shares, flagged = [], []
    for pair, classes in zip(pairs, maps, strict=True):
        counts = np.bincount(classes.ravel(), minlength=len(CLASSES) + 1)[1:]
        tissue = counts[0] + counts[2]
        shares.append(counts[2] / tissue if tissue else np.nan)
        notes = quality.loc[pair.sample, "note"]
        flagged.append("; ".join(f"{channel}: {note}" for channel, note in notes.items() if note))
    index = pd.Index([pair.sample for pair in pairs], name="sample")
    return pd.DataFrame({"artifact_share": shares, "channels_flagged": flagged}, index=index)


def _flag_samples(sdata: SpatialData, report: pd.DataFrame) -> None:
    if SAMPLES not in sdata.tables:
        return
    obs = sdata.tables[SAMPLES].obs
    for column in report:
        old = obs[column].astype(object) if column in obs else pd.Series(np.nan, index=obs.index)
        new = report[column].reindex(obs.index).where(obs.index.isin(report.index), old)
        # as a category a missing text stays missing in a store
        obs[column] = new.astype(float) if column == "artifact_share" else pd.Categorical(new)


def _cells_to_flag(sdata: SpatialData, pairs: Sequence[SampleElements], table_name: str) -> AnnData | None:
    """Table of the cells that can be flagged, whose places are checked before any token is encoded."""
    from ...pp.off_labels import say_off_labels

    if table_name not in sdata.tables:
        return None
    table = sdata.tables[table_name]
    if SAMPLE_KEY not in table.obs or SPATIAL not in table.obsm:
        logger.warning("table %r has no %r or no places: cells are not flagged", table_name, SAMPLE_KEY)
        return None
    coordinates(table, finite=False)  # refuses y before x
    say_off_labels(sdata, pairs, table, table_name, table.obs[SAMPLE_KEY].astype(str).to_numpy())
    return table


def _flag_cells(
    sdata: SpatialData,
    tokens: Tokens,
    maps: Sequence[tuple[np.ndarray, np.ndarray, float]],
    table: AnnData,
    table_name: str,
) -> None:
    """Whether the pixel below a cell's centroid is an artifact; cells of other samples keep theirs."""
    from ...pp.elements import image_to_system

    of_cells, position = table.obs[SAMPLE_KEY].astype(str).to_numpy(), coordinates(table, finite=False)
    before = table.obs.get("in_artifact", pd.Series(pd.NA, index=table.obs_names))
    flags = before.astype("boolean").to_numpy(dtype=object, na_value=None)
    n_off = 0
    for pair, (_, classes, step) in zip(tokens.pairs, maps, strict=True):
        in_sample = np.flatnonzero(of_cells == pair.sample)
        y, x = image_to_system(sdata, pair).inverse()(position[in_sample, 1], position[in_sample, 0])
        at = np.stack([y, x]) / step
        size = np.array(classes.shape)[:, None]
        on_image = ((at >= 0) & (at <= size)).all(axis=0)  # not so without coordinates
        row, column = np.minimum(np.floor(at[:, on_image]).astype(int), size - 1)
        flags[in_sample] = None
        flags[in_sample[on_image]] = classes[row, column] == CLASSES.index(ARTIFACT) + 1
        n_off += int((~on_image).sum())
    if n_off:
        warn(
            f"{counted(n_off, 'cell')} of table {table_name!r} without coordinates, or outside of the image: whether "
            "they are in an artifact is not known, and 'in_artifact' is missing."
        )
    column = pd.Series(pd.array(flags, dtype="boolean"), index=table.obs_names)
    table.obs["in_artifact"] = column if column.isna().any() else column.astype(bool)
