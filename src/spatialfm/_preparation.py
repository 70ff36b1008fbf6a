"""How the columns of a representation are brought to one scale before distances are taken.

Distances, neighbours and k-means see the column of the largest numbers and little else. What the columns need is known
from how they were made: measured features, such as the mean intensity of markers, are in different units and are
standardised; the output of a model is used as its card states; fractions and principal components mean what they are.
Classifiers need none of this: they standardise, on all cells that they may see. Columns are scaled without labels, so
that the cells without one count too: means and standard deviations of five labelled cells per class are mostly noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._keys import UNS

if TYPE_CHECKING:
    from anndata import AnnData

STANDARDIZED = "columns standardized"
WHEN_EMBEDDED = "as embedded, columns standardized"
COMPONENTS = "principal components as they are"
FRACTIONS = "fractions as they are"
AS_IT_IS = "as it is"
BY_TRAINING = "columns standardized on the training part"  # by the classifiers themselves
BY_ALL = "columns standardized on all rows, labelled or not"
BY_SAMPLE = ", then within each sample"
ARCSINH = "means by arcsinh with a cofactor by marker, then "  # and one of these
BY_TRAINING_CELLS = "columns standardized on all cells of the training part, labelled or not"
TRANSDUCTIVE = "columns standardized on all cells, those of the test part too (transductive)"


def preparation(adata: AnnData, use_rep: str) -> str:
    """What is done to the columns of ``obsm[use_rep]``, or of ``X``."""
    if use_rep == "X":
        return FRACTIONS if "composition" in adata.uns else STANDARDIZED
    notes = adata.uns.get(UNS, {}).get(use_rep)
    if not isinstance(notes, dict) and not hasattr(notes, "get"):
        return AS_IT_IS
    if notes.get("n_components"):
        return COMPONENTS
    if notes.get("standardized"):
        return WHEN_EMBEDDED
    return STANDARDIZED if notes.get("feature_names") not in (None, "", "[]", "null") else AS_IT_IS


def column_scale(values: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation to standardise with; 0 and 1 where columns stay as they are, or do not vary."""
    width = values.shape[1]
    if how != STANDARDIZED:
        return np.zeros(width, values.dtype), np.ones(width, values.dtype)
    mean, sd = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    sd[sd <= 1e-7 * np.abs(mean)] = 1.0  # what rounding leaves of a constant
    sd[sd == 0] = 1.0
    return mean.astype(values.dtype), sd.astype(values.dtype)


def prepare(values: np.ndarray, how: str) -> np.ndarray:
    """Columns on one scale, or as they are."""
    if how != STANDARDIZED:
        return values
    mean, sd = column_scale(values.astype(np.float64), how)
    return ((values - mean) / sd).astype(values.dtype)
