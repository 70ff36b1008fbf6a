"""A run of the loop that keeps what is best on held-out windows, and ends when nothing becomes better."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from safetensors.torch import load_file
from torch import Tensor

from .. import _disk
from .._errors import warn
from .._logging import logger
from .curves import draw_curves
from .drawn import DrawnWindows, Validation
from .early import BEST, EarlyStopping, Enough, read_score
from .fabric import new_fabric
from .loop import train
from .monitor import CHECKS, CURVES, Monitor
from .trainer import TrainingPlan

if TYPE_CHECKING:
    from .cells import CellWindows
    from .objectives import Objective
    from .run_folder import RunFolder

NEVER = -1  # the step after which curves are drawn in any case: here they are drawn whenever a run ends


def train_stopped(
    learner: Objective,
    training: CellWindows,
    held_out: CellWindows,
    folder: RunFolder,
    plan: TrainingPlan,
    patience: int,
) -> tuple[float, int]:
    """Train, and leave the best state in the objective.

    Parameters
    ----------
    learner
        Its validation reports ``loss``.
    training, held_out
        Windows of different patients.
    folder
        Of this run.
    plan
        How long, with a check whenever there is a checkpoint.
    patience
        Checks without improvement after which the run ends.

    Returns
    -------
    The lowest loss on held-out windows, and after how many steps that was.
    """
    fabric = new_fabric()
    held_out_drawn = DrawnWindows(held_out, plan.seed, plan.batch_size)
    monitor = Monitor(folder.path, checks=[Validation(fabric, learner, held_out_drawn)], n_steps=NEVER)
    monitor.drawn_at = time.monotonic()  # no picture in the first minute
    watch = EarlyStopping(monitor, lambda: trained_state(learner), patience)
    try:
        train(fabric, learner, DrawnWindows(training, plan.seed, plan.batch_size), plan, folder.checkpoints, watch)
    except Enough:
        logger.info("no better for %d looks: the best was after step %d", patience, watch.at)
    with _disk.written_beside(folder.path / CURVES) as partial:
        draw_curves(monitor.losses.rows, monitor.checked.rows, partial)
    learner.load_state_dict(load_file(folder.path / BEST), strict=False)
    learner.cpu().eval()
    score, step = read_score(folder.path / BEST)
    if step == 0:
        warn(
            "Held-out patients were read best before the first step: nothing was learned that holds for them. Take "
            f"cells of more patients, or train at a lower rate; see '{folder.path / CHECKS}'."
        )
    return score, step


def trained_state(learner: Objective) -> dict[str, Tensor]:
    """What is trained, by its name in the objective."""
    return {name: one for name, one in learner.named_parameters() if one.requires_grad}


def tidied(folder: RunFolder) -> None:
    """Take away what only a run that goes on needs."""
    _disk.discard(folder.checkpoints.folder)
    _disk.discard(folder.path / BEST)
