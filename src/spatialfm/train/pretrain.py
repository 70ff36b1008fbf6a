"""``sfm.train.pretrain``: an encoder learns from images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from .._keys import PATIENT_KEY
from .._logging import logger
from .._public import public
from .._ranges import above, at_least
from ..models.trained import save_trained
from .asked import Asked, Length, identity_of, plan_of
from .call import TRAIN_FIELDS
from .cell_probe import cells_of
from .checkpoint import writing
from .drawn import DrawnWindows
from .fabric import Precision, Strategy, first_then_others, new_fabric, on_first
from .loop import train
from .monitor import Monitor
from .run_folder import RunFolder
from .saved import as_loaded, card_of_run, checks_of, whole_result
from .sharded import is_sharded

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..models.encoder import Encoder
    from .data import Windows
    from .objectives import Objective


@public(fields=TRAIN_FIELDS)
def pretrain(
    sources: Windows | SpatialData | str | PathLike | Sequence[SpatialData | str | PathLike],
    model: str | Encoder = "virtues",
    *,
    out: str | PathLike,
    objective: str | Objective | None = None,
    weights: str | PathLike | None = None,
    shape: Mapping[str, Any] | None = None,
    windows: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    epochs: Annotated[float, above(0)] | None = None,
    steps: Annotated[int, at_least(1)] | None = None,
    minutes: Annotated[float, above(0)] | None = None,
    batch_size: Annotated[int, at_least(1)] = 64,
    validation: float | Sequence[str] | None = None,
    probe: SpatialData | str | PathLike | None = None,
    label_key: str | None = None,
    patient_key: str = PATIENT_KEY,
    license: str | None = None,
    devices: int | str = 1,
    nodes: Annotated[int, at_least(1)] = 1,
    precision: Precision = "32-true",
    strategy: Strategy = "auto",
    workers: Annotated[int, at_least(0)] | None = None,
    check_every: Annotated[int, at_least(1)] = 500,
    checkpoint_every: Annotated[int, at_least(1)] | None = None,
    resume: bool = True,
    random_state: int = 0,
) -> Encoder:
    """Train an encoder on windows of tissue, without labels.

    It starts from random weights, or from a file. A run that was ended, by Ctrl-C, a scheduler, a full disk or a loss
    of power, goes on from its last checkpoint when the same call is made again, and ends on a CPU with the same bits as
    one that was never ended: all that is random depends on `random_state` and the number of the step alone.

    Parameters
    ----------
    sources
        SpatialData objects, paths of their stores or folders of stores, one or several; or `Windows` of these.
    model
        Name of a model that can be trained (VirTues, KRONOS, DINOv2), or an encoder that is.
    out
        Folder of the run; of nothing else. It is made where it does not exist.
    objective
        What is minimised: ``"masked"`` or ``"distill"``, a name that was registered, or an objective that holds the
        encoder. Default: as the model was published.
    weights
        Weights to start from: file, folder or hub id. None: the random weights of `spatialfm.models.new_encoder`.
    shape
        What departs from the published shape of the model where it starts from random weights, such as ``{"dim": 128,
        "depth": 6}``, see `spatialfm.models.new_encoder`.
    windows
        Arguments of `Windows`, such as ``{"strata": ["tissue", "technology"], "size": 256}``.
    options
        Options of the objective, such as ``{"learning_rate": 1e-4}``.
    epochs
        Length in epochs, each of as many windows as there are; one of `epochs`, `steps` and `minutes` is given.
    steps
        Length in steps.
    minutes
        Length in minutes from the first step on. Schedules go by steps: how many there will be is estimated from the
        speed of the first few, and anew as the run goes, so that the time holds where a machine becomes busy. Estimates
        are kept in the folder and hold for a run that goes on; what a killed run did after its last checkpoint is not
        counted.
    batch_size
        Windows of a step, over all devices.
    validation
        Patients that are not trained on, by name or as a share of all, whose windows the objective is scored on.
    probe
        Annotated cells: at every check, a nearest-neighbour and a linear classifier are cross-validated by patient on
        embeddings of them, beside mean intensities of the same cells.
    label_key
        Column of the table of `probe` with labels of cells.
    patient_key
        Column of the table of `probe` with patients, and of the samples by which `validation` splits.
    license
        Licence of the weights, for their card: what the terms of your images allow.
    devices
        Devices of each machine, one process each, or ``"auto"`` for all there are. The processes are started by the
        script itself, by torchrun or by SLURM.
    nodes
        Machines.
    precision
        ``"32-true"``, or a forward pass in half the bits: ``"bf16-mixed"``, ``"16-mixed"``.
    strategy
        ``"ddp"``: each device has the whole model; ``"fsdp"``: parameters are shared out to CUDA devices.
    workers
        Processes that read windows, for each device. None: a quarter of its cores.
    check_every
        Steps between checks: collapse, validation, probe.
    checkpoint_every
        Steps between checkpoints. None: ten minutes.
    resume
        Whether to go on with the run that `out` holds; otherwise one that is there is refused.
    random_state
        Seed.

    Returns
    -------
    The encoder, in evaluation mode and without gradients, as ``sfm.models.load(model, weights=out)`` gives it. In
    `out` are written:

    ``model.safetensors``, ``card.json``
        The weights in the published layout; data by name and fingerprint, windows by stratum and marker, parameters,
        versions, licence. Of models that know markers by ids, also ``marker_metadata.csv``: ids, means and standard
        deviations of markers.
    ``losses.csv``, ``checks.csv``, ``curves.png``
        One row per step: loss and its terms, learning rate, norm of the gradient, windows per second. One row per
        check: effective rank and spread of embeddings of fixed windows, scores. Both drawn.
    ``checkpoints``, ``run.json``
        The last two checkpoints; all that decides the numbers of the run.

    Raises
    ------
    ArgumentError, ModelError, PanelError, ClinicalError
        Before the first step, where a run would not work: no window with tissue, a batch larger than the data, a
        precision that the device lacks, no marker that the model can take.
    RunError
        If `out` holds a run of other data or parameters (the message names what differs), or other files; if an image
        cannot be read, the loss is not a number, or a checkpoint cannot be written. What checkpoints hold is kept.

    Warns
    -----
    SpatialfmWarning
        If embeddings collapse, or a marker has no signal.

    Examples
    --------
    >>> import tempfile
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(2, n_samples=2, image_size=96, random_state=0, difficulty="easy")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     encoder = sfm.train.pretrain(
    ...         sdata,
    ...         "virtues",
    ...         out=folder + "/run",
    ...         shape={"dim": 32, "depth": 2, "heads": 2, "decoder_depth": 1},
    ...         windows={"size": 32, "crop": 16, "panel": {"markers": ["CD3", "CD8", "CD20", "CD68"]}},
    ...         steps=2,
    ...         batch_size=4,
    ...     )
    ...     again = sfm.models.load("virtues", weights=folder + "/run")
    >>> encoder.card.embedding_dim, again.card.trained_on
    (32, '4 images of 2 patients')
    """
    asked = Asked(
        model=model,
        weights=weights,
        shape=dict(shape or {}),
        objective=objective,
        options=dict(options or {}),
        windows=dict(windows or {}),
        length=Length(epochs, steps, minutes),
        batch_size=batch_size,
        validation=validation,
        patient_key=patient_key,
        precision=precision,
        strategy=strategy,
        random_state=random_state,
    )
    asked.check()
    fabric = new_fabric(devices, nodes, precision, strategy=strategy)
    encoder = asked.encoder()
    data, held_out = first_then_others(fabric, partial(asked.data, sources, encoder))
    cells = None if probe is None else first_then_others(fabric, partial(cells_of, probe, label_key, patient_key))
    learner, folder = asked.learner(encoder, data), RunFolder(Path(out).expanduser())
    with folder.held() if fabric.is_global_zero else nullcontext():
        record = on_first(fabric, partial(folder.begin, identity_of(asked, learner, data), resume=resume))
        on_first(fabric, partial(data.keep, folder.path))
        plan = plan_of(
            fabric,
            asked,
            learner,
            data,
            folder,
            record,
            nodes=nodes,
            workers=workers,
            check_every=check_every,
            checkpoint_every=checkpoint_every,
        )
        drawn = DrawnWindows(data, random_state, batch_size)
        watch = Monitor(
            folder.path,
            writes=fabric.is_global_zero,
            checks=checks_of(fabric, learner, data, held_out, cells, plan),
            n_steps=plan.length,
        )
        blank = copy.deepcopy(learner) if is_sharded(fabric) else None
        seen = train(fabric, learner, drawn, plan, folder.checkpoints, watch)
        trained = whole_result(learner, blank, folder.checkpoints)
        written = card_of_run(record, data, seen, plan, license)
        with writing(folder.path):
            on_first(fabric, partial(save_trained, trained, folder.path, written, recipe=data.settings.reading))
    logger.info("%s: %s steps, saved in '%s'", trained.card.name, f"{plan.taken:,}", folder.path)
    return as_loaded(trained, folder.path)
