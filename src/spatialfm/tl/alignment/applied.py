"""Heads that were trained on one table, applied to the rows of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import ArgumentError, TableError, counted, listed, warn
from ..._logging import logger
from ...cohort.checks import obs_column
from ...cohort.comparability import different_making, how_made, same_rows, tell_another_scale
from ...cohort.representation import representation

if TYPE_CHECKING:
    from anndata import AnnData

    from ...learn.alignment import Aligned, AlignmentRecipe

HEADS = "heads"  # in the record of an alignment
UNSEEN = 2  # the part of patients that neither trained nor stopped


@dataclass(frozen=True)
class KnownHeads:
    """What the record of an aligned table says of its heads.

    Attributes
    ----------
    params, heads
        Parameters, and arrays by name.
    reps
        Name of the representation of each side.
    made
        How each was made, as far as that was known then.
    """

    params: Mapping[str, Any]
    heads: Mapping[str, np.ndarray]
    reps: dict[str, str]
    made: dict[str, dict[str, str]]

    def recipe(self) -> AlignmentRecipe:
        """How the heads were made."""
        from ...learn.alignment import AlignmentRecipe

        options = {}
        for one in fields(AlignmentRecipe):
            value = self.params[one.name]
            options[one.name] = value.item() if isinstance(value, np.generic) else value
        return AlignmentRecipe(**options)


def known_alignment(source: AnnData, key: str) -> KnownHeads:
    """The record of an aligned table.

    Raises
    ------
    TableError
        If there is none, or it holds no heads.
    """
    record = source.uns.get(key)
    if not isinstance(record, Mapping) or "params" not in record or "rep_a" not in record["params"]:
        raise TableError(
            f"source= has no alignment in uns[{key!r}] (key_added=); found {listed(source.uns)}. Make it with "
            "sfm.tl.align(source, rep_a, rep_b)."
        )
    if HEADS not in record:
        raise TableError(
            f"uns[{key!r}] of source= holds no heads: they were trained by an earlier version, or are another table's. "
            "Pass the table that they were trained on, aligned anew if need be."
        )
    params = record["params"]
    reps = {side: str(params[f"rep_{side}"]) for side in "ab"}
    return KnownHeads(params, record[HEADS], reps, {side: json.loads(params[f"made_{side}"]) for side in "ab"})


def check_asked(known: KnownHeads, asked: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Refuse arguments that ask for other heads than there are.

    Parameters
    ----------
    known
        The heads.
    asked, usual
        Arguments as they were passed, and their defaults.

    Raises
    ------
    ArgumentError
        Names the argument.
    """
    for name, value in asked.items():
        if value != usual[name] and value != known.params.get(name):
            raise ArgumentError(
                f"{name}={value!r} is about training, and nothing is trained with source=, whose heads were made with "
                f"{known.params.get(name, usual[name])!r}. Leave it out."
            )


def columns_of(known: KnownHeads, side: str, table: AnnData, rep: str) -> np.ndarray | None:
    """Values ``(n, columns)`` of one side, in the order that the heads know; None: the table does not hold it.

    Raises
    ------
    TableError
        If it is another representation, was made otherwise, or has other columns.

    Warns
    -----
    SpatialfmWarning
        If its columns are in another unit.
    """
    wanted, width = known.reps[side], len(known.heads[f"{side} mean"])
    if rep != wanted:
        raise TableError(
            f"rep_{side}={rep!r}, and the heads of source= were trained on {wanted!r}. Pass rep_{side}={wanted!r}, "
            "which these rows must have under that name."
        )
    if rep != "X" and rep not in table.obsm:
        return None
    values, made, earlier = representation(table, rep, f"rep_{side}"), how_made(table, rep), known.made[side]
    if rep == "X":
        names, theirs = [str(name) for name in table.var_names], json.loads(earlier["columns"])
        if lost := [name for name in theirs if name not in names]:
            raise TableError(
                f"X (rep_{side}=) has no {listed(lost, 5)}, which the heads of source= read. Measure them, or align on "
                "the markers of both tables."
            )
        values = values[:, [names.index(name) for name in theirs]]
        tell_another_scale(values, known.heads[f"{side} mean"], known.heads[f"{side} sd"], f"X (rep_{side}=)")
        return values
    if words := different_making(earlier, made, rep, "source=", "adata"):
        raise TableError(words)
    if values.shape[1] != width:
        raise TableError(
            f"{rep!r} (rep_{side}=) has {counted(values.shape[1], 'column')}, and the heads of source= read {width}. "
            "Embed both tables in the same way."
        )
    tell_another_scale(values, known.heads[f"{side} mean"], known.heads[f"{side} sd"], f"{rep!r} (rep_{side}=)")
    return values


def seen_before(known: KnownHeads, source: AnnData, key: str, adata: AnnData, patient_key: str) -> np.ndarray:
    """Part that each row's patient had when the heads were trained, as a code: 0 trained on, 1 stopped on, 2 unseen.

    A patient is the same one by name, or where the table holds rows of the source, under whatever name.
    """
    patients = obs_column(adata, patient_key, "patient_key", rows="rows").astype(str).to_numpy()
    part = np.full(len(patients), UNSEEN)
    column, theirs = f"{key}_split", str(known.params["patient_key"])
    if column not in source.obs or theirs not in source.obs:
        warn(
            f"source= has lost obs[{column!r}] or obs[{theirs!r}], so that patients which its heads have seen cannot "
            "be recognised. Scores are of patients that were never seen only if the two tables share none."
        )
        return part
    of_source = source.obs[[theirs, column]].astype(str)
    for number, name in ((1, "validation"), (0, "train")):
        rows = (of_source[column] == name).to_numpy()
        same = np.isin(patients, of_source.loc[rows, theirs].unique())
        if (
            rep := next((one for one in known.reps.values() if one in source.obsm and one in adata.obsm), None)
        ) is not None:
            again = same_rows(representation(source, rep)[rows], representation(adata, rep))
            same |= np.isin(patients, patients[again])
        part[same] = number
    if (seen := part != UNSEEN).any():
        n, of = len(np.unique(patients[seen])), len(np.unique(patients))
        warn(
            f"{counted(n, 'patient')} of {of} took part when source= was aligned, by name or by values: not scored. If "
            "these are others of the same names, rename them."
        )
    return part


def project(
    aligned: Aligned, values: Mapping[str, np.ndarray | None], known: KnownHeads, device: Any
) -> dict[str, np.ndarray]:
    """Projections of the sides that there are.

    Raises
    ------
    TableError
        If there is neither.
    """
    there = {side: one for side, one in values.items() if one is not None}
    if not there:
        raise TableError(
            f"Neither {known.reps['a']!r} (rep_a=) nor {known.reps['b']!r} (rep_b=) is in obsm. Embed these rows as "
            "those of source= were."
        )
    if lost := [known.reps[side] for side in values if side not in there]:
        logger.info("No %s in obsm: one side is projected, and there is nothing to score", repr(lost[0]))
    return {side: aligned.project(one, side, device) for side, one in there.items()}
