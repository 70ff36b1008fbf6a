"""``sfm.train.pretrain_context``: a model of cells in context learns from slices of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from .._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from .._logging import logger
from .._public import public
from .._ranges import at_least
from ..learn.context_cells import context_cells
from ..learn.context_slices import slicing_of
from ..models.context import load_context, save_context
from .asked import SECONDS_BETWEEN_CHECKPOINTS
from .context_pieces import DrawnPieces
from .context_run import AskedContext
from .fabric import Precision, new_fabric
from .loop import train
from .monitor import Monitor
from .objectives.context import Context
from .run_folder import RunFolder
from .steps import default_workers
from .trainer import TrainingPlan

if TYPE_CHECKING:
    from anndata import AnnData

    from ..models.context import ContextEncoder


@public
def pretrain_context(
    adata: AnnData,
    *,
    use_rep: str,
    out: str | PathLike,
    model: str = "stofm",
    library_key: str | None = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    weights: str | PathLike | None = None,
    shape: Mapping[str, Any] | None = None,
    slicing: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    steps: Annotated[int, at_least(1)] = 1000,
    batch_size: Annotated[int, at_least(1)] = 4,
    validation: float | Sequence[str] | None = None,
    patient_key: str = PATIENT_KEY,
    license: str | None = None,
    precision: Precision = "32-true",
    workers: Annotated[int, at_least(0)] | None = None,
    check_every: Annotated[int, at_least(1)] = 100,
    checkpoint_every: Annotated[int, at_least(1)] | None = None,
    resume: bool = True,
    random_state: int = 0,
) -> ContextEncoder:
    """Train a model of cells in context on slices, without labels, from any embedding of single cells.

    Both objectives of SToFM (Zhao et al. 2025, ICML, arXiv:2507.11588) are minimised. *Masked cells*: 12 % of the cells
    of a piece are hidden and a further 3 % left as they are, and the embeddings of both are predicted (cosine). *Pair
    distances*: 12 % of the cells are moved by noise and a further 3 % left, and the true distances of both to other
    cells are predicted (squared error). A run that was ended goes on from its last checkpoint when the same call is
    made again.

    Departures from the publication: columns of the embedding are standardised (mean and deviation are kept with the
    weights), hidden cells are 0 in all columns instead of -100 (see `options`), the Gaussians of distances begin with
    the range of the distances that there are instead of 3 units, none is narrower than their mean distance, and their
    gradient is clipped apart, there is no dropout, and the weight of the second objective, which is not published, is
    0.01.

    Parameters
    ----------
    adata
        Cells of all slices, one row each.
    use_rep
        Key of ``obsm`` with the embedding of each cell, or ``"X"``; two columns or more.
    out
        Folder of the run; of nothing else.
    model
        ``"stofm"``.
    library_key
        Column of ``obs`` with the slice (sample).
    spatial_key
        Key of ``obsm`` with the coordinates.
    weights
        Start from these: the published file, or a folder of an earlier run; embeddings are then taken as it takes them.
    shape
        Sizes of a new network: ``dim`` (128), ``hidden`` (256), ``heads`` (8), ``depth`` (4), ``gaussians`` (64).
    slicing
        How slices become pieces, see `spatialfm.tl.embed_context`; it is kept with the weights.
    options
        Options of the objectives: ``cells`` (1.0) and ``pairs`` (0.01; 0 leaves it out, and then no cell is moved),
        their weights; ``changed`` (0.12) and ``kept`` (0.03), shares of the cells; ``mask``, what stands in for a
        hidden cell: ``"mean"`` (0 in all columns) or ``"published"`` (-100, the default for the authors' weights
        alone); ``jitter`` (0.0, not published): the logarithm of a gain, and a shift in standard deviations, that each
        column of a piece is given anew at each step, normal with this deviation, while what is predicted stays as it
        was measured; meant for patients of other slides, and not shown to be what helps there; ``learning_rate``
        (1e-3), ``weight_decay``, ``warmup``, ``clip``.
    steps
        Length of the run.
    batch_size
        Pieces of a step.
    validation
        Patients that are not trained on, by name or as a share of all, on whom the objectives are scored.
    patient_key
        Column of ``obs`` with the patients; only read for `validation`.
    license
        Licence of the weights, for their card.
    precision
        ``"32-true"``, or a forward pass in half the bits.
    workers
        Processes that hide and move cells. None: a quarter of the cores.
    check_every
        Steps between checks: collapse, validation.
    checkpoint_every
        Steps between checkpoints. None: ten minutes.
    resume
        Whether to go on with the run that `out` holds; otherwise one that is there is refused.
    random_state
        Seed. Weights depend on the order of the rows as they do on it.

    Returns
    -------
    The model, for ``sfm.tl.embed_context(adata, use_rep=..., model=<it>)``, or later with ``weights=out``. In `out` are
    written ``model.safetensors`` (names as published, with the heads), ``card.json``, ``losses.csv``, ``checks.csv``,
    ``curves.png``, ``run.json`` and the last two ``checkpoints``.

    Raises
    ------
    TableError, ClinicalError, ModelError, ArgumentError
        Before the first step: what `spatialfm.tl.embed_context` refuses, and one patient to hold out.
    RunError
        If `out` holds a run of other data or parameters, a batch is larger than the data, or a loss is not a number.

    Examples
    --------
    >>> import tempfile
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = sfm.train.pretrain_context(
    ...         cells,
    ...         use_rep="X_latent",
    ...         out=folder + "/context",
    ...         shape={"dim": 16, "hidden": 16, "heads": 2, "depth": 1},
    ...         steps=2,
    ...         batch_size=2,
    ...     )
    >>> model.in_dim, model.network.config.dim
    (32, 16)
    """
    asked = AskedContext(
        use_rep,
        model,
        weights,
        dict(shape or {}),
        dict(options or {}),
        steps,
        batch_size,
        validation,
        patient_key,
        precision,
        random_state,
    )
    start = asked.start()
    how = slicing_of({} if start is None else start.slicing, slicing)
    fabric = new_fabric(precision=precision)
    cells = context_cells(adata, use_rep, library_key, spatial_key)
    context, pieces, held_out = asked.data(cells, *asked.held_out(adata, cells), start, how)
    learner = Context(context, how.n_neighbors, random_state, **asked.options)
    folder = RunFolder(Path(out).expanduser())
    plan = TrainingPlan(
        steps,
        batch_size,
        random_state,
        default_workers() if workers is None else workers,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=SECONDS_BETWEEN_CHECKPOINTS,
        check_every=check_every,
    )
    with folder.held():
        record = folder.begin(asked.identity(learner, how, pieces), resume=resume)
        checks = asked.checks(fabric, learner, pieces, held_out)
        watch = Monitor(folder.path, checks=checks, n_steps=steps)
        train(fabric, learner, DrawnPieces(pieces, random_state, batch_size), plan, folder.checkpoints, watch)
        save_context(learner.trained(), folder.path, asked.card(record, pieces, license))
    logger.info("%s: %s steps, saved in '%s'", model, f"{steps:,}", folder.path)
    return load_context(model, folder.path)
