"""What the functions that embed have in common: the encoder meant, the run, the last steps on the rows, the record."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from .._errors import ModelError, TableError
from .._keys import REGION_KEY, SAMPLE_KEY, UNS, obsm_key
from .._logging import logger
from .._settings import settings
from .._storable import COLUMNS, check_new_key
from ..pp.sample_columns import add_sample_columns

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..models.encoder import Encoder
    from .call import Request, Run
    from .made_of import MadeOf
    from .plan import RunPlan
    from .result.finish import FinishedEmbedding
    from .run.block import Block
    from .run.engine import Job
    from .run.store import BlockStore

T = TypeVar("T")
Basis = Mapping[str, np.ndarray]
N_TRIES = 3  # where finished blocks are taken away while the run goes on


def load_encoder(
    model: str | Encoder, weights: str | PathLike | None, adapter: str | PathLike | None = None
) -> Encoder:
    """The encoder that is meant: by name, or as it is.

    Raises
    ------
    TableError
        If weights or an adapter come with an encoder that is loaded already.
    """
    from ..models import load

    if isinstance(model, str):
        return load(model, weights=weights, adapter=adapter)
    for name, value in (("weights", weights), ("adapter", adapter)):
        if value is not None:
            raise TableError(f"{name}= belongs to sfm.models.load(...) when a loaded encoder is passed.")
    return model


def check_embedding_key(key: str | None) -> None:
    """Refuse, before any work, keys that no store takes, or under which something of another embedding is kept."""
    check_new_key(key)
    for ending, what in (("_basis", "the basis"), (COLUMNS, "the names of the columns")):
        if key is not None and key.endswith(ending):
            raise TableError(
                f"key_added={key!r} is where {what} of {key.removesuffix(ending)!r} would be kept. Pass another name."
            )


def check_run(run: Run) -> list[torch.device]:
    """Devices to run on, here or (``[cpu]``) until workers take over; every refusal that needs no image."""
    from ..models.encoder import resolve_device
    from .run.distributed import check_client
    from .run.store import check_writable

    folder = runs_folder(run)
    check_writable(folder)
    if run.client is not None:
        if not (run.devices is None or isinstance(run.devices, str)):
            raise ModelError("devices= is one device of each worker when client= is given. Pass a name such as 'cuda'.")
        check_client(run.client, folder)
        return [resolve_device("cpu")]
    names = [run.devices] if run.devices is None or isinstance(run.devices, str) else list(run.devices)
    if not names:
        raise ModelError(
            "devices= is an empty list. Pass 'auto', 'cpu', 'cuda', or a list such as ['cuda:0', 'cuda:1']."
        )
    return [resolve_device(name) for name in names]


def choose_components(request: Request, n_rows: int, what: str) -> int | None:
    """Principal components to keep, if any: those asked for, those of the model's recipe, or 50."""
    reduce = request.reduce
    asked = None if reduce is None else reduce.n_components
    n_components = asked or request.recipe.n_components or (50 if reduce is not None else None)
    if (reduce is None or reduce.basis is None) and n_components and n_components > n_rows:
        raise ModelError(f"n_components={n_components}, but there are only {n_rows} {what}. Pass fewer.")
    return n_components


def run_plan(
    plan: RunPlan, request: Request, devices: Sequence[torch.device], n_components: int | None
) -> tuple[dict[str, FinishedEmbedding], float]:
    """Encode all blocks and finish the rows of each output; and the seconds that encoding took."""
    from .made_of import made_of
    from .plan import check_reduction
    from .result.finish import call_of, finish_rows, finished, remove_finished
    from .run.store import clear_finished

    job, encoder, how = plan.job, plan.job.encoder, request.run
    dtype = how.precision
    bases = _basis_of(job.outputs, None if request.reduce is None else request.reduce.basis)
    check_reduction(plan, n_components, bases)
    folders = {output: settings.cache_dir / "embeddings" / plan.identity[:24] / output for output in job.outputs}
    if not how.resume:
        for name, folder in folders.items():  # of this call alone: tables in memory may read those of others
            remove_finished(folder, call_of(n_components, bases[name], dtype))
    stored_results = {name: finished(folders[name], call_of(n_components, bases[name], dtype)) for name in job.outputs}
    results = {name: result for name, result in stored_results.items() if result is not None}
    where = where_of(how, devices)
    if len(results) == len(stored_results):
        clear_finished(settings.cache_dir / "runs", plan.identity)  # of a process that was killed just before it did
        logger.info("this call was finished before: taking what is in %s", folders[job.outputs[0]].parent)
        return _noted(results, device=where), 0.0
    batch_size = plan.batch_size(how.batch_size)
    if job.compile and how.client is None:
        _try_compiled(plan)
    finish = partial(
        finish_rows,
        standardize=request.recipe.standardize,
        n_components=n_components,
        dtype=dtype,
        in_memory=settings.result_memory,
        made_by=f"{job.made_by}(sdata, {encoder.card.name!r}, ...)",
    )

    def use(store: BlockStore) -> None:
        for output, rows in job.rows(plan.blocks, store).items():
            results[output] = finish(rows, basis=bases[output], folder=folders[output])

    made = None if how.keep is None else made_of(plan, batch_size)
    _, seconds = run_blocks(job, plan.blocks, plan.identity, how, devices, batch_size, use, made)
    for output, result in results.items():
        if not isinstance(result.values, np.ndarray):
            size = result.values.nbytes / 1e9
            logger.info("%s: %.1f GB stay in %s; sdata.write copies them", output, size, folders[output])
    return _noted({name: results[name] for name in job.outputs}, device=where), seconds


def run_blocks(
    job: Job,
    blocks: Sequence[Block],
    identity: str,
    how: Run,
    devices: Sequence[torch.device],
    batch_size: int,
    use: Callable[[BlockStore], T],
    made: MadeOf | None = None,
) -> tuple[T, float]:
    """Encode all blocks and make something of them; and the seconds that encoding took.

    Finished blocks are kept until `use` has come to its end, so that a call that was stopped goes on where it was.

    Parameters
    ----------
    made
        What decides each block, where blocks are to stay and those of other runs may be taken.

    Raises
    ------
    ModelError
        If blocks are to stay that no other run could take.
    RunError
        If reading, encoding or writing fails on the way.
    """
    from .made_of import take_kept
    from .run.engine import run
    from .run.store import BlockLost, BlockStore

    if how.keep is not None and made is None:
        raise ModelError("keep= holds blocks of cells, tiles or tokens, and there are none here. Leave it out of run=.")
    jobs = [job, *(job.to(other) for other in devices[1:])]
    spread, seconds = spread_over(how, batch_size), 0.0
    names = None if made is None else made.names
    with BlockStore(runs_folder(how), identity, resume=how.resume, names=names) as store:
        if made is not None:
            take_kept(store, made, how.resume)
        for left in reversed(range(N_TRIES)):
            try:
                seconds += run(jobs, blocks, store, batch_size=batch_size, spread=spread)
                result = use(store)
                break
            except BlockLost as error:
                if not left:
                    raise
                logger.warning("%s Trying again now.", error)
        if made is None:
            store.remove()
        else:
            store.keep()
    return result, seconds


def runs_folder(how: Run) -> Path:
    """Where blocks are while a run goes on."""
    return settings.cache_dir / "runs" if how.keep is None else Path(how.keep).expanduser().absolute()


def where_of(how: Run, devices: Sequence[torch.device]) -> str:
    """Where a run computes, for its record."""
    if how.client is None:
        return ", ".join(map(str, devices))
    return f"{how.device or settings.device} of each worker"


def spread_over(how: Run, batch_size: int) -> Callable | None:
    """What gives blocks to the workers of a cluster, as `spatialfm.embed.run.engine.run` takes it; None: none is."""
    client, device = how.client, how.device
    if client is None:
        return None
    from .run.distributed import run_on_client

    def spread(
        job: Job, blocks: Sequence[Block], todo: Sequence[int], store: BlockStore, done: Callable[[int], object]
    ) -> None:
        run_on_client(client, job, blocks, todo, store, batch_size=batch_size, device=device, done=done)

    return spread


def _noted(results: dict[str, FinishedEmbedding], **notes: object) -> dict[str, FinishedEmbedding]:
    for result in results.values():
        result.notes.update(notes)
    return results


def _basis_of(outputs: Sequence[str], basis: Mapping[str, Any] | None) -> dict[str, Basis | None]:
    if basis is None:
        return dict.fromkeys(outputs)
    if "components" in basis:
        if len(outputs) > 1:
            raise ModelError(f"basis= is one basis for outputs {list(outputs)}. Pass {{output: basis}}.")
        return {outputs[0]: basis}
    if missing := [name for name in outputs if name not in basis]:
        raise ModelError(f"basis= has none for output {missing[0]!r}. Pass sfm.get.basis(...) of each.")
    return {name: basis[name] for name in outputs}


def _try_compiled(plan: RunPlan) -> None:
    """Compile on two empty windows, so that a machine that cannot is found before any work."""
    from .plan import empty_windows

    job = plan.job
    try_compiled(job, lambda: job.encode(*empty_windows(job, 2)))


def try_compiled(job: Job, encode: Callable[[], object]) -> None:
    """Call what compiles, so that a machine that cannot is found before any work."""
    import torch

    try:
        with torch.inference_mode():
            encode()
    except Exception as error:
        with contextlib.suppress(Exception), torch.inference_mode():
            torch.compiler.reset()
        raise ModelError(
            f"{job.encoder.card.name} cannot be compiled here: {str(error).strip().splitlines()[0]} "
            "Pass compile=False, or install a C++ compiler."
        ) from error


def output_keys(encoder: Encoder, outputs: Sequence[str], key_added: str | None) -> dict[str, str]:
    """Key in ``obsm`` of each output: the model's and its adapter's, with the output's name where there are several."""
    added = re.sub(r"\W+", "_", encoder.weights.adapter)
    key = key_added or obsm_key(f"{encoder.card.name}-{added}" if added else encoder.card.name)
    return {name: key if len(outputs) == 1 else f"{key}_{name}" for name in outputs}


def grid_obs(
    sdata: SpatialData,
    samples: np.ndarray,
    numbers: np.ndarray,
    coverage: np.ndarray,
    *,
    prefix: str,
    instance_key: str,
    kind: str,
) -> pd.DataFrame:
    """``obs`` of a grid over images, one row per tile or token, with the clinical columns of its sample.

    Parameters
    ----------
    samples, numbers, coverage
        Sample of each row, its number there, and its share of tissue.
    prefix
        The part before the sample in the name of the element that the row annotates.
    instance_key, kind
        Column of the numbers; word in the names of the rows.
    """
    obs = pd.DataFrame(
        {
            REGION_KEY: pd.Categorical([prefix + sample for sample in samples]),
            instance_key: numbers,
            SAMPLE_KEY: pd.Categorical(samples),
            "tissue": coverage,
        },
        index=[f"{sample}_{kind}_{number}" for sample, number in zip(samples, numbers, strict=True)],
    )
    add_sample_columns(sdata, samples, obs)
    return obs


def write_result(
    adata: AnnData, key: str, result: FinishedEmbedding, values: object, plan: RunPlan, output: str, **fields: Any
) -> None:
    """Embedding, record and basis into a table whose rows are those of `values`."""
    from .result.record import basis_key, write_record

    adata.obsm[key] = values
    write_record(adata, key, embedding_record(plan, output, **fields | result.notes))
    if result.basis is not None:
        adata.uns[UNS][basis_key(key)] = {name: np.asarray(part) for name, part in result.basis.items()}


def embedding_record(plan: RunPlan, output: str, n_columns: int, **extra: Any) -> dict[str, str | int | float]:
    """The record of an embedding; `n_columns` is the width before any reduction."""
    from .result.record import make_record

    encoder, markers = plan.job.encoder, plan.panel.markers
    card = encoder.card
    named = output == "patch" and not extra.get("n_components")
    fields = {
        "model": card.name,
        "family": card.family,
        "license": card.license,
        "commercial_use": card.commercial,
        "weights": encoder.weights.source,
        "weights_sha256": encoder.weights.sha256,
        "adapter": encoder.weights.adapter,
        "adapter_sha256": encoder.weights.adapter_sha256,
        "model_options": dict(encoder.options),
        "output": output,
        "embedding_dim": n_columns // (len(markers) if output in ("marker", "attention") else 1),
        "n_columns": n_columns,
        "feature_names": encoder.feature_names(markers) if named else None,
        "standardized": (plan.job.recipe or card.recipe).standardize,
        "n_components": None,
    }
    return make_record(**fields | plan.notes | extra)
