"""A run that paints: blocks, then what is made of them, then the blocks are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ..._identity import fingerprint
from ..._logging import logger
from ..._settings import settings
from ...pp.predicted import HIDDEN
from ..session import run_blocks, try_compiled
from .blend import Overlap, Painting
from .job import PaintJob
from .pyramid import write_pyramid

if TYPE_CHECKING:
    import torch

    from ..call import Run
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
