"""A run that paints: blocks, then what is made of them, then the blocks are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ..._identity import fingerprint
from ..._logging import logger
from ..._settings import settings
from ...pp.predicted import HIDDEN, INTENSITY
from ..inputs import prepare_inputs
from ..session import run_blocks, try_compiled
from .blend import Overlap, Painting
from .elements import record_of
from .job import PaintJob
from .plan import find_targets, lost_of, plan_paint, target_statistics
from .pyramid import write_pyramid

if TYPE_CHECKING:
    import torch
    from spatialdata import SpatialData

    from ...models.encoder import Encoder
    from ...pp.elements import SampleElements
    from ..call import Request, Run
    from ..inputs import Inputs
    from ..plan import RunPlan
    from ..run.store import BlockStore
    from ..windows.tiles import TileBlock

T = TypeVar("T")
FOLDER = "imputed"  # below settings.cache_dir


def with_painting(
    plan: RunPlan,
    how: Run,
    devices: Sequence[torch.device],
    use: Callable[[Painting], T],
    *,
    overlap: Overlap = "mean",
    statistics: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[T, float]:
    """Predict all tiles and make something of them; and the seconds that predicting took.

    Finished blocks are kept until `use` has come to its end, so that a call that was stopped goes on where it was.

    Raises
    ------
    RunError
        If reading, predicting or writing fails on the way.
    """
    from ..plan import empty_windows

    job = cast(PaintJob, plan.job)
    batch_size = plan.batch_size(how.batch_size)
    if job.compile and how.client is None:
        windows = job.normalized(empty_windows(job, 2)[0])
        masks = np.zeros((2, job.n_channels, job.n_tokens, job.n_tokens), bool)
        try_compiled(job, lambda: job.predict(windows, masks, list(job.targets)))

    def painted(store: BlockStore) -> T:
        return use(Painting(job, cast("list[TileBlock]", plan.blocks), store, overlap, statistics))

    return run_blocks(job, plan.blocks, plan.identity, how, devices, batch_size, painted)


@dataclass(frozen=True)
class Painted:
    """Images that were predicted, and what is known of them.

    Attributes
    ----------
    inputs
        Of the run.
    markers
        That were predicted.
    folder
        Image of each sample, by its number.
    record
        What is kept beside the images.
    n_tiles, seconds
        Tiles, and the seconds that predicting them took.
    """

    inputs: Inputs
    markers: tuple[str, ...]
    folder: Path
    record: dict[str, Any]
    n_tiles: int
    seconds: float


def paint_samples(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    encoder: Encoder,
    request: Request,
    devices: Sequence[torch.device],
    markers: Sequence[str] | None,
    *,
    mode: str,
    space: str,
    overlap: Overlap,
    stride: int | None,
    ratio: tuple[float, float] = (0.6, 1.0),
    random_state: int = 0,
) -> Painted:
    """Predict markers over whole images, every check of them first.

    Raises
    ------
    ModelError, PanelError, ElementError, CoordinateError, PixelSizeError
        Before any tile is predicted.
    RunError
        If reading, predicting or writing fails on the way.
    """
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    targets = find_targets(inputs, markers)
    statistics = target_statistics(sdata, pairs, inputs, targets) if space == INTENSITY else None
    plan = plan_paint(inputs, targets, mode=mode, ratio=ratio, random_state=random_state, stride=stride)
    folder, seconds = paint_images(plan, request.run, devices, overlap=overlap, statistics=statistics)
    lost = lost_of(inputs) if space == INTENSITY else ""
    record = record_of(plan, space=space, overlap=overlap, not_undone=lost, seconds=seconds)
    n_tiles = sum(block.n_windows for block in plan.blocks)
    return Painted(inputs, targets.markers, folder, record, n_tiles, seconds)


def paint_images(
    plan: RunPlan,
    how: Run,
    devices: Sequence[torch.device],
    *,
    overlap: Overlap,
    statistics: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[Path, float]:
    """Folder with the image of each sample, by its number; and the seconds that predicting took.

    Images that the same call wrote before are taken.
    """
    from ..run.store import clear_finished

    made_of = {"run": plan.identity, "overlap": overlap, "statistics": statistics, "precision": how.precision}
    folder = settings.cache_dir / FOLDER / fingerprint(made_of)[:24]
    if how.resume and are_written(folder, len(plan.job.readers)):
        clear_finished(settings.cache_dir / "runs", plan.identity)
        logger.info("this call was finished before: taking what is in %s", folder)
        return folder, 0.0

    def write(painting: Painting) -> None:
        write_images(painting, folder, how.precision)

    _, seconds = with_painting(plan, how, devices, write, overlap=overlap, statistics=statistics)
    return folder, seconds


def are_written(folder: Path, n: int) -> bool:
    """Whether the images of all `n` samples are there."""
    return all((folder / f"{number:05d}").is_dir() for number in range(n))


def read_written(folder: Path, number: int, box: tuple[int, int, int, int], channels: list[int]) -> np.ndarray:
    """Pixels ``(k, h, w)`` of the image of a sample."""
    import zarr

    y0, y1, x0, x1 = box
    array = cast(Any, zarr.open_array(str(folder / f"{number:05d}" / "0"), mode="r"))
    return np.stack([np.asarray(array[channel, y0:y1, x0:x1]) for channel in channels])


def write_images(painting: Painting, folder: Path, precision: str) -> None:
    """Write the image of each sample, and where tokens were drawn, which pixels were hidden."""
    dtype = "float16" if precision == "float16" else "float32"
    for number in range(len(painting.job.readers)):
        shape = painting.shape(number)
        if painting.job.draws:

            def hidden(channel: int, box: tuple[int, int, int, int], number: int = number) -> np.ndarray:
                return painting.hidden(number, box, [channel])[0]

            write_pyramid(folder / f"{number:05d}{HIDDEN}", shape, "uint8", hidden, levels=False)

        def pixels(channel: int, box: tuple[int, int, int, int], number: int = number) -> np.ndarray:
            return painting.values(number, box, [channel])[0]

        write_pyramid(folder / f"{number:05d}", shape, dtype, pixels)
