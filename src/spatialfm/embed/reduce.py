"""Principal components of an embedding: fitted on the cells of a run, or taken from an earlier one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._errors import ModelError

Basis = dict[str, np.ndarray]  # mean (columns,), components (n, columns), explained (n,): share of the variance


def fit_basis(rows: np.ndarray, n_components: int) -> Basis:
    """Leading principal components of rows ``(n, columns)``; the sign is such that the largest entry is positive.

    Raises
    ------
    ModelError
        If there are fewer cells or columns than components.
    """
    from sklearn.decomposition import PCA

    if not 1 <= n_components <= min(rows.shape):
        raise ModelError(
            f"n_components={n_components} of an embedding of {rows.shape[0]} cells x {rows.shape[1]} columns. "
            f"Pass a number from 1 to {min(rows.shape)}."
        )
    pca = PCA(n_components, random_state=0).fit(rows)
    signs = np.sign(pca.components_[np.arange(n_components), np.abs(pca.components_).argmax(axis=1)])
    return {
        "mean": pca.mean_.astype(np.float32),
        "components": (pca.components_ * signs[:, None]).astype(np.float32),
        "explained": pca.explained_variance_ratio_.astype(np.float32),
    }


def project(rows: np.ndarray, basis: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows on a basis, ``(n, n_components)``, float32.

    Raises
    ------
    ModelError
        If the basis was made for another number of columns.
    """
    mean, components = np.asarray(basis["mean"]), np.asarray(basis["components"])
    if components.shape[1] != rows.shape[1]:
        raise ModelError(
            f"basis= was made for {components.shape[1]} columns, and this embedding has {rows.shape[1]}. Use the "
            "model, markers= and output= that it was made with."
        )
    return ((rows - mean) @ components.T).astype(np.float32)
