"""What fine-tuning is asked for, and the run: check, plan, train, write."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .._errors import ArgumentError, ModelError, TableError
from .._identity import fingerprint
from .._keys import TABLE
from .._public import taken
from .._ranges import above, at_least
from .._settings import settings
from .._signatures import rules_of
from ..embed.planned import EmbeddingPlan, plan_embedding_of
from ..embed.session import load_encoder, run_plan
from ..models.adapter import CARD, as_json, base_digest, beyond, merge, read_adapter, write_adapter
from ..models.bcos_blocks import convert
from ..models.encoder import Encoder
from ..models.family import shape_of
from ..models.registry import card as card_of
from ..models.registry import load
from ..models.terms import check_terms
from ..models.trained import save_tuned
from ..models.virtues import VirTuesEncoder
from . import lora
from .augment import Augment, augment_of
from .cell_objective import CellObjective, Rates
from .cells import CellWindows
from .checkpoint import writing
from .fabric import check_alone
from .run_folder import Identity, RunFolder
from .sampling import draw
from .steps import default_workers
from .stopped import tidied, train_stopped
from .trainer import TrainingPlan as Length
from .tuned_cells import Sought, TunedCells, cells_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ..embed.call import Elements, Panel
    from ..models.recipe import Recipe

Method = Literal["lora", "linear", "full", "bcos"]
Level = Literal["cells", "tissue"]
RATES = {"lora": 5e-4, "linear": 5e-3, "full": 5e-5, "bcos": 5e-4}
HEAD_RATE = 5e-3
STANDARDISED_ON = 256  # cells


@dataclass(frozen=True)
class FineTuning:
    """How a model is adapted to labels; the arguments are those of `spatialfm.train.finetune`.

    `spatialfm.tl.evaluate_annotation` takes it as a representation: it is then trained anew on the training cells of
    each fold, in ``settings.cache_dir``, and never sees a label of the others.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=2, image_size=96, difficulty="easy")
    >>> tuning = sfm.train.FineTuning(sdata, "kronos", weights="random", accept_terms=True, steps=200)
    >>> tuning.method, tuning.rank
    ('lora', 8)
    """

    sdata: SpatialData
    model: str | Encoder = "kronos"
    weights: str | PathLike | None = None
    method: Method = "lora"
    rank: Annotated[int, at_least(1)] = lora.RANK
    alpha: Annotated[float, above(0)] = lora.ALPHA
    blocks: Annotated[int, at_least(1)] = lora.BLOCKS
    head: Literal["linear", "bcos"] = "linear"
    level: Level = "cells"
    steps: Annotated[int, at_least(1)] = 500
    batch_size: Annotated[int, at_least(2)] = 32
    learning_rate: Annotated[float, above(0)] | None = None
    weight_decay: Annotated[float, at_least(0)] = 0.01
    validation: float | Sequence[str] = 0.2
    check_every: Annotated[int, at_least(1)] = 25
    patience: int = 5
    markers: Sequence[str] | None = None
    samples: Sequence[str] | None = None
    outputs: str | None = None
    panel: Panel | Mapping[str, Any] | None = None
    recipe: Recipe | Mapping[str, Any] | None = None
    elements: Elements | Mapping[str, Any] | None = None
    table_name: str = TABLE
    accept_terms: bool = False
    workers: Annotated[int, at_least(0)] | None = None
    augment: bool | Augment | Mapping[str, Any] = True
    random_state: int = 0

    def __post_init__(self) -> None:
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in taken("FineTuning", given, rules_of(type(self))).items():
            object.__setattr__(self, name, value)  # frozen

    def fit(self, cells: AnnData, label_key: str, patient_key: str) -> Callable[[AnnData], np.ndarray]:
        """Train on labelled cells; what is given embeds any cells of the same images.

        Parameters
        ----------
        cells
            Rows of ``sdata[table_name]``, by name, with labels and patients in ``obs``.
        label_key, patient_key
            Columns of ``obs``.
        """
        sought = Sought(label_key, None, patient_key)
        if self.level == "tissue":
            raise ArgumentError(
                "FineTuning(level='tissue') gives cells no embedding of their own: it says where a model looks for a "
                "label of the tissue. Pass level='cells'."
            )
        start = self.start()
        among = {"cells": list(map(str, cells.obs_names)), "labels": cells.obs[label_key].astype(str).tolist()}

        def folder(identity: Identity) -> Path:  # of all that decides numbers: another recipe is trained apart
            known = {"of": identity.parameters, "data": identity.data, **among}
            return settings.cache_dir / "fine-tuned" / fingerprint(known)[:24]

        tuned = fine_tuned(self, sought, cells, folder, start=start).encoder
        values, names = self._embedded(tuned)

        def embed(others: AnnData) -> np.ndarray:
            place = names.get_indexer(others.obs_names)
            if (place < 0).any():
                lost = others.obs_names[place < 0][0]
                raise TableError(f"Cell {lost!r} has no embedding: it is not in the images of the fine-tuning.")
            return values[place]

        return embed

    def start(self) -> Encoder:
        """The encoder that training starts from, on the CPU; terms are asked about before its weights are read."""
        named = isinstance(self.model, str)
        check_terms(card_of(self.model) if isinstance(self.model, str) else self.model.card, self.accept_terms)
        encoder = load_encoder(self.model, self.weights)
        check_terms(encoder.card, self.accept_terms)
        encoder = encoder if named else copy.deepcopy(encoder)
        if encoder.weights.adapter_sha256:
            raise ModelError(
                f"{encoder.card.name} holds adapter {encoder.weights.adapter!r} already, and an adapter belongs to the "
                "weights without it. Load it without one."
            )
        return encoder.cpu().eval().requires_grad_(False)

    def check(self) -> None:
        """Refuse what cannot be saved or read together.

        Raises
        ------
        ArgumentError
            If all weights are trained for a label of the tissue, or a B-cos block for one.
        """
        if self.level == "tissue" and self.method in ("full", "bcos"):
            raise ArgumentError(
                f"level='tissue' with method={self.method!r}: channel-summary tokens are kept as an adapter of the "
                "model's own blocks. Pass method='lora', or 'linear'."
            )
        if self.level == "tissue" and self.outputs is not None:
            raise ArgumentError("level='tissue' reads channel-summary tokens, and no output. Leave outputs= out.")

    def plan(self, encoder: Encoder, devices: str | None = "cpu") -> EmbeddingPlan:
        """What embedding the cells would do.

        Parameters
        ----------
        encoder
            The one that is adapted.
        devices
            Where cells would be embedded; None: where `settings.device` says.
        """
        return plan_embedding_of(
            self.sdata,
            encoder,
            weights=None,
            samples=self.samples,
            table_name=self.table_name,
            on_missing="drop",
            key_added=None,
            markers=self.markers,
            outputs=self.outputs,
            panel=self.panel,
            recipe=self.recipe,
            reduce=None,
            run=None if devices is None else {"devices": devices},
            elements=self.elements,
        )

    def parameters(self, encoder: Encoder) -> dict[str, Any]:
        """All that is asked for and decides numbers, in types of JSON.

        Parameters
        ----------
        encoder
            The one that is adapted; its name, options and weights count.
        """
        apart = ("sdata", "model", "weights", "workers", "accept_terms", "panel", "recipe", "elements", "augment")
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in apart}
        unused = {"lora": (), "bcos": ("rank", "alpha")}.get(self.method, ("rank", "alpha", "blocks"))
        said = {name: value for name, value in said.items() if name not in unused}
        if self.level == "cells":  # runs of earlier versions, which had no other, go on
            del said["level"]
        whole = {"model": encoder.card.name, "options": encoder.options, "weights": base_digest(encoder), **said}
        return as_json(whole)

    def length(self) -> Length:
        """How long it is trained."""
        return Length(
            n_steps=self.steps,
            batch_size=self.batch_size,
            seed=self.random_state,
            workers=default_workers() if self.workers is None else self.workers,
            checkpoint_every=self.check_every,
            check_every=self.check_every,
        )

    def augmentation(self) -> Augment:
        """How windows are changed at random."""
        return augment_of(self.augment)

    def rates(self) -> Rates:
        """Learning rates."""
        rate = self.learning_rate or RATES[self.method]
        return Rates(rate, rate if self.method == "linear" else HEAD_RATE, self.weight_decay)

    def _embedded(self, encoder: Encoder) -> tuple[np.ndarray, Any]:
        plan = self.plan(encoder, devices=None)
        results, _ = run_plan(plan.run, plan.request, plan.devices, plan.n_components)
        values = np.asarray(next(iter(results.values())).values, np.float32)
        return values, plan.table.obs_names[plan.cells.rows]


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning gives."""

    encoder: Encoder
    card: Mapping[str, Any]


def fine_tuned(
    tuning: FineTuning,
    sought: Sought,
    adata: AnnData | None,
    out: Path | Callable[[Identity], Path],
    *,
    resume: bool = True,
    start: Encoder | None = None,
) -> Tuned:
    """Train, from where an earlier call was ended, and write; or what an earlier call has written.

    `out` is the folder, or says which for all that decides the numbers of the run.

    Raises
    ------
    SpatialfmError
        As `spatialfm.train.finetune`.
    """
    sought.check()
    check_alone("Fine-tuning")
    tuning.check()
    start = tuning.start() if start is None else start
    encoder = _prepared(tuning, copy.deepcopy(start))
    # what is trained of the model does not belong to the data; for a label of the tissue it decides the outputs
    plan = tuning.plan(encoder if tuning.level == "tissue" else start)
    if len(plan.run.job.outputs) > 1:
        raise ModelError("outputs= names several outputs, and one embedding is trained. Pass one of them.")
    how = (tuning.validation, tuning.batch_size, tuning.random_state, tuning.augmentation())
    cells = cells_of(plan, sought, adata, *how, tissue=tuning.level == "tissue")
    _check_reached(encoder, cells.training)
    learner = _learner(tuning, encoder, cells)
    parts = {**cells.training.parts(), "targets": fingerprint({"targets": cells.targets.values})}
    said = tuning.parameters(start) | {"label_key": sought.label_key, "targets": sought.targets}
    identity = Identity(as_json(said), parts)
    folder = RunFolder(out(identity) if callable(out) else out)
    with folder.held():
        folder.begin(identity, resume=resume)
        if not (folder.path / CARD).is_file():
            best = train_stopped(learner, cells.training, cells.held_out, folder, tuning.length(), tuning.patience)
            with writing(folder.path):
                _write(tuning, learner, cells, start, plan, folder.path, best)
            tidied(folder)
    written = json.loads((folder.path / CARD).read_text(encoding="utf-8"))
    if tuning.method == "full":
        return Tuned(load(start.card.name, weights=folder.path), written)
    merge(start, read_adapter(folder.path))
    return Tuned(start.eval().requires_grad_(False), written)


def _prepared(tuning: FineTuning, encoder: Encoder) -> Encoder:
    """The encoder with what is trained of it."""
    if not any(True for _ in encoder.parameters()):
        raise ModelError(
            f"{encoder.card.name} has no weights that could learn. Pass a network, such as model='kronos'."
        )
    if tuning.method == "lora":
        lora.attach(encoder, rank=tuning.rank, alpha=tuning.alpha, blocks=tuning.blocks, seed=tuning.random_state)
    elif tuning.method == "full":
        encoder.requires_grad_(True)
    elif tuning.method == "bcos":
        for part in convert(encoder, tuning.blocks):
            part.requires_grad_(True)
    if tuning.level == "tissue":
        if not isinstance(encoder, VirTuesEncoder):
            raise ModelError(
                f"{encoder.card.name} has no channel-summary tokens, which level='tissue' learns: it is for VirTues. "
                "Pass model='virtues', or level='cells'."
            )
        encoder.add_channel_summaries(tuning.random_state).requires_grad_(True)
    return encoder


def _check_reached(encoder: Encoder, windows: CellWindows) -> None:
    """Refuse an encoder whose embeddings do not depend on what would be trained, by one window."""
    trained = [one for one in encoder.parameters() if one.requires_grad]
    if not trained:
        return
    embedding = windows.encoding()(encoder, [windows.sample(0, np.random.default_rng(0), augment=False)])
    if embedding.requires_grad:
        embedding.square().sum().backward()
    reached = any(one.grad is not None and bool(one.grad.abs().max() > 0) for one in trained)
    encoder.zero_grad(set_to_none=True)
    if not reached:
        raise ModelError(
            f"No gradient reaches what would be trained of {encoder.card.name}: its code stops them, or its last "
            'blocks take no part in this output. Pass other outputs=, or method="linear".'
        )


def _learner(tuning: FineTuning, encoder: Encoder, cells: TunedCells) -> CellObjective:
    windows = cells.training
    chosen = np.unique(draw(windows, tuning.random_state, 0, min(STANDARDISED_ON, len(windows))))
    values = embeddings(encoder, windows, chosen, tuning.batch_size)
    center, spread = values.mean(0), values.std(0, correction=0)
    if tuning.method == "bcos" and tuning.head == "bcos":  # a centre would have a share that changes with the window
        center, spread = torch.zeros_like(center), values.square().mean(0).sqrt()
    return CellObjective(encoder, windows.encoding(), cells.targets, center, spread, tuning.rates(), tuning.head)


def embeddings(encoder: Encoder, windows: CellWindows, numbers: np.ndarray, batch_size: int) -> Tensor:
    """Embeddings ``(n, columns)`` of some windows, without gradients."""
    encoding, rng = windows.encoding(), np.random.default_rng(0)
    parts = []
    with torch.no_grad():
        for first in range(0, len(numbers), batch_size):
            some = [windows.sample(int(one), rng, augment=False) for one in numbers[first : first + batch_size]]
            parts.append(encoding(encoder, some))
    return torch.cat(parts)


def _write(
    tuning: FineTuning,
    learner: CellObjective,
    cells: TunedCells,
    start: Encoder,
    plan: EmbeddingPlan,
    out: Path,
    best: tuple[float, int],
) -> None:
    """Adapter or encoder, with its card."""
    card = card_of_tuning(tuning, cells, start, plan) | {"validation_loss": best[0], "best_step": best[1]}
    if tuning.method == "full":
        encoder = learner.encoder.eval().requires_grad_(False)
        said = {"fine-tuning": card, "trained_on": cells.described(start)}
        save_tuned(encoder, out, said, plan.request.recipe)
        return
    head = {f"head.{name}": one for name, one in learner.head.state_dict().items()}
    head |= {"head.center": learner.center, "head.scale": learner.scale}
    write_adapter(out, lora.adapter_tensors(learner.encoder) | beyond(learner.encoder) | head, card)


def card_of_tuning(tuning: FineTuning, cells: TunedCells, start: Encoder, plan: EmbeddingPlan) -> dict[str, Any]:
    """What is said of an adapter, in types of JSON."""
    is_lora = tuning.method == "lora"
    card = {
        "model": start.card.name,
        "base": {
            "weights": start.weights.source,
            "weights_sha256": start.weights.sha256,
            "parameters_sha256": base_digest(start),
            "shape": shape_of(start),
        },
        "options": dict(start.options),
        "license": start.card.license,
        "commercial": start.card.commercial,
        "terms_accepted": tuning.accept_terms,
        "reference": start.card.reference,
        "rank": tuning.rank if is_lora else 1,
        "alpha": tuning.alpha if is_lora else 1.0,
        "recipe": plan.request.recipe.storable(),
        "level": tuning.level,
        "bcos_blocks": tuning.blocks if tuning.method == "bcos" else 0,
        "output": plan.run.job.outputs[0],
        "markers": list(plan.run.panel.markers),
        "cells": cells.record(),
        "parameters": tuning.parameters(start),
    }
    return as_json(card)
