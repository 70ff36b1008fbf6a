"""``sfm.train.finetune``: a model learns from the labels of a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .._keys import PATIENT_KEY, TABLE
from .._public import public
from .._ranges import above, at_least
from ..embed.call import CALL_FIELDS
from .tuning import FineTuning, Level, Method, Sought, fine_tuned

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..embed.call import Elements, Panel
    from ..models.encoder import Encoder
    from ..models.recipe import Recipe
    from .augment import Augment


@public(fields=CALL_FIELDS)
def finetune(
    sdata: SpatialData,
    model: str | Encoder = "kronos",
    *,
    out: str | PathLike,
    label_key: str | None = None,
    targets: Sequence[str] | None = None,
    adata: AnnData | None = None,
    patient_key: str = PATIENT_KEY,
    weights: str | PathLike | None = None,
    method: Method = "lora",
    rank: Annotated[int, at_least(1)] = 8,
    alpha: Annotated[float, above(0)] = 16.0,
    blocks: Annotated[int, at_least(1)] = 6,
    head: Literal["linear", "bcos"] = "linear",
    level: Level = "cells",
    steps: Annotated[int, at_least(1)] = 500,
    batch_size: Annotated[int, at_least(2)] = 32,
    learning_rate: Annotated[float, above(0)] | None = None,
    weight_decay: Annotated[float, at_least(0)] = 0.01,
    validation: float | Sequence[str] = 0.2,
    check_every: Annotated[int, at_least(1)] = 25,
    patience: int = 5,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    outputs: str | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    elements: Elements | Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    accept_terms: bool = False,
    workers: Annotated[int, at_least(0)] | None = None,
    augment: bool | Augment | Mapping[str, Any] = True,
    resume: bool = True,
    random_state: int = 0,
) -> Encoder:
    """Adapt a model to the labels of a cohort.

    Windows of labelled cells are read and cut as `spatialfm.tl.embed_cells` does it, a linear layer reads the labels
    from the embeddings that it would write, and both learn. Models in mode ``"tile"`` see a window around the cell, and
    its tokens are shared out to the cell as in an embedding. A step draws a class uniformly, then one of its cells.
    Some patients take no part: the loss on their cells, each class weighing alike, is looked at every `check_every`
    steps. What was best there is kept, and the run ends when `patience` checks in a row were not better.

    Scores of the result on cells of the patients that it was trained on say nothing. `spatialfm.tl.evaluate_annotation`
    trains anew in each fold where it is given a `spatialfm.train.FineTuning`.

    Parameters
    ----------
    sdata
        Images, labels and cell table, as in `spatialfm.tl.embed_cells`; nothing is written into it.
    model
        Name of a model, or a loaded encoder, which stays as it is.
    out
        Folder to write; its name becomes that of the adapter. A run that was ended goes on in it.
    label_key
        Column of ``obs`` with the labels; cells without label take no part.
    targets
        Instead of labels: columns of ``obs``, or markers of the table, whose numbers are to be predicted. Each is
        standardised over the cells that are trained on, and patients are drawn uniformly.
    adata
        Cells to learn from, with their labels: rows of ``sdata[table_name]``, by name. Default: all of that table.
    patient_key
        Column of ``obs`` with the patients.
    weights
        Weights of the model: file, folder or hub id, see `spatialfm.models.load`.
    method
        ``"lora"``: low-rank columns beside the projections of attention and feed-forward layers in the last blocks (Hu
        et al. 2022). ``"linear"``: the linear layer alone, for comparison. ``"full"``: all weights. ``"bcos"``: the
        last `blocks`, made B-cos blocks (Böhle et al., CVPR 2022): without biases and activation functions, so that
        the answer is a sum of what each marker's tokens contribute, see `spatialfm.train.explain`. For VirTues, KRONOS
        and DINOv2.
    rank
        Columns of ``"lora"`` for each projection.
    alpha
        Weight of their product, times `rank`.
    blocks
        Number of blocks that get them, or become B-cos blocks: the last of those that the model runs.
    head
        What reads the labels from the embeddings: ``"linear"``, or ``"bcos"``, a layer of B-cos units (Böhle et al.,
        CVPR 2022), so that embeddings learn to point along the weights of their class and each column has an exact
        share of the answer, as in ``sfm.tl.annotate(..., method="bcos")``.
    level
        ``"tissue"``: the label is of the whole sample, and is read from windows around its cells by channel-summary
        tokens, which VirTues gets for it (Wenckstern et al. 2026, Methods, *Model inspection*): one for each channel,
        in the middle of the window. The encoder then tells no embedding but where it looks: `spatialfm.tl.embed_cells`
        writes the attention of the token of the patch summaries to the place of each cell (``outputs="patch"``) and
        of the token of each marker (``outputs="marker"``), 1 for the average place, in the last spatial layer but one;
        `spatialfm.pl.attention` draws both.
    steps
        Steps at most.
    batch_size
        Cells of a step.
    learning_rate
        Highest learning rate, after a tenth of the steps; it falls along a cosine. Default: 5e-4 for ``"lora"``, 5e-5
        for ``"full"``. That of the linear layer is 5e-3.
    weight_decay
        Of matrices (AdamW).
    validation
        Patients that are held out to stop on, by name or as a share of all.
    check_every
        Steps between two looks at them.
    patience
        Looks without improvement after which the run ends.
    markers
        Markers to use, as in `spatialfm.tl.embed_cells`.
    samples
        Samples to use (default: all).
    outputs
        Output of the model that is written later, one; default: that of its card.
    panel
        Which channels are which markers, as in `spatialfm.tl.embed_cells`.
    recipe
        Fields to depart in from the recipe on the model's card.
    elements
        Images and labels, where their names do not follow from the samples.
    table_name
        Table of the cells.
    accept_terms
        Whether you may derive a model from one whose licence forbids to pass on derived ones. It is asked for where the
        licence says so (KRONOS, KRONOS2), and the terms stay on the adapter's card.
    augment
        How windows are changed at random, see `Augment`; False: not at all. Only orientations and, in mode ``"tile"``,
        the place of the cell are changed here.
    workers
        Processes that read windows. Default: a quarter of the cores.
    resume
        Whether to go on with the run in `out`; otherwise one that is there is refused.
    random_state
        Seed.

    Returns
    -------
    The encoder with what it learned, in evaluation mode and without gradients. In `out` are written:

    ``adapter.safetensors``, ``card.json``
        What was added to the weights, and the linear layer; SHA-256 of the weights that it belongs to, options, licence
        and terms, classes, patients by number, all parameters. ``sfm.models.load(model, adapter=out)`` and
        ``sfm.tl.embed_cells(sdata, model, adapter=out)`` take the folder. With ``method="full"`` the whole encoder
        instead, for ``sfm.models.load(model, weights=out)``.
    ``losses.csv``, ``checks.csv``, ``curves.png``
        One row per step and one per look at held-out patients, drawn.

    Raises
    ------
    TableError, ClinicalError, ModelError
        Before the first step: labels with one class, cells of one patient, a model without weights or blocks, terms
        that were not accepted, with ``level="tissue"`` a sample with two labels, and whatever
        `spatialfm.tl.embed_cells` refuses.
    RunError
        If `out` holds a run of other data or parameters, an image cannot be read, or the loss is not a number. What was
        reached is kept.

    Examples
    --------
    >>> import tempfile
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> table = sdata["table"]
    >>> table.obs["kind"] = ["T cell" if value > 250 else "other" for value in table[:, "CD3"].X.ravel()]
    >>> small = sfm.models.new_encoder("virtues", dim=32, depth=2, heads=2, decoder_depth=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder = sfm.train.finetune(
    ...         sdata,
    ...         small,
    ...         out=folder + "/types",
    ...         label_key="kind",
    ...         markers=["CD3", "CD8", "CD20"],
    ...         recipe={"window": 32},
    ...         steps=2,
    ...         batch_size=4,
    ...         check_every=1,
    ...     )
    >>> encoder.weights.adapter
    'types'
    """
    tuning = FineTuning(
        sdata,
        model,
        weights=weights,
        method=method,
        rank=rank,
        alpha=alpha,
        blocks=blocks,
        head=head,
        level=level,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        validation=validation,
        check_every=check_every,
        patience=patience,
        markers=markers,
        samples=samples,
        outputs=outputs,
        panel=panel,
        recipe=recipe,
        elements=elements,
        table_name=table_name,
        accept_terms=accept_terms,
        workers=workers,
        augment=augment,
        random_state=random_state,
    )
    sought = Sought(label_key, None if targets is None else tuple(targets), patient_key)
    return fine_tuned(tuning, sought, adata, Path(out).expanduser(), resume=resume).encoder
