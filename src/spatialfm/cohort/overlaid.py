"""Samples that lie over each other: cells of several patients in one frame of coordinates, as if of one tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from .._errors import TableError, counted
from .._keys import PATIENT_KEY
from .checks import listed
from .patient_names import check_spelling

if TYPE_CHECKING:
    from anndata import AnnData

MIXED = 0.05  # of the cells of a sample; patients side by side on one slide meet at edges alone


def check_overlaid(adata: AnnData, xy: np.ndarray, codes: np.ndarray, library_key: str | None) -> None:
    """Refuse a sample in which the nearest cell is often another patient's, where neighbours are to be sought.

    Samples that are numbered within each patient have one name and places from 0 each: their cells would be neighbours
    across patients. Several patients side by side on one slide pass.

    Raises
    ------
    TableError
        Names a sample and its patients.
    """
    if PATIENT_KEY not in adata.obs:
        return
    patients = adata.obs[PATIENT_KEY]
    pairs = pd.DataFrame({"sample": codes, "patient": patients.astype(object).to_numpy()}).dropna().drop_duplicates()
    if pairs["sample"].duplicated().any():
        check_spelling(patients, "patient_key")
    for code in pairs["sample"][pairs["sample"].duplicated()].unique():
        rows = np.flatnonzero((codes == code) & patients.notna().to_numpy())
        nearest = cKDTree(xy[rows, :2]).query(xy[rows, :2], k=2)[1]
        who = pd.factorize(patients.iloc[rows])[0]
        mixed = (who[nearest] != who[:, None]).any(axis=1)  # the nearest two are not always itself first
        if mixed.mean() <= MIXED:
            continue
        names = pairs.loc[pairs["sample"] == code, "patient"]
        if library_key is None:
            where, remedy = "All cells", f'Pass library_key="{PATIENT_KEY}", or the column of the samples.'
        else:
            where = f"Cells of obs[{library_key!r}] = {str(adata.obs[library_key].iloc[rows[0]])!r}"
            remedy = (
                'Where samples are numbered within each patient, name them apart: adata.obs["sample_id"] = '
                f'adata.obs["{PATIENT_KEY}"].astype(str) + "_" + adata.obs["{library_key}"].astype(str), and pass '
                'library_key="sample_id".'
            )
        raise TableError(
            f"{where} are of {counted(len(names), 'patient')} ({listed(names, 3)}), and lie over each other: the "
            f"nearest cell of {mixed.mean():.0%} is another patient's, and would count as a neighbour. {remedy}"
        )
