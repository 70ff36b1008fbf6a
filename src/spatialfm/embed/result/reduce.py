"""Principal components of an embedding: fitted on the cells of a run, or taken from an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..._errors import ModelError, counted
from ..._progress import progress_bar

if TYPE_CHECKING:
    from sklearn.decomposition import PCA, IncrementalPCA

    from .rows import Rows

UPDATE_ROWS = 2048  # of an incremental PCA; part of the numbers, so it depends on no setting
Basis = Mapping[str, np.ndarray]  # mean (columns,), components (n, columns), explained (n,): share of the variance


def fit_basis(rows: np.ndarray, n_components: int) -> Basis:
    """Leading principal components of rows ``(n, columns)``; the sign is such that the largest entry is positive.

    Raises
    ------
    ModelError
        If there are fewer cells or columns than components.
    """
    from sklearn.decomposition import PCA

    check_components(n_components, rows.shape)
    with np.errstate(invalid="ignore"):  # where all rows are the same, the share that is explained is 0 / 0
        return _basis(PCA(n_components, random_state=0).fit(rows))


def fit_basis_streamed(rows: Rows, n_components: int) -> Basis:
    """The same for rows that are read range by range, by incremental PCA (Ross et al. 2008).

    Each update takes `UPDATE_ROWS` rows, or five times the number of components if that is more; the last takes the
    rest.
    """
    from sklearn.decomposition import IncrementalPCA

    n, step = rows.shape[0], max(UPDATE_ROWS, 5 * n_components)
    pca = IncrementalPCA(n_components)
    starts = list(range(0, max(n - step, 0) + 1, step))
    for start, stop in progress_bar(
        list(zip(starts, [*starts[1:], n], strict=True)),
        desc="PCA",
        unit="chunk",
    ):
        with np.errstate(invalid="ignore"):
            pca.partial_fit(np.array(rows.read(start, stop)), check_input=False)  # a copy: it centres what it is given
    return _basis(pca)


def _basis(pca: PCA | IncrementalPCA) -> Basis:
    signs = np.sign(pca.components_[np.arange(len(pca.components_)), np.abs(pca.components_).argmax(axis=1)])
    return {
        "mean": pca.mean_.astype(np.float32),
        "components": (pca.components_ * signs[:, None]).astype(np.float32),
        "explained": np.nan_to_num(pca.explained_variance_ratio_).astype(np.float32),
    }


def check_components(n_components: int, shape: tuple[int, int]) -> None:
    """Refuse more components than cells or columns."""
    if not 1 <= n_components <= min(shape):
        raise ModelError(
            f"n_components={n_components} of an embedding of {counted(shape[0], 'row')} x "
            f"{counted(shape[1], 'column')}. Pass a number from 1 to {min(shape)}."
        )


def check_basis(basis: Mapping[str, np.ndarray], n_columns: int) -> None:
    """Refuse what is not a basis, one that is not finite, and one that was made for another number of columns.

    Raises
    ------
    ModelError
        If so.
    """
    if missing := [name for name in ("mean", "components") if name not in basis]:
        raise ModelError(f"basis= has no {missing[0]!r}. Pass what sfm.get.basis(...) gives.")
    parts = {name: np.asarray(basis[name]) for name in ("mean", "components")}
    for (name, values), n_axes in zip(parts.items(), (1, 2), strict=True):
        if values.dtype.kind not in "fiu" or values.ndim != n_axes or not len(values):
            raise ModelError(
                f"{name!r} of basis= is an array of {values.dtype} and shape {values.shape}; expected numbers, "
                f"{'(columns,)' if n_axes == 1 else '(n_components, columns)'}. Pass what sfm.get.basis(...) gives."
            )
        if bad := int((~np.isfinite(values.astype(np.float32))).sum()):
            raise ModelError(
                f"{name!r} of basis= is not finite in {bad:,} of {counted(values.size, 'place')}: all rows would be "
                "NaN. Take the basis of the first run again with sfm.get.basis(...), or leave basis= out."
            )
        if values.shape[-1] != n_columns:
            raise ModelError(
                f"basis= was made for {counted(values.shape[-1], 'column')}, and this embedding has {n_columns}. Use "
                "the model, markers= and outputs= that it was made with."
            )


def project(rows: np.ndarray, basis: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows on a basis, ``(n, n_components)``, float32.

    Raises
    ------
    ModelError
        If the basis was made for another number of columns.
    """
    check_basis(basis, rows.shape[1])
    mean, components = np.asarray(basis["mean"]), np.asarray(basis["components"])
    return ((rows - mean) @ components.T).astype(np.float32)
