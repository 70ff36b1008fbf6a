"""What a call to embed cells will do: all that is settled before the first window, with what it will cost."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from .._described import html_table
from .._errors import ElementError, TableError, counted, listed
from .._keys import TABLE
from .._logging import logger
from .._settings import settings
from ..pp.elements import table_regions
from .call import Request
from .session import check_embedding_key, check_run, choose_components, load_encoder, output_keys

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..models.encoder import Encoder
    from ..pp.elements import SampleElements
    from .perturbed import Perturbation
    from .plan import RunPlan
    from .windows.cells import Cells

TIMED_WINDOWS = 8


@dataclass(frozen=True)
class Cost:
    """What a run takes, in bytes and seconds; estimates.

    Attributes
    ----------
    memory
        Weights, a batch with its activations, two blocks of pixels, and the rows that are held.
    disk
        Rows of the blocks while it runs, and the result where it does not stay in memory.
    seconds
        From a few windows and one block that were timed: what the slower of reading and encoding takes.
    """

    memory: int
    disk: int
    seconds: float


@dataclass(frozen=True, repr=False)
class EmbeddingPlan:
    """All that `spatialfm.tl.embed_cells` has settled before it encodes; ``embed_cells(sdata, plan=...)`` runs it.

    Attributes
    ----------
    request
        Recipe, panel, elements, run and reduction, as the user or the model's card has them.
    pairs, table, table_name, cells
        Image and labels of each sample, the cell table, and its rows joined to the labels.
    run
        Windows in blocks.
    devices, n_components
        Where it runs, and principal components to keep.
    keys
        Key in ``obsm`` of each output.
    data
        What identifies the images, labels and table; empty in a plan that is run at once.
    cost
        Estimates; None where they were not asked for.
    """

    request: Request
    pairs: Sequence[SampleElements]
    table: AnnData
    table_name: str
    cells: Cells
    run: RunPlan
    devices: Sequence[torch.device]
    n_components: int | None
    keys: Mapping[str, str]
    data: Mapping[str, str]
    cost: Cost | None = None

    @property
    def batch_size(self) -> int:
        """Windows of a batch."""
        return self.run.batch_size(self.request.run.batch_size)

    @property
    def columns(self) -> dict[str, int]:
        """Expected columns of each key in ``obsm``."""
        from .plan import n_columns

        return {key: self.n_components or n_columns(self.run.job, output) for output, key in self.keys.items()}

    @property
    def markers(self) -> list[tuple[str, str]]:
        """Each channel of the first sample and what becomes of it: its marker, or why it is left out."""
        panel = self.run.panel
        used = [
            (channel, marker if channel == marker else f"{marker} (by name)")
            for channel, marker in zip(panel.names[0], panel.markers, strict=True)
        ]
        return used + [(channel, f"left out: {why}") for channel, why in panel.dropped.items()]

    def facts(self) -> dict[str, str]:
        """What is printed, a line each."""
        job, request = self.run.job, self.request
        windows = sum(block.n_windows for block in self.run.blocks)
        what = "tiles" if request.recipe.mode == "tile" else "windows"
        rows = {
            "model": f"{job.encoder.card.name} (weights: {job.encoder.weights.source})",
            "samples": listed([f"{one.sample} ({one.image}, {one.labels})" for one in self.pairs], 6, quoted=False),
            "cells": f"{len(self.cells.rows):,} of table {self.table_name!r}",
            "markers": f"{len(self.run.panel.markers)} used, {len(self.run.panel.dropped)} left out",
            "windows": f"{windows:,} {what} of {job.window} pixels in {counted(len(self.run.blocks), 'block')}",
            "batch": f"{self.batch_size} on {', '.join(map(str, self.devices))}",
            "written": ", ".join(f"obsm[{key!r}] with {n:,} columns" for key, n in self.columns.items()),
        }
        if self.cost is not None:
            rows["memory"] = f"about {_size(self.cost.memory)}"
            rows["disk"] = f"about {_size(self.cost.disk)} in {settings.cache_dir}"
            rows["time"] = f"about {_duration(self.cost.seconds)}"
        return rows

    def __repr__(self) -> str:
        lines = [f"  {name:8} {value}" for name, value in self.facts().items()]
        channels = [f"    {channel} → {became}" for channel, became in self.markers]
        return "\n".join(["EmbeddingPlan", *lines, "  channels", *channels, f"  {self.request.recipe!r}"])

    def _repr_html_(self) -> str:
        recipe = self.request.recipe
        return (
            html_table("Plan of an embedding", self.facts())
            + html_table("Channels", dict(self.markers))
            + recipe._repr_html_()
        )

    def check(self, sdata: SpatialData) -> None:
        """Refuse other data than it was made of.

        Raises
        ------
        ElementError
            If an image, labels or the table are not those that were planned.
        """
        now = data_of(sdata, self.pairs, self.table_name)
        for name, value in self.data.items():
            if now.get(name) != value:
                state = "is not in sdata" if name not in now else "is another one here"
                raise ElementError(
                    f"plan= was made of other data: {name} {state}. Make a plan of this sdata with "
                    "sfm.tl.plan_embedding(sdata, ...)."
                )
        if new := [name for name in now if name not in self.data]:
            raise ElementError(
                f"plan= was made before there was {new[0]}. Make a plan of this sdata with "
                "sfm.tl.plan_embedding(sdata, ...)."
            )


def plan_embedding_of(
    sdata: SpatialData,
    model: str | Encoder,
    *,
    weights: str | PathLike | None,
    adapter: str | PathLike | None = None,
    samples: Sequence[str] | None,
    table_name: str,
    on_missing: Literal["raise", "drop"],
    key_added: str | None,
    kept: bool = False,
    copy: bool = True,
    change: Perturbation | None = None,
    **asked: Any,
) -> EmbeddingPlan:
    """Every check, and all that is known before the first window.

    `kept`: the plan is handed out, so that it is timed and holds what its data is known by; `copy`: the table that is
    there is not to be changed; `change`: of pixels, as they are read; `asked`: as `request_of` takes it.
    """
    from ..pp.elements import match_elements
    from ..pp.missing_chunks import report_missing_chunks
    from .call import Elements, Run, request_of
    from .inputs import prepare_inputs
    from .plan import check_options, plan_cells
    from .windows.cells import find_cells

    elements = Elements.of(asked.pop("elements"))
    pairs = match_elements(sdata, elements.image, elements.labels, samples=samples, table_name=table_name)
    check_embedding_key(key_added)
    devices = check_run(Run.of(asked["run"]))
    encoder = load_encoder(model, weights, adapter).to(devices[0])
    request = request_of(encoder, elements=elements, **asked)
    check_options(encoder, request)
    data = data_of(sdata, pairs, table_name) if kept else {}
    pairs = report_missing_chunks(sdata, pairs)
    table = table_of(sdata, table_name, pairs, on_missing, elements.on_pieces, request.recipe.intensity_max)
    cells = find_cells(sdata, pairs, table, table_name, on_missing, request.recipe.centers, elements.on_pieces)
    check_rows(table, pairs, table_name, copy=copy)  # before any image is read
    n_components = choose_components(request, len(cells.rows), "cells")
    inputs = prepare_inputs(sdata, pairs, encoder, request, table=table)
    run = plan_cells(inputs if change is None else change(inputs, cells), cells)
    keys = output_keys(encoder, run.job.outputs, key_added)
    plan = EmbeddingPlan(request, pairs, table, table_name, cells, run, devices, n_components, keys, data)
    return replace(plan, cost=cost_of(plan)) if kept else plan


def data_of(sdata: SpatialData, pairs: Sequence[SampleElements], table_name: str) -> dict[str, str]:
    """What identifies the elements of a run: arrays, transformations, rows of the table."""
    from spatialdata.transformations import get_transformation

    from ..pp.arrays import cells_element, image_array
    from ..pp.drawn_cells import cells_data

    digests = {}
    for pair in pairs:
        elements: dict[str, tuple[str, Any, Any]] = {}
        if pair.image in sdata.images:
            elements["image"] = (pair.image, sdata.images[pair.image], image_array(sdata, pair.image).data)
            if pair.labels is not None and pair.labels in sdata:
                elements["labels"] = (pair.labels, cells_element(sdata, pair.labels), cells_data(sdata, pair))
        for kind, (name, element, array) in elements.items():
            placed = "" if element is None else get_transformation(element, get_all=True)
            digests[f"{kind} {name!r}"] = f"{getattr(array, 'name', id(array))} {array.shape} {array.dtype} {placed}"
    if table_name in sdata.tables:
        table = sdata.tables[table_name]
        attrs = table.uns.get("spatialdata_attrs", {})
        columns = [attrs.get(name) for name in ("region_key", "instance_key")]
        rows = [list(table.obs_names), *(list(map(str, table.obs[name])) for name in columns if name in table.obs)]
        digests[f"table {table_name!r}"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return digests


def cost_of(plan: EmbeddingPlan) -> Cost:
    """Estimates of memory, disk and time; a few empty windows are encoded and one block is read for it."""
    from .plan import n_columns
    from .run.engine import window_bytes

    job, blocks = plan.run.job, plan.run.blocks
    n_markers, n_rows = len(plan.run.panel.markers), len(plan.cells.rows)
    weights = sum(
        tensor.numel() * tensor.element_size() for tensor in (*job.encoder.parameters(), *job.encoder.buffers())
    )
    of_block = max((block.y1 - block.y0) * (block.x1 - block.x0) * (4 * n_markers + 8) for block in blocks)
    rows = 4 * n_rows * sum(n_columns(job, output) for output in job.outputs)
    held = min(rows, settings.result_memory)
    batch = plan.batch_size * window_bytes(job.encoder, n_markers, job.window)
    encoding, reading = _timed(plan)
    n_windows = sum(block.n_windows for block in blocks)
    return Cost(
        memory=int(weights + batch + 2 * of_block + held),
        disk=int(rows + (rows if rows > settings.result_memory else 0)),
        seconds=float(max(encoding * n_windows / len(plan.devices), reading * len(blocks))),
    )


def _timed(plan: EmbeddingPlan) -> tuple[float, float]:
    """Seconds for a window, and for reading a block of middling size."""
    import torch

    from .plan import empty_windows
    from .run.engine import read_block

    job = plan.run.job
    n, device = min(TIMED_WINDOWS, plan.batch_size), job.encoder.device
    windows, masks = empty_windows(job, n)

    def encode() -> None:
        with torch.inference_mode():
            job.encode(windows, masks)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    encode()  # the first call of all sets up
    started = time.perf_counter()
    encode()
    encoding = (time.perf_counter() - started) / n
    block = sorted(plan.run.blocks, key=lambda one: (one.y1 - one.y0) * (one.x1 - one.x0))[len(plan.run.blocks) // 2]
    started = time.perf_counter()
    read_block(job, block)
    return encoding, time.perf_counter() - started


def check_alone(given: Mapping[str, Any]) -> None:
    """Refuse arguments together with ``plan=``, which holds all that was asked for.

    Raises
    ------
    TableError
        If one has another value than its default.
    """
    defaults = {"model": "classical", "table_name": TABLE, "on_missing": "raise"}
    repeated = [name for name, value in given.items() if value is not None and value != defaults.get(name)]
    if repeated:
        raise TableError(
            f"plan= holds all that was asked for, and {repeated[0]}= repeats it. Leave {repeated[0]}= out, or pass it "
            "to sfm.tl.plan_embedding(...)."
        )


def table_of(
    sdata: SpatialData,
    table_name: str,
    pairs: Sequence[SampleElements],
    on_missing: Literal["raise", "drop"],
    on_pieces: Literal["raise", "keep"],
    intensity_max: float | Mapping[str, float] | None,
) -> AnnData:
    """The cell table, made where there is none."""
    if table_name in sdata.tables:
        return sdata.tables[table_name]
    from ..pp.cells import measured_table
    from ..pp.points_table import are_points, table_of_points

    if sdata.tables and table_name != TABLE:
        raise ElementError(f"No table {table_name!r} in sdata; found {', '.join(map(repr, sdata.tables))}.")
    if are_points(sdata, pairs):
        return table_of_points(sdata, list(pairs))
    cells = {str(pair.labels) for pair in pairs}
    others = [name for name, table in sdata.tables.items() if cells & set(table_regions(table))]
    beside = f"; of the same cells is {listed(others)}, which table_name= would take instead" if others else ""
    logger.info("no table %r: making it with sfm.pp.cell_table%s", table_name, beside)
    return measured_table(
        sdata, list(pairs), drop=on_missing == "drop", on_pieces=on_pieces, intensity_max=intensity_max
    )


def check_rows(table: AnnData, pairs: Sequence[SampleElements], table_name: str, *, copy: bool) -> None:
    """Refuse to leave rows of other samples without embedding: `obsm` covers all rows, and NaN is never written."""
    others = sorted(set(table_regions(table)) - {str(pair.labels) for pair in pairs})
    if others and {pair.labels for pair in pairs} == {table_name}:  # of points, which annotate what is not in sdata
        others = []
    if others and not copy:
        raise TableError(
            f"Table {table_name!r} also holds cells of {', '.join(others[:5])}, which are not to be embedded. "
            "Embed all samples, or pass copy=True to get the AnnData of those chosen."
        )


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5:  # what rounds to 1000 is 1 of the next
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0.1):.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
