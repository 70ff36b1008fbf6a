"""The last steps on the rows of a run, a chunk at a time: standardise, reduce, cast, and keep in memory or on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask.array as da
import numpy as np
from tqdm.auto import tqdm

from .._errors import RunError
from .._settings import settings
from .reduce import Basis, check_basis, check_components, fit_basis, fit_basis_streamed, project
from .rows import Rows
from .store import fingerprint

CHUNK_BYTES = 2**26  # of float32 rows that are held at a time


@dataclass(frozen=True)
class Result:
    """An embedding as it goes into `obsm`.

    Attributes
    ----------
    values
        ``(n, columns)``: a numpy array, or a dask array that reads from disk.
    basis
        Mean and components, where it was reduced.
    notes
        What the record says.
    """

    values: np.ndarray | da.Array
    basis: Basis | None = None
    notes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """Rows that are changed as they are read; `Rows` themselves."""

    rows: Rows
    change: Callable[[np.ndarray], np.ndarray]
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.shape[0], self.columns

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, float32."""
        return self.change(self.rows.read(start, stop))


def rows_a_chunk(n_columns: int) -> int:
    """Rows of about `CHUNK_BYTES`; depends on the number of columns alone, so that results do."""
    return max(1, CHUNK_BYTES // (4 * n_columns))


def row_chunks(shape: tuple[int, int], desc: str | None = None, step: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges of rows that are held at a time."""
    step = step or rows_a_chunk(shape[1])
    starts = range(0, shape[0], step)
    for start in tqdm(
        starts, desc=desc, unit="chunk", disable=desc is None or len(starts) < 4 or not settings.progress
    ):
        yield start, min(start + step, shape[0])


def finish_rows(
    rows: Rows,
    *,
    standardize: bool,
    n_components: int | None,
    basis: Mapping[str, np.ndarray] | None,
    dtype: str,
    folder: Path,
    in_memory: int,
) -> Result:
    """Finish an embedding that may be larger than memory.

    Parameters
    ----------
    rows
        ``(n, columns)``, read range by range.
    standardize
        Whether columns are brought to mean 0 and standard deviation 1 over all rows.
    n_components
        Principal components to keep. Found exactly where the rows fit into `in_memory`, else by incremental PCA (Ross
        et al. 2008).
    basis
        Mean and components to use instead.
    dtype
        ``"float16"``, or another type that is stored as float32.
    folder
        Where the result is written if it is larger than `in_memory`.
    in_memory
        Bytes.

    Raises
    ------
    ModelError
        If basis or number of components do not fit the rows.
    RunError
        If a value is out of float16's range, or the result cannot be written.
    """
    (n_rows, n_columns), notes = rows.shape, {"n_columns": rows.shape[1]}
    if basis is not None:
        check_basis(basis, n_columns)
    elif n_components:
        check_components(n_components, rows.shape)
    if standardize:
        mean, std = column_statistics(rows)
        std[std == 0] = 1.0
        rows = Changed(rows, lambda part: ((part - mean) / std).astype(np.float32), n_columns)
        notes |= {"feature_mean": mean, "feature_std": std}
    if basis is not None or n_components:
        notes["reduced"] = "pca, of this run" if basis is None else "pca, given"
        if basis is None:
            exact = 4 * n_rows * n_columns <= in_memory
            notes["pca_method"] = "exact" if exact else "incremental"
            basis = fit_basis(_gather(rows), n_components) if exact else fit_basis_streamed(rows, n_components)
        rows = Changed(rows, lambda part: project(part, basis), len(basis["components"]))
        notes["n_components"] = rows.shape[1]
    stored = np.dtype("float16" if dtype == "float16" else "float32")
    rows = Changed(rows, lambda part: _cast(part, stored), rows.shape[1])
    if n_rows * rows.shape[1] * stored.itemsize <= in_memory:
        return Result(_gather(rows, stored), basis, notes)
    return Result(_on_disk(rows, stored, Path(folder), {"notes": notes, **(basis or {})}), basis, notes)


def column_statistics(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each column, float64, in one pass."""
    count, mean, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start, stop in row_chunks(rows.shape, "standardising"):
        part = rows.read(start, stop)
        m = part.mean(axis=0, dtype=np.float64)
        delta, total = m - mean, count + len(part)
        # Chan et al. 1979: merging means and squared deviations loses no digits, sums of squares do
        squares += len(part) * part.var(axis=0, dtype=np.float64) + delta**2 * count * len(part) / total
        mean += delta * len(part) / total
        count = total
    return mean, np.sqrt(squares / max(count, 1))


def _gather(rows: Rows, dtype: str | np.dtype = "float32") -> np.ndarray:
    out = np.empty(rows.shape, dtype)
    for start, stop in row_chunks(rows.shape):
        out[start:stop] = rows.read(start, stop)
    return out


def _cast(part: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float16 and np.abs(part).max(initial=0) > np.finfo(np.float16).max:
        raise RunError(
            f"A value of {np.abs(part).max():.3g} is beyond the range of float16. Pass dtype='float32'; what is "
            "encoded is kept."
        )
    return part.astype(dtype, copy=False)


def _on_disk(rows: Rows, dtype: np.dtype, folder: Path, identity: Mapping[str, object]) -> da.Array:
    """Write rows beside, rename, and open lazily; an array of the same identity that is there already is used."""
    import zarr

    final, partial, note = folder / "rows.zarr", folder / "rows.zarr.partial", folder / "rows.json"
    identity = {
        "dtype": str(dtype),
        "shape": list(rows.shape),
        "notes": {name: np.asarray(value).tolist() for name, value in identity["notes"].items()},
        **{name: np.asarray(value) for name, value in identity.items() if name != "notes"},
    }
    run = fingerprint(identity)
    if not (final.exists() and note.exists() and json.loads(note.read_text())["fingerprint"] == run):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            step = rows_a_chunk(rows.shape[1])
            array = zarr.create_array(
                store=str(partial), shape=rows.shape, chunks=(min(step, rows.shape[0]), rows.shape[1]), dtype=dtype
            )
            for start, stop in row_chunks(rows.shape, "writing", step):  # whole chunks of the array, none twice
                array[start:stop] = rows.read(start, stop)
            note.unlink(missing_ok=True)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
            temporary = folder / "rows.json.partial"
            temporary.write_text(json.dumps({"fingerprint": run}))
            os.replace(temporary, note)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RunError(
                f"Cannot write the embedding to {folder}: {error.strerror or error}. What is encoded is kept: make "
                "room there (settings.cache_dir) and repeat the same call."
            ) from error
    return da.from_zarr(str(final))
