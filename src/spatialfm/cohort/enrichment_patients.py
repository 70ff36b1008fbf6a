"""Patients (or samples within patients) whose neighbourhoods are compared: who they are, and the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import TableError, counted, warn
from .._logging import logger
from ..stats.patient_groups import LEAST, benjamini_hochberg, rank_biserial
from .adjusted import Adjustment, check_adjustment, compared, lacking, read_adjustment, welch
from .checks import check_samples, codes_by_appearance, listed, named, obs_column
from .one_value import leave_out, value_of_each

if TYPE_CHECKING:
    from anndata import AnnData

    from ..stats.composition_groups import ComparedRows


def read_units(
    adata: AnnData, library_key: str, patient_key: str, group_key: str, on_missing: str, paired: bool = False
) -> tuple[pd.DataFrame, np.ndarray]:
    """Patient and group of each sample, by its name; and the cells (a mask) of patients that have a group.

    ``unit`` is what is compared: the patient, or where groups are within patients each patient in a group.
    """
    if on_missing not in ("raise", "drop"):
        raise TableError(f'on_missing={on_missing!r} is not known. Pass "raise" or "drop".')
    keys = {"sample": (library_key, "library_key"), "patient": (patient_key, "patient_key")}
    columns = pd.DataFrame(
        {name: obs_column(adata, key, argument).astype(str).to_numpy() for name, (key, argument) in keys.items()}
    )
    group = named(obs_column(adata, group_key, "group_key", allow_missing=True), "group_key")
    known = group.notna().to_numpy()
    columns["group"] = group.astype(object).where(known, None).to_numpy()
    check_samples(adata.obs[library_key], adata.obs[patient_key], TableError)
    of_unit = "sample" if paired else "patient"
    codes, names = codes_by_appearance(columns[of_unit])
    remedy = "Patients are compared, so each must be in one group"
    remedy += "." if paired else f'; where groups are within patients, pass pair_key="{patient_key}".'
    value_of_each(
        columns["group"].rename(group_key), codes, names, unit=of_unit, argument="group_key", remedy=remedy,
        error=TableError,
    )  # fmt: skip
    without = columns["patient"].isin(columns.loc[~known, "patient"])
    patients = columns["patient"].drop_duplicates()
    leave_out(without[patients.index].to_numpy(), patients.to_numpy(), f"obs[{group_key!r}] (group_key=)", on_missing)
    groups = list(group.cat.categories)
    if len(groups) < 2:
        raise TableError(f"obs[{group_key!r}] (group_key=) holds one group, {listed(groups)}; two are the least.")
    units = columns[known].drop_duplicates().set_index("sample")
    units["group"] = pd.Categorical(units["group"], groups)
    alone = int((units.groupby("patient")["group"].nunique() < 2).sum()) if paired else 0
    if alone:
        warn(f"{counted(alone, 'patient has', 'patients have')} one of the groups and cannot be paired: left out.")
    of_both = units["patient"] + "\n" + units["group"].astype(str)
    units["unit"] = of_both if paired else units["patient"]
    return units, known


def read_beside(
    adata: AnnData,
    units: pd.DataFrame,
    rows: np.ndarray,
    keys: tuple[str | Sequence[str] | None, str | None, str],
    library_key: str,
    on_missing: str,
    paired: bool,
) -> tuple[Adjustment, np.ndarray]:
    """Terms besides the group, by unit; and the cells (a mask) of patients that have it."""
    covariates, block_key, group_key = keys
    first = units.drop_duplicates("unit").set_index("unit")
    if not (covariates or block_key):
        nothing = pd.DataFrame(index=first.index)
        return Adjustment(nothing, None, first["patient"] if paired else None), rows
    cells = adata if rows.all() else adata[rows]
    samples = obs_column(cells, library_key, "library_key").astype(str).to_numpy()
    patients = units["patient"].loc[samples].to_numpy()
    adjustment = read_adjustment(cells, patients, covariates, block_key)
    without = lacking(adjustment, block_key, on_missing)
    if without:
        logger.info("%d patients without covariates or block left out: %s", len(without), listed(without))
        first = first[~first.index.isin(without)]
        rows = rows.copy()
        rows[rows] = ~np.isin(patients, without)
    adjustment = adjustment.of(list(first.index))
    for pair in combinations(first["group"].cat.categories, 2):
        of_pair = first["group"].isin(pair).to_numpy()
        codes = (first["group"] == pair[1]).to_numpy()[of_pair].astype(int)
        check_adjustment(adjustment.of(list(first.index[of_pair])), codes, group_key, block_key)
    return adjustment, rows


def compare_patients(
    patients: pd.DataFrame, pairs: list[tuple[str, str]], adjustment: Adjustment, alpha: float
) -> pd.DataFrame:
    """One row per pair of types and pair of groups."""
    groups, rows = list(patients["group"].cat.categories), []
    values_of = {
        key: part.set_index("unit")["log2_ratio"].sort_index()  # shuffles do not depend on the order of the table
        for key, part in patients.groupby(["cell_type", "neighbour", "group"], observed=True)
    }
    empty = pd.Series(dtype=float)
    designs: dict[tuple[str, str], ComparedRows] = {}
    for (cell_type, neighbour), (group_1, group_2) in product(pairs, combinations(groups, 2)):
        both = [values_of.get((cell_type, neighbour, group), empty) for group in (group_1, group_2)]
        one, two = (part.dropna().to_numpy() for part in both)
        row = {"cell_type": cell_type, "neighbour": neighbour, "group_1": group_1, "group_2": group_2}
        row |= {"n_1": len(one), "n_2": len(two)}
        row |= {"mean_1": one.mean() if len(one) else np.nan, "mean_2": two.mean() if len(two) else np.nan}
        if adjustment.given:
            values = pd.concat(both)
            if (group_1, group_2) not in designs:
                codes = np.repeat([0, 1], [len(part) for part in both])
                designs[group_1, group_2] = adjustment.of(list(values.index)).rows(codes)
            tested = compared(values.to_numpy(), designs[group_1, group_2])
            row |= {name: tested[name] for name in ("difference", "low", "high", "effect", "p_value")}
        else:
            row["difference"] = row["mean_2"] - row["mean_1"]
            row |= dict.fromkeys(("low", "high", "effect", "p_value"), np.nan)
            if min(len(one), len(two)) >= LEAST:
                row["effect"], row["p_value"] = rank_biserial(one, two)
                _, row["low"], row["high"] = welch(one, two)
        rows.append(row)
    table = pd.DataFrame(rows)
    table["q_value"] = benjamini_hochberg(table["p_value"])
    table["significant"] = (table["q_value"] < alpha).to_numpy()
    return table
