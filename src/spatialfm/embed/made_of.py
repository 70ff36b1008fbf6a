"""What decides the arrays of each block, so that a run of another cohort may take those that would be the same."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _disk
from .._errors import counted
from .._identity import fingerprint
from .._logging import logger
from .._version import __version__, version_of
from .plan import encoder_identity

if TYPE_CHECKING:
    from .plan import RunPlan
    from .run.store import BlockStore

LIBRARIES = ("torch", "numpy", "scipy")  # another version may round in another way
NOTE = "made_of.json"
OF_CELLS = ("labels", "sample", "centers", "extents")  # fields of a job, of which `Job.own` gives a block's part
STATISTICS = "the statistics of the markers"


@dataclass(frozen=True)
class MadeOf:
    """What decides the blocks of a run.

    Attributes
    ----------
    shared
        Digest of each thing that decides all of them, by its name.
    names
        Of each block a digest of all that decides it: blocks of one name have the same bytes.
    samples
        Number of the sample of each block.
    """

    shared: Mapping[str, str]
    names: list[str]
    samples: list[int]

    def write(self, folder: Path, said: str = "") -> None:
        """Keep what all blocks share beside them, and what was said of those that were taken."""
        content = {"shared": dict(self.shared), "said": [said, time.time_ns()] if said else None}
        _disk.write_bytes(folder / NOTE, json.dumps(content).encode())

    def changed(self, folder: Path) -> list[str]:
        """What all blocks share and is another in the run of a folder."""
        try:
            before = json.loads((folder / NOTE).read_bytes())["shared"]
            return [name for name, value in self.shared.items() if before[name] != value]
        except (OSError, ValueError, KeyError, TypeError):
            return []


def made_of(plan: RunPlan, batch_size: int) -> MadeOf | None:
    """What decides each block of a plan; None where no other run may take one.

    Parameters
    ----------
    batch_size
        Windows of a batch: sums are rounded by it.
    """
    job, blocks = plan.job, plan.blocks
    owns = [job.own(block) for block in blocks]
    if any(own is None for own in owns):
        return None
    apart = ("encoder", "readers", "recipe", "mean", "std", "markers", *OF_CELLS)
    parts: dict[str, Any] = {
        "the version of a package": [__version__, *map(version_of, LIBRARIES)],
        "the model, its weights or its recipe": encoder_identity(job.encoder, job.recipe),
        "the markers": [job.markers, list(plan.panel.markers)],
        STATISTICS: [job.mean, job.std],
        "how windows are cut and encoded": [
            type(job).__qualname__,
            {one.name: getattr(job, one.name) for one in fields(job) if one.name not in apart},
        ],
        "the size of batches, or the device": [batch_size, job.encoder.device.type],
    }
    shared = {name: fingerprint({"part": part}) for name, part in parts.items()}
    images = [[reader.fingerprint, getattr(reader, "preparation", "")] for reader in job.readers]
    names = [
        fingerprint(
            {
                "shared": shared,
                "image": images[block.sample],
                "region": [block.y0, block.y1, block.x0, block.x1],
                "own": own,
            }
        )
        for block, own in zip(blocks, owns, strict=True)
    ]
    return MadeOf(shared, names, [block.sample for block in blocks])


def take_kept(store: BlockStore, made: MadeOf, resume: bool) -> None:
    """Take the blocks that earlier runs left in the folder of a store, and say how much of the cohort they are."""
    others = store.other_runs() if resume else []
    if not others:
        made.write(store.path)
        return
    store.take_from(others)
    left = {made.samples[number] for number in range(len(made.names)) if not store.has(number)}
    n = len(set(made.samples))
    text = f"{n - len(left)} of {counted(n, 'image')}: encoded before, and taken as they were"
    if len(left) == n and (changed := made.changed(others[0])):
        cohort = ", which are of the whole cohort" if changed == [STATISTICS] else ""
        text += f". Changed: {' and '.join(changed)}{cohort}, so that every image is encoded anew"
    logger.info(text)
    made.write(store.path, text)


def told(folder: Path) -> dict[int, str]:
    """What was said, in a folder with kept blocks, of those that were taken; by when it was."""
    said = {}
    for path in Path(folder).glob(f"*/{NOTE}"):
        try:
            text, when = json.loads(path.read_bytes())["said"]
            said[int(when)] = str(text)
        except (OSError, ValueError, KeyError, TypeError):  # nothing was, or the note is damaged
            continue
    return said
