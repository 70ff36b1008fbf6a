"""A run that paints: blocks, then what is made of them, then the blocks are forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from ..._keys import ATTRS, IMPUTED
from ..._logging import logger
from ..._settings import settings
from ..session import N_TRIES, spread_over, try_compiled
from .blend import Overlap, Painting
from .job import PaintJob
from .pyramid import open_pyramid, write_pyramid

if TYPE_CHECKING:
    import torch
    from spatialdata import SpatialData

    from ...pp.elements import SampleElements
    from ..call import Run
    from ..plan import RunPlan
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
    from ..run.engine import run
    from ..run.store import BlockLost, BlockStore

    job = cast(PaintJob, plan.job)
    batch_size = plan.batch_size(how.batch_size)
    if job.compile and how.client is None:
        windows = job.normalized(empty_windows(job, 2)[0])
        masks = np.zeros((2, job.n_channels, job.n_tokens, job.n_tokens), bool)
        try_compiled(job, lambda: job.predict(windows, masks, list(job.targets)))
    jobs = [job, *(job.to(other) for other in devices[1:])]
    spread, seconds = spread_over(how, batch_size), 0.0
    with BlockStore(settings.cache_dir / "runs", plan.identity, resume=how.resume) as store:
        for left in reversed(range(N_TRIES)):
            try:
                seconds += run(jobs, plan.blocks, store, batch_size=batch_size, spread=spread)
                result = use(Painting(job, cast("list[TileBlock]", plan.blocks), store, overlap, statistics))
                break
            except BlockLost as error:
                if not left:
                    raise
                logger.warning("%s Trying again now.", error)
        store.remove()
    return result, seconds


def image_folder(plan: RunPlan, overlap: str, space: str) -> Path:
    """Where the images of a run are, whole or not there."""
    return settings.cache_dir / FOLDER / f"{plan.identity[:24]}-{overlap}-{space}"


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

            write_pyramid(folder / f"{number:05d}_hidden", shape, "uint8", hidden, levels=False)

        def pixels(channel: int, box: tuple[int, int, int, int], number: int = number) -> np.ndarray:
            return painting.values(number, box, [channel])[0]

        write_pyramid(folder / f"{number:05d}", shape, dtype, pixels)


def add_images(
    sdata: SpatialData, pairs: Sequence[SampleElements], ratios: np.ndarray, folder: Path, key: str, record: dict
) -> None:
    """Put the images of a folder into `sdata`, each lazy and where its sample lies, with one record of each."""
    from spatialdata.models import Image2DModel

    from ...pp.maps import multiscale_image, scaled_transformations

    records = sdata.attrs.setdefault(ATTRS, {}).setdefault(IMPUTED, {})
    names = list(record["imputed"])
    for number, pair in enumerate(pairs):
        systems = scaled_transformations(sdata, pair.image, float(ratios[number]))
        element, made = element_name(pair.sample, key), {}
        for ending in ("", "_hidden"):
            path = folder / f"{number:05d}{ending}"
            if not path.is_dir():
                continue
            levels = open_pyramid(path, f"{folder.name}-{number:05d}{ending}")
            made[f"{element}{ending}"] = (
                multiscale_image(levels, names, systems)
                if len(levels) > 1
                else Image2DModel.parse(levels[0], dims=("c", "y", "x"), c_coords=names, transformations=systems)
            )
        for old in [name for name in (element, f"{element}_hidden") if name in sdata.images]:
            del sdata.images[old]
            records.pop(old, None)
        for name, image in made.items():
            sdata.images[name] = image
            records[name] = {**record, "image": pair.image, "sample": pair.sample, "is_mask": name != element}


def element_name(sample: str, key: str) -> str:
    """Name of the image of a sample."""
    from ..._keys import image_name

    return f"{image_name(sample)}_{key}"


def record_of(plan: RunPlan, **fields: Any) -> dict[str, Any]:
    """What is kept beside an image and means of cells: model, markers seen and predicted, and how."""
    encoder = plan.job.encoder
    card = encoder.card
    notes = plan.notes
    kept = ("seen", "imputed", "window", "stride", "mode", "ratio", "random_state", "marker_embeddings_added")
    return {
        "method": "model",
        "model": card.name,
        "license": card.license,
        "weights": encoder.weights.source,
        "weights_sha256": encoder.weights.sha256,
        "adapter": encoder.weights.adapter,
        **{name: notes[name] for name in kept if name in notes},
        "preparation": notes["preparation"],
        "mpp_used": notes["mpp_used"],
        **fields,
    }
