"""What a call of `pretrain_context` asks for, settled before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import ArgumentError, ModelError, RunError, counted
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._public import meant, taken
from .._signatures import rules_of
from ..learn.context_cells import ContextCells, patients_of_slices
from ..learn.context_slices import Slicing, spacing
from ..models.adapter import as_json
from ..models.context import ContextEncoder, load_context, new_context
from ..models.encoder import digest_of
from .context_pieces import ContextPieces, ContextSpread, DrawnPieces, columns_of, cut_slices
from .drawn import Validation
from .objectives.context import Context
from .run_folder import Identity
from .split import held_out_patients

if TYPE_CHECKING:
    from anndata import AnnData
    from lightning_fabric import Fabric

    from .monitor import Check

OURS = ("context", "n_neighbors", "random_state")  # of the objective, which are not options of a user


@dataclass(frozen=True)
class AskedContext:
    """Arguments of `spatialfm.train.pretrain_context` that decide the numbers of a run."""

    use_rep: str
    model: str
    weights: str | PathLike | None
    shape: Mapping[str, Any]
    options: Mapping[str, Any]
    steps: int
    batch_size: int
    validation: float | Sequence[str] | None
    patient_key: str
    precision: str
    random_state: int

    def start(self) -> ContextEncoder | None:
        """The weights to start from; None: new ones.

        Raises
        ------
        ArgumentError, ModelError, WeightsError
            If a shape is given with weights, which have one, or options are not the objective's.
        """
        rules = rules_of(Context.__init__)
        known = [name for name in rules if name not in OURS]
        if unknown := [name for name in self.options if name not in known]:
            raise ArgumentError(f"options= has {unknown[0]!r}. {meant(unknown[0], known)}")
        taken("options", self.options, rules)
        if self.weights is None:
            return None
        if self.shape:
            raise ArgumentError("shape= is for new weights; those of weights= have one. Leave one of them out.")
        return load_context(self.model, self.weights)

    def held_out(self, adata: AnnData, cells: ContextCells) -> tuple[list[str | None], set[str]]:
        """Patient of each slice, and patients that are not trained on.

        Raises
        ------
        ClinicalError
            If patients cannot be held out.
        """
        if self.validation is None:
            return [None] * len(cells.names), set()
        patients = patients_of_slices(adata, cells, self.patient_key)
        table = pd.DataFrame({"source": "adata", SAMPLE_KEY: cells.names, PATIENT_KEY: patients})
        return list(patients), held_out_patients(table, self.patient_key, self.validation, self.random_state)

    def data(
        self,
        cells: ContextCells,
        patients: Sequence[str | None],
        held_out: set[str],
        start: ContextEncoder | None,
        how: Slicing,
    ) -> tuple[ContextEncoder, ContextPieces, ContextPieces | None]:
        """The model at the start, pieces to train on, and those of patients that are held out.

        Raises
        ------
        ModelError
            If the weights to start from are for other embeddings, or the new network has no such shape.
        RunError
            If there are fewer pieces than a batch has.
        """
        training = [place for place, patient in enumerate(patients) if patient not in held_out]
        others = [place for place, patient in enumerate(patients) if patient in held_out]
        width = cells.values.shape[1]
        if width < 2:
            raise ModelError(f"{self.use_rep!r} (use_rep=) has one column, and a cosine needs two. Pass another one.")
        if self.shape.get("in_dim", width) != width:
            raise ArgumentError(
                f"shape= has 'in_dim' {self.shape['in_dim']}, and {self.use_rep!r} has {width} columns. Leave it out."
            )
        if start is None:  # held-out patients have no part in the scale of the columns
            columns = columns_of(cells.values[np.isin(cells.codes, training)])
            prepared = columns.scale(cells.values)
        else:
            start.check_width(width, self.use_rep)
            start.check_made(cells.made, self.use_rep)
            prepared = start.prepare(cells.values, self.use_rep)
        pieces = [self._pieces(cells, patients, chosen, prepared, how) for chosen in (training, others)]
        self._check_batch(pieces[0])
        if start is None:
            shape = {"in_dim": width, **self.shape}
            start = new_context(self.model, shape, self.random_state, pieces[0].reach())
            start.columns = columns
        start.spacing = None if how.unit is None else spacing([tissue.xy for tissue in pieces[0].tissues])
        start.slicing, start.use_rep, start.made = dict(vars(how)), self.use_rep, dict(cells.made)
        return start, pieces[0], pieces[1] if others else None

    def identity(self, learner: Context, how: Slicing, pieces: ContextPieces) -> Identity:
        """All that decides the numbers of the run."""
        named = self.validation if isinstance(self.validation, float | int | None) else list(self.validation)
        parameters = {
            **{name: getattr(self, name) for name in ("use_rep", "model", "steps", "batch_size", "precision")},
            **{"shape": dict(self.shape), "options": dict(self.options), "slicing": dict(vars(how))},
            **{"hidden_by": learner.value},
            **{"validation": named, "random_state": self.random_state, "weights": digest_of(learner.state_dict())},
        }
        return Identity(as_json(parameters), pieces.parts())

    def checks(
        self, fabric: Fabric, learner: Context, pieces: ContextPieces, held_out: ContextPieces | None
    ) -> list[Check]:
        """What is looked at every so often: collapse, and the objectives on patients that are held out."""
        looks: list[Check] = [ContextSpread(learner.context, pieces, fabric.device)]
        if held_out is not None and len(held_out):
            drawn = DrawnPieces(held_out, self.random_state, self.batch_size)
            looks.append(Validation(fabric, learner, drawn))
        return looks

    def card(self, record: Mapping[str, Any], pieces: ContextPieces, license: str | None) -> dict[str, Any]:
        """What is said of the run beside its weights, in types of JSON."""
        patients = pieces.table[PATIENT_KEY].dropna().nunique()
        of_patients = f" of {counted(patients, 'patient')}" if patients else ""
        return {
            "trained_on": f"{counted(len(pieces.tissues), 'slice')}{of_patients}",
            **({} if license is None else {"license": license}),
            "training": {
                "samples": sorted(pieces.table[SAMPLE_KEY].unique()),
                "pieces": len(pieces),
                "cells": int(pieces.table["cells"].sum()),
                "cells_left_out": pieces.n_left_out,
                "parameters": dict(record["parameters"]),
                "versions": dict(record["versions"]),
            },
        }

    def _pieces(
        self,
        cells: ContextCells,
        patients: Sequence[str | None],
        chosen: Sequence[int],
        prepared: np.ndarray,
        how: Slicing,
    ) -> ContextPieces:
        tissues = cut_slices(cells, chosen, prepared, how, self.random_state)
        names, of_patients = [cells.names[place] for place in chosen], [patients[place] for place in chosen]
        return ContextPieces(tissues, names, of_patients, how.n_neighbors)

    def _check_batch(self, pieces: ContextPieces) -> None:
        if self.batch_size > len(pieces):
            raise RunError(
                f"batch_size={self.batch_size}, and there {'is' if len(pieces) == 1 else 'are'} "
                f"{counted(len(pieces), 'piece')} of slices to train on. Pass a smaller batch_size=, fewer cells of a "
                "piece with slicing={'n_cells': 200}, or more slices."
            )
